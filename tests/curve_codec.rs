//! The codec of encrypted connections against libsodium box by box, with each engine that this machine
//! has.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../benches/curve/boxwise.rs"]
mod boxwise;

use std::io::Write;

use boxwise::{Boxwise, header};
use proptest::prelude::*;
use zcluster::wire::zmtp::{CodecScratch, CurveCodec, Progress, ZmtpError};
use zcluster_boxes::Engine;
use zmq_sys::sodium::{BoxKey, KEY_SIZE, public_key, random};

/// Largest body of a frame in bytes.
const LIMIT: u64 = 2 << 20;

/// The flags of frames: the end of a message, a part of one, and a command.
const FLAGS: [u8; 3] = [0, 1, 4];

/// The engines of this machine. Says which they are, even where output is captured.
fn engines(test: &str) -> Vec<Engine> {
    let engines: Vec<Engine> = Engine::available().collect();
    // Unlike `eprintln!`, this is not captured.
    std::io::stderr().write_all(format!("{test}: with {engines:?}\n").as_bytes()).unwrap();
    engines
}

fn key() -> BoxKey {
    let mut secrets = [[0; KEY_SIZE]; 2];
    for secret in &mut secrets {
        random(secret);
    }
    BoxKey::new(&public_key(&secrets[0]), &secrets[1]).unwrap()
}

/// Frames with bodies of these sizes, one after the other, and where each ends.
fn frames(sizes: impl IntoIterator<Item = usize>) -> (Vec<u8>, Vec<usize>) {
    let (mut plain, mut ends) = (Vec::new(), Vec::new());
    for (index, size) in sizes.into_iter().enumerate() {
        let (header, length) = header(FLAGS[index % FLAGS.len()], size);
        plain.extend_from_slice(&header[..length]);
        let start = plain.len();
        plain.resize(start + size, 0);
        random(&mut plain[start..]);
        ends.push(plain.len());
    }
    (plain, ends)
}

/// Passes bytes on in pieces, each with what was not consumed before, as a connection does.
fn feed<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    mut turn: impl FnMut(&[u8]) -> Result<Progress, ZmtpError>,
) -> Result<(), ZmtpError> {
    let mut kept = Vec::new();
    for piece in pieces {
        kept.extend_from_slice(piece);
        let Progress { consumed, need } = turn(&kept)?;
        kept.drain(..consumed);
        assert!(need > kept.len() || (need == 0 && kept.is_empty()), "{need} {}", kept.len());
    }
    assert!(kept.is_empty());
    Ok(())
}

/// Splits bytes at these places.
fn cut<'a>(bytes: &'a [u8], at: &[usize]) -> Vec<&'a [u8]> {
    let (mut pieces, mut start) = (Vec::new(), 0);
    for end in at.iter().copied().chain([bytes.len()]) {
        pieces.push(&bytes[start..end]);
        start = end;
    }
    pieces
}

/// Seals a run with an engine, both ways, and has libsodium open it, and the other way round. Both
/// streams are cut where `cuts` says, in thousandths.
fn check(engine: Engine, sizes: &[usize], cuts: &[usize]) {
    let key = key();
    let (plain, _) = frames(sizes.iter().copied());
    let (mut codecs, mut references) = (CurveCodec::ends(&key, engine), Boxwise::ends(&key));
    let mut scratch = CodecScratch::default();
    let places = |len: usize| -> Vec<usize> { cuts.iter().map(|cut| cut * len / 1000).collect() };
    for from in [0, 1, 0] {
        let to = 1 - from;
        let mut expected = Vec::new();
        references[from].seal(&plain, &mut expected).unwrap();
        let mut sealed = Vec::new();
        let pieces = cut(&plain, &places(plain.len()));
        feed(pieces, |bytes| codecs[from].seal([bytes], &mut sealed, &mut scratch)).unwrap();
        assert!(sealed == expected, "{engine:?} seals {sizes:?}");
        let mut opened = Vec::new();
        references[to].open(&sealed, &mut opened).unwrap();
        assert!(opened == plain, "libsodium opens what {engine:?} sealed: {sizes:?}");
        opened.clear();
        let pieces = cut(&expected, &places(expected.len()));
        feed(pieces, |bytes| codecs[to].open(bytes, LIMIT, &mut opened, &mut scratch)).unwrap();
        assert!(opened == plain, "{engine:?} opens {sizes:?}");
    }
}

