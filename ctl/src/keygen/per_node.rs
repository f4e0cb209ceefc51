//! A key pair for each node, in the directories that `[curve]` of the layout names.
//!
//! Secret keys are never printed, and never lost: existing ones are kept, and a rotation adds the
//! new one above them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use zcluster::access::key_file::{
    MAX_KEYS, replace_secret_keys, write_public_keys, write_secret_key,
};
use zcluster::access::revoked::{Revoked, RevokedKey};
use zcluster::daemon::Failure;
use zcluster::layout::{BrokerEngine, CurveKeys, Layout};
use zcluster::wire::zmtp::{KeyPair, PublicKey};

use crate::keys::holder::{Holder, Kind, load, wrong_file};
use crate::output::{cannot, print};

/// The arguments of `zcluster keygen` for per-node keys.
#[derive(Debug, clap::Args)]
pub(super) struct PerNodeArgs {
    /// Generate a key pair for each node of the layout and for the broker.
    #[arg(long, conflicts_with_all = ["prefix", "json", "zeek", "out"])]
    per_node: bool,
    /// The layout of the cluster.
    #[arg(long, value_name = "FILE", default_value = "cluster-layout.toml", requires = "per_node")]
    layout: PathBuf,
    /// Only for this node, or for `broker`, `servers` or `operator`, whose key `zcluster pub` and
    /// `zcluster sub` use. May be repeated.
    #[arg(long = "node", value_name = "NAME", requires = "per_node")]
    nodes: Vec<String>,
    /// Also generate the common key of all servers, which Zeek nodes expect.
    #[arg(long, requires = "per_node")]
    servers: bool,
    /// Generate a new key even if there is one. The old key stays valid until it is revoked.
    #[arg(long, requires = "nodes")]
    replace: bool,
}

impl PerNodeArgs {
    pub(super) fn is_asked_for(&self) -> bool {
        self.per_node
    }
}

pub(super) fn run(args: &PerNodeArgs) -> Result<(), Failure> {
    let layout = load(&args.layout)?;
    let mut report = String::new();
    let made = make_all(args, &layout, &mut report);
    // Files that were written are reported even if something failed afterwards.
    print(&report)?;
    made
}

fn make_all(args: &PerNodeArgs, layout: &Layout, report: &mut String) -> Result<(), Failure> {
    let mut holders: Vec<Holder<'_>> = Vec::new();
    if args.nodes.is_empty() {
        holders.push(Holder::broker(layout));
        holders.extend(Holder::nodes(layout));
    }
    let common = args.servers.then_some(CurveKeys::SERVERS);
    for name in args.nodes.iter().map(String::as_str).chain(common) {
        if !holders.iter().any(|holder| holder.name == name) {
            holders.push(Holder::find(layout, &args.layout, name)?);
        }
    }
    make_directories(layout)?;
    let revoked = Revoked::read(&layout.curve.authorized_keys_dir).map_err(wrong_file)?;
    let (mut new, mut failed) = (Vec::new(), None);
    for holder in &holders {
        let outcome = match make(holder, &revoked, args.replace) {
            Ok(outcome) => outcome,
            Err(failure) => {
                failed = Some(failure);
                break;
            }
        };
        tell(report, holder, &outcome, &revoked);
        if matches!(outcome, Outcome::Made | Outcome::Anew | Outcome::Replaced { .. }) {
            new.push((holder, outcome));
        }
    }
    if !new.is_empty() {
        where_to(report, layout, new.iter().map(|(holder, _)| *holder));
    }
    for (holder, outcome) in &new {
        match outcome {
            Outcome::Replaced { old, has_old_secret } => {
                next_steps(report, layout, holder, old, *has_old_secret);
            }
            _ if holder.kind == Kind::Servers => {
                report.push_str(
                    "Then send SIGHUP to the broker and the loggers, which then also answer to the \
                     common key.\n",
                );
                warn_of_zmq(report, layout);
            }
            _ => {}
        }
    }
    how_to_use(report, layout, &args.layout);
    failed.map_or(Ok(()), Err)
}

