//! A run of boxes: keystreams, then tags, of many at once.

use zmq_sys::sodium::Salsa20;

use super::auth::{self, Job, Number, WIDEST};
use super::bytes::{is_same, xor};
use super::slot::{KEY_SIZE, Slot, TAG_SIZE};
use super::stream::{BLOCK, Keystreams, Words};

/// Boxes whose tags are computed together.
const TOGETHER: usize = 512;
/// Blocks of keystream that are computed before they are used: few enough to stay in the first-level
/// cache beside the messages.
const AHEAD: usize = 128;

/// What the boxes of a thread are computed in. Keystreams are wiped after each use.
#[derive(Debug, Default)]
pub struct Workspace {
    /// The first block of each slot: its one-time key, and what its first bytes are combined with.
    firsts: Box<Keystreams<TOGETHER>>,
    /// Further blocks.
    others: Box<Keystreams<AHEAD>>,
    /// Slots in the order of their lengths.
    order: Vec<Ranked>,
    tags: Vec<[u8; TAG_SIZE]>,
}

/// The vectors of an engine.
pub(crate) trait Vectors {
    /// For Salsa20.
    type Wide: Words;
    /// The same for fewer blocks.
    type Narrow: Words;
    /// For Poly1305.
    type Number: Number;
}

/// What [`StreamKey::seal`](crate::StreamKey::seal) does.
///
/// # Safety
/// The machine has the instructions.
#[inline(always)]
pub(crate) unsafe fn seal<V: Vectors>(
    key: &[u8; 32],
    work: &mut Workspace,
    buffer: &mut [u8],
    slots: &mut [Slot],
) {
    for slots in slots.chunks_mut(TOGETHER) {
        // SAFETY: promised by the caller.
        unsafe {
            work.compute_firsts::<V>(key, slots);
            work.xor_all::<V>(key, buffer, slots);
            work.compute_tags::<V::Number>(buffer, slots);
        }
        for (slot, tag) in slots.iter_mut().zip(&work.tags) {
            slot.tag = *tag;
        }
    }
    work.wipe();
}

/// What [`StreamKey::open`](crate::StreamKey::open) does.
///
/// # Safety
/// The machine has the instructions.
#[inline(always)]
pub(crate) unsafe fn open<V: Vectors>(
    key: &[u8; 32],
    work: &mut Workspace,
    buffer: &mut [u8],
    slots: &[Slot],
) -> usize {
    let mut opened = 0;
    for slots in slots.chunks(TOGETHER) {
        // SAFETY: promised by the caller.
        unsafe {
            work.compute_firsts::<V>(key, slots);
            work.compute_tags::<V::Number>(buffer, slots);
        }
        let is_bad = |(slot, tag): (&Slot, &[u8; TAG_SIZE])| !is_same(tag, &slot.tag);
        let good = slots.iter().zip(&work.tags).position(is_bad).unwrap_or(slots.len());
        // SAFETY: promised by the caller.
        unsafe { work.xor_all::<V>(key, buffer, &slots[..good]) }
        opened += good;
        if good < slots.len() {
            break;
        }
    }
    work.wipe();
    opened
}

impl Workspace {
    /// Computes the first block of each slot, of which there are at most [`TOGETHER`].
    ///
    /// # Safety
    /// The machine has the instructions.
    #[inline(always)]
    unsafe fn compute_firsts<V: Vectors>(&mut self, key: &[u8; 32], slots: &[Slot]) {
        self.firsts.clear();
        for slot in slots {
            self.firsts.push(slot.number, 0..1);
        }
        // SAFETY: promised by the caller.
        unsafe { self.firsts.compute::<V::Wide, V::Narrow>(key) }
    }

    /// Encrypts or decrypts the messages of slots, whose first blocks are there.
    ///
    /// # Safety
    /// The machine has the instructions.
    #[inline(always)]
    unsafe fn xor_all<V: Vectors>(&mut self, key: &[u8; 32], buffer: &mut [u8], slots: &[Slot]) {
        let mut firsts = self.firsts.bytes().chunks_exact(BLOCK);
        let mut rest = slots;
        while !rest.is_empty() {
            self.others.clear();
            let is_laid_out = |slot: &&Slot| {
                let (direct, all) = (slot.direct_blocks(), slot.blocks());
                let is_room = !self.others.is_full(all - 1 - direct);
                if is_room {
                    // No box has 2^32 blocks.
                    self.others.push(slot.number, (1 + direct) as u32..all as u32);
                }
                is_room
            };
            let (chunk, behind) = rest.split_at(rest.iter().take_while(is_laid_out).count());
            // SAFETY: promised by the caller.
            unsafe { self.others.compute::<V::Wide, V::Narrow>(key) }
            let mut others = self.others.bytes();
            for (slot, first) in chunk.iter().zip(&mut firsts) {
                let message = &mut buffer[slot.message()];
                let (head, rest) = message.split_at_mut(message.len().min(BLOCK - KEY_SIZE));
                xor(head, &first[KEY_SIZE..]);
                let (middle, tail) = rest.split_at_mut(slot.direct_blocks() * BLOCK);
                if !middle.is_empty() {
                    Salsa20 { key, nonce: slot.number.to_be_bytes() }.xor(middle, 1);
                }
                let (stream, after) = others.split_at(tail.len().next_multiple_of(BLOCK));
                xor(tail, stream);
                others = after;
            }
            rest = behind;
        }
    }

    fn wipe(&mut self) {
        self.firsts.wipe();
        self.others.wipe();
    }

