//! Version 2 of the WebSocket API, with real processes. docs/websocket.md says what is expected here.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use support::websocket::{Client, Gateway, NODES, data_message, tcp_with_small_buffer};
use support::websocket_v2::{PATH, V2, publication};
use support::{PATIENCE, free_port, wait_for, wait_members, wait_notification};
use tungstenite::Message;
use zcluster::node::{Notification, Notifications};
use zcluster::value::Timestamp;
use zcluster::{Event, Value};

/// Nodes report a death at once; this is for a slow machine, and below what a timeout would take.
const SOON: Duration = Duration::from_secs(10);

/// What the node worker-1 is subscribed to.
const TO_WORKER: &str = "zeek.cluster.node.worker-1.";

fn connect(gateway: &Gateway) -> V2 {
    V2::connect(&gateway.address(), &[]).unwrap()
}

fn subscriber(gateway: &Gateway, topics: &[&str]) -> V2 {
    V2::subscriber(&gateway.address(), topics)
}

/// Waits until a library node knows that somebody has subscribed to this prefix.
fn wait_known(notifications: &Notifications, prefix: &str) {
    wait_notification(notifications, "a subscription", |notification| {
        matches!(notification, Notification::Subscription(p) if p == prefix).then_some(())
    });
}

#[test]
fn a_connection_begins_with_a_welcome() {
    let gateway = Gateway::start(
        "max_message_size = 100000\nmax_subscriptions = 7\nclient_queue_messages = 200\n\
         client_queue_bytes = 300000\nreplay_events = 400\nresume_timeout = \"50s\"",
    );
    let mut one = connect(&gateway);
    let id = gateway.manager.id();
    let server = format!("zcluster/{}", env!("CARGO_PKG_VERSION"));
    let limits = json!({
        "message_bytes": 100_000, "subscriptions": 7, "queue_messages": 200,
        "queue_bytes": 300_000, "replay_events": 400, "resume_seconds": 50,
    });
    let expected = json!({
        "type": "welcome", "version": 2, "endpoint": format!("{id}-websocket-0"),
        "session": one.session(), "seq": 0, "node": "manager", "server": server,
        "application": null, "limits": limits,
    });
    assert_eq!(one.welcome, expected);
    assert_eq!(one.session().len(), 22, "128 bits in base64");
    one.subscribe(&["test."]);
    let mut two = connect(&gateway);
    assert_ne!(two.session(), one.session());
    assert_eq!((&two.welcome["endpoint"], two.seq()), (&json!(format!("{id}-websocket-1")), 0));
    for _ in 0..3 {
        two.publish("test.a", "Test::counted", json!([]));
    }
    let last = (0..3).map(|_| one.event()["seq"].as_u64().unwrap()).last();
    assert_eq!((last, connect(&gateway).seq()), (Some(3), 3));
}

#[test]
fn subscriptions_change_at_any_time() {
    let gateway = Gateway::start("");
    let mut client = connect(&gateway);
    let mut other = connect(&gateway);
    let mut publish = |topic: &str| other.publish(topic, "Test::event", json!([]));
    let next = |client: &mut V2| client.event_parts().0;

    // Several prefixes select an event, which comes once; nothing is lost by asking twice.
    client.subscribe(&["test.a", "test.", "test.a", "last"]);
    client.subscribe(&["test."]);
    publish("test.a.1");
    publish("last");
    assert_eq!((next(&mut client), next(&mut client)), ("test.a.1".into(), "last".into()));
    // One prefix goes, another one still selects the event.
    client.unsubscribe(&["test.", "never.had"]);
    publish("test.b");
    publish("test.a.2");
    assert_eq!(next(&mut client), "test.a.2");
    client.unsubscribe(&["test.a"]);
    publish("test.a.3");
    publish("last");
    assert_eq!(next(&mut client), "last");
    // Everything.
    client.subscribe(&[""]);
    publish("any");
    assert_eq!(next(&mut client), "any");
    client.unsubscribe(&["", "last"]);
    client.subscribe(&["test.a"]);
    publish("last");
    publish("test.a.4");
    assert_eq!(next(&mut client), "test.a.4");
    client.subscribe(&[]);

    // Ids are of two kinds. Without one there is no answer.
    for id in [json!("a-1"), json!(0), json!((1_u64 << 53) - 1), json!("")] {
        client.send(&json!({ "type": "unsubscribe", "topics": ["x"] }));
        client.send(&json!({ "type": "subscribe", "id": id, "topics": ["x"] }));
        assert_eq!(client.receive(), json!({ "type": "ok", "id": id }));
    }
}

#[test]
fn an_ok_means_that_the_subscription_is_active() {
    let gateway = Gateway::start("");
    let (node, notifications) = gateway.cluster.library_node("worker-1");
    wait_members(&node, &["manager"]);
    let mut client = connect(&gateway);
    let mut other = connect(&gateway);
    for round in 0..50_u64 {
        let topic = format!("round.{round}.");
        let expected = (topic.clone(), "Test::round".to_owned(), json!([round]));
        client.subscribe(&[&topic]);
        other.publish(&topic, "Test::round", json!([round]));
        assert_eq!(client.event_parts(), expected);
        // Nodes learn of it without anything more, although perhaps later than the client: how soon
        // they read what the broker says is up to them.
        wait_known(&notifications, &topic);
        node.publish(topic.as_str(), &Event::new("Test::round", vec![round.into()])).unwrap();
        assert_eq!(client.event_parts(), expected);
    }
}

