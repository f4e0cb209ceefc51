//! Whole clusters that encrypt, with Zeek's shared keys or with a pair per node, and nodes with
//! wrong keys (WIRE.md §7.1 to §7.3).
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::path::Path;
use std::time::Duration;

use support::keys::{PER_NODE, SharedKeys, keys_of, make_keys};
use support::relay::Relay;
use support::{
    Cluster, DEFAULT_NODES, Ended, Engine, NodeSpec, Process, Signal, command, free_port,
    run_to_end, wait_all_see_all, wait_for,
};
use zcluster::access::ClientKeys;
use zcluster::access::key_file::{public_path, secret_path};
use zcluster::layout::CurveKeys;
use zcluster::node::{Node, NodeError};
use zcluster::wire::zmtp::KeyPair;

const CONFIG: Option<i32> = Some(78);
const NODES: &[NodeSpec<'static>] = &[
    ("manager", "manager"),
    ("logger-1", "logger"),
    ("worker-1", "worker"),
    ("worker-2", "worker"),
];
const NAMES: [&str; 5] = ["broker", "manager", "logger-1", "worker-1", "worker-2"];

/// The lines of standard error with that level.
fn told(stderr: &str, level: &str) -> Vec<String> {
    stderr.lines().filter(|line| line.contains(level)).map(str::to_owned).collect()
}

/// Checks that a node ended by itself with a configuration error, in one line with all these words.
fn assert_refused(ended: &Ended, words: &[&str]) {
    assert_eq!(ended.code, CONFIG, "{}", ended.stderr);
    let errors = told(&ended.stderr, "ERROR");
    assert_eq!(errors.len(), 1, "{}", ended.stderr);
    for word in words {
        assert!(errors[0].contains(word), "{word:?} in {}", errors[0]);
    }
}

/// Publishes an event and waits until the other node has printed it.
fn assert_talk(from: &mut Process, to: &mut Process, word: &str) {
    from.write_line(&format!(
        "{{\"topic\":\"zeek.cluster.{}\",\"event\":\"Test::said\",\"args\":[\"{word}\"]}}",
        to.name
    ));
    to.wait_line(word, |line| line.to_string().contains(word).then_some(()));
}

/// Checks that all nodes see each other, events and logs arrive, and all processes stop cleanly.
fn assert_works(
    cluster: &Cluster,
    mut broker: Process,
    mut nodes: std::collections::BTreeMap<String, Process>,
) {
    wait_all_see_all(&mut nodes);
    let mut manager = nodes.remove("manager").unwrap();
    assert_talk(nodes.get_mut("worker-1").unwrap(), &mut manager, "made-of-sugar");
    let hellos = nodes.len() * (nodes.len() + 1);
    wait_for("lines of cluster.log", || {
        let lines = cluster.log_lines("cluster");
        let count = lines.iter().filter(|line| line.contains("got hello from")).count();
        (count >= hellos).then_some(())
    });
    nodes.insert("manager".into(), manager);
    // Loggers last: the others have logs for them until the end.
    let (mut loggers, mut others): (Vec<_>, Vec<_>) =
        nodes.into_values().partition(|node| node.name.starts_with("logger"));
    for node in others.iter_mut().chain(&mut loggers) {
        assert_eq!(told(&node.stderr(), "WARN").len(), 0, "{}", node.stderr());
        node.stop();
    }
    broker.stop();
}

fn an_encrypted_cluster_works_like_a_plain_one(engine: Engine) {
    let keys = SharedKeys::new();
    let cluster = Cluster::on(engine, DEFAULT_NODES, &keys.options());
    let broker = cluster.broker();
    assert_works(&cluster, broker, cluster.start_all(DEFAULT_NODES));
}

