//! `zcluster status` as users see it, with a server that answers like a broker.
#![allow(clippy::unwrap_used, missing_docs)]
// snapbox writes its snapshots so.
#![allow(clippy::needless_raw_string_hashes)]

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketType};
use serde_json::{Value, json};
use snapbox::cmd::Command;
use snapbox::str;
use zcluster::health::Health;
use zcluster::http::{HttpServer, serve_metrics, serve_metrics_and_status};
use zcluster::telemetry::Telemetry;

fn status() -> Command {
    Command::new(snapbox::cmd::cargo_bin!("zcluster")).arg("status")
}

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn broker(answer: Value) -> HttpServer {
    let telemetry = Telemetry::new("broker", "node");
    serve_metrics_and_status(loopback(), &telemetry, None, Health::ok, move || answer.clone())
        .unwrap()
}

/// A directory with a layout of two nodes, with that line in the section of the broker.
fn layout(broker: &str) -> tempfile::TempDir {
    layout_of(&[("manager", "manager"), ("worker-1", "worker")], broker)
}

/// The same, with nodes of those names and types.
fn layout_of(nodes: &[(&str, &str)], broker: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut text = format!("[broker]\n{broker}");
    for (name, node_type) in nodes {
        let port = if *node_type == "logger" { "port = 1\n" } else { "" };
        text += &format!("[nodes.{name}]\nnode_type = {node_type:?}\nip = \"127.0.0.1\"\n{port}");
    }
    std::fs::write(dir.path().join("cluster-layout.toml"), text).unwrap();
    dir
}

/// A port that is bound, so no other process gets it, but not listened on.
fn silent_port() -> (OwnedFd, String) {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &loopback()).unwrap();
    let address: SocketAddr = rustix::net::getsockname(&socket).unwrap().try_into().unwrap();
    (socket, address.to_string())
}

