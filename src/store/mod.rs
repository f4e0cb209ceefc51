//! Data stores: keys and values for the whole cluster, on the bus (docs/stores.md).

mod backend;
mod content;
mod error;
mod expiry;
mod follower;
mod limits;
mod master;
mod names;
mod operation;
mod output;
mod protocol;
mod watch;

#[cfg(test)]
mod tests;

pub use backend::{Backend, ClientId, Memory, Record};
pub use error::StoreError;
pub use expiry::Expiry;
