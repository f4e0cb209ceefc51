//! `zcluster-node` as users and scripts run it: lines in, lines out.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::process::{Child, Stdio};

use serde_json::{Value as Json, json};
use support::keys::SharedKeys;
use support::{Cluster, Engine, NodeSpec, Process, command, wait_for, wait_members};

/// No logger, which most of these tests do not need. Records that no logger takes are an error at
/// exit.
const NODES: &[NodeSpec<'static>] =
    &[("manager", "manager"), ("worker-1", "worker"), ("worker-2", "worker")];
const NODES_AND_LOGGER: &[NodeSpec<'static>] = &[
    ("manager", "manager"),
    ("logger-1", "logger"),
    ("worker-1", "worker"),
    ("worker-2", "worker"),
];

/// Limits the wait for loggers that do not exist.
const IMPATIENT: &str = "[log]\nshutdown_timeout = \"100ms\"";

fn wait_event(process: &mut Process, name: &str) -> Json {
    process.wait_line(name, |line| (line["event"] == name).then(|| line.clone()))
}

/// A publication as a line.
fn line(topic: &str, event: &str, args: &Json) -> String {
    json!({ "topic": topic, "event": event, "args": args }).to_string()
}

fn what_is_typed_here_is_printed_there(engine: Engine) {
    let cluster = Cluster::on(engine, NODES, IMPATIENT);
    let _broker = cluster.broker();
    let mut manager = cluster.node("manager", &[]);
    let mut worker = cluster.node("worker-1", &["--subscribe", "chat.", "--subscribe", "more"]);
    manager.wait_all_up(&["worker-1"]);
    worker.wait_all_up(&["manager"]);
    let args = json!([
        null,
        true,
        42,
        { "int": -1 },
        1.5,
        "text \u{fc}\n\u{0}",
        { "bytes": "ff00" },
        { "addr": "192.0.2.1" },
        { "addr": "2001:db8::1" },
        { "subnet": "192.0.2.0/24" },
        { "port": "443/tcp" },
        { "time": "2026-01-01T00:00:00.25Z" },
        { "interval": "1.5s" },
        { "enum": "Cluster::WORKER" },
        [1, [2, []]],
        { "set": [1, 2] },
        { "table": [["key", 1], ["other", [2]]] },
    ]);
    manager.write_line(&line("chat.all", "Test::typed", &args));
    let received = wait_event(&mut worker, "Test::typed");
    assert_eq!(received["topic"], "chat.all");
    assert_eq!(received["sender"], manager.id());
    assert_eq!(received["args"], args);

    // Printed values can be typed again.
    worker.write_line(&line("zeek.cluster.manager", "Test::back", &received["args"]));
    assert_eq!(wait_event(&mut manager, "Test::back")["args"], args);

    // Only subscribed topics arrive, and none of the node's own events.
    for topic in ["nobody", "mor", "chat"] {
        manager.write_line(&line(topic, "Test::unheard", &json!([])));
    }
    worker.write_line(&line("chat.own", "Test::unheard", &json!([])));
    manager.write_line(&line("moreover", "Test::last", &json!([])));
    wait_event(&mut worker, "Test::last");
    worker.write_line(&line("zeek.cluster.manager", "Test::last", &json!([])));
    wait_event(&mut manager, "Test::last");
    for process in [&manager, &worker] {
        assert!(!process.seen.iter().any(|line| line["event"] == "Test::unheard"));
    }
    worker.stop();
    manager.stop();
}

fn bad_lines_are_told_by_number_and_passed_over(engine: Engine) {
    let cluster = Cluster::on(engine, NODES, IMPATIENT);
    let _broker = cluster.broker();
    let mut manager = cluster.node("manager", &[]);
    let mut worker = cluster.node("worker-1", &[]);
    worker.wait_all_up(&["manager"]);
    let topic = "zeek.cluster.manager";
    let lines = [
        ("no JSON", true),
        ("", false),
        (r#"{"topic":"t"}"#, true),
        (r#"{"topic":"t","event":"e","args":[],"colour":"red"}"#, true),
        (r#"{"topic":"t","event":"e","args":[{"port":"http"}]}"#, true),
        ("   ", false),
        ("[1,2,3]", true),
    ];
    for (line, _) in lines {
        worker.write_line(line);
    }
    worker.write_line(&line(topic, "Test::good", &json!([1])));
    assert_eq!(wait_event(&mut manager, "Test::good")["args"], json!([1]));
    let stderr = worker.stderr();
    for (number, (line, bad)) in lines.iter().enumerate() {
        let told = stderr.contains(&format!("stdin line {}: ", number + 1));
        assert_eq!(told, *bad, "{line}\n{stderr}");
    }
    worker.close_stdin();
    // The node keeps running after the end of its input.
    manager.write_line(&line("zeek.cluster.node.worker-1.", "Test::still_there", &json!([])));
    wait_event(&mut worker, "Test::still_there");
    worker.stop();
}

fn quiet_prints_the_ready_line_only(engine: Engine) {
    let cluster = Cluster::on(engine, NODES, IMPATIENT);
    let _broker = cluster.broker();
    let mut manager = cluster.node("manager", &[]);
    let mut worker = cluster.node("worker-1", &["--quiet"]);
    let mut other = cluster.node("worker-2", &[]);
    manager.wait_all_up(&["worker-1", "worker-2"]);
    worker.wait_metric("zcluster_members_up", 2.0);
    manager.write_line(&line("zeek.cluster.worker", "Test::unprinted", &json!([])));
    wait_event(&mut other, "Test::unprinted");
    worker.write_line(&line("zeek.cluster.manager", "Test::after", &json!([])));
    wait_event(&mut manager, "Test::after");
    worker.stop();
    let lines = worker.remaining_lines();
    assert!(worker.seen.iter().chain(&lines).all(|line| line.get("ready").is_some()), "{lines:?}");
}

fn the_demo_beats_and_logs(engine: Engine) {
    let options = "[log]\nflush_interval = \"50ms\"";
    let cluster = Cluster::on(engine, NODES_AND_LOGGER, options);
    let _broker = cluster.broker();
    let mut logger = cluster.logger("logger-1");
    let mut manager = cluster.node("manager", &["--demo"]);
    let mut workers = ["worker-1", "worker-2"].map(|name| cluster.node(name, &["--demo"]));
    for name in ["worker-1", "worker-2"] {
        manager.wait_line("a heartbeat", |line| {
            let of_worker = line["event"] == "Demo::heartbeat" && line["args"][0] == name;
            (of_worker && line["args"][1].as_u64() >= Some(2)).then_some(())
        });
    }
    let complete = || {
        let lines = cluster.log_lines("demo");
        ["worker-1", "worker-2"].iter().all(|name| lines.iter().any(|line| line.contains(name)))
    };
    wait_for("demo.log", || complete().then_some(()));
    workers.iter_mut().for_each(Process::stop);
    manager.stop();
    logger.stop();
    for line in cluster.log_lines("demo") {
        let columns: Vec<&str> = line.split('\t').collect();
        assert_eq!(columns.len(), 8, "{line}");
        assert_eq!(columns[6], "demo,heartbeat", "{line}");
    }
}

fn a_node_ends_when_nobody_reads_its_output(engine: Engine) {
    let cluster = Cluster::on(engine, NODES, IMPATIENT);
    let _broker = cluster.broker();
    let mut worker = cluster.node("worker-1", &[]);
    let (manager, _news) = cluster.library_node("manager");
    wait_members(&manager, &["worker-1"]);
    worker.close_stdout();
    wait_for("the end of the worker", || {
        let event = zcluster::Event::new("Test::unread", vec![]);
        manager.publish("zeek.cluster.worker", &event).unwrap();
        (!worker.is_running()).then_some(())
    });
    assert_eq!(worker.wait().code(), Some(74));
    worker.wait_stderr("cannot write to stdout");
}

fn without_stdin_nothing_is_read(engine: Engine) {
    let cluster = Cluster::on(engine, NODES, IMPATIENT);
    let _broker = cluster.broker();
    let mut manager = cluster.node("manager", &[]);
    let mut worker = cluster.node("worker-1", &["--no-stdin"]);
    worker.wait_all_up(&["manager"]);
    worker.write_line("this would be told as a bad line");
    manager.write_line(&line("zeek.cluster.worker", "Test::after", &json!([])));
    wait_event(&mut worker, "Test::after");
    worker.stop();
    assert!(!worker.stderr().contains("stdin line"));
}

on_both_engines!(
    what_is_typed_here_is_printed_there,
    bad_lines_are_told_by_number_and_passed_over,
    quiet_prints_the_ready_line_only,
    the_demo_beats_and_logs,
    a_node_ends_when_nobody_reads_its_output,
    without_stdin_nothing_is_read,
);

struct KilledOnDrop(Child);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_node_that_fails_says_so_though_nobody_reads_its_lines() {
    let keys = SharedKeys::new();
    let cluster = Cluster::new(NODES, IMPATIENT);
    let encrypted = |program: &str, node: &[&str]| {
        let mut command = command(program);
        command.args(["--layout", cluster.layout_arg()]).args(node);
        keys.set(&mut command);
        command
    };
    let mut broker = Process::start_command("broker", &mut encrypted("zcluster-broker", &[]));
    let node = ["--node", "manager"];
    let mut manager = Process::start_command("manager", &mut encrypted("zcluster-node", &node));
    let unread = encrypted("zcluster-node", &["--node", "worker-1", "--no-stdin"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let mut unread = KilledOnDrop(unread.unwrap());
    manager.wait_all_up(&["worker-1"]);
    // More than a pipe holds.
    for _ in 0..200 {
        manager.write_line(&line("zeek.cluster.worker", "Demo::long", &json!(["x".repeat(1024)])));
    }
    let pipe = unread.0.stdout.take().unwrap();
    wait_for("a full pipe", || {
        // A line that does not fit into the rest of a page begins the next one.
        (rustix::io::ioctl_fionread(&pipe).unwrap() > 48 * 1024).then_some(())
    });
    broker.kill();
    // Another mechanism, which nobody can mistake for a broker that is away.
    let _plain = cluster.broker();
    let status = wait_for("the end of the node", || unread.0.try_wait().unwrap());
    assert_eq!(status.code(), Some(78));
}
