//! Times in JSON lines, by `json_timestamps` (WIRE.md §5.5), over the whole range of doubles.
//!
//! Zeek leaves the limits to C. The limits here are those of Zeek on x86-64 with glibc.

use std::io::Write;

use super::civil::Civil;
use super::digits::{put_int, put_uint};
use super::number::put_json_double;
use super::options::JsonTimestamps;
use super::pen::Pen;

/// Appends a time.
#[inline(always)]
pub(super) fn put_json_time(x: f64, timestamps: JsonTimestamps, pen: Pen<'_>) -> Pen<'_> {
    match timestamps {
        JsonTimestamps::Epoch => put_json_double(x, pen),
        JsonTimestamps::Millis => put_int(to_int(x * 1000.0), pen),
        JsonTimestamps::MillisUnsigned => put_uint(to_int(x * 1000.0) as u64, pen),
        JsonTimestamps::Iso8601 => put_iso8601(x, pen),
    }
}

/// Truncates a double to an integer. NaN and all values out of range, of either sign, become the
/// smallest integer, as the processor does it.
fn to_int(x: f64) -> i64 {
    // Both bounds are exact; the upper one is the first value out of range.
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&x) {
        x as i64
    } else {
        i64::MIN
    }
}

/// The year from which C counts.
const FIRST_YEAR: i32 = 1900;

/// The text for a time that has no date.
const NO_DATE: &[u8] = b"\"2000-01-01T00:00:00.000000\"";

