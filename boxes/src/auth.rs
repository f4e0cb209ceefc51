//! Poly1305 (RFC 8439 §2.5), of as many messages at once as a vector has lanes, or of one long
//! message in as many interleaved parts.
//!
//! Numbers modulo 2^130 - 5 are five limbs of 26 bits. Products of limbs are added up before they are
//! carried, and between blocks limbs may be a little larger than 26 bits.

use zeroize::Zeroizing;

use super::slot::{KEY_SIZE, TAG_SIZE};

/// Bytes of a block.
const BLOCK: usize = 16;
const MASK: u64 = (1 << 26) - 1;
/// What lanes read whose message has not begun.
const NOTHING: [u8; BLOCK] = [0; BLOCK];
/// The bit above the 16 bytes of a full block, in the highest limb.
const ABOVE: u64 = 1 << 24;
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

/// The limbs of numbers, from their lower and upper halves; `above` is what is above them.
#[inline(always)]
unsafe fn limbs<V: Limbs>([low, high]: [V; 2], above: V) -> [V; 5] {
    // SAFETY: promised by the caller.
    unsafe {
        let mask = V::splat(MASK);
        [
            low.and(mask),
            low.right::<26>().and(mask),
            low.right::<52>().or(high.left::<12>()).and(mask),
            high.right::<14>().and(mask),
            high.right::<40>().or(above),
        ]
    }
}

/// A multiplier for each lane.
struct Multiplier<V> {
    r: [V; 5],
    /// Five times `r[1..]`.
    s: [V; 4],
}

impl<V: Limbs> Multiplier<V> {
    #[inline(always)]
    unsafe fn new(r: [V; 5]) -> Self {
        let mut s = [r[1], r[2], r[3], r[4]];
        for limb in &mut s {
            // SAFETY: promised by the caller.
            *limb = unsafe { limb.add(limb.left::<2>()) };
        }
        Multiplier { r, s }
    }

    /// Those of one-time keys, from the halves of their first 16 bytes.
    #[inline(always)]
    unsafe fn of_keys([low, high]: [V; 2]) -> Self {
        // SAFETY: promised by the caller.
        unsafe {
            let [low, high] = [low.and(V::splat(CLAMP[0])), high.and(V::splat(CLAMP[1]))];
            Self::new(limbs([low, high], V::splat(0)))
        }
    }

    /// The same for numbers of one lane each.
    #[inline(always)]
    unsafe fn of_lanes(lanes: &[[u64; 5]; WIDEST]) -> Self {
        // SAFETY: promised by the caller; the arrays are as long as the widest vector.
        unsafe {
            let mut r = [V::splat(0); 5];
            for (index, limb) in r.iter_mut().enumerate() {
                *limb = V::load(lanes.map(|lane| lane[index]).as_ptr());
            }
            Self::new(r)
        }
    }

    /// `h * r`, with limbs of little more than 26 bits.
    #[inline(always)]
    unsafe fn times(&self, h: [V; 5]) -> [V; 5] {
        // SAFETY: promised by the caller.
        unsafe {
            let [r0, r1, r2, r3, r4] = self.r;
            // 2^130 is 5.
            let [s1, s2, s3, s4] = self.s;
            let mut d0 = dot(h, [r0, s4, s3, s2, s1]);
            let mut d1 = dot(h, [r1, r0, s4, s3, s2]);
            let mut d2 = dot(h, [r2, r1, r0, s4, s3]);
            let mut d3 = dot(h, [r3, r2, r1, r0, s4]);
            let mut d4 = dot(h, [r4, r3, r2, r1, r0]);
            let mask = V::splat(MASK);
            // Two chains of carries side by side.
            d1 = d1.add(d0.right::<26>());
            d0 = d0.and(mask);
            d4 = d4.add(d3.right::<26>());
            d3 = d3.and(mask);
            d2 = d2.add(d1.right::<26>());
            d1 = d1.and(mask);
            let top = d4.right::<26>();
            d0 = d0.add(top.add(top.left::<2>()));
            d4 = d4.and(mask);
            d3 = d3.add(d2.right::<26>());
            d2 = d2.and(mask);
            d1 = d1.add(d0.right::<26>());
            d0 = d0.and(mask);
            d4 = d4.add(d3.right::<26>());
            d3 = d3.and(mask);
            [d0, d1, d2, d3, d4]
        }
    }

