//! Whether nodes can reach the broker and the log receivers, judging by addresses.
//!
//! A layout whose nodes are all on one host may use loopback for anything. With nodes on several
//! hosts, defaults that cannot work are an error in a check; daemons still start, as one host may
//! have several addresses. An explicitly set option whose value may be intended, for example for a
//! tunnel, is a warning.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::super::{Endpoint, Host, Layout, Node};
use super::{Check, Origin};

/// Names that mean the host itself.
const OWN_NAMES: [&str; 5] =
    ["localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback", "lo"];

/// One of the broker's two sockets, and the options of the sockets that connect to it.
struct Side<'a> {
    /// The broker's socket.
    server: &'static str,
    /// The node's socket.
    client: &'static str,
    listen_key: &'static str,
    listen: &'a str,
    connect_key: &'static str,
    connect: &'a str,
    /// Where nodes effectively connect.
    resolved: String,
}

impl Check<'_> {
    pub(super) fn reach(&mut self) {
        self.swapped();
        self.ports_to_know();
        self.interfaces();
        let hosts = Hosts::of(self.layout);
        if hosts.are_several() {
            let mut is_told = false;
            for side in sides(self.layout) {
                self.broker_reach(&hosts, &side, &mut is_told);
            }
            self.log_reach();
        }
    }

    /// Reports what cannot work, unless the addresses belong to one host. Zeek scripts often hold
    /// only part of a cluster's options: they get a note.
    fn unreachable(&mut self, path: &[&str], message: String) {
        match self.origin {
            Origin::Checked { .. } => self.error(path, message),
            Origin::File => self.warn(path, message),
            Origin::Zeek => self.reporter.note(self.places.find(path), message),
        }
    }

    /// Reports what may be intended.
    fn unusual(&mut self, path: &[&str], message: String) {
        match self.origin {
            Origin::File | Origin::Checked { .. } => self.warn(path, message),
            Origin::Zeek => self.reporter.note(self.places.find(path), message),
        }
    }

    /// Where an endpoint of the broker is set, or else where the setting is that makes it a
    /// mistake.
    fn endpoint_or_node<'p>(&self, key: &'p str, node: Option<&'p str>) -> Vec<&'p str> {
        match node {
            Some(node) if !self.places.has(&["zeromq"]) => vec!["nodes", node, "ip"],
            _ => vec!["zeromq", key],
        }
    }

    /// Reports if each socket of a node connects to the wrong socket of the broker.
    fn swapped(&mut self) {
        let [xpub, xsub] = sides(self.layout);
        for (side, other) in [(&xpub, &xsub), (&xsub, &xpub)] {
            if !side.connect.is_empty()
                && side.connect == other.listen
                && side.listen != other.listen
            {
                let message = format!(
                    "`{}` is where the broker's {} listens, but an {} of nodes connects to the \
                     broker's {}: write {} = {:?}",
                    side.connect_key,
                    other.server,
                    side.client,
                    side.server,
                    side.connect_key,
                    side.listen
                );
                self.error(&["zeromq", side.connect_key], message);
            } else if !side.connect.is_empty()
                && side.connect == other.connect
                && side.client == "XSUB"
            {
                let message = format!(
                    "`{}` and `{}` are the same; expected the two endpoints of the broker",
                    side.connect_key, other.connect_key
                );
                self.error(&["zeromq", side.connect_key], message);
            }
        }
    }

    /// Other processes do not know a port that the system chooses.
    fn ports_to_know(&mut self) {
        let layout = self.layout;
        if layout.nodes.is_empty() {
            return;
        }
        for side in sides(layout) {
            let listens: Option<Endpoint> = side.listen.parse().ok();
            if side.connect.is_empty() && matches!(listens, Some(Endpoint::Tcp { port: 0, .. })) {
                let message = format!(
                    "the system chooses the port of the broker's {}, which nodes then do not know; \
                     expected a port, or `{}`",
                    side.server, side.connect_key
                );
                self.warn(&["zeromq", side.listen_key], message);
            }
        }
        let senders = senders(layout).next().is_some();
        if !senders || !layout.zeromq.connect_log_endpoints.is_empty() {
            return;
        }
        for (name, node) in layout.log_receivers() {
            if node.port == Some(0) {
                let message = format!(
                    "the system chooses the port of `{name}`, which nodes then do not know: they \
                     send it no logs; expected a port"
                );
                self.warn(&["nodes", name, "port"], message);
            }
        }
    }

    /// A socket can listen at an interface by name, but not connect to one.
    fn interfaces(&mut self) {
        for side in sides(self.layout) {
            let Ok(Endpoint::Tcp { host: Host::Name(name), port }) = side.listen.parse() else {
                continue;
            };
            if side.connect.is_empty() && is_interface(&name) {
                let message = format!(
                    "`{name}` looks like an interface, and nodes would connect to a host of that \
                     name; expected `{} = \"tcp://ADDRESS:{port}\"`, too",
                    side.connect_key
                );
                self.warn(&["zeromq", side.listen_key], message);
            }
        }
    }

    /// `is_told`: whether the manager's address was already reported for the other side.
    fn broker_reach(&mut self, hosts: &Hosts<'_>, side: &Side<'_>, is_told: &mut bool) {
        let Side { server, listen_key, connect_key, .. } = *side;
        let Ok(listen) = side.listen.parse::<Endpoint>() else { return };
        let port = match listen {
            Endpoint::Tcp { port, .. } => port.to_string(),
            Endpoint::Ipc(_) => "PORT".into(),
        };
        if side.connect.is_empty() {
            let manager = self.layout.manager().map(|(name, node)| (name, node.ip));
            let listens_everywhere =
                matches!(&listen, Endpoint::Tcp { host, .. } if host.is_wildcard());
            let away = hosts.away_from_broker();
            match manager {
                Some((name, ip)) if listens_everywhere && ip.is_loopback() => {
                    // Once for both endpoints.
                    let was_told = std::mem::replace(is_told, true);
                    if !was_told {
                        let message = format!(
                            "nodes look for the broker at the `ip` of `{name}`, {ip}, which is \
                             local to each host: {away} cannot reach it; expected the address of \
                             its host, or `connect_xpub_endpoint` and `connect_xsub_endpoint`"
                        );
                        self.unreachable(&["nodes", name, "ip"], message);
                    }
                }
                None if listens_everywhere => {
                    let message = format!(
                        "the layout does not say on which host the broker's {server} is, so that \
                         nodes look for it at 127.0.0.1; expected `{connect_key} = \
                         \"tcp://ADDRESS:{port}\"`, too"
                    );
                    self.unreachable(&["zeromq", listen_key], message);
                }
                _ if is_own_host(&listen) => {
                    let message = format!(
                        "the broker's {server} listens at {}, which {away} cannot reach: write \
                         {listen_key} = \"tcp://{}:{port}\"",
                        side.listen,
                        hosts.address_of_broker()
                    );
                    let path = self.endpoint_or_node(listen_key, hosts.first_away());
                    self.unreachable(&path, message);
                }
                _ => {}
            }
            return;
        }
        let Ok(connect) = side.connect.parse::<Endpoint>() else { return };
        if is_own_host(&connect) {
            let message = format!(
                "`{connect_key}` is {}, which is local to each host: {} cannot reach the broker \
                 that way, unless something there forwards it",
                side.resolved,
                hosts.away_from_broker()
            );
            self.unusual(&["zeromq", connect_key], message);
        } else if is_own_host(&listen) && self.places.has(&["zeromq", listen_key]) {
            let message = format!(
                "the broker's {server} listens at {}, but nodes connect to {}: they cannot reach \
                 it, unless something there forwards it",
                side.listen, side.resolved
            );
            self.unusual(&["zeromq", listen_key], message);
        }
    }

    fn log_reach(&mut self) {
        let layout = self.layout;
        let zeromq = &layout.zeromq;
        let is_said = !zeromq.connect_log_endpoints.is_empty();
        let listen: Option<Endpoint> = zeromq.listen_log_endpoint.parse().ok();
        let path = ["zeromq", "listen_log_endpoint"];
        if listen.as_ref().is_some_and(is_own_host) {
            let message = format!(
                "loggers listen at {}, which nodes on other hosts cannot reach; expected an \
                 endpoint such as \"tcp://*:PORT\", or none, so that each listens at its `ip` and \
                 `port`",
                zeromq.listen_log_endpoint
            );
            if is_said { self.unusual(&path, message) } else { self.unreachable(&path, message) }
        }
        for (name, node) in layout.log_receivers() {
            let Some(port) = node.port.filter(|_| node.ip.is_loopback()) else { continue };
            let away = named(senders(layout).filter(|(_, node)| !node.ip.is_loopback()));
            if away.is_empty() {
                continue;
            }
            let message = format!(
                "`{name}` receives logs at {}, which is local to each host: {away} cannot reach \
                 it; expected the `ip` of its host",
                node.endpoint(port)
            );
            let path = ["nodes", name, "ip"];
            if is_said { self.unusual(&path, message) } else { self.unreachable(&path, message) }
        }
        let own = zeromq.connect_log_endpoints.iter();
        for endpoint in own.filter(|text| text.parse().is_ok_and(|e: Endpoint| is_own_host(&e))) {
            let message = format!(
                "`connect_log_endpoints` has {endpoint}, which is local to each host: there must \
                 be a logger on each"
            );
            self.unusual(&["zeromq", "connect_log_endpoints"], message);
        }
    }
}