#[test]
fn events_reach_nodes_with_all_that_belongs_to_them() {
    let gateway = Gateway::start("");
    let (node, notifications) = gateway.cluster.library_node("worker-1");
    wait_members(&node, &["manager"]);
    let next = || {
        wait_notification(&notifications, "an event", |notification| match notification {
            Notification::Event(event) => {
                Some((event.sender().to_string(), event.decode().unwrap()))
            }
            _ => None,
        })
    };
    let mut client = connect(&gateway);
    client.subscribe(&[TO_WORKER, "from."]);
    wait_known(&notifications, "from.");
    client.publish(TO_WORKER, "Test::plain", json!(["text", 7]));
    let (sender, event) = next();
    assert_eq!(sender, client.welcome["endpoint"]);
    assert_eq!(event, Event::new("Test::plain", vec!["text".into(), 7_u64.into()]));
    client.succeed(json!({
        "type": "publish", "topic": TO_WORKER, "event": "Test::timed",
        "ts": "2026-01-01T00:00:00.25+00:00", "metadata": [[200, "archive"]],
    }));
    let timed = Event {
        metadata: Some(vec![(200, Value::from("archive"))]),
        ..Event::new("Test::timed", vec![])
    };
    let ts = Timestamp(1_767_225_600_250_000_000);
    assert_eq!(next().1, timed.with_network_timestamp(ts));

    // The other way round; its own events did not come back.
    let event = Event::new("Test::answer", vec![Value::None]).with_network_timestamp(ts);
    node.publish("from.node", &event).unwrap();
    let mut received = client.event();
    let seq = received["seq"].take();
    assert!(seq.as_u64().unwrap() > client.seq(), "{seq}");
    assert_eq!(
        received,
        json!({
            "type": "event", "seq": null, "topic": "from.node", "event": "Test::answer",
            "args": [null], "ts": "2026-01-01T00:00:00.25Z",
            "metadata": [[1, { "time": "2026-01-01T00:00:00.25Z" }]],
        })
    );
}

#[test]
fn what_is_wrong_is_said_and_changes_nothing() {
    let gateway = Gateway::start("max_subscriptions = 3");
    let mut client = subscriber(&gateway, &["test.a", "test.b"]);
    let mut other = subscriber(&gateway, &["other.a", "other.b"]);
    let long = "x".repeat(1025);
    let publish = |topic: &str, event: &str| publication(topic, event, json!([]));
    for (message, code, part) in [
        (
            json!({ "type": "subscribe", "topics": ["test.c", "test.d"] }),
            "too_many_subscriptions",
            "3",
        ),
        (json!({ "type": "subscribe", "topics": [long] }), "not_allowed", "1024"),
        (json!({ "type": "subscribe", "topics": "test.c" }), "bad_message", "topics"),
        (json!({ "type": "subscribe", "topics": ["test.c", 7] }), "bad_message", "topics[1]"),
        (json!({ "type": "subscribe" }), "bad_message", "topics"),
        (json!({ "type": "subscribe", "topics": [], "topic": "x" }), "bad_message", "`topic`"),
        (json!({ "type": "subscrible", "topics": [] }), "unknown_type", "subscrible"),
        (json!({ "topics": [] }), "bad_message", "type"),
        (json!({ "type": "unsubscribe", "topics": [null] }), "bad_message", "topics[0]"),
        (json!({ "type": "notices", "kinds": ["weather"] }), "bad_message", "kinds[0]"),
        (json!({ "type": "resume", "session": "x", "after": 0 }), "not_allowed", "first"),
        (publish("", "Test::x"), "bad_message", "topic"),
        (publish("test.a", ""), "bad_message", "event"),
        (publish(&long, "Test::x"), "not_allowed", "1024"),
        (publish("test.a", "Cluster::hello"), "not_allowed", "Cluster::hello"),
        (publish("test.a", "Cluster::node_down"), "not_allowed", "only nodes"),
        (publication("test.a", "Test::x", json!({ "a": 1 })), "bad_message", "args"),
        (
            publication("test.a", "Test::x", json!([1, { "addr": "nowhere" }])),
            "bad_message",
            "args[1].addr",
        ),
        (
            publication("test.a", "Test::x", json!([{ "count": -1 }])),
            "bad_message",
            "args[0].count",
        ),
        (
            json!({ "type": "publish", "topic": "test.a", "event": "Test::x", "ts": 7 }),
            "bad_message",
            "ts",
        ),
    ] {
        let what = message.to_string();
        let (found, text) = other.fail(message);
        assert_eq!(found, code, "{what}: {text}");
        assert!(text.contains(part), "{what}: {text}");
    }
    // Messages whose id cannot be read.
    for text in ["", "nonsense", "[]", "{", r#"{"type":"subscribe","topics":[]} x"#, r#"{"id":-1}"#]
    {
        other.client.send(text);
        let error = other.receive();
        assert_eq!((&error["code"], error.get("id")), (&json!("bad_message"), None), "{text}");
    }
    let id = "x".repeat(65);
    other.send(&json!({ "type": "subscribe", "id": id, "topics": [] }));
    assert_eq!(other.receive()["code"], "bad_message");
    other.client.socket.send(Message::binary("{}")).unwrap();
    assert_eq!(other.receive()["message"], "expected a text frame");
    assert_eq!(
        gateway.manager.metric("zcluster_websocket_errors_total"),
        28.0,
        "every error was counted"
    );

    // It has no subscription but its own, and is still there.
    other.unsubscribe(&["other.a", "other.b"]);
    other.subscribe(&["test.c", "test.d", "test.e"]);
    other.publish("test.b", "Test::last", json!([1]));
    client.publish("test.e", "Test::last", json!([2]));
    assert_eq!(client.event_parts(), ("test.b".into(), "Test::last".into(), json!([1])));
    assert_eq!(other.event_parts(), ("test.e".into(), "Test::last".into(), json!([2])));
}

#[test]
fn a_message_that_is_too_long_is_named_before_the_end() {
    let gateway = Gateway::start("max_message_size = 10000");
    let mut healthy = subscriber(&gateway, &["test."]);
    let mut client = connect(&gateway);
    // In one piece, so that nothing has been answered when the long message comes.
    let publish = |id: u64, text: &str| {
        let mut message = publication("test.a", "Test::text", json!([text]));
        message["id"] = json!(id);
        Message::text(message.to_string())
    };
    for id in 0..20 {
        client.client.socket.write(publish(id, "short")).unwrap();
    }
    client.client.socket.write(publish(20, &"x".repeat(10_000))).unwrap();
    client.client.socket.flush().unwrap();
    for id in 0..20 {
        assert_eq!(client.receive(), json!({ "type": "ok", "id": id }));
        assert_eq!(healthy.event_parts().2, json!(["short"]));
    }
    let error = client.receive();
    assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("too_large")));
    assert!(error["message"].as_str().unwrap().contains("10000"), "{error}");
    assert_eq!(client.next().unwrap_err().0, 1009);
    // It could come back with what it had.
    let mut again = connect(&gateway);
    assert_eq!(again.resume(&client.session(), 0)["type"], "ok");
}