/// Appends a time as `YYYY-MM-DDTHH:MM:SS.ffffffZ`, with as many digits as the year has.
///
/// The fraction is rounded separately: a fraction that rounds up to a whole second prints as seven
/// digits.
fn put_iso8601(x: f64, pen: Pen<'_>) -> Pen<'_> {
    let Civil { year, month, day, hour, minute, second } = Civil::of(to_int(x.floor()));
    // C keeps the year in 32 bits: if they are too few, there is no date.
    let Ok(years) = i32::try_from(year - i64::from(FIRST_YEAR)) else {
        return pen.bytes(NO_DATE);
    };
    // C overflows when it prints the last 1900 of these years.
    let year = years.wrapping_add(FIRST_YEAR);
    let fraction = x.fract() + if x.fract() < 0.0 { 1.0 } else { 0.0 };
    let micros = (fraction * 1e6).round_ties_even() as u32;
    pen.with(|out| {
        // Writing to a vector does not fail.
        let _ = write!(
            out,
            "\"{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z\""
        );
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(x: f64, timestamps: JsonTimestamps) -> String {
        let mut out = Vec::new();
        put_json_time(x, timestamps, Pen::new(&mut out, 0)).finish();
        String::from_utf8(out).unwrap()
    }

    /// The output of C's `gmtime_r`, `strftime` and `%06.0f`.
    #[test]
    fn dates_are_those_of_c() {
        for (x, expected) in [
            (0.0, "1970-01-01T00:00:00.000000Z"),
            (-0.0, "1970-01-01T00:00:00.000000Z"),
            (1_767_225_600.25, "2026-01-01T00:00:00.250000Z"),
            (951_782_399.5, "2000-02-28T23:59:59.500000Z"),
            (951_868_799.0, "2000-02-29T23:59:59.000000Z"),
            (4_107_542_400.0, "2100-03-01T00:00:00.000000Z"),
            (32_503_680_000.25, "3000-01-01T00:00:00.250000Z"),
            // The fraction does not carry.
            (1.999_999_6, "1970-01-01T00:00:01.1000000Z"),
            (-1e-9, "1969-12-31T23:59:59.1000000Z"),
            (-5e-324, "1969-12-31T23:59:59.1000000Z"),
            (-0.999_999_6, "1969-12-31T23:59:59.000000Z"),
            // Before 1970.
            (-0.25, "1969-12-31T23:59:59.750000Z"),
            (-0.5, "1969-12-31T23:59:59.500000Z"),
            (-1.0, "1969-12-31T23:59:59.000000Z"),
            (-1.5, "1969-12-31T23:59:58.500000Z"),
            (-86_400.25, "1969-12-30T23:59:59.750000Z"),
            (-2_208_988_800.75, "1899-12-31T23:59:59.250000Z"),
            (-12_219_292_800.0, "1582-10-15T00:00:00.000000Z"),
            // Years of fewer than four digits, year 0, and negative years.
            (-62_135_596_800.0, "1-01-01T00:00:00.000000Z"),
            (-62_135_596_800.5, "0-12-31T23:59:59.500000Z"),
            (-62_135_596_801.0, "0-12-31T23:59:59.000000Z"),
            (-62_162_121_600.0, "0-02-29T00:00:00.000000Z"),
            (-62_162_208_000.5, "0-02-27T23:59:59.500000Z"),
            (-62_167_219_200.0, "0-01-01T00:00:00.000000Z"),
            (-62_167_219_200.5, "-1-12-31T23:59:59.500000Z"),
            (-62_198_755_200.0, "-1-01-01T00:00:00.000000Z"),
            (-68_040_000_000.0, "-187-11-25T00:00:00.000000Z"),
            (-377_705_116_800.0, "-9999-01-01T00:00:00.000000Z"),
            (-377_705_116_800.5, "-10000-12-31T23:59:59.500000Z"),
            (-1e12, "-29719-04-05T22:13:20.000000Z"),
            (-1e15, "-31686769-06-29T22:13:20.000000Z"),
            (-4_503_599_627_370_495.5, "-142711421-01-25T20:11:44.500000Z"),
            (-1e16, "-316885416-12-06T06:13:20.000000Z"),
            (-6.7e16, "-2123143510-01-16T00:53:20.000000Z"),
            // Years of more than four digits.
            (253_402_300_799.5, "9999-12-31T23:59:59.500000Z"),
            (253_402_300_800.0, "10000-01-01T00:00:00.000000Z"),
            (1e12, "33658-09-27T01:46:40.000000Z"),
            (1e15, "31690708-07-05T01:46:40.000000Z"),
            (4_503_599_627_370_495.5, "142715360-12-06T03:48:15.500000Z"),
            (1e16, "316889355-01-25T17:46:40.000000Z"),
            (6.7e16, "2123147449-12-15T23:06:40.000000Z"),
            // The last year that fits 32 bits, and the 1900 whose numbers overflow.
            (67_767_976_233_532_792.0, "2147483647-12-31T23:59:52.000000Z"),
            (67_767_976_233_532_800.0, "-2147483648-01-01T00:00:00.000000Z"),
            (67_768_036_191_676_792.0, "-2147481749-12-31T23:59:52.000000Z"),
            (-67_768_040_609_740_800.0, "-2147481748-01-01T00:00:00.000000Z"),
        ] {
            assert_eq!(text(x, JsonTimestamps::Iso8601), format!("\"{expected}\""), "{x}");
        }
    }

    #[test]
    fn a_time_that_cannot_be_shown_has_a_date_of_its_own() {
        for x in [
            // The limit is no double; the next double is a second later, beyond the last date.
            67_768_036_191_676_799.0,
            67_768_036_191_676_800.0,
            -67_768_040_609_740_808.0,
            1e18,
            9.3e18,
            -9.3e18,
            1e300,
            -1e300,
            f64::MAX,
            f64::NAN,
            -f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
        ] {
            let expected = "\"2000-01-01T00:00:00.000000\"";
            assert_eq!(text(x, JsonTimestamps::Iso8601), expected, "{x}");
        }
    }

    #[test]
    fn milliseconds_are_cut_and_those_that_do_not_fit_are_the_smallest_number() {
        for (x, signed, unsigned) in [
            (1_767_225_600.25, "1767225600250", "1767225600250"),
            (1.5, "1500", "1500"),
            (0.001_999, "1", "1"),
            (0.0, "0", "0"),
            (-0.0, "0", "0"),
            (-0.000_5, "0", "0"),
            (-0.001_9, "-1", "18446744073709551615"),
            (-1.5, "-1500", "18446744073709550116"),
            // Around the limits, which are 2⁶³ of them.
            (9_223_372_036_854_774.0, "9223372036854773760", "9223372036854773760"),
            (9_223_372_036_854_776.0, "-9223372036854775808", "9223372036854775808"),
            (-9_223_372_036_854_774.0, "-9223372036854773760", "9223372036854777856"),
            (-9_223_372_036_854_778.0, "-9223372036854775808", "9223372036854775808"),
            (1e300, "-9223372036854775808", "9223372036854775808"),
            (-1e300, "-9223372036854775808", "9223372036854775808"),
            (f64::MAX, "-9223372036854775808", "9223372036854775808"),
            (f64::NAN, "-9223372036854775808", "9223372036854775808"),
            (f64::INFINITY, "-9223372036854775808", "9223372036854775808"),
            (f64::NEG_INFINITY, "-9223372036854775808", "9223372036854775808"),
        ] {
            assert_eq!(text(x, JsonTimestamps::Millis), signed, "{x}");
            assert_eq!(text(x, JsonTimestamps::MillisUnsigned), unsigned, "{x}");
        }
    }

    #[test]
    fn seconds_are_doubles() {
        for (x, expected) in [
            (1_767_225_600.25, "1767225600.25"),
            (-0.0, "-0.0"),
            (-1.5, "-1.5"),
            (1e18, "1000000000000000000.0"),
            (1e300, "1e300"),
            (f64::NAN, "null"),
            (f64::INFINITY, "null"),
            (f64::NEG_INFINITY, "null"),
        ] {
            assert_eq!(text(x, JsonTimestamps::Epoch), expected, "{x}");
        }
    }

    proptest! {
        #[test]
        fn every_double_is_a_string_or_a_number_of_json(x: f64) {
            use JsonTimestamps::{Epoch, Iso8601, Millis, MillisUnsigned};
            for timestamps in [Epoch, Millis, MillisUnsigned, Iso8601] {
                let text = text(x, timestamps);
                prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{}", text);
            }
        }
    }
}
