//! `zcluster keys revoke`: a public key goes, from the directory and from the layout file.

use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use zcluster::access::key_file::remove_public_key;
use zcluster::atomic_file;
use zcluster::daemon::Failure;
use zcluster::exit::ExitCode;
use zcluster::layout::{BrokerEngine, Layout};
use zcluster::wire::zmtp::PublicKey;
use zeroize::Zeroizing;

use super::edit::without_keys;
use super::holder::{Holder, Kind, load, wrong_file};
use crate::output::{cannot, print};

pub(super) fn run(name: &str, key: Option<&str>, path: &Path) -> Result<(), Failure> {
    // Not shown where it is wrong: somebody may have taken a secret key for it.
    let only: Option<PublicKey> = key.map(str::parse).transpose().map_err(|error| {
        Failure::new(ExitCode::Usage, format!("--key: {error}, as `zcluster keys list` shows them"))
    })?;
    let layout = load(path)?;
    let holder = Holder::find(&layout, path, name)?;
    let mut report = String::new();
    let revoked = revoke(&holder, only, &layout, path, &mut report);
    // What was changed is told, also where something then failed.
    print(&report)?;
    revoked
}

fn revoke(
    holder: &Holder<'_>,
    only: Option<PublicKey>,
    layout: &Layout,
    path: &Path,
    report: &mut String,
) -> Result<(), Failure> {
    let what = only.map_or_else(|| "all public keys".into(), |key| key.to_string());
    // Writing to a string cannot fail.
    let mut told = |place: &Path| {
        let _ = writeln!(report, "{}: took {what} from {}", holder.name, place.display());
    };
    let from_file = take_from_file(holder, only)?;
    if from_file {
        told(&holder.public);
    }
    let mut in_layout = holder.in_layout.clone();
    in_layout.retain(|key| only.is_none_or(|only| only == *key));
    if !in_layout.is_empty() {
        take_from_layout(holder, &in_layout, layout, path)?;
        told(path);
    } else if !from_file {
        return Err(Failure::config(not_there(holder, only, path)));
    }
    effect(report, holder, layout);
    secrets_left(report, holder, only);
    Ok(())
}

/// Whether there was anything to take.
fn take_from_file(holder: &Holder<'_>, only: Option<PublicKey>) -> Result<bool, Failure> {
    match only {
        Some(key) => match remove_public_key(&holder.public, &key) {
            Err(error) if error.is_not_found() => Ok(false),
            removed => removed.map_err(wrong_file),
        },
        // Whatever is in it.
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

/// The layout file without those keys, if that is all that would change in it.
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
    // What the command reads back has its directories as the file says.
    let reads_as_expected = |text: &Zeroizing<String>| {
        let Ok((mut read, _)) = Layout::from_toml(text, "") else { return false };
        read.curve.authorized_keys_dir.clone_from(&expected.curve.authorized_keys_dir);
        read.curve.secret_keys_dir.clone_from(&expected.curve.secret_keys_dir);
        read == expected
    };
    let Some(edited) = edited.filter(reads_as_expected) else {
        let message = format!(
            "cannot take the public key of {} from {}: remove it by hand",
            holder.name,
            path.display()
        );
        return Err(Failure::new(ExitCode::Software, message));
    };
    atomic_file::replace(path, 0o600, edited.as_bytes())
        .map_err(|error| cannot("write", path, &error))
}

/// Who must hear of it, and what that does.
fn effect(report: &mut String, holder: &Holder<'_>, layout: &Layout) {
    let loggers: Vec<_> = layout.log_receivers().map(|(name, _)| name).collect();
    let servers = match loggers.as_slice() {
        [] => "the central broker".to_owned(),
        names => format!("the central broker and to {}", names.join(", ")),
    };
    if let Kind::Operator | Kind::Node { .. } = holder.kind {
        let _ = writeln!(
            report,
            "It takes effect with a SIGHUP to {servers}, after the files are copied to their hosts."
        );
        if layout.broker.engine == BrokerEngine::Zmq {
            report.push_str(
                "With `engine = \"zmq\"` the central broker lets it in no more, but does not cut its \
                 connection: restart the broker for that.\n",
            );
        }
    }
    if holder.kind.is_server() {
        let _ = writeln!(
            report,
            "Nodes that have connected to {} by that key know it until they restart.",
            holder.name
        );
    }
}

/// A secret key whose public key is gone would bring it back.
fn secrets_left(report: &mut String, holder: &Holder<'_>, only: Option<PublicKey>) {
    // A file that is refused has been told of by whoever has to read it.
    let Ok(Some(pairs)) = holder.secret() else { return };
    let secret = holder.secret.display();
    match only {
        None => {
            let _ = writeln!(
                report,
                "{secret} is still on this host: remove it, or `zcluster keygen --per-node` writes \
                 its public key again."
            );
        }
        Some(key) => match pairs.iter().position(|pair| *pair.public() == key) {
            Some(0) => {
                let _ = writeln!(
                    report,
                    "It is the key in use of {secret}: {} cannot connect any more.",
                    holder.name
                );
            }
            Some(_) if holder.kind.is_server() => {
                let who = holder.kind.servers(holder.name);
                let _ = writeln!(
                    report,
                    "Take its secret key out of {secret}, too, and SIGHUP to {who}: until then it \
                     still counts."
                );
            }
            Some(_) => {
                let _ = writeln!(report, "Its secret key may go from {secret}, too.");
            }
            None => {}
        },
    }
}
