//! Integers as text, and the digits of doubles and times, eight at a time.

use super::pen::Pen;

/// Appends an unsigned integer.
#[inline(always)]
pub(super) fn put_uint(number: u64, pen: Pen<'_>) -> Pen<'_> {
    if number < 10 {
        pen.byte(b'0' + number as u8)
    } else if number < EIGHT_DIGITS {
        put_eight_digits(number, pen)
    } else {
        put_long_uint(number, pen)
    }
}

/// Appends a number of at most eight digits.
#[inline(always)]
fn put_eight_digits(number: u64, pen: Pen<'_>) -> Pen<'_> {
    let digits = ascii_digits(number);
    // Leading zeros are the low bytes; the last digit always stays.
    let zeros = ((digits - ASCII_ZEROS) | 1 << 56).trailing_zeros() / 8;
    pen.chunk(&(digits >> (8 * zeros)).to_le_bytes(), 8 - zeros as usize)
}

#[inline(never)]
fn put_long_uint(number: u64, pen: Pen<'_>) -> Pen<'_> {
    let pen = put_uint(number / EIGHT_DIGITS, pen);
    pen.chunk(&ascii_digits(number % EIGHT_DIGITS).to_le_bytes(), 8)
}

/// The first number with more than eight digits.
pub(super) const EIGHT_DIGITS: u64 = 100_000_000;

pub(super) const ASCII_ZEROS: u64 = 0x3030_3030_3030_3030;

/// Returns the eight digits of a number below 10⁸, the first one in the lowest byte.
///
/// The number is split three times, into lanes of 32, 16 and 8 bits. Quotients by 100 and by 10 are
/// products with 10486 / 2²⁰ and 103 / 2¹⁰, which are exact for four and for two digits.
#[inline(always)]
pub(super) fn ascii_digits(number: u64) -> u64 {
    let lanes = (number / 10_000) | ((number % 10_000) << 32);
    let high = (lanes * 10_486) >> 20 & 0x7f_0000_007f;
    let lanes = high | (lanes - high * 100) << 16;
    let high = (lanes * 103) >> 10 & 0x000f_000f_000f_000f;
    (high | (lanes - high * 10) << 8) + ASCII_ZEROS
}

/// Appends a signed integer.
#[inline(always)]
pub(super) fn put_int(number: i64, pen: Pen<'_>) -> Pen<'_> {
    let pen = if number < 0 { pen.byte(b'-') } else { pen };
    put_uint(number.unsigned_abs(), pen)
}

/// XORed with a `0` in the lowest byte, turns it into a point.
pub(super) const ZERO_TO_POINT: u64 = (b'0' ^ b'.') as u64;

/// Returns whether a number is a time from 2004 to 2038: from 2³⁰ to 2³¹.
#[inline(always)]
pub(super) fn is_recent(x: f64) -> bool {
    // Sign and exponent.
    x.to_bits() >> (f64::MANTISSA_DIGITS - 1) == 1023 + 30
}

/// Appends the ten digits of `whole`, which is the size of a [recent](is_recent) time, and the
/// first bytes of `decimals`, whose first digit is in the lowest byte.
#[inline(always)]
pub(super) fn put_ten_digits(whole: u64, decimals: u64, len: usize, mut pen: Pen<'_>) -> Pen<'_> {
    let window: &mut [u8; 18] = pen.window();
    let high = (whole / EIGHT_DIGITS) as u8;
    window[0] = b'0' + high / 10;
    window[1] = b'0' + high % 10;
    window[2..10].copy_from_slice(&ascii_digits(whole % EIGHT_DIGITS).to_le_bytes());
    window[10..].copy_from_slice(&decimals.to_le_bytes());
    pen.advance(10 + len)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::pen::text_of as text;
    use super::*;

    #[test]
    fn integers_print_all_their_digits() {
        let mut numbers: Vec<u64> = (0..20_000).collect();
        for power in 0..20 {
            numbers.extend((0..10).map(|n| 10u64.pow(power).saturating_mul(n)));
        }
        numbers.push(u64::MAX);
        for near in numbers {
            for number in [near, near.wrapping_sub(1), near.wrapping_mul(9_999)] {
                assert_eq!(text(put_uint, number), number.to_string());
            }
        }
        assert_eq!(text(put_int, i64::MIN), "-9223372036854775808");
    }

    proptest! {
        #[test]
        fn integers_print_as_they_do_elsewhere(number: u64, shift in 0..64u32) {
            prop_assert_eq!(text(put_uint, number >> shift), (number >> shift).to_string());
        }
    }
}
