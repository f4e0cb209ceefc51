//! [`Reloader`]: reloads keys and rules while a process runs (SIGHUP).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread;

use super::lines::SEVERAL_LINES;
use super::{Failure, load_layout};
use crate::access::{Access, AccessCell, server_access};
use crate::exit::ExitCode;
use crate::layout::{CurveKeys, Layout, Role, waiting_for_restart};

/// Reloads the layout and the keys on request, in a separate thread, so that neither signals nor
/// sockets wait for a slow disk. On any error the current ones stay in effect, and one line says
/// why.
#[derive(Debug)]
pub struct Reloader {
    asked: SyncSender<()>,
}

/// Where keys and rules come from, and which process uses them.
#[derive(Clone, Debug)]
pub struct AccessSource {
    /// The file of the layout.
    pub layout: PathBuf,
    /// The node, as for [`load_layout`].
    pub node: Option<String>,
    /// The name of its server keys, as for [`server_access`]; `None` for a process that only
    /// connects, which reloads rules only.
    pub server: Option<String>,
    /// The layout that the process was started with.
    pub running: Arc<Layout>,
}

/// The outcome of a reload.
#[derive(Debug)]
struct Reloaded {
    /// What is in effect now.
    summary: String,
    /// The options that wait for a restart.
    waiting: Vec<String>,
}

impl Reloader {
    /// Starts the thread. It calls `apply` with the new layout, for what else the process can change
    /// while it runs; if that fails, nothing changes. Then it stores what it has read in the cell, and
    /// calls `tell` to notify the users of the cell. The rest of the layout has no effect: options that differ from those of
    /// the running process are named in a warning.
    ///
    /// # Errors
    /// When the system refuses the thread.
    pub fn start(
        source: AccessSource,
        cell: Arc<AccessCell>,
        apply: impl Fn(&Layout) -> Result<(), Failure> + Send + 'static,
        tell: impl Fn() + Send + 'static,
    ) -> Result<Self, Failure> {
        // One request may wait during a reload, which may have read the files before the last
        // change.
        let (asked, requests) = mpsc::sync_channel(1);
        let body = move || {
            for () in requests {
                match source.reload(&cell, &apply) {
                    Ok(reloaded) => {
                        tell();
                        log::info!("{}", reloaded.summary);
                        if let Some(warning) = reloaded.warning() {
                            log::warn!("{warning}");
                        }
                    }
                    Err(failure) => log::error!(
                        target: SEVERAL_LINES,
                        "reload failed, the current keys and rules stay in effect: {}",
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

    /// Requests a reload. Does not block.
    pub fn ask(&self) {
        // A waiting request is enough.
        let _ = self.asked.try_send(());
    }
}

impl AccessSource {
    /// Replaces the value in the cell. Returns what to log.
    fn reload(
        &self,
        cell: &AccessCell,
        apply: &impl Fn(&Layout) -> Result<(), Failure>,
    ) -> Result<Reloaded, Failure> {
        let layout = load_layout(&self.layout, self.node.as_deref())?.layout;
        let access = match &self.server {
            Some(name) => server_access(&layout, name)?,
            None => Access::of_client(&layout),
        };
        let is_encrypted = access.server_keys().is_some();
        let former = cell.load();
        if former.server_keys().is_some() != is_encrypted {
            return Err(Failure::config(
                "CURVE cannot be switched on or off while the process runs; restart it",
            ));
        }
        apply(&layout)?;
        let summary = match &self.server {
            Some(_) => access.summary(),
            None => access.rules_summary().into(),
        };
        let waiting = waiting_for_restart(&self.running, &layout, self.role());
        let unchanged = match (access.is_same(&former), waiting.is_empty()) {
            (true, true) => "; nothing has changed",
            (true, false) => "; they have not changed",
            (false, _) => "",
        };
        cell.replace(access);
        let summary = format!("keys and rules reloaded: {summary}{unchanged}");
        Ok(Reloaded { summary, waiting })
    }

    fn role(&self) -> Role {
        match self.server.as_deref() {
            Some(CurveKeys::BROKER) => Role::Broker,
            Some(_) => Role::Logger,
            None => Role::Node,
        }
    }
}

impl Reloaded {
    /// A warning that the process does not run with the layout's current options.
    fn warning(&self) -> Option<String> {
        let when = match self.waiting.len() {
            0 => return None,
            1 => "it takes effect",
            _ => "they take effect",
        };
        Some(format!("{} changed: {when} at the next restart", self.waiting.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

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

    /// The source of a logger that was started with the current file.
    fn source(path: &Path) -> AccessSource {
        AccessSource {
            layout: path.to_owned(),
            node: None,
            server: Some("logger-1".into()),
            running: Arc::new(load_layout(path, None).unwrap().layout),
        }
    }

    #[test]
    fn what_is_read_again_is_gone_by_and_errors_change_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("layout.toml");
        let [keys, first, second] = [(); 3].map(|()| KeyPair::generate());
        fs::write(&path, layout(&keys, first.public())).unwrap();
        let access = |path| server_access(&load_layout(path, None).unwrap().layout, "logger-1");
        let cell = AccessCell::new(access(&path).unwrap());
        let server = source(&path);
        let reload = || server.reload(&cell, &|_| Ok(())).is_ok();
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
        let server = source(&path);
        assert!(server.reload(&cell, &|_| Ok(())).is_ok());
        fs::write(&path, layout(&KeyPair::generate(), KeyPair::generate().public())).unwrap();
        let error = server.reload(&cell, &|_| Ok(())).unwrap_err();
        assert!(error.message.contains("cannot be switched on or off"), "{}", error.message);
        assert_eq!(cell.generation(), 1);
    }

    #[test]
    fn what_waits_for_a_restart_is_named_until_it_is_as_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("layout.toml");
        fs::write(&path, NODES).unwrap();
        let cell = AccessCell::new(Access::default());
        let server = source(&path);
        let reload = || {
            let reloaded = server.reload(&cell, &|_| Ok(())).unwrap();
            (reloaded.summary.clone(), reloaded.warning())
        };
        let loaded = "keys and rules reloaded: nothing is encrypted, ";
        reload();
        let (rules, none) = ("rules for nodes apply", "no rules for nodes");
        let nothing = (format!("{loaded}{none}; nothing has changed"), None);
        assert_eq!(reload(), nothing);
        for (more, summary, warning) in [
            (
                "[log]\nmax_memory = \"1GiB\"\n",
                format!("{none}; they have not changed"),
                "[log] max_memory changed: it takes effect at the next restart",
            ),
            (
                "[log]\nmax_memory = \"1GiB\"\n[zeromq]\nlisten_xpub_endpoint = \"tcp://127.0.0.1:9\"\n",
                format!("{none}; they have not changed"),
                "[zeromq] listen_xpub_endpoint, [log] max_memory changed: they take effect at the next restart",
            ),
            (
                "[log]\nsuffix = \"x\"\n[allow.worker]\nlogs = false\n[allow.logger]\nlogs = false\n",
                rules.to_owned(),
                "[log] suffix changed: it takes effect at the next restart",
            ),
        ] {
            fs::write(&path, format!("{NODES}{more}")).unwrap();
            let expected = (format!("{loaded}{summary}"), Some(warning.to_owned()));
            assert_eq!(reload(), expected, "{more}");
        }
        fs::write(&path, NODES).unwrap();
        assert_eq!(reload(), (format!("{loaded}{none}"), None), "the rules are gone");
        assert_eq!(reload(), nothing);
    }
}
