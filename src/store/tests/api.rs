//! Stores as programs see them, in a harness.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::command;
use crate::Value;
use crate::app::{App, Harness};
use crate::event::ToEvent;
use crate::peers::ErrorCode;
use crate::store::operation::Operation;
use crate::store::protocol::{Command, Request, Status};
use crate::store::{Change, Entry, Expiry, Memory, Store, StoreError, Stores};
use crate::testing::layout;
use crate::value::Address;

fn start(stores: &Stores, name: &str) -> Harness {
    let layout = layout(&[("manager", "manager"), ("worker-1", "worker")]);
    Harness::new(App::new().with(stores), layout, name).unwrap()
}

fn stores(name: &str) -> Stores {
    Stores::for_harness(layout(&[("manager", "manager"), ("worker-1", "worker")]), name)
}

type Results<T> = Rc<RefCell<Vec<Result<T, StoreError>>>>;

/// Collects results.
fn into<T: 'static>(
    results: &Results<T>,
) -> impl FnOnce(Result<T, StoreError>, &mut crate::app::Context<'_>) -> crate::app::Outcome + 'static
{
    let results = Rc::clone(results);
    move |result, _| {
        results.borrow_mut().push(result);
        Ok(())
    }
}

#[test]
fn the_master_answers_its_own_process() {
    let stores = stores("manager");
    let hosts: Store<Address, u64> = stores.create_store("hosts", false).unwrap();
    assert!(hosts.is_master());
    let changes = Rc::new(RefCell::new(Vec::new()));
    hosts.watch({
        let changes = Rc::clone(&changes);
        move |change, _| {
            changes.borrow_mut().push(change);
            Ok(())
        }
    });
    let mut harness = start(&stores, "manager");
    let a: Address = "192.0.2.1".parse().unwrap();
    let (put, got) = (Results::default(), Results::default());
    hosts.put(&a, &1).then(into(&put));
    hosts.increment(&a, &4_u64).expires(Expiry::after(Duration::from_secs(60))).then(into(&put));
    hosts.get(&a).then(into(&got));
    harness.advance(Duration::from_millis(900));
    assert!(put.borrow().is_empty(), "another master may be there");
    harness.advance(Duration::from_millis(200));
    assert_eq!(*put.borrow(), [Ok(()), Ok(())]);
    assert_eq!(*got.borrow(), [Ok(5)]);
    assert_eq!(hosts.local_get(&a), Ok(5));
    assert_eq!(hosts.local_size(), Some(1));
    let [Entry { key, value: 5, expiry: Some(_) }] = hosts.local_entries().unwrap()[..] else {
        panic!("{:?}", hosts.local_entries())
    };
    assert_eq!(key, a);
    harness.advance(Duration::from_secs(60));
    assert_eq!(hosts.local_get(&a), Err(ErrorCode::NoSuchKey.into()));
    assert_eq!(changes.borrow().len(), 3);
    assert_eq!(changes.borrow()[0], Change::Insert { key: a, value: 1, expiry: None });
    assert!(matches!(
        changes.borrow()[1],
        Change::Update { old: Some(1), value: 5, expiry: Some(_), .. }
    ));
    assert_eq!(changes.borrow()[2], Change::Expire { key: a });
}

#[test]
fn without_a_master_commands_fail_in_time() {
    let stores = stores("worker-1");
    let clone: Store<u64, u64> = stores.create_store("hosts", false).unwrap();
    let mut harness = start(&stores, "worker-1");
    let (put, got) = (Results::default(), Results::default());
    clone.put(&1, &1).then(into(&put));
    clone.put(&1, &1).timeout(Duration::from_secs(1)).then(into(&put));
    clone.get(&1).then(into(&got));
    assert_eq!(clone.local_get(&1), Err(ErrorCode::NoSuchMaster.into()));
    assert_eq!(clone.local_entries(), Err(ErrorCode::NoSuchMaster.into()));
    harness.advance(Duration::from_secs(2));
    assert_eq!(*put.borrow(), [Err(ErrorCode::NoSuchMaster.into())]);
    harness.advance(Duration::from_secs(9));
    assert_eq!(*got.borrow(), [Err(ErrorCode::NoSuchMaster.into())]);
    harness.advance(Duration::from_secs(110));
    assert_eq!(put.borrow().len(), 2, "changes wait for clone_mutation_buffer_interval");
}

#[test]
fn a_file_that_is_no_store_is_an_error_at_once() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("hosts.sqlite"), "1.2.3.4\n").unwrap();
    let sections = format!("[cluster]\ndefault_store_dir = {:?}\n", dir.path());
    let layout = crate::testing::layout_with(&sections, &[("manager", "manager")]);
    let stores = Stores::for_harness(layout, "manager");
    let error = stores.create_store::<u64, u64>("hosts", true).unwrap_err();
    assert_eq!(error.code, ErrorCode::CannotOpenFile);
    assert!(error.text.ends_with("hosts.sqlite: it is not a SQLite database"), "{error}");
    let hosts = stores.create_store::<u64, u64>("zeek/known/hosts", true).unwrap();
    assert!(hosts.is_master() && dir.path().join("zeek/known/hosts.sqlite").is_file());
}

