//! Moves log batches from the streams to the loggers, on the I/O thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::fanout::{Fanout, Sent};
use super::local_logs::LocalLogs;
use super::log_stream::Streams;
use super::{LogBatch, NodeError};
use crate::layout::LogHwmAction;
use crate::queue;
use crate::rate_limit::RateLimit;
use crate::telemetry::{LogLoss, NodeMetrics};
use crate::topic::NodeId;
use crate::transport::PollSet;
use crate::wire::frames::LogMessage;

/// How soon to offer a refused local batch again: its receiver cannot wake this thread.
const LOCAL_RETRY: Duration = Duration::from_millis(20);

/// Moves batches to the loggers.
pub(super) struct LogPump {
    id: NodeId,
    fanout: Fanout,
    local: Option<LocalLogs>,
    queue: queue::Receiver<LogBatch>,
    streams: Arc<Streams>,
    hwm_action: LogHwmAction,
    metrics: NodeMetrics,
    /// Batches that wait for room after leaving the queue or the streams. At most one from the
    /// queue, or one from each stream.
    pending: VecDeque<LogBatch>,
    /// The last attempt found no room.
    blocked: bool,
    /// The last attempt found nothing left to send.
    drained: bool,
    loss_warning: RateLimit,
}

/// Records left over at the end.
pub(super) struct Closed {
    /// Those that no logger accepted, and how many of them the node itself wrote.
    pub(super) records: u64,
    pub(super) own: u64,
    /// Those that loggers may not have received yet.
    pub(super) under_way: u64,
}

impl LogPump {
    pub(super) fn new(
        id: &NodeId,
        fanout: Fanout,
        local: Option<LocalLogs>,
        queue: queue::Receiver<LogBatch>,
        streams: Arc<Streams>,
        hwm_action: LogHwmAction,
        metrics: NodeMetrics,
    ) -> Self {
        LogPump {
            id: id.clone(),
            fanout,
            local,
            queue,
            streams,
            hwm_action,
            metrics,
            pending: VecDeque::new(),
            blocked: false,
            drained: false,
            loss_warning: RateLimit::new(Duration::from_secs(10)),
        }
    }

    /// Sends up to `share` batches; `true` if more could be sent at once. With `closing`, streams
    /// give up their batches even if they are not due.
    pub(super) fn pump(
        &mut self,
        share: u32,
        closing: bool,
        now: Instant,
    ) -> Result<bool, NodeError> {
        self.fanout.read_connections(now)?;
        self.blocked = false;
        self.drained = false;
        for _ in 0..share {
            // Full batches in the queue are older than what their streams hold.
            if self.pending.is_empty() {
                match self.queue.try_receive() {
                    Some(batch) => self.pending.push_back(batch),
                    None => self.pending.extend(self.streams.take_due(now, closing)),
                }
            }
            let Some(batch) = self.pending.front() else {
                self.drained = true;
                return Ok(false);
            };
            let sent = if let Some(sink) = &self.local {
                if sink(&batch.payload) { Sent::Yes } else { Sent::NoRoom }
            } else {
                let message = LogMessage {
                    kind: LogMessage::KIND,
                    sender: self.id.as_bytes(),
                    format: LogMessage::ZEEK_BIN,
                    payload: &batch.payload,
                };
                self.fanout.try_send(&message.frames(), batch.records)?
            };
            match sent {
                Sent::Yes => {
                    self.metrics.log_batches_sent.inc();
                    self.metrics.log_records_sent.inc_by(batch.records);
                }
                // The queue holds new batches meanwhile; once it is full, `log_hwm_action` applies.
                Sent::NobodyThere => {
                    self.blocked = true;
                    return Ok(false);
                }
                Sent::NoRoom if self.hwm_action == LogHwmAction::Block => {
                    self.blocked = true;
                    return Ok(false);
                }
                Sent::NoRoom => {
                    let records = batch.records;
                    self.lose(LogLoss::HighWaterMark, records, "no logger has room", now);
                }
                Sent::NoLoggers => {
                    let records = batch.records;
                    self.lose(LogLoss::NoLoggers, records, "the layout has no logger", now);
                }
            }
            self.pending.pop_front();
        }
        Ok(true)
    }

    fn lose(&mut self, reason: LogLoss, records: u64, why: &str, now: Instant) {
        self.metrics.log_records_dropped[reason].inc_by(records);
        if let Some(more) = self.loss_warning.check(now) {
            log::warn!("dropped {records} log records: {why} ({more} more batches since the last)");
        }
    }

    /// Adds what to wait for.
    pub(super) fn poll<'a>(&'a self, poll: &mut PollSet<'a>) {
        self.fanout.poll(poll, self.blocked);
    }

    /// When the next batch, attempt or report is due.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let next = match (&self.local, self.blocked) {
            (Some(_), true) => Some(now + LOCAL_RETRY),
            (None, true) => None,
            (_, false) => self.streams.next_flush(),
        };
        [next, self.fanout.deadline()].into_iter().flatten().min()
    }

    /// Since when no logger accepts the logs that this node has, and a number that changes whenever
    /// [`LogPump::why_nobody`] does.
    pub(super) fn look(&mut self, now: Instant) -> (Option<Instant>, u64) {
        if self.local.is_some() {
            return (None, 0);
        }
        match self.fanout.look(now) {
            (None, _) if self.fanout.is_empty() => (self.streams.used_since(), 0),
            look => look,
        }
    }

    /// Why no logger accepts logs.
    pub(super) fn why_nobody(&self) -> String {
        if self.fanout.is_empty() {
            return "the layout has no logger, so records are dropped".into();
        }
        self.fanout.why_nobody()
    }

    /// Records that a node came up or went down.
    pub(super) fn set_down(&mut self, name: &str, down: bool, now: Instant) {
        self.fanout.set_down(name, down, now);
    }

    /// Whether the last [`LogPump::pump`] sent everything.
    pub(super) fn is_drained(&self) -> bool {
        self.drained
    }

    /// The number of waiting batches, and their bytes.
    pub(super) fn depth(&self) -> (usize, usize) {
        let (messages, bytes) = self.queue.depth();
        let pending: usize = self.pending.iter().map(|batch| batch.payload.len()).sum();
        (messages + self.pending.len(), bytes + pending)
    }

    /// Discards all waiting batches, and closes the sockets, which keep sending for `linger_ms`.
    pub(super) fn close(mut self, linger_ms: i32) -> Closed {
        self.pending.extend(self.streams.close());
        while let Some(batch) = self.queue.try_receive() {
            self.pending.push_back(batch);
        }
        let own = self.pending.iter().filter(|batch| batch.is_own).map(|batch| batch.records).sum();
        let records = self.pending.drain(..).map(|batch| batch.records).sum();
        self.metrics.log_records_dropped[LogLoss::Shutdown].inc_by(records);
        Closed { records, own, under_way: self.fanout.close(linger_ms) }
    }
}
