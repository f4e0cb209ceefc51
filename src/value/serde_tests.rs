//! Rust types as values and back: all of them, their ranges, and what the errors say.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bstr::BString;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{
    Address, Enum, Function, NESTING, Pattern, Port, Protocol, Real, Set, Subnet, Timespan,
    Timestamp, Value, ValueError, from_value, to_value, with,
};
use crate::event::{Event, EventError, ToEvent, TypedEvent};
use crate::testing;
use crate::wire::event_format::EventFormat;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Color {
    #[serde(rename = "Demo::RED")]
    Red,
    #[serde(rename = "Demo::GREEN")]
    Green,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Endpoint {
    host: Address,
    port: Port,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct UserId(u64);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Nothing;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Pair(u8, String);

/// Everything that is a type of its own.
#[derive(Clone, Debug, PartialEq, zcluster::Event, Serialize, Deserialize)]
#[event(name = "Demo::everything")]
struct Everything {
    boolean: bool,
    unsigned: (u8, u16, u32, u64, usize),
    signed: (i8, i16, i32, i64, isize),
    real: Real,
    small: f32,
    text: String,
    character: char,
    bytes: BString,
    #[serde(with = "with::bytes")]
    raw: Vec<u8>,
    address: Address,
    subnet: Subnet,
    port: Port,
    time: Timestamp,
    interval: Timespan,
    color: Color,
    name: Enum,
    #[serde(with = "with::enum_name")]
    text_name: String,
    #[serde(with = "with::addr")]
    ip: IpAddr,
    #[serde(with = "with::addr")]
    v4: Option<Ipv4Addr>,
    #[serde(with = "with::addr")]
    v6: Ipv6Addr,
    #[serde(with = "with::time")]
    system_time: SystemTime,
    #[serde(with = "with::interval")]
    duration: Option<Duration>,
    #[serde(with = "with::set")]
    numbers: HashSet<i32>,
    #[serde(with = "with::set")]
    perhaps: Option<BTreeSet<String>>,
    endpoints: Set<Endpoint>,
    pairs: Set<(Address, u16)>,
    lists: Set<Vec<u64>>,
    patterns: Set<Pattern>,
    table: BTreeMap<(String, u64), Vec<Endpoint>>,
    hash: HashMap<UserId, Set<String>>,
    vector: Vec<Option<f64>>,
    array: [u16; 3],
    pattern: Pattern,
    function: Function,
    id: UserId,
    nothing: Nothing,
    unit: (),
    pair: Pair,
    optional: Option<Endpoint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<u64>,
    any: Value,
}

/// Milliseconds since 1970, which the JSON format keeps (WIRE.md §3.1).
fn milliseconds() -> impl Strategy<Value = i64> {
    (0..9_000_000_000_000_i64).prop_map(|ms| ms * 1_000_000)
}

/// Numbers with up to six decimal places, which the JSON format keeps.
fn short() -> impl Strategy<Value = f64> {
    (-1_000_000..1_000_000).prop_map(|n| f64::from(n) / 64.0)
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    (testing::address(), testing::port()).prop_map(|(host, port)| Endpoint { host, port })
}

fn pattern() -> impl Strategy<Value = Pattern> {
    "[a-z]{0,5}".prop_map(|regex| Pattern::new(&regex))
}

prop_compose! {
    fn everything()(
        (boolean, unsigned, signed) in
            any::<(bool, (u8, u16, u32, u64, usize), (i8, i16, i32, i64, isize))>(),
        (real, small, text, character, bytes, raw) in (
            short().prop_map(Real), short(), ".{0,9}", any::<char>(),
            ".{0,9}".prop_map(BString::from), ".{0,9}",
        ),
        (address, subnet, port, time, interval, system_time) in (
            testing::address(), testing::subnet(), testing::port(),
            milliseconds(), any::<i64>(), milliseconds(),
        ),
        (color, name, text_name) in (any::<bool>(), ".{0,9}", ".{0,9}"),
        (ip, v4, v6, duration) in
            any::<(IpAddr, Option<Ipv4Addr>, Ipv6Addr, Option<i64>)>(),
        (numbers, perhaps, endpoints, pairs, lists, patterns) in (
            vec(any::<i32>(), 0..5),
            proptest::option::of(btree_set(".{0,3}", 0..5)),
            btree_set(endpoint(), 0..5),
            btree_set((testing::address(), any::<u16>()), 0..5),
            btree_set(vec(any::<u64>(), 0..3), 0..5),
            btree_set(pattern(), 0..5),
        ),
        (table, hash, vector) in (
            btree_map((".{0,3}", any::<u64>()), vec(endpoint(), 0..3), 0..3),
            btree_map(any::<u64>(), btree_set(".{0,3}", 0..3), 0..3),
            vec(proptest::option::of(short()), 0..4),
        ),
        (array, id, optional) in
            (any::<[u16; 3]>(), any::<u64>(), proptest::option::of(endpoint())),
        (function, captures, skipped, any) in
            (".{0,9}", proptest::option::of(any::<u64>()), any::<Option<u64>>(), any::<i64>()),
    ) -> Everything {
        Everything {
            boolean, unsigned, signed, real, small: small as f32, text: text.clone(), character,
            bytes, raw: raw.into(), address, subnet, port,
            time: Timestamp(time),
            interval: Timespan(interval),
            color: if color { Color::Red } else { Color::Green },
            name: Enum::new(name),
            text_name,
            // What Zeek takes for IPv4.
            ip: Address::from(ip).to_ip(),
            v4, v6,
            system_time: UNIX_EPOCH + Duration::from_nanos(system_time.unsigned_abs()),
            duration: duration.map(|nanos| Duration::from_nanos(nanos.unsigned_abs() >> 1)),
            numbers: numbers.into_iter().collect(),
            perhaps,
            endpoints: Set(endpoints),
            pairs: Set(pairs),
            lists: Set(lists),
            patterns: Set(patterns),
            table,
            hash: hash.into_iter().map(|(id, names)| (UserId(id), Set(names))).collect(),
            vector, array,
            pattern: Pattern::new(&text),
            function: Function { name: function.into(), captures: captures.map(Value::from) },
            id: UserId(id),
            nothing: Nothing,
            unit: (),
            pair: Pair(3, text),
            optional, skipped,
            any: Value::from(any),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_type_survives_a_round_trip_through_both_formats(everything in everything()) {
        let value = to_value(&everything).unwrap();
        prop_assert_eq!(&from_value::<Everything>(&value).unwrap(), &everything);
        prop_assert_eq!(&from_value::<Everything>(value).unwrap(), &everything);

        let event = everything.to_event().unwrap();
        for format in [EventFormat::BrokerBinV1, EventFormat::BrokerJsonV1] {
            let mut payload = Vec::new();
            format.encode(&event, &mut payload);
            let received = format.decode(&payload).unwrap();
            prop_assert_eq!(&received, &*event);
            prop_assert_eq!(&Everything::from_event(received).unwrap(), &everything);
        }
    }

    #[test]
    fn scalars_are_text_in_formats_for_people(everything in everything()) {
        let Everything { address, subnet, port, time, interval, real, name, .. } = everything;
        let all = (address, subnet, port, time, interval, real, name);
        let text = serde_json::to_string(&all).unwrap();
        prop_assert_eq!(serde_json::from_str::<(
            Address, Subnet, Port, Timestamp, Timespan, Real, Enum
        )>(&text).unwrap(), all);
    }

    #[test]
    fn a_value_stays_what_it_is(value in testing::value()) {
        prop_assert_eq!(&to_value(&value).unwrap(), &value);
        prop_assert_eq!(&from_value::<Value>(&value).unwrap(), &value);
        let text = serde_json::to_string(&value).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Value>(&text).unwrap(), &value, "{}", text);
        prop_assert_eq!(&from_value::<Value>(value.clone()).unwrap(), &value);
    }

    #[test]
    fn no_value_makes_a_type_panic(value in testing::value()) {
        fn read<T: DeserializeOwned>(value: &Value) {
            let _ = from_value::<T>(value);
            let _ = from_value::<T>(value.clone());
        }
        read::<Everything>(&value);
        read::<serde_json::Value>(&value);
        read::<serde::de::IgnoredAny>(&value);
        read::<(Set<Value>, Value)>(&value);
        read::<Vec<(Address, Color)>>(&value);
        let _ = Everything::from_event(Event::new("Demo::everything", vec![value]));
    }
}

#[test]
fn types_have_their_forms_in_zeek() {
    fn check<T>(rust: &T, value: impl Into<Value>)
    where
        T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
    {
        let value = value.into();
        assert_eq!(to_value(rust).unwrap(), value);
        assert_eq!(&from_value::<T>(&value).unwrap(), rust);
    }
    let host = Address::from(Ipv4Addr::new(192, 0, 2, 1));
    let port = Port::new(53, Protocol::Udp);
    let index = || Value::from(vec![host.into(), port.into()]);

    check(&7_u8, 7_u64);
    check(&-7_i8, -7);
    check(&1.5_f32, 1.5);
    check(&'é', "é");
    check(&Some(1_u64), 1_u64);
    check(&None::<u64>, Value::None);
    check(&Color::Green, Value::enum_value("Demo::GREEN"));
    check(&UserId(7), 7_u64);
    check(&Nothing, vec![]);
    check(&Pair(1, "x".into()), vec![1_u64.into(), "x".into()]);
    check(&Endpoint { host, port }, index());
    // One index that is itself a record or vector is not wrapped (WIRE.md §2.5).
    check(&Set::from([Endpoint { host, port }]), Value::Set([index()].into()));
    check(&Set::from([(host, port)]), Value::Set([index()].into()));
    check(&Set::from([host]), Value::Set([host.into()].into()));
    check(&Set::from([vec![host]]), Value::Set([vec![host.into()].into()].into()));
    // A composite index of one, as in `Cluster::table_change_infos` (WIRE.md §8.7).
    check(&(host,), vec![host.into()]);
    check(&BTreeMap::from([(host, 1_u64)]), Value::Table([(host.into(), 1_u64.into())].into()));
    check(&Pattern::new("foo"), vec!["^?(foo)$?".into(), r"^?(.|\n)*(foo)".into()]);
    let function = Function { name: "zeek_init".into(), captures: None };
    check(&function, vec!["zeek_init".into()]);
    check(&Function { captures: Some(7.into()), ..function }, vec!["zeek_init".into(), 7.into()]);
}

#[test]
fn times_of_the_system_may_be_before_1970() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct At(#[serde(with = "with::time")] SystemTime);
    for (time, nanos) in [
        (UNIX_EPOCH, 0),
        (UNIX_EPOCH - Duration::from_millis(1500), -1_500_000_000),
        (UNIX_EPOCH + Duration::from_nanos(1), 1),
    ] {
        assert_eq!(to_value(&At(time)).unwrap(), Timestamp(nanos).into());
        assert_eq!(from_value::<At>(Value::from(Timestamp(nanos))).unwrap(), At(time));
    }
}

#[test]
fn strings_may_be_borrowed() {
    let value = Value::from(vec!["text".into(), Value::from(b"\xff".as_slice())]);
    let (text, bytes): (&str, &bstr::BStr) = from_value(&value).unwrap();
    assert_eq!((text, bytes), ("text", b"\xff".into()));
}

#[test]
fn untagged_enums_choose_by_type() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        Address(Address),
        Endpoints(Vec<Endpoint>),
    }
    let host = Address::from(Ipv4Addr::new(192, 0, 2, 1));
    let endpoint = Endpoint { host, port: Port::new(53, Protocol::Udp) };
    for either in [Either::Number(7), Either::Address(host), Either::Endpoints(vec![endpoint])] {
        assert_eq!(from_value::<Either>(to_value(&either).unwrap()).unwrap(), either);
    }
}

#[test]
fn records_may_be_longer_but_not_shorter() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Record {
        name: String,
        note: Option<u64>,
        #[serde(default)]
        added: u64,
    }
    let read = |elements: Vec<Value>| {
        from_value::<Record>(Value::from(elements)).map_err(|error| error.to_string())
    };
    let record = |added| Ok(Record { name: "x".into(), note: None, added });
    assert_eq!(read(vec!["x".into(), Value::None, 7_u64.into(), 8_u64.into()]), record(7));
    assert_eq!(read(vec!["x".into(), Value::None]), record(0));
    let error = "expected Record, a record of 3, found a vector of 1";
    assert_eq!(read(vec!["x".into()]), Err(error.into()));
}

