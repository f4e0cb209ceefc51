//! The recorded log batches.

use zcluster::wire::{LogMessage, Recording};

/// Where the recordings are.
pub(crate) const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/logs");

/// The payloads of all messages, in order.
pub(crate) fn payloads(name: &str) -> Vec<Vec<u8>> {
    let file = std::fs::read(format!("{FOLDER}/{name}")).unwrap();
    let messages = Recording::new(&file).map(Result::unwrap);
    messages.map(|frames| LogMessage::parse(&frames).unwrap().payload.to_vec()).collect()
}
