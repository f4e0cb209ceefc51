//! [`plan`]: which processes a layout needs, and with which arguments. Opens nothing and starts
//! nothing.

use std::ffi::OsString;
use std::path::Path;

use zcluster::layout::{Endpoint, Layout, NodeType};

/// The role of a process in the cluster, in the order of start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// The broker: all nodes connect to it.
    Broker,
    /// Receives logs; may also be the manager.
    Logger,
    /// Coordinates.
    Manager,
    /// Does work for other nodes; not the broker.
    Proxy,
    /// Analyses traffic.
    Worker,
    /// Talks to nodes for an operator.
    Control,
}

impl Role {
    /// The order in which processes are stopped: first those that send, then the loggers, which
    /// receive what was sent, then the broker.
    pub(crate) const STOP_ORDER: [Role; 6] =
        [Role::Worker, Role::Proxy, Role::Manager, Role::Control, Role::Logger, Role::Broker];

    /// The executable of such a process.
    pub(crate) const fn program(self) -> &'static str {
        match self {
            Role::Broker => "zcluster-broker",
            Role::Logger => "zcluster-logger",
            Role::Manager | Role::Proxy | Role::Worker | Role::Control => "zcluster-node",
        }
    }

    /// Whether it takes part in the handshake: sees the others and is seen by them.
    pub(crate) const fn is_member(self) -> bool {
        !matches!(self, Role::Broker | Role::Control)
    }

    /// `None` for nodes that are not part of a cluster.
    const fn of(node_type: NodeType) -> Option<Self> {
        Some(match node_type {
            NodeType::None => return None,
            NodeType::Control => Role::Control,
            NodeType::Logger => Role::Logger,
            NodeType::Manager => Role::Manager,
            NodeType::Proxy => Role::Proxy,
            NodeType::Worker => Role::Worker,
        })
    }
}

/// One process to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    /// The name of the node; `broker` for the broker, which is not a node.
    pub(crate) name: String,
    /// Its role.
    pub(crate) role: Role,
    /// The arguments of its program.
    pub(crate) args: Vec<OsString>,
    /// Whether its WebSocket API, if it has one, is encrypted.
    pub(crate) uses_tls: bool,
}

/// Why a layout cannot be run on this host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlanError {
    /// A requested node is not in the layout.
    #[error("'{name}' is not a node of {file}; it has {known}")]
    UnknownNode {
        /// The name.
        name: String,
        /// The layout file.
        file: String,
        /// The nodes it has.
        known: String,
    },
    /// A requested node has type `none`.
    #[error("node '{0}' has type none: there is no process to start for it")]
    NoPart(String),
    /// A log receiver listens at a port that other nodes cannot know.
    #[error(
        "node '{0}' receives logs at port 0, but other nodes need to know its port: set one in the \
         layout"
    )]
    LogPort(String),
}

