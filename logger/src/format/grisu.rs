//! The shortest-or-nearly decimal digits of a double, as RapidJSON prints them (WIRE.md §5.5).
//!
//! The algorithm is Grisu2 by Florian Loitsch, "Printing Floating-Point Numbers Quickly and
//! Accurately with Integers", PLDI 2010. It computes with 64-bit approximations, so its digits
//! always read back as the same double but are not always the shortest or the closest. Logs must
//! have the same digits as Zeek's, so the approximations here are RapidJSON's: the same powers of
//! ten, the same rounding, the same bounds. (The `dtoa` crate ports an older RapidJSON, which did
//! not correct the last digit of numbers with nine or more decimals.)

use super::digits::{
    ASCII_ZEROS, EIGHT_DIGITS, ZERO_TO_POINT, ascii_digits, is_recent, put_int, put_ten_digits,
};
use super::pen::Pen;

/// Appends a finite number: in plain notation from 10⁻⁶ up to 10²¹, with an exponent otherwise, and
/// always with a point or an exponent.
#[inline]
pub(super) fn put_double(x: f64, pen: Pen<'_>) -> Pen<'_> {
    // Covers most doubles in a log.
    if let Some((seconds, micros)) = recent_micros(x) {
        return put_seconds(seconds, ascii_digits(10 * micros), pen);
    }
    put_uncommon_double(x, pen)
}

/// Returns the digits of a time from 2004 to 2038 that was rounded from microseconds: before the point,
/// and six behind it. `None` for other numbers, and where the result could be another one.
///
/// The bounds of the number are half a unit of its last binary place away, and less than a microsecond
/// apart: at most one number of six decimals is between them, and that one is the result unless it is so
/// close to a bound that the approximations matter. They are off by less than a hundredth of that
/// distance.
#[inline(always)]
fn recent_micros(x: f64) -> Option<(u64, u64)> {
    /// Bits behind the point.
    const SHIFT: u32 = 22;
    /// Half a unit of the last place, less a hundredth, in units of 10^-6 / 2^22.
    const NEAR: u64 = 500_000 / 100 * 99;
    if !is_recent(x) {
        return None;
    }
    let mantissa = x.to_bits() & (HIDDEN_BIT - 1) | HIDDEN_BIT;
    let scaled = (mantissa & ((1 << SHIFT) - 1)) * 1_000_000 + NEAR;
    let (micros, rest) = (scaled >> SHIFT, scaled & ((1 << SHIFT) - 1));
    (rest <= 2 * NEAR && micros < 1_000_000).then_some((mantissa >> SHIFT, micros))
}

#[inline(never)]
fn put_uncommon_double(x: f64, pen: Pen<'_>) -> Pen<'_> {
    if let Some(interval) = Interval::of_recent(x)
        && let Some(cut) = interval.cut(RECENT_EXPONENT + 6)
    {
        return put_recent(cut, pen);
    }
    put_any_double(x, pen)
}

/// Appends a number with ten digits before the point. `decimals`: a zero and seven decimals, of which those
/// at the end that are zeros are left out, but not the first one.
#[inline(always)]
fn put_seconds(seconds: u64, decimals: u64, pen: Pen<'_>) -> Pen<'_> {
    let zeros = (decimals ^ ASCII_ZEROS).leading_zeros() as usize / 8;
    put_ten_digits(seconds, decimals ^ ZERO_TO_POINT, 2.max(8 - zeros), pen)
}

/// Appends a number with ten digits before the point, truncated to microseconds.
#[inline(always)]
fn put_recent(Cut { digits, is_longer }: Cut, pen: Pen<'_>) -> Pen<'_> {
    let digits = if is_longer { digits } else { digits * 10 };
    let (seconds, decimals) = (digits / 10_000_000, ascii_digits(digits % 10_000_000));
    if is_longer {
        put_ten_digits(seconds, decimals ^ ZERO_TO_POINT, 8, pen)
    } else {
        put_seconds(seconds, decimals, pen)
    }
}

#[inline(never)]
fn put_any_double(x: f64, pen: Pen<'_>) -> Pen<'_> {
    let pen = if x.is_sign_negative() { pen.byte(b'-') } else { pen };
    if x == 0.0 {
        return pen.chunk(b"0.0", 3);
    }
    let interval = Interval::of(x.abs());
    let Decimal { digits, exponent } = interval.quick().unwrap_or_else(|| interval.plain());
    let len = digits.checked_ilog10().unwrap_or(0) as usize + 1;
    let mut buffer = [0; 48];
    let (high, low) = (digits / EIGHT_DIGITS, digits % EIGHT_DIGITS);
    buffer[..8].copy_from_slice(&ascii_digits(high / EIGHT_DIGITS).to_le_bytes());
    buffer[8..16].copy_from_slice(&ascii_digits(high % EIGHT_DIGITS).to_le_bytes());
    buffer[16..24].copy_from_slice(&ascii_digits(low).to_le_bytes());
    let from = |digit: usize| -> &[u8; 24] {
        buffer[24 - len + digit..].first_chunk().expect("a digit is one of the first 24 bytes")
    };
    // The point stands after `point` digits.
    let point = len as i32 + exponent;
    match point {
        1..=21 => {
            let point = point as usize;
            if point < len {
                pen.chunk(from(0), point).byte(b'.').chunk(from(point), len - point)
            } else {
                let pen = pen.chunk(from(0), len);
                pen.chunk(b"00000000000000000000", point - len).chunk(b".0", 2)
            }
        }
        -5..=0 => {
            let pen = pen.chunk(b"0.00000", 2 + point.unsigned_abs() as usize);
            pen.chunk(from(0), len)
        }
        _ => {
            let pen = pen.chunk(from(0), 1);
            let pen = if len > 1 { pen.byte(b'.').chunk(from(1), len - 1) } else { pen };
            put_int((point - 1).into(), pen.byte(b'e'))
        }
    }
}

/// `digits · 10^exponent`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Decimal {
    digits: u64,
    exponent: i32,
}

/// The digits of a number up to some decimal place.
#[derive(Clone, Copy)]
struct Cut {
    digits: u64,
    /// Whether `digits` has one digit more; otherwise it may end in zeros, which are removed.
    is_longer: bool,
}

/// All values that read back as one number: between two bounds, each half way to a neighbour.
/// Scaled by `10^-exponent`, with `shift` bits after the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Interval {
    /// The upper bound.
    high: u64,
    /// Distance from the upper bound to the number itself.
    distance: u64,
    /// Distance from the upper bound to the lower one.
    delta: u64,
    /// From 32 to 60, which leaves at least one and at most ten digits before the point.
    shift: u32,
    exponent: i32,
}

const HIDDEN_BIT: u64 = 1 << 52;

impl Interval {
    /// Returns the interval of a positive, finite number.
    fn of(x: f64) -> Self {
        let fraction = x.to_bits() & (HIDDEN_BIT - 1);
        let (mantissa, exponent) = match (x.to_bits() >> 52) as i32 {
            0 => (fraction, -1074),
            biased => (fraction | HIDDEN_BIT, biased - 1075),
        };
        // All of them use the exponent of the upper bound, whose highest bit is set.
        let zeros = (2 * mantissa + 1).leading_zeros();
        let exponent = exponent - 1 - zeros as i32;
        let high = (2 * mantissa + 1) << zeros;
        // The neighbour below a power of two is closer.
        let low = match mantissa {
            HIDDEN_BIT => (4 * mantissa - 1) << (zeros - 1),
            _ => (2 * mantissa - 1) << zeros,
        };
        let (power, power_exponent, decimal_exponent) = power_of_ten(exponent);
        let times_power = |x: u64| ((u128::from(x) * u128::from(power) + (1 << 63)) >> 64) as u64;
        // One unit inwards makes up for the error of the products.
        let (high, low) = (times_power(high) - 1, times_power(low) + 1);
        Interval {
            high,
            distance: high - times_power(mantissa << (zeros + 1)),
            delta: high - low,
            shift: (exponent + power_exponent + 64).unsigned_abs(),
            exponent: decimal_exponent,
        }
    }

    /// Like [`Interval::of`], for a time from 2004 to 2038, which is a number from 2³⁰ to 2³¹: most
    /// of the interval is constant, and one product replaces three.
    #[inline(always)]
    fn of_recent(x: f64) -> Option<Self> {
        let mantissa = x.to_bits() & (HIDDEN_BIT - 1) | HIDDEN_BIT;
        if !is_recent(x) || mantissa == HIDDEN_BIT {
            return None;
        }
        let power = u128::from(POWERS[(-FIRST_POWER - RECENT_EXPONENT as i32) as usize / 8]);
        let middle = u128::from(mantissa << 11) * power + (1 << 63);
        let high = ((middle + (power << 10)) >> 64) as u64 - 1;
        let low = ((middle - (power << 10)) >> 64) as u64 + 1;
        Some(Interval {
            high,
            distance: high - (middle >> 64) as u64,
            delta: high - low,
            shift: 46,
            exponent: RECENT_EXPONENT as i32,
        })
    }

    /// Generates digit by digit, as in the paper: the fewest digits of a number in the interval
    /// that start like the upper bound; among such numbers the one closest to the middle, as far as
    /// 64 bits can tell.
    #[cold]
    fn plain(self) -> Decimal {
        let Interval { high, distance, mut delta, shift, exponent } = self;
        let one = 1u64 << shift;
        let (whole, mut fraction) = (high >> shift, high & (one - 1));
        for places in (0..=whole.checked_ilog10().unwrap_or(0)).rev() {
            let divisor = 10u64.pow(places);
            let rest = ((whole % divisor) << shift) + fraction;
            if rest <= delta {
                let digits = whole / divisor - steps(rest, delta, divisor << shift, distance);
                return Decimal { digits, exponent: exponent + places as i32 };
            }
        }
        // `fraction` stays below `one`, and `delta` below `fraction`, so neither product overflows.
        let (mut digits, mut exponent, mut unit) = (whole, exponent, 1u64);
        loop {
            fraction *= 10;
            delta *= 10;
            // Becomes 0 on overflow, as in RapidJSON.
            unit = unit.checked_mul(10).unwrap_or(0);
            digits = digits * 10 + (fraction >> shift);
            fraction &= one - 1;
            exponent -= 1;
            if fraction < delta {
                digits -= steps(fraction, delta, one, distance.wrapping_mul(unit));
                return Decimal { digits, exponent };
            }
        }
    }

    /// Like [`Interval::plain`], with all digits at once. Returns `None` where the result would
    /// differ, which happens for a few subnormal numbers and almost no others.
    ///
    /// Digits are generated until the remainder of the upper bound, `rest`, is less than `delta`;
    /// both are multiplied by ten with each digit after the point. Consider the last place where
    /// `delta` is less than a unit of that place. If generation stops there or before, the digits
    /// left out are zeros, so it stops at the last nonzero digit. If not, it stops one digit later,
    /// because `delta` is more than a unit then. Lowering the last digit also takes a `delta` of at
    /// least a unit.
    fn quick(self) -> Option<Decimal> {
        let places = ((1 << self.shift) - 1u64).checked_div(self.delta)?.checked_ilog10()?;
        let Cut { mut digits, is_longer } = self.cut(places)?;
        let mut exponent = self.exponent - places as i32 - i32::from(is_longer);
        // Some digit is not zero: the upper bound has bits before the point.
        while !is_longer && digits.is_multiple_of(10) {
            digits /= 10;
            exponent += 1;
        }
        Some(Decimal { digits, exponent })
    }

    /// Returns the digits up to the last place where `delta` is less than a unit.
    #[inline(always)]
    fn cut(self, places: u32) -> Option<Cut> {
        let one = 1u64 << self.shift;
        let power = 10u64.pow(places);
        let product = u128::from(self.high) * u128::from(power);
        let (digits, rest) = ((product >> self.shift) as u64, product as u64 & (one - 1));
        let delta = self.delta * power;
        if rest < delta {
            return Some(Cut { digits, is_longer: false });
        }
        // Before the point, generation also stops at an equal `rest`; `plain` handles that.
        if rest == delta {
            return None;
        }
        let (rest, delta, distance) = (rest * 10, delta * 10, self.distance * power * 10);
        let digits = digits * 10 + (rest >> self.shift);
        let digits = digits - steps(rest & (one - 1), delta, one, distance);
        Some(Cut { digits, is_longer: true })
    }
}

/// Returns how often to lower the last digit, worth `unit`: as long as that brings the number
/// closer to the middle, `distance` below the upper bound, and keeps it above the lower bound,
/// `delta` below the upper one. The number is `rest` below the upper bound.
#[inline(always)]
fn steps(mut rest: u64, delta: u64, unit: u64, distance: u64) -> u64 {
    let mut steps = 0;
    while rest < distance
        && delta - rest >= unit
        && (rest + unit < distance || distance - rest > rest + unit - distance)
    {
        steps += 1;
        rest += unit;
    }
    steps
}

const FIRST_POWER: i32 = -348;

/// The decimal exponent of recent times.
const RECENT_EXPONENT: u32 = 4;

/// Returns the power of ten that scales a number with this binary exponent to one in −60..=−32,
/// that power's own binary exponent, and the decimal exponent that compensates for it.
fn power_of_ten(exponent: i32) -> (u64, i32, i32) {
    // 315653 / 2^20 is close enough to log10(2), and only 0 gives a whole product.
    let distance = -61 - exponent;
    let k = ((distance * 315_653) >> 20) + i32::from(distance != 0);
    // The table has every eighth power.
    let index = ((k - FIRST_POWER - 1) >> 3) + 1;
    let power = FIRST_POWER + 8 * index;
    // 1741647 / 2^19 is close enough to log2(10) for exponents this small.
    (POWERS[index as usize], ((power * 1_741_647) >> 19) - 63, -power)
}

/// 10^−348, 10^−340, … 10^340: the upper 64 bits, rounded.
static POWERS: [u64; 87] = [
    0xfa8f_d5a0_081c_0288,
    0xbaae_e17f_a23e_bf76,
    0x8b16_fb20_3055_ac76,
    0xcf42_894a_5dce_35ea,
    0x9a6b_b0aa_5565_3b2d,
    0xe61a_cf03_3d1a_45df,
    0xab70_fe17_c79a_c6ca,
    0xff77_b1fc_bebc_dc4f,
    0xbe56_91ef_416b_d60c,
    0x8dd0_1fad_907f_fc3c,
    0xd351_5c28_3155_9a83,
    0x9d71_ac8f_ada6_c9b5,
    0xea9c_2277_23ee_8bcb,
    0xaecc_4991_4078_536d,
    0x823c_1279_5db6_ce57,
    0xc210_9436_4dfb_5637,
    0x9096_ea6f_3848_984f,
    0xd774_85cb_2582_3ac7,
    0xa086_cfcd_97bf_97f4,
    0xef34_0a98_172a_ace5,
    0xb238_67fb_2a35_b28e,
    0x84c8_d4df_d2c6_3f3b,
    0xc5dd_4427_1ad3_cdba,
    0x936b_9fce_bb25_c996,
    0xdbac_6c24_7d62_a584,
    0xa3ab_6658_0d5f_daf6,
    0xf3e2_f893_dec3_f126,
    0xb5b5_ada8_aaff_80b8,
    0x8762_5f05_6c7c_4a8b,
    0xc9bc_ff60_34c1_3053,
    0x964e_858c_91ba_2655,
    0xdff9_7724_7029_7ebd,
    0xa6df_bd9f_b8e5_b88f,
    0xf8a9_5fcf_8874_7d94,
    0xb944_7093_8fa8_9bcf,
    0x8a08_f0f8_bf0f_156b,
    0xcdb0_2555_6531_31b6,
    0x993f_e2c6_d07b_7fac,
    0xe45c_10c4_2a2b_3b06,
    0xaa24_2499_6973_92d3,
    0xfd87_b5f2_8300_ca0e,
    0xbce5_0864_9211_1aeb,
    0x8cbc_cc09_6f50_88cc,
    0xd1b7_1758_e219_652c,
    0x9c40_0000_0000_0000,
    0xe8d4_a510_0000_0000,
    0xad78_ebc5_ac62_0000,
    0x813f_3978_f894_0984,
    0xc097_ce7b_c907_15b3,
    0x8f7e_32ce_7bea_5c70,
    0xd5d2_38a4_abe9_8068,
    0x9f4f_2726_179a_2245,
    0xed63_a231_d4c4_fb27,
    0xb0de_6538_8cc8_ada8,
    0x83c7_088e_1aab_65db,
    0xc45d_1df9_4271_1d9a,
    0x924d_692c_a61b_e758,
    0xda01_ee64_1a70_8dea,
    0xa26d_a399_9aef_774a,
    0xf209_787b_b47d_6b85,
    0xb454_e4a1_79dd_1877,
    0x865b_8692_5b9b_c5c2,
    0xc835_53c5_c896_5d3d,
    0x952a_b45c_fa97_a0b3,
    0xde46_9fbd_99a0_5fe3,
    0xa59b_c234_db39_8c25,
    0xf6c6_9a72_a398_9f5c,
    0xb7dc_bf53_54e9_bece,
    0x88fc_f317_f222_41e2,
    0xcc20_ce9b_d35c_78a5,
    0x9816_5af3_7b21_53df,
    0xe2a0_b5dc_971f_303a,
    0xa8d9_d153_5ce3_b396,
    0xfb9b_7cd9_a4a7_443c,
    0xbb76_4c4c_a7a4_4410,
    0x8bab_8eef_b640_9c1a,
    0xd01f_ef10_a657_842c,
    0x9b10_a4e5_e991_3129,
    0xe710_9bfb_a19c_0c9d,
    0xac28_20d9_623b_f429,
    0x8044_4b5e_7aa7_cf85,
    0xbf21_e440_03ac_dd2d,
    0x8e67_9c2f_5e44_ff8f,
    0xd433_179d_9c8c_b841,
    0x9e19_db92_b4e3_1ba9,
    0xeb96_bf6e_badf_77d9,
    0xaf87_023b_9bf0_ee6b,
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(x: f64) -> String {
        let mut out = Vec::new();
        put_double(x, Pen::new(&mut out, 0)).finish();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn digits_are_those_of_rapidjson() {
        for (x, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-2.5, "-2.5"),
            (0.1, "0.1"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e308"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
            (1e20, "100000000000000000000.0"),
            (1e21, "1e21"),
            (1.5e300, "1.5e300"),
            (123e-8, "0.00000123"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (-1.25e-7, "-1.25e-7"),
            (1_767_225_601.0, "1767225601.0"),
            // Recorded; neither the closest nor the shortest.
            (f64::from_bits(0x3f6b_7a00_0000_0000), "0.0033540725708007813"),
            (1_657_805_698.013_641, "1657805698.0136411"),
        ] {
            assert_eq!(text(x), expected);
        }
    }

    /// The fast paths give the digits of the plain one.
    fn check(x: f64) {
        let interval = Interval::of(x);
        let plain = interval.plain();
        if let Some(quick) = interval.quick() {
            assert_eq!(quick, plain, "{x:e}");
        }
        if let Some(recent) = Interval::of_recent(x) {
            assert_eq!(recent, interval, "{x:e}");
            let digits = plain.digits.to_string();
            let (seconds, decimals) = digits.split_at(digits.len().min(10));
            let decimals = if decimals.is_empty() { "0" } else { decimals };
            assert_eq!(text(x), format!("{seconds:0<10}.{decimals}"), "{x:e}");
        }
    }

    #[test]
    fn the_exponent_of_the_power_needs_no_float() {
        // From the smallest subnormal number to the largest.
        for exponent in -1137..=960 {
            let k = (f64::from(-61 - exponent) * std::f64::consts::LOG10_2).ceil() as i32;
            let index = ((k + 347) >> 3) + 1;
            assert_eq!(power_of_ten(exponent).2, 348 - 8 * index, "{exponent}");
        }
    }

    #[test]
    fn recent_times_have_the_plain_digits() {
        let (first, last) = ((1u64 << 30) as f64, (1u64 << 31) as f64);
        let mut bits = first.to_bits();
        // Times of all years, in full precision, in microseconds and coarser.
        while f64::from_bits(bits) < last {
            let x = f64::from_bits(bits);
            for per_second in [1e6, 1e5, 1e3, 1.0] {
                check((x * per_second).round() / per_second);
            }
            check(x);
            bits += (1 << 52) / 49_999;
        }
        // Both ends of the range, and a run of consecutive times.
        let start = 1_657_805_698.013_641_f64.to_bits();
        for i in 0..50_000 {
            check(f64::from_bits(first.to_bits() + i));
            check(f64::from_bits(last.to_bits() - 1 - i));
            check(f64::from_bits(start + i));
        }
    }

    #[test]
    #[ignore = "takes a minute in a release build; for whoever changes the digits"]
    fn many_recent_times_have_the_plain_digits() {
        let first = ((1u64 << 30) as f64).to_bits();
        for i in 0..100_000_000u64 {
            let x = f64::from_bits(first + i * 45_035_996 + i % 977);
            check(x);
            check((x * 1e6).round() / 1e6);
        }
    }

    #[test]
    fn powers_of_two_and_ten_read_back() {
        let normal = (1..2047u64).map(|biased| f64::from_bits(biased << 52));
        let subnormal = (0..52).map(|bit| f64::from_bits(1 << bit));
        for power in normal.chain(subnormal) {
            for x in [power.next_down(), power, power.next_up()] {
                if x > 0.0 {
                    check(x);
                }
                assert_eq!(text(x).parse(), Ok(x));
            }
        }
        for exponent in -307..=308 {
            let x: f64 = format!("1e{exponent}").parse().unwrap();
            check(x);
            assert_eq!(text(x).parse(), Ok(x));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn all_doubles_read_back(bits: u64, seconds in 0.0..4e9f64, small in 0.0..1f64) {
            for x in [f64::from_bits(bits), seconds, (seconds * 1e6).round() / 1e6, small] {
                if !x.is_finite() {
                    continue;
                }
                if x != 0.0 {
                    check(x.abs());
                }
                let ours = text(x);
                prop_assert_eq!(ours.parse::<f64>().unwrap().to_bits(), x.to_bits());
                // The older RapidJSON has the same digits except for the last one.
                let mut buffer = dtoa::Buffer::new();
                let (ours, olds) = (ours.as_bytes(), buffer.format_finite(x).as_bytes());
                prop_assert_eq!(ours.len(), olds.len());
                let differ = ours.iter().zip(olds).filter(|(ours, olds)| ours != olds);
                prop_assert!(differ.count() <= 1);
            }
        }
    }
}
