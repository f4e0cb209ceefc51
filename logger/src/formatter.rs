//! A formatting thread: formats batches, collects the text by log, and passes it to the writer in
//! large pieces.
//!
//! Each path belongs to one of these threads, which keeps the order of arrival per sender and path.
//! A batch that cannot be decoded adds no text.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::AHashMap;
use zcluster::layout::Fsync;
use zcluster::queue::{self, Empty};
use zcluster::telemetry::BatchFault;
use zcluster::wire::zeek_bin::{Batch, DecodeError};

use crate::format::{FormatError, Formatted, RecordFormatter, Times};
use crate::intake::{Burst, Rejections, Sender};
use crate::landing::Landing;
use crate::logs::{Log, Logs, Route, RouteError};
use crate::piece::{KEPT_CAPACITY, PIECE, Piece, TextBuffers, ToWrite};
use crate::plans::{Head, Plan, Plans};

/// Above this size, a batch is rejected if its column names, which every JSON line repeats, would
/// take more than [`MAX_GROWTH`] times its bytes: a hostile batch must not become gigabytes.
const LARGE: usize = 1 << 20;
/// In Zeek's logs, the names take two or three times the bytes of the values.
const MAX_GROWTH: u64 = 8;
/// Overhead of a piece besides its text.
const PIECE_OVERHEAD: usize = 256;

/// The settings of a formatter.
pub(crate) struct Settings {
    pub(crate) flush_interval: Duration,
    /// Bytes of text that all logs together may collect: a thousand paths must not hold a thousand
    /// buffers.
    pub(crate) max_gathered: usize,
    pub(crate) text_buffers: TextBuffers,
}

/// Sets of columns of one log that are collected separately, for producers that disagree; any more
/// share the last one.
const MAX_GATHERED_HEADS: usize = 4;

/// Collected text of one log, usually all of one set of columns.
struct Gathered {
    log: Arc<Log>,
    /// The columns for which it was created.
    head: Head,
    /// The columns of the text; `None` if it is empty.
    plan: Option<Plan>,
    /// The text, behind bytes that do not count.
    text: Vec<u8>,
    skip: usize,
    landing: Landing,
    records: u64,
    times: Times,
    since: Instant,
    /// Whether the last piece was large: the next probably is, too.
    is_busy: bool,
}

/// The state of the thread.
pub(crate) struct Formatter {
    settings: Settings,
    bursts: queue::Receiver<Burst>,
    pieces: queue::Sender<ToWrite>,
    logs: Logs,
    plans: Plans,
    gathered: Vec<Gathered>,
    /// Indices into `gathered` by the number of the log.
    by_log: AHashMap<usize, Vec<usize>>,
    bytes: usize,
    /// Indices of the logs whose text must be written at once.
    urgent: Vec<usize>,
    rejections: Rejections,
    /// Records that the writer did not accept.
    lost: u64,
}

impl Formatter {
    pub(crate) fn new(
        settings: Settings,
        bursts: queue::Receiver<Burst>,
        pieces: queue::Sender<ToWrite>,
        logs: Logs,
    ) -> Self {
        Formatter {
            settings,
            bursts,
            pieces,
            logs,
            plans: Plans::default(),
            gathered: Vec::new(),
            by_log: AHashMap::new(),
            bytes: 0,
            urgent: Vec::new(),
            rejections: Rejections::default(),
            lost: 0,
        }
    }

    /// The body of the thread. Formats until the queue is closed, then passes on all text. Returns
    /// how many records were lost because the writer is gone.
    pub(crate) fn run(mut self) -> u64 {
        let interval = self.settings.flush_interval;
        // Set while there is text.
        let mut next_flush: Option<Instant> = None;
        loop {
            match self.bursts.receive_until(next_flush) {
                Ok(burst) => self.take_in(&burst),
                Err(Empty::TimedOut) => {}
                Err(Empty::Closed) => break,
            }
            let now = Instant::now();
            if next_flush.is_some_and(|at| now >= at) {
                self.flush();
                next_flush = None;
            }
            if self.bytes > 0 {
                next_flush.get_or_insert(now + interval);
            }
        }
        self.flush();
        self.lost
    }

    fn take_in(&mut self, burst: &Burst) {
        for batch in &burst.batches {
            let payload = &burst.chunk[batch.payload.clone()];
            let sender = &burst.senders[batch.sender as usize];
            if let Err((fault, what)) = self.format(payload, sender, burst.received) {
                self.rejections.reject(sender, fault, &what);
            }
        }
        for index in std::mem::take(&mut self.urgent) {
            self.hand_on(index);
        }
        if self.bytes >= self.settings.max_gathered {
            self.flush();
        }
    }

