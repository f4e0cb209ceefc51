//! Logs whose columns change: a file never has two headers, and producers with different columns
//! get separate files, however often they alternate.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::log_dir::{assert_complete, check_manifest, log_files, manifest, read_text, records};
use support::raw::RawPeer;
use support::{Cluster, NodeSpec, Process, Signal, wait_for};
use zcluster::transport::SocketKind;
use zcluster::wire::LogMessage;
use zcluster::wire::zeek_bin::{BatchBuilder, FieldSpec, LogSchema, LogValue, Scalar};

const ONE_LOGGER: &[NodeSpec<'static>] = &[("manager", "manager"), ("logger-1", "logger")];

/// A logger, and a producer that can use any columns.
struct Producer {
    cluster: Cluster,
    logger: Process,
    peer: RawPeer,
    sent: u64,
}

impl Producer {
    fn start(options: &str) -> Self {
        let options = format!("[log]\nflush_interval = \"10ms\"\n{options}");
        let cluster = Cluster::new(ONE_LOGGER, &options);
        let logger = cluster.logger("logger-1");
        let peer = RawPeer::connect(SocketKind::Push, &logger.endpoint("log"));
        Producer { cluster, logger, peer, sent: 0 }
    }

    /// Sends a record with a time and `columns` more columns.
    fn send(&mut self, path: &str, ts: f64, columns: usize) {
        let mut fields = vec![FieldSpec::new("ts", Scalar::Time)];
        let more = (0..columns).map(|n| FieldSpec::new(format!("c{n}"), Scalar::Count));
        fields.extend(more);
        let mut batch = BatchBuilder::new(LogSchema::new("Test::LOG", path, fields)).unwrap();
        let mut record = vec![LogValue::Time(ts)];
        record.extend((0..columns).map(|_| LogValue::Count(self.sent)));
        batch.push(&record).unwrap();
        self.sent += 1;
        self.peer.send(&[LogMessage::KIND, b"peer", LogMessage::ZEEK_BIN, &batch.finish()]);
    }

    fn wait_written(&self) {
        self.logger.wait_metric("zcluster_logger_records_written_total", self.sent as f64);
    }

    fn write(&mut self, path: &str, ts: f64, columns: usize) {
        self.send(path, ts, columns);
        self.wait_written();
    }

    fn dir(&self) -> PathBuf {
        self.cluster.log_dir("logger-1")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    fn wait_announced(&self, files: usize) {
        let dir = self.dir();
        wait_for(&format!("{files} rotated files"), || {
            (manifest(&dir).len() >= files).then_some(())
        });
    }
}

/// The number of headers, records and columns in a file.
fn shape(file: &Path) -> (usize, usize, usize) {
    let text = read_text(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let headers = text.lines().filter(|line| line.starts_with("#fields")).count();
    let columns = records(&text).next().map_or(0, |line| line.split('\t').count() - 1);
    (headers, records(&text).count(), columns)
}

#[test]
fn new_columns_get_a_new_file_and_producers_that_disagree_one_each() {
    let mut producer = Producer::start("");
    producer.write("conn", 1.0, 2);
    producer.write("conn", 2.0, 3);
    producer.wait_announced(1);
    assert_eq!(shape(&producer.file("conn.log")), (1, 1, 3));
    producer.logger.wait_stderr(
        "conn: the columns changed; added c2: count; records with the new columns go to ",
    );
    for n in 0..100 {
        producer.send("conn", f64::from(n), 2);
        producer.send("conn", f64::from(n), 3);
    }
    producer.wait_written();
    assert_eq!(shape(&producer.file("conn.log")), (1, 101, 3));
    assert_eq!(shape(&producer.file("conn.schema-2.log")), (1, 100, 2));
    assert_eq!(log_files(&producer.dir()).len(), 3, "two live, one rotated");
    assert_eq!(producer.logger.metric("zcluster_logger_schema_changes_total"), 2.0);

    producer.logger.signal(Signal::HUP);
    producer.wait_announced(3);
    producer.write("conn", 9.0, 2);
    assert_eq!(shape(&producer.file("conn.schema-2.log")), (1, 1, 2), "everybody keeps its name");
    producer.logger.stop();
    let rotated = check_manifest(&producer.dir());
    assert_eq!(rotated.len(), 3);
    for (file, line) in rotated {
        assert_eq!(line["path"], "conn");
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("conn.2") && !name.contains("schema"), "{name}");
        assert_eq!(shape(&file).0, 1);
        assert_complete(&file, &read_text(&file).unwrap());
    }
}

#[test]
fn a_disagreement_that_is_over_leaves_one_file() {
    // Also if the change is reverted: the remaining columns then take over the name.
    for (last, rotated) in [(3, 2), (2, 3)] {
        let mut producer = Producer::start("schema_timeout = \"3s\"");
        producer.write("conn", 1.0, 2);
        producer.write("conn", 1.0, 3);
        producer.write("conn", 1.0, 2);
        assert_eq!(shape(&producer.file("conn.schema-2.log")), (1, 1, 2));
        wait_for("one file", || {
            producer.write("conn", 2.0, last);
            let live = log_files(&producer.dir());
            let is_live = |name: &str| live.contains(&producer.file(name));
            (is_live("conn.log") && !is_live("conn.schema-2.log")).then_some(())
        });
        producer.wait_announced(rotated);
        producer.logger.stop();
        assert_eq!(shape(&producer.file("conn.log")).2, last);
        for file in log_files(&producer.dir()) {
            assert_eq!(shape(&file).0, 1, "{}", file.display());
        }
    }
}

#[test]
fn files_of_producers_that_disagree_survive_a_kill() {
    let mut producer = Producer::start("rotation = \"1h\"");
    for columns in [2, 3, 2, 3] {
        producer.write("conn", 1.0, columns);
    }
    producer.logger.kill();
    producer.logger = producer.cluster.logger("logger-1");
    producer.wait_announced(3);
    for (file, line) in check_manifest(&producer.dir()) {
        assert_eq!((shape(&file).0, &line["path"]), (1, &"conn".into()));
    }
    assert_eq!(log_files(&producer.dir()).len(), 3);
}

#[test]
fn too_many_sets_of_columns_at_a_time_are_lost_and_counted() {
    let mut producer = Producer::start("");
    for columns in 1..=40 {
        producer.send("conn", 1.0, columns);
    }
    let logger = &producer.logger;
    wait_for("all of them", || {
        let written = logger.metric("zcluster_logger_records_written_total");
        let lost = logger.metric("zcluster_logger_records_lost_total");
        (written + lost == 40.0 && lost > 0.0).then_some(())
    });
    logger.wait_stderr("conn: too many sets of columns at once; lost 1 records");
    assert_eq!(log_files(&producer.dir()).len(), 17, "16 live, one rotated");
    // The path still works, and so do others.
    producer.send("conn", 1.0, 2);
    producer.send("dns", 1.0, 2);
    wait_for("dns.log", || producer.file("dns.log").exists().then_some(()));
}

#[test]
fn json_needs_one_file() {
    let mut producer = Producer::start("format = \"json\"");
    for _ in 0..10 {
        producer.send("conn", 1.0, 2);
        producer.send("conn", 1.0, 3);
    }
    producer.wait_written();
    let files = log_files(&producer.dir());
    assert_eq!(files, [producer.file("conn.log")]);
    assert_eq!(read_text(&files[0]).unwrap().lines().count(), 20);
}

#[test]
fn names_of_further_files_are_nobody_elses() {
    let mut producer = Producer::start("");
    producer.send("conn.schema-2", 1.0, 2);
    producer.logger.wait_metric("zcluster_logger_batches_rejected_total", 1.0);
    producer.logger.wait_stderr("looks like the name of a rotated file");
}

#[test]
fn a_file_that_somebody_truncates_gets_its_header_again() {
    for (options, name) in
        [("", "conn.log"), ("gzip_level = 6", "conn.log.gz"), ("tsv = true", "conn.log")]
    {
        let mut producer = Producer::start(options);
        producer.write("conn", 1.0, 2);
        producer.write("conn", 2.0, 2);
        let file = producer.file(name);
        let header = |text: &str| text.lines().next().unwrap().to_owned();
        let before = header(&read_text(&file).unwrap());
        fs::File::create(&file).unwrap();
        producer.write("conn", 7.0, 2);
        producer.write("conn", 8.0, 2);
        assert_eq!(header(&read_text(&file).unwrap()), before, "{options}");
        assert_eq!(producer.logger.metric("zcluster_logger_truncations_total"), 1.0);
        producer.logger.wait_stderr("was truncated by another process; starting a new file");
        producer.logger.signal(Signal::HUP);
        producer.wait_announced(1);
        let line = &manifest(&producer.dir())[0];
        assert_eq!((&line["first"], &line["last"]), (&7.0.into(), &8.0.into()), "{options}");
        // Nothing was written to it after that, so there is nothing to rotate.
        producer.write("conn", 9.0, 2);
        fs::File::create(&file).unwrap();
        producer.logger.signal(Signal::HUP);
        producer.write("conn", 10.0, 2);
        producer.logger.stop();
        assert_eq!(manifest(&producer.dir()).len(), 1, "{options}");
        assert!(read_text(&file).unwrap().contains("10.0"), "{options}");
    }
}

#[test]
fn the_manifest_has_the_times_of_records_whatever_their_text() {
    let json = |timestamps: &str| format!("format = \"json\"\njson_timestamps = \"{timestamps}\"");
    for options in [
        String::new(),
        "exclude = [\"c0\"]".into(),
        json("TS_EPOCH"),
        json("TS_MILLIS"),
        json("TS_MILLIS_UNSIGNED"),
        json("TS_ISO8601"),
    ] {
        // Times that some text format cannot represent: a tenth of a millisecond, a time before
        // 1970, a fraction that rounds up to a whole second.
        for (first, last) in [(-1.5, 1_767_225_600.000_1), (0.25, 1_767_225_600.999_999_6)] {
            let (general, of_path) =
                if options.starts_with("ex") { ("", &*options) } else { (&*options, "") };
            let mut producer = Producer::start(&format!("{general}\n[log.path.conn]\n{of_path}"));
            producer.send("conn", last, 2);
            producer.send("conn", f64::NAN, 2);
            producer.write("conn", first, 2);
            producer.logger.signal(Signal::HUP);
            producer.wait_announced(1);
            let line = &manifest(&producer.dir())[0];
            let near = |member: &str, time: f64| {
                let found = line[member].as_f64().unwrap_or_else(|| panic!("{options}: {line}"));
                assert!((found - time).abs() < 2e-6, "{options}: {member} {found}, not {time}");
            };
            near("first", first);
            near("last", last);
        }
    }
}

#[test]
fn a_storm_of_columns_and_rotations_leaves_every_record_in_one_file() {
    for options in [
        "rotation_name = \"archiver\"\ncompress = \"gzip\"",
        "gzip_level = 1",
        "fsync = \"batch\"\nrotation_name = \"generic\"",
    ] {
        let mut producer =
            Producer::start(&format!("rotation = \"1s\"\nschema_timeout = \"1s\"\n{options}"));
        // Two that alternate, sometimes a third, and pauses longer than the timeout.
        let start = std::time::Instant::now();
        let mut round = 0;
        while manifest(&producer.dir()).len() < 12 {
            assert!(start.elapsed() < support::PATIENCE, "{options}: too few rotations");
            producer.send("conn", 1.0, 2);
            if round / 40 % 3 != 2 {
                producer.send("conn", 1.0, 3);
            }
            if round % 50 == 0 {
                producer.send("conn", 1.0, 4);
            }
            round += 1;
            producer.wait_written();
        }
        producer.logger.stop();
        let mut numbers = Vec::new();
        for file in check_manifest(&producer.dir()).into_keys() {
            let text = read_text(&file).unwrap();
            assert_complete(&file, &text);
            assert_eq!(shape(&file).0, 1, "{}", file.display());
            let number = |line: &str| line.rsplit('\t').next().unwrap().parse::<u64>().unwrap();
            numbers.extend(records(&text).map(number));
        }
        numbers.sort_unstable();
        assert!(numbers.iter().copied().eq(0..producer.sent), "{options}: {}", numbers.len());
        assert!(log_files(&producer.dir()).len() < 100, "{options}");
    }
}
