//! [`Event`]: the messages that nodes publish (the envelope of WIRE.md §2.7, without its encoding),
//! and [`TypedEvent`], the same as Rust structs.

mod typed;

use bstr::BString;

pub use typed::{EventError, ToEvent, TypedEvent};

use crate::value::{Timestamp, Value};

/// A named event with its arguments.
///
/// ```
/// use zcluster::{Event, Value};
/// let event = Event::new("Demo::heartbeat", vec![Value::from("worker-1"), Value::from(42u64)]);
/// assert_eq!(event.name, "Demo::heartbeat");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    /// Qualified script name, `Module::event`, or a bare name for global events.
    pub name: BString,
    /// Arguments in the order of the event's declaration.
    pub args: Vec<Value>,
    /// Metadata in the order sent, as (id, value). `None` omits the third element of the envelope,
    /// as Zeek does since 8.1; `Some(vec![])` sends an empty one, as Zeek 8.0 always does.
    pub metadata: Option<Vec<(u64, Value)>>,
}

impl Event {
    /// Metadata id of the network timestamp, `EventMetadata::NETWORK_TIMESTAMP`.
    pub const NETWORK_TIMESTAMP: u64 = 1;

    /// Creates an event without metadata.
    pub fn new(name: impl Into<BString>, args: Vec<Value>) -> Self {
        Event { name: name.into(), args, metadata: None }
    }

    /// Appends the network timestamp to the metadata.
    #[must_use]
    pub fn with_network_timestamp(mut self, time: Timestamp) -> Self {
        let metadata = self.metadata.get_or_insert_default();
        metadata.push((Self::NETWORK_TIMESTAMP, Value::Timestamp(time)));
        self
    }

    /// The first metadata value with that id.
    pub fn metadata(&self, id: u64) -> Option<&Value> {
        self.metadata.iter().flatten().find(|(i, _)| *i == id).map(|(_, value)| value)
    }

    /// The network timestamp, if the event carries one.
    pub fn network_timestamp(&self) -> Option<Timestamp> {
        match self.metadata(Self::NETWORK_TIMESTAMP) {
            Some(Value::Timestamp(time)) => Some(*time),
            _ => None,
        }
    }
}
