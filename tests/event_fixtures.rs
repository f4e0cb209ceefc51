//! The event codecs against recorded traffic (`tests/fixtures/README.md`).
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::PathBuf;

use bstr::{BString, ByteSlice};
use zcluster::value::{Real, Timestamp};
use zcluster::wire::{
    EventFormat, EventMessage, InvalidUtf8, Recording, broker_bin, broker_json, recording,
};
use zcluster::{Event, Value};

fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/events").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_recorded_event_reads_and_writes_to_the_same_bytes() {
    for (name, messages) in [("cluster.zmq", 100), ("types-binary.zmq", 38), ("types-utf8.zmq", 38)]
    {
        let bytes = fixture(name);
        let mut rewritten = Vec::new();
        let mut count = 0;
        for frames in Recording::new(&bytes) {
            let frames = frames.unwrap();
            recording::write_message(&frames, &mut rewritten).unwrap();
            let message = EventMessage::parse(&frames).unwrap();
            let format = EventFormat::from_name(message.format).unwrap();
            let event = format.decode(message.payload).unwrap();
            let mut payload = Vec::new();
            format.encode(&event, &mut payload);
            assert_eq!(payload.as_bstr(), message.payload.as_bstr(), "{name}: {}", event.name);

            let mut value = Vec::new();
            broker_bin::encode_value(&broker_bin::decode_value(&payload).unwrap(), &mut value);
            assert_eq!(value, payload, "{name}: {}", event.name);
            count += 1;
        }
        assert!(count >= messages, "{name}: {count} messages");
        assert_eq!(rewritten, bytes, "{name}");
    }
}

/// The same events as received by a node and as sent by the WebSocket API.
fn both_forms() -> Vec<(BString, Event, BString)> {
    let bytes = fixture("types-utf8.zmq");
    let text = fixture("types-utf8.ndjson");
    let mut lines = text.lines();
    let ack = lines.next().unwrap();
    assert!(ack.contains_str("\"type\":\"ack\""), "{}", ack.as_bstr());
    let lines: Vec<_> = lines.collect();
    let messages: Vec<_> = Recording::new(&bytes).map(Result::unwrap).collect();
    assert_eq!(messages.len(), lines.len());
    let pairs = messages.iter().zip(lines).map(|(frames, line)| {
        let message = EventMessage::parse(frames).unwrap();
        (message.topic.into(), broker_bin::decode_event(message.payload).unwrap(), line.into())
    });
    pairs.collect()
}

#[test]
fn binary_events_become_the_recorded_json() {
    for (topic, event, line) in both_forms() {
        for policy in [InvalidUtf8::Raw, InvalidUtf8::Escape] {
            let mut text = Vec::new();
            broker_json::encode_data_message(&topic, &event, policy, &mut text);
            assert_eq!(text.as_bstr(), line);
        }
    }
}

#[test]
fn recorded_json_becomes_the_binary_events() {
    for (topic, event, line) in both_forms() {
        let (found_topic, found) = broker_json::decode_data_message(&line).unwrap();
        assert_eq!(found_topic, topic);
        let args = event.args.into_iter().map(rounded).collect();
        assert_eq!(found, Event { args, ..event }, "{line}");
    }
}

/// The recorded values after a round trip through JSON: milliseconds, and six decimal places of
/// reals.
fn rounded(value: Value) -> Value {
    match value {
        Value::Real(Real(x)) => format!("{x:.6}").parse::<f64>().unwrap().into(),
        Value::Timestamp(Timestamp(nanos)) => Timestamp(nanos / 1_000_000 * 1_000_000).into(),
        Value::Vector(elements) => elements.into_iter().map(rounded).collect::<Vec<_>>().into(),
        other => other,
    }
}
