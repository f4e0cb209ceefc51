//! Vectors of 256 bits.

use std::arch::x86_64::*;

use super::auth::{self, Job, Limbs};
use super::stream::{self, Inputs, Word, Words};

/// Eight words.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Words8(__m256i);

/// Writes eight blocks of eight lanes: `x` are 16 words of each.
///
/// # Safety
/// The machine has AVX2; `to` has room for 512 bytes.
#[inline(always)]
pub(crate) unsafe fn store_blocks(x: &[__m256i; 16], to: *mut u8) {
    // SAFETY: the caller promises the instructions and the room.
    unsafe {
        for half in 0..2 {
            let x = &x[8 * half..8 * half + 8];
            // Pairs of words of lanes 0 and 1, 2 and 3 (low), and 4 to 7 (high halves).
            let a = [
                _mm256_unpacklo_epi32(x[0], x[1]),
                _mm256_unpackhi_epi32(x[0], x[1]),
                _mm256_unpacklo_epi32(x[2], x[3]),
                _mm256_unpackhi_epi32(x[2], x[3]),
                _mm256_unpacklo_epi32(x[4], x[5]),
                _mm256_unpackhi_epi32(x[4], x[5]),
                _mm256_unpacklo_epi32(x[6], x[7]),
                _mm256_unpackhi_epi32(x[6], x[7]),
            ];
            // Four words of one lane.
            let b: [__m256i; 8] = [
                _mm256_unpacklo_epi64(a[0], a[2]),
                _mm256_unpackhi_epi64(a[0], a[2]),
                _mm256_unpacklo_epi64(a[1], a[3]),
                _mm256_unpackhi_epi64(a[1], a[3]),
                _mm256_unpacklo_epi64(a[4], a[6]),
                _mm256_unpackhi_epi64(a[4], a[6]),
                _mm256_unpacklo_epi64(a[5], a[7]),
                _mm256_unpackhi_epi64(a[5], a[7]),
            ];
            for lane in 0..4 {
                let low = _mm256_permute2x128_si256::<0x20>(b[lane], b[lane + 4]);
                let high = _mm256_permute2x128_si256::<0x31>(b[lane], b[lane + 4]);
                _mm256_storeu_si256(to.add(64 * lane + 32 * half).cast(), low);
                _mm256_storeu_si256(to.add(64 * (lane + 4) + 32 * half).cast(), high);
            }
        }
    }
}