#[test]
fn errors_of_values_say_where_what_and_what_was_expected() {
    fn check<T: DeserializeOwned + std::fmt::Debug>(value: impl Into<Value>, expected: &str) {
        let value = value.into();
        let error = from_value::<T>(&value).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_eq!(from_value::<T>(value).unwrap_err(), error);
    }
    let host: Value = Address::from(Ipv4Addr::new(192, 0, 2, 1)).into();

    check::<u64>(-1, "expected count, found int");
    check::<i64>(1_u64, "expected int, found count");
    check::<f64>(1_u64, "expected double, found count");
    check::<u8>(256_u64, "expected count from 0 to 255, found 256");
    check::<i8>(-129, "expected int from -128 to 127, found -129");
    check::<f32>(1e39, "expected double from -3.4028235e38 to 3.4028235e38, found 1e39");
    check::<bool>("T", "expected bool, found string");
    check::<String>(b"\xff".as_slice(), "expected text in UTF-8, found other bytes");
    check::<char>("ab", r#"expected a character, found "ab""#);
    check::<String>(Value::None, "expected string, found none");
    check::<String>(Value::enum_value("x"), "expected string, found enum");
    check::<BString>(host.clone(), "expected string, found addr");
    check::<Address>("192.0.2.1", "expected addr, found string");
    check::<Subnet>(host.clone(), "expected subnet, found addr");
    check::<Port>(53_u64, "expected port, found count");
    check::<Timestamp>(Timespan(1), "expected time, found interval");
    check::<Timespan>(1, "expected interval, found int");
    check::<Enum>("Demo::RED", "expected enum, found string");
    check::<Color>("Demo::RED", "expected enum, found string");
    check::<Color>(
        Value::enum_value("Demo::BLUE"),
        "expected enum Demo::RED or Demo::GREEN, found Demo::BLUE",
    );
    check::<Set<u64>>(vec![], "expected set, found a vector of 0");
    check::<Vec<u64>>(Value::Set([].into()), "expected vector, found set");
    check::<BTreeMap<u64, u64>>(vec![], "expected table, found a vector of 0");
    check::<(u64, u64)>(vec![1_u64.into()], "expected a vector of 2, found a vector of 1");
    check::<[u64; 1]>(
        vec![1_u64.into(), 2_u64.into()],
        "expected a vector of 1, found a vector of 2",
    );
    check::<Pair>(vec![], "expected Pair, a record of 2, found a vector of 0");
    check::<Endpoint>(host.clone(), "expected Endpoint, a record of 2, found addr");
    check::<Function>(
        vec![1_u64.into()],
        "expected func, a vector of a name and perhaps captures, found another vector",
    );
    check::<i128>(1, "i128 has no form in Zeek");

    check::<Vec<Endpoint>>(
        vec![vec![host.clone(), 53_u64.into()].into()],
        "[0].port: expected port, found count",
    );
    let table = Value::Table([(1_u64.into(), "x".into()), (2_u64.into(), 2_u64.into())].into());
    check::<BTreeMap<u64, String>>(table.clone(), "[1][1]: expected string, found count");
    check::<BTreeMap<String, String>>(table, "[0][0]: expected string, found count");
    check::<Set<u64>>(
        Value::Set([1_u64.into(), 2.into()].into()),
        "[1]: expected count, found int",
    );
}

#[test]
fn errors_of_types_say_where_and_what_to_use() {
    #[derive(Serialize)]
    enum Shape {
        Circle(f64),
        Line { length: f64 },
    }
    #[derive(Serialize)]
    struct Outer<T> {
        inner: Vec<T>,
    }
    #[derive(Debug, Serialize, Deserialize)]
    struct Ranges {
        #[serde(with = "with::interval")]
        duration: Duration,
        #[serde(with = "with::addr")]
        ip: Ipv4Addr,
    }
    fn error<T: Serialize>(value: T) -> String {
        to_value(&Outer { inner: vec![value] }).unwrap_err().to_string()
    }
    let attribute = |name| {
        format!(
            "has no form in Zeek by itself; use `#[serde(with = \"zcluster::value::with::{name}\")]`"
        )
    };
    assert_eq!(error(1_i128), "inner[0]: i128 has no form in Zeek");
    assert_eq!(
        error(Shape::Circle(1.0)),
        "inner[0]: enum variant Shape::Circle with data has no form in Zeek"
    );
    assert_eq!(
        error(Shape::Line { length: 1.0 }),
        "inner[0]: enum variant Shape::Line with data has no form in Zeek"
    );
    assert_eq!(
        error(IpAddr::from([192, 0, 2, 1])),
        format!("inner[0]: enum variant IpAddr::V4 with data {}", attribute("addr"))
    );
    assert_eq!(error(Duration::ZERO), format!("inner[0]: Duration {}", attribute("interval")));
    assert_eq!(error(UNIX_EPOCH), format!("inner[0]: SystemTime {}", attribute("time")));

    let ranges = Ranges { duration: Duration::MAX, ip: Ipv4Addr::LOCALHOST };
    assert_eq!(
        to_value(&ranges).unwrap_err().to_string(),
        "duration: expected an interval of up to 292 years, found a longer one"
    );
    let read = |duration: i64, ip: Address| {
        let value = Value::from(vec![Timespan(duration).into(), ip.into()]);
        from_value::<Ranges>(value).unwrap_err().to_string()
    };
    assert_eq!(
        read(-1, Ipv4Addr::LOCALHOST.into()),
        "duration: expected an interval that is not negative, found a negative one"
    );
    assert_eq!(read(1, Ipv6Addr::LOCALHOST.into()), "ip: expected an IPv4 address, found IPv6");
}

#[test]
fn nesting_has_a_limit() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Endless(Option<Box<Endless>>);
    let endless = (0..NESTING).fold(Endless(None), |inner, _| Endless(Some(inner.into())));
    assert_eq!(to_value(&endless).unwrap_err(), ValueError::too_deep());
    let value = Value::from(7_u64);
    assert_eq!(from_value::<Endless>(value).unwrap_err(), ValueError::too_deep());

    let deepest = (0..crate::wire::MAX_DEPTH).fold(Value::None, |inner, _| vec![inner].into());
    assert_eq!(from_value::<Value>(to_value(&deepest).unwrap()).unwrap(), deepest);
}

