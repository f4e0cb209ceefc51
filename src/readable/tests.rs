use std::net::IpAddr;

use bstr::ByteSlice;
use proptest::prelude::*;
use serde_json::Number;

use super::*;
use crate::testing;
use crate::value::Value;
use crate::value::{Address, Port, Protocol, Subnet, Timespan};

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

fn parse(text: &str) -> Result<Value, String> {
    let json = Json::parse(text).unwrap();
    Part::whole(&json).value().map_err(|error| error.to_string())
}

fn written(value: &Value, numbers: Numbers) -> String {
    let mut text = String::new();
    write_value(value, numbers, &mut text);
    text
}

fn time(nanos: i64) -> Value {
    Value::Timestamp(Timestamp(nanos))
}

fn interval(nanos: i64) -> Value {
    Value::Timespan(Timespan(nanos))
}

fn subnet(network: &str, prefix_len: u8) -> Value {
    Value::Subnet(Subnet { network: address(network), prefix_len })
}

fn set(elements: Vec<Value>) -> Value {
    Value::Set(elements.into_iter().collect())
}

#[test]
fn what_nests_too_deep_is_not_said_to_be_no_json() {
    let error = publication_from_json(&"[".repeat(128)).unwrap_err();
    let expected = "more than 127 nested arrays and objects at line 1 column 128";
    assert_eq!(error.to_string(), expected);
}

