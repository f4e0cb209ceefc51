//! What all clients of a gateway together may have: subscriptions, and memory for what they send.
//! Whoever asks for more is refused, and the others and the node go on.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;
use support::websocket::{Client, Gateway, NODES, data_message, frame};
use support::websocket_v2::V2;
use support::{Cluster, Engine, wait_for, wait_notification};
use zcluster::node::Notification;

const TEXT: u8 = 0x81;
const MIB: u64 = 1 << 20;

fn connect(gateway: &Gateway) -> V2 {
    V2::connect(&gateway.address(), &[]).unwrap()
}

fn prefixes(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{name}.{number}.")).collect()
}

#[test]
fn clients_together_have_a_quarter_of_what_the_broker_allows_the_node() {
    let gateway = Gateway::with(NODES, "", "[broker]\nmetrics_port = 0\nmax_subscriptions = 200\n");
    let subscribe = |topics: &[String]| json!({ "type": "subscribe", "topics": topics });
    let mut greedy = connect(&gateway);
    greedy.succeed(subscribe(&prefixes("a", 49)));
    let mut other = connect(&gateway);
    let (code, why) = other.fail(subscribe(&prefixes("b", 2)));
    assert_eq!(code, "too_many_subscriptions");
    assert_eq!(why, "the clients of this gateway have too many subscriptions together");
    // What somebody has already costs the broker nothing.
    other.succeed(subscribe(&prefixes("a", 49)));
    other.succeed(subscribe(&prefixes("b", 1)));
    let mut first = gateway.client();
    first.send(json!(["c."]).to_string());
    assert_eq!(first.receive()["code"], "too_many_subscriptions");
    assert_eq!(first.closed(), (1008, "Invalid subscriptions".into()));
    // Sessions of lost connections make room for those who are there.
    greedy.client.vanish();
    other.client.vanish();
    let mut next = connect(&gateway);
    wait_for("room", || {
        let answer = next.ask(subscribe(&prefixes("d", 50)));
        (answer["type"] == "ok").then_some(())
    });
    next.publish("d.49.", "Test::heard", json!([]));
    let mut publisher = connect(&gateway);
    publisher.publish("d.7.x", "Test::heard", json!([1]));
    assert_eq!(next.event_parts().0, "d.7.x");
}

#[test]
fn a_probe_that_found_no_room_is_sent_again() {
    let cluster =
        Cluster::on(Engine::Switch, NODES, "[broker]\nmetrics_port = 0\nmax_subscriptions = 20\n");
    let mut broker = cluster.broker();
    let (node, notifications) = cluster.library_node("worker-1");
    let connected = |what| {
        wait_notification(&notifications, what, |notification| {
            matches!(notification, Notification::Connected).then_some(())
        });
    };
    connected("the first time");
    let topics = prefixes("x", 100);
    for topic in &topics {
        node.subscribe(topic.as_str()).unwrap();
    }
    broker.kill();
    wait_notification(&notifications, "the loss", |notification| {
        matches!(notification, Notification::Disconnected).then_some(())
    });
    let _broker = cluster.broker();
    // Among so many, the probe is hardly one of the first 20.
    wait_for("trouble", || (!node.health().is_ok()).then_some(()));
    for topic in &topics {
        node.unsubscribe(topic.as_str()).unwrap();
    }
    connected("again");
}

/// A connection that has become a WebSocket, for parts of messages.
fn raw(gateway: &Gateway) -> (Client<TcpStream>, TcpStream) {
    let client = gateway.client();
    let stream = client.socket.get_ref().try_clone().unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    (client, stream)
}

