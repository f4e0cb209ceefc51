//! What all daemons have in common: arguments, logging, signals, the ready line, exit codes.
//!
//! Standard output carries JSON lines only, and the first is `{"ready":{…}}`; messages for users go
//! to standard error (`RUST_LOG` sets the level).

pub mod check;
mod lines;
mod log_filter;
mod output;
mod reload;
mod services;
mod signals;

use std::fmt;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::SystemTime;
use std::{env, process};

use serde_json::json;

pub use log_filter::LogFilter;
pub use reload::{AccessSource, Reloader};
pub use services::{BROKER, services};
pub use signals::{Signal, Signals};

use self::lines::SEVERAL_LINES;
use crate::access::KeyError;
use crate::exit::ExitCode;
use crate::health::Health;
use crate::http::{self, HttpServer};
use crate::layout::{self, Endpoint, Layout, Loaded, NodeType};
use crate::node::{Node, NodeError, Notification, Notifications};
use crate::telemetry::Telemetry;
use crate::transport::TransportError;

/// Why a daemon exits other than by request: one line for users, and the exit code.
#[derive(Debug)]
pub struct Failure {
    /// The kind of failure.
    pub code: ExitCode,
    /// What is wrong, where, and what was expected.
    pub message: String,
}

impl Failure {
    /// Creates a failure of that kind.
    pub fn new(code: ExitCode, message: impl fmt::Display) -> Self {
        Failure { code, message: message.to_string() }
    }

    /// Creates the failure of a mistake in the configuration.
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
            NodeError::NameTaken { .. } => Failure::new(ExitCode::Unavailable, error),
            _ => Failure::new(ExitCode::Software, error),
        }
    }
}

/// The environment variable with which a supervisor passes its process id to the daemons it starts,
/// so that they exit when it does.
pub const PARENT_PID: &str = "ZCLUSTER_PARENT_PID";

/// The body of a daemon's `main`: handles signals, parses the command line, sets up logging, runs,
/// and turns a failure into one line and an exit code.
pub fn main<Args: clap::Parser>(
    run: impl FnOnce(&Args, &Signals) -> Result<(), Failure>,
) -> process::ExitCode {
    let signals = Signals::take();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(answer) => return print_answer(&answer).into(),
    };
    lines::start();
    allow_many_files();
    let outcome = signals.and_then(|signals| {
        end_with_parent()?;
        run(&args, &signals)
    });
    match outcome {
        Ok(()) => ExitCode::Ok.into(),
        Err(failure) => {
            log::error!(target: SEVERAL_LINES, "{}", failure.message);
            failure.code.into()
        }
    }
}

/// Prints clap's answer to a command line that is not run: help and the version go to standard
/// output and are not mistakes; mistakes go to standard error. Returns the exit code.
pub fn print_answer(answer: &clap::Error) -> ExitCode {
    if answer.use_stderr() {
        // If stderr cannot be written, only the exit code reports the mistake.
        let _ = answer.print();
        return ExitCode::Usage;
    }
    let text = answer.render();
    let text = if io::stdout().is_terminal() { text.ansi().to_string() } else { text.to_string() };
    match print_text(&text) {
        Ok(()) => ExitCode::Ok,
        Err(error) => {
            let _ = writeln!(io::stderr(), "cannot write to stdout: {error}");
            ExitCode::Io
        }
    }
}

/// Raises the limit of open files to the maximum: the customary limit of 1,024 is meant for
/// programs that use `select`. If that fails, the daemon runs with the current limit.
fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// Asks the kernel for SIGTERM when the parent exits, if [`PARENT_PID`] says that the parent is a
/// supervisor: even a killed supervisor leaves no daemon behind.
///
/// # Errors
/// When the parent exited before the kernel was asked.
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

/// Reads the layout and the environment, with `--node` replacing `CLUSTER_NODE`, and logs its
/// warnings.
///
/// # Errors
/// When there is no file, or it is wrong.
pub fn load_layout(path: &Path, node: Option<&str>) -> Result<Loaded, Failure> {
    let loaded = layout::load(path, |variable| match (variable, node) {
        ("CLUSTER_NODE", Some(node)) => Some(node.to_owned()),
        _ => self::variable(variable),
    })?;
    for warning in &loaded.warnings {
        log::warn!(target: SEVERAL_LINES, "{warning}");
    }
    if loaded.has_secrets() {
        warn_if_readable(path);
    }
    Ok(loaded)
}

