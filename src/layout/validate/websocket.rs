//! Rules for `websocket` of a node: who may connect, TLS, ranges.

use std::collections::HashMap;

use super::super::{Application, NodeType, WebSocket};
use super::{Check, LONGEST};

/// Below this, not even small events fit, in bytes.
const FEWEST_BYTES: u64 = 4096;
/// The fewest messages that can wait for a client: as many answers as it gets at once.
const FEWEST_MESSAGES: u64 = 100;
/// More file descriptors than a process can have on Linux by default (`fs.nr_open`).
const MOST_CONNECTIONS: i64 = 1_000_000;
/// Application names are labels of metrics, and written in logs.
const LONGEST_APPLICATION: usize = 64;

/// What is wrong with where a WebSocket API listens, if anyone there could use it although the
/// layout does not say so.
pub(in super::super) fn exposure(name: &str, websocket: &WebSocket) -> Option<String> {
    let address = websocket.listen_addr;
    let is_meant = websocket.has_access() || websocket.allow_anonymous;
    (!address.is_loopback() && !is_meant).then(|| {
        format!(
            "the WebSocket API of `{name}` would be open to any client that reaches {address}; \
             expected `applications` with a `token_file` or `certificates`, or \
             `enable_peer_verification`, or `allow_anonymous = true`"
        )
    })
}

/// A WebSocket API, and the name of its node.
#[derive(Clone, Copy)]
struct Api<'a> {
    name: &'a str,
    websocket: &'a WebSocket,
}

impl<'a> Api<'a> {
    fn at(&self, key: &'a str) -> [&'a str; 4] {
        ["nodes", self.name, "websocket", key]
    }

    fn at_tls(&self, key: &'a str) -> [&'a str; 5] {
        ["nodes", self.name, "websocket", "tls_options", key]
    }

    fn at_application(&self, application: &'a str, key: &'a str) -> [&'a str; 6] {
        ["nodes", self.name, "websocket", "applications", application, key]
    }
}

