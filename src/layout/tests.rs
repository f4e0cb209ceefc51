//! The layout as its users see it: parsing, answering, printing.

use std::net::IpAddr;
use std::time::Duration;

use super::*;

mod broker;
mod curve;
mod limits;
mod log;
mod pools;
mod reach;
mod stores;
mod websocket;

const HEAD: &str = "[nodes.m]\nnode_type = \"manager\"\nip = \"127.0.0.1\"\nport = 5559\n";

fn read(text: &str) -> Result<(Layout, Vec<Diagnostic>), LayoutErrors> {
    Layout::from_toml(text, "l.toml")
}

/// The messages of the errors of `text`, each with its line and column.
fn errors(text: &str) -> Vec<String> {
    let errors = read(text).expect_err("the text has errors");
    errors.errors().map(|e| format!("{}:{}: {}", e.line, e.column, e.message)).collect()
}

fn warnings(text: &str) -> Vec<String> {
    let (_, warnings) = read(text).unwrap();
    warnings.into_iter().map(|w| format!("{}:{}: {}", w.line, w.column, w.message)).collect()
}

#[test]
fn a_small_layout_has_defaults() {
    let (layout, warnings) = read(HEAD).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(layout.zeromq, ZeroMq::default());
    assert!(layout.cluster.manager_is_logger);
    assert_eq!(layout.connect_log_endpoints(), ["tcp://127.0.0.1:5559"]);
    assert_eq!(layout.connect_xpub_endpoint(), "tcp://127.0.0.1:5556");
    assert_eq!(layout.connect_xsub_endpoint(), "tcp://127.0.0.1:5555");
    assert!(!layout.needs_ipv6());
}

#[test]
fn log_receivers_and_their_endpoints() {
    let (layout, _) = read(
        r#"
        [zeromq]
        listen_xsub_endpoint = "tcp://10.0.0.1:5556"
        listen_xpub_endpoint = "tcp://10.0.0.1:5555"
        connect_log_endpoints = ["tcp://10.9.9.9:1", "tcp://10.0.0.2:5560"]
        [nodes]
        m = { node_type = "MANAGER", ip = "10.0.0.1" }
        b = { node_type = "Cluster::LOGGER", ip = "10.0.0.2", port = "5560/tcp" }
        a = { node_type = "logger", ip = "fe80::1", zone_id = "eth0", port = 5561 }
        c = { node_type = "logger", ip = "2001:db8::1", port = 0 }
        w = { node_type = "worker", ip = "10.0.0.3", manager = "m", port = 1 }
        "#,
    )
    .unwrap();
    assert!(!layout.cluster.manager_is_logger && layout.needs_ipv6());
    let names: Vec<_> = layout.log_receivers().map(|(name, _)| name).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(
        layout.connect_log_endpoints(),
        ["tcp://10.9.9.9:1", "tcp://10.0.0.2:5560", "tcp://[fe80::1%eth0]:5561"]
    );
    assert_eq!(layout.listen_log_endpoint("c").unwrap(), "tcp://[2001:db8::1]:0");
    assert_eq!(layout.listen_log_endpoint("m"), None);
    assert_eq!(layout.listen_log_endpoint("w"), None);
}

#[test]
fn nobody_connects_to_a_wildcard() {
    let (mut layout, _) = read(&format!(
        "[zeromq]\nlisten_xpub_endpoint = \"tcp://*:7000\"\n{}",
        HEAD.replace("127.0.0.1", "2001:db8::1")
    ))
    .unwrap();
    assert_eq!(layout.connect_xsub_endpoint(), "tcp://[2001:db8::1]:7000");
    layout.nodes.clear();
    assert_eq!(layout.connect_xsub_endpoint(), "tcp://127.0.0.1:7000");
    assert_eq!(layout.broker_metrics_address(), IpAddr::from([127, 0, 0, 1]));
}

#[test]
fn values_may_be_spelt_in_several_ways() {
    let (layout, _) = read(&format!(
        "{HEAD}[zeromq]\nhello_expiration = \"10 sec\"\nhello_delay = 0.25\nreconcile_grace = 2\n\
         max_message_size = 1024\nlog_queue_bytes = \"256 MiB\"\nlinger_ms = -1\n\
         [log]\njson_timestamps = \"TS_MILLIS\"\njson_string_escape_policy = \
         \"JSON::STRING_ESCAPE_POLICY_PUA\"\nseparator = \"\\u0001\"\n"
    ))
    .unwrap();
    assert_eq!(layout.zeromq.hello_expiration, Duration::from_secs(10));
    assert_eq!(layout.zeromq.hello_delay, Duration::from_millis(250));
    assert_eq!(layout.zeromq.reconcile_grace, Duration::from_secs(2));
    assert_eq!(layout.zeromq.max_message_size, 1024);
    assert_eq!(layout.zeromq.log_queue_bytes, 256 << 20);
    assert_eq!(layout.zeromq.linger_ms, -1);
    assert_eq!(layout.log.json_timestamps, JsonTimestamps::Millis);
    assert_eq!(layout.log.json_string_escape_policy, JsonStringEscapePolicy::Pua);
    assert_eq!(layout.log.separator, "\u{1}");
}

