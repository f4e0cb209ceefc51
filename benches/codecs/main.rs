//! Benchmarks of the event codecs, with recorded traffic of a real cluster, and of typed events and log records.
//!
//! `cargo bench -p zcluster --bench codecs`; time divided by elements is time per event.
#![allow(clippy::unwrap_used, missing_docs)]

mod logs;
mod typed;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use zcluster::Event;
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

criterion_group!(benches, bench, typed::bench, logs::bench);
criterion_main!(benches);