#[test]
fn one_line_per_connection() {
    let server = broker(json!({
        "engine": "switch",
        "publishers": [
            {"peer": "worker-1", "address": "127.0.0.1:4242", "connected_s": 4000.5,
             "events": 123_456, "refused": 3, "held": true},
            {"peer": "unnamed", "address": "127.0.0.1:4243", "connected_s": 0.2,
             "events": 0, "refused": 0, "held": false},
        ],
        "subscribers": [
            {"peer": "worker-1", "address": "127.0.0.1:4244", "connected_s": 4000.1,
             "subscriptions": 7, "queued_messages": 10_000, "queued_bytes": 3_500_000,
             "sent": 100, "dropped": 17, "state": "stalled"},
            {"peer": "manager", "address": "127.0.0.1:4245", "connected_s": 59.0,
             "subscriptions": 5, "queued_messages": 0, "queued_bytes": 0,
             "sent": 100, "dropped": 0, "state": "ok"},
        ],
        "subscriptions": 12,
    }));
    let dir = layout(&format!("metrics_port = {}\n", server.local_addr().port()));
    status().current_dir(&dir).assert().success().stderr_eq(str![""]).stdout_eq(str![[r#"
PEER            SOCKET  CONNECTED  RECEIVED  REFUSED  QUEUED    BYTES  SENT  DROPPED  STATE
127.0.0.1:4243  xsub           0s         0        0       -        -     -        -  ok
manager         xpub          59s         -        -       0      0 B   100        0  ok
worker-1        xpub    1h 6m 40s         -        -   10000  3.3 MiB   100       17  stalled
worker-1        xsub    1h 6m 40s    123456        3       -        -     -        -  held
engine switch: 2 publishers, 2 subscribers, 12 subscriptions; 2 of 2 nodes up

"#]]);
}

#[test]
fn nodes_that_are_not_there_are_told_and_decide_the_exit_code() {
    let connection = |peer: &str, port: u16| {
        json!({"peer": peer, "address": format!("10.0.0.7:{port}"), "identity": "claimed",
               "connected_s": 9.0, "events": 0, "refused": 0, "held": false, "subscriptions": 1,
               "queued_messages": 0, "queued_bytes": 0, "sent": 0, "dropped": 0, "state": "ok"})
    };
    let all = |names: &[&str]| -> Vec<Value> {
        (1..).zip(names).map(|(port, name)| connection(name, port)).collect()
    };
    let server = broker(json!({
        "engine": "switch",
        "publishers": all(&["manager", "worker-1", "worker-9", "logger-1"]),
        "subscribers": all(&["manager", "worker-3", "worker-9", "logger-1", "logger-1"]),
        "subscriptions": 2,
    }));
    let port = server.local_addr().port();
    let dir = layout_of(
        &[
            ("manager", "manager"),
            ("logger-1", "logger"),
            ("worker-1", "worker"),
            ("worker-2", "worker"),
            ("worker-3", "worker"),
            ("operator", "control"),
            ("spare", "none"),
        ],
        &format!("metrics_port = {port}\n"),
    );
    let absent = "zcluster: worker-1 has no xpub connection, worker-2 is down, worker-3 has no xsub \
                  connection\n";
    status().current_dir(&dir).assert().code(69).stderr_eq(absent).stdout_eq(str![[r#"
PEER      SOCKET  CONNECTED  RECEIVED  REFUSED  QUEUED  BYTES  SENT  DROPPED  STATE
logger-1  xpub           9s         -        -       0    0 B     0        0  ok, duplicate
logger-1  xpub           9s         -        -       0    0 B     0        0  ok, duplicate
logger-1  xsub           9s         0        0       -      -     -        -  ok
manager   xpub           9s         -        -       0    0 B     0        0  ok
manager   xsub           9s         0        0       -      -     -        -  ok
worker-1  xpub            -         -        -       -      -     -        -  down
worker-1  xsub           9s         0        0       -      -     -        -  ok
worker-2  -               -         -        -       -      -     -        -  down
worker-3  xpub           9s         -        -       0    0 B     0        0  ok
worker-3  xsub            -         -        -       -      -     -        -  down
worker-9  xpub           9s         -        -       0    0 B     0        0  ok, unknown
worker-9  xsub           9s         0        0       -      -     -        -  ok, unknown
engine switch: 4 publishers, 5 subscribers, 2 subscriptions; 2 of 5 nodes up

"#]]);

    let output = status().current_dir(&dir).arg("--json").assert().code(69).stderr_eq(absent);
    let answer: Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    let state = |name: &str, node_type: &str, state: &str, xsub: u32, xpub: u32| json!({"name": name, "node_type": node_type, "state": state, "xsub": xsub, "xpub": xpub});
    assert_eq!(
        answer["nodes"],
        json!([
            state("logger-1", "logger", "up", 1, 2),
            state("manager", "manager", "up", 1, 1),
            state("worker-1", "worker", "half", 1, 0),
            state("worker-2", "worker", "down", 0, 0),
            state("worker-3", "worker", "half", 0, 1),
        ])
    );
    assert_eq!(answer["subscriptions"], 2, "what the broker says is passed on");

    // Without a layout no node counts as missing; with one it does, whatever address answered.
    let address = format!("127.0.0.1:{port}");
    let asked = |more: &[&str]| status().current_dir(&dir).args(["--address", &address]).args(more);
    let output = asked(&["--json"]).assert().success().stderr_eq("");
    let answer: Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    assert_eq!(answer.get("nodes"), None);
    asked(&["--layout", "cluster-layout.toml"]).assert().code(69).stderr_eq(absent);
}

#[test]
fn json_is_passed_on() {
    let server = broker(json!({"engine": "switch", "more": [1.5, "x"]}));
    let address = server.local_addr().to_string();
    status()
        .args(["--json", "--address", &address])
        .assert()
        .success()
        .stdout_eq("{\"engine\":\"switch\",\"more\":[1.5,\"x\"]}\n");
    let missing = format!(
        "zcluster: the answer of {address} is not the status of a broker: missing field \
         `publishers` at line 1 column 36\n"
    );
    status().args(["--address", &address]).assert().code(65).stdout_eq("").stderr_eq(missing);
}

#[test]
fn what_cannot_be_asked_is_one_line() {
    let (_taken, address) = silent_port();
    status()
        .args(["--address", &address])
        .assert()
        .code(69)
        .stdout_eq("")
        .stderr_eq(format!("zcluster: nothing listens at {address}: is the broker running?\n"));

    let server =
        serve_metrics(loopback(), &Telemetry::new("broker", "node"), None, Health::ok).unwrap();
    let address = server.local_addr().to_string();
    status().args(["--address", &address]).assert().code(69).stdout_eq("").stderr_eq(format!(
        "zcluster: {address} has no status: the broker uses engine zmq, which has none, or this is \
         another process\n"
    ));

    let dir = layout("");
    status().current_dir(&dir).assert().code(78).stdout_eq("").stderr_eq(str![[r#"
zcluster: the layout has no `metrics_port` in [broker], which this command queries

"#]]);
    status().args(["--layout", "no-such-file"]).assert().code(74).stdout_eq("").stderr_eq(str![[
        r#"
zcluster: cannot read the layout file no-such-file: No such file or directory (os error 2)

"#
    ]]);
    status().args(["--address", "broker"]).assert().code(64);
}
