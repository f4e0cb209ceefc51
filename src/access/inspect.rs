//! Checks the keys of a layout and the key files on this host, before processes start.

use std::collections::BTreeSet;
use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

use super::KeyError;
use super::files::{authorized_keys, client_keys, server_access};
use super::key_file::{KeyFileError, public_path, read_public_keys, read_secret_keys, secret_path};
use crate::layout::{CurveKeys, Layout};

/// A problem with keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether it keeps a process from starting or connecting.
    pub is_error: bool,
    /// What is wrong, and how to fix it.
    pub message: String,
}

impl Finding {
    fn error(message: impl fmt::Display) -> Self {
        Finding { is_error: true, message: message.to_string() }
    }

    fn warning(message: impl fmt::Display) -> Self {
        Finding { is_error: false, message: message.to_string() }
    }
}

/// Checks the keys in a layout and in its directories.
pub fn inspect(layout: &Layout) -> Vec<Finding> {
    if layout.has_keys_per_node() { per_node(layout) } else { shared(layout) }
}

/// Shared keys: the two halves of each pair must belong together.
fn shared(layout: &Layout) -> Vec<Finding> {
    let zeromq = &layout.zeromq;
    // Any name works: all nodes share these keys.
    let server = zeromq.curve_server().then(|| server_access(layout, CurveKeys::BROKER).err());
    let client = zeromq.curve_client().then(|| client_keys(layout, CurveKeys::BROKER).err());
    let (server, client) = (server.flatten(), client.flatten());
    server.into_iter().chain(client).map(Finding::error).collect()
}

fn per_node(layout: &Layout) -> Vec<Finding> {
    let nodes = layout.nodes.keys().map(String::as_str);
    let holders: Vec<&str> = [CurveKeys::BROKER].into_iter().chain(nodes).collect();
    let mut findings = public(layout, &holders);
    // A problem of a single file has been reported already.
    if findings.iter().all(|finding| !finding.is_error)
        && let Err(error) = authorized_keys(layout)
    {
        findings.push(Finding::error(error));
    }
    findings.extend(secret(layout, &holders));
    // A problem of a directory is found with each of its files.
    let mut told = BTreeSet::new();
    findings.retain(|finding| told.insert(finding.message.clone()));
    findings
}

/// Checks that each node and the broker have a public key that others know.
fn public(layout: &Layout, holders: &[&str]) -> Vec<Finding> {
    let directory = &layout.curve.authorized_keys_dir;
    let make = "`zcluster keygen --per-node` creates keys";
    let mut findings = Vec::new();
    let mut without = Vec::new();
    for name in holders {
        let in_layout = match layout.node(name) {
            Some(node) => !node.curve_publickey.is_empty(),
            None => layout.curve.broker_publickey.is_some(),
        };
        match read_public_keys(&public_path(directory, name)) {
            Err(error) if error.is_not_found() && !in_layout => without.push(*name),
            Err(error) if !error.is_not_found() => findings.push(of_file(&error.into())),
            _ => {}
        }
    }
    if without.len() == holders.len() {
        let state = if directory.is_dir() { "has none" } else { "does not exist" };
        let message = format!(
            "`mode = \"per-node\"` without any public keys: {} {state}; {make}",
            directory.display()
        );
        return vec![Finding::error(message)];
    }
    for name in without {
        let (who, option) = if layout.node(name).is_some() {
            (format!("`{name}`"), "`curve_publickey`")
        } else {
            ("the broker".into(), "`broker_publickey` in [curve]")
        };
        let message = format!(
            "{who} has no public key, so it cannot connect, and nodes cannot connect to it: \
             expected {} or {option}; {make}",
            public_path(directory, name).display()
        );
        findings.push(Finding::error(message));
    }
    findings
}

