//! Elements that reach their age.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn table(tables: &Tables, options: Options<String, u64>) -> Table<String, u64> {
    tables.table("Demo::t", options.publish_on_change(ALL).max_batch_size(0)).unwrap()
}

fn insert(node: &mut Node, table: &Table<String, u64>, key: &'static str, value: u64) {
    let table = table.clone();
    node.act(move |context| table.insert(key.into(), value, context)).unwrap();
}

#[test]
fn old_elements_go() {
    // Assigned at 0, read at 4 s, assigned at 6 s, checked every 10 s, 12 s of age: when it goes.
    let create = Options::new().create_expire(SECOND * 12);
    let read = Options::new().read_expire(SECOND * 12);
    let write = Options::new().write_expire(SECOND * 12);
    let short_read = Options::new().read_expire(SECOND * 5);
    for (row, (options, expected)) in
        [(create, 20), (read, 20), (write, 20), (short_read, 20)].into_iter().enumerate()
    {
        let tables = Tables::new();
        let table = table(&tables, options);
        let mut node = Node::new(&tables);
        insert(&mut node, &table, "a", 1);
        node.advance(4000);
        assert_eq!(table.get("a"), Some(1));
        node.advance(2000);
        insert(&mut node, &table, "a", 2);
        node.advance(expected * 1000 - 6001);
        assert_eq!(table.len(), 1, "row {row}");
        node.changes();
        node.advance(1);
        assert_eq!(node.changes(), ["!a=2"], "row {row}");
        assert_eq!(table.counts().expired, 1);
    }
}

#[test]
fn each_kind_of_expiry_counts_from_another_moment() {
    // Assigned at 0, assigned again at 2 s, read at 4 s, 5 s of age, checked every second: the last
    // second at which it is there. An age must be exceeded.
    for (options, last) in [
        (Options::new().create_expire(SECOND * 5), 5),
        (Options::new().write_expire(SECOND * 5), 7),
        (Options::new().read_expire(SECOND * 5), 9),
    ] {
        let tables = Tables::new();
        tables.table_expire_interval(SECOND);
        let table = table(&tables, options);
        let mut node = Node::new(&tables);
        insert(&mut node, &table, "a", 1);
        node.advance(2000);
        insert(&mut node, &table, "a", 2);
        node.advance(2000);
        assert!(table.contains("a"));
        node.advance((last - 4) * 1000);
        assert_eq!(table.len(), 1, "{last}");
        node.advance(1000);
        assert_eq!(table.len(), 0, "{last}");
    }
}

#[test]
fn a_function_may_keep_change_or_remove_elements() {
    let tables = Tables::new();
    tables.table_expire_interval(SECOND);
    let asked = Rc::new(RefCell::new(Vec::new()));
    let notes = Rc::clone(&asked);
    let options = Options::new().create_expire(SECOND * 2).expire_func(
        move |table: &Table<String, u64>, key, context| {
            notes.borrow_mut().push(key.clone());
            match (key.as_str(), table.get(key)) {
                ("keep", Some(1)) => {
                    table.insert(key.clone(), 2, context).unwrap();
                    SECOND * 3
                }
                ("remove", _) => {
                    table.remove(key, context).unwrap();
                    table.insert("added".into(), 1, context).unwrap();
                    SECOND
                }
                ("panic", _) => panic!("a mistake"),
                _ => Duration::ZERO,
            }
        },
    );
    let table = table(&tables, options);
    let mut node = Node::new(&tables);
    for key in ["keep", "go", "panic", "remove"] {
        insert(&mut node, &table, key, 1);
    }
    node.changes();
    node.advance(3000);
    let mut changes = node.changes();
    changes.sort();
    assert_eq!(changes, ["!go=1", "!panic=1", "+added=1", "-remove=1", "~keep=2<1"]);
    asked.borrow_mut().sort();
    assert_eq!(*asked.borrow(), ["go", "keep", "panic", "remove"]);
    node.advance(3000);
    assert_eq!(node.changes(), ["!added=1"]);
    node.advance(1000);
    assert_eq!(node.changes(), ["!keep=2"]);
    assert!(table.is_empty());
}

#[test]
fn ages_keep_no_app_running() {
    let tables = Tables::new();
    let table = table(&tables, Options::new().create_expire(SECOND));
    let filled = table.clone();
    let app = App::new().peer_counts_as_iosource(false).with(tables).on_event(
        "zeek_init",
        move |_, context| {
            filled.insert("a".into(), 1, context)?;
            Ok(())
        },
    );
    let layout = layout(NODES);
    let harness = Harness::new(app, layout, "worker-1").unwrap();
    assert!(harness.is_done());
    assert_eq!(table.len(), 1);
}

