use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use bstr::BString;
use proptest::prelude::*;

use super::*;
use crate::node::LogError;
use crate::telemetry::Telemetry;
use crate::testing;
use crate::value::{Address, Enum, Function, Port, Protocol, Set, Subnet, Timespan, Timestamp};
use crate::wire::zeek_bin::{Batch, Cursor, LogSchema, LogType, PushError, SchemaError, ValueRef};

#[derive(Clone, Debug, LogRecord)]
struct Conn {
    ts: f64,
    id: ConnId,
    service: Option<String>,
    tags: Option<Set<String>>,
    #[log(skip)]
    packets: u64,
}

#[derive(Clone, Debug, LogRecord)]
struct ConnId {
    orig_h: Address,
    resp_p: Port,
}

#[derive(LogRecord)]
struct Ext {
    path: String,
    stream: &'static str,
}

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

fn conn(ts: f64, packets: u64) -> Conn {
    let id = ConnId { orig_h: address("192.0.2.1"), resp_p: Port::new(443, Protocol::Tcp) };
    Conn { ts, id, service: Some("ssl".into()), tags: None, packets }
}

/// What a recorder has got: header, then rows of values, as text.
#[derive(Debug, PartialEq)]
struct Log {
    filter: String,
    path: String,
    columns: String,
    rows: Vec<String>,
}

fn read(payload: &[u8]) -> Log {
    let batch = Batch::decode(payload).unwrap();
    let columns = batch.fields().map(|field| {
        format!("{}:{}{}", field.name, field.log_type, if field.optional { "?" } else { "" })
    });
    let columns = columns.collect::<Vec<_>>().join(" ");
    let mut cursor = batch.cursor();
    let mut rows = Vec::new();
    for _ in 0..batch.num_records() {
        let mut row = Vec::new();
        for field in batch.fields() {
            row.push(text(&mut cursor, field.log_type));
        }
        rows.push(row.join(" "));
    }
    Log { filter: batch.filter.to_string(), path: batch.path.to_string(), columns, rows }
}

fn text(cursor: &mut Cursor<'_>, log_type: LogType) -> String {
    let value = cursor.next_value(log_type).unwrap();
    let (ValueRef::Set { len } | ValueRef::Vector { len }) = value else { return scalar(value) };
    let elements: Vec<String> =
        (0..len).map(|_| scalar(cursor.next_element().unwrap().unwrap())).collect();
    format!("[{}]", elements.join(","))
}

fn scalar(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Unset => "-".into(),
        ValueRef::Bool(x) => (x != 0).to_string(),
        ValueRef::Int(x) => x.to_string(),
        ValueRef::Count(x) => x.to_string(),
        ValueRef::Double(x) | ValueRef::Time(x) | ValueRef::Interval(x) => x.to_string(),
        ValueRef::String(x) | ValueRef::Enum(x) | ValueRef::Func(x) | ValueRef::File(x) => {
            String::from_utf8_lossy(x).into()
        }
        ValueRef::Port { number, protocol } => format!("{number}/{}", protocol.name()),
        ValueRef::Addr(ip) => ip.to_string(),
        ValueRef::Subnet { prefix, length } => format!("{prefix}/{length}"),
        other => panic!("{other:?}"),
    }
}

/// The streams of a test, and what they have sent.
struct Desk {
    recorder: Recorder,
    telemetry: Telemetry,
    logs: Logs,
}

impl Desk {
    fn new() -> Self {
        let (recorder, telemetry) = (Recorder::new(), Telemetry::new("worker-1", "node"));
        let sinks = Sinks { telemetry: Some(telemetry.clone()), ..Sinks::remote(recorder.clone()) };
        Desk { recorder, telemetry, logs: Logs::with_sinks(sinks) }
    }

    /// Everything sent so far, by path.
    fn sent(&self) -> Vec<Log> {
        self.logs.flush_logs().unwrap();
        let mut sent: Vec<Log> = self.recorder.take().iter().map(|b| read(&b.payload)).collect();
        sent.sort_by(|a, b| (&a.path, &a.rows).cmp(&(&b.path, &b.rows)));
        sent
    }

    /// The paths of everything sent so far, with the numbers of records.
    fn paths(&self) -> Vec<(String, usize)> {
        self.sent().into_iter().map(|log| (log.path, log.rows.len())).collect()
    }

    fn metric(&self, series: &str) -> u64 {
        crate::telemetry::tests::value(&self.telemetry, series).map_or(0, |v| v.parse().unwrap())
    }
}

fn at(path: &str, records: usize) -> (String, usize) {
    (path.into(), records)
}

const COLUMNS: &str = "ts:double id.orig_h:addr id.resp_p:port service:string? tags:set[string]?";

#[test]
fn a_stream_logs_under_its_default_path() {
    let desk = Desk::new();
    let stream = desk.logs.create_stream::<Conn>("NetFlow::LOG").unwrap();
    stream.write(&conn(1.5, 0)).unwrap();
    stream
        .write(&Conn { tags: Some(["b".into(), "a".into()].into()), service: None, ..conn(2.0, 0) })
        .unwrap();
    let rows = ["1.5 192.0.2.1 443/tcp ssl -", "2 192.0.2.1 443/tcp - [a,b]"];
    let log = Log {
        filter: "default".into(),
        path: "net_flow".into(),
        columns: COLUMNS.into(),
        rows: rows.map(String::from).into(),
    };
    assert_eq!(desk.sent(), [log]);
    let series =
        r#"zeek_log_stream_writes_total{node="worker-1",module="NetFlow",stream="NetFlow::LOG"}"#;
    assert_eq!(desk.metric(series), 2);
}

