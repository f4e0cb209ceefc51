//! Topics and node ids (WIRE.md §1.5, §1.6).
//!
//! A subscription is a byte prefix: `zeek.cluster.worker` also matches `zeek.cluster.workers-foo`.
//! The topic of a single node ends in `.`, so that `worker-1` does not match `worker-10`.

use std::fmt;

use bstr::{BStr, BString, ByteSlice};

/// All loggers.
pub const LOGGER: &str = "zeek.cluster.logger";
/// The manager.
pub const MANAGER: &str = "zeek.cluster.manager";
/// All nodes of type proxy.
pub const PROXY: &str = "zeek.cluster.proxy";
/// All workers.
pub const WORKER: &str = "zeek.cluster.worker";
/// The pool of proxies.
pub const PROXY_POOL: &str = "zeek.cluster.pool.proxy";
/// The pool of loggers.
pub const LOGGER_POOL: &str = "zeek.cluster.pool.logger";
/// The pool of workers.
pub const WORKER_POOL: &str = "zeek.cluster.pool.worker";
/// Supervisor control; every node subscribes.
pub const SUPERVISOR: &str = "zeek/supervisor";
/// Prefix of table change events; every node subscribes. It contains slashes with every backend.
pub const TABLE: &str = "zeek/table/";

/// Where a manager says that the cluster has started.
pub const CLUSTER_STARTED: &str = "zeek/cluster/experimental/started";

/// The beginning of bytes that strangers choose, for messages.
pub(crate) fn shown(bytes: &[u8]) -> &BStr {
    const MOST: usize = 200;
    bytes[..bytes.len().min(MOST)].as_bstr()
}

/// The id of one process: opaque bytes, never reused by another process.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(BString);

impl NodeId {
    /// Creates the id of a ZeroMQ node: `zeromq_<name>_<host>_<pid>_N<base 62>`.
    ///
    /// The low 96 bits of `random`, as many as Zeek uses, make it unique.
    pub fn generate(node_name: &str, host_name: &str, pid: u32, random: u128) -> Self {
        const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let mut rest = random & ((1 << 96) - 1);
        let mut unique = Vec::with_capacity(17);
        loop {
            unique.push(DIGITS[(rest % 62) as usize]);
            rest /= 62;
            if rest == 0 {
                break;
            }
        }
        NodeId(format!("zeromq_{node_name}_{host_name}_{pid}_N{}", unique.as_bstr()).into())
    }

    /// Wraps an id received from a peer.
    pub fn from_bytes(bytes: impl Into<BString>) -> Self {
        NodeId(bytes.into())
    }

    /// The bytes of the id, as in frame 1 of an event.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        BStr::fmt(self.0.as_bstr(), f)
    }
}
impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0.as_bstr(), f)
    }
}

/// Builds and parses topics of single nodes. Their prefixes are options (WIRE.md §7.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeTopics {
    /// `node_topic_prefix`.
    pub node_prefix: String,
    /// `nodeid_topic_prefix`.
    pub nodeid_prefix: String,
}

impl Default for NodeTopics {
    fn default() -> Self {
        NodeTopics {
            node_prefix: "zeek.cluster.node".into(),
            nodeid_prefix: "zeek.cluster.nodeid".into(),
        }
    }
}

impl NodeTopics {
    /// The topic of a node by name: `zeek.cluster.node.<name>.`
    pub fn node(&self, name: &str) -> BString {
        format!("{}.{name}.", self.node_prefix).into()
    }

    /// The topic of a process by id: `zeek.cluster.nodeid.<id>.`
    pub fn nodeid(&self, id: &NodeId) -> BString {
        let mut topic = BString::from(self.nodeid_prefix.as_str());
        topic.push(b'.');
        topic.extend_from_slice(id.as_bytes());
        topic.push(b'.');
        topic
    }

    /// Extracts the id from a nodeid topic; `None` for any other topic.
    pub fn parse_nodeid(&self, topic: &[u8]) -> Option<NodeId> {
        let id = topic
            .strip_prefix(self.nodeid_prefix.as_bytes())?
            .strip_prefix(b".")?
            .strip_suffix(b".")?;
        (!id.is_empty()).then(|| NodeId::from_bytes(id))
    }
}

/// Prefixes below which a subscription has a meaning to every process that sees it: one below the
/// prefix of nodeid topics announces a node, and one to a probe tells its owner that the bus is ready
/// (WIRE.md §1.8, §6.2).
///
/// Who only wants the events of such topics subscribes to a shorter prefix, which means nothing, and
/// filters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signals([String; 2]);

impl Signals {
    /// `nodeid_topic_prefix` and `internal_topic_prefix` are options.
    pub fn new(nodeid_topic_prefix: &str, internal_topic_prefix: &str) -> Self {
        Signals([format!("{nodeid_topic_prefix}."), internal_topic_prefix.into()])
    }

    /// What to subscribe to for events of that prefix.
    pub fn harmless<'p>(&self, mut prefix: &'p [u8]) -> &'p [u8] {
        for signal in &self.0 {
            if !signal.is_empty() && prefix.starts_with(signal.as_bytes()) {
                prefix = &prefix[..signal.len() - 1];
            }
        }
        prefix
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_harmless_prefix_means_a_node_or_a_probe() {
        let signals = Signals::new("zeek.cluster.nodeid", "zeek.zeromq.internal.");
        for (prefix, expected) in [
            ("", ""),
            ("zeek.cluster.worker", "zeek.cluster.worker"),
            ("zeek.cluster.nodeid", "zeek.cluster.nodeid"),
            ("zeek.cluster.nodeid.", "zeek.cluster.nodeid"),
            ("zeek.cluster.nodeid.zeromq_w_h_1_N0.", "zeek.cluster.nodeid"),
            ("zeek.zeromq.internal.zeromq_w_h_1_N0.1.", "zeek.zeromq.internal"),
        ] {
            assert_eq!(signals.harmless(prefix.as_bytes()), expected.as_bytes(), "{prefix}");
        }
        // One below the other.
        assert_eq!(Signals::new("a.b", "a.b.c").harmless(b"a.b.cd"), b"a.b");
        assert_eq!(Signals::new("a.b", "").harmless(b"x"), b"x");
    }

    #[test]
    fn node_ids_have_zeeks_shape() {
        let id = NodeId::generate("worker-1", "host1", 4242, u128::MAX);
        let unique = id.to_string();
        let unique = unique.strip_prefix("zeromq_worker-1_host1_4242_N").unwrap();
        assert!(unique.len() <= 17 && unique.bytes().all(|b| b.is_ascii_alphanumeric()));
        assert_eq!(NodeId::generate("", "h", 1, 0).to_string(), "zeromq__h_1_N0");
    }

    #[test]
    fn nodeid_topics_read_back() {
        let topics = NodeTopics::default();
        let id = NodeId::from_bytes("zeromq_a.b_c_1_Nx");
        let topic = topics.nodeid(&id);
        assert_eq!(topic, "zeek.cluster.nodeid.zeromq_a.b_c_1_Nx.");
        assert_eq!(topics.parse_nodeid(&topic), Some(id));
        for other in
            ["zeek.cluster.node.worker-1.", "zeek.cluster.nodeid.", "zeek.cluster.nodeid.."]
        {
            assert_eq!(topics.parse_nodeid(other.as_bytes()), None, "{other}");
        }
        assert_eq!(topics.node("worker-1"), "zeek.cluster.node.worker-1.");
    }
}
