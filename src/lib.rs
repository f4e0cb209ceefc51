//! Nodes, wire formats and transport, compatible with Zeek's ZeroMQ cluster backend.
//!
//! # Layout
//!
//! | module | owns |
//! |---|---|
//! | [`value`], [`event`], [`topic`] | the vocabulary: typed values, events, topics and node ids; Rust types as values and events |
//! | [`node`] | a running node: its I/O thread, its handle, remote logging |
//! | [`app`] | handlers of events, timers, a test harness |
//! | [`peers`] | the connection to the broker and the other nodes, as Zeek's Broker module shows them |
//! | [`started`] | when the whole cluster is up |
//! | [`shared`], [`prints`] | values that nodes publish to each other; lines of text |
//! | [`store`] | data stores: masters, clones, frontends |
//! | [`table`] | tables and sets that replicate |
//! | [`logging`] | log streams of typed records, filters |
//! | [`client`] | publishing and listening without being a node |
//! | [`membership`] | the hello handshake as a state machine |
//! | [`pool`] | round-robin and rendezvous pools: which node gets an event |
//! | [`readable`] | values and events as JSON that is easy to read and type |
//! | [`input_lines`] | bounded reading of lines of text |
//! | [`queue`] | bounded queues between threads |
//! | [`transport`] | all use of libzmq |
//! | [`net`] | stream sockets for code that speaks ZMTP without libzmq |
//! | [`layout`] | the layout file: the nodes of a cluster and their options |
//! | [`access`] | access control: who may connect, publish and subscribe |
//! | [`atomic_file`] | atomic writes of small files |
//! | [`file_name`] | the escaping of log paths in file names |
//! | [`daemon`], [`exit`] | the common parts of all daemons; their exit codes |
//! | [`wire`] | pure codecs, one module per wire format |
//! | [`http`] | HTTP: metrics, health and status |
//! | [`health`] | what is wrong with a process now |
//! | [`telemetry`], [`rate_limit`] | metrics of all binaries; rate limits of log lines |
#![cfg_attr(test, allow(clippy::unwrap_used))]

// The code that derive macros generate names this crate.
#[cfg(any(test, feature = "app"))]
extern crate self as zcluster;

pub mod access;
#[cfg(feature = "app")]
pub mod app;
pub mod atomic_file;
pub mod daemon;
pub mod event;
pub mod exit;
pub mod file_name;
pub mod health;
pub mod http;
pub mod input_lines;
pub mod layout;
#[cfg(feature = "logging")]
pub mod logging;
pub mod membership;
pub mod net;
pub mod node;
#[cfg(feature = "app")]
pub mod peers;
pub mod pool;
#[cfg(feature = "app")]
pub mod prints;
pub mod queue;
pub mod rate_limit;
pub mod readable;
#[cfg(feature = "app")]
pub mod shared;
#[cfg(feature = "app")]
pub mod started;
#[cfg(feature = "store")]
pub mod store;
#[cfg(feature = "table")]
pub mod table;
pub mod telemetry;
pub mod topic;
pub mod transport;
pub mod value;
pub mod wire;

#[cfg(test)]
mod testing;

pub use event::{Event, EventError, ToEvent, TypedEvent};
pub use layout::Layout;
#[cfg(feature = "logging")]
pub use logging::{LogRecord, LogScalar, Logs};
pub use node::{Node, client};
pub use value::Value;
/// Derives [`TypedEvent`].
pub use zcluster_derive::Event;
