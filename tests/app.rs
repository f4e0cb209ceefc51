//! Apps on real nodes.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use support::{Cluster, NodeSpec, PATIENCE};
use zcluster::app::{App, Stopper};
use zcluster::{Event, Value};

const NODES: &[NodeSpec<'static>] = &[("manager", "manager"), ("worker-1", "worker")];

#[test]
fn two_apps_talk_and_end() {
    let cluster = Cluster::new(NODES, "");
    let _broker = cluster.broker();
    let (tell, told) = mpsc::channel();
    let manager = {
        let (node, notifications) = cluster.library_node("manager");
        thread::spawn(move || {
            App::new()
                .on_event("Demo::ping", |event, context| {
                    let pong = Event::new("Demo::pong", event.args.clone());
                    context.publish("zeek.cluster.node.worker-1.", &pong)?;
                    Ok(())
                })
                // The worker is done.
                .on_event("Cluster::node_down", |_, context| {
                    context.stop();
                    Ok(())
                })
                .on_event("zeek_done", |_, context| {
                    context.publish("demo.end", &Event::new("Demo::end", vec![]))?;
                    Ok(())
                })
                .run(&node, &notifications)
                .unwrap();
            // Lines of cluster.log have nowhere to go.
            node.shutdown(Duration::from_secs(1));
        })
    };
    let (node, notifications) = cluster.library_node("worker-1");
    let stopper = Stopper::new(&node);
    let build = {
        let stopper = stopper.clone();
        move || worker(tell).stopped_by(&stopper)
    };
    let worker = {
        let node = node.clone();
        thread::spawn(move || build().run(&node, &notifications).unwrap())
    };
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), [Value::Count(42)]);
    stopper.stop();
    worker.join().unwrap();
    // Lines of cluster.log have nowhere to go.
    node.shutdown(Duration::from_secs(1));
    manager.join().unwrap();
    // Its node has ended: nothing to stop.
    stopper.stop();
}

/// Sends a ping as soon as the manager is there, and tells what the pong says.
fn worker(tell: mpsc::Sender<Vec<Value>>) -> App {
    App::new()
        .on_event("Cluster::node_up", |event, context| {
            assert_eq!(event.args[0].as_str(), Some("manager"));
            context.schedule(Duration::from_millis(1), &Event::new("Demo::go", vec![]))?;
            Ok(())
        })
        .auto_publish("zeek.cluster.manager", "Demo::ping")
        .on_event("Demo::go", |_, context| {
            context.raise(&Event::new("Demo::ping", vec![Value::Count(42)]))?;
            Ok(())
        })
        .on_event("Demo::pong", move |event, context| {
            let origin = context.origin().unwrap();
            assert_eq!(origin.topic, "zeek.cluster.node.worker-1.");
            tell.send(event.args.clone()).unwrap();
            Ok(())
        })
}
