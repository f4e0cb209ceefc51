//! `[stores]`: what is accepted and what it means.

use std::path::Path;

use super::*;
use crate::layout::to_toml;
use crate::value::Timespan;

const NODES: &str = r#"
[nodes.m]
node_type = "manager"
ip = "127.0.0.1"
[nodes.worker-1]
node_type = "worker"
ip = "127.0.0.1"
"#;

fn with_nodes(text: &str) -> String {
    format!("{text}\n{NODES}")
}

/// The messages about stores.
fn warned(text: &str) -> Vec<String> {
    let all = warnings(text).into_iter();
    all.filter(|message| !message.contains("no node receives logs")).collect()
}

#[test]
fn a_store_without_a_section_has_zeeks_defaults() {
    let (layout, _) = read(&with_nodes("")).unwrap();
    let store = layout.store("a/b");
    assert_eq!(store, Store::default());
    assert_eq!(layout.store_master("a/b"), Some("m"));
    assert_eq!(layout.store_path("a/b"), Path::new("a/b.sqlite"));
    assert_eq!(layout.store_backend("a/b", false), StoreBackend::Memory);
    assert_eq!(layout.store_backend("a/b", true), StoreBackend::Sqlite);
    assert_eq!(store.clone_resync_interval, Duration::from_secs(10));
    assert_eq!(store.stale_after(), Some(Duration::from_secs(300)));
    assert_eq!(store.buffers_for(), Duration::from_secs(120));
    assert_eq!((store.max_value_size, store.integrity_check), (1 << 20, false));
    let modes = (store.synchronous, store.journal_mode, store.failure_mode);
    let expected = (SqliteSynchronous::Normal, SqliteJournalMode::Wal, SqliteFailureMode::Fail);
    assert_eq!(modes, expected);
}

#[test]
fn a_section_says_more_than_the_cluster_and_the_cluster_more_than_the_defaults() {
    let text = with_nodes(
        r#"
        [cluster]
        default_master_node = "worker-1"
        default_backend = "sqlite"
        default_persistent_backend = "Broker::SQLITE"
        default_store_dir = "/var/stores"
        [stores.plain]
        [stores."zeek/known/hosts"]
        master_node = "m"
        backend = "memory"
        [stores.own]
        backend = "sqlite"
        path = "own.db"
        synchronous = "extra"
        journal_mode = "delete"
        failure_mode = "delete"
        integrity_check = true
        clone_resync_interval = "1s"
        clone_stale_interval = -1
        clone_mutation_buffer_interval = "-1s"
        max_value_size = "16MiB"
        "#,
    );
    let (layout, _) = read(&text).unwrap();
    for (name, master, path, backends) in [
        ("plain", "worker-1", "/var/stores/plain.sqlite", [StoreBackend::Sqlite; 2]),
        ("unheard of", "worker-1", "/var/stores/unheard of.sqlite", [StoreBackend::Sqlite; 2]),
        ("zeek/known/hosts", "m", "/var/stores/zeek/known/hosts.sqlite", [StoreBackend::Memory; 2]),
        ("own", "worker-1", "own.db", [StoreBackend::Sqlite; 2]),
    ] {
        assert_eq!(layout.store_master(name), Some(master), "{name}");
        assert_eq!(layout.store_path(name), Path::new(path), "{name}");
        let found = [false, true].map(|persistent| layout.store_backend(name, persistent));
        assert_eq!(found, backends, "{name}");
    }
    let own = layout.store("own");
    assert_eq!((own.stale_after(), own.buffers_for()), (None, Duration::ZERO));
    let (again, _) = read(&to_toml(&layout)).unwrap();
    assert_eq!(again, layout);
}

#[test]
fn durations_below_0_are_read_as_others_and_printed_as_they_are_read() {
    let second = 1_000_000_000;
    for (written, nanos, printed) in [
        ("0", 0, "0s"),
        ("\"0s\"", 0, "0s"),
        ("90", 90 * second, "1m 30s"),
        ("\"5min\"", 300 * second, ""),
        ("0.5", second / 2, "500ms"),
        ("-1", -second, "-1s"),
        ("-0.5", -second / 2, "-500ms"),
        ("\"-1s\"", -second, "-1s"),
        ("\"-1h 30min\"", -5400 * second, "-1h 30m"),
        ("-9223372036854775807", -i64::MAX, "-292years 3months 7days 16h 6m 28s 854ms 775us 807ns"),
    ] {
        let text = with_nodes(&format!("[stores.a]\nclone_stale_interval = {written}"));
        let (layout, _) = read(&text).unwrap();
        assert_eq!(layout.store("a").clone_stale_interval, Timespan(nanos), "{written}");
        let out = to_toml(&layout);
        let line = format!("clone_stale_interval = \"{printed}\"");
        // The default is not printed.
        assert_eq!(out.contains(&line), !printed.is_empty(), "{out}");
        assert_eq!(read(&out).unwrap().0, layout, "{written}");
    }
}

