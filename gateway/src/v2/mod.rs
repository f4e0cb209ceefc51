//! Version 2 of the WebSocket API, as values: what clients send ([`Request`]) and what the gateway
//! answers ([`ServerMessage`], [`Delivery`]). docs/websocket.md says what it all means, and
//! `gateway/schema/v2.json` is a JSON Schema of every message.
//!
//! It does no I/O and knows no connections. Text from the network never makes it panic, recurse
//! without a limit, or allocate more than a small multiple of its length; what it says about wrong
//! messages is short.

mod request;
mod server;
mod stats;

#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Serialize, Serializer};

pub use request::{ClientMessage, MAX_ID_BYTES, Notices, Refusal, Request};
pub use server::{Delivery, Limits, NodeEntry, ServerMessage, Welcome};
pub use stats::{ClientStats, CountedBy, Drops, LogRate, SlowPeer, Stats, TopicRate};

/// The path of the endpoint.
pub const PATH: &str = "/v2/messages/json";

/// An error that answers no request.
pub fn error(code: ErrorCode, message: &str) -> String {
    let mut text = String::new();
    ServerMessage::Error { id: None, code, message }.write(&mut text);
    text
}

/// The largest integer that a program in JavaScript tells from its neighbours.
const MAX_SAFE: u64 = (1 << 53) - 1;

/// What a client calls its request; the answer carries it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum RequestId {
    /// An integer up to 2^53 − 1.
    Number(u64),
    /// A string of at most [`MAX_ID_BYTES`].
    Text(Box<str>),
}

/// What is wrong with a request, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// Not a text frame, not JSON, or not a message of this version.
    BadMessage,
    /// There is no such `type`.
    UnknownType,
    /// Access control forbids it, or `resume` is not the first message.
    NotAllowed,
    /// There would be more subscriptions than a client may have.
    TooManySubscriptions,
    /// The event is not as the schema file declares it.
    Schema,
    /// The event cannot be published now.
    Unavailable,
    /// There is no such session.
    ResumeFailed,
    /// The message or the event is too long.
    TooLarge,
    /// The path is none of the API's.
    InvalidUri,
    /// The header `X-Application-Name` has characters that are not allowed.
    InvalidApplicationName,
}

impl ErrorCode {
    /// All codes.
    pub const ALL: [ErrorCode; 10] = [
        ErrorCode::BadMessage,
        ErrorCode::UnknownType,
        ErrorCode::NotAllowed,
        ErrorCode::TooManySubscriptions,
        ErrorCode::Schema,
        ErrorCode::Unavailable,
        ErrorCode::ResumeFailed,
        ErrorCode::TooLarge,
        ErrorCode::InvalidUri,
        ErrorCode::InvalidApplicationName,
    ];

    /// The code as it is sent, and as a label of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorCode::BadMessage => "bad_message",
            ErrorCode::UnknownType => "unknown_type",
            ErrorCode::NotAllowed => "not_allowed",
            ErrorCode::TooManySubscriptions => "too_many_subscriptions",
            ErrorCode::Schema => "schema",
            ErrorCode::Unavailable => "unavailable",
            ErrorCode::ResumeFailed => "resume_failed",
            ErrorCode::TooLarge => "too_large",
            ErrorCode::InvalidUri => "invalid_uri",
            ErrorCode::InvalidApplicationName => "invalid_application_name",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
