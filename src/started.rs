//! [`Startup`]: tells when the whole cluster is up (WIRE.md §6.5), as Zeek's
//! `policy/frameworks/cluster/experimental` does.
//!
//! ```
//! use zcluster::app::App;
//! use zcluster::started::{ClusterStarted, Startup};
//!
//! let app = App::new().with(Startup::new()).on::<ClusterStarted>(|_, context| {
//!     println!("{}: everybody is here", context.name());
//!     Ok(())
//! });
//! ```
//!
//! | event | when | where |
//! |---|---|---|
//! | [`NodeFullyConnected`] | a node has seen every other node up | at that node, and at the manager |
//! | [`ClusterStarted`] | all nodes have reported that | everywhere, once |
//!
//! A node reports again at each later `node_up`, with `resending` if it has heard that the cluster has
//! started; so a manager that restarts knows that it had, and does not say so again. A node that is gone
//! again still counts as seen.
//!
//! Every node must take part: with this module, or as a Zeek node that loads that policy. For those that
//! cannot, the manager reports when it sees them: see [`Startup::reports_for`]. Nodes of type
//! `control` do not count, as they come and go. Zeek's script waits for them, so beside Zeek nodes there
//! should be none in their layout.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use crate::app::{App, Context, Module, NodeUp, Outcome};
use crate::layout::NodeType;
use crate::{Event, topic};

/// `Cluster::Experimental::node_fully_connected`: a node has seen every other node up.
#[derive(Clone, Debug, PartialEq, Eq, Event, Serialize, Deserialize)]
#[event(name = "Cluster::Experimental::node_fully_connected")]
pub struct NodeFullyConnected {
    /// Its name.
    pub name: String,
    /// The id of its process.
    pub id: bstr::BString,
    /// It has heard before that the cluster has started.
    pub resending: bool,
}

/// `Cluster::Experimental::cluster_started`: all nodes have seen each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Event, Serialize, Deserialize)]
#[event(name = "Cluster::Experimental::cluster_started")]
pub struct ClusterStarted;

/// Reports that this node has seen all others, and if it is the manager, that all nodes have.
#[derive(Clone, Debug, Default)]
pub struct Startup {
    silent: Vec<NodeType>,
}

impl Startup {
    /// All nodes report.
    pub fn new() -> Self {
        Startup::default()
    }

    /// Nodes of that type do not report, such as `zcluster-logger`. If this node is the manager, it does
    /// that for them as soon as they are up. (If nobody else reports, a manager that restarts does not learn
    /// that the cluster has started before.)
    #[must_use]
    pub fn reports_for(mut self, node_type: NodeType) -> Self {
        self.silent.push(node_type);
        self
    }
}

/// What a node knows. Pure.
#[derive(Debug, Default)]
struct State {
    /// All nodes that report.
    all: BTreeSet<String>,
    /// The other nodes that have not been up yet.
    pending: BTreeSet<String>,
    /// For a manager: the nodes that have not reported yet.
    unreported: Option<BTreeSet<String>>,
    is_started: bool,
}

impl State {
    /// Whether this node has seen all others.
    fn node_up(&mut self, name: &str) -> bool {
        self.pending.remove(name);
        self.pending.is_empty()
    }

    /// Whether the cluster has just started. Strangers' reports are ignored.
    fn reported(&mut self, name: &str, resending: bool) -> bool {
        let Some(unreported) = &mut self.unreported else { return false };
        if !self.all.contains(name) {
            return false;
        }
        unreported.remove(name);
        let was_started = self.is_started;
        self.is_started |= resending || unreported.is_empty();
        self.is_started && !was_started && !resending
    }
}

fn begin(state: &RefCell<State>, context: &mut Context<'_>) -> Outcome {
    let cluster = context.cluster();
    if !cluster.is_enabled() {
        return Ok(());
    }
    let reporting = context.layout().nodes.iter();
    let all: BTreeSet<String> = reporting
        .filter(|(_, node)| node.node_type != NodeType::Control)
        .map(|(name, _)| name.clone())
        .collect();
    let is_manager = cluster.local_node_type() == NodeType::Manager;
    let mut pending = all.clone();
    pending.remove(context.name());
    let is_alone = pending.is_empty();
    let unreported = is_manager.then(|| all.clone());
    *state.borrow_mut() = State { all, pending, unreported, is_started: false };
    context.subscribe(topic::CLUSTER_STARTED)?;
    if is_manager && is_alone {
        // Nobody will come up.
        context.raise(&own_report(context, false))?;
    }
    Ok(())
}

