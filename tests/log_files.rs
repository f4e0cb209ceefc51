//! How a logger handles invalid batches and disks that fail.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::producer::{self, Producer, assert_each_once};
use support::raw::RawPeer;
use support::small_disk::SmallDisk;
use support::{Cluster, NodeSpec, Signal, binary, run_to_end, wait_for};
use zcluster::transport::SocketKind;
use zcluster::wire::LogMessage;
use zcluster::wire::zeek_bin::{BatchBuilder, LogValue};

const NODES: &[NodeSpec<'static>] =
    &[("manager", "manager"), ("logger-1", "logger"), ("worker-1", "worker")];

const COUNT: u32 = 3;

/// A hand-made batch with one field and already encoded records (WIRE.md §4.3).
struct HandMade<'a> {
    path: &'a [u8],
    fields: u32,
    field_type: u32,
    records: u32,
    values: &'a [u8],
}

impl Default for HandMade<'_> {
    fn default() -> Self {
        HandMade { path: b"bad", fields: 1, field_type: COUNT, records: 1, values: ONE }
    }
}

/// The count 1.
const ONE: &[u8] = &[0, 0, 0, 3, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1];

impl HandMade<'_> {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let number = |out: &mut Vec<u8>, n: u32| out.extend_from_slice(&n.to_be_bytes());
        for text in [b"Test::BAD".as_slice(), b"Log::WRITER_ASCII", b"default", self.path] {
            number(&mut out, text.len() as u32);
            out.extend_from_slice(text);
        }
        number(&mut out, self.fields);
        out.push(0);
        number(&mut out, 1);
        out.push(b'f');
        number(&mut out, self.field_type);
        number(&mut out, 0);
        out.push(0);
        number(&mut out, self.records);
        out.extend_from_slice(self.values);
        out
    }
}

fn good_batch(n: u64) -> Vec<u8> {
    let mut batch = BatchBuilder::new(producer::schema()).unwrap();
    batch.push(&[LogValue::from("good"), LogValue::Count(n)]).unwrap();
    batch.finish()
}

fn send(peer: &RawPeer, payload: &[u8]) {
    peer.send(&[LogMessage::KIND, b"stranger", LogMessage::ZEEK_BIN, payload]);
}

/// All files and directories below a directory.
fn everything_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(everything_below(&path));
        }
        found.push(path);
    }
    found
}

#[test]
fn bad_batches_are_counted_and_good_ones_written() {
    let cluster = Cluster::new(NODES, "");
    let mut logger = cluster.logger("logger-1");
    let before = everything_below(cluster.dir.path());
    let peer = RawPeer::connect(SocketKind::Push, &logger.endpoint("log"));
    send(&peer, &good_batch(0));

    let bad_paths: &[&[u8]] = &[b"./x", b"", b".hidden", b"new\nline", &[b'x'; 201]];
    for path in bad_paths {
        send(&peer, &HandMade { path, ..HandMade::default() }.encode());
    }

    let good = good_batch(7);
    let mut undecodable = vec![
        HandMade { fields: u32::MAX, ..HandMade::default() }.encode(),
        HandMade { records: u32::MAX, ..HandMade::default() }.encode(),
        HandMade { fields: 0, records: u32::MAX, ..HandMade::default() }.encode(),
        HandMade { field_type: 99, ..HandMade::default() }.encode(),
        HandMade { records: 2, ..HandMade::default() }.encode(),
        b"garbage".to_vec(),
        vec![0xff; 1 << 20],
        Vec::new(),
    ];
    undecodable.extend((0..good.len()).map(|length| good[..length].to_vec()));
    for payload in &undecodable {
        send(&peer, payload);
    }

    for format in [b"".as_slice(), b"unknown", b"ZEEK-BIN-SERIALIZER", b"\xff\0"] {
        peer.send(&[LogMessage::KIND, b"stranger", format, &good]);
    }
    let frames: &[&[&[u8]]] = &[
        &[b"log-write"],
        &[b"log-write", b"stranger", b"zeek-bin-serializer"],
        &[b"log-write", b"stranger", b"zeek-bin-serializer", &good, b"more"],
        &[b"x".as_slice(); 100],
    ];
    for frames in frames {
        peer.send(frames);
    }
    send(&peer, &good_batch(1));

    logger.wait_metric("zcluster_logger_records_total", 2.0);
    let rejected = |reason: &str| {
        logger
            .metric_with("zcluster_logger_batches_rejected_total", &format!("reason=\"{reason}\""))
    };
    assert_eq!(rejected("path"), bad_paths.len() as f64);
    assert_eq!(rejected("payload") + rejected("schema"), undecodable.len() as f64);
    assert_eq!(rejected("format"), 4.0);
    let errors = logger.metric("zeek_cluster_zeromq_msg_errors_total");
    assert_eq!(errors, frames.len() as f64);
    assert!(logger.health_alone().0);
    drop(peer);
    logger.stop();

    assert_eq!(cluster.log_lines(producer::PATH), ["good\t0", "good\t1"]);
    let mut after = everything_below(cluster.dir.path());
    after.retain(|path| !before.contains(path));
    assert_eq!(after, [cluster.log_dir("logger-1").join("numbers.log")]);
}

