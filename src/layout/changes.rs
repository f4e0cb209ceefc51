//! [`waiting_for_restart`]: the options that a process would apply only after a restart. Pure.
//!
//! What a running process reloads at SIGHUP is not included: keys and rules
//! ([`Reloader`](crate::daemon::Reloader)), and what [`WebSocket::take_over`] names.

use std::collections::{BTreeMap, BTreeSet};

use super::setting::toml_key;
use super::table::{Table, differing};
use super::{Layout, WebSocket};

/// The role of a process in a cluster, as far as it decides which options apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The broker.
    Broker,
    /// A node that receives logs: a server, and a client of the broker.
    Logger,
    /// Any other node: a client.
    Node,
}

/// The options, as `[section] option`, that differ between the layout a process runs with and
/// another layout, and that a process of that role reads only at startup. Added and removed nodes
/// are named by their section alone. Values are never included.
pub fn waiting_for_restart(running: &Layout, other: &Layout, role: Role) -> Vec<String> {
    let (mut running, mut other) = (running.clone(), other.clone());
    let mut changes = Changes { role, names: Vec::new() };
    changes.section("cluster", &mut running.cluster, &mut other.cluster);
    changes.section("zeromq", &mut running.zeromq, &mut other.zeromq);
    changes.section("curve", &mut running.curve, &mut other.curve);
    changes.section("broker", &mut running.broker, &mut other.broker);
    changes.tables("broker.topic", &mut running.broker.topic, &mut other.broker.topic);
    changes.section("log", &mut running.log, &mut other.log);
    changes.tables("log.path", &mut running.log.path, &mut other.log.path);
    changes.section("telemetry", &mut running.telemetry, &mut other.telemetry);
    changes.tables("pools", &mut running.pools, &mut other.pools);
    changes.tables("stores", &mut running.stores, &mut other.stores);
    changes.tables("nodes", &mut running.nodes, &mut other.nodes);
    for (name, node) in &running.nodes {
        // For added and removed nodes the section is enough.
        if let Some(other) = other.nodes.get(name) {
            changes.websocket(name, node.websocket.as_ref(), other.websocket.as_ref());
        }
    }
    changes.names
}

struct Changes {
    role: Role,
    names: Vec<String>,
}

impl Changes {
    fn section(&mut self, section: &str, one: &mut dyn Table, other: &mut dyn Table) {
        for option in differing(one, other) {
            self.name(section, None, option);
        }
    }

    /// Sections named by the user: one that is in only one of the two layouts is reported by its
    /// name.
    fn tables<T: Table>(
        &mut self,
        section: &str,
        one: &mut BTreeMap<String, T>,
        other: &mut BTreeMap<String, T>,
    ) {
        let names: BTreeSet<String> = one.keys().chain(other.keys()).cloned().collect();
        for name in names {
            match (one.get_mut(&name), other.get_mut(&name)) {
                (Some(one), Some(other)) => {
                    for option in differing(one, other) {
                        self.name(section, Some(&name), option);
                    }
                }
                _ => self.name(section, Some(&name), ""),
            }
        }
    }

    fn websocket(&mut self, node: &str, one: Option<&WebSocket>, other: Option<&WebSocket>) {
        let (Some(one), Some(other)) = (one, other) else {
            if one.is_some() || other.is_some() {
                self.name("nodes", Some(node), "websocket");
            }
            return;
        };
        let (mut one, mut other) = (one.clone(), other.clone());
        one.take_over(&other);
        let options = differing(&mut one, &mut other);
        let of_tls = differing(&mut one.tls_options, &mut other.tls_options);
        let of_tls = of_tls.into_iter().map(|option| format!("tls_options.{option}"));
        for option in options.into_iter().map(str::to_owned).chain(of_tls) {
            self.name("nodes", Some(node), &format!("websocket.{option}"));
        }
    }

    fn name(&mut self, section: &str, name: Option<&str>, option: &str) {
        if !waits(self.role, section, option) {
            return;
        }
        let name = name.map_or(String::new(), |name| format!(".{}", toml_key(name)));
        self.names.push(format!("[{section}{name}] {option}").trim_end().to_owned());
    }
}

