//! Loggers under CURVE: delivery, access control, and keys and rules that change while a logger
//! runs.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::fs;
use std::io::Write;
use std::net::Shutdown;
use std::path::Path;

use support::curve::CurvePeer;
use support::keys::{PER_NODE, SharedKeys, as_client, keys_of, make_keys};
use support::log_dir::manifest;
use support::producer::{self, Producer, assert_each_once};
use support::{
    Cluster, DEFAULT_NODES, NodeSpec, Process, Signal, command, run_to_end, wait_for, wait_members,
};
use zcluster::access::key_file::{public_path, write_public_keys};
use zcluster::transport::{
    ConnectionEventKind, Context, CurveOptions, Monitor, Socket, SocketKind, SocketOptions,
};
use zcluster::wire::LogMessage;
use zcluster::wire::zeek_bin::{BatchBuilder, FieldSpec, LogSchema, LogValue, Scalar};
use zcluster::wire::zmtp::{KeyPair, put_frame, put_ping};

const NODES: &[NodeSpec<'static>] = &[
    ("manager", "manager"),
    ("logger-1", "logger"),
    ("worker-1", "worker"),
    ("worker-2", "worker"),
];
const WRITTEN: &str = "zcluster_logger_records_written_total";
const REFUSED: &str = "zcluster_logger_peers_refused_total";
const REJECTED: &str = "zcluster_logger_batches_rejected_total";

/// A libzmq PUSH socket and the monitor of its connection.
struct Peer {
    monitor: Monitor,
    socket: Socket,
    _context: Context,
}

impl Peer {
    fn connect(logger: &Process, curve: Option<CurveOptions>) -> Self {
        Self::connect_from("127.0.0.1", logger, curve)
    }

    /// Connects from another address of this host.
    fn connect_from(source: &str, logger: &Process, curve: Option<CurveOptions>) -> Self {
        let context = Context::new(1).unwrap();
        let options = SocketOptions { curve, ..SocketOptions::default() };
        let socket = Socket::new(&context, SocketKind::Push, &options).unwrap();
        let monitor = Monitor::new(&context, &socket).unwrap();
        let endpoint = logger.endpoint("log").replace("tcp://", &format!("tcp://{source}:0;"));
        socket.connect(&endpoint).unwrap();
        Peer { monitor, socket, _context: context }
    }

    fn send(&self, id: &str, payload: &[u8]) {
        let frames = [LogMessage::KIND, id.as_bytes(), LogMessage::ZEEK_BIN, payload];
        wait_for("room to send", || self.socket.try_send(&frames).unwrap().then_some(()));
    }

    /// Sends a batch of one record as the node with that name.
    fn write(&self, node: &str, n: u64) {
        let mut batch = BatchBuilder::new(producer::schema()).unwrap();
        batch.push(&[LogValue::from(node), LogValue::Count(n)]).unwrap();
        self.send(&id(node), &batch.finish());
    }

    /// Waits until its connection has ended.
    fn wait_cut_off(&self) {
        wait_for("the end of the connection", || self.was_cut_off().then_some(()));
    }

    /// Whether its connection has ended since the last call.
    fn was_cut_off(&self) -> bool {
        std::iter::from_fn(|| self.monitor.try_next().unwrap())
            .any(|event| event.kind == ConnectionEventKind::Disconnected)
    }
}

fn id(node: &str) -> String {
    format!("zeromq_{node}_host_1_N0")
}

/// All records in the files with their producers, sorted.
fn written(cluster: &Cluster) -> Vec<String> {
    let mut lines = cluster.log_lines(producer::PATH);
    lines.sort();
    lines
}

fn sum(logger: &Process, name: &str, labels: [&str; 2]) -> f64 {
    let text = logger.metrics();
    let lines = text.lines().filter(|line| labels.iter().all(|label| line.contains(label)));
    let lines = lines.filter(|line| line.starts_with(name));
    lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}

