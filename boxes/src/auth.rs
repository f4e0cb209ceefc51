//! Poly1305 (RFC 8439 §2.5), of as many messages at once as a vector has lanes, or of one long
//! message in as many interleaved parts.
//!
//! How numbers modulo 2^130 - 5 are taken apart is the business of [`Number`]: `limbs26`, `limbs44`.

use zeroize::{Zeroize, Zeroizing};

use super::slot::{KEY_SIZE, TAG_SIZE};

/// Bytes of a block.
const BLOCK: usize = 16;
/// What lanes read whose message has not begun.
const NOTHING: [u8; BLOCK] = [0; BLOCK];
/// The bits that a multiplier may have, in each half.
const CLAMP: [u64; 2] = [0x0fff_fffc_0fff_ffff, 0x0fff_fffc_0fff_fffc];

/// A message and its one-time key.
#[derive(Clone, Copy)]
pub(crate) struct Job<'a> {
    pub(crate) key: &'a [u8; KEY_SIZE],
    pub(crate) message: &'a [u8],
}

/// A vector of limbs, or of products of limbs.
///
/// # Safety
/// Methods may be called where the machine has the instructions, with pointers to all that they read or
/// write: [`Limbs::LANES`] limbs, aligned as such, or as many blocks of 16 bytes, which need not be.
pub(crate) unsafe trait Limbs: Copy {
    /// Limbs in it.
    const LANES: usize;
    /// Which of the consecutive blocks that [`Limbs::load_blocks`] reads each lane gets.
    const ORDER: &'static [usize];
    unsafe fn splat(limb: u64) -> Self;
    unsafe fn load(from: *const u64) -> Self;
    unsafe fn store(self, to: *mut u64);
    unsafe fn add(self, other: Self) -> Self;
    /// Multiplies the lower 32 bits.
    unsafe fn multiply(self, other: Self) -> Self;
    unsafe fn and(self, other: Self) -> Self;
    unsafe fn or(self, other: Self) -> Self;
    /// Flips every bit.
    unsafe fn flip(self) -> Self;
    unsafe fn right<const BY: u32>(self) -> Self;
    unsafe fn left<const BY: u32>(self) -> Self;
    /// The lower and the upper 8 bytes of a block for each lane. Pointers of further lanes are not used.
    unsafe fn gather(from: &[*const u8; WIDEST]) -> [Self; 2];
    /// The same, of consecutive blocks.
    unsafe fn load_blocks(from: *const u8) -> [Self; 2];
}

/// The lanes of the widest vector.
pub(crate) const WIDEST: usize = 8;

/// Limbs that can be multiplied by 52 bits at a time.
///
/// # Safety
/// As with [`Limbs`].
pub(crate) unsafe trait WideLimbs: Limbs {
    /// Adds the lower 52 bits of a product of 52 bits each.
    unsafe fn add_low(self, a: Self, b: Self) -> Self;
    /// Adds the bits above those.
    unsafe fn add_high(self, a: Self, b: Self) -> Self;
}

/// A number modulo 2^130 - 5 in each lane, as some vectors of limbs. Products of limbs are added up
/// before they are carried, and between blocks limbs may be a little larger than they should be.
///
/// # Safety
/// Methods may be called where the machine has the instructions.
pub(crate) unsafe trait Number: Copy {
    type Vector: Limbs;
    /// A number with what multiplication by it needs besides.
    type Multiplier;
    /// The same form in one lane.
    type One: Number<Vector = u64> + Zeroize;
    /// The bit above the 16 bytes of a full block, in the highest limb.
    const ABOVE: u64;
    const LANES: usize = Self::Vector::LANES;
    /// From its limbs, the lowest first.
    unsafe fn from_limbs(limb: impl FnMut(usize) -> Self::Vector) -> Self;
    fn limb(&self, index: usize) -> Self::Vector;
    /// From its lower and upper halves; `above` is what is above them.
    unsafe fn new(halves: [Self::Vector; 2], above: Self::Vector) -> Self;
    unsafe fn plus(self, other: Self) -> Self;
    /// Makes limbs as small as they should be, or nearly.
    unsafe fn carry(self) -> Self;
    unsafe fn multiplier(self) -> Self::Multiplier;
    unsafe fn times(self, multiplier: &Self::Multiplier) -> Self;
    /// Reduces sums completely and adds the upper halves of the one-time keys. Returns the halves of
    /// the tags.
    unsafe fn finish(self, keys: [Self::Vector; 2]) -> [Self::Vector; 2];
}

