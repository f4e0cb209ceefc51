//! libsodium, box by box, with the subkey kept.

use zeroize::Zeroizing;
use zmq_sys::sodium::{Salsa20, one_time_auth};

use super::bytes::{self, is_same};
use super::slot::{KEY_SIZE, Slot};
use super::stream::BLOCK;

pub(crate) fn seal(key: &[u8; 32], buffer: &mut [u8], slots: &mut [Slot]) {
    for slot in slots {
        let message = &mut buffer[slot.message()];
        with_first_block(key, slot.number, |salsa, first| {
            xor(salsa, first, message);
            slot.tag = one_time_auth(one_time_key(first), message);
        });
    }
}

pub(crate) fn open(key: &[u8; 32], buffer: &mut [u8], slots: &[Slot]) -> usize {
    let is_bad = |slot: &Slot| !open_one(key, &mut buffer[slot.message()], slot);
    slots.iter().position(is_bad).unwrap_or(slots.len())
}

fn open_one(key: &[u8; 32], message: &mut [u8], slot: &Slot) -> bool {
    with_first_block(key, slot.number, |salsa, first| {
        let is_genuine = is_same(&one_time_auth(one_time_key(first), message), &slot.tag);
        if is_genuine {
            xor(salsa, first, message);
        }
        is_genuine
    })
}

fn one_time_key(first: &[u8; BLOCK]) -> &[u8; KEY_SIZE] {
    first.first_chunk().expect("a block is longer than a key")
}

fn with_first_block<T>(
    key: &[u8; 32],
    number: u64,
    body: impl FnOnce(&Salsa20<'_>, &[u8; BLOCK]) -> T,
) -> T {
    let salsa = Salsa20 { key, nonce: number.to_be_bytes() };
    let mut first = Zeroizing::new([0; BLOCK]);
    salsa.xor(&mut *first, 0);
    body(&salsa, &first)
}

/// Encrypts or decrypts a message: with the second half of the first block, then with the others.
fn xor(salsa: &Salsa20<'_>, first: &[u8; BLOCK], message: &mut [u8]) {
    let (head, rest) = message.split_at_mut(message.len().min(BLOCK - KEY_SIZE));
    bytes::xor(head, &first[KEY_SIZE..]);
    if !rest.is_empty() {
        salsa.xor(rest, 1);
    }
}