/// Batches of one and of many records, large enough to arrive in pieces, each in order.
#[test]
fn batches_of_every_size_arrive_from_producers_that_encrypt() {
    const PRODUCERS: usize = 3;
    const ROUNDS: u64 = 6;
    let keys = SharedKeys::new();
    let cluster = Cluster::new(NODES, &keys.options());
    let mut logger = cluster.logger("logger-1");
    let fields = || {
        let count = |name| FieldSpec::new(name, Scalar::Count);
        vec![count("producer"), count("n"), FieldSpec::new("pad", Scalar::String)]
    };
    // Batch sizes in records of about one kibibyte.
    let pad = "x".repeat(1000);
    let sizes = [1, 1, 1, 14, 15, 16, 17, 61, 64, 100, 250, 255, 256, 300, 600, 5000, 1, 1];
    let total = PRODUCERS as u64 * ROUNDS * sizes.iter().sum::<u64>();
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|producer| {
            let peer = Peer::connect(&logger, Some(keys.as_client()));
            let pad = pad.clone();
            std::thread::spawn(move || {
                let mut next = 0;
                for size in std::iter::repeat_n(sizes, ROUNDS as usize).flatten() {
                    let path = format!("sizes-{producer}");
                    let schema = LogSchema::new("Test::SIZES", path.as_str(), fields());
                    let mut batch = BatchBuilder::new(schema).unwrap();
                    for n in next..next + size {
                        let count = LogValue::Count(producer as u64);
                        let record = [count, LogValue::Count(n), LogValue::from(pad.as_str())];
                        batch.push(&record).unwrap();
                    }
                    next += size;
                    peer.send("producer", &batch.finish());
                }
                (peer, next)
            })
        })
        .collect();
    let producers: Vec<_> = producers.into_iter().map(|thread| thread.join().unwrap()).collect();
    logger.wait_metric(WRITTEN, total as f64);
    assert_eq!(logger.metric("zcluster_logger_memory_bytes"), 0.0);
    let expected = producers[0].1;
    drop(producers);
    logger.stop();
    for producer in 0..PRODUCERS {
        let lines = cluster.log_lines(&format!("sizes-{producer}"));
        let numbers = lines.iter().map(|line| line.split('\t').nth(1).unwrap().parse::<u64>());
        assert!(numbers.map(Result::unwrap).eq(0..expected), "all of {producer}, in order");
    }
}

#[test]
fn the_unencrypted_more_flag_is_ignored() {
    let keys = SharedKeys::new();
    let cluster = Cluster::new(NODES, &keys.options());
    let mut logger = cluster.logger("logger-1");
    let mut peer = CurvePeer::producer(&logger.endpoint("log"), &keys);
    for n in 0..3 {
        let mut batch = BatchBuilder::new(producer::schema()).unwrap();
        batch.push(&[LogValue::from("peer"), LogValue::Count(n)]).unwrap();
        let payload = batch.finish();
        let sealed = peer.seal_with_more_outside(&[
            (LogMessage::KIND, true),
            (b"peer", true),
            (LogMessage::ZEEK_BIN, true),
            (&payload, false),
        ]);
        peer.stream.write_all(&sealed).unwrap();
    }
    logger.wait_metric(WRITTEN, 3.0);
    logger.stop();
    assert_eq!(written(&cluster), ["peer\t0", "peer\t1", "peer\t2"]);
}

#[test]
fn pieces_and_pings_are_no_different_under_curve() {
    let keys = SharedKeys::new();
    let cluster = Cluster::new(NODES, &keys.options());
    let mut logger = cluster.logger("logger-1");
    let mut peer = CurvePeer::producer(&logger.endpoint("log"), &keys);
    let mut ping = Vec::new();
    put_ping(0, &mut ping);
    let mut sealed = Vec::new();
    for n in 0..3 {
        let mut batch = BatchBuilder::new(producer::schema()).unwrap();
        batch.push(&[LogValue::from("peer"), LogValue::Count(n)]).unwrap();
        let mut frames = Vec::new();
        for frame in [LogMessage::KIND, b"peer", LogMessage::ZEEK_BIN] {
            put_frame(frame, true, &mut frames);
            frames.extend_from_slice(&ping);
        }
        put_frame(&batch.finish(), false, &mut frames);
        sealed.extend(peer.seal(&frames));
    }
    // The last batch arrives whole, after pieces of the others.
    let (bytes, rest) = sealed.split_at(sealed.len() / 3 * 2);
    for byte in bytes {
        peer.stream.write_all(&[*byte]).unwrap();
    }
    peer.stream.write_all(rest).unwrap();
    logger.wait_metric(WRITTEN, 3.0);
    peer.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(peer.read_to_end(), b"\x04\x05\x04PONG".repeat(9));
    logger.stop();
    assert_eq!(written(&cluster), ["peer\t0", "peer\t1", "peer\t2"]);
}

