//! `zcluster-node`: see the library for what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    zcluster::daemon::main(zcluster_node::run)
}
