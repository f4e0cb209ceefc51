//! The receiving thread: a PULL socket (WIRE.md §4.2) that passes log batches to the formatters.
//!
//! It reads large pieces into buffers from which the formatters read the batches without copying.
//! It waits a little for more before it passes on a small batch ([`gathering`]).
//! Bytes in flight are bounded by a share of `log.max_memory`. At the limit the thread stops
//! reading, so producers reach their high-water marks: a logger drops nothing unless it is shutting
//! down and cannot write.
//!
//! Silent peers are probed with TCP keepalive rather than PINGs: a producer that is stopped for a
//! while must not lose the bytes it has sent.

mod buffers;
mod connection;
mod dispatch;
mod gathering;
mod inbox;
mod load;
mod peers;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use zcluster::access::AccessCell;
use zcluster::layout::Layout;
use zcluster::net::{BindError, Event, Listener, Poller, Scratch};
use zcluster::node::FAREWELL_QUIET;
use zcluster::telemetry::LoggerMetrics;
use zcluster::transport::Waker;

use crate::end::{Deadline, TellEnd};
use buffers::BUFFER;
pub(crate) use buffers::Buffers;
pub(crate) use connection::Sender;
pub(crate) use dispatch::{Burst, Formatters, OwnBatches};
use gathering::Gathering;
use inbox::Inbox;
pub(crate) use inbox::Rejections;
pub(crate) use load::Load;
use peers::Peers;

/// Bytes in the buffer that are passed on at once, even before the next sweep.
const MUCH: usize = 64 << 10;
/// A buffer with at most this many bytes is copied, so that small batches that arrive one by one do
/// not each hold a large buffer.
const COPIED: usize = 16 << 10;
/// If no batch arrives for this long after the goodbye, none is in flight any more: even on a
/// loaded network a round trip takes less.
const QUIET: Duration = FAREWELL_QUIET;
/// Time before the deadline when producers that have not stopped are told to.
const FAREWELL: Duration = Duration::from_millis(500);
/// Time after the deadline to read the bytes that have arrived by then.
const LAST_LOOK: Duration = Duration::from_millis(500);
/// Interval of checks that no event triggers.
const TICK: Duration = Duration::from_millis(100);

const WAKER: u64 = u64::MAX;
const LISTENER: u64 = u64::MAX - 1;

/// Memory limits in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// For received bytes that are not formatted yet.
    pub(crate) under_way: usize,
    /// For messages that have begun to arrive.
    pub(crate) unfinished: usize,
}

/// The thread and how to stop it.
pub(crate) struct Intake {
    pub(crate) endpoint: String,
    pub(crate) buffers: Arc<Buffers>,
    pub(crate) load: Arc<Load>,
    thread: JoinHandle<io::Result<u64>>,
    waker: Arc<Waker>,
}

/// The settings of the receiving thread.
pub(crate) struct Settings<'a> {
    pub(crate) layout: &'a Layout,
    /// Where to listen.
    pub(crate) endpoint: &'a str,
    pub(crate) limits: Limits,
    /// Who may connect and send logs.
    pub(crate) access: Arc<AccessCell>,
    pub(crate) deadline: Deadline,
}

/// Why the intake cannot start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IntakeError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("cannot start the receiving thread: {0}")]
    System(#[from] io::Error),
}

