//! Log streams of typed records: what loggers write of them, and what Zeek sends of the same records.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::cell::Cell;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use bstr::BStr;
use support::{
    Cluster, DEFAULT_NODES, NodeSpec, PATIENCE, Signal, example, metric, run_to_end, wait_for,
    wait_members,
};
use zcluster::logging::{
    Columns, Filter, LogField, LogValue, RecordWriter, Recorder, Scalar, Sinks, StreamOptions,
};
use zcluster::value::{Address, Enum, Port, Protocol, Set, Subnet, Timespan, Timestamp};
use zcluster::wire::recording::Recording;
use zcluster::wire::zeek_bin::{Batch, Cursor, LogSchema, LogType, ValueRef};
use zcluster::{LogRecord, LogScalar, Logs, topic};

const ONE_LOGGER: &[NodeSpec<'static>] =
    &[("manager", "manager"), ("logger-1", "logger"), ("worker-1", "worker")];

#[derive(LogRecord)]
struct Seen<'a> {
    ts: Timestamp,
    #[log(name = "where")]
    place: Place,
    kind: Kind,
    note: Option<&'a str>,
    tags: Set<&'a str>,
    spans: Vec<Option<Timespan>>,
    #[log(skip)]
    weight: u64,
}

#[derive(LogRecord)]
struct Place {
    host: Address,
    port: Port,
    net: Subnet,
}

#[derive(LogScalar)]
enum Kind {
    #[log(name = "Scan::PORT")]
    Port,
    #[log(name = "Scan::HOST")]
    Host,
}

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

fn seen(weight: u64, note: Option<&str>) -> Seen<'_> {
    let place = Place {
        host: address("192.0.2.1"),
        port: Port::new(443, Protocol::Tcp),
        net: Subnet::new(address("192.0.2.0"), 24).unwrap(),
    };
    Seen {
        ts: Timestamp(1_767_225_600_250_000_000),
        place,
        kind: if weight > 10 { Kind::Host } else { Kind::Port },
        note,
        tags: note.into_iter().collect(),
        spans: vec![Some(Timespan(500_000_000)), None],
        weight,
    }
}

/// A file as soon as it has that many lines, without the times of its header.
fn wait_file(file: &Path, lines: usize) -> Vec<String> {
    wait_for(&format!("{lines} lines in {}", file.display()), || {
        let text = fs::read_to_string(file).ok()?;
        let found: Vec<String> =
            text.lines().filter(|line| !line.starts_with("#open")).map(str::to_owned).collect();
        (found.len() >= lines).then_some(found)
    })
}

/// What a logger makes of a stream with filters that is switched off and on.
fn files_of(format: &str) -> (Cluster, impl Fn(&str, usize) -> Vec<String>) {
    let options = format!("[log]\nflush_interval = \"10ms\"\nformat = \"{format}\"");
    let cluster = Cluster::new(ONE_LOGGER, &options);
    let _broker = cluster.broker();
    let mut logger = cluster.logger("logger-1");
    let (node, _notifications) = cluster.library_node("worker-1");
    let logs = Logs::new(&node);
    let stream = logs.create_stream::<Seen<'_>>("ScanSeen::LOG").unwrap();
    stream
        .add_filter(
            Filter::<Seen<'_>>::new("heavy")
                .path("heavy")
                .include(["ts", "where.host", "note"])
                .field_name_map([("where.host", "host")])
                .policy(|seen, _, _| seen.weight > 10),
        )
        .unwrap();
    let by_weight = |_: &str, _: &str, seen: &Seen<'_>| format!("weight_{}", seen.weight % 2);
    stream.add_filter(Filter::new("split").path_func(by_weight).include(["kind"])).unwrap();
    for (weight, note) in [(1, None), (12, Some("a")), (13, Some("b"))] {
        let note = note.map(str::to_owned);
        stream.write(&seen(weight, note.as_deref())).unwrap();
    }
    stream.disable();
    stream.write(&seen(100, Some("disabled"))).unwrap();
    stream.enable();
    stream.disable_remote_logs();
    stream.write(&seen(100, Some("not sent"))).unwrap();
    stream.enable_remote_logs().unwrap();
    stream.remove_filter("heavy").unwrap();
    stream.write(&seen(14, Some("c"))).unwrap();
    let unsent = node.shutdown(PATIENCE);
    assert_eq!(unsent.records, 0);
    logger.stop();
    let dir = cluster.log_dir("logger-1");
    (cluster, move |path, lines| wait_file(&dir.join(format!("{path}.log")), lines))
}

