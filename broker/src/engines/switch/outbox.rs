//! [`Outbox`]: the queue of one peer, bounded in messages and bytes.
//!
//! It has two lanes. Control (protocol commands, subscriptions, events of the control prefixes) is
//! sent first and has its own bounds; bulk is everything else. Pure: the caller decides what
//! happens when a lane is full ([`delivery`](super::delivery)).

use std::collections::VecDeque;
use std::io::IoSlice;

use super::bytes::{BUFFER, Chunk, Pool};
use super::run::{Messages, Run};

/// Runs of at least this size are shared rather than copied while the peer keeps up.
const SHARED: usize = 4 << 10;
/// Pieces per system call.
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
    /// A single message may exceed it if the lane is empty.
    pub(super) bytes: usize,
}

/// The queue of one peer.
#[derive(Debug)]
pub(super) struct Outbox {
    control: Queue,
    bulk: Queue,
    /// The lane whose first piece is partly sent and has to be finished first.
    begun: Option<Lane>,
    /// The last write did not take everything.
    is_behind: bool,
    is_closed: bool,
    sent: Sent,
}

/// Messages that were sent completely.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) messages: u64,
    /// Bytes in the bodies of their frames.
    pub(super) body: u64,
}

#[derive(Debug)]
struct Queue {
    limits: Limits,
    pieces: VecDeque<Piece>,
    messages: usize,
    /// Bytes still to be sent.
    bytes: usize,
    freed: Freed,
}

/// What was sent from a lane: bytes, and the messages of complete pieces.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Freed {
    bytes: u64,
    messages: u64,
}

/// Whole messages; the first may be partly sent.
#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    /// Offsets at which they start.
    start: usize,
    /// Offset of the first unsent byte.
    at: usize,
    messages: usize,
    body: usize,
    /// Whether its messages may be dropped in favour of later ones.
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

    /// Whether it keeps a chunk alive that mostly belongs to others.
    fn wastes(&self) -> bool {
        matches!(&self.bytes, Bytes::Shared { chunk, end } if is_small(end - self.start, chunk))
    }
}

/// Whether a slice is only a small part of the memory it would keep alive.
fn is_small(slice: usize, chunk: &Chunk) -> bool {
    slice * 2 < chunk.capacity()
}

impl Queue {
    fn new(limits: Limits) -> Self {
        Queue { limits, pieces: VecDeque::new(), messages: 0, bytes: 0, freed: Freed::default() }
    }

    /// How many more messages and bytes fit.
    fn room(&self) -> (usize, usize) {
        let messages = self.limits.messages.saturating_sub(self.messages);
        (messages, self.limits.bytes.saturating_sub(self.bytes))
    }