impl Intake {
    /// Binds the socket and starts receiving.
    pub(crate) fn start(
        settings: Settings<'_>,
        formatters: Formatters,
        metrics: LoggerMetrics,
        end: TellEnd,
    ) -> Result<Self, IntakeError> {
        let Settings { layout, endpoint, limits, access, deadline } = settings;
        let options = &layout.zeromq;
        let receive_buffer = usize::try_from(options.log_rcvbuf).ok().filter(|size| *size > 0);
        let listener = Listener::bind(endpoint, layout.needs_ipv6(), receive_buffer)?;
        let endpoint = listener.endpoint();
        let waker = Arc::new(Waker::new()?);
        let (poller, idle) = (Poller::new()?, Poller::new()?);
        poller.add(&*waker, WAKER, true, false)?;
        idle.add(&*waker, WAKER, true, false)?;
        poller.add(&listener, LISTENER, true, false)?;
        let is_encrypted = access.load().server_keys().is_some();
        let memory = metrics.memory_bytes.clone();
        let buffers = Buffers::new(limits.under_way, is_encrypted, Arc::clone(&waker), memory);
        let load = Arc::new(Load::default());
        let receiver = Receiver {
            poller,
            idle,
            listener: Some(listener),
            peers: Peers::new(
                options.max_message_size,
                limits.unfinished,
                Arc::clone(&access),
                metrics.clone(),
            ),
            generation: access.generation(),
            access,
            scratch: Scratch::default(),
            buffer: buffers.take(),
            buffers: Arc::clone(&buffers),
            inbox: Inbox::new(formatters, metrics),
            gathering: Gathering::new(layout.log.gathers_for()),
            load: Arc::clone(&load),
            deadline,
            waker: Arc::clone(&waker),
        };
        let body = move || {
            let _end = end;
            receiver.run()
        };
        let thread = std::thread::Builder::new().name("intake".into()).spawn(body)?;
        Ok(Intake { endpoint, buffers, load, thread, waker })
    }

    /// Returns a handle for sending this process's own batches.
    pub(crate) fn own_batches(&self, formatters: Formatters, sender: Sender) -> OwnBatches {
        OwnBatches::new(formatters, Arc::clone(&self.buffers), sender)
    }

    /// Returns the waker to call after replacing the access rules.
    pub(crate) fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// Receives the batches still in flight, and ends; the deadline must be set. Blocks until
    /// shortly after it at most, while the formatters must keep running.
    ///
    /// Returns how many batches were received but could not be passed on.
    ///
    /// # Errors
    /// The reason, if the thread failed.
    pub(crate) fn stop(self) -> Result<u64, String> {
        self.waker.wake();
        match self.thread.join() {
            Ok(outcome) => outcome.map_err(|error| error.to_string()),
            Err(_) => Err("panicked".into()),
        }
    }
}

struct Receiver {
    poller: Poller,
    /// Polls only the waker, while nothing may be read.
    idle: Poller,
    /// `None` once the shutdown has begun.
    listener: Option<Listener>,
    peers: Peers,
    access: Arc<AccessCell>,
    /// Generation of the access rules that the connections use.
    generation: u64,
    scratch: Scratch,
    /// The buffer being read into.
    buffer: Vec<u8>,
    buffers: Arc<Buffers>,
    inbox: Inbox,
    gathering: Gathering,
    load: Arc<Load>,
    deadline: Deadline,
    waker: Arc<Waker>,
}

/// The phase of the shutdown.
enum Ending {
    /// Producers that received the goodbye stop on their own.
    Quietening { last_batch: Instant },
    /// All producers were told to stop; bytes they have sent still arrive.
    Farewell,
}

impl Receiver {
    /// The body of the thread. Returns how many batches were lost.
    fn run(mut self) -> io::Result<u64> {
        let mut events = Vec::new();
        let mut ending: Option<Ending> = None;
        loop {
            if let Some(deadline) = self.deadline.get()
                && self.is_at_end(deadline, &mut ending)
            {
                return Ok(self.inbox.lost);
            }
            let may_read = self.buffers.has_room();
            let needs_tick = ending.is_some() || !may_read || self.peers.need_attention();
            let sweep = self.gathering.next_sweep();
            let until_sweep = sweep.map(|at| at.saturating_duration_since(Instant::now()));
            let timeout = needs_tick.then_some(TICK).into_iter().chain(until_sweep).min();
            let poller = if may_read { &mut self.poller } else { &mut self.idle };
            events.clear();
            let held_since = (!may_read).then(Instant::now);
            events.extend(poller.wait(timeout)?);
            if let Some(since) = held_since {
                self.load.add_held(since.elapsed());
            }
            for event in &events {
                match event.key {
                    WAKER => self.waker.reset(),
                    LISTENER => self.accept(),
                    _ => self.look_at(*event),
                }
            }
            let is_due = sweep.is_some_and(|at| Instant::now() >= at);
            if is_due {
                self.sweep();
            }
            if is_due || self.buffer.len() >= MUCH || self.gathering.next_sweep().is_none() {
                self.send_buffer();
            }
            self.renew();
            if let Some(listener) = &self.listener {
                self.peers.resume_accepting(listener, &self.poller);
            }
            self.peers.tick(&self.poller, may_read);
            self.load.set_arriving(self.peers.waiting(), self.peers.held());
            if let Some(Ending::Quietening { last_batch }) = &mut ending
                && (std::mem::take(&mut self.inbox.took_any) || !may_read)
            {
                *last_batch = Instant::now();
            }
            if self.inbox.is_refused {
                return Ok(self.inbox.lost);
            }
        }
    }

