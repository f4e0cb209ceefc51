//! What a process lets itself publish, and what others see of its subscriptions.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::time::Duration;

use support::{Cluster, NodeSpec, PATIENCE};
use zcluster::Event;
use zcluster::node::{NodeError, Notification, Notifications};

const NODES: &[NodeSpec<'static>] = &[("manager", "manager"), ("worker-1", "worker")];

const OPTIONS: &str = "[cluster]\nauto_publish_topics = false\nauto_advertise_topics = false\n\
                       publish_topics = [\"demo.open\"]\nadvertise_topics = [\"demo.\"]\n";

/// The next subscriptions that others see, up to and with the last one.
fn seen(notifications: &Notifications, last: &str) -> Vec<String> {
    let mut seen = Vec::new();
    while seen.last().is_none_or(|prefix| prefix != last) {
        match notifications.receive_timeout(PATIENCE).unwrap() {
            Notification::Subscription(prefix) if prefix.starts_with(b"demo") => {
                seen.push(prefix.to_string());
            }
            Notification::Subscription(prefix) => {
                assert!(prefix.starts_with(b"zeek"), "{prefix} is not advertised");
            }
            _ => {}
        }
    }
    seen
}

#[test]
fn nodes_keep_to_the_topics_that_they_are_allowed() {
    let cluster = Cluster::new(NODES, OPTIONS);
    let _broker = cluster.broker();
    let (manager, of_manager) = cluster.library_node("manager");
    let (worker, of_worker) = cluster.library_node("worker-1");
    worker.subscribe("other.").unwrap();
    worker.subscribe("demo.open").unwrap();
    assert_eq!(seen(&of_manager, "demo.open"), ["demo.open"]);

    let event = Event::new("Demo::event", vec![]);
    for topic in ["other.topic", "demo.open.more", "zeek.cluster.worker"] {
        let refused = manager.publish(topic, &event).unwrap_err();
        assert!(matches!(refused, NodeError::NotPublished { topic: named } if named == topic));
    }
    assert_eq!(manager.telemetry().node().publish_forbidden.get(), 3);
    assert!(manager.publish_topic("demo.more"));
    manager.publish("demo.more", &event).unwrap();
    manager.publish("demo.open", &event).unwrap();
    // Nodes greet one another in spite of the rules.
    let (mut is_up, mut topic) = (false, None);
    while !is_up || topic.is_none() {
        match of_worker.receive_timeout(PATIENCE).unwrap() {
            Notification::NodeUp { .. } => is_up = true,
            Notification::Event(received) if received.topic().starts_with(b"demo") => {
                topic = topic.or(Some(received.topic().to_string()));
            }
            _ => {}
        }
    }
    assert_eq!(topic.unwrap(), "demo.open");

    assert!(worker.advertise_topic("other.").unwrap());
    loop {
        match of_manager.receive_timeout(PATIENCE).unwrap() {
            Notification::Subscription(prefix) if prefix == "other." => break,
            _ => {}
        }
    }
    assert!(worker.unadvertise_topic("demo.").unwrap());
    loop {
        match of_manager.receive_timeout(PATIENCE).unwrap() {
            Notification::Unsubscription(prefix) if prefix == "demo.open" => break,
            _ => {}
        }
    }
    for node in [manager, worker] {
        // Lines of cluster.log have nowhere to go.
        node.shutdown(Duration::from_secs(1));
    }
}
