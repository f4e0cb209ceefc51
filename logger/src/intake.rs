//! The receiving thread: takes log batches off the PULL socket into a bounded queue.
//!
//! The queue is bounded in bytes (a share of `log.max_memory`). While it is full the socket is not
//! read, so that producers come to their high-water marks: a logger drops nothing, unless it is to
//! end and cannot write.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use zcluster::layout::Layout;
use zcluster::queue::{self, Rejected};
use zcluster::rate_limit::RateLimit;
use zcluster::telemetry::LoggerMetrics;
use zcluster::transport::{
    Context, Interest, PollSet, Received, Socket, SocketKind, SocketOptions, TransportError, Waker,
};

use crate::end::{Deadline, TellEnd};

/// Messages taken in before the thread looks for a request to stop.
const BURST: usize = 256;
/// Bytes after which they are handed over.
const BURST_BYTES: usize = 1 << 20;
/// What a waiting message costs beside its bytes: its four frames and their bookkeeping.
const MESSAGE_OVERHEAD: usize = 512;
/// Once no batch has come for so long after the goodbye, nothing is on its way any more: on a
/// loaded network a round trip takes less.
const QUIET: Duration = Duration::from_millis(300);
/// Time after the deadline to take in what has arrived by then, from producers that never stop.
const LAST_LOOK: Duration = Duration::from_millis(500);
/// How often a thread that waits for room looks for a request to stop.
const STOP_CHECK: Duration = Duration::from_millis(100);
/// Batches libzmq may hold per producer, whatever `log_rcvhwm` allows: they come on top of
/// `max_memory`, a batch can be large, and more of them make nothing faster.
const MAX_RECEIVE_HWM: i32 = 100;

/// Batches on their way to the writer.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// As they came off the socket: four frames each. Handed over together, because each hand-over
    /// may wake a thread.
    Messages(Vec<Received>),
    /// From this process itself.
    Own(Vec<u8>),
}

/// Sends a batch of this process to the writer; `false` when the queue is full.
pub(crate) fn send_own(queue: &queue::Sender<Incoming>, payload: &[u8]) -> bool {
    let bytes = payload.len() + MESSAGE_OVERHEAD;
    !matches!(queue.try_send(Incoming::Own(payload.to_vec()), bytes), Err(queue::Rejected::Full(_)))
}

/// The thread and how to stop it.
pub(crate) struct Intake {
    pub(crate) endpoint: String,
    thread: JoinHandle<Result<u64, TransportError>>,
    waker: Arc<Waker>,
}

struct Receiver {
    socket: Socket,
    queue: queue::Sender<Incoming>,
    metrics: LoggerMetrics,
    parts_warning: RateLimit,
    deadline: Deadline,
    waker: Arc<Waker>,
    /// Batches that were received and never reached the writer.
    lost: u64,
}

/// What a look at the socket brought.
struct Burst {
    /// Whether anything was there.
    any: bool,
    /// Whether nothing is left there.
    emptied: bool,
    /// Whether the writer takes no more.
    refused: bool,
}

impl Intake {
    /// Binds the PULL socket and starts to receive.
    pub(crate) fn start(
        context: &Context,
        layout: &Layout,
        endpoint: &str,
        queue: queue::Sender<Incoming>,
        metrics: LoggerMetrics,
        deadline: Deadline,
        end: TellEnd,
    ) -> Result<Self, IntakeError> {
        let options = &layout.zeromq;
        let socket_options = SocketOptions {
            ipv6: layout.needs_ipv6(),
            receive_hwm: Some(receive_hwm(options.log_rcvhwm)),
            receive_buffer: Some(options.log_rcvbuf),
            max_message_size: Some(i64::try_from(options.max_message_size).unwrap_or(i64::MAX)),
            ..SocketOptions::default()
        };
        let socket = Socket::new(context, SocketKind::Pull, &socket_options)?;
        let endpoint = socket.bind(endpoint)?;
        let waker = Arc::new(Waker::new()?);
        let receiver = Receiver {
            socket,
            queue,
            metrics,
            parts_warning: RateLimit::new(Duration::from_secs(10)),
            deadline,
            waker: Arc::clone(&waker),
            lost: 0,
        };
        let body = move || {
            let _end = end;
            receiver.run()
        };
        let thread = std::thread::Builder::new().name("intake".into()).spawn(body)?;
        Ok(Intake { endpoint, thread, waker })
    }

