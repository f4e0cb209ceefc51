//! Whether nodes can reach the broker and the loggers: what is rejected, warned about, and left
//! alone.

use super::*;

/// Nodes with their types and addresses; loggers listen at port 7.
fn nodes(nodes: &[(&str, &str, &str)]) -> String {
    let node = |(name, node_type, ip): &(&str, &str, &str)| {
        let port = if *node_type == "logger" { "port = 7\n" } else { "" };
        format!("[nodes.{name}]\nnode_type = \"{node_type}\"\nip = \"{ip}\"\n{port}")
    };
    nodes.iter().map(node).collect()
}

const NEAR: [(&str, &str, &str); 3] =
    [("m", "manager", "10.0.0.1"), ("l", "logger", "10.0.0.1"), ("w", "worker", "10.0.0.1")];
const FAR: [(&str, &str, &str); 3] =
    [("m", "manager", "10.0.0.1"), ("l", "logger", "10.0.0.1"), ("w", "worker", "10.0.0.2")];
const LOOPBACK: [(&str, &str, &str); 3] =
    [("m", "manager", "127.0.0.1"), ("l", "logger", "127.0.0.1"), ("w", "worker", "10.0.0.2")];

/// All messages about a layout, warnings with `W`.
fn said(text: &str) -> Vec<String> {
    let (_, diagnostics) = Layout::inspect_toml(text, "l.toml", Some(u64::MAX));
    let shown = |d: Diagnostic| {
        let severity = if d.severity == Severity::Warning { "W " } else { "" };
        format!("{severity}{}:{}: {}", d.line, d.column, d.message)
    };
    diagnostics.into_iter().map(shown).collect()
}

#[test]
fn layouts_of_one_host_may_use_loopback() {
    let v6 = NEAR.map(|(name, node_type, _)| (name, node_type, "::1"));
    let mut mixed = LOOPBACK;
    mixed[2].2 = "127.0.0.2";
    let ipc =
        "[zeromq]\nlisten_xsub_endpoint = \"ipc:///run/a\"\nlisten_xpub_endpoint = \"ipc://@b\"\n";
    let any = "[zeromq]\nlisten_xsub_endpoint = \"tcp://*:1\"\nlisten_xpub_endpoint = \"tcp://0.0.0.0:2\"\n";
    for of in [nodes(&NEAR), nodes(&v6), nodes(&mixed)] {
        for options in ["", ipc, any] {
            assert_eq!(said(&format!("{options}{of}")), [""; 0], "{options}{of}");
        }
    }
    let far = nodes(&FAR);
    for endpoints in [
        ["tcp://10.0.0.1:1", "tcp://10.0.0.1:2"],
        ["tcp://*:1", "tcp://[::]:2"],
        ["tcp://broker.example:1", "tcp://broker.example:2"],
    ] {
        let [xsub, xpub] = endpoints;
        let options = format!(
            "[zeromq]\nlisten_xsub_endpoint = \"{xsub}\"\nlisten_xpub_endpoint = \"{xpub}\"\n"
        );
        assert_eq!(said(&format!("{options}{far}")), [""; 0], "{options}");
    }
    // The broker belongs to another cluster.
    let connect =
        "[zeromq]\nconnect_xpub_endpoint = \"tcp://b:1\"\nconnect_xsub_endpoint = \"tcp://b:2\"\n";
    assert_eq!(said(&format!("{connect}{far}")), [""; 0]);
}

