//! Values that `broker-json-v1` writes as strings: times, ports and addresses (WIRE.md §3.1).
//!
//! Readers accept what Zeek accepts; `None` is what Zeek rejects. This module knows nothing of
//! JSON.

use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use jiff::SignedDuration;
use jiff::civil::DateTime;

use crate::value::{Address, Port, Protocol, Subnet, Timespan, Timestamp, split_unit};

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
const NANOS_PER_SEC: i64 = 1_000_000_000;

/// Appends formatted text.
pub(super) fn append(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a vector never fails");
}

/// Appends `YYYY-MM-DDTHH:MM:SS.mmm`, UTC, cut to milliseconds.
///
/// Before 1970 Zeek drops the whole fraction, which rounds to the later second. So does this.
pub(super) fn write_timestamp(Timestamp(nanos): Timestamp, out: &mut Vec<u8>) {
    let seconds = EPOCH
        .checked_add(SignedDuration::from_secs(nanos / NANOS_PER_SEC))
        .expect("64 bits of nanoseconds stay between the years 1677 and 2262");
    let millis = (nanos % NANOS_PER_SEC).max(0) / 1_000_000;
    append(out, format_args!("{seconds}.{millis:03}"));
}

/// Reads an ISO 8601 date and time, which is UTC without a zone. Years that do not fit in 64 bits
/// of nanoseconds wrap around.
pub(super) fn parse_timestamp(text: &str) -> Option<Timestamp> {
    const FORM: &[u8; 19] = b"0000-00-00T00:00:00";
    let (seconds, rest) = text.split_at_checked(FORM.len())?;
    let as_in_form = |(byte, form): (u8, &u8)| match form {
        b'0' => byte.is_ascii_digit(),
        _ => byte == *form,
    };
    if !seconds.bytes().zip(FORM).all(as_in_form) {
        return None;
    }
    let two = |at: usize| seconds[at..at + 2].parse::<i8>().ok();
    let year = seconds[..4].parse().ok()?;
    let time = DateTime::new(year, two(5)?, two(8)?, two(11)?, two(14)?, two(17)?, 0).ok()?;

    let (nanos, zone) = parse_fraction(rest)?;
    let seconds = time.duration_since(EPOCH).as_secs() - parse_zone(zone)?;
    Some(Timestamp(seconds.wrapping_mul(NANOS_PER_SEC).wrapping_add(nanos)))
}

/// Reads an optional `.` with up to nine digits. Returns nanoseconds and the remaining text.
fn parse_fraction(text: &str) -> Option<(i64, &str)> {
    let Some(fraction) = text.strip_prefix('.') else {
        return Some((0, text));
    };
    let (digits, rest) = fraction.split_at(leading_digits(fraction));
    let missing = 9_usize.checked_sub(digits.len())?;
    let number = if digits.is_empty() { 0 } else { digits.parse::<i64>().ok()? };
    Some((number * 10_i64.pow(missing as u32), rest))
}

/// Reads how many seconds a zone is ahead of UTC: an empty text, `Z`, or `±HH[[:]MM]`.
fn parse_zone(text: &str) -> Option<i64> {
    let sign = match text.as_bytes().first() {
        None => return Some(0),
        Some(b'Z') => return (text.len() == 1).then_some(0),
        Some(b'+') => 1,
        Some(b'-') => -1,
        Some(_) => return None,
    };
    let digits = match text.as_bytes()[1..] {
        [a, b] => [a, b, b'0', b'0'],
        [a, b, c, d] | [a, b, b':', c, d] => [a, b, c, d],
        _ => return None,
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let [a, b, c, d] = digits.map(|digit| i64::from(digit - b'0'));
    let (hours, minutes) = (a * 10 + b, c * 10 + d);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Appends an integer with the coarsest unit among `s`, `ms`, `us` and `ns` that is exact.
pub(super) fn write_timespan(Timespan(nanos): Timespan, out: &mut Vec<u8>) {
    let (unit, name) = [(NANOS_PER_SEC, "s"), (1_000_000, "ms"), (1_000, "us")]
        .into_iter()
        .find(|(unit, _)| nanos % unit == 0)
        .unwrap_or((1, "ns"));
    append(out, format_args!("{}{name}", nanos / unit));
}

/// Reads a number, which may have a fraction or exponent, and its unit. A value that does not fit
/// becomes the smallest timespan.
pub(super) fn parse_timespan(text: &str) -> Option<Timespan> {
    let (number, unit) = split_unit(text)?;
    if let Ok(whole) = number.parse::<i64>() {
        return Some(Timespan(whole.checked_mul(unit).unwrap_or(i64::MIN)));
    }
    // The standard library would also accept words for infinity and NaN.
    if number.bytes().any(|b| b.is_ascii_alphabetic() && !matches!(b, b'e' | b'E')) {
        return None;
    }
    let nanos = number.parse::<f64>().ok()? * unit as f64;
    // ±2^63, exact in f64.
    let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&nanos);
    Some(Timespan(if fits { nanos as i64 } else { i64::MIN }))
}

/// Appends a port such as `443/tcp`. Only here, an unknown protocol is written `?`.
pub(super) fn write_port(port: Port, out: &mut Vec<u8>) {
    let protocol = match port.protocol {
        Protocol::Unknown => "?",
        known => known.name(),
    };
    append(out, format_args!("{}/{protocol}", port.number));
}

/// Reads a port number like C's `strtol`; the text after the first slash is the protocol.
pub(super) fn parse_port(text: &str) -> Option<Port> {
    let (number, protocol) = match text.split_once('/') {
        None | Some((_, "tcp")) => (text, Protocol::Tcp),
        Some((number, "udp")) => (number, Protocol::Udp),
        Some((number, "icmp")) => (number, Protocol::Icmp),
        Some((number, _)) => (number, Protocol::Unknown),
    };
    let number = number.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let sign = usize::from(number.starts_with(['+', '-']));
    let number = &number[..sign + leading_digits(&number[sign..])];
    let number = if number.len() == sign { 0 } else { number.parse::<i64>().ok()? };
    // Truncated to 16 bits, as Zeek does: -1 is 65535.
    Some(Port { number: number as u16, protocol })
}

/// Reads an IPv4 or IPv6 address. Octets with leading zeros are still decimal.
pub(super) fn parse_address(text: &str) -> Option<Address> {
    let (groups, quad) = text.split_at(text.rfind(':').map_or(0, |colon| colon + 1));
    if !quad.contains('.') {
        return text.parse::<Ipv6Addr>().ok().map(Address::from);
    }
    let quad = parse_quad(quad)?;
    if groups.is_empty() {
        return Some(quad.into());
    }
    format!("{groups}{quad}").parse::<Ipv6Addr>().ok().map(Address::from)
}

fn parse_quad(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.len() > 3 || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *octet = part.parse().ok()?;
    }
    parts.next().is_none().then(|| octets.into())
}

