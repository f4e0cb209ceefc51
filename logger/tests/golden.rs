//! The recorded batches, formatted, are the files a Zeek logger wrote from them, byte for byte
//! (`tests/fixtures/README.md`).
#![allow(clippy::unwrap_used, missing_docs)]

mod recording;

use std::collections::BTreeMap;
use std::fs;

use bstr::{BString, ByteSlice};
use zcluster::wire::zeek_bin::Batch;
use zcluster_logger::format::{Format, RecordFormatter, WriterOptions};

/// Formats all batches in order, each path into its own text.
fn format_all(recording: &str, options: &WriterOptions) -> BTreeMap<BString, Vec<u8>> {
    let mut formatters: BTreeMap<Vec<u8>, RecordFormatter> = BTreeMap::new();
    let mut files: BTreeMap<BString, Vec<u8>> = BTreeMap::new();
    for payload in recording::payloads(recording) {
        let batch = Batch::decode(&payload).unwrap();
        let formatter = formatters
            .entry(batch.header_bytes().to_vec())
            .or_insert_with(|| RecordFormatter::new(&batch, options).unwrap());
        let file = files.entry(batch.path.into()).or_default();
        if file.is_empty() {
            formatter.header("TIME", file);
        }
        assert_eq!(
            formatter.format_batch(&batch, file).map(|done| done.records),
            Ok(batch.num_records())
        );
    }
    for formatter in formatters.values() {
        let name = formatter.path();
        formatter.footer("TIME", files.get_mut(name).unwrap());
    }
    files
}

/// The text of a golden file with its two times replaced.
fn golden(folder: &str, path: &BString) -> Vec<u8> {
    let file = format!("{}/{folder}/{path}.log", recording::FOLDER);
    let text = fs::read(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let mut out = Vec::new();
    for line in text.lines_with_terminator() {
        match ["#open\t", "#close\t"].iter().find(|key| line.starts_with_str(key)) {
            Some(key) => out.extend_from_slice(format!("{key}TIME\n").as_bytes()),
            None => out.extend_from_slice(line),
        }
    }
    out
}

fn check(recording: &str, folder: &str, format: Format) {
    let files = format_all(recording, &WriterOptions { format, ..WriterOptions::default() });
    let recorded = fs::read_dir(format!("{}/{folder}", recording::FOLDER)).unwrap().count();
    assert_eq!(files.len(), recorded, "{folder}");
    for (path, text) in &files {
        let expected = golden(folder, path);
        for (number, (ours, zeeks)) in text.lines().zip(expected.lines()).enumerate() {
            assert_eq!(ours.as_bstr(), zeeks.as_bstr(), "{folder}/{path}.log:{}", number + 1);
        }
        assert!(*text == expected, "{folder}/{path}.log: number of lines");
    }
}

#[test]
fn odd_values_as_tsv() {
    check("odd.zmq", "odd-tsv", Format::Tsv);
}

#[test]
fn odd_values_as_json() {
    check("odd.zmq", "odd-json", Format::Json);
}

#[test]
fn traffic_as_tsv() {
    check("traffic.zmq", "traffic-tsv", Format::Tsv);
}

#[test]
fn traffic_as_json() {
    check("traffic.zmq", "traffic-json", Format::Json);
}
