//! Scalars as text, as people write them: `192.0.2.0/24`, `443/tcp`, `2026-01-01T00:00:00.25Z`, `1.5s`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;

use super::{Address, Port, Protocol, Subnet, Timespan, Timestamp};

const NANOS_PER_SEC: i64 = 1_000_000_000;

/// Text that is not of the type it was parsed as.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("expected {expected}, found \"{}\"", found.escape_debug())]
pub struct ParseError {
    expected: &'static str,
    found: String,
}

macro_rules! from_str {
    ($($type:ident, $expected:literal, $parse:ident;)*) => {
        $(impl FromStr for $type {
            type Err = ParseError;

            fn from_str(text: &str) -> Result<Self, ParseError> {
                $parse(text)
                    .ok_or_else(|| ParseError { expected: $expected, found: text.to_owned() })
            }
        })*
    };
}
from_str! {
    Address, "an IP address", address;
    Subnet, "a subnet as in 192.0.2.0/24", subnet;
    Port, "a port as in 443/tcp (tcp, udp, icmp, unknown)", port;
    Timestamp, "a time as in 2026-01-01T00:00:00Z, from 1678 to 2261", time;
    Timespan, "a number with one of the units ns, us, ms, s, min, h", interval;
}

fn address(text: &str) -> Option<Address> {
    text.parse::<IpAddr>().ok().map(Address::from)
}

/// Clears bits beyond the prefix.
fn subnet(text: &str) -> Option<Subnet> {
    let (network, len) = text.split_once('/')?;
    Subnet::new(address(network)?, digits(len)?.parse().ok()?)
}

fn port(text: &str) -> Option<Port> {
    let (number, protocol) = text.split_once('/')?;
    let number = digits(number)?.parse().ok()?;
    let mut protocols = (0..).map_while(Protocol::from_number);
    let protocol = protocols.find(|known| known.name() == protocol)?;
    Some(Port { number, protocol })
}

fn time(text: &str) -> Option<Timestamp> {
    let nanos = text.parse::<jiff::Timestamp>().ok()?.as_nanosecond();
    Some(Timestamp(nanos.try_into().ok()?))
}

fn interval(text: &str) -> Option<Timespan> {
    let (number, unit) = split_unit(text)?;
    nanoseconds(number, unit).map(Timespan)
}

/// The number of a timespan, and how many nanoseconds its unit has.
pub(crate) fn split_unit(text: &str) -> Option<(&str, i64)> {
    const UNITS: [(&str, i64); 6] = [
        ("ns", 1),
        ("us", 1_000),
        ("ms", 1_000_000),
        ("min", 60 * NANOS_PER_SEC),
        ("h", 3600 * NANOS_PER_SEC),
        // Last, because other units end in `s`.
        ("s", NANOS_PER_SEC),
    ];
    UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))
}

/// Converts a decimal number of `unit` nanoseconds, if the result is a whole number.
pub(crate) fn nanoseconds(number: &str, unit: i64) -> Option<i64> {
    let (sign, number) = match number.strip_prefix('-') {
        Some(number) => (-1, number),
        None => (1, number),
    };
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) => (digits(whole)?, digits(fraction)?.trim_end_matches('0')),
        None => (digits(number)?, ""),
    };
    let number: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = 10_i128.checked_pow(fraction.len().try_into().ok()?)?;
    let scaled = number.checked_mul(unit.into())?;
    (scaled % scale == 0).then_some(sign * (scaled / scale))?.try_into().ok()
}

/// The text, if it is not empty and has only digits. The standard library would also accept signs.
pub(crate) fn digits(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then_some(text)
}

/// As in RFC 3339, in UTC, with as many fraction digits as needed unless a precision is given.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        jiff::Timestamp::from_nanosecond(self.0.into())
            .expect("64 bits of nanoseconds stay between the years 1677 and 2262")
            .fmt(f)
    }
}

/// Seconds, with as many fraction digits as needed: `-1.5s`.
impl fmt::Display for Timespan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let nanos = self.0.unsigned_abs();
        let (seconds, fraction) =
            (nanos / NANOS_PER_SEC.unsigned_abs(), nanos % NANOS_PER_SEC.unsigned_abs());
        if fraction == 0 {
            return write!(f, "{sign}{seconds}s");
        }
        let fraction = format!("{fraction:09}");
        write!(f, "{sign}{seconds}.{}s", fraction.trim_end_matches('0'))
    }
}