#[test]
fn loggers_write_what_filters_let_through_as_tsv() {
    let (_cluster, file) = files_of("tsv");
    let records = |path: &str, lines: usize| -> Vec<String> {
        let lines = file(path, lines);
        lines.into_iter().filter(|line| !line.starts_with("#close")).skip(5).collect()
    };
    let first =
        "1767225600.250000\t192.0.2.1\t443\t192.0.2.0/24\tScan::PORT\t-\t(empty)\t0.500000,-";
    let host = |note: &str| {
        format!(
            "1767225600.250000\t192.0.2.1\t443\t192.0.2.0/24\tScan::HOST\t{note}\t{note}\t0.500000,-"
        )
    };
    assert_eq!(
        records("scan_seen", 11),
        [
            "#fields\tts\twhere.host\twhere.port\twhere.net\tkind\tnote\ttags\tspans",
            "#types\ttime\taddr\tport\tsubnet\tenum\tstring\tset[string]\tvector[interval]",
            first,
            &host("a"),
            &host("b"),
            &host("c"),
        ]
    );
    assert_eq!(
        records("heavy", 9),
        [
            "#fields\tts\thost\tnote",
            "#types\ttime\taddr\tstring",
            "1767225600.250000\t192.0.2.1\ta",
            "1767225600.250000\t192.0.2.1\tb",
        ]
    );
    let kind = ["#fields\tkind", "#types\tenum"];
    assert_eq!(records("weight_0", 9), [&kind[..], &["Scan::HOST"; 2]].concat());
    assert_eq!(records("weight_1", 9), [&kind[..], &["Scan::PORT", "Scan::HOST"]].concat());
}

