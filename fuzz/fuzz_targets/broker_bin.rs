//! Fuzzes `broker-bin-v1`: decoded values survive a round trip, and the check without decoding
//! returns the same result as the decoder.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zcluster::wire::broker_bin;

fuzz_target!(|bytes: &[u8]| {
    let mut again = Vec::new();
    if let Ok(value) = broker_bin::decode_value(bytes) {
        broker_bin::encode_value(&value, &mut again);
        // Only padded lengths can make the input longer.
        assert!(again.len() <= bytes.len());
        assert_eq!(broker_bin::decode_value(&again), Ok(value));
    }
    again.clear();
    let decoded = broker_bin::decode_event(bytes);
    assert_eq!(broker_bin::check_event(bytes), decoded.clone().map(drop));
    if let Ok(event) = decoded {
        broker_bin::encode_event(&event, &mut again);
        assert_eq!(broker_bin::decode_event(&again), Ok(event));
        assert!(broker_bin::decode_value(bytes).is_ok());
    }
});
