//! libsodium, box by box, with the subkey kept.

use zmq_sys::sodium::{Salsa20, one_time_auth};

use super::key::StreamKey;
use super::run::{Slot, TAG_SIZE};

/// Bytes of keystream that are the one-time key.
const KEY_SIZE: usize = 32;
/// Bytes of a block.
const BLOCK: usize = 64;

pub(crate) fn seal(key: &StreamKey, buffer: &mut [u8], slot: Slot) {
    let (tag, message) = parts(buffer, slot);
    with_first_block(key, slot.number, |salsa, first| {
        xor(salsa, first, message);
        tag.copy_from_slice(&one_time_auth(one_time_key(first), message));
    });
}

pub(crate) fn open(key: &StreamKey, buffer: &mut [u8], slot: Slot) -> bool {
    let (tag, message) = parts(buffer, slot);
    with_first_block(key, slot.number, |salsa, first| {
        let is_genuine = super::run::is_same(&one_time_auth(one_time_key(first), message), tag);
        if is_genuine {
            xor(salsa, first, message);
        }
        is_genuine
    })
}

fn parts(buffer: &mut [u8], slot: Slot) -> (&mut [u8], &mut [u8]) {
    buffer[slot.start..slot.message().end].split_at_mut(TAG_SIZE)
}

fn one_time_key(first: &[u8; BLOCK]) -> &[u8; KEY_SIZE] {
    first.first_chunk().expect("a block is longer than a key")
}

fn with_first_block<T>(
    key: &StreamKey,
    number: u64,
    body: impl FnOnce(&Salsa20<'_>, &[u8; BLOCK]) -> T,
) -> T {
    let bytes = zeroize::Zeroizing::new(key.bytes());
    let salsa = Salsa20 { key: &bytes, nonce: number.to_be_bytes() };
    let mut first = zeroize::Zeroizing::new([0; BLOCK]);
    salsa.xor(&mut *first, 0);
    body(&salsa, &first)
}

/// Encrypts or decrypts a message: with the second half of the first block, then with the others.
fn xor(salsa: &Salsa20<'_>, first: &[u8; BLOCK], message: &mut [u8]) {
    let (head, rest) = message.split_at_mut(message.len().min(BLOCK - KEY_SIZE));
    super::run::xor(head, &first[KEY_SIZE..]);
    if !rest.is_empty() {
        salsa.xor(rest, 1);
    }
}
