//! `zcluster keys restore`: makes a revoked key valid again.

use std::fmt::Write as _;
use std::path::Path;

use zcluster::access::key_file::{MAX_KEYS, write_public_keys};
use zcluster::access::revoked::Revoked;
use zcluster::daemon::Failure;
use zcluster::exit::ExitCode;
use zcluster::wire::zmtp::PublicKey;

use super::effect;
use super::holder::{Holder, load, wrong_file};
use super::revoke::key_argument;
use crate::output::{cannot, print};

pub(super) fn run(name: &str, key: Option<&str>, path: &Path) -> Result<(), Failure> {
    let only = key_argument(key)?;
    let layout = load(path)?;
    let holder = Holder::find(&layout, path, name)?;
    let mut revoked = Revoked::read(&layout.curve.authorized_keys_dir).map_err(wrong_file)?;
    let key = choose(&holder, only, &revoked)?;
    add(&holder, key)?;
    revoked.remove(&key);
    revoked.write().map_err(wrong_file)?;
    // Writing to a string cannot fail.
    let mut report = String::new();
    let _ = writeln!(report, "{name}: {key} is no longer revoked");
    effect::tell(&mut report, &holder, &layout, &revoked);
    print(&report)
}

/// The revoked key to restore.
fn choose(
    holder: &Holder<'_>,
    only: Option<PublicKey>,
    revoked: &Revoked,
) -> Result<PublicKey, Failure> {
    let (name, path) = (holder.name, revoked.path().display());
    let all: Vec<_> = revoked.of(name).map(|revoked| revoked.key).collect();
    match (only, all.as_slice()) {
        (None, [key]) => Ok(*key),
        (None, []) => Err(Failure::config(format!("no key of {name} is revoked in {path}"))),
        (None, _) => Err(Failure::new(
            ExitCode::Usage,
            format!(
                "{name} has {} revoked keys: choose one with --key; `zcluster keys list` shows \
                 them",
                all.len()
            ),
        )),
        // If the file does not say whose key it was, the command line decides.
        (Some(key), _) => match revoked.get(&key) {
            Some(revoked) if revoked.name.is_empty() || revoked.name == name => Ok(key),
            _ => Err(Failure::config(format!("that key of {name} is not revoked in {path}"))),
        },
    }
}

/// Adds a key to the file of its holder again, first if the holder uses it.
fn add(holder: &Holder<'_>, key: PublicKey) -> Result<(), Failure> {
    let mut keys = holder.in_file().map_err(wrong_file)?.unwrap_or_default();
    if keys.contains(&key) || holder.in_layout.contains(&key) {
        return Ok(());
    }
    if keys.len() >= MAX_KEYS {
        let message = format!("{} has {MAX_KEYS} keys; revoke one first", holder.public.display());
        return Err(Failure::config(message));
    }
    let in_use = holder.secret().map_err(wrong_file)?;
    let is_in_use = in_use.is_some_and(|pairs| *pairs[0].public() == key);
    keys.insert(if is_in_use { 0 } else { keys.len() }, key);
    write_public_keys(&holder.public, &keys)
        .map_err(|error| cannot("write", &holder.public, &error))
}
