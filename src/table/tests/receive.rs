//! What others publish (WIRE.md §8.7).

use proptest::prelude::*;

use super::*;
use crate::value::{Address, from_value, to_value};

const NONE: Value = Value::None;

type Content = &'static [(&'static str, u64)];

fn table() -> (Tables, Table<String, u64>) {
    let tables = Tables::new();
    let options = Options::new().publish_on_change(ALL).max_batch_size(0).max_entries(3);
    let table = tables.table("Demo::t", options).unwrap();
    (tables, table)
}

#[test]
fn changes_are_applied_in_order_or_skipped() {
    use Change::{Changed, Expired, New, Removed};
    let key = |key: &str| [Value::from(key)];
    let with_previous = |change| info(change, &key("a"), 1_u64.into(), 0_u64.into());
    let two = [Value::from("a"), "b".into()];
    // What arrives for a table with a=0, what it has then, and how much was skipped or refused.
    let rows: Vec<(Vec<TableChangeInfo>, Content, u64)> = vec![
        (vec![of(New, "b", 1_u64)], &[("a", 0), ("b", 1)], 0),
        (vec![of(New, "a", 1_u64)], &[("a", 1)], 0),
        (vec![of(Changed, "a", 1_u64)], &[("a", 1)], 0),
        (vec![of(Changed, "b", 1_u64)], &[("a", 0), ("b", 1)], 0),
        (vec![with_previous(Changed)], &[("a", 1)], 0),
        (vec![of(Removed, "a", NONE)], &[], 0),
        (vec![of(Removed, "a", 7_u64)], &[], 0),
        (vec![of(Expired, "a", 7_u64)], &[], 0),
        (vec![of(Removed, "b", 7_u64)], &[("a", 0)], 0),
        // A removed element is not looked at.
        (vec![of(Removed, "a", "text")], &[], 0),
        (vec![of(Removed, "a", NONE), of(New, "a", 5_u64)], &[("a", 5)], 0),
        (vec![of(New, "b", 1_u64), of(Removed, "b", NONE)], &[("a", 0)], 0),
        // Previous values.
        (vec![with_previous(New), of(New, "b", 1_u64)], &[("a", 0), ("b", 1)], 1),
        (vec![with_previous(Removed)], &[("a", 0)], 1),
        (vec![with_previous(Expired)], &[("a", 0)], 1),
        // Other types.
        (vec![of(New, "b", NONE)], &[("a", 0)], 1),
        (vec![of(New, "b", -1_i64), of(New, "c", 1_u64)], &[("a", 0), ("c", 1)], 1),
        (vec![info(New, &[7_u64.into()], 1_u64.into(), NONE)], &[("a", 0)], 1),
        (vec![info(New, &[], 1_u64.into(), NONE)], &[("a", 0)], 1),
        (vec![info(Removed, &two, NONE, NONE)], &[("a", 0)], 1),
        // Full.
        (
            vec![
                of(New, "b", 1_u64),
                of(New, "c", 2_u64),
                of(New, "d", 3_u64),
                of(New, "a", 4_u64),
            ],
            &[("a", 4), ("b", 1), ("c", 2)],
            1,
        ),
    ];
    for (row, (infos, expected, lost)) in rows.into_iter().enumerate() {
        let (tables, table) = table();
        let mut node = Node::new(&tables);
        node.receive("Demo::t", &[of(New, "a", 0_u64)]);
        node.receive("Demo::t", &infos);
        let expected: Vec<(String, u64)> =
            expected.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect();
        assert_eq!(content(&table), expected, "row {row}");
        let counts = table.counts();
        assert_eq!(counts.skipped + counts.refused, lost, "row {row}");
        assert_eq!(counts.applied, 1 + infos.len() as u64 - lost, "row {row}");
        node.advance(1000);
        assert_eq!(node.changes(), [""; 0], "row {row}: what was applied is not published");
    }
}

#[test]
fn sets_take_no_values() {
    let tables = Tables::new();
    let set =
        tables.set::<Address>("Demo::s", Options::new().publish_on_change([Change::New])).unwrap();
    let mut node = Node::new(&tables);
    let address: Address = "192.0.2.1".parse().unwrap();
    let change = |change, value| info(change, &[address.into()], value, NONE);
    node.receive("Demo::s", &[change(Change::New, true.into())]);
    assert!(set.is_empty());
    node.receive("Demo::s", &[change(Change::New, NONE)]);
    assert!(set.contains(&address));
    node.receive("Demo::s", &[change(Change::Removed, true.into())]);
    assert!(set.contains(&address));
    node.receive("Demo::s", &[change(Change::Changed, NONE), change(Change::Removed, NONE)]);
    assert!(set.is_empty());
    assert_eq!(set.counts().skipped, 2);
}