    /// Computes the tags of messages as they are in the buffer.
    ///
    /// # Safety
    /// The machine has the instructions.
    #[inline(always)]
    unsafe fn compute_tags<N: Number>(&mut self, buffer: &[u8], slots: &[Slot]) {
        let Workspace { firsts, order, tags, .. } = self;
        let firsts = firsts.bytes();
        let job = |index: usize| Job {
            key: firsts[index * BLOCK..].first_chunk().expect("a block begins with a key"),
            message: &buffer[slots[index].message()],
        };
        tags.resize(slots.len(), [0; TAG_SIZE]);
        // Lanes of similar lengths wait little for one another. Short messages are similar as they come.
        let is_short = |rank: &Ranked| rank.len() <= SHORT;
        let ranks = slots.iter().enumerate().map(|(index, slot)| Ranked::new(slot.len, index));
        order.clear();
        order.extend(ranks.clone().filter(is_short));
        let short = order.len();
        order.extend(ranks.filter(|rank| !is_short(rank)));
        order[short..].sort_unstable();
        let mut rest = order.as_slice();
        while let Some((longest, shorter)) = rest.split_last() {
            let (others, group) = rest.split_at(rest.len().saturating_sub(N::LANES));
            if is_long(group, N::LANES) {
                // SAFETY: promised by the caller.
                tags[longest.index()] = unsafe { auth::long_tag::<N>(job(longest.index())) };
                rest = shorter;
            } else {
                let mut jobs = [job(longest.index()); WIDEST];
                for (job_of_lane, slot) in jobs.iter_mut().zip(group) {
                    *job_of_lane = job(slot.index());
                }
                // SAFETY: promised by the caller.
                let found = unsafe { auth::tags::<N>(&jobs) };
                for (slot, tag) in group.iter().zip(found) {
                    tags[slot.index()] = tag;
                }
                rest = others;
            }
        }
    }
}

/// The length of a slot and its index, in one number, which sorts fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ranked(u64);

impl Ranked {
    fn new(len: usize, index: usize) -> Self {
        const { assert!(TOGETHER <= 1 << 16) };
        Ranked((len as u64) << 16 | index as u64)
    }

    fn len(self) -> usize {
        (self.0 >> 16) as usize
    }

    fn index(self) -> usize {
        self.0 as u16 as usize
    }
}

/// Messages of up to that many bytes have similar lengths.
const SHORT: usize = 32;

/// Whether all lanes should share the last and longest message of a group, rather than one lane take
/// each message.
fn is_long(group: &[Ranked], lanes: usize) -> bool {
    /// Where sharing is as good even with a similar message for each lane.
    const LONG: usize = 2048;
    /// What preparing to share costs, in bytes.
    const COST: usize = 512;
    let longest = group.last().map_or(0, |slot| slot.len());
    let busy = group.iter().filter(|slot| 2 * slot.len() >= longest).count();
    longest >= LONG || busy * (longest + COST) < lanes * longest
}

#[cfg(test)]
impl Workspace {
    fn is_wiped(&self) -> bool {
        self.firsts.is_wiped() && self.others.is_wiped()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::{Engine, StreamKey};

    #[test]
    fn no_keystream_outlives_a_call() {
        let lengths = [20, 45, 13, 256, 5000, 0, 20_000, 64];
        // One box, many, and more than are computed at once.
        for lengths in [&lengths[..1], &lengths, &lengths.repeat(100)] {
            let mut buffer = Vec::new();
            let mut slots = Vec::new();
            for (number, len) in (0..).zip(lengths.iter().copied()) {
                slots.push(Slot { number, start: buffer.len(), len, ..Slot::default() });
                buffer.resize(buffer.len() + len, 1);
            }
            for engine in Engine::available() {
                let key = StreamKey::with_engine(&[7; 32], &[8; 16], engine);
                let mut work = Workspace::default();
                key.seal(&mut work, &mut buffer, &mut slots);
                assert!(work.is_wiped(), "{engine:?} seals");
                assert_eq!(key.open(&mut work, &mut buffer, &slots), slots.len());
                assert!(work.is_wiped(), "{engine:?} opens");
                slots[lengths.len() / 2].tag[0] ^= 1;
                assert!(key.open(&mut work, &mut buffer, &slots) < slots.len());
                assert!(work.is_wiped(), "{engine:?} does not open");
            }
        }
    }

    #[test]
    fn a_message_outside_of_the_buffer_leaves_no_traces() {
        let good = Slot { number: 1, start: 0, len: 100, ..Slot::default() };
        for bad in [(100, 1), (99, 2), (101, 0), (usize::MAX, 2), (1, usize::MAX), (0, usize::MAX)]
        {
            let bad = Slot { number: 2, start: bad.0, len: bad.1, ..Slot::default() };
            for engine in Engine::available() {
                let key = StreamKey::with_engine(&[7; 32], &[8; 16], engine);
                let mut work = Workspace::default();
                let mut buffer = [1; 100];
                let mut slots = [good, bad];
                let seals = AssertUnwindSafe(|| key.seal(&mut work, &mut buffer, &mut slots));
                assert!(catch_unwind(seals).is_err(), "{bad:?}");
                let opens = AssertUnwindSafe(|| key.open(&mut work, &mut buffer, &slots));
                assert!(catch_unwind(opens).is_err(), "{bad:?}");
                assert_eq!((buffer, slots), ([1; 100], [good, bad]));
                assert!(work.is_wiped());
            }
        }
    }
}
