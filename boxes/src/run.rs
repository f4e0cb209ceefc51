//! A run of boxes: keystreams, then tags, of many at once.

use zmq_sys::sodium::Salsa20;

use super::auth::{self, Job, Limbs, WIDEST};
use super::bytes::{is_same, xor};
use super::slot::{KEY_SIZE, Slot, TAG_SIZE};
use super::stream::{BLOCK, BLOCKS, Keystreams, Words};

/// What the boxes of a thread are computed in. Keystreams are wiped after each use.
#[derive(Debug, Default)]
pub struct Workspace {
    streams: Box<Keystreams>,
    /// Where the keystream of each slot begins.
    firsts: Vec<usize>,
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
    type Limbs: Limbs;
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
    let mut rest = slots;
    while !rest.is_empty() {
        let count = work.lay_out(rest);
        let (chunk, behind) = rest.split_at_mut(count);
        // SAFETY: promised by the caller.
        unsafe {
            work.streams.compute::<V::Wide, V::Narrow>(key);
            xor_all(key, work, buffer, chunk);
            work.compute_tags::<V::Limbs>(buffer, chunk);
        }
        for (slot, tag) in chunk.iter_mut().zip(&work.tags) {
            slot.tag = *tag;
        }
        rest = behind;
    }
    work.streams.wipe();
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
    while opened < slots.len() {
        let rest = &slots[opened..];
        let chunk = &rest[..work.lay_out(rest)];
        // SAFETY: promised by the caller.
        unsafe {
            work.streams.compute::<V::Wide, V::Narrow>(key);
            work.compute_tags::<V::Limbs>(buffer, chunk);
        }
        let is_bad = |(slot, tag): (&Slot, &[u8; TAG_SIZE])| !is_same(tag, &slot.tag);
        let good = chunk.iter().zip(&work.tags).position(is_bad).unwrap_or(chunk.len());
        xor_all(key, work, buffer, &chunk[..good]);
        opened += good;
        if good < chunk.len() {
            break;
        }
    }
    work.streams.wipe();
    opened
}

/// Encrypts or decrypts messages with the keystreams that were laid out for them.
#[inline(always)]
fn xor_all(key: &[u8; 32], work: &Workspace, buffer: &mut [u8], slots: &[Slot]) {
    for (slot, first) in slots.iter().zip(&work.firsts) {
        let message = &mut buffer[slot.message()];
        let stream = &work.streams.bytes()[first + KEY_SIZE..];
        let direct = slot.direct_blocks() * BLOCK;
        if direct == 0 {
            xor(message, stream);
        } else {
            let (head, rest) = message.split_at_mut(BLOCK - KEY_SIZE);
            let (middle, tail) = rest.split_at_mut(direct);
            xor(head, stream);
            Salsa20 { key, nonce: slot.number.to_be_bytes() }.xor(middle, 1);
            xor(tail, &stream[head.len()..]);
        }
    }
}

impl Workspace {
    /// Says which keystreams are to be computed: those of as many of the first slots as there is
    /// room for. Returns how many slots that are.
    #[inline(always)]
    fn lay_out(&mut self, slots: &[Slot]) -> usize {
        self.streams.clear();
        self.firsts.clear();
        for slot in slots {
            let (all, direct) = (slot.blocks(), slot.direct_blocks());
            if self.streams.is_full(all - direct) {
                break;
            }
            let (all, direct) = (all as u32, direct as u32);
            self.firsts.push(if direct == 0 {
                self.streams.push(slot.number, 0..all)
            } else {
                let first = self.streams.push(slot.number, 0..1);
                self.streams.push(slot.number, 1 + direct..all);
                first
            });
        }
        self.firsts.len()
    }

    /// Computes the tags of messages as they are in the buffer.
    ///
    /// # Safety
    /// The machine has the instructions.
    #[inline(always)]
    unsafe fn compute_tags<L: Limbs>(&mut self, buffer: &[u8], slots: &[Slot]) {
        let Workspace { streams, firsts, order, tags } = self;
        let streams = streams.bytes();
        let job = |index: usize| Job {
            key: streams[firsts[index]..].first_chunk().expect("a stream begins with a key"),
            message: &buffer[slots[index].message()],
        };
        tags.resize(slots.len(), [0; TAG_SIZE]);
        // Lanes of similar lengths wait little for one another.
        order.clear();
        order.extend(slots.iter().enumerate().map(|(index, slot)| Ranked::new(slot.len, index)));
        order.sort_unstable();
        let mut rest = order.as_slice();
        while let Some((longest, shorter)) = rest.split_last() {
            let (others, group) = rest.split_at(rest.len().saturating_sub(L::LANES));
            if is_long(group, L::LANES) {
                // SAFETY: promised by the caller.
                tags[longest.index()] = unsafe { auth::long_tag::<L>(job(longest.index())) };
                rest = shorter;
            } else {
                let mut jobs = [job(longest.index()); WIDEST];
                for (job_of_lane, slot) in jobs.iter_mut().zip(group) {
                    *job_of_lane = job(slot.index());
                }
                // SAFETY: promised by the caller.
                let found = unsafe { auth::tags::<L>(&jobs) };
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
        const { assert!(BLOCKS <= 1 << 16) };
        Ranked((len as u64) << 16 | index as u64)
    }

    fn len(self) -> usize {
        (self.0 >> 16) as usize
    }

    fn index(self) -> usize {
        self.0 as u16 as usize
    }
}

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
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::{Engine, StreamKey};

    #[test]
    fn no_keystream_outlives_a_call() {
        let lengths = [20, 45, 13, 256, 5000, 0, 20_000, 64];
        let ends = lengths.iter().scan(0, |end, len| {
            *end += len;
            Some(*end)
        });
        let slots: Vec<Slot> = (0..)
            .zip(lengths.iter().zip(ends))
            .map(|(number, (len, end))| Slot { number, start: end - len, len: *len, tag: [0; 16] })
            .collect();
        // One box, many, and more than are computed at once.
        for slots in [&slots[..1], &slots, &slots.repeat(100)] {
            for engine in Engine::available() {
                let key = StreamKey::with_engine(&[7; 32], &[8; 16], engine);
                let mut work = Workspace::default();
                let mut slots = slots.to_vec();
                let mut buffer = vec![1; lengths.iter().sum()];
                key.seal(&mut work, &mut buffer, &mut slots);
                assert!(work.streams.is_wiped(), "{engine:?} seals");
                // Those that are sealed more than once are forgeries to whoever opens them.
                let opened = key.open(&mut work, &mut buffer, &slots);
                assert_eq!(opened == slots.len(), slots.len() <= lengths.len());
                assert!(work.streams.is_wiped(), "{engine:?} opens");
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
                assert!(work.streams.is_wiped());
            }
        }
    }
}
