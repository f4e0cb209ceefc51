//! [`Seat`]: a master, where it is in this process, with its backend.

use std::time::Duration;

use super::master::Master;
use super::output::Output;
use super::protocol::Moment;
use super::writer::{Writer, Written, gone};
use crate::rate_limit::RateLimit;

/// A master and what writes its changes.
pub(super) struct Seat {
    pub(super) master: Master,
    pub(super) writer: Writer,
    /// The name of the backend.
    pub(super) backend: &'static str,
    /// How often it is said that the backend fails.
    failures: RateLimit,
}

impl Seat {
    pub(super) fn new(master: Master, writer: Writer, backend: &'static str) -> Self {
        let failures = RateLimit::new(Duration::from_secs(10));
        Seat { master, writer, backend, failures }
    }

    /// Ends the turn of the master, and gives the backend what it is to keep.
    pub(super) fn advance(&mut self, now: Moment, outputs: &mut Vec<Output>) {
        loop {
            if let Some(written) = self.writer.written() {
                self.written(written, now, outputs);
            }
            self.master.flush(now, outputs);
            let Some(batch) = self.master.take_batch() else { break };
            if let Some(written) = self.writer.write(batch) {
                self.written(written, now, outputs);
            }
        }
        if self.master.is_writing() && self.writer.is_gone() {
            self.written((0, Err(gone())), now, outputs);
        }
    }

    /// Waits until the backend is done with what it has; `false` if that takes too long.
    pub(super) fn wait(
        &mut self,
        patience: Duration,
        now: Moment,
        outputs: &mut Vec<Output>,
    ) -> bool {
        let Some(written) = self.writer.wait(patience) else { return false };
        self.written(written, now, outputs);
        true
    }

    fn written(&mut self, written: Written, now: Moment, outputs: &mut Vec<Output>) {
        let (sequence, result) = written;
        if let Err(error) = &result
            && let Some(more) = self.failures.check(now.instant)
        {
            log::error!("changes of a store are not kept: {error} ({more} more like this)");
        }
        self.master.written(sequence, result, now, outputs);
    }

    /// Ends the backend: waits for it, unless it is stuck.
    pub(super) fn close(self) {
        self.writer.close(!self.master.is_writing());
    }
}
