//! Nodes with a simulated broker between them end up with the same content.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

/// One table per node, written by that node only, and which the others have, too.
const NAMES: [&str; 3] = ["manager", "worker-1", "worker-2"];

/// What a node receives, in order: from one broker, as on the real bus.
enum Delivery {
    Event { topic: String, sender: usize, event: Event },
    NodeUp(usize, String),
    NodeDown(usize, String),
}

struct Peer {
    node: Node,
    tables: Vec<Table<String, u64>>,
    id: String,
    inbox: VecDeque<Delivery>,
}

impl Peer {
    fn new(at: usize, life: usize) -> Self {
        let tables = Tables::new();
        tables.table_expire_interval(Duration::from_millis(50));
        let make = |owner: usize| {
            // The owner tells everybody; the others tell the owner, when it comes back.
            let options = Options::new()
                .publish_on_change(ALL)
                .max_batch_size(4)
                .publish_to_new_nodes(move |name| at == owner || name == NAMES[owner]);
            // Only the owner lets elements expire, and tells the others.
            let expires = owner == at && owner == 1;
            let options =
                if expires { options.write_expire(Duration::from_millis(100)) } else { options };
            tables.table(format!("Demo::{owner}"), options).unwrap()
        };
        let handles = (0..NAMES.len()).map(make).collect();
        let id = format!("{}-{life}", NAMES[at]);
        let node = Node::named(&tables, NAMES[at], &id);
        Peer { node, tables: handles, id, inbox: VecDeque::new() }
    }
}

#[derive(Default)]
struct Cluster {
    peers: Vec<Peer>,
    lives: usize,
}

impl Cluster {
    fn new() -> Self {
        let mut cluster = Cluster::default();
        for at in 0..NAMES.len() {
            cluster.peers.push(Peer::new(at, 0));
        }
        for at in 0..NAMES.len() {
            cluster.greet(at);
        }
        cluster.quiesce();
        cluster
    }

    /// All nodes see a node come up, and it sees them.
    fn greet(&mut self, new: usize) {
        let id = self.peers[new].id.clone();
        for at in (0..NAMES.len()).filter(|at| *at != new) {
            let other = Delivery::NodeUp(at, self.peers[at].id.clone());
            self.peers[at].inbox.push_back(Delivery::NodeUp(new, id.clone()));
            self.peers[new].inbox.push_back(other);
        }
    }

    /// What a node has published reaches the broker, and the queues behind it.
    fn collect(&mut self, sender: usize) {
        for published in self.peers[sender].node.harness.published() {
            let topic = published.topic.to_string();
            for (at, peer) in self.peers.iter_mut().enumerate() {
                let wants = topic.starts_with("zeek/table/")
                    || topic == format!("zeek.cluster.nodeid.{}.", peer.id);
                if at != sender && wants {
                    let event = published.event.clone();
                    peer.inbox.push_back(Delivery::Event { topic: topic.clone(), sender, event });
                }
            }
        }
    }

    /// One node handles what is next; `false` if there is nothing.
    fn deliver(&mut self, at: usize) -> bool {
        let Some(delivery) = self.peers[at].inbox.pop_front() else { return false };
        let sender = |at: usize| self.peers[at].id.clone();
        match delivery {
            Delivery::Event { topic, sender: from, event } => {
                let sender = sender(from);
                self.peers[at].node.harness.receive(&topic, &sender, &event);
            }
            Delivery::NodeUp(who, id) => self.peers[at].node.harness.node_up(NAMES[who], &id),
            Delivery::NodeDown(who, id) => self.peers[at].node.harness.node_down(NAMES[who], &id),
        }
        self.collect(at);
        true
    }

    /// Time passes until nothing is under way.
    fn quiesce(&mut self) {
        for _ in 0..10 {
            for at in 0..NAMES.len() {
                self.peers[at].node.advance(100);
                self.collect(at);
            }
            while (0..NAMES.len()).any(|at| self.deliver(at)) {}
        }
    }