    /// Advances the shutdown and returns whether it is complete.
    fn is_at_end(&mut self, deadline: Instant, ending: &mut Option<Ending>) -> bool {
        let now = Instant::now();
        match ending {
            None => {
                // Producers without a connection use another logger, or wait.
                self.listener = None;
                self.gathering.stop(&mut self.peers);
                self.inbox.took_any = false;
                *ending = Some(Ending::Quietening { last_batch: now });
            }
            Some(Ending::Quietening { last_batch }) => {
                if now >= *last_batch + QUIET || now + FAREWELL >= deadline {
                    self.peers.say_goodbye();
                    *ending = Some(Ending::Farewell);
                }
            }
            Some(Ending::Farewell) => {
                if self.peers.is_empty() {
                    return true;
                }
                if now >= deadline + LAST_LOOK {
                    log::warn!(
                        "log batches are still arriving; those in transit are lost \
                         (shutdown_timeout)"
                    );
                    self.inbox.lost += self.peers.unfinished();
                    return true;
                }
            }
        }
        false
    }

    /// Applies the access rules to all connections after they are replaced.
    fn renew(&mut self) {
        let generation = self.access.generation();
        if generation != self.generation {
            // In this order: a replacement in between triggers another renewal.
            self.generation = generation;
            self.peers.renew(&self.access.load());
        }
    }

    fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        self.peers.accept(listener, &self.poller, &mut self.scratch);
    }

    fn look_at(&mut self, event: Event) {
        let key = event.key;
        // One round of reading must not exceed the limit by much.
        if event.readable
            && self.buffers.has_room()
            && self.peers.may_read(key, &self.poller)
            && let Err(gone) = self.read(key)
        {
            self.peers.remove(key, &gone);
        } else {
            self.peers.update(key, &self.poller, &mut self.scratch);
            self.gathering.note(key, &mut self.peers);
        }
    }

    /// Reads all busy connections.
    fn sweep(&mut self) {
        let busy = self.gathering.begin_sweep();
        for (key, _) in &busy {
            let may_read = self.peers.get(*key).is_some_and(|peer| !peer.is_waiting);
            if may_read {
                self.look_at(Event { key: *key, readable: true, writable: false });
            }
        }
        self.gathering.end_sweep(busy, &mut self.peers);
    }

    fn read(&mut self, key: u64) -> Result<(), connection::Gone> {
        let Some(peer) = self.peers.get(key) else { return Ok(()) };
        let room = peer.room();
        if room.is_none_or(|room| self.buffer.len() + room > BUFFER) {
            // A message read separately is in another buffer than the batches before it.
            self.send_buffer();
        }
        let Some(peer) = self.peers.get(key) else { return Ok(()) };
        if room.is_some() {
            peer.read_shared(&mut self.buffer, &mut self.scratch, &mut self.inbox)?;
            return peer.check();
        }
        match peer.read_own(&mut self.scratch, &mut self.inbox) {
            Ok(Some(buffer)) => self.inbox.send(self.buffers.send(buffer)),
            Ok(None) => {}
            Err(gone) => {
                self.inbox.forget();
                return Err(gone);
            }
        }
        self.peers.get(key).map_or(Ok(()), connection::Connection::check)
    }

    /// Sends the buffer and its batches to the formatters.
    fn send_buffer(&mut self) {
        if self.inbox.is_empty() {
            self.buffer.clear();
            return;
        }
        let bytes = if self.buffer.len() <= COPIED {
            let copy = self.buffer.as_slice().to_vec();
            self.buffer.clear();
            copy
        } else {
            std::mem::replace(&mut self.buffer, self.buffers.take())
        };
        self.inbox.send(self.buffers.send(bytes));
    }
}