fn sides(layout: &Layout) -> [Side<'_>; 2] {
    let zeromq = &layout.zeromq;
    [
        Side {
            server: "XSUB",
            client: "XPUB",
            listen_key: "listen_xsub_endpoint",
            listen: &zeromq.listen_xsub_endpoint,
            connect_key: "connect_xpub_endpoint",
            connect: &zeromq.connect_xpub_endpoint,
            resolved: layout.connect_xpub_endpoint(),
        },
        Side {
            server: "XPUB",
            client: "XSUB",
            listen_key: "listen_xpub_endpoint",
            listen: &zeromq.listen_xpub_endpoint,
            connect_key: "connect_xsub_endpoint",
            connect: &zeromq.connect_xsub_endpoint,
            resolved: layout.connect_xsub_endpoint(),
        },
    ]
}

/// Log senders: the nodes that receive no logs.
fn senders(layout: &Layout) -> impl Iterator<Item = (&str, &Node)> {
    let nodes = layout.nodes.iter().map(|(name, node)| (name.as_str(), node));
    nodes.filter(|(name, _)| layout.log_receivers().all(|(receiver, _)| receiver != *name))
}

/// Whether an endpoint refers to a different place on each host.
fn is_own_host(endpoint: &Endpoint) -> bool {
    match endpoint {
        Endpoint::Ipc(_) => true,
        Endpoint::Tcp { host: Host::Name(name), .. } => OWN_NAMES.contains(&name.as_str()),
        endpoint @ Endpoint::Tcp { .. } => !endpoint.is_reachable(),
    }
}

