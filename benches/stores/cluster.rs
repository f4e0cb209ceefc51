//! The processes of a cluster: the broker, and nodes, which are this program.

use std::process::Command;

use serde_json::Value as Json;

use crate::node::{self, Role};
use crate::plan::Kind;
use crate::support::{Cluster, NodeSpec, Process, build};
use crate::usage;

/// The node of the masters.
pub(crate) const MASTER: &str = "manager";
const NODES: &[NodeSpec<'static>] = &[
    (MASTER, "manager"),
    ("worker-1", "worker"),
    ("worker-2", "worker"),
    ("worker-3", "worker"),
    ("worker-4", "worker"),
];

/// A cluster with a store for each [`Kind`].
pub(crate) struct Stage {
    cluster: Cluster,
    pub(crate) broker: Process,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let mut options = "[cluster]\ndefault_store_dir = \"{dir}\"\n".to_owned();
        for kind in Kind::ALL {
            options.push_str(&format!("[stores.{}]\n", kind.name()));
            options.push_str(match kind {
                Kind::Memory => "backend = \"memory\"\n",
                Kind::Normal => "backend = \"sqlite\"\nsynchronous = \"normal\"\n",
                Kind::Full => "backend = \"sqlite\"\nsynchronous = \"full\"\n",
            });
        }
        let cluster = Cluster::new(NODES, &options);
        let broker = build(&["-p", "zcluster-broker", "--bins"]).join("zcluster-broker");
        let mut broker = Command::new(broker);
        broker.args(["--layout", cluster.layout_arg()]).env("RUST_LOG", "error");
        let broker = Process::start_command("broker", &mut broker);
        Stage { cluster, broker }
    }

    /// Starts a node and waits until it runs.
    pub(crate) fn node(&self, name: &str, role: Role) -> Process {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env("RUST_LOG", "warn").env(node::LAYOUT, self.cluster.layout_arg());
        command.env(node::NAME, name).env(node::ROLE, role.name());
        Process::start_command(name, &mut command)
    }
}

/// Has a node do something, and waits for what it says when it is done.
pub(crate) fn order(process: &mut Process, name: &str, numbers: &[u64]) -> Json {
    begin(process, name, numbers);
    wait(process, name)
}

/// Has a node begin something.
pub(crate) fn begin(process: &mut Process, name: &str, numbers: &[u64]) {
    let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
    process.write_line(&format!("{name} {}", numbers.join(" ")));
}

/// Waits for what a node says about `name`.
pub(crate) fn wait(process: &mut Process, name: &str) -> Json {
    process.wait_line(name, |line| line.get(name).cloned())
}

/// CPU time of all these processes so far, in microseconds.
pub(crate) fn cpu(processes: &[&Process]) -> f64 {
    let times = processes.iter().map(|process| usage::cpu_time(process.pid()));
    times.map(|time| time.as_secs_f64() * 1e6).sum()
}
