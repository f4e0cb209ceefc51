//! Whole tables.

use super::*;

fn filled(tables: &Tables, options: Options<u64, String>, len: u64) -> (Node, Table<u64, String>) {
    let options = options.publish_on_change([Change::Removed]).max_batch_size(0);
    let table = tables.table("Demo::t", options).unwrap();
    let mut node = Node::new(tables);
    let fill = table.clone();
    node.act(move |context| {
        for key in 0..len {
            fill.insert(key, "x".into(), context).unwrap();
        }
    });
    assert_eq!(node.changes(), [""; 0]);
    (node, table)
}

#[test]
fn a_whole_table_is_sent_in_batches() {
    let tables = Tables::new();
    let (mut node, table) = filled(&tables, Options::new(), 5);
    let sent = table.clone();
    node.act(move |context| sent.publish_table("demo.t", 2, context));
    assert_eq!(node.published(), [("demo.t".into(), "+4=x +3=x".into())]);
    // Changes go between.
    let changed = table.clone();
    node.act(move |context| {
        changed.remove(&4, context).unwrap();
        changed.remove(&0, context).unwrap();
        changed.insert(1, "y".into(), context).unwrap();
    });
    assert_eq!(node.changes(), ["-4=x", "-0=x"]);
    node.advance(1);
    assert_eq!(node.changes(), ["+2=x +1=y"]);
    node.advance(1000);
    // The last element has filled the gap.
    assert_eq!(node.changes(), ["+3=x"]);
    assert_eq!(table.counts().published, 7);
}

#[test]
fn events_are_bounded_in_bytes() {
    let tables = Tables::new();
    let (mut node, table) = filled(&tables, Options::new(), 0);
    let sent = table.clone();
    node.act(move |context| {
        for key in 0..20 {
            sent.insert(key, "x".repeat(300_000), context).unwrap();
        }
        sent.publish_table("t", PUBLISH_TABLE_BATCH_SIZE, context);
    });
    node.advance(1000);
    let sizes: Vec<usize> = node
        .harness
        .published()
        .iter()
        .map(|p| p.event.args[1].as_vector().unwrap().len())
        .collect();
    assert_eq!(sizes, [4, 4, 4, 4, 4]);
    let empty = Tables::new();
    let (mut node, table) = filled(&empty, Options::new(), 0);
    node.act(move |context| table.publish_table("t", 0, context));
    assert_eq!(node.changes(), [""; 0], "an empty table is no event");
}

#[test]
fn new_nodes_are_sent_the_table() {
    let tables = Tables::new();
    let options = Options::new().publish_to_new_nodes(|name| name != "worker-2");
    let (mut node, _) = filled(&tables, options, 2);
    node.harness.node_up("worker-2", "w2");
    assert_eq!(node.changes(), [""; 0]);
    node.harness.node_up("manager", "m1");
    let expected = [("zeek.cluster.nodeid.m1.".to_owned(), "+1=x +0=x".to_owned())];
    assert_eq!(node.published(), expected);
}

#[test]
fn a_table_without_the_attribute_is_not_sent() {
    let tables = Tables::new();
    let options = Options::new().publish_to_new_nodes(|_| true);
    let table = tables.table::<String, u64>("Demo::t", options).unwrap();
    let mut node = Node::new(&tables);
    node.act(move |context| table.insert("a".into(), 1, context)).unwrap();
    node.harness.node_up("manager", "m1");
    assert_eq!(node.changes(), [""; 0]);
}

/// A topic, and how many elements an event has.
fn sizes(published: &[Published]) -> Vec<(String, usize)> {
    let size = |event: &Event| event.args[1].as_vector().unwrap().len();
    published.iter().map(|p| (p.topic.to_string(), size(&p.event))).collect()
}

