//! `zcluster`, the operator's command.
//!
//! Each subcommand has its own module. A new one is a module with `clap` arguments and a `run` that
//! returns an [`ExitCode`], a variant of [`Command`], and an arm in [`run`].
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod client;
pub mod keygen;
pub mod keys;
pub mod layout;
mod output;
pub mod publish;
pub mod status;
pub mod store;
pub mod subscribe;
pub mod up;
mod words;

use clap::{Parser, Subcommand};
use zcluster::daemon;
use zcluster::exit::ExitCode;

/// Run and manage clusters that use Zeek's ZeroMQ backend.
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
    /// Check layout files, and convert them from and to Zeek script.
    #[command(subcommand)]
    Layout(layout::Command),
    /// Generate the CURVE keys that encrypt and authenticate a cluster.
    ///
    /// Without options, prints the two key pairs that a cluster needs, as lines for its layout
    /// file. All nodes share these keys, so anyone with the client's secret key can connect:
    /// protect the file like a password.
    ///
    /// With --per-node, generates a key pair for each node, in the directories that `[curve]` of
    /// the layout names. Existing keys are kept.
    Keygen(keygen::Args),
    /// List, revoke and restore the keys of nodes, and export a node's keys for Zeek.
    #[command(subcommand)]
    Keys(keys::Command),
    /// Show which nodes are connected to the broker, which are missing, and which fall behind.
    ///
    /// Queries the metrics port of a running zcluster-broker, which must use the engine `switch`.
    /// Exits with 69 if a node of the layout is down; nodes of type `control` and `none` may be
    /// absent.
    Status(status::Args),
    /// Publish events from the command line, without running a node.
    ///
    /// Publishes one event, given as TOPIC EVENT ARG… Without arguments, reads events from standard
    /// input, one JSON object per line, in the same format as `zcluster-node`:
    /// {"topic":"zeek.cluster.worker","event":"Demo::ping","args":["hello", 42]}.
    ///
    /// Exits once all events have been sent to the broker. Warns on standard error about topics
    /// that have no subscriber; this is not a failure.
    #[command(name = "pub")]
    Publish(publish::Args),
    /// Print events as JSON lines, without running a node, until Ctrl-C.
    ///
    /// The lines have the same format as those of `zcluster-node`, so that `zcluster pub` can
    /// publish them again. Prints `subscribed to …` on standard error once the subscription is
    /// active: every matching event published after that arrives.
    #[command(name = "sub")]
    Subscribe(subscribe::Args),
    /// List data stores, query and change them, and watch what changes.
    ///
    /// Works beside a running cluster, without running a node. Keys and values are JSON, in the forms of `zcluster-node`: 42 is a
    /// count, {"addr":"192.0.2.1"} an address. A word that is not JSON is a string; so is '"42"'.
    #[command(subcommand)]
    Store(store::Command),
    /// Run a whole cluster on this host, in the foreground, until Ctrl-C.
    ///
    /// Starts the broker, then a process for each node of the layout: loggers, the manager,
    /// proxies, workers and control nodes. Each line of output begins with the name of a process:
    /// `|` marks a line that the process wrote, `*` a message about the process.
    ///
    /// Restarts any process that exits by itself. Ctrl-C stops workers, proxies, the manager and
    /// control nodes, then the loggers, then the broker; a second Ctrl-C kills what still runs.
    Up(up::Args),
}

/// Runs the subcommand.
pub fn run(cli: &Cli) -> ExitCode {
    match &cli.command {
        Command::Layout(command) => layout::run(command),
        Command::Keygen(args) => keygen::run(args),
        Command::Keys(command) => keys::run(command),
        Command::Status(args) => status::run(args),
        Command::Publish(args) => publish::run(args),
        Command::Subscribe(args) => subscribe::run(args),
        Command::Store(command) => store::run(command),
        Command::Up(args) => up::run(args),
    }
}

/// Parses the command line. `Err` carries the exit code of `--help` and of mistakes, whose text has
/// already been printed.
///
/// # Errors
///
/// The command line asks for help or is wrong.
pub fn parse() -> Result<Cli, ExitCode> {
    Cli::try_parse().map_err(|answer| daemon::print_answer(&answer))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }
}
