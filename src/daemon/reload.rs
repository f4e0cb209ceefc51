//! What SIGHUP does in every process that has servers: layout and keys are read again, and who may
//! connect, and what they may say, goes by them from then on.

use std::path::Path;

use super::{Failure, load_layout};
use crate::access::{Access, AccessCell, server_access};

/// Reads the layout at `path` and the keys of `server` again, puts what follows from them in
/// `cell`, and says so. `node`: as for [`load_layout`]; `server`: as for
/// [`server_access`]. Returns whether it was put there: on any error all stays as it
/// was, and the error is told. Blocks for as long as files take.
///
/// Connections are held against it by whoever owns them. Nothing else of the layout has any effect.
pub fn reload_access(cell: &AccessCell, path: &Path, node: Option<&str>, server: &str) -> bool {
    let current = cell.load();
    match load_access(&current, path, node, server) {
        Ok(access) => {
            let who = match access.server_keys() {
                Some(_) => format!("keys that may connect: {}", access.admitted_keys()),
                None => "nothing is encrypted, everybody may connect".into(),
            };
            log::info!("read {} and the keys again: {who}", path.display());
            cell.replace(access);
            true
        }
        Err(failure) => {
            log::error!("who may connect stays as it was: {}", failure.message);
            false
        }
    }
}

fn load_access(
    current: &Access,
    path: &Path,
    node: Option<&str>,
    server: &str,
) -> Result<Access, Failure> {
    let loaded = load_layout(path, node)?;
    let access = server_access(&loaded.layout, server)?;
    let (is, was) = (access.server_keys().is_some(), current.server_keys().is_some());
    if is != was {
        let switch = if is { "on" } else { "off" };
        return Err(Failure::config(format!(
            "{} switches encryption {switch}, which takes a restart",
            path.display()
        )));
    }
    Ok(access)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::wire::zmtp::{KeyPair, PublicKey};

    const NODES: &str = "[nodes.logger-1]\nnode_type = \"logger\"\nip = \"127.0.0.1\"\nport = 1\n";

    fn layout(server: &KeyPair, client: &PublicKey) -> String {
        let secret = server.secret().expose_text();
        format!(
            "[zeromq]\ncurve_server_secretkey = {:?}\ncurve_client_publickey = {:?}\n{NODES}",
            secret.as_str(),
            client.to_string(),
        )
    }

    #[test]
    fn what_is_read_again_is_gone_by_and_errors_change_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("layout.toml");
        let [server, first, second] = [(); 3].map(|()| KeyPair::generate());
        fs::write(&path, layout(&server, first.public())).unwrap();
        let access = |path| server_access(&load_layout(path, None).unwrap().layout, "logger-1");
        let cell = AccessCell::new(access(&path).unwrap());
        let reload = || reload_access(&cell, &path, None, "logger-1");
        let admits = |keys: &KeyPair| cell.load().admit(keys.public()).is_some();

        fs::write(&path, layout(&server, second.public())).unwrap();
        assert!(admits(&first) && reload());
        assert_eq!((admits(&first), admits(&second), cell.generation()), (false, true, 1));

        for broken in [
            "[nodes",
            NODES,
            &layout(&server, first.public()).replace("curve_client_publickey", "unknown"),
            &layout(&server, first.public()).replace("_publickey = \"", "_publickey = \"x"),
        ] {
            fs::write(&path, broken).unwrap();
            assert!(!reload(), "{broken}");
        }
        fs::remove_file(&path).unwrap();
        assert!(!reload());
        assert_eq!((admits(&first), admits(&second), cell.generation()), (false, true, 1));
    }

    #[test]
    fn encryption_is_not_switched_on_by_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("layout.toml");
        let cell = AccessCell::new(Access::default());
        fs::write(&path, NODES).unwrap();
        assert!(reload_access(&cell, &path, None, "logger-1"));
        fs::write(&path, layout(&KeyPair::generate(), KeyPair::generate().public())).unwrap();
        assert!(!reload_access(&cell, &path, None, "logger-1"));
        assert_eq!(cell.generation(), 1);
    }
}
