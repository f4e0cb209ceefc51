//! Tables and sets that replicate: Zeek's `&publish_on_change` (WIRE.md §8.7).
//!
//! [`Tables`] is a part of an [`App`](crate::app::App). It gives out handles, [`Table`] and [`Set`],
//! which handlers read and change. What a node changes is published as
//! `Cluster::table_change_infos`, and what other nodes publish, Zeek's among them, is applied to the
//! table of the same name.
//!
//! ```
//! use zcluster::app::App;
//! use zcluster::table::{Change, Options, Tables};
//! use zcluster::value::Address;
//!
//! let tables = Tables::new();
//! let hosts = tables.set::<Address>(
//!     "Demo::hosts",
//!     Options::new().publish_on_change([Change::New, Change::Removed]),
//! )?;
//! let app = App::new().with(&tables).on_event("Demo::seen", move |_, context| {
//!     hosts.insert("192.0.2.1".parse()?, context)?;
//!     Ok(())
//! });
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Keys
//!
//! A key that is a tuple or a struct is an index of several components, as of `table[addr, port]`.
//! Any other key is the only component. To use one record, pattern or vector of fixed length as the
//! only component, make it a tuple of one: `Table<(Pattern,), u64>` is `table[pattern] of count`.
//! In a `Table<Value, _>`, the key of a single component is that component, and not a vector of it, unless
//! the component is itself a vector.
//!
//! # What replication promises
//!
//! As in Zeek, there is no conflict resolution: the change that is applied last wins. All nodes end up
//! with the same content if each key has one node that writes it, and if the nodes that are sent a
//! whole table ([`Table::publish_table`]) get it from the node that writes it, or while nobody writes.
//!
//! | module | owns |
//! |---|---|
//! | `registry`, `common` | [`Tables`]: the tables by their name, and what they have in common |
//! | `handle`, `set` | the handles, and how a table changes |
//! | `replica` | what others do to a table: changes that are received, nodes that come up |
//! | `expiry`, `snapshot` | work in turns: old elements, whole tables |
//! | `callbacks` | functions of the user, which may panic |
//! | `entries`, `batch`, `walks`, `index`, `change` | pure: the content, changes and whole tables that wait to be published, keys as indexes, the event |

mod batch;
mod callbacks;
mod change;
mod common;
mod entries;
mod error;
mod expiry;
mod handle;
mod index;
mod options;
mod registry;
mod replica;
mod set;
mod snapshot;
mod walks;

#[cfg(test)]
mod tests;

pub use change::{Change, TableChangeHeader, TableChangeInfo, TableChangeInfos};
pub use common::Counts;
pub use error::TableError;
pub use handle::{Changed, Key, Table, Yield};
pub use options::{Options, PUBLISH_TABLE_BATCH_SIZE};
pub use registry::Tables;
pub use set::Set;