#[test]
fn a_broker_on_loopback_is_refused_with_what_to_write() {
    let far = nodes(&FAR);
    // The defaults: the place is the node that cannot reach them.
    assert_eq!(
        said(&far),
        [
            "10:6: the broker's XSUB listens at tcp://127.0.0.1:5556, which `w` (10.0.0.2) cannot \
             reach: write listen_xsub_endpoint = \"tcp://10.0.0.1:5556\"",
            "10:6: the broker's XPUB listens at tcp://127.0.0.1:5555, which `w` (10.0.0.2) cannot \
             reach: write listen_xpub_endpoint = \"tcp://10.0.0.1:5555\"",
        ]
    );
    for endpoint in [
        "tcp://127.0.0.1:5",
        "tcp://localhost:5",
        "tcp://[::1]:5",
        "tcp://127.3.2.1:5",
        "tcp://lo:5",
    ] {
        let xsub = format!("[zeromq]\nlisten_xsub_endpoint = \"{endpoint}\"\n");
        let xpub = "listen_xpub_endpoint = \"tcp://10.0.0.1:6\"\n";
        assert_eq!(
            said(&format!("{xsub}{xpub}{far}")),
            [format!(
                "2:24: the broker's XSUB listens at {endpoint}, which `w` (10.0.0.2) cannot reach: \
                 write listen_xsub_endpoint = \"tcp://10.0.0.1:5\""
            )]
        );
    }
    let ipc = "[zeromq]\nlisten_xsub_endpoint = \"ipc:///a\"\nlisten_xpub_endpoint = \"tcp://10.0.0.1:6\"\n";
    assert!(
        said(&format!("{ipc}{far}"))[0]
            .contains("write listen_xsub_endpoint = \"tcp://10.0.0.1:PORT\"")
    );

    // Nodes at loopback beside others: the broker's host has no known address.
    let said_of = said(&nodes(&LOOPBACK));
    assert_eq!(said_of.len(), 3, "{said_of:?}");
    assert_eq!(
        said_of[0],
        "6:6: `l` receives logs at tcp://127.0.0.1:7, which is local to each host: `w` (10.0.0.2) \
         cannot reach it; expected the `ip` of its host"
    );
    assert!(
        said_of[2].ends_with("write listen_xpub_endpoint = \"tcp://ADDRESS:5555\""),
        "{said_of:?}"
    );
    // Nodes expect a broker that listens everywhere on the manager's host.
    let any =
        "[zeromq]\nlisten_xsub_endpoint = \"tcp://*:1\"\nlisten_xpub_endpoint = \"tcp://*:2\"\n";
    let said_of = said(&format!("{any}{}", nodes(&LOOPBACK)));
    assert_eq!(said_of.len(), 2, "{said_of:?}");
    assert!(said_of[0].starts_with("6:6: nodes look for the broker at the `ip` of `m`, 127.0.0.1"));
    let no_manager = [("a", "worker", "10.0.0.1"), ("b", "worker", "10.0.0.2")];
    let said_of = said(&format!("{any}{}", nodes(&no_manager)));
    assert!(said_of.iter().any(|e| {
        e.starts_with("2:24: the layout does not say on which host the broker's XSUB is")
    }));
    assert!(
        said_of
            .iter()
            .any(|e| e.contains("expected `connect_xsub_endpoint = \"tcp://ADDRESS:2\"`"))
    );
}

#[test]
fn daemons_start_with_what_may_be_one_host() {
    let text = nodes(&FAR);
    let (_, warnings) = read(&text).unwrap();
    let (layout, errors) = Layout::inspect_toml(&text, "l.toml", Some(u64::MAX));
    assert!(layout.is_none() && warnings.len() == 2);
    for (warning, error) in warnings.iter().zip(&errors) {
        assert_eq!((warning.severity, error.severity), (Severity::Warning, Severity::Error));
        assert_eq!(warning.message, error.message);
    }
}

