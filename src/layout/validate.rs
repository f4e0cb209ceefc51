//! Checks that the parts of a [`Layout`] fit together: ranges, references between nodes, endpoints
//! and ports. The same rules apply to every format a layout is read from. Rules for keys are in
//! [`curve`], for `[log]` in [`log`], for `[broker]` in [`broker`], for `websocket` of a node in
//! [`websocket`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::diagnostic::{Places, Reporter, Span};
use super::endpoint::{Endpoint, UnixAddress};
use super::{CurveKeys, Host, LAYOUT_VERSION, Layout, Node, NodeType};

mod broker;
mod curve;
mod log;
mod pools;
mod reach;
mod stores;
mod topics;
mod websocket;

pub(super) use curve::is_curve_key;
pub(super) use log::is_extension;
pub(super) use websocket::exposure;

/// What a layout was read from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin {
    /// A layout file, for a process that starts with it.
    File,
    /// A layout file, for a check, on a host with that many bytes of memory.
    Checked { memory: u64 },
    /// Zeek scripts.
    Zeek,
}

/// Reports what is wrong or unwise in `layout`; `places` says where each part is.
pub(super) fn validate(layout: &Layout, origin: Origin, places: &Places, reporter: &mut Reporter) {
    let broken = reporter.error_spans();
    let mut check = Check { layout, origin, places, reporter, broken };
    check.node_names();
    check.roles();
    check.pools();
    check.stores();
    check.topic_rules();
    check.websockets();
    check.endpoints();
    check.ranges();
    check.queues();
    check.curve();
    check.broker();
    check.log();
    check.ports();
    check.reach();
    check.memory();
}

/// The conflict, if a port of the broker that the environment sets is already in use.
pub(super) fn port_taken(layout: &Layout, key: &str) -> Option<String> {
    let listeners = layout.listeners();
    let own = listeners.iter().find(|listener| listener.path.last() == Some(&key))?;
    let other = listeners.iter().find(|other| other.path != own.path && other.collides(own))?;
    Some(format!("{} uses {}, as does {}", own.what, own.address, other.what))
}

struct Check<'a> {
    layout: &'a Layout,
    origin: Origin,
    places: &'a Places,
    reporter: &'a mut Reporter,
    /// Values that could not be read: the layout has a default in their place, not the user's
    /// value.
    broken: BTreeSet<Span>,
}

/// Sockets count heartbeats in milliseconds of 31 bits.
const LONGEST: Duration = Duration::from_millis(i32::MAX as u64);
/// `ZMQ_HEARTBEAT_TTL` travels as tenths of a second in 16 bits.
const LONGEST_TTL: Duration = Duration::from_secs(6553);

/// Maximum number of broker threads with engine `zmq`.
const MOST_THREADS: i64 = 64;
/// Fits a log batch of the usual size.
const SMALL_MESSAGE: u64 = 64 * 1024;

/// Describes an address that no host can have; `None` for others. A socket can listen at all
/// addresses, but not connect to them.
fn no_host(ip: IpAddr, connects: bool) -> Option<&'static str> {
    match ip {
        ip if ip.is_unspecified() => connects.then_some("every address of a host"),
        IpAddr::V4(ip) if ip.is_broadcast() => Some("the broadcast address"),
        ip if ip.is_multicast() => Some("a multicast address"),
        _ => None,
    }
}

/// An option as named in messages.
fn option_name(path: &[&str]) -> String {
    match path {
        ["log", "path", name, key] => format!("`{key}` of the path `{name}`"),
        ["broker", "topic", prefix, key] => format!("`{key}` of the topics {prefix:?}"),
        ["stores", name, key] => format!("`{key}` of the store `{name}`"),
        ["nodes", name, key] => format!("`{key}` of `{name}`"),
        [.., key] => format!("`{key}`"),
        [] => String::new(),
    }
}