#[test]
fn batches_before_a_forged_frame_are_written() {
    let keys = SharedKeys::new();
    let cluster = Cluster::new(NODES, &keys.options());
    let mut logger = cluster.logger("logger-1");
    let mut peer = CurvePeer::producer(&logger.endpoint("log"), &keys);
    let batch = |n| {
        let mut batch = BatchBuilder::new(producer::schema()).unwrap();
        batch.push(&[LogValue::from("peer"), LogValue::Count(n)]).unwrap();
        let mut frames = Vec::new();
        for frame in [LogMessage::KIND, b"peer", LogMessage::ZEEK_BIN] {
            put_frame(frame, true, &mut frames);
        }
        put_frame(&batch.finish(), false, &mut frames);
        frames
    };
    let before: Vec<u8> = (0..9).flat_map(batch).collect();
    let sealed = peer.seal_with_forgery(&before, &batch(9), &batch(10));
    peer.stream.write_all(&sealed).unwrap();
    logger.wait_metric(WRITTEN, 9.0);
    wait_for("the producer to be refused", || {
        (logger.metric_with(REFUSED, "reason=\"protocol\"") == 1.0).then_some(())
    });
    let batches = "zcluster_logger_batches_total";
    assert_eq!(logger.metric(batches), 9.0);
    logger.stop();
    let expected: Vec<String> = (0..9).map(|n| format!("peer\t{n}")).collect();
    assert_eq!(written(&cluster), expected);
}

#[test]
fn unauthorized_peers_are_refused_and_reported_per_host() {
    let keys = SharedKeys::new();
    let stranger = KeyPair::generate();
    let cluster = Cluster::new(NODES, &keys.options());
    let mut logger = cluster.logger("logger-1");
    let good = Peer::connect(&logger, Some(keys.as_client()));
    good.write("worker-1", 0);
    logger.wait_metric(WRITTEN, 1.0);

    let unknown = format!("its public key {} is not authorized to connect", stranger.public());
    let cases = [
        ("127.0.0.2", Some(as_client(&stranger, keys.server.public())), "unauthorized", &*unknown),
        (
            "127.0.0.3",
            Some(as_client(&keys.client, stranger.public())),
            "mechanism",
            "cannot decrypt the HELLO command",
        ),
        // The same reason is logged at once, too, because the host is different.
        ("127.0.0.4", None, "mechanism", "it does not encrypt (mechanism NULL) and this side does"),
    ];
    let mut refused = Vec::new();
    for (source, curve, reason, cause) in cases {
        let label = format!("reason=\"{reason}\"");
        let before = logger.metric_with(REFUSED, &label);
        let peer = Peer::connect_from(source, &logger, curve);
        wait_for("the peer to be counted", || {
            (logger.metric_with(REFUSED, &label) > before).then_some(())
        });
        logger.wait_stderr(&format!("refused {source}:"));
        let stderr = logger.stderr();
        let line = stderr.lines().find(|line| line.contains(&format!("refused {source}:")));
        assert!(line.unwrap().contains(cause), "{line:?}");
        refused.push(peer);
    }
    good.write("worker-1", 1);
    logger.wait_metric(WRITTEN, 2.0);
    assert!(!good.was_cut_off());
    assert!(!keys.are_in(&logger.stderr()));
    drop((good, refused));
    logger.stop();
    assert_eq!(written(&cluster), ["worker-1\t0", "worker-1\t1"]);
}