#[test]
fn filters_choose_and_name_columns() {
    type Change = fn(Filter<Conn>) -> Filter<Conn>;
    let rows: [(&str, Change, &str, &str); 9] = [
        ("nothing", |f| f, COLUMNS, "1 192.0.2.1 443/tcp ssl -"),
        ("include", |f| f.include(["id.resp_p", "ts"]), "ts:double id.resp_p:port", "1 443/tcp"),
        (
            "exclude",
            |f| f.exclude(["tags", "id.orig_h"]),
            "ts:double id.resp_p:port service:string?",
            "1 443/tcp ssl",
        ),
        ("both", |f| f.include(["ts", "tags"]).exclude(["tags"]), "ts:double", "1"),
        (
            "renamed, even in turn",
            |f| {
                f.include(["ts", "service"]).field_name_map([
                    ("ts", "service"),
                    ("service", "ts"),
                    ("tags", "t"),
                ])
            },
            "service:double ts:string?",
            "1 ssl",
        ),
        (
            "scope_sep",
            |f| f.scope_sep("_").exclude(["id_resp_p"]).include(["id_resp_p", "id_orig_h"]),
            "id_orig_h:addr",
            "192.0.2.1",
        ),
        (
            "ext",
            |f| {
                f.ext_func(|path| Ext { path: path.into(), stream: "S" })
                    .include(["ts"])
                    .field_name_map([("_stream", "from")])
            },
            "_path:string from:string ts:double",
            "conn S 1",
        ),
        (
            "ext_prefix",
            |f| {
                f.ext_prefix("x.")
                    .ext_func(|_| ConnId { orig_h: address("::1"), resp_p: Port::default() })
                    .exclude(["tags", "service"])
            },
            "x.orig_h:addr x.resp_p:port ts:double id.orig_h:addr id.resp_p:port",
            "::1 0/unknown 1 192.0.2.1 443/tcp",
        ),
        (
            "a record in an ext record",
            |f| f.ext_func(|_| Nested { id: None }).include(["ts"]),
            "_id.orig_h:addr _id.resp_p:port ts:double",
            "- - 1",
        ),
    ];
    for (what, change, columns, row) in rows {
        let desk = Desk::new();
        let options = StreamOptions::new().path("conn").without_default_filter();
        let stream = desk.logs.create_stream_with::<Conn>("Conn::LOG", options).unwrap();
        stream.write(&conn(0.0, 0)).unwrap();
        stream.add_filter(change(Filter::new("f"))).unwrap();
        stream.write(&conn(1.0, 0)).unwrap();
        let sent = desk.sent();
        assert_eq!(sent.len(), 1, "{what}");
        assert_eq!((&*sent[0].columns, &*sent[0].rows[0]), (columns, row), "{what}");
        assert_eq!((&*sent[0].filter, &*sent[0].path), ("f", "conn"), "{what}");
    }
}

#[derive(LogRecord)]
struct Nested {
    id: Option<ConnId>,
}

#[test]
fn mistakes_in_filters_are_one_line() {
    type Change = fn(Filter<Conn>) -> Filter<Conn>;
    let known = "which records do not have; they have ts, id.orig_h, id.resp_p, service, tags";
    let rows: [(Change, String); 6] = [
        (|f| f.include(["tss"]), format!("`include` names the column \"tss\", {known}")),
        (|f| f.exclude(["id"]), format!("`exclude` names the column \"id\", {known}")),
        (
            |f| f.field_name_map([("packets", "x")]),
            format!("`field_name_map` names the column \"packets\", {known}"),
        ),
        (
            |f| f.field_name_map([("ts", "tags")]),
            "log schema: fields 0 and 4 are both named \"tags\"".into(),
        ),
        (|f| f.include(["ts"]).exclude(["ts"]), "log schema: 0 fields".into()),
        (|f| f.path("a\nb"), "log schema: bad path \"a\\nb\"".into()),
    ];
    let desk = Desk::new();
    let stream = desk.logs.create_stream::<Conn>("Conn::LOG").unwrap();
    for (change, expected) in rows {
        let error = stream.add_filter(change(Filter::new("default"))).unwrap_err().to_string();
        assert_eq!(error, format!("log stream Conn::LOG, filter default: {expected}"));
    }
    // The filter of that name is still there.
    stream.write(&conn(1.0, 0)).unwrap();
    assert_eq!(desk.paths(), [at("conn", 1)]);
}

#[test]
fn policies_see_records_in_order() {
    let desk = Desk::new();
    let stream = desk.logs.create_stream::<Conn>("Conn::LOG").unwrap();
    stream
        .add_filter(Filter::<Conn>::new("big").path("big").policy(|conn, stream, filter| {
            assert_eq!((stream, filter), ("Conn::LOG", "big"));
            conn.packets > 10
        }))
        .unwrap();
    for packets in [5, 15, 25] {
        stream.write(&conn(1.0, packets)).unwrap();
    }
    assert_eq!(desk.paths(), [at("big", 2), at("conn", 3)]);
    stream.set_policy(|conn, stream| stream == "Conn::LOG" && conn.packets != 15);
    for packets in [5, 15, 25] {
        stream.write(&conn(1.0, packets)).unwrap();
    }
    assert_eq!(desk.paths(), [at("big", 1), at("conn", 2)]);
}

