//! [`Outbox`]: what waits to be sent to one peer, bounded in messages and bytes.
//!
//! Two lanes: control (what the protocol itself says, subscriptions, events of the control
//! prefixes) goes first and has bounds of its own; bulk is everything else. Pure: what happens
//! when a lane is full is decided by who fills it ([`delivery`](super::delivery)).

use std::collections::VecDeque;
use std::io::IoSlice;

use super::bytes::{Chunk, Pool};
use super::run::{Messages, Run};

/// Runs from this size on are shared rather than copied, while the peer keeps up.
const SHARED: usize = 4 << 10;
/// Pieces written with one system call.
pub(super) const SLICES: usize = 64;

/// The lanes of an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    Control,
    Bulk,
}

/// The bounds of a lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) messages: usize,
    /// A single message may exceed it when there is no other.
    pub(super) bytes: usize,
}

/// What waits to be sent to one peer.
#[derive(Debug)]
pub(super) struct Outbox {
    control: Queue,
    bulk: Queue,
    /// The lane whose first piece is partly sent, and must be sent on.
    begun: Option<Lane>,
    /// The peer does not take what it is sent at once.
    is_behind: bool,
    is_closed: bool,
    sent: Sent,
}

/// What has been sent as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) messages: u64,
    /// Bytes of the bodies of their frames.
    pub(super) body: u64,
}

#[derive(Debug)]
struct Queue {
    limits: Limits,
    pieces: VecDeque<Piece>,
    messages: usize,
    /// Bytes still to be sent.
    bytes: usize,
}

/// Whole messages, perhaps partly sent.
#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    /// Where they begin.
    start: usize,
    /// From where on they are still to be sent.
    at: usize,
    messages: usize,
    body: usize,
    /// Whether its messages may make room for later ones.
    is_evictable: bool,
}

#[derive(Debug)]
enum Bytes {
    Own(Vec<u8>),
    Shared { chunk: Chunk, end: usize },
}

impl Piece {
    fn end(&self) -> usize {
        match &self.bytes {
            Bytes::Own(bytes) => bytes.len(),
            Bytes::Shared { end, .. } => *end,
        }
    }

    fn all(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Own(bytes) => bytes,
            Bytes::Shared { chunk, end } => &chunk[..*end],
        }
    }

    fn unsent(&self) -> &[u8] {
        &self.all()[self.at..]
    }

    /// Whether it holds a chunk most of which is not its own.
    fn wastes(&self) -> bool {
        matches!(&self.bytes, Bytes::Shared { chunk, end } if is_small(end - self.start, chunk))
    }
}

/// Whether a slice is a small part of the memory it would hold.
fn is_small(slice: usize, chunk: &Chunk) -> bool {
    slice * 2 < chunk.capacity()
}

impl Queue {
    fn new(limits: Limits) -> Self {
        Queue { limits, pieces: VecDeque::new(), messages: 0, bytes: 0 }
    }

    /// How much more may be added, in messages and bytes.
    fn room(&self) -> (usize, usize) {
        let messages = self.limits.messages.saturating_sub(self.messages);
        (messages, self.limits.bytes.saturating_sub(self.bytes))
    }

    /// Shares a run, or copies it where that holds less memory.
    fn add(&mut self, run: &Run, is_evictable: bool, is_behind: bool, pool: &mut Pool) {
        self.messages += run.messages;
        self.bytes += run.len();
        if run.len() < SHARED || (is_behind && is_small(run.len(), &run.chunk)) {
            self.copy(run.bytes(), (run.messages, run.body), is_evictable, pool);
        } else {
            self.share(run, is_evictable);
        }
    }

    fn share(&mut self, run: &Run, is_evictable: bool) {
        self.pieces.push_back(Piece {
            bytes: Bytes::Shared { chunk: Chunk::clone(&run.chunk), end: run.range.end },
            start: run.range.start,
            at: run.range.start,
            messages: run.messages,
            body: run.body,
            is_evictable,
        });
    }

    /// Appends a copy, to the last piece if it has room.
    fn copy(&mut self, bytes: &[u8], counts: (usize, usize), is_evictable: bool, pool: &mut Pool) {
        if let Some(last) = self.pieces.back_mut()
            && last.is_evictable == is_evictable
            && let Bytes::Own(own) = &mut last.bytes
            && own.capacity() - own.len() >= bytes.len()
        {
            own.extend_from_slice(bytes);
            last.messages += counts.0;
            last.body += counts.1;
            return;
        }
        let mut own = pool.take_buffer(bytes.len());
        own.extend_from_slice(bytes);
        self.pieces.push_back(Piece {
            bytes: Bytes::Own(own),
            start: 0,
            at: 0,
            messages: counts.0,
            body: counts.1,
            is_evictable,
        });
    }

