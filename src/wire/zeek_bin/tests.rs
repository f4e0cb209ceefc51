//! Vectors of WIRE.md §4.3 and §4.4, the recorded batches, and batches that no correct producer
//! sends.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::value::{Port, Protocol, Subnet};
use crate::wire::Recording;

/// Bytes from a mixture of hex and quoted text.
fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for (i, part) in text.split('"').enumerate() {
        if i % 2 == 1 {
            out.extend_from_slice(part.as_bytes());
            continue;
        }
        let digits: Vec<u8> =
            part.bytes().filter_map(|b| char::from(b).to_digit(16).map(|d| d as u8)).collect();
        out.extend(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]));
    }
    out
}

fn worked_batch() -> Vec<u8> {
    bytes(
        r#"
        00 00 00 0c "Example::LOG"  00 00 00 11 "Log::WRITER_ASCII"
        00 00 00 07 "default"       00 00 00 07 "example"
        00 00 00 05
        00 00 00 00 02 "ts"         00 00 00 05 00 00 00 00 00
        00 00 00 00 09 "id.orig_h"  00 00 00 0b 00 00 00 00 00
        00 00 00 00 09 "id.resp_p"  00 00 00 0a 00 00 00 00 00
        00 00 00 00 07 "service"    00 00 00 07 00 00 00 00 01
        00 00 00 00 04 "tags"       00 00 00 0e 00 00 00 07 01
        00 00 00 02
        00 00 00 05 00 00 00 00 01 41 da 55 6e 40 10 00 00
        00 00 00 0b 00 00 00 00 01 04 c0 00 02 01
        00 00 00 0a 00 00 00 00 01 00 00 00 00 00 00 01 bb 00 00 00 01
        00 00 00 07 00 00 00 00 01 00 00 00 03 73 73 6c
        00 00 00 0e 00 00 00 00 01 00 00 00 00 00 00 00 01
              00 00 00 07 00 00 00 00 01 00 00 00 01 61
        00 00 00 05 00 00 00 00 01 41 da 55 6e 40 40 00 00
        00 00 00 0b 00 00 00 00 01 06 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01
        00 00 00 0a 00 00 00 00 01 00 00 00 00 00 00 00 35 00 00 00 02
        00 00 00 07 00 00 00 00 00
        00 00 00 0e 00 00 00 00 00"#,
    )
}

fn example_schema() -> LogSchema {
    let fields = vec![
        FieldSpec::new("ts", Scalar::Time),
        FieldSpec::new("id.orig_h", Scalar::Addr),
        FieldSpec::new("id.resp_p", Scalar::Port),
        FieldSpec::new("service", Scalar::String).optional(),
        FieldSpec::new("tags", LogType::Set(Scalar::String)).optional(),
    ];
    LogSchema::new("Example::LOG", "example", fields)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A batch with one column and one value, given as the value's bytes.
fn one_value(log_type: LogType, value: &[u8]) -> Vec<u8> {
    let schema = LogSchema::new("X::LOG", "x", vec![FieldSpec::new("x", log_type)]);
    let mut payload = Vec::new();
    schema.encode(&mut payload);
    payload.extend_from_slice(&1u32.to_be_bytes());
    payload.extend_from_slice(value);
    payload
}

/// Reads a whole batch; elements follow their container.
fn read_all(payload: &[u8]) -> Result<Vec<ValueRef<'_>>, DecodeError> {
    let batch = Batch::decode(payload)?;
    let types: Vec<LogType> = batch.fields().map(|field| field.log_type).collect();
    let mut cursor = batch.cursor();
    let mut values = Vec::new();
    for _ in 0..batch.num_records() {
        for log_type in &types {
            values.push(cursor.next_value(*log_type)?);
            while let Some(element) = cursor.next_element()? {
                values.push(element);
            }
        }
    }
    Ok(values)
}

