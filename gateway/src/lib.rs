//! The gateway: programs that do not speak ZeroMQ take part in the cluster over WebSocket.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod access;
