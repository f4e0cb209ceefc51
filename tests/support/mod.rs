//! Real processes for the system tests: a cluster in its own directory, on ports that the system
//! chooses. Everything it starts is killed when it goes out of scope.
//!
//! - here: processes, and the cluster they belong to.
//! - [`raw`]: peers on libzmq sockets; [`zmtp`]: peers that speak ZMTP byte by byte; [`peers`]:
//!   publishers and subscribers of either kind.
//! - [`bus`]: a broker with well-behaved peers; [`load`]: publishers of numbered events, and
//!   subscribers that record them.
//! - [`watched`]: libzmq sockets, encrypted or not, with their connection events.
//! - [`keys`]: keys for whole clusters; [`curve`]: peers that encrypt byte by byte; [`relay`]: what
//!   an eavesdropper sees.
//! - [`producer`]: a node inside the test that writes numbered records.
//! - [`log_dir`]: the files that loggers write.
//! - [`store_user`]: a process that uses a data store, under the load of [`store_load`];
//!   [`store_history`]: whether the store agrees with what its users were told.
//! - [`random`]: random choices that a seed reproduces.
//! - [`websocket`]: programs that use the WebSocket API, and a cluster that offers it;
//!   [`websocket_v2`]: those that use version 2; [`pki`]: certificates for both sides of TLS.
//! - [`small_disk`]: file systems that fill up.
//! - [`tools`]: external programs, if the machine has them; [`programs`]: such programs running.
#![allow(dead_code, unreachable_pub)] // not every test uses all of it

pub mod bus;
pub mod curve;
pub mod keys;
pub mod load;
pub mod log_dir;
pub mod peers;
pub mod pki;
pub mod producer;
pub mod programs;
pub mod random;
pub mod raw;
pub mod relay;
pub mod small_disk;
pub mod store_history;
pub mod store_load;
pub mod store_user;
pub mod tools;
pub mod watched;
pub mod websocket;
pub mod websocket_v2;
pub mod zmtp;

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::net::{self, SocketFlags};
use serde_json::Value as Json;
use zcluster::Layout;
use zcluster::node::{Node, Notification, Notifications};

pub use rustix::process::Signal;

/// The forwarding engine of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Zmq,
    Switch,
}

