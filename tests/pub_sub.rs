//! `zcluster pub` and `zcluster sub`: what they do for a shell, and that no node notices them.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value as Json, json};
use support::keys::{PER_NODE, SharedKeys, make_keys};
use support::{
    Cluster, Ended, Engine, NodeSpec, Process, Signal, binary, command, free_port, run_to_end,
    wait_all_see_all, wait_for,
};
use zcluster::Event;
use zcluster::client::{Client, ClientError, Reach};

const NODES: &[NodeSpec<'static>] =
    &[("manager", "manager"), ("logger-1", "logger"), ("worker-1", "worker")];
const NO_NODES: &[NodeSpec<'static>] = &[("manager", "manager")];
const PATIENCE: Duration = support::PATIENCE;

fn publish(cluster: &Cluster, args: &[&str]) -> Ended {
    run_to_end(command("zcluster").args(["pub", "--layout", cluster.layout_arg()]).args(args))
}

/// Runs `zcluster pub` with that input.
fn publish_lines(cluster: &Cluster, lines: &str) -> (Option<i32>, String) {
    let mut command = command("zcluster");
    let mut child = command
        .args(["pub", "--layout", cluster.layout_arg()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let ended = child.wait_with_output().unwrap();
    (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
}

/// A subscriber that has said that it is one.
fn subscriber(cluster: &Cluster, args: &[&str]) -> Process {
    let args = [&["sub", "--layout", cluster.layout_arg()], args].concat();
    let subscriber = Process::spawn("sub", "zcluster", &args);
    subscriber.wait_stderr("zcluster: subscribed to ");
    subscriber
}

fn wait_event(process: &mut Process, name: &str) -> Json {
    process.wait_line(name, |line| (line["event"] == name).then(|| line.clone()))
}

fn line(topic: &str, event: &str, args: &Json) -> String {
    json!({ "topic": topic, "event": event, "args": args }).to_string()
}

fn assert_ended(ended: &Ended, code: i32, parts: &[&str]) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    for part in parts {
        assert!(ended.stderr.contains(part), "{part:?} in {}", ended.stderr);
    }
}

fn events_pass_and_no_node_notices(engine: Engine) {
    let cluster = Cluster::on(engine, NODES, "");
    let mut broker = cluster.broker();
    let mut nodes = cluster.start_all(NODES);
    wait_all_see_all(&mut nodes);

    let mut all = subscriber(&cluster, &[]);
    // What means a node or a probe to others.
    let special =
        ["zeek.cluster.nodeid.", "zeek.zeromq.internal.", "zeek.cluster.nodeid.zeromq_x."];
    let mut special = subscriber(&cluster, &special);
    let mut workers = subscriber(&cluster, &["zeek.cluster.worker", "--count", "2"]);

    let args = ["hello", "42", "-1", "\"7\"", "{\"addr\":\"192.0.2.1\"}"];
    let ended = publish(&cluster, &[&["zeek.cluster.worker", "Test::one"], &args[..]].concat());
    assert_eq!((ended.code, ended.stderr.as_str(), ended.stdout.as_str()), (Some(0), "", ""));
    let expected = json!(["hello", 42, {"int": -1}, "7", {"addr": "192.0.2.1"}]);
    let worker = nodes.get_mut("worker-1").unwrap();
    assert_eq!(wait_event(worker, "Test::one")["args"], expected);
    assert_eq!(wait_event(&mut all, "Test::one")["args"], expected);

    // Any line that was printed is one that can be published.
    let printed = wait_event(&mut workers, "Test::one");
    let (code, stderr) = publish_lines(&cluster, &format!("{printed}\n"));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let again = wait_event(&mut workers, "Test::one");
    assert_eq!((&again["args"], &again["topic"]), (&printed["args"], &printed["topic"]));
    assert_ne!(again["sender"], printed["sender"]);
    assert_eq!(workers.wait().code(), Some(0), "that is what --count said");

    // Many, at once: all of them arrive, in their order.
    let many: String = (0..3_000)
        .map(|n| line("zeek.cluster.manager", "Test::many", &json!([n])) + "\n")
        .collect();
    assert_eq!(publish_lines(&cluster, &many), (Some(0), String::new()));
    let manager = nodes.get_mut("manager").unwrap();
    for n in 0..3_000 {
        assert_eq!(wait_event(manager, "Test::many")["args"], json!([n]));
    }
    all.stop();
    special.stop();
    assert_eq!(special.remaining_lines().len(), 0, "nobody greeted anybody");

    // A last event of each node: whatever it was told of the others, it has taken in by then.
    for name in ["manager", "worker-1"] {
        let topic = format!("zeek.cluster.node.{name}.");
        assert_eq!(publish(&cluster, &[&topic, "Test::last"]).code, Some(0));
        wait_event(nodes.get_mut(name).unwrap(), "Test::last");
    }
    for node in nodes.values_mut() {
        let stderr = node.stderr();
        assert!(!stderr.contains("WARN") && !stderr.contains("ERROR"), "{stderr}");
        assert_eq!(node.metric("zcluster_node_up_total"), 2.0);
        assert_eq!(node.metric("zcluster_node_down_total"), 0.0);
    }
    assert!(!broker.stderr().contains("WARN"), "{}", broker.stderr());
    assert_eq!(broker.metric("zcluster_broker_duplicate_names_total"), 0.0);
    nodes.values_mut().rev().for_each(Process::stop);
    broker.stop();
}

fn a_topic_without_subscriber_is_told_of(engine: Engine) {
    let cluster = Cluster::on(engine, NO_NODES, "");
    let _broker = cluster.broker();
    assert_ended(&publish(&cluster, &["t", "Test::e"]), 0, &["'t' has no subscribers"]);
    let input = [line("t", "Test::e", &json!([])), line("u\n", "Test::e", &json!([]))];
    let twice = [&input[..], &input[..]].concat();
    let (code, stderr) = publish_lines(&cluster, &twice.join("\n"));
    assert_eq!(code, Some(0));
    let expected = [
        "zcluster: 't' has no subscribers: nothing receives the event",
        "zcluster: 'u\\n' has no subscribers: nothing receives the event",
        "zcluster: 4 of 4 events had no subscribers",
    ];
    assert_eq!(stderr.lines().collect::<Vec<_>>(), expected);
    // Somebody does, be it by a shorter prefix.
    let _subscriber = subscriber(&cluster, &[""]);
    assert_eq!(publish(&cluster, &["t", "Test::e"]).stderr, "");
}

fn bad_lines_are_told_by_number(engine: Engine) {
    let cluster = Cluster::on(engine, NO_NODES, "");
    let _broker = cluster.broker();
    let mut subscriber = subscriber(&cluster, &["t"]);
    let good = line("t", "Test::good", &json!([]));
    let (code, stderr) = publish_lines(&cluster, &format!("bad\n\n{good}\n{{\"topic\":\"t\"}}\n"));
    assert_eq!(code, Some(65));
    let told: Vec<_> = stderr.lines().collect();
    assert!(told[0].starts_with("zcluster: stdin line 1: not JSON: "), "{stderr}");
    assert_eq!(
        told[1..],
        ["zcluster: stdin line 4: missing member `event`", "zcluster: 2 lines were not published"]
    );
    wait_event(&mut subscriber, "Test::good");
}

fn a_subscriber_ends_as_it_was_asked_to(engine: Engine) {
    let cluster = Cluster::on(engine, NO_NODES, "");
    let _broker = cluster.broker();
    for signal in [Signal::TERM, Signal::INT] {
        let mut by_signal = subscriber(&cluster, &["t"]);
        by_signal.signal(signal);
        assert_eq!(by_signal.wait().code(), Some(0));
    }
    let sub = |args: &[&str]| {
        run_to_end(command("zcluster").args(["sub", "--layout", cluster.layout_arg()]).args(args))
    };
    assert_ended(&sub(&["t", "--timeout", "0.5"]), 0, &["subscribed to 't'"]);
    let too_few = sub(&["t", "--count", "3", "--timeout", "500ms"]);
    assert_eq!((too_few.code, too_few.stderr.lines().count()), (Some(69), 2));
    assert!(too_few.stderr.contains("0 of 3 events within 500ms"), "{}", too_few.stderr);
}

fn a_reader_that_has_gone_is_no_error(engine: Engine) {
    let cluster = Cluster::on(engine, NO_NODES, "");
    let _broker = cluster.broker();
    let script = "\"$0\" sub --layout \"$1\" t | head -1";
    let mut shell = Command::new("bash");
    let mut child: Child = shell
        .args(["-o", "pipefail", "-c", script])
        .args([binary("zcluster").as_os_str(), cluster.layout.as_os_str()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = String::new();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    stderr.read_line(&mut told).unwrap();
    assert_eq!(told, "zcluster: subscribed to 't'\n");
    // One is all there is: that nobody reads is noticed without another.
    assert_eq!(publish(&cluster, &["t", "Test::only"]).code, Some(0));
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0));
    assert!(String::from_utf8(ended.stdout).unwrap().contains("Test::only"));
    assert_eq!(stderr.lines().count(), 0);
}

fn a_broker_that_goes_and_comes_back_is_told_of(engine: Engine) {
    let cluster = Cluster::on(engine, NO_NODES, "");
    let mut broker = cluster.broker();
    let mut subscriber = subscriber(&cluster, &["t"]);
    broker.kill();
    subscriber.wait_stderr("zcluster: lost the connection to the broker");
    let _broker = cluster.broker();
    subscriber.wait_stderr("zcluster: the broker is back, after ");
    assert_eq!(publish(&cluster, &["t", "Test::after"]).stderr, "");
    wait_event(&mut subscriber, "Test::after");
    subscriber.stop();
}

on_both_engines!(
    events_pass_and_no_node_notices,
    a_topic_without_subscriber_is_told_of,
    bad_lines_are_told_by_number,
    a_subscriber_ends_as_it_was_asked_to,
    a_reader_that_has_gone_is_no_error,
    a_broker_that_goes_and_comes_back_is_told_of,
);

#[test]
fn without_a_broker_it_says_where_and_why() {
    let cluster = Cluster::new(NO_NODES, "");
    let xsub = format!("tcp://127.0.0.1:{}", cluster.xsub_port);
    let words = [xsub.as_str(), "within 300ms", "Connection refused"];
    assert_ended(&publish(&cluster, &["--timeout", "300ms", "t", "Test::e"]), 69, &words);
    let layout = ["--layout", cluster.layout_arg(), "--timeout", "300ms"];
    let ended = run_to_end(command("zcluster").arg("sub").args(layout));
    assert_ended(&ended, 69, &words);
    // Without input there is nothing to do, but no broker all the same.
    let ended = run_to_end(command("zcluster").arg("pub").args(layout));
    assert_ended(&ended, 69, &words);
}

#[test]
fn mistakes_on_the_command_line() {
    let cluster = Cluster::new(NO_NODES, "");
    for (args, code, part) in [
        (&["topic"][..], 64, "<EVENT>"),
        (&["--publish-to", "127.0.0.1:1", "t", "e"], 64, "tcp://127.0.0.1:5556"),
        (&["--timeout", "soon", "t", "e"], 64, "500ms"),
        (&["t", "e", "1", "{\"addr\":"], 65, "args[1]: not JSON"),
        (&["t", "e", "{\"addr\":7}"], 65, "args[0].addr: expected an IP address, found 7"),
        (&["--key", "manager", "t", "e"], 78, "mode = \"per-node\""),
    ] {
        let ended = publish(&cluster, args);
        assert_eq!(ended.code, Some(code), "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(part), "{args:?}: {}", ended.stderr);
    }
    let ended = run_to_end(command("zcluster").args(["sub", "--layout", "/nonexistent"]));
    assert_ended(&ended, 74, &["cannot read the layout file /nonexistent"]);
}

#[test]
fn endpoints_and_the_keys_of_the_environment_do_without_a_layout() {
    let keys = SharedKeys::new();
    let cluster = Cluster::new(NO_NODES, &keys.options());
    let _broker = cluster.broker();
    let publish_to = format!("tcp://127.0.0.1:{}", cluster.xsub_port);
    let subscribe_to = format!("tcp://127.0.0.1:{}", cluster.xpub_port);
    let endpoints = ["--publish-to", &publish_to, "--subscribe-to", &subscribe_to];
    let empty = tempfile::tempdir().unwrap();

    let mut sub = command("zcluster");
    keys.set(sub.arg("sub").args(endpoints).arg("t").current_dir(&empty));
    let mut listener = Process::spawn_command("sub", &mut sub);
    listener.wait_stderr("subscribed to 't'");
    let mut with_keys = command("zcluster");
    keys.set(with_keys.arg("pub").args(endpoints).args(["t", "Test::keyed"]).current_dir(&empty));
    let ended = run_to_end(&mut with_keys);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    wait_event(&mut listener, "Test::keyed");
    // The layout has them, too.
    assert_eq!(publish(&cluster, &["t", "Test::layout"]).stderr, "");
    wait_event(&mut listener, "Test::layout");

    let mut without = command("zcluster");
    without.arg("pub").args(endpoints).args(["t", "Test::e"]).current_dir(&empty);
    assert_ended(&run_to_end(&mut without), 78, &["it encrypts and this node does not"]);
}

#[test]
fn the_operator_has_a_key_and_is_no_node() {
    let rules = "[allow.operator]\npublish = [\"zeek.\"]\nsubscribe = [\"zeek.\"]\n";
    let nodes: &[NodeSpec<'_>] = &[("manager", "manager"), ("worker-1", "worker")];
    let cluster = Cluster::new(nodes, &format!("{PER_NODE}{rules}"));
    make_keys(cluster.dir.path(), &["broker", "manager", "worker-1"]);
    assert_ended(
        &publish(&cluster, &["zeek.x", "Test::e"]),
        78,
        &["operator.secret", "zcluster keygen --per-node --node operator"],
    );
    make_keys(cluster.dir.path(), &["operator"]);
    let broker = cluster.broker();
    let mut nodes: BTreeMap<String, Process> = cluster.start_all(nodes);
    wait_all_see_all(&mut nodes);

    let mut listener = subscriber(&cluster, &["zeek."]);
    let ended = publish(&cluster, &["zeek.cluster.worker", "Test::allowed"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let seen = wait_event(&mut listener, "Test::allowed");
    assert!(seen["sender"].as_str().unwrap().starts_with("zeromq_operator_"), "{seen}");
    wait_event(nodes.get_mut("worker-1").unwrap(), "Test::allowed");
    // With a node's key it is that node's event, and still no second process.
    let ended = publish(&cluster, &["--key", "worker-1", "zeek.cluster.manager", "Test::lent"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    wait_event(nodes.get_mut("manager").unwrap(), "Test::lent");
    listener.stop();

    for (args, words) in [
        (["pub", "other", "Test::e"], ["does not let operator publish on 'other'"]),
        (["pub", "zeek.x", "Cluster::node_down"], ["speaks for a node"]),
        (["sub", "other", "--timeout=60s"], ["refuses the subscription to 'other'"]),
        (["sub", "zeek.", "--key=nobody"], ["'nobody' has no key"]),
    ] {
        let layout = ["--layout", cluster.layout_arg()];
        assert_ended(&run_to_end(command("zcluster").args(args).args(layout)), 78, &words);
    }
    for node in nodes.values() {
        assert!(!node.stderr().contains("unknown node"), "{}", node.stderr());
        assert_eq!(node.metric("zcluster_node_up_total"), 1.0);
    }
    assert_eq!(broker.metric("zcluster_broker_duplicate_names_total"), 0.0);
}

#[test]
fn the_operators_key_makes_no_node() {
    use zcluster::layout::{Node as LayoutNode, NodeType};

    let cluster = Cluster::new(NO_NODES, PER_NODE);
    make_keys(cluster.dir.path(), &["broker", "manager", "operator"]);
    let broker = cluster.broker();
    let manager = cluster.node("manager", &[]);
    // Somebody who has the key and says in a layout of his own that it is a node's.
    let mut layout = cluster.read_layout();
    let node = LayoutNode::new(NodeType::Worker, [127, 0, 0, 1].into());
    layout.nodes.insert("operator".into(), node);
    let (_node, _news) = zcluster::Node::builder(layout, "operator").start().unwrap();
    broker.wait_stderr_line(&["refused from operator at", "claims to be another node"]);
    assert_eq!(manager.metric("zcluster_node_up_total"), 0.0);
    assert!(!manager.stderr().contains("operator"), "{}", manager.stderr());
}

#[test]
fn what_is_dropped_for_a_slow_reader_is_told() {
    const EVENTS: u64 = 15_000;
    let cluster = Cluster::new(NO_NODES, "");
    let _broker = cluster.broker();
    let mut child = command("zcluster")
        .args(["sub", "--layout", cluster.layout_arg(), "t"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(stderr.next().unwrap(), "zcluster: subscribed to 't'");

    let mut publisher = Client::new(cluster.read_layout()).publisher().unwrap();
    for n in 0..EVENTS {
        let event = Event::new("Test::n", vec![n.into(), "x".repeat(100).as_str().into()]);
        assert_eq!(publisher.publish("t", &event, PATIENCE).unwrap(), Reach::Somebody);
    }
    let told = stderr.next().unwrap();
    assert!(told.contains("stdout is not read fast enough: "), "{told}");

    // Now somebody reads, and there is an end to it.
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let reader = std::thread::spawn(move || {
        let mut numbered = 0;
        for line in lines.map_while(Result::ok) {
            if line.contains("Test::end") {
                return numbered;
            }
            numbered += 1;
        }
        panic!("no end after {numbered} lines");
    });
    let mut ends = 0;
    wait_for("an event that finds room", || {
        ends += 1;
        publisher.publish("t", &Event::new("Test::end", vec![]), PATIENCE).unwrap();
        reader.is_finished().then_some(())
    });
    publisher.finish(PATIENCE).unwrap();
    let printed = reader.join().unwrap();
    // Its reader has gone.
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let told: Vec<_> = stderr.filter(|line| line.contains("events dropped:")).collect();
    let dropped: u64 = told[0].split(' ').nth(1).unwrap().parse().unwrap();
    let missing = EVENTS - printed;
    assert!(
        (missing..=missing + ends).contains(&dropped),
        "{missing} of {EVENTS}, {ends}: {told:?}"
    );
}

#[test]
fn a_program_learns_that_events_may_be_lost() {
    let cluster = Cluster::new(NO_NODES, "");
    let mut broker = cluster.broker();
    let client = Client::new(cluster.read_layout());
    let event = Event::new("Test::e", vec![]);
    let mut publisher = client.publisher().unwrap();
    publisher.publish("t", &event, PATIENCE).unwrap();
    broker.kill();
    let soon = Duration::from_millis(300);
    wait_for("the loss to be noticed", || match publisher.publish("t", &event, soon) {
        Ok(_) => None,
        Err(ClientError::Unreachable { waited, .. }) => (waited == soon).then_some(()),
        Err(error) => panic!("{error}"),
    });
    // It finds the next broker by itself, but what it said to the last may be lost.
    let _broker = cluster.broker();
    publisher.publish("t", &event, PATIENCE).unwrap();
    let sent = publisher.sent();
    match publisher.finish(PATIENCE) {
        Err(ClientError::Unsure { sent: told, .. }) => assert_eq!(told, sent),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_broker_that_never_answers_is_no_broker() {
    let silent = std::net::TcpListener::bind(("127.0.0.1", free_port())).unwrap();
    let endpoint = format!("tcp://{}", silent.local_addr().unwrap());
    let mut publisher = Client::at(&endpoint, &endpoint).publisher().unwrap();
    let error = publisher.wait_until_ready(Duration::from_millis(200)).unwrap_err();
    assert!(error.to_string().contains("does not answer like a broker"), "{error}");
}
