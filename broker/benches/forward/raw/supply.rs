//! What a publisher has to send: without encryption one block again and again; with encryption
//! events that were sealed before the measurement, each of which can be sent only once, because
//! their boxes are numbered.

use std::time::Duration;

use zcluster::wire::zmtp::CodecScratch;

use super::session::Session;

/// Size of a block in bytes, at least.
const BLOCK: usize = 256 << 10;
/// More sealed bytes than a broker on one machine with its clients reads in a second.
const PER_SECOND: usize = 1 << 30;
/// Most sealed bytes of all publishers of a run together.
const MOST: usize = 1 << 30;

/// The bytes of a publisher, which are whole events.
pub(super) struct Supply {
    bytes: Vec<u8>,
    /// Whether they start again at their end.
    is_endless: bool,
}

impl Supply {
    /// Repeats an event on an open connection: endlessly, or if it is encrypted as often as one of
    /// `publishers` can send it in that time, within [`MOST`].
    pub(super) fn new(
        event: &[u8],
        session: &mut Session,
        publishers: usize,
        time: Duration,
    ) -> Self {
        let block = event.repeat(BLOCK.div_ceil(event.len()));
        if !session.is_encrypted() {
            return Supply { bytes: block, is_endless: true };
        }
        let wanted = (PER_SECOND as f64 * time.as_secs_f64()) as usize;
        let share = wanted.min(MOST) / publishers;
        let mut scratch = CodecScratch::default();
        let mut bytes = Vec::with_capacity(share);
        loop {
            let before = bytes.len();
            session.send(&block, &mut bytes, &mut scratch);
            if bytes.len() + (bytes.len() - before) > share {
                return Supply { bytes, is_endless: false };
            }
        }
    }

    /// What follows that many sent bytes; empty once everything is sent.
    pub(super) fn after(&self, sent: u64) -> &[u8] {
        let sent = sent as usize;
        &self.bytes[if self.is_endless { sent % self.bytes.len() } else { sent }..]
    }
}
