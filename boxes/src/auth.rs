//! Poly1305 (RFC 8439 §2.5), of as many messages at once as a vector has lanes, or of one long
//! message in as many interleaved parts.
//!
//! Numbers modulo 2^130 - 5 are five limbs of 26 bits. Products of limbs are added up before they are
//! carried, and between blocks limbs may be a little larger than 26 bits.

use zeroize::Zeroizing;

/// Bytes of a block.
const BLOCK: usize = 16;
const MASK: u64 = (1 << 26) - 1;
/// The bit above the 16 bytes of a full block, in the highest limb.
const ABOVE: u64 = 1 << 24;

/// A message, its one-time key, and its tag.
pub(crate) struct Job<'a> {
    pub(crate) key: &'a [u8; 32],
    pub(crate) message: &'a [u8],
    pub(crate) tag: [u8; BLOCK],
}

/// A vector of limbs, or of products of limbs.
///
/// # Safety
/// The machine has the instructions.
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
    /// The lower and the upper 8 bytes of a block for each lane.
    unsafe fn gather(from: &[*const u8]) -> [Self; 2];
    /// The same, of consecutive blocks.
    unsafe fn load_blocks(from: *const u8) -> [Self; 2];
}

/// The lanes of the widest vector.
const WIDEST: usize = 8;

/// The multiplier in the lower half of a one-time key, as limbs.
fn multiplier(key: &[u8; 32]) -> [u64; 5] {
    let [low, high] = [0, 8].map(|at| word(&key[at..]));
    let low = low & 0x0fff_fffc_0fff_ffff;
    let high = high & 0x0fff_fffc_0fff_fffc;
    split(low, high)
}

fn word(bytes: &[u8]) -> u64 {
    u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|byte| bytes[byte]))
}

/// 128 bits as limbs.
fn split(low: u64, high: u64) -> [u64; 5] {
    [low & MASK, low >> 26 & MASK, (low >> 52 | high << 12) & MASK, high >> 14 & MASK, high >> 40]
}

/// `a * b`, for limbs of at most 28 bits.
fn multiply(a: &[u64; 5], b: &[u64; 5]) -> [u64; 5] {
    let mut sums = [0; 5];
    for (i, a) in a.iter().enumerate() {
        for (j, b) in b.iter().enumerate() {
            // 2^130 is 5.
            sums[(i + j) % 5] += a * b * if i + j < 5 { 1 } else { 5 };
        }
    }
    carry(sums)
}

fn carry(mut x: [u64; 5]) -> [u64; 5] {
    for i in 0..4 {
        x[i + 1] += x[i] >> 26;
        x[i] &= MASK;
    }
    x[0] += 5 * (x[4] >> 26);
    x[4] &= MASK;
    x[1] += x[0] >> 26;
    x[0] &= MASK;
    x
}

/// The block that a message of this many bytes ends with, if that is not a full one: padded with
/// a one and zeros.
fn last_block(message: &[u8]) -> Option<[u8; BLOCK]> {
    let rest = message.len() % BLOCK;
    (rest > 0).then(|| {
        let mut block = [0; BLOCK];
        block[..rest].copy_from_slice(&message[message.len() - rest..]);
        block[rest] = 1;
        block
    })
}

/// Reduces the sum completely and adds the upper half of the one-time key.
fn finish(h: [u64; 5], key: &[u8; 32]) -> [u8; BLOCK] {
    let h = carry(carry(h));
    // h - (2^130 - 5), where that is not negative.
    let mut g = h;
    g[0] += 5;
    for i in 0..4 {
        g[i + 1] += g[i] >> 26;
        g[i] &= MASK;
    }
    let is_larger = 0u64.wrapping_sub(g[4] >> 26);
    g[4] &= MASK;
    let h: [u64; 5] = std::array::from_fn(|i| (g[i] & is_larger) | (h[i] & !is_larger));
    let low = h[0] | h[1] << 26 | h[2] << 52;
    let high = h[2] >> 12 | h[3] << 14 | h[4] << 40;
    let sum = u128::from(low) | u128::from(high) << 64;
    let key = u128::from(word(&key[16..])) | u128::from(word(&key[24..])) << 64;
    sum.wrapping_add(key).to_le_bytes()
}

