//! [`Reloader`]: takes in other keys and rules while the broker runs (SIGHUP).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread;

use zcluster::access::AccessCell;
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
                if daemon::reload_access(&cell, &layout, None, CurveKeys::BROKER) {
                    tell();
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
