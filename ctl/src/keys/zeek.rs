//! `zcluster keys zeek`: a node's keys as environment variables of a Zeek process (WIRE.md §7.1).

use std::io::{self, IsTerminal};
use std::path::Path;

use zcluster::access::revoked::Revoked;
use zcluster::daemon::Failure;
use zcluster::exit::ExitCode;
use zcluster::layout::BrokerEngine;
use zcluster::wire::zmtp::{KeyPair, PublicKey};
use zeroize::Zeroizing;

use super::holder::{Holder, Kind, load, wrong_file};
use crate::output::{print_secret, say, write_secret};

pub(super) fn run(name: &str, out: Option<&Path>, show: bool, path: &Path) -> Result<(), Failure> {
    let layout = load(path)?;
    let holder = Holder::find(&layout, path, name)?;
    if !matches!(holder.kind, Kind::Node { .. }) {
        let message = format!("{name} is not a node: expected a node that Zeek runs");
        return Err(Failure::new(ExitCode::Usage, message));
    }
    if out.is_none() && !show && io::stdout().is_terminal() {
        let message = "refusing to print a secret key to a terminal: use --out FILE or --show";
        return Err(Failure::new(ExitCode::Usage, message));
    }
    let servers = Holder::servers(&layout);
    let revoked = Revoked::read(&layout.curve.authorized_keys_dir).map_err(wrong_file)?;
    let mut server = servers.in_file().map_err(wrong_file)?.unwrap_or_default();
    server.retain(|key| !revoked.contains(key));
    let server = server.first().ok_or_else(|| {
        Failure::config(format!(
            "{} has no valid key; Zeek needs this common key of all servers: `zcluster keygen \
             --per-node --servers` creates it",
            servers.public.display()
        ))
    })?;
    let pairs = holder.secret().map_err(wrong_file)?.ok_or_else(|| {
        Failure::config(format!("{} is not on this host", holder.secret.display()))
    })?;
    let pair = pairs.iter().find(|pair| !revoked.contains(pair.public())).ok_or_else(|| {
        Failure::config(format!(
            "the key of {name} is revoked in {}: servers would refuse it",
            revoked.path().display()
        ))
    })?;
    check_is_known(&holder, pair)?;
    if holder.kind.is_server() {
        say(&format!(
            "zcluster: warning: {name} receives logs, but a Zeek process accepts a single key, \
             which all nodes would have to share: run zcluster-logger as {name}"
        ));
    }
    if layout.broker.engine == BrokerEngine::Zmq {
        say(&format!(
            "zcluster: warning: with `engine = \"zmq\"` the broker does not answer to the common \
             key of all servers: {name} cannot connect to it"
        ));
    }
    let text = environment(server, pair);
    match out {
        Some(path) => write_secret(path, &text),
        None => print_secret(&text),
    }
}

/// Servers only accept keys that they know.
fn check_is_known(holder: &Holder<'_>, pair: &KeyPair) -> Result<(), Failure> {
    let mut known = holder.in_file().map_err(wrong_file)?.unwrap_or_default();
    known.extend(&holder.in_layout);
    if known.contains(pair.public()) {
        return Ok(());
    }
    Err(Failure::config(format!(
        "{} is not a public key of {} in the layout or in {}: servers would refuse it",
        pair.public(),
        holder.name,
        holder.public.display()
    )))
}

/// Z85 has no quotes, so keys need no escaping between them.
fn environment(server: &PublicKey, client: &KeyPair) -> Zeroizing<String> {
    // Room for all of it: growing would leave a copy of the secret behind.
    let mut text = Zeroizing::new(String::with_capacity(1024));
    for (name, key) in [
        ("SERVER_PUBLICKEY", server.to_string().as_str()),
        ("CLIENT_PUBLICKEY", &client.public().to_string()),
        ("CLIENT_SECRETKEY", &client.secret().expose_text()),
    ] {
        text.extend(["export ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_", name, "='", key, "'\n"]);
    }
    text
}