#[test]
fn events_name_the_argument_that_does_not_fit() {
    #[derive(Debug, zcluster::Event, Serialize, Deserialize)]
    #[event(name = "Demo::seen")]
    struct Seen {
        at: Timestamp,
        conn: Conn,
    }
    #[derive(Debug, Serialize, Deserialize)]
    struct Conn {
        id: Endpoint,
    }
    #[derive(Debug, zcluster::Event, Serialize)]
    #[event(name = "Demo::big")]
    struct Big {
        small: u64,
        numbers: Vec<u128>,
    }
    let error = |name: &str, args: Vec<Value>| {
        let event = Event::new(name, args);
        let error = Seen::from_event(&event).unwrap_err();
        assert_eq!(Seen::from_event(event).unwrap_err(), error);
        error.to_string()
    };
    let conn = |host: Value| {
        let id = vec![host, Port::new(22, Protocol::Tcp).into()];
        Value::from(vec![Value::from(id)])
    };
    let time = || Value::from(Timestamp(0));
    assert_eq!(
        error("Demo::seen", vec![time(), conn("192.0.2.1".into())]),
        "Demo::seen: argument 2, conn.id.host: expected addr, found string"
    );
    assert_eq!(
        error("Demo::seen", vec![0.0.into(), conn("192.0.2.1".into())]),
        "Demo::seen: argument 1, at: expected time, found double"
    );
    assert_eq!(
        error("Demo::seen", vec![time()]),
        "Demo::seen: expected 2 arguments (at, conn), found 1"
    );
    assert_eq!(error("Demo::lost", vec![]), "expected the event Demo::seen, found Demo::lost");

    let error = Big { small: 1, numbers: vec![1] }.to_event().unwrap_err();
    assert_eq!(error.to_string(), "Demo::big: argument 2, numbers[0]: u128 has no form in Zeek");
    let EventError::Arguments { error, .. } = error else { panic!("{error}") };
    assert_eq!((error.argument(), error.path()), (Some(2), "numbers[0]"));
}

