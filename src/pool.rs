//! [`Pools`]: chooses the node of a pool that gets an event, round-robin or by key (WIRE.md §8.4 to
//! §8.6).
//!
//! Every node of a cluster computes the members of all pools from the layout alone, with the same
//! result. The hello handshake shows which members are alive: pass the changes that
//! [`crate::membership`] reports to [`Pools::node_up`] and [`Pools::node_down`].
//!
//! This module only returns topics; it does not publish or subscribe.
//!
//! ```
//! use zcluster::layout::NodeType;
//! use zcluster::pool::{PoolSpec, Pools, hash_key};
//! use zcluster::topic::{self, NodeTopics};
//!
//! let nodes = [("manager", NodeType::Manager), ("proxy-1", NodeType::Proxy)];
//! let topics = NodeTopics::default();
//! let mut pools =
//!     Pools::new(PoolSpec::built_in(), nodes, "manager", true, |name| topics.node(name))?;
//!
//! assert_eq!(pools.topics_of("manager").collect::<Vec<_>>(), [topic::LOGGER_POOL]);
//! assert_eq!(pools.rr_topic(topic::PROXY_POOL, b""), None);
//! pools.node_up("proxy-1");
//! let key = hash_key(&"a key".into()).unwrap();
//! assert_eq!(pools.hrw_topic(topic::PROXY_POOL, &key).unwrap(), "zeek.cluster.node.proxy-1.");
//! # Ok::<(), zcluster::pool::PoolError>(())
//! ```

mod key;

use std::collections::{BTreeMap, HashMap};

use bstr::BString;
use thiserror::Error;

pub use key::{enum_hash_key, hash_key};

use crate::layout::NodeType;
use crate::topic;

/// The definition of a pool, Zeek's `Cluster::PoolSpec`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSpec {
    /// Topic of all members, and name of the pool.
    pub topic: String,
    /// The type of its members: logger, proxy or worker.
    pub node_type: NodeType,
    /// Largest number of members; `None`: all eligible nodes.
    pub max_nodes: Option<u32>,
    /// Whether its members are in no other pool. Requires `max_nodes`, which is then the exact
    /// number.
    pub exclusive: bool,
}

impl PoolSpec {
    /// Creates a pool of all nodes of a type.
    pub fn new(topic: impl Into<String>, node_type: NodeType) -> Self {
        PoolSpec { topic: topic.into(), node_type, max_nodes: None, exclusive: false }
    }

    /// The pools of every cluster, in the order in which Zeek registers them.
    pub fn built_in() -> [Self; 3] {
        [
            PoolSpec::new(topic::WORKER_POOL, NodeType::Worker),
            PoolSpec::new(topic::PROXY_POOL, NodeType::Proxy),
            PoolSpec::new(topic::LOGGER_POOL, NodeType::Logger),
        ]
    }
}

/// Why a layout cannot fill the pools. Zeek refuses to start in these cases.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PoolError {
    /// Two pools have the same topic and are indistinguishable.
    #[error("pool `{topic}` is registered twice")]
    DuplicateTopic {
        /// The topic of both.
        topic: String,
    },
    /// A pool of a node type that cannot form pools.
    #[error("pool `{topic}` of type {node_type}; expected logger, proxy or worker")]
    NodeType {
        /// The topic of the pool.
        topic: String,
        /// The requested node type.
        node_type: NodeType,
    },
    /// An exclusive pool without a number of nodes to reserve.
    #[error("pool `{topic}` is exclusive and needs `max_nodes`")]
    NoMaximum {
        /// The topic of the pool.
        topic: String,
    },
    /// The exclusive pools of a type require more nodes than exist.
    #[error(
        "exclusive pools need {demanded} nodes of type {node_type}, but there are only {available}"
    )]
    TooFewNodes {
        /// The type of the nodes.
        node_type: NodeType,
        /// How many nodes the exclusive pools of that type require in total.
        demanded: u64,
        /// How many are eligible; for loggers that includes a manager that acts as a logger.
        available: usize,
    },
}

/// All pools of a cluster, as one of its nodes sees them.
#[derive(Clone, Debug)]
pub struct Pools {
    /// Sorted by topic.
    pools: Vec<Pool>,
}

#[derive(Clone, Debug)]
struct Pool {
    topic: String,
    members: Vec<Member>,
    /// Index at which the next search for a round-robin key starts. One entry per key ever used.
    next: HashMap<Vec<u8>, usize>,
}

#[derive(Clone, Debug)]
struct Member {
    name: String,
    /// The topic of this node only.
    topic: BString,
    site_id: u32,
    /// Whether this is the local node. It is always alive, and never chosen by rendezvous hashing:
    /// in Zeek, only hellos from other nodes add candidates.
    own: bool,
    alive: bool,
}

