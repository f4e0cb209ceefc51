//! Fuzzes log batches: arbitrary bytes never panic, and errors are located within the payload.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zcluster::wire::zeek_bin::{Batch, DecodeError};

fn read_all(payload: &[u8]) -> Result<(), DecodeError> {
    let batch = Batch::decode(payload)?;
    let mut cursor = batch.cursor();
    for _ in 0..batch.num_records() {
        for field in batch.fields() {
            cursor.next_value(field.log_type)?;
            while cursor.next_element()?.is_some() {}
        }
    }
    Ok(())
}

fuzz_target!(|payload: &[u8]| {
    if let Err(error) = read_all(payload) {
        assert!(error.offset <= payload.len());
    }
});
