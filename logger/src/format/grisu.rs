//! The shortest-or-nearly decimal digits of a double, as RapidJSON prints them (WIRE.md §5.5).
//!
//! The algorithm is Grisu2 of Florian Loitsch, "Printing Floating-Point Numbers Quickly and
//! Accurately with Integers", PLDI 2010. It computes with 64-bit approximations, so that its digits
//! always read back as the same double, but are neither always the shortest nor always the closest.
//! Logs must have the same digits as Zeek's, so the approximations here are RapidJSON's: the same
//! powers of ten, the same rounding, the same bounds. (The `dtoa` crate ports an older RapidJSON,
//! which did not correct the last digit of numbers with nine or more decimals.)

use super::number::put_int;

/// Appends a finite number: plain from 10⁻⁶ up to 10²¹, with an exponent otherwise, and never
/// without a point or an exponent.
pub(super) fn put_double(x: f64, out: &mut Vec<u8>) {
    if x.is_sign_negative() {
        out.push(b'-');
    }
    if x == 0.0 {
        out.extend_from_slice(b"0.0");
        return;
    }
    let digits = Digits::of(x.abs());
    let text = digits.as_slice();
    // The point stands before digit number `point`.
    let point = text.len() as i32 + digits.exponent;
    match point {
        1..=21 => {
            let point = point as usize;
            if point < text.len() {
                out.extend_from_slice(&text[..point]);
                out.push(b'.');
                out.extend_from_slice(&text[point..]);
            } else {
                out.extend_from_slice(text);
                out.extend_from_slice(&b"00000000000000000000"[..point - text.len()]);
                out.extend_from_slice(b".0");
            }
        }
        -5..=0 => {
            out.extend_from_slice(&b"0.00000"[..2 + point.unsigned_abs() as usize]);
            out.extend_from_slice(text);
        }
        _ => {
            out.push(text[0]);
            if let rest @ [_, ..] = &text[1..] {
                out.push(b'.');
                out.extend_from_slice(rest);
            }
            out.push(b'e');
            put_int((point - 1).into(), out);
        }
    }
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

    /// The upper half of the product, rounded.
    fn times(self, other: Scaled) -> Self {
        let product = u128::from(self.mantissa) * u128::from(other.mantissa) + (1 << 63);
        Scaled { mantissa: (product >> 64) as u64, exponent: self.exponent + other.exponent + 64 }
    }
}

impl Digits {
    fn as_slice(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    /// The digits of a positive, finite number.
    fn of(x: f64) -> Self {
        const HIDDEN_BIT: u64 = 1 << 52;
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

        // Fewer than ten digits before the point.
        let mut whole = (high.mantissa >> shift) as u32;
        let mut fraction = high.mantissa & (one - 1);
        let mut divisor = 10u32.pow(whole.checked_ilog10().unwrap_or(0));
        let mut places = divisor.ilog10() as i32;
        loop {
            let digit = whole / divisor;
            whole %= divisor;
            digits.push(digit as u8);
            let rest = (u64::from(whole) << shift) + fraction;
            if rest <= delta {
                digits.exponent += places;
                digits.approach(rest, delta, u64::from(divisor) << shift, distance);
                return digits;
            }
            if places == 0 {
                break;
            }
            places -= 1;
            divisor /= 10;
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
                digits.approach(fraction, delta, one, distance.wrapping_mul(unit));
                return digits;
            }
        }
    }

    /// Appends a digit, but no leading zero.
    fn push(&mut self, digit: u8) {
        if digit != 0 || self.len > 0 {
            self.buffer[self.len] = b'0' + digit;
            self.len += 1;
        }
    }

    /// Lowers the last digit, worth `unit`, while that brings the number closer to the middle,
    /// `distance` below the upper bound, and keeps it above the lower one, `delta` below it.
    fn approach(&mut self, mut rest: u64, delta: u64, unit: u64, distance: u64) {
        while rest < distance
            && delta - rest >= unit
            && (rest + unit < distance || distance - rest > rest + unit - distance)
        {
            self.buffer[self.len - 1] -= 1;
            rest += unit;
        }
    }
}

const FIRST_POWER: i32 = -348;

/// The power of ten that brings a number with this binary exponent to an exponent in −60..=−32,
/// and the decimal exponent that makes up for it.
fn power_of_ten(exponent: i32) -> (Scaled, i32) {
    let k = (f64::from(-61 - exponent) * std::f64::consts::LOG10_2).ceil() as i32;
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
        put_double(x, &mut out);
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

    #[test]
    fn powers_of_two_and_ten_read_back() {
        for exponent in -1074..1024 {
            for x in [2f64.powi(exponent), 2f64.powi(exponent).next_down()] {
                assert_eq!(text(x).parse(), Ok(x));
            }
        }
        for exponent in -307..=308 {
            let x: f64 = format!("1e{exponent}").parse().unwrap();
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
