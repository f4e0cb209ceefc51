//! How long a record takes from the bytes of its batch to text, over recorded traffic.
//!
//! `cargo bench -p zcluster-logger --bench format`; time divided by elements is time per record.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../tests/recording/mod.rs"]
mod recording;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use zcluster::wire::zeek_bin::Batch;
use zcluster_logger::format::{Format, RecordFormatter, WriterOptions};

fn bench(c: &mut Criterion) {
    let payloads = recording::payloads("traffic.zmq");
    for path in [None, Some("conn"), Some("modbus"), Some("http")] {
        let chosen: Vec<&[u8]> = payloads
            .iter()
            .map(Vec::as_slice)
            .filter(|payload| path.is_none_or(|path| Batch::decode(payload).unwrap().path == path))
            .collect();
        let records: u64 =
            chosen.iter().map(|p| u64::from(Batch::decode(p).unwrap().num_records())).sum();
        let mut group = c.benchmark_group(path.unwrap_or("all"));
        group.throughput(Throughput::Elements(records));
        for (name, format) in [("tsv", Format::Tsv), ("json", Format::Json)] {
            let options = WriterOptions { format, ..WriterOptions::default() };
            // One formatter per header, found before the clock runs.
            let mut formatters: Vec<RecordFormatter> = Vec::new();
            let mut known: Vec<&[u8]> = Vec::new();
            let jobs: Vec<(usize, &[u8])> = chosen
                .iter()
                .map(|payload| {
                    let batch = Batch::decode(payload).unwrap();
                    let at = known.iter().position(|header| *header == batch.header_bytes());
                    let at = at.unwrap_or_else(|| {
                        known.push(batch.header_bytes());
                        formatters.push(RecordFormatter::new(&batch, &options).unwrap());
                        known.len() - 1
                    });
                    (at, *payload)
                })
                .collect();
            let mut out = Vec::new();
            group.bench_function(name, |b| {
                b.iter(|| {
                    out.clear();
                    for (at, payload) in &jobs {
                        let batch = Batch::decode(payload).unwrap();
                        formatters[*at].format_batch(&batch, &mut out).unwrap();
                    }
                    black_box(&out);
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