#[test]
fn structs_of_any_shape_are_events() {
    #[derive(Debug, PartialEq, zcluster::Event, Serialize, Deserialize)]
    #[event(name = "none")]
    struct None;
    #[derive(Debug, PartialEq, zcluster::Event, Serialize, Deserialize)]
    #[event(name = "one")]
    struct One(Endpoint);
    #[derive(Debug, PartialEq, zcluster::Event, Serialize, Deserialize)]
    #[event(name = "two")]
    struct Two(u64, Option<String>);
    #[derive(Debug, PartialEq, zcluster::Event, Serialize, Deserialize)]
    #[event(name = "generic")]
    struct Generic<T> {
        only: T,
    }

    fn check<E>(event: &E, args: &[Value])
    where
        E: TypedEvent + Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
    {
        let found = event.to_event().unwrap();
        assert_eq!((found.name.to_string(), &*found.args), (E::NAME.to_owned(), args));
        assert_eq!(&E::from_event(&*found).unwrap(), event);
        assert_eq!(&E::from_event(found).unwrap(), event);
    }
    let endpoint =
        Endpoint { host: Ipv6Addr::LOCALHOST.into(), port: Port::new(1, Protocol::Icmp) };
    check(&None, &[]);
    check(&One(endpoint.clone()), &[vec![endpoint.host.into(), endpoint.port.into()].into()]);
    check(&Two(7, Option::None), &[7_u64.into(), Value::None]);
    check(&Generic { only: 7_u64 }, &[7_u64.into()]);

    let event = Event::new("one", vec![1_u64.into()]);
    assert_eq!(
        One::from_event(event).unwrap_err().to_string(),
        "one: argument 1: expected Endpoint, a record of 2, found count"
    );
    let event = Event::new("none", vec![1_u64.into()]);
    assert_eq!(
        None::from_event(event).unwrap_err().to_string(),
        "none: expected 0 arguments, found 1"
    );
}

#[test]
fn text_that_is_no_scalar_is_an_error() {
    fn error<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> String {
        text.parse::<T>().err().unwrap().to_string()
    }
    assert_eq!(error::<Address>("host"), r#"expected an IP address, found "host""#);
    assert_eq!(
        error::<Port>("53"),
        r#"expected a port as in 443/tcp (tcp, udp, icmp, unknown), found "53""#
    );
    assert_eq!(
        error::<Subnet>("192.0.2.0/33"),
        r#"expected a subnet as in 192.0.2.0/24, found "192.0.2.0/33""#
    );
    assert_eq!(
        error::<Timespan>("5"),
        r#"expected a number with one of the units ns, us, ms, s, min, h, found "5""#
    );
    assert!(error::<Timestamp>("2300-01-01T00:00:00Z").starts_with("expected a time as in"));
}
