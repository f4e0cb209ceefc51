//! [`Pools`]: which node of a pool gets an event, in turn or by a key (WIRE.md §8.4 to §8.6).
//!
//! Every node of a cluster computes the members of all pools by itself, from the layout alone, and
//! comes to the same result. Which members are alive it learns from the hello handshake: feed
//! [`Pools::node_up`] and [`Pools::node_down`] with what [`crate::membership`] says.
//!
//! Nothing here publishes or subscribes; topics come out.
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

/// What a pool is made of, `Cluster::PoolSpec` of Zeek.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSpec {
    /// Reaches all members; also the name of the pool.
    pub topic: String,
    /// The type of its members: logger, proxy or worker.
    pub node_type: NodeType,
    /// The most members it takes; all eligible nodes where unset.
    pub max_nodes: Option<u32>,
    /// Whether its members belong to no other pool. Needs `max_nodes`, which is then an exact
    /// number.
    pub exclusive: bool,
}

impl PoolSpec {
    /// The pool of all nodes of a type.
    pub fn new(topic: impl Into<String>, node_type: NodeType) -> Self {
        PoolSpec { topic: topic.into(), node_type, max_nodes: None, exclusive: false }
    }

    /// The pools that every cluster has, in the order in which Zeek registers them.
    pub fn built_in() -> [Self; 3] {
        [
            PoolSpec::new(topic::WORKER_POOL, NodeType::Worker),
            PoolSpec::new(topic::PROXY_POOL, NodeType::Proxy),
            PoolSpec::new(topic::LOGGER_POOL, NodeType::Logger),
        ]
    }
}

/// Specifications that no layout, or not this one, can fulfil. Zeek does not start with them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PoolError {
    /// Two pools share a topic and could not be told apart.
    #[error("pool `{topic}` is registered twice")]
    DuplicateTopic {
        /// The topic of both.
        topic: String,
    },
    /// A pool of nodes that no pool is made of.
    #[error("pool `{topic}` of type {node_type}; expected logger, proxy or worker")]
    NodeType {
        /// The topic of the pool.
        topic: String,
        /// The type it asks for.
        node_type: NodeType,
    },
    /// An exclusive pool does not say how many nodes it takes away from the others.
    #[error("pool `{topic}` is exclusive and needs `max_nodes`")]
    NoMaximum {
        /// The topic of the pool.
        topic: String,
    },
    /// The exclusive pools of a type ask for more nodes than there are.
    #[error("exclusive pools need {demanded} nodes of type {node_type}, there are {available}")]
    TooFewNodes {
        /// The type of the nodes.
        node_type: NodeType,
        /// How many the exclusive pools of that type take together.
        demanded: u64,
        /// How many are eligible; for loggers that includes a manager that is a logger.
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
    /// Where the next search of a round-robin key starts. One entry per key ever used.
    next: HashMap<Vec<u8>, usize>,
}

#[derive(Clone, Debug)]
struct Member {
    name: String,
    /// The topic of this node alone.
    topic: BString,
    site_id: u32,
    /// Whether it is the node that computes this. Such a member is always alive, and never chosen
    /// by rendezvous: Zeek learns only from others' hellos whom to hash to.
    own: bool,
    alive: bool,
}

impl Pools {
    /// Distributes the nodes of a layout over pools. Neither the order of `specs` nor that of
    /// `nodes` matters.
    ///
    /// `own_name` is the node that asks; it need not be in the layout. With `manager_is_logger`
    /// the manager is the last of the loggers. `node_topic` names the topic of one node, see
    /// [`topic::NodeTopics::node`].
    ///
    /// # Errors
    ///
    /// [`PoolError`] where Zeek would refuse to start, and for pools with the same topic.
    pub fn new<'a>(
        specs: impl IntoIterator<Item = PoolSpec>,
        nodes: impl IntoIterator<Item = (&'a str, NodeType)>,
        own_name: &str,
        manager_is_logger: bool,
        node_topic: impl Fn(&str) -> BString,
    ) -> Result<Self, PoolError> {
        let mut specs: Vec<PoolSpec> = specs.into_iter().collect();
        // So that the result does not depend on the order of registration.
        specs.sort_by(|a, b| a.topic.cmp(&b.topic));
        if let Some(pair) = specs.windows(2).find(|pair| pair[0].topic == pair[1].topic) {
            return Err(PoolError::DuplicateTopic { topic: pair[0].topic.clone() });
        }

        let mut eligible = eligible_nodes(nodes, manager_is_logger);
        check(&specs, &eligible)?;

        let mut names: Vec<Vec<&str>> = vec![Vec::new(); specs.len()];
        // Exclusive pools choose first, whatever their topics.
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

    /// The topics of the pools a node belongs to, in the order in which Zeek subscribes to them:
    /// sorted, and before all other topics of the node (WIRE.md §1.7).
    pub fn topics_of<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let pools = self.pools.iter();
        pools.filter(move |pool| pool.members.iter().any(|m| m.name == name)).map(|p| &*p.topic)
    }

