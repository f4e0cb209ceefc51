//! Fuzzes `broker-json-v1`: values that are already rounded survive a round trip, and escaped text
//! is UTF-8.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zcluster::wire::{InvalidUtf8, broker_json};

fuzz_target!(|text: &[u8]| {
    let mut again = Vec::new();
    if let Ok(value) = broker_json::decode_value(text) {
        broker_json::encode_value(&value, InvalidUtf8::Escape, &mut again);
        assert!(str::from_utf8(&again).is_ok());

        again.clear();
        broker_json::encode_value(&value, InvalidUtf8::Raw, &mut again);
        // If rounding has made elements of a set equal, there is nothing to compare.
        if let Ok(rounded) = broker_json::decode_value(&again) {
            again.clear();
            broker_json::encode_value(&rounded, InvalidUtf8::Raw, &mut again);
            assert_eq!(broker_json::decode_value(&again), Ok(rounded));
        }
    }
    again.clear();
    let message = broker_json::decode_data_message(text);
    assert_eq!(message, broker_json::decode_data_message_by_tree(text));
    if let Ok((topic, event)) = message {
        broker_json::encode_data_message(&topic, &event, InvalidUtf8::Raw, &mut again);
        if let Ok((topic_again, event_again)) = broker_json::decode_data_message(&again) {
            assert_eq!(topic_again, topic);
            assert_eq!(broker_json::decode_event(&again), Ok(event_again));
        }
    }
});
