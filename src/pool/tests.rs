use super::*;
use crate::topic::{LOGGER_POOL, NodeTopics, PROXY_POOL, WORKER_POOL};
use crate::value::{Port, Protocol, Subnet, Timespan, Timestamp, Value};

const NODES: [(&str, NodeType); 6] = [
    ("worker-2", NodeType::Worker),
    ("worker-1", NodeType::Worker),
    ("proxy-2", NodeType::Proxy),
    ("proxy-1", NodeType::Proxy),
    ("manager", NodeType::Manager),
    ("logger-1", NodeType::Logger),
];

fn pools_of(own: &str) -> Pools {
    let topics = NodeTopics::default();
    Pools::new(PoolSpec::built_in(), NODES, own, true, |name| topics.node(name)).unwrap()
}

/// Pools in which the topic of a node is its name, to make choices readable.
fn distribute(specs: Vec<PoolSpec>, nodes: &[(&'static str, NodeType)]) -> Pools {
    try_distribute(specs, nodes).unwrap()
}

fn try_distribute(
    specs: Vec<PoolSpec>,
    nodes: &[(&'static str, NodeType)],
) -> Result<Pools, PoolError> {
    Pools::new(specs, nodes.iter().copied(), "control", true, |name| name.into())
}

fn names(pools: &Pools, topic: &str) -> Vec<String> {
    let pool = pools.pools.iter().find(|pool| pool.topic == topic).unwrap();
    pool.members.iter().map(|member| member.name.clone()).collect()
}

fn workers<const N: usize>(names: [&'static str; N]) -> [(&'static str, NodeType); N] {
    names.map(|name| (name, NodeType::Worker))
}

fn limited(topic: &str, max_nodes: u32, exclusive: bool) -> PoolSpec {
    PoolSpec { max_nodes: Some(max_nodes), exclusive, ..PoolSpec::new(topic, NodeType::Worker) }
}

#[test]
fn built_in_pools_have_the_nodes_of_their_type_sorted_by_name() {
    let pools = pools_of("manager");
    let topics: Vec<_> = pools.pools.iter().map(|pool| &*pool.topic).collect();
    assert_eq!(topics, [LOGGER_POOL, PROXY_POOL, WORKER_POOL]);
    assert_eq!(names(&pools, LOGGER_POOL), ["logger-1", "manager"]);
    assert_eq!(names(&pools, PROXY_POOL), ["proxy-1", "proxy-2"]);

    let ten = workers(["worker-10", "worker-2", "worker-1"]);
    let pools = distribute(PoolSpec::built_in().into(), &ten);
    assert_eq!(names(&pools, WORKER_POOL), ["worker-1", "worker-10", "worker-2"]);
}

#[test]
fn a_manager_is_a_logger_only_where_it_says_so() {
    let pools =
        Pools::new(PoolSpec::built_in(), NODES, "manager", false, |name| name.into()).unwrap();
    assert_eq!(names(&pools, LOGGER_POOL), ["logger-1"]);
    assert_eq!(pools.topics_of("manager").count(), 0);
}

#[test]
fn nodes_subscribe_to_their_pools_in_the_order_of_topics() {
    let pools = pools_of("worker-1");
    for (name, topics) in [
        ("worker-1", vec![WORKER_POOL]),
        ("manager", vec![LOGGER_POOL]),
        ("logger-1", vec![LOGGER_POOL]),
        ("stranger", vec![]),
    ] {
        assert_eq!(pools.topics_of(name).collect::<Vec<_>>(), topics, "{name}");
    }
    let specs = ["b", "c", "a"].map(|topic| PoolSpec::new(topic, NodeType::Worker));
    let pools = distribute(specs.into(), &workers(["w"]));
    assert_eq!(pools.topics_of("w").collect::<Vec<_>>(), ["a", "b", "c"]);
}

#[test]
fn limited_pools_share_the_nodes_evenly() {
    let specs = vec![limited("c", 2, false), limited("a", 2, false), limited("b", 9, false)];
    let pools = distribute(specs, &workers(["w1", "w2", "w3"]));
    assert_eq!(names(&pools, "a"), ["w1", "w2"]);
    assert_eq!(names(&pools, "b"), ["w3", "w1", "w2"]);
    assert_eq!(names(&pools, "c"), ["w3", "w1"]);
}

#[test]
fn exclusive_pools_choose_first() {
    let specs = vec![
        limited("a", 2, false),
        limited("x", 2, true),
        limited("w", 1, true),
        PoolSpec::new("z", NodeType::Worker),
    ];
    let pools = distribute(specs, &workers(["w1", "w2", "w3", "w4", "w5"]));
    assert_eq!(names(&pools, "w"), ["w1"]);
    assert_eq!(names(&pools, "x"), ["w2", "w3"]);
    assert_eq!(names(&pools, "a"), ["w4", "w5"]);
    assert_eq!(names(&pools, "z"), ["w4", "w5"]);

    let pools = distribute(vec![limited("x", 1, true), limited("y", 1, false)], &workers(["w1"]));
    assert_eq!(names(&pools, "y"), [""; 0]);
}

#[test]
fn what_cannot_be_fulfilled_is_an_error() {
    let no_maximum = PoolSpec { max_nodes: None, ..limited("a", 1, true) };
    for (specs, error) in [
        (vec![limited("a", 1, false), limited("a", 2, false)], "pool `a` is registered twice"),
        (
            vec![PoolSpec::new("a", NodeType::Manager)],
            "pool `a` of type manager; expected logger, proxy or worker",
        ),
        (vec![no_maximum], "pool `a` is exclusive and needs `max_nodes`"),
        (
            vec![limited("a", 1, true), limited("b", u32::MAX, true)],
            "exclusive pools need 4294967296 nodes of type worker, but there are only 2",
        ),
    ] {
        assert_eq!(try_distribute(specs, &NODES).unwrap_err().to_string(), error);
    }
}

#[test]
fn site_ids_are_hashes_of_names() {
    let pools = pools_of("");
    let members: BTreeMap<_, _> =
        pools.pools.iter().flat_map(|p| &p.members).map(|m| (&*m.name, m.site_id)).collect();
    for (name, site_id) in [
        ("worker-1", 0xf910_a5ab),
        ("worker-2", 0xbc84_64ba),
        ("proxy-1", 0xa214_084f),
        ("proxy-2", 0x6587_c75e),
        ("manager", 0x3f2c_bb42),
        ("logger-1", 0x1836_2dad),
    ] {
        assert_eq!(members[name], site_id, "{name}");
    }
}

#[test]
fn names_with_the_same_hash_get_different_sites() {
    // Found by search.
    let [first, second] = ["worker-203020", "worker-48148"];
    assert_eq!(fnv1a32(b"worker-203020.0"), fnv1a32(b"worker-48148.0"));
    let pools = distribute(PoolSpec::built_in().into(), &workers([second, first]));
    let sites: Vec<_> = pools.pools[2].members.iter().map(|m| (&*m.name, m.site_id)).collect();
    let expected = [(first, fnv1a32(b"worker-203020.0")), (second, fnv1a32(b"worker-48148.1"))];
    assert_eq!(sites, expected);
}

#[test]
fn round_robin_takes_turns_among_the_living() {
    let specs = PoolSpec::built_in().to_vec();
    let mut pools = distribute(specs, &workers(["a", "b", "c"]));
    let turns = |pools: &mut Pools, key: &[u8]| -> Vec<String> {
        let next = |_| pools.rr_topic(WORKER_POOL, key).map_or("-".into(), |t| t.to_string());
        (0..4).map(next).collect()
    };
    assert_eq!(turns(&mut pools, b""), ["-"; 4]);
    for name in ["a", "b", "c", "stranger"] {
        pools.node_up(name);
    }
    assert_eq!(turns(&mut pools, b""), ["a", "b", "c", "a"]);
    assert_eq!(turns(&mut pools, b"another key"), ["a", "b", "c", "a"]);
    pools.node_down("b");
    assert_eq!(turns(&mut pools, b""), ["c", "a", "c", "a"]);
    pools.node_down("a");
    pools.node_down("c");
    assert_eq!(turns(&mut pools, b""), ["-"; 4]);
    pools.node_up("b");
    pools.node_up("a");
    assert_eq!(turns(&mut pools, b""), ["b", "a", "b", "a"]);
    assert_eq!(pools.rr_topic("no such pool", b""), None);
    assert_eq!(pools.rr_topic(PROXY_POOL, b""), None);
}

#[test]
fn a_node_takes_its_own_turn_but_never_hashes_to_itself() {
    let mut pools = pools_of("worker-1");
    let own = Some(BString::from("zeek.cluster.node.worker-1."));
    let other = Some(BString::from("zeek.cluster.node.worker-2."));
    assert_eq!(pools.rr_topic(WORKER_POOL, b""), own);
    assert_eq!(pools.hrw_topic(WORKER_POOL, b"1"), None);
    pools.node_up("worker-1");
    assert_eq!(pools.hrw_topic(WORKER_POOL, b"1"), None);
    pools.node_up("worker-2");
    assert_eq!(pools.hrw_topic(WORKER_POOL, b"1"), other);
    assert_eq!(pools.rr_topic(WORKER_POOL, b""), other);
    pools.node_down("worker-1");
    assert_eq!(pools.rr_topic(WORKER_POOL, b""), own);
    assert_eq!(pools.hrw_topic("no such pool", b"1"), None);
}

fn chosen(pools: &Pools, topic: &str, key: &[u8]) -> String {
    let topic = pools.hrw_topic(topic, key).unwrap().to_string();
    topic.strip_prefix("zeek.cluster.node.").unwrap().trim_end_matches('.').into()
}

/// All pools, with all members up except the manager.
fn all_up() -> Pools {
    let mut pools = pools_of("manager");
    for (name, _) in NODES {
        pools.node_up(name);
    }
    pools
}

#[test]
fn weights_and_choices_are_those_of_a_running_zeek() {
    let pools = all_up();
    let address = |text: &str| Value::from(text.parse::<std::net::IpAddr>().unwrap());
    let subnet = Subnet::new("10.0.0.0".parse::<std::net::IpAddr>().unwrap(), 8).unwrap();
    let time = Timestamp(1_767_225_600_250_000_000);
    let key = |value: Value| hash_key(&value).unwrap();
    let worker = enum_hash_key(b"Cluster::NodeType", b"Cluster::WORKER");
    for (key, weights, proxy, worker) in [
        (key(address("192.168.1.1")), [765_409_944, 737_358_065], 1, 1),
        (key(address("10.0.0.1")), [1_256_455_239, 1_005_632_570], 1, 2),
        (key(address("2001:db8::1")), [1_568_560_031, 1_659_921_746], 2, 2),
        (key(Port::new(80, Protocol::Tcp).into()), [702_009_992, 966_229_857], 2, 2),
        (key(Port::new(53, Protocol::Udp).into()), [1_633_939_033, 389_643_456], 1, 2),
        (key(subnet.into()), [1_146_571_652, 588_940_957], 1, 2),
        (key(time.into()), [607_258_249, 2_014_140_464], 2, 1),
        (key(Timespan(1_500_000_000).into()), [858_973_698, 882_817_359], 2, 2),
        (key(1.5.into()), [2_075_447_521, 1_126_334_728], 1, 1),
        (key((-42).into()), [326_930_043, 938_656_622], 2, 2),
        (key(true.into()), [1_522_586_558, 1_998_080_971], 2, 1),
        (key("foobar".into()), [466_722_525, 969_936_196], 2, 1),
        (worker, [954_567_483, 596_438_190], 1, 2),
    ] {
        let digest = fnv1a32(&key);
        let sites = [0xa214_084f, 0x6587_c75e];
        assert_eq!(sites.map(|site| weight(digest, site)), weights, "{key:?}");
        assert_eq!(chosen(&pools, PROXY_POOL, &key), format!("proxy-{proxy}"), "{key:?}");
        assert_eq!(chosen(&pools, WORKER_POOL, &key), format!("worker-{worker}"), "{key:?}");
    }
    let sites = [0xf910_a5ab, 0xbc84_64ba];
    assert_eq!(sites.map(|site| weight(fnv1a32(b"0"), site)), [1_054_877_012, 1_178_273_453]);
}

#[test]
fn choices_of_small_keys_are_those_of_a_running_zeek() {
    let pools = all_up();
    for (key, worker) in (b'0'..=b'9').zip([2, 1, 2, 1, 1, 2, 1, 2, 1, 1]) {
        assert_eq!(chosen(&pools, WORKER_POOL, &[key]), format!("worker-{worker}"), "{key}");
    }
    for (key, proxy) in [(0_u64, 2), (2, 2), (3, 2), (1, 1), (13, 1), (37, 1), (42, 1), (101, 1)] {
        let bytes = hash_key(&key.into()).unwrap();
        assert_eq!(chosen(&pools, PROXY_POOL, &bytes), format!("proxy-{proxy}"), "{key}");
    }
}

#[test]
fn a_lost_member_moves_only_its_own_keys() {
    let mut pools = all_up();
    pools.node_down("worker-1");
    for key in b'0'..=b'9' {
        assert_eq!(chosen(&pools, WORKER_POOL, &[key]), "worker-2");
    }
    pools.node_down("worker-2");
    assert_eq!(pools.hrw_topic(WORKER_POOL, b"0"), None);
}

#[test]
fn a_preference_is_what_rendezvous_hashing_falls_back_to() {
    let loggers = ["logger-2", "logger-1", "tcp://192.0.2.1:5000", "logger-3"];
    let mut firsts = std::collections::BTreeSet::new();
    for worker in 0..50 {
        let key = format!("worker-{worker}");
        let nodes: Vec<_> = loggers.iter().map(|name| (*name, NodeType::Logger)).collect();
        let mut pools = distribute(PoolSpec::built_in().into(), &nodes);
        for name in loggers {
            pools.node_up(name);
        }
        let preference = preference(&loggers, key.as_bytes());
        for index in &preference {
            let chosen = pools.hrw_topic(LOGGER_POOL, key.as_bytes()).unwrap();
            assert_eq!(chosen, loggers[*index], "{key}");
            pools.node_down(loggers[*index]);
        }
        assert_eq!(pools.hrw_topic(LOGGER_POOL, key.as_bytes()), None);
        firsts.insert(preference[0]);
    }
    assert_eq!(firsts.len(), loggers.len());
    assert_eq!(preference(&[], b"worker-1"), [0; 0]);
}