/// Checks that only their owner can read the secret keys on this host, and that they match the
/// public ones.
fn secret(layout: &Layout, holders: &[&str]) -> Vec<Finding> {
    let directory = &layout.curve.secret_keys_dir;
    match directory.read_dir() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let message = format!(
                "the directory of secret keys {} does not exist: no process of this layout can \
                 start on this host",
                directory.display()
            );
            return vec![Finding::warning(message)];
        }
        Err(error) => return vec![Finding::warning(cannot_look(directory, &error))],
        Ok(_) => {}
    }
    let files = holders.iter().chain(&[CurveKeys::SERVERS]);
    let files = files.filter(|name| secret_path(directory, name).symlink_metadata().is_ok());
    let found: Vec<_> = files.map(|name| secret_of(layout, name).err()).collect();
    if found.is_empty() {
        let message = format!(
            "the directory of secret keys {} has no key of a node of this layout or of the broker: \
             no process of this layout can start on this host",
            directory.display()
        );
        return vec![Finding::warning(message)];
    }
    // Problems of public keys are reported elsewhere.
    let is_of_secrets = |error: &KeyError| match error {
        KeyError::File(error) => error.path().starts_with(directory),
        KeyError::NoBroker { .. }
        | KeyError::Twice { .. }
        | KeyError::Directory { .. }
        | KeyError::OpenDirectory { .. } => false,
        _ => true,
    };
    let of_secrets = found.into_iter().flatten().filter(is_of_secrets);
    of_secrets.map(|error| of_file(&error)).collect()
}

/// Reads the secret keys as their process does.
fn secret_of(layout: &Layout, name: &str) -> Result<(), KeyError> {
    match name {
        CurveKeys::BROKER => server_access(layout, name).map(|_| ()),
        CurveKeys::SERVERS => {
            let path = secret_path(&layout.curve.secret_keys_dir, name);
            Ok(read_secret_keys(&path).map(|_| ())?)
        }
        node => client_keys(layout, node).map(|_| ()),
    }
}

/// Without permission to read a file, it is unknown whether anything is wrong.
fn of_file(error: &KeyError) -> Finding {
    match error {
        KeyError::File(KeyFileError::Read { path, source })
            if source.kind() == ErrorKind::PermissionDenied =>
        {
            Finding::warning(cannot_look(path, source))
        }
        error => Finding::error(error),
    }
}

