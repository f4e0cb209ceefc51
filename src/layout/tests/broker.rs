//! `[broker]` and `[broker.topic."PREFIX"]`: what is accepted, rejected and warned about.

use super::*;

#[test]
fn every_option_is_read_and_printed() {
    let text = format!(
        "{HEAD}{}",
        r#"[broker]
        metrics_port = 9910
        engine = "switch"
        io_threads = 4
        subscriber_hwm = 0
        subscriber_max_bytes = "1GiB"
        when_full = "drop-oldest"
        patience = 0
        disconnect_after = "3s"
        block_timeout = 0.5
        control_prefixes = ["zeek.cluster.nodeid.", "zeek.control."]
        control_hwm = 5
        control_max_bytes = 4096
        validate_events = true
        max_subscriptions = 7
        max_subscription_length = 300
        handshake_timeout = "1s"
        [broker.topic]
        "zeek.cluster.node.".when_full = "block"
        "".when_full = "disconnect"
        [broker.topic.bulk]
        "#
    );
    let (layout, warnings) = read(&text).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(warnings, []);
    let topic = [
        ("", Some(WhenFull::Disconnect)),
        ("bulk", None),
        ("zeek.cluster.node.", Some(WhenFull::Block)),
    ];
    let expected = Broker {
        metrics_port: Some(9910),
        metrics_address: None,
        engine: BrokerEngine::Switch,
        io_threads: 4,
        subscriber_hwm: 0,
        subscriber_max_bytes: 1 << 30,
        when_full: WhenFull::DropOldest,
        patience: Duration::ZERO,
        disconnect_after: Duration::from_secs(3),
        block_timeout: Duration::from_millis(500),
        control_prefixes: vec!["zeek.cluster.nodeid.".into(), "zeek.control.".into()],
        control_hwm: 5,
        control_max_bytes: 4096,
        validate_events: true,
        max_subscriptions: 7,
        max_subscription_length: 300,
        handshake_timeout: Duration::from_secs(1),
        topic: topic.map(|(prefix, when_full)| (prefix.into(), TopicOptions { when_full })).into(),
    };
    assert_eq!(layout.broker, expected);
    assert_eq!(layout.broker.when_full(b"x"), WhenFull::Disconnect);
    assert_eq!(layout.broker.when_full(b"zeek.cluster.node.a"), WhenFull::Block);
    assert_eq!(read(&to_toml(&layout)).unwrap().0, layout);
    // Zeek has no such options.
    let exported = both(zeek::export(&layout));
    assert!(!exported.contains("when_full") && !exported.contains("switch"), "{exported}");
}

#[test]
fn each_rule_has_its_error() {
    for (text, expected) in [
        ("engine = \"zmqq\"", "6:10: `engine` in [broker]: found \"zmqq\", expected one of"),
        ("io_threads = 0", "6:14: `io_threads`: found `0`, expected a whole number from 1 to 64"),
        ("io_threads = 65", "found `65`, expected a whole number from 1 to 64"),
        ("when_full = \"drop\"", "expected one of \"drop-newest\", \"drop-oldest\", \"disc"),
        ("subscriber_hwm = -1", "found `-1`, expected a whole number from 0"),
        ("patience = \"30days\"", "6:12: `patience`: found 30days, expected at most"),
        ("disconnect_after = \"30days\"", "`disconnect_after`: found 30days"),
        ("handshake_timeout = 0", "6:21: `handshake_timeout`: found `0`, expected more"),
        ("max_subscriptions = 0", "`max_subscriptions`: found `0`, expected at least 1"),
        ("max_subscription_length = 0", "`max_subscription_length`: found `0`, expected a whole"),
        ("control_prefixes = [\"a\", \"\"]", "6:20: `control_prefixes`: found \"\""),
        ("topc = 3", "6:1: unknown key `topc` in [broker]; did you mean `topic`?"),
        ("topic = 3", "6:9: [broker.topic]: found `3`, expected a table"),
        ("topic.\"a.b\" = 3", "[broker.topic.\"a.b\"]: found `3`, expected a table"),
        (
            "topic.a.when_ful = \"block\"",
            "unknown key `when_ful` in [broker.topic.a]; did you mean `when_full`?",
        ),
        ("topic.a.when_full = \"x\"", "`when_full` in [broker.topic.a]: found \"x\", expected one"),
    ] {
        let errors = errors(&format!("{HEAD}[broker]\n{text}\n"));
        assert_eq!(errors.len(), 1, "{text}: {errors:?}");
        assert!(errors[0].contains(expected), "{text}: {errors:?}");
    }
}

#[test]
fn what_is_legal_but_unwise_is_a_warning() {
    for (text, expected) in [
        ("subscriber_max_bytes = 0", "7:24: `subscriber_max_bytes` is 0: a peer that does not"),
        ("control_max_bytes = 0", "`control_max_bytes` is 0"),
        ("max_subscription_length = 255", "`max_subscription_length` is below 256"),
        (
            "block_timeout = \"15s\"\nwhen_full = \"block\"",
            "`block_timeout` is not below `heartbeat_timeout`",
        ),
        (
            "block_timeout = \"1min\"\n[broker.topic.a]\nwhen_full = \"block\"",
            "`block_timeout` is not below",
        ),
        ("patience = \"1min\"", "`patience` is not below `heartbeat_timeout`"),
    ] {
        let warnings = warnings(&format!("{HEAD}[broker]\nengine = \"switch\"\n{text}\n"));
        assert_eq!(warnings.len(), 1, "{text}: {warnings:?}");
        assert!(warnings[0].contains(expected), "{text}: {warnings:?}");
    }
    // Without heartbeats no peer considers the broker dead, and without blocking no timeout is
    // needed.
    for text in [
        "[zeromq]\nheartbeat_interval = 0\n[broker]\nengine = \"switch\"\npatience = \"1min\"",
        "[broker]\nengine = \"switch\"\nblock_timeout = \"1min\"",
    ] {
        assert_eq!(warnings(&format!("{HEAD}{text}\n")), [""; 0], "{text}");
    }
}

#[test]
fn options_of_the_other_engine_are_warned_of() {
    let text = format!(
        "{HEAD}[broker]\nengine = \"zmq\"\nmetrics_port = 1\nmetrics_address = \"::1\"\n\
         when_full = \"block\"\nio_threads = 1\n[broker.topic.a]\nwhen_full = \"block\"\n"
    );
    assert_eq!(
        warnings(&text),
        [
            "9:13: `when_full` has no effect with `engine = \"zmq\"`",
            "10:14: `io_threads` has no effect with `engine = \"zmq\"`",
            "11:15: `[broker.topic]` has no effect with `engine = \"zmq\"`",
        ]
    );
}

/// Both scripts of an export.
fn both(exported: zeek::Exported) -> String {
    exported.layout + &exported.options
}

#[test]
fn the_former_name_of_the_section_is_still_read() {
    let text = format!("{HEAD}[proxy]\nmetrics_port = 1\n[proxy.topic.a]\nwhen_full = \"block\"\n");
    let (layout, warnings) = Layout::from_toml(&text, "l.toml").unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(layout.broker.metrics_port, Some(1));
    assert_eq!(layout.broker.when_full(b"a.b"), WhenFull::Block);
    assert_eq!(
        errors(&format!("{HEAD}[proxy]\nmetrics_port = 1\n[broker]\nmetrics_port = 2\n")),
        ["5:2: [proxy] is the former name of [broker]: use one of them"]
    );
}