#[test]
fn a_function_chooses_the_path() {
    let desk = Desk::new();
    let options = StreamOptions::new().without_default_filter();
    let stream = desk.logs.create_stream_with::<Conn>("Conn::LOG", options).unwrap();
    let (tell, told) = mpsc::channel();
    let filter = |name: &str| {
        let tell = tell.clone();
        Filter::<Conn>::new(name).path_func(move |stream, path, conn| {
            tell.send(format!("{stream} {path}")).unwrap();
            if conn.packets < 10 {
                Cow::Borrowed("small")
            } else {
                format!("p{}", conn.packets).into()
            }
        })
    };
    stream.add_filter(filter("f")).unwrap();
    for packets in [11, 1, 2, 11] {
        stream.write(&conn(1.0, packets)).unwrap();
    }
    assert_eq!(desk.paths(), [at("p11", 2), at("small", 2)]);
    let so_far: Vec<String> = told.try_iter().collect();
    assert_eq!(so_far, ["Conn::LOG ", "Conn::LOG p11", "Conn::LOG p11", "Conn::LOG p11"]);
    // Its own path stays the suggestion.
    stream.add_filter(filter("f").path("base")).unwrap();
    stream.write(&conn(1.0, 1)).unwrap();
    stream.write(&conn(1.0, 1)).unwrap();
    assert_eq!(told.try_iter().collect::<Vec<_>>(), ["Conn::LOG base", "Conn::LOG base"]);
    assert_eq!(desk.paths(), [at("small", 2)]);
    // An impossible path is an error of the write.
    stream.add_filter(Filter::new("f").path_func(|_, _, _: &Conn| "a\tb")).unwrap();
    let error = stream.write(&conn(1.0, 1)).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, LogsError::Open { .. }), "{text}");
    assert!(
        text.starts_with("log stream Conn::LOG, filter f, path \"a\\tb\": log schema"),
        "{text}"
    );
}

#[test]
fn open_paths_are_bounded_and_nothing_is_lost() {
    let desk = Desk::new();
    let options = StreamOptions::new().without_default_filter();
    let stream = desk.logs.create_stream_with::<Conn>("Conn::LOG", options).unwrap();
    let path = |_: &str, _: &str, conn: &Conn| format!("p{}", conn.packets);
    stream.add_filter(Filter::new("f").path_func(path).max_open_paths(2)).unwrap();
    for packets in [1, 2, 1, 3, 1, 2] {
        stream.write(&conn(1.0, packets)).unwrap();
    }
    // p2 made room for p3, and p3 for p2.
    let closed: Vec<Log> = desk.recorder.take().iter().map(|b| read(&b.payload)).collect();
    let closed: Vec<&str> = closed.iter().map(|log| &*log.path).collect();
    assert_eq!(closed, ["p2", "p3"]);
    assert_eq!(desk.paths(), [at("p1", 3), at("p2", 1)]);
    let series =
        r#"zcluster_log_paths_closed_total{node="worker-1",module="Conn",stream="Conn::LOG"}"#;
    assert_eq!(desk.metric(series), 2);
}

#[test]
fn filters_do_not_share_a_path() {
    let desk = Desk::new();
    let stream = desk.logs.create_stream::<Conn>("Conn::LOG").unwrap();
    stream.add_filter(Filter::new("second")).unwrap();
    stream.add_filter(Filter::new("third").path_func(|_, _, _: &Conn| "conn")).unwrap();
    stream.add_filter(Filter::new("other_writer").writer("Log::WRITER_NONE")).unwrap();
    for _ in 0..2 {
        stream.write(&conn(1.0, 0)).unwrap();
    }
    let sent = desk.sent();
    let mut sent: Vec<_> = sent.iter().map(|l| (&*l.filter, &*l.path, l.rows.len())).collect();
    sent.sort_unstable();
    let expected = [
        ("default", "conn", 2),
        ("other_writer", "conn", 2),
        ("second", "conn-2", 2),
        ("third", "conn-3", 2),
    ];
    assert_eq!(sent, expected);
    // A removed filter gives its path back.
    assert!(stream.remove_filter("default").unwrap());
    assert!(!stream.remove_filter("default").unwrap());
    stream.add_filter(Filter::new("fourth")).unwrap();
    stream.write(&conn(1.0, 0)).unwrap();
    let paths: Vec<(String, String)> =
        desk.sent().into_iter().map(|log| (log.filter, log.path)).collect();
    assert!(paths.contains(&("fourth".into(), "conn".into())), "{paths:?}");
    assert_eq!(stream.filter_names(), ["second", "third", "other_writer", "fourth"]);
}

#[test]
fn removing_a_filter_sends_what_it_holds() {
    let desk = Desk::new();
    let stream = desk.logs.create_stream::<Conn>("Conn::LOG").unwrap();
    stream.write(&conn(1.0, 0)).unwrap();
    stream.remove_filter("default").unwrap();
    assert_eq!(desk.recorder.take().len(), 1);
    stream.write(&conn(1.0, 0)).unwrap();
    assert_eq!(desk.sent(), []);
}

#[test]
fn streams_are_switched_on_and_off() {
    let desk = Desk::new();
    let stream = desk.logs.create_stream::<Conn>("Conn::LOG").unwrap();
    let write = || stream.write(&conn(1.0, 0));
    stream.disable();
    write().unwrap();
    assert!(!stream.is_enabled());
    assert_eq!(desk.sent(), []);
    desk.logs.enable_stream("Conn::LOG").unwrap();
    write().unwrap();
    assert_eq!(desk.paths(), [at("conn", 1)]);
    desk.logs.disable_stream("Conn::LOG").unwrap();
    write().unwrap();
    assert_eq!(desk.sent(), []);
    stream.enable();
    write().unwrap();
    assert_eq!(desk.logs.active_streams(), ["Conn::LOG"]);
    let again = desk.logs.create_stream::<Conn>("Conn::LOG").unwrap_err();
    assert!(matches!(again, LogsError::StreamExists(id) if id == "Conn::LOG"));
    // The end of a stream sends what it holds.
    desk.logs.remove_stream("Conn::LOG").unwrap();
    assert_eq!(desk.recorder.take().len(), 1);
    assert!(matches!(write(), Err(LogsError::NoStream(_))));
    stream.enable();
    assert!(matches!(write(), Err(LogsError::NoStream(_))));
    assert!(matches!(desk.logs.enable_stream("Conn::LOG"), Err(LogsError::NoStream(_))));
    desk.logs.create_stream::<ConnId>("Conn::LOG").unwrap();
}

