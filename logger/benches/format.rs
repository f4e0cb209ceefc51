//! Time to format a record, from the bytes of its batch to text, over recorded traffic.
//!
//! `cargo bench -p zcluster-logger --bench format`; time divided by elements is time per record.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../tests/recording/mod.rs"]
mod recording;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use zcluster::wire::zeek_bin::Batch;
use zcluster_logger::format::{Format, RecordFormatter, WriterOptions};

/// Returns the recorded batches of one path as a producer under load would send them: all records
/// in one batch, repeated until there are a thousand, the number at which Zeek sends.
fn full_batches(path: &str) -> Vec<Vec<u8>> {
    let mut merged: Vec<(Vec<u8>, u32, Vec<u8>)> = Vec::new();
    for payload in recording::payloads("traffic.zmq") {
        let batch = Batch::decode(&payload).unwrap();
        if path != "all" && batch.path != path {
            continue;
        }
        let header = batch.header_bytes();
        let at = merged.iter().position(|(known, ..)| known == header).unwrap_or_else(|| {
            merged.push((header.to_vec(), 0, Vec::new()));
            merged.len() - 1
        });
        merged[at].1 += batch.num_records();
        // The count after the header has four bytes.
        merged[at].2.extend_from_slice(&payload[header.len() + 4..]);
    }
    let full = |(header, count, records): (Vec<u8>, u32, Vec<u8>)| {
        let times = 1000 / count + 1;
        let count = (count * times).to_be_bytes();
        [header, count.to_vec(), records.repeat(times as usize)].concat()
    };
    merged.into_iter().map(full).collect()
}

fn bench(c: &mut Criterion) {
    for path in ["all", "conn", "dns", "http", "modbus"] {
        let payloads = full_batches(path);
        let records = |payload: &Vec<u8>| u64::from(Batch::decode(payload).unwrap().num_records());
        let mut group = c.benchmark_group(path);
        group.throughput(Throughput::Elements(payloads.iter().map(records).sum()));
        for (name, format) in [("tsv", Format::Tsv), ("json", Format::Json)] {
            let options = WriterOptions { format, ..WriterOptions::default() };
            let formatters: Vec<RecordFormatter> = payloads
                .iter()
                .map(|payload| Batch::decode(payload).unwrap())
                .map(|batch| RecordFormatter::new(&batch, &options).unwrap())
                .collect();
            let mut out = Vec::new();
            group.bench_function(name, |b| {
                b.iter(|| {
                    out.clear();
                    for (payload, formatter) in payloads.iter().zip(&formatters) {
                        let batch = Batch::decode(payload).unwrap();
                        formatter.format_batch(&batch, &mut out).unwrap();
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
