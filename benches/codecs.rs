//! Benchmarks of the event codecs, with recorded traffic of a real cluster, and of encrypting and
//! decrypting frames.
//!
//! `cargo bench -p zcluster --bench codecs`; time divided by elements is time per event.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use zcluster::Event;
use zcluster::wire::zmtp::{
    CodecScratch, Curve, CurveCodec, KeyPair, Opening, SocketType, Step, put_frame,
};
use zcluster::wire::{EventFormat, Recording, broker_bin};

fn bench(c: &mut Criterion) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/events/cluster.zmq");
    let recording = std::fs::read(path).unwrap();
    let payloads: Vec<&[u8]> = Recording::new(&recording)
        // Topic, sender, format, payload.
        .map(|frames| frames.unwrap()[3])
        .collect();
    let events: Vec<Event> =
        payloads.iter().map(|payload| EventFormat::BrokerBinV1.decode(payload).unwrap()).collect();
    let mut group = c.benchmark_group(EventFormat::BrokerBinV1.name());
    group.throughput(Throughput::Elements(events.len() as u64));
    group.bench_function("check", |b| {
        b.iter(|| {
            for payload in &payloads {
                broker_bin::check_event(black_box(payload)).unwrap();
            }
        });
    });
    group.finish();
    for format in [EventFormat::BrokerBinV1, EventFormat::BrokerJsonV1] {
        let encoded: Vec<Vec<u8>> = events
            .iter()
            .map(|event| {
                let mut payload = Vec::new();
                format.encode(event, &mut payload);
                payload
            })
            .collect();
        let mut group = c.benchmark_group(format.name());
        group.throughput(Throughput::Elements(events.len() as u64));
        let mut out = Vec::new();
        group.bench_function("encode", |b| {
            b.iter(|| {
                for event in &events {
                    out.clear();
                    format.encode(event, &mut out);
                    black_box(&out);
                }
            });
        });
        group.bench_function("decode", |b| {
            b.iter(|| {
                for payload in &encoded {
                    black_box(format.decode(payload).unwrap());
                }
            });
        });
        group.finish();
    }
}

/// Both ends of an encrypted connection.
fn connection() -> [CurveCodec; 2] {
    let [client, server] = [(); 2].map(|()| KeyPair::generate());
    let to_server = Curve::Client { keys: Arc::new(client), server: *server.public() };
    let mut to_be_read = [Vec::new(), Vec::new()];
    let [at_server, at_client] = &mut to_be_read;
    let mut openings = [
        Opening::new(SocketType::Push, Some(to_server), at_server),
        Opening::new(SocketType::Pull, Some(Curve::Server(Arc::new([server]))), at_client),
    ];
    let mut codecs = [None, None];
    for side in (0..2).cycle() {
        let mut received = std::mem::take(&mut to_be_read[1 - side]);
        let out = &mut to_be_read[side];
        let (consumed, step) = openings[side].advance(&received, out).unwrap();
        let open = match step {
            Step::More => None,
            Step::Authorize(_) => Some(openings[side].authorize(true, out).unwrap()),
            Step::Open(open) => Some(open),
        };
        received.drain(..consumed);
        to_be_read[1 - side] = received;
        codecs[side] = open.map(|open| open.codec.unwrap());
        if side == 0 && codecs[0].is_some() {
            break;
        }
    }
    codecs.map(Option::unwrap)
}

fn bench_curve(c: &mut Criterion) {
    let [mut client, mut server] = connection();
    let (mut scratch, mut opening) = (CodecScratch::default(), CodecScratch::default());
    let mut group = c.benchmark_group("curve");
    for size in [64, 256, 1 << 10, 8 << 10, 64 << 10] {
        // As many as a connection reads at once.
        let count = ((256 << 10) / size).min(1000);
        let mut plain = Vec::new();
        for _ in 0..count {
            put_frame(&vec![b'x'; size], false, &mut plain);
        }
        group.throughput(Throughput::Bytes((size * count) as u64));
        let mut out = Vec::new();
        group.bench_function(format!("seal/{size}"), |b| {
            b.iter(|| {
                out.clear();
                black_box(server.seal(black_box(&plain), &mut out, &mut scratch).unwrap());
            });
        });
        group.bench_function(format!("open/{size}"), |b| {
            // A box can be opened only once.
            let seal = || {
                let mut sealed = Vec::new();
                server.seal(&plain, &mut sealed, &mut scratch).unwrap();
                sealed
            };
            let open = |sealed: Vec<u8>| {
                out.clear();
                black_box(client.open(&sealed, u64::MAX, &mut out, &mut opening).unwrap());
                sealed
            };
            b.iter_batched(seal, open, BatchSize::LargeInput);
        });
    }
    group.finish();
}

criterion_group!(benches, bench, bench_curve);
criterion_main!(benches);