#[test]
fn a_store_that_was_closed_can_be_created_again() {
    let stores = stores("manager");
    let first: Store<u64, u64> = stores.create_master("s", Memory).unwrap();
    let app = App::new().with(&stores).on_event("Demo::close", {
        let first = first.clone();
        move |_, context| {
            first.close(context);
            Ok(())
        }
    });
    let layout = layout(&[("manager", "manager")]);
    let mut harness = Harness::new(app, layout, "manager").unwrap();
    harness.advance(Duration::from_secs(2));
    let put = Results::default();
    first.put(&1, &1).then(into(&put));
    harness.advance(Duration::ZERO);
    assert_eq!(*put.borrow(), [Ok(())]);
    assert!(harness.subscriptions().iter().any(|topic| topic == "zcluster.store.s.master"));
    harness.published();

    harness.receive("demo", "x", &crate::Event::new("Demo::close", vec![]));
    assert!(!harness.subscriptions().iter().any(|topic| topic.starts_with(b"zcluster.store.s.")));
    let goodbye = harness.published().pop().unwrap();
    assert_eq!(
        (goodbye.topic.to_string(), goodbye.event.args.get(3)),
        ("zcluster.store.s.status".into(), Some(&false.into()))
    );
    first.put(&1, &1).then(into(&put));
    harness.advance(Duration::ZERO);
    assert_eq!(put.borrow()[1].as_ref().unwrap_err().code, ErrorCode::Unspecified);

    let second: Store<u64, u64> = stores.create_master("s", Memory).unwrap();
    second.put(&2, &2).then(into(&put));
    harness.advance(Duration::from_secs(2));
    assert_eq!((put.borrow().len(), put.borrow().last().cloned()), (3, Some(Ok(()))));
}

#[test]
fn a_process_has_a_store_once() {
    let stores = stores("manager");
    let _master: Store<u64, u64> = stores.create_master("s", Memory).unwrap();
    let code = |result: Result<Store<u64, u64>, StoreError>| result.unwrap_err().code;
    assert_eq!(code(stores.create_master("s", Memory)), ErrorCode::MasterExists);
    assert!(stores.create_clone::<u64, u64>("s").unwrap().is_master());
    assert!(stores.create_frontend::<u64, u64>("s").unwrap().is_master());
    stores.create_frontend::<u64, u64>("t").unwrap();
    assert_eq!(code(stores.create_clone("t")), ErrorCode::MasterExists);
    assert_eq!(code(stores.create_clone("a b")), ErrorCode::InvalidData);
}

#[test]
fn messages_count_on_their_own_topics_only() {
    let stores = stores("manager");
    let store: Store<Value, Value> = stores.create_master("s", Memory).unwrap();
    let mut harness = start(&stores, "manager");
    harness.advance(Duration::from_secs(2));
    let put = command(Operation::Put, "k", vec![1_u64.into()]);
    let put = Command { id: 1, ..put };
    let request = Request { store: "s".into(), client: 1, oldest: 1, commands: vec![put] };
    let request = request.to_event().unwrap().into_owned();
    let own =
        harness.published().into_iter().find(|one| one.event.name == "ZCluster::store_status");
    let answers = own.unwrap().event.args[1].as_count().unwrap();
    let open = Status { store: "s".into(), epoch: 1, sequence: 0, is_open: true, answers };
    let open = open.to_event().unwrap().into_owned();
    for topic in ["demo.x", "zcluster.store.s.status", "zcluster.store.s.masters"] {
        harness.receive(topic, "somebody", &request);
    }
    harness.receive("zcluster.store.s.master", "somebody", &open);
    assert_eq!((store.local_size(), store.is_master()), (Some(0), true));
    harness.receive("zcluster.store.s.master", "somebody", &request);
    assert_eq!(store.local_size(), Some(1));
    harness.receive("zcluster.store.s.status", "somebody", &open);
    assert!(!store.is_master(), "there is an earlier one");
}