fn keys_may_come_from_the_environment(engine: Engine) {
    let keys = SharedKeys::new();
    let cluster = Cluster::on(engine, NODES, "");
    let start = |name: &str, program: &str| {
        let mut command = command(program);
        command.args(["--layout", cluster.layout_arg(), "--node", name]);
        Process::start_command(name, keys.set(&mut command))
    };
    let broker = start("broker", "zcluster-broker");
    let nodes = NODES.iter().map(|(name, node_type)| {
        let program = if *node_type == "logger" { "zcluster-logger" } else { "zcluster-node" };
        ((*name).to_owned(), start(name, program))
    });
    let nodes = nodes.collect();
    assert_works(&cluster, broker, nodes);

    // With two sources it would be unclear which keys apply.
    let both = Cluster::on(engine, NODES, &keys.options());
    for (name, program) in [
        ("broker", "zcluster-broker"),
        ("logger-1", "zcluster-logger"),
        ("worker-1", "zcluster-node"),
    ] {
        let mut command = command(program);
        command.args(["--layout", both.layout_arg(), "--node", name]);
        let ended = run_to_end(keys.set(&mut command));
        assert_refused(&ended, &["in the environment", "in the layout file", "one of them only"]);
        assert!(!keys.are_in(&ended.stderr), "{}", ended.stderr);
    }
}

/// Writes a changed copy of the cluster's layout, as if it came from another host.
fn other_layout(cluster: &Cluster, change: impl Fn(String) -> String) -> std::path::PathBuf {
    let text = std::fs::read_to_string(&cluster.layout).unwrap();
    let path = cluster.dir.path().join(format!("layout-{}.toml", free_port()));
    std::fs::write(&path, change(text)).unwrap();
    path
}

fn node_with(layout: &Path, name: &str) -> std::process::Command {
    let mut command = command("zcluster-node");
    command.args(["--layout", layout.to_str().unwrap(), "--node", name, "--no-stdin"]);
    command
}

/// A logger with another layout than the rest, on a separate bus.
struct Lone {
    _broker: Process,
    _logger: Process,
}

impl Lone {
    fn start(cluster: &Cluster, change: impl Fn(String) -> String) -> Self {
        let ports = [free_port(), free_port()];
        let layout = other_layout(cluster, |text| {
            let text =
                text.replace(&format!(":{}\"", cluster.xpub_port), &format!(":{}\"", ports[0]));
            change(text.replace(&format!(":{}\"", cluster.xsub_port), &format!(":{}\"", ports[1])))
        });
        let layout = layout.to_str().unwrap();
        let broker = Process::start("broker", "zcluster-broker", &["--layout", layout]);
        let args = ["--layout", layout, "--node", "logger-1"];
        let logger = Process::start("logger-1", "zcluster-logger", &args);
        Lone { _broker: broker, _logger: logger }
    }
}

/// A broker and two nodes keep working whatever the third does.
fn wrong_keys_end_the_node_and_nobody_else(engine: Engine) {
    let keys = SharedKeys::new();
    let other = SharedKeys::new();
    for (cluster_keys, node_keys, words, broker_says) in [
        (Some(&keys), None, ["does not", "set there, but not here"], "does not encrypt"),
        (None, Some(&keys), ["does not encrypt", "CURVE keys are set here"], "it encrypts"),
        (
            Some(&keys),
            Some(&SharedKeys { client: other.client.clone(), ..keys.clone() }),
            ["does not accept the key of this node", "curve_client_publickey"],
            "public key",
        ),
    ] {
        let options = cluster_keys.map(SharedKeys::options).unwrap_or_default();
        let cluster = Cluster::on(engine, NODES, &options);
        let broker = cluster.broker();
        let mut manager = cluster.node("manager", &[]);
        let mut worker = cluster.node("worker-1", &[]);
        worker.wait_all_up(&["manager"]);
        let layout = other_layout(&cluster, |text| {
            let with = node_keys.map(SharedKeys::options).unwrap_or_default();
            let text = text.replace(&options, "");
            text.replacen("[zeromq]\n", &format!("[zeromq]\n{with}"), 1)
        });
        let ended = run_to_end(&mut node_with(&layout, "worker-2"));
        let address = format!("127.0.0.1:{}", cluster.xpub_port);
        let log_or_bus = [&format!("127.0.0.1:{}", cluster.xsub_port), &address];
        assert_refused(&ended, &words);
        assert!(log_or_bus.iter().any(|at| ended.stderr.contains(*at)), "{}", ended.stderr);
        assert!(ended.stderr.contains("the broker at tcp://"), "{}", ended.stderr);
        // libzmq does not report which of the two sides encrypts.
        let says = match engine {
            Engine::Zmq if !broker_says.contains("key") => "one side encrypts",
            _ => broker_says,
        };
        wait_for("a line of the broker", || {
            let lines = told(&broker.stderr(), "WARN");
            let line = lines.iter().find(|line| line.contains(says))?;
            assert!(line.contains("127.0.0.1"), "{line}");
            Some(())
        });
        broker.wait_metric("zcluster_broker_handshakes_failed_total", 1.0);
        assert_talk(&mut worker, &mut manager, "still-here");
        for text in [&ended.stderr, &broker.stderr()] {
            assert!(!keys.are_in(text) && !other.are_in(text), "{text}");
        }
    }
}