#[test]
fn a_logger_without_keys_refuses_who_encrypts() {
    let keys = SharedKeys::new();
    let cluster = Cluster::new(NODES, "");
    let mut logger = cluster.logger("logger-1");
    let good = Peer::connect(&logger, None);
    let _wrong = Peer::connect_from("127.0.0.2", &logger, Some(keys.as_client()));
    logger.wait_stderr("refused 127.0.0.2:");
    let stderr = logger.stderr();
    assert!(stderr.contains("it encrypts (mechanism CURVE) and this side does not"), "{stderr}");
    assert!(logger.metric_with(REFUSED, "reason=\"mechanism\"") >= 1.0);
    good.write("worker-1", 0);
    logger.wait_metric(WRITTEN, 1.0);
    assert!(!good.was_cut_off());
    drop(good);
    logger.stop();
}

/// A cluster with a key pair per node, and its logger.
struct PerNode {
    cluster: Cluster,
    logger: Process,
}

impl PerNode {
    const NAMES: [&str; 5] = ["broker", "manager", "logger-1", "worker-1", "worker-2"];

    fn start(options: &str) -> Self {
        let cluster = Cluster::new(NODES, &format!("{PER_NODE}{options}"));
        make_keys(cluster.dir.path(), &Self::NAMES);
        let logger = cluster.logger("logger-1");
        PerNode { cluster, logger }
    }

    fn dir(&self) -> &Path {
        self.cluster.dir.path()
    }

    fn peer(&self, node: &str) -> Peer {
        let server = keys_of(self.dir(), "logger-1");
        let curve = as_client(&keys_of(self.dir(), node), server.public());
        Peer::connect(&self.logger, Some(curve))
    }

    fn public_path(&self, node: &str) -> std::path::PathBuf {
        public_path(&self.dir().join("keys"), node)
    }

    /// Sends SIGHUP and waits until `line` has been logged once more.
    fn hangup(&self, line: &str) {
        let count = || self.logger.stderr().matches(line).count();
        let before = count();
        self.logger.signal(Signal::HUP);
        wait_for(&format!("{line:?} once more"), || (count() > before).then_some(()));
    }

    fn edit_layout(&self, from: &str, to: &str) {
        let layout = &self.cluster.layout;
        let text = fs::read_to_string(layout).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(layout, text.replace(from, to)).unwrap();
    }
}

const LOADED: &str = "keys and rules reloaded";

#[test]
fn nodes_cannot_send_logs_as_another_node_or_without_permission() {
    let mut test = PerNode::start("[nodes.worker-2.allow]\nlogs = false\n");
    let (first, second) = (test.peer("worker-1"), test.peer("worker-2"));
    first.write("worker-1", 0);
    for other in ["worker-2", "manager", "nobody"] {
        first.write(other, 1);
    }
    first.write("worker-1", 2);
    second.write("worker-2", 3);
    second.write("worker-1", 4);
    let rejected = |node, reason: &str| {
        let labels = [&format!("sender=\"{node}\"")[..], &format!("reason=\"{reason}\"")];
        sum(&test.logger, REJECTED, labels)
    };
    for (node, reason, count) in [
        ("worker-1", "impersonation", 3.0),
        ("worker-2", "not_allowed", 1.0),
        ("worker-2", "impersonation", 1.0),
    ] {
        wait_for("it to be counted", || (rejected(node, reason) == count).then_some(()));
    }
    test.logger.wait_metric(WRITTEN, 2.0);
    for line in [
        "rejected a log batch from 'worker-1': with the id 'zeromq_worker-2_host_1_N0', it claims \
         to be another node",
        "rejected a log batch from 'worker-2': with the id 'zeromq_worker-2_host_1_N0', it may \
         not send logs",
    ] {
        test.logger.wait_stderr(line);
    }

    // New rules apply to existing connections.
    test.edit_layout("logs = false", "logs = true");
    test.hangup(LOADED);
    wait_for("a batch of worker-2 to be taken", || {
        second.write("worker-2", 5);
        (test.logger.metric(WRITTEN) >= 3.0).then_some(())
    });
    assert!(!first.was_cut_off() && !second.was_cut_off());
    drop((first, second));
    test.logger.stop();
    let mut lines = written(&test.cluster);
    lines.dedup();
    assert_eq!(lines, ["worker-1\t0", "worker-1\t2", "worker-2\t5"]);
}

