//! The programs that readers are given: the examples for the WebSocket API, and those of README.md. Each
//! runs as it is, but for the address.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::programs::Program;
use support::relay::Relay;
use support::websocket::{Client, Gateway};
use support::{Process, example, tools};

/// Where `make cluster` has its gateway.
const ADDRESS: &str = "127.0.0.1:27759";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A cluster as that of `make cluster`, as far as examples see it: the worker's heartbeats.
struct Demo {
    gateway: Gateway,
    worker: Process,
}

impl Demo {
    fn start() -> Self {
        let gateway = Gateway::start("");
        let worker = gateway.cluster.node("worker-1", &["--demo", "--subscribe", "demo."]);
        Demo { gateway, worker }
    }

    /// The URL of the gateway.
    fn url(&self) -> String {
        format!("ws://{}", self.gateway.address())
    }

    /// What an example publishes arrives, `count` times.
    fn wait_pings(&mut self, name: &str, count: u64) {
        self.worker.wait_line("a ping", |line| {
            let args = &line["args"];
            (line["event"] == "Demo::ping" && args[0] == name && args[1].as_u64()? >= count)
                .then_some(())
        });
    }
}

/// Puts a JavaScript file where it finds the packages for tests.
fn with_packages(dir: &Path, name: &str, text: &str) -> PathBuf {
    let packages = dir.join("node_modules");
    if !packages.exists() {
        symlink(tools::clients().join("node_modules"), &packages).unwrap();
    }
    let file = dir.join(name);
    fs::write(&file, text).unwrap();
    file
}

fn port(address: &str) -> u16 {
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

#[test]
fn the_python_example_talks_and_resumes() {
    let Some(python) = tools::python_client("python") else { return };
    let mut demo = Demo::start();
    let address = demo.gateway.address();
    let relay = Relay::to(port(&address));
    let url = format!("ws://127.0.0.1:{}", relay.port());
    let mut program =
        Program::start(Command::new(python).arg(root().join("examples/websocket.py")).arg(&url));
    program.wait_text("\"ok\"");
    program.wait_text("zeek.cluster.manager Demo::heartbeat worker-1");
    demo.wait_pings("Python", 2);

    let mut other = Client::connect(&address, "/v1/messages/json", &[]).unwrap();
    other.subscribe(&[]);
    other.publish("demo.before", "Test::before", &[1]);
    program.wait_text("demo.before Test::before 1");
    relay.cut();
    program.wait_text("disconnected: ");
    other.publish("demo.meantime", "Test::meantime", &[2]);
    relay.mend(port(&address));
    program.wait_line("the answer to resume", |line| {
        let answer: serde_json::Value = serde_json::from_str(line).ok()?;
        assert_eq!((&answer["type"], &answer["complete"]), (&"ok".into(), &true.into()), "{line}");
        Some(())
    });
    program.wait_text("demo.meantime Test::meantime 2");
    other.publish("demo.after", "Test::after", &[3]);
    program.wait_text("demo.after Test::after 3");
    let own = |line: &&String| line.starts_with("demo.");
    assert_eq!(program.seen.iter().filter(own).count(), 3, "{:?}", program.seen);

    // Of a new gateway, it knows no session.
    demo.gateway.manager.kill();
    program.wait_text("disconnected: ");
    demo.gateway.manager = demo.gateway.cluster.node("manager", &["--no-stdin"]);
    relay.mend(port(&demo.gateway.address()));
    program.wait_text("\"id\": \"subscribe\"");
    program.wait_text("zeek.cluster.manager Demo::heartbeat worker-1");
}

#[test]
fn the_javascript_example_talks() {
    let Some(node) = tools::node() else { return };
    let mut demo = Demo::start();
    let dir = tempfile::tempdir().unwrap();
    let file = with_packages(dir.path(), "websocket.mjs", &read("examples/websocket.mjs"));
    let mut program = Program::start(Command::new(node).arg(file).arg(demo.url()));
    program.wait_text("manager is up");
    program.wait_text("zeek.cluster.manager Demo::heartbeat worker-1");
    demo.wait_pings("JavaScript", 2);
    demo.worker.kill();
    program.wait_text("worker-1 is down");
    demo.gateway.manager.stop();
    program.wait_text("closed: 1001 Terminating");
    assert!(program.wait().success());
}

#[test]
fn the_rust_example_talks() {
    let mut demo = Demo::start();
    let mut program =
        Program::start(Command::new(example("websocket")).arg(demo.gateway.address()));
    program.wait_text("-websocket-0");
    program.wait_text(r#""zeek.cluster.manager" ["Demo::heartbeat",["worker-1","#);
    demo.wait_pings("Rust", 2);
    demo.gateway.manager.stop();
    assert!(program.wait().success());
}

/// The code block of README.md in that language that connects to the gateway.
fn in_readme(language: &str, url: &str) -> String {
    let readme = read("README.md");
    let start = format!("```{language}\n");
    let mut blocks = readme.split(&start).skip(1);
    let block = blocks.find(|block| block.contains(ADDRESS)).unwrap();
    let (code, _) = block.split_once("```").unwrap();
    code.replace(&format!("ws://{ADDRESS}"), url)
}

#[test]
fn the_programs_in_the_readme_work_as_typed() {
    let layout = read("cluster-layout.toml");
    assert!(layout.contains(r#"listen_addr = "127.0.0.1", listen_port = 27759"#));
    let mut demo = Demo::start();
    let dir = tempfile::tempdir().unwrap();
    let python = tools::python_client("python").map(|python| {
        let mut command = Command::new(python);
        command.arg("-u").arg("-c").arg(in_readme("python", &demo.url()));
        ("Python", "['worker-1', ", command)
    });
    let node = tools::node().map(|node| {
        let file = with_packages(dir.path(), "client.mjs", &in_readme("js", &demo.url()));
        let mut command = Command::new(node);
        command.arg(file);
        ("JavaScript", "worker-1 ", command)
    });
    for (name, args, mut command) in python.into_iter().chain(node) {
        let mut program = Program::start(&mut command);
        program.wait_text(&format!("zeek.cluster.manager Demo::heartbeat {args}"));
        demo.worker.wait_line("its event", |line| {
            (line["event"] == "Demo::hi" && line["args"] == serde_json::json!([name, 1]))
                .then_some(())
        });
    }
}