/// A server with another key cannot prove anything, so the node keeps trying.
fn with_a_wrong_key_of_the_server_a_node_says_so_and_tries_again(engine: Engine) {
    let keys = SharedKeys::new();
    let other = SharedKeys::new();
    let cluster = Cluster::on(engine, NODES, &keys.options());
    let broker = cluster.broker();
    let mut manager = cluster.node("manager", &[]);
    let mut worker = cluster.node("worker-1", &[]);
    worker.wait_all_up(&["manager"]);
    let wrong = SharedKeys { server: other.server.clone(), ..keys.clone() };
    let layout = other_layout(&cluster, |text| text.replace(&keys.options(), &wrong.options()));
    let mut lost = Process::start_command("worker-2", &mut node_with(&layout, "worker-2"));
    lost.wait_stderr("most likely its public key is not the one configured here");
    assert!(lost.stderr().contains("the broker at tcp://127.0.0.1:"), "{}", lost.stderr());
    broker.wait_metric("zcluster_broker_handshakes_failed_total", 2.0);
    wait_for("a line of the broker", || {
        let lines = told(&broker.stderr(), "WARN");
        lines.iter().any(|line| line.contains("key") && line.contains("127.0.0.1")).then_some(())
    });
    assert!(lost.is_running());
    assert_talk(&mut worker, &mut manager, "still-here");
}

#[test]
fn a_logger_whose_key_is_refused_ends_like_any_node() {
    let keys = SharedKeys::new();
    let other = SharedKeys::new();
    let cluster = Cluster::new(NODES, &keys.options());
    let _broker = cluster.broker();
    // Its layout allows other clients than the broker's.
    let lets_in = SharedKeys { server: keys.server.clone(), client: other.client.clone() };
    let layout = other_layout(&cluster, |text| text.replace(&keys.options(), &lets_in.options()));
    let mut start = command("zcluster-logger");
    start.args(["--layout", layout.to_str().unwrap(), "--node", "logger-1"]);
    let ended = run_to_end(&mut start);
    assert_refused(&ended, &["the broker at tcp://127.0.0.1:", "does not accept the key"]);
}

/// With shared keys, a node that a logger refuses has the wrong key. With per-node keys only the
/// broker decides that: otherwise a single rogue logger could end all nodes.
#[test]
fn a_logger_that_refuses_a_node_ends_it_only_where_keys_are_shared() {
    let keys = SharedKeys::new();
    let cluster = Cluster::new(NODES, &keys.options());
    let _broker = cluster.broker();
    let lets_in = SharedKeys { client: SharedKeys::new().client, ..keys.clone() };
    let _lone = Lone::start(&cluster, |text| text.replace(&keys.options(), &lets_in.options()));
    let ended = run_to_end(&mut node_with(&cluster.layout, "worker-1"));
    assert_refused(&ended, &["logger-1 at tcp://127.0.0.1:", "does not accept the key"]);

    let cluster = Cluster::new(NODES, PER_NODE);
    make_keys(cluster.dir.path(), &NAMES);
    let _broker = cluster.broker();
    let known = cluster.dir.path().join("known-to-logger");
    std::fs::create_dir(&known).unwrap();
    for name in NAMES.iter().filter(|name| **name != "worker-1") {
        let from = public_path(&cluster.dir.path().join("keys"), name);
        std::fs::copy(from, public_path(&known, name)).unwrap();
    }
    let authorized = |dir: &Path| format!("authorized_keys_dir = \"{}\"", dir.display());
    let (old, new) = (authorized(&cluster.dir.path().join("keys")), authorized(&known));
    let _lone = Lone::start(&cluster, |text| text.replace(&old, &new));
    let mut manager = cluster.node("manager", &[]);
    let mut worker = cluster.node("worker-1", &[]);
    worker.wait_stderr_line(&["logger-1 at tcp://127.0.0.1:", "does not accept the key"]);
    worker.wait_all_up(&["manager"]);
    assert_talk(&mut worker, &mut manager, "still-here");
}

