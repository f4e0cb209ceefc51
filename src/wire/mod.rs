//! The wire formats, one file each: pure functions between bytes and values.
//!
//! Decoders read bytes from the network. They never panic, recurse only to a fixed depth, and
//! allocate no more than a small multiple of the input. Each has a fuzz target in `fuzz/`.

pub mod broker_bin;
pub mod broker_json;
pub mod event_format;
pub mod frames;
mod json;
mod json_text;
pub mod recording;
pub mod zeek_bin;
pub mod zmtp;

pub use broker_json::InvalidUtf8;
pub use event_format::{EventDecodeError, EventFormat};
pub use frames::{EventMessage, FrameError, LogMessage, SubscriptionMessage};
pub use recording::Recording;

pub(crate) use json::escape_json;

/// How many containers may nest in a decoded value.
///
/// Zeek's limit for arrays and objects in JSON (WIRE.md §3.1). Real events stay below ten.
pub const MAX_DEPTH: usize = 128;
