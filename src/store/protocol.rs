//! The events of the protocol (docs/stores.md), and the records in them.

use std::borrow::Cow;
use std::time::Instant;

use bstr::{BStr, BString};
use serde::{Deserialize, Serialize};

use super::StoreError;
use super::content::Entry;
use super::expiry::Expiry;
use super::operation::Operation;
use crate::Event;
use crate::event::{EventError, ToEvent};
use crate::peers::ErrorCode;
use crate::value::{Timestamp, Value};

/// One moment, on two clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// For what happens in a process.
    pub(super) instant: Instant,
    /// The time of day, for expiries.
    pub(super) time: Timestamp,
}

/// What a client asks for (`ZCluster::Command`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Command {
    pub(super) id: u64,
    pub(super) operation: Operation,
    pub(super) key: Value,
    pub(super) arguments: Vec<Value>,
    pub(super) expiry: Option<Expiry>,
}

impl Command {
    /// About how many bytes it is when it is sent.
    pub(super) fn size(&self) -> usize {
        64 + self.key.size() + self.arguments.iter().map(Value::size).sum::<usize>()
    }
}

/// The result of a command (`ZCluster::Answer`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) id: u64,
    pub(super) sequence: u64,
    pub(super) code: ErrorCode,
    pub(super) value: Value,
    pub(super) text: Option<String>,
}

impl Answer {
    pub(super) fn new(id: u64, sequence: u64, result: Result<Value, StoreError>) -> Self {
        match result {
            Ok(value) => Answer { id, sequence, code: ErrorCode::NoError, value, text: None },
            Err(StoreError { code, text }) => {
                let text = Some(text).filter(|text| !text.is_empty());
                Answer { id, sequence, code, value: Value::None, text }
            }
        }
    }

    pub(super) fn into_result(self) -> Result<Value, StoreError> {
        match self.code {
            ErrorCode::NoError => Ok(self.value),
            code => Err(StoreError { code, text: self.text.unwrap_or_default() }),
        }
    }

    /// About how many bytes it is when it is sent.
    pub(super) fn size(&self) -> usize {
        64 + self.value.size() + self.text.as_ref().map_or(0, String::len)
    }
}

/// What happened to an entry (`ZCluster::ChangeKind`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Kind {
    #[serde(rename = "ZCluster::INSERT")]
    Insert,
    #[serde(rename = "ZCluster::UPDATE")]
    Update,
    #[serde(rename = "ZCluster::ERASE")]
    Erase,
    #[serde(rename = "ZCluster::EXPIRE")]
    Expire,
    #[serde(rename = "ZCluster::CLEAR")]
    Clear,
}

/// A change of the content (`ZCluster::Change`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Change {
    pub(super) kind: Kind,
    pub(super) key: Value,
    pub(super) value: Value,
    pub(super) expiry: Option<Expiry>,
    pub(super) by: BString,
}

impl Change {
    /// What an entry becomes.
    pub(super) fn new(kind: Kind, key: &Value, entry: Option<&Entry>, by: &BStr) -> Self {
        let value = entry.map_or(Value::None, |entry| entry.value.clone());
        let expiry = entry.and_then(|entry| entry.expiry);
        Change { kind, key: key.clone(), value, expiry, by: by.into() }
    }

    /// About how many bytes it is when it is sent.
    pub(super) fn size(&self) -> usize {
        64 + self.key.size() + self.value.size() + self.by.len()
    }
}

/// An entry in a snapshot (`ZCluster::Entry`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SentEntry {
    pub(super) key: Value,
    pub(super) value: Value,
    pub(super) expiry: Option<Expiry>,
}

macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident = $event:literal { $($field:ident: $type:ty),* $(,)? })*) => {
        $($(#[$doc])*
        #[allow(clippy::struct_field_names)]
        #[derive(Clone, Debug, PartialEq, Event, Serialize, Deserialize)]
        #[event(name = $event)]
        pub(super) struct $name { $(pub(super) $field: $type),* })*

        /// An event of the protocol.
        #[derive(Clone, Debug, PartialEq)]
        pub(super) enum Message { $($(#[$doc])* $name($name)),* }

        impl ToEvent for Message {
            fn to_event(&self) -> Result<Cow<'_, Event>, EventError> {
                match self { $(Message::$name(message) => message.to_event()),* }
            }
        }

        $(impl From<$name> for Message {
            fn from(message: $name) -> Self {
                Message::$name(message)
            }
        })*
    };
}

messages! {
    /// Commands of a client.
    Request = "ZCluster::store_request" { store: BString, client: u64, oldest: u64, commands: Vec<Command> }
    /// A clone misses changes.
    Sync = "ZCluster::store_sync" { store: BString, client: u64, epoch: u64, sequence: u64 }
    /// A clone has accepted the part of a snapshot from this position on.
    Pull = "ZCluster::store_pull" { store: BString, client: u64, session: u64, position: u64 }
    /// Is there a master?
    Probe = "ZCluster::store_probe" { store: BString, epoch: u64 }
    /// Answers to commands.
    Answers = "ZCluster::store_answers" {
        store: BString, client: u64, epoch: u64, next: u64, answers: Vec<Answer>,
    }
    /// Consecutive changes.
    Changes = "ZCluster::store_changes" { store: BString, epoch: u64, first: u64, changes: Vec<Change> }
    /// A part of a snapshot.
    Chunk = "ZCluster::store_chunk" {
        store: BString, client: u64, epoch: u64, session: u64, total: u64, begin: u64, end: u64, sequence: u64,
        entries: Vec<SentEntry>,
    }
    /// What a master says about itself.
    Status = "ZCluster::store_status" {
        store: BString, epoch: u64, sequence: u64, is_open: bool, answers: u64,
    }
    /// Which stores are there?
    List = "ZCluster::store_list" {}
    /// One is here.
    Info = "ZCluster::store_info" { store: BString, epoch: u64, sequence: u64, size: u64, backend: String }
}

/// Whom a message is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum To {
    /// The master.
    Master,
    /// Everybody who has the store.
    Status,
    /// Who wants changes.
    Changes,
    /// One process.
    Process(BString),
}