#[test]
fn loggers_write_what_filters_let_through_as_json() {
    let (_cluster, file) = files_of("json");
    let host = |note: &str| {
        format!(
            "{{\"ts\":1767225600.25,\"where.host\":\"192.0.2.1\",\"where.port\":443,\
             \"where.net\":\"192.0.2.0/24\",\"kind\":\"Scan::HOST\",\"note\":\"{note}\",\
             \"tags\":[\"{note}\"],\"spans\":[0.5,null]}}"
        )
    };
    let first = "{\"ts\":1767225600.25,\"where.host\":\"192.0.2.1\",\"where.port\":443,\
                 \"where.net\":\"192.0.2.0/24\",\"kind\":\"Scan::PORT\",\"tags\":[],\
                 \"spans\":[0.5,null]}";
    assert_eq!(file("scan_seen", 4), [first, &host("a"), &host("b"), &host("c")]);
    let heavy =
        |note: &str| format!("{{\"ts\":1767225600.25,\"host\":\"192.0.2.1\",\"note\":\"{note}\"}}");
    assert_eq!(file("heavy", 2), [heavy("a"), heavy("b")]);
    assert_eq!(file("weight_1", 2), [r#"{"kind":"Scan::PORT"}"#, r#"{"kind":"Scan::HOST"}"#]);
}

#[derive(LogRecord)]
struct Number {
    n: u64,
}

/// The numbers in the current log of a logger.
fn numbers(cluster: &Cluster, logger: &str) -> Vec<u64> {
    let text = fs::read_to_string(cluster.log_dir(logger).join("numbers.log"));
    let text = text.unwrap_or_default();
    // A line may just be in the middle of being written.
    let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    lines.filter(|line| !line.starts_with('#')).map(|line| line.trim().parse().unwrap()).collect()
}

#[test]
fn without_round_robin_a_node_has_one_logger_at_a_time() {
    let options = "[log]\nwrite_buffer_size = 5\nflush_interval = \"10ms\"\n\
                   [cluster]\nenable_round_robin_logging = false";
    let cluster = Cluster::new(DEFAULT_NODES, options);
    let _broker = cluster.broker();
    let mut loggers = ["logger-1", "logger-2"].map(|name| (name, cluster.logger(name)));
    let (node, _notifications) = cluster.library_node("worker-1");
    wait_members(&node, &["logger-1", "logger-2"]);
    // The logger pool agrees.
    let chosen = node.hrw_topic(topic::LOGGER_POOL, b"worker-1").unwrap();
    let (first, second) = if chosen == "zeek.cluster.node.logger-1." { (0, 1) } else { (1, 0) };
    let name = |index: usize| ["logger-1", "logger-2"][index];

    let logs = Logs::new(&node);
    let options = StreamOptions::new().path("numbers");
    let stream = logs.create_stream_with::<Number>("Numbers::LOG", options).unwrap();
    let mut next = 0;
    let mut write = || {
        stream.write(&Number { n: next }).unwrap();
        next += 1;
        next
    };
    (0..200).for_each(|_| _ = write());
    let all = || (numbers(&cluster, name(first)).len() == 200).then_some(());
    wait_for("all numbers at the first logger", all);
    assert_eq!(numbers(&cluster, name(first)), (0..200).collect::<Vec<_>>());
    assert_eq!(numbers(&cluster, name(second)), [0; 0]);

    loggers[first].1.kill();
    wait_for("a number at the second logger", || {
        write();
        std::thread::sleep(Duration::from_millis(5));
        (!numbers(&cluster, name(second)).is_empty()).then_some(())
    });
    // Once the first is back, it has them all again.
    loggers[first].1 = cluster.logger(name(first));
    wait_for("a number at the first logger again", || {
        write();
        std::thread::sleep(Duration::from_millis(5));
        (!numbers(&cluster, name(first)).is_empty()).then_some(())
    });
    let start = write();
    (0..100).for_each(|_| _ = write());
    let end = write();
    wait_for("the last number at the first logger", || {
        numbers(&cluster, name(first)).contains(&(end - 1)).then_some(())
    });
    let late =
        |index: usize| numbers(&cluster, name(index)).into_iter().filter(|n| *n >= start).count();
    assert_eq!((late(first), late(second)), ((end - start) as usize, 0));
    assert_eq!(node.shutdown(PATIENCE).records, 0);
    for (_, logger) in &mut loggers {
        logger.stop();
    }
}

#[test]
fn without_round_robin_a_logger_that_is_slow_is_waited_for() {
    let options = "log_sndhwm = 2\nlog_sndbuf = 4096\nlog_rcvbuf = 4096\n\
                   log_hwm_action = \"drop\"\n[log]\nwrite_buffer_size = 1000\n\
                   [cluster]\nenable_round_robin_logging = false";
    let cluster = Cluster::new(DEFAULT_NODES, options);
    let _broker = cluster.broker();
    let mut loggers = ["logger-1", "logger-2"].map(|name| (name, cluster.logger(name)));
    let (node, _notifications) = cluster.library_node("worker-1");
    wait_members(&node, &["logger-1", "logger-2"]);
    let chosen = node.hrw_topic(topic::LOGGER_POOL, b"worker-1").unwrap();
    let is_chosen = |name: &str| chosen == format!("zeek.cluster.node.{name}.");
    let first = usize::from(!is_chosen("logger-1"));
    let (first_name, second_name) = (loggers[first].0, loggers[1 - first].0);

    let logs = Logs::new(&node);
    let options = StreamOptions::new().path("numbers");
    let stream = logs.create_stream_with::<Number>("Numbers::LOG", options).unwrap();
    stream.write(&Number { n: 0 }).unwrap();
    wait_for("a number", || (!numbers(&cluster, first_name).is_empty()).then_some(()));
    loggers[first].1.signal(Signal::STOP);
    let dropped = || {
        let metrics = node.telemetry().encode();
        metric(&metrics, "zcluster_log_records_dropped_total", "high_water_mark")
    };
    wait_for("the pipe to be full", || {
        (0..1000).for_each(|n| stream.write(&Number { n }).unwrap());
        (dropped() > 0.0).then_some(())
    });
    loggers[first].1.signal(Signal::CONT);
    node.shutdown(PATIENCE);
    for (_, logger) in &mut loggers {
        logger.stop();
    }
    assert_eq!(numbers(&cluster, second_name), [0; 0]);
}

/// What Zeek logs of a connection (`Conn::Info`).
#[derive(LogRecord)]
#[allow(clippy::struct_field_names)]
struct Conn<'a> {
    ts: Seconds,
    uid: &'a BStr,
    id: ConnId,
    proto: Enum,
    service: Option<&'a BStr>,
    duration: Option<Span>,
    orig_bytes: Option<u64>,
    resp_bytes: Option<u64>,
    conn_state: Option<&'a BStr>,
    local_orig: Option<bool>,
    local_resp: Option<bool>,
    missed_bytes: Option<u64>,
    history: Option<&'a BStr>,
    orig_pkts: Option<u64>,
    orig_ip_bytes: Option<u64>,
    resp_pkts: Option<u64>,
    resp_ip_bytes: Option<u64>,
    tunnel_parents: Option<InOrder<'a>>,
    ip_proto: Option<u64>,
}

#[derive(LogRecord)]
struct ConnId {
    orig_h: Address,
    orig_p: Port,
    resp_h: Address,
    resp_p: Port,
}

/// A time as Zeek has it, a double. A type of one's own can be logged, too.
struct Seconds(f64);

impl LogScalar for Seconds {
    const TYPE: Scalar = Scalar::Time;

    fn log_value(&self) -> LogValue<'_> {
        LogValue::Time(self.0)
    }
}

