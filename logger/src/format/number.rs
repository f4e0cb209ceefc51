//! Doubles, and times as numbers (WIRE.md §5.2, §5.5).
//!
//! Zeek prints TSV times and doubles with C's `%.6f`, which rounds the exact binary value, ties to
//! even. This module does the same, in integers where the value has fewer than 64 bits before the
//! point.

use std::io::Write;

use bstr::ByteSlice;

use super::digits::{ZERO_TO_POINT, ascii_digits, is_recent, put_ten_digits, put_uint};
use super::grisu;
use super::pen::Pen;

/// Appends a TSV time or interval: `%.6f`.
#[inline(always)]
pub(super) fn put_fixed(x: f64, pen: Pen<'_>) -> Pen<'_> {
    if is_recent(x) {
        let (whole, micros) = to_micros(x).unwrap_or_default();
        return put_ten_digits(whole, point_and_micros(micros), 7, pen);
    }
    put_any_fixed(x, pen)
}

#[inline(never)]
fn put_any_fixed(x: f64, pen: Pen<'_>) -> Pen<'_> {
    let Some((whole, micros)) = to_micros(x.abs()) else {
        return put_unusual(x, pen);
    };
    let pen = if x.is_sign_negative() { pen.byte(b'-') } else { pen };
    put_uint(whole, pen).chunk(&point_and_micros(micros).to_le_bytes(), 7)
}

const MANTISSA_BITS: u32 = 52;

/// Returns a point and six digits, the point in the lowest byte.
#[inline(always)]
fn point_and_micros(micros: u32) -> u64 {
    // Eight digits, of which the first is dropped and the second becomes the point.
    ascii_digits(micros.into()) >> 8 ^ ZERO_TO_POINT
}

/// Appends a TSV double: `%.6f` without trailing zeros, but with `.0` for integers.
pub(super) fn put_double(x: f64, pen: Pen<'_>) -> Pen<'_> {
    if !x.is_finite() {
        return put_unusual(x, pen);
    }
    let start = pen.at();
    // Negative zero is written without a sign.
    let pen = put_fixed(if x == 0.0 { 0.0 } else { x }, pen);
    let text = pen.text_from(start);
    let digits = text.trim_end_with(|c| c == '0');
    let surplus = text.len() - digits.strip_suffix(b".").unwrap_or(digits).len();
    let pen = pen.retreat(surplus);
    if (x - x.round()).abs() < 1e-9 { pen.chunk(b".0", 2) } else { pen }
}

/// Appends a JSON double.
#[inline]
pub(super) fn put_json_double(x: f64, pen: Pen<'_>) -> Pen<'_> {
    if x.is_finite() { grisu::put_double(x, pen) } else { pen.chunk(b"null", 4) }
}

/// Appends a number of at least 2⁵³, an infinity, or NaN.
#[cold]
fn put_unusual(x: f64, pen: Pen<'_>) -> Pen<'_> {
    pen.with(|out| {
        // Writing to a vector does not fail. Rust prints the exact binary value, as C does.
        let _ = if x.is_nan() { write!(out, "nan") } else { write!(out, "{x:.6}") };
    })
}

/// Rounds a nonnegative number to millionths as C does and returns its integer part and millionths,
/// or `None` from 2⁵³ on, where there is nothing to round.
#[inline(always)]
fn to_micros(x: f64) -> Option<(u64, u32)> {
    let bits = x.to_bits();
    let biased_exponent = (bits >> MANTISSA_BITS) as u32;
    if biased_exponent == 0 {
        // Zero and subnormal numbers.
        return Some((0, 0));
    }
    // x = mantissa / 2^shift
    let mantissa = bits & ((1 << MANTISSA_BITS) - 1) | 1 << MANTISSA_BITS;
    let shift = (1023 + MANTISSA_BITS).checked_sub(biased_exponent)?;
    // Half a unit, less one, plus one if the last digit is odd: ties go to the even digit.
    let (whole, micros) = match shift {
        0 => (mantissa, 0),
        // With ten or more bits before the point, as present-day times have, the products fit 64
        // bits.
        1..=43 => {
            let scaled = (mantissa & ((1 << shift) - 1)) * 1_000_000;
            let half = (1 << (shift - 1)) - 1 + (scaled >> shift & 1);
            (mantissa >> shift, (scaled + half) >> shift)
        }
        // The mantissa has 53 bits and a million has 20.
        44..=93 => {
            let mantissa = u128::from(mantissa);
            let scaled = (mantissa & ((1 << shift) - 1)) * 1_000_000;
            let half = (1 << (shift - 1)) - 1 + (scaled >> shift & 1);
            ((mantissa >> shift) as u64, ((scaled + half) >> shift) as u64)
        }
        // Less than 2⁻⁴⁰.
        _ => (0, 0),
    };
    Some(if micros == 1_000_000 { (whole + 1, 0) } else { (whole, micros as u32) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::pen::text_of as text;
    use super::*;

    #[test]
    fn doubles_print_as_zeek_prints_them() {
        for (x, tsv, json) in [
            (0.0, "0.0", "0.0"),
            (-0.0, "0.0", "-0.0"),
            (2_153_226_000.0, "2153226000.0", "2153226000.0"),
            (1.1, "1.1", "1.1"),
            (0.5, "0.5", "0.5"),
            (-2.5, "-2.5", "-2.5"),
            (1.123_456_789, "1.123457", "1.123456789"),
            (5e4, "50000.0", "50000.0"),
            (3.14e15, "3140000000000000.0", "3140000000000000.0"),
            (1e-6, "0.000001", "0.000001"),
            (1e-7, "0", "1e-7"),
            (1e-10, "0.0", "1e-10"),
            (1.234_567_89e-5, "0.000012", "0.0000123456789"),
            (99_999_999.999_999_9, "100000000", "99999999.9999999"),
            (1e20, "100000000000000000000.0", "100000000000000000000.0"),
            (1e21, "1000000000000000000000.0", "1e21"),
            (1e22, "10000000000000000000000.0", "1e22"),
            (f64::NAN, "nan", "null"),
            (f64::INFINITY, "inf", "null"),
            (f64::NEG_INFINITY, "-inf", "null"),
        ] {
            assert_eq!(text(put_double, x), tsv, "{x}");
            assert_eq!(text(put_json_double, x), json, "{x}");
        }
        let huge = text(put_double, 1.79e308);
        assert!(huge.len() == 311 && huge.ends_with(".0"), "{huge}");
    }

    #[test]
    fn times_have_six_decimals() {
        for (x, expected) in [
            (0.0, "0.000000"),
            (-0.0, "-0.000000"),
            (1_767_225_600.25, "1767225600.250000"),
            (-0.5, "-0.500000"),
            (0.999_999_6, "1.000000"),
            // Exact ties go to even.
            (0.000_000_5, "0.000000"),
            (0.5 / 64.0, "0.007812"),
            (1.5 / 64.0, "0.023438"),
            (9_007_199_254_740_991.0, "9007199254740991.000000"),
            (9_007_199_254_740_992.0, "9007199254740992.000000"),
            (f64::MIN_POSITIVE, "0.000000"),
            (5e-324, "0.000000"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(text(put_fixed, x), expected, "{x}");
        }
    }

    fn check_fixed(x: f64) {
        let expected = if x.is_nan() { "nan".into() } else { format!("{x:.6}") };
        assert_eq!(text(put_fixed, x), expected, "{x:e}");
    }

    proptest! {
        #[test]
        fn rounding_is_that_of_the_exact_value(x: f64, seconds in 0.0..1e11f64, small in 0.0..1f64) {
            for x in [x, seconds, small, small / 1e5, -seconds] {
                check_fixed(x);
            }
        }

        #[test]
        fn rounding_of_ties_and_their_neighbours(halves in any::<u64>(), shift in 1..60u32) {
            // Fractions with few bits, which produce ties.
            let tie = (halves >> 11) as f64 / (1u64 << shift) as f64;
            for x in [tie, tie.next_up(), tie.next_down()] {
                check_fixed(x);
            }
        }
    }
}