    fn write(
        &mut self,
        at: usize,
        write: impl FnOnce(&Table<String, u64>, &mut Context<'_>) + 'static,
    ) {
        let table = self.peers[at].tables[at].clone();
        self.peers[at].node.act(move |context| write(&table, context));
        self.collect(at);
    }

    /// A node is killed and started again. What it had not published is lost.
    fn restart(&mut self, at: usize) {
        self.lives += 1;
        let old = std::mem::replace(&mut self.peers[at], Peer::new(at, self.lives));
        for other in (0..NAMES.len()).filter(|other| *other != at) {
            self.peers[other].inbox.push_back(Delivery::NodeDown(at, old.id.clone()));
        }
        self.greet(at);
    }

    fn contents(&self, at: usize) -> Vec<Vec<(String, u64)>> {
        self.peers[at].tables.iter().map(content).collect()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(usize, u8, u64),
    Remove(usize, u8),
    Clear(usize),
    Publish(usize),
    Deliver(usize),
    Pass(usize, u64),
    Restart(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let at = || 0..NAMES.len();
    let step = prop_oneof![
        8 => (at(), 0..8_u8, 0..100_u64).prop_map(|(at, key, value)| Step::Insert(at, key, value)),
        4 => (at(), 0..8_u8).prop_map(|(at, key)| Step::Remove(at, key)),
        1 => at().prop_map(Step::Clear),
        1 => at().prop_map(Step::Publish),
        12 => at().prop_map(Step::Deliver),
        6 => (at(), 0..60_u64).prop_map(|(at, millis)| Step::Pass(at, millis)),
        1 => at().prop_map(Step::Restart),
    ];
    prop::collection::vec(step, 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn all_nodes_agree_in_the_end(steps in steps()) {
        let mut cluster = Cluster::new();
        for step in steps {
            match step {
                Step::Insert(at, key, value) => cluster.write(at, move |table, context| {
                    table.insert(key.to_string(), value, context).unwrap();
                }),
                Step::Remove(at, key) => cluster.write(at, move |table, context| {
                    table.remove(&key.to_string(), context).unwrap();
                }),
                Step::Clear(at) => {
                    cluster.write(at, |table, context| table.clear(context).unwrap());
                }
                Step::Publish(at) => {
                    cluster.write(at, |table, context| table.publish_table("zeek/table/x/", 3, context));
                }
                Step::Deliver(at) => _ = cluster.deliver(at),
                Step::Pass(at, millis) => {
                    cluster.peers[at].node.advance(millis);
                    cluster.collect(at);
                }
                // The others know what the node had published; it writes again once it has that back.
                Step::Restart(at) => {
                    cluster.restart(at);
                    cluster.quiesce();
                }
            }
        }
        cluster.quiesce();
        let expected = cluster.contents(0);
        for at in 1..NAMES.len() {
            prop_assert_eq!(cluster.contents(at), expected.clone(), "node {}", at);
        }
        for peer in &cluster.peers {
            for table in &peer.tables {
                prop_assert_eq!(table.counts().skipped, 0);
            }
        }
    }
}

#[test]
fn a_node_that_comes_back_has_what_it_had() {
    let mut cluster = Cluster::new();
    for at in [0, 2] {
        cluster.write(at, |table, context| {
            for key in 0..100 {
                table.insert(key.to_string(), key, context).unwrap();
            }
        });
    }
    cluster.quiesce();
    for at in [2, 0, 1] {
        cluster.restart(at);
        assert_eq!(cluster.contents(at), [vec![], vec![], vec![]]);
        cluster.quiesce();
        for other in 0..NAMES.len() {
            assert_eq!(cluster.contents(other)[0].len(), 100, "{at} {other}");
            assert_eq!(cluster.contents(other)[2].len(), 100, "{at} {other}");
        }
    }
}