/// Turns each function into a test per engine.
#[macro_export]
macro_rules! on_both_engines {
    ($($test:ident),+ $(,)?) => {
        mod zmq {
            $(#[test] fn $test() { super::$test($crate::support::Engine::Zmq); })+
        }
        mod switch {
            $(#[test] fn $test() { super::$test($crate::support::Engine::Switch); })+
        }
    };
}

/// Timeout of all steps of a test. Generous, because it only matters when a test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Reserves a port for this process, chosen by the system.
///
/// A bound socket that does not listen holds it until the process ends. The system then assigns it
/// to nobody else, and only programs that name it and set SO_REUSEADDR, as the daemons do, can bind
/// it.
pub fn free_port() -> u16 {
    static HELD: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());
    let socket = net::socket_with(
        net::AddressFamily::INET,
        net::SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    net::sockopt::set_socket_reuseaddr(&socket, true).unwrap();
    net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = SocketAddrV4::try_from(net::getsockname(&socket).unwrap()).unwrap();
    HELD.lock().unwrap().push(socket);
    address.port()
}

/// Waits until `condition` returns a value; fails with `what` after [`PATIENCE`].
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_micros(100);
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::yield_now();
        std::thread::park_timeout(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// Waits until a number has not changed for a while. If it should stop changing and does not, this
/// fails. On a slow machine it may only seem to have stopped, which the caller's later checks must
/// tolerate.
pub fn wait_until_it_stands_still(number: impl Fn() -> u64) {
    let mut last = (number(), Instant::now());
    wait_for("a number to stand still", || {
        let now = number();
        if now != last.0 {
            last = (now, Instant::now());
        }
        (last.1.elapsed() > Duration::from_millis(500)).then_some(())
    });
}

/// The directory of the workspace's binaries, built from the current source.
fn bin_dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| build(&["--workspace", "--bins"]))
}

/// Builds what `cargo build` builds with these arguments, and returns the directory for it.
pub fn build(what: &[&str]) -> PathBuf {
    // This test is target/<profile>/deps/<name>.
    let test = std::env::current_exe().unwrap();
    let dir = test.ancestors().nth(2).unwrap().to_owned();
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet"]).args(what);
    if dir.ends_with("release") {
        build.arg("--release");
    }
    assert!(build.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success());
    dir
}

/// The path of one of the workspace's binaries.
pub fn binary(name: &str) -> PathBuf {
    bin_dir().join(name)
}

/// The path of one of the examples, built from the current source.
pub fn example(name: &str) -> PathBuf {
    // With all of the workspace, for features as in `cargo test --workspace`.
    build(&["--workspace", "--example", name]).join("examples").join(name)
}

/// A command for one of the workspace's binaries.
pub fn command(program: &str) -> Command {
    let mut command = Command::new(binary(program));
    command
        .env_remove("CLUSTER_NODE")
        .env("RUST_LOG", std::env::var("RUST_LOG").unwrap_or_else(|_| "info".into()));
    command
}

/// The results of a process that ended by itself.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command without input until it ends by itself.
pub fn run_to_end(command: &mut Command) -> Ended {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("start {command:?}: {error}"));
    let stdout = read_all(child.stdout.take().unwrap());
    let stderr = read_all(child.stderr.take().unwrap());
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if Instant::now() > deadline => break None,
            None => std::thread::park_timeout(Duration::from_millis(5)),
        }
    };
    let _ = child.kill();
    let _ = child.wait();
    let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
    let status = status.unwrap_or_else(|| panic!("{command:?} does not end\n{stderr}"));
    Ended { code: status.code(), stdout, stderr }
}

fn read_all(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).unwrap();
        text
    })
}

/// A running process, with its output line by line.
pub struct Process {
    pub name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::Receiver<Json>,
    /// All lines of standard output that a wait has read so far.
    pub seen: Vec<Json>,
    stderr: std::sync::Arc<Mutex<String>>,
    pub ready: Json,
}

impl Process {
    /// Starts a binary of the workspace and waits for its ready line.
    pub fn start(name: &str, program: &str, args: &[&str]) -> Self {
        Self::start_command(name, command(program).args(args))
    }

    /// Starts a binary of the workspace.
    pub fn spawn(name: &str, program: &str, args: &[&str]) -> Self {
        Self::spawn_command(name, command(program).args(args))
    }

    /// Starts a command and waits for its ready line.
    pub fn start_command(name: &str, command: &mut Command) -> Self {
        let mut process = Self::spawn_command(name, command);
        process.ready = process.wait_line("the ready line", |line| line.get("ready").cloned());
        process
    }