    /// Copies what is a small part of the chunk that it holds.
    fn settle(&mut self, pool: &mut Pool) {
        for piece in std::mem::take(&mut self.pieces) {
            if piece.wastes() {
                let is_first = self.pieces.is_empty();
                let counts = (piece.messages, piece.body);
                self.copy(&piece.all()[piece.start..], counts, piece.is_evictable, pool);
                if is_first && let Some(first) = self.pieces.front_mut() {
                    first.at = piece.at - piece.start;
                }
            } else {
                self.pieces.push_back(piece);
            }
        }
    }
}

impl Outbox {
    /// An empty one.
    pub(super) fn new(control: Limits, bulk: Limits) -> Self {
        Outbox {
            control: Queue::new(control),
            bulk: Queue::new(bulk),
            begun: None,
            is_behind: false,
            is_closed: false,
            sent: Sent::default(),
        }
    }

    fn queue(&mut self, lane: Lane) -> &mut Queue {
        match lane {
            Lane::Control => &mut self.control,
            Lane::Bulk => &mut self.bulk,
        }
    }

    /// Takes as much of a run as there is room for. What is left in `run` was not taken.
    pub(super) fn take(&mut self, lane: Lane, run: &mut Run, is_evictable: bool, pool: &mut Pool) {
        if self.is_closed {
            return;
        }
        let is_behind = self.is_behind;
        let queue = self.queue(lane);
        let (messages, bytes) = queue.room();
        let mut part = if run.messages <= messages && run.len() <= bytes {
            let all = run.clone();
            (run.range.start, run.messages, run.body) = (run.range.end, 0, 0);
            all
        } else {
            run.split(messages, bytes)
        };
        if part.messages == 0 && queue.messages == 0 && messages > 0 {
            part = run.split(1, usize::MAX);
        }
        if part.messages > 0 {
            queue.add(&part, is_evictable, is_behind, pool);
        }
    }

    /// Appends what the protocol itself says: it always finds room, and is no message.
    pub(super) fn put(&mut self, bytes: &[u8], pool: &mut Pool) {
        // No piece is ever empty.
        if self.is_closed || bytes.is_empty() {
            return;
        }
        self.control.copy(bytes, (0, 0), false, pool);
        self.control.bytes += bytes.len();
    }

    /// Lets the oldest messages go that may, until there is room for the run, or for as much of it
    /// as there can be. `gone` hears the topic of each.
    pub(super) fn make_room(&mut self, run: &Run, gone: &mut dyn FnMut(&[u8])) {
        let limits = self.bulk.limits;
        let messages = run.messages.min(limits.messages);
        let bytes = run.len().min(limits.bytes);
        if self.begun == Some(Lane::Bulk) {
            self.split_begun();
        }
        loop {
            let room = self.bulk.room();
            if room.0 >= messages && room.1 >= bytes {
                return;
            }
            let begun = usize::from(self.begun == Some(Lane::Bulk));
            let oldest = self.bulk.pieces.iter().skip(begun).position(|piece| piece.is_evictable);
            let Some(index) = oldest.map(|index| index + begun) else { return };
            let piece = &mut self.bulk.pieces[index];
            let Some(first) = Messages::new(piece.unsent()).next() else { return };
            gone(first.topic);
            let (length, body) = (first.end, first.body);
            piece.at += length;
            piece.start = piece.at;
            piece.messages -= 1;
            piece.body -= body;
            self.bulk.messages -= 1;
            self.bulk.bytes -= length;
            if piece.messages == 0 {
                self.bulk.pieces.remove(index);
            }
        }
    }

    /// Makes a piece of its own of what follows the message that is being sent.
    fn split_begun(&mut self) {
        let Some(piece) = self.bulk.pieces.front_mut() else { return };
        let sent = piece.at - piece.start;
        let (mut messages, mut body, mut boundary) = (0, 0, piece.end());
        for message in Messages::new(&piece.all()[piece.start..]) {
            messages += 1;
            body += message.body;
            if message.end >= sent {
                boundary = piece.start + message.end;
                break;
            }
        }
        if boundary == piece.end() {
            return;
        }
        let rest = match &mut piece.bytes {
            Bytes::Own(bytes) => Bytes::Own(bytes.split_off(boundary)),
            Bytes::Shared { chunk, end } => {
                let rest = Bytes::Shared { chunk: Chunk::clone(chunk), end: *end };
                *end = boundary;
                rest
            }
        };
        let start = if matches!(rest, Bytes::Own(_)) { 0 } else { boundary };
        let rest = Piece {
            bytes: rest,
            start,
            at: start,
            messages: piece.messages - messages,
            body: piece.body - body,
            is_evictable: piece.is_evictable,
        };
        (piece.messages, piece.body) = (messages, body);
        self.bulk.pieces.insert(1, rest);
    }

