//! [`Holder`]: a node or role with its own keys, and where they are.

use std::fmt;
use std::path::{Path, PathBuf};

use zcluster::access::key_file::{
    KeyFileError, public_path, read_public_keys, read_secret_keys, secret_path,
};
use zcluster::daemon::Failure;
use zcluster::layout::{self, CurveKeys, Layout};
use zcluster::wire::zmtp::{KeyPair, PublicKey};

/// A node, the broker, all servers together, or the operator.
#[derive(Clone, Debug)]
pub(crate) struct Holder<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: Kind,
    /// The public keys that the layout gives it.
    pub(crate) in_layout: Vec<PublicKey>,
    pub(crate) public: PathBuf,
    pub(crate) secret: PathBuf,
}

/// The kind of a holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Broker,
    /// The common key of all servers, which Zeek nodes trust.
    Servers,
    /// Publishes and subscribes from the command line, and is not a node.
    Operator,
    Node {
        node_type: layout::NodeType,
        /// Whether others connect to it.
        receives_logs: bool,
    },
}

impl Kind {
    /// Whether clients recognize it by its public key.
    pub(crate) fn is_server(self) -> bool {
        !matches!(self, Kind::Operator | Kind::Node { receives_logs: false, .. })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Broker => CurveKeys::BROKER,
            Kind::Servers => CurveKeys::SERVERS,
            Kind::Operator => CurveKeys::OPERATOR,
            Kind::Node { node_type, .. } => node_type.as_str(),
        })
    }
}

/// Reads a layout file without the environment: the operator's environment is not a node's. Keys
/// may be created before `mode = "per-node"` is set, but not for nodes with reserved names.
pub(crate) fn load(path: &Path) -> Result<Layout, Failure> {
    let layout = layout::load(path, |_| None)?.layout;
    for name in [CurveKeys::BROKER, CurveKeys::SERVERS] {
        if layout.node(name).is_some() {
            return Err(Failure::config(format!(
                "{}: `{name}` is reserved for keys that belong to no node; expected another node \
                 name",
                path.display()
            )));
        }
    }
    Ok(layout)
}

impl<'a> Holder<'a> {
    fn new(layout: &Layout, name: &'a str, kind: Kind, in_layout: Vec<PublicKey>) -> Self {
        let curve = &layout.curve;
        let public = public_path(&curve.authorized_keys_dir, name);
        let secret = secret_path(&curve.secret_keys_dir, name);
        Holder { name, kind, in_layout, public, secret }
    }

    pub(crate) fn broker(layout: &Layout) -> Self {
        let key = layout.curve.broker_publickey;
        Holder::new(layout, CurveKeys::BROKER, Kind::Broker, key.into_iter().collect())
    }

    pub(crate) fn servers(layout: &Layout) -> Self {
        Holder::new(layout, CurveKeys::SERVERS, Kind::Servers, Vec::new())
    }

    /// The operator, unless a node has this name.
    fn operator(layout: &Layout) -> Option<Self> {
        let name = CurveKeys::OPERATOR;
        let holder = || Holder::new(layout, name, Kind::Operator, Vec::new());
        layout.node(name).is_none().then(holder)
    }

    /// The nodes by name.
    pub(crate) fn nodes(layout: &'a Layout) -> impl Iterator<Item = Holder<'a>> {
        layout.nodes.iter().map(|(name, node)| {
            let receives_logs = layout.log_receivers().any(|(receiver, _)| receiver == name);
            let kind = Kind::Node { node_type: node.node_type, receives_logs };
            Holder::new(layout, name, kind, node.curve_publickey.clone())
        })
    }

    /// The broker, all servers, the operator if it has a key, and the nodes.
    pub(crate) fn all(layout: &'a Layout) -> impl Iterator<Item = Holder<'a>> {
        let operator = Holder::operator(layout);
        let operator = operator.filter(|one| one.public.exists() || one.secret.exists());
        let special = [Holder::broker(layout), Holder::servers(layout)].into_iter().chain(operator);
        special.chain(Holder::nodes(layout))
    }

    /// Returns the holder of that name; `path` is the layout file, for messages.
    pub(crate) fn find(layout: &'a Layout, path: &Path, name: &str) -> Result<Self, Failure> {
        let operator = Holder::operator(layout).into_iter();
        operator.chain(Holder::all(layout)).find(|holder| holder.name == name).ok_or_else(|| {
            let known: Vec<_> = layout.nodes.keys().map(String::as_str).collect();
            Failure::config(format!(
                "'{name}' is not a node of {}; expected one of {}, or {}, {} or {}",
                path.display(),
                known.join(", "),
                CurveKeys::BROKER,
                CurveKeys::SERVERS,
                CurveKeys::OPERATOR,
            ))
        })
    }

    /// The public keys in its file; `None` if the file does not exist.
    pub(crate) fn in_file(&self) -> Result<Option<Vec<PublicKey>>, KeyFileError> {
        if_found(read_public_keys(&self.public))
    }

    /// Its secret keys, the one in use first; `None` if they are not on this host.
    pub(crate) fn secret(&self) -> Result<Option<Vec<KeyPair>>, KeyFileError> {
        if_found(read_secret_keys(&self.secret))
    }
}

fn if_found<T>(read: Result<T, KeyFileError>) -> Result<Option<T>, KeyFileError> {
    match read {
        Err(error) if error.is_not_found() => Ok(None),
        read => read.map(Some),
    }
}

/// A wrong key file is a configuration mistake.
pub(crate) fn wrong_file(error: KeyFileError) -> Failure {
    Failure::config(error)
}