    /// Starts a command.
    pub fn spawn_command(name: &str, command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        let (send, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line)
                    .unwrap_or_else(|error| panic!("stdout is not JSON ({error}): {line}"));
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        let stderr = std::sync::Arc::new(Mutex::new(String::new()));
        let sink = std::sync::Arc::clone(&stderr);
        let errors = BufReader::new(child.stderr.take().unwrap());
        let prefix = name.to_owned();
        std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                eprintln!("[{prefix}] {line}");
                let mut sink = sink.lock().unwrap();
                sink.push_str(&line);
                sink.push('\n');
            }
        });
        let stdin = child.stdin.take();
        Process {
            name: name.to_owned(),
            child,
            stdin,
            lines,
            seen: Vec::new(),
            stderr,
            ready: Json::Null,
        }
    }

    /// Waits for the next line of standard output for which `pick` returns a value.
    pub fn wait_line<T>(&mut self, what: &str, pick: impl Fn(&Json) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|error| {
                panic!("{}: waited for {what}: {error}\n{}", self.name, self.stderr())
            });
            let picked = pick(&line);
            self.seen.push(line);
            if let Some(picked) = picked {
                return picked;
            }
        }
    }

    /// The next line of standard output, if it is there. It is not added to `seen`.
    pub fn try_line(&self) -> Option<Json> {
        self.lines.try_recv().ok()
    }

    /// The lines of standard output that no wait has read. The process must have ended.
    pub fn remaining_lines(&self) -> Vec<Json> {
        self.lines.iter().collect()
    }

    /// Waits until this process reports that a node is up or down. Returns the node's id.
    pub fn wait_member(&mut self, what: &str, name: &str) -> String {
        self.wait_line(&format!("{what} {name}"), |line| {
            let member = line.get(what)?;
            (member["name"] == name).then(|| member["id"].as_str().unwrap().to_owned())
        })
    }

    /// Waits until all these nodes are up.
    pub fn wait_all_up(&mut self, names: &[&str]) -> BTreeMap<String, String> {
        let mut up = BTreeMap::new();
        while !names.iter().all(|name| up.contains_key(*name)) {
            let (name, id) = self.wait_line(&format!("{names:?} up, so far {up:?}"), |line| {
                let member = line.get("node_up")?;
                let text = |key: &str| member[key].as_str().unwrap().to_owned();
                Some((text("name"), text("id")))
            });
            up.insert(name, id);
        }
        up
    }

    /// The id of this process on the bus.
    pub fn id(&self) -> &str {
        self.ready["id"].as_str().unwrap()
    }

    /// An endpoint or address from the ready line.
    pub fn endpoint(&self, key: &str) -> String {
        self.ready[key].as_str().unwrap_or_else(|| panic!("no {key} in {}", self.ready)).to_owned()
    }

    /// Writes a line to standard input.
    pub fn write_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").unwrap();
        stdin.flush().unwrap();
    }

    /// Closes standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Closes its standard output: writing fails from the next line on.
    pub fn close_stdout(&mut self) {
        self.lines = mpsc::channel().1;
    }

    /// Its standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Waits until standard error contains `text`.
    pub fn wait_stderr(&self, text: &str) {
        wait_for(&format!("{text:?} on stderr of {}", self.name), || {
            self.stderr().contains(text).then_some(())
        });
    }

    /// Waits for a line on standard error that contains all `parts`.
    pub fn wait_stderr_line(&self, parts: &[&str]) {
        wait_for(&format!("a line with {parts:?}"), || {
            let stderr = self.stderr();
            stderr.lines().any(|line| parts.iter().all(|part| line.contains(part))).then_some(())
        });
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Its resident memory in bytes.
    pub fn memory(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    /// Its peak resident memory in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.status_bytes("VmHWM:")
    }

    fn status_bytes(&self, key: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Waits until it ends.
    pub fn wait(&mut self) -> ExitStatus {
        let name = self.name.clone();
        wait_for(&format!("the end of {name}"), || self.child.try_wait().unwrap())
    }

    /// Stops it with SIGTERM and expects exit code 0.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{}: {status}\n{}", self.name, self.stderr());
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
    }

    /// Its metrics page as text.
    pub fn metrics(&self) -> String {
        http_get(&self.endpoint("metrics"), "/metrics")
    }

    /// The sum over all series of a metric.
    pub fn metric(&self, name: &str) -> f64 {
        metric(&self.metrics(), name, "")
    }

    /// The sum over the series of a metric with a label such as `reason="path"`.
    pub fn metric_with(&self, name: &str, label: &str) -> f64 {
        metric(&self.metrics(), name, label)
    }

    /// Returns whether it is healthy, and the body of the response.
    pub fn health(&self) -> (bool, String) {
        let (status, body) = http(&self.endpoint("metrics"), "/healthz");
        (status == 200, body)
    }

    /// Whether it is well apart from having no broker, and the other problems.
    pub fn health_alone(&self) -> (bool, String) {
        let lines = self.problems_at("/healthz");
        let others = lines.iter().filter(|line| !line.starts_with("no connection to the broker"));
        let others: Vec<&str> = others.map(String::as_str).collect();
        (others.is_empty(), others.join("\n"))
    }

    /// The problems it reports at `/healthz` or `/readyz`, a line each.
    pub fn problems_at(&self, path: &str) -> Vec<String> {
        let (status, body) = http(&self.endpoint("metrics"), path);
        assert_eq!(status == 200, body == "ok\n", "{status}: {body}");
        if status == 200 { Vec::new() } else { body.lines().map(str::to_owned).collect() }
    }

    /// Waits until a metric (the sum over its series) is at least that value.
    pub fn wait_metric(&self, name: &str, at_least: f64) {
        wait_for(&format!("{name} >= {at_least} at {}", self.name), || {
            (self.metric(name) >= at_least).then_some(())
        });
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL also ends a stopped process.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The sum over all series of a metric that contain a label such as `reason="path"`; with an empty
/// label, over all.
pub fn metric(text: &str, name: &str, label: &str) -> f64 {
    let series = text.lines().filter_map(|line| line.rsplit_once(' '));
    let wanted = series
        .filter(|(series, _)| series.split('{').next() == Some(name) && series.contains(label));
    wanted.map(|(_, value)| value.parse::<f64>().unwrap()).sum()
}

/// The body of an HTTP response.
pub fn http_get(address: &str, path: &str) -> String {
    http(address, path).1
}

/// The status and body of an HTTP response.
pub fn http(address: &str, path: &str) -> (u16, String) {
    try_http(address, path).unwrap()
}

/// The status and body of an HTTP response. The server may disappear before it is complete.
pub fn try_http(address: &str, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
    });
    if length.is_some_and(|length| body.len() < length) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned()))
}

