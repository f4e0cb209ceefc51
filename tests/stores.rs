//! Stores on real nodes, with a broker between them.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use support::{Cluster, NodeSpec, PATIENCE, wait_for};
use zcluster::app::{App, Stopper};
use zcluster::peers::ErrorCode;
use zcluster::store::{Change, Expiry, RemoteStore, Store, StoreError, Stores};
use zcluster::value::Address;

const NODES: &[NodeSpec<'static>] =
    &[("manager", "manager"), ("worker-1", "worker"), ("worker-2", "worker")];

/// A node whose app has a store, on a thread of its own.
struct Member {
    store: RemoteStore<Address, u64>,
    changes: mpsc::Receiver<Change<Address, u64>>,
    stopper: Stopper,
    app: Option<JoinHandle<()>>,
}

impl Member {
    fn start(
        cluster: &Cluster,
        name: &str,
        create: fn(&Stores) -> Result<Store<Address, u64>, StoreError>,
    ) -> Self {
        let (node, notifications) = cluster.library_node(name);
        let stopper = Stopper::new(&node);
        let stopped_by = stopper.clone();
        let (give, given) = mpsc::channel();
        let (tell, changes) = mpsc::channel();
        let app = thread::spawn(move || {
            let stores = Stores::new(&node);
            let store = create(&stores).unwrap();
            store.watch(move |change, _| Ok(tell.send(change)?));
            give.send(store.remote().unwrap()).unwrap();
            let app = App::new().with(stores).stopped_by(&stopped_by);
            app.run(&node, &notifications).unwrap();
            // Lines of cluster.log have nowhere to go.
            node.shutdown(Duration::from_secs(1));
        });
        let store = given.recv_timeout(PATIENCE).unwrap();
        Member { store, changes, stopper, app: Some(app) }
    }

    fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stopper.stop();
        if let Some(app) = self.app.take() {
            app.join().unwrap();
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.end();
    }
}

fn address(last: u8) -> Address {
    std::net::Ipv4Addr::new(192, 0, 2, last).into()
}

#[test]
fn a_store_is_one_store_on_all_nodes() {
    let cluster = Cluster::new(NODES, "[cluster]\ndefault_store_dir = \"{dir}\"\n");
    let _broker = cluster.broker();
    let clone = Member::start(&cluster, "worker-1", |stores| stores.create_store("hosts", true));
    let frontend = Member::start(&cluster, "worker-2", |stores| stores.create_frontend("hosts"));
    let create = |stores: &Stores| stores.create_store("hosts", true);
    let master = Member::start(&cluster, "manager", create);

    // What was asked for before there was a master is done.
    clone.store.put(&address(1), &1).wait().unwrap();
    frontend.store.put(&address(2), &1).expires(Expiry::after(PATIENCE * 10)).wait().unwrap();
    assert_eq!(frontend.store.get(&address(1)).wait(), Ok(1));
    for _ in 0..100 {
        clone.store.increment(&address(1), &1_u64).send().unwrap();
        frontend.store.increment(&address(1), &1_u64).send().unwrap();
    }
    assert_eq!(clone.store.increment(&address(1), &1_u64).wait(), Ok(()));
    assert_eq!(frontend.store.increment(&address(1), &1_u64).wait(), Ok(()));
    let value = clone.store.get(&address(1)).wait().unwrap();
    assert!((102..=203).contains(&value), "its own changes are there: {value}");
    assert_eq!(frontend.store.get(&address(1)).wait(), Ok(203));
    assert_eq!(master.store.get(&address(1)).wait(), Ok(203));
    assert_eq!(frontend.store.put_unique(&address(2), &5).wait(), Ok(false));
    assert_eq!(clone.store.size().wait(), Ok(2));
    assert_eq!(master.store.keys().wait(), Ok(vec![address(1), address(2)]));
    let error = frontend.store.append(&address(1), "x").wait().unwrap_err();
    assert_eq!(error.code, ErrorCode::TypeClash);

    // Everybody hears the same, in the same order.
    let first = |member: &Member| member.changes.recv_timeout(PATIENCE).unwrap();
    let [one, two, three] = [&master, &clone, &frontend].map(first);
    assert_eq!(one, Change::Insert { key: address(1), value: 1, expiry: None });
    assert_eq!((&one, &one), (&two, &three));

    // The master goes, and comes back with its file.
    master.stop();
    assert_eq!(clone.store.get(&address(1)).wait(), Ok(203));
    let waiting = clone.store.increment(&address(1), &1_u64).send().unwrap();
    let master = Member::start(&cluster, "manager", create);
    assert_eq!(waiting.wait(), Ok(()));
    assert_eq!(master.store.get(&address(1)).wait(), Ok(204));
    assert_eq!(clone.store.get(&address(1)).wait(), Ok(204));
    assert_eq!(frontend.store.erase(&address(1)).wait(), Ok(()));
    wait_for("the clone has erased it", || {
        (clone.store.exists(&address(1)).wait() == Ok(false)).then_some(())
    });
}

#[test]
fn a_second_master_is_found_out() {
    let cluster = Cluster::new(NODES, "");
    let _broker = cluster.broker();
    let create = |stores: &Stores| stores.create_master("hosts", zcluster::store::Memory);
    let first = Member::start(&cluster, "manager", create);
    first.store.put(&address(1), &1).wait().unwrap();
    let second = Member::start(&cluster, "worker-1", create);
    let error = second.store.put(&address(2), &2).wait().unwrap_err();
    assert_eq!(error.code, ErrorCode::MasterExists);
    assert_eq!(first.store.keys().wait(), Ok(vec![address(1)]));
}

#[test]
fn what_is_asked_for_at_the_end_is_written_and_answered() {
    let cluster = Cluster::new(NODES, "[cluster]\ndefault_store_dir = \"{dir}\"\n");
    let _broker = cluster.broker();
    let (node, notifications) = cluster.library_node("manager");
    let stopper = Stopper::new(&node);
    let (tell, told) = mpsc::channel();
    let app = thread::spawn(move || {
        let stores = Stores::new(&node);
        let store: Store<u64, u64> = stores.create_store("hosts", true).unwrap();
        let (at_start, at_end) = (store.clone(), store.clone());
        let say = tell.clone();
        App::new()
            .with(&stores)
            .stopped_by(&stopper)
            .on_event("zeek_init", move |_, _| {
                let (say, stopper) = (tell.clone(), stopper.clone());
                at_start.put(&1, &1).then(move |result, _| {
                    say.send(result)?;
                    stopper.stop();
                    Ok(())
                });
                Ok(())
            })
            .on_event("zeek_done", move |_, _| {
                let (say, again) = (say.clone(), at_end.clone());
                at_end.put(&2, &2).then(move |result, _| {
                    say.send(result)?;
                    // This one comes too late.
                    again.put(&3, &3).then(move |result, _| Ok(say.send(result)?));
                    Ok(())
                });
                Ok(())
            })
            .run(&node, &notifications)
            .unwrap();
        node.shutdown(Duration::from_secs(1));
    });
    let next = || told.recv_timeout(PATIENCE).unwrap().map_err(|error| error.code);
    assert_eq!((next(), next()), (Ok(()), Ok(())));
    assert_eq!(next(), Err(ErrorCode::Unspecified));
    app.join().unwrap();

    let (node, _notifications) = cluster.library_node("manager");
    let stores = Stores::new(&node);
    let store: Store<u64, u64> = stores.create_store("hosts", true).unwrap();
    assert_eq!((store.local_get(&2), store.local_size()), (Ok(2), Some(2)));
    node.shutdown(Duration::from_secs(1));
}