#[test]
fn rules_go_by_the_id_where_there_is_no_key_for_each_node() {
    let options = "[nodes.worker-2.allow]\nlogs = false\n";
    let cluster = Cluster::new(NODES, options);
    let mut logger = cluster.logger("logger-1");
    let peer = Peer::connect(&logger, None);
    for (n, node) in ["worker-1", "worker-2", "stranger"].into_iter().enumerate() {
        peer.write(node, n as u64);
    }
    logger.wait_metric(WRITTEN, 2.0);
    assert_eq!(logger.metric_with(REJECTED, "reason=\"not_allowed\""), 1.0);
    drop(peer);
    logger.stop();
    assert_eq!(written(&cluster), ["stranger\t2", "worker-1\t0"]);
}

#[test]
fn sighup_cuts_off_only_peers_whose_key_is_gone() {
    let mut test = PerNode::start("[log]\nflush_interval = \"10s\"\n");
    let (stays, goes, other) = (test.peer("worker-1"), test.peer("worker-2"), test.peer("manager"));
    for n in 0..100 {
        stays.write("worker-1", n);
        goes.write("worker-2", n);
        other.write("manager", n);
    }
    test.logger.wait_metric("zcluster_logger_records_total", 300.0);
    fs::remove_file(test.public_path("worker-2")).unwrap();
    // The key of one node now belongs to another.
    let manager = *keys_of(test.dir(), "manager").public();
    fs::remove_file(test.public_path("manager")).unwrap();
    write_public_keys(&test.public_path("worker-2"), &[manager]).unwrap();
    test.hangup(LOADED);
    goes.wait_cut_off();
    other.wait_cut_off();
    test.logger.wait_stderr("is no longer authorized to connect");
    assert!(test.logger.metric_with(REFUSED, "reason=\"unauthorized\"") >= 2.0);
    for n in 100..200 {
        stays.write("worker-1", n);
    }
    test.logger.wait_metric("zcluster_logger_records_total", 400.0);
    assert!(!stays.was_cut_off());
    // A node whose key is authorized again can reconnect.
    let back = keys_of(test.dir(), "worker-2");
    fs::write(test.public_path("worker-2"), format!("{}\n", back.public())).unwrap();
    test.hangup(LOADED);
    let back = test.peer("worker-2");
    back.write("worker-2", 100);
    test.logger.wait_metric("zcluster_logger_records_total", 401.0);
    drop((stays, goes, other, back));
    test.logger.stop();
    let expected = [("manager", 100), ("worker-1", 200), ("worker-2", 101)];
    let expected = expected.map(|(name, count)| (name.to_owned(), count));
    // Records received earlier are written, and none twice.
    assert_each_once(&test.cluster, &expected);
}

#[test]
fn a_hangup_with_a_mistake_in_the_configuration_only_rotates() {
    type Edit<'a> = &'a dyn Fn();
    let mut test = PerNode::start("");
    let logs = test.cluster.log_dir("logger-1");
    let peer = test.peer("worker-1");
    let key = fs::read_to_string(test.public_path("worker-1")).unwrap();
    fs::remove_file(test.public_path("worker-1")).unwrap();
    let secret = test.dir().join("keys/logger-1.secret");
    let mistakes: [(Edit<'_>, Edit<'_>, &str); 4] = [
        (
            &|| test.edit_layout("[curve]", "[curv]"),
            &|| test.edit_layout("[curv]", "[curve]"),
            "unknown section `curv`",
        ),
        (
            &|| test.edit_layout("per-node", "shared"),
            &|| test.edit_layout("shared", "per-node"),
            "CURVE cannot be switched on or off",
        ),
        (
            &|| fs::write(test.public_path("worker-2"), "hunter2\n").unwrap(),
            &|| fs::remove_file(test.public_path("worker-2")).unwrap(),
            "worker-2.pub, line 1",
        ),
        (
            &|| fs::rename(&secret, secret.with_extension("gone")).unwrap(),
            &|| fs::rename(secret.with_extension("gone"), &secret).unwrap(),
            "cannot read the key file",
        ),
    ];
    for (number, (make, mend, cause)) in mistakes.into_iter().enumerate() {
        peer.write("worker-1", number as u64);
        test.logger.wait_metric(WRITTEN, number as f64 + 1.0);
        make();
        test.hangup("reload failed, the current keys and rules stay in effect");
        wait_for("a rotation", || (manifest(&logs).len() == number + 1).then_some(()));
        let stderr = test.logger.stderr();
        assert!(stderr.lines().any(|line| line.contains("reload failed") && line.contains(cause)));
        assert!(!stderr.contains("hunter2"));
        mend();
    }
    peer.write("worker-1", 4);
    test.logger.wait_metric(WRITTEN, 5.0);
    assert!(!peer.was_cut_off());
    fs::write(test.public_path("worker-1"), key).unwrap();
    test.hangup(LOADED);
    peer.write("worker-1", 5);
    test.logger.wait_metric(WRITTEN, 6.0);
    assert!(!peer.was_cut_off());
    drop(peer);
    test.logger.stop();
}

