//! Large clusters: what joining, greeting and mere presence of many nodes cost the broker, and what
//! very many subscriptions cost.
//!
//! A simulated node has the two connections of a real one, with the same subscriptions, over plain
//! TCP like [`raw`](crate::raw) clients. One thread drives all nodes.
//!
//! - [`names`]: ids, topics, hellos; [`told`]: what a node has been told.
//! - [`link`]: a connection; [`crowd`]: all nodes.
//! - [`join`], [`hellos`], [`prefixes`]: the measurements.
//! - here: the steps of a measurement, and whether it is possible.

mod crowd;
mod hellos;
mod join;
mod link;
mod names;
mod prefixes;
mod told;

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;

pub(crate) use prefixes::{Prefixes, prefixes};

use crate::broker::{Broker, Subject};
use crate::flow::{Flow, flow, flow_through};
use crate::keys;
use crate::plan::{Client, Engine, Shape};
use crowd::Crowd;
use hellos::{Hellos, hellos};
use join::{Join, join};

/// The flow beside nodes that do nothing.
const BULK: Shape = Shape::distinct();
/// Most encrypted nodes with the engine `zmq`.
const MOST_ENCRYPTED: usize = 1_000;
/// Open files of the process besides the connections of nodes.
const OTHER_FILES: u64 = 200;

/// One measurement.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Scale {
    pub(crate) join: Join,
    pub(crate) hellos: Hellos,
    /// Each written by itself.
    pub(crate) single_hellos: Hellos,
    /// A flow without the nodes.
    pub(crate) alone: Flow,
    /// A flow beside the nodes, which are silent meanwhile.
    pub(crate) beside: Flow,
}

/// Measures a cluster of that many nodes.
pub(crate) fn scale(
    subject: &Subject,
    nodes: usize,
    client: Client,
    size: usize,
    window: Duration,
) -> Scale {
    let alone = flow(subject, BULK, client, size, window);
    let curve = client.is_encrypted().then(keys::raw_client);
    let mut crowd = Crowd::new(nodes, curve.as_ref());
    let broker = Broker::start(subject, client.is_encrypted());
    let join = join(&mut crowd, &broker);
    let [hellos, single_hellos] =
        [false, true].map(|singly| hellos(&mut crowd, &broker, client.is_encrypted(), singly));
    let beside = flow_through(&broker, crowd.names.prefixes(), BULK, client, size, window);
    Scale { join, hellos, single_hellos, alone, beside }
}

/// Why a measurement is not possible. Raises the limit of open files, which the broker inherits.
pub(crate) fn obstacle(engine: Engine, nodes: usize, client: Client) -> Option<&'static str> {
    if engine == Engine::Zmq && nodes > MOST_ENCRYPTED && client.is_encrypted() {
        return Some("it would take minutes");
    }
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let needed = 2 * nodes as u64 + OTHER_FILES;
    let is_enough = getrlimit(Resource::Nofile).current.is_none_or(|limit| limit >= needed);
    (!is_enough).then_some("too few open files are allowed (ulimit -n)")
}