#[test]
fn unfinished_messages_of_all_clients_have_a_limit() {
    // So the limit is 16 MiB.
    let gateway = Gateway::start("max_message_size = 1048576\nping_interval = \"0s\"");
    let mut healthy = gateway.subscriber(&["test."]);
    let before = gateway.manager.memory();
    let long = frame(TEXT, "x".repeat(1_000_000).as_bytes());
    let refused = || gateway.manager.metric_with("zcluster_websocket_refused_total", "memory");
    let mut attackers: Vec<(Client<TcpStream>, TcpStream)> = Vec::new();
    wait_for("someone refused", || {
        let (client, mut stream) = raw(&gateway);
        // It may be cut off in the middle.
        let _ = stream.write_all(&long[..900_000]);
        attackers.push((client, stream));
        (refused() > 0.0).then_some(())
    });
    assert!(attackers.len() >= 17, "{}", attackers.len());
    let grown = gateway.manager.memory().saturating_sub(before);
    assert!(grown < 64 * MIB, "{} MiB", grown / MIB);
    // Messages of the usual length are not affected.
    healthy.publish("test.a", "Test::usual", &[1]);
    connect(&gateway).publish("test.a", "Test::heard", json!([2]));
    assert_eq!(healthy.event().1, "Test::heard");
    // Nor are long ones, once the others are gone.
    for (client, _) in attackers {
        client.vanish();
    }
    wait_for("a long message", || {
        let mut client = gateway.subscriber(&[]);
        client.send(" ".repeat(900_000));
        client.next().is_ok().then_some(())
    });
}

#[test]
fn who_reads_as_fast_as_it_can_is_not_too_slow() {
    let gateway = Gateway::start("ping_interval = \"0s\"");
    let mut reader = gateway.subscriber(&["test."]);
    let mut second = V2::subscriber(&gateway.address(), &["test."]);
    let mut publisher = connect(&gateway);
    let long = "x".repeat(5_000_000);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..8 {
                publisher.publish("test.long", "Test::long", json!([number, long]));
            }
        });
        scope.spawn(|| {
            for number in 0..8 {
                assert_eq!(second.event_parts().2[0], number);
            }
        });
        for number in 0..8 {
            assert_eq!(reader.event().2, [number]);
        }
    });
}

#[test]
fn events_before_the_ack_are_published_even_if_the_client_closes_at_once() {
    let gateway = Gateway::start("");
    let mut listener = gateway.subscriber(&["test."]);
    for round in 0..20 {
        let mut client = gateway.client();
        client.send(json!([format!("new.{round}")]).to_string());
        for number in 0..5 {
            client.publish("test.a", "Test::early", &[round, number]);
        }
        client.close();
        for number in 0..5 {
            assert_eq!(listener.event().2, [round, number]);
        }
    }
}

#[test]
fn answers_to_pings_do_not_pile_up() {
    let gateway = Gateway::start("ping_interval = \"0s\"");
    let (client, mut stream) = raw(&gateway);
    let before = gateway.manager.memory();
    let pings = frame(0x89, &[b'x'; 125]).repeat(1_000);
    // It never reads. At some time it can no longer write.
    let mut sent = 0;
    while sent < 64 * MIB && stream.write_all(&pings).is_ok() {
        sent += pings.len() as u64;
    }
    assert!(sent < 64 * MIB, "all pings were read");
    let grown = gateway.manager.memory().saturating_sub(before);
    assert!(grown < 8 * MIB, "{} MiB", grown / MIB);
    drop(client);
}

#[test]
fn who_is_refused_publishes_nothing() {
    let gateway = Gateway::start("");
    let mut listener = gateway.subscriber(&["test."]);
    let (mut client, mut stream) = raw(&gateway);
    let event = data_message("test.a", "Test::refused", &[1]);
    let all: Vec<u8> = ["nonsense", r#"["test."]"#, event.as_str()]
        .iter()
        .flat_map(|text| frame(TEXT, text.as_bytes()))
        .collect();
    stream.write_all(&all).unwrap();
    assert_eq!(client.receive()["code"], "deserialization_failed");
    assert_eq!(client.closed().0, 1008);
    connect(&gateway).publish("test.a", "Test::allowed", json!([2]));
    assert_eq!(listener.event().1, "Test::allowed");
}

#[test]
fn a_subscription_that_can_never_be_costs_no_session() {
    let options = "[broker]\nmetrics_port = 0\nmax_subscriptions = 100\n";
    let gateway = Gateway::with(NODES, "", options);
    let lost = V2::subscriber(&gateway.address(), &["test."]);
    let (session, seen) = (lost.session(), lost.seq());
    lost.client.vanish();
    let subscribe = json!({ "type": "subscribe", "topics": prefixes("x", 26) });
    assert_eq!(connect(&gateway).fail(subscribe).0, "too_many_subscriptions");
    assert_eq!(connect(&gateway).resume(&session, seen)["type"], "ok");
}