/// The processes of `layout` in the order of start; only the broker and those of `names`, unless
/// that is empty. `file` is the layout file that they read, and `demo` makes workers publish demo
/// events.
///
/// # Errors
/// A name that is not a node of a cluster, or a log receiver whose port the system would choose.
pub(crate) fn plan(
    layout: &Layout,
    file: &Path,
    names: &[String],
    demo: bool,
) -> Result<Vec<Job>, PlanError> {
    for name in names {
        match layout.node(name).map(|node| Role::of(node.node_type)) {
            Some(Some(_)) => {}
            Some(None) => return Err(PlanError::NoPart(name.clone())),
            None => {
                let known: Vec<_> = layout.nodes.keys().map(String::as_str).collect();
                let (name, file) = (name.clone(), file.display().to_string());
                return Err(PlanError::UnknownNode { name, file, known: known.join(", ") });
            }
        }
    }
    for (name, _) in layout.log_receivers() {
        let endpoint = layout.listen_log_endpoint(name);
        if endpoint.is_some_and(|text| matches!(text.parse(), Ok(Endpoint::Tcp { port: 0, .. }))) {
            return Err(PlanError::LogPort(name.into()));
        }
    }
    let base = || vec!["--layout".into(), file.into()];
    let mut jobs =
        vec![Job { name: "broker".into(), role: Role::Broker, args: base(), uses_tls: false }];
    for (name, node) in &layout.nodes {
        let Some(mut role) = Role::of(node.node_type) else { continue };
        // A manager that receives logs is needed for as long as a logger is.
        if layout.is_run_by_logger(name) {
            role = Role::Logger;
        }
        if !names.is_empty() && !names.contains(name) {
            continue;
        }
        let mut args: Vec<OsString> = base();
        args.extend(["--node".into(), name.into()]);
        if demo && role == Role::Worker {
            args.push("--demo".into());
        }
        let uses_tls = node.websocket.as_ref().is_some_and(|api| api.tls_options.is_set());
        jobs.push(Job { name: name.clone(), role, args, uses_tls });
    }
    jobs.sort_by_key(|job| job.role);
    Ok(jobs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use zcluster::layout::Node;

    fn layout(nodes: &[(&str, NodeType, Option<u16>)]) -> Layout {
        let mut layout = Layout::default();
        for (name, node_type, port) in nodes {
            let mut node = Node::new(*node_type, [127, 0, 0, 1].into());
            node.port = *port;
            layout.nodes.insert((*name).into(), node);
        }
        layout
    }

    fn small() -> Layout {
        layout(&[
            ("a-worker", NodeType::Worker, None),
            ("control", NodeType::Control, None),
            ("logger", NodeType::Logger, Some(5560)),
            ("manager", NodeType::Manager, None),
            ("nothing", NodeType::None, None),
            ("proxy", NodeType::Proxy, None),
        ])
    }

    #[test]
    fn jobs_come_in_the_order_of_their_start() {
        let jobs = plan(&small(), Path::new("l.toml"), &[], true).unwrap();
        let table: Vec<_> = jobs
            .iter()
            .map(|job| {
                let args: Vec<_> = job.args.iter().map(|arg| arg.to_str().unwrap()).collect();
                (job.role.program(), args.join(" "))
            })
            .collect();
        let row = |program, args: &str| (program, format!("--layout l.toml{args}"));
        assert_eq!(
            table,
            [
                row("zcluster-broker", ""),
                row("zcluster-logger", " --node logger"),
                row("zcluster-node", " --node manager"),
                row("zcluster-node", " --node proxy"),
                row("zcluster-node", " --node a-worker --demo"),
                row("zcluster-node", " --node control"),
            ]
        );
    }

    #[test]
    fn only_what_was_asked_for_and_the_broker() {
        let plan = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| String::from(*name)).collect();
            plan(&small(), Path::new("l.toml"), &names, false)
        };
        let names: Vec<_> =
            plan(&["proxy", "logger"]).unwrap().into_iter().map(|job| job.name).collect();
        assert_eq!(names, ["broker", "logger", "proxy"]);
        assert_eq!(plan(&["nothing"]), Err(PlanError::NoPart("nothing".into())));
        assert_eq!(
            plan(&["worker"]).unwrap_err().to_string(),
            "'worker' is not a node of l.toml; it has a-worker, control, logger, manager, \
             nothing, proxy"
        );
    }

    #[test]
    fn a_manager_that_receives_logs_is_run_as_a_logger() {
        for (is_logger, port, expected) in [
            (true, Some(5560), Role::Logger),
            (false, Some(5560), Role::Manager),
            // Nodes do not know where to send logs; the layout's warning says so.
            (true, None, Role::Manager),
        ] {
            for others in [&[][..], &[("logger-1", NodeType::Logger, Some(5561))]] {
                let nodes = [&[("manager", NodeType::Manager, port)][..], others].concat();
                let mut layout = layout(&nodes);
                layout.cluster.manager_is_logger = is_logger;
                let jobs = plan(&layout, Path::new("l.toml"), &[], true).unwrap();
                let manager = jobs.iter().find(|job| job.name == "manager").unwrap();
                assert_eq!(manager.role, expected, "{is_logger} {port:?}");
                let args: Vec<_> = manager.args.iter().map(|arg| arg.to_str().unwrap()).collect();
                assert_eq!(args, ["--layout", "l.toml", "--node", "manager"]);
            }
        }
    }

    #[test]
    fn loggers_need_a_port() {
        let layout = layout(&[("logger", NodeType::Logger, Some(0))]);
        let error = plan(&layout, Path::new("l.toml"), &[], false).unwrap_err();
        assert_eq!(error, PlanError::LogPort("logger".into()));
    }

    #[test]
    fn what_is_started_is_stopped() {
        let mut order = Role::STOP_ORDER;
        order.sort();
        assert!(order.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
