//! Tables on real nodes: they replicate, and a process that was killed gets its table back.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use support::programs::Program;
use support::{Cluster, NodeSpec, PATIENCE, example};
use zcluster::app::{App, Stopper};
use zcluster::node::Notification;
use zcluster::table::{
    Change, Options, TableChangeHeader, TableChangeInfo, TableChangeInfos, Tables,
};
use zcluster::value::{Address, Port, Protocol, Timestamp};
use zcluster::{TypedEvent, Value};

const NODES: &[NodeSpec<'static>] =
    &[("manager", "manager"), ("worker-1", "worker"), ("worker-2", "worker")];

#[test]
fn the_blocklist_survives_kills() {
    let cluster = Cluster::new(NODES, "");
    let _broker = cluster.broker();
    let directory = std::path::Path::new(cluster.layout_arg()).parent().unwrap();
    let blocklist = example("blocklist");
    let start =
        |args: &[&str]| Program::start(Command::new(&blocklist).args(args).current_dir(directory));
    let manager = start(&["manager", "192.0.2.1=3600", "198.51.100.7=1"]);
    let mut worker_1 = start(&["worker-1"]);
    let worker_2 = start(&["worker-2"]);
    worker_1.wait_text("worker-1: block 192.0.2.1");

    drop(worker_2);
    let mut worker_2 = start(&["worker-2"]);
    worker_2.wait_text("worker-2: block 192.0.2.1");

    // It comes back empty-handed, but for another address.
    drop(manager);
    let mut manager = start(&["manager", "203.0.113.9=3600", "198.51.100.8=3"]);
    manager.wait_text("manager: block 192.0.2.1");
    for (worker, name) in [(&mut worker_1, "worker-1"), (&mut worker_2, "worker-2")] {
        worker.wait_text(&format!("{name}: block 203.0.113.9"));
    }
    manager.wait_text("manager: unblock 198.51.100.8");
    // What has time left stays, whoever has restarted.
    for program in [&manager, &worker_1, &worker_2] {
        let is_wrong = |line: &&String| line.contains("unblock 192.0.2.1");
        assert_eq!(program.seen.iter().filter(is_wrong).count(), 0, "{:?}", program.seen);
    }
}

type Service = (Address, Port);

/// A table of several types beside a node that speaks the events themselves.
#[test]
fn tables_speak_the_events_of_zeek() {
    let cluster = Cluster::new(NODES, "");
    let _broker = cluster.broker();
    let (node, notifications) = cluster.library_node("manager");
    let stopper = Stopper::new(&node);
    let stopped_by = stopper.clone();
    let (tell, told) = mpsc::channel();
    let app = thread::spawn(move || {
        let tables = Tables::new();
        let options = Options::new()
            .publish_on_change([Change::New, Change::Removed])
            .publish_to_new_nodes(|_| true);
        let services = tables.table::<Service, u64>("Demo::services", options).unwrap();
        let changed = services.clone();
        services.on_change(move |_, changed, _| {
            tell.send((changed.change, *changed.key, *changed.value, changed.is_remote)).unwrap();
            Ok(())
        });
        App::new()
            .with(tables)
            .stopped_by(&stopped_by)
            .on_event("zeek_init", move |_, context| {
                changed.insert(service(22), 1, context)?;
                Ok(())
            })
            .run(&node, &notifications)
            .unwrap();
        // Lines of cluster.log have nowhere to go.
        node.shutdown(Duration::from_secs(1));
    });
    let next = || told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(next(), (Change::New, service(22), 1, false));

    // The new node is sent the table, and then changes it.
    let (worker, events) = cluster.library_node("worker-1");
    let index = |number| vec![service(number).0.into(), service(number).1.into()];
    let received = loop {
        if let Notification::Event(received) = events.receive_timeout(PATIENCE).unwrap() {
            break received;
        }
    };
    let event = received.decode().unwrap();
    let infos = TableChangeInfos::from_event(&event).unwrap();
    assert_eq!(infos.header.node_id, received.sender());
    assert_eq!(infos.infos.len(), 1);
    let ts = infos.infos[0].ts;
    let info = |change, number, value| TableChangeInfo {
        change,
        ts,
        index: index(number),
        value,
        previous_value: Value::None,
    };
    assert_eq!(infos.infos[0], info(Change::New, 22, 1_u64.into()));
    let header = TableChangeHeader {
        id: "Demo::services".into(),
        ts: Timestamp(0),
        node_id: worker.id().as_bytes().into(),
    };
    let changes = TableChangeInfos {
        header,
        infos: vec![
            info(Change::New, 53, 2_u64.into()),
            info(Change::New, 54, "of another type".into()),
            info(Change::Removed, 22, 1_u64.into()),
        ],
    };
    worker.publish("zeek/table/Demo::services/", &changes).unwrap();
    assert_eq!(next(), (Change::New, service(53), 2, true));
    assert_eq!(next(), (Change::Removed, service(22), 1, true));
    stopper.stop();
    app.join().unwrap();
    worker.shutdown(Duration::from_secs(1));
}

fn service(number: u16) -> Service {
    ("192.0.2.1".parse().unwrap(), Port::new(number, Protocol::Tcp))
}
