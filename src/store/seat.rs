//! [`Seat`]: a master, where it is in this process, with its backend.

use super::master::Master;
use super::output::Output;
use super::protocol::Moment;
use super::writer::{Writer, gone};

/// A master and what writes its changes.
pub(super) struct Seat {
    pub(super) master: Master,
    pub(super) writer: Writer,
    /// The name of the backend.
    pub(super) backend: &'static str,
}

impl Seat {
    /// Ends the turn of the master, and gives the backend what it is to keep.
    pub(super) fn advance(&mut self, now: Moment, outputs: &mut Vec<Output>) {
        loop {
            if let Some((sequence, result)) = self.writer.written() {
                if let Err(error) = &result {
                    log::error!("cannot keep changes of a store: {error}");
                }
                self.master.written(sequence, result, outputs);
            }
            self.master.flush(now, outputs);
            let Some(batch) = self.master.take_batch() else { break };
            if let Some((sequence, result)) = self.writer.write(batch) {
                self.master.written(sequence, result, outputs);
            }
        }
        if self.master.is_writing() && self.writer.is_gone() {
            self.master.written(0, Err(gone()), outputs);
        }
    }
}
