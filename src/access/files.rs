//! Builds the access of a process from the layout and the key files: the impure edge of
//! [`access`](super).

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::{fmt, io};

use super::key_file::{KeyFileError, public_path, read_public_keys, read_secret_keys, secret_path};
use super::revoked::Revoked;
use super::{Access, Identity};
use crate::layout::{CurveKeys, Layout, Secret};
use crate::wire::zmtp::{BadKey, KeyPair, PublicKey, SecretKey};

/// Why a process does not have the keys it needs.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A key file is wrong.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// No node has a public key, and the directory cannot be read: more likely a mistake than the
    /// intention to admit no node.
    #[error(
        "no key may connect: the layout has none, and the directory of authorized keys {} cannot be \
         read: {source}", path.display()
    )]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Any user of the host could admit a key.
    #[error(
        "the directory of authorized keys {} has mode {mode:04o}, so any user can add keys: chmod \
         o-w {}",
        path.display(), path.display()
    )]
    OpenDirectory {
        /// The directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// An option is not a key.
    #[error("{option}: {source}")]
    Option {
        /// The option.
        option: &'static str,
        /// What is wrong with it.
        source: BadKey,
    },
    /// Some keys are set, but not those that this process needs (WIRE.md §7.1).
    #[error(
        "CURVE keys are set, but {role} need {needs}; {missing} is not set; refusing to connect \
         without encryption"
    )]
    Missing {
        /// The processes that need them.
        role: &'static str,
        /// All of them.
        needs: &'static str,
        /// The first that is missing.
        missing: &'static str,
    },
    /// A public key does not belong to the secret one.
    #[error("{public} is not the public key of {secret}")]
    Mismatch {
        /// Where the public key is.
        public: String,
        /// Where the secret one is.
        secret: String,
    },
    /// Two nodes have the same key, so it identifies neither.
    #[error("{first} and {second} have the same key {key}; expected a different key for each")]
    Twice {
        /// A node, and where its key is.
        first: String,
        /// Another.
        second: String,
        /// The key.
        key: PublicKey,
    },
    /// All keys of a process are revoked.
    #[error(
        "{keys} is revoked in {}: `zcluster keygen --per-node --node {name} --replace` creates a \
         new key, `zcluster keys restore {name}` restores the old one", path.display()
    )]
    Revoked {
        /// Which keys.
        keys: String,
        /// Whose they are.
        name: String,
        /// The file that says so.
        path: PathBuf,
    },
    /// The public key of the broker is unknown.
    #[error(
        "no public key of the broker: expected `broker_publickey` in [curve] of the layout, \
         or the file {}", path.display()
    )]
    NoBroker {
        /// The file that should have it.
        path: PathBuf,
    },
}

/// The keys with which a node connects.
#[derive(Clone, Debug)]
pub struct ClientKeys {
    keys: Arc<KeyPair>,
    broker: PublicKey,
    loggers: BTreeMap<String, PublicKey>,
    others: Option<PublicKey>,
}

impl ClientKeys {
    /// Creates client keys from a node's own keys and the expected key of the broker, for
    /// [`Builder::client_keys`](crate::node::Builder::client_keys). If all servers have one key, as
    /// in Zeek, also call [`ClientKeys::with_loggers`].
    pub fn new(keys: KeyPair, broker: PublicKey) -> Self {
        ClientKeys { keys: Arc::new(keys), broker, loggers: BTreeMap::new(), others: None }
    }

    /// Adds the expected key of this log receiver. A log receiver whose key is not known gets no
    /// logs.
    #[must_use]
    pub fn with_logger(mut self, name: impl Into<String>, key: PublicKey) -> Self {
        self.loggers.insert(name.into(), key);
        self
    }

    /// Adds the expected key of all log receivers that are not named.
    #[must_use]
    pub fn with_loggers(mut self, key: PublicKey) -> Self {
        self.others = Some(key);
        self
    }

