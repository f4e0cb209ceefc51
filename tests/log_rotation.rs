//! Log rotation: every record ends up in exactly one file, whatever is rotated, renamed or removed
//! under load, and `rotated.ndjson` matches the files to the byte.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use support::log_dir::{
    MANIFEST, assert_complete, check_manifest, log_files, manifest, read_text, records,
};
use support::producer::{self, Producer};
use support::raw::RawPeer;
use support::small_disk::SmallDisk;
use support::{Cluster, NodeSpec, PATIENCE, Process, Signal, binary, wait_for};
use zcluster::transport::SocketKind;
use zcluster::wire::LogMessage;
use zcluster::wire::zeek_bin::{BatchBuilder, LogSchema, LogValue};

const ONE_LOGGER: &[NodeSpec<'static>] =
    &[("manager", "manager"), ("logger-1", "logger"), ("worker-1", "worker")];
const TWO_LOGGERS: &[NodeSpec<'static>] = &[
    ("manager", "manager"),
    ("logger-1", "logger"),
    ("logger-2", "logger"),
    ("worker-1", "worker"),
    ("worker-2", "worker"),
];

/// A log of numbered records with that path.
fn schema(path: &str) -> LogSchema {
    let fields = producer::schema().fields;
    LogSchema::new("Test::NUMBERS", path, fields)
}

/// Writes numbered records to several paths in turn, until it is finished.
struct Storm {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Storm {
    fn start(cluster: &Cluster, name: &'static str, paths: &[&str]) -> Self {
        let (node, _) = cluster.library_node(name);
        let logs: Vec<_> = paths.iter().map(|path| node.log(schema(path)).unwrap()).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    for log in &logs {
                        log.write(&[LogValue::from(name), LogValue::Count(n)]).unwrap();
                    }
                    n += 1;
                    // A steady stream, below what the machine can do.
                    if n % 16 == 0 {
                        std::thread::park_timeout(Duration::from_millis(1));
                    }
                }
                node.shutdown(PATIENCE);
                n
            }
        });
        Storm { stop, thread }
    }

    /// Stops writing and waits until everything has been sent. Returns the number of records per
    /// path.
    fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

#[test]
fn a_storm_of_rotations_leaves_every_record_in_exactly_one_file() {
    let paths = ["conn", "dns", "http", "ssl", "weird"];
    let options = "[log]\nwrite_buffer_size = 50\nflush_interval = \"50ms\"\nrotation = \"1s\"\n\
                   rotation_dir = \"{dir}/rotated\"\ncompress = \"zstd\"";
    let cluster = Cluster::new(TWO_LOGGERS, options);
    let mut loggers = ["logger-1", "logger-2"].map(|name| cluster.logger(name));
    let storms = ["worker-1", "worker-2"].map(|name| (name, Storm::start(&cluster, name, &paths)));
    for logger in &loggers {
        logger.wait_metric("zcluster_logger_compressions_total", 3.0 * paths.len() as f64);
    }
    let written = storms.map(|(name, storm)| (name, storm.finish()));
    loggers.iter_mut().for_each(Process::stop);

    let mut counts: BTreeMap<(String, String, u64), u32> = BTreeMap::new();
    let mut announced = BTreeSet::new();
    for logger in ["logger-1", "logger-2"] {
        let log_dir = cluster.log_dir(logger);
        assert_eq!(log_files(&log_dir), Vec::<PathBuf>::new(), "live logs after the end");
        for (file, line) in check_manifest(&log_dir) {
            let name = file.file_name().unwrap().to_str().unwrap().to_owned();
            assert!(name.ends_with(".log.zst") && name.contains(logger), "{name}");
            let text = read_text(&file).unwrap();
            assert_complete(&file, &text);
            for record in records(&text) {
                let (who, n) = record.split_once('\t').unwrap();
                let path = line["path"].as_str().unwrap().to_owned();
                *counts.entry((path, who.to_owned(), n.parse().unwrap())).or_default() += 1;
            }
            assert!(announced.insert(file), "{name} is announced twice");
        }
        let closing = manifest(&log_dir).iter().filter(|line| line["terminating"] == true).count();
        assert!(closing <= paths.len(), "{closing} files of {logger} closed at the end");
    }
    let rotated: BTreeSet<PathBuf> =
        log_files(&cluster.dir.path().join("rotated")).into_iter().collect();
    assert_eq!(announced, rotated);
    assert_eq!(counts.values().find(|count| **count > 1), None, "doubled records");
    let expected: u64 = written.iter().map(|(_, count)| count * paths.len() as u64).sum();
    assert_eq!(counts.len() as u64, expected);
    for (who, count) in written {
        for path in paths {
            let is_there = |n| counts.contains_key(&(path.into(), who.into(), n));
            assert!(is_there(0) && is_there(count - 1), "{who} on {path}");
        }
    }
}