#[test]
fn an_event_that_is_too_long_for_the_bus_stays_off_it() {
    // A broker cuts off nodes that send more.
    let gateway = Gateway::with(NODES, "", "max_message_size = 20000");
    let mut healthy = subscriber(&gateway, &["test."]);
    let mut client = connect(&gateway);
    let text = "x".repeat(30_000);
    let (code, message) = client.fail(publication("test.a", "Test::long", json!([text])));
    assert_eq!(code, "too_large");
    assert!(message.contains("20000"), "{message}");
    let mut first = gateway.subscriber(&[]);
    first.send(data_message("test.a", "Test::many", &vec![1; 4000]));
    let error = first.receive();
    assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("too_large")));
    client.publish("test.a", "Test::short", json!([]));
    first.publish("test.a", "Test::brief", &[]);
    assert_eq!(healthy.event_parts().1, "Test::short");
    assert_eq!(healthy.event_parts().1, "Test::brief");
    assert!(
        !gateway.manager.stderr().contains("lost the connection"),
        "{}",
        gateway.manager.stderr()
    );
}

#[test]
fn values_arrive_as_they_were_sent() {
    let gateway = Gateway::start("");
    let (node, notifications) = gateway.cluster.library_node("worker-1");
    wait_members(&node, &["manager"]);
    let mut one = subscriber(&gateway, &["test.", "node."]);
    let mut two = subscriber(&gateway, &["test.", "node."]);
    let mut first = gateway.subscriber(&["test."]);
    wait_known(&notifications, "node.");
    let safe = (1_u64 << 53) - 1;
    let args = json!([
        null, true, safe, { "count": (safe + 1).to_string() }, { "count": u64::MAX.to_string() },
        { "int": -1 }, { "int": i64::MIN.to_string() }, 1.5, { "double": 2.0 },
        "text \u{0}\u{1f600}\"\\", { "bytes": "636166e9" },
        { "addr": "2001:db8::1" }, { "subnet": "192.0.2.0/24" }, { "port": "443/tcp" },
        { "time": "2026-01-01T00:00:00.000000001Z" }, { "interval": "1.5s" },
        { "enum": "Cluster::WORKER" }, { "set": [[{ "addr": "192.0.2.1" }, 1], [{ "addr": "192.0.2.1" }, 2]] },
        { "table": [["a", [1, null]]] }, [[], [1, [2]]],
    ]);
    one.publish("test.values", "Test::values", args.clone());
    assert_eq!(two.event_parts().2, args);
    let typed = first.receive();
    let typed = &typed["data"][2]["data"][1]["data"];
    assert_eq!(typed[4], json!({ "@data-type": "count", "data": u64::MAX }));
    assert_eq!(typed[6], json!({ "@data-type": "integer", "data": i64::MIN }));

    // The same, as a plain number.
    one.client.send(format!(
        r#"{{"type":"publish","topic":"test.v","event":"Test::v","args":[{},{},1e22]}}"#,
        u64::MAX,
        i64::MIN
    ));
    assert_eq!(two.event_parts().2, json!([args[4], args[6], { "double": 1e22 }]));
    // Between nodes and clients, to the bit.
    let values = vec![Value::from(u64::MAX), Value::from(i64::MIN), Value::from(1e22)];
    node.publish("node.values", &Event::new("Test::v", values.clone())).unwrap();
    let received = two.event_parts().2;
    two.publish(TO_WORKER, "Test::v", received);
    let args = wait_notification(&notifications, "the event", |notification| match notification {
        Notification::Event(event) => Some(event.decode().unwrap().args),
        _ => None,
    });
    assert_eq!(args, values);
}

