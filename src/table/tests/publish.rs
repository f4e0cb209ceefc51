//! What is published, where and when.

use bstr::BString;

use super::*;
use crate::value::{Address, Port, Protocol};
use crate::wire::broker_bin;

/// WIRE.md §8.7.
#[test]
fn the_example_has_these_bytes() {
    let tables = Tables::new();
    let hosts = tables
        .set::<Address>("Demo::hosts", Options::new().publish_on_change([Change::New]))
        .unwrap();
    let id = "zeromq_worker-1_host1_4242_NwrZBf1q3FkxySjt2a";
    let mut node = Node::named(&tables, "worker-1", id);
    node.harness.set_time(Timestamp(1_767_225_600_250_000_000));
    let new = node.act(move |context| hosts.insert("192.0.2.1".parse().unwrap(), context));
    assert_eq!(new, Ok(true));
    let published = node.harness.published();
    assert_eq!(published[0].topic, "zeek/table/Demo::hosts/");
    let mut bytes = Vec::new();
    broker_bin::encode_event(&published[0].event, &mut bytes);
    let time: &[u8] = b"\x09\x18\x86\x72\x51\xfc\xe0\xb2\x80";
    let expected = [
        b"\x0e\x03\x02\0\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x01",
        b"\x0e\x02\x05\x1bCluster::table_change_infos\x0e\x02".as_slice(),
        b"\x0e\x03\x05\x0bDemo::hosts",
        time,
        b"\x05\x2dzeromq_worker-1_host1_4242_NwrZBf1q3FkxySjt2a",
        b"\x0e\x01\x0e\x05\x0b\x11TABLE_ELEMENT_NEW",
        time,
        b"\x0e\x01\x06\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\x02\x01\0\0",
    ]
    .concat();
    assert_eq!(expected.len(), 177);
    assert_eq!(bytes, expected);
}

#[test]
fn only_wanted_changes_are_published() {
    for (wanted, expected) in [
        (vec![Change::New], "+a=1"),
        (vec![Change::Changed], "~a=2<1"),
        (vec![Change::Removed], "-a=2"),
        (vec![Change::Removed, Change::New], "+a=1 -a=2"),
        (ALL.to_vec(), "+a=1 ~a=2<1 -a=2"),
    ] {
        let tables = Tables::new();
        let options = Options::new().publish_on_change(wanted);
        let table = tables.table::<String, u64>("Demo::t", options).unwrap();
        let mut node = Node::new(&tables);
        let outcome = node.act(move |context| {
            [
                table.insert("a".into(), 1, context),
                table.insert("a".into(), 2, context),
                table.remove("a", context),
                table.remove("a", context),
            ]
        });
        assert_eq!(outcome, [Ok(None), Ok(Some(1)), Ok(Some(2)), Ok(None)]);
        node.advance(10);
        assert_eq!(node.changes().join(" "), expected);
    }
}

#[test]
fn sets_have_no_values() {
    let tables = Tables::new();
    let options = || Options::new().publish_on_change(ALL).max_batch_size(0);
    let set = tables.set::<(Address, Port)>("Demo::s", options()).unwrap();
    let key = || ("192.0.2.1".parse().unwrap(), Port::new(53, Protocol::Udp));
    let mut node = Node::new(&tables);
    let outcome = node.act(move |context| {
        let inserted = [set.insert(key(), context), set.insert(key(), context)];
        (inserted, set.contains(&key()), set.remove(&key(), context), set.is_empty())
    });
    assert_eq!(outcome, ([Ok(true), Ok(false)], true, Ok(true), true));
    let index = "192.0.2.1,53/udp";
    let expected = [format!("+{index}"), format!("~{index}"), format!("-{index}")];
    assert_eq!(node.changes(), expected);
}

#[test]
fn changes_wait_for_a_batch_to_be_full_or_old() {
    let tables = Tables::new();
    let options = Options::new().publish_on_change(ALL).max_batch_size(3);
    let table = tables.table::<String, u64>("Demo::t", options).unwrap();
    let mut node = Node::new(&tables);
    let insert = |node: &mut Node, keys: std::ops::Range<u64>| {
        let table = table.clone();
        node.act(move |context| {
            keys.for_each(|key| _ = table.insert(key.to_string(), key, context).unwrap());
        });
        node.changes()
    };
    assert_eq!(insert(&mut node, 0..6), ["+0=0", "+1=1 +2=2 +3=3"], "the first goes out at once");
    node.advance(9);
    assert_eq!(node.changes(), [""; 0]);
    node.advance(1);
    assert_eq!(node.changes(), ["+4=4 +5=5"]);
    node.advance(11);
    assert_eq!(insert(&mut node, 6..8), ["+6=6"]);
    let rest = node.harness.stop();
    let rest: Vec<String> = rest.iter().map(|published| text(published).1).collect();
    assert_eq!(rest, ["+7=7"], "nothing is lost at the end");
    assert_eq!(table.counts().published, 8);
}

