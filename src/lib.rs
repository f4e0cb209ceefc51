//! Nodes, wire formats and transport of a cluster that speaks the ZeroMQ cluster backend of Zeek.
//!
//! # Layout
//!
//! | module | what it owns |
//! |---|---|
//! | [`value`], [`event`], [`topic`] | the vocabulary: typed values, events, names of topics and nodes |
//! | [`layout`] | the layout file: the nodes of a cluster and their options |
//! | [`exit`] | exit codes of the binaries |
//! | [`wire`] | pure codecs, one file per wire format |
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod event;
pub mod exit;
pub mod layout;
pub mod topic;
pub mod value;
pub mod wire;

pub use event::Event;
pub use value::Value;