// SAFETY: the methods are only called where the machine has AVX2.
unsafe impl Word for Words8 {
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: promised by the caller.
        unsafe { Words8(_mm256_add_epi32(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: promised by the caller.
        unsafe { Words8(_mm256_xor_si256(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn rotate<const BY: i32>(self) -> Self {
        // SAFETY: promised by the caller.
        unsafe {
            let left = _mm256_sll_epi32(self.0, _mm_cvtsi32_si128(BY));
            let right = _mm256_srl_epi32(self.0, _mm_cvtsi32_si128(32 - BY));
            Words8(_mm256_or_si256(left, right))
        }
    }
}

// SAFETY: the methods are only called where the machine has AVX2.
unsafe impl Words for Words8 {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(word: u32) -> Self {
        // SAFETY: promised by the caller.
        unsafe { Words8(_mm256_set1_epi32(word.cast_signed())) }
    }

    #[inline(always)]
    unsafe fn load(from: *const u32) -> Self {
        // SAFETY: promised by the caller.
        unsafe { Words8(_mm256_loadu_si256(from.cast())) }
    }

    #[inline(always)]
    unsafe fn store_blocks(x: &[Self; 16], to: *mut u8) {
        // SAFETY: promised by the caller.
        // A vector and its words are the same bytes.
        unsafe { store_blocks(&*std::ptr::from_ref(x).cast(), to) }
    }
}

/// Four limbs, or products of limbs.
#[derive(Clone, Copy)]
pub(crate) struct Limbs4(__m256i);

// SAFETY: the methods are only called where the machine has AVX2.
unsafe impl Limbs for Limbs4 {
    const LANES: usize = 4;
    const ORDER: &'static [usize] = &[0, 2, 1, 3];

    #[inline(always)]
    unsafe fn splat(limb: u64) -> Self {
        // SAFETY: promised by the caller.
        unsafe { Limbs4(_mm256_set1_epi64x(limb.cast_signed())) }
    }

    #[inline(always)]
    unsafe fn load(from: *const u64) -> Self {
        // SAFETY: promised by the caller.
        unsafe { Limbs4(_mm256_loadu_si256(from.cast())) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u64) {
        // SAFETY: promised by the caller.
        unsafe { _mm256_storeu_si256(to.cast(), self.0) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: promised by the caller.
        unsafe { Limbs4(_mm256_add_epi64(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn multiply(self, other: Self) -> Self {
        // SAFETY: promised by the caller.
        unsafe { Limbs4(_mm256_mul_epu32(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn and(self, other: Self) -> Self {
        // SAFETY: promised by the caller.
        unsafe { Limbs4(_mm256_and_si256(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn or(self, other: Self) -> Self {
        // SAFETY: promised by the caller.
        unsafe { Limbs4(_mm256_or_si256(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn flip(self) -> Self {
        // SAFETY: promised by the caller.
        unsafe { Limbs4(_mm256_xor_si256(self.0, _mm256_set1_epi64x(-1))) }
    }

    #[inline(always)]
    unsafe fn right<const BY: u32>(self) -> Self {
        // SAFETY: promised by the caller.
        unsafe { Limbs4(_mm256_srl_epi64(self.0, _mm_cvtsi32_si128(BY.cast_signed()))) }
    }

    #[inline(always)]
    unsafe fn left<const BY: u32>(self) -> Self {
        // SAFETY: promised by the caller.
        unsafe { Limbs4(_mm256_sll_epi64(self.0, _mm_cvtsi32_si128(BY.cast_signed()))) }
    }

    #[inline(always)]
    unsafe fn gather(from: &[*const u8]) -> [Self; 2] {
        // SAFETY: promised by the caller.
        unsafe {
            let (a, b) = (pair(from[0], from[2]), pair(from[1], from[3]));
            [Limbs4(_mm256_unpacklo_epi64(a, b)), Limbs4(_mm256_unpackhi_epi64(a, b))]
        }
    }

    #[inline(always)]
    unsafe fn load_blocks(from: *const u8) -> [Self; 2] {
        // SAFETY: promised by the caller.
        unsafe {
            let a = _mm256_loadu_si256(from.cast());
            let b = _mm256_loadu_si256(from.add(32).cast());
            [Limbs4(_mm256_unpacklo_epi64(a, b)), Limbs4(_mm256_unpackhi_epi64(a, b))]
        }
    }
}

/// Two blocks in one vector.
///
/// # Safety
/// The machine has AVX2; both are whole blocks.
#[inline(always)]
pub(crate) unsafe fn pair(low: *const u8, high: *const u8) -> __m256i {
    // SAFETY: promised by the caller.
    unsafe {
        let low = _mm256_castsi128_si256(_mm_loadu_si128(low.cast()));
        _mm256_inserti128_si256::<1>(low, _mm_loadu_si128(high.cast()))
    }
}

/// Computes all blocks of `inputs`, whose number is a multiple of eight.
///
/// # Safety
/// The machine has AVX2; `to` has room for them.
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn keystream(key: &[u32; 8], inputs: &Inputs, to: *mut u8) {
    for at in (0..inputs.len()).step_by(Words8::LANES) {
        // SAFETY: promised by the caller.
        unsafe { stream::blocks::<Words8>(key, inputs, at, to.add(at * stream::BLOCK)) }
    }
}

/// Computes the tags of up to four messages.
///
/// # Safety
/// The machine has AVX2.
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn tags(jobs: &mut [Job<'_>]) {
    // SAFETY: promised by the caller.
    unsafe { auth::tags::<Limbs4>(jobs) }
}

/// Computes the tag of one long message.
///
/// # Safety
/// The machine has AVX2.
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn long_tag(job: &mut Job<'_>) {
    // SAFETY: promised by the caller.
    unsafe { auth::long_tag::<Limbs4>(job) }
}

/// `bytes` ^= `stream`, as far as `bytes` goes.
///
/// # Safety
/// The machine has AVX2.
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn xor(bytes: &mut [u8], stream: &[u8]) {
    super::run::xor(bytes, stream);
}