/// A logger, and a peer that sends it single records.
struct Single {
    cluster: Cluster,
    logger: Process,
    peer: RawPeer,
    sent: u64,
}

impl Single {
    fn start(options: &str) -> Self {
        let options = format!("[log]\nflush_interval = \"10ms\"\n{options}");
        let cluster = Cluster::new(ONE_LOGGER, &options);
        let logger = cluster.logger("logger-1");
        Self::on(cluster, logger)
    }

    fn on(cluster: Cluster, logger: Process) -> Self {
        let peer = RawPeer::connect(SocketKind::Push, &logger.endpoint("log"));
        Single { cluster, logger, peer, sent: 0 }
    }

    fn live(&self) -> PathBuf {
        self.cluster.log_dir("logger-1").join("numbers.log")
    }

    /// Sends the next record.
    fn send(&mut self) {
        let mut batch = BatchBuilder::new(producer::schema()).unwrap();
        batch.push(&[LogValue::from("peer"), LogValue::Count(self.sent)]).unwrap();
        self.sent += 1;
        let payload = batch.finish();
        self.peer.send(&[LogMessage::KIND, b"peer", LogMessage::ZEEK_BIN, &payload]);
    }

    /// Sends the next record and waits until it is in its file.
    fn write(&mut self) {
        self.send();
        self.logger.wait_metric("zcluster_logger_records_written_total", self.sent as f64);
    }

    /// Makes the logger rotate and waits until `files` files have been announced.
    fn rotate(&self, files: usize) {
        self.logger.signal(Signal::HUP);
        self.wait_announced(files);
    }

    fn wait_announced(&self, files: usize) {
        let log_dir = self.cluster.log_dir("logger-1");
        wait_for(&format!("{files} lines in {MANIFEST}"), || {
            (manifest(&log_dir).len() >= files).then_some(())
        });
    }
}