/// Returns an environment variable, for [`layout::load`]. A value that is not UTF-8 does not count
/// as unset: its lossy form is checked and refused.
pub fn variable(name: &str) -> Option<String> {
    env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// Warns if any user of the host can read a layout file with secret keys.
fn warn_if_readable(path: &Path) {
    if let Some(message) = readable_secrets(path) {
        log::warn!("{message}");
    }
}

/// Describes wrong permissions of a layout file with secret keys, if they are wrong.
pub fn readable_secrets(path: &Path) -> Option<String> {
    // If the file is gone by now, it was read before.
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    let path = path.display();
    (mode & 0o004 != 0).then(|| {
        format!(
            "{path} holds secret keys and has mode {mode:04o}, so any user of this host can read \
             them: chmod o-r {path}"
        )
    })
}

/// Warns of an unencrypted ZeroMQ socket that other hosts can reach. `endpoint` is the bound
/// endpoint, as the transport reports it.
pub fn warn_if_open(endpoint: &str, is_encrypted: bool) {
    if let Some(warning) = open_endpoint(endpoint, is_encrypted) {
        log::warn!("{warning}");
    }
}

/// A warning about a socket that listens there, if it is open to other hosts.
pub fn open_endpoint(endpoint: &str, is_encrypted: bool) -> Option<String> {
    let is_reachable = endpoint.parse().is_ok_and(|endpoint: Endpoint| endpoint.is_reachable());
    (is_reachable && !is_encrypted).then(|| {
        format!(
            "{endpoint} is not encrypted: anyone who reaches it can read all messages and send as \
             any node. `zcluster keygen` creates keys (docs/security.md)"
        )
    })
}

/// Warns if the command line and the environment name different nodes. `node` is the one on the
/// command line, which is used.
pub fn warn_if_another_is_named(node: Option<&str>) {
    let named = env::var("CLUSTER_NODE").unwrap_or_default();
    if let Some(node) = node.filter(|node| !named.is_empty() && *node != named) {
        log::warn!(
            "this is '{node}', as --node says; CLUSTER_NODE says '{named}', which is ignored"
        );
    }
}

/// Serves the metrics of a node where the layout gives it a port; the manager's server also lists
/// those of all processes.
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
    let Some(address) = layout.metrics_socket(name) else { return Ok(None) };
    let services = (node.node_type == NodeType::Manager).then(|| services(layout, BROKER));
    http::serve_metrics(address, telemetry, services, health)
        .map(Some)
        .map_err(|error| Failure::new(ExitCode::Unavailable, error))
}

/// The members that every node's ready line starts with.
pub fn ready_members(node: &Node) -> serde_json::Map<String, serde_json::Value> {
    let mut members = serde_json::Map::new();
    members.insert("node".into(), node.name().into());
    members.insert("id".into(), node.id().to_string().into());
    members
}

/// The JSON line for a node that joins (`node_up`) or leaves (`node_down`).
pub fn member_line(what: &str, name: &str, id: &impl std::fmt::Display) -> serde_json::Value {
    let time = jiff::Timestamp::try_from(SystemTime::now()).unwrap_or_default();
    json!({ "time": format!("{time:.6}"), what: { "name": name, "id": id.to_string() } })
}

/// Prints nodes that join and leave, until the node has stopped.
pub fn print_members(notifications: &Notifications) {
    let mut is_read = true;
    while let Some(notification) = notifications.receive() {
        let line = match &notification {
            Notification::NodeUp { name, id } => member_line("node_up", name, id),
            Notification::NodeDown { name, id } => member_line("node_down", name, id),
            _ => continue,
        };
        if is_read {
            let printed = print_line(&line);
            // A closed pipe stays closed; a full disk may get room again.
            is_read = !printed.is_err_and(|error| error.kind() == ErrorKind::BrokenPipe);
        }
    }
}

/// Prints the ready line with these members. It is only informative: a failure is reported on
/// standard error.
pub fn print_ready(members: &serde_json::Map<String, serde_json::Value>) {
    let _ = print_line(&json!({ "ready": members }));
}

/// Prints a JSON line. Reports failures on standard error, at a limited rate. Blocks while the
/// reader of standard output does not read.
///
/// # Errors
/// When the line is lost.
pub fn print_line(line: &impl std::fmt::Display) -> io::Result<()> {
    output::write_line(&line.to_string())
}

/// Writes a command's result to standard output. A reader that closes the pipe after reading
/// something, as in `… | head`, is not an error.
///
/// # Errors
/// When it cannot be written.
pub fn print_text(text: &str) -> io::Result<()> {
    let (count, outcome) = output::write_all(io::stdout().as_fd(), text.as_bytes());
    match outcome {
        Err(error) if error.kind() == ErrorKind::BrokenPipe && count > 0 => Ok(()),
        outcome => outcome,
    }
}

/// The failure of writing a result to standard output.
pub fn cannot_print(error: &io::Error) -> Failure {
    Failure::new(ExitCode::Io, format!("cannot write to stdout: {error}"))
}