impl Pools {
    /// Distributes the nodes of a layout over pools. The order of `specs` and `nodes` does not
    /// matter.
    ///
    /// `own_name` is the local node; it need not be in the layout. With `manager_is_logger` the
    /// manager is the last of the loggers. `node_topic` returns the topic of a node, see
    /// [`topic::NodeTopics::node`].
    ///
    /// # Errors
    ///
    /// [`PoolError`] if Zeek would refuse to start, and for pools with the same topic.
    pub fn new<'a>(
        specs: impl IntoIterator<Item = PoolSpec>,
        nodes: impl IntoIterator<Item = (&'a str, NodeType)>,
        own_name: &str,
        manager_is_logger: bool,
        node_topic: impl Fn(&str) -> BString,
    ) -> Result<Self, PoolError> {
        let mut specs: Vec<PoolSpec> = specs.into_iter().collect();
        // Makes the result independent of the order of registration.
        specs.sort_by(|a, b| a.topic.cmp(&b.topic));
        let mut eligible = eligible_nodes(nodes, manager_is_logger);
        if let Some(problem) = check(&specs, &eligible).into_iter().next() {
            return Err(problem);
        }

        let mut names: Vec<Vec<&str>> = vec![Vec::new(); specs.len()];
        // Exclusive pools choose first, regardless of their topics.
        for exclusive in [true, false] {
            for (spec, names) in specs.iter().zip(&mut names) {
                if spec.exclusive != exclusive {
                    continue;
                }
                if let Some(nodes) = eligible.get_mut(&spec.node_type) {
                    let max = spec.max_nodes.map_or(usize::MAX, |max| max as usize);
                    *names = if exclusive { nodes.remove(max) } else { nodes.share(max) };
                }
            }
        }

        let pools = specs.into_iter().zip(names).map(|(spec, names)| Pool {
            topic: spec.topic,
            members: members(&names, own_name, &node_topic),
            next: HashMap::new(),
        });
        Ok(Pools { pools: pools.collect() })
    }

    /// The topics of the pools that a node belongs to, in the order in which Zeek subscribes to
    /// them: sorted, and before all other topics of the node (WIRE.md §1.7).
    pub fn topics_of<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let pools = self.pools.iter();
        pools.filter(move |pool| pool.members.iter().any(|m| m.name == name)).map(|p| &*p.topic)
    }

    /// Marks a node as alive. Ignores the local node and names that are in no pool.
    pub fn node_up(&mut self, name: &str) {
        self.set_alive(name, true);
    }

    /// Marks a node as gone. Ignores the local node and names that are in no pool.
    pub fn node_down(&mut self, name: &str) {
        self.set_alive(name, false);
    }

    fn set_alive(&mut self, name: &str, alive: bool) {
        for member in self.pools.iter_mut().flat_map(|pool| &mut pool.members) {
            if member.name == name && !member.own {
                member.alive = alive;
            }
        }
    }

    /// The topic of the next live member of a pool, round-robin; `None` if there is no such member
    /// or pool.
    ///
    /// Each `key` has its own rotation. Keys are kept forever, so use few. If the local node is a
    /// member, it gets its turn, as in Zeek, although it drops events that it sent itself.
    pub fn rr_topic(&mut self, pool_topic: &str, key: &[u8]) -> Option<BString> {
        let pool = self.pools.iter_mut().find(|pool| pool.topic == pool_topic)?;
        let start = pool.next.get(key).copied().unwrap_or(0);
        let len = pool.members.len();
        let mut circle = (start..len).chain(0..start);
        let chosen = circle.find(|&i| pool.members[i].alive)?;
        let next = (chosen + 1) % len;
        match pool.next.get_mut(key) {
            Some(entry) => *entry = next,
            None => _ = pool.next.insert(key.into(), next),
        }
        Some(pool.members[chosen].topic.clone())
    }

    /// The topic of the live member that rendezvous hashing assigns to a key, never the local node;
    /// `None` if there is no such member or pool.
    ///
    /// `key` must be the bytes that Zeek hashes, see [`hash_key`]. All nodes that see the same
    /// members alive choose the same one, except that each excludes itself.
    pub fn hrw_topic(&self, pool_topic: &str, key: &[u8]) -> Option<BString> {
        let pool = self.pools.iter().find(|pool| pool.topic == pool_topic)?;
        let digest = fnv1a32(key);
        let sites = pool.members.iter().filter(|member| member.alive && !member.own);
        let chosen = sites.max_by_key(|site| (weight(digest, site.site_id), site.site_id))?;
        Some(chosen.topic.clone())
    }
}

/// The members of a pool of nodes of these names, the one that rendezvous hashing assigns to a key
/// first, then the one if that is not alive, and so on: as indices.
pub(crate) fn preference(names: &[&str], key: &[u8]) -> Vec<usize> {
    let digest = fnv1a32(key);
    let members = members(names, "", |_| BString::default());
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by_key(|index| {
        let site = members[*index].site_id;
        std::cmp::Reverse((weight(digest, site), site))
    });
    order
}

