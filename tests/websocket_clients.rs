//! Other people's clients before a real gateway: the Python package `websockets`, the npm package `ws`,
//! zeek-client, and Chromium with the live page. What they do is in `tests/clients`.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value as Json, json};
use support::programs::Program;
use support::websocket::Gateway;
use support::{Cluster, NodeSpec, Process, free_port, tools, wait_all_see_all};

const NODES: &[NodeSpec<'static>] = &[
    ("manager", "manager"),
    ("logger-1", "logger"),
    ("worker-1", "worker"),
    ("worker-2", "worker"),
];

/// One browser at a time: what they check is also how soon things are shown.
static BROWSER: Mutex<()> = Mutex::new(());

/// Runs a client until it ends; stops the gateway when it asks for that.
fn run_client(command: &mut Command) {
    let mut gateway = Gateway::start("");
    let url = format!("ws://{}", gateway.address());
    let mut program = Program::start(command.arg(url));
    let mut was_stopped = false;
    let status = program.follow(|_, line| {
        if line == "stop" {
            gateway.manager.stop();
            was_stopped = true;
        }
    });
    assert!(status.success(), "{}", program.seen.join("\n"));
    assert!(was_stopped);
}

#[test]
fn python_websockets() {
    let Some(python) = tools::python_client("python") else { return };
    run_client(Command::new(python).arg(tools::clients().join("websockets_client.py")));
}

#[test]
fn npm_ws() {
    let Some(node) = tools::node() else { return };
    run_client(Command::new(node).arg(tools::clients().join("ws_client.mjs")));
}

/// Where the screenshots of a test of the page go.
fn screenshots(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots").join(name);
    // None of an earlier run.
    let _ = fs::remove_dir_all(&dir);
    dir
}

#[test]
fn the_live_page_in_chromium() {
    look_at_page("live-page", None);
}

#[test]
fn the_live_page_with_a_token_in_chromium() {
    look_at_page("live-page-token", Some("0123456789abcdef0123456789abcdef"));
}

