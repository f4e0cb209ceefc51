//! `zcluster keys revoke`: refuses a public key from now on, and removes it from the directory and
//! from the layout file.

use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::SystemTime;

use zcluster::access::key_file::{find_public_keys, remove_public_key};
use zcluster::access::revoked::Revoked;
use zcluster::atomic_file;
use zcluster::daemon::Failure;
use zcluster::exit::ExitCode;
use zcluster::layout::Layout;
use zcluster::wire::zmtp::PublicKey;
use zeroize::Zeroizing;

use super::edit::without_keys;
use super::effect;
use super::holder::{Holder, Kind, load, wrong_file};
use crate::output::{cannot, print};

pub(super) fn run(name: &str, key: Option<&str>, path: &Path) -> Result<(), Failure> {
    let only = key_argument(key)?;
    let layout = load(path)?;
    let holder = Holder::find(&layout, path, name)?;
    let mut report = String::new();
    let revoked = revoke(&holder, only, &layout, path, &mut report);
    // Changes are reported even if something failed afterwards.
    print(&report)?;
    revoked
}

/// The public key of `--key`. Errors do not show it: it may be a secret key given by mistake.
pub(super) fn key_argument(key: Option<&str>) -> Result<Option<PublicKey>, Failure> {
    key.map(str::parse).transpose().map_err(|error| {
        Failure::new(ExitCode::Usage, format!("--key: {error}, as `zcluster keys list` shows them"))
    })
}

fn revoke(
    holder: &Holder<'_>,
    only: Option<PublicKey>,
    layout: &Layout,
    path: &Path,
    report: &mut String,
) -> Result<(), Failure> {
    let directory = &layout.curve.authorized_keys_dir;
    let mut revoked = Revoked::read(directory).map_err(wrong_file)?;
    let keys = keys_of(holder, only, &revoked);
    if keys.is_empty() && (only.is_some() || !holder.public.exists()) {
        return Err(Failure::config(not_there(holder, only, path)));
    }
    // Revoke first: by the time a key is removed from its places, it is already refused.
    fs::create_dir_all(directory).map_err(|error| cannot("make", directory, &error))?;
    let now = SystemTime::now();
    let new: Vec<_> = keys.iter().filter(|key| revoked.add(holder.name, **key, now)).collect();
    if !new.is_empty() {
        revoked.write().map_err(wrong_file)?;
    }
    // Writing to a string cannot fail.
    for key in &keys {
        let already = if new.contains(&key) { "" } else { " already" };
        let place = revoked.path().display();
        let _ = writeln!(report, "{}: {key} is revoked{already}, in {place}", holder.name);
    }
    let what = only.map_or_else(|| "all public keys".into(), |key| key.to_string());
    let mut told = |place: &Path| {
        let _ = writeln!(report, "{}: removed {what} from {}", holder.name, place.display());
    };
    if take_from_file(holder, only)? {
        told(&holder.public);
    }
    let mut in_layout = holder.in_layout.clone();
    in_layout.retain(|key| only.is_none_or(|only| only == *key));
    if !in_layout.is_empty() {
        take_from_layout(holder, &in_layout, layout, path)?;
        told(path);
    }
    effect::tell(report, holder, layout, &revoked);
    secrets_left(report, holder, only);
    Ok(())
}

/// The keys to revoke: all those listed anywhere, and those that secret keys on this host would
/// bring back.
fn keys_of(holder: &Holder<'_>, only: Option<PublicKey>, revoked: &Revoked) -> Vec<PublicKey> {
    let in_file = find_public_keys(&holder.public);
    // Processes that need this file report what is wrong with it.
    let secret = holder.secret().ok().flatten().unwrap_or_default();
    let secret = secret.iter().map(|pair| *pair.public());
    let former = revoked.of(holder.name).map(|revoked| revoked.key);
    let all = holder.in_layout.iter().copied().chain(in_file).chain(secret).chain(former);
    let mut keys = Vec::new();
    for key in all.filter(|key| only.is_none_or(|only| only == *key)) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

/// Whether anything was removed.
fn take_from_file(holder: &Holder<'_>, only: Option<PublicKey>) -> Result<bool, Failure> {
    match only {
        Some(key) => match remove_public_key(&holder.public, &key) {
            Err(error) if error.is_not_found() => Ok(false),
            removed => removed.map_err(wrong_file),
        },
        // Regardless of its contents.
        None => match atomic_file::remove(&holder.public) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            removed => {
                removed.map(|()| true).map_err(|error| cannot("remove", &holder.public, &error))
            }
        },
    }
}

fn not_there(holder: &Holder<'_>, only: Option<PublicKey>, path: &Path) -> String {
    let which = if only.is_some() { "that public key" } else { "a public key" };
    format!(
        "neither {} nor {} has {which} of {}",
        holder.public.display(),
        path.display(),
        holder.name
    )
}

/// Removes those keys from the layout file, if that changes nothing else in it.
fn take_from_layout(
    holder: &Holder<'_>,
    keys: &[PublicKey],
    layout: &Layout,
    path: &Path,
) -> Result<(), Failure> {
    let text = fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|error| cannot("read", path, &error))?;
    let mut expected = layout.clone();
    if holder.kind == Kind::Broker {
        expected.curve.broker_publickey = None;
    } else if let Some(node) = expected.nodes.get_mut(holder.name) {
        node.curve_publickey.retain(|key| !keys.contains(key));
    }
    let edited = without_keys(&text, holder.name, keys).ok().flatten();
    // The loaded layout has resolved directories; the file has them as written.
    let reads_as_expected = |text: &Zeroizing<String>| {
        let Ok((mut read, _)) = Layout::from_toml(text, "") else { return false };
        read.curve.authorized_keys_dir.clone_from(&expected.curve.authorized_keys_dir);
        read.curve.secret_keys_dir.clone_from(&expected.curve.secret_keys_dir);
        read == expected
    };
    let Some(edited) = edited.filter(reads_as_expected) else {
        let message = format!(
            "cannot remove the public key of {} from {}: remove it by hand",
            holder.name,
            path.display()
        );
        return Err(Failure::new(ExitCode::Software, message));
    };
    atomic_file::replace(path, 0o600, edited.as_bytes())
        .map_err(|error| cannot("write", path, &error))
}

/// Reports secret keys that remain on this host.
fn secrets_left(report: &mut String, holder: &Holder<'_>, only: Option<PublicKey>) {
    // Processes that need this file report what is wrong with it.
    let Ok(Some(pairs)) = holder.secret() else { return };
    let secret = holder.secret.display();
    // Writing to a string cannot fail.
    let _ = match only.map(|key| pairs.iter().position(|pair| *pair.public() == key)) {
        None => writeln!(report, "{secret} is still on this host; you may delete it."),
        Some(Some(0)) => writeln!(
            report,
            "It is the key in use in {secret}: {} can no longer connect with it.",
            holder.name
        ),
        Some(Some(_)) => writeln!(report, "You may also remove its secret key from {secret}."),
        Some(None) => Ok(()),
    };
}
