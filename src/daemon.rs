//! What every daemon does alike: arguments, its own log, signals, the ready line, exit codes.
//!
//! Standard output carries JSON lines only, and the first is `{"ready":{…}}`; what people read
//! goes to standard error (`RUST_LOG` says how much of it).

mod lines;
mod reload;

use std::fmt;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};
use std::{env, process};

use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

pub use reload::{AccessSource, Reloader};

use self::lines::SEVERAL_LINES;
use crate::access::KeyError;
use crate::exit::ExitCode;
use crate::gateway::{self, Health, HttpServer};
use crate::layout::{self, Endpoint, Layout, Loaded, NodeType};
use crate::node::{Node, NodeError, Notification, Notifications};
use crate::telemetry::Telemetry;
use crate::transport::TransportError;

/// Why a daemon ends other than by request: one line for people, and the exit code.
#[derive(Debug)]
pub struct Failure {
    /// What kind of failure.
    pub code: ExitCode,
    /// What, where, and what was expected.
    pub message: String,
}

impl Failure {
    /// A failure of that kind.
    pub fn new(code: ExitCode, message: impl fmt::Display) -> Self {
        Failure { code, message: message.to_string() }
    }

    /// A mistake in the configuration.
    pub fn config(message: impl fmt::Display) -> Self {
        Self::new(ExitCode::Config, message)
    }
}

impl From<layout::LoadError> for Failure {
    fn from(error: layout::LoadError) -> Self {
        Failure::new(error.exit_code(), error)
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        Failure::config(error)
    }
}

impl From<TransportError> for Failure {
    fn from(error: TransportError) -> Self {
        let code = if error.is_configuration() { ExitCode::Config } else { ExitCode::Unavailable };
        Failure::new(code, error)
    }
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::Transport(error) => error.into(),
            NodeError::UnknownNode { .. }
            | NodeError::Keys(_)
            | NodeError::Refused { .. }
            | NodeError::Schema(_) => Failure::config(error),
            _ => Failure::new(ExitCode::Software, error),
        }
    }
}

/// The environment variable by which a supervisor gives its process id to the daemons it starts,
/// so that they end when it does.
pub const PARENT_PID: &str = "ZCLUSTER_PARENT_PID";

/// The body of a daemon's `main`: parses the command line, sets up logging, runs, and turns a
/// failure into one line and an exit code.
pub fn main<Args: clap::Parser>(
    run: impl FnOnce(&Args) -> Result<(), Failure>,
) -> process::ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(answer) => {
            // Help and version go to stdout and are no mistake. Nothing can be done about a
            // stream that is gone.
            let _ = answer.print();
            return if answer.use_stderr() { ExitCode::Usage } else { ExitCode::Ok }.into();
        }
    };
    lines::start();
    allow_many_files();
    match end_with_parent().and_then(|()| run(&args)) {
        Ok(()) => ExitCode::Ok.into(),
        Err(failure) => {
            log::error!(target: SEVERAL_LINES, "{}", failure.message);
            failure.code.into()
        }
    }
}

/// Uses all file descriptors that the system allows the process: the customary limit of 1,024 is
/// made for programs that wait with `select`. A daemon that gets no more goes on with those.
fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// Asks the kernel for SIGTERM when the parent ends, if [`PARENT_PID`] says that the parent is a
/// supervisor: even one that is killed leaves no daemon behind.
///
/// # Errors
/// When the parent was gone before the kernel was asked.
fn end_with_parent() -> Result<(), Failure> {
    let Some(named) = env::var_os(PARENT_PID) else { return Ok(()) };
    let refused = |e| Failure::new(ExitCode::Software, format!("cannot watch the parent: {e}"));
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
        .map_err(refused)?;
    let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().to_string());
    if parent.is_some_and(|parent| *named == *parent) {
        return Ok(());
    }
    let message = format!("the process {PARENT_PID}={} is not the parent", named.display());
    Err(Failure::new(ExitCode::Unavailable, message))
}

/// Reads the layout and the environment, with `--node` in the place of `CLUSTER_NODE`, and tells
/// what is unwise in it.
///
/// # Errors
/// No file, or a wrong one.
pub fn load_layout(path: &Path, node: Option<&str>) -> Result<Loaded, Failure> {
    let loaded = layout::load(path, |variable| match (variable, node) {
        ("CLUSTER_NODE", Some(node)) => Some(node.to_owned()),
        _ => env::var(variable).ok(),
    })?;
    for warning in &loaded.warnings {
        log::warn!(target: SEVERAL_LINES, "{warning}");
    }
    if loaded.has_secrets() {
        warn_if_readable(path);
    }
    Ok(loaded)
}

/// Warns of a layout file with secret keys that everybody on the host can read.
fn warn_if_readable(path: &Path) {
    // One that is gone by now has been read before.
    let Ok(metadata) = std::fs::metadata(path) else { return };
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o004 != 0 {
        let path = path.display();
        log::warn!(
            "{path} holds secret keys and has mode {mode:04o}, so that everybody on this host can \
             read them: chmod o-r {path}"
        );
    }
}

