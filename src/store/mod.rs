//! Data stores: keys and values for the whole cluster, on the bus, like those of Zeek's Broker framework.
//!
//! [`Stores`] is a part of an [`App`](crate::app::App). It gives out handles: a [`Store`] has all operations. One process
//! has the master of a store, which alone changes it; others have clones, which are complete copies, or frontends, which
//! ask the master.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use zcluster::app::App;
//! use zcluster::store::{Change, Expiry, Store, Stores};
//! use zcluster::value::{Address, Timestamp};
//! use zcluster::{Node, layout};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let loaded = layout::load("cluster-layout.toml", |name| std::env::var(name).ok())?;
//! let (node, notifications) = Node::builder(loaded.layout, "worker-1").start()?;
//!
//! let stores = Stores::new(&node);
//! // The master on the manager, with a file, and clones elsewhere.
//! let hosts: Store<Address, Timestamp> = stores.create_store("known_hosts", true)?;
//! hosts.watch(|change, _| {
//!     if let Change::Expire { key: host } = change {
//!         println!("{host} was not seen for a day");
//!     }
//!     Ok(())
//! });
//! let app = App::new().with(&stores).on_event("Demo::seen", move |_, context| {
//!     let host = "192.0.2.1".parse()?;
//!     hosts
//!         .put_unique(&host, &context.time())
//!         .expires(Expiry::after(Duration::from_secs(24 * 3600)))
//!         .then(move |is_new, _| {
//!             if is_new? {
//!                 println!("{host} is new to the cluster");
//!             }
//!             Ok(())
//!         });
//!     Ok(())
//! });
//! app.run(&node, &notifications)?;
//! # Ok(())
//! # }
//! ```
//!
//! In a test, [`Stores::for_harness`] makes stores for a [`Harness`](crate::app::Harness). Other threads use a
//! [`RemoteStore`] ([`Store::remote`]). [`list`] asks which stores there are.
//!
//! # What stores promise
//!
//! - A change that was answered without an error has happened once. If the master has a file, it survives the end of every
//!   process.
//! - A change happens at most once, however often it has to be sent. [`ErrorCode::NoSuchMaster`] means that it has not
//!   happened, [`ErrorCode::RequestTimeout`] that it may have, or may yet.
//! - All changes have one order, and a clone always has what the master had after one of them. Those of one process are
//!   made in the order in which it asked for them.
//! - Once a process has the answer to a change, its own queries show it; at a clone, unless that cannot catch up within ten
//!   seconds. Before the answer, a clone may answer queries without it.
//! - Nobody sees a change before it is as durable as it will be, neither by a query nor by [`Store::watch`].
//!
//! [docs/stores.md] has all operations, errors, limits and options, and the protocol; [docs/guide.md] says when a
//! [table](crate::table) is the better choice.
//!
//! | module | owns |
//! |---|---|
//! | `registry` | [`Stores`]: the stores by their name, and how they are created |
//! | `handle`, `request`, `remote` | the handles, what is asked of them, also from other threads |
//! | `local`, `seat`, `bus` | what this process has of a store: connect the pure parts with each other, the app and the bus |
//! | `backend`, `writer` | where a master keeps its content: [`Memory`], `sqlite`; the thread that writes |
//! | `list`, `json` | which stores there are; changes and entries as lines of JSON |
//! | `master` | pure: the order of changes, what may leave the master when, snapshots |
//! | `follower` | pure: commands on their way to the master, the content of a clone |
//! | `content`, `operation`, `protocol` | pure: keys and values, what can be done with them, the events |
//! | `change`, `watch`, `expiry`, `error`, `names`, `limits`, `output`, `parts` | pure: what the others speak of |
//!
//! [`ErrorCode::NoSuchMaster`]: crate::peers::ErrorCode::NoSuchMaster
//! [`ErrorCode::RequestTimeout`]: crate::peers::ErrorCode::RequestTimeout
//! [docs/stores.md]: https://docs.rs/crate/zcluster/latest/source/docs/stores.md
//! [docs/guide.md]: https://docs.rs/crate/zcluster/latest/source/docs/guide.md

mod backend;
mod bus;
mod change;
mod content;
mod error;
mod expiry;
mod follower;
mod handle;
mod json;
mod limits;
mod list;
mod local;
mod master;
mod names;
mod operation;
mod output;
mod parts;
mod protocol;
mod registry;
mod remote;
mod request;
mod seat;
mod size;
mod watch;
mod writer;

#[cfg(test)]
mod tests;

#[cfg(feature = "sqlite")]
pub use backend::sqlite;
pub use backend::{Backend, ClientId, Memory, Record};
pub use change::Change;
pub use error::StoreError;
pub use expiry::Expiry;
pub use handle::{Entry, RemoteStore, Store};
pub use list::{StoreInfo, list};
pub use registry::{REQUEST_TIMEOUT, Stores};
pub use request::{RemoteRequest, Reply, Request};
