use bstr::ByteSlice;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::event::Event;
use crate::value::Value;
use crate::wire::event_format::EventFormat;

const LAYOUT: &str = r#"
[curve]
mode = "per-node"
[allow.worker]
publish = ["zeek.", "site."]
[nodes.manager]
node_type = "manager"
ip = "127.0.0.1"
[nodes.a]
node_type = "worker"
ip = "127.0.0.1"
[nodes.a_b]
node_type = "worker"
ip = "127.0.0.1"
allow = { subscribe = ["zeek.cluster.worker"], logs = false }
[nodes.c]
node_type = "worker"
ip = "127.0.0.1"
allow = { publish = [] }
"#;

fn access(text: &str) -> Arc<Access> {
    let (layout, _) = Layout::from_toml(text, "layout").unwrap();
    Arc::new(Access::new(&layout, [], HashMap::new()))
}

fn guard(access: &Arc<Access>, name: &str) -> Guard {
    Guard::new(Arc::clone(access), Identity::Node(name.into()))
}

fn greeting(name: &str, id: &str) -> Vec<u8> {
    let event = Event::new("Cluster::hello", vec![name.into(), id.into()]);
    let mut payload = Vec::new();
    EventFormat::BrokerBinV1.encode(&event, &mut payload);
    payload
}

#[test]
fn ids_belong_to_nodes() {
    let access = access(LAYOUT);
    for (id, owner) in [
        ("zeromq_a_host_1_N0", Some("a")),
        ("zeromq_a_b_host_1_N0", Some("a_b")),
        ("zeromq_a_my_host_1_N0", Some("a")),
        ("zeromq_manager_host_1_N0-websocket-3", Some("manager")),
        ("zeromq_a_host_1_N0#17", Some("a")),
        ("a", Some("a")),
        ("zeromq_a", None),
        ("zeromq_x_host_1_N0", None),
        ("zeromq__a_1_N0", None),
        ("a-1", None),
        ("", None),
        ("zeromq_", None),
    ] {
        assert_eq!(access.owner(id.as_bytes()).map(|name| &**name), owner, "{id}");
    }
    assert_eq!(access.owner(b"zeromq_\xff_h_1_N0"), None);
    // Each underscore might end a name, and peers choose how many there are: only candidates as
    // short as a name are looked up. Otherwise this would take hours.
    let endless = [b"zeromq_".to_vec(), vec![b'_'; 4 << 20]].concat();
    assert_eq!(access.owner(&endless), None);
}