    /// Shares a run, or copies it where that takes less memory.
    fn add(&mut self, run: &Run, is_evictable: bool, is_behind: bool, pool: &mut Pool) {
        self.messages += run.messages;
        self.bytes += run.len();
        if run.len() < SHARED || (is_behind && is_small(run.len(), &run.chunk)) {
            let counts = (run.messages, run.body);
            self.copy(run.bytes(), counts, is_evictable, is_behind, pool);
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

    /// Appends a copy, to the last piece if it fits.
    ///
    /// Data that will be sent at once is gathered in a pooled buffer. Data that waits takes little
    /// more memory than its size, even if droppable and other pieces alternate.
    fn copy(
        &mut self,
        bytes: &[u8],
        counts: (usize, usize),
        is_evictable: bool,
        is_behind: bool,
        pool: &mut Pool,
    ) {
        if let Some(last) = self.pieces.back_mut()
            && last.is_evictable == is_evictable
            && let Bytes::Own(own) = &mut last.bytes
            && own.len() + bytes.len() <= BUFFER
        {
            own.extend_from_slice(bytes);
            last.messages += counts.0;
            last.body += counts.1;
            return;
        }
        let mut own =
            if is_behind { Vec::with_capacity(bytes.len()) } else { pool.take_buffer(bytes.len()) };
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

    /// Copies slices that are a small part of their chunk.
    fn settle(&mut self, pool: &mut Pool) {
        for piece in std::mem::take(&mut self.pieces) {
            if piece.wastes() {
                let is_first = self.pieces.is_empty();
                let counts = (piece.messages, piece.body);
                let bytes = &piece.all()[piece.start..];
                self.copy(bytes, counts, piece.is_evictable, true, pool);
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
    /// An empty outbox.
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

    /// Takes as much of a run as fits and leaves the rest in `run`.
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

    /// Appends a protocol command. It always fits, and does not count as a message.
    pub(super) fn put(&mut self, bytes: &[u8], pool: &mut Pool) {
        // Pieces are never empty.
        if self.is_closed || bytes.is_empty() {
            return;
        }
        self.control.copy(bytes, (0, 0), false, self.is_behind, pool);
        self.control.bytes += bytes.len();
    }

    /// Drops the oldest droppable messages until the run fits, or as much of it as can fit. Calls
    /// `gone` with the topic of each.
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

    /// Splits off whatever follows the message that is being sent.
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

    /// Fills `slices` with what to send next, in order. Returns the number of pieces.
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

    /// Notes that `count` of those bytes were sent.
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
            queue.freed.bytes += taken as u64;
            count -= taken;
            if !piece.unsent().is_empty() {
                self.begun = Some(lane);
                return;
            }
            let (messages, body) = (piece.messages, piece.body);
            queue.messages -= messages;
            queue.freed.messages += messages as u64;
            if let Some(Piece { bytes: Bytes::Own(bytes), .. }) = queue.pieces.pop_front() {
                pool.give_buffer(bytes);
            }
            self.begun = None;
            self.sent.messages += messages as u64;
            self.sent.body += body as u64;
        }
    }

    /// Notes whether the last write took everything. Data that has to wait gives up shared chunks.
    pub(super) fn set_behind(&mut self, is_behind: bool, pool: &mut Pool) {
        if is_behind && !self.is_behind {
            self.control.settle(pool);
            self.bulk.settle(pool);
        }
        self.is_behind = is_behind;
    }

    /// Drops everything queued, and everything offered from now on. Calls `lost` with the topic of
    /// each message that was not sent completely.
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

    /// Queued messages.
    pub(super) fn messages(&self) -> usize {
        self.control.messages + self.bulk.messages
    }

    /// Queued bytes.
    pub(super) fn bytes(&self) -> usize {
        self.control.bytes + self.bulk.bytes
    }

    /// Queued bytes of the control lane.
    pub(super) fn control_bytes(&self) -> usize {
        self.control.bytes
    }

    /// What was sent so far.
    pub(super) fn sent(&self) -> Sent {
        self.sent
    }

    /// What was sent from the bulk lane so far.
    pub(super) fn freed(&self) -> Freed {
        self.bulk.freed
    }

    /// Whether at least 1/64 of the bulk lane was sent since `before`, or all that was queued then.
    pub(super) fn has_made_room_since(&self, before: Freed) -> bool {
        let Queue { limits, freed, pieces, .. } = &self.bulk;
        let is_part = |freed: u64, limit: usize| freed > 0 && freed >= limit as u64 / 64;
        pieces.is_empty()
            || is_part(freed.bytes - before.bytes, limits.bytes)
            || is_part(freed.messages - before.messages, limits.messages)
    }

    /// Whether the bulk lane has enough room to wake a waiting publisher.
    pub(super) fn has_room(&self) -> bool {
        self.is_below(63, 64)
    }

    /// Whether more can wait in it: it has fewer bytes than that, and most of both lanes is free.
    pub(super) fn may_gather(&self, bytes: usize) -> bool {
        let has_room = |queue: &Queue| {
            let limits = queue.limits;
            queue.messages < limits.messages / 4 && queue.bytes < limits.bytes / 4
        };
        self.bytes() < bytes && has_room(&self.control) && has_room(&self.bulk)
    }

    /// Whether less than `numerator/denominator` of the bulk lane is in use, in messages and in bytes.
    pub(super) fn is_below(&self, numerator: usize, denominator: usize) -> bool {
        let part = |limit: usize| limit / denominator * numerator + limit % denominator;
        let Limits { messages, bytes } = self.bulk.limits;
        self.bulk.pieces.is_empty()
            || (self.bulk.messages < part(messages) && self.bulk.bytes < part(bytes))
    }

    /// Memory held by queued data. `chunks` collects shared chunks, so that each counts once.
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

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::run::tests::run_of;
    use super::*;

    const CONTROL: Limits = Limits { messages: 5, bytes: 500 };
    const BULK: Limits = Limits { messages: 10, bytes: 400 };

    /// Sends up to `limit` bytes; returns what was sent.
    fn send(outbox: &mut Outbox, limit: usize, pool: &mut Pool) -> Vec<u8> {
        let mut out = Vec::new();
        loop {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = outbox.slices(&mut slices);
            let waiting: Vec<u8> =
                slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
            let taken = waiting.len().min(limit - out.len());
            out.extend_from_slice(&waiting[..taken]);
            outbox.advance(taken, pool);
            if taken == 0 {
                return out;
            }
        }
    }

    fn topics(bytes: &[u8]) -> Vec<String> {
        let topic = |text: &[u8]| String::from_utf8(text.to_vec()).unwrap();
        Messages::new(bytes).map(|message| topic(message.topic)).collect()
    }

    #[test]
    fn control_goes_first_but_never_into_a_message() {
        let (mut outbox, mut pool) = (Outbox::new(CONTROL, BULK), Pool::default());
        outbox.take(Lane::Bulk, &mut run_of(&["a", "b"]), false, &mut pool);
        let mut out = send(&mut outbox, 1, &mut pool);
        outbox.take(Lane::Bulk, &mut run_of(&["c"]), true, &mut pool);
        outbox.take(Lane::Control, &mut run_of(&["!"]), false, &mut pool);
        outbox.put(b"\x04\x05\x04PONG", &mut pool);
        out.extend(send(&mut outbox, usize::MAX, &mut pool));
        assert_eq!(topics(&out), ["a", "b", "!", "c"]);
        assert!(outbox.is_empty() && outbox.messages() == 0 && outbox.bytes() == 0);
        assert_eq!(outbox.sent().messages, 4);
    }

    #[test]
    fn a_full_lane_takes_what_fits_and_does_not_fill_the_other() {
        let (mut outbox, mut pool) = (Outbox::new(CONTROL, BULK), Pool::default());
        let many: Vec<String> = (0..12).map(|n| n.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let mut run = run_of(&many);
        outbox.take(Lane::Bulk, &mut run, false, &mut pool);
        assert_eq!((outbox.messages(), run.messages), (10, 2));
        let mut control = run_of(&["!"]);
        outbox.take(Lane::Control, &mut control, false, &mut pool);
        assert_eq!((outbox.messages(), control.messages), (11, 0));
        assert!(!outbox.is_below(7, 8));
        // Nothing is droppable.
        outbox.make_room(&run, &mut |topic| panic!("{topic:?}"));
        assert_eq!(topics(&send(&mut outbox, usize::MAX, &mut pool)).len(), 11);
        assert!(outbox.is_below(1, 8));
    }

    #[test]
    fn one_message_may_be_larger_than_the_bound() {
        let (mut outbox, mut pool) = (Outbox::new(CONTROL, BULK), Pool::default());
        let long = "x".repeat(1000);
        let mut run = run_of(&[&long, "y"]);
        outbox.take(Lane::Bulk, &mut run, false, &mut pool);
        assert_eq!((outbox.messages(), run.messages), (1, 1));
        outbox.take(Lane::Bulk, &mut run, false, &mut pool);
        assert_eq!(run.messages, 1, "only when there is no other");
        send(&mut outbox, usize::MAX, &mut pool);
        outbox.take(Lane::Bulk, &mut run, false, &mut pool);
        assert_eq!(run.messages, 0);
    }

    #[test]
    fn the_oldest_make_room_even_behind_one_that_is_being_sent() {
        let (mut outbox, mut pool) = (Outbox::new(CONTROL, BULK), Pool::default());
        let names: Vec<String> = (0..10).map(|n| n.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        outbox.take(Lane::Bulk, &mut run_of(&names), true, &mut pool);
        let mut out = send(&mut outbox, 1, &mut pool);
        let mut run = run_of(&["new", "newer"]);
        let mut gone = Vec::new();
        outbox.make_room(&run, &mut |topic| gone.push(topic.to_vec()));
        outbox.take(Lane::Bulk, &mut run, true, &mut pool);
        assert_eq!((gone, run.messages), (vec![b"1".to_vec(), b"2".to_vec()], 0));
        out.extend(send(&mut outbox, usize::MAX, &mut pool));
        assert_eq!(topics(&out), ["0", "3", "4", "5", "6", "7", "8", "9", "new", "newer"]);
    }

    #[test]
    fn small_slices_of_large_chunks_are_let_go_of_once_the_peer_is_behind() {
        let (mut outbox, mut pool) = (Outbox::new(CONTROL, BULK), Pool::default());
        let text = "x".repeat(SHARED);
        let run = run_of(&[&text]);
        let mut chunk = Vec::with_capacity(100 * SHARED);
        chunk.extend_from_slice(run.bytes());
        let mut run = Run { chunk: std::sync::Arc::new(chunk), ..run };
        let chunk = Chunk::clone(&run.chunk);
        outbox.take(Lane::Bulk, &mut run, false, &mut pool);
        drop(run);
        assert_eq!(std::sync::Arc::strong_count(&chunk), 2, "shared");
        let mut seen = ahash::AHashSet::new();
        assert_eq!(outbox.memory(&mut seen), chunk.capacity());
        assert_eq!(outbox.memory(&mut seen), 0, "counted once");
        let mut out = send(&mut outbox, 100, &mut pool);
        outbox.set_behind(true, &mut pool);
        assert_eq!(std::sync::Arc::strong_count(&chunk), 1, "copied");
        out.extend(send(&mut outbox, usize::MAX, &mut pool));
        assert_eq!(out, *chunk);
    }

    #[test]
    fn what_waits_holds_little_more_than_it_needs() {
        let limits = Limits { messages: 10_000, bytes: usize::MAX };
        let (mut outbox, mut pool) = (Outbox::new(limits, limits), Pool::default());
        outbox.set_behind(true, &mut pool);
        for n in 0..10_000 {
            // Two policies that alternate.
            outbox.take(Lane::Bulk, &mut run_of(&["x"]), n % 2 == 0, &mut pool);
        }
        let memory = outbox.memory(&mut ahash::AHashSet::new());
        assert!(memory <= 2 * outbox.bytes(), "{memory} for {}", outbox.bytes());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Take { control: bool, evictable: bool, evict: bool, lengths: Vec<usize> },
        Put,
        Send(usize),
        Behind(bool),
    }

    fn step() -> impl Strategy<Value = Step> {
        let lengths = vec(prop_oneof![8 => 1usize..40, 1 => 4000usize..9000], 1..5);
        prop_oneof![
            5 => (any::<bool>(), any::<bool>(), any::<bool>(), lengths).prop_map(
                |(control, evictable, evict, lengths)| {
                    Step::Take { control, evictable, evict, lengths }
                }
            ),
            1 => Just(Step::Put),
            3 => (0usize..600).prop_map(Step::Send),
            1 => any::<bool>().prop_map(Step::Behind),
        ]
    }

    proptest! {
        #[test]
        fn every_message_is_sent_whole_and_in_order_or_told_of(
            steps in vec(step(), 0..60),
            messages in 1usize..20,
            bytes in 1usize..20_000,
        ) {
            let limits = Limits { messages, bytes };
            let (mut outbox, mut pool) = (Outbox::new(limits, limits), Pool::default());
            let (mut number, mut taken, mut gone) = (0, Vec::new(), Vec::new());
            let mut out = Vec::new();
            let text = |topic: &[u8]| String::from_utf8(topic.to_vec()).unwrap();
            for step in steps {
                match step {
                    Step::Take { control, evictable, evict, lengths } => {
                        let lane = if control { Lane::Control } else { Lane::Bulk };
                        let letter = if control { 'c' } else { 'b' };
                        let topics: Vec<String> = lengths.iter().map(|length| {
                            number += 1;
                            format!("{letter}{number:06}{}", "x".repeat(*length))
                        }).collect();
                        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
                        let mut run = run_of(&topics);
                        if evict && !control {
                            outbox.make_room(&run, &mut |topic| gone.push(text(topic)));
                        }
                        outbox.take(lane, &mut run, evictable, &mut pool);
                        let count = topics.len() - run.messages;
                        taken.extend(topics[..count].iter().map(|topic| (*topic).to_owned()));
                        prop_assert_eq!(Messages::new(run.bytes()).count(), run.messages);
                    }
                    Step::Put => outbox.put(b"\x04\x05\x04PONG", &mut pool),
                    Step::Send(limit) => out.extend(send(&mut outbox, limit, &mut pool)),
                    Step::Behind(is_behind) => outbox.set_behind(is_behind, &mut pool),
                }
                prop_assert!(outbox.control.messages <= messages);
                prop_assert!(outbox.bulk.messages <= messages);
                prop_assert!(outbox.bulk.bytes <= bytes || outbox.bulk.messages == 1);
                for queue in [&outbox.control, &outbox.bulk] {
                    let sum: usize = queue.pieces.iter().map(|piece| piece.unsent().len()).sum();
                    prop_assert_eq!(queue.bytes, sum);
                    let sum: usize = queue.pieces.iter().map(|piece| piece.messages).sum();
                    prop_assert_eq!(queue.messages, sum);
                }
            }
            let sent = topics(&out);
            let mut lost = Vec::new();
            outbox.close(&mut |topic| lost.push(text(topic)));
            prop_assert_eq!(outbox.sent().messages, sent.len() as u64);
            // Commands may go between messages, but never into one.
            for lane in ["c", "b"] {
                let of_lane = |all: &[String]| -> Vec<String> {
                    all.iter().filter(|topic| topic.starts_with(lane)).cloned().collect()
                };
                let mut left = of_lane(&taken);
                left.retain(|topic| !gone.contains(topic));
                prop_assert_eq!([of_lane(&sent), of_lane(&lost)].concat(), left);
            }
        }
    }
}