/// Only the owner may read the directory of secret keys.
fn make_directories(layout: &Layout) -> Result<(), Failure> {
    let (public, secret) = (&layout.curve.authorized_keys_dir, &layout.curve.secret_keys_dir);
    fs::create_dir_all(public).map_err(|error| cannot("make", public, &error))?;
    let parent = secret.parent().unwrap_or(Path::new(""));
    let made = fs::create_dir_all(parent).and_then(|()| {
        match DirBuilder::new().mode(0o700).create(secret) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && secret.is_dir() => Ok(()),
            made => made,
        }
    });
    made.map_err(|error| cannot("make", secret, &error))
}

/// What was done with a holder's keys.
enum Outcome {
    Made,
    /// Created to replace revoked ones.
    Anew,
    /// Added to old ones.
    Replaced {
        old: Vec<PublicKey>,
        /// Whether the old secret key is also in the file.
        has_old_secret: bool,
    },
    Kept,
    /// The file of its public key was missing.
    Completed,
    /// The key that it uses is not one that other nodes know.
    Unknown,
    /// Its secret key is on another host.
    Elsewhere,
    /// All its keys are revoked; this is the last one.
    Revoked(RevokedKey),
}

fn make(holder: &Holder<'_>, revoked: &Revoked, replace: bool) -> Result<Outcome, Failure> {
    let secret = holder.secret().map_err(wrong_file)?;
    let in_file = holder.in_file().map_err(wrong_file)?;
    if !replace
        && let Some(key) = shut_out_by(holder, secret.as_deref(), in_file.as_deref(), revoked)
    {
        return Ok(Outcome::Revoked(key));
    }
    let write_public = |keys: &[PublicKey]| {
        write_public_keys(&holder.public, keys)
            .map_err(|error| cannot("write", &holder.public, &error))
    };
    match (secret, in_file) {
        (Some(pairs), in_file) if !replace => {
            // One of them is not revoked.
            let good = pairs.iter().find(|pair| !revoked.contains(pair.public()));
            let current = *good.unwrap_or(&pairs[0]).public();
            match in_file {
                _ if holder.in_layout.contains(&current) => Ok(Outcome::Kept),
                Some(known) if known.contains(&current) => Ok(Outcome::Kept),
                Some(_) => Ok(Outcome::Unknown),
                None => write_public(&[current]).map(|()| Outcome::Completed),
            }
        }
        (None, in_file) if !replace && (in_file.is_some() || !holder.in_layout.is_empty()) => {
            Ok(Outcome::Elsewhere)
        }
        (None, None) if holder.in_layout.is_empty() => {
            let new = KeyPair::generate();
            write_secret_key(&holder.secret, new.secret())
                .map_err(|error| cannot("create", &holder.secret, &error))?;
            write_public(&[*new.public()]).map(|()| Outcome::Made)
        }
        (pairs, in_file) => {
            let mut old = old_keys(holder, pairs.as_deref(), in_file);
            old.retain(|key| !revoked.contains(key));
            let mut pairs = pairs.unwrap_or_default();
            let has_old_secret = pairs.iter().any(|pair| old.contains(pair.public()));
            if old.len().max(pairs.len()) >= MAX_KEYS {
                let name = holder.name;
                let message = format!(
                    "{name} has {MAX_KEYS} keys, which is the maximum: revoke old ones, and remove \
                             them from {}",
                    holder.secret.display()
                );
                return Err(Failure::config(message));
            }
            pairs.insert(0, KeyPair::generate());
            replace_secret_keys(&holder.secret, &pairs)
                .map_err(|error| cannot("write", &holder.secret, &error))?;
            write_public(&[&[*pairs[0].public()], &old[..]].concat())?;
            if old.is_empty() {
                return Ok(Outcome::Anew);
            }
            Ok(Outcome::Replaced { old, has_old_secret })
        }
    }
}