#[test]
fn a_full_batch_starts_the_delay_anew() {
    let tables = Tables::new();
    let options = Options::new().publish_on_change(ALL).max_batch_size(3);
    let table = tables.table::<String, u64>("Demo::t", options).unwrap();
    let mut node = Node::new(&tables);
    let insert = |node: &mut Node, keys: std::ops::Range<u64>| {
        let table = table.clone();
        node.act(move |context| {
            keys.for_each(|key| _ = table.insert(key.to_string(), key, context).unwrap());
        });
        node.changes()
    };
    assert_eq!(insert(&mut node, 0..2), ["+0=0"]);
    node.advance(5);
    assert_eq!(insert(&mut node, 2..5), ["+1=1 +2=2 +3=3"]);
    // The timer of the first batch is gone, and another one is due 10 ms after the second.
    node.advance(9);
    assert_eq!(node.changes(), [""; 0]);
    node.advance(1);
    assert_eq!(node.changes(), ["+4=4"]);
}

#[test]
fn topics_are_fixed_or_of_a_key() {
    let tables = Tables::new();
    let options = || Options::new().publish_on_change(ALL).max_batch_size(4);
    let fixed = tables.table::<String, u64>("Demo::fixed", options().topic("demo.t")).unwrap();
    let per_key = options().topic_with(|key: &String, context| match key.as_str() {
        "none" => None,
        "panic" => panic!("a mistake"),
        "pool" => context.hrw_topic("zeek.cluster.pool.proxy", key.as_bytes()),
        _ => Some(BString::from(format!("demo.{key}"))),
    });
    let per_key = tables.table::<String, u64>("Demo::per_key", per_key).unwrap();
    let (changed, counted) = (per_key.clone(), per_key);
    let mut node = Node::new(&tables);
    node.harness.node_up("proxy-1", "p1");
    let outcome = node.act(move |context| {
        fixed.insert("x".into(), 1, context)?;
        for key in ["a", "b", "a", "none", "pool", "panic", "b"] {
            changed.insert(key.into(), 1, context)?;
        }
        Ok::<(), TableError>(())
    });
    assert_eq!(outcome, Ok(()));
    let published = node.published();
    let published: Vec<(&str, &str)> = published.iter().map(|(t, c)| (&**t, &**c)).collect();
    let proxy = "zeek.cluster.node.proxy-1.";
    let batch = [("demo.a", "~a=1<1"), ("demo.b", "+b=1 ~b=1<1"), (proxy, "+pool=1")];
    assert_eq!(published, [&[("demo.t", "+x=1"), ("demo.a", "+a=1")], &batch[..]].concat());
    assert_eq!((counted.counts().published, counted.counts().unpublished), (5, 2));
}

#[test]
fn a_table_without_the_attribute_stays_here() {
    let tables = Tables::new();
    let table = tables.table::<String, u64>("Demo::t", Options::new()).unwrap();
    let mut node = Node::new(&tables);
    let local = table.clone();
    node.act(move |context| local.insert("a".into(), 1, context)).unwrap();
    node.advance(1000);
    assert_eq!(node.changes(), [""; 0]);
    node.receive("Demo::t", &[of(Change::New, "b", 2_u64)]);
    assert_eq!(content(&table), [("a".into(), 1)]);
}

#[test]
fn mistakes_are_named_and_change_nothing() {
    let tables = Tables::new();
    let options = Options::new;
    tables.set::<u64>("Demo::s", options()).unwrap();
    let error = |outcome: Result<(), TableError>| outcome.unwrap_err().to_string();
    let duplicate = tables.set::<u64>("Demo::s", options()).map(drop);
    assert_eq!(error(duplicate), "there is a table Demo::s already: clone its handle");
    assert!(tables.set::<u64>("", options()).is_err());
    let no_changes = tables.set::<u64>("Demo::n", options().publish_on_change([])).map(drop);
    assert_eq!(
        error(no_changes),
        "table Demo::n: publish_on_change needs at least one change, for example Change::New"
    );

    let published = || Options::new().publish_on_change(ALL).max_entries(1);
    let table = tables.table::<u64, Option<u64>>("Demo::t", published()).unwrap();
    let keys = tables.table::<Option<i128>, u64>("Demo::k", Options::new().publish_on_change(ALL));
    let (changed, keys) = (table.clone(), keys.unwrap_or_else(|error| panic!("{error}")));
    let mut node = Node::new(&tables);
    let errors = node.act(move |context| {
        let mut errors = vec![changed.insert(1, None, context).map(drop)];
        changed.insert(1, Some(1), context).unwrap();
        errors.push(changed.insert(2, Some(2), context).map(drop));
        errors.push(keys.insert(Some(1), 1, context).map(drop));
        assert!(keys.is_empty());
        let mut inside = Ok(());
        changed.for_each(|_, _| inside = changed.insert(1, Some(2), context).map(drop));
        errors.push(inside);
        errors
    });
    let errors: Vec<String> = errors.into_iter().map(error).collect();
    assert_eq!(
        errors,
        [
            "table Demo::t: expected a value, found none; for keys only, use a set",
            "table Demo::t is full: max_entries is 1",
            "table Demo::k: key: i128 has no form in Zeek",
            "table Demo::t cannot change while `with` or `for_each` reads it",
        ]
    );
    assert_eq!((table.len(), table.get(&1)), (1, Some(Some(1))));
}