#[test]
fn local_and_remote_logging_are_independent() {
    let (local, remote) = (Recorder::new(), Recorder::new());
    let sinks =
        Sinks { local: Some(std::sync::Arc::new(local.clone())), ..Sinks::remote(remote.clone()) };
    let logs = Logs::with_sinks(sinks);
    let stream = logs.create_stream::<Conn>("Conn::LOG").unwrap();
    let written = || {
        stream.write(&conn(1.0, 0)).unwrap();
        logs.flush_logs().unwrap();
        let paths = |recorder: &Recorder| {
            recorder.take().iter().map(|b| read(&b.payload).filter).collect::<Vec<_>>()
        };
        (paths(&local), paths(&remote))
    };
    let nothing = Vec::<String>::new;
    let default = || vec!["default".to_owned()];
    assert_eq!(written(), (nothing(), default()));
    stream.enable_local_logs().unwrap();
    assert_eq!(written(), (default(), default()));
    stream.disable_remote_logs();
    assert_eq!(written(), (default(), nothing()));
    stream.enable_remote_logs().unwrap();
    stream.disable_local_logs();
    assert_eq!(written(), (nothing(), default()));
    // A filter may decide for itself.
    stream.add_filter(Filter::new("default").log_remote(false)).unwrap();
    assert_eq!(written(), (nothing(), nothing()));
    stream.add_filter(Filter::new("default").log_remote(false).log_local(true)).unwrap();
    assert_eq!(written(), (default(), nothing()));

    let desk = Desk::new();
    let stream = desk.logs.create_stream::<Conn>("Conn::LOG").unwrap();
    let error = stream.enable_local_logs().unwrap_err().to_string();
    assert_eq!(error, "log stream Conn::LOG: this process has no local sink");
}

#[test]
fn sinks_get_the_topic_of_a_log() {
    let desk = Desk::new();
    let conns = desk.logs.create_stream::<Conn>("Conn::LOG").unwrap();
    let topics = |recorder: &Recorder| {
        recorder.take().into_iter().map(|batch| batch.topic).collect::<Vec<_>>()
    };
    conns.write(&conn(1.0, 0)).unwrap();
    desk.logs.flush_logs().unwrap();
    assert_eq!(topics(&desk.recorder), ["zeek/logs/Conn::LOG"]);
    desk.logs.log_topic(|stream, path| format!("logs/{stream}/{path}"));
    conns.add_filter(Filter::new("second").path("x")).unwrap();
    conns.remove_filter("default").unwrap();
    conns.write(&conn(1.0, 0)).unwrap();
    desk.logs.flush_logs().unwrap();
    assert_eq!(topics(&desk.recorder), ["logs/Conn::LOG/x"]);
}

#[derive(LogRecord)]
struct Texts {
    one: String,
    set: BTreeSet<u64>,
    all: Vec<String>,
}

#[test]
fn limits_cut_and_say_so() {
    let short = Limits {
        string_bytes: 4,
        total_string_bytes: 10,
        container_elements: 3,
        total_container_elements: 5,
        record_bytes: 200,
    };
    let texts = |one: &str, set: u64, all: &[&str]| Texts {
        one: one.into(),
        set: (0..set).collect(),
        all: all.iter().map(|text| (*text).into()).collect(),
    };
    let (string, container) = (weird::STRING_TRUNCATED, weird::CONTAINER_TRUNCATED);
    for (record, row, weirds) in [
        (texts("abcd", 3, &["a", "b"]), Some("abcd [0,1,2] [a,b]"), vec![]),
        (texts("abcde", 0, &[]), Some("abcd [] []"), vec![string]),
        (texts("", 4, &[]), Some(" [0,1,2] []"), vec![container]),
        (texts("", 3, &["a", "b", "c"]), Some(" [0,1,2] [a,b]"), vec![container]),
        (texts("abcde", 0, &["efgh", "ijkl"]), Some("abcd [] [efgh,ij]"), vec![string, string]),
        (texts("abcd", 3, &["efgh", "i"]), Some("abcd [0,1,2] [efgh,i]"), vec![]),
    ] {
        let desk = Desk::new();
        let (tell, told) = mpsc::channel();
        desk.logs.on_weird(move |_, name, stream| tell.send(format!("{name} {stream}")).unwrap());
        let options = StreamOptions::new().limits(short);
        let stream = desk.logs.create_stream_with::<Texts>("T::LOG", options).unwrap();
        stream.write(&record).unwrap();
        let expected: Vec<String> = weirds.iter().map(|name| format!("{name} T::LOG")).collect();
        assert_eq!(told.try_iter().collect::<Vec<_>>(), expected);
        assert_eq!(desk.sent()[0].rows.first().map(String::as_str), row);
    }
    // Zeek's limits apply unless a stream says otherwise.
    let desk = Desk::new();
    let stream = desk.logs.create_stream::<Texts>("T::LOG").unwrap();
    stream.write(&texts(&"x".repeat(5000), 101, &[])).unwrap();
    let elements: Vec<String> = (0..100).map(|n: u64| n.to_string()).collect();
    let row = format!("{} [{}] []", "x".repeat(4096), elements.join(","));
    assert_eq!(desk.sent()[0].rows, [row]);
}

#[test]
fn a_record_too_large_is_discarded_and_said_so() {
    let desk = Desk::new();
    let (tell, told) = mpsc::channel();
    desk.logs.on_weird(move |_, name, stream| tell.send(format!("{name} {stream}")).unwrap());
    let options = StreamOptions::new().limits(Limits { record_bytes: 100, ..Limits::default() });
    let stream = desk.logs.create_stream_with::<Conn>("Conn::LOG", options).unwrap();
    stream.add_filter(Filter::new("times").path("times").include(["ts"])).unwrap();
    let record = Conn { service: Some("x".repeat(100)), ..conn(1.0, 0) };
    let error = stream.write(&record).unwrap_err();
    let LogsError::Write { place, error } = error else { panic!("{error}") };
    assert!(matches!(error, LogError::Record(PushError::RecordTooLarge { limit: 100, .. })));
    assert_eq!(place.filter, "default");
    assert_eq!(told.try_iter().collect::<Vec<_>>(), ["log_record_too_large Conn::LOG"]);
    // The other filter has it.
    assert_eq!(desk.paths(), [at("times", 1)]);
}

