//! `zcluster`, the operator's command.
//!
//! One module a subcommand. A new one is a module with its `clap` arguments and a `run` that
//! returns an [`ExitCode`], a variant of [`Command`], and an arm in [`run`].
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod client;
pub mod keygen;
pub mod keys;
pub mod layout;
mod output;
pub mod publish;
pub mod status;
pub mod subscribe;
pub mod up;

use clap::{Parser, Subcommand};
use zcluster::daemon;
use zcluster::exit::ExitCode;

/// Drive a cluster of nodes that speak Zeek's ZeroMQ backend.
#[derive(Debug, Parser)]
#[command(name = "zcluster", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check and convert layout files.
    #[command(subcommand)]
    Layout(layout::Command),
    /// Make the CURVE keys that encrypt and authenticate a cluster.
    ///
    /// Without options: both key pairs a cluster needs, as the lines of a layout file. All nodes
    /// share them, so that whoever has the client's secret key is in: keep the file as you keep a
    /// password.
    ///
    /// With --per-node: a key pair for each node, in files where `[curve]` of the layout says. Keys
    /// that are there are kept.
    Keygen(keygen::Args),
    /// Show, revoke and restore the keys of nodes, and hand one to a node of Zeek.
    #[command(subcommand)]
    Keys(keys::Command),
    /// Show who is connected to the broker, which nodes of the layout are not, and who falls behind.
    ///
    /// Asks the engine `switch` of a running zcluster-broker at its metrics port. Exits with 69 if a node
    /// is down; nodes of type control and none need not be there.
    Status(status::Args),
    /// Publish events, without being a node.
    ///
    /// One event, given as TOPIC EVENT ARG…; without them, a line of JSON on standard input for each,
    /// as `zcluster-node` reads them: {"topic":"zeek.cluster.worker","event":"Demo::ping","args":[42]}.
    /// Ends once all events have left for the broker. Says on standard error where nobody subscribes
    /// to a topic, which is no failure.
    #[command(name = "pub")]
    Publish(publish::Args),
    /// Print events as lines of JSON, without being a node, until Ctrl-C.
    ///
    /// Lines are as those of `zcluster-node`, and `zcluster pub` publishes them again. Standard error
    /// has a line `subscribed to …` as soon as everything that is published arrives.
    #[command(name = "sub")]
    Subscribe(subscribe::Args),
    /// Start a cluster on this host, in the foreground, until Ctrl-C.
    ///
    /// Starts the central broker, then every node of the layout as a process of its own: loggers,
    /// the manager, proxies, workers, control nodes. What each prints is shown behind its name:
    /// after `|` its own lines, after `*` what there is to say about it. A process that exits by
    /// itself is started again. Ctrl-C stops workers, proxies, the manager and control nodes, then
    /// the loggers, then the broker; a second one kills.
    Up(up::Args),
}

/// Does what the command line says.
pub fn run(cli: &Cli) -> ExitCode {
    match &cli.command {
        Command::Layout(command) => layout::run(command),
        Command::Keygen(args) => keygen::run(args),
        Command::Keys(command) => keys::run(command),
        Command::Status(args) => status::run(args),
        Command::Publish(args) => publish::run(args),
        Command::Subscribe(args) => subscribe::run(args),
        Command::Up(args) => up::run(args),
    }
}

/// Reads the command line; `Err` carries the exit code of `--help` and of mistakes, which are
/// already told.
///
/// # Errors
///
/// The command line asks for help or is wrong.
pub fn parse() -> Result<Cli, ExitCode> {
    Cli::try_parse().map_err(|answer| daemon::print_answer(&answer))
}
