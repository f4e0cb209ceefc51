//! `zcluster`, the operator's command.
//!
//! One module a subcommand. A new one is a module with its `clap` arguments and a `run` that
//! returns an [`ExitCode`], a variant of [`Command`], and an arm in [`run`].
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod keygen;
pub mod keys;
pub mod layout;
mod output;
pub mod status;
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
