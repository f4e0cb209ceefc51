//! `ipc://` endpoints, files and abstract names: libzmq peers can reach the broker and the loggers,
//! an address has one owner, and invalid addresses give one line.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::fs;
use std::path::Path;

use support::raw::RawPeer;
use support::{Cluster, Engine, NodeSpec, Process, command, producer, run_to_end, wait_for};
use zcluster::transport::SocketKind;
use zcluster::wire::LogMessage;
use zcluster::wire::zeek_bin::{BatchBuilder, LogValue};

const NODES: &[NodeSpec<'static>] = &[("manager", "manager"), ("logger-1", "logger")];
const EVENT: [&[u8]; 4] = [b"topic", b"sender", b"broker-bin-v1", b"payload"];
const UNAVAILABLE: i32 = 69;
const CONFIG: i32 = 78;

/// A cluster whose broker and loggers listen at the addresses that `address` returns.
fn cluster(engine: Engine, address: impl Fn(&Path, &str) -> String) -> Cluster {
    let cluster = Cluster::on(engine, NODES, "listen_log_endpoint = \"LOG\"");
    let text = fs::read_to_string(&cluster.layout).unwrap();
    let dir = cluster.dir.path();
    let text = text
        .replace(&format!("tcp://127.0.0.1:{}", cluster.xsub_port), &address(dir, "xsub"))
        .replace(&format!("tcp://127.0.0.1:{}", cluster.xpub_port), &address(dir, "xpub"))
        .replace("LOG", &address(dir, "log"));
    fs::write(&cluster.layout, text).unwrap();
    cluster
}

/// A unique name: the name of the directory is random.
fn abstract_name(dir: &Path, what: &str) -> String {
    format!("ipc://@{}/{what}", dir.display())
}

fn file(dir: &Path, what: &str) -> String {
    format!("ipc://{}/{what}", dir.display())
}

fn wildcard(_: &Path, _: &str) -> String {
    "ipc://*".into()
}

fn broker(cluster: &Cluster) -> Process {
    Process::start("broker", "zcluster-broker", &["--layout", cluster.layout_arg()])
}

/// Sends an event through a broker with libzmq peers.
fn assert_forwards(broker: &Process) {
    let subscriber = RawPeer::connect(SocketKind::Xsub, &broker.endpoint("xpub"));
    subscriber.send(&[b"\x01topic"]);
    let publisher = RawPeer::publisher(&broker.endpoint("xsub"), b"topic");
    publisher.send(&EVENT);
    assert_eq!(wait_for("the event", || subscriber.receive()), EVENT);
}

fn peers_of_libzmq_reach_the_broker(engine: Engine) {
    for address in [abstract_name, file, wildcard] {
        let cluster = cluster(engine, address);
        let mut broker = broker(&cluster);
        assert_forwards(&broker);
        let wildcard_file =
            (address(Path::new(""), "") == "ipc://*").then(|| broker.endpoint("xsub"));
        broker.stop();
        if let Some(endpoint) = wildcard_file {
            let file = Path::new(endpoint.strip_prefix("ipc://").unwrap());
            assert!(file.is_absolute() && !file.parent().unwrap().exists(), "{endpoint}");
        }
        // libzmq leaves its socket files behind; the next process replaces them.
        if engine == Engine::Switch {
            let left: Vec<_> = fs::read_dir(cluster.dir.path()).unwrap().flatten().collect();
            assert_eq!(left.len(), 1, "only the layout is left: {left:?}");
        }
    }
}

fn an_address_has_one_owner(engine: Engine) {
    for address in [abstract_name, file] {
        let cluster = cluster(engine, address);
        let mut first = broker(&cluster);
        let second =
            run_to_end(command("zcluster-broker").args(["--layout", cluster.layout_arg()]));
        assert_eq!(second.code, Some(UNAVAILABLE), "{}", second.stderr);
        let told = second.stderr.lines().filter(|line| line.contains("address already in use"));
        assert_eq!(told.count(), 1, "{}", second.stderr);
        assert_forwards(&first);
        // The files of a killed process do not get in the way.
        first.kill();
        let mut third = broker(&cluster);
        assert_forwards(&third);
        third.stop();
    }
}

on_both_engines!(peers_of_libzmq_reach_the_broker, an_address_has_one_owner);

#[test]
fn peers_of_libzmq_reach_a_logger() {
    for address in [abstract_name, file] {
        let cluster = cluster(Engine::Switch, address);
        let args = ["--layout", cluster.layout_arg(), "--node", "logger-1"];
        let mut logger = Process::start("logger-1", "zcluster-logger", &args);
        let endpoint = cluster.read_layout().listen_log_endpoint("logger-1").unwrap();
        let second = run_to_end(command("zcluster-logger").args(args));
        assert_eq!(second.code, Some(UNAVAILABLE), "{}", second.stderr);
        let peer = RawPeer::producer(&endpoint, 10, None);
        let mut batch = BatchBuilder::new(producer::schema()).unwrap();
        batch.push(&[LogValue::from("peer"), LogValue::Count(7)]).unwrap();
        peer.send(&[LogMessage::KIND, b"peer", LogMessage::ZEEK_BIN, &batch.finish()]);
        logger.wait_metric("zcluster_logger_records_written_total", 1.0);
        assert_eq!(cluster.log_lines(producer::PATH), ["peer\t7"]);
        logger.stop();
    }
}

#[test]
fn nodes_meet_over_abstract_names() {
    let cluster = cluster(Engine::Switch, abstract_name);
    let mut broker = broker(&cluster);
    let nodes = ["manager", "logger-1"];
    let [mut manager, mut logger] = nodes.map(|name| {
        let program = if name == "manager" { "zcluster-node" } else { "zcluster-logger" };
        Process::start(name, program, &["--layout", cluster.layout_arg(), "--node", name])
    });
    manager.wait_all_up(&["logger-1"]);
    manager.stop();
    logger.stop();
    broker.stop();
}

#[test]
fn what_is_no_address_is_told_in_one_line() {
    let long = "x".repeat(108);
    for engine in [Engine::Switch, Engine::Zmq] {
        for (endpoint, expected) in [
            ("ipc://@".to_owned(), "bad path in \"ipc://@\""),
            ("ipc://*x".into(), "bad path in \"ipc://*x\""),
            ("ipc://".into(), "bad path in \"ipc://\""),
            (
                format!("ipc:///{long}"),
                "a path of 109 bytes, more than the 107 that a Unix socket allows",
            ),
            (
                format!("ipc://@{long}"),
                "a path of 109 bytes, more than the 107 that a Unix socket allows",
            ),
            ("ipc://{dir}/none/s".into(), "no such directory"),
            ("ipc://{dir}/cluster-layout.toml".into(), "the file exists and is not a socket"),
        ] {
            let cluster = cluster(engine, |dir, what| match what {
                "xsub" => endpoint.replace("{dir}", dir.to_str().unwrap()),
                what => file(dir, what),
            });
            let before = fs::read_to_string(&cluster.layout).unwrap();
            let ended =
                run_to_end(command("zcluster-broker").args(["--layout", cluster.layout_arg()]));
            assert_eq!(ended.code, Some(CONFIG), "{endpoint}: {}", ended.stderr);
            let told = ended.stderr.lines().filter(|line| line.contains(expected));
            assert_eq!(told.count(), 1, "{endpoint}: {}", ended.stderr);
            assert_eq!(fs::read_to_string(&cluster.layout).unwrap(), before);
        }
    }
}
