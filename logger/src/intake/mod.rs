//! The receiving thread: a PULL socket of our own (WIRE.md §4.2), log batches off it to the
//! formatters.
//!
//! It reads large pieces into buffers that the formatters then read the batches from, without a
//! copy. What is under way is bounded by a share of `log.max_memory`; beyond, nothing is read, so
//! that producers come to their high-water marks: a logger drops nothing, unless it is to end and
//! cannot write.
//!
//! Silent peers are probed by the kernel rather than by PINGs: a producer that is stopped for a
//! while must not lose what it has sent.

mod buffers;
mod connection;
mod dispatch;
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
use inbox::Inbox;
pub(crate) use inbox::Rejections;
pub(crate) use load::Load;
use peers::Peers;

/// A buffer with no more in it than that is copied, so that small batches that come one by one do
/// not each hold a large one.
const COPIED: usize = 16 << 10;
/// Once no batch has come for so long after the goodbye, nothing is on its way any more: on a
/// loaded network a round trip takes less.
const QUIET: Duration = FAREWELL_QUIET;
/// Time before the deadline at which producers that never stop are cut off in good order.
const FAREWELL: Duration = Duration::from_millis(500);
/// Time after the deadline to take in what has arrived by then.
const LAST_LOOK: Duration = Duration::from_millis(500);
/// How often things are looked at that no event tells of.
const TICK: Duration = Duration::from_millis(100);

const WAKER: u64 = u64::MAX;
const LISTENER: u64 = u64::MAX - 1;

/// How much memory may be in use, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// Received, and not text yet.
    pub(crate) under_way: usize,
    /// Messages that have begun to arrive.
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

/// What the receiving thread goes by.
pub(crate) struct Settings<'a> {
    pub(crate) layout: &'a Layout,
    /// Where to listen.
    pub(crate) endpoint: &'a str,
    pub(crate) limits: Limits,
    /// Who may connect, and send logs.
    pub(crate) access: Arc<AccessCell>,
    pub(crate) deadline: Deadline,
}

/// Why the intake does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IntakeError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("cannot start the receiving thread: {0}")]
    System(#[from] io::Error),
}

impl Intake {
    /// Binds the socket and starts to receive.
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

    /// For the batches of this process.
    pub(crate) fn own_batches(&self, formatters: Formatters, sender: Sender) -> OwnBatches {
        OwnBatches::new(formatters, Arc::clone(&self.buffers), sender)
    }

    /// For whoever has replaced what it goes by.
    pub(crate) fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// Takes in what is still on its way, and ends; the deadline is set before. Blocks until
    /// shortly after it at most; the formatters must go on meanwhile.
    ///
    /// Returns how many batches were received and could not be handed on.
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

struct Receiver {
    poller: Poller,
    /// For the time when nothing may be read: knows the waker only.
    idle: Poller,
    /// Gone once the end has begun.
    listener: Option<Listener>,
    peers: Peers,
    access: Arc<AccessCell>,
    /// Of what the connections go by.
    generation: u64,
    scratch: Scratch,
    /// What is being read into.
    buffer: Vec<u8>,
    buffers: Arc<Buffers>,
    inbox: Inbox,
    load: Arc<Load>,
    deadline: Deadline,
    waker: Arc<Waker>,
}

/// How far the end has come.
enum Ending {
    /// Producers that heard the goodbye stop by themselves.
    Quietening { last_batch: Instant },
    /// All have been told that nothing more is wanted; what they have sent still comes.
    Farewell,
}

impl Receiver {
    /// The body of the thread: the batches that were lost.
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
            let timeout = if ending.is_some() || !may_read || self.peers.need_attention() {
                Some(TICK)
            } else {
                None
            };
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
            self.send_buffer();
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

    /// Moves the end on; whether it is reached.
    fn is_at_end(&mut self, deadline: Instant, ending: &mut Option<Ending>) -> bool {
        let now = Instant::now();
        match ending {
            None => {
                // Whoever has no connection yet sends to another logger, or waits.
                self.listener = None;
                self.inbox.took_any = false;
                *ending = Some(Ending::Quietening { last_batch: now });
            }
            Some(Ending::Quietening { last_batch }) => {
                if now >= *last_batch + QUIET || now + FAREWELL >= deadline {
                    self.peers.say_farewell();
                    *ending = Some(Ending::Farewell);
                }
            }
            Some(Ending::Farewell) => {
                if self.peers.is_empty() {
                    return true;
                }
                if now >= deadline + LAST_LOOK {
                    log::warn!(
                        "log batches still arrive; those on their way are lost (shutdown_timeout)"
                    );
                    self.inbox.lost += self.peers.unfinished();
                    return true;
                }
            }
        }
        false
    }

    /// Has the connections go by what is in force now, once it has been replaced.
    fn renew(&mut self) {
        let generation = self.access.generation();
        if generation != self.generation {
            // In this order: what is replaced meanwhile makes another look.
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
        // One round of reading must not take much more than there is room for.
        if event.readable
            && self.buffers.has_room()
            && self.peers.may_read(key, &self.poller)
            && let Err(gone) = self.read(key)
        {
            self.peers.remove(key, &gone);
        } else {
            self.peers.update(key, &self.poller, &mut self.scratch);
        }
    }

    fn read(&mut self, key: u64) -> Result<(), connection::Gone> {
        let Some(peer) = self.peers.get(key) else { return Ok(()) };
        let room = peer.room();
        if room.is_none_or(|room| self.buffer.len() + room > BUFFER) {
            // Batches of a message that is read apart are in another buffer than those before it.
            self.send_buffer();
        }
        let Some(peer) = self.peers.get(key) else { return Ok(()) };
        if room.is_some() {
            return peer.read_shared(&mut self.buffer, &mut self.scratch, &mut self.inbox);
        }
        match peer.read_own(&mut self.scratch, &mut self.inbox) {
            Ok(Some(buffer)) => self.inbox.send(self.buffers.send(buffer)),
            Ok(None) => {}
            Err(gone) => {
                self.inbox.forget();
                return Err(gone);
            }
        }
        Ok(())
    }

    /// Hands the buffer and the batches in it on.
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