/// Warns of a ZeroMQ socket that other hosts can reach and that is not encrypted. `endpoint` is the
/// one it is bound to, as the transport reports it.
pub fn warn_if_open(endpoint: &str, is_encrypted: bool) {
    if !is_encrypted && endpoint.parse().is_ok_and(|endpoint: Endpoint| endpoint.is_reachable()) {
        log::warn!(
            "{endpoint} is not encrypted: whoever reaches it can read along and speak as any node. \
             `zcluster keygen` makes keys (docs/security.md)"
        );
    }
}

/// Serves the metrics of a node where the layout gives it a port; the manager's server also lists
/// those of all nodes.
///
/// # Errors
/// An address that is taken (69).
pub fn serve_metrics(
    layout: &Layout,
    name: &str,
    telemetry: &Telemetry,
    health: impl Fn() -> Health + Send + Sync + 'static,
) -> Result<Option<HttpServer>, Failure> {
    let Some(node) = layout.node(name) else { return Ok(None) };
    let Some(port) = node.metrics_port else { return Ok(None) };
    let services = (node.node_type == NodeType::Manager).then(|| metrics_addresses(layout));
    let address = SocketAddr::new(layout.metrics_address(node), port);
    gateway::serve_metrics(address, telemetry, services, health)
        .map(Some)
        .map_err(|error| Failure::new(ExitCode::Unavailable, error))
}

/// Where all nodes of the layout offer their metrics.
fn metrics_addresses(layout: &Layout) -> Vec<SocketAddr> {
    let nodes = layout.nodes.values();
    let with_port = nodes.filter_map(|node| node.metrics_port.map(|port| (node, port)));
    with_port
        .filter(|(_, port)| *port != 0)
        .map(|(node, port)| SocketAddr::new(layout.metrics_address(node), port))
        .collect()
}

/// The members every node's ready line starts with.
pub fn ready_members(node: &Node) -> serde_json::Map<String, serde_json::Value> {
    let mut members = serde_json::Map::new();
    members.insert("node".into(), node.name().into());
    members.insert("id".into(), node.id().to_string().into());
    members
}

/// The JSON line for nodes that come and go; `None` for other notifications.
pub fn member_line(notification: &Notification) -> Option<serde_json::Value> {
    let (what, name, id) = match notification {
        Notification::NodeUp { name, id } => ("node_up", name, id),
        Notification::NodeDown { name, id } => ("node_down", name, id),
        _ => return None,
    };
    let time = jiff::Timestamp::try_from(SystemTime::now()).unwrap_or_default();
    Some(json!({ "time": format!("{time:.6}"), what: { "name": name, "id": id.to_string() } }))
}

/// Prints who comes and goes, until the node has ended or nobody reads any more.
pub fn print_members(notifications: &Notifications) {
    while let Some(notification) = notifications.receive() {
        if let Some(line) = member_line(&notification)
            && let Err(failure) = print_line(&line)
        {
            log::warn!("{}", failure.message);
            return;
        }
    }
}

/// Prints the ready line with these members.
///
/// # Errors
/// When nobody reads standard output any more.
pub fn print_ready(members: &serde_json::Map<String, serde_json::Value>) -> Result<(), Failure> {
    print_line(&serde_json::json!({ "ready": members }))
}

/// Prints a JSON line.
///
/// # Errors
/// When nobody reads standard output any more.
pub fn print_line(line: &serde_json::Value) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::new(ExitCode::Io, format!("cannot write to stdout: {error}")))
}

/// What the operating system asks of a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: stop in good order.
    Stop,
    /// SIGHUP.
    Hangup,
}

/// A second SIGINT that soon after a first request to stop is the same request: `timeout` and
/// shells may send a signal to the process and to its group.
const SAME_REQUEST: Duration = Duration::from_secs(1);

/// Calls `handle` for every signal, on a thread of its own; requests to stop once. A person who
/// presses Ctrl-C again ends the process at once.
///
/// # Errors
/// When the system refuses the handlers or the thread.
pub fn on_signals(handle: impl Fn(Signal) + Send + 'static) -> Result<(), Failure> {
    let fail = |error| Failure::new(ExitCode::Software, format!("cannot handle signals: {error}"));
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(fail)?;
    let body = move || {
        let mut stopping: Option<Instant> = None;
        for signal in signals.forever() {
            match stopping {
                _ if signal == SIGHUP => handle(Signal::Hangup),
                None => {
                    stopping = Some(Instant::now());
                    handle(Signal::Stop);
                }
                Some(since) if signal == SIGINT && since.elapsed() > SAME_REQUEST => {
                    log::warn!("interrupted again: ending at once");
                    process::exit(ExitCode::Software.code().into());
                }
                Some(_) => {}
            }
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(body).map_err(fail)?;
    Ok(())
}