/// Zero in each lane.
#[inline(always)]
unsafe fn zero<N: Number>() -> N {
    // SAFETY: promised by the caller.
    unsafe { N::from_limbs(|_| N::Vector::splat(0)) }
}

/// The multipliers of one-time keys, from the halves of their first 16 bytes.
#[inline(always)]
unsafe fn of_keys<N: Number>([low, high]: [N::Vector; 2]) -> N {
    // SAFETY: promised by the caller.
    unsafe {
        let [low, high] =
            [low.and(N::Vector::splat(CLAMP[0])), high.and(N::Vector::splat(CLAMP[1]))];
        N::new([low, high], N::Vector::splat(0))
    }
}

/// Adds a block to the sum, and multiplies.
#[inline(always)]
unsafe fn absorb<N: Number>(
    sum: N,
    multiplier: &N::Multiplier,
    block: [N::Vector; 2],
    above: N::Vector,
) -> N {
    // SAFETY: promised by the caller.
    unsafe { sum.plus(N::new(block, above)).times(multiplier) }
}

/// A number of each lane.
#[inline(always)]
unsafe fn of_lanes<N: Number>(lanes: &[N::One; WIDEST]) -> N {
    // SAFETY: promised by the caller; the arrays are as long as the widest vector.
    unsafe {
        N::from_limbs(|index| {
            let limbs: [u64; WIDEST] = std::array::from_fn(|lane| lanes[lane].limb(index));
            N::Vector::load(limbs.as_ptr())
        })
    }
}

/// The number of a lane.
#[inline(always)]
unsafe fn lane_of<N: Number>(number: N, lane: usize) -> N::One {
    // SAFETY: promised by the caller.
    unsafe { N::One::from_limbs(|index| words_of(number.limb(index))[lane]) }
}

/// The values of each lane.
#[inline(always)]
unsafe fn words_of<V: Limbs>(vector: V) -> [u64; WIDEST] {
    let mut words = [0; WIDEST];
    // SAFETY: promised by the caller; the array is as long as the widest vector.
    unsafe { vector.store(words.as_mut_ptr()) }
    words
}

// SAFETY: every machine has these.
unsafe impl Limbs for u64 {
    const LANES: usize = 1;
    const ORDER: &'static [usize] = &[0];

    #[inline(always)]
    unsafe fn splat(limb: u64) -> Self {
        limb
    }

    #[inline(always)]
    unsafe fn load(from: *const u64) -> Self {
        // SAFETY: promised by the caller.
        unsafe { *from }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u64) {
        // SAFETY: promised by the caller.
        unsafe { *to = self }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.wrapping_add(other)
    }

    #[inline(always)]
    unsafe fn multiply(self, other: Self) -> Self {
        // Limbs have no other bits.
        self.wrapping_mul(other)
    }

    #[inline(always)]
    unsafe fn and(self, other: Self) -> Self {
        self & other
    }

    #[inline(always)]
    unsafe fn or(self, other: Self) -> Self {
        self | other
    }

    #[inline(always)]
    unsafe fn flip(self) -> Self {
        !self
    }

    #[inline(always)]
    unsafe fn right<const BY: u32>(self) -> Self {
        self >> BY
    }

    #[inline(always)]
    unsafe fn left<const BY: u32>(self) -> Self {
        self << BY
    }

    #[inline(always)]
    unsafe fn gather(from: &[*const u8; WIDEST]) -> [Self; 2] {
        // SAFETY: promised by the caller.
        unsafe { Self::load_blocks(from[0]) }
    }