#[test]
fn hooks_may_use_the_stream() {
    let desk = Desk::new();
    let weirds = desk.logs.create_stream::<Ext>("Weird::LOG").unwrap();
    let stream = desk.logs.create_stream::<Conn>("Conn::LOG").unwrap();
    let (log, conns) = (desk.logs.clone(), stream.clone());
    stream.set_policy(move |conn, _| {
        if conn.packets == 1 {
            weirds.write(&Ext { path: "p".into(), stream: "s" }).unwrap();
            log.flush_logs().unwrap();
            conns.add_filter(Filter::new("more").path("more")).unwrap();
        }
        true
    });
    stream.write(&conn(1.0, 1)).unwrap();
    stream.write(&conn(1.0, 2)).unwrap();
    assert_eq!(desk.paths(), [at("conn", 2), at("more", 1), at("weird", 1)]);
}

#[test]
fn threads_write_while_filters_change() {
    const THREADS: usize = 4;
    const RECORDS: usize = 500;
    let desk = Desk::new();
    let stream = desk.logs.create_stream::<Conn>("Conn::LOG").unwrap();
    let seen = std::sync::Arc::new(AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            let stream = stream.clone();
            scope.spawn(move || {
                for _ in 0..RECORDS {
                    stream.write(&conn(1.0, 0)).unwrap();
                }
            });
        }
        for _ in 0..50 {
            let seen = std::sync::Arc::clone(&seen);
            let count = move |_: &Conn, _: &str, _: &str| {
                seen.fetch_add(1, Ordering::Relaxed);
                true
            };
            stream.add_filter(Filter::new("more").path("more").policy(count)).unwrap();
            stream.remove_filter("more").unwrap();
        }
    });
    let count = |sent: &[Log], path: &str| -> usize {
        sent.iter().filter(|log| log.path == path).map(|log| log.rows.len()).sum()
    };
    let sent = desk.sent();
    assert_eq!(count(&sent, "conn"), THREADS * RECORDS);
    assert_eq!(count(&sent, "more"), seen.load(Ordering::Relaxed));
}

#[test]
fn a_filter_is_replaced_in_one_step() {
    const RECORDS: usize = 2000;
    let desk = Desk::new();
    let stream = desk.logs.create_stream::<Conn>("Conn::LOG").unwrap();
    stream.add_filter(Filter::new("last").path("last")).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let stream = stream.clone();
            scope.spawn(move || {
                (0..100).for_each(|_| stream.add_filter(Filter::new("default")).unwrap());
            });
        }
        scope.spawn(|| (0..RECORDS).for_each(|_| stream.write(&conn(1.0, 0)).unwrap()));
    });
    assert_eq!(stream.filter_names(), ["default", "last"]);
    let mut records = std::collections::BTreeMap::new();
    for log in desk.sent() {
        *records.entry(log.path).or_insert(0) += log.rows.len();
    }
    assert_eq!(records, [at("conn", RECORDS), at("last", RECORDS)].into());
}

#[test]
fn a_filter_that_wants_a_sink_that_is_not_there_is_an_error() {
    let desk = Desk::new();
    let stream = desk.logs.create_stream::<Conn>("Conn::LOG").unwrap();
    let error = stream.add_filter(Filter::new("default").log_local(true)).unwrap_err().to_string();
    assert_eq!(error, "log stream Conn::LOG, filter default: this process has no local sink");
    stream.add_filter(Filter::new("f").log_local(false).log_remote(true).path("f")).unwrap();
    stream.write(&conn(1.0, 0)).unwrap();
    assert_eq!(desk.paths(), [at("conn", 1), at("f", 1)]);

    let local: Option<std::sync::Arc<dyn LogSink>> = Some(std::sync::Arc::new(Recorder::new()));
    let logs = Logs::with_sinks(Sinks { local, enable_local_logging: true, ..Sinks::default() });
    let stream = logs.create_stream::<Conn>("Conn::LOG").unwrap();
    let error = stream.add_filter(Filter::new("f").log_remote(true)).unwrap_err().to_string();
    assert_eq!(error, "log stream Conn::LOG, filter f: this process has no remote sink");
    stream.add_filter(Filter::new("f").log_local(true)).unwrap();
}

/// Takes everything, but flushes nothing.
struct Stuck(Recorder);

struct StuckWriter(Box<dyn LogWriter>);

impl LogSink for Stuck {
    fn open(&self, info: WriterInfo) -> Result<Box<dyn LogWriter>, crate::node::NodeError> {
        Ok(Box::new(StuckWriter(self.0.open(info)?)))
    }
}

