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