/// Whether a name is one that Linux and BSD give to interfaces.
fn is_interface(name: &str) -> bool {
    let has_number = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    let kinds = [
        "eth", "em", "wlan", "bond", "br", "veth", "docker", "tun", "tap", "wg", "ens", "eno",
        "enp",
    ];
    !name.contains('.') && kinds.iter().any(|kind| name.strip_prefix(kind).is_some_and(has_number))
}

/// The hosts of the nodes, by address.
struct Hosts<'a> {
    layout: &'a Layout,
    /// Whether some nodes have a loopback address.
    has_loopback: bool,
    others: BTreeSet<IpAddr>,
}

impl<'a> Hosts<'a> {
    fn of(layout: &'a Layout) -> Self {
        let addresses = || layout.nodes.values().map(|node| node.ip);
        // Unknown addresses are skipped.
        let known = addresses().filter(|ip| !ip.is_unspecified());
        Hosts {
            layout,
            has_loopback: addresses().any(|ip| ip.is_loopback()),
            others: known.filter(|ip| !ip.is_loopback()).collect(),
        }
    }

    fn are_several(&self) -> bool {
        self.others.len() + usize::from(self.has_loopback) > 1
    }

    /// The address of the broker's host, if known: that of the manager, where the broker runs in a
    /// Zeek cluster.
    fn address_of_broker(&self) -> String {
        match self.layout.manager() {
            Some((_, node)) if !node.ip.is_loopback() && !node.ip.is_unspecified() => {
                let endpoint = node.endpoint(0);
                endpoint.trim_start_matches("tcp://").trim_end_matches(":0").to_owned()
            }
            _ => "ADDRESS".into(),
        }
    }

    /// The nodes that are not on the broker's host.
    fn away(&self) -> impl Iterator<Item = (&'a str, &'a Node)> {
        let manager = self.layout.manager().map(|(_, node)| node.ip);
        let nodes = self.layout.nodes.iter().map(|(name, node)| (name.as_str(), node));
        nodes.filter(move |(_, node)| {
            let is_near =
                if self.has_loopback { node.ip.is_loopback() } else { Some(node.ip) == manager };
            !is_near && !node.ip.is_unspecified()
        })
    }

    fn away_from_broker(&self) -> String {
        named(self.away())
    }

    fn first_away(&self) -> Option<&'a str> {
        self.away().map(|(name, _)| name).next()
    }
}

/// The nodes with their addresses, shortened if there are many.
fn named<'n>(nodes: impl Iterator<Item = (&'n str, &'n Node)>) -> String {
    let nodes = nodes.filter(|(_, node)| !node.ip.is_unspecified());
    let all: Vec<_> = nodes.map(|(name, node)| format!("`{name}` ({})", node.ip)).collect();
    match all.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] if all.len() <= 3 => format!("{} and {last}", first.join(", ")),
        many => format!("{} and {} more", many[..2].join(", "), many.len() - 2),
    }
}
