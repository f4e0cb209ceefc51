//! [`Inbox`]: collects the batches found in the buffer being read, and counts and logs bad ones.

use std::fmt::Display;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::AHashMap;
use bstr::{BStr, BString};
use zcluster::rate_limit::{KeyedRateLimit, RateLimit};
use zcluster::telemetry::{BatchFault, LoggerMetrics};

use super::buffers::Chunk;
use super::connection::{BatchAt, Sender, Sink};
use super::dispatch::{Burst, Formatters};

/// Senders cached. Beyond that, the cache is cleared: slower, still correct.
const MAX_SENDERS: usize = 4_096;
/// Longest id that is cached.
const MAX_SENDER_ID: usize = 256;
/// Time between warnings of one kind.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// The batches found in the buffer being read, on their way to the formatters.
pub(super) struct Inbox {
    formatters: Formatters,
    metrics: LoggerMetrics,
    /// Batches found so far.
    batches: Vec<BatchAt>,
    senders: Vec<Arc<Sender>>,
    known: AHashMap<BString, Arc<Sender>>,
    /// Whether a batch arrived since this was last checked.
    pub(super) took_any: bool,
    /// Whether a formatter refused batches.
    pub(super) is_refused: bool,
    /// Batches that were received but never reached a formatter.
    pub(super) lost: u64,
    count_warning: RateLimit,
    rejections: Rejections,
}

impl Inbox {
    pub(super) fn new(formatters: Formatters, metrics: LoggerMetrics) -> Self {
        Inbox {
            formatters,
            metrics,
            batches: Vec::new(),
            senders: Vec::new(),
            known: AHashMap::new(),
            took_any: false,
            is_refused: false,
            lost: 0,
            count_warning: RateLimit::new(WARNING_INTERVAL),
            rejections: Rejections::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    pub(super) fn forget(&mut self) {
        self.batches.clear();
        self.senders.clear();
    }

    /// Sends the collected batches, which are ranges of `chunk`, to their formatters.
    pub(super) fn send(&mut self, chunk: Chunk) {
        if self.batches.is_empty() {
            return;
        }
        let refused = self.formatters.send(Burst {
            received: Instant::now(),
            chunk: Arc::new(chunk),
            senders: std::mem::take(&mut self.senders).into(),
            batches: std::mem::take(&mut self.batches),
        });
        self.lost += refused;
        self.is_refused |= refused > 0;
    }
}

impl Sink for Inbox {
    #[inline]
    fn batch(&mut self, sender: &Arc<Sender>, payload: Range<usize>) {
        self.took_any = true;
        if self.senders.last().is_none_or(|last| !Arc::ptr_eq(last, sender)) {
            self.senders.push(Arc::clone(sender));
        }
        self.batches.push(BatchAt { sender: self.senders.len() as u32 - 1, payload });
    }

    fn bad_frame_count(&mut self, count: usize) {
        self.metrics.message_errors.inc();
        if let Some(more) = self.count_warning.check(Instant::now()) {
            log::error!(
                "[zeromq] log: error: expected 4 parts, have {count}! ({more} more like this)"
            );
        }
    }

    fn rejected(&mut self, sender: &Sender, fault: BatchFault, what: &dyn Display) {
        self.rejections.reject(sender, fault, what);
    }

    fn sender(&mut self, id: &[u8]) -> Arc<Sender> {
        if let Some(sender) = self.known.get(BStr::new(id)) {
            return Arc::clone(sender);
        }
        if self.known.len() >= MAX_SENDERS {
            self.known.clear();
        }
        let shown = &id[..id.len().min(MAX_SENDER_ID)];
        let counters = self.metrics.sender(shown);
        let sender = Arc::new(Sender { id: id.into(), counters, is_self: false });
        // Real ids are shorter; longer ones are looked up each time.
        if id.len() <= MAX_SENDER_ID {
            self.known.insert(id.into(), Arc::clone(&sender));
        }
        sender
    }
}

/// Batches that cannot be written: counted, and logged at a limited rate per sender.
pub(crate) struct Rejections(KeyedRateLimit<[u8; 64]>);

impl Default for Rejections {
    fn default() -> Self {
        Rejections(KeyedRateLimit::new(WARNING_INTERVAL, 100))
    }
}

impl Rejections {
    pub(crate) fn reject(&mut self, sender: &Sender, fault: BatchFault, what: &dyn Display) {
        sender.counters.reject(fault);
        let id = &sender.id[..sender.id.len().min(MAX_SENDER_ID)];
        let mut key = [0; 64];
        let length = id.len().min(64);
        key[..length].copy_from_slice(&id[..length]);
        if let Some(more) = self.0.check(&key, Instant::now()) {
            let id = BStr::new(id);
            log::error!("rejected a log batch from '{id}': {what} ({more} more like this)");
        }
    }
}
