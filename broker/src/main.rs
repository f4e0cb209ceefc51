//! `zcluster-broker`: the broker. See the library for what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    zcluster::daemon::main(zcluster_broker::run)
}