/// A directory with a layout, and the ports in it.
pub struct Cluster {
    pub dir: tempfile::TempDir,
    pub layout: PathBuf,
    pub xsub_port: u16,
    pub xpub_port: u16,
}

/// A node of a test layout: name, type.
pub type NodeSpec<'a> = (&'a str, &'a str);

/// The nodes of the default layout.
pub const DEFAULT_NODES: &[NodeSpec<'static>] = &[
    ("manager", "manager"),
    ("logger-1", "logger"),
    ("logger-2", "logger"),
    ("worker-1", "worker"),
    ("worker-2", "worker"),
];

impl Cluster {
    /// Creates a layout with those nodes and the default engine. `options` is more TOML: lines of
    /// `[zeromq]`, then sections such as `[log]`; `{dir}` in it stands for the directory.
    pub fn new(nodes: &[NodeSpec<'_>], options: &str) -> Self {
        Self::write(nodes, options, "")
    }

    /// Like [`Self::new`], with that engine.
    pub fn on(engine: Engine, nodes: &[NodeSpec<'_>], options: &str) -> Self {
        let engine = match engine {
            Engine::Zmq => "zmq",
            Engine::Switch => "switch",
        };
        Self::write(nodes, options, &format!("engine = \"{engine}\"\n"))
    }

    fn write(nodes: &[NodeSpec<'_>], options: &str, engine: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (xsub_port, xpub_port) = (free_port(), free_port());
        let mut text = format!(
            "[zeromq]\nlisten_xsub_endpoint = \"tcp://127.0.0.1:{xsub_port}\"\n\
             listen_xpub_endpoint = \"tcp://127.0.0.1:{xpub_port}\"\n{options}\n"
        );
        if !options.contains("[log]") {
            text.push_str("[log]\n");
        }
        let logs = format!("dir = \"{}\"\n", dir.path().join("logs").display());
        text = text.replacen("[log]\n", &format!("[log]\n{logs}"), 1);
        text = text.replace("{dir}", dir.path().to_str().unwrap());
        if !options.contains("[broker]") {
            text.push_str("[broker]\nmetrics_port = 0\n");
        }
        text = text.replacen("[broker]\n", &format!("[broker]\n{engine}"), 1);
        for (name, node_type) in nodes {
            text.push_str(&format!(
                "[nodes.{name}]\nnode_type = \"{node_type}\"\nip = \"127.0.0.1\"\nmetrics_port = 0\n"
            ));
            if *node_type == "logger" {
                text.push_str(&format!("port = {}\n", free_port()));
            }
        }
        let layout = dir.path().join("cluster-layout.toml");
        std::fs::write(&layout, text).unwrap();
        if options.contains("secretkey") {
            // Avoids a warning that others can read the secrets.
            std::fs::set_permissions(&layout, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        Cluster { dir, layout, xsub_port, xpub_port }
    }

    /// The layout file as an argument.
    pub fn layout_arg(&self) -> &str {
        self.layout.to_str().unwrap()
    }

    /// The layout, for a library node inside the test.
    pub fn read_layout(&self) -> Layout {
        Layout::from_toml(&std::fs::read_to_string(&self.layout).unwrap(), "layout").unwrap().0
    }

    /// Starts a library node inside the test.
    pub fn library_node(&self, name: &str) -> (Node, Notifications) {
        Node::builder(self.read_layout(), name).start().unwrap()
    }

    /// The directory of a logger's files.
    pub fn log_dir(&self, logger: &str) -> PathBuf {
        self.dir.path().join("logs").join(logger)
    }

    /// Starts the broker.
    pub fn broker(&self) -> Process {
        Process::start("broker", "zcluster-broker", &["--layout", self.layout_arg()])
    }

    /// Starts a node with more arguments.
    pub fn node(&self, name: &str, args: &[&str]) -> Process {
        let args = [&["--layout", self.layout_arg(), "--node", name], args].concat();
        Process::start(name, "zcluster-node", &args)
    }

    /// Starts a logger.
    pub fn logger(&self, name: &str) -> Process {
        let args = ["--layout", self.layout_arg(), "--node", name];
        Process::start(name, "zcluster-logger", &args)
    }

    /// Starts every node of the list.
    pub fn start_all(&self, nodes: &[NodeSpec<'_>]) -> BTreeMap<String, Process> {
        nodes
            .iter()
            .map(|(name, node_type)| {
                let process = match *node_type {
                    "logger" => self.logger(name),
                    _ => self.node(name, &[]),
                };
                ((*name).to_owned(), process)
            })
            .collect()
    }

    /// The records of a log from all loggers, including files of earlier runs.
    pub fn log_lines(&self, path: &str) -> Vec<String> {
        let Ok(loggers) = std::fs::read_dir(self.dir.path().join("logs")) else { return vec![] };
        let mut lines = Vec::new();
        for file in loggers.flat_map(|logger| std::fs::read_dir(logger.unwrap().path()).unwrap()) {
            let file = file.unwrap();
            let name = file.file_name().into_string().unwrap();
            if name.split('.').next() != Some(path) {
                continue;
            }
            // It may just have been renamed.
            let Ok(text) = std::fs::read(file.path()) else { continue };
            let text = String::from_utf8_lossy(&text).into_owned();
            lines.extend(text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned));
        }
        lines
    }
}

/// Waits for the next notification of a library node for which `pick` returns a value.
pub fn wait_notification<T>(
    notifications: &Notifications,
    what: &str,
    mut pick: impl FnMut(Notification) -> Option<T>,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let next = notifications.receive_timeout(left);
        let next = next.unwrap_or_else(|error| panic!("waited for {what}: {error:?}"));
        if let Some(picked) = pick(next) {
            return picked;
        }
    }
}

/// Waits until a library node counts all these nodes as up.
pub fn wait_members(node: &Node, names: &[&str]) {
    wait_for(&format!("{names:?} up at {}", node.name()), || {
        let members = node.members();
        names.iter().all(|name| members.contains_key(*name)).then_some(())
    });
}

/// Waits until each of these processes has seen all others.
pub fn wait_all_see_all(processes: &mut BTreeMap<String, Process>) {
    let names: Vec<String> = processes.keys().cloned().collect();
    for (name, process) in processes {
        let others: Vec<&str> =
            names.iter().filter(|other| *other != name).map(String::as_str).collect();
        process.wait_all_up(&others);
    }
}