    /// Takes in what is still on its way, and ends; the deadline is set before. Blocks until
    /// shortly after it at most; the writer must go on meanwhile.
    ///
    /// Returns how many batches were received and could not be handed to the writer.
    ///
    /// # Errors
    /// Why it ended, if by itself.
    pub(crate) fn stop(self) -> Result<u64, String> {
        self.waker.wake();
        match self.thread.join() {
            Ok(outcome) => outcome.map_err(|error| error.to_string()),
            Err(_) => Err("panicked".into()),
        }
    }
}

/// What of `log_rcvhwm` is put into effect; 0, no limit, is not.
fn receive_hwm(configured: i32) -> i32 {
    match configured {
        1..=MAX_RECEIVE_HWM => configured,
        _ => MAX_RECEIVE_HWM,
    }
}

/// Why the intake does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IntakeError {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("cannot start the receiving thread: {0}")]
    System(#[from] std::io::Error),
}

impl Receiver {
    /// The body of the thread: the batches that were lost.
    fn run(mut self) -> Result<u64, TransportError> {
        self.receive()?;
        if let Some(deadline) = self.deadline.get() {
            self.drain(deadline)?;
        }
        Ok(self.lost)
    }

    /// Receives until asked to stop, or until the writer is gone.
    fn receive(&mut self) -> Result<(), TransportError> {
        while self.deadline.get().is_none() {
            if self.take_burst()?.refused {
                return Ok(());
            }
            self.wait(None)?;
        }
        Ok(())
    }

    /// Receives what is still on its way. The endpoint stays bound meanwhile: libzmq cuts accepted
    /// connections off with their listener, and what is on its way on them is lost.
    fn drain(&mut self, deadline: Instant) -> Result<(), TransportError> {
        let mut quiet_at = Instant::now() + QUIET;
        loop {
            let burst = self.take_burst()?;
            let now = Instant::now();
            if burst.any {
                quiet_at = now + QUIET;
            }
            let is_last = now >= deadline && (burst.emptied || now >= deadline + LAST_LOOK);
            if is_last {
                log::warn!(
                    "log batches still arrive; those on their way are lost (shutdown_timeout)"
                );
            }
            if is_last || burst.refused || now >= quiet_at {
                return Ok(());
            }
            self.wait(Some(quiet_at.min(deadline).saturating_duration_since(now)))?;
        }
    }

    fn wait(&self, timeout: Option<Duration>) -> Result<(), TransportError> {
        let mut poll = PollSet::new();
        let woken = poll.add_waker(&self.waker);
        poll.add(&self.socket, Interest::Readable);
        poll.wait(timeout)?;
        if poll.is_readable(woken) {
            self.waker.reset();
        }
        Ok(())
    }

    /// Moves what has arrived into the queue; blocks while that is full.
    fn take_burst(&mut self) -> Result<Burst, TransportError> {
        let mut burst = Vec::new();
        let mut bytes = 0;
        let mut taken = 0;
        let mut emptied = false;
        while taken < BURST && bytes < BURST_BYTES {
            let Some(message) = self.socket.try_receive()? else {
                emptied = true;
                break;
            };
            taken += 1;
            if message.count != 4 {
                self.metrics.message_errors.inc();
                if let Some(more) = self.parts_warning.check(Instant::now()) {
                    log::error!(
                        "[zeromq] log: error: expected 4 parts, have {}! ({more} more like this)",
                        message.count,
                    );
                }
                continue;
            }
            bytes += message.len() + MESSAGE_OVERHEAD;
            burst.push(message);
        }
        let refused = !burst.is_empty() && !self.hand_over(burst, bytes);
        Ok(Burst { any: taken > 0, emptied, refused })
    }

    /// Hands messages to the writer. Blocks while the queue is full: without end while the process
    /// runs, and until shortly after the deadline once it is to end. The writer gives up at the
    /// deadline what it cannot write, so that there is room then.
    fn hand_over(&mut self, burst: Vec<Received>, bytes: usize) -> bool {
        let count = burst.len() as u64;
        let mut item = Incoming::Messages(burst);
        loop {
            let deadline = self.deadline.get();
            let until = deadline.map_or_else(|| Instant::now() + STOP_CHECK, |at| at + LAST_LOOK);
            match self.queue.send_until(item, bytes, Some(until)) {
                Ok(()) => return true,
                Err(Rejected::Full(refused)) if deadline.is_none() => item = refused,
                Err(_) => {
                    self.lost += count;
                    return false;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libzmq_holds_is_bounded() {
        for (configured, effective) in [(1, 1), (100, 100), (101, 100), (1000, 100), (0, 100)] {
            assert_eq!(receive_hwm(configured), effective, "{configured}");
        }
    }
}
