//! [`Reloader`]: takes in other keys and rules while the broker runs (SIGHUP).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread;

use zcluster::access::{AccessCell, server_access};
use zcluster::daemon::{self, Failure};
use zcluster::exit::ExitCode;
use zcluster::layout::CurveKeys;

/// Reads the layout and the keys again when asked to, on a thread of its own: neither signals nor
/// the engine wait for a slow disk.
#[derive(Debug)]
pub(crate) struct Reloader {
    asked: SyncSender<()>,
}

impl Reloader {
    /// What is read goes into the cell; `tell` tells whoever goes by it.
    pub(crate) fn start(
        layout: PathBuf,
        cell: Arc<AccessCell>,
        tell: impl Fn() + Send + 'static,
    ) -> Result<Self, Failure> {
        // One more while one is under way: that may have read before the last change.
        let (asked, requests) = mpsc::sync_channel(1);
        let body = move || {
            for () in requests {
                match reload(&layout, &cell) {
                    Ok(line) => {
                        tell();
                        log::info!("{line}");
                    }
                    Err(failure) => log::error!(
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
    pub(crate) fn ask(&self) {
        // Where there is a request already it will do.
        let _ = self.asked.try_send(());
    }
}

/// Replaces what is in the cell. Returns what to say of it.
fn reload(layout: &Path, cell: &AccessCell) -> Result<String, Failure> {
    let layout = daemon::load_layout(layout, None)?.layout;
    let access = server_access(&layout, CurveKeys::BROKER)?;
    let is_encrypted = access.server_keys().is_some();
    if cell.load().server_keys().is_some() != is_encrypted {
        return Err(Failure::config(
            "CURVE cannot be switched on or off while the broker runs; restart it",
        ));
    }
    let rules = if layout.has_rules() { "there are rules for nodes" } else { "no rules for nodes" };
    let keys = match (is_encrypted, access.admitted_keys()) {
        (false, _) => "nothing is encrypted".into(),
        (true, 1) => "1 key may connect".into(),
        (true, count) => format!("{count} keys may connect"),
    };
    cell.replace(access);
    Ok(format!("keys and rules loaded again: {keys}, {rules}"))
}