#[test]
fn a_logger_without_all_of_its_keys_leaves_logs_alone() {
    let keys = SharedKeys::new();
    let options = keys.options();
    let as_server = options.lines().filter(|line| !line.contains("client_secretkey"));
    let cluster = Cluster::new(NODES, &as_server.collect::<Vec<_>>().join("\n"));
    let log = cluster.log_dir("logger-1").join("conn.log");
    std::fs::create_dir_all(cluster.log_dir("logger-1")).unwrap();
    std::fs::write(&log, "#fields\tts\n1\n").unwrap();
    let mut start = command("zcluster-logger");
    start.args(["--layout", cluster.layout_arg(), "--node", "logger-1"]);
    assert_refused(&run_to_end(&mut start), &["clients (all nodes) need", "refusing to connect"]);
    assert!(log.exists());
}

#[test]
fn what_passes_on_the_network_cannot_be_read() {
    for is_encrypted in [false, true] {
        let keys = SharedKeys::new();
        let options = if is_encrypted { keys.options() } else { String::new() };
        let pull = free_port();
        let cluster = Cluster::new(
            &[("manager", "manager"), ("worker-1", "worker")],
            &format!("listen_log_endpoint = \"tcp://127.0.0.1:{pull}\"\n{options}"),
        );
        let relays = [cluster.xsub_port, cluster.xpub_port, pull].map(Relay::to);
        let [to_xsub, to_xpub, to_pull] = &relays;
        let mut text = std::fs::read_to_string(&cluster.layout).unwrap();
        text = text.replacen(
            "[zeromq]\n",
            &format!(
                "[zeromq]\nconnect_xpub_endpoint = \"tcp://127.0.0.1:{}\"\n\
                 connect_xsub_endpoint = \"tcp://127.0.0.1:{}\"\n",
                to_xsub.port(),
                to_xpub.port()
            ),
            1,
        );
        let port = to_pull.port();
        text.push_str(&format!(
            "[nodes.logger-1]\nnode_type = \"logger\"\nip = \"127.0.0.1\"\nport = {port}\n"
        ));
        std::fs::write(&cluster.layout, text).unwrap();
        let _broker = cluster.broker();
        let _logger = cluster.logger("logger-1");
        let mut manager = cluster.node("manager", &[]);
        let mut worker = cluster.node("worker-1", &[]);
        worker.wait_all_up(&["manager", "logger-1"]);
        assert_talk(&mut worker, &mut manager, "made-of-sugar");
        wait_for("lines of cluster.log", || {
            let lines = cluster.log_lines("cluster");
            lines.iter().any(|line| line.contains("got hello from worker-1")).then_some(())
        });
        for (relay, words) in [
            (to_xsub, ["made-of-sugar", "zeek.cluster.manager", "worker-1"]),
            (to_xpub, ["made-of-sugar", "zeek.cluster.nodeid.", "worker-1"]),
            (to_pull, ["got hello from", "cluster", "worker-1"]),
        ] {
            for word in words {
                let (seen, bytes) = relay.has_seen(word);
                assert_eq!(seen, !is_encrypted, "{word} in {bytes} bytes");
                assert!(bytes > 500);
            }
        }
    }
}

