mod content;
mod failures;
mod files;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rusqlite::Connection;
use tempfile::TempDir;

use super::super::{Backend, ClientId, Record};
use super::{FailureMode, Options, Sqlite, Synchronous};
use crate::store::StoreError;

/// A directory with the path of a file in it that does not exist yet.
fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.sqlite");
    (dir, path)
}

/// Without waiting for the disk, which tests need not.
fn options(path: &Path) -> Options {
    Options { synchronous: Synchronous::Off, ..Options::new(path) }
}

fn deleting(path: &Path) -> Options {
    Options { failure_mode: FailureMode::Delete, ..options(path) }
}

fn open(path: &Path) -> Sqlite {
    Sqlite::open(options(path), None).unwrap()
}

fn try_load(mut backend: Sqlite) -> Result<(Sqlite, Vec<Record>), StoreError> {
    let mut records = Vec::new();
    backend.load(&mut |record| records.push(record))?;
    Ok((backend, records))
}

/// Opens it, and returns what is in it.
fn load(path: &Path) -> (Sqlite, Vec<Record>) {
    try_load(open(path)).unwrap()
}

fn put(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Record {
    Record::Put { key: key.into(), value: value.into(), expiry: None }
}

fn client(process: &str, number: u64) -> ClientId {
    ClientId { process: process.into(), number }
}

/// Writes a file with so many entries that tables have several pages.
fn many_entries(path: &Path) {
    let mut backend = open(path);
    let batch = (0..2000_u32).map(|n| put(n.to_be_bytes(), vec![b'v'; 100]));
    backend.commit(batch.collect()).unwrap();
}

/// Overwrites the first page of a table or index.
fn damage(path: &Path, name: &str) {
    let conn = Connection::open(path).unwrap();
    let sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
    let page: usize = conn.query_row(sql, [name], |row| row.get(0)).unwrap();
    drop(conn);
    let mut content = fs::read(path).unwrap();
    content[(page - 1) * 4096..page * 4096].fill(0xee);
    fs::write(path, content).unwrap();
}

/// Set for a test that runs in a process of its own.
const CHILD: &str = "ZCLUSTER_SQLITE_CHILD";

/// Runs a test of this module again, in a process of its own, which begins in that directory.
fn in_child(test: &str, dir: &Path) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", &format!("store::backend::sqlite::tests::{test}")])
        .env(CHILD, "1")
        .current_dir(dir)
        .output()
        .unwrap()
}

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

fn assert_passed(Output { status, stdout, stderr }: &Output) {
    let (stdout, stderr) = (String::from_utf8_lossy(stdout), String::from_utf8_lossy(stderr));
    assert!(status.success() && stdout.contains("1 passed"), "{stdout}{stderr}");
}