#[test]
fn both_versions_hear_each_other() {
    let gateway = Gateway::start("");
    let mut first = gateway.subscriber(&["test."]);
    let mut second = subscriber(&gateway, &["test."]);
    let mut other = subscriber(&gateway, &["test."]);
    first.publish("test.a", "Test::one", &[1, 2]);
    assert_eq!(second.event_parts(), ("test.a".into(), "Test::one".into(), json!([1, 2])));
    second.publish("test.b", "Test::two", json!([3]));
    assert_eq!(first.event(), ("test.b".into(), "Test::two".into(), vec![3]));
    assert_eq!(other.event_parts().1, "Test::one");
    assert_eq!(other.event_parts().1, "Test::two");
}

const SCHEMA: &str = r#"
[[event]]
name = "Scan::found"
args = ["scanner: addr", "services: set[port]", "conn: ConnId", "score: double"]

[[event]]
name = "Scan::done"
args = []

[[record]]
name = "ConnId"
fields = ["orig_h: addr", "orig_p: port", "note: string &optional"]
"#;

#[test]
fn a_schema_file_names_arguments() {
    let held = tempfile::tempdir().unwrap();
    let path = held.path().join("events.toml");
    std::fs::write(&path, SCHEMA).unwrap();
    let gateway = Gateway::start(&format!("schema_file = {path:?}"));
    let (node, notifications) = gateway.cluster.library_node("worker-1");
    wait_members(&node, &["manager"]);
    let mut first = gateway.subscriber(&["test."]);
    wait_known(&notifications, "test.");
    let mut one = connect(&gateway);
    let mut two = subscriber(&gateway, &["test."]);
    let conn = json!({ "orig_h": "192.0.2.1", "orig_p": "40000/tcp" });
    let args = json!({
        "scanner": "192.0.2.1", "services": ["22/tcp"], "conn": conn, "score": 2,
    });
    let typed = json!({
        "scanner": { "addr": "192.0.2.1" }, "services": { "set": [{ "port": "22/tcp" }] },
        "conn": { "orig_h": { "addr": "192.0.2.1" }, "orig_p": { "port": "40000/tcp" } },
        "score": { "double": 2.0 },
    });
    one.publish("test.a", "Scan::found", args.clone());
    assert_eq!(two.event_parts().2, typed);
    // Version 1 has no names. What it sends gets them.
    let mut event = first.receive();
    assert_eq!(event["data"][2]["data"][1]["data"].as_array().map(Vec::len), Some(4));
    event["topic"] = json!("test.b");
    first.send(event.to_string());
    assert_eq!(two.event_parts(), ("test.b".into(), "Scan::found".into(), typed));
    for (event, args, part) in [
        ("Scan::found", json!({ "scanner": "192.0.2.1" }), "services"),
        ("Scan::found", json!([{ "addr": "192.0.2.1" }]), "expected 4"),
        ("Scan::done", json!([1]), "expected none"),
        ("Scan::undeclared", json!([]), "Scan::undeclared"),
    ] {
        let (code, text) = one.fail(publication("test.a", event, args));
        assert_eq!(code, "schema", "{event}: {text}");
        assert!(text.contains(part), "{event}: {text}");
    }
    first.publish("test.a", "Scan::undeclared", &[]);
    assert_eq!(first.receive()["context"], "failed to create Zeek event");
    one.succeed(json!({ "type": "publish", "topic": "test.a", "event": "Scan::done" }));
    assert_eq!(two.event_parts().2, json!({}));
    // Nodes may publish what is not declared, or is declared otherwise.
    for (name, args) in
        [("Scan::undeclared", vec![7_u64.into()]), ("Scan::done", vec![8_u64.into()])]
    {
        let expected = json!([if name == "Scan::done" { 8 } else { 7 }]);
        node.publish("test.n", &Event::new(name, args)).unwrap();
        assert_eq!(two.event_parts(), ("test.n".into(), name.into(), expected));
    }
}

