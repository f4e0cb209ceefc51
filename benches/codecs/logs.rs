//! Typed log records beside the same by hand: from structs to the batch of a node.

use std::hint::black_box;
use std::net::IpAddr;

use criterion::{Criterion, Throughput};
use zcluster::logging::Filter;
use zcluster::node::{LogStream, Node};
use zcluster::value::{Address, Port, Protocol, Timespan, Timestamp};
use zcluster::wire::zeek_bin::{FieldSpec, LogSchema, LogType, LogValue, Scalar};
use zcluster::{Layout, LogRecord, LogScalar, Logs};

/// A connection, with the columns of Zeek's `conn.log`.
#[derive(LogRecord)]
#[allow(clippy::struct_field_names)]
struct Conn<'a> {
    ts: Timestamp,
    uid: &'a str,
    id: ConnId,
    proto: Proto,
    service: Option<&'a str>,
    duration: Option<Timespan>,
    orig_bytes: Option<u64>,
    resp_bytes: Option<u64>,
    conn_state: Option<&'a str>,
    local_orig: Option<bool>,
    local_resp: Option<bool>,
    missed_bytes: Option<u64>,
    history: Option<&'a str>,
    orig_pkts: Option<u64>,
    orig_ip_bytes: Option<u64>,
    resp_pkts: Option<u64>,
    resp_ip_bytes: Option<u64>,
    tunnel_parents: Option<Vec<&'a str>>,
    ip_proto: Option<u64>,
}

#[derive(LogRecord)]
struct ConnId {
    orig_h: Address,
    orig_p: Port,
    resp_h: Address,
    resp_p: Port,
}

#[derive(Clone, Copy, LogScalar)]
enum Proto {
    #[log(name = "tcp")]
    Tcp,
}

impl Proto {
    fn name(self) -> &'static str {
        match self {
            Proto::Tcp => "tcp",
        }
    }
}

fn schema() -> LogSchema {
    use Scalar::{Addr, Bool, Count, Enum, Interval, Port, String, Time};
    let needed = [
        ("ts", Time),
        ("uid", String),
        ("id.orig_h", Addr),
        ("id.orig_p", Port),
        ("id.resp_h", Addr),
        ("id.resp_p", Port),
        ("proto", Enum),
    ];
    let optional = [
        ("service", String),
        ("duration", Interval),
        ("orig_bytes", Count),
        ("resp_bytes", Count),
        ("conn_state", String),
        ("local_orig", Bool),
        ("local_resp", Bool),
        ("missed_bytes", Count),
        ("history", String),
        ("orig_pkts", Count),
        ("orig_ip_bytes", Count),
        ("resp_pkts", Count),
        ("resp_ip_bytes", Count),
    ];
    let mut fields: Vec<FieldSpec> =
        needed.into_iter().map(|(name, scalar)| FieldSpec::new(name, scalar)).collect();
    let optional = optional.into_iter().map(|(name, of)| FieldSpec::new(name, of).optional());
    fields.extend(optional);
    fields.push(FieldSpec::new("tunnel_parents", LogType::Vector(String)).optional());
    fields.push(FieldSpec::new("ip_proto", Count).optional());
    LogSchema::new("Conn::LOG", "conn", fields)
}

fn text(text: Option<&str>) -> LogValue<'_> {
    text.map_or(LogValue::Unset, |text| LogValue::String(text.as_bytes()))
}