/// The same for an interval.
struct Span(f64);

impl LogScalar for Span {
    const TYPE: Scalar = Scalar::Interval;

    fn log_value(&self) -> LogValue<'_> {
        LogValue::Interval(self.0)
    }
}

/// A set in the order in which Zeek sends it, that of a hash.
struct InOrder<'a>(Vec<&'a BStr>);

impl LogField for InOrder<'_> {
    fn columns(name: &str, optional: bool, columns: &mut Columns) {
        columns.column(name, LogType::Set(Scalar::String), optional);
    }

    fn log(&self, record: &mut RecordWriter<'_>) {
        record.put_set(self.0.iter().map(LogScalar::log_value));
    }
}

/// Reads the values of a recorded batch, in order.
struct Values<'a> {
    cursor: Cursor<'a>,
    types: std::iter::Cycle<std::vec::IntoIter<LogType>>,
}

impl<'a> Values<'a> {
    fn next(&mut self) -> ValueRef<'a> {
        self.cursor.next_value(self.types.next().unwrap()).unwrap()
    }

    fn text(&mut self) -> Option<&'a BStr> {
        match self.next() {
            ValueRef::Unset => None,
            ValueRef::String(bytes) | ValueRef::Enum(bytes) => Some(bytes.into()),
            other => panic!("{other:?}"),
        }
    }

    fn count(&mut self) -> Option<u64> {
        match self.next() {
            ValueRef::Unset => None,
            ValueRef::Count(number) => Some(number),
            other => panic!("{other:?}"),
        }
    }

    fn bool(&mut self) -> Option<bool> {
        match self.next() {
            ValueRef::Unset => None,
            ValueRef::Bool(number @ (0 | 1)) => Some(number == 1),
            other => panic!("{other:?}"),
        }
    }

    fn double(&mut self) -> Option<f64> {
        match self.next() {
            ValueRef::Unset => None,
            ValueRef::Time(seconds) | ValueRef::Interval(seconds) => Some(seconds),
            other => panic!("{other:?}"),
        }
    }

    fn address(&mut self) -> Address {
        let ValueRef::Addr(ip) = self.next() else { panic!("no address") };
        ip.into()
    }

    fn port(&mut self) -> Port {
        let ValueRef::Port { number, protocol } = self.next() else { panic!("no port") };
        Port { number: number.try_into().unwrap(), protocol }
    }

    fn set(&mut self) -> Option<InOrder<'a>> {
        let ValueRef::Set { len } = self.next() else { return None };
        let element = |_| match self.cursor.next_element().unwrap().unwrap() {
            ValueRef::String(bytes) => BStr::new(bytes),
            other => panic!("{other:?}"),
        };
        Some(InOrder((0..len).map(element).collect()))
    }

    fn conn(&mut self) -> Conn<'a> {
        Conn {
            ts: Seconds(self.double().unwrap()),
            uid: self.text().unwrap(),
            id: ConnId {
                orig_h: self.address(),
                orig_p: self.port(),
                resp_h: self.address(),
                resp_p: self.port(),
            },
            proto: Enum::new(self.text().unwrap()),
            service: self.text(),
            duration: self.double().map(Span),
            orig_bytes: self.count(),
            resp_bytes: self.count(),
            conn_state: self.text(),
            local_orig: self.bool(),
            local_resp: self.bool(),
            missed_bytes: self.count(),
            history: self.text(),
            orig_pkts: self.count(),
            orig_ip_bytes: self.count(),
            resp_pkts: self.count(),
            resp_ip_bytes: self.count(),
            tunnel_parents: self.set(),
            ip_proto: self.count(),
        }
    }
}

