//! `zcluster keygen`: CURVE keys, shared by all nodes as in Zeek, or one pair per node.

mod per_node;
mod shared;

use zcluster::exit::ExitCode;

use crate::output::end;

/// The arguments of `zcluster keygen`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    shared: shared::SharedArgs,
    #[command(flatten)]
    per_node: per_node::PerNodeArgs,
}

/// Runs the subcommand. Prints a failure on stderr: a file that exists or cannot be written (74), a
/// wrong layout or key file, or an unknown node (78).
pub fn run(args: &Args) -> ExitCode {
    end(if args.per_node.is_asked_for() {
        per_node::run(&args.per_node)
    } else {
        shared::run(&args.shared)
    })
}
