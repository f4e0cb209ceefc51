//! `zcluster keys list`: which key each node has, and where it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Serialize;
use zcluster::access::revoked::Revoked;
use zcluster::daemon::Failure;
use zcluster::exit::ExitCode;
use zcluster::layout::Layout;
use zcluster::wire::zmtp::PublicKey;

use super::holder::{Holder, Kind, load, wrong_file};
use crate::output::{cannot, print, say};

/// What is printed as JSON.
#[derive(Debug, Serialize)]
struct List {
    /// The broker, all servers, and the nodes.
    keys: Vec<Row>,
    /// What is wrong, or unwise.
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    r#type: String,
    public_keys: Vec<Entry>,
    secret_key: Secret,
}

#[derive(Debug, Serialize)]
struct Entry {
    key: String,
    /// The layout, or a file.
    r#where: Vec<String>,
    /// When it was revoked; empty if unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<String>,
}

/// Whether the secret key is on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Secret {
    Here,
    Elsewhere,
    Refused,
}

pub(super) fn run(path: &Path, json: bool) -> Result<(), Failure> {
    let layout = load(path)?;
    let list = list(&layout)?;
    if json {
        let text = serde_json::to_string(&list)
            .map_err(|error| Failure::new(ExitCode::Software, format!("cannot print: {error}")))?;
        return print(&format!("{text}\n"));
    }
    print(&table(&list.keys))?;
    for warning in &list.warnings {
        say(&format!("zcluster: warning: {warning}"));
    }
    Ok(())
}

fn list(layout: &Layout) -> Result<List, Failure> {
    let mut warnings = Vec::new();
    if !layout.has_keys_per_node() {
        warnings.push("these keys have no effect without `mode = \"per-node\"` in [curve]".into());
    }
    let revoked = Revoked::read(&layout.curve.authorized_keys_dir).map_err(wrong_file)?;
    let mut owners: BTreeMap<PublicKey, &str> = BTreeMap::new();
    let holders: Vec<Holder<'_>> = Holder::all(layout).collect();
    let mut keys = Vec::new();
    for holder in &holders {
        let known = public_keys(holder, &mut warnings);
        for (key, places) in &known {
            if revoked.contains(key) {
                let (name, places) = (holder.name, places.join(" and "));
                warnings
                    .push(format!("the key {key} of {name} in {places} is revoked and is refused"));
                continue;
            }
            let owner = *owners.entry(*key).or_insert(holder.name);
            if owner != holder.name {
                let name = holder.name;
                warnings.push(format!("{owner} and {name} have the same public key {key}"));
            }
        }
        keys.push(Row {
            name: holder.name.into(),
            r#type: holder.kind.to_string(),
            secret_key: secret_key(holder, &known, &revoked, &mut warnings),
            public_keys: with_revoked(holder.name, known, &revoked),
        });
    }
    keys.extend(revoked_strangers(&holders, &revoked));
    for file in strangers(&layout.curve.authorized_keys_dir, &holders)? {
        warnings
            .push(format!("{} belongs to no node of the layout and is ignored", file.display()));
    }
    Ok(List { keys, warnings })
}

/// The keys of a holder, and its revoked keys.
fn with_revoked(
    name: &str,
    mut known: Vec<(PublicKey, Vec<String>)>,
    revoked: &Revoked,
) -> Vec<Entry> {
    for former in revoked.of(name) {
        if known.iter().all(|(key, _)| *key != former.key) {
            known.push((former.key, Vec::new()));
        }
    }
    let key = |(key, places): (PublicKey, Vec<String>)| Entry {
        key: key.to_string(),
        r#where: places,
        revoked: revoked.get(&key).map(|revoked| revoked.since.clone()),
    };
    known.into_iter().map(key).collect()
}

