use proptest::prelude::*;

use super::InvalidUtf8::{Escape, Raw};
use super::*;
use crate::testing;
use crate::value::{Address, Port, Protocol, Subnet, Timespan};

fn encoded(value: &Value, policy: InvalidUtf8) -> Vec<u8> {
    let mut out = Vec::new();
    encode_value(value, policy, &mut out);
    out
}

fn encoded_event(event: &Event) -> Vec<u8> {
    let mut out = Vec::new();
    encode_event(event, Raw, &mut out);
    out
}

/// A value from its type and JSON data.
fn decoded(data_type: &str, data: impl AsRef<[u8]>) -> Result<Value, DecodeError> {
    let mut text = format!(r#"{{"@data-type":"{data_type}","data":"#).into_bytes();
    text.extend_from_slice(data.as_ref());
    text.push(b'}');
    decode_value(&text)
}

fn ip(text: &str) -> Address {
    text.parse::<std::net::IpAddr>().unwrap().into()
}

#[test]
fn every_type_is_written_and_read_back() {
    let subnet = |text, len| Value::from(Subnet::new(ip(text), len).unwrap());
    let table: [(Value, &str, &str); 25] = [
        (Value::None, "none", "{}"),
        (true.into(), "boolean", "true"),
        (false.into(), "boolean", "false"),
        (u64::MAX.into(), "count", "18446744073709551615"),
        (i64::MIN.into(), "integer", "-9223372036854775808"),
        (1.5.into(), "real", "1.500000"),
        ((-0.0).into(), "real", "-0.000000"),
        (1e22.into(), "real", "10000000000000000000000.000000"),
        (f64::INFINITY.into(), "real", "1e400"),
        (f64::NEG_INFINITY.into(), "real", "-1e400"),
        (f64::NAN.into(), "real", "null"),
        ("grüße".into(), "string", "\"grüße\""),
        (ip("192.0.2.1").into(), "address", r#""192.0.2.1""#),
        (ip("::1.2.3.4").into(), "address", r#""::102:304""#),
        (subnet("192.0.2.0", 24), "subnet", r#""192.0.2.0/24""#),
        (subnet("2001:db8::", 32), "subnet", r#""2001:db8::/32""#),
        (Port::new(443, Protocol::Tcp).into(), "port", r#""443/tcp""#),
        (Port::new(0, Protocol::Unknown).into(), "port", r#""0/?""#),
        (Timestamp(1_767_225_600_250_000_000).into(), "timestamp", r#""2026-01-01T00:00:00.250""#),
        (Timespan(-1_500_000_000).into(), "timespan", r#""-1500ms""#),
        (Value::enum_value("Cluster::WORKER"), "enum-value", r#""Cluster::WORKER""#),
        (
            Value::Set([2_u64.into(), 1_u64.into()].into()),
            "set",
            r#"[{"@data-type":"count","data":1},{"@data-type":"count","data":2}]"#,
        ),
        (
            Value::Table([(1_u64.into(), Value::None)].into()),
            "table",
            r#"[{"key":{"@data-type":"count","data":1},"value":{"@data-type":"none","data":{}}}]"#,
        ),
        (vec![true.into()].into(), "vector", r#"[{"@data-type":"boolean","data":true}]"#),
        (Value::Vector(vec![]), "vector", "[]"),
    ];
    for (value, data_type, data) in table {
        let text = format!(r#"{{"@data-type":"{data_type}","data":{data}}}"#);
        assert_eq!(BString::from(encoded(&value, Raw)), text);
        assert_eq!(decoded(data_type, data), Ok(value), "{text}");
    }
    // Six decimal places leave nothing of it.
    assert_eq!(encoded(&1e-9.into(), Raw), br#"{"@data-type":"real","data":0.000000}"#);
}

#[test]
fn strings_are_escaped_to_valid_json() {
    let all_controls = "\0\x01\x08\t\n\x0b\x0c\r\x1f\x7f\"\\/";
    let escaped = r#""\u0000\u0001\b\t\n\u000b\f\r\u001f"#.to_owned() + "\x7f" + r#"\"\\/""#;
    for (bytes, raw, escape) in [
        (all_controls.as_bytes(), escaped.as_bytes(), escaped.as_bytes()),
        (b"caf\xe9", b"\"caf\xe9\"", br#""caf\udb80\udce9""#),
        (
            b"\xff\xc3\xa9\xe2\x82",
            b"\"\xff\xc3\xa9\xe2\x82\"",
            "\"\\udb80\\udcff\u{e9}\\udb80\\udce2\\udb80\\udc82\"".as_bytes(),
        ),
    ] {
        for (policy, expected) in [(Raw, raw), (Escape, escape)] {
            let mut out = Vec::new();
            encode_string(bytes, policy, &mut out);
            assert_eq!(BString::from(out), BString::from(expected));
        }
        assert_eq!(decoded("string", raw), Ok(bytes.into()));
    }
    assert_eq!(decoded("string", br#""caf\udb80\udce9""#), Ok("caf\u{f00e9}".into()));
}

#[test]
fn what_is_accepted() {
    let tcp = |number| Value::from(Port::new(number, Protocol::Tcp));
    let all = Value::from(Subnet::new(ip("::"), 0).unwrap());
    for (data_type, data, value) in [
        ("none", "[1,2]", Value::None),
        ("count", "+5", 5_u64.into()),
        ("count", "05", 5_u64.into()),
        ("count", "0x5", 5_u64.into()),
        ("count", "-0", 0_u64.into()),
        ("integer", "+5", 5.into()),
        ("integer", "-0x5", (-5).into()),
        ("integer", "-0", 0.into()),
        ("real", ".5", 0.5.into()),
        ("real", "5.", 5.0.into()),
        ("real", "+1.5", 1.5.into()),
        ("real", "-0.0", (-0.0).into()),
        ("real", "1e3", 1000.0.into()),
        ("real", "1e-400", 0.0.into()),
        ("real", "inf", f64::INFINITY.into()),
        ("real", "-inf", f64::NEG_INFINITY.into()),
        ("real", "nan", f64::NAN.into()),
        ("real", "-nan", f64::NAN.into()),
        (
            "real",
            "123456789012345678901234567890.0",
            123_456_789_012_345_678_901_234_567_890.0.into(),
        ),
        ("string", r#""a\/b\v""#, "a/b\x0b".into()),
        ("address", r#""2001:DB8::1""#, ip("2001:db8::1").into()),
        ("subnet", r#""192.0.2.0/33""#, all),
        ("port", r#""80""#, tcp(80)),
        ("timestamp", r#""1970-01-01T01:00:00+01:00""#, Timestamp(0).into()),
        ("timespan", r#""1.5s""#, Timespan(1_500_000_000).into()),
    ] {
        assert_eq!(decoded(data_type, data), Ok(value), "{data_type} {data}");
    }
    for (text, value) in [
        (r#"{"@data-type":"none"}"#, Value::None),
        (r#" {"data":true, "x":[{}], "@data-type":"boolean"} "#, true.into()),
        (r#"{"@data-type":"count","data":1,"data":2,"@data-type":"real"}"#, 1_u64.into()),
        (
            r#"{"@data-type":"table","data":[{"value":{"@data-type":"none"},"x":0,"key":{"@data-type":"count","data":1}}]}"#,
            Value::Table([(1_u64.into(), Value::None)].into()),
        ),
    ] {
        assert_eq!(decode_value(text.as_bytes()), Ok(value), "{text}");
    }
}

#[test]
fn what_is_rejected() {
    for (data_type, data, expected, found) in [
        ("boolean", "1", "true or false", "1"),
        ("count", "-1", "a non-negative 64-bit integer", "-1"),
        ("count", "18446744073709551616", "a non-negative 64-bit integer", "18446744073709551616"),
        ("count", "1.0", "a non-negative 64-bit integer", "1.0"),
        ("count", "1e3", "a non-negative 64-bit integer", "1e3"),
        ("count", "\"1\"", "a non-negative 64-bit integer", "\"1\""),
        ("count", "08", "a non-negative 64-bit integer", "08"),
        ("integer", "9223372036854775808", "a 64-bit integer", "9223372036854775808"),
        ("real", "5", "a number with a point or an exponent", "5"),
        ("real", "-0", "a number with a point or an exponent", "-0"),
        ("real", "\"1.5\"", "a number with a point or an exponent", "\"1.5\""),
        ("string", "null", "a string", "null"),
        ("enum-value", "[]", "a string", "an array of 0"),
        ("address", r#"" ::1""#, "an IP address", r#"" ::1""#),
        ("subnet", r#""::1""#, "an IP address, `/` and a length", r#""::1""#),
        ("port", "80", "a port number, `/` and a protocol", "80"),
        ("timespan", "5", "a number with one of the units ns, us, ms, s, min, h", "5"),
        ("set", "{}", "an array", "an object"),
        ("table", "[[]]", "an object with the members `key` and `value`", "an array of 0"),
        ("vector", "[1]", "an object with the members `@data-type` and `data`", "1"),
    ] {
        let error = decoded(data_type, data).unwrap_err();
        assert_eq!(error.websocket_context(), "failed to decode JSON object");
        let DecodeError::Value { offset, expected: e, found: f } = error else {
            panic!("{data_type} {data}: {error}")
        };
        assert_eq!((e, f.as_str()), (expected, found), "{data_type} {data}");
        assert!(offset >= 22 + data_type.len(), "{data_type} {data}");
    }
    for text in [
        "1",
        "{}",
        r#"{"@data-type":"count"}"#,
        r#"{"@data-type":"Count","data":1}"#,
        r#"{"@data-type":1,"data":1}"#,
        r#"{"@data-type":"set","data":[{"@data-type":"count","data":1},{"@data-type":"count","data":01}]}"#,
        r#"{"@data-type":"table","data":[{"key":{"@data-type":"none"},"value":{"@data-type":"none"}},{"key":{"@data-type":"none"},"value":{"@data-type":"count","data":1}}]}"#,
        r#"{"@data-type":"table","data":[{"key":{"@data-type":"none"}}]}"#,
    ] {
        let error = decode_value(text.as_bytes()).unwrap_err();
        assert!(matches!(error, DecodeError::Value { .. }), "{text}: {error}");
    }
}

#[test]
fn events_are_bare_envelopes() {
    let hello = Event::new(
        "Cluster::hello",
        vec!["manager".into(), "zeromq_manager_host1_4200_NabcDEF12345678".into()],
    );
    let text = r#"{"@data-type":"vector","data":[{"@data-type":"count","data":1},{"@data-type":"count","data":1},{"@data-type":"vector","data":[{"@data-type":"string","data":"Cluster::hello"},{"@data-type":"vector","data":[{"@data-type":"string","data":"manager"},{"@data-type":"string","data":"zeromq_manager_host1_4200_NabcDEF12345678"}]}]}]}"#;
    assert_eq!(BString::from(encoded_event(&hello)), text);
    assert_eq!(decode_event(text.as_bytes()), Ok(hello.clone()));

    let stamped = hello.with_network_timestamp(Timestamp(0));
    let text = text.strip_suffix("]}]}").unwrap().to_owned()
        + r#",{"@data-type":"vector","data":[{"@data-type":"vector","data":[{"@data-type":"count","data":1},{"@data-type":"timestamp","data":"1970-01-01T00:00:00.000"}]}]}]}]}"#;
    assert_eq!(BString::from(encoded_event(&stamped)), text);
    assert_eq!(decode_event(text.as_bytes()), Ok(stamped));
}

#[test]
fn what_is_no_event_is_rejected() {
    let one = Value::from(1_u64);
    let empty = || Value::Vector(vec![]);
    let envelope = |content: Vec<Value>| vec![1_u64.into(), 1_u64.into(), content.into()].into();
    let with_metadata = |metadata: Value| envelope(vec!["name".into(), empty(), metadata]);
    for (value, error) in [
        (one.clone(), "expected a vector of version, type and content, found count 1"),
        (empty(), "expected a vector of version, type and content, found a vector of 0"),
        (vec![2_u64.into(), one.clone(), empty()].into(), "expected version 1, found count 2"),
        (
            vec![one.clone(), "1".into(), empty()].into(),
            "expected message type 1 (event), found string",
        ),
        (
            envelope(vec!["name".into()]),
            "expected a vector of name, arguments and optional metadata, found a vector of 1",
        ),
        (
            envelope(vec![Value::None; 4]),
            "expected a vector of name, arguments and optional metadata, found a vector of 4",
        ),
        (
            envelope(vec![true.into(), empty()]),
            "expected the name of the event as a string, found boolean",
        ),
        (
            envelope(vec!["name".into(), true.into()]),
            "expected a vector of arguments, found boolean",
        ),
        (with_metadata(true.into()), "expected a vector of metadata, found boolean"),
    ] {
        let found = decode_event(&encoded(&value, Raw)).unwrap_err();
        assert_eq!(found.to_string(), error);
        assert_eq!(found.websocket_context(), "failed to create Zeek event");
    }
}

#[test]
fn data_messages_carry_a_topic() {
    let event = Event::new("ping", vec![]);
    let mut text = Vec::new();
    encode_data_message(b"zeek.\"x\"", &event, Escape, &mut text);
    let rest = r#""@data-type":"vector","data":[{"@data-type":"count","data":1},{"@data-type":"count","data":1},{"@data-type":"vector","data":[{"@data-type":"string","data":"ping"},{"@data-type":"vector","data":[]}]}]}"#;
    assert_eq!(
        BString::from(text.clone()),
        format!(r#"{{"type":"data-message","topic":"zeek.\"x\"",{rest}"#)
    );
    assert_eq!(decode_data_message(&text), Ok(("zeek.\"x\"".into(), event.clone())));
    for head in [r#"{"topic":"","#, r#"{"type":7,"topic":"","#] {
        let text = format!("{head}{rest}");
        assert_eq!(decode_data_message(text.as_bytes()), Ok(("".into(), event.clone())));
    }

    let no_topic = "no topic in top-level JSON object";
    let no_json = "failed to decode JSON object";
    for (text, context) in [
        (format!("{{{rest}"), no_topic),
        (format!(r#"{{"topic":1,{rest}"#), no_topic),
        (format!(r#"{{"topic":"<$>",{rest}"#), no_topic),
        (r#"{"@data-type":"none"}"#.into(), no_topic),
        (r#"{"topic":"<$>","@data-type":"nothing"}"#.into(), no_json),
        (r#"["a"]"#.into(), no_json),
        ("{".into(), no_json),
        (r#"{"topic":"a","@data-type":"none"}"#.into(), "failed to create Zeek event"),
    ] {
        let error = decode_data_message(text.as_bytes()).unwrap_err();
        assert_eq!(error.websocket_context(), context, "{text}");
    }
}

/// The value after a round trip through JSON.
fn rounded(value: Value) -> Value {
    match value {
        Value::Real(Real(x)) if x.is_finite() => format!("{x:.6}").parse::<f64>().unwrap().into(),
        Value::Timestamp(Timestamp(nanos)) if nanos < 0 => {
            Timestamp(nanos / 1_000_000_000 * 1_000_000_000).into()
        }
        Value::Timestamp(Timestamp(nanos)) => Timestamp(nanos / 1_000_000 * 1_000_000).into(),
        Value::Set(elements) => Value::Set(elements.into_iter().map(rounded).collect()),
        Value::Table(entries) => {
            Value::Table(entries.into_iter().map(|(k, v)| (rounded(k), rounded(v))).collect())
        }
        Value::Vector(elements) => elements.into_iter().map(rounded).collect::<Vec<_>>().into(),
        other => other,
    }
}

fn rounded_event(event: Event) -> Event {
    let round_entry = |(id, value)| (id, rounded(value));
    Event {
        name: event.name,
        args: event.args.into_iter().map(rounded).collect(),
        metadata: event.metadata.map(|entries| entries.into_iter().map(round_entry).collect()),
    }
}

proptest! {
    #[test]
    fn values_read_back(value in testing::value().prop_map(rounded)) {
        prop_assert_eq!(decode_value(&encoded(&value, Raw)), Ok(value));
    }

    #[test]
    fn metadata_are_pairs_of_id_and_value(
        entry in prop_oneof![
            testing::value(),
            proptest::collection::vec(testing::value(), 0..4).prop_map(Value::from),
            (any::<u64>(), testing::value())
                .prop_map(|(id, value)| Value::from(vec![Value::from(id), value])),
        ]
        .prop_map(rounded)
    ) {
        let is_pair = matches!(&entry, Value::Vector(pair)
            if matches!(pair[..], [Value::Count(_), _]));
        let content = vec!["name".into(), Value::Vector(vec![]), vec![entry].into()];
        let event = vec![1_u64.into(), 1_u64.into(), content.into()].into();
        match decode_event(&encoded(&event, Raw)) {
            Ok(_) => prop_assert!(is_pair),
            Err(error) => {
                prop_assert!(!is_pair);
                prop_assert!(error.to_string().contains("a metadata entry"), "{}", error);
                prop_assert_eq!(error.websocket_context(), "failed to create Zeek event");
            }
        }
    }

    #[test]
    fn data_messages_read_back(
        topic in testing::bytes(), event in testing::event().prop_map(rounded_event)
    ) {
        let mut text = Vec::new();
        encode_data_message(&topic, &event, Raw, &mut text);
        prop_assert_eq!(decode_event(&text), Ok(event.clone()));
        prop_assert_eq!(decode_data_message(&text), Ok((topic, event)));
    }

    #[test]
    fn escaped_values_are_json(value in testing::value()) {
        let text = encoded(&value, Escape);
        let text = str::from_utf8(&text).unwrap();
        // The library rejects numbers that overflow, as RFC 8259 allows.
        let text = text.replace("1e400", "1e300");
        prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{}", text);
    }

    #[test]
    fn arbitrary_text_does_no_harm(
        bytes in proptest::collection::vec(any::<u8>(), 0..100), text in r#"[\[\]{}",:\\/0-9eE+.x-]{0,60}"#
    ) {
        let _ = decode_data_message(&bytes);
        let _ = decode_data_message(text.as_bytes());
    }

    #[test]
    fn mutated_events_do_no_harm(
        bytes in testing::mutated(testing::event().prop_map(|event| encoded_event(&event)))
    ) {
        if let Ok(event) = decode_event(&bytes) {
            let event = rounded_event(event);
            prop_assert_eq!(decode_event(&encoded_event(&event)), Ok(event));
        }
    }
}
