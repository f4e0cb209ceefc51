//! [`Reloader`]: takes in other keys and rules while a process runs (SIGHUP).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread;

use super::lines::SEVERAL_LINES;
use super::{Failure, load_layout};
use crate::access::{Access, AccessCell, server_access};
use crate::exit::ExitCode;

/// Reads the layout and the keys again when asked to, on a thread of its own: neither signals nor
/// sockets wait for a slow disk. On any error everything stays as it was, and one line says why.
#[derive(Debug)]
pub struct Reloader {
    asked: SyncSender<()>,
}

/// Where keys and rules come from, and whose they are.
#[derive(Clone, Debug)]
pub struct AccessSource {
    /// The file of the layout.
    pub layout: PathBuf,
    /// The node, as for [`load_layout`].
    pub node: Option<String>,
    /// The name under which it has keys as a server, as for [`server_access`]; `None` for a process
    /// that only connects, which goes by rules alone.
    pub server: Option<String>,
}

impl Reloader {
    /// What is read goes into the cell; `tell` tells whoever goes by it. Nothing else of the layout
    /// has any effect.
    ///
    /// # Errors
    /// When the system refuses the thread.
    pub fn start(
        source: AccessSource,
        cell: Arc<AccessCell>,
        tell: impl Fn() + Send + 'static,
    ) -> Result<Self, Failure> {
        // One more while one is under way: that may have read before the last change.
        let (asked, requests) = mpsc::sync_channel(1);
        let body = move || {
            for () in requests {
                match source.reload(&cell) {
                    Ok(line) => {
                        tell();
                        log::info!("{line}");
                    }
                    Err(failure) => log::error!(
                        target: SEVERAL_LINES,
                        "not loaded again, everything stays as it was: {}",
                        failure.message
                    ),
                }
            }
        };
        thread::Builder::new().name("reload".into()).spawn(body).map_err(|error| {
            Failure::new(ExitCode::Software, format!("cannot start a thread: {error}"))
        })?;
        Ok(Reloader { asked })
    }

    /// Asks for it. Does not block.
    pub fn ask(&self) {
        // Where there is a request already it will do.
        let _ = self.asked.try_send(());
    }
}

impl AccessSource {
    /// Replaces what is in the cell. Returns what to say of it.
    fn reload(&self, cell: &AccessCell) -> Result<String, Failure> {
        let layout = load_layout(&self.layout, self.node.as_deref())?.layout;
        let access = match &self.server {
            Some(name) => server_access(&layout, name)?,
            None => Access::of_client(&layout),
        };
        let is_encrypted = access.server_keys().is_some();
        if cell.load().server_keys().is_some() != is_encrypted {
            return Err(Failure::config(
                "CURVE cannot be switched on or off while the process runs; restart it",
            ));
        }
        let summary = match &self.server {
            Some(_) => access.summary(),
            None => access.rules_summary().into(),
        };
        cell.replace(access);
        Ok(format!("keys and rules loaded again: {summary}"))
    }
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
        let [keys, first, second] = [(); 3].map(|()| KeyPair::generate());
        fs::write(&path, layout(&keys, first.public())).unwrap();
        let access = |path| server_access(&load_layout(path, None).unwrap().layout, "logger-1");
        let cell = AccessCell::new(access(&path).unwrap());
        let server =
            AccessSource { layout: path.clone(), node: None, server: Some("logger-1".into()) };
        let reload = || server.reload(&cell).is_ok();
        let admits = |keys: &KeyPair| cell.load().admit(keys.public()).is_some();

        fs::write(&path, layout(&keys, second.public())).unwrap();
        assert!(admits(&first) && reload());
        assert_eq!((admits(&first), admits(&second), cell.generation()), (false, true, 1));

        for broken in [
            "[nodes",
            NODES,
            &layout(&keys, first.public()).replace("curve_client_publickey", "unknown"),
            &layout(&keys, first.public()).replace("_publickey = \"", "_publickey = \"x"),
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
        let server =
            AccessSource { layout: path.clone(), node: None, server: Some("logger-1".into()) };
        assert!(server.reload(&cell).is_ok());
        fs::write(&path, layout(&KeyPair::generate(), KeyPair::generate().public())).unwrap();
        let error = server.reload(&cell).unwrap_err();
        assert!(error.message.contains("cannot be switched on or off"), "{}", error.message);
        assert_eq!(cell.generation(), 1);
    }
}