impl LogWriter for StuckWriter {
    fn write(
        &self,
        record: &dyn Fn(&mut RecordWriter<'_>),
    ) -> Result<crate::wire::zeek_bin::Truncations, LogError> {
        self.0.write(record)
    }

    fn flush(&self) -> Result<(), LogError> {
        Err(LogError::Closed)
    }
}

#[test]
fn a_path_that_cannot_be_closed_costs_no_other_record() {
    let recorder = Recorder::new();
    let logs = Logs::with_sinks(Sinks::remote(Stuck(recorder.clone())));
    let stream = logs.create_stream::<Conn>("Conn::LOG").unwrap();
    let path = |_: &str, _: &str, conn: &Conn| format!("p{}", conn.packets);
    stream.add_filter(Filter::new("default").path_func(path).max_open_paths(1)).unwrap();
    stream.write(&conn(1.0, 1)).unwrap();
    let error = stream.write(&conn(1.0, 2)).unwrap_err();
    assert!(matches!(&error, LogsError::Write { place, .. } if place.path == "p1"), "{error}");
    drop((logs, stream));
    let mut paths: Vec<_> = recorder.take().iter().map(|b| read(&b.payload).path).collect();
    paths.sort();
    assert_eq!(paths, ["p1", "p2"]);
}

#[test]
fn an_ext_func_may_log_even_to_its_own_log() {
    let (local, remote) = (Recorder::new(), Recorder::new());
    let local: Option<std::sync::Arc<dyn LogSink>> = Some(std::sync::Arc::new(local));
    let sinks = Sinks { local, enable_local_logging: true, ..Sinks::remote(remote.clone()) };
    let logs = Logs::with_sinks(sinks);
    let stream = logs.create_stream::<Conn>("Conn::LOG").unwrap();
    let calls = std::sync::Arc::new(AtomicUsize::new(0));
    let (counted, own, all) = (std::sync::Arc::clone(&calls), stream.clone(), logs.clone());
    let ext = move |path: &str| {
        if counted.fetch_add(1, Ordering::Relaxed) == 1 {
            own.write(&conn(2.0, 0)).unwrap();
            all.flush_logs().unwrap();
        }
        Ext { path: path.into(), stream: "s" }
    };
    stream.add_filter(Filter::new("default").include(["ts"]).ext_func(ext)).unwrap();
    (0..2).for_each(|_| stream.write(&conn(1.0, 0)).unwrap());
    logs.flush_logs().unwrap();
    let rows: Vec<_> = remote.take().iter().flat_map(|b| read(&b.payload).rows).collect();
    assert_eq!(rows, ["conn s 1", "conn s 2", "conn s 1"]);
    // Once for each record, though it goes to two sinks.
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

#[test]
fn a_log_topic_may_log_to_the_log_that_it_is_for() {
    let desk = Desk::new();
    let stream = desk.logs.create_stream::<Conn>("Conn::LOG").unwrap();
    let (own, asked) = (stream.clone(), AtomicUsize::new(0));
    desk.logs.log_topic(move |_, path| {
        if asked.fetch_add(1, Ordering::Relaxed) == 0 {
            own.write(&conn(2.0, 0)).unwrap();
        }
        path.into()
    });
    stream.write(&conn(1.0, 0)).unwrap();
    assert_eq!(desk.paths(), [at("conn", 2)]);
}

#[test]
fn a_record_that_panics_spoils_no_other() {
    #[derive(LogRecord)]
    struct Fragile {
        one: u64,
        two: Fuse,
    }
    struct Fuse(bool);
    impl LogScalar for Fuse {
        const TYPE: Scalar = Scalar::Bool;
        fn log_value(&self) -> LogValue<'_> {
            assert!(self.0, "on purpose");
            LogValue::Bool(self.0)
        }
    }
    let desk = Desk::new();
    let stream = desk.logs.create_stream::<Fragile>("F::LOG").unwrap();
    for (one, holds) in [(1, true), (2, false), (3, true)] {
        let write = || stream.write(&Fragile { one, two: Fuse(holds) }).unwrap();
        let written = std::panic::catch_unwind(std::panic::AssertUnwindSafe(write));
        assert_eq!(written.is_ok(), holds);
    }
    assert_eq!(desk.sent()[0].rows, ["1 true", "3 true"]);
}

#[test]
fn a_weird_hook_writes_to_a_stream_and_nothing_lives_on() {
    let desk = Desk::new();
    let short = || StreamOptions::new().limits(Limits { string_bytes: 4, ..Limits::default() });
    let weirds = desk.logs.create_stream_with::<Ext>("Weird::LOG", short()).unwrap();
    let stream = desk.logs.create_stream_with::<Conn>("Conn::LOG", short()).unwrap();
    let held = std::sync::Arc::new(());
    let (alive, in_hook) = (std::sync::Arc::downgrade(&held), std::sync::Arc::clone(&held));
    desk.logs.on_weird(move |logs, name, _| {
        assert!(std::sync::Arc::strong_count(&in_hook) > 0);
        // It is cut itself, which does not call the hook again.
        let weirds = logs.stream::<Ext>("Weird::LOG").unwrap();
        weirds.write(&Ext { path: name.into(), stream: "s" }).unwrap();
        assert!(matches!(logs.stream::<Conn>("Weird::LOG"), Err(LogsError::OtherRecords(_))));
        assert!(matches!(logs.stream::<Conn>("x"), Err(LogsError::NoStream(_))));
    });
    let record = Conn { service: Some("12345".into()), ..conn(1.0, 0) };
    (0..2).for_each(|_| stream.write(&record).unwrap());
    let sent = desk.sent();
    assert_eq!(sent[1].rows, ["log_ s", "log_ s"]);
    // A policy and a filter that hold their own stream.
    let (own, all, in_policy) = (stream.clone(), desk.logs.clone(), std::sync::Arc::clone(&held));
    stream.set_policy(move |_, _| own.is_enabled() && std::sync::Arc::strong_count(&in_policy) > 0);
    let in_filter = (stream.clone(), std::sync::Arc::clone(&held));
    let policy = move |_: &Conn, _: &str, _: &str| {
        let (own, _held) = &in_filter;
        own.id() != all.active_streams()[0]
    };
    stream.add_filter(Filter::new("f").policy(policy)).unwrap();
    stream.write(&record).unwrap();
    desk.logs.remove_stream("Conn::LOG").unwrap();
    assert_eq!(std::sync::Arc::strong_count(&held), 2, "only the hook's is left");
    // Nothing brings the circle back.
    stream.set_policy(|_, _| true);
    assert!(matches!(stream.add_filter(Filter::new("f")), Err(LogsError::NoStream(_))));
    assert_eq!(stream.filter_names(), [""; 0]);
    drop((desk, stream, weirds, held));
    assert_eq!(alive.strong_count(), 0);
}

#[test]
fn records_borrow_what_they_log() {
    #[derive(LogRecord)]
    struct Borrowed<'a> {
        name: &'a str,
        hosts: &'a [Address],
        tags: Vec<&'a str>,
    }
    let desk = Desk::new();
    let stream = desk.logs.create_stream::<Borrowed<'_>>("B::LOG").unwrap();
    stream
        .add_filter(
            Filter::<Borrowed<'_>>::new("short")
                .path("s")
                .policy(|record, _, _| record.name.len() < 3),
        )
        .unwrap();
    for name in ["ab", "abc"] {
        let owned = name.to_owned();
        let hosts = [address("::1")];
        stream.write(&Borrowed { name: &owned, hosts: &hosts, tags: vec![&owned] }).unwrap();
    }
    assert_eq!(desk.paths(), [at("b", 2), at("s", 1)]);
}