/// Revoked keys whose name is no longer in the layout, or that have no name.
fn revoked_strangers(holders: &[Holder<'_>], revoked: &Revoked) -> Vec<Row> {
    let is_stranger = |name: &str| holders.iter().all(|holder| holder.name != name);
    let names: BTreeSet<&str> = revoked.all().iter().map(|revoked| revoked.name.as_str()).collect();
    let row = |name: &str| Row {
        name: if name.is_empty() { "-".into() } else { name.into() },
        r#type: "-".into(),
        public_keys: with_revoked(name, Vec::new(), revoked),
        secret_key: Secret::Elsewhere,
    };
    names.into_iter().filter(|name| is_stranger(name)).map(row).collect()
}

/// Each key once, with all its places, in the order in which other nodes look for them.
fn public_keys(holder: &Holder<'_>, warnings: &mut Vec<String>) -> Vec<(PublicKey, Vec<String>)> {
    let in_file = holder.in_file().unwrap_or_else(|error| {
        warnings.push(error.to_string());
        None
    });
    let in_layout = holder.in_layout.iter().map(|key| (*key, "layout".to_owned()));
    let in_file = in_file.unwrap_or_default().into_iter();
    let file = holder.public.display().to_string();
    let mut all: Vec<(PublicKey, Vec<String>)> = Vec::new();
    for (key, place) in in_layout.chain(in_file.map(|key| (key, file.clone()))) {
        match all.iter_mut().find(|(other, _)| *other == key) {
            Some((_, places)) if places.contains(&place) => {}
            Some((_, places)) => places.push(place),
            None => all.push((key, vec![place])),
        }
    }
    all
}

fn secret_key(
    holder: &Holder<'_>,
    known: &[(PublicKey, Vec<String>)],
    revoked: &Revoked,
    warnings: &mut Vec<String>,
) -> Secret {
    match holder.secret() {
        Ok(None) => Secret::Elsewhere,
        Ok(Some(pairs)) => {
            let current = pairs[0].public();
            if revoked.contains(current) {
                let secret = holder.secret.display();
                warnings.push(format!("{current} of {secret} is revoked"));
            } else if !known.iter().any(|(key, _)| key == current) {
                let (name, secret) = (holder.name, holder.secret.display());
                warnings.push(format!("{current} of {secret} is not a public key of {name}"));
            }
            Secret::Here
        }
        Err(error) => {
            warnings.push(error.to_string());
            Secret::Refused
        }
    }
}

/// Files of public keys that belong to no holder.
fn strangers(dir: &Path, holders: &[Holder<'_>]) -> Result<Vec<PathBuf>, Failure> {
    let fail = |error| cannot("read", dir, &error);
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(fail)?,
    };
    let mut strangers = Vec::new();
    for entry in entries {
        let path = entry.map_err(fail)?.path();
        let is_key = path.extension().is_some_and(|extension| extension == "pub");
        if is_key && holders.iter().all(|holder| holder.public != path) {
            strangers.push(path);
        }
    }
    strangers.sort();
    Ok(strangers)
}

fn table(rows: &[Row]) -> String {
    let mut lines = vec![["NAME", "TYPE", "SECRET KEY", "PUBLIC KEY", "WHERE"].map(String::from)];
    for row in rows {
        let secret = match row.secret_key {
            Secret::Here => "here",
            Secret::Elsewhere => "-",
            Secret::Refused => "refused",
        };
        let head = [&row.name, &row.r#type, secret].map(str::to_owned);
        if row.public_keys.is_empty() {
            let [name, kind, secret] = head;
            lines.push([name, kind, secret, without_key(&row.r#type).into(), String::new()]);
            continue;
        }
        for (number, key) in row.public_keys.iter().enumerate() {
            let [name, kind, secret] = if number == 0 { head.clone() } else { Default::default() };
            let revoked =
                key.revoked.iter().map(|since| format!("revoked {since}").trim_end().to_owned());
            let places: Vec<_> = revoked.chain(key.r#where.iter().cloned()).collect();
            lines.push([name, kind, secret, key.key.clone(), places.join(", ")]);
        }
    }
    let widths: [usize; 5] = std::array::from_fn(|column| {
        lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0)
    });
    let mut text = String::new();
    for line in &lines {
        let mut row = String::new();
        for (cell, width) in line.iter().zip(widths) {
            // Writing to a string cannot fail.
            let _ = write!(row, "{cell:width$}  ");
        }
        text.extend([row.trim_end(), "\n"]);
    }
    text
}

/// What a missing key means for a holder of that kind.
fn without_key(kind: &str) -> &'static str {
    if kind == Kind::Broker.to_string() {
        "no key: no node can connect"
    } else if kind == Kind::Servers.to_string() {
        "no key: Zeek cannot connect"
    } else {
        "no key: cannot connect"
    }
}