fn cannot_look(path: &Path, error: &std::io::Error) -> String {
    format!("{} was not checked: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::super::key_file::{write_public_keys, write_secret_key};
    use super::*;
    use crate::layout::CurveMode;
    use crate::wire::zmtp::KeyPair;

    const NODES: &str = "[nodes.l]\nnode_type = \"logger\"\nip = \"::1\"\nport = 1\n\
                         [nodes.m]\nnode_type = \"manager\"\nip = \"::1\"\n";

    /// What is found for a layout with directories in `dir`, each with `E` or `W`.
    fn found(layout: &Layout, dir: &Path) -> Vec<String> {
        let shown = |finding: Finding| {
            let severity = if finding.is_error { "E" } else { "W" };
            format!("{severity} {}", finding.message.replace(&dir.display().to_string(), "DIR"))
        };
        inspect(layout).into_iter().map(shown).collect()
    }

    fn layout(dir: &Path) -> Layout {
        let mut layout = Layout::from_toml(NODES, "l").unwrap().0;
        layout.curve.mode = CurveMode::PerNode;
        layout.curve.authorized_keys_dir = dir.join("authorized");
        layout.curve.secret_keys_dir = dir.join("secret");
        layout
    }

    #[test]
    fn keys_that_are_missing_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let mut layout = layout(dir);
        let no_secret = "W the directory of secret keys DIR/secret does not exist: no process of this \
                         layout can start on this host";
        assert_eq!(
            found(&layout, dir),
            [
                "E `mode = \"per-node\"` without any public keys: DIR/authorized does not exist; \
                 `zcluster keygen --per-node` creates keys",
                no_secret
            ]
        );
        fs::create_dir(dir.join("authorized")).unwrap();
        fs::create_dir(dir.join("secret")).unwrap();
        let found_now = found(&layout, dir);
        assert!(
            found_now[0].contains("DIR/authorized has none; `zcluster keygen"),
            "{found_now:?}"
        );
        assert!(found_now[1].contains("DIR/secret has no key of a node of this layout"));

        let pairs = [(); 3].map(|()| KeyPair::generate());
        layout.curve.broker_publickey = Some(*pairs[0].public());
        write_public_keys(&public_path(&dir.join("authorized"), "m"), &[*pairs[1].public()])
            .unwrap();
        write_secret_key(&secret_path(&dir.join("secret"), "m"), pairs[1].secret()).unwrap();
        let no_key = "E `l` has no public key, so it cannot connect, and nodes cannot connect to \
                      it: expected DIR/authorized/l.pub or `curve_publickey`; `zcluster keygen \
                      --per-node` creates keys";
        assert_eq!(found(&layout, dir), [no_key]);
        layout.nodes.get_mut("l").unwrap().curve_publickey = vec![*pairs[2].public()];
        assert_eq!(found(&layout, dir), [""; 0]);
        layout.curve.broker_publickey = None;
        let found = found(&layout, dir);
        assert!(found[0].starts_with("E the broker has no public key"), "{found:?}");
        assert!(found[0].contains("DIR/authorized/broker.pub or `broker_publickey` in [curve]"));
    }

    #[test]
    fn keys_that_are_wrong_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let layout = layout(dir);
        let (authorized, secrets) = (dir.join("authorized"), dir.join("secret"));
        fs::create_dir(&authorized).unwrap();
        fs::create_dir(&secrets).unwrap();
        for name in ["broker", "l", "m"] {
            let pair = KeyPair::generate();
            write_public_keys(&public_path(&authorized, name), &[*pair.public()]).unwrap();
            write_secret_key(&secret_path(&secrets, name), pair.secret()).unwrap();
        }
        assert_eq!(found(&layout, dir), [""; 0]);

        let secret = secret_path(&secrets, "l");
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
        let [open] = &found(&layout, dir)[..] else { panic!("one") };
        assert!(
            open.starts_with("E ") && open.contains("DIR/secret/l.secret has mode 0644"),
            "{open}"
        );
        fs::remove_file(&secret).unwrap();

        write_secret_key(&secret, KeyPair::generate().secret()).unwrap();
        let [other] = &found(&layout, dir)[..] else { panic!("one") };
        assert!(
            other.starts_with("E ") && other.contains("of l (DIR/authorized/l.pub)"),
            "{other}"
        );
        fs::remove_file(&secret).unwrap();

        fs::write(public_path(&authorized, "l"), "hunter2\n").unwrap();
        let [bad] = &found(&layout, dir)[..] else { panic!("one") };
        assert!(bad.contains("l.pub, line 1: found 7 characters") && !bad.contains("hunter2"));
        fs::copy(public_path(&authorized, "m"), public_path(&authorized, "l")).unwrap();
        let twice = &found(&layout, dir)[0];
        assert!(twice.starts_with("E ") && twice.contains("have the same key"), "{twice}");
    }

    #[test]
    fn shared_keys_fit_together() {
        let mut layout = Layout::from_toml(NODES, "l").unwrap().0;
        assert_eq!(inspect(&layout), []);
        let key = |pair: &KeyPair| crate::layout::Secret::new(pair.public().to_string());
        let secret = |pair: &KeyPair| crate::layout::Secret::new(&**pair.secret().expose_text());
        let [server, client] = [(); 2].map(|()| KeyPair::generate());
        layout.zeromq.curve_server_publickey = key(&server);
        layout.zeromq.curve_server_secretkey = secret(&server);
        layout.zeromq.curve_client_publickey = key(&client);
        layout.zeromq.curve_client_secretkey = secret(&client);
        assert_eq!(inspect(&layout), []);
        layout.zeromq.curve_client_secretkey = secret(&server);
        let [finding] = &inspect(&layout)[..] else { panic!("one") };
        assert!(finding.is_error && finding.message.contains("is not the public key of"));
    }
}