/// The revoked key of a holder that has no other: `keygen` does not readmit it without being asked.
fn shut_out_by(
    holder: &Holder<'_>,
    pairs: Option<&[KeyPair]>,
    in_file: Option<&[PublicKey]>,
    revoked: &Revoked,
) -> Option<RevokedKey> {
    let secret = pairs.unwrap_or_default().iter().map(KeyPair::public);
    // Public keys do not matter if the secret keys are on this host.
    let public = holder.in_layout.iter().chain(in_file.unwrap_or_default());
    let public = public.filter(|_| pairs.is_none());
    let mut known = secret.chain(public).peekable();
    if known.peek().is_none() {
        return revoked.of(holder.name).last().cloned();
    }
    let mut last = None;
    for key in known {
        last = Some(revoked.get(key)?);
    }
    last.cloned()
}

/// The public keys that stay valid next to a new one.
fn old_keys(
    holder: &Holder<'_>,
    pairs: Option<&[KeyPair]>,
    in_file: Option<Vec<PublicKey>>,
) -> Vec<PublicKey> {
    match in_file {
        Some(keys) => keys,
        None if !holder.in_layout.is_empty() => holder.in_layout.clone(),
        None => pairs.unwrap_or_default().iter().map(|pair| *pair.public()).collect(),
    }
}

fn tell(report: &mut String, holder: &Holder<'_>, outcome: &Outcome, revoked: &Revoked) {
    let (public, secret) = (holder.public.display(), holder.secret.display());
    // Writing to a string cannot fail.
    let _ = write!(report, "{}: ", holder.name);
    let _ = match outcome {
        Outcome::Made => writeln!(report, "created {secret} and {public}"),
        Outcome::Anew => {
            writeln!(report, "created a new key in {secret} and {public}, replacing revoked ones")
        }
        Outcome::Replaced { .. } => {
            writeln!(report, "created a new key in {secret}; {public} has both keys")
        }
        Outcome::Kept => writeln!(report, "kept {secret}"),
        Outcome::Completed => {
            writeln!(report, "kept {secret}; {public} was missing and has been written again")
        }
        Outcome::Unknown => {
            writeln!(report, "kept {secret}, but {public} does not have its key: others refuse it")
        }
        Outcome::Elsewhere => writeln!(
            report,
            "already has a public key, and its secret key is on another host: nothing created; \
             --replace creates a new key"
        ),
        Outcome::Revoked(key) => {
            let (name, path) = (holder.name, revoked.path().display());
            writeln!(
                report,
                "its key {} is revoked in {path}: nothing created. `zcluster keygen --per-node \
                 --node {name} --replace` creates a new key, `zcluster keys restore {name}` \
                 restores this one",
                key.key
            )
        }
    };
}

fn where_to<'a>(
    report: &mut String,
    layout: &Layout,
    holders: impl Iterator<Item = &'a Holder<'a>>,
) {
    let mut by_host: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for holder in holders {
        let host = match (holder.kind, layout.node(holder.name)) {
            (Kind::Node { .. }, Some(node)) => node.ip.to_string(),
            (Kind::Servers, _) => "the hosts of the broker and the loggers".into(),
            (Kind::Operator, _) => "hosts where `zcluster pub` and `zcluster sub` run".into(),
            _ => "the host of the broker".into(),
        };
        by_host.entry(host).or_default().push(holder.secret.display().to_string());
    }
    let public = layout.curve.authorized_keys_dir.display();
    let _ = write!(report, "\nCopy the keys to:\n  all hosts: {public}\n");
    for (host, files) in by_host {
        let _ = writeln!(report, "  {host}: {}", files.join(", "));
    }
    report.push_str(
        "Copy each .secret only to its own host, with mode 0600 and owned by the user that runs its\n\
         process. If that is another host, remove it from this one.\n",
    );
}

