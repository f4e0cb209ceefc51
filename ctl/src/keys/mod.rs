//! `zcluster keys`: per-node keys.
//!
//! - `holder`: who may have keys, and where they are.
//! - `list`, `revoke`, `restore`, `zeek`: the subcommands.
//! - `effect`: which processes must learn of a change.
//! - `edit`: removes public keys from a layout file.

mod edit;
mod effect;
pub(crate) mod holder;
mod list;
mod restore;
mod revoke;
mod zeek;

use std::path::PathBuf;

use zcluster::exit::ExitCode;

use crate::output::end;

/// The subcommands of `zcluster keys`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show the public keys of all nodes.
    ///
    /// Shows where each public key is, which secret keys are on this host, and which keys are
    /// revoked.
    List {
        /// The layout of the cluster.
        #[arg(long, value_name = "FILE", default_value = "cluster-layout.toml")]
        layout: PathBuf,
        /// Print the list as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Revoke the public keys of a node.
    ///
    /// Revoked keys are refused wherever they are. The command also removes them from the directory
    /// of authorized keys and from the layout file.
    Revoke {
        /// The node, or `broker` or `servers`, which clients then no longer trust.
        #[arg(value_name = "NAME")]
        name: String,
        /// Revoke only this public key, for example the old one after a rotation.
        #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
        key: Option<String>,
        /// The layout of the cluster.
        #[arg(long, value_name = "FILE", default_value = "cluster-layout.toml")]
        layout: PathBuf,
    },
    /// Make a revoked key valid again.
    Restore {
        /// The node, or `broker` or `servers`.
        #[arg(value_name = "NAME")]
        name: String,
        /// Restore this public key. Required if the node has several revoked keys.
        #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
        key: Option<String>,
        /// The layout of the cluster.
        #[arg(long, value_name = "FILE", default_value = "cluster-layout.toml")]
        layout: PathBuf,
    },
    /// Print the environment variables with which Zeek connects as a node.
    ///
    /// The output is a list of shell commands and includes the node's secret key.
    Zeek {
        /// The node.
        #[arg(value_name = "NAME")]
        name: String,
        /// Write to this file, with mode 0600, instead of stdout. The file must not exist.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Print even if stdout is a terminal.
        #[arg(long)]
        show: bool,
        /// The layout of the cluster.
        #[arg(long, value_name = "FILE", default_value = "cluster-layout.toml")]
        layout: PathBuf,
    },
}

/// Runs the subcommand. Prints a failure on stderr: a wrong layout or key file, an unknown node or
/// key (78), text that is not a key, or a secret that would go to a terminal (64), a file that
/// cannot be written (74).
pub fn run(command: &Command) -> ExitCode {
    end(match command {
        Command::List { layout, json } => list::run(layout, *json),
        Command::Revoke { name, key, layout } => revoke::run(name, key.as_deref(), layout),
        Command::Restore { name, key, layout } => restore::run(name, key.as_deref(), layout),
        Command::Zeek { name, out, show, layout } => zeek::run(name, out.as_deref(), *show, layout),
    })
}
