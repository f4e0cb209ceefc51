//! `zcluster status` as its users see it, against a server that answers as a broker does.
#![allow(clippy::unwrap_used, missing_docs)]
// snapbox writes its snapshots so.
#![allow(clippy::needless_raw_string_hashes)]

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketType};
use serde_json::{Value, json};
use snapbox::cmd::Command;
use snapbox::str;
use zcluster::gateway::{Health, HttpServer, serve_metrics, serve_metrics_and_status};
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

/// A directory with a layout whose broker has that line in its section.
fn layout(broker: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let text =
        format!("[nodes.m]\nnode_type = \"manager\"\nip = \"127.0.0.1\"\n[broker]\n{broker}");
    std::fs::write(dir.path().join("cluster-layout.toml"), text).unwrap();
    dir
}

/// A port that is taken, so that nobody else gets it, and at which nobody listens.
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
engine switch: 2 publishers, 2 subscribers, 12 subscriptions

"#]]);
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
        "zcluster: what {address} answers is not the status of a broker: missing field \
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
        .stderr_eq(format!("zcluster: nobody listens at {address}: is the broker running?\n"));

    let server =
        serve_metrics(loopback(), &Telemetry::new("broker", "node"), None, Health::ok).unwrap();
    let address = server.local_addr().to_string();
    status().args(["--address", &address]).assert().code(69).stdout_eq("").stderr_eq(format!(
        "zcluster: {address} has no status: the broker runs engine zmq, which keeps none, or this \
         is another process\n"
    ));

    let dir = layout("");
    status().current_dir(&dir).assert().code(78).stdout_eq("").stderr_eq(str![[r#"
zcluster: the layout has no `metrics_port` in [broker], where the broker could be asked

"#]]);
    status().args(["--layout", "no-such-file"]).assert().code(74).stdout_eq("").stderr_eq(str![[
        r#"
zcluster: cannot read the layout file no-such-file: No such file or directory (os error 2)

"#
    ]]);
    status().args(["--address", "broker"]).assert().code(64);
}