fn own_report(context: &Context<'_>, resending: bool) -> NodeFullyConnected {
    let (name, id) = (context.name().to_owned(), context.id().as_bytes().into());
    NodeFullyConnected { name, id, resending }
}

fn node_up(
    state: &RefCell<State>,
    silent: &[NodeType],
    NodeUp { name, id }: NodeUp,
    context: &mut Context<'_>,
) -> Outcome {
    let mut state = state.borrow_mut();
    let node_type = context.layout().node(&name).map(|node| node.node_type);
    let has_seen_all = context.cluster().is_enabled() && state.node_up(&name);
    if state.unreported.is_some() && node_type.is_some_and(|of| silent.contains(&of)) {
        context.raise(&NodeFullyConnected { name, id, resending: false })?;
    }
    if has_seen_all {
        let report = own_report(context, state.is_started);
        context.raise(&report)?;
        context.publish(topic::MANAGER, &report)?;
    }
    Ok(())
}

impl Module for Startup {
    fn install(self, app: App) -> App {
        let state = Rc::new(RefCell::new(State::default()));
        let [beginning, up, reported, started] = [(); 4].map(|()| Rc::clone(&state));
        app.on_event("zeek_init", move |_, context| begin(&beginning, context))
            .on::<NodeUp>(move |node, context| node_up(&up, &self.silent, node, context))
            .on::<NodeFullyConnected>(move |report, context| {
                if context.origin().is_none() && report.name == context.name() {
                    context.cluster_log("fully connected")?;
                }
                if reported.borrow_mut().reported(&report.name, report.resending) {
                    context.raise(&ClusterStarted)?;
                    context.publish(topic::CLUSTER_STARTED, &ClusterStarted)?;
                }
                Ok(())
            })
            .on::<ClusterStarted>(move |_, context| {
                let mut state = started.borrow_mut();
                // Nobody but the manager itself can say so to a manager.
                if state.unreported.is_some() && context.origin().is_some() {
                    return Ok(());
                }
                state.is_started = true;
                if state.unreported.is_some() {
                    context.cluster_log("cluster connected")?;
                }
                Ok(())
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Value;
    use crate::app::Harness;
    use crate::event::{ToEvent, TypedEvent};
    use crate::testing::layout;

    const NODES: &[(&str, &str)] = &[
        ("manager", "manager"),
        ("worker-1", "worker"),
        ("worker-2", "worker"),
        ("control", "control"),
    ];

    fn harness(name: &str) -> Harness {
        Harness::new(App::new().with(Startup::new()), layout(NODES), name).unwrap()
    }

    /// What has been published: topic, event, name, resending.
    fn published(harness: &mut Harness) -> Vec<String> {
        let line = |published: crate::app::Published| {
            let args: Vec<String> = (published.event.args.iter())
                .filter(|arg| arg.as_str().is_none_or(|text| !text.starts_with("zeromq_")))
                .map(|arg| match arg {
                    Value::Boolean(flag) => flag.to_string(),
                    text => text.as_str().unwrap().to_owned(),
                })
                .collect();
            let name = published.event.name.to_string();
            let name = name.strip_prefix("Cluster::Experimental::").unwrap().to_owned();
            format!("{} {name}({})", published.topic, args.join(","))
        };
        harness.published().into_iter().map(line).collect()
    }

    fn reports(harness: &mut Harness, name: &str, resending: bool) {
        let report = NodeFullyConnected { name: name.into(), id: "x".into(), resending };
        harness.receive("zeek.cluster.manager", "x", &report.to_event().unwrap());
    }

    #[test]
    fn a_node_reports_when_it_has_seen_all_others() {
        let mut worker = harness("worker-1");
        assert_eq!(worker.subscriptions(), ["zeek/cluster/experimental/started"]);
        worker.node_up("worker-2", "w2");
        worker.node_up("worker-2", "w2");
        assert_eq!((published(&mut worker), worker.cluster_log()), (vec![], vec![]));
        worker.node_up("manager", "m");
        let report = |flag| format!("zeek.cluster.manager node_fully_connected(worker-1,{flag})");
        assert_eq!(published(&mut worker), [report(false)]);
        assert_eq!(worker.cluster_log(), ["fully connected"]);
        // Who is gone again has been seen.
        worker.node_down("worker-2", "w2");
        worker.node_down("manager", "m");
        worker.node_up("manager", "m2");
        assert_eq!(published(&mut worker), [report(false)]);
        worker.receive("t", "m", &ClusterStarted.to_event().unwrap());
        worker.node_up("worker-2", "w3");
        assert_eq!(published(&mut worker), [report(true)]);
        assert_eq!(worker.cluster_log(), ["fully connected"; 2], "a worker does not log more");
        assert_eq!(worker.misfits(), 0);
    }

    #[test]
    fn the_manager_says_once_that_all_have_reported() {
        let started = "zeek/cluster/experimental/started cluster_started()";
        let own = "zeek.cluster.manager node_fully_connected(manager,false)";
        let mut manager = harness("manager");
        manager.node_up("worker-1", "w1");
        reports(&mut manager, "worker-1", false);
        reports(&mut manager, "worker-1", false);
        reports(&mut manager, "stranger", false);
        manager.node_up("worker-2", "w2");
        assert_eq!(published(&mut manager), [own]);
        reports(&mut manager, "worker-2", false);
        assert_eq!(published(&mut manager), [started]);
        assert_eq!(manager.cluster_log(), ["fully connected", "cluster connected"]);
        reports(&mut manager, "worker-2", true);
        reports(&mut manager, "worker-1", false);
        manager.node_up("worker-2", "w2");
        let own = "zeek.cluster.manager node_fully_connected(manager,true)";
        assert_eq!(published(&mut manager), [own]);
        assert_eq!(manager.cluster_log(), ["fully connected"]);
    }

    #[test]
    fn a_manager_that_restarts_believes_the_others() {
        let mut manager = harness("manager");
        reports(&mut manager, "worker-1", true);
        reports(&mut manager, "worker-2", false);
        manager.node_up("worker-1", "w1");
        manager.node_up("worker-2", "w2");
        let own = "zeek.cluster.manager node_fully_connected(manager,true)";
        assert_eq!(published(&mut manager), [own]);
        assert_eq!(manager.cluster_log(), ["fully connected"]);
    }

    #[test]
    fn the_manager_reports_for_those_that_do_not() {
        let layout = layout(NODES);
        let app = || App::new().with(Startup::new().reports_for(NodeType::Worker));
        let mut manager = Harness::new(app(), layout.clone(), "manager").unwrap();
        manager.node_up("worker-1", "w1");
        assert_eq!(published(&mut manager), [""; 0]);
        manager.node_up("worker-2", "w2");
        let own = "zeek.cluster.manager node_fully_connected(manager,false)";
        let started = "zeek/cluster/experimental/started cluster_started()";
        assert_eq!(published(&mut manager), [own, started]);
        assert_eq!(manager.cluster_log(), ["fully connected", "cluster connected"]);
        // Nobody but the manager does.
        let mut worker = Harness::new(app(), layout, "worker-1").unwrap();
        worker.node_up("worker-2", "w2");
        assert_eq!((published(&mut worker), worker.cluster_log()), (vec![], vec![]));
    }

    #[test]
    fn who_is_no_node_takes_no_part() {
        let mut standalone = harness("");
        standalone.node_up("worker-1", "w1");
        assert_eq!((standalone.subscriptions(), published(&mut standalone)), (vec![], vec![]));
    }

    #[test]
    fn a_manager_that_is_alone_has_started() {
        let layout = layout(&[("manager", "manager"), ("control", "control")]);
        let app = App::new().with(Startup::new());
        let mut harness = Harness::new(app, layout, "manager").unwrap();
        let events: Vec<_> = harness.published().into_iter().map(|p| p.event.name).collect();
        assert_eq!(events, [ClusterStarted::NAME]);
    }

    #[test]
    fn strangers_neither_start_a_cluster_nor_keep_it_from_starting() {
        let mut harness = harness("manager");
        let report = |name: &str, resending| NodeFullyConnected {
            name: name.into(),
            id: "x".into(),
            resending,
        };
        let receive = |harness: &mut Harness, event: &dyn Fn() -> Event| {
            harness.receive(topic::MANAGER, "somebody", &event());
        };
        let event = |report: NodeFullyConnected| report.to_event().unwrap().into_owned();
        receive(&mut harness, &|| event(report("stranger", true)));
        receive(&mut harness, &|| Event::new(ClusterStarted::NAME, vec![]));
        assert_eq!(harness.cluster_log(), Vec::<String>::new());
        for worker in ["worker-1", "worker-2"] {
            harness.node_up(worker, "id");
            receive(&mut harness, &|| event(report(worker, false)));
        }
        let started =
            harness.published().into_iter().filter(|p| p.event.name == ClusterStarted::NAME);
        assert_eq!(started.count(), 1);
    }
}
