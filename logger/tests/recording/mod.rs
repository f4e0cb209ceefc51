//! Reads recorded log batches: `u32le` number of frames, then per frame `u32le` length and bytes.

/// Where the recordings are.
pub(crate) const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/logs");

/// The payloads of all messages, in order.
pub(crate) fn payloads(name: &str) -> Vec<Vec<u8>> {
    let file = std::fs::read(format!("{FOLDER}/{name}")).unwrap();
    let mut rest = file.as_slice();
    let mut payloads = Vec::new();
    while !rest.is_empty() {
        for frame in 0..number(&mut rest) {
            let len = number(&mut rest);
            let (bytes, tail) = rest.split_at(len);
            rest = tail;
            // The others are type, sender and format.
            if frame == 3 {
                payloads.push(bytes.to_vec());
            }
        }
    }
    payloads
}

fn number(rest: &mut &[u8]) -> usize {
    let (head, tail) = rest.split_first_chunk().unwrap();
    *rest = tail;
    u32::from_le_bytes(*head) as usize
}