fn each_node_may_have_its_own_keys(engine: Engine) {
    let cluster = Cluster::on(engine, NODES, PER_NODE);
    make_keys(cluster.dir.path(), &NAMES);
    let broker = cluster.broker();
    assert_works(&cluster, broker, cluster.start_all(NODES));
}

#[test]
fn a_program_may_bring_its_keys_along() {
    let cluster = Cluster::new(NODES, PER_NODE);
    let public = make_keys(cluster.dir.path(), &NAMES);
    let key_of = |name| public[NAMES.iter().position(|one| *one == name).unwrap()];
    let _broker = cluster.broker();
    let mut manager = cluster.node("manager", &[]);
    // Its layout has no keys, as if a program had built it.
    let mut layout = cluster.read_layout();
    layout.curve = CurveKeys::default();
    let start = |keys: KeyPair| {
        let keys = ClientKeys::new(keys, key_of("broker"))
            .with_logger("logger-1", key_of("logger-1"))
            .with_loggers(key_of("broker"));
        Node::builder(layout.clone(), "worker-1").client_keys(keys).start().unwrap()
    };
    let (node, _notifications) = start(keys_of(cluster.dir.path(), "worker-1"));
    support::wait_members(&node, &["manager"]);
    manager.wait_all_up(&["worker-1"]);
    node.shutdown(Duration::from_secs(5));
    assert!(node.take_failure().is_none());

    // With other keys it ends and reports why.
    let (node, notifications) = start(KeyPair::generate());
    while notifications.receive().is_some() {}
    let failure = node.take_failure().unwrap();
    assert!(matches!(failure, NodeError::Refused { .. }), "{failure}");
    assert!(failure.to_string().contains("does not accept the key of this node"), "{failure}");
}

#[test]
fn a_directory_of_keys_that_is_gone_cuts_nobody_off() {
    let options = PER_NODE
        .replace("authorized_keys_dir = \"{dir}/keys", "authorized_keys_dir = \"{dir}/authorized");
    let cluster = Cluster::new(NODES, &options);
    make_keys(cluster.dir.path(), &NAMES);
    let [keys, authorized] = ["keys", "authorized"].map(|name| cluster.dir.path().join(name));
    std::fs::create_dir(&authorized).unwrap();
    for name in NAMES {
        std::fs::rename(public_path(&keys, name), public_path(&authorized, name)).unwrap();
    }
    let broker = cluster.broker();
    broker.wait_stderr("encrypted: 4 keys may connect, no rules for nodes");
    let mut manager = cluster.node("manager", &[]);
    let mut worker = cluster.node("worker-1", &[]);
    worker.wait_all_up(&["manager"]);
    std::fs::rename(&authorized, cluster.dir.path().join("gone")).unwrap();
    broker.signal(Signal::HUP);
    broker.wait_stderr("current keys and rules stay in effect: no key may connect");
    assert_talk(&mut worker, &mut manager, "still-here");
}

