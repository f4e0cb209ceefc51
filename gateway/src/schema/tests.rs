use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use zcluster::readable::{ENVELOPE, Json, Part};
use zcluster::value::{Port, Protocol, Timespan};
use zcluster::{Event, Value};

use super::types::{Index, RecordId, Type};
use super::*;
use crate::testing;

const SCHEMA: &str = r#"
[[event]]
name = "Scan::found"
args = ["scanner: addr", "services: set[port]", "conn: ConnId", "score: double"]

[[event]]
name = "tick"
args = []

[[event]]
name = "all"
args = [
    "b: bool", "c: count", "i: int", "s: string", "n: subnet", "t: time", "d: interval",
    "e: enum", "p: pattern", "f: function", "file: file", "o: opaque", "a: any",
    "pairs: set[addr, port]", "counts: table[string] of count", "conns: vector of ConnId",
]

[[record]]
name = "ConnId"
fields = ["orig_h: addr", "orig_p: port", "note: string &optional"]
"#;

fn schema() -> Schema {
    Schema::parse(SCHEMA).unwrap()
}

fn addr(text: &str) -> Value {
    text.parse::<std::net::IpAddr>().unwrap().into()
}

fn tcp(number: u16) -> Value {
    Port::new(number, Protocol::Tcp).into()
}

fn set(elements: impl IntoIterator<Item = Value>) -> Value {
    Value::Set(elements.into_iter().collect())
}

fn found() -> Event {
    let conn = Value::from(vec![addr("192.0.2.1"), tcp(40000), Value::None]);
    let args = vec![addr("192.0.2.1"), set([tcp(22), tcp(23)]), conn, 2.0.into()];
    Event::new("Scan::found", args)
}

fn read(schema: &Schema, event: &str, args: &str) -> Result<Vec<Value>, String> {
    let json = Json::parse(args).unwrap();
    let part = Part::whole(&json).inside(ENVELOPE);
    schema.read_args(event, Some(part)).map_err(|error| error.to_string())
}

fn written(schema: &Schema, event: &Event) -> String {
    let mut text = String::new();
    schema.write_args(event, &mut text);
    text
}

#[test]
fn mistakes_in_a_file_are_all_reported_with_their_lines() {
    let text = r#"
title = "x"
[[event]]
name = "A::a"
args = [
    "x: count",
    "x: adr",
    7,
    "x: set[count",
    "x: Rec",
    "y: int &optional",
]
[[event]]
name = "A::a"
args = "x: count"
[[event]]
arg = []
[[event]]
name = "not a name"
args = []
[[record]]
name = "addr"
fields = []
[[record]]
name = "Rec"
fields = []
[[record]]
name = "Rec"
fields = ["x: count &log"]
"#;
    let errors = Schema::parse(text).unwrap_err();
    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        errors,
        [
            "2:1: unknown name `title`; expected [[event]] or [[record]]",
            r#"7:5: "x: adr": expected a type or the name of a [[record]], found "adr""#,
            r#"8:5: expected an array of texts as in "name: type""#,
            r#"9:5: "x: set[count": expected `,` or `]`, found the end"#,
            "10:5: `x` is declared twice",
            "11:5: only fields of records can be `&optional`",
            "14:8: event `A::a` is declared twice",
            r#"15:8: expected an array of texts as in "name: type""#,
            "16:1: [[event]] without a name",
            "16:1: [[event]] without args",
            "17:1: unknown name `arg`; expected name or args",
            "19:8: expected the name of the event, as in Module::name",
            "22:8: `addr` is the name of a type of Zeek",
            "28:8: record `Rec` is declared twice",
            r#"29:11: "x: count &log": expected `&optional` or the end, found "&log""#,
        ]
    );
}

#[test]
fn what_is_not_toml_is_reported_once_a_line() {
    let errors = Schema::parse("[[event]]\nname = a\nargs = []\n[[record]\n").unwrap_err();
    let lines: Vec<_> = errors.iter().map(|error| error.line).collect();
    assert_eq!(lines, [2, 4], "{errors:?}");
    for (text, error) in [
        ("[event]\nname = \"a\"", "1:1: expected [[event]], in double brackets"),
        ("# é\nevent = [1]", "2:10: expected a table with name and args"),
    ] {
        assert_eq!(Schema::parse(text).unwrap_err()[0].to_string(), error);
    }
    assert!(Schema::parse("").is_ok());
}