/// The blocks of each lane, from their lower and upper halves; `above` is the bit above each.
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

/// One limb of each lane, so many times.
#[inline(always)]
unsafe fn limb<V: Limbs>(lanes: &[[u64; 5]; WIDEST], limb: usize, times: u64) -> V {
    let mut words = [0; WIDEST];
    for (word, lane) in words.iter_mut().zip(lanes) {
        *word = lane[limb] * times;
    }
    // SAFETY: promised by the caller; the array is as long as the widest vector.
    unsafe { V::load(words.as_ptr()) }
}

/// A multiplier for each lane.
struct Multiplier<V> {
    r: [V; 5],
    /// Five times `r[1..]`.
    s: [V; 4],
}

impl<V: Limbs> Multiplier<V> {
    #[inline(always)]
    unsafe fn new(lanes: &[[u64; 5]; WIDEST]) -> Self {
        // SAFETY: promised by the caller; the arrays are as long as the widest vector.
        unsafe {
            Multiplier {
                r: [
                    limb(lanes, 0, 1),
                    limb(lanes, 1, 1),
                    limb(lanes, 2, 1),
                    limb(lanes, 3, 1),
                    limb(lanes, 4, 1),
                ],
                s: [limb(lanes, 1, 5), limb(lanes, 2, 5), limb(lanes, 3, 5), limb(lanes, 4, 5)],
            }
        }
    }

