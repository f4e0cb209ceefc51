//! Every engine that this machine has makes the boxes that libsodium makes.

#![allow(clippy::unwrap_used)]

use std::io::Write;

use proptest::prelude::*;
use zcluster_boxes::{Engine, Slot, StreamKey, Workspace};
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
        let start = buffer.len();
        let number = first.wrapping_add(index as u64);
        slots.push(Slot { number, start, len: *len, ..Slot::default() });
        buffer.resize(start + len, 0);
        random(&mut buffer[start..]);
    }
    (buffer, slots)
}

/// What libsodium makes of it, and the slots with their tags.
fn sealed_by_libsodium(key: &BoxKey, plain: &[u8], slots: &[Slot]) -> (Vec<u8>, Vec<Slot>) {
    let (mut sealed, mut slots) = (plain.to_vec(), slots.to_vec());
    for slot in &mut slots {
        let message = &mut sealed[slot.start..slot.start + slot.len];
        slot.tag = key.seal(&nonce(slot.number), message);
    }
    (sealed, slots)
}

/// Seals and opens a run with each engine and compares with libsodium.
fn check(lengths: &[usize], first: u64) {
    let (sodium, key) = keys();
    let (plain, slots) = lay_out(lengths, first);
    let expected = sealed_by_libsodium(&sodium, &plain, &slots);
    let mut work = Workspace::default();
    for engine in Engine::available() {
        let key = StreamKey::with_engine(&key, PREFIX, engine);
        let (mut buffer, mut slots) = (plain.clone(), slots.clone());
        key.seal(&mut work, &mut buffer, &mut slots);
        assert!((&buffer, &slots) == (&expected.0, &expected.1), "{engine:?} seals {lengths:?}");
        assert_eq!(key.open(&mut work, &mut buffer, &slots), slots.len(), "{engine:?}");
        assert!(buffer == plain, "{engine:?} opens {lengths:?}");
    }
}

#[test]
fn every_short_length() {
    for len in 0..=300 {
        check(&[len], 7);
        check(&[len, 300 - len, len, 1, len], u64::from(u32::MAX) - 1);
    }
    // Even where output is captured.
    let engines: Vec<Engine> = Engine::available().collect();
    writeln!(std::io::stderr(), "engines tested: {engines:?}").unwrap();
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
    let (sealed, slots) = sealed_by_libsodium(&sodium, &plain, &slots);
    let mut work = Workspace::default();
    for engine in Engine::available() {
        let key = StreamKey::with_engine(&key, PREFIX, engine);
        for (bad, slot) in slots.iter().enumerate() {
            let mut check = |forged: &[u8], slots: &[Slot]| {
                let mut buffer = forged.to_vec();
                assert_eq!(key.open(&mut work, &mut buffer, slots), bad, "{engine:?}");
                // Nothing is written from the forgery on.
                assert!(buffer[..slot.start] == plain[..slot.start], "{engine:?} {bad}");
                assert!(buffer[slot.start..] == forged[slot.start..], "{engine:?} {bad}");
            };
            for at in [0, 15] {
                let mut slots = slots.clone();
                slots[bad].tag[at] ^= 0x80;
                check(&sealed, &slots);
            }
            if slot.len > 0 {
                for at in [slot.start, slot.start + slot.len - 1] {
                    let mut forged = sealed.clone();
                    forged[at] ^= 1;
                    check(&forged, &slots);
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
            let (mut buffer, mut slots) = (plain.clone(), slots.clone());
            let key = StreamKey::with_engine(&key, PREFIX, engine);
            key.seal(&mut Workspace::default(), &mut buffer, &mut slots);
            assert!((buffer, slots) == expected, "{engine:?}");
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
