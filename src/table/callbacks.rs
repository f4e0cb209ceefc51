//! Functions of the user: hooks, topics, policies, ages. If one panics, that is its result, and the
//! change that it was called for still happens.

use bstr::BString;

use super::{Changed, Table, TableChangeHeader, TableChangeInfo};
pub(super) use crate::app::guarded;
use crate::app::{Context, Outcome};

/// See [`Table::on_change`].
pub(super) type OnChange<K, V> =
    Box<dyn FnMut(&Table<K, V>, &Changed<'_, K, V>, &mut Context<'_>) -> Outcome>;

/// See [`Options::expire_func`](super::Options::expire_func).
pub(super) type ExpireFunc<K, V> =
    Box<dyn FnMut(&Table<K, V>, &K, &mut Context<'_>) -> std::time::Duration>;

/// See [`Options::topic_with`](super::Options::topic_with).
pub(super) type TopicFunc<K> = Box<dyn Fn(&K, &mut Context<'_>) -> Option<BString>>;

/// See [`Tables::apply_policy`](super::Tables::apply_policy).
pub(super) type Policy =
    Box<dyn FnMut(&TableChangeHeader, &mut Vec<TableChangeInfo>, &mut Context<'_>) -> bool>;