    fn format(
        &mut self,
        payload: &[u8],
        sender: &Sender,
        received: Instant,
    ) -> Result<(), (BatchFault, String)> {
        let undecodable =
            |error: DecodeError| (BatchFault::Payload, format!("Failed to unserialize: {error}"));
        let (batch, plan) = match self.plans.find(payload) {
            Some((batch, plan)) => (batch.map_err(undecodable)?, Some(plan.clone())),
            None => (Batch::decode(payload).map_err(undecodable)?, None),
        };
        // A batch without records creates no log and is not cached.
        if batch.num_records() == 0 {
            return Ok(());
        }
        if payload.len() > LARGE && names_text(&batch) > MAX_GROWTH * payload.len() as u64 {
            let what = format!("path {}: its text would be much larger than the batch", batch.path);
            return Err((BatchFault::Limit, what));
        }
        let plan = match plan {
            Some(plan) => plan,
            None => self.make_plan(&batch)?,
        };
        let Some(index) = plan.slot else { return Ok(()) };
        if self.gathered[index].plan.as_ref().is_some_and(|current| !current.continues(&plan)) {
            self.hand_on(index);
        }
        let gathered = &mut self.gathered[index];
        if gathered.text.capacity() == 0 && gathered.is_busy {
            gathered.text = self.settings.text_buffers.take();
            gathered.skip = gathered.landing.prepare(&mut gathered.text);
        }
        let before = gathered.text.len();
        let Formatted { records, times } =
            match plan.formatter.format_batch(&batch, &mut gathered.text) {
                Ok(formatted) => formatted,
                Err(error) => {
                    if gathered.records == 0 {
                        // A rejected batch must not keep memory allocated.
                        (gathered.text, gathered.skip) = (Vec::new(), 0);
                    }
                    return Err((BatchFault::Payload, format!("path {}: {error}", batch.path)));
                }
            };
        let more = gathered.text.len() - before;
        if gathered.records == 0 {
            gathered.since = received;
            if gathered.log.fsync == Fsync::Batch {
                self.urgent.push(index);
            }
        }
        let counters = &gathered.log.counters;
        counters.batches.inc();
        counters.records.inc_by(records.into());
        counters.queue_bytes.add(more);
        self.logs.metrics().memory_bytes.inc_by(more as i64);
        if !sender.is_self {
            plan.writes.inc_by(records.into());
        }
        gathered.records += u64::from(records);
        gathered.times += times;
        gathered.plan.get_or_insert(plan);
        self.bytes += more;
        if gathered.text.len() >= PIECE {
            self.hand_on(index);
        }
        Ok(())
    }

    fn make_plan(&mut self, batch: &Batch<'_>) -> Result<Plan, (BatchFault, String)> {
        let route = self.logs.route(batch.path).map_err(|error| {
            let fault = match error {
                RouteError::TooMany { .. } => BatchFault::Limit,
                _ => BatchFault::Path,
            };
            (fault, error.to_string())
        })?;
        let (log, options) = match route {
            Route::To(log, options) => (Some(log), options),
            Route::Disabled => (None, Box::default()),
        };
        let formatter = RecordFormatter::new(batch, &options).map_err(|error| {
            let fault = match error {
                FormatError::FieldName { .. } | FormatError::NoColumns { .. } => BatchFault::Schema,
                _ => BatchFault::Payload,
            };
            (fault, format!("path {}: {error}", batch.path))
        })?;
        let head = Head::of(&formatter);
        let slot = log.map(|log| self.slot_of(log, &head));
        let metrics = self.logs.metrics();
        let writes = metrics.writer(batch.writer, batch.stream, batch.filter, batch.path);
        let plan = Plan::new(slot, formatter, head, writes);
        self.plans.insert(batch, plan.clone());
        Ok(plan)
    }

    fn slot_of(&mut self, log: Arc<Log>, head: &Head) -> usize {
        let slots = self.by_log.entry(log.id).or_default();
        if let Some(slot) = slots.iter().find(|slot| self.gathered[**slot].head == *head) {
            return *slot;
        }
        if slots.len() >= MAX_GATHERED_HEADS {
            return slots[MAX_GATHERED_HEADS - 1];
        }
        slots.push(self.gathered.len());
        self.gathered.push(Gathered {
            log,
            head: head.clone(),
            plan: None,
            text: Vec::new(),
            skip: 0,
            landing: Landing::default(),
            records: 0,
            times: Times::default(),
            since: Instant::now(),
            is_busy: false,
        });
        self.gathered.len() - 1
    }

    /// Passes all text to the writer.
    fn flush(&mut self) {
        for index in 0..self.gathered.len() {
            self.hand_on(index);
        }
    }

    /// Passes a log's text to the writer. Blocks while the writer's queue is full.
    fn hand_on(&mut self, index: usize) {
        let gathered = &mut self.gathered[index];
        let Some(plan) = gathered.plan.take() else { return };
        let text = std::mem::take(&mut gathered.text);
        let skip = std::mem::take(&mut gathered.skip);
        let len = text.len() - skip;
        let landing = gathered.landing.hand_on(len);
        let records = std::mem::take(&mut gathered.records);
        let times = std::mem::take(&mut gathered.times);
        gathered.is_busy = len >= KEPT_CAPACITY.start;
        self.bytes -= len;
        let bytes = text.capacity() + PIECE_OVERHEAD;
        let log = Arc::clone(&gathered.log);
        let received = gathered.since;
        let piece = Piece { log, plan, text, skip, landing, records, times, received };
        if self.pieces.send(ToWrite::Piece(piece), bytes).is_err() {
            self.lost += records;
        }
    }
}

/// Returns how many bytes the column names take in the text of a batch, at most.
fn names_text(batch: &Batch<'_>) -> u64 {
    let header = batch.header_bytes();
    // Bytes outside ASCII become `\\xNN`.
    let factor = if header.is_ascii() { 1 } else { 5 };
    header.len() as u64 * factor * u64::from(batch.num_records())
}
