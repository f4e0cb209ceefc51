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
mod peers;

use std::fmt::Display;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ahash::AHashMap;
use bstr::{BStr, BString};
use zcluster::access::AccessCell;
use zcluster::layout::Layout;
use zcluster::net::{BindError, Event, Listener, Poller, Scratch};
use zcluster::queue;
use zcluster::rate_limit::{KeyedRateLimit, RateLimit};
use zcluster::telemetry::{BatchFault, LoggerMetrics};
use zcluster::transport::Waker;
use zcluster::wire::zeek_bin::Batch;

use crate::end::{Deadline, TellEnd};
use buffers::BUFFER;
pub(crate) use buffers::{Buffers, Chunk};
use connection::Sink;
pub(crate) use connection::{BatchAt, Sender};
use peers::Peers;

/// A buffer with no more in it than that is copied, so that small batches that come one by one do
/// not each hold a large one.
const COPIED: usize = 16 << 10;
/// Once no batch has come for so long after the goodbye, nothing is on its way any more: on a
/// loaded network a round trip takes less.
const QUIET: Duration = Duration::from_millis(300);
/// Time before the deadline at which producers that never stop are cut off in good order.
const FAREWELL: Duration = Duration::from_millis(500);
/// Time after the deadline to take in what has arrived by then.
const LAST_LOOK: Duration = Duration::from_millis(500);
/// How often things are looked at that no event tells of.
const TICK: Duration = Duration::from_millis(100);
/// Senders that are remembered. Beyond, all are forgotten and asked for anew: slow, not wrong.
const MAX_SENDERS: usize = 4_096;
/// Longest id that is remembered.
const MAX_SENDER_ID: usize = 256;
/// How often each kind of trouble is told.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

const WAKER: u64 = u64::MAX;
const LISTENER: u64 = u64::MAX - 1;

/// Batches on their way to a formatter: places in one buffer.
#[derive(Debug)]
pub(crate) struct Burst {
    pub(crate) chunk: Arc<Chunk>,
    pub(crate) senders: Arc<[Arc<Sender>]>,
    pub(crate) batches: Vec<BatchAt>,
    pub(crate) received: Instant,
}

/// Which formatter the batches of a path go to, for all that send some.
#[derive(Clone)]
pub(crate) struct Formatters {
    queues: Vec<queue::Sender<Burst>>,
    hasher: ahash::RandomState,
}

impl Formatters {
    pub(crate) fn new(queues: Vec<queue::Sender<Burst>>) -> Self {
        Formatters { queues, hasher: ahash::RandomState::new() }
    }

    /// The formatter of a batch: always the same for one path, so that order is kept.
    #[inline]
    fn index(&self, payload: &[u8]) -> usize {
        if self.queues.len() == 1 {
            return 0;
        }
        // What has no path is refused by whoever gets it.
        let path = Batch::path_bytes(payload).unwrap_or_default();
        (self.hasher.hash_one(path) % self.queues.len() as u64) as usize
    }

    /// No more comes.
    pub(crate) fn close(&self) {
        self.queues.iter().for_each(queue::Sender::close);
    }
}

/// Batches of this process itself.
#[derive(Clone)]
pub(crate) struct OwnBatches {
    formatters: Formatters,
    buffers: Arc<Buffers>,
    sender: Arc<Sender>,
}

impl OwnBatches {
    /// Sends one; `false` when there is no room for it.
    pub(crate) fn send(&self, payload: &[u8]) -> bool {
        if !self.buffers.has_room() {
            return false;
        }
        let burst = Burst {
            chunk: Arc::new(self.buffers.send(payload.to_vec())),
            senders: Arc::new([Arc::clone(&self.sender)]),
            batches: vec![BatchAt { sender: 0, payload: 0..payload.len() }],
            received: Instant::now(),
        };
        let queue = &self.formatters.queues[self.formatters.index(payload)];
        queue.try_send(burst, 0).is_ok()
    }
}

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
            deadline,
            waker: Arc::clone(&waker),
        };
        let body = move || {
            let _end = end;
            receiver.run()
        };
        let thread = std::thread::Builder::new().name("intake".into()).spawn(body)?;
        Ok(Intake { endpoint, buffers, thread, waker })
    }

    /// For the batches of this process.
    pub(crate) fn own_batches(&self, formatters: Formatters, sender: Sender) -> OwnBatches {
        let (buffers, sender) = (Arc::clone(&self.buffers), Arc::new(sender));
        OwnBatches { formatters, buffers, sender }
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
            events.extend(poller.wait(timeout)?);
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

/// The batches found in the buffer that is being read, on their way to the formatters.
struct Inbox {
    formatters: Formatters,
    metrics: LoggerMetrics,
    /// Those found so far.
    batches: Vec<BatchAt>,
    senders: Vec<Arc<Sender>>,
    known: AHashMap<BString, Arc<Sender>>,
    /// Whether any batch came since this was last looked at.
    took_any: bool,
    /// Whether the formatters take no more.
    is_refused: bool,
    /// Batches that were received and never reached a formatter.
    lost: u64,
    count_warning: RateLimit,
    rejections: Rejections,
}

impl Inbox {
    fn new(formatters: Formatters, metrics: LoggerMetrics) -> Self {
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

    fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    fn forget(&mut self) {
        self.batches.clear();
        self.senders.clear();
    }

    /// Sends the batches found in that buffer to their formatters.
    fn send(&mut self, chunk: Chunk) {
        if self.batches.is_empty() {
            return;
        }
        let received = Instant::now();
        let chunk = Arc::new(chunk);
        let senders: Arc<[Arc<Sender>]> = std::mem::take(&mut self.senders).into();
        let batches = std::mem::take(&mut self.batches);
        let burst = |batches| Burst {
            chunk: Arc::clone(&chunk),
            senders: Arc::clone(&senders),
            batches,
            received,
        };
        if self.formatters.queues.len() == 1 {
            self.hand_over(0, burst(batches));
            return;
        }
        let mut shares = vec![Vec::new(); self.formatters.queues.len()];
        for batch in batches {
            shares[self.formatters.index(&chunk[batch.payload.clone()])].push(batch);
        }
        for (index, share) in shares.into_iter().enumerate() {
            if !share.is_empty() {
                self.hand_over(index, burst(share));
            }
        }
    }

    /// Never waits: what is under way is bounded by its buffers.
    fn hand_over(&mut self, index: usize, burst: Burst) {
        let count = burst.batches.len() as u64;
        // It takes everything, unless its thread is gone.
        if self.formatters.queues[index].try_send(burst, 0).is_err() {
            self.lost += count;
            self.is_refused = true;
        }
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
        // Longer ids are nobody's; they are looked up each time.
        if id.len() <= MAX_SENDER_ID {
            self.known.insert(id.into(), Arc::clone(&sender));
        }
        sender
    }
}

/// Batches that cannot be written: counted, and told at a limited rate by sender.
pub(crate) struct Rejections(KeyedRateLimit<[u8; 64]>);

impl Default for Rejections {
    fn default() -> Self {
        Rejections(KeyedRateLimit::new(WARNING_INTERVAL, 100))
    }
}

impl Rejections {
    pub(crate) fn reject(&mut self, sender: &Sender, fault: BatchFault, what: &dyn Display) {
        sender.counters.rejected[fault].inc();
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
