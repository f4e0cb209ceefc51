//! `zcluster-proxy`: the former name of `zcluster-broker`, for units, dashboards and alerts that know it.

use std::process::ExitCode;

fn main() -> ExitCode {
    zcluster::daemon::main(zcluster_broker::run_as_proxy)
}
