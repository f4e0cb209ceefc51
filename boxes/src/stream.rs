//! Salsa20 blocks, as many at once as a vector has lanes.

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

/// The input of blocks: which number each box has, and which block of it is meant. Structures of
/// arrays, since lanes are loaded from them.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    /// The last 8 bytes of the nonce, as two words.
    pub(crate) nonce: [Vec<u32>; 2],
    /// The counter; no box has 2^32 blocks.
    pub(crate) counter: Vec<u32>,
}

impl Inputs {
    pub(crate) fn clear(&mut self) {
        self.nonce.iter_mut().for_each(Vec::clear);
        self.counter.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.counter.len()
    }

    /// Adds `count` blocks of a box, from block `first` on.
    pub(crate) fn push(&mut self, number: u64, first: u32, count: u32) {
        let count = count as usize;
        let len = self.len() + count;
        self.nonce[0].resize(len, ((number >> 32) as u32).swap_bytes());
        self.nonce[1].resize(len, (number as u32).swap_bytes());
        self.counter.extend(first..first + count as u32);
    }

    /// Adds blocks that nobody needs, so that the number is a multiple of `lanes`.
    pub(crate) fn pad(&mut self, lanes: usize) {
        let len = self.len().next_multiple_of(lanes);
        self.nonce.iter_mut().for_each(|words| words.resize(len, 0));
        self.counter.resize(len, 0);
    }
}

/// A vector of 32-bit words.
///
/// # Safety
/// The machine has the instructions.
pub(crate) unsafe trait Words: Word {
    /// Words in it.
    const LANES: usize;
    unsafe fn splat(word: u32) -> Self;
    /// Reads [`Words::LANES`] words.
    unsafe fn load(from: *const u32) -> Self;
    /// Writes the 16 words of each lane one after the other: [`Words::LANES`] blocks.
    unsafe fn store_blocks(x: &[Self; 16], to: *mut u8);
}

/// Computes [`Words::LANES`] blocks, those of `inputs` from `at` on, and writes them to `to`.
///
/// # Safety
/// The machine has the instructions; `inputs` and `to` have that many blocks.
#[inline(always)]
pub(crate) unsafe fn blocks<W: Words>(key: &[u32; 8], inputs: &Inputs, at: usize, to: *mut u8) {
    debug_assert!(at + W::LANES <= inputs.len());
    // SAFETY: the caller promises that the machine has the instructions and that there are blocks.
    unsafe {
        let zero = W::splat(0);
        let mut input = [zero; 16];
        for index in 0..4 {
            input[5 * index] = W::splat(CONSTANTS[index]);
            input[1 + index] = W::splat(key[index]);
            input[11 + index] = W::splat(key[4 + index]);
        }
        input[6] = W::load(inputs.nonce[0].as_ptr().add(at));
        input[7] = W::load(inputs.nonce[1].as_ptr().add(at));
        input[8] = W::load(inputs.counter.as_ptr().add(at));
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