    /// Adds a block to the sum.
    #[inline(always)]
    unsafe fn absorb(&self, h: [V; 5], block: [V; 2], above: V) -> [V; 5] {
        // SAFETY: promised by the caller.
        unsafe { self.times(add(h, limbs(block, above))) }
    }
}

/// The sum of the products.
#[inline(always)]
unsafe fn dot<V: Limbs>(a: [V; 5], b: [V; 5]) -> V {
    // SAFETY: promised by the caller.
    unsafe {
        let low = a[0].multiply(b[0]).add(a[1].multiply(b[1]));
        let high = a[2].multiply(b[2]).add(a[3].multiply(b[3]));
        low.add(high).add(a[4].multiply(b[4]))
    }
}

#[inline(always)]
unsafe fn add<V: Limbs>(a: [V; 5], b: [V; 5]) -> [V; 5] {
    // SAFETY: promised by the caller.
    unsafe { [a[0].add(b[0]), a[1].add(b[1]), a[2].add(b[2]), a[3].add(b[3]), a[4].add(b[4])] }
}

/// Carries from each limb to the next, except from the highest.
#[inline(always)]
unsafe fn carry_up<V: Limbs>(mut h: [V; 5]) -> [V; 5] {
    // SAFETY: promised by the caller.
    unsafe {
        for i in 0..4 {
            h[i + 1] = h[i + 1].add(h[i].right::<26>());
            h[i] = h[i].and(V::splat(MASK));
        }
    }
    h
}

/// Carries from each limb to the next, and from the highest to the lowest.
#[inline(always)]
unsafe fn carry<V: Limbs>(h: [V; 5]) -> [V; 5] {
    // SAFETY: promised by the caller.
    unsafe {
        let mut h = carry_up(h);
        let top = h[4].right::<26>();
        h[4] = h[4].and(V::splat(MASK));
        h[0] = h[0].add(top.add(top.left::<2>()));
        h[1] = h[1].add(h[0].right::<26>());
        h[0] = h[0].and(V::splat(MASK));
        h
    }
}

/// Reduces sums completely and adds the upper halves of the one-time keys. Returns the halves of the
/// tags.
#[inline(always)]
unsafe fn finish<V: Limbs>(h: [V; 5], keys: [V; 2]) -> [V; 2] {
    // SAFETY: promised by the caller.
    unsafe {
        let mut h = carry(carry(h));
        // h - (2^130 - 5), where that is not negative.
        let mut g = h;
        g[0] = g[0].add(V::splat(5));
        g = carry_up(g);
        let is_larger = g[4].right::<26>().multiply(V::splat(MASK));
        let is_smaller = is_larger.flip();
        for i in 0..5 {
            h[i] = g[i].and(is_larger).or(h[i].and(is_smaller));
        }
        let [h0, h1, h2, h3, h4] = carry_up(add(h, limbs(keys, V::splat(0))));
        [
            h0.or(h1.left::<26>()).or(h2.left::<52>()),
            h2.right::<12>().or(h3.left::<14>()).or(h4.left::<40>()),
        ]
    }
}

/// The values of each lane.
#[inline(always)]
unsafe fn lanes_of<V: Limbs, const N: usize>(vectors: [V; N]) -> [[u64; N]; WIDEST] {
    let mut words = [[0; WIDEST]; N];
    for (vector, words) in vectors.into_iter().zip(&mut words) {
        // SAFETY: promised by the caller; the array is as long as the widest vector.
        unsafe { vector.store(words.as_mut_ptr()) }
    }
    std::array::from_fn(|lane| std::array::from_fn(|index| words[index][lane]))
}

fn tag_of([low, high]: [u64; 2]) -> [u8; TAG_SIZE] {
    (u128::from(low) | u128::from(high) << 64).to_le_bytes()
}

