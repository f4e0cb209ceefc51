//! `websocket = { … }` of a node: the gateway, through which programs that do not speak ZeroMQ use
//! the cluster. Where it listens, who may use it, and how much of it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use super::options::MIB;
use super::table::table;
use super::words::words;

words! {
    /// What happens to a client whose queue is full.
    pub enum WhenClientFull {
        /// It is disconnected.
        #[default]
        Close = "close",
        /// It misses the oldest events in its queue.
        DropOldest = "drop-oldest",
    }
}

table! {
    /// `websocket = { … }` of a node: the WebSocket API it offers. The first four options are Zeek's
    /// (WIRE.md §3.3), the others zcluster's own.
    pub struct WebSocket {
        /// Address to listen on.
        listen_addr: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST),
        /// Port to listen on; 0 lets the system choose.
        listen_port: u16 = 27759,
        /// Bound of the inbound queue shared by all clients, in groups of messages that a client has
        /// sent at once.
        max_event_queue_size: u32 = 32,
        /// How often clients are pinged, in whole seconds; 0 means never.
        ping_interval: Duration = Duration::from_secs(5),

        /// Whether clients without credentials are admitted where they are not by default. Read it
        /// through [`WebSocket::admits_anonymous`].
        allow_anonymous: bool = false,
        /// Origins of web pages that may connect, besides the gateway's own, such as
        /// `https://example.org`; `*` means any. Other programs than browsers are not limited.
        allowed_origins: Vec<String> = Vec::new(),
        /// Maximum number of connections, 1 to 1,000,000.
        max_connections: u32 = 4096,
        /// The largest message accepted from a client, in bytes.
        max_message_size: u64 = 16 * MIB,
        /// Maximum number of subscriptions per client.
        max_subscriptions: u32 = 1000,
        /// Messages per second accepted from a client, which is read more slowly if it sends more;
        /// 0 means no limit.
        max_rate: u32 = 0,
        /// How long a client may take for the TLS and HTTP handshakes.
        handshake_timeout: Duration = Duration::from_secs(3),
        /// Bound of the queue of each client, in messages.
        client_queue_messages: u32 = 10_000,
        /// Bound of the queue of each client, in bytes.
        client_queue_bytes: u64 = 8 * MIB,
        /// What happens at these bounds.
        when_full: WhenClientFull = WhenClientFull::Close,
        /// Past events kept for clients of version 2 that reconnect, in messages; 0 means none.
        replay_events: u32 = 10_000,
        /// The same, in bytes; 0 means none.
        replay_bytes: u64 = 8 * MIB,
        /// How long the subscriptions of a client of version 2 remain after its connection is lost;
        /// 0 means not at all.
        resume_timeout: Duration = Duration::from_secs(30),
        /// A file of event declarations, which events of clients must match; unset means that any
        /// well-formed event passes. Relative to the layout file.
        schema_file: Option<PathBuf> = None,
    }
    beside {
        /// `tls_options = { … }`: encryption.
        tls_options: TlsOptions,
        /// `[nodes.NAME.websocket.applications.APPLICATION]`: clients that prove who they are.
        applications: BTreeMap<String, Application>,
    }
}

table! {
    /// `tls_options = { … }` of `websocket`: the options of Zeek's record of that name (WIRE.md
    /// §3.3). Paths are relative to the layout file.
    pub struct TlsOptions {
        /// TLS certificate chain, a PEM file. Set together with `key_file`, or not at all.
        cert_file: Option<PathBuf> = None,
        /// TLS private key, a PEM file.
        key_file: Option<PathBuf> = None,
        /// Whether clients must present a certificate. Requires `cert_file`.
        enable_peer_verification: bool = false,
        /// The authorities that may sign client certificates, a PEM file; unset means the system's
        /// list.
        ca_file: Option<PathBuf> = None,
        /// The cipher suites that clients may use, separated by `:`; empty means the library's
        /// defaults.
        ciphers: String = String::new(),
    }
}

