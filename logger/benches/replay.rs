//! The logger as operators run it: recorded batches through a real PUSH socket into the real
//! binary, beside two yardsticks measured in the same run.
//!
//! `cargo bench -p zcluster-logger --bench replay [-- --help]`
//!
//! *Small* batches are those of the recording, four records on average; *full* ones hold the same
//! records, up to 1,000 a batch. The encrypted rows are the same under CURVE. There the sender
//! encrypts on the same machine, so records per CPU-second are more meaningful than records per
//! second. CPU time is that of the whole logger process, user and system, from the first batch to
//! the last byte written; memory is its peak resident set.
#![allow(clippy::unwrap_used, missing_docs)]

mod process;
#[path = "../tests/recording/mod.rs"]
mod recording;

use std::collections::HashMap;
use std::fs;
use std::hint::black_box;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Parser;
use zcluster::transport::{Context, Interest, PollSet};
use zcluster::wire::LogMessage;
use zcluster::wire::zeek_bin::Batch;
use zcluster_logger::format::{Format, RecordFormatter, WriterOptions};

use process::{Keys, Logger};

#[derive(Debug, clap::Parser)]
#[command(name = "replay", about = "Measures zcluster-logger at full speed")]
struct Args {
    /// Records sent in each run.
    #[arg(default_value_t = 3_000_000)]
    records: u64,
    /// Another build of zcluster-logger to measure beside this one.
    #[arg(long, value_name = "FILE")]
    before: Option<PathBuf>,
    /// Measure only rows of the logger whose names contain this, like `small: JSON, encrypted`.
    #[arg(long, value_name = "NAME")]
    row: Option<String>,
    /// Passed by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// One row of the table.
struct Row {
    what: String,
    records: u64,
    bytes: u64,
    wall: Duration,
    cpu: Duration,
    peak_kib: u64,
}

impl Row {
    fn print(&self) {
        let records = self.records as f64;
        let memory = if self.peak_kib == 0 {
            "-".to_owned()
        } else {
            format!("{} MiB", self.peak_kib / 1024)
        };
        println!(
            "{:<52} {:>12.0} {:>16.0} {:>9.0} {:>9}",
            self.what,
            records / self.wall.as_secs_f64(),
            records / self.cpu.as_secs_f64(),
            self.bytes as f64 / 1e6 / self.wall.as_secs_f64(),
            memory,
        );
    }
}

fn main() {
    let args = Args::parse();
    let wanted = args.records;
    let before = args.before.as_deref().map(|path| ("the build before", path));
    let now = ("zcluster-logger", Path::new(Logger::BINARY));
    let small = recording::payloads("traffic.zmq");
    let full = merge(&small);
    println!("{:<52} {:>12} {:>16} {:>9} {:>9}", "", "records/s", "records/CPU-s", "MB/s", "peak");
    for (size, batches) in [("small", &small), ("full", &full)] {
        if args.row.is_none() {
            yardstick_decode(size, batches, wanted).print();
        }
        for format in [Format::Tsv, Format::Json] {
            let name = if format == Format::Tsv { "TSV" } else { "JSON" };
            if args.row.is_none() {
                yardstick_write(size, name, batches, format, wanted).print();
            }
            for keys in [None, Some(Keys::new())] {
                let encrypted = if keys.is_some() { ", encrypted" } else { "" };
                let row = format!("{size}: {name}{encrypted}");
                if args.row.as_ref().is_some_and(|wanted| !row.contains(wanted)) {
                    continue;
                }
                for (who, binary) in before.into_iter().chain([now]) {
                    let mut row = replay(binary, name, batches, wanted, keys.as_ref());
                    row.what = format!("{size}: {who}, {name}{encrypted}");
                    row.print();
                }
            }
        }
    }
}

/// Merges the records into batches of up to 1,000.
fn merge(small: &[Vec<u8>]) -> Vec<Vec<u8>> {
    const FULL: u32 = 1000;
    let mut order: Vec<Vec<u8>> = Vec::new();
    let mut records: HashMap<Vec<u8>, (u32, Vec<u8>)> = HashMap::new();
    let mut full = Vec::new();
    let finish = |header: &[u8], count: u32, body: &[u8]| {
        let mut batch = header.to_vec();
        batch.extend_from_slice(&count.to_be_bytes());
        batch.extend_from_slice(body);
        batch
    };
    // Repeated, so that rare paths fill batches, too.
    for payload in small.iter().cycle().take(small.len() * 40) {
        let batch = Batch::decode(payload).unwrap();
        let header = batch.header_bytes().to_vec();
        let body = &payload[header.len() + 4..];
        let entry = records.entry(header.clone()).or_insert_with(|| {
            order.push(header.clone());
            (0, Vec::new())
        });
        entry.0 += batch.num_records();
        entry.1.extend_from_slice(body);
        if entry.0 >= FULL {
            full.push(finish(&header, entry.0, &entry.1));
            *entry = (0, Vec::new());
        }
    }
    for header in order {
        let (count, body) = &records[&header];
        if *count > 0 {
            full.push(finish(&header, *count, body));
        }
    }
    full
}

/// Repeats the batches up to `wanted` records.
fn endless(batches: &[Vec<u8>], wanted: u64) -> impl Iterator<Item = (&[u8], u64)> {
    let mut sent = 0;
    batches.iter().cycle().map_while(move |payload| {
        let records = u64::from(Batch::decode(payload).unwrap().num_records());
        (sent < wanted).then(|| {
            sent += records;
            (payload.as_slice(), records)
        })
    })
}

/// Reads every value of every record, in memory, on one thread.
fn yardstick_decode(size: &str, batches: &[Vec<u8>], wanted: u64) -> Row {
    let start = Instant::now();
    let (mut records, mut bytes) = (0, 0);
    for (payload, count) in endless(batches, wanted) {
        let batch = Batch::decode(payload).unwrap();
        let mut cursor = batch.cursor();
        for _ in 0..batch.num_records() {
            for field in batch.fields() {
                black_box(cursor.next_value(field.log_type).unwrap());
                while let Some(element) = cursor.next_element().unwrap() {
                    black_box(element);
                }
            }
        }
        records += count;
        bytes += payload.len() as u64;
    }
    let wall = start.elapsed();
    Row { what: format!("{size}: decoding only"), records, bytes, wall, cpu: wall, peak_kib: 0 }
}

/// Writes the same bytes of text with plain `write`, 128 KiB at a time.
fn yardstick_write(
    size: &str,
    name: &str,
    batches: &[Vec<u8>],
    format: Format,
    wanted: u64,
) -> Row {
    let options = WriterOptions { format, ..WriterOptions::default() };
    let mut formatters: HashMap<Vec<u8>, RecordFormatter> = HashMap::new();
    let mut text = Vec::new();
    let mut of_one_round = 0;
    for payload in batches {
        let batch = Batch::decode(payload).unwrap();
        let formatter = formatters
            .entry(batch.header_bytes().to_vec())
            .or_insert_with(|| RecordFormatter::new(&batch, &options).unwrap());
        of_one_round += u64::from(formatter.format_batch(&batch, &mut text).unwrap().records);
    }
    let dir = tempfile::tempdir().unwrap();
    let mut file = fs::File::create(dir.path().join("plain.log")).unwrap();
    let start = Instant::now();
    let (mut records, mut bytes) = (0, 0);
    while records < wanted {
        for chunk in text.chunks(128 << 10) {
            file.write_all(chunk).unwrap();
        }
        records += of_one_round;
        bytes += text.len() as u64;
    }
    let wall = start.elapsed();
    let what = format!("{size}: plain write of its {name}");
    Row { what, records, bytes, wall, cpu: wall, peak_kib: 0 }
}

/// Feeds the real binary through a real socket.
fn replay(
    binary: &Path,
    format: &str,
    batches: &[Vec<u8>],
    wanted: u64,
    keys: Option<&Keys>,
) -> Row {
    let format_line = format!("format = \"{}\"\n", format.to_lowercase());
    let logger = Logger::start(binary, &format_line, keys);
    let context = Context::new(1).unwrap();
    let push = logger.producer(&context, keys);
    let before = logger.usage();
    let start = Instant::now();
    let (mut records, mut bytes) = (0, 0);
    for (payload, count) in endless(batches, wanted) {
        let message = LogMessage {
            kind: LogMessage::KIND,
            sender: b"zeromq_bench_host_1_N0",
            format: LogMessage::ZEEK_BIN,
            payload,
        };
        while !push.try_send(&message.frames()).unwrap() {
            let mut poll = PollSet::new();
            poll.add(&push, Interest::Writable);
            poll.wait(None).unwrap();
        }
        records += count;
        bytes += payload.len() as u64;
    }
    // The last byte is written when the files stop growing and contain every record.
    let mut size_before = 0;
    let wall = loop {
        std::thread::sleep(Duration::from_millis(50));
        let now = start.elapsed();
        let written = logger.written();
        if written == size_before && written > 0 && logger.records() >= records {
            break now;
        }
        size_before = written;
        assert!(now < Duration::from_secs(600), "the logger does not keep up");
    };
    let cpu = logger.usage().cpu.saturating_sub(before.cpu);
    Row { what: String::new(), records, bytes, wall, cpu, peak_kib: logger.peak_memory() }
}
