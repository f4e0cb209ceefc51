//! Vectors of 256 bits.

// Half of the module's lines would be names of instructions.
#[allow(clippy::wildcard_imports)]
use std::arch::{asm, x86_64::*};

use super::run::{self, Vectors, Workspace};
use super::slot::Slot;
use super::vector::{limbs, word, words};

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

word!(
    Words8,
    add _mm256_add_epi32,
    xor _mm256_xor_si256,
    rotate |words, BY| _mm256_or_si256(
        _mm256_sll_epi32(words, _mm_cvtsi32_si128(BY)),
        _mm256_srl_epi32(words, _mm_cvtsi32_si128(32 - BY)),
    )
);

words!(
    Words8,
    lanes 8,
    splat _mm256_set1_epi32,
    load _mm256_loadu_si256,
    store_blocks |x, to| store_blocks(&*std::ptr::from_ref(x).cast(), to)
);

/// Four limbs, or products of limbs.
#[derive(Clone, Copy)]
pub(crate) struct Limbs4(__m256i);

limbs!(
    Limbs4,
    lanes 4,
    order [0, 2, 1, 3],
    ones _mm256_set1_epi64x(-1),
    splat _mm256_set1_epi64x,
    load _mm256_loadu_si256,
    store _mm256_storeu_si256,
    add _mm256_add_epi64,
    multiply multiply,
    and _mm256_and_si256,
    or _mm256_or_si256,
    xor _mm256_xor_si256,
    right |limbs, BY| _mm256_srl_epi64(limbs, _mm_cvtsi32_si128(BY.cast_signed())),
    left |limbs, BY| _mm256_sll_epi64(limbs, _mm_cvtsi32_si128(BY.cast_signed())),
    low _mm256_unpacklo_epi64,
    high _mm256_unpackhi_epi64,
    gather |from| [pair(from[0], from[2]), pair(from[1], from[3])],
    blocks |from| [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(32).cast())]
);

/// The products of the lower halves. In assembly, because the compiler knows `_mm256_mul_epu32` as a
/// multiplication of 64 bits and, in a loop, makes three multiplications of it.
#[inline]
#[target_feature(enable = "avx2")]
fn multiply(a: __m256i, b: __m256i) -> __m256i {
    let product;
    // SAFETY: one instruction, which only reads and writes these registers.
    unsafe {
        asm!(
            "vpmuludq {}, {}, {}", out(ymm_reg) product, in(ymm_reg) a, in(ymm_reg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    product
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

struct Avx2;

impl Vectors for Avx2 {
    type Wide = Words8;
    type Narrow = Words8;
    type Number = [Limbs4; 5];
}

/// # Safety
/// The machine has AVX2.
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn seal(
    key: &[u8; 32],
    work: &mut Workspace,
    buffer: &mut [u8],
    slots: &mut [Slot],
) {
    // SAFETY: promised by the caller.
    unsafe { run::seal::<Avx2>(key, work, buffer, slots) }
}

/// # Safety
/// The machine has AVX2.
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn open(
    key: &[u8; 32],
    work: &mut Workspace,
    buffer: &mut [u8],
    slots: &[Slot],
) -> usize {
    // SAFETY: promised by the caller.
    unsafe { run::open::<Avx2>(key, work, buffer, slots) }
}
