//! Which files are used, and how.

use std::os::unix::fs::PermissionsExt;

use rusqlite::Connection;

use super::super::JournalMode;
use super::super::open::{APPLICATION_ID, FORMAT};
use super::*;
use crate::peers::ErrorCode;

const IN_USE: &str = "it is used by another process, or by another store";

fn refusal(options: &Options) -> String {
    let Err(error) = Sqlite::open(options.clone(), None) else {
        panic!("{} was opened", options.path.display())
    };
    assert_eq!(error.code, ErrorCode::CannotOpenFile);
    assert!(!error.text.contains('\n'), "{error}");
    let start = format!("cannot open store file {}: ", options.path.display());
    error.text.strip_prefix(&start).unwrap_or_else(|| panic!("{error}")).to_owned()
}

fn database(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

/// Makes something that cannot be used, and says whether that is a database.
type Case = (&'static str, fn(&Path), bool, &'static str);

const CASES: &[Case] = &[
    ("text", |path| fs::write(path, "key = 1\n").unwrap(), false, "it is not a SQLite database"),
    (
        "long text",
        |path| fs::write(path, "key = 1\n".repeat(5000)).unwrap(),
        false,
        "it is not a SQLite database",
    ),
    ("directory", |path| fs::create_dir(path).unwrap(), false, "is a directory"),
    (
        "socket",
        |path| drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
        false,
        "it is not a regular file",
    ),
    (
        "link to nothing",
        |path| std::os::unix::fs::symlink("nothing", path).unwrap(),
        false,
        "No such file or directory (os error 2)",
    ),
    (
        "place of the log is taken",
        |path| fs::create_dir(path.with_extension("sqlite-wal")).unwrap(),
        false,
        "disk I/O error (SQLite's code 2570)",
    ),
    (
        "other application",
        |path| database(path, "CREATE TABLE a (b); INSERT INTO a VALUES (1)"),
        false,
        "it is another application's database, not a store",
    ),
    (
        "other application with a log",
        |path| database(path, "PRAGMA journal_mode = wal; CREATE TABLE a (b)"),
        false,
        "it is another application's database, not a store",
    ),
    (
        "other application's id",
        |path| database(path, "PRAGMA application_id = 1; VACUUM"),
        false,
        "it is another application's database, not a store",
    ),
    (
        "Broker",
        |path| {
            database(
                path,
                "create table if not exists meta(key text primary key, value text);
                 create table if not exists store(key blob primary key, value blob, expiry integer);",
            );
        },
        false,
        "it is a store of Zeek's Broker, which has another format",
    ),
    (
        "newer version",
        |path| {
            many_entries(path);
            database(path, "PRAGMA user_version = 2; ALTER TABLE entries ADD COLUMN new");
        },
        true,
        "a newer version has written it: its format is 2, expected at most 1",
    ),
    (
        "no version",
        |path| {
            many_entries(path);
            database(path, "PRAGMA user_version = 0");
        },
        true,
        "it is damaged: there is no format 0",
    ),
    (
        "cut off",
        |path| {
            many_entries(path);
            let content = fs::read(path).unwrap();
            fs::write(path, &content[..content.len() / 2]).unwrap();
        },
        true,
        "it is damaged: database disk image is malformed",
    ),
    (
        "first page",
        |path| {
            database(path, "CREATE TABLE a (b)");
            let mut content = fs::read(path).unwrap();
            content[100..4096].fill(0xee);
            fs::write(path, content).unwrap();
        },
        true,
        "it is damaged: database disk image is malformed",
    ),
];

#[test]
fn what_is_not_a_store_is_refused_and_left_alone() {
    for (name, make, _, expected) in CASES {
        let (_dir, path) = place();
        make(&path);
        let before = fs::read(&path).ok();
        assert_eq!(refusal(&options(&path)), *expected, "{name}");
        // A file that was made for the attempt has nothing in it.
        assert_eq!(fs::read(&path).ok().filter(|content| !content.is_empty()), before, "{name}");
    }
}

#[test]
fn only_databases_are_deleted() {
    for (name, make, is_database, expected) in CASES {
        let (_dir, path) = place();
        make(&path);
        let before = fs::read(&path).ok();
        if *is_database {
            let backend = Sqlite::open(deleting(&path), None);
            let (mut backend, found) = backend.and_then(try_load).expect(name);
            assert_eq!(found, [], "{name}");
            backend.commit(vec![put("a", "b")]).unwrap();
            drop(backend);
            let strict = Options { integrity_check: true, ..options(&path) };
            let (_, found) = try_load(Sqlite::open(strict, None).unwrap()).unwrap();
            assert_eq!(found, [put("a", "b")], "{name}");
            assert!(fs::metadata(&path).unwrap().len() < 50_000, "{name}");
        } else {
            assert_eq!(refusal(&deleting(&path)), *expected, "{name}");
            let after = fs::read(&path).ok().filter(|content| !content.is_empty());
            assert_eq!(after, before, "{name}");
        }
    }
}

#[test]
fn paths_that_cannot_be_are_refused() {
    let (dir, path) = place();
    fs::write(&path, "").unwrap();
    let missing = dir.path().join("missing");
    let is_missing = format!("the directory {} does not exist", missing.display());
    let cases = [
        (missing.join("a"), is_missing.as_str()),
        (path.join("a"), "Not a directory (os error 20)"),
        (dir.path().join("a".repeat(300)), "File name too long (os error 36)"),
        (PathBuf::from("/proc/zcluster"), "No such file or directory (os error 2)"),
        (PathBuf::from("/dev/null"), "it is not a regular file"),
        (PathBuf::new(), "cannot make an empty path absolute"),
    ];
    for (path, expected) in cases {
        assert_eq!(refusal(&deleting(&path)), expected);
    }
}

#[test]
fn an_empty_file_becomes_a_store() {
    let (_dir, path) = place();
    fs::write(&path, "").unwrap();
    let mut backend = open(&path);
    backend.commit(vec![put("a", "b")]).unwrap();
    drop(backend);
    assert_eq!(load(&path).1, [put("a", "b")]);
    let conn = Connection::open(&path).unwrap();
    for (pragma, expected) in [("application_id", APPLICATION_ID), ("user_version", FORMAT)] {
        let found: i32 = conn.pragma_query_value(None, pragma, |row| row.get(0)).unwrap();
        assert_eq!(found, expected);
    }
}

#[test]
fn a_log_whose_file_is_gone_is_not_read() {
    let (dir, path) = place();
    let mut backend = open(&path);
    backend.commit(vec![put("a", "b")]).unwrap();
    let other = dir.path().join("other.sqlite");
    fs::copy(dir.path().join("store.sqlite-wal"), dir.path().join("other.sqlite-wal")).unwrap();
    assert_eq!(load(&other).1, []);
}

#[test]
fn only_the_owner_can_read_a_new_file_and_its_log() {
    let (dir, path) = place();
    let mut backend = open(&path);
    backend.commit(vec![put("a", "b")]).unwrap();
    let mut names = Vec::new();
    for entry in fs::read_dir(dir.path()).unwrap().map(Result::unwrap) {
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0);
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["store.sqlite", "store.sqlite-wal"]);
}

