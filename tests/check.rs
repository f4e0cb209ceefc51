//! `--check` of all daemons, and what they say at start of names and addresses that are probably not
//! meant.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::fs;
use std::path::Path;

use support::{Cluster, Ended, NodeSpec, Process, command, run_to_end};

const NODES: &[NodeSpec<'static>] =
    &[("manager", "manager"), ("logger-1", "logger"), ("proxy-1", "proxy"), ("worker-1", "worker")];

fn check(cluster: &Cluster, program: &str, more: &[&str]) -> Ended {
    run_to_end(command(program).args(["--layout", cluster.layout_arg(), "--check"]).args(more))
}

/// The programs, and whom they are asked to be.
const PROGRAMS: [(&str, &[&str]); 4] = [
    ("zcluster-broker", &[]),
    ("zcluster-proxy", &[]),
    ("zcluster-node", &["--node", "worker-1"]),
    ("zcluster-logger", &["--node", "logger-1"]),
];

fn names(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

fn assert_lines(ended: &Ended, lines: &[String]) {
    for line in lines {
        assert!(ended.stdout.lines().any(|found| found == line), "no line {line:?} in {ended:?}");
    }
}

#[test]
fn the_broker_tells_what_it_would_do() {
    let options = "heartbeat_interval = \"2s\"\nmax_message_size = \"4MiB\"\n[broker]\n\
                   metrics_port = 9910\nsubscriber_hwm = 500\nwhen_full = \"disconnect\"\n\
                   [broker.topic.\"demo.\"]\nwhen_full = \"block\"";
    let cluster = Cluster::new(NODES, options);
    let ended = check(&cluster, "zcluster-broker", &[]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    let (xsub, xpub) = (cluster.xsub_port, cluster.xpub_port);
    assert_lines(
        &ended,
        &[
            "broker: broker, engine switch".into(),
            format!("publishers connect to: tcp://127.0.0.1:{xsub}"),
            format!("subscribers connect to: tcp://127.0.0.1:{xpub}"),
            "encryption: none".into(),
            "metrics: http://127.0.0.1:9910/metrics".into(),
            "largest message: 4.0 MiB".into(),
            "heartbeats: every 2s, disconnects after 15s without an answer".into(),
            "queue of a subscriber: at most 500 events and 64.0 MiB; when full disconnect, after 10s"
                .into(),
            "topics demo.…: when full block, for 5s".into(),
            "control queue: at most 10000 events and 8.0 MiB; topics zeek.cluster.nodeid.…".into(),
            "memory of a subscriber: at most 144.0 MiB".into(),
        ],
    );
    // Under its former name, and with one of its own.
    let ended = check(&cluster, "zcluster-proxy", &[]);
    assert_lines(&ended, &["broker: proxy, engine switch".into()]);
    let ended = check(&cluster, "zcluster-broker", &["--node", "central"]);
    assert_lines(&ended, &["broker: central, engine switch".into()]);
}

#[test]
fn a_node_tells_what_it_would_do() {
    let cluster = Cluster::new(NODES, "");
    let ended = check(&cluster, "zcluster-node", &["--node", "worker-1"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    let layout = cluster.read_layout();
    let (xsub, xpub) = (cluster.xsub_port, cluster.xpub_port);
    assert_lines(
        &ended,
        &[
            "node: worker-1, type worker, at 127.0.0.1".into(),
            format!(
                "broker: publishes to tcp://127.0.0.1:{xsub}, receives events from \
                 tcp://127.0.0.1:{xpub}"
            ),
            format!("sends logs to: logger-1 at {}", layout.connect_log_endpoints()[0]),
            "other nodes: logger-1, manager, proxy-1".into(),
            "metrics: at 127.0.0.1, on a port the system chooses".into(),
        ],
    );
}

#[test]
fn check_leaves_no_trace_and_runs_beside_the_process() {
    let cluster = Cluster::new(NODES, "");
    let broker = cluster.broker();
    let running = [broker, cluster.node("worker-1", &[]), cluster.logger("logger-1")];
    let before = names(cluster.dir.path());
    for (program, args) in PROGRAMS {
        let ended = check(&cluster, program, args);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{program}: {ended:?}");
        // As zeekctl asks for it.
        let mut asked = command(program);
        asked.args(["--layout", cluster.layout_arg()]).args(args).env("ZEEKCTL_CHECK_CONFIG", "1");
        assert_eq!(run_to_end(&mut asked).stdout.lines().count(), ended.stdout.lines().count());
    }
    assert_eq!(names(cluster.dir.path()), before);
    for mut process in running.into_iter().rev() {
        process.stop();
    }
}

#[test]
fn check_ends_with_the_code_of_the_start() {
    let keys = "[curve]\nmode = \"per-node\"";
    for (options, code, what) in
        [(keys, 78, "keys"), ("[broker]\nengine = \"fast\"", 78, "found \"fast\"")]
    {
        let cluster = Cluster::new(NODES, options);
        for (program, args) in PROGRAMS {
            let checked = check(&cluster, program, args);
            let mut start = command(program);
            let started = run_to_end(start.args(["--layout", cluster.layout_arg()]).args(args));
            assert_eq!((checked.code, started.code), (Some(code), Some(code)), "{checked:?}");
            assert!(checked.stderr.contains(what), "{program}: {checked:?}");
        }
    }
    let cluster = Cluster::new(NODES, "");
    for (program, args, code, what) in [
        ("zcluster-node", &["--node", "logger-1"][..], 78, "start it with zcluster-logger"),
        ("zcluster-node", &["--node", "worker-9"], 78, "'worker-9' is not a node of"),
        ("zcluster-node", &[], 64, "which node is this?"),
        ("zcluster-broker", &["--node", "worker-1"], 64, "which is not a node"),
    ] {
        let ended = check(&cluster, program, args);
        assert_eq!(ended.code, Some(code), "{program} {args:?}: {ended:?}");
        assert!(ended.stderr.contains(what), "{program} {args:?}: {ended:?}");
    }
    fs::remove_file(&cluster.layout).unwrap();
    for (program, args) in PROGRAMS {
        assert_eq!(check(&cluster, program, args).code, Some(74), "{program}");
    }
}

#[test]
fn what_engine_zmq_cannot_keep_is_told_by_check_too() {
    let options = "[broker]\nengine = \"zmq\"\n[allow.worker]\npublish = [\"demo.\"]";
    let cluster = Cluster::new(NODES, options);
    let ended = check(&cluster, "zcluster-broker", &[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("engine zmq cannot enforce"), "{ended:?}");
    assert_lines(&ended, &["rules for nodes: not enforced by this engine".into()]);
}

#[test]
fn the_broker_is_no_node() {
    let cluster = Cluster::new(NODES, "");
    for program in ["zcluster-broker", "zcluster-proxy"] {
        for (node, node_type, other) in [
            ("worker-1", "worker", "zcluster-node"),
            ("proxy-1", "proxy", "zcluster-node"),
            ("logger-1", "logger", "zcluster-logger"),
        ] {
            let args = ["--layout", cluster.layout_arg(), "--node", node];
            let ended = run_to_end(command(program).args(args));
            assert_eq!((ended.code, ended.stdout.as_str()), (Some(64), ""), "{ended:?}");
            let what =
                format!("'{node}' is a {node_type} node of the layout, and {program} is the");
            assert!(ended.stderr.contains(&what), "{ended:?}");
            assert!(ended.stderr.contains(&format!("start the node with {other}")), "{ended:?}");
        }
    }
    // What the environment says is another program's.
    let mut broker = command("zcluster-broker");
    broker.args(["--layout", cluster.layout_arg()]).env("CLUSTER_NODE", "worker-1");
    let mut broker = Process::start_command("broker", &mut broker);
    assert_eq!(broker.ready["node"], "broker");
    broker.stop();
    assert!(!broker.stderr().contains("CLUSTER_NODE"), "{}", broker.stderr());
}

#[test]
fn a_node_of_the_name_that_the_broker_has_by_default_is_no_mistake() {
    let cluster = Cluster::new(&[("manager", "manager"), ("proxy", "proxy")], "");
    let mut broker = Process::start("proxy", "zcluster-proxy", &["--layout", cluster.layout_arg()]);
    assert_eq!(broker.ready["node"], "proxy");
    broker.stop();
}

#[test]
fn another_node_in_the_environment_is_told_and_ignored() {
    let cluster = Cluster::new(NODES, "");
    let warning = "as --node says; CLUSTER_NODE says ";
    for (program, args) in &PROGRAMS[2..] {
        for (named, warned) in [("manager", true), ("", false), (args[1], false)] {
            let mut command = command(program);
            command.args(["--layout", cluster.layout_arg(), "--check"]).args(*args);
            let ended = run_to_end(command.env("CLUSTER_NODE", named));
            assert_eq!(ended.code, Some(0), "{ended:?}");
            assert!(ended.stdout.starts_with(&format!("node: {}, ", args[1])), "{ended:?}");
            assert_eq!(ended.stderr.matches(warning).count(), usize::from(warned), "{ended:?}");
        }
        let mut command = command(program);
        command.args(["--layout", cluster.layout_arg(), "--check"]).env("CLUSTER_NODE", args[1]);
        let ended = run_to_end(&mut command);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    }
    // While it runs as well.
    let mut node = command("zcluster-node");
    node.args(["--layout", cluster.layout_arg(), "--node", "worker-1"]);
    let mut node = Process::start_command("worker-1", node.env("CLUSTER_NODE", "manager"));
    assert_eq!(node.ready["node"], "worker-1");
    node.wait_stderr("this is 'worker-1', as --node says; CLUSTER_NODE says 'manager'");
    node.stop();
}

#[test]
fn metrics_at_every_address_are_told_unless_somebody_asked_for_them() {
    for (option, warned) in [
        ("", true),
        ("metrics_address = \"127.0.0.1\"", false),
        ("metrics_address = \"0.0.0.0\"", false),
    ] {
        let cluster = Cluster::new(NODES, &format!("[broker]\nmetrics_port = 0\n{option}"));
        let text = fs::read_to_string(&cluster.layout).unwrap();
        let everywhere = format!("0.0.0.0:{}", cluster.xpub_port);
        let text = text.replace(&format!("127.0.0.1:{}", cluster.xpub_port), &everywhere);
        fs::write(&cluster.layout, text).unwrap();
        let warning = "metrics and status are served at 0.0.0.0:0, every address of this host";
        let mut broker = cluster.broker();
        broker.stop();
        let layout =
            run_to_end(command("zcluster").args(["layout", "check", cluster.layout_arg()]));
        let checked = check(&cluster, "zcluster-broker", &[]);
        for stderr in [broker.stderr(), layout.stderr, checked.stderr] {
            assert_eq!(stderr.matches(warning).count(), usize::from(warned), "{option}: {stderr}");
            assert!(!warned || stderr.contains("`metrics_address = \"127.0.0.1\"`"), "{stderr}");
        }
        // What the environment says, somebody has said on purpose.
        let mut command = command("zcluster-broker");
        command.args(["--layout", cluster.layout_arg(), "--check"]);
        let ended = run_to_end(command.env("ZEEK_DEFAULT_LISTEN_ADDRESS", "0.0.0.0"));
        assert!(!ended.stderr.contains(warning), "{ended:?}");
    }
}