    /// The node's own keys.
    pub fn keys(&self) -> &Arc<KeyPair> {
        &self.keys
    }

    /// The expected key of the broker.
    pub fn broker(&self) -> PublicKey {
        self.broker
    }

    /// The expected key of a log receiver, by the name of its node if known; `None` if no key is
    /// known.
    pub fn logger(&self, name: Option<&str>) -> Option<PublicKey> {
        match name {
            Some(name) => self.loggers.get(name).copied().or(self.others),
            None => self.others,
        }
    }
}

/// A key that may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizedKey {
    /// The node or the operator; also the broker and the common key of all servers, which are not
    /// admitted as clients.
    pub name: String,
    /// Its key.
    pub key: PublicKey,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a public key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the layout.
    Layout,
    /// In this file.
    File(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Layout => f.write_str("layout"),
            Origin::File(path) => path.display().fmt(f),
        }
    }
}

/// Builds the access of a server: the broker ([`CurveKeys::BROKER`]) or a log receiver, by the name
/// of its node.
///
/// # Errors
/// When keys are set but those of the server are missing, or key files are wrong.
pub fn server_access(layout: &Layout, server: &str) -> Result<Access, KeyError> {
    let (keys, admitted) = if layout.has_keys_per_node() {
        let revoked = Revoked::read(&layout.curve.authorized_keys_dir)?;
        let keys = own_keys(layout, &revoked, server)?;
        let common = secret_path(&layout.curve.secret_keys_dir, CurveKeys::SERVERS);
        let common = match read_secret_keys(&common) {
            Err(error) if error.is_not_found() => Vec::new(),
            read => read?,
        };
        let common = common.into_iter().filter(|pair| !revoked.contains(pair.public()));
        (keys.into_iter().chain(common).collect(), admitted(layout, &revoked)?)
    } else if layout.zeromq.has_curve_keys() {
        shared_server(layout)?
    } else {
        (Vec::new(), HashMap::new())
    };
    Ok(Access::new(layout, keys, admitted))
}

/// Reads the keys with which a node connects; `None` if nothing is encrypted.
///
/// # Errors
/// When keys are set but those of the node are missing, or key files are wrong.
pub fn client_keys(layout: &Layout, node: &str) -> Result<Option<ClientKeys>, KeyError> {
    if !layout.has_keys_per_node() {
        return if layout.zeromq.has_curve_keys() {
            shared_client(layout).map(Some)
        } else {
            Ok(None)
        };
    }
    let dir = &layout.curve.authorized_keys_dir;
    let revoked = Revoked::read(dir)?;
    let mut own = own_keys(layout, &revoked, node)?;
    // The layout comes first. A revoked key no longer identifies its owner.
    let first = |name: &str, in_layout: &[PublicKey]| -> Result<Option<PublicKey>, KeyError> {
        let is_good = |key: &&PublicKey| !revoked.contains(key);
        if let Some(key) = in_layout.iter().find(is_good) {
            return Ok(Some(*key));
        }
        Ok(public_keys(layout, name)?.iter().find(is_good).copied())
    };
    let broker = first(CurveKeys::BROKER, layout.curve.broker_publickey.as_slice())?;
    let broker =
        broker.ok_or_else(|| KeyError::NoBroker { path: public_path(dir, CurveKeys::BROKER) })?;
    let mut loggers = BTreeMap::new();
    for (name, logger) in layout.log_receivers() {
        if let Some(key) = first(name, &logger.curve_publickey)? {
            loggers.insert(name.to_owned(), key);
        }
    }
    let others = first(CurveKeys::SERVERS, &[])?;
    Ok(Some(ClientKeys { keys: Arc::new(own.swap_remove(0)), broker, loggers, others }))
}

/// All known public keys that are not revoked, and where they come from; those of each node in the
/// order of use.
///
/// # Errors
/// When a file cannot be read, two nodes have the same key, or any user could add keys.
pub fn authorized_keys(layout: &Layout) -> Result<Vec<AuthorizedKey>, KeyError> {
    let revoked = Revoked::read(&layout.curve.authorized_keys_dir)?;
    Ok(known_keys(layout, &revoked)?.good)
}

