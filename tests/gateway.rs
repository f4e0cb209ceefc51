//! Version 1 of the WebSocket API: what programs that were written for Zeek's server find here.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use bstr::ByteSlice;
use serde_json::{Value as Json, json};
use support::websocket::{Client, Gateway, NODES, data_message};
use support::{Cluster, Signal, run_to_end, wait_for, wait_notification};
use tungstenite::Message;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use zcluster::Event;
use zcluster::node::Notification;

/// Long enough for anything that should not come to come.
const A_MOMENT: Duration = Duration::from_millis(300);

#[test]
fn clients_hear_nodes_and_each_other_but_not_themselves() {
    let gateway = Gateway::start("");
    let mut one = gateway.client();
    let id = one.subscribe(&["test.", "zeek.cluster.worker"]);
    assert!(id.starts_with(gateway.manager.id()) && id.ends_with("-websocket-0"), "{id}");
    let mut two = gateway.subscriber(&["test."]);
    let mut worker = gateway.cluster.node("worker-1", &["--subscribe", "test."]);
    worker.wait_all_up(&["manager"]);

    one.publish("test.a", "Test::hello", &[1, 2]);
    assert_eq!(two.event(), ("test.a".into(), "Test::hello".into(), vec![1, 2]));
    let line = worker
        .wait_line("the event", |line| (line["event"] == "Test::hello").then(|| line.clone()));
    assert_eq!((&line["sender"], &line["args"]), (&json!(id), &json!([1, 2])));
    worker.write_line(r#"{"topic":"test.b","event":"Test::answer","args":[3]}"#);
    for client in [&mut one, &mut two] {
        assert_eq!(client.event(), ("test.b".into(), "Test::answer".into(), vec![3]));
    }
    assert!(one.is_silent_for(A_MOMENT), "it got its own event");
}

#[test]
fn the_node_itself_is_heard_and_hears() {
    let mut gateway = Gateway::start("");
    let mut client = gateway.subscriber(&["from.manager"]);
    // A worker that asks the manager, which is the host, with its own console.
    client.publish("zeek.cluster.manager", "Test::question", &[7]);
    let line = gateway.manager.wait_line("the question", |line| {
        (line["event"] == "Test::question").then(|| line.clone())
    });
    assert_eq!(line["args"], json!([7]));
    // Its own subscriptions are not those of its clients.
    client.publish("from.manager.not", "Test::unheard", &[]);
    client.publish("zeek.cluster.manager", "Test::last", &[]);
    gateway.manager.wait_line("the last", |line| {
        assert_ne!(line["event"], "Test::unheard");
        (line["event"] == "Test::last").then_some(())
    });
}

#[test]
fn what_the_host_publishes_reaches_its_clients() {
    let cluster = Cluster::new(NODES, "[nodes.manager.websocket]\nlisten_port = 0\n");
    let _broker = cluster.broker();
    let mut manager = cluster.node("manager", &[]);
    let mut client = Client::connect(&manager.endpoint("http"), "/v1/messages/json", &[]).unwrap();
    client.subscribe(&["from.manager"]);
    manager.write_line(r#"{"topic":"from.manager","event":"Test::reply","args":[1]}"#);
    assert_eq!(client.event(), ("from.manager".into(), "Test::reply".into(), vec![1]));
}

#[test]
fn subscriptions_are_shared_and_withdrawn_with_the_last_client() {
    let gateway = Gateway::start("");
    let (node, notifications) = gateway.cluster.library_node("worker-1");
    let one = gateway.subscriber(&["test.shared", "test.shared"]);
    wait_notification(&notifications, "the subscription", |notification| {
        matches!(notification, Notification::Subscription(p) if p == "test.shared").then_some(())
    });
    let two = gateway.subscriber(&["test.shared"]);
    one.close();
    // Withdrawn only with the second.
    let mut three = gateway.subscriber(&["test.other"]);
    wait_notification(&notifications, "another subscription", |notification| {
        assert!(!matches!(&notification, Notification::Unsubscription(p) if p == "test.shared"));
        matches!(notification, Notification::Subscription(p) if p == "test.other").then_some(())
    });
    two.close();
    wait_notification(&notifications, "the end of the subscription", |notification| {
        matches!(notification, Notification::Unsubscription(p) if p == "test.shared").then_some(())
    });
    node.publish("test.other", &Event::new("Test::still", vec![])).unwrap();
    assert_eq!(three.event().1, "Test::still");
}

#[test]
fn clients_survive_a_restart_of_the_broker() {
    let mut gateway = Gateway::start("");
    let mut one = gateway.subscriber(&["test."]);
    let mut two = gateway.subscriber(&["test."]);
    gateway.broker.kill();
    gateway.manager.wait_metric("zcluster_connections", 0.0);
    // Waits for the broker, like everything that is published now.
    one.publish("test.a", "Test::while_away", &[1]);
    let mut late = gateway.client();
    late.send(r#"["test."]"#);
    assert!(late.is_silent_for(A_MOMENT), "there is no ack without a broker");
    gateway.broker = gateway.cluster.broker();
    assert_eq!(two.event(), ("test.a".into(), "Test::while_away".into(), vec![1]));
    // It may hear that event, too, but only after its ack.
    assert_eq!(late.receive()["type"], "ack");
    late.publish("test.b", "Test::back", &[2]);
    for client in [&mut one, &mut two] {
        assert_eq!(client.event(), ("test.b".into(), "Test::back".into(), vec![2]));
    }
}

#[test]
fn comings_and_goings_are_announced() {
    let nodes = &[("manager", "manager"), ("logger-1", "logger")];
    let mut gateway = Gateway::with(nodes, "", "");
    let _logger = gateway.cluster.logger("logger-1");
    let headers = [("x-application-name", "zeekctl/2.7.0")];
    let mut client = Client::connect(&gateway.address(), "/v1/messages/json", &headers).unwrap();
    let id = client.subscribe(&["b.", "a."]);
    let added = gateway.manager.wait_line("the event", |line| {
        (line["event"] == "Cluster::websocket_client_added").then(|| line.clone())
    });
    let port = client.socket.get_ref().local_addr().unwrap().port();
    let info = json!([id, ["127.0.0.1", { "port": format!("{port}/tcp") }], "zeekctl/2.7.0"]);
    assert_eq!(added["args"], json!([info, ["a.", "b."]]));
    client.publish("nowhere", "Test::counted", &[]);
    client.close();
    let lost = gateway.manager.wait_line("the event", |line| {
        (line["event"] == "Cluster::websocket_client_lost").then(|| line.clone())
    });
    assert_eq!(lost["args"], json!([info, 1000, ""]));
    // A client that just disappears.
    let vanishing = gateway.subscriber(&[]);
    drop(vanishing);
    let lost = gateway.manager.wait_line("the event", |line| {
        (line["event"] == "Cluster::websocket_client_lost").then(|| line.clone())
    });
    assert_eq!(lost["args"][1], 1006);

    let peer = format!("(127.0.0.1:{port}) application_name=zeekctl/2.7.0");
    for line in [
        format!("WebSocket client '{id}' {peer} subscribed to [a., b.]"),
        format!("WebSocket client '{id}' {peer} gone with code 1000"),
    ] {
        wait_for("cluster.log", || {
            gateway.cluster.log_lines("cluster").iter().any(|l| l.ends_with(&line)).then_some(())
        });
    }
    let app = "app=\"zeekctl/2.7.0\"";
    for (name, value) in [
        ("zeek_cluster_websocket_outgoing_events_total", 1.0),
        ("zcluster_websocket_connections_total", 1.0),
        ("zcluster_websocket_clients", 0.0),
    ] {
        assert_eq!(gateway.manager.metric_with(name, app), value, "{name}");
    }
}

#[test]
fn the_end_of_the_host_is_said() {
    let mut gateway = Gateway::start("");
    let mut client = gateway.subscriber(&["test."]);
    let mut fresh = gateway.client();
    gateway.manager.signal(Signal::TERM);
    for client in [&mut client, &mut fresh] {
        assert_eq!(client.closed(), (1001, "Terminating".into()));
    }
    assert!(gateway.manager.wait().success());
}

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
const VERSION: &str = "Sec-WebSocket-Version: 13\r\n";

#[test]
fn wrong_requests_are_refused_as_in_zeek() {
    let gateway = Gateway::start("");
    let address = gateway.address();
    for path in ["/v1/messages/json/", "/v1/messages/json?x=1", "/x", "/", "/metrics"] {
        let mut client = Client::connect(&address, path, &[]).unwrap();
        let context = "Invalid URI - use /v1/messages/json";
        let error = json!({ "type": "error", "code": "invalid_uri", "context": context });
        assert_eq!(client.receive(), error, "{path}");
        assert_eq!(client.closed(), (1008, context.into()));
    }
    for (name, is_good) in [("", true), ("A-z/_.=:*@9", true), ("a b", false), ("a,b", false)] {
        let headers = [("x-application-name", name)];
        let mut client = Client::connect(&address, "/v1/messages/json", &headers).unwrap();
        if is_good {
            client.subscribe(&[]);
        } else {
            assert_eq!(client.receive()["code"], "invalid_application_name");
            assert_eq!(client.closed(), (1008, "Invalid X-Application-Name".into()));
        }
    }
    // Requests that are no WebSocket handshakes.
    for (line, headers, status) in [
        ("GET /v1/messages/json HTTP/1.1", [UPGRADE, KEY, VERSION], "101"),
        ("GET /v1/messages/json HTTP/1.1", ["", KEY, VERSION], "400"),
        ("GET /v1/messages/json HTTP/1.1", [UPGRADE, "", VERSION], "400"),
        ("GET /v1/messages/json HTTP/1.1", [UPGRADE, KEY, ""], "400"),
        ("GET /x HTTP/1.1", [UPGRADE, KEY, "Sec-WebSocket-Version: 12\r\n"], "400"),
        ("POST /v1/messages/json HTTP/1.1", [UPGRADE, KEY, VERSION], "400"),
        ("GET /v1/messages/json HTTP/1.0", [UPGRADE, KEY, VERSION], "400"),
        ("GET /x HTTP/1.1", ["", "", ""], "404"),
        ("nonsense", ["", "", ""], "400"),
    ] {
        let mut stream = TcpStream::connect(&address).unwrap();
        let headers = headers.concat();
        let request = format!("{line}\r\nHost: x\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer[9..], status.as_bytes(), "{request}");
    }
    // Answers have an end, a line that says what is wrong, and a name.
    for (line, headers, expected) in [
        ("GET /v1/messages/json HTTP/1.1", [UPGRADE, KEY, VERSION], ["101 ", "server: zcluster/"]),
        ("GET /v1/messages/json HTTP/1.1", [UPGRADE, "", VERSION], ["400 ", "server: zcluster/"]),
        ("POST / HTTP/1.1", ["", "", ""], ["405 ", "allow: GET,HEAD"]),
        ("POST / HTTP/1.1", ["", "", ""], ["405 ", "\r\n\r\nexpected the method GET or HEAD\n"]),
        ("PUT /metrics HTTP/1.1", ["", "", ""], ["405 ", "expected the method GET or HEAD\n"]),
    ] {
        let mut stream = TcpStream::connect(&address).unwrap();
        let headers = headers.concat();
        stream.write_all(format!("{line}\r\nHost: x\r\n{headers}\r\n").as_bytes()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut answer = Vec::new();
        while !expected.iter().all(|part| answer.find(part).is_some()) {
            let mut part = [0; 1024];
            let read = stream.read(&mut part).unwrap();
            assert_ne!(read, 0, "{line}: {}", answer.as_bstr());
            answer.extend_from_slice(&part[..read]);
        }
    }
}

#[test]
fn protocol_errors_end_only_their_own_connection() {
    let gateway = Gateway::start("max_message_size = 100000");
    let mut healthy = gateway.subscriber(&["test."]);
    let mut client = gateway.subscriber(&[]);
    client.socket.send(Message::binary(data_message("test.a", "Test::binary", &[1]))).unwrap();
    assert_eq!(healthy.event().1, "Test::binary");

    // Text that is no UTF-8.
    let frame = |code, payload: &[u8]| Frame::message(payload.to_vec(), code, true);
    let text = OpCode::Data(Data::Text);
    client.socket.send(Message::Frame(frame(text, b"\xff\xfe"))).unwrap();
    assert_eq!(client.closed(), (1007, "Invalid frame payload data".into()));
    // A continuation of nothing.
    let mut client = gateway.subscriber(&[]);
    client.socket.send(Message::Frame(frame(OpCode::Data(Data::Continue), b"x"))).unwrap();
    assert_eq!(client.closed().0, 1002);
    // Reserved bits.
    let mut client = gateway.subscriber(&[]);
    client.socket.get_mut().write_all(&[0xf1, 0x80, 0, 0, 0, 0]).unwrap();
    assert_eq!(client.closed().0, 1002);
    // Larger than allowed.
    let mut client = gateway.subscriber(&[]);
    let _ = client.socket.send(Message::text("x".repeat(100_001)));
    assert_eq!(client.closed().0, 1009);
    // No mask, which Zeek accepts.
    let mut client = gateway.subscriber(&[]);
    let message = data_message("test.b", "Test::unmasked", &[]);
    let mut bytes = vec![0x81, 126];
    bytes.extend(u16::try_from(message.len()).unwrap().to_be_bytes());
    bytes.extend(message.as_bytes());
    client.socket.get_mut().write_all(&bytes).unwrap();
    assert_eq!(healthy.event().1, "Test::unmasked");
}

#[test]
fn clients_are_pinged_and_must_answer() {
    let gateway = Gateway::start("ping_interval = \"1s\"");
    let mut client = gateway.client();
    let mut payloads = Vec::new();
    while payloads.len() < 3 {
        if let Message::Ping(payload) = client.socket.read().unwrap() {
            payloads.push(String::from_utf8(payload.to_vec()).unwrap());
        }
        client.socket.flush().unwrap();
    }
    // The first comes at once.
    assert_eq!(payloads, [0, 1, 2].map(|n| format!("ixwebsocket::heartbeat::1s::{n}")));
    // A peer that reads frames and answers none.
    let mut mute = gateway.subscriber(&[]);
    let stream = mute.socket.get_mut();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    assert!(bytes.ends_with(b"\x88\x0e\x03\xf3Ping timeout"), "{bytes:?}");
}

#[test]
fn there_is_a_limit_on_clients() {
    let gateway = Gateway::start("max_connections = 2");
    let _one = gateway.subscriber(&[]);
    let two = gateway.subscriber(&[]);
    let refused = Client::connect(&gateway.address(), "/v1/messages/json", &[]);
    let Err(tungstenite::Error::Http(answer)) = refused.map(drop).map_err(|error| *error) else {
        panic!("was let in")
    };
    assert_eq!(answer.status(), 503);
    assert_eq!(gateway.manager.metric_with("zcluster_websocket_refused_total", "limit"), 1.0);
    two.close();
    wait_for("room", || Client::connect(&gateway.address(), "/v1/messages/json", &[]).ok());
}

/// Plays a conversation with a real Zeek and compares what the gateway answers.
fn play(gateway: &Gateway, file: &Path) {
    let text = std::fs::read_to_string(file).unwrap();
    let mut clients: BTreeMap<String, Client> = BTreeMap::new();
    let mut closed: BTreeMap<String, Json> = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let step: Json = serde_json::from_str(line).unwrap();
        let at = format!("{}:{}", file.display(), number + 1);
        let name = step["client"].as_str().unwrap().to_owned();
        if let Some(path) = step["open"].as_str() {
            // As in a URL: dots are resolved by the client, and a query needs no path.
            let path = match path {
                "/../v1/messages/json/" => "/v1/messages/json/".to_owned(),
                path if path.starts_with('/') => path.to_owned(),
                path => format!("/{path}"),
            };
            let application = step["headers"]["X-Application-Name"].as_str();
            let headers: Vec<_> =
                application.iter().map(|name| ("x-application-name", *name)).collect();
            let client = Client::connect(&gateway.address(), &path, &headers).unwrap();
            clients.insert(name, client);
            continue;
        }
        let client = clients.get_mut(&name).unwrap();
        if let Some(text) = step["send"].as_str() {
            // The other side may have closed, which the next step notices.
            let _ = client.socket.send(Message::text(text));
        } else if let Some(expected) = step["receive"].as_str() {
            let expected: Json = serde_json::from_str(expected).unwrap_or_else(|_| json!(expected));
            let received = client.next().unwrap_or_else(|closed| panic!("{at}: {closed:?}"));
            let mut received: Json = serde_json::from_str(&received).unwrap();
            if received["type"] == "ack" {
                assert!(received["endpoint"].as_str().unwrap().contains("-websocket-"), "{at}");
                received["endpoint"] = expected["endpoint"].clone();
                received["version"] = expected["version"].clone();
            }
            assert_eq!(received, expected, "{at}");
        } else if !step["closed"].is_null() {
            // Noted again at everything that the client tried later, and perhaps before what it
            // received before.
            closed.insert(name, step["closed"].clone());
        } else if !step["close"].is_null() {
            clients.remove(&name).unwrap().close();
        } else {
            panic!("{at}: what is {step}?");
        }
    }
    for (name, expected) in closed {
        let (code, reason) = clients.get_mut(&name).unwrap().closed();
        assert_eq!(json!([code, reason]), expected, "{}: {name}", file.display());
    }
}

#[test]
fn conversations_with_zeek_are_the_same_here() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/websocket");
    let schema = "[[event]]\nname = \"check_any\"\nargs = [\"x: any\"]\n[[event]]\nname = \
                  \"check_two\"\nargs = [\"s: string\", \"n: count\"]\n[[event]]\nname = \
                  \"check_none\"\nargs = []\n";
    let held = tempfile::tempdir().unwrap();
    let schema_file = held.path().join("events.toml");
    std::fs::write(&schema_file, schema).unwrap();
    let gateway = Gateway::start(&format!("schema_file = {schema_file:?}"));
    let mut files: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "ndjson"));
    assert!(files.len() >= 10);
    for file in files {
        play(&gateway, &file);
    }
}

#[test]
fn an_address_in_use_is_an_error() {
    let gateway = Gateway::start("");
    let taken = gateway.address();
    let (_, port) = taken.rsplit_once(':').unwrap();
    let options = format!("[nodes.manager.websocket]\nlisten_port = {port}\n");
    let cluster = Cluster::new(NODES, &options);
    let args = ["--layout", cluster.layout_arg(), "--node", "manager"];
    let ended = run_to_end(support::command("zcluster-node").args(args));
    assert_eq!(ended.code, Some(69));
    assert!(ended.stderr.contains(&taken), "{}", ended.stderr);
}