    /// A node said hello. Names that are in no pool are ignored, and so is the own name.
    pub fn node_up(&mut self, name: &str) {
        self.set_alive(name, true);
    }

    /// A node is gone. Names that are in no pool are ignored, and so is the own name.
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

    /// The topic of the next live member of a pool, in turn; `None` without one, or without such
    /// a pool.
    ///
    /// Each `key` takes turns of its own. They are remembered for ever: use few. The own node takes
    /// its turn where it is a member, as in Zeek, although it drops what it sent itself.
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

    /// The topic of the live member to which rendezvous hashing maps a key, never the own node;
    /// `None` without one, or without such a pool.
    ///
    /// `key` are the bytes Zeek hashes, see [`hash_key`]. All nodes that see the same members alive
    /// choose the same one, except that each leaves itself out.
    pub fn hrw_topic(&self, pool_topic: &str, key: &[u8]) -> Option<BString> {
        let pool = self.pools.iter().find(|pool| pool.topic == pool_topic)?;
        let digest = fnv1a32(key);
        let sites = pool.members.iter().filter(|member| member.alive && !member.own);
        let chosen = sites.max_by_key(|site| (weight(digest, site.site_id), site.site_id))?;
        Some(chosen.topic.clone())
    }
}

/// Nodes of one type that pools can still take.
#[derive(Default)]
struct Eligible<'a> {
    names: Vec<&'a str>,
    /// Where the next pool that shares its nodes starts to take.
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

/// The nodes of the types that pools are made of, each sorted by name.
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

/// Whether these nodes can fill these pools.
fn check(specs: &[PoolSpec], eligible: &BTreeMap<NodeType, Eligible<'_>>) -> Result<(), PoolError> {
    let mut demanded: BTreeMap<NodeType, u64> = BTreeMap::new();
    for spec in specs {
        let topic = || spec.topic.clone();
        if !eligible.contains_key(&spec.node_type) {
            return Err(PoolError::NodeType { topic: topic(), node_type: spec.node_type });
        }
        if spec.exclusive {
            let max = spec.max_nodes.ok_or_else(|| PoolError::NoMaximum { topic: topic() })?;
            *demanded.entry(spec.node_type).or_default() += u64::from(max);
        }
    }
    for (node_type, demanded) in demanded {
        let available = eligible[&node_type].names.len();
        if demanded > available as u64 {
            return Err(PoolError::TooFewNodes { node_type, demanded, available });
        }
    }
    Ok(())
}

fn members(names: &[&str], own_name: &str, node_topic: impl Fn(&str) -> BString) -> Vec<Member> {
    let mut members: Vec<Member> = Vec::with_capacity(names.len());
    for &name in names {
        // Two names may hash to the same site; the later one is then known by another alias.
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

/// The FNV-1a hash of 32 bits.
fn fnv1a32(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(2_166_136_261, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619))
}

/// How much a site wants a key: 31 bits, from the constants of a linear congruential generator.
fn weight(digest: u32, site_id: u32) -> u32 {
    const A: u32 = 1_103_515_245;
    const B: u32 = 12_345;
    const BITS: u32 = 0x7fff_ffff;
    let site = A.wrapping_mul(site_id).wrapping_add(B);
    A.wrapping_mul(site ^ (digest & BITS)).wrapping_add(B) & BITS
}

#[cfg(test)]
mod tests;
