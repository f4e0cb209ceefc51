//! Every message that can be written, and every example of docs/websocket.md, against the JSON
//! Schema; every message that is read, against what the gateway makes of it.

use std::sync::LazyLock;

use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use zcluster::readable::{Json as Tree, Part};
use zcluster::value::Timestamp;
use zcluster::{Event, Value};

use super::*;
use crate::schema::Schema;
use crate::testing;

const SCHEMA: &str = include_str!("../../schema/v2.json");
const DOCUMENTATION: &str = include_str!("../../../docs/websocket.md");

static SERVER: LazyLock<Validator> = LazyLock::new(|| validator("server_message"));
static CLIENT: LazyLock<Validator> = LazyLock::new(|| validator("client_message"));

/// What a definition of the schema accepts, without any other members than it names: the schema
/// allows more in what the gateway sends, for later releases, but this one sends no more.
fn validator(definition: &str) -> Validator {
    fn close(schema: &mut Json) {
        match schema {
            Json::Object(members) => {
                members.values_mut().for_each(close);
                if members.contains_key("properties") {
                    members.entry("additionalProperties").or_insert(false.into());
                }
            }
            Json::Array(elements) => elements.iter_mut().for_each(close),
            _ => {}
        }
    }
    let mut schema: Json = serde_json::from_str(SCHEMA).unwrap();
    close(&mut schema);
    schema["oneOf"] = json!([{ "$ref": format!("#/$defs/{definition}") }]);
    jsonschema::draft202012::new(&schema).unwrap()
}