#[test]
fn what_somebody_set_may_be_meant() {
    let far = nodes(&FAR);
    let listen = "[zeromq]\nlisten_xsub_endpoint = \"tcp://10.0.0.1:1\"\nlisten_xpub_endpoint = \"tcp://10.0.0.1:2\"\n";
    for (options, expected) in [
        (
            "connect_xpub_endpoint = \"tcp://127.0.0.1:1\"\n",
            "W 4:25: `connect_xpub_endpoint` is tcp://127.0.0.1:1, which is local to each host: \
             `w` (10.0.0.2) cannot reach the broker that way, unless something there forwards it",
        ),
        (
            "connect_log_endpoints = [\"tcp://localhost:1\"]\n",
            "W 4:25: `connect_log_endpoints` has tcp://localhost:1, which is local to each host",
        ),
        (
            "listen_log_endpoint = \"tcp://127.0.0.1:1\"\n",
            "4:23: loggers listen at tcp://127.0.0.1:1, which nodes on other hosts cannot reach",
        ),
        (
            "connect_xpub_endpoint = \"tcp://10.0.0.1:2\"\n",
            "4:25: `connect_xpub_endpoint` is where the broker's XPUB listens, but an XPUB of nodes \
             connects to the broker's XSUB: write connect_xpub_endpoint = \"tcp://10.0.0.1:1\"",
        ),
        (
            "connect_xsub_endpoint = \"tcp://10.0.0.1:1\"\n",
            "4:25: `connect_xsub_endpoint` is where the broker's XSUB listens, but an XSUB of nodes \
             connects to the broker's XPUB: write connect_xsub_endpoint = \"tcp://10.0.0.1:2\"",
        ),
        (
            "connect_xsub_endpoint = \"tcp://h:1\"\nconnect_xpub_endpoint = \"tcp://h:1\"\n",
            "4:25: `connect_xsub_endpoint` and `connect_xpub_endpoint` are the same",
        ),
    ] {
        let said = said(&format!("{listen}{options}{far}"));
        assert_eq!(said.len(), 1, "{options}: {said:?}");
        assert!(said[0].starts_with(expected), "{options}: {said:?}");
    }
    let listen = "[zeromq]\nlisten_xsub_endpoint = \"tcp://127.0.0.1:1\"\n\
                  connect_xpub_endpoint = \"tcp://10.0.0.1:1\"\nconnect_xsub_endpoint = \"tcp://h:2\"\n";
    let said = said(&format!("{listen}{far}"));
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].starts_with("W 2:24: the broker's XSUB listens at tcp://127.0.0.1:1, but nodes")
    );
}

#[test]
fn what_nobody_can_know_is_warned_of() {
    let near = nodes(&NEAR);
    for (options, expected) in [
        (
            "[zeromq]\nlisten_xsub_endpoint = \"tcp://127.0.0.1:*\"\n",
            "W 2:24: the system chooses the port of the broker's XSUB, which nodes then do not know; \
             expected a port, or `connect_xpub_endpoint`",
        ),
        (
            "[zeromq]\nlisten_xpub_endpoint = \"tcp://eth0:5555\"\n",
            "W 2:24: `eth0` looks like an interface, and nodes would connect to a host of that name; \
             expected `connect_xsub_endpoint = \"tcp://ADDRESS:5555\"`, too",
        ),
        (
            "[nodes.k]\nnode_type = \"logger\"\nip = \"10.0.0.1\"\nport = 0\n",
            "W 4:8: the system chooses the port of `k`, which nodes then do not know: they send it no",
        ),
        (
            "[zeromq]\nconnect_xsub_endpoint = \"tcp://[fe80::1]:5555\"\n",
            "W 2:25: `connect_xsub_endpoint`: a link-local address needs its interface, as in `tcp://",
        ),
    ] {
        let said = said(&format!("{options}{near}"));
        assert_eq!(said.len(), 1, "{options}: {said:?}");
        assert!(said[0].starts_with(expected), "{options}: {said:?}");
    }
}

#[test]
fn every_cluster_has_a_manager_and_takes_logs() {
    let said_of = said(&nodes(&[("a", "worker", "::1")]));
    assert!(
        said_of.len() == 1 && said_of[0].starts_with("W 1:2: the layout has no manager; a cluster"),
        "{said_of:?}"
    );
    let cluster = "[cluster]\nmanager_is_logger = false\n";
    let said_of =
        said(&format!("{cluster}{}", nodes(&[("m", "manager", "::1"), ("w", "worker", "::1")])));
    assert_eq!(said_of.len(), 1);
    assert!(
        said_of[0].ends_with("the layout has no logger, and `manager_is_logger` is false"),
        "{said_of:?}"
    );
}