#[test]
fn keys_of_any_type_that_are_no_index_are_refused() {
    let tables = Tables::new();
    let table = tables.table::<Value, u64>("Demo::any", removals()).unwrap();
    let mut node = Node::new(&tables);
    let changed = table.clone();
    let errors = node.act(move |context| {
        [vec![], vec![5_u64.into()]]
            .map(|key| changed.insert(Value::Vector(key), 1, context).unwrap_err().to_string())
    });
    assert_eq!(
        errors,
        [
            "table Demo::any: key: expected an index of 1, found 0 elements",
            "table Demo::any: key: a vector of one component is no key: use the component",
        ]
    );
    // What others call [5] is 5 here.
    node.receive("Demo::any", &[info(Change::New, &[5_u64.into()], 1_u64.into(), Value::None)]);
    let changed = table.clone();
    node.act(move |context| {
        assert_eq!(changed.insert(5_u64.into(), 2, context), Ok(Some(1)));
        let nested = || Value::from(vec![vec![5_u64.into()].into()]);
        assert_eq!(changed.insert(nested(), 3, context), Ok(None));
        assert_eq!(changed.remove(&nested(), context), Ok(Some(3)));
    });
    assert_eq!(table.len(), 1);
}

/// A value that arrives, and that has no form to be sent.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
struct OneWay(u64);

impl serde::Serialize for OneWay {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("only one way"))
    }
}

fn removals<K, V>() -> Options<K, V> {
    Options::new().publish_on_change([Change::Removed, Change::Expired])
}

#[test]
fn what_gets_into_a_table_can_leave_it() {
    let tables = Tables::new();
    let table = tables.table::<u64, Option<u64>>("Demo::t", removals()).unwrap();
    let keys = tables.set::<Option<u64>>("Demo::k", removals()).unwrap();
    let ages = removals().create_expire(Duration::from_secs(1)).max_batch_size(0);
    let one_way = tables.table::<u64, OneWay>("Demo::o", ages).unwrap();
    let mut node = Node::new(&tables);
    for key in 0..3_u64 {
        let new = info(Change::New, &[key.into()], key.into(), Value::None);
        node.receive("Demo::o", &[new]);
    }
    let (other, left) = (one_way.clone(), one_way);
    node.act(move |context| {
        // Nothing would be published now, but when the element goes.
        let error = table.insert(1, None, context).unwrap_err();
        assert_eq!(error, TableError::NoValue { id: "Demo::t".into() });
        assert!(table.is_empty());
        table.insert(1, Some(1), context).unwrap();
        assert_eq!(table.remove(&1, context), Ok(Some(Some(1))));
        keys.insert(Some(1), context).unwrap();
        assert_eq!(keys.remove(&Some(1), context), Ok(true));
        // Others may have put in what cannot be sent.
        assert!(other.insert(9, OneWay(9), context).is_err());
        assert_eq!(other.remove(&1, context), Ok(Some(OneWay(1))));
        other.publish_table("t", 10, context);
    });
    assert_eq!(left.len(), 2);
    node.advance(10_000);
    assert!(left.is_empty());
    assert_eq!((left.counts().expired, left.counts().unpublished), (2, 5));
}

#[test]
fn all_elements_can_be_removed() {
    let tables = Tables::new();
    let options = Options::new().publish_on_change([Change::Removed]).max_batch_size(0);
    let table = tables.table::<String, u64>("Demo::t", options).unwrap();
    let mut node = Node::new(&tables);
    let cleared = table.clone();
    node.act(move |context| {
        cleared.insert("a".into(), 1, context).unwrap();
        cleared.insert("b".into(), 2, context).unwrap();
        cleared.clear(context)
    })
    .unwrap();
    assert!(table.is_empty());
    assert_eq!(node.changes(), ["-a=1", "-b=2"]);
}