table! {
    /// `[nodes.NAME.websocket.applications.APPLICATION]`: how clients prove that they belong to an
    /// application, by a token or by a certificate, and what they may then do.
    pub struct Application {
        /// A file of bearer tokens, one per line, readable by no other user. Relative to the layout
        /// file.
        token_file: Option<PathBuf> = None,
        /// Common names or DNS names in client certificates.
        certificates: Vec<String> = Vec::new(),
        /// Prefixes of the topics it may publish on; unset means everything.
        publish: Option<Vec<String>> = None,
        /// Prefixes of the topics it may subscribe to; unset means everything.
        subscribe: Option<Vec<String>> = None,
    }
}

impl WebSocket {
    /// Options that Zeek does not have: the exporter leaves them out.
    pub(super) const OWN: [&'static str; 14] = [
        "allow_anonymous",
        "allowed_origins",
        "max_connections",
        "max_message_size",
        "max_subscriptions",
        "max_rate",
        "handshake_timeout",
        "client_queue_messages",
        "client_queue_bytes",
        "when_full",
        "replay_events",
        "replay_bytes",
        "resume_timeout",
        "schema_file",
    ];

    /// Whether clients can prove who they are.
    pub fn has_access(&self) -> bool {
        let mut applications = self.applications.values();
        self.tls_options.enable_peer_verification || applications.any(Application::has_credentials)
    }

    /// Whether clients without credentials are admitted: if the layout allows it, and on loopback
    /// unless access is configured without rules for them.
    pub fn admits_anonymous(&self) -> bool {
        let has_rules = self.applications.contains_key(Application::ANONYMOUS);
        let by_default = has_rules || !self.has_access();
        self.allow_anonymous || (self.listen_addr.is_loopback() && by_default)
    }

    /// Takes over what a running gateway reloads: the applications and the allowed origins.
    pub fn take_over(&mut self, other: &WebSocket) {
        self.applications.clone_from(&other.applications);
        self.allowed_origins.clone_from(&other.allowed_origins);
    }

    /// Every file that it names.
    pub(super) fn files(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let tls = &mut self.tls_options;
        let own = [&mut self.schema_file, &mut tls.cert_file, &mut tls.key_file, &mut tls.ca_file];
        let tokens = self.applications.values_mut().map(|application| &mut application.token_file);
        own.into_iter().chain(tokens).flatten()
    }
}

impl TlsOptions {
    /// Whether connections are encrypted.
    pub fn is_set(&self) -> bool {
        self.cert_file.is_some()
    }
}

impl Application {
    /// The name of the application that clients without credentials belong to.
    pub const ANONYMOUS: &'static str = "anonymous";

    /// Whether a client can prove that it belongs to the application.
    pub fn has_credentials(&self) -> bool {
        self.token_file.is_some() || !self.certificates.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_without_credentials_are_admitted_on_loopback_until_others_have_some() {
        let token = || Application { token_file: Some("t".into()), ..Application::default() };
        let all = [("a", token()), (Application::ANONYMOUS, Application::default())];
        for (address, allow_anonymous, verifies, applications, admitted) in [
            ("127.0.0.1", false, false, &all[..0], true),
            ("::1", false, false, &all[1..], true),
            ("127.0.0.1", false, false, &all[..1], false),
            ("127.0.0.1", false, false, &all[..], true),
            ("127.0.0.1", true, false, &all[..1], true),
            ("127.0.0.1", false, true, &all[..0], false),
            ("127.0.0.1", false, true, &all[1..], true),
            ("10.0.0.1", false, false, &all[..0], false),
            ("10.0.0.1", false, false, &all[..], false),
            ("10.0.0.1", false, true, &all[..0], false),
            ("0.0.0.0", true, false, &all[..0], true),
        ] {
            let websocket = WebSocket {
                listen_addr: address.parse().unwrap(),
                allow_anonymous,
                tls_options: TlsOptions {
                    enable_peer_verification: verifies,
                    ..TlsOptions::default()
                },
                applications: applications.iter().map(|(n, a)| ((*n).into(), a.clone())).collect(),
                ..WebSocket::default()
            };
            assert_eq!(websocket.admits_anonymous(), admitted, "{websocket:?}");
        }
    }
}