/// Public keys, and where they come from.
struct KnownKeys {
    good: Vec<AuthorizedKey>,
    /// Revoked ones, which are refused anyway.
    revoked: Vec<AuthorizedKey>,
}

fn known_keys(layout: &Layout, revoked: &Revoked) -> Result<KnownKeys, KeyError> {
    let directory = &layout.curve.authorized_keys_dir;
    // Files that any user can write to are refused as well; in this directory, any user could
    // create files.
    if let Ok(metadata) = directory.metadata() {
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o002 != 0 {
            return Err(KeyError::OpenDirectory { path: directory.clone(), mode });
        }
    }
    let mut known = KnownKeys { good: Vec::new(), revoked: Vec::new() };
    let all = &mut known.good;
    let operator = Some(CurveKeys::OPERATOR).filter(|name| layout.node(name).is_none());
    let special = [CurveKeys::BROKER, CurveKeys::SERVERS].into_iter().chain(operator);
    for name in special.chain(layout.nodes.keys().map(String::as_str)) {
        let in_layout = match layout.node(name) {
            Some(node) => node.curve_publickey.clone(),
            None if name == CurveKeys::BROKER => {
                layout.curve.broker_publickey.into_iter().collect()
            }
            None => Vec::new(),
        };
        let path = public_path(&layout.curve.authorized_keys_dir, name);
        let in_file = public_keys(layout, name)?.into_iter();
        let origins = in_layout.into_iter().map(|key| (key, Origin::Layout));
        for (key, origin) in origins.chain(in_file.map(|key| (key, Origin::File(path.clone())))) {
            if revoked.contains(&key) {
                known.revoked.push(AuthorizedKey { name: name.into(), key, origin });
                continue;
            }
            match all.iter().find(|other| other.key == key) {
                Some(other) if other.name != name => {
                    let first = format!("{} ({})", other.name, other.origin);
                    let second = format!("{name} ({origin})");
                    return Err(KeyError::Twice { first, second, key });
                }
                // A key may be in both places.
                _ => all.push(AuthorizedKey { name: name.into(), key, origin }),
            }
        }
    }
    Ok(known)
}

fn admitted(layout: &Layout, revoked: &Revoked) -> Result<HashMap<PublicKey, Identity>, KeyError> {
    let known = known_keys(layout, revoked)?;
    for AuthorizedKey { name, key, origin } in &known.revoked {
        let path = revoked.path().display();
        log::warn!("the key {key} of {name} ({origin}) is revoked in {path} and is refused");
    }
    let may_connect = |name: &str| layout.node(name).is_some() || layout.has_operator_key(name);
    let nodes = known.good.into_iter().filter(|one| may_connect(&one.name));
    let admitted: HashMap<_, _> =
        nodes.map(|one| (one.key, Identity::Node(one.name.as_str().into()))).collect();
    let path = &layout.curve.authorized_keys_dir;
    match std::fs::read_dir(path) {
        Err(source) if admitted.is_empty() => {
            Err(KeyError::Directory { path: path.clone(), source })
        }
        _ => Ok(admitted),
    }
}

/// The public keys of a node in the directory; none without a file.
fn public_keys(layout: &Layout, name: &str) -> Result<Vec<PublicKey>, KeyError> {
    match read_public_keys(&public_path(&layout.curve.authorized_keys_dir, name)) {
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        read => Ok(read?),
    }
}

