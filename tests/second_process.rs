//! A second process under the name of a node: it ends where the first one lives, and takes over where
//! it does not; whoever can know is told.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::fs;

use support::{
    Cluster, Engine, NodeSpec, Process, Signal, command, free_port, run_to_end, wait_all_see_all,
    wait_for, wait_members,
};
use zcluster::node::{NodeError, Notification};

const NODES: &[NodeSpec<'static>] = &[("manager", "manager"), ("worker-1", "worker")];
const WITH_LOGGER: &[NodeSpec<'static>] =
    &[("manager", "manager"), ("logger-1", "logger"), ("worker-1", "worker")];
const METRIC: &str = "zcluster_broker_duplicate_names_total";

/// The second one has ended, and the broker has said so and counted it, where it can.
fn assert_told(engine: Engine, broker: &Process, name: &str, times: f64) {
    if engine == Engine::Zmq {
        return;
    }
    broker.wait_metric(METRIC, times);
    broker.wait_stderr_line(&[
        "two processes under one name",
        &format!("{name} at 127.0.0.1:"),
        &format!("has connected, and {name} at 127.0.0.1:"),
    ]);
}

fn say(from: &mut Process, to: &mut Process, word: &str) {
    let topic = format!("zeek.cluster.node.{}.", to.name);
    from.write_line(&format!(r#"{{"topic":"{topic}","event":"Test::said","args":["{word}"]}}"#));
    to.wait_line(word, |line| (line["args"][0] == word).then_some(()));
}

fn it_ends_where_the_first_one_lives(engine: Engine) {
    let cluster = Cluster::on(engine, NODES, "");
    let broker = cluster.broker();
    assert!(broker.metrics().contains(METRIC), "it is there from the start");
    let mut manager = cluster.node("manager", &[]);
    let mut first = cluster.node("worker-1", &[]);
    manager.wait_all_up(&["worker-1"]);
    first.wait_all_up(&["manager"]);
    for times in [1.0, 2.0] {
        let mut second = cluster.node("worker-1", &[]);
        second.write_line(r#"{"topic":"zeek.cluster.manager","event":"Test::second","args":[]}"#);
        assert_eq!(second.wait().code(), Some(69));
        second.wait_stderr_line(&[
            "ERROR",
            "'worker-1' is up already",
            first.id(),
            "stop it first",
        ]);
        assert_told(engine, &broker, "worker-1", times);
    }
    // And nobody has noticed more than that somebody came and went.
    say(&mut first, &mut manager, "first to manager");
    say(&mut manager, &mut first, "manager to first");
    for node in [&manager, &first] {
        let other = |line: &&serde_json::Value| line.get("node_down").is_some();
        assert_eq!(node.seen.iter().filter(other).count(), 0, "{:?}", node.seen);
        assert!(!node.stderr().contains("never said goodbye"), "{}", node.stderr());
        assert_eq!(node.metric("zcluster_node_up_total"), 1.0);
    }
    assert!(!manager.seen.iter().any(|line| line["event"] == "Test::second"));
    // Once the first has gone there is room for another.
    first.stop();
    manager.wait_member("node_down", "worker-1");
    let mut next = cluster.node("worker-1", &[]);
    assert_eq!(manager.wait_member("node_up", "worker-1"), next.id());
    next.wait_all_up(&["manager"]);
}

fn a_second_logger_ends(engine: Engine) {
    let cluster = Cluster::on(engine, WITH_LOGGER, "");
    let broker = cluster.broker();
    let mut nodes = cluster.start_all(WITH_LOGGER);
    wait_all_see_all(&mut nodes);
    // As on another host: with a directory and a port of its own.
    let port = cluster.read_layout().node("logger-1").unwrap().port.unwrap();
    let text = fs::read_to_string(&cluster.layout).unwrap();
    let text = text.replace(&format!("port = {port}\n"), &format!("port = {}\n", free_port()));
    let text = text.replace("/logs\"", "/logs-elsewhere\"");
    let elsewhere = cluster.dir.path().join("elsewhere.toml");
    fs::write(&elsewhere, text).unwrap();
    let elsewhere = ["--layout", elsewhere.to_str().unwrap(), "--node", "logger-1"];
    let ended = run_to_end(command("zcluster-logger").args(elsewhere));
    assert_eq!(ended.code, Some(69), "{}", ended.stderr);
    assert!(ended.stderr.contains("node 'logger-1' is up already"), "{}", ended.stderr);
    assert_told(engine, &broker, "logger-1", 1.0);
    for name in ["manager", "worker-1"] {
        assert_eq!(nodes[name].metric("zcluster_node_down_total"), 0.0);
        assert!(!nodes[name].stderr().contains("never said goodbye"));
    }
}

fn it_takes_the_place_of_one_that_is_stopped(engine: Engine) {
    let cluster = Cluster::on(engine, NODES, "");
    let broker = cluster.broker();
    let mut manager = cluster.node("manager", &[]);
    let first = cluster.node("worker-1", &[]);
    manager.wait_all_up(&["worker-1"]);
    first.signal(Signal::STOP);
    let mut second = cluster.node("worker-1", &[]);
    second.write_line(r#"{"topic":"zeek.cluster.manager","event":"Test::second","args":[]}"#);
    assert_eq!(manager.wait_member("node_down", "worker-1"), first.id());
    assert_eq!(manager.wait_member("node_up", "worker-1"), second.id());
    // What it had to say has waited.
    wait_for("its event", || {
        let seen = manager.seen.iter().any(|line| line["event"] == "Test::second");
        seen.then_some(()).or_else(|| {
            manager.wait_line("any line", |_| Some(()));
            None
        })
    });
    assert_told(engine, &broker, "worker-1", 1.0);
    // Awake again, both hear that there are two.
    first.signal(Signal::CONT);
    for (node, other) in [(&first, &second), (&second, &first)] {
        node.wait_stderr_line(&["another process runs under the name of this node", other.id()]);
    }
}

fn a_killed_one_is_replaced_at_once(engine: Engine) {
    let cluster = Cluster::on(engine, NODES, "");
    let _broker = cluster.broker();
    let mut manager = cluster.node("manager", &[]);
    let mut worker = cluster.node("worker-1", &[]);
    for _ in 0..5 {
        assert_eq!(manager.wait_member("node_up", "worker-1"), worker.id());
        worker.kill();
        worker = cluster.node("worker-1", &[]);
    }
    assert_eq!(manager.wait_member("node_up", "worker-1"), worker.id());
}

fn a_node_of_the_library_learns_of_it(engine: Engine) {
    let cluster = Cluster::on(engine, NODES, "");
    let _broker = cluster.broker();
    let (manager, _manager_news) = cluster.library_node("manager");
    let (first, _first_news) = cluster.library_node("worker-1");
    wait_members(&manager, &["worker-1"]);
    let (second, news) = cluster.library_node("worker-1");
    while let Some(notification) = news.receive() {
        assert!(!matches!(notification, Notification::NodeUp { .. }), "{notification:?}");
    }
    match second.take_failure() {
        Some(NodeError::NameTaken { name, id }) => {
            assert_eq!((name.as_str(), &id), ("worker-1", first.id()));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(manager.members().get("worker-1"), Some(first.id()));
}

on_both_engines!(
    it_ends_where_the_first_one_lives,
    a_second_logger_ends,
    it_takes_the_place_of_one_that_is_stopped,
    a_killed_one_is_replaced_at_once,
    a_node_of_the_library_learns_of_it,
);