impl Check<'_> {
    pub(super) fn websockets(&mut self) {
        for (name, node) in &self.layout.nodes {
            let Some(websocket) = &node.websocket else { continue };
            let api = Api { name, websocket };
            if node.node_type == NodeType::Logger {
                let message = format!(
                    "the WebSocket API of `{name}` is not served: loggers do not offer it; expected \
                     `websocket` at a manager, worker, proxy or control node"
                );
                self.warn(&["nodes", name, "websocket"], message);
            }
            self.tls(api);
            self.websocket_ranges(api);
            self.who_may_connect(api);
            self.origins(api);
            for (name, application) in &websocket.applications {
                self.application(api, name, application);
            }
            self.certificates_are_one_applications(api);
        }
    }

    fn tls(&mut self, api: Api<'_>) {
        let tls = &api.websocket.tls_options;
        let encrypts = tls.is_set();
        if encrypts != tls.key_file.is_some() {
            let (set, unset) =
                if encrypts { ("cert_file", "key_file") } else { ("key_file", "cert_file") };
            let message = format!("`{set}` without `{unset}`; expected both or neither");
            self.error(&api.at_tls(set), message);
        }
        if tls.enable_peer_verification && !encrypts {
            let message =
                "clients can be verified over TLS only; expected `cert_file` and `key_file` too";
            self.error(&api.at_tls("enable_peer_verification"), message);
        }
        if tls.ca_file.is_some() && !tls.enable_peer_verification {
            let message = "`ca_file` has no effect without `enable_peer_verification`";
            self.warn(&api.at_tls("ca_file"), message);
        }
        if !tls.ciphers.is_empty() && !encrypts {
            let message = "`ciphers` has no effect without `cert_file` and `key_file`";
            self.warn(&api.at_tls("ciphers"), message);
        }
    }

    fn websocket_ranges(&mut self, api: Api<'_>) {
        let websocket = api.websocket;
        for (key, value) in [
            ("max_event_queue_size", websocket.max_event_queue_size),
            ("max_subscriptions", websocket.max_subscriptions),
        ] {
            self.at_least(&api.at(key), value.into(), 1);
        }
        let queue = websocket.client_queue_messages.into();
        self.at_least(&api.at("client_queue_messages"), queue, FEWEST_MESSAGES);
        for (key, value) in [
            ("max_message_size", websocket.max_message_size),
            ("client_queue_bytes", websocket.client_queue_bytes),
        ] {
            self.at_least(&api.at(key), value, FEWEST_BYTES);
        }
        if websocket.replay_bytes > 0 {
            self.at_least(&api.at("replay_bytes"), websocket.replay_bytes, FEWEST_BYTES);
        }
        let connections = websocket.max_connections.into();
        self.range(&api.at("max_connections"), connections, 1, MOST_CONNECTIONS);
        for (key, value) in [
            ("ping_interval", websocket.ping_interval),
            ("handshake_timeout", websocket.handshake_timeout),
            ("resume_timeout", websocket.resume_timeout),
        ] {
            self.at_most(&api.at(key), value, LONGEST);
        }
        let pings = websocket.ping_interval;
        if !pings.is_zero() && pings.as_secs() == 0 {
            let pings = humantime::format_duration(pings);
            let message = format!(
                "`ping_interval`: found {pings}, expected whole seconds, or 0 for no pings"
            );
            self.error(&api.at("ping_interval"), message);
        }
        if websocket.handshake_timeout.is_zero() {
            let message = "`handshake_timeout`: found `0`, expected more: no client could connect";
            self.error(&api.at("handshake_timeout"), message);
        }
    }

    fn who_may_connect(&mut self, api: Api<'_>) {
        let Api { name, websocket } = api;
        let address = websocket.listen_addr;
        // An address that no host can have is an error of its own.
        if super::no_host(address, false).is_none()
            && let Some(message) = exposure(name, websocket)
        {
            self.error(&api.at("listen_addr"), message);
        }
        let applications = &websocket.applications;
        let mut with_tokens = applications.iter().filter(|(_, a)| a.token_file.is_some());
        if let Some((application, _)) = with_tokens.next()
            && !address.is_loopback()
            && !websocket.tls_options.is_set()
        {
            let message = format!(
                "clients send their tokens to {address} unencrypted; expected `cert_file` and \
                 `key_file` in `tls_options`"
            );
            self.warn(&api.at_application(application, "token_file"), message);
        }
        let limits_others = applications.values().any(Application::has_credentials);
        let anonymous = Application::ANONYMOUS;
        if websocket.allow_anonymous && limits_others && !applications.contains_key(anonymous) {
            let message = format!(
                "clients without credentials may do everything, as there is no application \
                 `{anonymous}` to limit them"
            );
            self.warn(&api.at("allow_anonymous"), message);
        }
    }

    fn origins(&mut self, api: Api<'_>) {
        for origin in &api.websocket.allowed_origins {
            if origin == "*" {
                if api.websocket.admits_anonymous() {
                    let message = "`allowed_origins`: any web page that a user opens in reach of \
                                   the WebSocket API may use it, without credentials";
                    self.warn(&api.at("allowed_origins"), message);
                }
            } else if !is_origin(origin) {
                let message = format!(
                    "`allowed_origins`: found {origin:?}, expected an origin as browsers send it, \
                     such as \"https://example.org\", or \"*\" for any"
                );
                self.error(&api.at("allowed_origins"), message);
            }
        }
    }

    fn application(&mut self, api: Api<'_>, name: &str, application: &Application) {
        let at = |key| api.at_application(name, key);
        let here = &at("")[..5];
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if name.is_empty() || name.len() > LONGEST_APPLICATION || !name.bytes().all(is_plain) {
            let message = format!(
                "the name of an application: found {name:?}, expected 1 to {LONGEST_APPLICATION} \
                 letters, digits, `-`, `_` and `.`"
            );
            self.error(here, message);
        }
        if name == Application::ANONYMOUS {
            self.anonymous(api, application);
        } else if !application.has_credentials() {
            let message = format!(
                "no client can belong to the application `{name}`; expected `token_file` or \
                 `certificates`"
            );
            self.warn(here, message);
        } else if !application.certificates.is_empty()
            && !api.websocket.tls_options.enable_peer_verification
        {
            let message = "`certificates` without `enable_peer_verification = true` in \
                           `tls_options`; expected both: clients present no certificate otherwise";
            self.error(&at("certificates"), message);
        }
        if application.certificates.iter().any(String::is_empty) {
            let message = "`certificates`: found \"\", expected names in client certificates";
            self.error(&at("certificates"), message);
        }
        for (key, prefixes) in
            [("publish", &application.publish), ("subscribe", &application.subscribe)]
        {
            self.empty_prefix(&at(key), prefixes.as_deref());
        }
    }

    /// The rules of clients without credentials.
    fn anonymous(&mut self, api: Api<'_>, application: &Application) {
        let name = Application::ANONYMOUS;
        for (key, is_set) in [
            ("token_file", application.token_file.is_some()),
            ("certificates", !application.certificates.is_empty()),
        ] {
            if is_set {
                let message = format!(
                    "the application `{name}` is that of clients without credentials; expected no \
                     `{key}`, or another name"
                );
                self.error(&api.at_application(name, key), message);
            }
        }
        if !api.websocket.admits_anonymous() {
            let message = format!(
                "the application `{name}` is that of clients without credentials, which are not \
                 admitted at {}; expected `allow_anonymous = true` too",
                api.websocket.listen_addr
            );
            self.error(&api.at_application(name, "")[..5], message);
        }
    }

    /// A name in two applications would leave open what its client may do.
    fn certificates_are_one_applications(&mut self, api: Api<'_>) {
        let mut owners: HashMap<String, &str> = HashMap::new();
        for (application, options) in &api.websocket.applications {
            for certificate in &options.certificates {
                let owner = *owners.entry(certificate.to_lowercase()).or_insert(application);
                if owner != application {
                    let message = format!(
                        "`{application}` and `{owner}` have the same certificate {certificate:?}; \
                         expected it in one of them"
                    );
                    self.error(&api.at_application(application, "certificates"), message);
                }
            }
        }
    }
}

/// Whether it is an origin as RFC 6454 §6.2 writes it: a scheme, a host, perhaps a port.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let is_of_scheme = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
    let is_of_host = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(is_of_scheme)
        && !host.is_empty()
        && host.bytes().all(is_of_host)
}