#[test]
fn directories_are_created_only_below_one_that_exists() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b/c.sqlite");
    for base in [dir.path().join("a"), dir.path().join("other")] {
        let error = Sqlite::open(options(&path), Some(&base)).unwrap_err();
        assert!(
            error.text.ends_with("/a does not exist") || error.text.ends_with("/b does not exist"),
            "{error}"
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
    for _ in 0..2 {
        drop(Sqlite::open(options(&path), Some(dir.path())).unwrap());
    }
    assert!(path.is_file());
}

#[test]
fn options_are_in_effect() {
    let (_dir, path) = place();
    let cases = [
        (Synchronous::Off, JournalMode::Delete, 0, "delete"),
        (Synchronous::Normal, JournalMode::Wal, 1, "wal"),
        (Synchronous::Full, JournalMode::Wal, 2, "wal"),
        (Synchronous::Extra, JournalMode::Delete, 3, "delete"),
    ];
    for (round, (synchronous, journal_mode, number, word)) in (0_u8..).zip(cases) {
        let options = Options { synchronous, journal_mode, ..Options::new(&path) };
        let (mut backend, found) = try_load(Sqlite::open(options, None).unwrap()).unwrap();
        assert_eq!(found.len(), usize::from(round));
        backend.commit(vec![put([round], "")]).unwrap();
        let conn = &backend.conn;
        let synchronous: i64 =
            conn.pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap();
        let journal: String =
            conn.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        assert_eq!((synchronous, journal.as_str()), (number, word));
        if round < 2 {
            assert_eq!(refusal(&Options::new(&path)), IN_USE);
        }
    }
}

#[test]
fn a_second_store_cannot_have_the_file() {
    if is_child() {
        return assert_eq!(refusal(&deleting(Path::new("store.sqlite"))), IN_USE);
    }
    let (dir, path) = place();
    let mut backend = open(&path);
    // In this process it must not take the lock along when it fails.
    assert_eq!(refusal(&deleting(&path)), IN_USE);
    assert_passed(&in_child("files::a_second_store_cannot_have_the_file", dir.path()));
    backend.commit(vec![put("a", "b")]).unwrap();
    drop(backend);
    assert_eq!(load(&path).1, [put("a", "b")]);
}

#[test]
fn names_that_sqlite_knows_are_names_of_files() {
    let names = [":memory:", "file:a?mode=memory", "file:b"];
    if is_child() {
        for name in names {
            open(Path::new(name)).commit(vec![put("a", "b")]).unwrap();
        }
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let test = "files::names_that_sqlite_knows_are_names_of_files";
    assert_passed(&in_child(test, dir.path()));
    for name in names {
        assert_eq!(load(&dir.path().join(name)).1, [put("a", "b")]);
    }
}