/// The entry of a node in a message `nodes`.
fn entry<'a>(nodes: &'a Json, name: &str) -> &'a Json {
    let nodes = nodes["nodes"].as_array().unwrap();
    nodes.iter().find(|node| node["node"] == name).unwrap()
}

#[test]
fn nodes_that_come_and_go_are_noticed() {
    let gateway = Gateway::start("");
    let mut client = connect(&gateway);
    let mut late = connect(&gateway);
    client.succeed(json!({ "type": "notices", "kinds": ["nodes"] }));
    let nodes = client.receive();
    let id = gateway.manager.id();
    assert_eq!(
        nodes,
        json!({ "type": "nodes", "nodes": [
            { "node": "manager", "node_type": "manager", "id": id, "up": true },
            { "node": "worker-1", "node_type": "worker", "id": null, "up": false },
        ]})
    );
    let mut worker = gateway.cluster.node("worker-1", &[]);
    let up = client.receive();
    assert_eq!((&up["type"], &up["node"]), (&json!("node_up"), &json!("worker-1")));
    assert_eq!(up["id"], worker.id());
    late.succeed(json!({ "type": "notices", "kinds": ["bus", "nodes"] }));
    let state = json!({ "node": "worker-1", "node_type": "worker", "id": worker.id(), "up": true });
    assert_eq!(*entry(&late.receive(), "worker-1"), state);
    assert_eq!(late.receive(), json!({ "type": "bus", "connected": true }));

    let killed = Instant::now();
    worker.kill();
    for client in [&mut client, &mut late] {
        let down = client.receive();
        assert_eq!((&down["type"], &down["node"]), (&json!("node_down"), &json!("worker-1")));
        assert_eq!(down["id"], worker.id());
    }
    assert!(killed.elapsed() < SOON, "{:?}", killed.elapsed());
    // The set of notices is replaced.
    client.succeed(json!({ "type": "notices", "kinds": [] }));
    let worker = gateway.cluster.node("worker-1", &[]);
    assert_eq!(late.receive()["id"], worker.id());
    client.succeed(json!({ "type": "notices", "kinds": ["nodes"] }));
    assert_eq!(entry(&client.receive(), "worker-1")["id"], worker.id(), "and nothing before");
}

#[test]
fn a_bus_that_is_away_is_noticed_and_refuses_events() {
    let mut gateway = Gateway::start("");
    let mut client = subscriber(&gateway, &["test."]);
    let mut other = connect(&gateway);
    client.succeed(json!({ "type": "notices", "kinds": ["bus"] }));
    assert_eq!(client.receive(), json!({ "type": "bus", "connected": true }));
    gateway.broker.kill();
    assert_eq!(client.receive(), json!({ "type": "bus", "connected": false }));
    let (code, text) = other.fail(publication("test.a", "Test::lost", json!([])));
    assert_eq!(code, "unavailable", "{text}");
    // A subscription waits.
    other.send(&json!({ "type": "subscribe", "id": "late", "topics": ["test."] }));
    let (code, _) = other.fail(publication("test.a", "Test::lost", json!([])));
    assert_eq!(code, "unavailable");
    gateway.broker = gateway.cluster.broker();
    assert_eq!(client.receive(), json!({ "type": "bus", "connected": true }));
    assert_eq!(other.receive(), json!({ "type": "ok", "id": "late" }));
    other.publish("test.b", "Test::heard", json!([1]));
    client.publish("test.c", "Test::heard", json!([2]));
    assert_eq!(client.event_parts().2, json!([1]));
    assert_eq!(other.event_parts().2, json!([2]));
}

#[test]
fn what_is_published_as_soon_as_the_bus_is_back_reaches_every_client() {
    // Some of them are subscribed again after anything that tells whether the bus is back.
    let prefixes: Vec<String> =
        (0..1000).map(|number| format!("zzz.{number:04}.{}", "x".repeat(900))).collect();
    let prefixes: Vec<&str> = prefixes.iter().map(String::as_str).collect();
    let mut gateway = Gateway::start("");
    let mut client = subscriber(&gateway, &prefixes);
    let mut publisher = gateway.subscriber(&[]);
    for round in 0..3 {
        gateway.broker.kill();
        let mut watcher = connect(&gateway);
        wait_for("the loss to be known", || {
            let code = watcher.ask(publication("no", "Test::no", json!([])))["code"].clone();
            (code == "unavailable").then_some(())
        });
        watcher.succeed(json!({ "type": "notices", "kinds": ["bus"] }));
        assert_eq!(watcher.receive()["connected"], false);
        // These wait for the bus.
        for topic in [prefixes[0], prefixes[500], prefixes[999]] {
            publisher.publish(topic, "Test::waited", &[round]);
        }
        gateway.broker = gateway.cluster.broker();
        assert_eq!(watcher.receive()["connected"], true);
        watcher.publish(prefixes[999], "Test::at_once", json!([round]));
        for topic in [prefixes[0], prefixes[500], prefixes[999]] {
            let expected = (topic.to_owned(), "Test::waited".to_owned(), json!([round]));
            assert_eq!(client.event_parts(), expected);
        }
        assert_eq!(client.event_parts().1, "Test::at_once");
    }
}

