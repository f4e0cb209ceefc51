//! The events to send: four frames like Zeek's (WIRE.md §1.2), with a payload of a given size.

use zcluster::wire::zmtp::put_frame;
use zcluster::wire::{EventMessage, broker_bin};
use zcluster::{Event, Value};

/// The name of the events.
const NAME: &str = "Bench::event";
/// Bytes at the end of the payload, inside its string argument, that hold the sending time.
const STAMP: usize = size_of::<u64>();

/// An event to send repeatedly.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    topic: String,
    sender: String,
    payload: Vec<u8>,
}

impl Sample {
    /// Creates an event of that publisher with a payload of `size` bytes.
    pub(crate) fn new(topic: &str, publisher: usize, size: usize) -> Self {
        let sender = format!("zeromq_worker-{publisher}_host1_4242_NwrZBf1q3FkxySjt2a");
        Sample { topic: topic.to_owned(), sender, payload: payload(size) }
    }

    /// Its frames.
    pub(crate) fn frames(&self) -> [&[u8]; 4] {
        EventMessage {
            topic: self.topic.as_bytes(),
            sender: self.sender.as_bytes(),
            format: b"broker-bin-v1",
            payload: &self.payload,
        }
        .frames()
    }

    /// Its bytes on a connection (WIRE.md §1.9).
    pub(crate) fn encode(&self) -> Vec<u8> {
        let frames = self.frames();
        let mut bytes = Vec::new();
        for (i, frame) in frames.iter().enumerate() {
            put_frame(frame, i + 1 < frames.len(), &mut bytes);
        }
        bytes
    }

    /// Writes a sending time into the payload.
    pub(crate) fn set_stamp(&mut self, nanoseconds: u64) {
        let at = self.payload.len() - STAMP;
        self.payload[at..].copy_from_slice(&nanoseconds.to_ne_bytes());
    }
}

/// Reads the sending time from a payload.
pub(crate) fn stamp(payload: &[u8]) -> u64 {
    u64::from_ne_bytes(*payload.last_chunk().unwrap())
}

/// A well-formed event of `size` bytes. Encoded lengths vary in size, so for a few sizes it is one
/// byte shorter.
fn payload(size: usize) -> Vec<u8> {
    let encode = |length: usize| {
        let mut bytes = Vec::new();
        let event = Event::new(NAME, vec![Value::from("x".repeat(length).as_str())]);
        broker_bin::encode_event(&event, &mut bytes);
        bytes
    };
    let most = size.saturating_sub(encode(0).len());
    let fitting = (STAMP..=most).rev().map(encode).find(|bytes| bytes.len() <= size);
    fitting.unwrap_or_else(|| panic!("no event fits into {size} bytes"))
}
