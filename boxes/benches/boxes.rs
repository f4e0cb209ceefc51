//! Sealing and opening runs of boxes, beside libsodium box by box.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use zcluster_boxes::{Engine, Slot, StreamKey, Workspace};
use zmq_sys::sodium::{BoxKey, public_key, random};

const PREFIX: &[u8; 16] = b"CurveZMQMESSAGES";

fn bench(criterion: &mut Criterion) {
    let (mut ours, mut theirs) = ([0; 32], [0; 32]);
    random(&mut ours);
    random(&mut theirs);
    let sodium = BoxKey::new(&public_key(&theirs), &ours).expect("a random key is none of the few");
    let key = *sodium.bytes();
    for payload in [256, 1024, 8192, 65536] {
        // An event is four frames, each with a byte of flags in its box.
        let events = (16384 / payload).clamp(1, 40);
        let mut slots = Vec::new();
        let mut start = 0;
        for event in 0..events {
            for (frame, len) in [20, 45, 13, payload].into_iter().enumerate() {
                let number = (4 * event + frame) as u64;
                slots.push(Slot { number, start, len: len + 1, ..Slot::default() });
                start += len + 1;
            }
        }
        let plain = vec![1; start];
        let mut group = criterion.benchmark_group(format!("{payload}"));
        group.throughput(Throughput::Elements(events as u64));
        let mut buffer = plain.clone();
        group.bench_function("seal/libsodium", |b| {
            b.iter(|| {
                for slot in &slots {
                    let mut nonce = [0; 24];
                    nonce[..16].copy_from_slice(PREFIX);
                    nonce[16..].copy_from_slice(&slot.number.to_be_bytes());
                    let message = &mut buffer[slot.start..slot.start + slot.len];
                    black_box(sodium.seal(&nonce, message));
                }
            });
        });
        for engine in Engine::available() {
            let key = StreamKey::with_engine(&key, PREFIX, engine);
            let mut work = Workspace::default();
            let mut buffer = plain.clone();
            group.bench_function(BenchmarkId::new("seal", format!("{engine:?}")), |b| {
                b.iter(|| key.seal(&mut work, black_box(&mut buffer), &mut slots));
            });
            let mut sealed = plain.clone();
            key.seal(&mut work, &mut sealed, &mut slots);
            group.bench_function(BenchmarkId::new("open", format!("{engine:?}")), |b| {
                b.iter(|| {
                    buffer.copy_from_slice(&sealed);
                    assert_eq!(key.open(&mut work, black_box(&mut buffer), &slots), slots.len());
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
