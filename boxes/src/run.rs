//! A run of boxes: keystream, then tags, of many at once.

use zeroize::Zeroize;

use super::auth::Job;
use super::bytes::{is_same, xor};
use super::slot::{KEY_SIZE, Slot, TAG_SIZE};
use super::stream::{BLOCK, Inputs};
use super::{Engine, StreamKey, portable};

/// Blocks of keystream that are computed before they are used.
const BLOCKS: usize = 256;
/// From this many bytes on a message is worth all lanes for its own tag.
const LONG: usize = 1024;
/// The lanes of the widest engine, for blocks.
const LANES: usize = 16;

/// What the boxes of a thread are computed in. Keystreams are wiped after each use.
#[derive(Debug, Default)]
pub struct Workspace {
    inputs: Inputs,
    stream: Vec<u8>,
    /// The numbers of slots, in the order of their lengths.
    order: Vec<usize>,
    tags: Vec<[u8; TAG_SIZE]>,
}

impl StreamKey {
    /// Encrypts the messages of `slots` in place and sets their tags.
    ///
    /// # Panics
    /// When a message is not within `buffer`.
    pub fn seal(&self, work: &mut Workspace, buffer: &mut [u8], slots: &mut [Slot]) {
        let mut rest = slots;
        while !rest.is_empty() {
            let (chunk, behind) = rest.split_at_mut(self.chunk(rest));
            if let [slot] = chunk
                && self.is_long(slot)
            {
                portable::seal(self, buffer, slot);
            } else {
                self.keystream(work, chunk);
                self.xor_all(work, buffer, chunk);
                self.tags(work, buffer, chunk);
                for (slot, tag) in chunk.iter_mut().zip(&work.tags) {
                    slot.tag = *tag;
                }
                work.wipe();
            }
            rest = behind;
        }
    }

    /// Decrypts the messages of `slots` in place, up to the first that is not genuine: that one and
    /// those behind it stay as they are. Returns how many were decrypted.
    ///
    /// # Panics
    /// When a message is not within `buffer`.
    pub fn open(&self, work: &mut Workspace, buffer: &mut [u8], slots: &[Slot]) -> usize {
        let mut opened = 0;
        while opened < slots.len() {
            let rest = &slots[opened..];
            let chunk = &rest[..self.chunk(rest)];
            let good;
            if let [slot] = chunk
                && self.is_long(slot)
            {
                good = usize::from(portable::open(self, buffer, slot));
            } else {
                self.keystream(work, chunk);
                self.tags(work, buffer, chunk);
                let is_bad = |(slot, tag): (&Slot, &[u8; 16])| !is_same(tag, &slot.tag);
                good = chunk.iter().zip(&work.tags).position(is_bad).unwrap_or(chunk.len());
                self.xor_all(work, buffer, &chunk[..good]);
                work.wipe();
            }
            opened += good;
            if good < chunk.len() {
                break;
            }
        }
        opened
    }

    /// How many of the first slots are computed at once: their keystreams have room. A long one comes
    /// alone.
    fn chunk(&self, slots: &[Slot]) -> usize {
        let mut blocks = 0;
        let fits = |slot: &&Slot| {
            blocks += slot.blocks();
            blocks <= BLOCKS && !self.is_long(slot)
        };
        slots.iter().take_while(fits).count().max(1)
    }

    /// Whether libsodium, which goes wide within one message, is the better choice for it.
    fn is_long(&self, slot: &Slot) -> bool {
        let from = match self.engine() {
            Engine::Avx512 => 12 * 1024,
            Engine::Avx2 => 3 * 1024,
            Engine::Portable => 0,
        };
        slot.len >= from
    }
}

impl StreamKey {
    /// Computes the keystreams of slots, one after the other.
    fn keystream(&self, work: &mut Workspace, slots: &[Slot]) {
        work.inputs.clear();
        for slot in slots {
            work.inputs.push(slot.number, 0, slot.blocks() as u32);
        }
        self.blocks(work);
    }

