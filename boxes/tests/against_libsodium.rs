//! Every engine that this machine has makes the boxes that libsodium makes.

use proptest::prelude::*;
use zcluster_boxes::{Engine, Slot, StreamKey, TAG_SIZE, Workspace};
use zmq_sys::sodium::{BoxKey, public_key, random};

const PREFIX: &[u8; 16] = b"CurveZMQMESSAGES";

/// A key as libsodium has it, and as the engines do.
fn keys() -> (BoxKey, [u8; 32]) {
    let (mut ours, mut theirs) = ([0; 32], [0; 32]);
    random(&mut ours);
    random(&mut theirs);
    let key = BoxKey::new(&public_key(&theirs), &ours).unwrap();
    let bytes = *key.bytes();
    (key, bytes)
}

fn nonce(number: u64) -> [u8; 24] {
    let mut nonce = [0; 24];
    nonce[..16].copy_from_slice(PREFIX);
    nonce[16..].copy_from_slice(&number.to_be_bytes());
    nonce
}

/// A buffer of messages with room for their tags, some bytes apart, and where they are.
fn lay_out(lengths: &[usize], first: u64) -> (Vec<u8>, Vec<Slot>) {
    let mut buffer = Vec::new();
    let mut slots = Vec::new();
    for (index, len) in lengths.iter().enumerate() {
        buffer.resize(buffer.len() + index % 3, 0xee);
        slots.push(Slot {
            number: first.wrapping_add(index as u64),
            start: buffer.len(),
            len: *len,
        });
        buffer.resize(buffer.len() + TAG_SIZE, 0);
        let start = buffer.len();
        buffer.resize(start + len, 0);
        random(&mut buffer[start..]);
    }
    (buffer, slots)
}

fn sealed_by_libsodium(key: &BoxKey, plain: &[u8], slots: &[Slot]) -> Vec<u8> {
    let mut sealed = plain.to_vec();
    for slot in slots {
        let end = slot.start + TAG_SIZE + slot.len;
        let (tag, message) = sealed[slot.start..end].split_at_mut(TAG_SIZE);
        tag.copy_from_slice(&key.seal(&nonce(slot.number), message));
    }
    sealed
}

/// Seals and opens a run with each engine, forges each tag, and compares with libsodium.
fn check(lengths: &[usize], first: u64) {
    let (sodium, key) = keys();
    let (plain, slots) = lay_out(lengths, first);
    let expected = sealed_by_libsodium(&sodium, &plain, &slots);
    let mut work = Workspace::default();
    for engine in Engine::available() {
        let key = StreamKey::with_engine(&key, PREFIX, engine);
        let mut buffer = plain.clone();
        key.seal(&mut work, &mut buffer, &slots);
        assert!(buffer == expected, "{engine:?} seals {lengths:?} otherwise");
        let opened = key.open(&mut work, &mut buffer, &slots);
        assert_eq!(opened, slots.len(), "{engine:?}");
        for slot in &slots {
            let message = slot.start + TAG_SIZE..slot.start + TAG_SIZE + slot.len;
            assert!(
                buffer[message.clone()] == plain[message],
                "{engine:?} opens {lengths:?} otherwise"
            );
        }
    }
}

#[test]
fn every_short_length() {
    for len in 0..=300 {
        check(&[len], 7);
        check(&[len, 300 - len, len, 1, len], u64::from(u32::MAX) - 1);
    }
    println!("engines: {:?}", Engine::available().collect::<Vec<_>>());
}

#[test]
fn lengths_around_powers_of_two() {
    for power in 8..=20 {
        for len in
            [(1 << power) - 33, (1 << power) - 32, (1 << power) - 1, 1 << power, (1 << power) + 1]
        {
            check(&[len], 1);
            check(&[13, len, 256], u64::MAX - 1);
        }
    }
}

#[test]
fn a_forgery_ends_a_run_where_it_is() {
    let lengths = [20, 45, 13, 256, 20, 45, 13, 5000, 20, 45, 13, 20_000, 1, 0, 64];
    let (sodium, key) = keys();
    let (plain, slots) = lay_out(&lengths, 1);
    let sealed = sealed_by_libsodium(&sodium, &plain, &slots);
    let mut work = Workspace::default();
    for engine in Engine::available() {
        let key = StreamKey::with_engine(&key, PREFIX, engine);
        for (bad, slot) in slots.iter().enumerate() {
            let bytes = slot.start..slot.start + TAG_SIZE + slot.len;
            for at in [bytes.start, bytes.start + 15, bytes.end - 1] {
                let mut buffer = sealed.clone();
                buffer[at] ^= 0x80;
                let forged = buffer.clone();
                assert_eq!(key.open(&mut work, &mut buffer, &slots), bad, "{engine:?}");
                for (index, slot) in slots.iter().enumerate() {
                    let message = slot.start + TAG_SIZE..slot.start + TAG_SIZE + slot.len;
                    let expected = if index < bad { &plain } else { &forged };
                    assert!(
                        buffer[message.clone()] == expected[message],
                        "{engine:?} {bad} {index}"
                    );
                }
            }
        }
    }
}

#[test]
fn extreme_numbers_are_reduced() {
    // Messages of ones make the largest sums; many keys make some of them end close to the prime.
    for round in 0..200 {
        let (sodium, key) = keys();
        let (mut plain, slots) = lay_out(&[16 * (round % 40), 255, 1024], 3);
        plain.fill(0xff);
        let expected = sealed_by_libsodium(&sodium, &plain, &slots);
        for engine in Engine::available() {
            let mut buffer = plain.clone();
            StreamKey::with_engine(&key, PREFIX, engine).seal(
                &mut Workspace::default(),
                &mut buffer,
                &slots,
            );
            assert!(buffer == expected, "{engine:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn runs_of_any_lengths(
        lengths in proptest::collection::vec(prop_oneof![0..80usize, 0..700usize, 0..20_000usize], 1..41),
        first: u64,
    ) {
        check(&lengths, first);
    }
}