/// The last block of a message, padded with a one and zeros if it is not a full one, and what is
/// above it. Nothing, if the message is empty.
#[inline(always)]
fn last_block(message: &[u8]) -> ([u8; BLOCK], u64) {
    let rest = message.len() % BLOCK;
    let block = match message.last_chunk() {
        Some(last) if rest == 0 => return (*last, ABOVE),
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
pub(crate) unsafe fn tags<V: Limbs>(jobs: &[Job<'_>; WIDEST]) -> [[u8; TAG_SIZE]; WIDEST] {
    let mut lanes = [Lane::NONE; WIDEST];
    let (mut most, mut least) = (0, usize::MAX);
    for (lane, job) in lanes.iter_mut().zip(jobs).take(V::LANES) {
        *lane = Lane::new(job);
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
        let multiplier = Multiplier::of_keys(V::gather(&from));
        let mut h = [V::splat(0); 5];
        // All messages end together. A lane whose message has not begun adds nothing to zero.
        for step in 0..most - least {
            for (index, lane) in lanes.iter().enumerate() {
                let begun = (step + lane.blocks).checked_sub(most);
                (from[index], above[index]) = match begun {
                    Some(block) => (lane.message.add(block * BLOCK), ABOVE),
                    None => (NOTHING.as_ptr(), 0),
                };
            }
            h = multiplier.absorb(h, V::gather(&from), V::load(above.as_ptr()));
        }
        for (from, lane) in from.iter_mut().zip(&lanes).take(V::LANES) {
            *from = lane.message.wrapping_add((lane.blocks - least) * BLOCK);
        }
        let full = V::splat(ABOVE);
        for _ in 1..least {
            h = multiplier.absorb(h, V::gather(&from), full);
            for from in &mut from {
                *from = from.wrapping_add(BLOCK);
            }
        }
        for (index, lane) in lanes.iter().enumerate() {
            (from[index], above[index]) = (lane.last.as_ptr(), lane.above_last);
        }
        h = multiplier.absorb(h, V::gather(&from), V::load(above.as_ptr()));
        for (from, job) in from.iter_mut().zip(jobs) {
            *from = job.key[BLOCK..].as_ptr();
        }
        let halves = lanes_of(finish(h, V::gather(&from)));
        let mut tags = [[0; TAG_SIZE]; WIDEST];
        for (tag, halves) in tags.iter_mut().zip(halves) {
            *tag = tag_of(halves);
        }
        tags
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
    fn new(job: &Job<'_>) -> Self {
        let (last, above_last) = last_block(job.message);
        let blocks = job.message.len().div_ceil(BLOCK).max(1);
        Lane { message: job.message.as_ptr(), blocks, last, above_last }
    }
}

/// Computes the tag of one message, whose blocks the lanes share out.
///
/// # Safety
/// The machine has the instructions.
#[inline(always)]
pub(crate) unsafe fn long_tag<V: Limbs>(job: Job<'_>) -> [u8; TAG_SIZE] {
    let Job { key, message } = job;
    let rounds = message.len() / (BLOCK * V::LANES);
    let (shared, rest) = message.split_at(rounds * BLOCK * V::LANES);
    // SAFETY: the caller promises the instructions. Each pointer is to as many blocks as are read.
    unsafe {
        let one = Multiplier::of_keys(u64::load_blocks(key.as_ptr()));
        let mut h = [0; 5];
        if let Some(before_last) = rounds.checked_sub(1) {
            // powers[n]: r^(n + 1).
            let mut powers = Zeroizing::new([one.r; WIDEST]);
            for n in 1..V::LANES {
                powers[n] = one.times(powers[n - 1]);
            }
            let last = Zeroizing::new(std::array::from_fn(|lane| {
                V::ORDER.get(lane).map_or([0; 5], |block| powers[V::LANES - 1 - block])
            }));
            let all = Multiplier::<V>::new(powers[V::LANES - 1].map(|limb| V::splat(limb)));
            let last = Multiplier::<V>::of_lanes(&last);
            let (above, mut sums) = (V::splat(ABOVE), [V::splat(0); 5]);
            let round =
                |round: usize| V::load_blocks(shared.as_ptr().add(round * BLOCK * V::LANES));
            for at in 0..before_last {
                sums = all.absorb(sums, round(at), above);
            }
            sums = last.absorb(sums, round(before_last), above);
            for lane in lanes_of(sums).into_iter().take(V::LANES) {
                h = add(h, lane);
            }
            h = carry(h);
        }
        for block in rest.chunks_exact(BLOCK) {
            h = one.absorb(h, u64::load_blocks(block.as_ptr()), ABOVE);
        }
        if !rest.len().is_multiple_of(BLOCK) {
            let (block, above) = last_block(message);
            h = one.absorb(h, u64::load_blocks(block.as_ptr()), above);
        }
        tag_of(finish(h, u64::load_blocks(key[BLOCK..].as_ptr())))
    }
}