#[test]
fn what_is_not_for_a_table_here_is_ignored() {
    let (tables, table) = table();
    let local = tables.table::<String, u64>("Demo::local", Options::new()).unwrap();
    let mut node = Node::new(&tables);
    let new = [of(Change::New, "a", 1_u64)];
    node.receive("Demo::unknown", &new);
    node.receive("Demo::local", &new);
    let event = |node_id: &str, args: Option<Vec<Value>>| {
        let header =
            TableChangeHeader { id: "Demo::t".into(), ts: Timestamp(0), node_id: node_id.into() };
        let infos = TableChangeInfos { header, infos: new.to_vec() };
        let mut event = crate::ToEvent::to_event(&infos).unwrap().into_owned();
        event.args = args.unwrap_or(event.args);
        event
    };
    node.harness.receive("zeek/table/", "me", &event("me", None));
    assert_eq!((table.len(), local.len(), node.harness.misfits()), (0, 0, 0));
    // Other shapes.
    let header = || event("other", None).args[0].clone();
    let unknown = Value::enum_value("TABLE_ELEMENT_LOST");
    let short = Value::from(vec![Value::enum_value("TABLE_ELEMENT_NEW")]);
    let row = vec![unknown, Timestamp(0).into(), vec!["a".into()].into(), 1_u64.into(), NONE];
    for args in [
        vec![],
        vec![header()],
        vec![header(), "x".into()],
        vec![NONE, Value::Vector(vec![])],
        vec![header(), Value::Vector(vec![row.into()])],
        vec![header(), Value::Vector(vec![short])],
    ] {
        let misfits = node.harness.misfits();
        node.harness.receive("zeek/table/", "other", &event("other", Some(args.clone())));
        assert_eq!(node.harness.misfits(), misfits + 1, "{args:?}");
    }
    assert_eq!(table.len(), 0);
    node.harness.receive("zeek/table/", "other", &event("other", None));
    assert_eq!(table.get("a"), Some(1));
}

#[test]
fn tables_of_any_type_take_what_comes() {
    let tables = Tables::new();
    let options = Options::new().publish_on_change(ALL).max_batch_size(0);
    let table = tables.table::<Value, Value>("Demo::any", options).unwrap();
    let mut node = Node::new(&tables);
    let index = [Value::from("a"), 1_u64.into()];
    let record = || Value::from(vec![true.into(), NONE]);
    node.receive("Demo::any", &[info(Change::New, &index, record(), NONE)]);
    node.receive("Demo::any", &[info(Change::New, &index[..1], 1_u64.into(), NONE)]);
    assert_eq!(table.get(&Value::from(index.to_vec())), Some(record()));
    assert_eq!(table.get(&Value::from("a")), Some(1_u64.into()));
    let removed = table.clone();
    node.act(move |context| removed.clear(context)).unwrap();
    let published = node.harness.published();
    let first = TableChangeInfos::from_event(&published[0].event).unwrap().infos;
    assert_eq!(
        first,
        [TableChangeInfo { ts: first[0].ts, ..info(Change::Removed, &index, record(), NONE) }]
    );
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(NONE),
        any::<bool>().prop_map(Value::from),
        (0..3_u64).prop_map(Value::from),
        "[ab]?".prop_map(Value::from),
        prop::sample::select(&["TABLE_ELEMENT_NEW", "TABLE_ELEMENT_REMOVED", "X"][..])
            .prop_map(Value::enum_value),
        any::<i64>().prop_map(|time| Timestamp(time).into()),
    ];
    leaf.prop_recursive(3, 20, 5, |inner| {
        prop::collection::vec(inner, 0..6).prop_map(Value::Vector)
    })
}

/// Rows that are nearly right.
fn rows() -> impl Strategy<Value = Value> {
    let change = prop::sample::select(&ALL[..]).prop_map(|change| to_value(&change).unwrap());
    let row =
        (change, values(), values(), values()).prop_map(|(change, index, value, previous)| {
            let index = Value::from(vec![index]);
            Value::from(vec![change, Timestamp(0).into(), index, value, previous])
        });
    prop::collection::vec(prop_oneof![9 => row, 1 => values()], 0..6).prop_map(Value::Vector)
}

proptest! {
    #[test]
    fn whatever_comes_does_no_harm(args in prop::collection::vec(
        prop_oneof![3 => rows(), 1 => values()], 1..3,
    )) {
        let (tables, table) = table();
        let any = tables
            .table::<Value, Value>("Demo::any", Options::new().publish_on_change(ALL))
            .unwrap();
        let mut node = Node::new(&tables);
        for id in ["Demo::t", "Demo::any"] {
            let header = vec![id.into(), Timestamp(0).into(), "other".into()].into();
            let args = [vec![header], args.clone()].concat();
            let event = Event::new("Cluster::table_change_infos", args);
            node.harness.receive("zeek/table/", "other", &event);
        }
        any.for_each(|_, value| assert_ne!(*value, NONE));
        prop_assert!(table.len() <= 3);
        // It still works.
        table.for_each(|key, value| {
            assert_eq!(from_value::<String>(to_value(key).unwrap()).unwrap(), *key);
            assert_eq!(table.get(key), Some(*value));
        });
        node.receive("Demo::t", &[of(Change::Removed, "", NONE), of(Change::Removed, "a", NONE)]);
        node.receive("Demo::t", &[of(Change::New, "a", 9_u64)]);
        prop_assert_eq!(table.get("a"), Some(9));
    }
}