    /// What is to be sent next, in this order. Returns how many pieces there are.
    pub(super) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES]) -> usize {
        let begun = self.begun.map(|lane| match lane {
            Lane::Control => &self.control.pieces[0],
            Lane::Bulk => &self.bulk.pieces[0],
        });
        let control = usize::from(self.begun == Some(Lane::Control));
        let bulk = usize::from(self.begun == Some(Lane::Bulk));
        let pieces = begun
            .into_iter()
            .chain(self.control.pieces.iter().skip(control))
            .chain(self.bulk.pieces.iter().skip(bulk));
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(pieces) {
            *slice = IoSlice::new(piece.unsent());
            count += 1;
        }
        count
    }

    /// Takes note that so many bytes of that were sent.
    pub(super) fn advance(&mut self, mut count: usize, pool: &mut Pool) {
        while count > 0 {
            let lane = self.begun.unwrap_or(if self.control.pieces.is_empty() {
                Lane::Bulk
            } else {
                Lane::Control
            });
            let queue = self.queue(lane);
            let Some(piece) = queue.pieces.front_mut() else { return };
            let taken = count.min(piece.unsent().len());
            piece.at += taken;
            queue.bytes -= taken;
            count -= taken;
            if !piece.unsent().is_empty() {
                self.begun = Some(lane);
                return;
            }
            let (messages, body) = (piece.messages, piece.body);
            queue.messages -= messages;
            if let Some(Piece { bytes: Bytes::Own(bytes), .. }) = queue.pieces.pop_front() {
                pool.give_buffer(bytes);
            }
            self.begun = None;
            self.sent.messages += messages as u64;
            self.sent.body += body as u64;
        }
    }

    /// Says whether the peer took all it was sent. What waits for long holds no memory of others.
    pub(super) fn set_behind(&mut self, is_behind: bool, pool: &mut Pool) {
        if is_behind && !self.is_behind {
            self.control.settle(pool);
            self.bulk.settle(pool);
        }
        self.is_behind = is_behind;
    }

    /// Throws away what waits, and takes nothing from now on. `lost` hears the topic of each
    /// message that was not sent as a whole.
    pub(super) fn close(&mut self, lost: &mut dyn FnMut(&[u8])) {
        self.is_closed = true;
        for piece in self.control.pieces.drain(..).chain(self.bulk.pieces.drain(..)) {
            if piece.messages == 0 {
                continue;
            }
            let sent = piece.at - piece.start;
            for message in Messages::new(&piece.all()[piece.start..]) {
                if message.end <= sent {
                    self.sent.messages += 1;
                    self.sent.body += message.body as u64;
                } else {
                    lost(message.topic);
                }
            }
        }
        for queue in [&mut self.control, &mut self.bulk] {
            (queue.messages, queue.bytes) = (0, 0);
        }
        self.begun = None;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.control.pieces.is_empty() && self.bulk.pieces.is_empty()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Messages that wait.
    pub(super) fn messages(&self) -> usize {
        self.control.messages + self.bulk.messages
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.control.bytes + self.bulk.bytes
    }

    /// Bytes that wait in the control lane.
    pub(super) fn control_bytes(&self) -> usize {
        self.control.bytes
    }

    /// What was sent so far.
    pub(super) fn sent(&self) -> Sent {
        self.sent
    }

    /// Whether at most that part of the bulk lane is in use, both in messages and bytes.
    pub(super) fn is_below(&self, numerator: usize, denominator: usize) -> bool {
        let part = |limit: usize| limit / denominator * numerator + limit % denominator;
        let Limits { messages, bytes } = self.bulk.limits;
        self.bulk.pieces.is_empty()
            || (self.bulk.messages < part(messages) && self.bulk.bytes < part(bytes))
    }

    /// Memory held by what waits. `chunks` remembers what is shared, so that it counts once.
    pub(super) fn memory(&self, chunks: &mut ahash::AHashSet<usize>) -> usize {
        let pieces = self.control.pieces.iter().chain(&self.bulk.pieces);
        pieces
            .map(|piece| match &piece.bytes {
                Bytes::Own(bytes) => bytes.capacity(),
                Bytes::Shared { chunk, .. } if chunks.insert(chunk.as_ptr() as usize) => {
                    chunk.capacity()
                }
                Bytes::Shared { .. } => 0,
            })
            .sum()
    }
}