#[test]
fn nobody_speaks_for_another() {
    let access = access(LAYOUT);
    let mut a = guard(&access, "a");
    let mut event = |id: &str| a.check_event(b"zeek.x", id.as_bytes(), b"broker-bin-v1", b"");
    assert_eq!(event("zeromq_a_h_1_N0"), Ok(()));
    assert_eq!(event("zeromq_manager_h_1_N0"), Err(Denial::Impersonation));
    assert_eq!(event(""), Err(Denial::Impersonation));
    assert_eq!(event("zeromq_a_h_1_N0"), Ok(()));
    assert_eq!(event("zeromq_a_b_1_N0"), Err(Denial::Impersonation), "which is that of a_b");

    let topic = b"zeek.cluster.nodeid.zeromq_manager_h_1_N0.";
    let mut greets = |name, id: &str| {
        a.check_event(topic, b"zeromq_a_h_1_N0", b"broker-bin-v1", &greeting(name, id))
    };
    assert_eq!(greets("a", "zeromq_a_h_1_N0"), Ok(()));
    assert_eq!(greets("manager", "zeromq_a_h_1_N0"), Err(Denial::Impersonation));
    assert_eq!(greets("a", "zeromq_manager_h_1_N0"), Err(Denial::Impersonation));

    let subscribes = |prefix: &str| a.check_subscription(prefix.as_bytes());
    assert_eq!(subscribes("zeek.cluster.nodeid.zeromq_a_h_1_N0."), Ok(()));
    // Zeek checks the name of an event, not its topic.
    let mut says = |format: EventFormat, event: Event, changed: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        let mut payload = Vec::new();
        format.encode(&event, &mut payload);
        let (id, format) = (b"zeromq_a_h_1_N0", format.name().as_bytes());
        a.check_event(b"zeek.x", id, format, &changed(payload))
    };
    let same = |payload| payload;
    for format in [EventFormat::BrokerBinV1, EventFormat::BrokerJsonV1] {
        let hello = |name: &str, id: &str| {
            Event::new("Cluster::Backend::ZeroMQ::hello", vec![name.into(), id.into()])
        };
        let (a, manager) = ("zeromq_a_h_1_N0", "zeromq_manager_h_1_N0");
        assert_eq!(says(format, hello("a", a), &same), Ok(()));
        assert_eq!(says(format, hello("manager", manager), &same), Err(Denial::Impersonation));
        let args = vec!["manager".into(), manager.into()];
        for name in [
            "Cluster::node_down",
            "Cluster::Backend::ZeroMQ::unsubscription",
            "Broker::peer_lost",
            "Cluster::websocket_client_lost",
        ] {
            let event = Event::new(name, args.clone());
            assert_eq!(says(format, event, &same), Err(Denial::Impersonation), "{name}");
        }
        let connected = |name: &str, id: &str| {
            let args = vec![name.into(), id.into(), Value::Boolean(false)];
            Event::new("Cluster::Experimental::node_fully_connected", args)
        };
        assert_eq!(says(format, connected("a", a), &same), Ok(()));
        for (name, id) in [("manager", a), ("a", manager)] {
            let outcome = says(format, connected(name, id), &same);
            assert_eq!(outcome, Err(Denial::Impersonation), "{name} {id}");
        }
        let event = Event::new("Site::note", vec!["Cluster::node_down".into()]);
        assert_eq!(says(format, event, &same), Ok(()));
    }
    let event = Event::new("Cluster::node_down", vec!["manager".into()]);
    let escape = |payload: Vec<u8>| payload.replace("Cluster", "\\u0043luster");
    let outcome = says(EventFormat::BrokerJsonV1, event, &escape);
    assert_eq!(outcome, Err(Denial::Impersonation), "however it is written");
    let cut = |payload: Vec<u8>| payload[..payload.len() - 1].to_vec();
    let event = Event::new("Cluster::node_down", vec![]);
    assert_eq!(says(EventFormat::BrokerBinV1, event, &cut), Err(Denial::Impersonation));

    let padded = |payload: Vec<u8>| [payload, vec![0; 20_000]].concat();
    let hello = Event::new("Cluster::hello", vec!["a".into(), "zeromq_a_h_1_N0".into()]);
    let outcome = says(EventFormat::BrokerBinV1, hello, &padded);
    assert_eq!(outcome, Err(Denial::Impersonation), "no greeting is that long");
    let long = |n: usize| Event::new("Site::note", vec![(r"\".to_owned() + &"x".repeat(n)).into()]);
    assert_eq!(says(EventFormat::BrokerJsonV1, long(1 << 20), &same), Ok(()));
    let outcome = says(EventFormat::BrokerJsonV1, long(5 << 20), &same);
    assert_eq!(outcome, Err(Denial::Impersonation), "names are not searched for that far");
    // It would be refused if it were decoded.
    let event = Event::new("Site::note", vec!["Cluster::node_down".into()]);
    assert_eq!(says(EventFormat::BrokerBinV1, event, &cut), Ok(()), "others are not taken apart");

    let subscribes = |prefix: &str| a.check_subscription(prefix.as_bytes());
    for other in ["zeromq_manager_h_1_N0.", "zeromq_manager_h_1_N0", "zeromq_a_h_1_N0x", "x.", "."]
    {
        let prefix = format!("zeek.cluster.nodeid.{other}");
        assert_eq!(subscribes(&prefix), Err(Denial::Impersonation), "{other}");
    }
    assert_eq!(subscribes("zeek.cluster.nodeid."), Ok(()));
    assert_eq!(subscribes(""), Ok(()));
    // A node whose probe returns assumes that it knows all subscriptions of others.
    for (probe, expected) in [
        ("zeromq_a_h.net_1_N0.17.", Ok(())),
        ("a.17.", Ok(())),
        ("zeromq_manager_h_1_N0.17.", Err(Denial::Impersonation)),
        ("manager.17.", Err(Denial::Impersonation)),
        ("zeromq_a_h_1_N0.17", Err(Denial::Impersonation)),
        ("a", Err(Denial::Impersonation)),
        ("", Ok(())),
    ] {
        assert_eq!(subscribes(&format!("zeek.zeromq.internal.{probe}")), expected, "{probe}");
    }

    assert_eq!(a.check_batch(b"zeromq_a_h_1_N0"), Ok(()));
    assert_eq!(a.check_batch(b"zeromq_c_h_1_N0"), Err(Denial::Impersonation));
}

#[test]
fn the_operator_publishes_and_subscribes_and_is_no_node() {
    const ID: &[u8] = b"zeromq_operator_host_1_N0";
    let rules = "[allow.operator]\npublish = [\"zeek.\"]\nsubscribe = [\"zeek.\"]\n";
    let access = access(&format!("{LAYOUT}{rules}"));
    let mut operator = guard(&access, "operator");
    let format = EventFormat::BrokerBinV1;
    let mut ping = Vec::new();
    format.encode(&Event::new("ping", vec![]), &mut ping);
    let hello = greeting("operator", ID.to_str().unwrap());
    for (topic, payload, expected) in [
        ("zeek.x", &ping, Ok(())),
        ("other", &ping, Err(Denial::Publish)),
        ("zeek.x", &hello, Err(Denial::Impersonation)),
        ("zeek.cluster.nodeid.zeromq_a_host_1_N0.", &hello, Err(Denial::Impersonation)),
    ] {
        let name = format.name().as_bytes();
        assert_eq!(operator.check_event(topic.as_bytes(), ID, name, payload), expected, "{topic}");
    }
    for (prefix, expected) in [
        ("zeek.x", Ok(())),
        ("other", Err(Denial::Subscribe)),
        ("zeek.zeromq.internal.zeromq_operator_host_1_N0.1.", Ok(())),
        ("zeek.cluster.nodeid.zeromq_operator_host_1_N0.", Err(Denial::Impersonation)),
    ] {
        assert_eq!(operator.check_subscription(prefix.as_bytes()), expected, "{prefix}");
    }
    assert_eq!(operator.check_batch(ID), Err(Denial::Logs));
    // A node with this name is a node.
    let node = "[nodes.operator]\nnode_type = \"control\"\nip = \"127.0.0.1\"\n";
    let access = self::access(&format!("{LAYOUT}{node}"));
    let own = b"zeek.cluster.nodeid.zeromq_operator_host_1_N0.";
    assert_eq!(guard(&access, "operator").check_subscription(own), Ok(()));
    // Without per-node keys, there is no operator.
    let access = self::access("[nodes.a]\nnode_type = \"worker\"\nip = \"127.0.0.1\"\n");
    assert_eq!(access.owner(ID), None);
}

#[test]
fn a_node_may_do_what_is_said_of_it_or_of_its_type() {
    let access = access(LAYOUT);
    let publishes = |name: &str, topic: &str| {
        let id = format!("zeromq_{name}_h_1_N0");
        let mut guard = guard(&access, name);
        let mut check =
            || guard.check_event(topic.as_bytes(), id.as_bytes(), b"broker-bin-v1", b"");
        let first = check();
        assert_eq!(check(), first, "what is remembered is the same");
        first
    };
    for (name, topic, expected) in [
        ("manager", "anything", Ok(())),
        ("a", "zeek.x", Ok(())),
        ("a", "site.x", Ok(())),
        ("a", "zeek", Err(Denial::Publish)),
        ("a", "", Err(Denial::Publish)),
        ("c", "zeek.x", Err(Denial::Publish)),
        // A greeting needs no permission, but this is not one.
        ("c", "zeek.cluster.nodeid.zeromq_a_h_1_N0.", Err(Denial::Publish)),
        ("a", "zeek.cluster.nodeid.zeromq_c_h_1_N0.", Ok(())),
    ] {
        assert_eq!(publishes(name, topic), expected, "{name} {topic}");
    }
    let mut c = guard(&access, "c");
    let payload = greeting("c", "zeromq_c_h_1_N0");
    let topic = b"zeek.cluster.nodeid.zeromq_a_h_1_N0.";
    assert_eq!(c.check_event(topic, b"zeromq_c_h_1_N0", b"broker-bin-v1", &payload), Ok(()));

    let b = guard(&access, "a_b");
    for (prefix, expected) in [
        ("zeek.cluster.worker", Ok(())),
        ("zeek.cluster.worker.x", Ok(())),
        ("zeek.cluster.work", Err(Denial::Subscribe)),
        ("", Err(Denial::Subscribe)),
        ("zeek.cluster.node.a_b.", Ok(())),
        ("zeek.cluster.node.a.", Err(Denial::Subscribe)),
        ("zeek.cluster.nodeid.zeromq_a_b_h_1_N0.", Ok(())),
        ("zeek.zeromq.internal.zeromq_a_b_h_1_N0.1.", Ok(())),
        ("zeek.zeromq.internal.", Err(Denial::Subscribe)),
    ] {
        assert_eq!(b.check_subscription(prefix.as_bytes()), expected, "{prefix}");
    }
    let mut b = b;
    assert_eq!(b.check_batch(b"zeromq_a_b_h_1_N0"), Err(Denial::Logs));
}

#[test]
fn nothing_long_is_remembered() {
    let access = access(LAYOUT);
    let mut a = guard(&access, "a");
    let id = [b"zeromq_a_h_1_N0", &[b'x'; 1000][..]].concat();
    let topic = [b"zeek.", &[b'x'; 1000][..]].concat();
    for _ in 0..2 {
        assert_eq!(a.check_event(&topic, &id, b"broker-bin-v1", b""), Ok(()));
        assert_eq!(a.check_event(b"other", &id, b"broker-bin-v1", b""), Err(Denial::Publish));
    }
    assert!(!format!("{a:?}").contains("xxxxxxxx"));
}

#[test]
fn without_keys_of_their_own_nodes_are_who_they_say() {
    let access = access(&LAYOUT.replace("mode = \"per-node\"", ""));
    let mut guard = Guard::new(Arc::clone(&access), Identity::Unproven);
    assert!(!guard.is_open());
    let mut event = |id: &str, topic: &str| {
        guard.check_event(topic.as_bytes(), id.as_bytes(), b"broker-bin-v1", b"")
    };
    assert_eq!(event("zeromq_manager_h_1_N0", "x"), Ok(()));
    assert_eq!(event("zeromq_a_h_1_N0", "x"), Err(Denial::Publish));
    assert_eq!(event("zeromq_a_h_1_N0", "zeek.x"), Ok(()));
    assert_eq!(event("somebody", "x"), Ok(()));
    assert_eq!(event("zeromq_c_h_1_N0", "zeek.x"), Err(Denial::Publish));
    assert_eq!(guard.check_batch(b"zeromq_a_b_h_1_N0"), Err(Denial::Logs));
    assert_eq!(guard.check_batch(b"zeromq_a_h_1_N0"), Ok(()));
    // A subscription does not name its owner.
    assert_eq!(guard.check_subscription(b"anything"), Ok(()));
}

#[test]
fn where_nothing_is_said_everything_is_open() {
    let access = access("[nodes.a]\nnode_type = \"worker\"\nip = \"127.0.0.1\"\n");
    let mut guard = Guard::new(access, Identity::Unproven);
    assert!(guard.is_open());
    assert_eq!(guard.check_event(b"x", b"", b"", b""), Ok(()));
    assert_eq!(guard.check_subscription(b""), Ok(()));
    assert_eq!(guard.check_batch(b""), Ok(()));
}

/// Bytes that contain parts of the names that are searched for.
fn near_misses() -> impl Strategy<Value = Vec<u8>> {
    const PARTS: [&str; 11] = [
        "zeek.cluster.nodeid.",
        "zeek.zeromq.internal.",
        "zeek.",
        "zeromq_",
        "a_b",
        "_h_1_N0",
        ".",
        "Cluster::hello",
        "Broker::peer_lost",
        "\\u0043",
        "",
    ];
    let part = prop_oneof![
        proptest::sample::select(&PARTS[..]).prop_map(|part| part.as_bytes().to_vec()),
        vec(any::<u8>(), 0..20),
    ];
    vec(part, 0..6).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn whatever_is_said_is_allowed_or_not(
        topic in near_misses(),
        id in near_misses(),
        payload in near_misses(),
        cut in 0usize..60,
        is_json in any::<bool>(),
    ) {
        let access = access(LAYOUT);
        let format = if is_json { EventFormat::BrokerJsonV1 } else { EventFormat::BrokerBinV1 };
        let mut event = Vec::new();
        let hello = Event::new("Cluster::hello", vec![id.as_slice().into(), topic.as_slice().into()]);
        format.encode(&hello, &mut event);
        event.truncate(cut);
        let name = format.name().as_bytes();
        for mut guard in [guard(&access, "a_b"), Guard::new(Arc::clone(&access), Identity::Unproven)] {
            for payload in [&payload, &event] {
                let first = guard.check_event(&topic, &id, name, payload);
                prop_assert_eq!(guard.check_event(&topic, &id, name, payload), first);
            }
            let _ = (guard.check_subscription(&topic), guard.check_batch(&id));
        }
    }
}
