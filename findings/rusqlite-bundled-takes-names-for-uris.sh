#!/bin/sh
# rusqlite 0.37.0 with libsqlite3-sys 0.35.0, feature `bundled`: a file whose name begins with `file:` is taken for a URI,
# although the flags of `open_with_flags` leave out SQLITE_OPEN_URI. The bundled SQLite is compiled with SQLITE_USE_URI, so the flag
# decides nothing. A database with a name like `file:hosts?mode=memory` is never written to disk, and nothing says so: after the
# connection is closed, there is no file, and the next one finds an empty database. An absolute path is always a path.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir -p probe/src
cat > probe/Cargo.toml <<'END'
[package]
name = "probe"
version = "0.0.0"
edition = "2021"

[dependencies]
rusqlite = { version = "=0.37.0", features = ["bundled"] }
libsqlite3-sys = "=0.35.0"
END
cat > probe/src/main.rs <<'END'
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

/// Writes a row, opens the same name again, and says whether the row and a file are there.
fn kept(name: &Path) -> (bool, bool) {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    assert!(!flags.contains(OpenFlags::SQLITE_OPEN_URI));
    let first = Connection::open_with_flags(name, flags).unwrap();
    first.execute_batch("CREATE TABLE hosts (name); INSERT INTO hosts VALUES ('a')").unwrap();
    drop(first);
    let second = Connection::open_with_flags(name, flags).unwrap();
    let rows = second.query_row("SELECT count(*) FROM hosts", [], |row| row.get::<_, i64>(0));
    (rows.is_ok_and(|rows| rows == 1), name.is_file())
}

fn main() {
    let name = "file:hosts?mode=memory";
    let absolute = std::env::current_dir().unwrap().join(name);
    for (what, name) in [("relative", Path::new(name)), ("absolute", &absolute)] {
        let (row, file) = kept(name);
        println!("{what}: row kept {row}, file {file}");
    }
}
END
cargo run --quiet --manifest-path probe/Cargo.toml > seen
cat seen
cat > expected <<'END'
relative: row kept false, file false
absolute: row kept true, file true
END
cmp seen expected
