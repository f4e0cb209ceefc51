//! The example of data stores: what one worker has reported, nobody reports again, whoever restarts.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::path::Path;
use std::process::Command;

use support::programs::Program;
use support::{Cluster, NodeSpec, example, wait_for};

const NODES: &[NodeSpec<'static>] =
    &[("manager", "manager"), ("worker-1", "worker"), ("worker-2", "worker")];

/// Lets a worker see a host; returns what it says about it.
fn see(worker: &mut Program, host: &str) -> String {
    worker.write_line(host);
    worker.wait_text(&format!("{host} is "))
}

fn is_new(worker: &mut Program, host: &str) -> bool {
    see(worker, host).ends_with(" is new")
}

#[test]
fn a_host_is_reported_once_whoever_sees_it_and_whoever_is_killed() {
    let cluster = Cluster::new(NODES, "[cluster]\ndefault_store_dir = \"{dir}\"\n");
    let _broker = cluster.broker();
    let program = example("known_hosts");
    let start = |node| Program::start(Command::new(&program).args([node, cluster.layout_arg()]));
    // Workers may be first: what they ask for waits for the master.
    let [mut worker_1, mut worker_2] = ["worker-1", "worker-2"].map(start);
    worker_1.write_line("nonsense");
    worker_1.wait_text("expected an address, found 'nonsense'");
    for host in ["192.0.2.1", "2001:db8::1"] {
        worker_1.write_line(host);
        worker_2.write_line(host);
    }
    let mut manager = start("manager");
    manager.wait_text("0 hosts are known");
    for host in ["192.0.2.1", "2001:db8::1"] {
        let said = [&mut worker_1, &mut worker_2].map(|one| one.wait_text(&format!("{host} is ")));
        let reports = said.iter().filter(|line| line.ends_with(" is new")).count();
        assert_eq!(reports, 1, "{said:?}");
    }
    assert!(is_new(&mut worker_2, "192.0.2.2"));
    assert!(!is_new(&mut worker_1, "192.0.2.2"));

    // The manager is killed. Workers go on with what they have, and report the rest when it is back.
    wait_for("the content of the clone", || {
        (see(&mut worker_2, "192.0.2.1") == "192.0.2.1 is known").then_some(())
    });
    drop(manager);
    assert_eq!(see(&mut worker_2, "192.0.2.1"), "192.0.2.1 is known");
    worker_2.write_line("192.0.2.3");
    let mut manager = start("manager");
    manager.wait_text("3 hosts are known");
    worker_2.wait_text("192.0.2.3 is new");

    // All are killed.
    drop((manager, worker_1, worker_2));
    let directory = Path::new(cluster.layout_arg()).parent().unwrap();
    assert!(directory.join("known_hosts.sqlite").is_file());
    let mut manager = start("manager");
    manager.wait_text("4 hosts are known");
    let mut worker_1 = start("worker-1");
    for host in ["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1"] {
        assert!(!is_new(&mut worker_1, host), "{host}");
    }
    assert!(is_new(&mut worker_1, "192.0.2.4"));
}