#[test]
fn measurements_come_once_a_second() {
    let gateway = Gateway::start("");
    let mut client = subscriber(&gateway, &["test."]);
    client.succeed(json!({ "type": "notices", "kinds": ["stats"] }));
    let mut other = connect(&gateway);
    let endpoint = client.welcome["endpoint"].clone();
    wait_for("an event in the measurements", || {
        other.publish("test.a", "Test::counted", json!([]));
        let stats = client.wait_type("stats");
        let topics = stats["topics"].as_array().unwrap();
        let clients = stats["clients"].as_array().unwrap();
        let own = clients.iter().find(|client| client["endpoint"] == endpoint)?;
        assert_eq!((&own["version"], &own["subscriptions"]), (&json!(2), &json!(1)));
        assert_eq!(stats["topics_from"], "gateway", "the broker's port is unknown");
        topics.iter().any(|topic| topic["topic"] == "test.a").then_some(())
    });
}

#[test]
fn rates_by_topic_are_those_of_the_whole_cluster() {
    let broker = format!("[broker]\nmetrics_port = {}\n", free_port());
    let gateway = Gateway::with(NODES, "", &broker);
    let (worker, _notifications) = gateway.cluster.library_node("worker-1");
    wait_members(&worker, &["manager"]);
    let mut client = connect(&gateway);
    client.succeed(json!({ "type": "notices", "kinds": ["stats"] }));
    wait_for("an event that no client subscribes to", || {
        worker.publish("zeek.cluster.manager", &Event::new("Test::counted", vec![])).unwrap();
        let stats = client.wait_type("stats");
        assert_eq!(stats["topics_from"], "broker", "{stats}");
        let topics = stats["topics"].as_array().unwrap();
        topics.iter().any(|topic| topic["topic"] == "zeek.cluster.manager").then_some(())
    });
}

/// Publishes events with the numbers in that range; `pace` is called before each 100th.
fn publish_numbers(
    client: &mut Client,
    range: std::ops::Range<u64>,
    text: &str,
    mut pace: impl FnMut(u64),
) {
    for number in range {
        if number % 100 == 0 {
            pace(number);
        }
        let message = json!({
            "type": "data-message", "topic": "test.numbers", "@data-type": "vector", "data": [
                { "@data-type": "count", "data": 1 },
                { "@data-type": "count", "data": 1 },
                { "@data-type": "vector", "data": [
                    { "@data-type": "string", "data": "Test::number" },
                    { "@data-type": "vector", "data": [
                        { "@data-type": "count", "data": number },
                        { "@data-type": "string", "data": text },
                    ] },
                ] },
            ],
        });
        client.send(message.to_string());
    }
}

/// The number that [`publish_numbers`] gave an event.
fn number(event: &Json) -> u64 {
    event["args"][0].as_u64().unwrap()
}

#[test]
fn a_client_that_reads_too_slowly_is_told_exactly_what_it_missed() {
    const EVENTS: u64 = 8_000;
    // What the sockets hold does not suffice for all of them.
    let text = "x".repeat(4_000);
    let mut gateway = Gateway::start("ping_interval = \"0s\"\nclient_queue_messages = 300");
    let mut slow = {
        let stream = tcp_with_small_buffer(&gateway.address());
        let client = Client::over(stream, "gateway", PATH, &[("x-application-name", "slow")]);
        V2::welcomed(client.unwrap())
    };
    slow.subscribe(&["test."]);
    slow.succeed(json!({ "type": "notices", "kinds": ["nodes"] }));
    slow.wait_type("nodes");
    let mut fast = subscriber(&gateway, &["test."]);
    let mut publisher = gateway.subscriber(&[]);
    let mut next = 0;
    publish_numbers(&mut publisher, 0..EVENTS, &text, |sent| {
        // This one keeps up.
        while next < sent {
            assert_eq!(number(&fast.event()), next);
            next += 1;
        }
    });
    while next < EVENTS {
        assert_eq!(number(&fast.event()), next);
        next += 1;
    }

    // There is room for what is no event.
    let (_node, _notifications) = gateway.cluster.library_node("worker-1");
    gateway.manager.wait_member("node_up", "worker-1");

    let (mut received, mut dropped) = (0, 0);
    let mut last = slow.seq();
    while received + dropped < EVENTS {
        let message = slow.receive();
        let seq = |key: &str| message[key].as_u64().unwrap();
        if message["type"] == "lagged" {
            assert_eq!(seq("from"), last + 1);
            // Nothing else was published.
            assert_eq!(seq("dropped"), seq("to") - seq("from") + 1);
            dropped += seq("dropped");
            last = seq("to");
        } else {
            assert_eq!((&message["type"], seq("seq")), (&json!("event"), last + 1));
            received += 1;
            assert_eq!(number(&message) + 1, received + dropped);
            last = seq("seq");
        }
    }
    assert_eq!(slow.receive()["type"], "node_up");
    assert!(dropped > 0 && received > 300, "{dropped} dropped, {received} received");
    let metric =
        |name: &str, app: &str| gateway.manager.metric_with(name, &format!("app=\"{app}\"")) as u64;
    assert_eq!(metric("zcluster_websocket_events_dropped_total", "slow"), dropped);
    assert_eq!(metric("zcluster_websocket_events_dropped_total", "unknown"), 0);
    assert_eq!(metric("zcluster_websocket_too_slow_total", ""), 0);
    // It goes on as before.
    publish_numbers(&mut publisher, EVENTS..EVENTS + 1, "", |_| ());
    assert_eq!(number(&slow.event()), EVENTS);
}

