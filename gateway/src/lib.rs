//! The gateway: programs that do not speak ZeroMQ take part in the cluster over WebSocket.
//!
//! # Layout
//!
//! | module | owns |
//! |---|---|
//! | [`v1`] | Zeek's messages: what clients send, and what they are answered |
//! | [`v2`] | the messages of version 2 |
//! | [`hub`] | clients, their subscriptions, and what waits for each of them; pure |
//! | [`schema`] | what events must look like, if that is declared |
//! | [`access`] | who may connect, and what they may publish and subscribe to |
//! | [`tls`] | encryption, and the names in certificates of clients |
//! | `figures` | what other processes say about themselves, as rates |
//! | [`page`] | the files of the live page |
//! | `server` | sockets: HTTP, the connections of clients, and the node |
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod access;
mod figures;
pub mod hub;
pub mod page;
pub mod schema;
mod server;
pub mod tls;
pub mod v1;
pub mod v2;

#[cfg(test)]
mod testing;

pub use server::{AccessControl, Gateway, GatewayError, Parts, check};
