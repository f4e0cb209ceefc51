//! `zcluster-node`: a node that reads and prints lines of JSON. See `zcluster::console`.

use std::process::ExitCode;

fn main() -> ExitCode {
    zcluster::daemon::main(zcluster::console::run)
}