#[test]
fn a_lost_connection_is_resumed_without_gap_or_double() {
    let gateway = Gateway::start("");
    let mut client = subscriber(&gateway, &["test.", "more"]);
    client.succeed(json!({ "type": "notices", "kinds": ["bus"] }));
    client.wait_type("bus");
    let mut listener = subscriber(&gateway, &["more"]);
    let mut other = connect(&gateway);
    let mut publish = |topic: &str, number: u64| other.publish(topic, "Test::n", json!([number]));
    for number in 0..3 {
        publish("test.a", number);
    }
    let mut seen = 0;
    for number in 0..3 {
        let event = client.event();
        assert_eq!(self::number(&event), number);
        seen = event["seq"].as_u64().unwrap();
    }
    // Its own events are not for it, not even later.
    client.publish("test.own", "Test::own", json!([]));
    let (session, endpoint) = (client.session(), client.welcome["endpoint"].clone());
    client.client.vanish();
    for number in 3..53 {
        publish("test.a", number);
        publish("nobody", 1000);
    }
    publish("more", 53);
    // Published is not heard: the last one may still be on its way.
    assert_eq!(listener.event()["args"], json!([53]));

    let mut back = connect(&gateway);
    assert_ne!(back.welcome["endpoint"], endpoint);
    let answer = back.resume(&session, seen);
    assert_eq!(answer, json!({ "type": "ok", "id": 1, "replayed": 51, "complete": true }));
    for number in 3..53 {
        assert_eq!(self::number(&back.event()), number);
    }
    assert_eq!(back.event_parts(), ("more".into(), "Test::n".into(), json!([53])));
    assert_eq!(back.receive(), json!({ "type": "bus", "connected": true }));
    // Subscriptions have moved, and can be changed.
    publish("test.b", 54);
    assert_eq!(self::number(&back.event()), 54);
    back.unsubscribe(&["test."]);
    publish("test.b", 55);
    publish("more", 56);
    assert_eq!(self::number(&back.event()), 56);
    // A second time, without an id, and with nothing missed.
    let (session, after) = (back.session(), connect(&gateway).seq());
    back.client.vanish();
    let mut again = connect(&gateway);
    again.send(&json!({ "type": "resume", "session": session, "after": after }));
    assert_eq!(again.receive(), json!({ "type": "ok", "replayed": 0, "complete": true }));
    again.wait_type("bus");
    publish("more", 57);
    assert_eq!(self::number(&again.event()), 57);
}

#[test]
fn a_client_whose_connection_breaks_all_the_time_misses_nothing() {
    const EVENTS: u64 = 6_000;
    // The one that publishes does not answer pings.
    let gateway = Gateway::start("ping_interval = \"0s\"");
    let address = gateway.address();
    let mut client = subscriber(&gateway, &["test."]);
    let mut publisher = gateway.subscriber(&[]);
    let (send, sent) = std::sync::mpsc::sync_channel::<()>(20);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            publish_numbers(&mut publisher, 0..EVENTS, "", |_| send.send(()).unwrap());
        });
        let (mut next, mut last, mut broken) = (0, client.seq(), 0);
        let deadline = Instant::now() + PATIENCE;
        while next < EVENTS {
            // Some connections end with the answer to `resume`, others after some events.
            for _ in 0..(broken * 37) % 400 {
                let event = client.receive();
                assert_eq!(event["type"], "event", "{event}");
                assert_eq!(number(&event), next, "after {broken} losses");
                last = event["seq"].as_u64().unwrap();
                next += 1;
                if next % 100 == 0 {
                    let _ = sent.try_recv();
                }
                if next == EVENTS {
                    break;
                }
            }
            let _ = sent.try_recv();
            let session = client.session();
            let old = std::mem::replace(&mut client, V2::connect(&address, &[]).unwrap());
            // The gateway may or may not know that it is lost.
            if broken % 2 == 0 {
                old.client.vanish();
            }
            assert_eq!(client.resume(&session, last)["complete"], true);
            broken += 1;
            assert!(Instant::now() < deadline, "{next} after {broken} losses");
        }
        assert!(broken > 10, "{broken}");
    });
}

#[test]
fn a_replay_may_be_longer_than_the_queue() {
    let gateway = Gateway::start("client_queue_messages = 100\nreplay_events = 1000");
    let client = subscriber(&gateway, &["test."]);
    let (session, seen) = (client.session(), client.seq());
    client.client.vanish();
    let mut publisher = gateway.subscriber(&[]);
    let mut listener = subscriber(&gateway, &["test."]);
    for number in 0..500 {
        publish_numbers(&mut publisher, number..number + 1, "", |_| ());
        assert_eq!(self::number(&listener.event()), number);
    }
    let mut back = connect(&gateway);
    let answer = back.resume(&session, seen);
    assert_eq!((&answer["replayed"], &answer["complete"]), (&json!(500), &json!(true)));
    for number in 0..500 {
        assert_eq!(self::number(&back.event()), number);
    }
}