proptest! {
    #[test]
    fn plain_integers_are_read_exactly_or_refused(
        wide in any::<i128>(), shift in 0..100_u32, path in prop::collection::vec(0..3_u8, 0..8),
    ) {
        let n = wide >> shift;
        let (mut text, mut at) = (n.to_string(), String::new());
        let mut expected = u64::try_from(n).map(Value::from).or(i64::try_from(n).map(Value::from)).ok();
        for step in path {
            let wrap = |value: Value| match step {
                0 => Value::Vector(vec![Value::from("x"), value]),
                1 => set(vec![value]),
                _ => Value::Table([(value, Value::None)].into()),
            };
            let (before, after, place) = [
                (r#"["x","#, "]", "[1]"),
                (r#"{"set":["#, "]}", "set[0]"),
                (r#"{"table":[["#, ",null]]}", "table[0][0]"),
            ][usize::from(step)];
            text = format!("{before}{text}{after}");
            let dot = if at.is_empty() || at.starts_with('[') { "" } else { "." };
            at = format!("{place}{dot}{at}");
            expected = expected.map(wrap);
        }
        let colon = if at.is_empty() { "" } else { ": " };
        let what = "an integer of 64 bits, or a double with a fraction or an exponent, up to 1.8e308";
        let expected = expected.ok_or(format!("{at}{colon}expected {what}, found {n}"));
        prop_assert_eq!(parse(&text), expected, "{}", text);
    }
}

#[test]
fn a_declared_double_may_be_any_integer() {
    for (text, expected) in [
        (r#"{"double":18446744073709551616}"#, Ok(Value::from(18_446_744_073_709_551_616.0))),
        (r#"{"double":-9223372036854775809}"#, Ok(Value::from(-9_223_372_036_854_775_808.0))),
        (
            r#"{"double":1e400}"#,
            Err(r#"double: expected a number, "inf", "-inf", "nan" or "-0", found 1e400"#.into()),
        ),
        (
            r#"{"count":18446744073709551616}"#,
            Err("count: expected a non-negative 64-bit integer, found 18446744073709551616".into()),
        ),
    ] {
        assert_eq!(parse(text), expected, "{text}");
    }
}

#[test]
fn values_are_written_and_read_back() {
    for (value, text) in [
        (Value::None, "null"),
        (true.into(), "true"),
        (false.into(), "false"),
        (0_u64.into(), "0"),
        (u64::MAX.into(), "18446744073709551615"),
        (1.into(), r#"{"int":1}"#),
        (i64::MIN.into(), r#"{"int":-9223372036854775808}"#),
        (1.0.into(), "1.0"),
        ((-0.0).into(), "-0.0"),
        (1.5.into(), "1.5"),
        (1e22.into(), "1e+22"),
        (5e-324.into(), "5e-324"),
        (0.1.into(), "0.1"),
        (f64::INFINITY.into(), r#"{"double":"inf"}"#),
        (f64::NEG_INFINITY.into(), r#"{"double":"-inf"}"#),
        (f64::NAN.into(), r#"{"double":"nan"}"#),
        ("".into(), r#""""#),
        ("caf\u{e9} \u{0}\"\u{1f980}".into(), "\"caf\u{e9} \\u0000\\\"\u{1f980}\""),
        (Value::string(b"caf\xe9"), r#"{"bytes":"636166e9"}"#),
        (address("192.0.2.1").into(), r#"{"addr":"192.0.2.1"}"#),
        (address("2001:db8::1").into(), r#"{"addr":"2001:db8::1"}"#),
        (address("::1.2.3.4").into(), r#"{"addr":"::102:304"}"#),
        (subnet("192.0.2.0", 120), r#"{"subnet":"192.0.2.0/24"}"#),
        (subnet("2001:db8::", 32), r#"{"subnet":"2001:db8::/32"}"#),
        (subnet("0.0.0.0", 96), r#"{"subnet":"0.0.0.0/0"}"#),
        (subnet("::", 0), r#"{"subnet":"::/0"}"#),
        (subnet("192.0.2.77", 120), r#"{"subnet":{"network":"192.0.2.77","prefix_len":120}}"#),
        (subnet("192.0.2.0", 24), r#"{"subnet":{"network":"192.0.2.0","prefix_len":24}}"#),
        (subnet("::1", 0), r#"{"subnet":{"network":"::1","prefix_len":0}}"#),
        (Port::new(443, Protocol::Tcp).into(), r#"{"port":"443/tcp"}"#),
        (Port::new(53, Protocol::Udp).into(), r#"{"port":"53/udp"}"#),
        (Port::new(8, Protocol::Icmp).into(), r#"{"port":"8/icmp"}"#),
        (Port::new(0, Protocol::Unknown).into(), r#"{"port":"0/unknown"}"#),
        (time(0), r#"{"time":"1970-01-01T00:00:00Z"}"#),
        (time(1_767_225_600_250_000_000), r#"{"time":"2026-01-01T00:00:00.25Z"}"#),
        (time(-1), r#"{"time":"1969-12-31T23:59:59.999999999Z"}"#),
        (time(i64::MIN), r#"{"time":"1677-09-21T00:12:43.145224192Z"}"#),
        (time(i64::MAX), r#"{"time":"2262-04-11T23:47:16.854775807Z"}"#),
        (interval(0), r#"{"interval":"0s"}"#),
        (interval(1_500_000_000), r#"{"interval":"1.5s"}"#),
        (interval(-100_000_000_000), r#"{"interval":"-100s"}"#),
        (interval(-1), r#"{"interval":"-0.000000001s"}"#),
        (interval(i64::MIN), r#"{"interval":"-9223372036.854775808s"}"#),
        (interval(i64::MAX), r#"{"interval":"9223372036.854775807s"}"#),
        (Value::enum_value("Cluster::WORKER"), r#"{"enum":"Cluster::WORKER"}"#),
        (Value::enum_value(b"\xff".as_slice()), r#"{"enum":{"bytes":"ff"}}"#),
        (set(vec![]), r#"{"set":[]}"#),
        (set(vec![1_u64.into(), 2_u64.into()]), r#"{"set":[1,2]}"#),
        (
            Value::Table([("a".into(), true.into()), ("b".into(), Value::None)].into()),
            r#"{"table":[["a",true],["b",null]]}"#,
        ),
        (vec![Value::None, Value::Vector(vec![])].into(), "[null,[]]"),
    ] {
        assert_eq!(written(&value, Numbers::Exact), text);
        assert_eq!(parse(text), Ok(value), "{text}");
    }
}

#[test]
fn other_forms_are_read() {
    for (text, value) in [
        ("-5", (-5).into()),
        ("-0", (-0.0).into()),
        ("1e0", 1.0.into()),
        (r#"{"bool":true}"#, true.into()),
        (r#"{"count":5}"#, 5_u64.into()),
        (r#"{"double":1.5}"#, 1.5.into()),
        (r#"{"count":"5"}"#, 5_u64.into()),
        (r#"{"count":"18446744073709551615"}"#, u64::MAX.into()),
        (r#"{"int":"5"}"#, 5.into()),
        (r#"{"int":"-9223372036854775808"}"#, i64::MIN.into()),
        (r#"{"double":"-0"}"#, (-0.0).into()),
        (r#"{"double":5}"#, 5.0.into()),
        (r#"{"double":-5}"#, (-5.0).into()),
        (r#"{"string":"s"}"#, "s".into()),
        (r#"{"bytes":""}"#, "".into()),
        (r#"{"bytes":"4A4b"}"#, "JK".into()),
        (r#"{"vector":[1]}"#, vec![1_u64.into()].into()),
        (r#"{"addr":"::FFFF:192.0.2.1"}"#, address("192.0.2.1").into()),
        (r#"{"subnet":"192.0.2.77/24"}"#, subnet("192.0.2.0", 120)),
        (r#"{"time":"2026-01-01T02:30:00+02:30"}"#, time(1_767_225_600_000_000_000)),
        (r#"{"time":1767225600}"#, time(1_767_225_600_000_000_000)),
        // Multiplying doubles would be 128 nanoseconds off.
        (r#"{"time":1767225600.25}"#, time(1_767_225_600_250_000_000)),
        (r#"{"time":-0.5}"#, time(-500_000_000)),
        (r#"{"interval":3}"#, interval(3_000_000_000)),
        (r#"{"interval":-3}"#, interval(-3_000_000_000)),
        (r#"{"interval":0.30000000000000004}"#, interval(300_000_000)),
        (r#"{"interval":1e-7}"#, interval(100)),
        (r#"{"interval":1e-10}"#, interval(0)),
        (r#"{"interval":"5ns"}"#, interval(5)),
        (r#"{"interval":"0.5us"}"#, interval(500)),
        (r#"{"interval":"-1.25ms"}"#, interval(-1_250_000)),
        (r#"{"interval":"1.50000000000s"}"#, interval(1_500_000_000)),
        (r#"{"interval":"1.5min"}"#, interval(90_000_000_000)),
        (r#"{"interval":"2h"}"#, interval(7_200_000_000_000)),
    ] {
        assert_eq!(parse(text), Ok(value), "{text}");
    }
}

#[test]
fn errors_say_where_what_and_what_instead() {
    for (text, error) in [
        ("{}", "expected an object with one member, named after a type, found an empty object"),
        (
            r#"{"int":1,"count":2}"#,
            "expected an object with one member, named after a type, found an object of int, count",
        ),
        (r#"[{"integer":1}]"#, r#"[0]: expected the name of a type, found "integer""#),
        (r#"{"int":1.5}"#, "int: expected a 64-bit integer, found 1.5"),
        (r#"{"count":-1}"#, "count: expected a non-negative 64-bit integer, found -1"),
        (r#"{"bool":0}"#, "bool: expected true or false, found 0"),
        (
            r#"{"double":"Inf"}"#,
            r#"double: expected a number, "inf", "-inf", "nan" or "-0", found "Inf""#,
        ),
        (r#"{"string":null}"#, "string: expected a string, found null"),
        (r#"{"bytes":"abc"}"#, r#"bytes: expected pairs of hexadecimal digits, found "abc""#),
        (r#"{"enum":{}}"#, "enum: expected the name of an enum value, found an empty object"),
        (r#"{"enum":{"bytes":7}}"#, "enum.bytes: expected pairs of hexadecimal digits, found 7"),
        (
            r#"[1,{"set":[{"addr":"192.0.2.256"}]}]"#,
            r#"[1].set[0].addr: expected an IP address, found "192.0.2.256""#,
        ),
        (r#"{"set":[1,[],1]}"#, "set[2]: expected each element of a set once, found 1"),
        (r#"{"set":{"int":1}}"#, "set: expected an array, found an object of int"),
        (
            r#"{"table":[["a",1],["a",2]]}"#,
            r#"table[1][0]: expected each key of a table once, found "a""#,
        ),
        (
            r#"{"table":[["a"]]}"#,
            "table[0]: expected an array of a key and a value, found an array of 1",
        ),
        (
            r#"{"table":[["a",{"int":""}]]}"#,
            r#"table[0][1].int: expected a 64-bit integer, found """#,
        ),
        (
            r#"{"interval":"0123456789012345678901234567890123456789012"}"#,
            "interval: expected a number with one of the units ns, us, ms, s, min, h, or a number \
             of seconds, found \"0123456789012345678901234567890123456789…\"",
        ),
    ] {
        assert_eq!(parse(text), Err(error.into()), "{text}");
    }
}

#[test]
fn texts_of_scalars_are_read_strictly() {
    for (name, texts) in [
        ("addr", &["", "192.0.2.01", " ::1", "[::1]", "fe80::1%eth0", "localhost"][..]),
        (
            "subnet",
            &["192.0.2.0", "192.0.2.0/", "192.0.2.0/33", "::/129", "::/+8", "::ffff:10.0.0.0/104"],
        ),
        ("count", &["", "-1", "+1", " 1", "1.0", "0x1", "18446744073709551616"]),
        ("int", &["", "-", "+1", "--1", "1.0", "9223372036854775808"]),
        ("port", &["443", "443/", "443/TCP", "65536/tcp", "+1/tcp", "/tcp", "1/tcp "]),
        (
            "time",
            &[
                "",
                "2026-01-01",
                "2026-01-01T00:00:00",
                "2026-02-29T00:00:00Z",
                "1677-09-21T00:12:43.145224191Z",
                "2262-04-11T23:47:16.854775808Z",
            ],
        ),
        (
            "interval",
            &[
                "",
                "5",
                "s",
                "-s",
                "1.s",
                ".5s",
                "1e3s",
                "+1s",
                "--1s",
                "1.-5s",
                "5 s",
                "5d",
                "1h30min",
                "1.5ns",
                "0.0000000001s",
                "9223372036.854775808s",
                "99999999999999999999999999999999999999999999s",
                "0.00000000000000000000000000000000000000000000001s",
                "infs",
            ],
        ),
    ] {
        for text in texts {
            assert!(
                parse(&serde_json::json!({ name: text }).to_string()).is_err(),
                "{name} {text:?}"
            );
        }
    }
    for text in [
        r#"{"subnet":{"network":"::","prefix_len":129}}"#,
        r#"{"subnet":{"network":"::","prefix_len":-1}}"#,
        r#"{"subnet":{"network":"::"}}"#,
        r#"{"subnet":{"network":"::","prefix_len":0,"x":0}}"#,
        r#"{"time":9223372037}"#,
        r#"{"time":1e300}"#,
        r#"{"interval":-9223372037.5}"#,
        r#"{"interval":18446744073709551615}"#,
        r#"{"interval":true}"#,
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn nesting_has_a_limit() {
    // Trees, because the parser accepts no text that nests as deep.
    fn array<'a>(elements: impl Into<Vec<Json<'a>>>) -> Json<'a> {
        Json::Array(elements.into())
    }
    fn object<'a>(name: &'a str, json: Json<'a>) -> Json<'a> {
        Json::Object(vec![(name.into(), json)])
    }
    for wrap in [
        |json| array([json]),
        |json| object("set", array([json])),
        |json| object("table", array([array([json, Json::Null])])),
        |json| object("table", array([array([Json::Null, json])])),
        |json| object("vector", array([json])),
    ] {
        let json = (0..MAX_DEPTH).fold(Json::Null, |json, _| wrap(json));
        assert!(Part::whole(&json).value().is_ok());
        let error = Part::whole(&wrap(json)).value().unwrap_err();
        assert!(matches!(error, ReadableError::TooDeep { .. }), "{error}");
    }
    let line = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!(r#"{{"topic":"t","event":"e","args":{open}{close}}}"#)
    };
    // The receiver's decoder accepts every event that is accepted here.
    let (_, event) = publication_from_json(&line(MAX_DEPTH - 3)).unwrap();
    let mut bytes = Vec::new();
    crate::wire::broker_bin::encode_event(&event, &mut bytes);
    assert_eq!(crate::wire::broker_bin::decode_event(&bytes).unwrap(), event);
    assert!(matches!(
        publication_from_json(&line(MAX_DEPTH - 2)),
        Err(ReadableError::TooDeep { .. })
    ));
    assert!(matches!(publication_from_json(&line(10_000)), Err(ReadableError::Syntax(_))));
}

#[test]
fn events_are_lines_with_a_fixed_order_of_members() {
    let event = Event::new("Demo::ping", vec!["hello".into(), interval(3_000_000_000)]);
    let line = |event: &Event| {
        event_to_json(Timestamp(1_767_225_600_250_000_999), b"zeek.demo.", b"zeromq_a\xff", event)
    };
    assert_eq!(
        line(&event),
        "{\"time\":\"2026-01-01T00:00:00.250000Z\",\"topic\":\"zeek.demo.\",\
         \"sender\":\"zeromq_a\u{fffd}\",\"event\":\"Demo::ping\",\
         \"args\":[\"hello\",{\"interval\":\"3s\"}]}"
    );
    let event = event.with_network_timestamp(Timestamp(0));
    let text = line(&event);
    assert!(text.ends_with(r#"}],"metadata":[[1,{"time":"1970-01-01T00:00:00Z"}]]}"#), "{text}");
    assert_eq!(publication_from_json(&text).unwrap(), ("zeek.demo.".into(), event));

    let empty = Event { name: "\u{ff}".into(), args: vec![], metadata: Some(vec![]) };
    assert!(line(&empty).ends_with(r#""event":"ÿ","args":[]}"#));
}

#[test]
fn publications_need_no_arguments() {
    let (topic, event) = publication_from_json(r#" {"event":"e","topic":"t"} "#).unwrap();
    assert_eq!((topic, event), ("t".into(), Event::new("e", vec![])));
}

#[test]
fn errors_of_publications() {
    for (line, error) in [
        ("", "not JSON: EOF while parsing a value at line 1 column 0"),
        (r#"{"topic":"t"} x"#, "not JSON: trailing characters at line 1 column 15"),
        ("7", "expected an object with the members topic, event and args, found 7"),
        ("{}", "missing member `topic`"),
        (r#"{"topic":"t"}"#, "missing member `event`"),
        (
            r#"{"topic":"t","event":"e","arguments":[]}"#,
            "unknown member `arguments`; expected topic, event, args or metadata",
        ),
        (r#"{"topic":7,"event":"e"}"#, "topic: expected a string, found 7"),
        (r#"{"topic":"t","event":null}"#, "event: expected the name of an event, found null"),
        (
            r#"{"topic":"t","event":"e","args":{}}"#,
            "args: expected an array, found an empty object",
        ),
        (
            r#"{"topic":"t","event":"e","args":[0,{"set":[{"port":"53"}]}]}"#,
            "args[1].set[0].port: expected a port as in 443/tcp (tcp, udp, icmp, unknown), \
             found \"53\"",
        ),
        (
            r#"{"topic":"t","event":"e","metadata":[[1]]}"#,
            "metadata[0]: expected an array of an id and a value, found an array of 1",
        ),
        (
            r#"{"topic":"t","event":"e","metadata":[["a",1]]}"#,
            "metadata[0][0]: expected the id of metadata, a count, found \"a\"",
        ),
    ] {
        assert_eq!(publication_from_json(line).unwrap_err().to_string(), error, "{line}");
    }
}

/// Subnets as the binary decoder returns them: any address with any prefix.
fn any_subnet() -> impl Strategy<Value = Value> {
    let v4 = any::<u32>().prop_map(|bits| std::net::Ipv4Addr::from_bits(bits).into());
    let network = prop_oneof![any::<[u8; 16]>().prop_map(Address), v4];
    (network, 0..=128_u8)
        .prop_map(|(network, prefix_len)| Value::Subnet(Subnet { network, prefix_len }))
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![9 => testing::value(), 1 => any_subnet()]
}

/// What is left of a text after `JSON.stringify(JSON.parse(text))`.
fn through_javascript(text: &str) -> String {
    fn number(number: &Number) -> Number {
        // ECMAScript, Number::toString: all digits below 1e21, and no sign of zero.
        let x = number.as_f64().unwrap();
        if x.fract() != 0.0 || x.abs() >= 1e21 {
            return Number::from_f64(x).unwrap();
        }
        serde_json::from_str(&(x as i128).to_string()).unwrap()
    }
    fn tree(json: &mut serde_json::Value) {
        match json {
            serde_json::Value::Number(n) => *n = number(n),
            serde_json::Value::Array(elements) => elements.iter_mut().for_each(tree),
            serde_json::Value::Object(members) => members.values_mut().for_each(tree),
            _ => {}
        }
    }
    let mut json = serde_json::from_str(text).unwrap();
    tree(&mut json);
    json.to_string()
}

#[test]
fn numbers_that_javascript_would_change_are_objects() {
    let safe = (1_u64 << 53) - 1;
    for (value, text) in [
        (safe.into(), "9007199254740991"),
        ((safe + 1).into(), r#"{"count":"9007199254740992"}"#),
        (u64::MAX.into(), r#"{"count":"18446744073709551615"}"#),
        ((-1).into(), r#"{"int":-1}"#),
        ((-(safe as i64)).into(), r#"{"int":-9007199254740991}"#),
        ((-(safe as i64) - 1).into(), r#"{"int":"-9007199254740992"}"#),
        (i64::MIN.into(), r#"{"int":"-9223372036854775808"}"#),
        (1.5.into(), "1.5"),
        (1e-7.into(), "1e-7"),
        (1.0.into(), r#"{"double":1.0}"#),
        (0.0.into(), r#"{"double":0.0}"#),
        ((-0.0).into(), r#"{"double":"-0"}"#),
        (1e22.into(), r#"{"double":1e+22}"#),
        (f64::NAN.into(), r#"{"double":"nan"}"#),
        (
            set(vec![2.0.into(), (1_u64 << 60).into()]),
            r#"{"set":[{"count":"1152921504606846976"},{"double":2.0}]}"#,
        ),
    ] {
        assert_eq!(written(&value, Numbers::JavaScript), text);
        assert_eq!(parse(&through_javascript(text)), Ok(value), "{text}");
    }
}

proptest! {
    #[test]
    fn every_value_reads_back(value in any_value()) {
        prop_assert_eq!(parse(&written(&value, Numbers::Exact)), Ok(value));
    }

    #[test]
    fn every_value_survives_javascript(value in any_value()) {
        let text = through_javascript(&written(&value, Numbers::JavaScript));
        prop_assert_eq!(parse(&text), Ok(value));
    }

    #[test]
    fn every_event_reads_back(
        mut event in testing::event(),
        nanos: i64,
        topic in ".{0,20}",
        sender in testing::bytes(),
    ) {
        let text = event_to_json(Timestamp(nanos), topic.as_bytes(), &sender, &event);
        prop_assert!(!text.contains('\n'));
        event.name = event.name.to_str_lossy().into_owned().into();
        event.metadata = event.metadata.filter(|metadata| !metadata.is_empty());
        prop_assert_eq!(publication_from_json(&text).unwrap(), (topic.into(), event));
    }

    #[test]
    fn seconds_mean_the_decimal_they_are_written_as(micros in -1_i64 << 52..1 << 52) {
        let text = format!("{{\"interval\":{}}}", micros as f64 / 1e6);
        prop_assert_eq!(parse(&text).unwrap(), interval(micros * 1000));
    }

    #[test]
    fn no_text_makes_it_panic(name in "addr|subnet|port|time|interval|bytes|enum", text: String) {
        let _ = parse(&serde_json::json!({ name: text }).to_string());
        let _ = publication_from_json(&text);
    }
}
