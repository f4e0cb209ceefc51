//! The gateway: programs that do not speak ZeroMQ take part in the cluster over WebSocket.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod access;
pub mod page;
pub mod schema;
pub mod tls;
pub mod v2;

#[cfg(test)]
mod testing;