#[track_caller]
fn assert_valid(validator: &Validator, text: &str) {
    let json: Json = serde_json::from_str(text).unwrap();
    let errors: Vec<_> = validator.iter_errors(&json).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{text}\n{errors:#?}");
}

fn message(message: &ServerMessage<'_>) -> String {
    let mut text = String::new();
    message.write(&mut text);
    text
}

fn delivery(event: &Event, schema: Option<&Schema>) -> String {
    let received = Timestamp(1_767_225_600_250_000_000);
    let mut text = String::new();
    Delivery { seq: 7, topic: b"zeek.demo", event, received }.write(schema, &mut text);
    text
}

/// The refusal of a message, as `code: sentence`.
fn refusal(text: &str) -> String {
    Request::parse(text, None).unwrap_err().to_string()
}

fn time(nanos: i64) -> Timestamp {
    Timestamp(nanos)
}

const LIMITS: Limits = Limits {
    message_bytes: 1 << 20,
    subscriptions: 256,
    queue_messages: 8192,
    queue_bytes: 8 << 20,
    replay_events: 65536,
    resume_seconds: 60,
};

#[test]
fn every_message_of_the_gateway_is_as_in_the_schema() {
    let text_id = RequestId::Text("\"r\u{e9}\"".into());
    let number_id = RequestId::Number((1 << 53) - 1);
    let welcome = Welcome {
        endpoint: "gw-websocket-7",
        session: "kJ3v",
        seq: 1041,
        node: "gw",
        application: None,
        limits: LIMITS,
    };
    let nodes = [
        NodeEntry { node: "manager", node_type: "manager", id: Some("zeromq_manager_a"), up: true },
        NodeEntry { node: "worker-1", node_type: "worker", id: None, up: false },
    ];
    let stats = Stats {
        ts: time(0),
        node: "gw".into(),
        interval_seconds: 1.0,
        topics_from: CountedBy::Broker,
        topics: vec![TopicRate { topic: "zeek.a".into(), events_per_second: 12.5 }],
        logs: vec![LogRate { path: "conn".into(), records_per_second: 0.0 }],
        drops: vec![Drops {
            process: "broker".into(),
            reason: "subscriber_full".into(),
            per_second: 0.5,
            total: 312,
        }],
        slow: vec![SlowPeer {
            peer: "worker-9".into(),
            queued_events: 4000,
            queued_bytes: 1 << 20,
            dropped: 312,
        }],
        clients: vec![ClientStats {
            endpoint: "gw-websocket-7".into(),
            application: None,
            address: "127.0.0.1:40122".into(),
            version: 1,
            subscriptions: 1,
            received_per_second: 0.0,
            sent_per_second: 12.5,
            queued_messages: 0,
            dropped: 0,
        }],
        unreachable: vec!["logger-2".into()],
    };
    for (sent, text) in [
        (
            ServerMessage::Welcome(welcome),
            r#"{"type":"welcome","version":2,"endpoint":"gw-websocket-7","session":"kJ3v","seq":1041,"node":"gw","server":"zcluster/0.1.0","application":null,"limits":{"message_bytes":1048576,"subscriptions":256,"queue_messages":8192,"queue_bytes":8388608,"replay_events":65536,"resume_seconds":60}}"#,
        ),
        (ServerMessage::Ok { id: &text_id }, r#"{"type":"ok","id":"\"ré\""}"#),
        (ServerMessage::Ok { id: &number_id }, r#"{"type":"ok","id":9007199254740991}"#),
        (
            ServerMessage::Resumed { id: None, replayed: 2, complete: true },
            r#"{"type":"ok","replayed":2,"complete":true}"#,
        ),
        (
            ServerMessage::Resumed { id: Some(&text_id), replayed: 0, complete: false },
            r#"{"type":"ok","id":"\"ré\"","replayed":0,"complete":false}"#,
        ),
        (
            ServerMessage::Lagged { dropped: Some(312), from: 2048, to: 2561 },
            r#"{"type":"lagged","dropped":312,"from":2048,"to":2561}"#,
        ),
        (
            ServerMessage::Lagged { dropped: None, from: 1, to: 2 },
            r#"{"type":"lagged","dropped":null,"from":1,"to":2}"#,
        ),
        (
            ServerMessage::Nodes { nodes: &nodes },
            r#"{"type":"nodes","nodes":[{"node":"manager","node_type":"manager","id":"zeromq_manager_a","up":true},{"node":"worker-1","node_type":"worker","id":null,"up":false}]}"#,
        ),
        (
            ServerMessage::NodeUp { node: "worker-1", id: "zeromq_worker-1_a", ts: time(-1) },
            r#"{"type":"node_up","node":"worker-1","id":"zeromq_worker-1_a","ts":"1969-12-31T23:59:59.999999999Z"}"#,
        ),
        (
            ServerMessage::NodeDown { node: "worker-1", id: "zeromq_worker-1_a", ts: time(0) },
            r#"{"type":"node_down","node":"worker-1","id":"zeromq_worker-1_a","ts":"1970-01-01T00:00:00Z"}"#,
        ),
        (ServerMessage::Bus { connected: false }, r#"{"type":"bus","connected":false}"#),
        (
            ServerMessage::Stats(&stats),
            r#"{"type":"stats","ts":"1970-01-01T00:00:00Z","node":"gw","interval_seconds":1.0,"topics_from":"broker","topics":[{"topic":"zeek.a","events_per_second":12.5}],"logs":[{"path":"conn","records_per_second":0.0}],"drops":[{"process":"broker","reason":"subscriber_full","per_second":0.5,"total":312}],"slow":[{"peer":"worker-9","queued_events":4000,"queued_bytes":1048576,"dropped":312}],"clients":[{"endpoint":"gw-websocket-7","application":null,"address":"127.0.0.1:40122","version":1,"subscriptions":1,"received_per_second":0.0,"sent_per_second":12.5,"queued_messages":0,"dropped":0}],"unreachable":["logger-2"]}"#,
        ),
    ] {
        assert_eq!(message(&sent), text);
        assert_valid(&SERVER, text);
    }
    for code in ErrorCode::ALL {
        for id in [None, Some(number_id.clone())] {
            let refusal = Refusal { id, code, message: "no \"x\"".into() };
            assert_valid(&SERVER, &message(&ServerMessage::from(&refusal)));
        }
    }
}

#[test]
fn the_schema_refuses_what_the_gateway_never_sends() {
    for text in [
        r#"{"type":"ok"}"#,
        r#"{"type":"ok","id":1,"replayed":1}"#,
        r#"{"type":"ok","id":1,"extra":1}"#,
        r#"{"type":"error","code":"oops","message":""}"#,
        r#"{"type":"bus"}"#,
        r#"{"type":"event","seq":1,"topic":"t","event":"e","args":[9007199254740992],"ts":"1970-01-01T00:00:00Z"}"#,
        r#"{"type":"event","seq":1,"topic":"t","event":"e","args":[{"in":1}],"ts":"1970-01-01T00:00:00Z"}"#,
        r#"{"type":"event","seq":1,"topic":"t","event":"e","args":[],"ts":0}"#,
    ] {
        assert!(!SERVER.is_valid(&serde_json::from_str(text).unwrap()), "{text}");
    }
}

#[test]
fn events_are_written_with_their_own_time_or_that_of_their_arrival() {
    let event = Event::new("Demo::ping", vec!["hello".into(), 42_u64.into(), 1.0.into()]);
    assert_eq!(
        delivery(&event, None),
        r#"{"type":"event","seq":7,"topic":"zeek.demo","event":"Demo::ping","args":["hello",42,{"double":1.0}],"ts":"2026-01-01T00:00:00.25Z"}"#
    );
    let mut event = event.with_network_timestamp(time(0));
    event.metadata.as_mut().unwrap().push((u64::MAX, Value::None));
    let text = delivery(&event, None);
    let end = r#""ts":"1970-01-01T00:00:00Z","metadata":[[1,{"time":"1970-01-01T00:00:00Z"}],["18446744073709551615",null]]}"#;
    assert!(text.ends_with(end), "{text}");

    let strange = Event { name: b"\xff\n".into(), args: vec![], metadata: Some(vec![]) };
    let text = delivery(&strange, None);
    assert!(text.contains("\"event\":\"\u{fffd}\\n\",\"args\":[],\"ts\":\"2026"), "{text}");
    assert_valid(&SERVER, &text);
}

#[test]
fn requests_are_read() {
    let publish = |metadata| ClientMessage::Publish {
        topic: "t".into(),
        event: Event { name: "e".into(), args: vec![], metadata },
    };
    let start = Value::Timestamp(time(0));
    for (text, id, expected) in [
        (
            r#"{"type":"subscribe","topics":["","a","a"]}"#,
            None,
            ClientMessage::Subscribe { topics: vec!["".into(), "a".into(), "a".into()] },
        ),
        (
            r#" {"topics":[],"id":0,"type":"unsubscribe"} "#,
            Some(RequestId::Number(0)),
            ClientMessage::Unsubscribe { topics: vec![] },
        ),
        (
            r#"{"type":"notices","id":"","kinds":["stats","nodes","nodes"]}"#,
            Some(RequestId::Text("".into())),
            ClientMessage::Notices(Notices { nodes: true, bus: false, stats: true }),
        ),
        (r#"{"type":"notices","kinds":[]}"#, None, ClientMessage::Notices(Notices::default())),
        (
            r#"{"type":"resume","session":"kJ3v","after":1046}"#,
            None,
            ClientMessage::Resume { session: "kJ3v".into(), after: 1046 },
        ),
        (r#"{"type":"publish","topic":"t","event":"e"}"#, None, publish(None)),
        (r#"{"type":"publish","topic":"t","event":"e","metadata":[]}"#, None, publish(None)),
        (
            r#"{"type":"publish","topic":"t","event":"e","ts":"1970-01-01T01:00:00+01:00"}"#,
            None,
            publish(Some(vec![(1, start.clone())])),
        ),
        (
            r#"{"type":"publish","topic":"t","event":"e","ts":"1970-01-01T00:00:00Z","metadata":[["200",1]]}"#,
            None,
            publish(Some(vec![(200, 1_u64.into()), (1, start)])),
        ),
    ] {
        let request = Request::parse(text, None).unwrap();
        assert_eq!(request, Request { id, message: expected }, "{text}");
        assert_valid(&CLIENT, text);
    }
}

#[test]
fn texts_of_requests_borrow_from_the_message() {
    use std::borrow::Cow;
    let text = r#"{"type":"subscribe","topics":["a.b","a\u002eb"]}"#;
    let request = Request::parse(text, None).unwrap();
    let ClientMessage::Subscribe { topics } = request.message else { panic!("{request:?}") };
    assert!(matches!(&topics[..], [Cow::Borrowed("a.b"), Cow::Owned(_)]), "{topics:?}");
}

#[test]
fn refusals_say_where_and_what() {
    for (text, error) in [
        ("", "bad_message: not JSON: EOF while parsing a value at line 1 column 0"),
        ("[]", "bad_message: expected an object with a member `type`, found an array of 0"),
        (
            "{}",
            "bad_message: missing member `type`: one of subscribe, unsubscribe, publish, notices, resume",
        ),
        (
            r#"{"type":1}"#,
            "bad_message: type: expected one of subscribe, unsubscribe, publish, notices, resume, found 1",
        ),
        (
            r#"{"type":"welcome"}"#,
            r#"unknown_type: type: expected one of subscribe, unsubscribe, publish, notices, resume, found "welcome""#,
        ),
        (
            r#"{"type":"subscribe","topic":"a"}"#,
            "bad_message: unknown member `topic`; expected type, id, topics",
        ),
        (r#"{"type":"subscribe"}"#, "bad_message: missing member `topics`"),
        (
            r#"{"type":"subscribe","topics":"a"}"#,
            r#"bad_message: topics: expected an array, found "a""#,
        ),
        (
            r#"{"type":"subscribe","topics":["a",null]}"#,
            "bad_message: topics[1]: expected a string, found null",
        ),
        (
            r#"{"type":"subscribe","topics":[],"topics":["a"]}"#,
            "bad_message: topics: expected each member once, found an array of 1",
        ),
        (
            r#"{"type":"subscribe","type":"publish","topics":[]}"#,
            r#"bad_message: type: expected each member once, found "publish""#,
        ),
        (
            r#"{"type":"notices","kinds":["node"]}"#,
            r#"bad_message: kinds[0]: expected nodes, bus or stats, found "node""#,
        ),
        (r#"{"type":"resume","session":"x"}"#, "bad_message: missing member `after`"),
        (
            r#"{"type":"resume","session":"x","after":-1}"#,
            "bad_message: after: expected the number of an event, found -1",
        ),
        (
            r#"{"type":"publish","topic":"t","event":"e","args":[[18446744073709551616]]}"#,
            "bad_message: args[0][0]: expected an integer of 64 bits, or a double with a fraction or an exponent, up to 1.8e308, found 18446744073709551616",
        ),
        (
            r#"{"type":"publish","topic":"t","event":"e","metadata":[[200,{"set":[-9223372036854775809]}]]}"#,
            "bad_message: metadata[0][1].set[0]: expected an integer of 64 bits, or a double with a fraction or an exponent, up to 1.8e308, found -9223372036854775809",
        ),
        (
            r#"{"type":"publish","topic":"t","event":"e","ts":"3000-01-01T00:00:00Z"}"#,
            r#"bad_message: ts: expected a time as in 2026-01-01T00:00:00Z, from 1678 to 2261, found "3000-01-01T00:00:00Z""#,
        ),
        (
            r#"{"type":"publish","topic":"","event":"e"}"#,
            r#"bad_message: topic: expected a string that is not empty, found """#,
        ),
        (r#"{"type":"publish","topic":"t"}"#, "bad_message: missing member `event`"),
        (
            r#"{"type":"publish","topic":"t","event":"e","args":{"a":1}}"#,
            "bad_message: args: expected an array, as no schema file names the arguments, found an object of a",
        ),
        (
            r#"{"type":"publish","topic":"t","event":"e","args":[1,{"addr":"localhost"}]}"#,
            r#"bad_message: args[1].addr: expected an IP address, found "localhost""#,
        ),
        (
            r#"{"type":"publish","topic":"t","event":"e","ts":0}"#,
            "bad_message: ts: expected a time as in 2026-01-01T00:00:00Z, from 1678 to 2261, found 0",
        ),
        (
            r#"{"type":"publish","topic":"t","event":"e","ts":"1970-01-01T00:00:00Z","metadata":[[1,null]]}"#,
            "bad_message: ts: expected no network timestamp (id 1) in metadata as well",
        ),
        (
            r#"{"type":"publish","topic":"t","event":"e","metadata":{"1":2}}"#,
            "bad_message: metadata: expected an array, found an object of 1",
        ),
        (
            r#"{"type":"publish","topic":"t","event":"e","seq":7}"#,
            "bad_message: unknown member `seq`; expected type, id, topic, event, args, ts, metadata",
        ),
        (
            r#"{"id":9007199254740992,"type":"resume"}"#,
            "bad_message: id: expected a string of at most 64 bytes or an integer from 0 to 2^53 - 1, found 9007199254740992",
        ),
    ] {
        assert_eq!(refusal(text), error, "{text}");
    }
}

#[test]
fn a_refusal_has_the_id_of_the_request() {
    for (text, id) in [
        (r#"{"id":7,"type":"x"}"#, Some(RequestId::Number(7))),
        (r#"{"type":"subscribe","topics":7,"id":"x"}"#, Some(RequestId::Text("x".into()))),
        (r#"{"id":7}"#, Some(RequestId::Number(7))),
        (
            r#"{"type":"publish","topic":"t","event":"e","args":[1e400],"id":7}"#,
            Some(RequestId::Number(7)),
        ),
        (r#"{"type":"notices","kinds":[],"id":1e400}"#, None),
        (r#"{"id":-7,"type":"x"}"#, None),
        (r#"{"id":7"#, None),
    ] {
        assert_eq!(Request::parse(text, None).unwrap_err().id, id, "{text}");
    }
    let longest = "\u{e9}".repeat(MAX_ID_BYTES / 2);
    let with_id = |id: &str| json!({ "type": "notices", "kinds": [], "id": id }).to_string();
    assert!(Request::parse(&with_id(&longest), None).is_ok());
    assert!(Request::parse(&with_id(&(longest + "x")), None).is_err());
}

#[test]
fn hostile_messages_do_no_harm_and_are_repeated_in_part_only() {
    let long = "x".repeat(1 << 20);
    let deep = 1 << 20;
    for text in [
        "[".repeat(deep),
        r#"{"type":"#.repeat(deep),
        format!(r#"{{"type":"publish","topic":"t","event":"e","args":{}"#, "[".repeat(deep)),
        format!(
            r#"{{"type":"publish","topic":"t","event":"e","args":[{}"#,
            r#"{"set":["#.repeat(deep)
        ),
        format!(r#"{{"type":"{long}"}}"#),
        format!(r#"{{"type":"subscribe","{long}":1}}"#),
        format!(r#"{{"type":"publish","topic":"t","event":"e","args":[{{"{long}":1}}]}}"#),
        format!(
            r#"{{"type":"publish","topic":"t","event":"e","args":[{{"enum":{{"{long}":1}}}}]}}"#
        ),
        format!(r#"{{"type":"publish","topic":"t","event":"e","args":[{{"int":"{long}"}}]}}"#),
        format!(r#"{{"type":"publish","topic":"t","event":"e","ts":"{long}"}}"#),
        format!(r#"{{"type":"subscribe","topics":[],"id":"{long}"}}"#),
    ] {
        let refusal = Request::parse(&text, None).unwrap_err();
        assert!(refusal.message.len() < 1000, "{}", &refusal.message[..1000]);
    }
    let schema = Schema::parse("[[event]]\nname = 'e'\nargs = ['a: count']").unwrap();
    for (event, args) in [(&*long, "[]".into()), ("e", format!(r#"{{"{long}":1}}"#))] {
        let text = format!(r#"{{"type":"publish","topic":"t","event":"{event}","args":{args}}}"#);
        let refusal = Request::parse(&text, Some(&schema)).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::Schema);
        assert!(refusal.message.len() < 2000);
    }
}

/// The part of the documentation between this heading and the next of its level.
fn section(heading: &str) -> &'static str {
    let (_, rest) = DOCUMENTATION.split_once(&format!("\n## {heading}\n")).unwrap();
    rest.split_once("\n## ").map_or(rest, |(section, _)| section)
}

fn blocks<'t>(text: &'t str, language: &str) -> Vec<&'t str> {
    let fence = format!("\n```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split_once("```").unwrap().0).collect()
}

/// The examples of the documentation, each as who sends it and its text.
fn examples() -> Vec<(char, String)> {
    let mut examples: Vec<(char, String)> = vec![];
    for line in blocks(section("Version 2"), "text").into_iter().flat_map(str::lines) {
        match line.chars().next() {
            Some(sender @ ('<' | '>')) => examples.push((sender, line[1..].into())),
            _ => examples.last_mut().unwrap().1.push_str(line),
        }
    }
    examples
}

#[test]
fn the_documentation_is_as_in_the_schema_and_as_the_gateway_does_it() {
    let file = blocks(section("Version 2"), "toml").concat();
    let schema = Schema::parse(&file).unwrap();
    let examples = examples();
    assert!(examples.len() > 30);
    let mut request = None;
    for (sender, text) in &examples {
        let json: Json = serde_json::from_str(text).unwrap();
        if *sender == '>' {
            assert_valid(&CLIENT, text);
            let with_schema = json["args"].is_object().then_some(&schema);
            request = Some((json["id"].clone(), Request::parse(text, with_schema)));
            continue;
        }
        assert_valid(&SERVER, text);
        let Some((id, outcome)) = &request else { continue };
        if json["id"].is_null() || json["id"] != *id {
            continue;
        }
        match (json["type"].as_str().unwrap(), outcome) {
            ("ok", outcome) => assert!(outcome.is_ok(), "{text}\n{outcome:?}"),
            ("error", Err(refusal)) => {
                let refusal: Json = serde_json::from_str(&message(&refusal.into())).unwrap();
                assert_eq!(refusal, json);
            }
            _ => panic!("{text}\n{outcome:?}"),
        }
    }
}

#[test]
fn the_documentation_names_every_type_and_code() {
    let documented = section("Version 2");
    for code in ErrorCode::ALL {
        assert!(documented.contains(&format!("\n| `{code}` |")), "{code}");
    }
    let schema: Json = serde_json::from_str(SCHEMA).unwrap();
    for of in ["server_message", "client_message"] {
        for reference in schema["$defs"][of]["oneOf"].as_array().unwrap() {
            let name = reference["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
            let is_shown = examples()
                .iter()
                .any(|(_, text)| serde_json::from_str::<Json>(text).unwrap()["type"] == name);
            assert!(is_shown, "no example of {name}");
        }
    }
}

fn publication(event: &Event) -> String {
    let sent: Json = serde_json::from_str(&delivery(event, None)).unwrap();
    let mut request = json!({ "type": "publish" });
    for member in ["topic", "event", "args", "metadata"] {
        if let Some(json) = sent.get(member) {
            request[member] = json.clone();
        }
    }
    request.to_string()
}

proptest! {
    #[test]
    fn every_event_is_as_in_the_schema_and_the_same_when_it_is_sent_back(event in testing::event()) {
        let text = delivery(&event, None);
        assert_valid(&SERVER, &text);
        let text = publication(&event);
        assert_valid(&CLIENT, &text);
        let request = Request::parse(&text, None).unwrap();
        let expected = ClientMessage::Publish { topic: "zeek.demo".into(), event };
        prop_assert_eq!(request, Request { id: None, message: expected });
    }

    #[test]
    fn every_declared_event_is_as_in_the_schema(x in testing::value(), y in testing::value()) {
        let schema = Schema::parse(
            "[[event]]\nname = 'e'\nargs = ['r: R']\n[[record]]\nname = 'R'\nfields = ['x: any', 'y: any &optional']",
        )
        .unwrap();
        let event = Event::new("e", vec![vec![x, y].into()]);
        let text = delivery(&event, Some(&schema));
        prop_assert!(text.contains(r#""args":{"r":{"x":"#), "{}", text);
        assert_valid(&SERVER, &text);
    }

    #[test]
    fn what_is_read_can_be_written_and_read(text in r#"[\[\]{}":,a0.\\-]{0,40}"#) {
        let text = format!(r#"{{"type":"publish","topic":"t","event":"e","args":[{text}]}}"#);
        if let Ok(Request { message: ClientMessage::Publish { event, .. }, .. }) =
            Request::parse(&text, None)
        {
            let mut again = String::new();
            crate::schema::write_args(&event, &mut again);
            let json = Tree::parse(&again).unwrap();
            prop_assert_eq!(Part::whole(&json).value().unwrap(), Value::from(event.args));
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,200}") {
        let _ = Request::parse(&text, None);
    }
}
