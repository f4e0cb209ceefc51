//! Encrypting and decrypting what an outbox hands over: about 64 KiB of events. Each engine of this
//! machine, beside libsodium box by box. And the server's part of handshakes.
//!
//! `cargo bench -p zcluster --bench curve`; each time is that of one event of four frames, or of one
//! [`handshake`].
#![allow(clippy::unwrap_used, missing_docs)]

mod boxwise;
mod handshake;

use std::hint::black_box;
use std::time::{Duration, Instant};

use boxwise::Boxwise;
use criterion::{Criterion, criterion_group, criterion_main};
use zcluster::wire::zmtp::{CodecScratch, CurveCodec, put_frame};
use zcluster_boxes::Engine;
use zmq_sys::sodium::{BoxKey, KEY_SIZE, public_key, random};

/// Bytes of plain frames at once.
const RUN: usize = 64 << 10;

/// A topic, a node's id, a format and a payload.
fn put_event(payload: usize, out: &mut Vec<u8>) {
    for (size, more) in [(20, true), (45, true), (13, true), (payload, false)] {
        put_frame(&vec![b'x'; size], more, out);
    }
}

fn key() -> BoxKey {
    let mut secrets = [[0; KEY_SIZE]; 2];
    for secret in &mut secrets {
        random(secret);
    }
    BoxKey::new(&public_key(&secrets[0]), &secrets[1]).unwrap()
}

/// Calls `run`, which says how long its measured part took and handles `events` events, until `iters`
/// are handled. Returns the time of `iters`.
fn per_event(iters: u64, events: u64, mut run: impl FnMut() -> Duration) -> Duration {
    let runs = iters.div_ceil(events);
    let total: Duration = (0..runs).map(|_| run()).sum();
    total.mul_f64(iters as f64 / (runs * events) as f64)
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn bench(c: &mut Criterion) {
    let key = key();
    for payload in [0, 64, 256, 1 << 10, 8 << 10, 64 << 10, 1 << 20] {
        let mut plain = Vec::new();
        put_event(payload, &mut plain);
        let events = (RUN / plain.len()).max(1);
        (1..events).for_each(|_| put_event(payload, &mut plain));
        let events = events as u64;
        let (mut sealed, mut opened) = (Vec::new(), Vec::new());
        let mut group = c.benchmark_group(format!("{payload}"));
        let [mut client, mut server] = Boxwise::ends(&key);
        group.bench_function("seal/libsodium", |b| {
            b.iter_custom(|iters| {
                per_event(iters, events, || {
                    sealed.clear();
                    timed(|| client.seal(black_box(&plain), &mut sealed).unwrap())
                })
            });
        });
        group.bench_function("open/libsodium", |b| {
            b.iter_custom(|iters| {
                per_event(iters, events, || {
                    // A box can be opened only once.
                    sealed.clear();
                    client.seal(&plain, &mut sealed).unwrap();
                    opened.clear();
                    timed(|| server.open(black_box(&sealed), &mut opened).unwrap())
                })
            });
        });
        for engine in Engine::available() {
            let [mut client, mut server] = CurveCodec::ends(&key, engine);
            let mut scratch = CodecScratch::default();
            sealed.clear();
            opened.clear();
            client.seal([&plain[..]], &mut sealed, &mut scratch).unwrap();
            server.open(&sealed, u64::MAX, &mut opened, &mut scratch).unwrap();
            assert!(opened == plain);
            group.bench_function(format!("seal/{engine:?}"), |b| {
                b.iter_custom(|iters| {
                    per_event(iters, events, || {
                        sealed.clear();
                        let pieces = [black_box(&plain[..])];
                        timed(|| {
                            client.seal(pieces, &mut sealed, &mut scratch).unwrap();
                        })
                    })
                });
            });
            group.bench_function(format!("open/{engine:?}"), |b| {
                b.iter_custom(|iters| {
                    per_event(iters, events, || {
                        sealed.clear();
                        client.seal([&plain[..]], &mut sealed, &mut scratch).unwrap();
                        opened.clear();
                        let sealed = black_box(&sealed);
                        timed(|| {
                            server.open(sealed, u64::MAX, &mut opened, &mut scratch).unwrap();
                        })
                    })
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, bench, handshake::bench);
criterion_main!(benches);
