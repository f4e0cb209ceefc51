//! Salsa20 blocks, as many at once as a vector has lanes.

use std::ops::Range;

use zeroize::Zeroize;

/// "expand 32-byte k", the words on the diagonal.
pub(crate) const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// Bytes of a block.
pub(crate) const BLOCK: usize = 64;

/// A word of the state, or a vector of words.
///
/// # Safety
/// The machine has the instructions. The methods are inlined in any case: calls between functions
/// of different target features would cost more than they do.
pub(crate) unsafe trait Word: Copy {
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn xor(self, other: Self) -> Self;
    /// By 7, 9, 13 or 18 bits to the left.
    unsafe fn rotate<const BY: i32>(self) -> Self;
}

// SAFETY: every machine has these.
unsafe impl Word for u32 {
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.wrapping_add(other)
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        self ^ other
    }

    #[inline(always)]
    unsafe fn rotate<const BY: i32>(self) -> Self {
        self.rotate_left(BY.cast_unsigned())
    }
}

/// Two rounds.
///
/// # Safety
/// The machine has the instructions.
#[inline(always)]
pub(crate) unsafe fn double_round<W: Word>(x: &mut [W; 16]) {
    // SAFETY: promised by the caller.
    unsafe {
        // Columns, then rows.
        quarter::<W, 0, 4, 8, 12>(x);
        quarter::<W, 5, 9, 13, 1>(x);
        quarter::<W, 10, 14, 2, 6>(x);
        quarter::<W, 15, 3, 7, 11>(x);
        quarter::<W, 0, 1, 2, 3>(x);
        quarter::<W, 5, 6, 7, 4>(x);
        quarter::<W, 10, 11, 8, 9>(x);
        quarter::<W, 15, 12, 13, 14>(x);
    }
}

#[inline(always)]
unsafe fn quarter<W: Word, const A: usize, const B: usize, const C: usize, const D: usize>(
    x: &mut [W; 16],
) {
    // SAFETY: promised by the caller.
    unsafe {
        x[B] = x[B].xor(x[A].add(x[D]).rotate::<7>());
        x[C] = x[C].xor(x[B].add(x[A]).rotate::<9>());
        x[D] = x[D].xor(x[C].add(x[B]).rotate::<13>());
        x[A] = x[A].xor(x[D].add(x[C]).rotate::<18>());
    }
}

/// The word with that index.
#[inline(always)]
pub(crate) fn word(bytes: &[u8], index: usize) -> u32 {
    u32::from_le_bytes([0, 1, 2, 3].map(|byte| bytes[4 * index + byte]))
}

/// A vector of 32-bit words.
///
/// # Safety
/// Methods may be called where the machine has the instructions, with pointers to all that they read or
/// write: [`Words::LANES`] words, or as many blocks of 64 bytes, without any alignment.
pub(crate) unsafe trait Words: Word {
    /// Words in it.
    const LANES: usize;
    unsafe fn splat(word: u32) -> Self;
    /// Reads [`Words::LANES`] words.
    unsafe fn load(from: *const u32) -> Self;
    /// Writes the 16 words of each lane one after the other: [`Words::LANES`] blocks.
    unsafe fn store_blocks(x: &[Self; 16], to: *mut u8);
}

/// Computes a block in each lane and writes them to `to`, one after the other.
///
/// # Safety
/// The machine has the instructions; `to` is as long as that.
#[inline(always)]
unsafe fn blocks<W: Words>(key: &[u8; 32], nonce: [W; 2], counter: W, to: *mut u8) {
    // SAFETY: promised by the caller.
    unsafe {
        let mut input = [W::splat(0); 16];
        for index in 0..4 {
            input[5 * index] = W::splat(CONSTANTS[index]);
            input[1 + index] = W::splat(word(key, index));
            input[11 + index] = W::splat(word(key, 4 + index));
        }
        [input[6], input[7], input[8]] = [nonce[0], nonce[1], counter];
        let mut x = input;
        for _ in 0..10 {
            double_round(&mut x);
        }
        for index in 0..16 {
            x[index] = x[index].add(input[index]);
        }
        W::store_blocks(&x, to);
    }
}

