//! External programs that tests check ours against: `jq`, `promtool`, packages of Python and npm, a
//! browser.
//!
//! They are optional: a test without its program reports that it was skipped. `.ci/run` installs
//! them, so where `CI` is set a missing one is a failure.

use std::path::{Path, PathBuf};

/// The path of a program, or `None`, with a line on standard error, if the machine does not have
/// it.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file());
    if found.is_none() {
        missing(program);
    }
    found
}

/// The library that changes the time a program sees (Debian's `libfaketime`).
pub fn faketime() -> Option<PathBuf> {
    let dirs = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let file = |dir: std::fs::DirEntry| dir.path().join("faketime/libfaketimeMT.so.1");
    let found = dirs.map(file).find(|file| file.is_file());
    if found.is_none() {
        missing("libfaketime");
    }
    found
}

/// The directory of `tests/clients`.
pub fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// A program of the Python environment with the packages of `tests/clients/requirements.txt`.
pub fn python_client(program: &str) -> Option<PathBuf> {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients/venv");
    let found = Some(venv.join("bin").join(program)).filter(|file| file.is_file());
    if found.is_none() {
        missing("target/clients/venv with the packages of tests/clients/requirements.txt");
    }
    found
}

/// Node, if the packages of `tests/clients/package.json` are there as well.
pub fn node() -> Option<PathBuf> {
    if !clients().join("node_modules/ws").is_dir() {
        missing("tests/clients/node_modules (npm ci)");
        return None;
    }
    find("node")
}

/// Chromium.
pub fn chromium() -> Option<PathBuf> {
    find("chromium")
}

/// Reports that a test's requirement is missing.
pub fn missing(what: &str) {
    assert!(std::env::var_os("CI").is_none(), "{what} is missing, and .ci/run should install it");
    eprintln!("{what} is not on this machine: this test is left out");
}
