//! Rules for keys and for what nodes may do: `curve_*` of `[zeromq]`, `[curve]`, `curve_publickey`
//! and `allow`.

use std::collections::HashMap;

use super::super::{Allow, CurveKeys, Layout, Secret};
use super::Check;
use crate::wire::zmtp::PublicKey;

/// Options of `[curve]` that only `mode = "per-node"` uses.
const PER_NODE: [&str; 3] = ["authorized_keys_dir", "secret_keys_dir", "broker_publickey"];

impl Check<'_> {
    pub(super) fn curve(&mut self) {
        self.shared_keys();
        self.old_keys();
        if self.layout.has_keys_per_node() {
            self.per_node();
        } else {
            self.without_keys_per_node();
        }
        self.keys_are_one_nodes();
        self.allow();
    }

    /// An incomplete set of keys would leave a cluster unencrypted that its operator believes
    /// encrypted.
    fn shared_keys(&mut self) {
        let zeromq = &self.layout.zeromq;
        let keys = [
            ("curve_server_publickey", &zeromq.curve_server_publickey),
            ("curve_server_secretkey", &zeromq.curve_server_secretkey),
            ("curve_client_publickey", &zeromq.curve_client_publickey),
            ("curve_client_secretkey", &zeromq.curve_client_secretkey),
        ];
        for (name, key) in keys {
            self.is_key(&["zeromq", name], key);
        }
        let Some((set, _)) = keys.iter().find(|(_, key)| !key.is_empty()) else { return };
        if self.layout.has_keys_per_node() {
            let message = format!(
                "`{set}` is for `mode = \"shared\"` in [curve]; with `mode = \"per-node\"` expected \
                 no `curve_` option in [zeromq]"
            );
            self.error(&["zeromq", set], message);
        } else if !zeromq.curve_client() && !zeromq.curve_server() {
            let message = "CURVE stays off: clients need `curve_server_publickey`, \
                           `curve_client_publickey` and `curve_client_secretkey`, servers \
                           `curve_server_secretkey` and `curve_client_publickey`";
            self.error(&["zeromq", set], message);
        }
    }

    fn is_key(&mut self, path: &[&str], key: &Secret) {
        if !key.is_empty() && !is_curve_key(key) {
            let message = format!(
                "{}: found {} characters, expected a key of 40 characters of Z85",
                super::option_name(path),
                key.expose().chars().count()
            );
            self.error(path, message);
        }
    }

    /// An old key is only valid beside a new one.
    fn old_keys(&mut self) {
        let Layout { zeromq, curve, .. } = self.layout;
        self.is_key(&["curve", "old_server_secretkey"], &curve.old_server_secretkey);
        for (old, is_set, new, new_is_set) in [
            (
                "old_server_secretkey",
                !curve.old_server_secretkey.is_empty(),
                "curve_server_secretkey",
                !zeromq.curve_server_secretkey.is_empty(),
            ),
            (
                "old_client_publickey",
                curve.old_client_publickey.is_some(),
                "curve_client_publickey",
                !zeromq.curve_client_publickey.is_empty(),
            ),
        ] {
            if !is_set {
                continue;
            }
            if self.layout.has_keys_per_node() {
                let message = format!(
                    "`{old}` is for `mode = \"shared\"`; with keys per node, old keys are \
                     additional lines in the key files"
                );
                self.error(&["curve", old], message);
            } else if !new_is_set {
                let message =
                    format!("`{old}` without `{new}` in [zeromq]; expected the new key too");
                self.error(&["curve", old], message);
            }
        }
    }

    fn per_node(&mut self) {
        for name in [CurveKeys::BROKER, CurveKeys::SERVERS] {
            if self.layout.node(name).is_some() {
                let message = format!(
                    "`{name}` is the name of keys that belong to no node; with `mode = \
                     \"per-node\"` expected another name"
                );
                self.error(&["nodes", name], message);
            }
        }
    }

    /// A user who sets a per-node key option expects per-node keys to be checked.
    fn without_keys_per_node(&mut self) {
        let options = PER_NODE.map(|name| vec!["curve", name]);
        let nodes = self.layout.nodes.keys().map(|name| vec!["nodes", name, "curve_publickey"]);
        for path in options.into_iter().chain(nodes) {
            if self.places.has(&path) {
                let name = super::option_name(&path);
                let message =
                    format!("{name} has no effect without `mode = \"per-node\"` in [curve]");
                self.warn(&path, message);
            }
        }
    }

    /// A key shared by two nodes identifies neither.
    fn keys_are_one_nodes(&mut self) {
        let Layout { curve, nodes, .. } = self.layout;
        let broker = curve.broker_publickey.iter();
        let broker = broker.map(|key| (key, "the broker", vec!["curve", "broker_publickey"]));
        let nodes = nodes.iter().flat_map(|(name, node)| {
            let path = vec!["nodes", name.as_str(), "curve_publickey"];
            node.curve_publickey.iter().map(move |key| (key, name.as_str(), path.clone()))
        });
        let mut owners: HashMap<&PublicKey, &str> = HashMap::new();
        for (key, name, path) in broker.chain(nodes) {
            let owner = *owners.entry(key).or_insert(name);
            if owner != name {
                let message = format!(
                    "{name} and {owner} have the same public key {key}; expected one for each"
                );
                self.error(&path, message);
            }
        }
    }

    fn allow(&mut self) {
        let layout = self.layout;
        let of_types = layout.allow.iter().map(|(name, allow)| (vec!["allow", name], allow));
        let of_nodes = layout.nodes.iter();
        let of_nodes = of_nodes.map(|(name, node)| (vec!["nodes", name, "allow"], &node.allow));
        let rules = of_types.chain(of_nodes).filter(|(_, allow)| **allow != Allow::default());
        let (mut is_first, mut is_first_subscribe) = (true, true);
        for (path, allow) in rules {
            for (key, prefixes) in [("publish", &allow.publish), ("subscribe", &allow.subscribe)] {
                self.empty_prefix(&[&path[..], &[key]].concat(), prefixes.as_deref());
            }
            if layout.has_keys_per_node() {
                continue;
            }
            if (allow.publish.is_some() || allow.logs.is_some()) && std::mem::take(&mut is_first) {
                let message = "`allow` is no protection without keys per node (`mode = \
                               \"per-node\"` in [curve]): `publish` and `logs` apply to the name \
                               that a process gives itself, which it can change";
                self.warn(&path, message);
            }
            if allow.subscribe.is_some() && std::mem::take(&mut is_first_subscribe) {
                let message = "`subscribe` has no effect without keys per node (`mode = \
                               \"per-node\"` in [curve]): a subscription does not identify its \
                               sender";
                self.warn(&[&path[..], &["subscribe"]].concat(), message);
            }
        }
    }

    /// A list of allowed prefixes that limits nothing.
    pub(super) fn empty_prefix(&mut self, path: &[&str], prefixes: Option<&[String]>) {
        if prefixes.into_iter().flatten().any(String::is_empty) {
            let name = super::option_name(path);
            let message = format!("{name}: every topic begins with \"\": it allows all");
            self.warn(path, message);
        }
    }
}

/// Whether it is the Z85 text of 32 bytes: 8 groups of 5 digits of base 85, each below 2^32.
pub(in super::super) fn is_curve_key(key: &Secret) -> bool {
    key.expose().parse::<PublicKey>().is_ok()
}