#[test]
fn what_is_no_longer_known_is_told_at_a_resume() {
    let gateway = Gateway::start("replay_events = 5");
    let client = subscriber(&gateway, &["test."]);
    let (session, seen) = (client.session(), client.seq());
    client.client.vanish();
    let mut publisher = gateway.subscriber(&[]);
    let mut listener = subscriber(&gateway, &["test."]);
    publish_numbers(&mut publisher, 0..20, "", |_| ());
    let last = (0..20).map(|_| listener.event()["seq"].as_u64().unwrap()).last().unwrap();
    let mut back = connect(&gateway);
    let answer = back.resume(&session, seen);
    assert_eq!(answer, json!({ "type": "ok", "id": 1, "replayed": 5, "complete": false }));
    let lagged = json!({ "type": "lagged", "dropped": null, "from": seen + 1, "to": last - 5 });
    assert_eq!(back.receive(), lagged);
    for number in 15..20 {
        assert_eq!(self::number(&back.event()), number);
    }
    publish_numbers(&mut publisher, 20..21, "", |_| ());
    assert_eq!(number(&back.event()), 20);
}

#[test]
fn sessions_that_are_not_there_cannot_be_resumed() {
    let gateway = Gateway::start("resume_timeout = \"500ms\"");
    let (node, notifications) = gateway.cluster.library_node("worker-1");
    wait_members(&node, &["manager"]);
    let withdrawn = |prefix: &str| {
        wait_notification(&notifications, "the end of a subscription", |notification| {
            matches!(notification, Notification::Unsubscription(p) if p == prefix).then_some(())
        });
    };
    let failed = |session: &str, after: u64| {
        let mut client = connect(&gateway);
        let answer = client.resume(session, after);
        assert_eq!(answer["code"], "resume_failed", "{session}: {answer}");
        // It is a session of its own, with nothing.
        client.subscribe(&["test.new"]);
        let mut other = connect(&gateway);
        other.publish("test.old", "Test::unheard", json!([]));
        other.publish("test.new", "Test::heard", json!([]));
        assert_eq!(client.event_parts().1, "Test::heard");
    };
    failed("kJ3vQm1xT0aYw8Zr5bNc2A", 0);
    failed("", 0);
    // A number that there was not yet; the session stays what it was.
    let client = subscriber(&gateway, &["test.old"]);
    let session = client.session();
    client.client.vanish();
    let mut late = connect(&gateway);
    assert_eq!(late.resume(&session, 1_000_000)["code"], "resume_failed");
    drop(late);
    let mut back = connect(&gateway);
    assert_eq!(back.resume(&session, 0)["type"], "ok");
    // A session that goes on elsewhere.
    failed(&session, 0);
    // One that the client ended itself.
    let session = back.session();
    back.client.close();
    withdrawn("test.old");
    failed(&session, 0);
    // One whose time is over.
    let client = subscriber(&gateway, &["test.old"]);
    let session = client.session();
    client.client.vanish();
    withdrawn("test.old");
    failed(&session, 0);
}

#[test]
fn a_resume_ends_the_connection_that_still_stands() {
    let gateway = Gateway::start("");
    let mut old = subscriber(&gateway, &["test."]);
    let session = old.session();
    let mut other = connect(&gateway);
    other.publish("test.a", "Test::n", json!([0]));
    let seen = old.event()["seq"].as_u64().unwrap();
    other.publish("test.a", "Test::n", json!([1]));
    assert_eq!(number(&old.event()), 1);
    // The client believes that it has not come.
    let mut new = connect(&gateway);
    assert_eq!(new.resume(&session, seen)["replayed"], 1);
    other.publish("test.a", "Test::n", json!([2]));
    for number in [1, 2] {
        assert_eq!(self::number(&new.event()), number);
    }
    let closed = old.next().unwrap_err();
    assert_eq!(closed, (1008, "Session resumed by another connection".into()));
    // Its end does not take the subscription away.
    wait_for("the end", || {
        (gateway.manager.metric("zcluster_websocket_clients") == 2.0).then_some(())
    });
    other.publish("test.a", "Test::n", json!([3]));
    assert_eq!(number(&new.event()), 3);
}

#[test]
fn sessions_end_with_the_gateway() {
    let mut gateway = Gateway::start("");
    let mut client = subscriber(&gateway, &["test."]);
    let session = client.session();
    gateway.manager.stop();
    assert_eq!(client.next().unwrap_err(), (1001, "Terminating".into()));
    gateway.manager = gateway.cluster.node("manager", &["--no-stdin"]);
    let mut client = connect(&gateway);
    assert_eq!(client.resume(&session, 0)["code"], "resume_failed");
}
