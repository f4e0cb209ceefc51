//! Data stores: keys and values for the whole cluster, on the bus (docs/stores.md).

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
