use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::testing;

/// Bytes from hex digits, with spaces anywhere and text in double quotes.
fn hex(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (i, part) in text.split('"').enumerate() {
        if i % 2 == 1 {
            bytes.extend_from_slice(part.as_bytes());
            continue;
        }
        let digits: Vec<u8> = part.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        bytes.extend(
            digits
                .chunks(2)
                .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()),
        );
    }
    bytes
}

fn encoded(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    encode_value(value, &mut out);
    out
}

fn encoded_event(event: &Event) -> Vec<u8> {
    let mut out = Vec::new();
    encode_event(event, &mut out);
    out
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn golden_values() {
    let subnet = |text, len| Value::from(Subnet::new(ip(text), len).unwrap());
    let table: [(Value, &str); 24] = [
        (Value::None, "00"),
        (true.into(), "01 01"),
        (false.into(), "01 00"),
        (42_u64.into(), "02 00 00 00 00 00 00 00 2a"),
        ((-1).into(), "03 ff ff ff ff ff ff ff ff"),
        (1.5.into(), "04 3f f8 00 00 00 00 00 00"),
        ("Zeek".into(), "05 04 5a 65 65 6b"),
        ("".into(), "05 00"),
        (ip("192.0.2.1").into(), "06 00 00 00 00 00 00 00 00 00 00 ff ff c0 00 02 01"),
        (ip("2001:db8::1").into(), "06 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01"),
        (subnet("192.0.2.0", 24), "07 00 00 00 00 00 00 00 00 00 00 ff ff c0 00 02 00 78"),
        (subnet("2001:db8::", 32), "07 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 00 20"),
        (Port::new(443, Protocol::Tcp).into(), "08 01 bb 01"),
        (Port::new(0, Protocol::Unknown).into(), "08 00 00 00"),
        (Timestamp(1_500_000_000).into(), "09 00 00 00 00 59 68 2f 00"),
        (Timestamp(i64::MIN).into(), "09 80 00 00 00 00 00 00 00"),
        (Timespan(-2_000_000_000).into(), "0a ff ff ff ff 88 ca 6c 00"),
        (Value::enum_value("Cluster::WORKER"), r#"0b 0f "Cluster::WORKER""#),
        (
            Value::Set([Value::from(2_u64), 1_u64.into()].into()),
            "0c 02 02 00 00 00 00 00 00 00 01 02 00 00 00 00 00 00 00 02",
        ),
        (
            Value::Set(
                [Value::from(vec![ip("192.0.2.1").into(), Port::new(53, Protocol::Udp).into()])]
                    .into(),
            ),
            "0c 01 0e 02 06 00 00 00 00 00 00 00 00 00 00 ff ff c0 00 02 01 08 00 35 02",
        ),
        (Value::Table([("a".into(), true.into())].into()), "0d 01 05 01 61 01 01"),
        (vec!["x".into(), Value::None].into(), "0e 02 05 01 78 00"),
        (Value::Set(BTreeSet::new()), "0c 00"),
        (
            vec![r"^?(foo)$?".into(), r"^?(.|\n)*(foo)".into()].into(),
            r#"0e 02 05 09 "^?(foo)$?" 05 0e "^?(.|\n)*(foo)""#,
        ),
    ];
    for (value, text) in table {
        assert_eq!(encoded(&value), hex(text), "{value:?}");
        assert_eq!(decode_value(&hex(text)), Ok(value), "{text}");
    }
}

#[test]
fn golden_events() {
    let node_id = "zeromq_worker-1_host1_4242_NwrZBf1q3FkxySjt2a";
    let hello =
        Event::new("Cluster::Backend::ZeroMQ::hello", vec!["worker-1".into(), node_id.into()]);
    let answer = Event::new(
        "Cluster::hello",
        vec!["manager".into(), "zeromq_manager_host1_4200_NabcDEF12345678".into()],
    );
    let status = Event::new("Supervisor::node_status", vec!["TEST".into(), 42_u64.into()]);
    let head = "0e 03 02 00 00 00 00 00 00 00 01 02 00 00 00 00 00 00 00 01";
    let table = [
        (
            hello.clone(),
            114,
            r#"0e 02 05 1f "Cluster::Backend::ZeroMQ::hello" 0e 02 05 08 "worker-1"
               05 2d "zeromq_worker-1_host1_4242_NwrZBf1q3FkxySjt2a""#,
        ),
        (
            answer,
            92,
            r#"0e 02 05 0e "Cluster::hello" 0e 02 05 07 "manager"
               05 29 "zeromq_manager_host1_4200_NabcDEF12345678""#,
        ),
        (
            hello.with_network_timestamp(Timestamp(1_767_225_600_250_000_000)),
            136,
            r#"0e 03 05 1f "Cluster::Backend::ZeroMQ::hello" 0e 02 05 08 "worker-1"
               05 2d "zeromq_worker-1_host1_4242_NwrZBf1q3FkxySjt2a"
               0e 01 0e 02 02 00 00 00 00 00 00 00 01 09 18 86 72 51 fc e0 b2 80"#,
        ),
        (
            status.with_network_timestamp(Timestamp(0)),
            20 + 2 + 25 + 17 + 22,
            r#"0e 03 05 17 "Supervisor::node_status"
               0e 02 05 04 "TEST" 02 00 00 00 00 00 00 00 2a
               0e 01 0e 02 02 00 00 00 00 00 00 00 01 09 00 00 00 00 00 00 00 00"#,
        ),
        (
            Event { metadata: Some(vec![]), ..Event::new("x", vec![]) },
            20 + 9,
            r#"0e 03 05 01 "x" 0e 00 0e 00"#,
        ),
    ];
    for (event, len, content) in table {
        let bytes = hex(&format!("{head}{content}"));
        assert_eq!(bytes.len(), len, "{}", event.name);
        assert_eq!(encoded_event(&event), bytes, "{}", event.name);
        assert_eq!(decode_event(&bytes), Ok(event));
    }
}

#[test]
fn lengths_are_leb128_of_32_bits() {
    for (len, bytes) in [
        (0, "00"),
        (1, "01"),
        (127, "7f"),
        (128, "80 01"),
        (200, "c8 01"),
        (300, "ac 02"),
        (16384, "80 80 01"),
        (u32::MAX as usize, "ff ff ff ff 0f"),
        (usize::MAX, "ff ff ff ff 0f"),
    ] {
        let mut out = Vec::new();
        assert_eq!(encode_header(tag::STRING, len, &mut out), len.min(u32::MAX as usize));
        assert_eq!(out[1..], hex(bytes), "{len}");
        assert_eq!(Decoder::new(&out[1..]).length(), Ok(len.min(u32::MAX as usize) as u32));
    }
    for (bytes, length) in [
        ("83 00", Some(3)),
        ("83 80 00", Some(3)),
        ("83 80 80 80 80 00", Some(3)),
        ("83 80 80 80 80 80 80 80 80 00", Some(3)),
        ("83 80 80 80 80 80 80 80 80 80 00", None),
        ("ff ff ff ff 8f 00", Some(u32::MAX)),
        ("ff ff ff ff 1f", None),
        ("80 80 80 80 10", None),
        ("80 80 80 80 80 01", None),
        ("ff ff ff ff ff ff ff ff ff ff", None),
    ] {
        let read = Decoder::new(&hex(bytes)).length();
        let expected = length.ok_or(DecodeError::LengthOverflow { offset: 0 });
        assert_eq!(read, expected, "{bytes}");
    }
}

#[test]
fn reals_that_are_not_finite_have_patterns_of_their_own() {
    for (real, bits) in [
        (f64::INFINITY, 0xfff0_0000_0000_0000_u64),
        (f64::NEG_INFINITY, 0x7ff0_0000_0000_0000),
        (f64::NAN, u64::MAX),
        (0.0, 0),
        (-0.0, 0x8000_0000_0000_0000),
        // Subnormals are plain IEEE 754.
        (5e-324, 1),
        (-1e-310, (-1e-310_f64).to_bits()),
        (f64::MAX, f64::MAX.to_bits()),
    ] {
        assert_eq!(real_bits(Real(real)), bits, "{real}");
        assert_eq!(real_from_bits(bits), Real(real), "{bits:x}");
    }
    assert_eq!(real_bits(Real(-f64::NAN)), u64::MAX);
    for (bits, real) in [
        (0x7ff8_0000_0000_0000, f64::INFINITY),
        (0x7ff0_0000_0000_0001, f64::INFINITY),
        (0xfff8_0000_0000_0000, f64::NEG_INFINITY),
        (0xfff0_0000_0000_0001, f64::NEG_INFINITY),
    ] {
        assert_eq!(real_from_bits(bits), Real(real), "{bits:x}");
    }
}

#[test]
fn what_is_tolerated() {
    for (text, value) in [
        ("01 02", Value::from(true)),
        ("01 ff", true.into()),
        ("0c 02 01 01 01 00", Value::Set([true.into(), false.into()].into())),
        ("05 81 00 61", "a".into()),
        ("07 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01 20", {
            let network = ip("2001:db8::1").into();
            Value::from(Subnet { network, prefix_len: 32 })
        }),
    ] {
        assert_eq!(decode_value(&hex(text)), Ok(value), "{text}");
    }
}

#[test]
fn what_is_no_value_is_rejected_where_it_goes_wrong() {
    for (text, error) in [
        ("", "byte 0: expected a type tag, found the end of the data"),
        ("0f", "byte 0: expected a type tag from 00 to 0e, found 0f"),
        ("0e 01 ff", "byte 2: expected a type tag from 00 to 0e, found ff"),
        ("02 00", "byte 1: expected a count, found the end of the data"),
        ("05 03 61 62", "byte 2: expected the bytes of a string, found the end of the data"),
        ("05 ff ff ff ff 0f", "byte 6: expected the bytes of a string, found the end of the data"),
        ("05 ff ff ff ff 1f", "byte 1: expected a length of at most 32 bits"),
        ("0e ff ff ff ff 0f 00", "byte 6: 4294967295 elements announced, room for 1 at most"),
        ("0d 02 00 00 01", "byte 2: 4 elements announced, room for 3 at most"),
        // Each length alone would fit, but not both.
        ("0e 02 0e 02 00 00", "byte 4: 2 elements announced, room for 1 at most"),
        (
            "07 00 00 00 00 00 00 00 00 00 00 ff ff c0 00 02 00 81",
            "byte 17: expected a prefix length from 0 to 128, found 129",
        ),
        ("08 00 35 04", "byte 3: expected a protocol from 0 to 3, found 4"),
        (
            "0c 02 01 01 01 02",
            "byte 4: expected each element of a set once, found it a second time",
        ),
        (
            "0d 02 00 01 01 00 00",
            "byte 5: expected each key of a table once, found it a second time",
        ),
        ("00 00", "byte 1: expected the end of the data, found 1 more bytes"),
    ] {
        assert_eq!(decode_value(&hex(text)).unwrap_err().to_string(), error, "{text}");
    }
}

#[test]
fn nesting_is_limited() {
    let nested = |depth: usize| {
        let mut bytes = [tag::VECTOR, 1].repeat(depth);
        bytes.push(tag::NONE);
        bytes
    };
    assert!(decode_value(&nested(MAX_DEPTH)).is_ok());
    let error = DecodeError::TooDeep { offset: 2 * MAX_DEPTH };
    assert_eq!(decode_value(&nested(MAX_DEPTH + 1)), Err(error));
    // Siblings do not add to the depth.
    let siblings = vec![Value::Vector(vec![]); 2 * MAX_DEPTH].into();
    assert_eq!(decode_value(&encoded(&siblings)), Ok(siblings));
}

#[test]
fn what_is_no_event_is_rejected() {
    let one = Value::from(1_u64);
    let event = |version: Value, kind: Value, content: Vec<Value>| {
        encoded(&vec![version, kind, content.into()].into())
    };
    let content = |rest: Value| vec!["name".into(), Value::Vector(vec![]), rest];
    for (bytes, error) in [
        (
            encoded(&one),
            "byte 0: expected a vector of version, type and content, found a value with tag 02",
        ),
        (
            encoded(&vec![one.clone(), one.clone()].into()),
            "byte 0: expected a vector of version, type and content, found a vector of 2",
        ),
        (event(2_u64.into(), one.clone(), vec![]), "byte 2: expected version 1, found count 2"),
        (
            event("1".into(), one.clone(), vec![]),
            "byte 2: expected version 1, found a value with tag 05",
        ),
        (
            event(one.clone(), 5_u64.into(), vec![]),
            "byte 11: expected message type 1 (event), found count 5",
        ),
        (
            event(one.clone(), one.clone(), vec!["name".into()]),
            "byte 20: expected a vector of name, arguments and optional metadata, \
             found a vector of 1",
        ),
        (
            event(one.clone(), one.clone(), vec![Value::None; 4]),
            "byte 20: expected a vector of name, arguments and optional metadata, \
             found a vector of 4",
        ),
        (
            event(one.clone(), one.clone(), vec![one.clone(), Value::Vector(vec![])]),
            "byte 22: expected the name of the event as a string, found a value with tag 02",
        ),
        (
            event(one.clone(), one.clone(), vec!["name".into(), Value::None]),
            "byte 28: expected a vector of arguments, found a value with tag 00",
        ),
        (
            event(one.clone(), one.clone(), content(true.into())),
            "byte 30: expected a vector of metadata, found a value with tag 01",
        ),
    ] {
        assert_eq!(decode_event(&bytes).unwrap_err().to_string(), error);
    }
    let mut bytes = encoded_event(&Event::new("name", vec![]));
    bytes.push(0);
    assert_eq!(decode_event(&bytes), Err(DecodeError::TrailingBytes { offset: 30, len: 1 }));
}

proptest! {
    #[test]
    fn values_read_back(value in testing::value()) {
        prop_assert_eq!(decode_value(&encoded(&value)), Ok(value));
    }

    #[test]
    fn events_read_back_and_are_values(event in testing::event()) {
        let bytes = encoded_event(&event);
        prop_assert_eq!(encoded(&decode_value(&bytes).unwrap()), &*bytes);
        prop_assert_eq!(decode_event(&bytes), Ok(event));
    }

    #[test]
    fn metadata_are_pairs_of_id_and_value(
        entry in prop_oneof![
            testing::value(),
            proptest::collection::vec(testing::value(), 0..4).prop_map(Value::from),
            (any::<u64>(), testing::value())
                .prop_map(|(id, value)| Value::from(vec![Value::from(id), value])),
        ]
    ) {
        let is_pair = matches!(&entry, Value::Vector(pair)
            if matches!(pair[..], [Value::Count(_), _]));
        let content = vec!["name".into(), Value::Vector(vec![]), vec![entry].into()];
        let bytes = encoded(&vec![1_u64.into(), 1_u64.into(), content.into()].into());
        match decode_event(&bytes) {
            Ok(_) => prop_assert!(is_pair),
            Err(error) => {
                prop_assert!(!is_pair);
                prop_assert!(error.to_string().contains("a metadata entry"), "{}", error);
            }
        }
    }

    #[test]
    fn any_prefix_is_rejected(value in testing::value(), at: proptest::sample::Index) {
        let bytes = encoded(&value);
        prop_assert!(decode_value(&bytes[..at.index(bytes.len())]).is_err());
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_value(&bytes);
        let _ = decode_event(&bytes);
    }

    #[test]
    fn mutated_events_do_no_harm(
        bytes in testing::mutated(testing::event().prop_map(|event| encoded_event(&event)))
    ) {
        if let Ok(event) = decode_event(&bytes) {
            prop_assert_eq!(decode_event(&encoded_event(&event)), Ok(event));
        }
    }
}