#[test]
fn every_error_is_told_at_once_with_its_place() {
    let text = "[zeromq]\nlisten_xsub_endpont = \"x\"\nxpub_sndhwm = \"many\"\nlinger_ms = -2\n\
                [cluter]\n[nodes.l]\nnode_type = \"loger\"\nip = \"10.0.0\"\nport = 70000\n\
                [nodes.w]\nnode_type = \"worker\"\nip = \"127.0.0.1\"\nmanager = \"x\"\n";
    assert_eq!(
        errors(text),
        [
            "2:1: unknown key `listen_xsub_endpont` in [zeromq]; did you mean \
             `listen_xsub_endpoint`?",
            "3:15: `xpub_sndhwm` in [zeromq]: found \"many\", expected a whole number from -1 to \
             2147483647",
            "4:13: `linger_ms` in [zeromq]: found `-2`, expected a whole number from -1 to \
             2147483647",
            "5:2: unknown section `cluter`; did you mean `cluster`?",
            "7:13: `node_type` in [nodes.l]: found \"loger\", expected one of \"none\", \
             \"control\", \"logger\", \"manager\", \"proxy\", \"worker\"",
            "8:6: `ip` in [nodes.l]: found \"10.0.0\", expected an IPv4 or IPv6 address",
            "9:8: `port` in [nodes.l]: found `70000`, expected a TCP port from 0 to 65535, such as \
             5560 or \"5560/tcp\"",
            "13:11: `w` names `x` as its manager, which is not in the layout",
        ]
    );
    let shown = read(text).unwrap_err().to_string();
    assert!(
        shown.starts_with(
            "l.toml:2:1: unknown key `listen_xsub_endpont` in [zeromq]; did you mean \
             `listen_xsub_endpoint`?\n2 | listen_xsub_endpont = \"x\"\n  | ^^^^^^^^^^^^^^^^^^^\n"
        ),
        "{shown}"
    );
}