#[test]
fn revoking_a_key_disconnects_only_its_node() {
    let cluster = Cluster::new(NODES, PER_NODE);
    make_keys(cluster.dir.path(), &NAMES);
    let mut broker = cluster.broker();
    let mut nodes = cluster.start_all(NODES);
    wait_all_see_all(&mut nodes);
    let revoke = ["keys", "revoke", "worker-2", "--layout", cluster.layout_arg()];
    let revoked = run_to_end(command("zcluster").args(revoke));
    assert_eq!(revoked.code, Some(0), "{}", revoked.stderr);
    for server in [&broker, &nodes["logger-1"]] {
        server.signal(Signal::HUP);
    }
    let mut worker = nodes.remove("worker-2").unwrap();
    let status = worker.wait();
    assert_eq!(status.code(), CONFIG, "{}", worker.stderr());
    for node in nodes.values_mut() {
        node.wait_member("node_down", "worker-2");
    }
    // No other node even reconnected.
    let mut manager = nodes.remove("manager").unwrap();
    assert_talk(nodes.get_mut("worker-1").unwrap(), &mut manager, "still-here");
    for node in nodes.values().chain([&manager]) {
        assert_eq!(node.metric("zcluster_reconnects_total"), 0.0, "{}", node.name);
    }
    // Its public key alone does not bring it back; restored, it can rejoin.
    let keys = cluster.dir.path().join("keys");
    let restore = ["keys", "restore", "worker-2", "--layout", cluster.layout_arg()];
    let restored = run_to_end(command("zcluster").args(restore));
    assert_eq!(restored.code, Some(0), "{}", restored.stderr);
    let pair =
        zcluster::access::key_file::read_secret_keys(&secret_path(&keys, "worker-2")).unwrap();
    zcluster::access::key_file::write_public_keys(
        &public_path(&keys, "worker-2"),
        &[*pair[0].public()],
    )
    .unwrap();
    for server in [&broker, &nodes["logger-1"]] {
        server.signal(Signal::HUP);
    }
    wait_for("worker-2 to be let in", || {
        let mut again =
            Process::spawn_command("worker-2", &mut node_with(&cluster.layout, "worker-2"));
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while again.is_running() && std::time::Instant::now() < deadline {
            if manager.metric("zcluster_node_up_total") >= 4.0 {
                return Some(());
            }
            std::thread::yield_now();
        }
        None
    });
    broker.stop();
}

#[test]
fn nobody_passes_for_another_node() {
    let cluster = Cluster::new(NODES, PER_NODE);
    make_keys(cluster.dir.path(), &NAMES);
    let broker = cluster.broker();
    let logger = cluster.logger("logger-1");
    let mut manager = cluster.node("manager", &[]);
    let mut worker = cluster.node("worker-1", &[]);
    worker.wait_all_up(&["manager", "logger-1"]);

    // A node with the key of worker-2 claims to be worker-1, from another host.
    let keys = cluster.dir.path().join("keys");
    let elsewhere = cluster.dir.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::copy(secret_path(&keys, "worker-2"), secret_path(&elsewhere, "worker-1")).unwrap();
    for name in ["broker", "logger-1"] {
        std::fs::copy(public_path(&keys, name), public_path(&elsewhere, name)).unwrap();
    }
    let layout = other_layout(&cluster, |text| {
        text.replace(keys.to_str().unwrap(), elsewhere.to_str().unwrap())
    });
    let mut impostor = Process::start_command("impostor", &mut node_with(&layout, "worker-1"));
    wait_for("the broker to refuse it", || {
        let refused = broker.metrics();
        let count = support::metric(&refused, "zcluster_broker_refused_total", "impersonation");
        assert_eq!(
            support::metric(&refused, "zcluster_broker_refused_total", "worker-1"),
            0.0,
            "it is counted under the name of its key"
        );
        (count >= 1.0).then_some(())
    });
    assert!(broker.stderr().contains("worker-2"), "{}", broker.stderr());
    // It subscribes to the topics of worker-1, but no node accepts it as worker-1.
    assert!(impostor.is_running());
    assert_talk(&mut worker, &mut manager, "still-here");
    for node in [&manager, &worker, &logger] {
        assert_eq!(node.metric("zcluster_node_down_total"), 0.0, "{}", node.stderr());
        assert!(!node.stderr().contains("never said goodbye"), "{}", node.stderr());
    }
}

#[test]
fn what_a_node_may_do_is_enforced() {
    let rules = "[allow.worker]\npublish = [\"zeek.\"]\n";
    let cluster = Cluster::new(NODES, &format!("{PER_NODE}{rules}"));
    make_keys(cluster.dir.path(), &NAMES);
    let broker = cluster.broker();
    let _logger = cluster.logger("logger-1");
    let mut manager = cluster.node("manager", &["--subscribe", "site."]);
    let mut worker = cluster.node("worker-1", &[]);
    worker.wait_all_up(&["manager", "logger-1"]);
    worker.write_line("{\"topic\":\"site.x\",\"event\":\"Test::said\",\"args\":[\"forbidden\"]}");
    assert_talk(&mut worker, &mut manager, "allowed");
    assert!(!manager.seen.iter().any(|line| line.to_string().contains("forbidden")));
    let refused = broker.metrics();
    let count = |label: &str| support::metric(&refused, "zcluster_broker_refused_total", label);
    assert_eq!(count("publish_denied"), 1.0);
    assert_eq!(count("worker-1"), 1.0);
    assert!(told(&broker.stderr(), "WARN").iter().any(|line| line.contains("site.x")));
}