#[test]
fn each_rule_of_stores_has_its_error() {
    for (text, expected) in [
        (
            "[cluster]\ndefault_master_node = \"worker-2\"",
            "2:23: `default_master_node` is `worker-2`, which is not in the layout; did you mean `worker-1`?",
        ),
        (
            "[stores.\"a/b\"]\nmaster_node = \"elsewhere\"",
            "2:15: `master_node` of the store `a/b` is `elsewhere`, which is not in the layout; expected the \
             name of a node",
        ),
        (
            "[stores.a]\nbackend = \"rocksdb\"",
            "2:11: `backend` in [stores.a]: found \"rocksdb\", expected one of \"memory\", \"sqlite\"",
        ),
        (
            "[cluster]\ndefault_backend = 3",
            "2:19: `default_backend` in [cluster]: found `3`, expected one of \"memory\", \"sqlite\"",
        ),
        (
            "[stores.a]\nsynchronous = \"FULL\"",
            "2:15: `synchronous` in [stores.a]: found \"FULL\", expected one of \"off\", \"normal\", \"full\", \
             \"extra\"",
        ),
        (
            "[stores.a]\njournal_mode = \"none\"",
            "2:16: `journal_mode` in [stores.a]: found \"none\", expected one of \"delete\", \"wal\"",
        ),
        (
            "[stores.a]\nfailure_mode = true",
            "2:16: `failure_mode` in [stores.a]: found `true`, expected one of \"fail\", \"delete\"",
        ),
        (
            "[stores.a]\nmaster = \"m\"",
            "2:1: unknown key `master` in [stores.a]; did you mean `master_node`?",
        ),
        (
            "[stores.a]\n[stores.b]\npath = \"./a.sqlite\"",
            "3:8: the stores `a` and `b` have the same file, \"./a.sqlite\"; expected one for each",
        ),
        (
            "[stores.a]\npath = \"b.sqlite\"\n[stores.b]",
            "3:9: the stores `a` and `b` have the same file, \"b.sqlite\"; expected one for each",
        ),
        (
            "[stores.a]\nclone_resync_interval = 0",
            "2:25: `clone_resync_interval` of the store `a`: found 0s, expected at least 100ms",
        ),
        (
            "[stores.a]\nclone_resync_interval = \"-1s\"",
            "2:25: `clone_resync_interval` in [stores.a]: found \"-1s\", expected a duration, such as \"5s\", \
             \"100ms\" or a number of seconds, not below 0",
        ),
        (
            "[stores.a]\nclone_stale_interval = \"--1s\"",
            "2:24: `clone_stale_interval` in [stores.a]: found \"--1s\", expected a duration, such as \"5min\", \
             \"-1s\" or a number of seconds",
        ),
        (
            "[stores.a]\nclone_stale_interval = \"-1\"",
            "2:24: `clone_stale_interval` in [stores.a]: found \"-1\", expected a duration, such as \"5min\", \
             \"-1s\" or a number of seconds; a number of seconds has no quotes",
        ),
        (
            "[stores.a]\nclone_mutation_buffer_interval = \"30days\"",
            "2:34: `clone_mutation_buffer_interval` of the store `a`: found 30days, expected at most 2147483s",
        ),
        (
            "[stores.a]\nmax_value_size = 1023",
            "2:18: `max_value_size` of the store `a`: found 1023 B, expected 1 KiB to 16 MiB",
        ),
        (
            "[stores.a]\nmax_value_size = \"17MiB\"",
            "2:18: `max_value_size` of the store `a`: found 17.0 MiB, expected 1 KiB to 16 MiB",
        ),
        (
            "[stores.a]\nmax_value_size = -1",
            "2:18: `max_value_size` in [stores.a]: found `-1`, expected a number of bytes, such as 1048576 or \
             \"64MiB\"",
        ),
        ("[store.a]", "1:2: unknown section `store`; did you mean `stores`?"),
    ] {
        assert_eq!(errors(&with_nodes(text)), [expected], "{text}");
    }
}

