//! What `/healthz`, `/readyz`, `zcluster_ready` and [`zcluster::Node::health`] say of a process in
//! trouble: what is wrong, where, and how much; and that it is well again.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use support::{Cluster, NodeSpec, Process, Signal, free_port, wait_for, wait_notification};
use zcluster::node::{Node, Notification, Notifications};
use zcluster::transport::{Context, Socket, SocketKind, SocketOptions};
use zcluster::wire::zeek_bin::{FieldSpec, LogSchema, LogValue, Scalar};
use zcluster::{Event, Value};

const NODES: &[NodeSpec<'static>] =
    &[("manager", "manager"), ("logger-1", "logger"), ("worker-1", "worker")];
const NO_LOGGER: &[NodeSpec<'static>] = &[("manager", "manager"), ("worker-1", "worker")];

/// Waits until `/readyz`, and then `/healthz`, has a line with all these parts.
fn wait_problem(process: &Process, parts: &[&str]) {
    for path in ["/readyz", "/healthz"] {
        wait_for(&format!("{parts:?} at {path} of {}", process.name), || {
            has_line(&process.problems_at(path), parts).then_some(())
        });
    }
    assert_eq!(process.metric("zcluster_ready"), 0.0);
}

/// Waits until there is nothing to complain of.
fn wait_well(process: &Process) {
    for path in ["/readyz", "/healthz"] {
        wait_for(&format!("{} to be well", process.name), || {
            process.problems_at(path).is_empty().then_some(())
        });
    }
    assert_eq!(process.metric("zcluster_ready"), 1.0, "{}", process.name);
}

fn has_line(lines: &[String], parts: &[&str]) -> bool {
    lines.iter().any(|line| parts.iter().all(|part| line.contains(part)))
}

/// Waits until a node in the test is not well for a reason with all these parts.
fn wait_unwell(node: &Node, parts: &[&str]) {
    wait_for(&format!("{parts:?} at {}", node.name()), || {
        let lines: Vec<String> = node.health().problems().map(str::to_owned).collect();
        has_line(&lines, parts).then_some(())
    });
}

fn wait_ready(node: &Node) {
    wait_for(&format!("{} to be ready", node.name()), || node.health().is_ready().then_some(()));
}

#[test]
fn a_broker_that_is_not_there_yet_dies_and_comes_back() {
    let cluster = Cluster::new(NODES, "");
    let endpoint = cluster.read_layout().connect_xpub_endpoint();
    let nodes = cluster.start_all(NODES);
    let missing = ["no connection to the broker for ", &endpoint, "Connection refused"];
    for node in nodes.values() {
        // It is said before the log says so.
        wait_problem(node, &missing);
        node.wait_stderr_line(&missing);
    }
    let mut broker = cluster.broker();
    wait_well(&broker);
    for node in nodes.values() {
        wait_well(node);
        node.wait_stderr_line(&["the broker is available, after "]);
    }
    let said = |node: &Process| node.stderr().matches("no connection to the broker for ").count();
    let so_far: BTreeMap<_, _> = nodes.iter().map(|(name, node)| (name, said(node))).collect();
    broker.kill();
    for (name, node) in &nodes {
        // Either of its two connections may be the first to be missed.
        wait_problem(node, &["no connection to the broker for ", "tcp://", "Connection refused"]);
        node.wait_stderr_line(&["lost the connection to the broker"]);
        wait_for("the loss to be told with its cause", || {
            (said(node) > so_far[name]).then_some(())
        });
    }
    let _broker = cluster.broker();
    for node in nodes.values() {
        wait_well(node);
        node.wait_stderr_line(&["the broker is back, after "]);
    }
}

#[test]
fn why_the_broker_cannot_be_reached_is_said() {
    let hole = TcpListener::bind("127.0.0.1:0").unwrap();
    let hole_port = hole.local_addr().unwrap().port();
    let closing = TcpListener::bind("127.0.0.1:0").unwrap();
    let closing_port = closing.local_addr().unwrap().port();
    std::thread::spawn(move || while closing.accept().is_ok() {});
    let nobody = format!("tcp://127.0.0.1:{}", free_port());
    // Where the node goes to publish, and why that fails.
    let rows = [
        (nobody.clone(), "Connection refused"),
        (format!("tcp://127.0.0.1:{hole_port}"), "does not answer like a broker"),
        (format!("tcp://127.0.0.1:{closing_port}"), "disconnected during the handshake"),
        ("ipc:///nonexistent/broker".into(), "No such file or directory"),
    ];
    let options: Vec<(String, &str, String)> = rows
        .into_iter()
        .map(|(endpoint, why)| (format!("connect_xpub_endpoint = \"{endpoint}\"\n"), why, endpoint))
        // One connection is not enough.
        .chain([(
            format!("connect_xsub_endpoint = \"{nobody}\"\n"),
            "Connection refused",
            nobody.clone(),
        )])
        .collect();
    let running: Vec<_> = options
        .iter()
        .map(|(option, why, endpoint)| {
            let cluster = Cluster::new(NODES, option);
            let broker = cluster.broker();
            let logger = cluster.logger("logger-1");
            (cluster, broker, logger, why, endpoint)
        })
        .collect();
    for (_, broker, logger, why, endpoint) in &running {
        let parts = ["no connection to the broker for ", endpoint, why];
        wait_problem(logger, &parts);
        logger.wait_stderr_line(&parts);
        wait_well(broker);
    }
}

/// Two sockets where the broker's should be, that pass nothing on.
struct MuteBroker {
    _sockets: [Socket; 2],
    _context: Context,
}

impl MuteBroker {
    fn bind(cluster: &Cluster) -> Self {
        let context = Context::new(1).unwrap();
        let bind = |kind, port| {
            let socket = Socket::new(&context, kind, &SocketOptions::default()).unwrap();
            socket.bind(&format!("tcp://127.0.0.1:{port}")).unwrap();
            socket
        };
        let sockets =
            [bind(SocketKind::Xsub, cluster.xsub_port), bind(SocketKind::Xpub, cluster.xpub_port)];
        MuteBroker { _sockets: sockets, _context: context }
    }
}

#[test]
fn a_bus_that_does_not_answer_is_not_ready() {
    let cluster = Cluster::new(NO_LOGGER, "");
    let mute = MuteBroker::bind(&cluster);
    let mut worker = cluster.node("worker-1", &[]);
    worker.write_line(r#"{"topic":"t","event":"Test::waits","args":[]}"#);
    let parts = ["the bus has not been ready for ", "nothing comes through"];
    wait_problem(&worker, &[&parts[..], &["events waiting: 1"]].concat());
    worker.wait_stderr_line(&parts);
    drop(mute);
    let _broker = cluster.broker();
    wait_well(&worker);
}

#[test]
fn a_node_that_logs_needs_a_logger() {
    let nodes = [
        ("manager", "manager"),
        ("logger-1", "logger"),
        ("logger-2", "logger"),
        ("worker-1", "worker"),
    ];
    let cluster = Cluster::new(&nodes, "[log]\nflush_interval = \"10ms\"");
    let _broker = cluster.broker();
    let worker = cluster.node("worker-1", &["--demo"]);
    let nobody = ["no logger has been available for ", "logger-1 at tcp://", "logger-2 at tcp://"];
    wait_problem(
        &worker,
        &[&nobody[..], &["Connection refused", "log batches waiting: "]].concat(),
    );
    for name in ["logger-1", "logger-2"] {
        let at = format!("no connection to {name} at tcp://");
        worker.wait_stderr_line(&[&at, " for ", "Connection refused"]);
    }
    let mut logger = cluster.logger("logger-1");
    // One is enough.
    wait_well(&worker);
    worker.wait_stderr_line(&["logger-1 at tcp://", "is available, after "]);
    logger.stop();
    wait_problem(&worker, &nobody);
    let mut logger = cluster.logger("logger-2");
    wait_well(&worker);
    worker.wait_stderr_line(&["logger-2 at tcp://", "is available, after "]);
    logger.stop();
}

#[test]
fn a_layout_without_a_logger_is_a_problem_of_nodes_that_log() {
    let cluster = Cluster::new(NO_LOGGER, "");
    let _broker = cluster.broker();
    wait_well(&cluster.node("manager", &[]));
    let worker = cluster.node("worker-1", &["--demo"]);
    wait_problem(&worker, &["no logger has been available for ", "the layout has no logger"]);
}

#[test]
fn a_process_that_stops_is_well_but_not_ready() {
    let cluster =
        Cluster::new(NODES, "[log]\nflush_interval = \"10ms\"\nshutdown_timeout = \"60s\"");
    let _broker = cluster.broker();
    let logger = cluster.logger("logger-1");
    wait_well(&logger);
    // A producer that never goes away keeps the logger until the deadline.
    let address = logger.endpoint("log").trim_start_matches("tcp://").to_owned();
    let _producer = TcpStream::connect(address).unwrap();
    logger.wait_metric("zcluster_logger_connections", 1.0);
    logger.signal(Signal::TERM);
    wait_for("the logger to say that it stops", || {
        (logger.problems_at("/readyz") == ["stopping"]).then_some(())
    });
    assert!(logger.health().0, "{}", logger.health().1);
    assert_eq!(logger.metric("zcluster_ready"), 0.0);
    // A node with logs that no logger takes waits as long.
    let worker = cluster.node("worker-1", &["--demo"]);
    worker.wait_metric("zcluster_log_queue_messages", 1.0);
    worker.signal(Signal::TERM);
    wait_for("the node to say that it stops", || {
        worker.problems_at("/readyz").contains(&"stopping".into()).then_some(())
    });
    assert!(!worker.problems_at("/healthz").contains(&"stopping".into()));
}

fn event(n: u64) -> Event {
    Event::new("Test::number", vec![Value::Count(n)])
}

#[test]
fn events_that_wait_for_the_broker_come_near_the_limit() {
    for (options, events, bound) in [
        ("", 9_100, "of 10000 events, "),
        ("publish_queue_bytes = \"64KiB\"\n", 2_000, "of 64.0 KiB (publish_queue_bytes)"),
    ] {
        let cluster = Cluster::new(NO_LOGGER, options);
        let (node, _notifications) = cluster.library_node("worker-1");
        for n in 0..events {
            node.publish("t", &event(n)).unwrap();
        }
        wait_unwell(&node, &["the queue of events to publish is near its limit: ", bound]);
        wait_unwell(&node, &["no connection to the broker for ", "events waiting: "]);
        let _broker = cluster.broker();
        wait_ready(&node);
        node.shutdown(Duration::ZERO);
        assert!(node.health().is_ok() && !node.health().is_ready());
        assert!(node.health().obstacles().eq(["the node has been shut down"]));
    }
}

#[test]
fn events_that_nobody_takes_come_near_the_limit() {
    let cluster = Cluster::new(NO_LOGGER, "onloop_queue_hwm = 100\n");
    let _broker = cluster.broker();
    let (manager, _news) = cluster.library_node("manager");
    let (worker, notifications): (Node, Notifications) = cluster.library_node("worker-1");
    worker.subscribe("numbers.").unwrap();
    support::wait_members(&manager, &["worker-1"]);
    // The subscription was sent before the handshake was complete.
    for n in 0..200 {
        manager.publish("numbers.x", &event(n)).unwrap();
    }
    wait_unwell(
        &worker,
        &["the queue of events received is near its limit: ", " of 100 events (onloop_queue_hwm)"],
    );
    wait_notification(&notifications, "the last event that was kept", |notification| {
        let Notification::Event(event) = notification else { return None };
        (event.decode().unwrap().args[0] == Value::Count(99)).then_some(())
    });
    while notifications.try_receive().is_some() {}
    wait_ready(&worker);
}

#[test]
fn log_batches_that_no_logger_takes_come_near_the_limit() {
    let options = "log_sndhwm = 20\n[log]\nwrite_buffer_size = 1";
    let cluster = Cluster::new(NODES, options);
    let _broker = cluster.broker();
    let (worker, _news) = cluster.library_node("worker-1");
    let fields = vec![FieldSpec::new("n", Scalar::Count)];
    let log = worker.log(LogSchema::new("Test::NUMBERS", "numbers", fields)).unwrap();
    // One is with the I/O thread.
    for n in 0..20 {
        log.write(&[LogValue::Count(n)]).unwrap();
    }
    wait_unwell(
        &worker,
        &["the queue of log batches is near its limit: ", " of 20 log batches (log_sndhwm)"],
    );
    let logger = cluster.logger("logger-1");
    wait_ready(&worker);
    logger.wait_metric("zcluster_logger_records_written_total", 20.0);
}
