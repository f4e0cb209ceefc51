//! [`Writer`]: gives batches to a backend, on a thread of its own where there is one.

use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::StoreError;
use super::backend::Backend;
use super::master::Batch;
use crate::peers::ErrorCode;

/// The last change of a batch, and whether it was kept.
pub(super) type Written = (u64, Result<(), StoreError>);

/// One batch at a time is with the backend.
pub(super) enum Writer {
    /// Writes at once: in a harness, where there is one thread only.
    Here { backend: Box<dyn Backend>, done: Option<Written> },
    /// Writes on a thread.
    Thread { batches: Sender<Batch>, written: Receiver<Written>, thread: JoinHandle<()> },
}

impl Writer {
    /// Starts a thread; `wake` is called when something was written.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub(super) fn start(
        mut backend: Box<dyn Backend>,
        wake: impl Fn() + Send + 'static,
    ) -> std::io::Result<Self> {
        let (batches, to_write) = bounded::<Batch>(1);
        let (results, written) = bounded(1);
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || {
            for Batch { sequence, records } in to_write {
                let result = backend.commit(records);
                if results.send((sequence, result)).is_err() {
                    break;
                }
                wake();
            }
        })?;
        Ok(Writer::Thread { batches, written, thread })
    }

    /// Takes a batch. The one before must be done.
    pub(super) fn write(&mut self, batch: Batch) -> Option<Written> {
        match self {
            Writer::Here { backend, done } => {
                *done = Some((batch.sequence, backend.commit(batch.records)));
                None
            }
            Writer::Thread { batches, .. } => {
                let rejected = batches.try_send(batch).err()?;
                Some((rejected.into_inner().sequence, Err(gone())))
            }
        }
    }

    /// The batch that is done, if one is.
    pub(super) fn written(&mut self) -> Option<Written> {
        match self {
            Writer::Here { done, .. } => done.take(),
            Writer::Thread { written, .. } => written.try_recv().ok(),
        }
    }

    /// Waits for the batch that is being written; `None` if that takes too long, or the thread is gone.
    pub(super) fn wait(&mut self, patience: Duration) -> Option<Written> {
        match self {
            Writer::Here { done, .. } => done.take(),
            Writer::Thread { written, .. } => written.recv_timeout(patience).ok(),
        }
    }

    /// Whether [`Writer::written`] or [`Writer::is_gone`] says something.
    pub(super) fn is_done(&self) -> bool {
        match self {
            Writer::Here { done, .. } => done.is_some(),
            Writer::Thread { written, thread, .. } => !written.is_empty() || thread.is_finished(),
        }
    }

    /// Whether its thread has ended by itself: a backend has panicked.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Writer::Thread { thread, written, .. } if thread.is_finished() && written.is_empty())
    }

    /// Closes the backend, and waits until it is, if it is idle.
    pub(super) fn close(self, is_idle: bool) {
        if let Writer::Thread { batches, written, thread } = self {
            drop((batches, written));
            if !is_idle {
                log::error!(
                    "the backend of a store does not return: its last changes are not answered"
                );
            } else if thread.join().is_err() {
                log::error!("the backend of a store has panicked");
            }
        }
    }
}

/// Why nothing is written any more.
pub(super) fn gone() -> StoreError {
    StoreError::new(ErrorCode::BackendFailure, "the backend has ended")
}
