//! Values and prints from one node to another.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use support::{Cluster, NodeSpec, PATIENCE};
use zcluster::app::{App, Stopper};
use zcluster::prints::{self, PrintHandler};
use zcluster::shared::SharedValues;

const NODES: &[NodeSpec<'static>] = &[("manager", "manager"), ("worker-1", "worker")];

#[test]
fn values_and_prints_reach_their_subscribers() {
    let cluster = Cluster::new(NODES, "");
    let _broker = cluster.broker();
    let (worker, of_worker) = cluster.library_node("worker-1");
    let (tell, told) = mpsc::channel();
    let stopper = Stopper::new(&worker);
    let stopped_by = stopper.clone();
    let worker = thread::spawn(move || {
        let values = SharedValues::new();
        let changed = tell.clone();
        let limits = values
            .add("Demo::limits", BTreeMap::from([("ssh".to_owned(), 1_u64)]))
            .unwrap()
            .on_change(move |old, new, _| {
                changed.send(format!("{old:?} {new:?}"))?;
                Ok(())
            });
        App::new()
            // Before anybody can see this node up.
            .subscribe("demo.values")
            .with(values)
            .on_event("zeek_init", |_, context| {
                prints::subscribe_to_prints("demo.prints.", context)?;
                Ok(())
            })
            .on::<PrintHandler>(move |print, context| {
                assert_eq!(context.origin().unwrap().topic, "demo.prints.x");
                tell.send(format!("{} {:?}", print.msg, limits.get()))?;
                Ok(())
            })
            .stopped_by(&stopped_by)
            .run(&worker, &of_worker)
            .unwrap();
        worker.shutdown(Duration::from_secs(1));
    });
    let (manager, of_manager) = cluster.library_node("manager");
    let values = SharedValues::new();
    let limits = values.add("Demo::limits", BTreeMap::<String, u64>::new()).unwrap();
    let unknown = values.add("Demo::unknown", 1_u64).unwrap();
    App::new()
        .with(values)
        .on_event("Cluster::Backend::ZeroMQ::subscription", {
            let mut seen = 0;
            move |event, context| {
                let prefix = event.args[0].as_str().unwrap();
                seen += u32::from(prefix == "demo.values" || prefix == "demo.prints.");
                if prefix.starts_with("demo.") && seen == 2 {
                    limits.set([("http".to_owned(), 2)].into());
                    limits.publish_id("demo.values", context)?;
                    limits.publish_id("demo.values", context)?;
                    unknown.publish_id("demo.values", context)?;
                    prints::send_print("demo.prints.x", "done", context)?;
                    context.stop();
                }
                Ok(())
            }
        })
        .run(&manager, &of_manager)
        .unwrap();
    let expected = ["{\"ssh\": 1} {\"http\": 2}", "done {\"http\": 2}"];
    for expected in expected {
        assert_eq!(told.recv_timeout(PATIENCE).as_deref(), Ok(expected));
    }
    stopper.stop();
    worker.join().unwrap();
    assert!(told.recv().is_err(), "nothing else was told");
    manager.shutdown(Duration::from_secs(1));
}