/// The secret keys of a node or the broker that are not revoked, the one in use first.
fn own_keys(layout: &Layout, revoked: &Revoked, name: &str) -> Result<Vec<KeyPair>, KeyError> {
    let path = secret_path(&layout.curve.secret_keys_dir, name);
    let mut keys = read_secret_keys(&path)?;
    keys.retain(|pair| !revoked.contains(pair.public()));
    if keys.is_empty() {
        return Err(KeyError::Revoked {
            keys: format!("each key in {}", path.display()),
            name: name.into(),
            path: revoked.path().to_owned(),
        });
    }
    // Other nodes expect its first known public key.
    let known: Vec<_> =
        known_keys(layout, revoked)?.good.into_iter().filter(|one| one.name == name).collect();
    let fits = |one: &AuthorizedKey| keys.iter().any(|pair| *pair.public() == one.key);
    match known.first() {
        Some(first) if !known.iter().any(fits) => Err(KeyError::Mismatch {
            public: format!("{} of {name} ({})", first.key, first.origin),
            secret: format!("any key in {}", path.display()),
        }),
        _ => Ok(keys),
    }
}

fn shared_server(
    layout: &Layout,
) -> Result<(Vec<KeyPair>, HashMap<PublicKey, Identity>), KeyError> {
    let zeromq = &layout.zeromq;
    for (option, key) in [
        ("curve_server_secretkey", &zeromq.curve_server_secretkey),
        ("curve_client_publickey", &zeromq.curve_client_publickey),
    ] {
        if key.is_empty() {
            let role = "servers (the broker and the loggers)";
            let needs = "curve_server_secretkey and curve_client_publickey";
            return Err(KeyError::Missing { role, needs, missing: option });
        }
    }
    let pair = pair("curve_server_secretkey", &zeromq.curve_server_secretkey)?;
    check_pair("curve_server", &zeromq.curve_server_publickey, &pair)?;
    let mut keys = vec![pair];
    let old = &layout.curve.old_server_secretkey;
    if !old.is_empty() {
        keys.push(self::pair("old_server_secretkey", old)?);
    }
    let client = public("curve_client_publickey", &zeromq.curve_client_publickey)?;
    let clients = [Some(client), layout.curve.old_client_publickey];
    let admitted = clients.into_iter().flatten().map(|key| (key, Identity::Unproven)).collect();
    Ok((keys, admitted))
}

fn shared_client(layout: &Layout) -> Result<ClientKeys, KeyError> {
    let zeromq = &layout.zeromq;
    for (option, key) in [
        ("curve_server_publickey", &zeromq.curve_server_publickey),
        ("curve_client_publickey", &zeromq.curve_client_publickey),
        ("curve_client_secretkey", &zeromq.curve_client_secretkey),
    ] {
        if key.is_empty() {
            let role = "clients (all nodes)";
            let needs = "curve_server_publickey, curve_client_publickey and curve_client_secretkey";
            return Err(KeyError::Missing { role, needs, missing: option });
        }
    }
    let keys = pair("curve_client_secretkey", &zeromq.curve_client_secretkey)?;
    check_pair("curve_client", &zeromq.curve_client_publickey, &keys)?;
    let server = public("curve_server_publickey", &zeromq.curve_server_publickey)?;
    let loggers = BTreeMap::new();
    Ok(ClientKeys { keys: Arc::new(keys), broker: server, loggers, others: Some(server) })
}

fn pair(option: &'static str, key: &Secret) -> Result<KeyPair, KeyError> {
    let secret: SecretKey =
        key.expose().parse().map_err(|source| KeyError::Option { option, source })?;
    Ok(secret.into())
}

fn public(option: &'static str, key: &Secret) -> Result<PublicKey, KeyError> {
    key.expose().parse().map_err(|source| KeyError::Option { option, source })
}

/// Checks that the public key, if one is set, belongs to the secret one.
fn check_pair(name: &str, public: &Secret, pair: &KeyPair) -> Result<(), KeyError> {
    if public.is_empty() || public.expose() == pair.public().to_string() {
        return Ok(());
    }
    let (public, secret) = (format!("{name}_publickey"), format!("{name}_secretkey"));
    Err(KeyError::Mismatch { public, secret })
}

#[cfg(test)]
mod tests;