/// How to change a key without an outage: servers must know a key before any client uses it.
fn next_steps(
    report: &mut String,
    layout: &Layout,
    holder: &Holder<'_>,
    old: &[PublicKey],
    has_old_secret: bool,
) {
    let (name, public, secret) = (holder.name, holder.public.display(), holder.secret.display());
    let answers_to_one = holder.kind == Kind::Broker && layout.broker.engine == BrokerEngine::Zmq;
    let mut steps = match holder.kind {
        Kind::Operator | Kind::Node { receives_logs: false, .. } => vec![
            format!(
                "copy {public} to all hosts; send SIGHUP to the broker and the loggers, which then \
                 accept both keys"
            ),
            format!("copy {secret} to its host; restart {name}"),
        ],
        Kind::Node { .. } => vec![
            format!(
                "copy {secret} to its host; send SIGHUP to {name}, which then answers to both keys"
            ),
            format!("copy {public} to all hosts; send SIGHUP to the broker and the loggers"),
            format!("restart {name} and the nodes, one at a time"),
        ],
        Kind::Broker if answers_to_one => vec![
            format!("copy {secret} to its host, and {public} to all hosts"),
            "restart the broker and all nodes: with `engine = \"zmq\"` it answers to one key only, \
             so other nodes cannot connect meanwhile"
                .into(),
        ],
        Kind::Broker => vec![
            format!(
                "copy {secret} to its host; send SIGHUP to the broker, which then answers to both \
                 keys"
            ),
            format!("copy {public} to all hosts"),
            "restart the nodes, including loggers, one at a time; the broker keeps running".into(),
        ],
        Kind::Servers => vec![
            format!(
                "copy {secret} to the hosts of the broker and the loggers; send SIGHUP to all of them, \
                 which then answer to both keys"
            ),
            format!("copy {public} to all hosts"),
            "update the environment of the Zeek nodes with `zcluster keys zeek`, and restart them"
                .into(),
        ],
    };
    steps.extend(old.iter().map(|key| format!("zcluster keys revoke {name} --key='{key}'")));
    let dir = layout.curve.authorized_keys_dir.display();
    steps.push(format!("copy {dir} to all hosts; send SIGHUP to the broker and the loggers"));
    let _ = writeln!(report, "\nThe old key of {name} stays valid until it is revoked. Next:");
    for (number, step) in steps.iter().enumerate() {
        let _ = writeln!(report, "  {}. {step}", number + 1);
    }
    if holder.kind.is_server() && !has_old_secret {
        let _ = writeln!(
            report,
            "The old secret key is not on this host: append it to {secret}, or other nodes cannot \
             connect to {name} until they restart."
        );
    }
    if holder.kind.is_server() && !holder.in_layout.is_empty() {
        let _ = writeln!(
            report,
            "The layout has the old key of {name}, and takes precedence: put the new key before \
             it, or replace it, on all hosts before any process restarts."
        );
    }
    if holder.kind == Kind::Servers {
        warn_of_zmq(report, layout);
    }
}

/// Zeek nodes only trust a broker that has the common key of all servers.
fn warn_of_zmq(report: &mut String, layout: &Layout) {
    if layout.broker.engine == BrokerEngine::Zmq {
        report.push_str(
            "With `engine = \"zmq\"` the broker answers to its own key only: Zeek nodes with their \
             own keys cannot connect to it.\n",
        );
    }
}

/// Adds what the layout still needs for these keys to take effect.
fn how_to_use(report: &mut String, layout: &Layout, path: &Path) {
    if layout.has_keys_per_node() {
        return;
    }
    let path = path.display();
    let _ = write!(
        report,
        "\nThese keys have no effect yet. On all hosts, add to {path}:\n\n  [curve]\n  \
         mode = \"per-node\"\n"
    );
    if layout.zeromq.has_curve_keys() {
        report.push_str("\nand remove the `curve_` options of [zeromq] from it.\n");
    }
}
