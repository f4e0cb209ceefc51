//! The nodes of a large cluster: ids, topics and hellos (WIRE.md §1.5 to §1.7, §1.9).

use zcluster::topic::{NodeId, NodeTopics, WORKER, WORKER_POOL};
use zcluster::wire::zmtp::{put_frame, put_subscription};
use zcluster::wire::{EventMessage, broker_bin};
use zcluster::{Event, Value};

use crate::raw::size_on_wire;

/// The event that a node sends to each other one it hears of.
const HELLO: &str = "Cluster::Backend::ZeroMQ::hello";
const FORMAT: &[u8] = b"broker-bin-v1";
/// Digits of a node's number in its name. All names, and so all hellos, have the same length.
const DIGITS: usize = 4;
/// Topics that all nodes subscribe to.
const SHARED: [&str; 2] = [WORKER_POOL, WORKER];

/// All nodes.
pub(super) struct Names {
    nodes: Vec<Node>,
}

struct Node {
    id: NodeId,
    /// The prefixes that only this node subscribes to: its nodeid topic and its node topic.
    own: [Vec<u8>; 2],
    /// The first frame of a hello to this node.
    to: Vec<u8>,
    /// The other frames of its own hellos.
    from: Vec<u8>,
    payload: Vec<u8>,
}

impl Node {
    fn new(number: usize) -> Self {
        let name = format!("worker-{number:0DIGITS$}");
        // The texts of these numbers have the same length, too.
        let random = 3 << 94 | (number as u128).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C);
        let id = NodeId::generate(&name, "host1", 4242, random);
        let topics = NodeTopics::default();
        let own: [Vec<u8>; 2] = [topics.nodeid(&id).into(), topics.node(&name).into()];
        let (mut to, mut from, mut payload) = (Vec::new(), Vec::new(), Vec::new());
        put_frame(&own[0], true, &mut to);
        let arguments = vec![Value::from(name.as_str()), Value::from(id.to_string().as_str())];
        broker_bin::encode_event(&Event::new(HELLO, arguments), &mut payload);
        put_frame(id.as_bytes(), true, &mut from);
        put_frame(FORMAT, true, &mut from);
        put_frame(&payload, false, &mut from);
        Node { id, own, to, from, payload }
    }
}

impl Names {
    pub(super) fn new(nodes: usize) -> Self {
        assert!((2..10_usize.pow(DIGITS as u32)).contains(&nodes));
        Names { nodes: (0..nodes).map(Node::new).collect() }
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The commands with which a node subscribes to its topics, in Zeek's order.
    pub(super) fn subscriptions(&self, node: usize) -> Vec<u8> {
        let mut commands = Vec::new();
        for prefix in SHARED.map(str::as_bytes) {
            put_subscription(true, prefix, &mut commands);
        }
        for prefix in &self.nodes[node].own {
            put_subscription(true, prefix, &mut commands);
        }
        commands
    }

    /// The number of different prefixes.
    pub(super) fn prefixes(&self) -> usize {
        SHARED.len() + 2 * self.nodes.len()
    }

    /// The number of a prefix among all of them; `None` if it is none of them.
    pub(super) fn prefix(&self, prefix: &[u8]) -> Option<usize> {
        let numbered = |start: &[u8], which: usize| {
            let digits = prefix.strip_prefix(start)?.get(..DIGITS)?;
            let number = digits
                .iter()
                .fold(0, |number, digit| 10 * number + usize::from(digit.wrapping_sub(b'0')));
            let is_it = self.nodes.get(number)?.own[which] == prefix;
            is_it.then_some(SHARED.len() + 2 * number + which)
        };
        numbered(b"zeek.cluster.nodeid.zeromq_worker-", 0)
            .or_else(|| numbered(b"zeek.cluster.node.worker-", 1))
            .or_else(|| SHARED.iter().position(|shared| shared.as_bytes() == prefix))
    }

    /// Appends a hello.
    pub(super) fn put_hello(&self, from: usize, to: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.nodes[to].to);
        out.extend_from_slice(&self.nodes[from].from);
    }

    /// Bytes of any hello on a connection.
    pub(super) fn hello_size(&self, is_encrypted: bool) -> usize {
        let node = &self.nodes[0];
        let hello = EventMessage {
            topic: &node.own[0],
            sender: node.id.as_bytes(),
            format: FORMAT,
            payload: &node.payload,
        };
        size_on_wire(&hello.frames(), is_encrypted)
    }

    /// Whether these bytes are a hello to that node.
    pub(super) fn is_hello(&self, bytes: &[u8], to: usize) -> bool {
        let Some(rest) = bytes.strip_prefix(&self.nodes[to].to[..]) else { return false };
        self.nodes.iter().any(|node| node.from == rest)
    }
}
