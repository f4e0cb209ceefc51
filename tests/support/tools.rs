//! Programs of others that tests hold ours against: `jq`, `promtool`, Python's packages.
//!
//! Whoever runs the tests need not have them: a test then says that it was left out. The gate
//! (`.ci/run`) installs them, and there (`CI` is set) a missing one is a failure.

use std::path::PathBuf;

/// Where a program is, or `None`, told on standard error, on a machine that does not have it.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file());
    if found.is_none() {
        missing(program);
    }
    found
}

/// The library that shows a program another time of day (Debian's `libfaketime`).
pub fn faketime() -> Option<PathBuf> {
    let dirs = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let file = |dir: std::fs::DirEntry| dir.path().join("faketime/libfaketimeMT.so.1");
    let found = dirs.map(file).find(|file| file.is_file());
    if found.is_none() {
        missing("libfaketime");
    }
    found
}

/// Says that something is not there that a test needs.
pub fn missing(what: &str) {
    assert!(std::env::var_os("CI").is_none(), "{what} is missing, and .ci/run should install it");
    eprintln!("{what} is not on this machine: this test is left out");
}