/// The numbers of the records in a file.
fn numbers(file: &Path) -> Vec<u64> {
    let text = read_text(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    records(&text).map(|line| line.strip_prefix("peer\t").unwrap().parse().unwrap()).collect()
}

#[test]
fn a_hangup_rotates() {
    // Without an interval only SIGHUP rotates, and shutdown does not.
    let mut single = Single::start("");
    single.logger.signal(Signal::HUP);
    for files in 1..=3 {
        single.write();
        single.rotate(files);
        assert!(!single.live().exists());
    }
    single.write();
    single.logger.stop();

    let log_dir = single.cluster.log_dir("logger-1");
    let rotated = check_manifest(&log_dir);
    let lines = manifest(&log_dir);
    assert_eq!(lines.len(), 3, "nothing is rotated that is empty, and nothing at the end");
    for (number, line) in lines.iter().enumerate() {
        let file = PathBuf::from(line["file"].as_str().unwrap());
        assert_eq!(numbers(&file), [number as u64]);
        assert_eq!(line["terminating"], false);
    }
    assert_eq!(numbers(&single.live()), [3]);
    let files = log_files(&log_dir);
    assert_eq!(files.len(), rotated.len() + 1);
    for file in files {
        assert_complete(&file, &read_text(&file).unwrap());
    }
}

#[test]
fn a_log_renamed_by_hand_is_started_over_at_sighup() {
    // As logrotate does, without and with an empty file in its place (`create`).
    for creates in [false, true] {
        let mut single = Single::start("");
        single.write();
        let aside = single.live().with_extension("log.1");
        fs::rename(single.live(), &aside).unwrap();
        if creates {
            fs::write(single.live(), "").unwrap();
        }
        // Until SIGHUP the logger writes to the renamed file.
        single.write();
        single.logger.signal(Signal::HUP);
        wait_for("the footer", || read_text(&aside).unwrap().contains("#close").then_some(()));
        single.write();
        single.logger.stop();
        assert_eq!(numbers(&aside), [0, 1]);
        assert_eq!(numbers(&single.live()), [2], "{creates}");
        for file in [&aside, &single.live()] {
            assert_complete(file, &read_text(file).unwrap());
        }
        assert_eq!(log_files(&single.cluster.log_dir("logger-1")).len(), 2);
    }
}

#[test]
fn a_log_removed_by_hand_is_started_over() {
    let mut single = Single::start("");
    single.write();
    fs::remove_file(single.live()).unwrap();
    single.write();
    assert_eq!(numbers(&single.live()), [1]);
    single.write();
    single.logger.stop();
    assert_eq!(numbers(&single.live()), [1, 2]);
    assert_complete(&single.live(), &read_text(&single.live()).unwrap());
}

#[test]
fn a_log_directory_that_comes_back_is_used_again() {
    let mut single = Single::start("");
    single.write();
    let log_dir = single.cluster.log_dir("logger-1");
    fs::remove_dir_all(&log_dir).unwrap();
    single.send();
    let reason = wait_for("the logger to say that it is not well", || {
        let (healthy, reason) = single.logger.health_alone();
        (!healthy).then_some(reason)
    });
    assert!(reason.contains("numbers.log: No such file or directory"), "{reason}");
    fs::create_dir(&log_dir).unwrap();
    single.write();
    wait_for("the logger to be well again", || single.logger.health_alone().0.then_some(()));
    single.rotate(1);
    single.write();
    single.logger.stop();
    let rotated: Vec<PathBuf> = check_manifest(&log_dir).into_keys().collect();
    assert_eq!(numbers(&rotated[0]), [1, 2]);
    assert_eq!(numbers(&single.live()), [3]);
}

#[test]
fn a_directory_without_permission_holds_rotation_and_records_back() {
    let options = "[log]\nflush_interval = \"10ms\"";
    let cluster = Cluster::new(ONE_LOGGER, options);
    let log_dir = cluster.log_dir("logger-1");
    fs::create_dir_all(&log_dir).unwrap();
    let mode = |mode| fs::set_permissions(&log_dir, fs::Permissions::from_mode(mode)).unwrap();
    // Permissions do not apply to root, so root starts it as another user, from a copy that
    // everyone may execute.
    let args = ["--layout", cluster.layout_arg(), "--node", "logger-1"];
    let mut command = if rustix::process::geteuid().is_root() {
        let copy = cluster.dir.path().join("zcluster-logger");
        fs::copy(binary("zcluster-logger"), &copy).unwrap();
        fs::set_permissions(cluster.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        chown(&log_dir, Some(65534), Some(65534)).unwrap();
        let mut command = Command::new(copy);
        command.uid(65534).gid(65534);
        command
    } else {
        Command::new(binary("zcluster-logger"))
    };
    let logger = Process::start_command("logger-1", command.args(args));
    let mut single = Single::on(cluster, logger);
    single.write();
    mode(0o555);
    // Renaming fails, so the logger continues with the same file.
    single.logger.signal(Signal::HUP);
    single.logger.wait_stderr("cannot rotate");
    single.write();
    assert_eq!(numbers(&single.live()), [0, 1]);
    mode(0o755);
    // The logger retries by itself.
    single.wait_announced(1);
    mode(0o555);
    single.send();
    wait_for("the logger to say that it is not well", || {
        (!single.logger.health_alone().0).then_some(())
    });
    mode(0o755);
    single.write();
    single.logger.stop();
    let rotated: Vec<PathBuf> =
        check_manifest(&single.cluster.log_dir("logger-1")).into_keys().collect();
    assert_eq!(rotated.len(), 1);
    assert_complete(&rotated[0], &read_text(&rotated[0]).unwrap());
    let all: Vec<u64> = [numbers(&rotated[0]), numbers(&single.live())].concat();
    assert_eq!(all, [0, 1, 2, 3]);
}

/// Fills the disk under load and frees it again, a few times.
fn check_disk_that_fills_up(options: &str) {
    let options = format!(
        "log_sndhwm = 10\n[log]\nwrite_buffer_size = 100\nflush_interval = \"20ms\"\n{options}"
    );
    let cluster = Cluster::new(ONE_LOGGER, &options);
    let log_dir = cluster.log_dir("logger-1");
    let Some(disk) = SmallDisk::mount(log_dir.clone(), "size=32m") else { return };
    let mut logger = cluster.logger("logger-1");
    let producer = Producer::start(&cluster, "worker-1");
    for _ in 0..3 {
        let so_far = logger.metric("zcluster_logger_records_written_total");
        logger.wait_metric("zcluster_logger_records_written_total", so_far + 2000.0);
        let filler = disk.fill();
        wait_for("the logger to say that it is not well", || {
            (!logger.health_alone().0).then_some(())
        });
        filler.remove();
        wait_for("the logger to be well again", || logger.health_alone().0.then_some(()));
    }
    let (_, written) = producer.finish();
    logger.stop();
    let announced = check_manifest(&log_dir);
    let mut counts = vec![0; written as usize];
    for file in log_files(&log_dir) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let is_live = ["numbers.log", "numbers.log.gz"].contains(&name);
        assert!(is_live || announced.contains_key(&file), "{name}: no line in {MANIFEST}");
        let text = read_text(&file).unwrap();
        assert_complete(&file, &text);
        for line in records(&text) {
            let n: usize = line.strip_prefix("worker-1\t").unwrap().parse().unwrap();
            counts[n] += 1;
        }
    }
    assert_eq!(counts.iter().position(|count| *count != 1), None, "lost or doubled");
}

#[test]
fn a_disk_that_fills_up_between_rotations_costs_no_record() {
    check_disk_that_fills_up("rotation = \"1s\"\ncompress = \"zstd\"\nfsync = \"batch\"");
}

#[test]
fn a_disk_that_fills_up_under_gzip_streams_costs_no_record() {
    check_disk_that_fills_up("rotation = \"1s\"\ngzip_level = 1\nfsync = \"interval\"");
}

#[test]
fn rotated_files_wait_for_room_on_another_file_system() {
    let options = "[log]\nflush_interval = \"10ms\"\ncompress = \"zstd\"\n\
                   rotation_dir = \"{dir}/archive\"";
    let cluster = Cluster::new(ONE_LOGGER, options);
    let archive = cluster.dir.path().join("archive");
    let Some(disk) = SmallDisk::mount(archive.clone(), "size=1m") else { return };
    let logger = cluster.logger("logger-1");
    let mut single = Single::on(cluster, logger);
    let filler = disk.fill();
    for _ in 0..2 {
        single.write();
        single.logger.signal(Signal::HUP);
        wait_for("the log to be gone", || (!single.live().exists()).then_some(()));
    }
    let reason = wait_for("the logger to say that it is not well", || {
        let (healthy, reason) = single.logger.health_alone();
        (!healthy).then_some(reason)
    });
    assert!(reason.contains("No space left on device"), "{reason}");
    // Writing continues meanwhile.
    single.write();
    assert_eq!(log_files(&archive).len(), 0);
    filler.remove();
    single.wait_announced(2);
    wait_for("the logger to be well again", || single.logger.health_alone().0.then_some(()));
    single.logger.stop();
    let rotated: Vec<PathBuf> =
        check_manifest(&single.cluster.log_dir("logger-1")).into_keys().collect();
    assert_eq!(rotated, log_files(&archive));
    let mut all: Vec<u64> = rotated.iter().flat_map(|file| numbers(file)).collect();
    all.sort_unstable();
    assert_eq!(all, [0, 1]);
    assert_eq!(numbers(&single.live()), [2]);
}

#[test]
fn the_postprocessor_gets_its_arguments_and_environment() {
    let options = "rotation = \"1h\"\nrotation_postprocessor = \"sh '{dir}/it s.sh' first\"\n\
                   rotation_postprocessor_env = { NOTE = \"a 'b' \\\"c\\\"\" }";
    let mut single = {
        let options = format!("[log]\nflush_interval = \"10ms\"\n{options}");
        let cluster = Cluster::new(ONE_LOGGER, &options);
        let out = cluster.dir.path().join("out").display().to_string();
        let script = format!(
            "for word; do printf '%s|' \"$word\"; done >> {out}\n\
             printf '%s|%s\\n' \"$NOTE\" \"$ZEEK_ARG_NOTE\" >> {out}\ntest -s \"$2\"\n"
        );
        fs::write(cluster.dir.path().join("it s.sh"), script).unwrap();
        let logger = cluster.logger("logger-1");
        Single::on(cluster, logger)
    };
    single.write();
    single.rotate(1);
    single.write();
    single.logger.stop();

    let lines = manifest(&single.cluster.log_dir("logger-1"));
    assert_eq!(lines.len(), 2);
    let text = fs::read_to_string(single.cluster.dir.path().join("out")).unwrap();
    let calls: Vec<Vec<&str>> = text.lines().map(|line| line.split('|').collect()).collect();
    assert_eq!(calls.len(), 2, "{text}");
    for ((call, line), terminating) in calls.iter().zip(&lines).zip(["0", "1"]) {
        let [first, file, path, open, close, is_last, writer, environment @ ..] = &call[..] else {
            panic!("{call:?}");
        };
        assert_eq!([*first, *path, *is_last, *writer], ["first", "numbers", terminating, "ascii"]);
        assert_eq!(line["file"], *file);
        assert_eq!(line["terminating"], terminating == "1");
        for time in [open, close] {
            let shape: String =
                time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
            assert_eq!(shape, "00-00-00_00.00.00");
        }
        assert_eq!(environment, ["a 'b' \"c\""; 2]);
    }
}

#[test]
fn names_for_the_archiver_have_the_loggers_name() {
    let options = "[log]\nflush_interval = \"10ms\"\nrotation_name = \"archiver\"\n\
                   rotation_dir = \"{dir}/log-queue\"";
    let cluster = Cluster::new(TWO_LOGGERS, options);
    let logger = cluster.logger("logger-1");
    let mut single = Single::on(cluster, logger);
    single.write();
    single.rotate(1);
    single.write();
    single.rotate(2);
    single.logger.stop();
    let files = log_files(&single.cluster.dir.path().join("log-queue"));
    assert_eq!(files.len(), 2);
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let parts: Vec<&str> = name.split("__").collect();
        let [path, open, close, suffix, end] = parts[..] else { panic!("{name}") };
        assert_eq!((path, end), ("numbers", ".log"));
        // A number follows if the second is the same.
        assert!(suffix.starts_with("log_suffix=logger-1"), "{name}");
        for time in [open, close] {
            let shape: String =
                time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
            assert_eq!(shape, "0000-00-00-00-00-00");
        }
    }
}