#[test]
fn names_of_stores_are_parts_of_topics_and_paths() {
    let long = "x".repeat(200);
    for name in ["a", "zeek/known/hosts", "A.b-c_d:1", ".a", "a..b", "{}", "\"", &long] {
        assert_eq!(check_store_name(name), Ok(()), "{name}");
    }
    let too_long = format!("{long}x");
    let cut = format!("{}\"…", "x".repeat(60));
    for (name, key, shown, problem) in [
        ("", "\"\"", "\"", "is empty"),
        ("a b", "\"a b\"", "a b\"", "contains a space"),
        ("a\\b", "'a\\b'", "a\\\\b\"", "contains `\\`"),
        ("a\n", "\"a\\n\"", "a\\n\"", "contains a character that is not printable ASCII"),
        ("é", "\"é\"", "é\"", "contains a character that is not printable ASCII"),
        ("/a", "\"/a\"", "/a\"", "starts with `/`"),
        ("a/", "\"a/\"", "a/\"", "has an empty part between or after `/`"),
        ("a//b", "\"a//b\"", "a//b\"", "has an empty part between or after `/`"),
        ("./a", "\"./a\"", "./a\"", "has `.` or `..` as a part"),
        ("a/../b", "\"a/../b\"", "a/../b\"", "has `.` or `..` as a part"),
        (&too_long, &too_long, &cut, "is longer than 200 bytes"),
    ] {
        let expected = format!(
            "the store name \"{shown} {problem}; expected 1 to 200 printable ASCII characters without spaces and \
             `\\`, such as \"zeek/known/hosts\""
        );
        assert_eq!(check_store_name(name).unwrap_err().to_string(), expected);
        // A store without a name has nothing else that could be wrong.
        let text = with_nodes(&format!("[stores.{key}]\nmaster_node = \"x\""));
        assert_eq!(errors(&text), [format!("1:9: {expected}")], "{name}");
    }
}

#[test]
fn what_a_store_cannot_use_is_a_warning() {
    let no_file = |key| format!("`{key}` of the store `a` has no effect: its backend is memory");
    let no_master = "the store `a` has no master: the layout has no manager; expected `master_node`, or \
                     `default_master_node` of [cluster]";
    let worker = "[nodes.worker-1]\nnode_type = \"worker\"\nip = \"127.0.0.1\"";
    for (text, expected) in [
        (
            with_nodes("[stores.a]\nbackend = \"memory\"\npath = \"x\"\nsynchronous = \"normal\""),
            vec![format!("3:8: {}", no_file("path")), format!("4:15: {}", no_file("synchronous"))],
        ),
        (
            with_nodes(
                "[stores.a]\nbackend = \"memory\"\njournal_mode = \"wal\"\nfailure_mode = \"fail\"\n\
                 integrity_check = true",
            ),
            vec![
                format!("3:16: {}", no_file("journal_mode")),
                format!("4:16: {}", no_file("failure_mode")),
                format!("5:19: {}", no_file("integrity_check")),
            ],
        ),
        (
            with_nodes("[cluster]\ndefault_persistent_backend = \"memory\"\n[stores.a]\npath = \"x\""),
            vec![
                "2:30: `default_persistent_backend` is \"memory\": stores that programs want to be persistent \
                 end with their masters"
                    .into(),
                format!("4:8: {}", no_file("path")),
            ],
        ),
        // Programs decide.
        (with_nodes("[stores.a]\npath = \"x\""), vec![]),
        // Files that are never written are not the same.
        (
            with_nodes("[stores.a]\nbackend = \"memory\"\n[stores.b]\npath = \"a.sqlite\""),
            vec![],
        ),
        (format!("[stores.a]\n{worker}"), vec![format!("1:9: {no_master}")]),
        (format!("[stores.a]\nmaster_node = \"worker-1\"\n{worker}"), vec![]),
    ] {
        let found: Vec<_> =
            warned(&text).into_iter().filter(|message| message.contains("store")).collect();
        assert_eq!(found, expected, "{text}");
    }
    let (layout, _) = read(worker).unwrap();
    assert_eq!(layout.store_master("a"), None);
}