    #[inline(always)]
    unsafe fn load_blocks(from: *const u8) -> [Self; 2] {
        // SAFETY: promised by the caller.
        unsafe { from.cast::<[u64; 2]>().read_unaligned() }.map(u64::from_le)
    }
}

// SAFETY: every machine has these.
unsafe impl WideLimbs for u64 {
    #[inline(always)]
    unsafe fn add_low(self, a: Self, b: Self) -> Self {
        self.wrapping_add(a.wrapping_mul(b) & ((1 << 52) - 1))
    }

    #[inline(always)]
    unsafe fn add_high(self, a: Self, b: Self) -> Self {
        self.wrapping_add(((u128::from(a) * u128::from(b)) >> 52) as u64)
    }
}

fn tag_of([low, high]: [u64; 2]) -> [u8; TAG_SIZE] {
    (u128::from(low) | u128::from(high) << 64).to_le_bytes()
}

/// The last block of a message, padded with a one and zeros if it is not a full one, and what is
/// above it: `full` or nothing. Nothing at all, if the message is empty.
#[inline(always)]
fn last_block(message: &[u8], full: u64) -> ([u8; BLOCK], u64) {
    let rest = message.len() % BLOCK;
    let block = match message.last_chunk() {
        Some(last) if rest == 0 => return (*last, full),
        Some(last) => u128::from_le_bytes(*last) >> (8 * (BLOCK - rest)),
        None if rest == 0 => return (NOTHING, 0),
        None => short(message),
    };
    ((block | 1 << (8 * rest)).to_le_bytes(), 0)
}

/// The number that 1 to 15 bytes are: from two pieces, which may overlap.
#[inline(always)]
fn short(bytes: &[u8]) -> u128 {
    fn number<const N: usize>(bytes: &[u8]) -> u128 {
        bytes[..N].iter().rev().fold(0, |number, byte| number << 8 | u128::from(*byte))
    }
    let len = bytes.len();
    match len {
        8.. => number::<8>(bytes) | number::<8>(&bytes[len - 8..]) << (8 * (len - 8)),
        4.. => number::<4>(bytes) | number::<4>(&bytes[len - 4..]) << (8 * (len - 4)),
        2.. => number::<2>(bytes) | number::<2>(&bytes[len - 2..]) << (8 * (len - 2)),
        _ => number::<1>(bytes),
    }
}