#[test]
fn each_rule_has_its_error() {
    for (text, expected) in [
        ("", "1:1: the layout has no nodes"),
        ("[nodes]\n", "1:2: the layout has no nodes"),
        ("nodes = 3\n", "1:9: [nodes]: found `3`, expected a table"),
        ("[nodes]\nm = 3\n", "2:5: [nodes.m]: found `3`, expected a table"),
        ("[nodes.x]\nip = \"::1\"\n", "1:8: [nodes.x] has no `node_type`"),
        ("[nodes.x]\nnode_type = \"worker\"\n", "1:8: [nodes.x] has no `ip`"),
        (
            "[nodes.\"a/b\"]\nnode_type = \"worker\"\nip = \"::1\"\n",
            "1:8: the node name \"a/b\" contains `/`",
        ),
        ("[nodes.\"\"]\nnode_type = \"worker\"\nip = \"::1\"\n", "the node name \"\" is empty"),
        ("[nodes.l]\nnode_type = \"logger\"\nip = \"::1\"\n", "1:8: logger `l` has no `port`"),
        (
            "[nodes]\na = { node_type = \"manager\", ip = \"10.0.0.1\" }\n\
             b = { node_type = \"manager\", ip = \"10.0.0.1\" }\n",
            "3:19: `b` is a second manager beside `a`",
        ),
        (
            "[nodes]\na = { node_type = \"worker\", ip = \"10.0.0.1\" }\n\
             b = { node_type = \"worker\", ip = \"10.0.0.1\", manager = \"a\" }\n",
            "`b` names `a` as its manager, which is of type worker",
        ),
        (
            "[cluster]\nmanager_is_logger = true\n[nodes.m]\nnode_type = \"manager\"\nip = \"::1\"",
            "`m` receives logs by `manager_is_logger` but has no `port`",
        ),
        ("[nodes.m]\nnode_type = \"manager\"\nip = \"0.0.0.0\"\n", "`ip` of `m` must be"),
    ] {
        let errors = errors(text);
        assert_eq!(errors.len(), 1, "{text}: {errors:?}");
        assert!(errors[0].contains(expected), "{text}: {errors:?}");
    }
    for (extra, expected) in [
        ("[zeromq]\nlisten_xpub_endpoint = \"127.0.0.1:1\"\n", "no transport in"),
        ("[zeromq]\nlisten_xpub_endpoint = \"\"\n", "no transport in"),
        ("[zeromq]\nconnect_xpub_endpoint = \"tcp://*:1\"\n", "connect to a wildcard address"),
        ("[zeromq]\nconnect_log_endpoints = [\"tcp://h:0\"]\n", "connect to port 0"),
        ("[zeromq]\nconnect_log_endpoints = [1]\n", "found a list, expected a list of strings"),
        ("[zeromq]\nxsub_rcvhwm = -1\n", "expected 0 (unlimited) or more"),
        ("[zeromq]\nproxy_io_threads = 0\n", "expected a whole number from 1 to 64"),
        ("[zeromq]\nheartbeat_ttl = \"2h\"\n", "found 2h, expected at most 6553s"),
        ("[zeromq]\nnode_topic_prefix = \"\"\n", "expected a prefix of topics"),
        ("[zeromq]\ncurve_server_secretkey = \"short\"\n", "found 5 characters, expected a key"),
        ("[zeromq]\nhello_delay = -1\n", "expected a duration"),
        ("[zeromq]\nmax_message_size = \"12 parsecs\"\n", "expected a number of bytes"),
        ("[zeromq]\nipv6 = 1\n", "found `1`, expected `true` or `false`"),
        ("[zeromq]\nipv6 = 2026-01-01\n", "found a date or time"),
        ("[zeromq]\nxpub_sndhwm = 99999999999999999999\n", "found a number beyond 64 bits"),
        ("[log]\nset_separator = \"\"\n", "`set_separator` is empty"),
        ("[log]\nformat = \"xml\"\n", "expected one of \"tsv\", \"json\""),
        ("[log]\nsuffix = \"a/b\"\n", "expected a file extension"),
        ("[telemetry]\nmetrics_endpoint_label = \"1x\"\n", "expected letters"),
        ("[nodes.m.websocket]\nport = 1\n", "unknown key `port` in `websocket` of [nodes.m]"),
        ("[nodes.x]\nnode_type = \"worker\"\nip = \"::1\"\nwebsockt = 1\n", "mean `websocket`?"),
    ] {
        let errors = errors(&format!("{HEAD}{extra}"));
        assert!(errors.iter().any(|e| e.contains(expected)), "{extra}: {errors:?}");
    }
}

#[test]
fn ports_are_taken_once() {
    let node = |name: &str, ip: &str, rest: &str| {
        format!("[nodes.{name}]\nnode_type = \"logger\"\nip = \"{ip}\"\n{rest}\n")
    };
    let taken = |text: &str| {
        let errors = read(text).err().map_or_else(Vec::new, |errors| errors.diagnostics);
        let of_ports = errors.into_iter().filter(|e| e.message.contains(" uses "));
        Some(of_ports.map(|e| e.message).collect::<Vec<_>>()).filter(|errors| !errors.is_empty())
    };
    let a = node("a", "127.0.0.1", "port = 7000\nmetrics_port = 9000");
    for (other, collides) in [
        (node("b", "127.0.0.1", "port = 7000"), true),
        (node("b", "127.0.0.1", "port = 7001\nmetrics_port = 7000"), true),
        (node("b", "127.0.0.1", "port = 7001\nwebsocket = { listen_port = 9000 }"), true),
        (node("b", "127.0.0.1", "port = 5555"), true),
        (node("b", "10.0.0.1", "port = 7000\nmetrics_port = 9000"), false),
        (node("b", "127.0.0.1", "port = 0\nmetrics_port = 0"), false),
        (format!("{}[broker]\nmetrics_port = 9000", node("b", "::1", "port = 1")), true),
        (format!("{}[telemetry]\nmetrics_address = \"0.0.0.0\"", node("b", "10.0.0.1", "port = 1\nmetrics_port = 9000")), false),
        (format!("{}[telemetry]\nmetrics_address = \"0.0.0.0\"", node("b", "127.0.0.1", "port = 1\nmetrics_port = 7000")), true),
        ("[zeromq]\nlisten_xpub_endpoint = \"tcp://*:7000\"".into(), true),
        ("[zeromq]\nlisten_xpub_endpoint = \"tcp://127.0.0.1:5556\"".into(), true),
        ("[zeromq]\nlisten_xpub_endpoint = \"tcp://127.0.0.1:0\"\nlisten_xsub_endpoint = \"tcp://127.0.0.1:*\"".into(), false),
    ] {
        let text = format!("{a}{other}");
        let found = taken(&text);
        assert_eq!(found.is_some(), collides, "{text}\n{found:?}");
        assert!(found.is_none_or(|f| f.len() == 1 && f[0].contains(" uses tcp://")), "{text}");
    }
}

