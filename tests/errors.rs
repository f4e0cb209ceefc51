//! User errors: each prints one clear line on standard error and has a specific exit code.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::fs;
use std::net::TcpListener;

use support::{Cluster, Ended, Engine, NodeSpec, command, run_to_end};

const NODES: &[NodeSpec<'static>] =
    &[("manager", "manager"), ("logger-1", "logger"), ("worker-1", "worker")];
const DAEMONS: [&str; 3] = ["zcluster-broker", "zcluster-node", "zcluster-logger"];

const USAGE: i32 = 64;
const UNAVAILABLE: i32 = 69;
const IO: i32 = 74;
const CONFIG: i32 = 78;

/// Asserts that a program exited with that code, printed nothing on standard output, and exactly
/// one line containing all these texts on standard error.
fn assert_told(ended: &Ended, code: i32, texts: &[&str]) {
    assert_eq!(ended.code, Some(code), "{}", ended.stderr);
    assert_eq!(ended.stdout, "");
    let errors: Vec<&str> =
        ended.stderr.lines().filter(|line| texts.iter().all(|text| line.contains(text))).collect();
    assert_eq!(errors.len(), 1, "expected one line with {texts:?}, found\n{}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

/// Arguments with which a daemon starts successfully.
fn good_args<'a>(daemon: &str, cluster: &'a Cluster) -> Vec<&'a str> {
    let node = match daemon {
        "zcluster-node" => "worker-1",
        "zcluster-logger" => "logger-1",
        _ => "proxy",
    };
    vec!["--layout", cluster.layout_arg(), "--node", node]
}

/// Rewrites the layout of a cluster.
fn edit_layout(cluster: &Cluster, edit: impl Fn(String) -> String) {
    let text = fs::read_to_string(&cluster.layout).unwrap();
    fs::write(&cluster.layout, edit(text)).unwrap();
}

#[test]
fn help_and_version_are_no_mistakes() {
    for daemon in DAEMONS {
        for (flag, text) in
            [("--help", "--layout <FILE>"), ("--version", env!("CARGO_PKG_VERSION"))]
        {
            let ended = run_to_end(command(daemon).arg(flag));
            assert_eq!(ended.code, Some(0), "{daemon} {flag}: {}", ended.stderr);
            assert!(ended.stdout.contains(text), "{}", ended.stdout);
            assert_eq!(ended.stderr, "");
        }
    }
}

#[test]
fn wrong_command_lines() {
    let cluster = Cluster::new(NODES, "");
    for daemon in DAEMONS {
        let ended = run_to_end(command(daemon).arg("--no-such-flag"));
        assert_told(&ended, USAGE, &["unexpected argument '--no-such-flag'"]);
        let ended = run_to_end(command(daemon).arg("stray"));
        assert_told(&ended, USAGE, &["unexpected argument 'stray'"]);
        let ended = run_to_end(command(daemon).arg("--layout"));
        assert_told(&ended, USAGE, &["a value is required for '--layout <FILE>'"]);
    }
    for daemon in ["zcluster-node", "zcluster-logger"] {
        let ended = run_to_end(command(daemon).args(["--layout", cluster.layout_arg()]));
        assert_told(&ended, USAGE, &["which node is this?", "manager", "worker-1"]);
        // Empty counts as unset.
        let mut command = command(daemon);
        command.env("CLUSTER_NODE", "").args(["--layout", cluster.layout_arg()]);
        assert_told(&run_to_end(&mut command), USAGE, &["which node is this?"]);
    }
}

#[test]
fn layouts_that_cannot_be_read() {
    let cluster = Cluster::new(NODES, "");
    for daemon in DAEMONS {
        let ended = run_to_end(command(daemon).args(["--layout", "/nonexistent/layout.toml"]));
        assert_told(&ended, IO, &["cannot read the layout file /nonexistent/layout.toml"]);
        let folder = cluster.dir.path().to_str().unwrap();
        let ended = run_to_end(command(daemon).args(["--layout", folder]));
        assert_told(&ended, IO, &["cannot read the layout file", folder]);
    }
    // Without --layout, the file in the current directory.
    let empty = tempfile::tempdir().unwrap();
    for daemon in DAEMONS {
        let ended = run_to_end(command(daemon).current_dir(&empty));
        assert_told(&ended, IO, &["cannot read the layout file cluster-layout.toml"]);
    }
}

#[test]
fn layouts_that_are_wrong() {
    let good = fs::read_to_string(Cluster::new(NODES, "").layout).unwrap();
    let replaced = |from: &str, to: &str| {
        assert!(good.contains(from), "{from} in\n{good}");
        good.replacen(from, to, 1)
    };
    let layouts = [
        ("[zeromq".to_owned(), vec![":1:"]),
        (String::new(), vec!["no nodes"]),
        (
            replaced("[zeromq]", "[zeromq]\nlisten_xsub_endpont = \"x\""),
            vec!["listen_xsub_endpont", ":2:"],
        ),
        (replaced("\"worker\"", "\"wroker\""), vec!["wroker"]),
        (replaced("[zeromq]", "[zeromq]\nlinger_ms = \"soon\""), vec!["linger_ms"]),
        (
            replaced("[zeromq]", "[zeromq]\nconnect_xpub_endpoint = \"tcp:/oops\""),
            vec!["connect_xpub_endpoint"],
        ),
        (replaced("tcp://127.0.0.1", "udp://127.0.0.1"), vec!["listen_xsub_endpoint"]),
        (replaced("tcp://127.0.0.1", "tcp://not a host"), vec!["listen_xsub_endpoint"]),
        (replaced("metrics_port = 0", "metrics_port = 99999"), vec!["metrics_port"]),
    ];
    for (text, told) in layouts {
        for daemon in DAEMONS {
            let cluster = Cluster::new(NODES, "");
            edit_layout(&cluster, |_| text.clone());
            let ended = run_to_end(command(daemon).args(good_args(daemon, &cluster)));
            let mut told = told.clone();
            told.push(cluster.layout_arg());
            assert_told(&ended, CONFIG, &told);
        }
    }
}

#[test]
fn nodes_that_are_not_in_the_layout() {
    let cluster = Cluster::new(NODES, "");
    for daemon in ["zcluster-node", "zcluster-logger"] {
        let told = ["'worker-9'", cluster.layout_arg(), "logger-1, manager, worker-1"];
        let args = ["--layout", cluster.layout_arg(), "--node", "worker-9"];
        assert_told(&run_to_end(command(daemon).args(args)), CONFIG, &told);
        let args = ["--layout", cluster.layout_arg()];
        let mut command = command(daemon);
        command.env("CLUSTER_NODE", "worker-9").args(args);
        assert_told(&run_to_end(&mut command), CONFIG, &told);
    }
}

#[test]
fn the_wrong_program_for_a_node() {
    let cluster = Cluster::new(NODES, "");
    let args = |node| ["--layout", cluster.layout_arg(), "--node", node];
    let ended = run_to_end(command("zcluster-node").args(args("logger-1")));
    assert_told(&ended, CONFIG, &["'logger-1'", "zcluster-logger"]);
    for node in ["worker-1", "manager"] {
        let ended = run_to_end(command("zcluster-logger").args(args(node)));
        assert_told(&ended, CONFIG, &[&format!("'{node}'"), "receives no logs"]);
    }
}

fn ports_that_are_taken(engine: Engine) {
    // Another process has the port.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let section = |line: &str| format!("[broker]\n{line}");
    let none = "[broker]\n".to_owned();
    let cases = [
        ("zcluster-broker", section(&format!("metrics_port = {port}")), None),
        ("zcluster-broker", none.clone(), Some(("listen_xsub_endpoint", "tcp://"))),
        ("zcluster-broker", none.clone(), Some(("listen_xpub_endpoint", "tcp://"))),
        ("zcluster-node", none.clone(), Some(("worker-1", "metrics_port"))),
        ("zcluster-logger", none.clone(), Some(("logger-1", "metrics_port"))),
        ("zcluster-logger", none, Some(("logger-1", "port"))),
    ];
    for (daemon, options, edit) in cases {
        let cluster = Cluster::on(engine, NODES, &options);
        if let Some((what, value)) = edit {
            edit_layout(&cluster, |text| set(&text, what, value, port));
        }
        let ended = run_to_end(command(daemon).args(good_args(daemon, &cluster)));
        let reason = "already in use";
        let found = ended.stderr.to_lowercase().contains(reason);
        assert!(found, "{daemon} {options} {edit:?}: {}", ended.stderr);
        assert_told(&ended, UNAVAILABLE, &[&address]);
    }
}

/// Sets the port of an endpoint or of a node in the text of a layout.
fn set(text: &str, what: &str, value: &str, port: u16) -> String {
    let node = format!("[nodes.{what}]");
    let mut in_node = false;
    let mut out = String::new();
    for line in text.lines() {
        if line.starts_with('[') {
            in_node = line == node;
        }
        let line = match line.split_once(" = ") {
            Some((key, _)) if key == what => format!("{key} = \"{value}127.0.0.1:{port}\""),
            Some((key, _)) if in_node && key == value => format!("{key} = {port}"),
            _ => line.to_owned(),
        };
        out.push_str(&line);
        out.push('\n');
    }
    assert_ne!(out, text);
    out
}

fn addresses_this_machine_does_not_have(engine: Engine) {
    // TEST-NET-1: no host has it.
    let cluster = Cluster::on(engine, NODES, "");
    edit_layout(&cluster, |text| text.replacen("tcp://127.0.0.1", "tcp://192.0.2.1", 1));
    let ended = run_to_end(command("zcluster-broker").args(good_args("zcluster-broker", &cluster)));
    assert_told(&ended, UNAVAILABLE, &["tcp://192.0.2.1", "this machine has no such address"]);
}

#[test]
fn encryption_is_refused_rather_than_left_out() {
    // The public test keys from the ZeroMQ documentation.
    let (public, secret) =
        ("Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID", "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs");
    let options = format!(
        "curve_server_publickey = {public:?}\ncurve_server_secretkey = {secret:?}\n\
         curve_client_publickey = {public:?}\ncurve_client_secretkey = {secret:?}"
    );
    for (daemon, missing) in [
        ("zcluster-node", "curve_client_secretkey"),
        ("zcluster-broker", "curve_server_secretkey"),
        ("zcluster-logger", "curve_server_secretkey"),
    ] {
        let options = options.replace(missing, &format!("# {missing}"));
        let cluster = Cluster::new(NODES, &options);
        let ended = run_to_end(command(daemon).args(good_args(daemon, &cluster)));
        assert_told(&ended, CONFIG, &["CURVE", missing, "refusing to connect without encryption"]);
        assert!(!ended.stderr.contains(secret), "{}", ended.stderr);
    }
}

on_both_engines!(ports_that_are_taken, addresses_this_machine_does_not_have);