#[derive(Clone, Copy, Debug, LogScalar)]
enum Kind {
    #[log(name = "Scan::PORT")]
    Port,
    Other,
}

#[derive(Clone, Debug, LogScalar)]
struct UserId(u64);

/// A field of each type.
#[derive(Clone, Debug, LogRecord)]
struct Everything {
    bool: bool,
    count: u64,
    small: u8,
    int: i64,
    double: f64,
    time: Timestamp,
    interval: Timespan,
    system_time: SystemTime,
    duration: Duration,
    string: String,
    bytes: BString,
    addr: Address,
    ip: IpAddr,
    subnet: Subnet,
    port: Port,
    kind: Kind,
    name: Enum,
    func: Function,
    file: FileName<String>,
    user: UserId,
    set: Set<Address>,
    vector: Vec<Option<Timespan>>,
    array: [bool; 2],
    unset: Option<Port>,
    nested: Option<ConnId>,
    kinds: Option<Vec<Kind>>,
}

fn everything() -> impl Strategy<Value = Everything> {
    let numbers = (any::<bool>(), any::<u64>(), any::<u8>(), any::<i64>(), any::<f64>());
    let times = (any::<i64>(), any::<i64>(), any::<u32>(), any::<u32>());
    let texts = (any::<String>(), testing::bytes(), testing::bytes(), any::<String>());
    let places = (testing::address(), any::<IpAddr>(), testing::subnet(), testing::port());
    let containers = (
        proptest::collection::btree_set(testing::address(), 0..5),
        proptest::collection::vec(proptest::option::of(any::<i64>()), 0..5),
        any::<[bool; 2]>(),
        proptest::option::of(testing::port()),
        proptest::option::of((testing::address(), testing::port())),
        proptest::option::of(proptest::collection::vec(any::<bool>(), 0..4)),
    );
    (numbers, times, texts, places, containers).prop_map(|(n, t, s, p, c)| {
        let kind = |port| if port { Kind::Port } else { Kind::Other };
        Everything {
            bool: n.0,
            count: n.1,
            small: n.2,
            int: n.3,
            double: n.4,
            time: Timestamp(t.0),
            interval: Timespan(t.1),
            system_time: SystemTime::UNIX_EPOCH + Duration::from_millis(t.2.into()),
            duration: Duration::from_micros(t.3.into()),
            string: s.0,
            bytes: s.1,
            addr: p.0,
            ip: p.1,
            subnet: p.2,
            port: p.3,
            kind: kind(n.0),
            name: Enum(s.2.clone()),
            func: Function { name: s.2, captures: None },
            file: FileName(s.3),
            user: UserId(n.1),
            set: Set(c.0),
            vector: c.1.into_iter().map(|nanos| nanos.map(Timespan)).collect(),
            array: c.2,
            unset: c.3,
            nested: c.4.map(|(orig_h, resp_p)| ConnId { orig_h, resp_p }),
            kinds: c.5.map(|kinds| kinds.into_iter().map(kind).collect()),
        }
    })
}

