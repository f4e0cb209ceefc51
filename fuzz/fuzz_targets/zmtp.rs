//! Fuzzes a ZMTP connection: the handshake, then messages and commands, in pieces of a size that
//! the first byte gives. The result must not depend on where the bytes are split.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zcluster::wire::zmtp::{Command, Handshake, Item, MessageReader, SocketType, ZmtpError};

fn read(bytes: &[u8], size: usize) -> Result<Vec<Item>, ZmtpError> {
    let mut handshake = Some(Handshake::new(SocketType::Pull, &mut Vec::new()));
    let mut reader = MessageReader::new(1 << 16);
    let mut items = Vec::new();
    let mut end = 0;
    while end < bytes.len() {
        end = bytes.len().min(end + size);
        let arrived = &bytes[..end];
        if let Some(state) = &mut handshake {
            let start = reader.start();
            let (consumed, peer) = state.advance(&arrived[start..])?;
            reader.rebase(start + consumed);
            if peer.is_none() {
                continue;
            }
            handshake = None;
        }
        loop {
            match reader.next(arrived)? {
                Item::Need(need) => {
                    assert!(need > arrived.len() - reader.start());
                    break;
                }
                Item::Command(body) => {
                    let _ = Command::parse(&arrived[body.clone()]);
                    items.push(Item::Command(body));
                }
                message => items.push(message),
            }
        }
    }
    Ok(items)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((size, bytes)) = bytes.split_first() else { return };
    let whole = read(bytes, usize::MAX / 2);
    let pieces = read(bytes, usize::from(*size).max(1));
    assert_eq!(whole, pieces);
});