#[test]
fn behind_a_broker_that_enforces_nothing_nodes_do_and_sighup_changes_what() {
    const RULES: &str = "[allow.worker]\npublish = [\"zeek.\"]\n";
    let cluster = Cluster::on(Engine::Zmq, NODES, &format!("{PER_NODE}{RULES}"));
    make_keys(cluster.dir.path(), &NAMES);
    let broker = cluster.broker();
    assert!(told(&broker.stderr(), "WARN").iter().any(|line| line.contains("allow")));
    let mut manager = cluster.node("manager", &["--subscribe", "site."]);
    let mut worker = cluster.node("worker-1", &[]);
    worker.wait_all_up(&["manager"]);
    let publish = |worker: &mut Process, word: &str| {
        worker.write_line(&format!(
            "{{\"topic\":\"site.x\",\"event\":\"Test::said\",\"args\":[\"{word}\"]}}"
        ));
    };
    publish(&mut worker, "forbidden");
    manager.wait_metric("zcluster_events_denied_total", 1.0);
    for label in ["sender=\"worker-1\"", "reason=\"publish\""] {
        assert_eq!(manager.metric_with("zcluster_events_denied_total", label), 1.0, "{label}");
    }
    assert!(told(&manager.stderr(), "WARN").iter().any(|line| line.contains("site.x")));

    let text = std::fs::read_to_string(&cluster.layout).unwrap();
    std::fs::write(&cluster.layout, text.replace(RULES, "")).unwrap();
    manager.signal(Signal::HUP);
    manager.wait_stderr("keys and rules reloaded");
    publish(&mut worker, "allowed");
    manager.wait_line("allowed", |line| line.to_string().contains("allowed").then_some(()));
    assert!(!manager.seen.iter().any(|line| line.to_string().contains("forbidden")));
}

#[test]
fn secret_keys_that_others_can_read_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let cluster = Cluster::new(NODES, PER_NODE);
    make_keys(cluster.dir.path(), &NAMES);
    for (name, program, file) in [
        ("broker", "zcluster-broker", "broker"),
        ("logger-1", "zcluster-logger", "logger-1"),
        ("worker-1", "zcluster-node", "worker-1"),
    ] {
        let path = secret_path(&cluster.dir.path().join("keys"), file);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let mut command = command(program);
        let ended = run_to_end(command.args(["--layout", cluster.layout_arg(), "--node", name]));
        assert_refused(&ended, &[path.to_str().unwrap(), "mode 0640", "chmod 600"]);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut command = support::command(program);
        let ended = run_to_end(command.args(["--layout", cluster.layout_arg(), "--node", name]));
        assert_refused(&ended, &[path.to_str().unwrap(), "cannot read the key file"]);
    }
}

#[test]
fn a_layout_with_secrets_that_everybody_can_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let keys = SharedKeys::new();
    let cluster = Cluster::new(NODES, &keys.options());
    assert!(!cluster.broker().stderr().contains("WARN"));
    std::fs::set_permissions(&cluster.layout, std::fs::Permissions::from_mode(0o644)).unwrap();
    let broker = cluster.broker();
    let warnings = told(&broker.stderr(), "WARN");
    assert_eq!(warnings.len(), 1, "{}", broker.stderr());
    assert!(warnings[0].contains("holds secret keys and has mode 0644"), "{}", warnings[0]);
}

on_both_engines!(
    an_encrypted_cluster_works_like_a_plain_one,
    keys_may_come_from_the_environment,
    wrong_keys_end_the_node_and_nobody_else,
    with_a_wrong_key_of_the_server_a_node_says_so_and_tries_again,
    each_node_may_have_its_own_keys,
);