#[test]
fn a_logger_that_lacks_its_keys_does_not_start() {
    let keys = SharedKeys::new();
    let only_client: String = keys
        .options()
        .lines()
        .filter(|line| !line.contains("server_secret"))
        .fold(String::new(), |text, line| text + line + "\n");
    for (options, cause) in [
        (only_client, "curve_server_secretkey is not set; refusing to connect without encryption"),
        (PER_NODE.to_owned(), "cannot read the key file"),
    ] {
        let cluster = Cluster::new(NODES, &options);
        for check in [&[][..], &["--check"]] {
            let args = [&["--layout", cluster.layout_arg(), "--node", "logger-1"], check].concat();
            let ended = run_to_end(command("zcluster-logger").args(args));
            assert_eq!(ended.code, Some(78), "{}", ended.stderr);
            assert!(ended.stderr.contains(cause), "{}", ended.stderr);
            assert!(!keys.are_in(&ended.stderr) && !keys.are_in(&ended.stdout));
        }
    }
}

#[test]
fn postprocessors_do_not_get_the_loggers_secrets() {
    let keys = SharedKeys::new();
    let cluster = Cluster::new(
        NODES,
        "[log]\nflush_interval = \"10ms\"\nrotation = \"1h\"\n\
         rotation_postprocessor = \"env > {dir}/new && mv {dir}/new {dir}/env && true\"\n",
    );
    let mut start = command("zcluster-logger");
    start.args(["--layout", cluster.layout_arg(), "--node", "logger-1"]);
    let mut logger = Process::start_command("logger-1", keys.set(&mut start));
    let peer = Peer::connect(&logger, Some(keys.as_client()));
    peer.write("worker-1", 1);
    logger.wait_metric(WRITTEN, 1.0);
    logger.signal(Signal::HUP);
    let environment =
        wait_for("the environment", || fs::read_to_string(cluster.dir.path().join("env")).ok());
    assert!(environment.contains("CURVE_SERVER_PUBLICKEY="), "{environment}");
    assert!(!keys.are_in(&environment));
    drop(peer);
    logger.stop();
}

#[test]
fn nodes_with_keys_of_their_own_share_their_logs_out() {
    const OPTIONS: &str = "[log]\nwrite_buffer_size = 20\nflush_interval = \"50ms\"";
    let cluster = Cluster::new(DEFAULT_NODES, &format!("{PER_NODE}{OPTIONS}"));
    let names = ["broker", "manager", "logger-1", "logger-2", "worker-1", "worker-2"];
    make_keys(cluster.dir.path(), &names);
    let _broker = cluster.broker();
    let mut loggers = ["logger-1", "logger-2"].map(|name| cluster.logger(name));
    let producers = ["worker-1", "worker-2"].map(|worker| Producer::start(&cluster, worker));
    for producer in &producers {
        wait_members(&producer.node, &["logger-1", "logger-2"]);
    }
    for round in 1..=3 {
        for logger in &loggers {
            let so_far = logger.metric("zcluster_logger_records_total");
            logger.wait_metric("zcluster_logger_records_total", so_far + 500.0);
            logger.signal(Signal::HUP);
            wait_for("keys to be loaded", || {
                (logger.stderr().matches(LOADED).count() == round).then_some(())
            });
        }
    }
    let written = producers.map(Producer::finish);
    for logger in &mut loggers {
        assert_eq!(logger.metric(REFUSED) + logger.metric(REJECTED), 0.0);
        logger.stop();
    }
    assert_each_once(&cluster, &written);
}
