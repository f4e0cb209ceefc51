//! What an app hears of its broker and of other nodes, through kills, stops and restarts of all of them.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use support::keys::{PER_NODE, keys_of, make_keys};
use support::{Cluster, Engine, NodeSpec, PATIENCE, Process, Signal};
use zcluster::Node;
use zcluster::access::ClientKeys;
use zcluster::app::{App, Stopper};
use zcluster::layout::CurveKeys;
use zcluster::node::{NodeError, Notifications};
use zcluster::peers::{
    EndpointDiscovered, EndpointUnreachable, Error, PeerAdded, PeerLost, PeerRemoved, PeerStatus,
    Peers, Status, peers,
};
use zcluster::wire::zmtp::KeyPair;

const NODES: &[NodeSpec<'static>] = &[("manager", "manager"), ("worker-1", "worker")];
/// A broker that is stopped for longer is lost.
const SHORT_HEARTBEATS: &str =
    "heartbeat_interval = \"200ms\"\nheartbeat_timeout = \"1s\"\nheartbeat_ttl = \"1s\"";

/// How every app begins that finds a broker.
const BEGINNING: [&str; 3] = ["status Connecting", "status Connected", "peer_added Peered"];

/// An app that tells what it hears.
struct Observer {
    node: Node,
    stopper: Stopper,
    told: mpsc::Receiver<String>,
    thread: JoinHandle<Result<(), NodeError>>,
}

impl Observer {
    fn start(cluster: &Cluster, name: &str) -> Self {
        let (node, notifications) = cluster.library_node(name);
        Self::on(node, notifications)
    }

    fn on(node: Node, notifications: Notifications) -> Self {
        let (tell, told) = mpsc::channel();
        let stopper = Stopper::new(&node);
        let thread = {
            let (node, stopper) = (node.clone(), stopper.clone());
            thread::spawn(move || telling(&tell).stopped_by(&stopper).run(&node, &notifications))
        };
        Observer { node, stopper, told, thread }
    }

    /// It hears of exactly that, in that order.
    fn hears(&self, expected: &[&str]) {
        for (at, expected) in expected.iter().enumerate() {
            let told = self.told.recv_timeout(PATIENCE);
            assert_eq!(told.as_deref(), Ok(*expected), "event {at}");
        }
    }

    /// It ends, and hears no more than that.
    fn ends(self, expected: &[&str]) {
        self.stopper.stop();
        self.thread.join().unwrap().unwrap();
        let told: Vec<String> = self.told.iter().collect();
        assert_eq!(told, expected);
        // Lines of cluster.log have nowhere to go.
        self.node.shutdown(Duration::from_secs(1));
        assert_eq!(peers(&self.node)[0].status, PeerStatus::Disconnected);
    }
}

fn telling(tell: &mpsc::Sender<String>) -> App {
    let peers = Peers::new();
    let tell_with_status = {
        let (tell, peers) = (tell.clone(), peers.clone());
        move |what: &str| tell.send(format!("{what} {:?}", peers.peers()[0].status)).unwrap()
    };
    let [added, removed, lost, status] = [(); 4].map(|()| tell_with_status.clone());
    let [discovered, unreachable, error] = [(); 3].map(|()| tell.clone());
    App::new()
        .with(peers)
        .on::<PeerAdded>(move |event, _| {
            assert_eq!(event.endpoint.network.unwrap().address, "127.0.0.1");
            added("peer_added");
            Ok(())
        })
        .on::<PeerRemoved>(move |_, _| {
            removed("peer_removed");
            Ok(())
        })
        .on::<PeerLost>(move |_, _| {
            lost("peer_lost");
            Ok(())
        })
        .on::<Status>(move |_, _| {
            status("status");
            Ok(())
        })
        .on::<EndpointDiscovered>(move |event, _| {
            discovered.send(format!("discovered {}", event.endpoint.id))?;
            Ok(())
        })
        .on::<EndpointUnreachable>(move |event, _| {
            unreachable.send(format!("unreachable {}", event.endpoint.id))?;
            Ok(())
        })
        .on::<Error>(move |event, _| {
            error.send(format!("error {}", event.code.zeek_name()))?;
            Ok(())
        })
}

fn discovered(id: &str) -> String {
    format!("discovered {id}")
}

fn unreachable(id: &str) -> String {
    format!("unreachable {id}")
}

fn kills_and_restarts_are_told_in_order(engine: Engine) {
    let cluster = Cluster::on(engine, NODES, "");
    let mut broker = cluster.broker();
    let observer = Observer::start(&cluster, "manager");
    observer.hears(&BEGINNING);

    let mut worker = cluster.node("worker-1", &[]);
    observer.hears(&[&discovered(worker.id())]);
    worker.kill();
    observer.hears(&[&unreachable(worker.id())]);
    worker = cluster.node("worker-1", &[]);
    observer.hears(&[&discovered(worker.id())]);
    // Killed, and back before anybody is told.
    let killed = worker.id().to_owned();
    worker.kill();
    worker = cluster.node("worker-1", &[]);
    observer.hears(&[&unreachable(&killed), &discovered(worker.id())]);

    // Nodes count as up while the broker is away.
    for _ in 0..3 {
        broker.kill();
        observer.hears(&["peer_lost Disconnected", "status Reconnecting"]);
        broker = cluster.broker();
        observer.hears(&["status Connected", "peer_added Peered"]);
    }
    worker.stop();
    observer.hears(&[&unreachable(worker.id())]);

    // A node that dies together with the broker is missed once the broker is back.
    worker = cluster.node("worker-1", &[]);
    observer.hears(&[&discovered(worker.id())]);
    broker.kill();
    worker.kill();
    observer.hears(&["peer_lost Disconnected", "status Reconnecting"]);
    let _broker = cluster.broker();
    observer.hears(&["status Connected", "peer_added Peered", &unreachable(worker.id())]);
    observer.ends(&["peer_removed Disconnected"]);
}

fn a_node_that_restarts_hears_of_everything_anew(engine: Engine) {
    let cluster = Cluster::on(engine, NODES, "");
    let _broker = cluster.broker();
    let worker = cluster.node("worker-1", &[]);
    for _ in 0..2 {
        let observer = Observer::start(&cluster, "manager");
        observer.hears(&BEGINNING);
        observer.hears(&[&discovered(worker.id())]);
        assert_eq!(peers(&observer.node)[0].status, PeerStatus::Peered);
        observer.ends(&["peer_removed Disconnected"]);
    }
    // Its node leaves or ends, and the app finds out.
    let observer = Observer::start(&cluster, "manager");
    observer.hears(&BEGINNING);
    observer.hears(&[&discovered(worker.id())]);
    observer.node.leave().unwrap();
    observer.hears(&["peer_removed Disconnected"]);
    observer.ends(&[]);
    let observer = Observer::start(&cluster, "manager");
    observer.hears(&BEGINNING);
    observer.hears(&[&discovered(worker.id())]);
    observer.node.shutdown(Duration::from_secs(1));
    observer.hears(&["peer_removed Disconnected"]);
    observer.ends(&[]);
}

fn a_broker_that_is_missing_is_an_error_once(engine: Engine) {
    let cluster = Cluster::on(engine, NODES, "");
    let observer = Observer::start(&cluster, "manager");
    observer.hears(&["status Connecting", "error Broker::PEER_UNAVAILABLE"]);
    let mut broker = cluster.broker();
    observer.hears(&["status Connected", "peer_added Peered"]);
    broker.kill();
    observer.hears(&["peer_lost Disconnected", "status Reconnecting"]);
    observer.hears(&["error Broker::PEER_UNAVAILABLE"]);
    observer.ends(&["status Disconnected"]);
}

fn a_broker_that_is_stopped_is_lost_only_if_it_takes_long(engine: Engine) {
    let cluster = Cluster::on(engine, NODES, "");
    let broker = cluster.broker();
    let observer = Observer::start(&cluster, "manager");
    observer.hears(&BEGINNING);
    let mut worker = cluster.node("worker-1", &[]);
    observer.hears(&[&discovered(worker.id())]);
    broker.signal(Signal::STOP);
    broker.signal(Signal::CONT);
    worker.stop();
    observer.hears(&[&unreachable(worker.id())]);
    observer.ends(&["peer_removed Disconnected"]);

    let cluster = Cluster::on(engine, NODES, SHORT_HEARTBEATS);
    let broker = cluster.broker();
    let observer = Observer::start(&cluster, "manager");
    observer.hears(&BEGINNING);
    stop_until_lost(&broker, &observer);
    observer.hears(&["status Reconnecting"]);
    observer.hears(&["error Broker::PEER_TIMEOUT"]);
    broker.signal(Signal::CONT);
    observer.hears(&["status Connected", "peer_added Peered"]);
    observer.ends(&["peer_removed Disconnected"]);
}

/// Stops the broker. A node learns from its first heartbeat for how long it may be silent, so a broker
/// that is stopped before that goes on, and is stopped again.
fn stop_until_lost(broker: &Process, observer: &Observer) {
    for _ in 0..20 {
        for (signal, patience) in [(Signal::CONT, 500), (Signal::STOP, 2500)] {
            broker.signal(signal);
            if let Ok(told) = observer.told.recv_timeout(Duration::from_millis(patience)) {
                assert_eq!((told.as_str(), signal), ("peer_lost Disconnected", Signal::STOP));
                return;
            }
        }
    }
    panic!("the broker is stopped, and nobody notices");
}

fn a_refusal_is_an_error_before_the_end(engine: Engine) {
    let cluster = Cluster::on(engine, NODES, PER_NODE);
    make_keys(cluster.dir.path(), &["broker", "manager", "worker-1"]);
    let _broker = cluster.broker();
    let mut layout = cluster.read_layout();
    layout.curve = CurveKeys::default();
    let server = *keys_of(cluster.dir.path(), "broker").public();
    let stranger = ClientKeys::new(KeyPair::generate(), server);
    for (keys, code) in
        [(Some(stranger), "Broker::PEER_INVALID"), (None, "Broker::PEER_INCOMPATIBLE")]
    {
        let builder = Node::builder(layout.clone(), "manager");
        let builder = match keys {
            Some(keys) => builder.client_keys(keys),
            None => builder,
        };
        let (node, notifications) = builder.start().unwrap();
        let observer = Observer::on(node, notifications);
        let error = format!("error {code}");
        observer.hears(&["status Connecting", &error, "status Disconnected"]);
        let end = observer.thread.join().unwrap();
        assert!(matches!(end, Err(NodeError::Refused { .. })), "{end:?}");
        assert!(observer.told.iter().next().is_none());
    }
}

fn a_second_process_says_why_it_ends(engine: Engine) {
    let cluster = Cluster::on(engine, NODES, "");
    let _broker = cluster.broker();
    let first = Observer::start(&cluster, "manager");
    first.hears(&BEGINNING);
    let second = Observer::start(&cluster, "manager");
    second.hears(&BEGINNING);
    second.hears(&["error Broker::UNSPECIFIED", "peer_removed Disconnected"]);
    assert!(matches!(second.thread.join().unwrap(), Err(NodeError::NameTaken { .. })));
    first.ends(&["peer_removed Disconnected"]);
}

on_both_engines!(
    kills_and_restarts_are_told_in_order,
    a_node_that_restarts_hears_of_everything_anew,
    a_broker_that_is_missing_is_an_error_once,
    a_broker_that_is_stopped_is_lost_only_if_it_takes_long,
    a_refusal_is_an_error_before_the_end,
    a_second_process_says_why_it_ends,
);
