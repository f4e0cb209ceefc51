//! Vectors of 512 bits, and of 256 bits with the instructions of AVX-512.

use std::arch::x86_64::*;

use super::auth::{self, Job, Limbs};
use super::avx2;
use super::stream::{self, Inputs, Word, Words};

/// Sixteen words.
#[derive(Clone, Copy)]
struct Words16(__m512i);

// SAFETY: the methods are only called where the machine has AVX-512.
unsafe impl Word for Words16 {
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: promised by the caller.
        unsafe { Words16(_mm512_add_epi32(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: promised by the caller.
        unsafe { Words16(_mm512_xor_si512(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn rotate<const BY: i32>(self) -> Self {
        // SAFETY: promised by the caller.
        unsafe { Words16(_mm512_rol_epi32::<BY>(self.0)) }
    }
}

// SAFETY: the methods are only called where the machine has AVX-512.
unsafe impl Words for Words16 {
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn splat(word: u32) -> Self {
        // SAFETY: promised by the caller.
        unsafe { Words16(_mm512_set1_epi32(word.cast_signed())) }
    }

    #[inline(always)]
    unsafe fn load(from: *const u32) -> Self {
        // SAFETY: promised by the caller.
        unsafe { Words16(_mm512_loadu_si512(from.cast())) }
    }

    #[inline(always)]
    unsafe fn store_blocks(x: &[Self; 16], to: *mut u8) {
        // SAFETY: promised by the caller.
        unsafe {
            // Within each 128 bits: the four words of one lane.
            let mut rows = [x[0].0; 16];
            for group in 0..4 {
                let [p, q] = [x[4 * group].0, x[4 * group + 1].0];
                let [r, s] = [x[4 * group + 2].0, x[4 * group + 3].0];
                let (a, b) = (_mm512_unpacklo_epi32(p, q), _mm512_unpackhi_epi32(p, q));
                let (c, d) = (_mm512_unpacklo_epi32(r, s), _mm512_unpackhi_epi32(r, s));
                rows[group] = _mm512_unpacklo_epi64(a, c);
                rows[4 + group] = _mm512_unpackhi_epi64(a, c);
                rows[8 + group] = _mm512_unpacklo_epi64(b, d);
                rows[12 + group] = _mm512_unpackhi_epi64(b, d);
            }
            // rows[4 i + g], part p of 128 bits: words 4 g to 4 g + 3 of lane 4 p + i.
            for i in 0..4 {
                let [p, q] = [rows[4 * i], rows[4 * i + 1]];
                let [r, s] = [rows[4 * i + 2], rows[4 * i + 3]];
                let a = _mm512_shuffle_i32x4::<0b01_00_01_00>(p, q);
                let b = _mm512_shuffle_i32x4::<0b11_10_11_10>(p, q);
                let c = _mm512_shuffle_i32x4::<0b01_00_01_00>(r, s);
                let d = _mm512_shuffle_i32x4::<0b11_10_11_10>(r, s);
                let lanes = [
                    _mm512_shuffle_i32x4::<0b10_00_10_00>(a, c),
                    _mm512_shuffle_i32x4::<0b11_01_11_01>(a, c),
                    _mm512_shuffle_i32x4::<0b10_00_10_00>(b, d),
                    _mm512_shuffle_i32x4::<0b11_01_11_01>(b, d),
                ];
                for (part, lane) in lanes.into_iter().enumerate() {
                    _mm512_storeu_si512(to.add(64 * (4 * part + i)).cast(), lane);
                }
            }
        }
    }
}

/// Eight words, with a rotation instruction.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Words8(__m256i);

// SAFETY: the methods are only called where the machine has AVX-512 for 256 bits.
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
        unsafe { Words8(_mm256_rol_epi32::<BY>(self.0)) }
    }
}

// SAFETY: the methods are only called where the machine has AVX-512 for 256 bits.
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
        unsafe { avx2::store_blocks(&*std::ptr::from_ref(x).cast(), to) }
    }
}

/// Eight limbs, or products of limbs.
#[derive(Clone, Copy)]
struct Limbs8(__m512i);

// SAFETY: the methods are only called where the machine has AVX-512.
unsafe impl Limbs for Limbs8 {
    const LANES: usize = 8;
    const ORDER: &'static [usize] = &[0, 4, 1, 5, 2, 6, 3, 7];

    #[inline(always)]
    unsafe fn splat(limb: u64) -> Self {
        // SAFETY: promised by the caller.
        unsafe { Limbs8(_mm512_set1_epi64(limb.cast_signed())) }
    }

    #[inline(always)]
    unsafe fn load(from: *const u64) -> Self {
        // SAFETY: promised by the caller.
        unsafe { Limbs8(_mm512_loadu_si512(from.cast())) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u64) {
        // SAFETY: promised by the caller.
        unsafe { _mm512_storeu_si512(to.cast(), self.0) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: promised by the caller.
        unsafe { Limbs8(_mm512_add_epi64(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn multiply(self, other: Self) -> Self {
        // SAFETY: promised by the caller.
        unsafe { Limbs8(_mm512_mul_epu32(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn and(self, other: Self) -> Self {
        // SAFETY: promised by the caller.
        unsafe { Limbs8(_mm512_and_si512(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn or(self, other: Self) -> Self {
        // SAFETY: promised by the caller.
        unsafe { Limbs8(_mm512_or_si512(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn flip(self) -> Self {
        // SAFETY: promised by the caller.
        unsafe { Limbs8(_mm512_xor_si512(self.0, _mm512_set1_epi64(-1))) }
    }

    #[inline(always)]
    unsafe fn right<const BY: u32>(self) -> Self {
        // SAFETY: promised by the caller.
        unsafe { Limbs8(_mm512_srli_epi64::<BY>(self.0)) }
    }

    #[inline(always)]
    unsafe fn left<const BY: u32>(self) -> Self {
        // SAFETY: promised by the caller.
        unsafe { Limbs8(_mm512_slli_epi64::<BY>(self.0)) }
    }

    #[inline(always)]
    unsafe fn gather(from: &[*const u8]) -> [Self; 2] {
        // SAFETY: promised by the caller.
        unsafe {
            let a = _mm512_inserti64x4::<1>(
                _mm512_castsi256_si512(avx2::pair(from[0], from[2])),
                avx2::pair(from[4], from[6]),
            );
            let b = _mm512_inserti64x4::<1>(
                _mm512_castsi256_si512(avx2::pair(from[1], from[3])),
                avx2::pair(from[5], from[7]),
            );
            [Limbs8(_mm512_unpacklo_epi64(a, b)), Limbs8(_mm512_unpackhi_epi64(a, b))]
        }
    }

    #[inline(always)]
    unsafe fn load_blocks(from: *const u8) -> [Self; 2] {
        // SAFETY: promised by the caller.
        unsafe {
            let a = _mm512_loadu_si512(from.cast());
            let b = _mm512_loadu_si512(from.add(64).cast());
            [Limbs8(_mm512_unpacklo_epi64(a, b)), Limbs8(_mm512_unpackhi_epi64(a, b))]
        }
    }
}

/// Computes all blocks of `inputs`, whose number is a multiple of eight.
///
/// # Safety
/// The machine has AVX-512 F and VL; `to` has room for them.
#[target_feature(enable = "avx2,avx512f,avx512vl")]
pub(crate) unsafe fn keystream(key: &[u32; 8], inputs: &Inputs, to: *mut u8) {
    let mut at = 0;
    while at < inputs.len() {
        // SAFETY: promised by the caller.
        unsafe {
            let to = to.add(at * stream::BLOCK);
            if at + Words16::LANES <= inputs.len() {
                stream::blocks::<Words16>(key, inputs, at, to);
                at += Words16::LANES;
            } else {
                stream::blocks::<Words8>(key, inputs, at, to);
                at += Words8::LANES;
            }
        }
    }
}

/// Computes the tags of up to eight messages.
///
/// # Safety
/// The machine has AVX-512 F and VL.
#[target_feature(enable = "avx2,avx512f,avx512vl")]
pub(crate) unsafe fn tags(jobs: &mut [Job<'_>]) {
    // SAFETY: promised by the caller.
    unsafe { auth::tags::<Limbs8>(jobs) }
}

/// Computes the tag of one long message.
///
/// # Safety
/// The machine has AVX-512 F and VL.
#[target_feature(enable = "avx2,avx512f,avx512vl")]
pub(crate) unsafe fn long_tag(job: &mut Job<'_>) {
    // SAFETY: promised by the caller.
    unsafe { auth::long_tag::<Limbs8>(job) }
}