#[test]
fn the_batches_of_a_stream_are_those_of_zeek_byte_for_byte() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/logs/traffic.zmq");
    let recording = fs::read(path).unwrap();
    let recorder = Recorder::new();
    let logs = Logs::with_sinks(Sinks::remote(recorder.clone()));
    let stream = logs.create_stream::<Conn<'_>>("Conn::LOG").unwrap();
    let (mut batches, mut records) = (0, 0);
    for frames in Recording::new(&recording) {
        let payload = frames.unwrap()[3];
        let batch = Batch::decode(payload).unwrap();
        if batch.stream != "Conn::LOG" {
            continue;
        }
        let types: Vec<LogType> = batch.fields().map(|field| field.log_type).collect();
        let mut values = Values { cursor: batch.cursor(), types: types.into_iter().cycle() };
        for _ in 0..batch.num_records() {
            stream.write(&values.conn()).unwrap();
        }
        stream.flush().unwrap();
        let ours = recorder.take();
        assert_eq!(ours.len(), 1);
        let schema = |payload| LogSchema::from(&Batch::decode(payload).unwrap());
        assert_eq!(schema(&ours[0].payload), schema(payload));
        assert!(ours[0].payload == payload, "batch {batches}");
        batches += 1;
        records += batch.num_records();
    }
    assert!(batches > 1 && records > 100, "{batches} batches, {records} records");
}

#[test]
fn the_example_logs() {
    let cluster = Cluster::new(ONE_LOGGER, "[log]\nflush_interval = \"10ms\"");
    let _broker = cluster.broker();
    let mut logger = cluster.logger("logger-1");
    let mut example = Command::new(example("log_producer"));
    let directory = cluster.layout.parent().unwrap();
    let ended = run_to_end(example.args(["worker-1", "3"]).current_dir(directory));
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
    logger.stop();
    let scans = cluster.log_lines("scan");
    let columns: Vec<Vec<&str>> =
        scans.iter().map(|line| line.split('\t').skip(1).collect()).collect();
    assert_eq!(
        columns,
        [
            ["192.0.2.0", "443", "Scan::PORT", "worker-1", "-"],
            ["192.0.2.1", "443", "Scan::HOST", "worker-1", "-"],
            ["192.0.2.2", "443", "Scan::PORT", "worker-1", "scan 2"],
        ]
    );
    let high = cluster.log_lines("scan_high");
    assert_eq!(high.len(), 1);
    assert!(high[0].ends_with("\t192.0.2.2\tscan 2"), "{}", high[0]);
}

/// Writes the warnings of the process to a stream.
struct ToStream;

static WARNINGS: OnceLock<zcluster::logging::Stream<Warning<'static>>> = OnceLock::new();

thread_local! {
    static IS_WARNING: Cell<bool> = const { Cell::new(false) };
}

#[derive(LogRecord)]
struct Warning<'a> {
    line: &'a str,
}

impl log::Log for ToStream {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = record.args().to_string();
        if let Some(stream) = WARNINGS.get()
            && line.contains("Warnings::LOG")
            && !IS_WARNING.replace(true)
        {
            stream.write(&Warning { line: &line }).unwrap();
            IS_WARNING.set(false);
        }
    }

    fn flush(&self) {}
}

#[test]
fn warnings_about_a_stream_may_go_to_it() {
    log::set_logger(&ToStream).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    let recorder = Recorder::new();
    let logs = Logs::with_sinks(Sinks::remote(recorder.clone()));
    let stream = logs.create_stream::<Warning<'_>>("Warnings::LOG").unwrap();
    WARNINGS.set(stream.clone()).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let writer = std::thread::spawn(move || {
        let path = |_: &str, _: &str, _: &Warning<'_>| "warnings";
        // Each warns once: another filter has its path.
        for filter in [Filter::new("fixed"), Filter::new("by_record").path_func(path)] {
            stream.add_filter(filter).unwrap();
            stream.write(&Warning { line: "a record" }).unwrap();
        }
        tell.send(()).unwrap();
    });
    told.recv_timeout(PATIENCE).expect("a warning does not wait for itself");
    writer.join().unwrap();
    logs.flush_logs().unwrap();
    let mut counts: Vec<(String, u32)> = recorder
        .take()
        .iter()
        .map(|recorded| Batch::decode(&recorded.payload).unwrap())
        .map(|batch| (batch.path.to_string(), batch.num_records()))
        .collect();
    counts.sort();
    let expected = [("warnings", 4), ("warnings-2", 4), ("warnings-3", 2)];
    assert_eq!(counts, expected.map(|(path, records)| (path.to_owned(), records)));
}