#[test]
fn a_node_is_sent_one_table_at_a_time() {
    let tables = Tables::new();
    let options = Options::new().publish_to_new_nodes(|_| true);
    let (mut node, _) = filled(&tables, options, 25_000);
    let topic = |id: &str| format!("zeek.cluster.nodeid.{id}.");
    // The same process over and over, then others of that name, then another node.
    for id in ["m1", "m1", "m1", "m2", "m3"] {
        node.harness.node_up("manager", id);
    }
    node.harness.node_up("proxy-1", "p1");
    assert_eq!(sizes(&node.harness.published()), [(topic("m1"), 10_000)]);
    node.advance(100);
    let expected: Vec<(String, usize)> = ["m3", "p1"]
        .into_iter()
        .flat_map(|id| [10_000, 10_000, 5_000].map(|size| (topic(id), size)))
        .collect();
    assert_eq!(sizes(&node.harness.published()), expected);
    // One event per pause.
    node.harness.node_up("manager", "m4");
    node.harness.node_up("proxy-1", "p2");
    node.advance(1);
    let published = sizes(&node.harness.published());
    assert_eq!(published, [(topic("m4"), 10_000), (topic("m4"), 10_000)]);
    // Nothing is sent to a process that is gone; of another one, nothing is known here.
    node.harness.node_down("proxy-1", "p1");
    node.harness.node_down("manager", "m4");
    node.advance(1);
    assert_eq!(sizes(&node.harness.published()), [(topic("p2"), 10_000)]);
    node.harness.node_down("proxy-1", "p2");
    node.advance(100);
    assert_eq!(node.changes(), [""; 0]);
    node.harness.node_up("proxy-1", "p3");
    assert_eq!(sizes(&node.harness.published()), [(topic("p3"), 10_000)], "it starts again");
}

#[test]
fn a_topic_that_is_asked_for_again_gets_all_again() {
    let tables = Tables::new();
    let (mut node, table) = filled(&tables, Options::new(), 3);
    node.act(move |context| {
        for _ in 0..5 {
            table.publish_table("t", 2, context);
        }
    });
    node.advance(100);
    assert_eq!(node.changes(), ["+2=x +1=x", "+0=x", "+2=x +1=x", "+0=x"]);
}

#[test]
fn nothing_is_left_at_the_end() {
    let tables = Tables::new();
    let options = || Options::new().publish_on_change(ALL);
    let under_way = tables.table::<u64, u64>("Demo::under_way", options()).unwrap();
    let late = tables.table::<u64, u64>("Demo::late", options()).unwrap();
    let layout = layout(NODES);
    let (at_done, after_done, last) = (under_way.clone(), late.clone(), late.clone());
    let app = App::new()
        .with(tables)
        .on_event("zeek_init", move |_, context| {
            for key in 0..5 {
                under_way.insert(key, 0, context)?;
            }
            under_way.publish_table("init", 2, context);
            Ok(())
        })
        .on_event("zeek_done", move |_, context| {
            at_done.publish_table("done", 2, context);
            context.raise(&Event::new("after", vec![]))?;
            Ok(())
        })
        .on_event("after", move |_, context| {
            for key in 0..3 {
                after_done.insert(key, 1, context)?;
            }
            after_done.publish_table("after", 2, context);
            Ok(())
        })
        .on_any(move |event, context| {
            if event.name == "zeek_done" {
                last.insert(9, 9, context)?;
            }
            Ok(())
        });
    let mut harness = Harness::new(app, layout, "worker-1").unwrap();
    harness.published();
    let mut sent = std::collections::BTreeMap::<String, Vec<String>>::new();
    for published in harness.stop() {
        let (topic, changes) = text(&published);
        sent.entry(topic).or_default().push(changes);
    }
    let sent: Vec<(&str, String)> = sent.iter().map(|(t, c)| (&**t, c.join("; "))).collect();
    let expected = [
        ("after", "+2=1 +1=1; +0=1 +9=9"),
        ("done", "+4=0 +3=0; +2=0 +1=0; +0=0"),
        ("init", "+2=0 +1=0; +0=0"),
        ("zeek/table/Demo::late/", "+9=9; +0=1; +1=1; +2=1"),
        ("zeek/table/Demo::under_way/", "+1=0 +2=0 +3=0 +4=0"),
    ];
    assert_eq!(sent, expected.map(|(topic, changes)| (topic, changes.to_owned())));
    assert_eq!(late.counts().unpublished, 0);
}
