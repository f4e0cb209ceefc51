//! Apps on real nodes.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use support::{Cluster, NodeSpec, PATIENCE};
use zcluster::app::{App, Inbox, InboxError, Stopper};
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

#[test]
fn other_threads_raise_events_and_the_app_ends_with_them() {
    const EVENTS: u64 = 5_000;
    let cluster = Cluster::new(NODES, "");
    let (node, notifications) = cluster.library_node("manager");
    let inbox = Inbox::new(&node);
    let raised = inbox.clone();
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let inbox = inbox.clone();
            thread::spawn(move || {
                for number in 0..EVENTS {
                    inbox.raise(&Event::new("Demo::line", vec![Value::Count(number)])).unwrap();
                }
            })
        })
        .collect();
    // Clones keep the app running.
    drop(inbox);
    let seen = Rc::new(Cell::new(0));
    let count = Rc::clone(&seen);
    App::new()
        .peer_counts_as_iosource(false)
        .inbox(&raised)
        .on_event("zeek_init", {
            let mut raised = Some(raised);
            move |_, _| {
                drop(raised.take());
                Ok(())
            }
        })
        .on_event("Demo::line", move |_, context| {
            assert!(context.origin().is_none());
            count.set(count.get() + 1);
            Ok(())
        })
        .run(&node, &notifications)
        .unwrap();
    assert_eq!(seen.get(), 2 * EVENTS);
    for thread in threads {
        thread.join().unwrap();
    }
    node.shutdown(Duration::ZERO);
}

#[test]
fn an_inbox_says_when_it_is_full_and_when_its_app_has_ended() {
    let cluster = Cluster::new(NODES, "");
    let (node, notifications) = cluster.library_node("manager");
    let inbox = Inbox::new(&node);
    let event = Event::new("Demo::line", vec![]);
    let fits = (0..2_000).take_while(|_| inbox.try_raise(&event).is_ok()).count();
    assert_eq!(fits, 1_000);
    assert!(matches!(inbox.try_raise(&event), Err(InboxError::Full)));
    let app = App::new().inbox(&inbox).on_event("Demo::line", |_, context| {
        context.stop();
        Ok(())
    });
    app.run(&node, &notifications).unwrap();
    assert!(matches!(inbox.raise(&event), Err(InboxError::Ended)));
    node.shutdown(Duration::ZERO);
}