#[test]
fn the_log_of_a_former_run_is_kept() {
    let cluster = Cluster::new(NODES, "");
    fs::create_dir_all(cluster.log_dir("logger-1")).unwrap();
    let file = cluster.log_dir("logger-1").join("numbers.log");
    fs::write(&file, "of a former run\t0\n").unwrap();
    for n in 0..3 {
        let mut logger = cluster.logger("logger-1");
        let peer = RawPeer::connect(SocketKind::Push, &logger.endpoint("log"));
        send(&peer, &good_batch(n));
        drop(peer);
        logger.stop();
        let lines = fs::read_to_string(&file).unwrap();
        assert!(lines.contains(&format!("good\t{n}\n")), "{lines}");
    }
    let mut lines = cluster.log_lines(producer::PATH);
    lines.sort();
    assert_eq!(lines, ["good\t0", "good\t1", "good\t2", "of a former run\t0"]);
}

#[test]
fn a_full_disk_holds_everything_back_and_loses_nothing() {
    let options = "log_sndhwm = 10\n[log]\nwrite_buffer_size = 100\nflush_interval = \"50ms\"\n\
                   max_memory = \"64KiB\"";
    let cluster = Cluster::new(NODES, options);
    let folder = cluster.log_dir("logger-1");
    let Some(disk) = SmallDisk::mount(folder, "size=16m") else { return };
    let _broker = cluster.broker();
    let mut logger = cluster.logger("logger-1");
    let producer = Producer::start(&cluster, "worker-1");
    logger.wait_metric("zcluster_logger_records_total", 1000.0);

    let filler = disk.fill();
    let reason = wait_for("the logger to say that it is not well", || {
        let (healthy, reason) = logger.health_alone();
        (!healthy).then_some(reason)
    });
    assert!(reason.contains("numbers.log: No space left on device"), "{reason}");
    assert!(logger.is_running());

    filler.remove();
    wait_for("the logger to be well again", || logger.health_alone().0.then_some(()));
    producer.wait_more(1000);
    let written = producer.finish();
    logger.stop();
    assert_each_once(&cluster, &[written]);
    assert!(!logger.stderr().contains("lost"), "{}", logger.stderr());
}

#[test]
fn a_logger_that_cannot_write_ends_on_request_and_says_what_it_lost() {
    let options = "[log]\nwrite_buffer_size = 100\nflush_interval = \"50ms\"\n\
                   max_memory = \"64KiB\"\nshutdown_timeout = \"1s\"";
    let cluster = Cluster::new(NODES, options);
    let mut logger = cluster.logger("logger-1");
    fs::remove_dir_all(cluster.log_dir("logger-1")).unwrap();
    let producer = Producer::start(&cluster, "worker-1");
    // The writer retries its first piece, and others wait behind it.
    logger.wait_metric("zcluster_logger_queue_bytes", 1.0);
    wait_for("the logger to say that it is not well", || (!logger.health_alone().0).then_some(()));
    logger.signal(Signal::TERM);
    let status = logger.wait();
    let stderr = logger.stderr();
    assert_eq!(status.code(), Some(74), "{stderr}");
    assert!(stderr.lines().last().unwrap().contains("could not be written"), "{stderr}");
    assert!(!stderr.contains("written again"), "{stderr}");
    drop(producer);
}

#[test]
fn a_log_directory_that_cannot_be_made_is_one_clear_line() {
    let cluster = Cluster::new(NODES, "");
    fs::write(cluster.dir.path().join("logs"), "a file").unwrap();
    let ended = run_to_end(support::command("zcluster-logger").args([
        "--layout",
        cluster.layout_arg(),
        "--node",
        "logger-1",
    ]));
    assert_eq!(ended.code, Some(74), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    let path = cluster.dir.path().join("logs");
    let told = format!("the log directory {}: File exists", path.display());
    assert!(ended.stderr.contains(&told), "{}", ended.stderr);
    assert_eq!(ended.stdout, "");
}

#[test]
fn a_log_directory_that_cannot_be_written_is_one_clear_line() {
    let cluster = Cluster::new(NODES, "");
    let folder = cluster.log_dir("logger-1");
    fs::create_dir_all(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).unwrap();
    // Permissions do not apply to root, so root starts it as another user, from a copy that
    // everyone may execute.
    let mut command = if rustix::process::geteuid().is_root() {
        let copy = cluster.dir.path().join("zcluster-logger");
        fs::copy(binary("zcluster-logger"), &copy).unwrap();
        fs::set_permissions(cluster.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = Command::new(copy);
        command.uid(65534).gid(65534);
        command
    } else {
        Command::new(binary("zcluster-logger"))
    };
    let args = ["--layout", cluster.layout_arg(), "--node", "logger-1"];
    let ended = run_to_end(command.args(args));
    assert_eq!(ended.code, Some(74), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("logs/logger-1"), "{}", ended.stderr);
}