#[test]
fn many_elements_go_in_steps() {
    let tables = Tables::new();
    tables.table_incremental_step(100);
    tables.table_expire_delay(Duration::from_millis(20));
    let table = table(&tables, Options::new().create_expire(SECOND));
    let mut node = Node::new(&tables);
    let filled = table.clone();
    node.act(move |context| {
        for key in 0..250_u64 {
            filled.insert(key.to_string(), key, context).unwrap();
        }
    });
    let mut lens = Vec::new();
    for millis in [9999, 1, 19, 1, 20, 10_000] {
        node.advance(millis);
        lens.push(table.len());
    }
    assert_eq!(lens, [250, 150, 150, 50, 0, 0]);
    assert!(!table.core.has_expiry_timer.get(), "an empty table needs no timer");
    insert(&mut node, &table, "a", 1);
    node.advance(10_000);
    assert!(table.is_empty(), "and gets one again");
}

#[test]
fn pauses_of_no_length_and_without_end_are_safe() {
    for pause in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
        let tables = Tables::new();
        tables.table_expire_interval(pause);
        tables.table_expire_delay(pause);
        let table = table(&tables, Options::new().create_expire(Duration::from_micros(1500)));
        let mut node = Node::new(&tables);
        insert(&mut node, &table, "a", 1);
        assert!(table.core.has_expiry_timer.get(), "{pause:?}");
        node.advance(1);
        assert_eq!(table.len(), 1, "{pause:?}");
        node.advance(1);
        assert_eq!(table.len(), usize::from(pause == Duration::MAX), "{pause:?}");
    }
}

#[test]
fn elements_added_in_a_turn_do_not_delay_the_next() {
    for by_hook in [false, true] {
        let tables = Tables::new();
        tables.table_incremental_step(10);
        let options = Options::new().create_expire(SECOND);
        let options = if by_hook {
            options
        } else {
            options.expire_func(|table: &Table<String, u64>, _, context| {
                table.insert("added".into(), 1, context).unwrap();
                Duration::ZERO
            })
        };
        let table = table(&tables, options);
        let mut node = Node::new(&tables);
        let filled = table.clone();
        node.act(move |context| {
            for key in 0..35_u64 {
                filled.insert(key.to_string(), key, context).unwrap();
            }
            if by_hook {
                filled.on_change(|table, _, context| {
                    table.insert("added".into(), 1, context)?;
                    Ok(())
                });
            }
        });
        let mut lens = Vec::new();
        for millis in [9999, 1, 10, 10, 10] {
            node.advance(millis);
            lens.push(table.len());
        }
        // An element that was added fills the first gap, and is too young.
        assert_eq!(lens, [35, 26, 16, 6, 1], "{by_hook}");
    }
}

#[test]
fn an_element_that_panics_holds_up_no_other() {
    #[derive(PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
    struct Key(u64);

    thread_local! { static PANICS: std::cell::Cell<bool> = const { std::cell::Cell::new(false) } }

    impl Clone for Key {
        fn clone(&self) -> Self {
            assert!(self.0 != 1 || !PANICS.get(), "a mistake");
            Key(self.0)
        }
    }

    let tables = Tables::new();
    let options = Options::new().create_expire(SECOND).publish_on_change(ALL).max_batch_size(0);
    let table = tables.set::<Key>("Demo::s", options).unwrap();
    let mut node = Node::new(&tables);
    let filled = table.clone();
    node.act(move |context| {
        for key in 0..3 {
            filled.insert(Key(key), context).unwrap();
        }
    });
    node.changes();
    PANICS.set(true);
    node.advance(20_000);
    assert_eq!(node.changes(), ["!2", "!0"]);
    PANICS.set(false);
    node.advance(10_000);
    assert_eq!(node.changes(), ["!1"]);
}

#[test]
fn what_comes_from_others_expires_here_too() {
    let tables = Tables::new();
    table(&tables, Options::new().write_expire(SECOND));
    let mut node = Node::new(&tables);
    node.receive("Demo::t", &[of(Change::New, "a", 1_u64)]);
    node.advance(10_000);
    assert_eq!(node.changes(), ["!a=1"]);
}
