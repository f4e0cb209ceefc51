//! `[pools]`: what is accepted and what it means.

use super::*;
use crate::layout::to_toml;

const NODES: &str = r#"
[nodes.m]
node_type = "manager"
ip = "127.0.0.1"
[nodes.p1]
node_type = "proxy"
ip = "127.0.0.1"
[nodes.p2]
node_type = "proxy"
ip = "127.0.0.1"
"#;

#[test]
fn pools_are_those_of_every_cluster_and_those_of_the_layout() {
    let text = format!(
        "[pools.proxy]\nmax_nodes = 1\n[pools.scan]\nnode_type = \"proxy\"\nmax_nodes = 1\n\
         exclusive = true\n[pools.b]\ntopic = \"b\"\nnode_type = \"worker\"\n{NODES}"
    );
    let (layout, _) = Layout::from_toml(&text, "f").unwrap();
    let specs = layout.pool_specs();
    let shown: Vec<_> = specs
        .iter()
        .map(|spec| (spec.topic.as_str(), spec.node_type, spec.max_nodes, spec.exclusive))
        .collect();
    assert_eq!(
        shown,
        [
            ("zeek.cluster.pool.worker", NodeType::Worker, None, false),
            ("zeek.cluster.pool.proxy", NodeType::Proxy, Some(1), false),
            ("zeek.cluster.pool.logger", NodeType::Logger, None, false),
            ("b", NodeType::Worker, None, false),
            ("zeek.cluster.pool.scan", NodeType::Proxy, Some(1), true),
        ]
    );
    let (again, _) = Layout::from_toml(&to_toml(&layout), "f").unwrap();
    assert_eq!(again, layout);
}

#[test]
fn pools_that_cannot_be_filled_are_errors_with_their_place() {
    for (pools, expected) in [
        ("[pools.a]", "pool `zeek.cluster.pool.a` of type none; expected logger, proxy or worker"),
        ("[pools.a]\nnode_type = \"manager\"", "2:13: pool `zeek.cluster.pool.a` of type manager"),
        (
            "[pools.a]\nnode_type = \"proxy\"\nexclusive = true",
            "3:13: pool `zeek.cluster.pool.a` is exclusive and needs `max_nodes`",
        ),
        (
            "[pools.a]\nnode_type = \"proxy\"\nexclusive = true\nmax_nodes = 3",
            "4:13: exclusive pools need 3 nodes of type proxy, but there are only 2",
        ),
        (
            "[pools.a]\nnode_type = \"proxy\"\ntopic = \"zeek.cluster.pool.proxy\"",
            "3:9: pool `zeek.cluster.pool.proxy` is registered twice",
        ),
    ] {
        let error = Layout::from_toml(&format!("{pools}\n{NODES}"), "f").unwrap_err().to_string();
        assert!(error.contains(expected), "{error}\n{expected}");
    }
}

#[test]
fn lists_of_topics_need_their_switch() {
    let warned = |options: &str| {
        let text = format!("[cluster]\n{options}\n{NODES}");
        let (_, warnings) = Layout::from_toml(&text, "f").unwrap();
        let warnings = warnings.into_iter().map(|warning| warning.to_string());
        warnings.filter(|warning| warning.contains("_topics` has no effect")).count()
    };
    assert_eq!(warned("publish_topics = [\"a\"]\nadvertise_topics = [\"a\"]"), 2);
    assert_eq!(warned("publish_topics = [\"a\"]\nauto_publish_topics = false"), 0);
}

#[test]
fn a_pool_whose_events_others_get_too_is_a_warning() {
    for (pool, is_warned) in [("[pools.proxy-scan]", true), ("[pools.scan]", false)] {
        let text = format!("{pool}\nnode_type = \"proxy\"\n{NODES}");
        let (_, warnings) = Layout::from_toml(&text, "f").unwrap();
        let text = "1:8: warning: the topic `zeek.cluster.pool.proxy-scan` begins with `zeek.cluster.pool.proxy`";
        let found = warnings.iter().any(|warning| warning.to_string().contains(text));
        assert_eq!(found, is_warned, "{warnings:?}");
    }
}