fn write_by_hand(log: &LogStream, conn: &Conn<'_>) {
    let count = |count: Option<u64>| count.map_or(LogValue::Unset, LogValue::Count);
    let bool = |bool: Option<bool>| bool.map_or(LogValue::Unset, LogValue::Bool);
    let mut parents = [LogValue::Unset; 4];
    let tunnel_parents = match &conn.tunnel_parents {
        None => LogValue::Unset,
        Some(uids) => {
            for (slot, uid) in parents.iter_mut().zip(uids) {
                *slot = LogValue::String(uid.as_bytes());
            }
            LogValue::Vector(&parents[..uids.len()])
        }
    };
    log.write(&[
        LogValue::Time(conn.ts.as_secs_f64()),
        LogValue::String(conn.uid.as_bytes()),
        LogValue::Addr(conn.id.orig_h.to_ip()),
        LogValue::Port(conn.id.orig_p),
        LogValue::Addr(conn.id.resp_h.to_ip()),
        LogValue::Port(conn.id.resp_p),
        LogValue::Enum(conn.proto.name().as_bytes()),
        text(conn.service),
        conn.duration.map_or(LogValue::Unset, |span| LogValue::Interval(span.as_secs_f64())),
        count(conn.orig_bytes),
        count(conn.resp_bytes),
        text(conn.conn_state),
        bool(conn.local_orig),
        bool(conn.local_resp),
        count(conn.missed_bytes),
        text(conn.history),
        count(conn.orig_pkts),
        count(conn.orig_ip_bytes),
        count(conn.resp_pkts),
        count(conn.resp_ip_bytes),
        tunnel_parents,
        count(conn.ip_proto),
    ])
    .unwrap();
}

pub(super) fn bench(c: &mut Criterion) {
    let layout = "[nodes.logger-1]\nnode_type = \"logger\"\nip = \"127.0.0.1\"\nport = 0\n";
    let (layout, _) = Layout::from_toml(layout, "layout").unwrap();
    // Nothing waits for a network.
    let builder = Node::builder(layout, "logger-1").local_logs(|batch| !batch.is_empty());
    let (node, _notifications) = builder.start().unwrap();
    let (client, server) = ([192, 0, 2, 1], [198, 51, 100, 7]);
    let conn = Conn {
        ts: Timestamp(1_767_225_600_250_000_000),
        uid: "CHhAvVGS1DHFjwGM9",
        id: ConnId {
            orig_h: IpAddr::from(client).into(),
            orig_p: Port::new(51_234, Protocol::Tcp),
            resp_h: IpAddr::from(server).into(),
            resp_p: Port::new(443, Protocol::Tcp),
        },
        proto: Proto::Tcp,
        service: Some("ssl"),
        duration: Some(Timespan(1_500_000_000)),
        orig_bytes: Some(1234),
        resp_bytes: Some(56789),
        conn_state: Some("SF"),
        local_orig: Some(true),
        local_resp: Some(false),
        missed_bytes: Some(0),
        history: Some("ShADadFf"),
        orig_pkts: Some(12),
        orig_ip_bytes: Some(1800),
        resp_pkts: Some(48),
        resp_ip_bytes: Some(58_000),
        tunnel_parents: Some(vec!["CgyzKi1esYQXPkNJie", "CnPCPk3gy8q9ZjXeO4"]),
        ip_proto: Some(6),
    };
    let by_hand = node.log(schema()).unwrap();
    let logs = Logs::new(&node);
    let typed = logs.create_stream::<Conn<'_>>("Conn::LOG").unwrap();
    let filtered = logs.create_stream::<Conn<'_>>("Filtered::LOG").unwrap();
    let some = ["ts", "uid", "id.orig_h", "id.resp_h", "service", "duration"];
    filtered
        .add_filter(
            Filter::new("default")
                .include(some)
                .policy(|conn: &Conn<'_>, _, _| conn.orig_bytes.is_some_and(|bytes| bytes > 1000)),
        )
        .unwrap();

    let mut group = c.benchmark_group("logs");
    group.throughput(Throughput::Elements(1));
    group.bench_function("by hand", |b| b.iter(|| write_by_hand(&by_hand, black_box(&conn))));
    group.bench_function("typed", |b| b.iter(|| typed.write(black_box(&conn)).unwrap()));
    group.bench_function("typed, with a policy and a third of the columns", |b| {
        b.iter(|| filtered.write(black_box(&conn)).unwrap());
    });
    group.finish();
    node.shutdown(std::time::Duration::from_secs(5));
}