/// Looks at the page of a cluster, which may ask for a token.
fn look_at_page(name: &str, token: Option<&str>) {
    let (Some(node), Some(chromium)) = (tools::node(), tools::chromium()) else { return };
    let _one = BROWSER.lock().unwrap_or_else(PoisonError::into_inner);
    let mut options = "[nodes.manager.websocket]\nlisten_port = 0\n".to_owned();
    if token.is_some() {
        options += "[nodes.manager.websocket.applications.page]\ntoken_file = \"{dir}/token\"\n";
    }
    let cluster = Cluster::new(NODES, &options);
    if let Some(token) = token {
        let file = cluster.dir.path().join("token");
        fs::write(&file, token).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    // The page also shows what the other processes measure, at the ports in the layout.
    let layout = fs::read_to_string(&cluster.layout).unwrap();
    let mut parts = layout.split("metrics_port = 0\n");
    let mut layout = parts.next().unwrap().to_owned();
    for part in parts {
        layout += &format!("metrics_port = {}\n{part}", free_port());
    }
    fs::write(&cluster.layout, layout).unwrap();
    let _broker = cluster.broker();
    let mut nodes: BTreeMap<String, Process> = NODES
        .iter()
        .map(|(name, node_type)| {
            let process = match *node_type {
                "logger" => cluster.logger(name),
                _ => cluster.node(name, &["--demo", "--no-stdin"]),
            };
            ((*name).to_owned(), process)
        })
        .collect();
    wait_all_see_all(&mut nodes);
    let url = format!("http://{}/", nodes["manager"].endpoint("http"));
    let mut command = Command::new(node);
    command
        .arg(tools::clients().join("page.mjs"))
        .arg(url)
        .arg(screenshots(name))
        .arg("worker-2")
        .args(token)
        .env("CHROMIUM", chromium);
    let mut program = Program::start(&mut command);
    let status = program.follow(|stdin, line| {
        if let Some(name) = line.strip_prefix("kill ") {
            nodes.get_mut(name).unwrap().kill();
            std::io::Write::write_all(stdin, b"ok\n").unwrap();
        }
    });
    assert!(status.success(), "{}", program.seen.join("\n"));
}

#[test]
fn states_of_the_live_page_in_chromium() {
    let (Some(node), Some(chromium)) = (tools::node(), tools::chromium()) else { return };
    let _one = BROWSER.lock().unwrap_or_else(PoisonError::into_inner);
    let mut command = Command::new(node);
    command
        .arg(tools::clients().join("page_states.mjs"))
        .arg(screenshots("page-states"))
        .env("CHROMIUM", chromium);
    let mut program = Program::start(&mut command);
    let status = program.follow(|_, _| {});
    assert!(status.success(), "{}", program.seen.join("\n"));
}

/// A node that answers zeek-client as a cluster controller of Zeek would.
struct Controller(Process);

const TOPIC: &str = "zeek/management/controller";
const EVENT: &str = "Management::Controller::API::";

impl Controller {
    /// Waits for a request and returns its arguments; the first is the id of the request.
    fn request(&mut self, name: &str) -> Vec<Json> {
        self.0.wait_line(name, |line| {
            let is_it = line["event"] == format!("{EVENT}{name}_request");
            is_it.then(|| line["args"].as_array().unwrap().clone())
        })
    }

    fn respond(&mut self, name: &str, args: &Json) {
        let event = format!("{EVENT}{name}_response");
        let line = json!({ "topic": TOPIC, "event": event, "args": args });
        self.0.write_line(&line.to_string());
    }
}

/// Zeek's record `Management::Result`, for a request that succeeded.
fn success(id: &Json, data: &Json) -> Json {
    json!([id, true, null, data, null, null])
}

/// The next line that is JSON, as its results are.
fn wait_json(program: &mut Program) -> Json {
    program.wait_line("a result", |line| serde_json::from_str(line).ok())
}

/// zeek-client needs a cluster controller, which only Zeek has. A worker plays it, as far as it is
/// about carrying requests, configurations and answers.
#[test]
fn zeek_client_talks_to_a_controller() {
    let Some(client) = tools::python_client("zeek-client") else { return };
    let gateway = Gateway::start("");
    let mut controller =
        Controller(gateway.cluster.node("worker-1", &["--subscribe", "zeek/management/"]));
    let run = |args: &[&str]| {
        let mut command = Command::new(&client);
        command
            .env_remove("ZEEK_CLIENT_CONFIG_FILE")
            .env_remove("ZEEK_CLIENT_CONFIG_SETTINGS")
            .args(["-vv", "--controller", &gateway.address(), "--set", "client.pretty_json=false"])
            .args(args);
        Program::start(&mut command)
    };

    let mut program = run(&["get-instances"]);
    let args = controller.request("get_instances");
    let instances = json!([
        ["agent-1", { "addr": "192.0.2.1" }, { "port": "2151/tcp" }],
        ["agent-2", { "addr": "2001:db8::2" }, null],
    ]);
    controller.respond("get_instances", &json!([args[0], success(&args[0], &instances)]));
    program.wait_text("peered with controller");
    let expected = json!({
        "agent-1": { "host": "192.0.2.1", "port": 2151 },
        "agent-2": { "host": "2001:db8::2" },
    });
    assert_eq!(wait_json(&mut program), expected);
    assert!(program.wait().success());

    // A configuration, there and back: sets of records, enums, ports, and fields that are not set.
    let staged = "[instances]\nagent-1 = 192.0.2.1:2151\nagent-2\n\n[manager]\n\
                  instance = agent-1\nrole = MANAGER\nport = 5000\n\n[worker-1]\n\
                  instance = agent-2\nrole = WORKER\nscripts = a.zeek b.zeek\n\
                  interface = eth0\ncpu_affinity = 3\nenv = A=1\n\n";
    let file = gateway.cluster.dir.path().join("cluster.ini");
    fs::write(&file, staged).unwrap();
    let mut program = run(&["stage-config", file.to_str().unwrap()]);
    let args = controller.request("stage_configuration");
    let configuration = args[1].clone();
    let id = &configuration[0];
    controller.respond("stage_configuration", &json!([args[0], [success(&args[0], id)]]));
    let expected = json!({ "errors": [], "results": { "id": id } });
    assert_eq!(wait_json(&mut program), expected);
    assert!(program.wait().success());

    let mut program = run(&["get-config"]);
    let args = controller.request("get_configuration");
    assert_eq!(args[1], false);
    controller.respond("get_configuration", &json!([args[0], success(&args[0], &configuration)]));
    assert!(program.follow(|_, _| {}).success());
    for line in staged.lines() {
        assert!(program.seen.iter().any(|seen| seen == line), "{line:?} in {:?}", program.seen);
    }
}