/// Computes the tags of a message in each lane, best of similar lengths.
///
/// # Safety
/// The machine has the instructions.
#[inline(always)]
pub(crate) unsafe fn tags<N: Number>(jobs: &[Job<'_>; WIDEST]) -> [[u8; TAG_SIZE]; WIDEST] {
    let mut lanes = [Lane::NONE; WIDEST];
    let (mut most, mut least) = (0, usize::MAX);
    for (lane, job) in lanes.iter_mut().zip(jobs).take(N::LANES) {
        *lane = Lane::new(job, N::ABOVE);
        (most, least) = (most.max(lane.blocks), least.min(lane.blocks));
    }
    let mut from = [NOTHING.as_ptr(); WIDEST];
    let mut above = [0; WIDEST];
    // SAFETY: the caller promises the instructions. Each pointer is to a whole block: of a key, of a
    // message, of a lane or of `NOTHING`.
    unsafe {
        for (from, job) in from.iter_mut().zip(jobs) {
            *from = job.key.as_ptr();
        }
        let multiplier = of_keys::<N>(N::Vector::gather(&from)).multiplier();
        let mut h = zero::<N>();
        // All messages end together. A lane whose message has not begun adds nothing to zero.
        for step in 0..most - least {
            for (index, lane) in lanes.iter().enumerate() {
                let begun = (step + lane.blocks).checked_sub(most);
                (from[index], above[index]) = match begun {
                    Some(block) => (lane.message.add(block * BLOCK), N::ABOVE),
                    None => (NOTHING.as_ptr(), 0),
                };
            }
            h = absorb(h, &multiplier, N::Vector::gather(&from), N::Vector::load(above.as_ptr()));
        }
        for (from, lane) in from.iter_mut().zip(&lanes).take(N::LANES) {
            *from = lane.message.wrapping_add((lane.blocks - least) * BLOCK);
        }
        let full = N::Vector::splat(N::ABOVE);
        for _ in 1..least {
            h = absorb(h, &multiplier, N::Vector::gather(&from), full);
            for from in &mut from {
                *from = from.wrapping_add(BLOCK);
            }
        }
        for (index, lane) in lanes.iter().enumerate() {
            (from[index], above[index]) = (lane.last.as_ptr(), lane.above_last);
        }
        h = absorb(h, &multiplier, N::Vector::gather(&from), N::Vector::load(above.as_ptr()));
        for (from, job) in from.iter_mut().zip(jobs) {
            *from = job.key[BLOCK..].as_ptr();
        }
        let [low, high] = h.finish(N::Vector::gather(&from));
        let (low, high) = (words_of(low), words_of(high));
        std::array::from_fn(|lane| tag_of([low[lane], high[lane]]))
    }
}

/// The message of a lane.
#[derive(Clone, Copy)]
struct Lane {
    message: *const u8,
    /// Its blocks, one even if it is empty.
    blocks: usize,
    last: [u8; BLOCK],
    above_last: u64,
}

impl Lane {
    const NONE: Lane = Lane { message: NOTHING.as_ptr(), blocks: 1, last: NOTHING, above_last: 0 };

    #[inline(always)]
    fn new(job: &Job<'_>, full: u64) -> Self {
        let (last, above_last) = last_block(job.message, full);
        let blocks = job.message.len().div_ceil(BLOCK).max(1);
        Lane { message: job.message.as_ptr(), blocks, last, above_last }
    }
}

/// Computes the tag of one message, whose blocks the lanes share out.
///
/// # Safety
/// The machine has the instructions.
#[inline(always)]
pub(crate) unsafe fn long_tag<N: Number>(job: Job<'_>) -> [u8; TAG_SIZE] {
    let Job { key, message } = job;
    let rounds = message.len() / (BLOCK * N::LANES);
    let (shared, rest) = message.split_at(rounds * BLOCK * N::LANES);
    // SAFETY: the caller promises the instructions. Each pointer is to as many blocks as are read.
    unsafe {
        let one = of_keys::<N::One>(u64::load_blocks(key.as_ptr()));
        let by_one = one.multiplier();
        let mut h = zero::<N::One>();
        if let Some(before_last) = rounds.checked_sub(1) {
            // powers[n]: r^(n + 1).
            let mut powers = Zeroizing::new([one; WIDEST]);
            for n in 1..N::LANES {
                powers[n] = powers[n - 1].times(&by_one);
            }
            let last =
                Zeroizing::new(std::array::from_fn(|lane| match N::Vector::ORDER.get(lane) {
                    Some(block) => powers[N::LANES - 1 - block],
                    None => zero(),
                }));
            let all = powers[N::LANES - 1];
            let all = N::from_limbs(|index| N::Vector::splat(all.limb(index))).multiplier();
            let last = of_lanes::<N>(&last).multiplier();
            let (above, mut sums) = (N::Vector::splat(N::ABOVE), zero::<N>());
            let round = |round: usize| {
                N::Vector::load_blocks(shared.as_ptr().add(round * BLOCK * N::LANES))
            };
            for at in 0..before_last {
                sums = absorb(sums, &all, round(at), above);
            }
            sums = absorb(sums, &last, round(before_last), above);
            for lane in 0..N::LANES {
                h = h.plus(lane_of(sums, lane));
            }
            h = h.carry();
        }
        for block in rest.chunks_exact(BLOCK) {
            h = absorb(h, &by_one, u64::load_blocks(block.as_ptr()), N::One::ABOVE);
        }
        if !rest.len().is_multiple_of(BLOCK) {
            let (block, above) = last_block(message, N::One::ABOVE);
            h = absorb(h, &by_one, u64::load_blocks(block.as_ptr()), above);
        }
        tag_of(h.finish(u64::load_blocks(key[BLOCK..].as_ptr())))
    }
}