/// Whether a process of that role uses the option, and reads it only at startup. Options that are
/// not known to be irrelevant are reported.
fn waits(role: Role, section: &str, option: &str) -> bool {
    match role {
        Role::Broker => match section {
            "broker" | "broker.topic" | "telemetry" => true,
            "zeromq" => {
                !OF_NODES.iter().any(|prefix| option.starts_with(prefix))
                    && !RELOADED_BY_SERVERS.contains(&option)
            }
            // Its keys and the nodes are reloaded.
            _ => false,
        },
        Role::Logger => match section {
            // It has no stores.
            "broker" | "broker.topic" | "stores" => false,
            // Its own logs stay here.
            "cluster" => option != "enable_round_robin_logging" && !option.starts_with("default_"),
            "zeromq" | "curve" => {
                !OF_THE_BROKER.contains(&option) && !RELOADED_BY_SERVERS.contains(&option)
            }
            // It serves no WebSocket API.
            "nodes" => option != "curve_publickey" && !option.starts_with("websocket"),
            _ => true,
        },
        Role::Node => match section {
            "broker" | "broker.topic" | "log.path" => false,
            "zeromq" | "curve" => !OF_THE_BROKER.contains(&option) && !OF_SERVERS.contains(&option),
            "log" => OF_PRODUCERS.contains(&option),
            _ => true,
        },
    }
}

/// Prefixes of the `[zeromq]` options that the broker does not use.
const OF_NODES: [&str; 12] = [
    "connect_",
    "curve_client_secretkey",
    // The broker only checks that it matches its secret key.
    "curve_server_publickey",
    "hello_",
    "listen_log_",
    "log_",
    "onloop_",
    "poll_max_messages",
    "publish_queue_",
    "reconcile_grace",
    "xpub_",
    "xsub_",
];

/// The options of `[zeromq]` and `[curve]` that nodes do not use.
const OF_THE_BROKER: [&str; 2] = ["proxy_io_threads", "listen_xpub_nodrop"];

/// The options of `[zeromq]` and `[curve]` that servers reload at SIGHUP.
const RELOADED_BY_SERVERS: [&str; 4] = [
    "curve_server_secretkey",
    "curve_client_publickey",
    "old_server_secretkey",
    "old_client_publickey",
];

/// The options of `[zeromq]` and `[curve]` that only servers use.
const OF_SERVERS: [&str; 3] =
    ["curve_server_secretkey", "old_server_secretkey", "old_client_publickey"];