/// The same record, encoded by hand.
fn by_hand(record: &Everything) -> Vec<u8> {
    use crate::wire::zeek_bin::{BatchBuilder, FieldSpec};
    let spec = |(name, log_type): (&str, LogType)| FieldSpec::new(name, log_type);
    let of = LogType::Scalar;
    let mut fields: Vec<FieldSpec> = [
        ("bool", of(Scalar::Bool)),
        ("count", of(Scalar::Count)),
        ("small", of(Scalar::Count)),
        ("int", of(Scalar::Int)),
        ("double", of(Scalar::Double)),
        ("time", of(Scalar::Time)),
        ("interval", of(Scalar::Interval)),
        ("system_time", of(Scalar::Time)),
        ("duration", of(Scalar::Interval)),
        ("string", of(Scalar::String)),
        ("bytes", of(Scalar::String)),
        ("addr", of(Scalar::Addr)),
        ("ip", of(Scalar::Addr)),
        ("subnet", of(Scalar::Subnet)),
        ("port", of(Scalar::Port)),
        ("kind", of(Scalar::Enum)),
        ("name", of(Scalar::Enum)),
        ("func", of(Scalar::Func)),
        ("file", of(Scalar::File)),
        ("user", of(Scalar::Count)),
        ("set", LogType::Set(Scalar::Addr)),
        ("vector", LogType::Vector(Scalar::Interval)),
        ("array", LogType::Vector(Scalar::Bool)),
    ]
    .map(spec)
    .into();
    fields.push(FieldSpec::new("unset", Scalar::Port).optional());
    fields.push(FieldSpec::new("nested.orig_h", Scalar::Addr));
    fields.push(FieldSpec::new("nested.resp_p", Scalar::Port));
    fields.push(FieldSpec::new("kinds", LogType::Vector(Scalar::Enum)).optional());
    let mut builder = BatchBuilder::new(LogSchema::new("E::LOG", "e", fields)).unwrap();
    let since = record.system_time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let set: Vec<LogValue<'_>> = record.set.iter().map(|a| LogValue::Addr(a.to_ip())).collect();
    let interval = |x: &Timespan| LogValue::Interval(x.as_secs_f64());
    let vector: Vec<LogValue<'_>> =
        record.vector.iter().map(|x| x.as_ref().map_or(LogValue::Unset, interval)).collect();
    let kind = |kind: Kind| {
        LogValue::Enum(match kind {
            Kind::Port => b"Scan::PORT",
            Kind::Other => b"Other",
        })
    };
    let kinds: Option<Vec<LogValue<'_>>> =
        record.kinds.as_ref().map(|kinds| kinds.iter().map(|k| kind(*k)).collect());
    let nested = record.nested.as_ref();
    builder
        .push(&[
            LogValue::Bool(record.bool),
            LogValue::Count(record.count),
            LogValue::Count(record.small.into()),
            LogValue::Int(record.int),
            LogValue::Double(record.double),
            LogValue::Time(record.time.as_secs_f64()),
            LogValue::Interval(record.interval.as_secs_f64()),
            LogValue::Time(since.as_secs_f64()),
            LogValue::Interval(record.duration.as_secs_f64()),
            LogValue::String(record.string.as_bytes()),
            LogValue::String(&record.bytes),
            LogValue::Addr(record.addr.to_ip()),
            LogValue::Addr(record.ip),
            LogValue::Subnet(record.subnet),
            LogValue::Port(record.port),
            kind(record.kind),
            LogValue::Enum(&record.name.0),
            LogValue::Func(&record.func.name),
            LogValue::File(record.file.0.as_bytes()),
            LogValue::Count(record.user.0),
            LogValue::Set(&set),
            LogValue::Vector(&vector),
            LogValue::Vector(&record.array.map(LogValue::Bool)),
            record.unset.map_or(LogValue::Unset, LogValue::Port),
            nested.map_or(LogValue::Unset, |id| LogValue::Addr(id.orig_h.to_ip())),
            nested.map_or(LogValue::Unset, |id| LogValue::Port(id.resp_p)),
            kinds.as_ref().map_or(LogValue::Unset, |kinds| LogValue::Vector(kinds)),
        ])
        .unwrap();
    builder.finish()
}

proptest! {
    #[test]
    fn any_record_is_what_it_is_by_hand(record in everything()) {
        let desk = Desk::new();
        desk.logs.create_stream::<Everything>("E::LOG").unwrap().write(&record).unwrap();
        desk.logs.flush_logs().unwrap();
        let sent = desk.recorder.take();
        prop_assert_eq!(&sent[0].payload, &by_hand(&record));
    }

    /// Any choice of columns leaves the values of the others where they belong.
    #[test]
    fn any_choice_of_columns_keeps_their_values(record in everything(), keep in any::<u32>()) {
        let all = Columns::of::<Everything>(".");
        let chosen: Vec<String> = all
            .iter()
            .enumerate()
            .filter(|(index, _)| keep >> (index % 32) & 1 == 1)
            .map(|(_, field)| field.name.to_string())
            .collect();
        prop_assume!(!chosen.is_empty());
        let desk = Desk::new();
        let stream = desk.logs.create_stream::<Everything>("E::LOG").unwrap();
        stream.add_filter(Filter::new("some").path("some").include(chosen.clone())).unwrap();
        stream.write(&record).unwrap();
        let sent = desk.sent();
        let (whole, some) = (&sent[0], &sent[1]);
        prop_assert_eq!((&*whole.path, &*some.path), ("e", "some"));
        let values = |payload: &[u8]| {
            let batch = Batch::decode(payload).unwrap();
            let mut cursor = batch.cursor();
            let values = batch.fields().map(|f| (f.name.to_string(), text(&mut cursor, f.log_type)));
            values.collect::<Vec<_>>()
        };
        stream.write(&record).unwrap();
        desk.logs.flush_logs().unwrap();
        let batches = desk.recorder.take();
        let of = |path: &str| {
            let batch = batches.iter().find(|b| read(&b.payload).path == path).unwrap();
            values(&batch.payload)
        };
        let mut expected = of("e");
        expected.retain(|(name, _)| chosen.contains(name));
        prop_assert_eq!(of("some"), expected);
    }
}

#[test]
fn a_wrong_name_of_a_stream_is_an_error() {
    let desk = Desk::new();
    let options = StreamOptions::new().path("a\nb");
    let error = desk.logs.create_stream_with::<Conn>("Conn::LOG", options).unwrap_err();
    assert!(matches!(&error, LogsError::Schema { .. }), "{error}");
    assert_eq!(desk.logs.active_streams(), [""; 0]);
    let error = desk.logs.create_stream::<Conn>("").unwrap_err();
    let is_name = matches!(&error, LogsError::Schema { error: SchemaError::Name { .. }, .. });
    assert!(is_name, "{error}");
}

#[cfg(feature = "app")]
#[test]
fn handlers_of_an_app_log() {
    use crate::app::{App, Harness};
    use crate::{Event, Layout, Value};

    let desk = Desk::new();
    let weirds = desk.logs.create_stream::<Ext>("Weird::LOG").unwrap();
    let app = App::new().on_event("Demo::seen", move |event, context| {
        let path = format!("{} {}", context.name(), event.args.len());
        weirds.write(&Ext { path, stream: "Demo" })?;
        Ok(())
    });
    let text = "[nodes.manager]\nnode_type = \"manager\"\nip = \"127.0.0.1\"\n";
    let (layout, _) = Layout::from_toml(text, "layout").unwrap();
    let mut harness = Harness::new(app, layout, "manager").unwrap();
    harness.receive("demo", "somebody", &Event::new("Demo::seen", vec![Value::Count(1)]));
    assert_eq!(desk.sent()[0].rows, ["manager 1 Demo"]);
}
