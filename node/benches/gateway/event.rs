//! The events, as nodes and as clients send them: small ones, a string and two counts.

use bstr::BString;
use zcluster::wire::{EventMessage, InvalidUtf8, broker_bin, broker_json};
use zcluster::{Event, Value};

use crate::plan::Api;

const NAME: &str = "Bench::event";
/// The string argument. The count that follows it is when the event was sent, if that matters.
const MARK: &str = "sent-at";
/// Who publishes.
const SENDER: &[u8] = b"zeromq_worker-1_host1_4242_NwrZBf1q3FkxySjt2a";
/// What clients publish on, and the broker subscribes to.
pub(crate) const UPWARD: &str = "bench.up";

/// The topic of a client that has its own.
pub(crate) fn topic(client: usize) -> String {
    format!("bench.down.{client:04}.")
}

/// An event that was sent at that time, in nanoseconds.
fn event(nanoseconds: u64) -> Event {
    Event::new(NAME, vec![MARK.into(), Value::from(nanoseconds), Value::from(7u64)])
}

/// An event to send repeatedly, as it is on the bus.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    topic: BString,
    payload: Vec<u8>,
}

impl Sample {
    pub(crate) fn new(topic: &str) -> Self {
        let mut sample = Sample { topic: topic.into(), payload: Vec::new() };
        sample.set_stamp(1_000_000_000);
        sample
    }

    /// Changes when it was sent.
    pub(crate) fn set_stamp(&mut self, nanoseconds: u64) {
        self.payload.clear();
        broker_bin::encode_event(&event(nanoseconds), &mut self.payload);
    }

    pub(crate) fn frames(&self) -> [&[u8]; 4] {
        let format = b"broker-bin-v1";
        EventMessage { topic: &self.topic, sender: SENDER, format, payload: &self.payload }.frames()
    }
}

/// The message in which a client gets such an event.
pub(crate) fn to_client(api: Api, topic: &str, nanoseconds: u64) -> String {
    match api {
        Api::V1 => data_message(topic, nanoseconds),
        Api::V2 => format!(
            r#"{{"type":"event","seq":123456,"topic":"{topic}","event":"{NAME}","args":["{MARK}",{nanoseconds},7],"ts":"2026-01-01T00:00:00.123456Z"}}"#
        ),
    }
}

/// The message by which a client publishes such an event.
pub(crate) fn from_client(api: Api) -> String {
    let nanoseconds = 1_000_000_000;
    match api {
        Api::V1 => data_message(UPWARD, nanoseconds),
        Api::V2 => format!(
            r#"{{"type":"publish","topic":"{UPWARD}","event":"{NAME}","args":["{MARK}",{nanoseconds},7]}}"#
        ),
    }
}

fn data_message(topic: &str, nanoseconds: u64) -> String {
    let mut text = Vec::new();
    let event = event(nanoseconds);
    broker_json::encode_data_message(topic.as_bytes(), &event, InvalidUtf8::Escape, &mut text);
    String::from_utf8(text).unwrap()
}

/// Reads from such a message when it was sent.
pub(crate) fn stamp(text: &[u8]) -> Option<u64> {
    let at = bstr::ByteSlice::find(text, MARK)? + MARK.len();
    let digits = text[at..].iter().skip_while(|byte| !byte.is_ascii_digit());
    let number = |so_far: u64, digit: &u8| so_far * 10 + u64::from(digit - b'0');
    Some(digits.take_while(|byte| byte.is_ascii_digit()).fold(0, number))
}