/// Keystreams of many boxes, one after the other: up to `BLOCKS` blocks.
#[derive(Debug)]
pub(crate) struct Keystreams<const BLOCKS: usize> {
    /// Which blocks they are: the number of the box, and the counter. Structures of arrays, since
    /// vectors are loaded from them.
    nonce: [[u32; BLOCKS]; 2],
    counter: [u32; BLOCKS],
    /// How many are in use, now and since the last [`Keystreams::wipe`].
    len: usize,
    most: usize,
    blocks: [Block; BLOCKS],
}

/// A block, aligned as a line of the cache.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Block([u64; BLOCK / 8]);

impl<const BLOCKS: usize> Default for Keystreams<BLOCKS> {
    fn default() -> Self {
        Keystreams {
            nonce: [[0; BLOCKS]; 2],
            // No box has 2^32 blocks.
            counter: [0; BLOCKS],
            len: 0,
            most: 0,
            // It is boxed as it is made.
            #[allow(clippy::large_stack_arrays)]
            blocks: [Block([0; BLOCK / 8]); BLOCKS],
        }
    }
}

impl<const BLOCKS: usize> Keystreams<BLOCKS> {
    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// Whether there is no room for that many more.
    pub(crate) fn is_full(&self, more: usize) -> bool {
        self.len + more > BLOCKS
    }

    /// Adds blocks of a box.
    #[inline(always)]
    pub(crate) fn push(&mut self, number: u64, counters: Range<u32>) {
        let start = self.len;
        self.len += counters.len();
        let [high, low] = [(number >> 32) as u32, number as u32].map(u32::swap_bytes);
        self.nonce[0][start..self.len].fill(high);
        self.nonce[1][start..self.len].fill(low);
        for (word, counter) in self.counter[start..self.len].iter_mut().zip(counters) {
            *word = counter;
        }
    }

    /// Computes the blocks, in vectors of `Wide`, and the last ones in one of `Narrow` if that has
    /// room for them.
    ///
    /// # Safety
    /// The machine has the instructions.
    #[inline(always)]
    pub(crate) unsafe fn compute<Wide: Words, Narrow: Words>(&mut self, key: &[u8; 32]) {
        const {
            assert!(BLOCKS.is_multiple_of(Wide::LANES));
            assert!(Wide::LANES.is_multiple_of(Narrow::LANES));
        }
        let mut at = 0;
        // SAFETY: the caller promises the instructions. `at` is a multiple of the lanes, as is the size
        // of the arrays.
        unsafe {
            while at < self.len {
                if self.len - at > Narrow::LANES {
                    self.compute_at::<Wide>(key, at);
                    at += Wide::LANES;
                } else {
                    self.compute_at::<Narrow>(key, at);
                    at += Narrow::LANES;
                }
            }
        }
        self.most = self.most.max(at);
    }

    /// # Safety
    /// The machine has the instructions, and there are that many blocks from `at` on.
    #[inline(always)]
    unsafe fn compute_at<W: Words>(&mut self, key: &[u8; 32], at: usize) {
        debug_assert!(at + W::LANES <= BLOCKS);
        // SAFETY: promised by the caller.
        unsafe {
            let [high, low] = &self.nonce;
            let nonce = [W::load(high.as_ptr().add(at)), W::load(low.as_ptr().add(at))];
            let counter = W::load(self.counter.as_ptr().add(at));
            blocks::<W>(key, nonce, counter, self.blocks.as_mut_ptr().add(at).cast());
        }
    }

    /// The blocks.
    pub(crate) fn bytes(&self) -> &[u8] {
        let blocks = &self.blocks[..self.len];
        // SAFETY: blocks are bytes without gaps.
        unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast(), blocks.len() * BLOCK) }
    }

    /// Whether nothing is left of any block.
    #[cfg(test)]
    pub(crate) fn is_wiped(&self) -> bool {
        self.blocks.iter().all(|block| block.0 == [0; BLOCK / 8])
    }

    /// Wipes the blocks from memory.
    pub(crate) fn wipe(&mut self) {
        for block in &mut self.blocks[..self.most] {
            block.0.zeroize();
        }
        (self.len, self.most) = (0, 0);
    }
}
