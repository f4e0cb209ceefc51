//! Processes that are no node of the layout: they take part in events, and nobody notices them.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::time::{Duration, Instant};

use bstr::ByteSlice;
use support::keys::{PER_NODE, make_keys};
use support::{Cluster, NodeSpec, PATIENCE, wait_for};
use zcluster::node::{Node, Notification, Notifications};
use zcluster::wire::zeek_bin::{FieldSpec, LogSchema, LogValue, Scalar};
use zcluster::{Event, Value};

const NODES: &[NodeSpec<'static>] = &[("manager", "manager"), ("worker-1", "worker")];

/// Waits for a notification; returns what was picked, and how many nodes came up before it.
fn wait<T>(
    notifications: &Notifications,
    mut pick: impl FnMut(&Notification) -> Option<T>,
) -> (T, usize) {
    let end = Instant::now() + PATIENCE;
    let mut ups = 0;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let notification = notifications.receive_timeout(left).unwrap();
        ups += usize::from(matches!(notification, Notification::NodeUp { .. }));
        if let Some(picked) = pick(&notification) {
            return (picked, ups);
        }
    }
}

fn event(notification: &Notification) -> Option<(String, Event)> {
    match notification {
        Notification::Event(received) => {
            Some((received.sender().to_string(), received.decode().unwrap()))
        }
        _ => None,
    }
}

fn talks_unnoticed(cluster: &Cluster, id: &str) {
    let _broker = cluster.broker();
    let (manager, of_manager) = cluster.library_node("manager");
    let (worker, _of_worker) = cluster.library_node("worker-1");
    wait(&of_manager, |seen| matches!(seen, Notification::NodeUp { .. }).then_some(()));
    let (standalone, of_standalone) = Node::standalone(cluster.read_layout()).start().unwrap();
    assert_eq!(standalone.name(), "");
    assert!(standalone.id().to_string().starts_with(id), "{}", standalone.id());
    // What would announce a process must not be seen: neither its own topic nor another one's.
    let own_topic = standalone.topics().nodeid(standalone.id());
    standalone.subscribe(own_topic.clone()).unwrap();
    standalone.subscribe(manager.topics().nodeid(worker.id())).unwrap();
    standalone.subscribe("zz.answers").unwrap();
    let ((), ups) = wait(&of_manager, |seen| match seen {
        Notification::Subscription(prefix) => {
            assert_ne!(*prefix, own_topic);
            (prefix == "zz.answers").then_some(())
        }
        _ => None,
    });
    assert_eq!(ups, 0);
    let question = Event::new("Demo::question", vec![Value::Count(1)]);
    standalone.publish("zeek.cluster.manager", &question).unwrap();
    let ((sender, received), ups) = wait(&of_manager, event);
    assert_eq!((sender, received, ups), (standalone.id().to_string(), question, 0));
    // Answers reach it, at its own topic, too; what others get there does not.
    let answer = Event::new("Demo::answer", vec![]);
    for topic in ["zeek.cluster.nodeid.other.", own_topic.to_str().unwrap(), "zz.answers"] {
        manager.publish(topic, &answer).unwrap();
    }
    for _ in 0..2 {
        let ((sender, received), ups) = wait(&of_standalone, event);
        assert_eq!((sender, &received, ups), (manager.id().to_string(), &answer, 0));
    }
    assert!(standalone.members().is_empty());
    assert!(
        !standalone.publish_rr("zeek.cluster.pool.worker", b"", &received_by_nobody()).unwrap()
    );
    // It hides nobody's death.
    // Lines of cluster.log have nowhere to go.
    worker.shutdown(Duration::from_secs(1));
    wait(&of_manager, |seen| matches!(seen, Notification::NodeDown { .. }).then_some(()));
    // Nobody sees it go, either.
    standalone.shutdown(PATIENCE);
    wait(&of_manager, |seen| match seen {
        Notification::Unsubscription(prefix) => {
            assert_ne!(*prefix, own_topic);
            (prefix == "zz.answers").then_some(())
        }
        Notification::NodeDown { name, .. } => panic!("{name} is down"),
        _ => None,
    });
    manager.shutdown(Duration::from_secs(1));
}

fn received_by_nobody() -> Event {
    Event::new("Demo::nobody", vec![])
}

#[test]
fn a_standalone_process_talks_to_nodes_without_being_one() {
    talks_unnoticed(&Cluster::new(NODES, ""), "zeromq__");
}

#[test]
fn with_a_key_for_each_node_it_has_the_operators() {
    let cluster = Cluster::new(NODES, PER_NODE);
    make_keys(cluster.dir.path(), &["broker", "manager", "worker-1", "operator"]);
    talks_unnoticed(&cluster, "zeromq_operator_");
}

#[test]
fn it_needs_no_node_in_the_layout_and_may_log() {
    let cluster = Cluster::new(&[("logger-1", "logger")], "");
    let _broker = cluster.broker();
    let logger = cluster.logger("logger-1");
    let (standalone, _notifications) = Node::standalone(cluster.read_layout()).start().unwrap();
    let schema = LogSchema::new("Demo::LOG", "demo", vec![FieldSpec::new("n", Scalar::Count)]);
    standalone.log(schema).unwrap().write(&[LogValue::Count(42)]).unwrap();
    assert_eq!(standalone.shutdown(PATIENCE).records, 0);
    let file = cluster.log_dir("logger-1").join("demo.log");
    wait_for("the record", || {
        std::fs::read_to_string(&file).ok()?.contains("\n42\n").then_some(())
    });
    drop(logger);
}
