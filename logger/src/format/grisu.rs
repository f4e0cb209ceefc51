//! The shortest-or-nearly decimal digits of a double, as RapidJSON prints them (WIRE.md §5.5).
//!
//! The algorithm is Grisu2 of Florian Loitsch, "Printing Floating-Point Numbers Quickly and
//! Accurately with Integers", PLDI 2010. It computes with 64-bit approximations, so that its digits
//! always read back as the same double, but are neither always the shortest nor always the closest.
//! Logs must have the same digits as Zeek's, so the approximations here are RapidJSON's: the same
//! powers of ten, the same rounding, the same bounds. (The `dtoa` crate ports an older RapidJSON,
//! which did not correct the last digit of numbers with nine or more decimals.)

use super::number::{ASCII_ZEROS, ZERO_TO_POINT, ascii_digits, is_recent, put_int, put_ten_digits};
use super::pen::Pen;

/// Appends a finite number: plain from 10⁻⁶ up to 10²¹, with an exponent otherwise, and never
/// without a point or an exponent.
#[inline]
pub(super) fn put_double(x: f64, pen: Pen<'_>) -> Pen<'_> {
    match put_recent_time(x, pen) {
        Ok(pen) => pen,
        Err(pen) => put_any_double(x, pen),
    }
}

/// Appends a time from 2004 to 2038, if that is what the number could be: one from 2³⁰ to 2³¹. They
/// are most of the doubles of a log.
///
/// This is [`Digits::of`] for the constants these numbers lead to. The scaled bound `high` is about
/// `x` times 10⁻⁴, with 46 bits after the point; `delta` is about 1700 of their units.
///
/// Digits are generated until what is left of `high` is less than `delta`, both of them multiplied
/// by ten with each digit after the point. After ten of those, the microseconds, `delta` has become
/// less than one unit of the last digit. So where it stops there or earlier, the digits left out are
/// zeros: it stops at the last microsecond digit that is none. And where it does not, it stops after
/// one more digit, because `delta` is now more than a unit. Lowering the last digit, too, takes a
/// `delta` of at least a unit.
#[inline]
fn put_recent_time(x: f64, pen: Pen<'_>) -> Result<Pen<'_>, Pen<'_>> {
    const SHIFT: u32 = 46;
    const UNIT: u64 = 1 << SHIFT;
    const TO_MICROS: u64 = 10u64.pow(10);
    let bits = x.to_bits();
    let mantissa = bits & (HIDDEN_BIT - 1) | HIDDEN_BIT;
    // Below 2³⁰ itself the next number is closer than above.
    if !is_recent(x) || mantissa == HIDDEN_BIT {
        return Err(pen);
    }
    // The three of them differ by half a unit of the mantissa.
    let power = u128::from(POWERS[(-4 - FIRST_POWER) as usize / 8]);
    let middle = u128::from(mantissa << 11) * power + (1 << 63);
    let high = ((middle + (power << 10)) >> 64) as u64 - 1;
    let low = ((middle - (power << 10)) >> 64) as u64 + 1;

    let product = u128::from(high) * u128::from(TO_MICROS);
    let micros = (product >> SHIFT) as u64;
    let mut rest = product as u64 % UNIT;
    let mut delta = (high - low) * TO_MICROS;
    // Zeros before the point are left out even for a `rest` of `delta`: never mind which.
    if rest == delta {
        return Err(pen);
    }
    let (seconds, mut decimals) = (micros / 1_000_000, micros % 1_000_000 * 10);
    // The point and seven decimals.
    if rest < delta {
        let digits = ascii_digits(decimals);
        let zeros = (digits ^ ASCII_ZEROS).leading_zeros() as usize / 8;
        return Ok(put_ten_digits(seconds, digits ^ ZERO_TO_POINT, 2.max(8 - zeros), pen));
    }
    rest *= 10;
    delta *= 10;
    decimals += rest >> SHIFT;
    let distance = (high - (middle >> 64) as u64) * TO_MICROS * 10;
    decimals -= steps_to_middle(rest % UNIT, delta, UNIT, distance);
    Ok(put_ten_digits(seconds, ascii_digits(decimals) ^ ZERO_TO_POINT, 8, pen))
}

#[inline(never)]
fn put_any_double(x: f64, pen: Pen<'_>) -> Pen<'_> {
    let pen = if x.is_sign_negative() { pen.byte(b'-') } else { pen };
    if x == 0.0 {
        return pen.chunk(b"0.0", 3);
    }
    let digits = Digits::of(x.abs());
    let text = digits.as_slice();
    // The point stands before digit number `point`.
    let point = text.len() as i32 + digits.exponent;
    match point {
        1..=21 => {
            let point = point as usize;
            if point < text.len() {
                pen.bytes(&text[..point]).byte(b'.').bytes(&text[point..])
            } else {
                let zeros = point - text.len();
                pen.bytes(text).chunk(b"00000000000000000000", zeros).chunk(b".0", 2)
            }
        }
        -5..=0 => {
            let pen = pen.chunk(b"0.00000", 2 + point.unsigned_abs() as usize);
            pen.chunk(&digits.buffer, text.len())
        }
        _ => {
            let pen = pen.byte(text[0]);
            let pen =
                if let rest @ [_, ..] = &text[1..] { pen.byte(b'.').bytes(rest) } else { pen };
            put_int((point - 1).into(), pen.byte(b'e'))
        }
    }
}

const HIDDEN_BIT: u64 = 1 << 52;

/// The upper half of a product, rounded.
#[inline(always)]
fn times(x: u64, y: u64) -> u64 {
    ((u128::from(x) * u128::from(y) + (1 << 63)) >> 64) as u64
}

/// How often the last digit, worth `unit`, is lowered: while that brings the number closer to the
/// middle, `distance` below the upper bound, and keeps it above the lower one, `delta` below it.
/// The number is `rest` below the upper bound.
#[inline]
fn steps_to_middle(mut rest: u64, delta: u64, unit: u64, distance: u64) -> u64 {
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

/// The digits of a number, which is `digits · 10^exponent`.
struct Digits {
    /// Nine before the point of the scaled number, at most 20 after it.
    buffer: [u8; 32],
    len: usize,
    exponent: i32,
}

/// `mantissa · 2^exponent`
#[derive(Clone, Copy)]
struct Scaled {
    mantissa: u64,
    exponent: i32,
}

impl Scaled {
    /// The same number with the highest bit set. The mantissa is not 0.
    fn normalized(self) -> Self {
        let zeros = self.mantissa.leading_zeros();
        Scaled { mantissa: self.mantissa << zeros, exponent: self.exponent - zeros as i32 }
    }

    fn times(self, other: Scaled) -> Self {
        Scaled {
            mantissa: times(self.mantissa, other.mantissa),
            exponent: self.exponent + other.exponent + 64,
        }
    }
}

impl Digits {
    fn as_slice(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    /// The digits of a positive, finite number.
    fn of(x: f64) -> Self {
        let fraction = x.to_bits() & (HIDDEN_BIT - 1);
        let (mantissa, exponent) = match (x.to_bits() >> 52) as i32 {
            0 => (fraction, -1074),
            biased => (fraction | HIDDEN_BIT, biased - 1075),
        };
        // Whatever lies between `low` and `high`, half way to the neighbours, reads back as x.
        let high = Scaled { mantissa: 2 * mantissa + 1, exponent: exponent - 1 }.normalized();
        let low = if mantissa == HIDDEN_BIT {
            Scaled { mantissa: 4 * mantissa - 1, exponent: exponent - 2 }
        } else {
            Scaled { mantissa: 2 * mantissa - 1, exponent: exponent - 1 }
        };
        let low = Scaled {
            mantissa: low.mantissa << (low.exponent - high.exponent),
            exponent: high.exponent,
        };
        let (power, decimal_exponent) = power_of_ten(high.exponent);
        let middle = Scaled { mantissa, exponent }.normalized().times(power);
        let high = high.times(power);
        let low = low.times(power);
        // One unit inwards, for the error of the products.
        let high = Scaled { mantissa: high.mantissa - 1, ..high };
        Digits::between(middle.mantissa, high, high.mantissa - (low.mantissa + 1), decimal_exponent)
    }

    /// The fewest digits of a number that is at most `delta` below `high`, and of those the ones
    /// next to `middle`, as far as 64 bits can tell. `middle` has the exponent of `high`, which is
    /// in −60..=−32.
    fn between(middle: u64, high: Scaled, mut delta: u64, exponent: i32) -> Self {
        let mut digits = Digits { buffer: [0; 32], len: 0, exponent };
        let shift = high.exponent.unsigned_abs();
        let one = 1u64 << shift;
        let distance = high.mantissa - middle;

        // At most ten digits before the point.
        let whole = (high.mantissa >> shift) as u32;
        let mut fraction = high.mantissa & (one - 1);
        if delta >= one {
            digits.put_subnormal(whole, fraction, delta, shift, distance);
            return digits;
        }
        digits.put_whole(whole);
        // What is left out is less than one, and no digit is worth as little: none is lowered.
        if fraction <= delta {
            while digits.as_slice().ends_with(b"0") {
                digits.len -= 1;
                digits.exponent += 1;
            }
            return digits;
        }

        // `fraction` stays below `one`, and `delta` below `fraction`: neither product overflows.
        let mut unit = 1u64;
        loop {
            fraction *= 10;
            delta *= 10;
            // 0 once it does not fit, as in RapidJSON.
            unit = unit.checked_mul(10).unwrap_or(0);
            digits.push((fraction >> shift) as u8);
            fraction &= one - 1;
            digits.exponent -= 1;
            if fraction < delta {
                let distance = distance.wrapping_mul(unit);
                digits.lower(steps_to_middle(fraction, delta, one, distance));
                return digits;
            }
        }
    }

    /// Appends all digits of a number.
    fn put_whole(&mut self, whole: u32) {
        let (high, low) = (u64::from(whole) / 100_000_000, u64::from(whole) % 100_000_000);
        let mut text = [0; 16];
        text[..8].copy_from_slice(&ascii_digits(high).to_le_bytes());
        text[8..].copy_from_slice(&ascii_digits(low).to_le_bytes());
        let zeros = 15 - whole.checked_ilog10().unwrap_or(0) as usize;
        self.len = 16 - zeros;
        self.buffer[..self.len].copy_from_slice(&text[zeros..]);
    }

    /// Digits before the point until what is left is at most `delta`. Numbers with few bits in their
    /// mantissa get no further.
    #[cold]
    fn put_subnormal(
        &mut self,
        mut whole: u32,
        fraction: u64,
        delta: u64,
        shift: u32,
        distance: u64,
    ) {
        let mut places = whole.checked_ilog10().unwrap_or(0);
        loop {
            let divisor = 10u32.pow(places);
            self.push((whole / divisor) as u8);
            whole %= divisor;
            let rest = (u64::from(whole) << shift) + fraction;
            if rest <= delta {
                self.exponent += places as i32;
                self.lower(steps_to_middle(rest, delta, u64::from(divisor) << shift, distance));
                return;
            }
            // With no places left, `rest` is `fraction`, which is less than `delta`.
            places -= 1;
        }
    }

    /// Appends a digit, but no leading zero.
    fn push(&mut self, digit: u8) {
        if digit != 0 || self.len > 0 {
            self.buffer[self.len] = b'0' + digit;
            self.len += 1;
        }
    }

    /// Lowers the last digit.
    fn lower(&mut self, steps: u64) {
        self.buffer[self.len - 1] -= steps as u8;
    }
}

const FIRST_POWER: i32 = -348;

/// The power of ten that brings a number with this binary exponent to an exponent in −60..=−32,
/// and the decimal exponent that makes up for it.
fn power_of_ten(exponent: i32) -> (Scaled, i32) {
    // 315653 / 2^20 is close enough to log10(2), and only 0 has a whole product.
    let distance = -61 - exponent;
    let k = ((distance * 315_653) >> 20) + i32::from(distance != 0);
    // Every eighth power is in the table.
    let index = ((k - FIRST_POWER - 1) >> 3) + 1;
    let power = FIRST_POWER + 8 * index;
    // 1741647 / 2^19 is close enough to log2(10) for exponents this small.
    let exponent = ((power * 1_741_647) >> 19) - 63;
    (Scaled { mantissa: POWERS[index as usize], exponent }, -power)
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
            // Recorded: not the closest, and not the shortest.
            (f64::from_bits(0x3f6b_7a00_0000_0000), "0.0033540725708007813"),
            (1_657_805_698.013_641, "1657805698.0136411"),
        ] {
            assert_eq!(text(x), expected);
        }
    }

    /// The same digits by RapidJSON's own steps, without any of the short cuts above: digit by digit
    /// from the first one on, and every digit compared.
    fn plain_digits(x: f64) -> (Vec<u8>, i32) {
        let (mantissa, exponent) = match (x.to_bits() >> 52) as i32 {
            0 => (x.to_bits(), -1074),
            biased => (x.to_bits() & (HIDDEN_BIT - 1) | HIDDEN_BIT, biased - 1075),
        };
        let normalized = |mantissa, exponent| Scaled { mantissa, exponent }.normalized();
        let high = normalized(2 * mantissa + 1, exponent - 1);
        let low = match mantissa {
            HIDDEN_BIT => (4 * mantissa - 1) << (exponent - 2 - high.exponent),
            _ => (2 * mantissa - 1) << (exponent - 1 - high.exponent),
        };
        let dk = f64::from(-61 - high.exponent) * std::f64::consts::LOG10_2 + 347.0;
        let index = (dk.ceil() as i32 >> 3) + 1;
        let power = POWERS[index as usize];
        let (middle, low) =
            (times(normalized(mantissa, exponent).mantissa, power), times(low, power));
        let high_mantissa = times(high.mantissa, power) - 1;
        let mut delta = high_mantissa - (low + 1);
        let power_exponent = (((-348 + 8 * index) * 1_741_647) >> 19) - 63;
        let shift = (high.exponent + power_exponent + 64).unsigned_abs();
        let mut exponent = 348 - 8 * index;

        let distance = high_mantissa - middle;
        let mut digits = Vec::new();
        let (mut whole, mut fraction) = (high_mantissa >> shift, high_mantissa % (1 << shift));
        for places in (0..10u32).rev() {
            let divisor = 10u64.pow(places);
            let digit = whole / divisor;
            whole %= divisor;
            if digit > 0 || !digits.is_empty() {
                digits.push(b'0' + digit as u8);
            }
            let rest = (whole << shift) + fraction;
            if rest <= delta {
                exponent += places as i32;
                let steps = steps_to_middle(rest, delta, divisor << shift, distance);
                *digits.last_mut().unwrap() -= steps as u8;
                return (digits, exponent);
            }
        }
        let mut unit = 1u64;
        loop {
            fraction *= 10;
            delta *= 10;
            unit = unit.checked_mul(10).unwrap_or(0);
            digits.push(b'0' + (fraction >> shift) as u8);
            fraction %= 1 << shift;
            exponent -= 1;
            if fraction < delta {
                let steps =
                    steps_to_middle(fraction, delta, 1 << shift, distance.wrapping_mul(unit));
                *digits.last_mut().unwrap() -= steps as u8;
                return (digits, exponent);
            }
        }
    }

    /// Our digits are the plain ones, and times are laid out as they should be.
    fn check(x: f64) {
        let (digits, exponent) = plain_digits(x);
        let ours = Digits::of(x);
        assert_eq!((ours.as_slice(), ours.exponent), (&digits[..], exponent), "{x:e}");
        if is_recent(x) {
            let (whole, decimals) = digits.split_at(10.min(digits.len()));
            let [whole, decimals] = [whole, decimals].map(|d| String::from_utf8_lossy(d));
            let decimals = if decimals.is_empty() { "0" } else { &decimals };
            assert_eq!(text(x), format!("{whole:0<10}.{decimals}"), "{x:e}");
        }
    }

    #[test]
    fn the_exponent_of_the_power_needs_no_float() {
        // From the smallest subnormal number to the largest.
        for exponent in -1137..=960 {
            let k = (f64::from(-61 - exponent) * std::f64::consts::LOG10_2).ceil() as i32;
            let index = ((k + 347) >> 3) + 1;
            assert_eq!(power_of_ten(exponent).1, 348 - 8 * index, "{exponent}");
        }
    }

    #[test]
    fn recent_times_have_the_digits_of_plain_steps() {
        let (first, last) = ((1u64 << 30) as f64, (1u64 << 31) as f64);
        let mut bits = first.to_bits();
        // Times of all years, in full precision, in microseconds and in less.
        while f64::from_bits(bits) < last {
            let x = f64::from_bits(bits);
            for per_second in [1e6, 1e5, 1e3, 1.0] {
                check((x * per_second).round() / per_second);
            }
            check(x);
            bits += (1 << 52) / 49_999;
        }
        // Both ends, and all that follow one another for a while.
        let start = 1_657_805_698.013_641_f64.to_bits();
        for i in 0..50_000 {
            check(f64::from_bits(first.to_bits() + i));
            check(f64::from_bits(last.to_bits() - 1 - i));
            check(f64::from_bits(start + i));
        }
    }

    #[test]
    #[ignore = "takes a minute in a release build; for whoever changes the digits"]
    fn many_recent_times_have_the_digits_of_plain_steps() {
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
                // The older RapidJSON has the same digits but for the last.
                let mut buffer = dtoa::Buffer::new();
                let (ours, olds) = (ours.as_bytes(), buffer.format_finite(x).as_bytes());
                prop_assert_eq!(ours.len(), olds.len());
                let differ = ours.iter().zip(olds).filter(|(ours, olds)| ours != olds);
                prop_assert!(differ.count() <= 1);
            }
        }
    }
}
