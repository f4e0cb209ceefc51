//! Fuzzes recordings and views of multipart messages: writing them gives the bytes that were read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zcluster::wire::{EventMessage, LogMessage, Recording, SubscriptionMessage, recording};

fuzz_target!(|bytes: &[u8]| {
    let mut again = Vec::new();
    for frames in Recording::new(bytes).map_while(Result::ok) {
        recording::write_message(&frames, &mut again).expect("it was in a recording");
        if let Ok(event) = EventMessage::parse(&frames) {
            assert_eq!(event.frames().as_slice(), frames);
        }
        if let Ok(log) = LogMessage::parse(&frames) {
            assert_eq!(log.frames().as_slice(), frames);
        }
        for frame in frames {
            if let Some(message) = SubscriptionMessage::parse(frame) {
                assert_eq!(message.encode(), frame);
            }
        }
    }
    assert!(bytes.starts_with(&again));
});