#[test]
fn events_are_checked_as_zeek_checks_them() {
    let schema = schema();
    assert!(schema.check(&found()).is_ok());
    assert!(schema.check(&Event::new("tick", vec![])).is_ok());

    let with = |arg: usize, value: Value| {
        let mut event = found();
        event.args[arg] = value;
        event
    };
    let conn = |fields: Vec<Value>| with(2, fields.into());
    // More elements than fields are ignored, and any field may be unset.
    assert!(schema.check(&conn(vec![Value::None, tcp(1), "x".into(), 7_u64.into()])).is_ok());
    for (event, error) in [
        (Event::new("Scan::lost", vec![]), "event: `Scan::lost` is not declared"),
        (Event::new(b"\xff".as_slice(), vec![]), "event: `\u{fffd}` is not declared"),
        (Event::new("tick", vec![1_u64.into()]), "args: expected none, found 1"),
        (
            Event::new("Scan::found", vec![]),
            "args: expected 4 (scanner: addr, services: set[port], conn: ConnId, score: double), \
             found 0",
        ),
        (with(0, "192.0.2.1".into()), "scanner: expected addr, found string"),
        (with(0, Value::None), "scanner: expected addr, found none"),
        (with(3, 2_u64.into()), "score: expected double, found count"),
        (with(1, vec![tcp(1)].into()), "services: expected set[port], found vector"),
        (with(1, set([tcp(1), true.into()])), "services[0]: expected port, found boolean"),
        (conn(vec![addr("::1"), tcp(1)]), "conn: expected ConnId, found vector"),
        (
            conn(vec![addr("::1"), 1_u64.into(), Value::None]),
            "conn.orig_p: expected port, found count",
        ),
    ] {
        assert_eq!(schema.check(&event).unwrap_err().to_string(), error);
    }
}

