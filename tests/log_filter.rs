//! `RUST_LOG`: errors are always told, and a value that is wrong is an error of its own.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use support::{Cluster, NodeSpec, Process, command, run_to_end};

const NODES: &[NodeSpec<'static>] =
    &[("manager", "manager"), ("logger-1", "logger"), ("worker-1", "worker")];
const DAEMONS: [(&str, &str); 3] =
    [("zcluster-broker", "broker"), ("zcluster-node", "worker-1"), ("zcluster-logger", "logger-1")];

/// What nobody may take for a filter, and what is said of it.
const WRONG: &[(&[u8], &[&str])] = &[
    (b"debgu", &["RUST_LOG=\"debgu\"", "did you mean debug?", "Logging at info"]),
    (b"info,debgu", &["RUST_LOG=\"info,debgu\"", "Logging at info"]),
    (b"=", &["RUST_LOG=\"=\"", "expected a level (off, error, warn, info, debug, trace)"]),
    (b",", &["RUST_LOG=\",\"", "names no level"]),
    (b"zcluster=loud", &["\"loud\" where a level should be", "MODULE=LEVEL"]),
    (b"zclustr=debug", &["no module of this program", "Logging at info"]),
    (b"info/(", &["an invalid regular expression"]),
    (b"debug\xff", &["RUST_LOG=\"debug\u{fffd}\" is not UTF-8"]),
];

#[test]
fn a_failure_is_told_whatever_rust_log_says() {
    let right: &[&[u8]] =
        &[b"", b" ", b"info", b"error", b"off", b"zcluster_broker=off", b"off/nothing"];
    let rows = right.iter().map(|value| (*value, None));
    let rows = rows.chain(WRONG.iter().map(|(value, told)| (*value, Some(*told))));
    for (value, told) in rows {
        for (daemon, node) in DAEMONS {
            let mut command = command(daemon);
            command.env("RUST_LOG", OsStr::from_bytes(value));
            command.args(["--layout", "/nonexistent/layout.toml", "--node", node]);
            let ended = run_to_end(&mut command);
            let lines: Vec<&str> = ended.stderr.lines().collect();
            assert_eq!(ended.code, Some(74), "{daemon}, {value:?}: {lines:?}");
            let last = lines.last().unwrap_or_else(|| panic!("{daemon} is silent for {value:?}"));
            assert!(last.contains("ERROR") && last.contains("/nonexistent/layout.toml"), "{last}");
            let Some(told) = told else {
                assert_eq!(lines.len(), 1, "{daemon}, {value:?}: {lines:?}");
                continue;
            };
            assert_eq!(lines.len(), 2, "{daemon}, {value:?}: {lines:?}");
            let complaint = lines[0];
            assert!(complaint.contains("ERROR"), "{complaint}");
            assert!(told.iter().all(|part| complaint.contains(part)), "{complaint}");
        }
    }
}

#[test]
fn a_module_that_does_not_exist_is_a_warning() {
    for (value, name) in [
        ("info,zclustr=debug", "\"zclustr\""),
        // Told, though what is right asks for errors only.
        ("error,zcluster-broker=debug", "\"zcluster-broker\""),
    ] {
        for (daemon, node) in DAEMONS {
            let mut command = command(daemon);
            command.env("RUST_LOG", value);
            command.args(["--layout", "/nonexistent/layout.toml", "--node", node]);
            let ended = run_to_end(&mut command);
            let first = ended.stderr.lines().next().unwrap();
            assert!(first.contains("WARN") && first.contains(name), "{first}");
            assert_eq!((ended.code, ended.stderr.lines().count()), (Some(74), 2), "{first}");
        }
    }
}

#[test]
fn logging_goes_on_at_the_default_level() {
    for (value, says_info) in [("debgu", true), ("", true), ("warn", false), ("off", false)] {
        let cluster = Cluster::new(NODES, "");
        for (daemon, node) in DAEMONS {
            let mut command = command(daemon);
            command.env("RUST_LOG", value);
            command.args(["--layout", cluster.layout_arg(), "--node", node]);
            let mut process = Process::start_command(node, &mut command);
            process.stop();
            let stderr = process.stderr();
            assert_eq!(stderr.contains("serving HTTP"), says_info, "{daemon}, {value}: {stderr}");
        }
    }
}
