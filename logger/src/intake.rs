//! The receiving thread: takes log batches off the PULL socket into a bounded queue.
//!
//! The queue is bounded in bytes (`log.max_memory`). While it is full the socket is not read, so
//! that producers come to their high-water marks: a logger drops nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use zcluster::layout::Layout;
use zcluster::queue;
use zcluster::rate_limit::RateLimit;
use zcluster::telemetry::LoggerMetrics;
use zcluster::transport::{
    Context, Interest, PollSet, Received, Socket, SocketKind, SocketOptions, TransportError, Waker,
};

/// Messages taken in before the thread looks for a request to stop.
const BURST: usize = 256;
/// Bytes after which they are handed over.
const BURST_BYTES: usize = 1 << 20;
/// What a waiting message costs beside its bytes: its four frames and their bookkeeping.
const MESSAGE_OVERHEAD: usize = 512;
/// Once no batch has come for so long after the goodbye, nothing is on its way any more: on a
/// loaded network a round trip takes less.
const QUIET: Duration = Duration::from_millis(300);

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
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
    waker: Arc<Waker>,
}

struct Receiver {
    socket: Socket,
    queue: queue::Sender<Incoming>,
    metrics: LoggerMetrics,
    parts_warning: RateLimit,
    stop: Arc<AtomicBool>,
    waker: Arc<Waker>,
    /// How long it may go on after the request to stop.
    patience: Duration,
}

impl Intake {
    /// Binds the PULL socket and starts to receive.
    pub(crate) fn start(
        context: &Context,
        layout: &Layout,
        endpoint: &str,
        queue: queue::Sender<Incoming>,
        metrics: LoggerMetrics,
    ) -> Result<Self, IntakeError> {
        let options = &layout.zeromq;
        let socket_options = SocketOptions {
            ipv6: layout.needs_ipv6(),
            receive_hwm: Some(options.log_rcvhwm),
            receive_buffer: Some(options.log_rcvbuf),
            max_message_size: Some(i64::try_from(options.max_message_size).unwrap_or(i64::MAX)),
            ..SocketOptions::default()
        };
        let socket = Socket::new(context, SocketKind::Pull, &socket_options)?;
        let endpoint = socket.bind(endpoint)?;
        let stop = Arc::new(AtomicBool::new(false));
        let waker = Arc::new(Waker::new()?);
        let receiver = Receiver {
            socket,
            queue,
            metrics,
            parts_warning: RateLimit::new(Duration::from_secs(10)),
            stop: Arc::clone(&stop),
            waker: Arc::clone(&waker),
            patience: layout.log.shutdown_timeout,
        };
        let thread = std::thread::Builder::new().name("intake".into()).spawn(|| receiver.run())?;
        Ok(Intake { endpoint, thread, stop, waker })
    }

    /// Takes in what is still on its way, and ends. Blocks until then; the writer must go on
    /// meanwhile.
    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.waker.wake();
        if self.thread.join().is_err() {
            log::error!("the receiving thread panicked");
        }
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
    fn run(mut self) {
        if let Err(error) = self.receive().and_then(|()| self.drain()) {
            log::error!("receiving log batches: {error}");
        }
    }

    /// Receives until asked to stop.
    fn receive(&mut self) -> Result<(), TransportError> {
        while !self.stop.load(Ordering::Relaxed) {
            self.take_burst()?;
            self.wait(None)?;
        }
        Ok(())
    }

    /// Receives what is still on its way. The endpoint stays bound meanwhile: libzmq cuts accepted
    /// connections off with their listener, and what is on its way on them is lost.
    fn drain(&mut self) -> Result<(), TransportError> {
        let end = Instant::now() + self.patience;
        let mut quiet_at = Instant::now() + QUIET;
        loop {
            if self.take_burst()? > 0 {
                quiet_at = Instant::now() + QUIET;
            }
            let now = Instant::now();
            if now >= quiet_at {
                return Ok(());
            }
            if now >= end {
                log::warn!("log batches still arrive; stopping all the same (shutdown_timeout)");
                return Ok(());
            }
            self.wait(Some(quiet_at.min(end) - now))?;
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
    fn take_burst(&mut self) -> Result<usize, TransportError> {
        let mut burst = Vec::new();
        let mut bytes = 0;
        let mut taken = 0;
        while taken < BURST && bytes < BURST_BYTES {
            let Some(message) = self.socket.try_receive()? else { break };
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
        if !burst.is_empty() {
            // The writer is gone only when the process ends.
            let _ = self.queue.send(Incoming::Messages(burst), bytes);
        }
        Ok(taken)
    }
}