/// Nodes of one type that are still available to pools.
#[derive(Default)]
struct Eligible<'a> {
    names: Vec<&'a str>,
    /// Index of the first node for the next pool that shares nodes.
    cursor: usize,
}

impl<'a> Eligible<'a> {
    fn remove(&mut self, max: usize) -> Vec<&'a str> {
        self.names.drain(..max.min(self.names.len())).collect()
    }

    fn share(&mut self, max: usize) -> Vec<&'a str> {
        let taken = max.min(self.names.len());
        let names = self.names.iter().cycle().skip(self.cursor).take(taken).copied().collect();
        self.cursor = (self.cursor + taken) % self.names.len().max(1);
        names
    }
}

/// The nodes of the types that can form pools, each sorted by name.
fn eligible_nodes<'a>(
    nodes: impl IntoIterator<Item = (&'a str, NodeType)>,
    manager_is_logger: bool,
) -> BTreeMap<NodeType, Eligible<'a>> {
    let mut eligible: BTreeMap<NodeType, Eligible<'a>> =
        [NodeType::Worker, NodeType::Proxy, NodeType::Logger]
            .map(|node_type| (node_type, Eligible::default()))
            .into();
    let nodes: BTreeMap<&str, NodeType> = nodes.into_iter().collect();
    for (name, node_type) in &nodes {
        if let Some(eligible) = eligible.get_mut(node_type) {
            eligible.names.push(name);
        }
    }
    let manager = nodes.iter().find(|(_, node_type)| **node_type == NodeType::Manager);
    if let (Some((manager, _)), true) = (manager, manager_is_logger) {
        eligible.entry(NodeType::Logger).or_default().names.push(manager);
    }
    eligible
}

/// Everything that keeps these nodes from filling these pools.
pub(crate) fn problems<'a>(
    specs: &[PoolSpec],
    nodes: impl IntoIterator<Item = (&'a str, NodeType)>,
    manager_is_logger: bool,
) -> Vec<PoolError> {
    let mut specs = specs.to_vec();
    specs.sort_by(|a, b| a.topic.cmp(&b.topic));
    check(&specs, &eligible_nodes(nodes, manager_is_logger))
}

/// The same for pools that are sorted by topic.
fn check(specs: &[PoolSpec], eligible: &BTreeMap<NodeType, Eligible<'_>>) -> Vec<PoolError> {
    let topic = |spec: &PoolSpec| spec.topic.clone();
    let twice = specs.windows(2).filter(|pair| pair[0].topic == pair[1].topic);
    let mut problems: Vec<PoolError> =
        twice.map(|pair| PoolError::DuplicateTopic { topic: topic(&pair[0]) }).collect();
    let mut demanded: BTreeMap<NodeType, u64> = BTreeMap::new();
    for spec in specs {
        if !eligible.contains_key(&spec.node_type) {
            let node_type = spec.node_type;
            problems.push(PoolError::NodeType { topic: topic(spec), node_type });
        } else if spec.exclusive {
            match spec.max_nodes {
                Some(max) => *demanded.entry(spec.node_type).or_default() += u64::from(max),
                None => problems.push(PoolError::NoMaximum { topic: topic(spec) }),
            }
        }
    }
    for (node_type, demanded) in demanded {
        let available = eligible[&node_type].names.len();
        if demanded > available as u64 {
            problems.push(PoolError::TooFewNodes { node_type, demanded, available });
        }
    }
    problems
}

fn members(names: &[&str], own_name: &str, node_topic: impl Fn(&str) -> BString) -> Vec<Member> {
    let mut members: Vec<Member> = Vec::with_capacity(names.len());
    for &name in names {
        // Two names may hash to the same site id; the later one then uses its next alias.
        let site_id = (0..=u32::MAX)
            .map(|c| fnv1a32(format!("{name}.{c}").as_bytes()))
            .find(|id| members.iter().all(|member| member.site_id != *id))
            .expect("a pool has fewer members than there are site ids");
        let own = name == own_name;
        let topic = node_topic(name);
        members.push(Member { name: name.into(), topic, site_id, own, alive: own });
    }
    members
}

/// The 32-bit FNV-1a hash.
fn fnv1a32(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(2_166_136_261, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619))
}

/// The weight of a site for a key: 31 bits, with the constants of a linear congruential generator.
fn weight(digest: u32, site_id: u32) -> u32 {
    const A: u32 = 1_103_515_245;
    const B: u32 = 12_345;
    const BITS: u32 = 0x7fff_ffff;
    let site = A.wrapping_mul(site_id).wrapping_add(B);
    A.wrapping_mul(site ^ (digest & BITS)).wrapping_add(B) & BITS
}

#[cfg(test)]
mod tests;
