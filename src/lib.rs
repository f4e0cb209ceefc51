//! Nodes, wire formats and transport of a cluster that speaks the ZeroMQ cluster backend of Zeek.
//!
//! # Layout
//!
//! | module | what it owns |
//! |---|---|
//! | [`value`], [`event`], [`topic`] | the vocabulary: typed values, events, names of topics and nodes |
//! | [`wire`] | pure codecs, one file per wire format |
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod event;
#[cfg(test)]
mod testing;
pub mod topic;
pub mod value;
pub mod wire;

pub use event::Event;
pub use value::Value;