/// The options of `[log]` used by nodes that send logs and write none.
const OF_PRODUCERS: [&str; 3] = ["write_buffer_size", "flush_interval", "shutdown_timeout"];

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &str = "[nodes.logger-1]\nnode_type = \"logger\"\nip = \"127.0.0.1\"\nport = 1\n";

    fn layout(more: &str) -> Layout {
        Layout::from_toml(&format!("{NODES}{more}"), "l.toml").unwrap().0
    }

    /// What waits for a restart in the broker, a logger, another node.
    fn all(one: &Layout, other: &Layout) -> [String; 3] {
        [Role::Broker, Role::Logger, Role::Node].map(|role| {
            let names = waiting_for_restart(one, other, role);
            assert_eq!(waiting_for_restart(other, one, role), names);
            names.join(", ")
        })
    }

    #[test]
    fn each_process_is_told_what_it_heeds_at_its_start() {
        for (change, broker, logger, node) in [
            ("", "", "", ""),
            (
                "[zeromq]\nlisten_xpub_endpoint = \"tcp://127.0.0.1:9\"\nmax_message_size = 9",
                "[zeromq] listen_xpub_endpoint, [zeromq] max_message_size",
                "[zeromq] listen_xpub_endpoint, [zeromq] max_message_size",
                "[zeromq] listen_xpub_endpoint, [zeromq] max_message_size",
            ),
            ("[zeromq]\nproxy_io_threads = 3", "[zeromq] proxy_io_threads", "", ""),
            (
                "[zeromq]\nxpub_sndhwm = 3\nlog_sndhwm = 9",
                "",
                "[zeromq] xpub_sndhwm, [zeromq] log_sndhwm",
                "[zeromq] xpub_sndhwm, [zeromq] log_sndhwm",
            ),
            (
                "[broker]\nmetrics_port = 9\n[broker.topic.\"a.b\"]\nwhen_full = \"block\"",
                "[broker] metrics_port, [broker.topic.\"a.b\"]",
                "",
                "",
            ),
            (
                "[log]\nmax_memory = \"1GiB\"\nflush_interval = \"3s\"\n[log.path.conn]\ndisabled = true",
                "",
                "[log] flush_interval, [log] max_memory, [log.path.conn]",
                "[log] flush_interval",
            ),
            (
                "[telemetry]\nmetrics_address = \"127.0.0.2\"\n[cluster]\nname = \"x\"",
                "[telemetry] metrics_address",
                "[cluster] name, [telemetry] metrics_address",
                "[cluster] name, [telemetry] metrics_address",
            ),
            ("[nodes.w]\nnode_type = \"worker\"\nip = \"::1\"", "", "[nodes.w]", "[nodes.w]"),
            (
                "[cluster]\ndefault_backend = \"sqlite\"\n[stores.\"a/b\"]\nmax_value_size = \"2MiB\"",
                "",
                "",
                "[cluster] default_backend, [stores.\"a/b\"]",
            ),
            // Every process reloads the rules.
            ("[allow.worker]\nlogs = false", "", "", ""),
            (
                "[curve]\nsecret_keys_dir = \"x\"\nmode = \"per-node\"",
                "",
                "[curve] mode, [curve] secret_keys_dir",
                "[curve] mode, [curve] secret_keys_dir",
            ),
        ] {
            let expected = [broker, logger, node];
            assert_eq!(all(&layout(""), &layout(change)), expected, "{change}");
        }
    }

    #[test]
    fn options_of_nodes_and_of_named_sections_have_their_names() {
        let node =
            |more: &str| layout(&format!("[nodes.\"a.b\"]\nnode_type = \"manager\"\n{more}"));
        let topic = |word: &str| layout(&format!("[broker.topic.t]\nwhen_full = \"{word}\""));
        let path = |more: &str| layout(&format!("[log.path.conn]\n{more}"));
        let (before, mut after) = (
            node("ip = \"127.0.0.1\"\nmetrics_port = 4"),
            node("ip = \"127.0.0.1\"\nmetrics_port = 5\nwebsocket = { listen_port = 3 }"),
        );
        let metrics = "[nodes.\"a.b\"] metrics_port";
        let own = format!("{metrics}, [nodes.\"a.b\"] websocket");
        assert_eq!(all(&before, &after), ["", metrics, &own]);
        after.nodes.get_mut("a.b").unwrap().allow.logs = Some(false);
        assert_eq!(all(&before, &after), ["", metrics, &own], "rules are loaded");
        let waits = "[broker.topic.t] when_full";
        assert_eq!(all(&topic("block"), &topic("drop-oldest")), [waits, "", ""]);
        let waits = "[log.path.conn] rotation";
        assert_eq!(all(&path("rotation = 0"), &path("rotation = \"1h\"")), ["", waits, ""]);
    }

    #[test]
    fn a_websocket_api_takes_over_who_may_use_it_and_names_the_rest() {
        let node = |more: &str| {
            let head = "[nodes.m]\nnode_type = \"manager\"\nip = \"127.0.0.1\"\n";
            layout(&format!("{head}[nodes.m.websocket]\n{more}"))
        };
        let tls = "cert_file = \"c\"\nkey_file = \"k\"\n";
        for (change, waits) in [
            ("", ""),
            ("allowed_origins = [\"https://a\"]\n[nodes.m.websocket.applications.x]\n", ""),
            ("listen_port = 2\nmax_rate = 9", "listen_port, max_rate"),
            ("allow_anonymous = true", "allow_anonymous"),
            (tls, "tls_options.cert_file, tls_options.key_file"),
        ] {
            let named: Vec<_> = waits.split(", ").filter(|option| !option.is_empty()).collect();
            let named: Vec<_> = named.iter().map(|o| format!("[nodes.m] websocket.{o}")).collect();
            let expected = ["", "", &named.join(", ")];
            assert_eq!(all(&node(""), &node(change)), expected, "{change}");
        }
    }

    #[test]
    fn keys_are_named_by_who_does_not_take_them_over_and_never_shown() {
        let pairs = || {
            let pair = crate::wire::zmtp::KeyPair::generate();
            (pair.public().to_string(), pair.secret().expose_text().to_string())
        };
        let shared = || {
            let (server, client) = (pairs(), pairs());
            layout(&format!(
                "[zeromq]\ncurve_server_publickey = {:?}\ncurve_server_secretkey = {:?}\n\
                 curve_client_publickey = {:?}\ncurve_client_secretkey = {:?}\n\
                 [curve]\nold_server_secretkey = {:?}\n",
                server.0,
                server.1,
                client.0,
                client.1,
                pairs().1,
            ))
        };
        let as_client = "[zeromq] curve_server_publickey, [zeromq] curve_client_secretkey";
        let of_node = "[zeromq] curve_server_publickey, [zeromq] curve_client_publickey, \
                       [zeromq] curve_client_secretkey";
        assert_eq!(all(&shared(), &shared()), ["", as_client, of_node]);

        let mut one = layout("[curve]\nmode = \"per-node\"");
        let other = one.clone();
        one.curve.broker_publickey = pairs().0.parse().ok();
        let logger = one.nodes.get_mut("logger-1").unwrap();
        logger.curve_publickey = vec![pairs().0.parse().unwrap()];
        let of_node = "[curve] broker_publickey, [nodes.logger-1] curve_publickey";
        assert_eq!(all(&one, &other), ["", "[curve] broker_publickey", of_node]);
    }
}