    /// `h * r`, with limbs of little more than 26 bits.
    #[inline(always)]
    unsafe fn times(&self, h: [V; 5]) -> [V; 5] {
        // SAFETY: promised by the caller.
        unsafe {
            let [r0, r1, r2, r3, r4] = self.r;
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

/// `a` in the lanes that are all ones in `which`, `b` in the others.
#[inline(always)]
unsafe fn choose<V: Limbs>(which: V, a: [V; 5], mut b: [V; 5]) -> [V; 5] {
    // SAFETY: promised by the caller.
    unsafe {
        let others = which.flip();
        for i in 0..5 {
            b[i] = a[i].and(which).or(b[i].and(others));
        }
        b
    }
}

/// The limbs of each lane.
#[inline(always)]
unsafe fn lanes_of<V: Limbs>(h: [V; 5]) -> [[u64; 5]; WIDEST] {
    let mut words = [[0; WIDEST]; 5];
    for (limb, words) in h.into_iter().zip(&mut words) {
        // SAFETY: promised by the caller; the array is as long as the widest vector.
        unsafe { limb.store(words.as_mut_ptr()) }
    }
    std::array::from_fn(|lane| std::array::from_fn(|limb| words[limb][lane]))
}

/// Computes the tags of messages, one a lane: at most [`Limbs::LANES`], best of similar lengths.
///
/// # Safety
/// The machine has the instructions.
#[inline(always)]
pub(crate) unsafe fn tags<V: Limbs>(jobs: &mut [Job<'_>]) {
    assert!(jobs.len() <= V::LANES);
    const NOTHING: [u8; BLOCK] = [0; BLOCK];
    let mut multipliers = Zeroizing::new([[0; 5]; WIDEST]);
    let mut full = [0; WIDEST];
    let mut last = [None; WIDEST];
    for (lane, job) in jobs.iter().enumerate() {
        multipliers[lane] = multiplier(job.key);
        full[lane] = job.message.len() / BLOCK;
        last[lane] = last_block(job.message);
    }
    let in_use = &full[..jobs.len()];
    let together = in_use.iter().copied().min().unwrap_or(0);
    let all = (0..jobs.len()).map(|lane| full[lane] + usize::from(last[lane].is_some())).max();
    // SAFETY: the caller promises the instructions. Each pointer is to a whole block: of a message
    // with more full blocks than have been read of it, of `last`, or of `NOTHING`.
    let sums = unsafe {
        let multiplier = Multiplier::<V>::new(&multipliers);
        let above = V::splat(ABOVE);
        let mut h = [V::splat(0); 5];
        let mut from = [NOTHING.as_ptr(); WIDEST];
        for (from, job) in from.iter_mut().zip(jobs.iter()) {
            *from = job.message.as_ptr();
        }
        if jobs.len() < V::LANES {
            for from in &mut from[jobs.len()..] {
                *from = NOTHING.as_ptr();
            }
        }
        if together > 0 {
            let step = |lane: usize| if lane < jobs.len() { BLOCK } else { 0 };
            let steps: [usize; WIDEST] = std::array::from_fn(step);
            for _ in 0..together {
                h = multiplier.times(add(h, limbs(V::gather(&from), above)));
                for (from, step) in from.iter_mut().zip(steps) {
                    *from = from.wrapping_add(step);
                }
            }
        }
        // The others have some blocks left, each lane its own number of them.
        for block in together..all.unwrap_or(0) {
            let mut from = [NOTHING.as_ptr(); WIDEST];
            let mut above = [0; WIDEST];
            let mut is_used = [0; WIDEST];
            for (lane, job) in jobs.iter().enumerate() {
                if block < full[lane] {
                    from[lane] = job.message.as_ptr().add(block * BLOCK);
                    above[lane] = ABOVE;
                    is_used[lane] = u64::MAX;
                } else if block == full[lane]
                    && let Some(last) = &last[lane]
                {
                    from[lane] = last.as_ptr();
                    is_used[lane] = u64::MAX;
                }
            }
            let limbs = limbs(V::gather(&from), V::load(above.as_ptr()));
            let new = multiplier.times(add(h, limbs));
            h = choose(V::load(is_used.as_ptr()), new, h);
        }
        Zeroizing::new(lanes_of(h))
    };
    for (job, sum) in jobs.iter_mut().zip(sums.iter()) {
        job.tag = finish(*sum, job.key);
    }
}

/// Computes the tag of one message, whose blocks the lanes share out.
///
/// # Safety
/// The machine has the instructions.
#[inline(always)]
pub(crate) unsafe fn long_tag<V: Limbs>(job: &mut Job<'_>) {
    let r = multiplier(job.key);
    // powers[n]: r^(n + 1).
    let mut powers = Zeroizing::new([r; WIDEST]);
    for n in 1..V::LANES {
        powers[n] = multiply(&powers[n - 1], &r);
    }
    let rounds = job.message.len() / (BLOCK * V::LANES);
    let mut h = [0; 5];
    if rounds > 0 {
        let last = Zeroizing::new(std::array::from_fn(|lane| {
            V::ORDER.get(lane).map_or([0; 5], |block| powers[V::LANES - 1 - block])
        }));
        // SAFETY: the caller promises the instructions; the message has that many rounds of blocks.
        let lanes = unsafe {
            let all = Multiplier::<V>::new(&[powers[V::LANES - 1]; WIDEST]);
            let last = Multiplier::<V>::new(&last);
            let above = V::splat(ABOVE);
            let mut h = [V::splat(0); 5];
            let mut from = job.message.as_ptr();
            for _ in 1..rounds {
                h = all.times(add(h, limbs(V::load_blocks(from), above)));
                from = from.add(BLOCK * V::LANES);
            }
            h = last.times(add(h, limbs(V::load_blocks(from), above)));
            Zeroizing::new(lanes_of(h))
        };
        for lane in lanes.iter().take(V::LANES) {
            for (sum, limb) in h.iter_mut().zip(lane) {
                *sum += limb;
            }
        }
        h = carry(h);
    }
    let rest = &job.message[rounds * BLOCK * V::LANES..];
    let blocks = rest.chunks_exact(BLOCK);
    for block in blocks {
        h = absorb(h, split(word(block), word(&block[8..])), ABOVE, &r);
    }
    if let Some(block) = last_block(job.message) {
        h = absorb(h, split(word(&block), word(&block[8..])), 0, &r);
    }
    job.tag = finish(h, job.key);
}

fn absorb(mut h: [u64; 5], block: [u64; 5], above: u64, r: &[u64; 5]) -> [u64; 5] {
    for (sum, limb) in h.iter_mut().zip(block) {
        *sum += limb;
    }
    h[4] += above;
    multiply(&h, r)
}
