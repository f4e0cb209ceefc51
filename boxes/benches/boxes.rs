//! Sealing and opening one box at a time, beside libsodium: what an engine costs where there is no run
//! to share it. Runs are what the package `zcluster` measures (`--bench curve`).

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use zcluster_boxes::{Engine, Slot, StreamKey, Workspace};
use zmq_sys::sodium::{BoxKey, public_key, random};

const PREFIX: &[u8; 16] = b"CurveZMQMESSAGES";

/// Bytes of the messages.
const SIZES: [usize; 16] = [
    1,
    14,
    46,
    128,
    257,
    400,
    600,
    1000,
    1500,
    2000,
    3000,
    5000,
    12_000,
    1 << 16,
    1 << 18,
    1 << 20,
];

fn nonce(number: u64) -> [u8; 24] {
    let mut nonce = [0; 24];
    nonce[..16].copy_from_slice(PREFIX);
    nonce[16..].copy_from_slice(&number.to_be_bytes());
    nonce
}

/// The time of `iters` calls of `open`, each with a buffer as it was.
fn opening(iters: u64, sealed: &[u8], mut open: impl FnMut(&mut [u8]) -> bool) -> Duration {
    let mut buffer = sealed.to_vec();
    let timed = |_| {
        buffer.copy_from_slice(sealed);
        let start = Instant::now();
        assert!(open(black_box(&mut buffer)));
        start.elapsed()
    };
    (0..iters).map(timed).sum()
}

fn bench(criterion: &mut Criterion) {
    let (mut ours, mut theirs) = ([0; 32], [0; 32]);
    random(&mut ours);
    random(&mut theirs);
    let sodium = BoxKey::new(&public_key(&theirs), &ours).expect("a random key is none of the few");
    for len in SIZES {
        let mut group = criterion.benchmark_group(format!("{len}"));
        let mut buffer = vec![1; len];
        let number = nonce(7);
        group.bench_function("seal/libsodium", |b| {
            b.iter(|| sodium.seal(black_box(&number), black_box(&mut buffer)));
        });
        let mut sealed = vec![1; len];
        let tag = sodium.seal(&number, &mut sealed);
        let mut out = vec![0; len];
        group.bench_function("open/libsodium", |b| {
            b.iter_custom(|iters| {
                opening(iters, &sealed, |sealed| sodium.open(&number, &tag, sealed, &mut out))
            });
        });
        for engine in Engine::available() {
            let key = StreamKey::with_engine(sodium.bytes(), PREFIX, engine);
            let mut work = Workspace::default();
            let mut slots = [Slot { number: 7, start: 0, len, ..Slot::default() }];
            group.bench_function(format!("seal/{engine:?}"), |b| {
                b.iter(|| key.seal(&mut work, black_box(&mut buffer), &mut slots));
            });
            slots[0].tag = tag;
            group.bench_function(format!("open/{engine:?}"), |b| {
                b.iter_custom(|iters| {
                    opening(iters, &sealed, |sealed| key.open(&mut work, sealed, &slots) == 1)
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