impl Check<'_> {
    fn error(&mut self, path: &[&str], message: impl Into<String>) {
        let span = self.places.find(path);
        if !self.broken.contains(&span) {
            self.reporter.error(span, message);
        }
    }

    fn warn(&mut self, path: &[&str], message: impl Into<String>) {
        self.reporter.warn(self.places.find(path), message);
    }

    fn at_least(&mut self, path: &[&str], value: u64, least: u64) {
        if value < least {
            let name = option_name(path);
            self.error(path, format!("{name}: found `{value}`, expected at least {least}"));
        }
    }

    fn at_least_one(&mut self, path: &[&str], value: u64) {
        self.at_least(path, value, 1);
    }

    fn at_most(&mut self, path: &[&str], value: Duration, longest: Duration) {
        if value > longest {
            let message = format!(
                "{}: found {}, expected at most {}s",
                option_name(path),
                humantime::format_duration(value),
                longest.as_secs()
            );
            self.error(path, message);
        }
    }

    fn range(&mut self, path: &[&str], value: i64, from: i64, to: i64) {
        if !(from..=to).contains(&value) {
            let name = option_name(path);
            let message =
                format!("{name}: found `{value}`, expected a whole number from {from} to {to}");
            self.error(path, message);
        }
    }

    /// Names are part of topics and of log file paths.
    fn node_names(&mut self) {
        if self.layout.nodes.is_empty() {
            self.error(&["nodes"], "the layout has no nodes; expected at least one [nodes.NAME]");
        }
        for name in self.layout.nodes.keys() {
            let problem = if name.is_empty() {
                "is empty"
            } else if name == "." || name == ".." {
                "is not a valid directory name"
            } else if name.contains('/') {
                "contains `/`"
            } else if name.chars().any(char::is_control) {
                "contains a control character"
            } else if name.len() > 200 {
                "is longer than 200 bytes"
            } else {
                continue;
            };
            let message =
                format!("the node name {name:?} {problem}; it must be usable in topics and paths");
            self.error(&["nodes", name], message);
        }
        self.unwise_names();
    }

    fn unwise_names(&mut self) {
        let nodes = &self.layout.nodes;
        let mut by_letters: BTreeMap<String, &str> = BTreeMap::new();
        for name in nodes.keys().filter(|name| !name.is_empty()) {
            let at = ["nodes", name.as_str()];
            if name.chars().any(char::is_whitespace) || !name.is_ascii() {
                let message = format!(
                    "the node name {name:?} is used in topics, paths and commands, where spaces \
                     and letters beyond ASCII need care; expected a plain name"
                );
                self.warn(&at, message);
            }
            if [CurveKeys::BROKER, CurveKeys::SERVERS].contains(&name.as_str())
                && !self.layout.has_keys_per_node()
            {
                let message = format!(
                    "the node name `{name}` is also what `zcluster` calls {}; expected another one",
                    if name == CurveKeys::BROKER {
                        "the broker"
                    } else {
                        "the keys of all servers"
                    }
                );
                self.warn(&at, message);
            }
            if let Some(other) = by_letters.insert(name.to_lowercase(), name) {
                let message = format!("the node names `{other}` and `{name}` differ in case only");
                self.warn(&at, message);
            }
            // A subscription matches all topics that start with it.
            let mut begin = name.match_indices('.').map(|(dot, _)| &name[..dot]);
            if let Some(other) = begin.find(|begin| nodes.contains_key(*begin)) {
                let message = format!(
                    "the topics of `{name}` begin with those of `{other}`, which gets all events for \
                     it; expected a name without the dot"
                );
                self.warn(&at, message);
            }
        }
    }

    fn roles(&mut self) {
        let layout = self.layout;
        let mut managers = layout.nodes_of_type(NodeType::Manager);
        if let Some((first, _)) = managers.next() {
            for (name, _) in managers {
                let message =
                    format!("`{name}` is a second manager beside `{first}`; expected one");
                self.error(&["nodes", name, "node_type"], message);
            }
        } else if !layout.nodes.is_empty() {
            let message = "the layout has no manager; a cluster of Zeek needs one, and other nodes \
                           find no WebSocket API and no list of services";
            self.warn(&["nodes"], message);
        }
        for (name, node) in &layout.nodes {
            self.manager_of(name, node);
            if node.node_type == NodeType::None && self.places.has(&["nodes", name, "node_type"]) {
                let message = format!("`{name}` takes no part in the cluster");
                self.warn(&["nodes", name, "node_type"], message);
            }
            let link_local = matches!(node.ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
            if link_local && node.zone_id.is_none() {
                let message = format!("`{name}` has a link-local address but no `zone_id`");
                self.warn(&["nodes", name, "ip"], message);
            }
            if let Some(zone) = node.zone_id.as_deref() {
                if zone
                    .contains(|c: char| c.is_control() || c.is_whitespace() || "[]%/:".contains(c))
                {
                    let message = format!("`zone_id` of `{name}` is not the name of an interface");
                    self.error(&["nodes", name, "zone_id"], message);
                } else if !link_local {
                    let message = format!(
                        "`zone_id` of `{name}` has no effect: its address is not link-local"
                    );
                    self.warn(&["nodes", name, "zone_id"], message);
                }
            }
            let is_set = self.places.has(&["nodes", name, "ip"]);
            if is_set && let Some(kind) = no_host(node.ip, true) {
                let message = format!(
                    "`ip` of `{name}` must be an address others can connect to; {} is {kind}",
                    node.ip
                );
                self.error(&["nodes", name, "ip"], message);
            }
        }
        self.listen_addresses();
        self.log_receivers();
    }

    /// Addresses that no host can have.
    fn listen_addresses(&mut self) {
        let Layout { broker, telemetry, nodes, .. } = self.layout;
        let websockets = nodes.iter().filter_map(|(name, node)| {
            let listen_addr = node.websocket.as_ref()?.listen_addr;
            Some((vec!["nodes", name, "websocket", "listen_addr"], listen_addr))
        });
        let metrics = [
            (vec!["broker", "metrics_address"], broker.metrics_address),
            (vec!["telemetry", "metrics_address"], telemetry.metrics_address),
        ];
        let metrics = metrics.into_iter().filter_map(|(path, address)| Some((path, address?)));
        for (path, address) in metrics.chain(websockets) {
            if let Some(kind) = no_host(address, false) {
                let key = path.last().copied().unwrap_or_default();
                let message = format!(
                    "`{key}`: {address} is {kind}; expected an address of the host, or 0.0.0.0"
                );
                self.error(&path, message);
            }
        }
    }

    fn manager_of(&mut self, name: &str, node: &Node) {
        let Some(manager) = &node.manager else { return };
        let problem = match self.layout.node(manager) {
            None => "is not in the layout".to_owned(),
            Some(node) if node.node_type != NodeType::Manager => {
                format!("is of type {}, not manager", node.node_type)
            }
            Some(_) => return,
        };
        let message = format!("`{name}` names `{manager}` as its manager, which {problem}");
        self.error(&["nodes", name, "manager"], message);
    }

    fn log_receivers(&mut self) {
        let layout = self.layout;
        let explicit = self.places.has(&["cluster", "manager_is_logger"]);
        for (name, node) in layout.log_receivers() {
            if node.port.is_some() || self.places.has(&["nodes", name, "port"]) {
                continue;
            }
            if node.node_type == NodeType::Logger {
                let message =
                    format!("logger `{name}` has no `port`; expected the port it receives logs on");
                self.error(&["nodes", name], message);
            } else if explicit {
                let message = format!(
                    "`{name}` receives logs by `manager_is_logger` but has no `port`; expected one"
                );
                self.error(&["nodes", name], message);
            } else if layout.nodes.len() > 1 {
                let message = format!(
                    "no node receives logs: there is no logger, and manager `{name}` has no `port`"
                );
                self.warn(&["nodes", name], message);
            }
        }
        if layout.cluster.manager_is_logger && layout.loggers().next().is_some() {
            let message = "the manager receives logs beside the loggers: set `manager_is_logger` \
                           to false unless that is meant";
            self.warn(&["cluster", "manager_is_logger"], message);
        }
        if layout.cluster.manager_is_logger && layout.manager().is_none() {
            let message = "`manager_is_logger` has no effect: the layout has no manager";
            self.warn(&["cluster", "manager_is_logger"], message);
        }
        if layout.log_receivers().next().is_none()
            && layout.zeromq.connect_log_endpoints.is_empty()
            && layout.nodes.len() > 1
        {
            let message = if layout.manager().is_some() {
                "no node receives logs: the layout has no logger, and `manager_is_logger` is false"
            } else {
                "no node receives logs: the layout has no logger and no manager"
            };
            self.warn(&["nodes"], message);
        }
    }

    fn endpoints(&mut self) {
        let zeromq = &self.layout.zeromq;
        for (key, text) in [
            ("listen_xsub_endpoint", &zeromq.listen_xsub_endpoint),
            ("listen_xpub_endpoint", &zeromq.listen_xpub_endpoint),
            ("listen_log_endpoint", &zeromq.listen_log_endpoint),
        ] {
            if key != "listen_log_endpoint" || !text.is_empty() {
                self.endpoint(key, text);
            }
        }
        let log_endpoints =
            zeromq.connect_log_endpoints.iter().map(|text| ("connect_log_endpoints", text));
        let optional = [
            ("connect_xpub_endpoint", &zeromq.connect_xpub_endpoint),
            ("connect_xsub_endpoint", &zeromq.connect_xsub_endpoint),
        ];
        let optional = optional.into_iter().filter(|(_, text)| !text.is_empty());
        for (key, text) in optional.chain(log_endpoints) {
            let problem = match self.endpoint(key, text) {
                Some(Endpoint::Tcp { host, .. }) if host.is_wildcard() => "a wildcard address",
                Some(Endpoint::Tcp { host: Host::V6(ip, None), .. })
                    if ip.is_unicast_link_local() =>
                {
                    let message = format!(
                        "`{key}`: a link-local address needs its interface, as in \
                         `tcp://[{ip}%eth0]:port`"
                    );
                    self.warn(&["zeromq", key], message);
                    continue;
                }
                Some(Endpoint::Tcp { port: 0, .. }) => "port 0",
                Some(Endpoint::Ipc(UnixAddress::Any)) => "a path that is yet to be chosen",
                _ => continue,
            };
            self.error(&["zeromq", key], format!("`{key}`: cannot connect to {problem}"));
        }
    }

    fn endpoint(&mut self, key: &str, text: &str) -> Option<Endpoint> {
        match text.parse() {
            Ok(endpoint) => {
                if let Endpoint::Ipc(UnixAddress::Path(path)) = &endpoint
                    && !path.starts_with('/')
                {
                    let message = format!(
                        "`{key}`: each process finds `{path}` from its own working directory; \
                         expected a path that starts with `/`, or `@name`"
                    );
                    self.warn(&["zeromq", key], message);
                }
                if let Endpoint::Tcp { host, .. } = &endpoint
                    && let Some(ip) = host.ip()
                    && let Some(kind) = no_host(ip, false)
                {
                    let message = format!("`{key}`: {ip} is {kind}; expected an address of a host");
                    self.error(&["zeromq", key], message);
                    return None;
                }
                Some(endpoint)
            }
            Err(error) => {
                let message = format!(
                    "`{key}`: {error} in {text:?}; expected `tcp://host:port`, \
                     `tcp://[v6 address]:port`, `tcp://*:port`, `ipc://path` or `ipc://@name`"
                );
                self.error(&["zeromq", key], message);
                None
            }
        }
    }

    fn ranges(&mut self) {
        let zeromq = &self.layout.zeromq;
        let version = self.layout.cluster.layout_version;
        let newest = i64::from(LAYOUT_VERSION);
        self.range(&["cluster", "layout_version"], version.into(), 1, newest);
        self.range(
            &["zeromq", "proxy_io_threads"],
            zeromq.proxy_io_threads.into(),
            1,
            MOST_THREADS,
        );
        for (key, value) in [
            ("publish_queue_bytes", zeromq.publish_queue_bytes),
            ("onloop_queue_bytes", zeromq.onloop_queue_bytes),
            ("log_queue_bytes", zeromq.log_queue_bytes),
            ("max_message_size", zeromq.max_message_size),
        ] {
            self.at_least_one(&["zeromq", key], value);
        }
        for (key, value, longest) in [
            ("heartbeat_interval", zeromq.heartbeat_interval, LONGEST),
            ("heartbeat_timeout", zeromq.heartbeat_timeout, LONGEST),
            ("heartbeat_ttl", zeromq.heartbeat_ttl, LONGEST_TTL),
            ("hello_expiration", zeromq.hello_expiration, LONGEST),
            ("hello_delay", zeromq.hello_delay, LONGEST),
            ("reconcile_grace", zeromq.reconcile_grace, LONGEST),
        ] {
            self.at_most(&["zeromq", key], value, longest);
        }
        if zeromq.hello_expiration.is_zero() {
            let message =
                "`hello_expiration`: found `0`, expected more: no node could answer in time";
            self.error(&["zeromq", "hello_expiration"], message);
        }
        if (1..SMALL_MESSAGE).contains(&zeromq.max_message_size) {
            let message = "`max_message_size` is below 64 KiB: peers with larger events or batches of \
                           log records are disconnected";
            self.warn(&["zeromq", "max_message_size"], message);
        }
        if !zeromq.heartbeat_interval.is_zero() {
            for (key, value) in [
                ("heartbeat_timeout", zeromq.heartbeat_timeout),
                ("heartbeat_ttl", zeromq.heartbeat_ttl),
            ] {
                if value < zeromq.heartbeat_interval && !(value.is_zero() && key == "heartbeat_ttl")
                {
                    let message =
                        format!("`{key}` is below `heartbeat_interval`: live peers may be cut off");
                    self.warn(&["zeromq", key], message);
                }
            }
        }
        for (key, prefix) in [
            ("node_topic_prefix", &zeromq.node_topic_prefix),
            ("nodeid_topic_prefix", &zeromq.nodeid_topic_prefix),
            ("internal_topic_prefix", &zeromq.internal_topic_prefix),
        ] {
            if prefix.is_empty() {
                self.error(
                    &["zeromq", key],
                    format!("`{key}` is empty; expected a prefix of topics"),
                );
            }
        }
        let label = &self.layout.telemetry.metrics_endpoint_label;
        let mut rest = label.chars();
        let first = rest.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        if !first || !rest.all(|c| c.is_ascii_alphanumeric() || c == '_') {
            let message = format!(
                "`metrics_endpoint_label`: found {label:?}, expected letters, digits and `_`"
            );
            self.error(&["telemetry", "metrics_endpoint_label"], message);
        }
    }

    fn queues(&mut self) {
        let zeromq = &self.layout.zeromq;
        for (key, value) in [
            ("xpub_sndhwm", i64::from(zeromq.xpub_sndhwm)),
            ("xsub_rcvhwm", i64::from(zeromq.xsub_rcvhwm)),
            ("log_sndhwm", i64::from(zeromq.log_sndhwm)),
            ("log_rcvhwm", i64::from(zeromq.log_rcvhwm)),
            ("onloop_queue_hwm", i64::from(zeromq.onloop_queue_hwm)),
        ] {
            let path = ["zeromq", key];
            if value < 0 {
                let message = format!("`{key}`: found `{value}`, expected 0 (unlimited) or more");
                self.error(&path, message);
            } else if value == 0 {
                self.warn(&path, format!("`{key}` is 0: the queue is unlimited, watch its memory"));
            }
        }
    }

    /// Bounds larger than this host's memory, which would run out first.
    fn memory(&mut self) {
        let Origin::Checked { memory } = self.origin else { return };
        let Layout { zeromq, broker, log, nodes, .. } = self.layout;
        let own = [
            (vec!["zeromq", "publish_queue_bytes"], zeromq.publish_queue_bytes),
            (vec!["zeromq", "onloop_queue_bytes"], zeromq.onloop_queue_bytes),
            (vec!["zeromq", "log_queue_bytes"], zeromq.log_queue_bytes),
            (vec!["zeromq", "max_message_size"], zeromq.max_message_size),
            (vec!["broker", "subscriber_max_bytes"], broker.subscriber_max_bytes),
            (vec!["broker", "control_max_bytes"], broker.control_max_bytes),
            (vec!["log", "max_memory"], log.max_memory),
        ];
        let websockets = nodes.iter().flat_map(|(name, node)| {
            let of = move |key, bytes| (vec!["nodes", name, "websocket", key], bytes);
            node.websocket.iter().flat_map(move |websocket| {
                [
                    of("max_message_size", websocket.max_message_size),
                    of("client_queue_bytes", websocket.client_queue_bytes),
                    of("replay_bytes", websocket.replay_bytes),
                ]
            })
        });
        for (path, bytes) in own.into_iter().chain(websockets) {
            if bytes > memory && self.places.has(&path) {
                let message = format!(
                    "{} is {}, and this host has {} of memory",
                    option_name(&path),
                    bytesize::ByteSize(bytes).display().iec(),
                    bytesize::ByteSize(memory).display().iec()
                );
                self.warn(&path, message);
            }
        }
    }

    /// No two sockets may listen at the same port and address.
    fn ports(&mut self) {
        let mut taken: Vec<Listener<'_>> = Vec::new();
        for listener in self.layout.listeners() {
            match taken.iter().find(|other| other.collides(&listener)) {
                Some(other) => {
                    let message = format!(
                        "{} uses {}, as does {}; expected a separate port",
                        listener.what, listener.address, other.what
                    );
                    self.error(&listener.path, message);
                }
                None => taken.push(listener),
            }
        }
    }
}