/// Reads `address/length`; ignores text after the digits of the length.
///
/// A length up to 255 that is too large for the family, and any length of an IPv4-mapped address,
/// gives `::/0`, as in Zeek.
pub(super) fn parse_subnet(text: &str) -> Option<Subnet> {
    let (address, length) = text.split_once('/')?;
    let written_as_v6 = address.contains(':');
    let address = parse_address(address)?;
    let length: u8 = length[..leading_digits(length)].parse().ok()?;
    let mapped_v4 = written_as_v6 && address.is_ipv4();
    let subnet = if mapped_v4 { None } else { Subnet::new(address, length) };
    Some(subnet.unwrap_or(Subnet { network: Address([0; 16]), prefix_len: 0 }))
}

fn leading_digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written<T>(value: T, write: impl Fn(T, &mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn timestamps_are_written_with_milliseconds() {
        for (nanos, text) in [
            (0, "1970-01-01T00:00:00.000"),
            (1_767_225_600_250_000_000, "2026-01-01T00:00:00.250"),
            (1_700_000_000_123_999_999, "2023-11-14T22:13:20.123"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00.000"),
            (-500_000_000, "1970-01-01T00:00:00.000"),
            (-1_500_000_000, "1969-12-31T23:59:59.000"),
            (i64::MAX, "2262-04-11T23:47:16.854"),
            (i64::MIN, "1677-09-21T00:12:44.000"),
        ] {
            assert_eq!(written(Timestamp(nanos), write_timestamp), text);
        }
    }

    #[test]
    fn timestamps_are_read_with_fraction_and_zone() {
        let second = NANOS_PER_SEC;
        for (text, nanos) in [
            ("1970-01-01T00:00:00", 0),
            ("1970-01-01T00:00:01.", second),
            ("1970-01-01T00:00:01.5", second + 500_000_000),
            ("1970-01-01T00:00:01.123456789", second + 123_456_789),
            ("1969-12-31T23:59:59.5", -500_000_000),
            ("2026-01-01T00:00:00.250Z", 1_767_225_600_250_000_000),
            ("1970-01-01T02:00:00+02", 0),
            ("1970-01-01T02:30:00+0230", 0),
            ("1970-01-01T02:30:00.000+02:30", 0),
            ("1969-12-31T19:00:00-05:00", 0),
            ("2000-02-29T00:00:00", 951_782_400 * second),
            ("1677-09-21T00:12:43.145224192", i64::MIN),
            ("2262-04-11T23:47:16.854775808", i64::MIN),
            ("0000-01-01T00:00:00", (-62_167_219_200_i64).wrapping_mul(second)),
            ("9999-12-31T23:59:59", 253_402_300_799_i64.wrapping_mul(second)),
        ] {
            assert_eq!(parse_timestamp(text), Some(Timestamp(nanos)), "{text}");
        }
        for text in [
            "",
            "2026-01-01",
            "2026-01-01T00:00",
            "2026-01-01t00:00:00",
            "2026-01-01 00:00:00",
            "2026-01-01T00:00:00z",
            "2026-01-01T00:00:60",
            "2026-01-01T24:00:00",
            "2026-02-29T00:00:00",
            "2026-13-01T00:00:00",
            "2026-1-01T00:00:00",
            "+026-01-01T00:00:00",
            "2026-01-01T00:00:00.1234567890",
            "2026-01-01T00:00:00.5x",
            "2026-01-01T00:00:00+2",
            "2026-01-01T00:00:00+24",
            "2026-01-01T00:00:00+02:60",
            "2026-01-01T00:00:00+02:",
            "2026-01-01T00:00:00+é1",
            "2026-01-01T00:00:0é",
            "2026-01-01T00:00:00ZZ",
            " 2026-01-01T00:00:00",
        ] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
    }

    #[test]
    fn timespans_are_written_in_the_coarsest_unit_and_read_back() {
        for (nanos, text) in [
            (0, "0s"),
            (-2_000_000_000, "-2s"),
            (259_200_000_000_000, "259200s"),
            (1_500_000_000, "1500ms"),
            (-1_000, "-1us"),
            (1_001, "1001ns"),
            (i64::MIN, "-9223372036854775808ns"),
            (i64::MAX, "9223372036854775807ns"),
        ] {
            assert_eq!(written(Timespan(nanos), write_timespan), text);
            assert_eq!(parse_timespan(text), Some(Timespan(nanos)), "{text}");
        }
        for (text, nanos) in [
            ("1.5s", 1_500_000_000),
            ("5e3s", 5_000_000_000_000),
            ("-5s", -5_000_000_000),
            ("+5s", 5_000_000_000),
            (".5us", 500),
            ("2min", 120_000_000_000),
            ("1h", 3_600_000_000_000),
            ("1e1h", 36_000_000_000_000),
            ("9223372036854775808ns", i64::MIN),
            ("300000000h", i64::MIN),
            ("1e300s", i64::MIN),
        ] {
            assert_eq!(parse_timespan(text), Some(Timespan(nanos)), "{text}");
        }
        for text in
            ["", "5", "s", "5 s", " 5s", "5d", "5S", "1h30min", "1.2.3s", "infs", "nans", "0x5s"]
        {
            assert_eq!(parse_timespan(text), None, "{text}");
        }
    }

    #[test]
    fn ports() {
        use Protocol::{Icmp, Tcp, Udp, Unknown};
        for (number, protocol, text) in
            [(443, Tcp, "443/tcp"), (53, Udp, "53/udp"), (8, Icmp, "8/icmp"), (0, Unknown, "0/?")]
        {
            assert_eq!(written(Port { number, protocol }, write_port), text);
            assert_eq!(parse_port(text), Some(Port { number, protocol }));
        }
        for (text, number, protocol) in [
            ("80", 80, Tcp),
            ("80/TCP", 80, Unknown),
            ("80/", 80, Unknown),
            ("80/udp ", 80, Unknown),
            ("abc/udp", 0, Udp),
            ("", 0, Tcp),
            ("8a/udp", 8, Udp),
            (" \t8/udp", 8, Udp),
            ("-1/tcp", 65535, Tcp),
            ("+7/tcp", 7, Tcp),
            ("-/udp", 0, Udp),
            ("65537/udp", 1, Udp),
        ] {
            assert_eq!(parse_port(text), Some(Port { number, protocol }), "{text}");
        }
        assert_eq!(parse_port("9223372036854775808/tcp"), None);
    }

    #[test]
    fn addresses() {
        for (text, shown) in [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.01", "192.0.2.1"),
            ("010.001.000.008", "10.1.0.8"),
            ("2001:DB8::1", "2001:db8::1"),
            ("::1.2.3.4", "::102:304"),
            ("::ffff:192.0.2.07", "192.0.2.7"),
            ("::", "::"),
        ] {
            assert_eq!(parse_address(text).unwrap().to_string(), shown, "{text}");
        }
        for text in [
            "",
            " 192.0.2.1",
            "192.0.2.1 ",
            "192.0.2",
            "192.0.2.1.5",
            "192.0.2.256",
            "192.0.2.",
            "192.0.2.0001",
            "192.0.2.+1",
            "[::1]",
            "fe80::1%eth0",
            "localhost",
            "1:2",
            "::1::",
            "12345::",
            "1.2.3.4::",
        ] {
            assert_eq!(parse_address(text), None, "{text}");
        }
    }

    #[test]
    fn subnets() {
        for (text, shown) in [
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("192.0.2.77/24", "192.0.2.0/24"),
            ("192.0.2.77/24abc", "192.0.2.0/24"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:DB8::1/32", "2001:db8::/32"),
            ("192.0.2.0/33", "::/0"),
            ("2001:db8::/255", "::/0"),
            ("::ffff:192.0.2.0/120", "::/0"),
            ("::ffff:192.0.2.0/24", "::/0"),
        ] {
            assert_eq!(parse_subnet(text).unwrap().to_string(), shown, "{text}");
        }
        for text in ["192.0.2.0", "192.0.2.0/", "192.0.2.0/-1", "192.0.2.0/256", "x/24", "/24"] {
            assert_eq!(parse_subnet(text), None, "{text}");
        }
    }
}
