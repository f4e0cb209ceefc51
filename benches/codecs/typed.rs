//! Typed events beside the same by hand: from structs to bytes, and from bytes to structs.

use std::hint::black_box;

use bstr::BString;
use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use serde::{Deserialize, Serialize};
use zcluster::value::{Address, Enum, Port, Protocol, Set, Timestamp};
use zcluster::wire::broker_bin;
use zcluster::{Event, ToEvent, TypedEvent, Value};

/// Scalars only.
#[derive(Debug, PartialEq, Event, Serialize, Deserialize)]
#[event(name = "Demo::ping")]
struct Ping {
    greeting: String,
    number: u64,
    sent: Timestamp,
}

/// A record with what records of Zeek have in them.
#[derive(Debug, PartialEq, Event, Serialize, Deserialize)]
#[event(name = "Known::service_add")]
struct ServiceAdd {
    info: Service,
    is_new: bool,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Service {
    ts: Timestamp,
    host: Address,
    port: Port,
    proto: Enum,
    names: Set<String>,
    banner: Option<BString>,
    hits: Vec<u64>,
    note: Option<String>,
}

/// The two directions without serde, as one would write them by hand.
trait ByHand: TypedEvent {
    fn encode(&self) -> Event;
    fn decode(event: Event) -> Option<Self>;
}

fn exactly<const N: usize>(values: Vec<Value>) -> Option<[Value; N]> {
    values.try_into().ok()
}

fn text(bytes: BString) -> Option<String> {
    String::from_utf8(bytes.into()).ok()
}

impl ByHand for Ping {
    fn encode(&self) -> Event {
        let args = vec![self.greeting.as_str().into(), self.number.into(), self.sent.into()];
        Event::new(Self::NAME, args)
    }

    fn decode(event: Event) -> Option<Self> {
        if event.name != Self::NAME {
            return None;
        }
        let [Value::String(greeting), Value::Count(number), Value::Timestamp(sent)] =
            exactly(event.args)?
        else {
            return None;
        };
        Some(Ping { greeting: text(greeting)?, number, sent })
    }
}

impl ByHand for ServiceAdd {
    fn encode(&self) -> Event {
        let Service { ts, host, port, proto, names, banner, hits, note } = &self.info;
        let info = vec![
            (*ts).into(),
            (*host).into(),
            (*port).into(),
            Value::Enum(proto.0.clone()),
            Value::Set(names.iter().map(|name| name.as_str().into()).collect()),
            banner.clone().into(),
            Value::Vector(hits.iter().map(|n| (*n).into()).collect()),
            note.as_deref().into(),
        ];
        Event::new(Self::NAME, vec![info.into(), self.is_new.into()])
    }

    fn decode(event: Event) -> Option<Self> {
        if event.name != Self::NAME {
            return None;
        }
        let [Value::Vector(info), Value::Boolean(is_new)] = exactly(event.args)? else {
            return None;
        };
        let [
            Value::Timestamp(ts),
            Value::Address(host),
            Value::Port(port),
            Value::Enum(proto),
            Value::Set(names),
            banner,
            Value::Vector(hits),
            note,
        ] = exactly(info)?
        else {
            return None;
        };
        let name = |value| match value {
            Value::String(name) => text(name),
            _ => None,
        };
        let number = |value| match value {
            Value::Count(n) => Some(n),
            _ => None,
        };
        let info = Service {
            ts,
            host,
            port,
            proto: Enum(proto),
            names: names.into_iter().map(name).collect::<Option<_>>()?,
            banner: match banner {
                Value::None => None,
                Value::String(banner) => Some(banner),
                _ => return None,
            },
            hits: hits.into_iter().map(number).collect::<Option<_>>()?,
            note: match note {
                Value::None => None,
                Value::String(note) => Some(text(note)?),
                _ => return None,
            },
        };
        Some(ServiceAdd { info, is_new })
    }
}

pub(super) fn bench(c: &mut Criterion) {
    let sent = Timestamp(1_767_225_600_250_000_000);
    let ping = Ping { greeting: "hello from worker-1".into(), number: 42, sent };
    let host = std::net::IpAddr::from([192, 0, 2, 1]).into();
    let info = Service {
        ts: sent,
        host,
        port: Port::new(443, Protocol::Tcp),
        proto: Enum::new("tcp"),
        names: ["ssl".to_owned(), "http".to_owned()].into(),
        banner: Some("HTTP/1.1 200 OK".into()),
        hits: vec![1, 2, 3, 4],
        note: None,
    };
    let mut group = c.benchmark_group("typed");
    group.throughput(Throughput::Elements(1));
    both(&mut group, "scalars", &ping);
    both(&mut group, "record", &ServiceAdd { info, is_new: true });
    group.finish();
}

fn both<E>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, event: &E)
where
    E: ByHand + Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let mut payload = Vec::new();
    broker_bin::encode_event(&event.encode(), &mut payload);
    assert_eq!(*event.to_event().unwrap(), event.encode());
    assert_eq!(E::decode(event.encode()).as_ref(), Some(event));

    let mut out = Vec::new();
    group.bench_function(format!("{name}/publish by hand"), |b| {
        b.iter(|| {
            out.clear();
            broker_bin::encode_event(&black_box(event).encode(), &mut out);
            black_box(&out);
        });
    });
    group.bench_function(format!("{name}/publish typed"), |b| {
        b.iter(|| {
            out.clear();
            broker_bin::encode_event(&black_box(event).to_event().unwrap(), &mut out);
            black_box(&out);
        });
    });
    group.bench_function(format!("{name}/dispatch by hand"), |b| {
        b.iter(|| {
            let event = broker_bin::decode_event(black_box(&payload)).unwrap();
            black_box(E::decode(event).unwrap())
        });
    });
    group.bench_function(format!("{name}/dispatch typed"), |b| {
        b.iter(|| {
            let event = broker_bin::decode_event(black_box(&payload)).unwrap();
            black_box(E::from_event(event).unwrap())
        });
    });
}