/// Decodes a batch and builds it again.
fn rebuild(payload: &[u8]) -> Vec<u8> {
    let batch = Batch::decode(payload).unwrap();
    let schema = LogSchema::from(&batch);
    let mut builder = BatchBuilder::new(schema.clone()).unwrap();
    let mut cursor = batch.cursor();
    for _ in 0..batch.num_records() {
        let mut elements = Vec::new();
        let values: Vec<ValueRef<'_>> = schema
            .fields
            .iter()
            .map(|field| {
                let value = cursor.next_value(field.log_type).unwrap();
                let mut list = Vec::new();
                while let Some(element) = cursor.next_element().unwrap() {
                    list.push(owned(element, &[]));
                }
                elements.push(list);
                value
            })
            .collect();
        let record: Vec<LogValue<'_>> =
            values.iter().zip(&elements).map(|(value, list)| owned(*value, list)).collect();
        builder.push(&record).unwrap();
    }
    builder.finish()
}

fn owned<'a>(value: ValueRef<'a>, elements: &'a [LogValue<'a>]) -> LogValue<'a> {
    match value {
        ValueRef::Unset => LogValue::Unset,
        ValueRef::Bool(x) => LogValue::BoolNumber(x),
        ValueRef::Int(x) => LogValue::Int(x),
        ValueRef::Count(x) => LogValue::Count(x),
        ValueRef::Double(x) => LogValue::Double(x),
        ValueRef::Time(x) => LogValue::Time(x),
        ValueRef::Interval(x) => LogValue::Interval(x),
        ValueRef::String(x) => LogValue::String(x),
        ValueRef::Enum(x) => LogValue::Enum(x),
        ValueRef::Func(x) => LogValue::Func(x),
        ValueRef::File(x) => LogValue::File(x),
        ValueRef::Port { number, protocol } => {
            LogValue::Port(Port::new(u16::try_from(number).unwrap(), protocol))
        }
        ValueRef::Addr(x) => LogValue::Addr(x),
        ValueRef::Subnet { prefix, length } => {
            LogValue::Subnet(Subnet::new(prefix, length).unwrap())
        }
        ValueRef::Set { .. } => LogValue::Set(elements),
        ValueRef::Vector { .. } => LogValue::Vector(elements),
    }
}