/// A socket that listens.
struct Listener<'a> {
    what: String,
    path: Vec<&'a str>,
    /// Its host, if the layout says so: the address of its node.
    host: Option<IpAddr>,
    address: Endpoint,
}

impl Listener<'_> {
    fn collides(&self, other: &Self) -> bool {
        let (Endpoint::Tcp { host: a, port }, Endpoint::Tcp { host: b, port: other_port }) =
            (&self.address, &other.address)
        else {
            let any = Endpoint::Ipc(UnixAddress::Any);
            return self.address == other.address && self.address != any;
        };
        if port != other_port || *port == 0 {
            return false;
        }
        let same_host = match (self.host, other.host) {
            (Some(a), Some(b)) => a == b || (a.is_loopback() && b.is_loopback()),
            _ => true,
        };
        let local =
            |host: &Host| host.is_wildcard() || host.ip().is_some_and(|ip| ip.is_loopback());
        if local(a) || local(b) {
            same_host && (a == b || a.is_wildcard() || b.is_wildcard())
        } else {
            a == b
        }
    }
}

impl Layout {
    /// Every socket that would listen at an address known from the layout.
    fn listeners(&self) -> Vec<Listener<'_>> {
        let mut listeners = Vec::new();
        for (what, key, endpoint) in [
            ("the broker's XSUB", "listen_xsub_endpoint", &self.zeromq.listen_xsub_endpoint),
            ("the broker's XPUB", "listen_xpub_endpoint", &self.zeromq.listen_xpub_endpoint),
        ] {
            let Ok(address) = endpoint.parse() else { continue };
            let host = match &address {
                Endpoint::Tcp { host, .. } if !host.is_wildcard() => host.ip(),
                _ => None,
            };
            let what = what.to_owned();
            listeners.push(Listener { what, path: vec!["zeromq", key], host, address });
        }
        if let Some(port) = self.broker.metrics_port {
            let ip = self.broker_metrics_address();
            listeners.push(Listener {
                what: "the metrics of the broker".into(),
                path: vec!["broker", "metrics_port"],
                host: listeners.last().and_then(|xpub| xpub.host),
                address: tcp(ip, port),
            });
        }
        for (name, node) in &self.nodes {
            let host = Some(node.ip);
            let log = self.listen_log_endpoint(name);
            if let Some(address) = log.and_then(|endpoint| endpoint.parse().ok()) {
                let what = format!("the log socket of `{name}`");
                listeners.push(Listener { what, path: vec!["nodes", name, "port"], host, address });
            }
            if let Some(port) = node.metrics_port {
                let what = format!("the metrics of `{name}`");
                let address = tcp(self.metrics_address(node), port);
                let path = vec!["nodes", name, "metrics_port"];
                listeners.push(Listener { what, path, host, address });
            }
            if let Some(websocket) = &node.websocket {
                let what = format!("the WebSocket API of `{name}`");
                let address = tcp(websocket.listen_addr, websocket.listen_port);
                let path = vec!["nodes", name, "websocket", "listen_port"];
                listeners.push(Listener { what, path, host, address });
            }
        }
        listeners
    }
}

fn tcp(ip: IpAddr, port: u16) -> Endpoint {
    let host = match ip {
        IpAddr::V4(ip) => Host::V4(ip),
        IpAddr::V6(ip) => Host::V6(ip, None),
    };
    Endpoint::Tcp { host, port }
}
