//! The files that loggers write, read as their users would: live and rotated, compressed or not,
//! and `rotated.ndjson`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

/// The list of rotated files in a log directory.
pub const MANIFEST: &str = "rotated.ndjson";

/// The log files in a directory, live and rotated, by name; empty if it does not exist.
pub fn log_files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return vec![] };
    let is_log = |file: &PathBuf| {
        let name = file.file_name().unwrap().to_str().unwrap();
        file.is_file() && !name.starts_with('.') && name != MANIFEST
    };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).filter(is_log).collect();
    files.sort();
    files
}

/// Reads the text of a file, with or without compression. If it is still being written, reads the
/// text so far.
pub fn read_text(file: &Path) -> io::Result<String> {
    let bytes = fs::read(file)?;
    let mut text = Vec::new();
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("zst") => text = zstd::decode_all(&*bytes)?,
        Some("gz") => {
            let outcome = flate2::read::MultiGzDecoder::new(&*bytes).read_to_end(&mut text);
            match outcome {
                // The stream is incomplete.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                outcome => drop(outcome?),
            }
        }
        _ => text = bytes,
    }
    Ok(String::from_utf8(text).unwrap())
}

/// The lines of a text that are records.
pub fn records(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.starts_with('#'))
}

/// Fails unless `text` is a TSV log from header to footer, in whole lines.
pub fn assert_complete(file: &Path, text: &str) {
    let file = file.display();
    assert!(text.starts_with("#separator \\x09\n"), "{file} has no header");
    let last = text.strip_suffix('\n').unwrap_or_else(|| panic!("{file} ends in a torn line"));
    let last = last.rsplit('\n').next().unwrap();
    assert!(last.starts_with("#close\t"), "{file} ends in {last:?}");
    let mut columns = 0;
    for (number, line) in text.lines().enumerate() {
        match line.strip_prefix("#fields\t") {
            Some(fields) => columns = fields.split('\t').count(),
            None if line.starts_with('#') => {}
            None => {
                let found = line.split('\t').count();
                assert_eq!(found, columns, "{file}:{}: {line:?}", number + 1);
            }
        }
    }
}

/// Checks each line of `rotated.ndjson` against its file. Returns the lines by file name.
pub fn check_manifest(log_dir: &Path) -> BTreeMap<PathBuf, Json> {
    let mut lines = BTreeMap::new();
    let text = match fs::read_to_string(log_dir.join(MANIFEST)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return lines,
        outcome => outcome.unwrap(),
    };
    for line in text.lines() {
        let line: Json = serde_json::from_str(line).unwrap_or_else(|error| {
            panic!("torn line in {MANIFEST} ({error}): {line:?}");
        });
        let file = PathBuf::from(line["file"].as_str().unwrap());
        let bytes = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let sum = HEXLOWER.encode(&Sha256::digest(&bytes));
        assert_eq!(line["sha256"], sum, "{line}");
        assert_eq!(line["size"], bytes.len(), "{line}");
        let text = read_text(&file).unwrap();
        assert_eq!(line["bytes"], text.len(), "{line}");
        assert_eq!(line["records"], records(&text).count(), "{line}");
        assert!(line["open"].as_f64() <= line["close"].as_f64(), "{line}");
        let before = lines.insert(file, line);
        assert_eq!(before, None, "two lines about one file");
    }
    lines
}

/// The complete lines of `rotated.ndjson` so far.
pub fn manifest(log_dir: &Path) -> Vec<Json> {
    let text = fs::read_to_string(log_dir.join(MANIFEST)).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(|line| serde_json::from_str(line).unwrap()).collect()
}
