//! Vectors of 512 bits, and of 256 bits with the instructions of AVX-512.

// Half of the module's lines would be names of instructions.
#[allow(clippy::wildcard_imports)]
use std::arch::{asm, x86_64::*};

use super::auth::WideLimbs;
use super::avx2;
use super::run::{self, Vectors, Workspace};
use super::slot::Slot;
use super::vector::{limbs, word, words};

/// Writes sixteen blocks of sixteen lanes: `x` are 16 words of each.
///
/// # Safety
/// The machine has AVX-512 F; `to` has room for 1024 bytes.
#[inline(always)]
unsafe fn store_blocks(x: &[__m512i; 16], to: *mut u8) {
    // SAFETY: the caller promises the instructions and the room.
    unsafe {
        // Within each 128 bits: the four words of one lane.
        let mut rows = [x[0]; 16];
        for group in 0..4 {
            let [p, q] = [x[4 * group], x[4 * group + 1]];
            let [r, s] = [x[4 * group + 2], x[4 * group + 3]];
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

/// Sixteen words.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Words16(__m512i);

word!(
    Words16,
    add _mm512_add_epi32,
    xor _mm512_xor_si512,
    rotate |words, BY| _mm512_rol_epi32::<BY>(words)
);

words!(
    Words16,
    lanes 16,
    splat _mm512_set1_epi32,
    load _mm512_loadu_si512,
    store_blocks |x, to| store_blocks(&*std::ptr::from_ref(x).cast(), to)
);

/// Eight words, with a rotation instruction.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Words8(__m256i);

word!(
    Words8,
    add _mm256_add_epi32,
    xor _mm256_xor_si256,
    rotate |words, BY| _mm256_rol_epi32::<BY>(words)
);

words!(
    Words8,
    lanes 8,
    splat _mm256_set1_epi32,
    load _mm256_loadu_si256,
    store_blocks |x, to| avx2::store_blocks(&*std::ptr::from_ref(x).cast(), to)
);

/// Eight limbs, or products of limbs.
#[derive(Clone, Copy)]
struct Limbs8(__m512i);

limbs!(
    Limbs8,
    lanes 8,
    order [0, 4, 1, 5, 2, 6, 3, 7],
    ones _mm512_set1_epi64(-1),
    splat _mm512_set1_epi64,
    load _mm512_loadu_si512,
    store _mm512_storeu_si512,
    add _mm512_add_epi64,
    multiply multiply,
    and _mm512_and_si512,
    or _mm512_or_si512,
    xor _mm512_xor_si512,
    right |limbs, BY| _mm512_srli_epi64::<BY>(limbs),
    left |limbs, BY| _mm512_slli_epi64::<BY>(limbs),
    low _mm512_unpacklo_epi64,
    high _mm512_unpackhi_epi64,
    gather |from| [
        join(avx2::pair(from[0], from[2]), avx2::pair(from[4], from[6])),
        join(avx2::pair(from[1], from[3]), avx2::pair(from[5], from[7])),
    ],
    blocks |from| [_mm512_loadu_si512(from.cast()), _mm512_loadu_si512(from.add(64).cast())]
);

/// The products of the lower halves. In assembly, because the compiler knows `_mm512_mul_epu32` as a
/// multiplication of 64 bits and, in a loop, makes three multiplications of it.
#[inline]
#[target_feature(enable = "avx512f")]
fn multiply(a: __m512i, b: __m512i) -> __m512i {
    let product;
    // SAFETY: one instruction, which only reads and writes these registers.
    unsafe {
        asm!(
            "vpmuludq {}, {}, {}", out(zmm_reg) product, in(zmm_reg) a, in(zmm_reg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    product
}

/// # Safety
/// The machine has AVX-512 F.
#[inline(always)]
unsafe fn join(low: __m256i, high: __m256i) -> __m512i {
    // SAFETY: promised by the caller.
    unsafe { _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high) }
}

// SAFETY: only called where the machine has the instructions.
unsafe impl WideLimbs for Limbs8 {
    #[inline(always)]
    unsafe fn add_low(self, a: Self, b: Self) -> Self {
        // SAFETY: promised by the caller.
        unsafe { Limbs8(_mm512_madd52lo_epu64(self.0, a.0, b.0)) }
    }

    #[inline(always)]
    unsafe fn add_high(self, a: Self, b: Self) -> Self {
        // SAFETY: promised by the caller.
        unsafe { Limbs8(_mm512_madd52hi_epu64(self.0, a.0, b.0)) }
    }
}

struct Avx512;

impl Vectors for Avx512 {
    type Wide = Words16;
    type Narrow = Words8;
    type Number = [Limbs8; 5];
}

/// # Safety
/// The machine has AVX-512 F and VL.
#[target_feature(enable = "avx2,avx512f,avx512vl")]
pub(crate) unsafe fn seal(
    key: &[u8; 32],
    work: &mut Workspace,
    buffer: &mut [u8],
    slots: &mut [Slot],
) {
    // SAFETY: promised by the caller.
    unsafe { run::seal::<Avx512>(key, work, buffer, slots) }
}

/// # Safety
/// The machine has AVX-512 F and VL.
#[target_feature(enable = "avx2,avx512f,avx512vl")]
pub(crate) unsafe fn open(
    key: &[u8; 32],
    work: &mut Workspace,
    buffer: &mut [u8],
    slots: &[Slot],
) -> usize {
    // SAFETY: promised by the caller.
    unsafe { run::open::<Avx512>(key, work, buffer, slots) }
}

/// The same with AVX-512 IFMA.
struct Ifma;

impl Vectors for Ifma {
    type Wide = Words16;
    type Narrow = Words8;
    type Number = [Limbs8; 3];
}

/// # Safety
/// The machine has AVX-512 F, VL and IFMA.
#[target_feature(enable = "avx2,avx512f,avx512vl,avx512ifma")]
pub(crate) unsafe fn seal_ifma(
    key: &[u8; 32],
    work: &mut Workspace,
    buffer: &mut [u8],
    slots: &mut [Slot],
) {
    // SAFETY: promised by the caller.
    unsafe { run::seal::<Ifma>(key, work, buffer, slots) }
}

/// # Safety
/// The machine has AVX-512 F, VL and IFMA.
#[target_feature(enable = "avx2,avx512f,avx512vl,avx512ifma")]
pub(crate) unsafe fn open_ifma(
    key: &[u8; 32],
    work: &mut Workspace,
    buffer: &mut [u8],
    slots: &[Slot],
) -> usize {
    // SAFETY: promised by the caller.
    unsafe { run::open::<Ifma>(key, work, buffer, slots) }
}