    /// Computes the blocks of the inputs.
    fn blocks(&self, work: &mut Workspace) {
        work.inputs.pad(LANES / 2);
        work.stream.resize(work.stream.len().max((BLOCKS + LANES) * BLOCK), 0);
        assert!(work.inputs.len() * BLOCK <= work.stream.len());
        let to = work.stream.as_mut_ptr();
        match self.engine() {
            // SAFETY: a key's engine is one that this machine has; `stream` is large enough.
            #[cfg(target_arch = "x86_64")]
            Engine::Avx512 => unsafe {
                super::avx512::keystream(self.words(), &work.inputs, to);
            },
            // SAFETY: the same.
            #[cfg(target_arch = "x86_64")]
            Engine::Avx2 => unsafe { super::avx2::keystream(self.words(), &work.inputs, to) },
            _ => unreachable!("libsodium is called box by box"),
        }
    }

    /// Encrypts or decrypts messages with their keystreams in `work`.
    fn xor_all(&self, work: &Workspace, buffer: &mut [u8], slots: &[Slot]) {
        let mut at = 0;
        for slot in slots {
            let stream = &work.stream[at + KEY_SIZE..][..slot.len];
            self.xor(&mut buffer[slot.message()], stream);
            at += slot.blocks() * BLOCK;
        }
    }

    /// Computes the tags of messages as they are in the buffer. Their keystreams are in `work`.
    fn tags(&self, work: &mut Workspace, buffer: &[u8], slots: &[Slot]) {
        let Workspace { stream, order, tags, .. } = work;
        tags.clear();
        tags.resize(slots.len(), [0; TAG_SIZE]);
        // Lanes of similar lengths wait little for one another.
        order.clear();
        order.extend(0..slots.len());
        order.sort_unstable_by_key(|index| std::cmp::Reverse(slots[*index].len));
        let mut firsts = [0; BLOCKS];
        let mut at = 0;
        for (first, slot) in firsts.iter_mut().zip(slots) {
            *first = at;
            at += slot.blocks() * BLOCK;
        }
        let lanes = if self.engine() == Engine::Avx512 { 8 } else { 4 };
        let mut rest = order.as_slice();
        while let [first, ..] = rest {
            let is_long = slots[*first].len >= LONG;
            let count = if is_long { 1 } else { rest.len().min(lanes) };
            let (group, behind) = rest.split_at(count);
            let mut jobs: [Job<'_>; 8] = std::array::from_fn(|lane| {
                let index = group[lane.min(count - 1)];
                let message = &buffer[slots[index].message()];
                Job { key: key_at(stream, firsts[index]), message, tag: [0; TAG_SIZE] }
            });
            if is_long {
                self.long_tag(&mut jobs[0]);
            } else {
                self.lane_tags(&mut jobs[..count]);
            }
            for (index, job) in group.iter().zip(&jobs) {
                tags[*index] = job.tag;
            }
            rest = behind;
        }
    }

    fn lane_tags(&self, jobs: &mut [Job<'_>]) {
        match self.engine() {
            // SAFETY: a key's engine is one that this machine has.
            #[cfg(target_arch = "x86_64")]
            Engine::Avx512 => unsafe { super::avx512::tags(jobs) },
            // SAFETY: the same.
            #[cfg(target_arch = "x86_64")]
            Engine::Avx2 => unsafe { super::avx2::tags(jobs) },
            _ => unreachable!("libsodium is called box by box"),
        }
    }

    fn long_tag(&self, job: &mut Job<'_>) {
        match self.engine() {
            // SAFETY: a key's engine is one that this machine has.
            #[cfg(target_arch = "x86_64")]
            Engine::Avx512 => unsafe { super::avx512::long_tag(job) },
            // SAFETY: the same.
            #[cfg(target_arch = "x86_64")]
            Engine::Avx2 => unsafe { super::avx2::long_tag(job) },
            _ => unreachable!("libsodium is called box by box"),
        }
    }

    fn xor(&self, bytes: &mut [u8], stream: &[u8]) {
        match self.engine() {
            // SAFETY: whoever has AVX-512 has AVX2, and a key's engine is one that this machine has.
            #[cfg(target_arch = "x86_64")]
            Engine::Avx512 | Engine::Avx2 => unsafe { super::avx2::xor(bytes, stream) },
            _ => xor(bytes, stream),
        }
    }
}

impl Workspace {
    fn wipe(&mut self) {
        let used = self.inputs.len() * BLOCK;
        self.stream[..used].zeroize();
    }
}

fn key_at(stream: &[u8], at: usize) -> &[u8; KEY_SIZE] {
    stream[at..].first_chunk().expect("each keystream begins with a one-time key")
}