#[test]
fn an_event_without_arguments_has_none() {
    let schema = Schema::parse("[[event]]\nname = 'S::none'\nargs = []").unwrap();
    let expected = "a: S::none has no argument of this name; it has none";
    assert_eq!(read(&schema, "S::none", r#"{"a":1}"#), Err(expected.into()));
    assert_eq!(read(&schema, "S::none", "{}"), Ok(vec![]));
}

#[test]
fn arguments_are_written_by_name_if_they_fit() {
    let schema = schema();
    let text = r#"{"scanner":{"addr":"192.0.2.1"},"services":{"set":[{"port":"22/tcp"},{"port":"23/tcp"}]},"conn":{"orig_h":{"addr":"192.0.2.1"},"orig_p":{"port":"40000/tcp"}},"score":{"double":2.0}}"#;
    assert_eq!(written(&schema, &found()), text);
    assert_eq!(read(&schema, "Scan::found", text), Ok(found().args));
    assert_eq!(written(&schema, &Event::new("tick", vec![])), "{}");

    for (event, text) in [
        (Event::new("tick", vec![1_u64.into()]), "[1]"),
        (Event::new("Other::one", vec!["x".into()]), r#"["x"]"#),
    ] {
        assert_eq!(written(&schema, &event), text);
    }

    // Nothing is lost: a field that is not optional but unset, and elements beyond the fields.
    let mut event = found();
    event.args[2] = vec![Value::None, tcp(1), "x".into()].into();
    assert!(
        written(&schema, &event)
            .contains(r#""conn":{"orig_h":null,"orig_p":{"port":"1/tcp"},"note":"x"}"#)
    );
    event.args[2] = vec![Value::None, tcp(1), "x".into(), 7_u64.into()].into();
    let text = written(&schema, &event);
    assert!(text.contains(r#""conn":[null,{"port":"1/tcp"},"x",7]"#), "{text}");
    assert_eq!(read(&schema, "Scan::found", &text), Ok(event.args));
}

#[test]
fn texts_and_numbers_alone_are_read_by_type() {
    let schema = schema();
    let args = r#"{
        "b": true, "c": "18446744073709551615", "i": 5, "s": {"bytes": "ff"}, "n": "192.0.2.7/24",
        "t": 0.5, "d": "10min", "e": "A::B", "p": "foo", "f": ["A::f"], "file": "x.txt",
        "o": ["Opaque", 1], "a": {"int": 1},
        "pairs": [["192.0.2.1", "53/udp"]], "counts": [["a", 1]],
        "conns": [{"orig_h": "::1", "orig_p": "1/tcp", "note": null}, ["::2", "2/tcp", "x"]]
    }"#;
    let values = read(&schema, "all", args).unwrap();
    let udp = Port::new(53, Protocol::Udp);
    let expected: Vec<Value> = vec![
        true.into(),
        u64::MAX.into(),
        5.into(),
        Value::string(b"\xff"),
        zcluster::value::Subnet::new("192.0.2.0".parse::<std::net::IpAddr>().unwrap(), 24)
            .unwrap()
            .into(),
        zcluster::value::Timestamp(500_000_000).into(),
        Timespan(600_000_000_000).into(),
        Value::enum_value("A::B"),
        vec!["^?(foo)$?".into(), "^?(.|\\n)*(foo)".into()].into(),
        vec!["A::f".into()].into(),
        "x.txt".into(),
        vec!["Opaque".into(), 1_u64.into()].into(),
        1.into(),
        set([vec![addr("192.0.2.1"), udp.into()].into()]),
        Value::Table([("a".into(), 1_u64.into())].into()),
        vec![
            vec![addr("::1"), tcp(1), Value::None].into(),
            vec![addr("::2"), tcp(2), "x".into()].into(),
        ]
        .into(),
    ];
    assert_eq!(values, expected);

    let event = Event::new("all", expected);
    schema.check(&event).unwrap();
    assert_eq!(read(&schema, "all", &written(&schema, &event)), Ok(event.args));
}

#[test]
fn errors_of_arguments_say_where_and_what() {
    let schema = schema();
    let found = |change: &str, to: &str| {
        let args =
            r#"{"scanner":"::1","services":[],"conn":{"orig_h":"::1","orig_p":"1/tcp"},"score":1}"#;
        read(&schema, "Scan::found", &args.replace(change, to)).unwrap_err()
    };
    for (change, to, error) in [
        (
            r#""::1","s"#,
            r#""localhost","s"#,
            r#"scanner: expected an IP address, found "localhost""#,
        ),
        (r#""::1","s"#, r#"null,"s"#, "scanner: expected an IP address, found null"),
        (
            r#""::1","s"#,
            r#"{"port":"1/tcp"},"s"#,
            "scanner: expected a value of type addr, found an object of port",
        ),
        (
            "scanner",
            "scaner",
            "scaner: Scan::found has no argument of this name; it has scanner, services, conn, score",
        ),
        (r#""score":1"#, r#""conn":1"#, "conn: expected each name once, found 1"),
        (r#","score":1"#, "", "missing argument `score` (double) of Scan::found"),
        (
            "[]",
            r#"["1/tcp",{"port":"1/tcp"}]"#,
            "services[1]: expected each element of a set once, found an object of port",
        ),
        ("[]", r#"{"vector":[]}"#, "services: expected an array, found an object of vector"),
        (r#","orig_p":"1/tcp""#, "", "conn: missing field `orig_p` (port) of ConnId"),
        (
            "orig_p",
            "resp_p",
            "conn.resp_p: ConnId has no field of this name; it has orig_h, orig_p, note",
        ),
        (
            "1/tcp",
            "1",
            r#"conn.orig_p: expected a port as in 443/tcp (tcp, udp, icmp, unknown), found "1""#,
        ),
        (
            r#"{"orig_h":"::1","orig_p":"1/tcp"}"#,
            "[null]",
            "conn: expected an object with the fields of ConnId, or an array of all 3, found an array of 1",
        ),
    ] {
        assert_eq!(found(change, to), error);
    }
    for (event, args, error) in [
        ("Scan::lost", "[]", "event: `Scan::lost` is not declared"),
        ("tick", "[1]", "args: expected none, found 1"),
        ("tick", "7", "expected an array, found 7"),
    ] {
        assert_eq!(read(&schema, event, args), Err(error.into()));
    }
    let missing = schema.read_args("Scan::found", None).unwrap_err().to_string();
    assert_eq!(missing, "missing argument `scanner` (addr) of Scan::found");
    assert_eq!(schema.read_args("tick", None).unwrap(), []);
}

/// A schema with one event, `e`, whose only argument `x` has that type, and with records of one,
/// two and three fields.
fn schema_of(ty: Type) -> Schema {
    let mut schema = Schema::parse(
        r#"
        [[record]]
        name = "One"
        fields = ["set: set[count, addr] &optional"]
        [[record]]
        name = "Two"
        fields = ["int: int", "one: One"]
        [[record]]
        name = "Three"
        fields = ["a: any", "v: vector of Two &optional", "d: double &optional"]
        "#,
    )
    .unwrap();
    schema.events.insert("e".into(), vec![Field { name: "x".into(), ty, is_optional: false }]);
    schema
}

fn any_type() -> impl Strategy<Value = Type> {
    let record = (0..3_usize).prop_map(|place| {
        Type::Record(RecordId { place, name: ["One", "Two", "Three"][place].into() })
    });
    let leaf = prop_oneof![
        1 => Just(Type::Any),
        1 => Just(Type::Pattern),
        1 => Just(Type::Opaque),
        6 => proptest::sample::select(&Scalar::ALL[..]).prop_map(Type::Scalar),
        3 => record,
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let index = vec(inner.clone(), 1..3).prop_map(Index);
        prop_oneof![
            inner.clone().prop_map(|ty| Type::Vector(Box::new(ty))),
            index.clone().prop_map(Type::Set),
            (index, inner).prop_map(|(index, ty)| Type::Table(index, Box::new(ty))),
        ]
    })
}

/// Values of a type.
fn value_of(schema: &Schema, ty: &Type) -> BoxedStrategy<Value> {
    match ty {
        Type::Any => testing::value(),
        Type::Scalar(scalar) => testing::scalar(*scalar),
        Type::Pattern => Just(vec![Value::from("a"), "b".into()].into()).boxed(),
        Type::Function(_) => Just(vec![Value::from("f")].into()).boxed(),
        Type::Opaque => testing::value().prop_map(|data| vec!["T".into(), data].into()).boxed(),
        Type::Vector(ty) => vec(value_of(schema, ty), 0..3).prop_map(Value::Vector).boxed(),
        Type::Set(index) => {
            btree_set(value_of_index(schema, index), 0..3).prop_map(Value::Set).boxed()
        }
        Type::Table(index, ty) => {
            btree_map(value_of_index(schema, index), value_of(schema, ty), 0..3)
                .prop_map(Value::Table)
                .boxed()
        }
        Type::Record(record) => {
            let fields = schema.records[record.place].iter().map(|field| {
                prop_oneof![4 => value_of(schema, &field.ty), 1 => Just(Value::None)].boxed()
            });
            let extra = prop_oneof![4 => Just(vec![]), 1 => vec(testing::value(), 1..3)];
            (fields.collect::<Vec<_>>(), extra)
                .prop_map(|(fields, extra)| Value::Vector([fields, extra].concat()))
                .boxed()
        }
    }
}

fn value_of_index(schema: &Schema, index: &Index) -> BoxedStrategy<Value> {
    match &index.0[..] {
        [ty] => value_of(schema, ty),
        types => {
            let values: Vec<_> = types.iter().map(|ty| value_of(schema, ty)).collect();
            values.prop_map(Value::Vector).boxed()
        }
    }
}

proptest! {
    #[test]
    fn every_value_of_a_type_fits_and_reads_back(
        (schema, value) in any_type().prop_flat_map(|ty| {
            let schema = schema_of(ty);
            let value = value_of(&schema, &schema.events["e"][0].ty);
            (Just(std::rc::Rc::new(schema)), value)
        })
    ) {
        let event = Event::new("e", vec![value]);
        prop_assert!(schema.check(&event).is_ok());
        let text = written(&schema, &event);
        prop_assert!(text.starts_with(r#"{"x":"#), "{}", text);
        prop_assert_eq!(read(&schema, "e", &text), Ok(event.args.clone()), "{}", text);

        // So is the form without names.
        let mut plain = String::new();
        super::write::write_args(&event, &mut plain);
        prop_assert_eq!(read(&schema, "e", &plain), Ok(event.args), "{}", plain);
    }

    #[test]
    fn what_is_read_fits(ty in any_type(), value in testing::value()) {
        let schema = schema_of(ty);
        let mut event = Event::new("e", vec![value]);
        let mut text = String::new();
        super::write::write_args(&event, &mut text);
        let fits = schema.check(&event).is_ok();
        match read(&schema, "e", &text) {
            Ok(args) => {
                event.args = args;
                prop_assert!(schema.check(&event).is_ok(), "{}", text);
            }
            Err(error) => prop_assert!(!fits, "{}: {}", text, error),
        }
    }
}
