//! Effects of `[log]` options on files: gzip streams, options per path, few file descriptors; and
//! `--check`, which changes nothing.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::log_dir::{assert_complete, check_manifest, log_files, read_text, records};
use support::producer::{self, PATH, Producer};
use support::raw::{RawPeer, tcp};
use support::{Cluster, Ended, NodeSpec, Process, binary, command, run_to_end, wait_for};
use zcluster::transport::SocketKind;
use zcluster::wire::LogMessage;
use zcluster::wire::zeek_bin::{BatchBuilder, LogSchema, LogValue};

const NODES: &[NodeSpec<'static>] =
    &[("manager", "manager"), ("logger-1", "logger"), ("worker-1", "worker")];

/// A batch of numbered records with that path.
fn batch(path: &str, numbers: std::ops::Range<u64>) -> Vec<u8> {
    let schema = LogSchema::new("Test::NUMBERS", path, producer::schema().fields);
    let mut batch = BatchBuilder::new(schema).unwrap();
    for n in numbers {
        batch.push(&[LogValue::from("peer"), LogValue::Count(n)]).unwrap();
    }
    batch.finish()
}

fn send(peer: &RawPeer, payload: &[u8]) {
    peer.send(&[LogMessage::KIND, b"peer", LogMessage::ZEEK_BIN, payload]);
}

/// The numbers of the records in a text of one producer.
fn numbers(text: &str) -> impl Iterator<Item = u64> {
    records(text).map(|line| line.split_once('\t').unwrap().1.parse().unwrap())
}

#[test]
fn files_that_are_gzip_streams_read_at_any_time() {
    let options = "[log]\ngzip_level = 6\nflush_interval = \"10ms\"\nwrite_buffer_size = 100";
    let cluster = Cluster::new(NODES, options);
    let mut logger = cluster.logger("logger-1");
    let file = cluster.log_dir("logger-1").join("numbers.log.gz");
    let producer = Producer::start(&cluster, "worker-1");
    for more in [1, 1000, 10_000] {
        logger.wait_metric("zcluster_logger_records_written_total", f64::from(more));
        let text = read_text(&file).unwrap();
        let whole = &text[..=text.rfind('\n').unwrap()];
        let count = numbers(whole).zip(0..).inspect(|(n, expected)| assert_eq!(n, expected));
        assert!(count.count() >= more as usize, "what counts as written can be read");
    }
    let (_, written) = producer.finish();
    logger.stop();
    let text = read_text(&file).unwrap();
    assert_complete(&file, &text);
    assert!(numbers(&text).eq(0..written));
    // Strict readers, which require the end of the stream, accept it, too.
    let mut whole = Vec::new();
    let mut strict = flate2::read::MultiGzDecoder::new(fs::File::open(&file).unwrap());
    std::io::Read::read_to_end(&mut strict, &mut whole).unwrap();
    assert_eq!(whole, text.as_bytes());
}

#[test]
fn rotated_files_are_compressed_with_gzip() {
    let options = "[log]\nrotation = \"1h\"\ncompress = \"gzip\"\ncompress_level = 9";
    let cluster = Cluster::new(NODES, options);
    let mut logger = cluster.logger("logger-1");
    let peer = RawPeer::connect(SocketKind::Push, &logger.endpoint("log"));
    send(&peer, &batch("a", 0..1000));
    send(&peer, &batch("b", 0..1));
    drop(peer);
    logger.stop();
    let log_dir = cluster.log_dir("logger-1");
    let rotated: Vec<PathBuf> = check_manifest(&log_dir).into_keys().collect();
    assert_eq!(rotated, log_files(&log_dir));
    let counts: Vec<usize> = rotated
        .iter()
        .map(|file| {
            assert!(file.to_str().unwrap().ends_with(".log.gz"));
            let text = read_text(file).unwrap();
            assert_complete(file, &text);
            records(&text).count()
        })
        .collect();
    assert_eq!(counts, [1000, 1]);
}

#[test]
fn each_path_may_differ() {
    let options = r#"[log]
        rotation = "1h"
        [log.path.numbers]
        format = "json"
        rotation = 0
        [log.path."noise"]
        disabled = true
        [log.path."long name"]
        rename = "short"
        rotation = 0
        include = ["n"]
        [log.path.secret]
        rotation = 0
        exclude = ["producer"]
        [log.path.rotated]
        fsync = "batch""#;
    let cluster = Cluster::new(NODES, options);
    let mut logger = cluster.logger("logger-1");
    let peer = RawPeer::connect(SocketKind::Push, &logger.endpoint("log"));
    for path in [PATH, "noise", "long name", "secret", "rotated"] {
        send(&peer, &batch(path, 0..2));
    }
    drop(peer);
    logger.stop();
    let log_dir = cluster.log_dir("logger-1");
    let rotated: Vec<PathBuf> = check_manifest(&log_dir).into_keys().collect();
    assert_eq!(rotated.len(), 1);
    let file = |name: &str| log_dir.join(name);
    let files: BTreeSet<PathBuf> = log_files(&log_dir).into_iter().collect();
    let expected = ["numbers.log", "secret.log", "short.log"].map(file);
    assert_eq!(files, expected.iter().chain(&rotated).cloned().collect());

    let json = fs::read_to_string(file("numbers.log")).unwrap();
    assert_eq!(json, "{\"producer\":\"peer\",\"n\":0}\n{\"producer\":\"peer\",\"n\":1}\n");
    for name in ["secret.log", "short.log"] {
        let text = read_text(&file(name)).unwrap();
        assert_complete(&file(name), &text);
        assert!(text.contains("#fields\tn\n#types\tcount\n0\n1\n#close"), "{name}: {text}");
    }
    let text = read_text(&rotated[0]).unwrap();
    assert!(text.contains("\n#path\trotated\n"), "{text}");
    assert_complete(&rotated[0], &text);
}

/// A logger with few file descriptors, and a peer that sends records of many more logs.
struct FewDescriptors {
    cluster: Cluster,
    logger: Process,
    peer: RawPeer,
}

impl FewDescriptors {
    const DESCRIPTORS: u64 = 80;
    const PATHS: u64 = 200;

    fn start() -> Self {
        let cluster = Cluster::new(NODES, "[log]\nflush_interval = \"50ms\"");
        let program = binary("zcluster-logger");
        let limit = format!("ulimit -n {} && exec \"$@\"", Self::DESCRIPTORS);
        let mut command = Command::new("sh");
        command.args(["-c", &limit, "sh"]).arg(program);
        command.args(["--layout", cluster.layout_arg(), "--node", "logger-1"]);
        let logger = Process::start_command("logger-1", &mut command);
        let peer = RawPeer::connect(SocketKind::Push, &logger.endpoint("log"));
        FewDescriptors { cluster, logger, peer }
    }

    /// Sends two records to each log.
    fn send(&self, round: u64) {
        for path in 0..Self::PATHS {
            send(&self.peer, &batch(&format!("path-{path}"), 2 * round..2 * round + 2));
        }
    }

    /// Stops the logger and checks the contents of every file.
    fn finish(mut self, rounds: u64) {
        drop(self.peer);
        self.logger.stop();
        let files = log_files(&self.cluster.log_dir("logger-1"));
        assert_eq!(files.len() as u64, Self::PATHS);
        for file in files {
            let text = read_text(&file).unwrap();
            assert_complete(&file, &text);
            assert_eq!(text.matches("#fields").count(), 1, "{}", file.display());
            assert!(numbers(&text).eq(0..2 * rounds), "{}: {text}", file.display());
        }
    }
}

#[test]
fn more_logs_than_descriptors() {
    let few = FewDescriptors::start();
    for round in 0..3 {
        few.send(round);
        let records = 2 * FewDescriptors::PATHS * (round + 1);
        // Some descriptors remain free: connections and scrapes still work.
        few.logger.wait_metric("zcluster_logger_records_written_total", records as f64);
    }
    let open = few.logger.metric("zcluster_logger_open_files");
    assert!(open <= FewDescriptors::DESCRIPTORS as f64 / 2.0, "{open} files are open");
    assert!(few.logger.health_alone().0, "{}", few.logger.health_alone().1);
    assert!(!few.logger.stderr().contains("cannot write"), "{}", few.logger.stderr());
    few.finish(3);
}

#[test]
fn peers_that_take_all_descriptors() {
    let few = FewDescriptors::start();
    few.logger.wait_metric("zcluster_logger_connections", 1.0);
    let endpoint = few.logger.endpoint("log");
    let idle: Vec<_> = (0..FewDescriptors::DESCRIPTORS).map(|_| tcp(&endpoint)).collect();
    few.logger.wait_stderr("cannot accept a connection: Too many open files");
    // No log file can be opened until a peer disconnects.
    few.send(0);
    few.logger.wait_stderr("Too many open files (os error 24); trying again");
    drop(idle);
    few.send(1);
    few.finish(2);
}

fn check(cluster: &Cluster) -> Ended {
    let args = ["--layout", cluster.layout_arg(), "--node", "logger-1", "--check"];
    run_to_end(command("zcluster-logger").args(args))
}

/// The paths in a directory.
fn names(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn check_tells_and_leaves_no_trace() {
    let options = "[log]\nrotation = \"1h\"\ncompress = \"zstd\"\nmax_memory = \"1GiB\"\n\
                   rotation_postprocessor = \"true\"\n[log.path.conn]\nformat = \"json\"";
    let cluster = Cluster::new(NODES, options);
    let ended = check(&cluster);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    for line in [
        "log directory: ",
        "compression: zstd level 3",
        "memory: at most 1.0 GiB",
        "path conn: format json",
    ] {
        assert!(ended.stdout.contains(&format!("\n{line}")), "{line:?} in {}", ended.stdout);
    }
    assert_eq!(names(cluster.dir.path()), std::slice::from_ref(&cluster.layout));
    // Also beside a running logger.
    let mut logger = cluster.logger("logger-1");
    assert_eq!(check(&cluster).code, Some(0));
    logger.stop();
}

#[test]
fn check_has_an_exit_code_for_each_kind_of_mistake() {
    for (options, code, what) in [
        ("[log]\nrotation_postprocessor = \"/no/such/program -x\"", 78, "/no/such/program"),
        ("[log]\ncompress = \"rar\"", 78, "rar"),
        ("[log]\nrotation_dir = \"{dir}/cluster-layout.toml/x\"", 74, "cluster-layout.toml"),
    ] {
        let cluster = Cluster::new(NODES, options);
        let ended = check(&cluster);
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert!(ended.stderr.contains(what), "{ended:?}");
        assert_eq!(names(cluster.dir.path()), std::slice::from_ref(&cluster.layout));
    }
    let cluster = Cluster::new(NODES, "");
    let args = ["--layout", cluster.layout_arg(), "--node", "worker-1", "--check"];
    assert_eq!(run_to_end(command("zcluster-logger").args(args)).code, Some(78));
}

#[test]
fn a_disk_that_is_not_mounted_is_not_written_beside() {
    for (dir, more) in
        [("{dir}/mnt/logs", ""), ("{dir}/logs", "rotation_dir = \"{dir}/mnt/rotated\"\n")]
    {
        let cluster = Cluster::new(NODES, &format!("[log]\n{more}"));
        let root = cluster.dir.path();
        let text = fs::read_to_string(&cluster.layout).unwrap();
        let dir = dir.replace("{dir}", root.to_str().unwrap());
        let logs = root.join("logs");
        let text =
            text.replace(&format!("dir = \"{}\"\n", logs.display()), &format!("dir = \"{dir}\"\n"));
        fs::write(&cluster.layout, &text).unwrap();
        let missing = format!(
            "neither does {}: mount or create that, or set `create_parents = true` in [log]",
            root.join("mnt").display()
        );
        let args = ["--layout", cluster.layout_arg(), "--node", "logger-1"];
        for ended in [check(&cluster), run_to_end(command("zcluster-logger").args(args))] {
            assert_eq!(ended.code, Some(69), "{ended:?}");
            assert!(ended.stderr.contains(&missing), "{ended:?}");
        }
        assert!(!root.join("mnt").exists());

        // There it is.
        fs::create_dir(root.join("mnt")).unwrap();
        let mut logger = cluster.logger("logger-1");
        assert!(Path::new(&dir).join("logger-1").is_dir());
        logger.stop();
        fs::remove_dir_all(root.join("mnt")).unwrap();
        let _ = fs::remove_dir_all(&logs);

        fs::write(&cluster.layout, text.replace("[log]\n", "[log]\ncreate_parents = true\n"))
            .unwrap();
        assert_eq!(check(&cluster).code, Some(0));
        let mut logger = cluster.logger("logger-1");
        assert!(root.join("mnt").is_dir() && Path::new(&dir).join("logger-1").is_dir());
        logger.stop();
    }
}

#[test]
fn the_directory_of_a_killed_logger_of_another_format_is_put_in_order() {
    // JSON has no footer, but a torn line is still cut off.
    let cluster = Cluster::new(NODES, "[log]\nformat = \"json\"");
    let log_dir = cluster.log_dir("logger-1");
    fs::create_dir_all(&log_dir).unwrap();
    fs::write(log_dir.join("numbers.log"), "{\"n\":0}\n{\"n\":1}\n{\"n\":").unwrap();
    let mut logger = cluster.logger("logger-1");
    let lines = wait_for("the log to be announced", || {
        let lines = support::log_dir::manifest(&log_dir);
        (!lines.is_empty()).then_some(lines)
    });
    assert_eq!(lines[0]["records"], 2);
    logger.stop();
    let rotated: Vec<PathBuf> = check_manifest(&log_dir).into_keys().collect();
    assert_eq!(fs::read_to_string(&rotated[0]).unwrap(), "{\"n\":0}\n{\"n\":1}\n");
    assert_eq!(log_files(&log_dir), rotated);
}
