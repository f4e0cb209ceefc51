//! Damage, full disks, and what comes after.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::process::{Resource, Rlimit, setrlimit};

use super::*;
use crate::peers::ErrorCode;

const INDEX: &str = "sqlite_autoindex_entries_1";

#[test]
fn an_integrity_check_finds_what_loading_does_not() {
    let (_dir, path) = place();
    many_entries(&path);
    damage(&path, INDEX);
    assert_eq!(load(&path).1.len(), 2000);
    let checking = |options| Options { integrity_check: true, ..options };
    let error = Sqlite::open(checking(options(&path)), None).unwrap_err();
    assert_eq!(error.code, ErrorCode::CannotOpenFile);
    assert!(error.text.contains(": it is damaged: "), "{error}");
    assert!(!error.text.contains('\n'), "{error}");
    let backend = Sqlite::open(checking(deleting(&path)), None).unwrap();
    assert_eq!(try_load(backend).unwrap().1, []);
    assert!(Sqlite::open(checking(options(&path)), None).is_ok());
}

#[test]
fn a_damaged_table_is_found_when_it_is_loaded() {
    for table in ["entries", "master", "clients", "answers"] {
        let (_dir, path) = place();
        many_entries(&path);
        damage(&path, table);
        let error = try_load(open(&path)).unwrap_err();
        assert_eq!(error.code, ErrorCode::CannotOpenFile, "{table}");
        assert!(
            error.text.ends_with(": it is damaged: database disk image is malformed"),
            "{error}"
        );
        let (mut backend, found) = try_load(Sqlite::open(deleting(&path), None).unwrap()).unwrap();
        assert_eq!(found, [], "{table}");
        backend.commit(vec![put("a", "b")]).unwrap();
        drop(backend);
        assert_eq!(load(&path).1, [put("a", "b")]);
    }
}

#[test]
fn values_of_other_types_are_damage() {
    for sql in ["UPDATE entries SET value = 7", "DROP TABLE answers"] {
        let (_dir, path) = place();
        open(&path).commit(vec![put("a", "b")]).unwrap();
        rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let error = try_load(open(&path)).unwrap_err();
        assert!(error.text.contains(": it is damaged: "), "{error}");
        let backend = Sqlite::open(deleting(&path), None).unwrap();
        assert_eq!(try_load(backend).unwrap().1, []);
    }
}

#[test]
fn a_batch_that_finds_no_room_leaves_nothing_and_the_next_one_works() {
    let (_dir, path) = place();
    let mut backend = open(&path);
    backend.commit(vec![put("a", "1")]).unwrap();
    backend.conn.pragma_update(None, "max_page_count", 30).unwrap();
    let large = || put("large", vec![1; 1 << 20]);
    for _ in 0..3 {
        let error = backend.commit(vec![put("a", "2"), put("b", "3"), large()]).unwrap_err();
        assert_eq!(error.code, ErrorCode::BackendFailure);
        let expected = format!(
            "cannot write store file {}: database or disk is full (SQLite's code 13)",
            path.display()
        );
        assert_eq!(error.text, expected);
        backend.commit(vec![put("c", "4")]).unwrap();
    }
    drop(backend);
    let (mut backend, found) = load(&path);
    assert_eq!(found, [put("a", "1"), put("c", "4")]);
    backend.commit(vec![large()]).unwrap();
}

#[test]
fn when_the_system_refuses_to_write_nothing_is_lost_and_the_next_batch_works() {
    if !is_child() {
        let dir = tempfile::tempdir().unwrap();
        let test =
            "failures::when_the_system_refuses_to_write_nothing_is_lost_and_the_next_batch_works";
        return assert_passed(&in_child(test, dir.path()));
    }
    // The limit is the process's. Without a handler, the signal would end it.
    signal_hook::flag::register(libc::SIGXFSZ, Arc::new(AtomicBool::new(false))).unwrap();
    let limit = |current| setrlimit(Resource::Fsize, Rlimit { current, maximum: None }).unwrap();
    let path = Path::new("store.sqlite");
    let mut backend = open(path);
    let mut expected = 0_u32;
    // The limit is met at different places: within a page, between pages, in the first and the last of a batch.
    for limit_at in (100_000..140_000).step_by(1111) {
        limit(Some(limit_at));
        let error = loop {
            let batch = [expected, expected + 1].map(|n| put(n.to_be_bytes(), vec![7; 3000]));
            match backend.commit(batch.to_vec()) {
                Ok(()) => expected += 2,
                Err(error) => break error,
            }
        };
        assert_eq!(error.code, ErrorCode::BackendFailure);
        assert!(error.text.contains("disk I/O error (SQLite's code 778)"), "{error}");
        assert!(backend.commit(vec![put("a", vec![1; 1 << 20])]).is_err());
        limit(None);
        backend.commit(vec![put(expected.to_be_bytes(), "")]).unwrap();
        expected += 1;
        // Sometimes it is opened again, which empties the log.
        if limit_at % 2 == 0 {
            drop(backend);
            let found;
            (backend, found) = load(path);
            assert_eq!(found.len(), expected as usize);
        }
        if expected > 200 {
            backend.commit(vec![Record::Clear]).unwrap();
            expected = 0;
            drop(backend);
            fs::remove_file(path).unwrap();
            backend = open(path);
        }
    }
    drop(backend);
    assert_eq!(load(path).1.len(), expected as usize);
}