#[test]
fn what_is_legal_but_unwise_is_a_warning() {
    for (extra, expected) in [
        ("[zeromq]\nxpub_sndhwm = 0\n", "6:15: `xpub_sndhwm` is 0"),
        ("[zeromq]\nheartbeat_timeout = \"1s\"\n", "below `heartbeat_interval`"),
        (
            "[zeromq]\nrun_proxy_thread = true\n",
            "6:1: `run_proxy_thread` in [zeromq] has no effect",
        ),
        (
            "[nodes.l]\nnode_type = \"logger\"\nip = \"::1\"\nport = 1\n[cluster]\nmanager_is_logger = true\n",
            "beside the loggers",
        ),
        ("[log]\nset_separator = \"\\t\"\n", "are the same"),
    ] {
        let warnings = warnings(&format!("{HEAD}{extra}"));
        assert_eq!(warnings.len(), 1, "{extra}: {warnings:?}");
        assert!(warnings[0].contains(expected), "{extra}: {warnings:?}");
    }
    let link_local = warnings(&HEAD.replace("127.0.0.1", "fe80::1"));
    assert_eq!(link_local, ["3:6: `m` has a link-local address but no `zone_id`"]);
    let nobody = "[nodes]\nm = { node_type = \"manager\", ip = \"10.0.0.1\" }\n\
                  w = { node_type = \"worker\", ip = \"10.0.0.1\" }\n";
    assert!(warnings(nobody)[0].contains("no node receives logs"));
    let alone = "[nodes.m]\nnode_type = \"manager\"\nip = \"10.0.0.1\"\n";
    assert_eq!(warnings(alone), [""; 0]);
}

#[test]
fn syntax_errors_have_places_and_hide_their_consequences() {
    for (text, expected) in [
        ("[nodes.m\nnode_type = \"manager\"\nip = \"::1\"\n", "1:1: the header of a table has no"),
        ("[zeromq]\nipv6 = \n[nodes]\n", "2:6: `ipv6` has no value"),
        ("[zeromq]\nipv6 = 1 2\nlinger_ms = \"a\" 2\n", "2:8: text needs quotes"),
        ("[nodes.a]\n[nodes.a]\n", "2:1: [nodes.a] appears twice, first at line 1"),
        ("a = \"\"\"", "1:5: this text has no closing `\"\"\"`"),
    ] {
        let errors = errors(text);
        assert!(errors[0].starts_with(expected), "{text}: {errors:?}");
        assert!(errors.iter().all(|e| !e.contains("has no nodes")), "{text}: {errors:?}");
    }
}

#[test]
fn secrets_are_never_shown() {
    for text in [
        "[zeromq]\ncurve_server_secretkey = \"hunter2\"\n",
        "[zeromq]\ncurve_server_secretkey = [\"hunter2\"]\n",
        "[zeromq]\ncurve_server_secretkey = \"hunter2\n",
        "[zeromq]\ncurve_sever_secretkey = \"hunter2\"\n",
        "[zeromq]\ncurve_server_secretkey = '''\nhunter2'''\n",
    ] {
        let errors = read(text).unwrap_err();
        assert!(!format!("{errors} {errors:?}").contains("hunter2"), "{errors}");
    }
}

#[test]
fn options_own_to_us_exist() {
    use super::table::Table;
    let mut zeromq = ZeroMq::default();
    let names: Vec<_> = zeromq.options().into_iter().map(|(name, _)| name).collect();
    assert!(ZeroMq::OWN.iter().all(|own| names.contains(own)));
    assert!(ZeroMq::IGNORED.iter().all(|ignored| !names.contains(ignored)));
    let mut websocket = WebSocket::default();
    let names: Vec<_> = websocket.options().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names[names.len() - WebSocket::OWN.len()..], WebSocket::OWN);
}

#[test]
fn the_shipped_layout_is_sound() {
    let (layout, warnings) = read(include_str!("../../cluster-layout.toml")).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(layout.loggers().count(), 2);
}
