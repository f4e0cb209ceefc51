//! [`Handlers`]: who handles which event, in which order.

use std::collections::HashMap;
use std::fmt;

use bstr::{BStr, BString};

use super::{Context, Outcome};
use crate::Event;
use crate::node::BrokerNews;

pub(super) type Handler = Box<dyn FnMut(&Event, &mut Context<'_>) -> Outcome>;
pub(super) type Hook = Box<dyn FnMut(&BStr, &mut Context<'_>) -> Outcome>;
pub(super) type TurnHook = Box<dyn FnMut(&mut Context<'_>) -> Outcome>;
pub(super) type NewsHook = Box<dyn FnMut(&BrokerNews, &mut Context<'_>) -> Outcome>;

/// Handlers by the name of their event, and hooks.
#[derive(Default)]
pub(super) struct Handlers {
    by_name: HashMap<BString, Vec<Entry>>,
    /// Called for every event, after those of its name.
    pub(super) of_any: Vec<Handler>,
    pub(super) on_subscribe: Vec<Hook>,
    pub(super) on_unsubscribe: Vec<Hook>,
    pub(super) on_broker_news: Vec<NewsHook>,
    pub(super) at_end_of_turn: Vec<TurnHook>,
}

struct Entry {
    priority: i64,
    handler: Handler,
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}

impl Handlers {
    pub(super) fn add(&mut self, priority: i64, name: BString, handler: Handler) {
        let entries = self.by_name.entry(name).or_default();
        let at = entries.partition_point(|entry| entry.priority >= priority);
        entries.insert(at, Entry { priority, handler });
    }

    /// The handlers of an event, in the order in which they are called.
    pub(super) fn of(&mut self, name: &BStr) -> impl Iterator<Item = &mut Handler> {
        let named = self.by_name.get_mut(name).into_iter().flatten();
        named.map(|entry| &mut entry.handler).chain(&mut self.of_any)
    }

    /// Whether an event of that name has handlers.
    pub(super) fn are_for(&self, name: &BStr) -> bool {
        !self.of_any.is_empty() || self.by_name.contains_key(name)
    }
}