#[test]
fn names_and_addresses_that_make_trouble() {
    let worker = |name: &str, ip: &str| {
        format!("[nodes.\"{name}\"]\nnode_type = \"worker\"\nip = \"{ip}\"\n")
    };
    for (name, expected) in [
        ("a b", "W 5:8: the node name \"a b\" is used in topics, paths and commands"),
        ("bröker", "W 5:8: the node name \"bröker\" is used in topics"),
        ("broker", "W 5:8: the node name `broker` is also what `zcluster` calls the broker"),
        ("servers", "W 5:8: the node name `servers` is also what `zcluster` calls the keys of all"),
        ("M", "W 5:8: the node names `M` and `m` differ in case only"),
        ("m.x", "W 5:8: the topics of `m.x` begin with those of `m`, which gets all events for it"),
        ("a/b", "5:8: the node name \"a/b\" contains `/`"),
        ("..", "5:8: the node name \"..\" is not a valid directory name"),
    ] {
        let said = said(&format!("{HEAD}{}", worker(name, "127.0.0.1")));
        assert_eq!(said.len(), 1, "{name}: {said:?}");
        assert!(said[0].starts_with(expected) || name == "M", "{name}: {said:?}");
        assert!(name != "M" || said[0].contains("differ in case only"), "{said:?}");
    }
    for (ip, kind) in [
        ("0.0.0.0", "every address of a host"),
        ("::", "every address of a host"),
        ("255.255.255.255", "the broadcast address"),
        ("224.0.0.1", "a multicast address"),
        ("ff02::1", "a multicast address"),
    ] {
        let text = worker("m", ip).replace("worker", "manager");
        let errors = errors(&text);
        let expected =
            format!("3:6: `ip` of `m` must be an address others can connect to; {ip} is {kind}");
        assert_eq!(errors, [expected], "{ip}");
    }
    for option in [
        "[broker]\nmetrics_address = \"224.0.0.1\"\n",
        "[telemetry]\nmetrics_address = \"255.255.255.255\"\n",
        "[nodes.m.websocket]\nlisten_addr = \"ff02::1\"\nenable_peer_verification = false\n",
        "[zeromq]\nlisten_xpub_endpoint = \"tcp://224.0.0.1:1\"\n",
    ] {
        let errors = errors(&format!("{HEAD}{option}"));
        assert!(errors.len() == 1 && errors[0].contains(" address; expected an"), "{errors:?}");
    }
}

#[test]
fn an_address_that_is_none_says_why() {
    let known = "expected an IPv4 or IPv6 address";
    for (ip, expected) in [
        ("\"manager.example\"", ", not a name, which each host may look up differently;"),
        ("\"localhost\"", ": this host's loopback address is \"127.0.0.1\""),
        ("\"10.0.0.1:5555\"", " alone, without port"),
        ("\"tcp://10.0.0.1:5555\"", " alone, without transport and port"),
        ("\"10.0.0.0/8\"", " of one host, not a network"),
        ("\"fe80::1%eth0\"", "; the part after `%` belongs in `zone_id`"),
        ("\"\"", ""),
        ("\"10.0.0.256\"", ""),
        ("10.5", " in quotes"),
        ("[\"10.0.0.1\"]", " in quotes"),
    ] {
        let errors = errors(&format!("[nodes.m]\nnode_type = \"manager\"\nip = {ip}\n"));
        assert_eq!(errors.len(), 1, "{ip}: {errors:?}");
        assert!(errors[0].contains(&format!("{known}{expected}")), "{ip}: {errors:?}");
        let is_name = ip.contains("example");
        assert_eq!(
            errors[0].ends_with("`getent hosts manager.example` shows its address"),
            is_name
        );
    }
}