/// The payloads of the recorded log batches (`tests/fixtures/README.md`).
fn recorded(name: &str) -> Vec<Vec<u8>> {
    let path = format!("{}/tests/fixtures/logs/{name}", env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::read(path).unwrap();
    let payload = |frames: Vec<&[u8]>| {
        assert_eq!((frames.len(), frames[2]), (4, FORMAT.as_bytes()));
        frames[3].to_vec()
    };
    Recording::new(&file).map(|frames| payload(frames.unwrap())).collect()
}

#[test]
fn the_worked_batch_decodes_and_encodes() {
    let payload = worked_batch();
    assert_eq!(payload.len(), 349);

    let batch = Batch::decode(&payload).unwrap();
    assert_eq!(LogSchema::from(&batch), example_schema());
    assert_eq!((batch.num_fields(), batch.num_records()), (5, 2));
    assert_eq!(batch.header_bytes().len(), 0xa4);
    assert_eq!(
        read_all(&payload).unwrap(),
        [
            ValueRef::Time(1_767_225_600.25),
            ValueRef::Addr(ip("192.0.2.1")),
            ValueRef::Port { number: 443, protocol: Protocol::Tcp },
            ValueRef::String(b"ssl"),
            ValueRef::Set { len: 1 },
            ValueRef::String(b"a"),
            ValueRef::Time(1_767_225_601.0),
            ValueRef::Addr(ip("2001:db8::1")),
            ValueRef::Port { number: 53, protocol: Protocol::Udp },
            ValueRef::Unset,
            ValueRef::Unset,
        ]
    );

    let mut builder = BatchBuilder::new(example_schema()).unwrap();
    builder
        .push(&[
            LogValue::Time(1_767_225_600.25),
            LogValue::Addr(ip("192.0.2.1")),
            LogValue::Port(Port::new(443, Protocol::Tcp)),
            "ssl".into(),
            LogValue::Set(&["a".into()]),
        ])
        .unwrap();
    builder
        .push(&[
            LogValue::Time(1_767_225_601.0),
            LogValue::Addr(ip("2001:db8::1")),
            LogValue::Port(Port::new(53, Protocol::Udp)),
            LogValue::Unset,
            LogValue::Unset,
        ])
        .unwrap();
    assert_eq!((builder.len(), builder.bytes()), (2, 349));
    assert_eq!(builder.take(), payload);
    assert!(builder.is_empty());
    assert_eq!(builder.bytes(), 0xa8);
}

#[test]
fn a_subtype_of_a_scalar_is_kept_and_means_nothing() {
    // A vector from Zeek's own tests.
    let payload = bytes(
        r#"0000000c "Log::UNKNOWN" 00000010 "Log::WRITER_NONE" 00000007 "default"
        00000007 "my-path" 00000001  00 00000002 "ts" 00000005 00000016 00
        00000002  00000005 00000016 01 3ff0000000000000
                  00000005 00000016 01 4000000000000000"#,
    );
    let batch = Batch::decode(&payload).unwrap();
    let field = batch.fields().next().unwrap();
    assert_eq!((field.log_type, field.subtype_tag), (Scalar::Time.into(), 0x16));
    assert_eq!(read_all(&payload).unwrap(), [ValueRef::Time(1.0), ValueRef::Time(2.0)]);
}

#[test]
fn values_have_the_bytes_of_the_table() {
    let hole = [LogValue::Count(1), LogValue::Unset];
    let net = |text, length| LogValue::Subnet(Subnet::new(ip(text), length).unwrap());
    let v6 = "20010db8000000000000000000000001";
    for (log_type, value, expected) in [
        (Scalar::Bool.into(), LogValue::Bool(true), "00000001 00000000 01 0000000000000001".into()),
        (Scalar::Int.into(), LogValue::Int(-42), "00000002 00000000 01 ffffffffffffffd6".into()),
        (Scalar::Count.into(), LogValue::Count(7), "00000003 00000000 01 0000000000000007".into()),
        (
            Scalar::Double.into(),
            LogValue::Double(0.1),
            "00000004 00000000 01 3fb999999999999a".into(),
        ),
        (
            Scalar::Interval.into(),
            LogValue::Interval(0.5),
            "00000006 00000000 01 3fe0000000000000".into(),
        ),
        (Scalar::String.into(), "hi".into(), "00000007 00000000 01 00000002 6869".into()),
        (
            Scalar::Enum.into(),
            LogValue::Enum(b"Log::WRITER_ASCII"),
            r#"00000009 00000000 01 00000011 "Log::WRITER_ASCII""#.to_string(),
        ),
        (
            Scalar::Port.into(),
            LogValue::Port(Port::new(443, Protocol::Tcp)),
            "0000000a 00000000 01 00000000000001bb 00000001".into(),
        ),
        (
            Scalar::Addr.into(),
            LogValue::Addr(ip("::ffff:192.0.2.1")),
            "0000000b 00000000 01 04 c0000201".into(),
        ),
        (
            Scalar::Addr.into(),
            LogValue::Addr(ip("2001:db8::1")),
            format!("0000000b 00000000 01 06 {v6}"),
        ),
        (Scalar::Subnet.into(), net("10.0.0.0", 24), "0000000c 00000000 01 78 04 0a000000".into()),
        (
            Scalar::Subnet.into(),
            net("2001:db8::1", 128),
            format!("0000000c 00000000 01 80 06 {v6}"),
        ),
        (Scalar::Func.into(), LogValue::Func(b"f"), "00000011 00000000 01 00000001 66".into()),
        (Scalar::File.into(), LogValue::File(b"f"), "00000012 00000000 01 00000001 66".into()),
        (
            LogType::Vector(Scalar::Count),
            LogValue::Vector(&hole),
            "00000013 00000000 01 0000000000000002 00000003 00000000 01 0000000000000001
             00000003 00000000 00"
                .into(),
        ),
        (Scalar::Count.into(), LogValue::Unset, "00000003 00000000 00".into()),
    ] {
        let schema = LogSchema::new("X::LOG", "x", vec![FieldSpec::new("x", log_type)]);
        let mut builder = BatchBuilder::new(schema).unwrap();
        builder.push(&[value]).unwrap();
        let payload = builder.finish();
        assert_eq!(payload, one_value(log_type, &bytes(&expected)), "{value:?}");
        assert_eq!(rebuild(&payload), payload, "{value:?}");
    }
}

#[test]
fn recorded_batches_encode_to_the_bytes_they_came_from() {
    let mut records = 0;
    for name in ["odd.zmq", "traffic.zmq"] {
        for payload in recorded(name) {
            let batch = Batch::decode(&payload).unwrap();
            records += batch.num_records();
            assert_eq!(rebuild(&payload), payload);
        }
    }
    assert_eq!(records, 9137);
}

#[test]
fn trailing_bytes_are_ignored_and_presence_is_exactly_one() {
    let mut payload = one_value(Scalar::Count.into(), &bytes("00000003 00000000 02"));
    payload.extend_from_slice(b"more");
    assert_eq!(read_all(&payload).unwrap(), [ValueRef::Unset]);
}

#[test]
fn a_batch_cut_anywhere_is_an_error() {
    let payload = worked_batch();
    for len in 0..payload.len() {
        let error = read_all(&payload[..len]).unwrap_err();
        assert!(error.offset <= len, "{len}: {error}");
    }
}

#[test]
fn hostile_values_are_refused_with_their_place() {
    use DecodeErrorKind as Kind;
    let set = LogType::Set(Scalar::Count);
    let vector = LogType::Vector(Scalar::Count);
    for (log_type, value, kind) in [
        (Scalar::String.into(), "00000007 00000000 01 80000000", Kind::StringTooLong(0x8000_0000)),
        (
            Scalar::String.into(),
            "00000007 00000000 01 7fffffff",
            Kind::Truncated { needed: 0x7fff_ffff, left: 0 },
        ),
        (
            Scalar::Port.into(),
            "0000000a 00000000 01 0000000000000001 00000004",
            Kind::PortProtocol(4),
        ),
        (
            Scalar::Port.into(),
            "0000000a 00000000 01 0000000000000001 00000101",
            Kind::PortProtocol(0x101),
        ),
        (Scalar::Addr.into(), "0000000b 00000000 01 05 00000000", Kind::AddressFamily(5)),
        (Scalar::Subnet.into(), "0000000c 00000000 01 5f 04 00000000", Kind::PrefixLength(95)),
        (Scalar::Subnet.into(), "0000000c 00000000 01 81 04 00000000", Kind::PrefixLength(129)),
        (
            Scalar::Subnet.into(),
            "0000000c 00000000 01 81 06 00000000000000000000000000000000",
            Kind::PrefixLength(129),
        ),
        (set, "0000000e 00000000 01 ffffffffffffffff", Kind::ElementCount { claimed: -1, left: 0 }),
        (
            vector,
            "00000013 00000000 01 7fffffffffffffff 000000000000000000",
            Kind::ElementCount { claimed: i64::MAX, left: 9 },
        ),
        (
            set,
            "0000000e 00000000 01 0000000000000001 0000000e 00000000 01 0000000000000000",
            Kind::ElementType(14),
        ),
        (
            vector,
            "00000013 00000000 01 0000000000000001 00000016 00000000 00",
            Kind::ElementType(22),
        ),
    ] {
        let payload = one_value(log_type, &bytes(value));
        let error = read_all(&payload).unwrap_err();
        assert_eq!(error.kind, kind, "{value}");
        assert_eq!(error.place, Place::Value { record: 0, field: 0 }, "{value}");
    }
}

#[test]
fn errors_name_the_record_and_the_field() {
    let mut payload = worked_batch();
    // The protocol of the second record's port.
    payload[0x14a] = 9;
    let error = read_all(&payload).unwrap_err();
    assert_eq!(error.place, Place::Value { record: 1, field: 2 });
    assert_eq!(error.to_string(), "log batch: byte 331, record 1 field 2: unknown port protocol 9");
    let mut payload = worked_batch();
    // The type of the second field.
    payload[0x60] = 15;
    let error = Batch::decode(&payload).unwrap_err();
    assert_eq!(error.place, Place::Field(1));
    assert_eq!(error.kind, DecodeErrorKind::FieldType(15));
}

#[test]
fn counts_are_held_against_the_bytes() {
    let names = r#"00000001 "s" 00000001 "w" 00000001 "f" 00000001 "p""#;
    let field = r#"00 00000001 "x" 00000003 00000000 00"#;
    for (rest, expected) in [
        ("00000000 ffffffff".to_string(), DecodeErrorKind::NoFields),
        (
            format!("ffffffff {field} 00000000"),
            DecodeErrorKind::FieldCount { claimed: u32::MAX, left: 19 },
        ),
        (
            format!("00000001 {field} ffffffff"),
            DecodeErrorKind::RecordCount { claimed: u32::MAX, left: 0 },
        ),
        (
            r#"00000001 00 00000001 "x" 0000000e 0000000e 00 00000000"#.to_string(),
            DecodeErrorKind::ElementType(14),
        ),
        (
            "00000001 00 ffffffff 000000000000000000".into(),
            DecodeErrorKind::StringTooLong(u32::MAX),
        ),
    ] {
        let payload = bytes(&format!("{names} {rest}"));
        assert_eq!(Batch::decode(&payload).unwrap_err().kind, expected, "{rest}");
    }
}

#[test]
fn elements_that_were_not_read_are_skipped() {
    let payload = worked_batch();
    let batch = Batch::decode(&payload).unwrap();
    let mut cursor = batch.cursor();
    let mut last = ValueRef::Unset;
    for _ in 0..batch.num_records() {
        for field in batch.fields() {
            last = cursor.next_value(field.log_type).unwrap();
        }
    }
    assert_eq!(last, ValueRef::Unset);
    assert_eq!(cursor.next_element().unwrap(), None);
    let error = cursor.next_value(Scalar::Time.into()).unwrap_err();
    assert_eq!(error.kind, DecodeErrorKind::NoValuesLeft);
}

#[test]
fn schemas_are_checked() {
    let fields = || vec![FieldSpec::new("a", Scalar::Count), FieldSpec::new("b", Scalar::Count)];
    let good = LogSchema::new("X::LOG", "x", fields());
    assert_eq!(good.check(), Ok(()));
    let mut bad = good.clone();
    bad.path = "new\nline".into();
    assert_eq!(bad.check().unwrap_err().to_string(), r#"log schema: bad path "new\nline""#);
    let mut bad = good.clone();
    bad.fields[1].name = "a".into();
    assert_eq!(
        bad.check().unwrap_err().to_string(),
        r#"log schema: fields 0 and 1 are both named "a""#
    );
    bad.fields[1].name = "".into();
    assert!(matches!(bad.check(), Err(SchemaError::FieldName { index: 1, .. })));
    bad.fields.clear();
    assert_eq!(bad.check(), Err(SchemaError::FieldCount(0)));
}

#[test]
fn records_that_do_not_fit_leave_no_trace() {
    let fields = vec![
        FieldSpec::new("c", Scalar::Count),
        FieldSpec::new("tags", LogType::Set(Scalar::String)),
    ];
    let mut builder = BatchBuilder::new(LogSchema::new("X::LOG", "x", fields)).unwrap();
    let empty = builder.bytes();
    for (record, text) in [
        (vec![LogValue::Count(1)], "record has 1 values, its schema has 2 fields"),
        (
            vec![LogValue::Int(1), LogValue::Unset],
            r#"field 0 "c": value is of type int, expected count"#,
        ),
        (
            vec![LogValue::Count(1), LogValue::Vector(&[])],
            r#"field 1 "tags": value is of type vector, expected set[string]"#,
        ),
        (
            vec![LogValue::Count(1), LogValue::Set(&[LogValue::Set(&[])])],
            r#"field 1 "tags": value is of type set, expected string"#,
        ),
    ] {
        assert_eq!(builder.push(&record).unwrap_err().to_string(), text);
        assert_eq!((builder.len(), builder.bytes()), (0, empty));
    }
}

#[test]
fn a_panic_while_a_record_is_written_leaves_no_trace() {
    let fields = ["a", "b"].map(|name| FieldSpec::new(name, Scalar::Count)).to_vec();
    let builder = || BatchBuilder::new(LogSchema::new("X::LOG", "x", fields.clone())).unwrap();
    let record = [LogValue::Count(1), LogValue::Count(2)];
    let mut expected = builder();
    expected.push(&record).unwrap();
    let one = expected.bytes();
    let mut hurt = builder();
    let panic = |hurt: &mut BatchBuilder| {
        let write = |writer: &mut RecordWriter<'_>| {
            writer.put(LogValue::Count(3));
            panic!("on purpose");
        };
        let written = std::panic::AssertUnwindSafe(|| hurt.push_with(write));
        std::panic::catch_unwind(written).unwrap_err();
    };
    // Before a record, after one, and at the end of a batch.
    panic(&mut hurt);
    hurt.push(&record).unwrap();
    panic(&mut hurt);
    assert_eq!((hurt.len(), hurt.bytes()), (1, one));
    hurt.push(&record).unwrap();
    panic(&mut hurt);
    expected.push(&record).unwrap();
    let expected = expected.take();
    assert_eq!(hurt.take(), expected);
    // The next batch has nothing of it, either.
    panic(&mut hurt);
    (0..2).for_each(|_| hurt.push(&record).unwrap());
    assert_eq!(hurt.finish(), expected);
}

#[test]
fn limits_cut_and_count() {
    let limits = Limits {
        string_bytes: 4,
        total_string_bytes: 9,
        container_elements: 3,
        total_container_elements: 4,
        record_bytes: 300,
    };
    let strings = LogType::Vector(Scalar::String);
    let fields = ["a", "b", "c"].map(|name| FieldSpec::new(name, strings)).to_vec();
    let schema = LogSchema::new("X::LOG", "x", fields);
    let mut builder = BatchBuilder::with_limits(schema, limits).unwrap();
    let long = ["12345".into(), "1234".into(), "12".into(), "1".into()];
    builder.push(&[LogValue::Vector(&long), LogValue::Vector(&long), LogValue::Unset]).unwrap();
    assert_eq!(builder.truncations(), Truncations { strings: 3, containers: 2, records: 0 });
    let payload = builder.take();
    let string = |text: &'static str| ValueRef::String(text.as_bytes());
    assert_eq!(
        read_all(&payload).unwrap(),
        [
            ValueRef::Vector { len: 3 },
            string("1234"),
            string("1234"),
            string("1"),
            ValueRef::Vector { len: 1 },
            string(""),
            ValueRef::Unset,
        ]
    );

    // As in Zeek, 0 means no limit.
    let none = Limits {
        string_bytes: 0,
        total_string_bytes: 0,
        container_elements: 0,
        total_container_elements: 0,
        ..Limits::default()
    };
    let [mut with_zeros, mut without] = [none, Limits::NONE]
        .map(|limits| BatchBuilder::with_limits(builder.schema().clone(), limits).unwrap());
    let text = "x".repeat(10_000);
    let many = vec![text.as_str().into(); 600];
    for builder in [&mut with_zeros, &mut without] {
        builder.push(&[LogValue::Vector(&many); 3]).unwrap();
        assert_eq!(builder.truncations(), Truncations::default());
    }
    assert_eq!(with_zeros.take(), without.take());
    let nothing = Limits { record_bytes: 0, ..Limits::default() };
    let mut builder = BatchBuilder::with_limits(builder.schema().clone(), nothing).unwrap();
    let error = builder.push(&[LogValue::Unset; 3]).unwrap_err();
    assert_eq!(error, PushError::RecordTooLarge { bytes: 27, limit: 0 });

    let tiny = Limits { record_bytes: 20, ..Limits::default() };
    let mut builder = BatchBuilder::with_limits(builder.schema().clone(), tiny).unwrap();
    let error = builder.push(&[LogValue::Unset; 3]).unwrap_err();
    assert_eq!(error, PushError::RecordTooLarge { bytes: 27, limit: 20 });
    assert_eq!((builder.len(), builder.truncations().records), (0, 1));
}

fn any_scalar() -> impl Strategy<Value = Scalar> {
    proptest::sample::select(&Scalar::ALL[..])
}

fn any_type() -> impl Strategy<Value = LogType> {
    prop_oneof![
        any_scalar().prop_map(LogType::Scalar),
        any_scalar().prop_map(LogType::Set),
        any_scalar().prop_map(LogType::Vector),
    ]
}

/// Appends the bytes of a well-formed value of a type, derived from `seed`.
fn value_bytes(log_type: LogType, seed: &mut impl Iterator<Item = u8>, out: &mut Vec<u8>) {
    let mut next = || seed.next().unwrap_or(0);
    let present = next() % 4 != 0;
    out.extend_from_slice(&log_type.tag().to_be_bytes());
    out.extend_from_slice(&[0, 0, 0, 0, present.into()]);
    if !present {
        return;
    }
    let LogType::Scalar(scalar) = log_type else {
        let len = next() % 4;
        out.extend_from_slice(&u64::from(len).to_be_bytes());
        let element = Scalar::from_tag(log_type.subtype_tag()).unwrap();
        for _ in 0..len {
            value_bytes(element.into(), seed, out);
        }
        return;
    };
    match scalar {
        Scalar::Bool => out.extend_from_slice(&u64::from(next() & 1).to_be_bytes()),
        Scalar::Int | Scalar::Count | Scalar::Double | Scalar::Time | Scalar::Interval => {
            out.extend((0..8).map(|_| next()));
        }
        Scalar::String | Scalar::Enum | Scalar::Func | Scalar::File => {
            let len = next() % 40;
            out.extend_from_slice(&u32::from(len).to_be_bytes());
            out.extend((0..len).map(|_| next()));
        }
        Scalar::Port => {
            out.extend_from_slice(&[0, 0, 0, 0, 0, 0, next(), next(), 0, 0, 0, next() % 4]);
        }
        Scalar::Addr => out.extend_from_slice(&[4, next(), next(), next(), next()]),
        // All bits are zero, so there are no host bits with any prefix.
        Scalar::Subnet => out.extend_from_slice(&[96 + next() % 33, 4, 0, 0, 0, 0]),
    }
}

prop_compose! {
    fn any_batch()(
        types in proptest::collection::vec(any_type(), 1..8),
        records in 0..5u32,
        seed in proptest::collection::vec(any::<u8>(), 0..2000),
    ) -> Vec<u8> {
        let fields = types
            .iter()
            .enumerate()
            .map(|(i, log_type)| FieldSpec::new(format!("f{i}"), *log_type))
            .collect();
        let mut payload = Vec::new();
        LogSchema::new("X::LOG", "x", fields).encode(&mut payload);
        payload.extend_from_slice(&records.to_be_bytes());
        let mut seed = seed.into_iter();
        for _ in 0..records {
            for log_type in &types {
                value_bytes(*log_type, &mut seed, &mut payload);
            }
        }
        payload
    }
}

proptest! {
    #[test]
    fn batches_round_trip(payload in any_batch()) {
        prop_assert_eq!(rebuild(&payload), payload);
    }

    #[test]
    fn a_value_has_the_type_of_its_field(
        field in any_type(), value in any_type(), seed in proptest::collection::vec(any::<u8>(), 99),
    ) {
        prop_assume!(field.tag() != value.tag());
        let mut bytes = Vec::new();
        value_bytes(value, &mut seed.into_iter(), &mut bytes);
        let error = read_all(&one_value(field, &bytes)).unwrap_err().kind;
        prop_assert_eq!(
            error,
            DecodeErrorKind::TypeMismatch { expected: field, found: value.tag() }
        );
    }

    #[test]
    fn mutated_batches_never_panic(
        mut payload in any_batch(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        for (index, byte) in edits {
            let at = index.index(payload.len());
            payload[at] = byte;
        }
        if let Ok(values) = read_all(&payload) {
            prop_assert!(values.len() <= payload.len() / MIN_VALUE);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(payload in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read_all(&payload);
    }
}

#[test]
fn a_known_header_reads_its_batches_and_no_others() {
    let payloads = recorded("traffic.zmq");
    let first = Batch::decode(&payloads[0]).unwrap();
    let known = KnownHeader::of(&first);
    assert_eq!(Batch::names_bytes(first.header_bytes()), Batch::names_bytes(&payloads[0]));
    let mut others = 0;
    for payload in &payloads {
        let batch = Batch::decode(payload).unwrap();
        let read = known.decode(payload);
        assert_eq!(read.is_some(), batch.header_bytes() == first.header_bytes());
        match read {
            Some(read) => assert_eq!(format!("{:?}", read.unwrap()), format!("{batch:?}")),
            None => others += 1,
        }
    }
    assert!(others > 0 && others < payloads.len());
    // A truncated payload gives the same result as without a known header.
    let payload = &payloads[0];
    for length in 0..payload.len() {
        let cut = &payload[..length];
        match known.decode(cut) {
            None => assert!(length < first.header_bytes().len()),
            Some(read) => assert_eq!(
                read.map(|batch| batch.num_records()),
                Batch::decode(cut).map(|batch| batch.num_records())
            ),
        }
        let _ = Batch::names_bytes(cut);
    }
}
