//! Three nodes tell that all of them are up: once, even if one of them, or the manager, starts anew.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use support::{Cluster, NodeSpec, PATIENCE};
use zcluster::Node;
use zcluster::app::{App, Stopper};
use zcluster::started::{ClusterStarted, NodeFullyConnected, Startup};

const NODES: &[NodeSpec<'static>] = &[
    ("manager", "manager"),
    ("worker-1", "worker"),
    ("worker-2", "worker"),
    // Nobody starts it, and nobody waits for it.
    ("control", "control"),
];

struct Running {
    stopper: Stopper,
    thread: JoinHandle<()>,
    told: mpsc::Receiver<String>,
    /// What it has written to its logs.
    logs: mpsc::Receiver<Vec<u8>>,
}

impl Running {
    fn start(cluster: &Cluster, name: &str) -> Self {
        let (write, logs) = mpsc::channel();
        let (node, notifications) = Node::builder(cluster.read_layout(), name)
            .local_logs(move |batch| write.send(batch.to_owned()).is_ok())
            .start()
            .unwrap();
        let (tell, told) = mpsc::channel();
        let stopper = Stopper::new(&node);
        let stopped_by = stopper.clone();
        let thread = thread::spawn(move || {
            let started = tell.clone();
            App::new()
                .with(Startup::new())
                .on::<NodeFullyConnected>(move |report, context| {
                    let by = if context.origin().is_some() { "other" } else { "own" };
                    tell.send(format!("{} {} {by}", report.name, report.resending))?;
                    Ok(())
                })
                .on::<ClusterStarted>(move |_, _| {
                    started.send("started".into())?;
                    Ok(())
                })
                .stopped_by(&stopped_by)
                .run(&node, &notifications)
                .unwrap();
            node.shutdown(Duration::from_secs(1));
        });
        Running { stopper, thread, told, logs }
    }

    /// What it tells until it has told all of these, in whatever order.
    fn tells(&self, wanted: &[&str]) -> Vec<String> {
        let mut told: Vec<String> = Vec::new();
        while !wanted.iter().all(|one| told.iter().any(|line| line == one)) {
            let next = self.told.recv_timeout(PATIENCE);
            told.push(next.unwrap_or_else(|_| panic!("waited for {wanted:?}, so far {told:?}")));
        }
        told
    }

    /// Stops it, and returns what else it has told, and its logs.
    fn stop(self) -> (Vec<String>, String) {
        self.stopper.stop();
        self.thread.join().unwrap();
        let logs: Vec<u8> = self.logs.iter().flatten().collect();
        (self.told.iter().collect(), String::from_utf8_lossy(&logs).into_owned())
    }
}

fn count(told: &[String], line: &str) -> usize {
    told.iter().filter(|one| *one == line).count()
}

#[test]
fn it_is_told_once_that_all_nodes_are_up() {
    let cluster = Cluster::new(NODES, "");
    let _broker = cluster.broker();
    let manager = Running::start(&cluster, "manager");
    let worker_1 = Running::start(&cluster, "worker-1");
    let worker_2 = Running::start(&cluster, "worker-2");
    let reports = ["manager false own", "worker-1 false other", "worker-2 false other"];
    let told = manager.tells(&[reports[0], reports[1], reports[2], "started"]);
    assert_eq!(told.last().unwrap(), "started", "{told:?}");
    let told = worker_1.tells(&["started"]);
    assert_eq!(told, ["worker-1 false own", "started"]);
    worker_2.tells(&["worker-2 false own", "started"]);

    // A worker starts anew: the others report again, and it has not heard of the start.
    let (told, logs) = worker_2.stop();
    assert_eq!(count(&told, "started"), 0);
    assert!(logs.contains("fully connected") && !logs.contains("cluster connected"), "{logs}");
    let worker_2 = Running::start(&cluster, "worker-2");
    manager.tells(&["manager true own", "worker-1 true other", "worker-2 false other"]);
    worker_1.tells(&["worker-1 true own"]);

    // The manager starts anew, and believes the others.
    let (told, logs) = manager.stop();
    assert_eq!(count(&told, "started"), 0, "{told:?}");
    assert_eq!(logs.matches("cluster connected").count(), 1, "{logs}");
    let manager = Running::start(&cluster, "manager");
    let mut told = manager.tells(&["worker-1 true other", "worker-2 false other"]);
    let own = |told: &[String]| told.iter().any(|line| line.ends_with(" own"));
    while !own(&told) {
        told.push(manager.told.recv_timeout(PATIENCE).unwrap());
    }
    assert_eq!(count(&told, "started"), 0, "{told:?}");
    let (told, logs) = manager.stop();
    assert_eq!(count(&told, "started"), 0, "{told:?}");
    assert!(logs.contains("fully connected") && !logs.contains("cluster connected"), "{logs}");
    for worker in [worker_1, worker_2] {
        let (told, _) = worker.stop();
        assert_eq!(count(&told, "started"), 0, "{told:?}");
    }
}