#[test]
fn every_short_length() {
    for engine in engines("every_short_length") {
        for len in 0..=300 {
            check(engine, &[len], &[]);
            check(engine, &[len, 300 - len, len, 1, len], &[]);
        }
    }
}

#[test]
fn lengths_around_powers_of_two() {
    for engine in engines("lengths_around_powers_of_two") {
        for power in 8..=20 {
            for len in (1 << power) - 2..=(1 << power) + 2 {
                check(engine, &[len], &[]);
            }
            // The key that each keystream begins with takes 32 bytes, and the flags take one.
            for len in (1 << power) - 35..=(1 << power) - 31 {
                check(engine, &[20, 45, len, 256], &[]);
            }
        }
    }
}

#[test]
fn a_run_cut_at_any_byte() {
    for engine in engines("a_run_cut_at_any_byte") {
        let key = key();
        let (plain, _) = frames([20, 45, 13, 300, 0, 1, 200]);
        let mut expected = Vec::new();
        Boxwise::ends(&key)[0].seal(&plain, &mut expected).unwrap();
        let mut scratch = CodecScratch::default();
        for at in 0..=expected.len() {
            let [mut client, mut server] = CurveCodec::ends(&key, engine);
            let (mut sealed, mut opened) = (Vec::new(), Vec::new());
            let pieces = cut(&plain, &[at.min(plain.len())]);
            feed(pieces, |bytes| client.seal([bytes], &mut sealed, &mut scratch)).unwrap();
            assert!(sealed == expected, "{engine:?} {at}");
            let pieces = cut(&expected, &[at]);
            feed(pieces, |bytes| server.open(bytes, 300, &mut opened, &mut scratch)).unwrap();
            assert!(opened == plain, "{engine:?} {at}");
        }
    }
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![0..80usize, 0..700usize, 0..9000usize], 1..=40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn runs_of_any_lengths_cut_anywhere(
        sizes in sizes(),
        mut cuts in prop::collection::vec(0..=1000usize, 0..8),
    ) {
        cuts.sort_unstable();
        for engine in Engine::available() {
            check(engine, &sizes, &cuts);
        }
    }

    // Whatever the engine computes at once, and however the bytes arrive.
    #[test]
    fn frames_before_a_bad_one_are_opened_and_no_others(
        sizes in sizes(),
        bad: prop::sample::Index,
        byte: prop::sample::Index,
        piece in 1..20_000usize,
    ) {
        let key = key();
        let (plain, ends) = frames(sizes.iter().copied());
        let mut sealed = Vec::new();
        let [mut client, _] = Boxwise::ends(&key);
        let bad = bad.index(ends.len());
        let before = bad.checked_sub(1).map_or(0, |last| ends[last]);
        client.seal(&plain[..before], &mut sealed).unwrap();
        let start = sealed.len();
        client.seal(&plain[before..ends[bad]], &mut sealed).unwrap();
        // A byte of the box, behind the header, the name and the number.
        let header = if sealed[start] == 0 { 2 } else { 9 };
        let boxed = start + header + 16..sealed.len();
        let at = boxed.start + byte.index(boxed.len());
        sealed[at] ^= 1;
        client.seal(&plain[ends[bad]..], &mut sealed).unwrap();
        for engine in Engine::available() {
            let [_, mut server] = CurveCodec::ends(&key, engine);
            let (mut kept, mut opened) = (Vec::new(), Vec::new());
            let mut scratch = CodecScratch::default();
            let fault = sealed.chunks(piece).find_map(|piece| {
                kept.extend_from_slice(piece);
                match server.open(&kept, LIMIT, &mut opened, &mut scratch) {
                    Err(error) => Some(error),
                    Ok(progress) => {
                        kept.drain(..progress.consumed);
                        server.fault()
                    }
                }
            });
            prop_assert_eq!(fault, Some(ZmtpError::Undecryptable("MESSAGE")));
            prop_assert!(opened == plain[..before], "{:?}", engine);
        }
    }
}
