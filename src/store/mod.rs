//! Data stores: keys and values for the whole cluster, on the bus (docs/stores.md).

mod backend;
mod error;
mod expiry;

#[cfg(feature = "sqlite")]
pub use backend::sqlite;
pub use backend::{Backend, ClientId, Memory, Record};
pub use error::StoreError;
pub use expiry::Expiry;
