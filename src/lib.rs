//! Nodes, wire formats and transport of a cluster that speaks the ZeroMQ cluster backend of Zeek.
//!
//! # Layout
//!
//! | module | what it owns |
//! |---|---|
//! | [`value`], [`event`], [`topic`] | the vocabulary: typed values, events, names of topics and nodes |
//! | [`node`] | a running node: its I/O thread, its handle, remote logging |
//! | [`membership`] | the hello handshake as a state machine |
//! | [`pool`] | round-robin and rendezvous pools: which node gets an event |
//! | [`readable`] | values and events as JSON that people read and type |
//! | [`queue`] | bounded queues between threads |
//! | [`transport`] | every use of libzmq |
//! | [`layout`] | the layout file: the nodes of a cluster and their options |
//! | [`access`] | who may connect, and what they may say |
//! | [`atomic_file`] | small files that appear as a whole |
//! | [`file_name`] | what the path of a log is called in names of files |
//! | [`daemon`], [`exit`] | what all daemons do alike; their exit codes |
//! | [`console`] | the program `zcluster-node` |
//! | [`wire`] | pure codecs, one file per wire format |
//! | [`gateway`] | HTTP: metrics and health |
//! | [`health`] | what is wrong with a process now |
//! | [`telemetry`], [`rate_limit`] | metric families of all binaries; how often a warning is repeated |
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod access;
pub mod atomic_file;
pub mod console;
pub mod daemon;
pub mod event;
pub mod exit;
pub mod file_name;
pub mod gateway;
pub mod health;
pub mod layout;
pub mod membership;
pub mod net;
pub mod node;
pub mod pool;
pub mod queue;
pub mod rate_limit;
pub mod readable;
pub mod telemetry;
pub mod topic;
pub mod transport;
pub mod value;
pub mod wire;

#[cfg(test)]
mod testing;

pub use event::Event;
pub use layout::Layout;
pub use node::Node;
pub use value::Value;
