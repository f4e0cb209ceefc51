//! Reads scalars from their JSON. `None` is JSON of another type, malformed, or out of range.

use std::net::IpAddr;

use serde_json::Number;

use super::Json;
use crate::value::{Address, Port, Protocol, Real, Subnet, Timespan, Timestamp, Value};

const NANOS_PER_SEC: i64 = 1_000_000_000;
const MAX_PREFIX_LEN: u8 = 128;

pub(super) fn time(json: &Json<'_>) -> Option<Value> {
    let nanos = match json {
        Json::String(text) => text.parse::<jiff::Timestamp>().ok()?.as_nanosecond().try_into().ok(),
        Json::Number(number) => seconds(number),
        _ => None,
    };
    nanos.map(|nanos| Value::Timestamp(Timestamp(nanos)))
}

pub(super) fn interval(json: &Json<'_>) -> Option<Value> {
    const UNITS: [(&str, i64); 6] = [
        ("ns", 1),
        ("us", 1_000),
        ("ms", 1_000_000),
        ("min", 60 * NANOS_PER_SEC),
        ("h", 3600 * NANOS_PER_SEC),
        // Last, because other units end in `s`.
        ("s", NANOS_PER_SEC),
    ];
    let nanos = match json {
        Json::String(text) => UNITS.iter().find_map(|(name, unit)| {
            let number = text.strip_suffix(name)?;
            Some(nanoseconds(number, *unit))
        })?,
        Json::Number(number) => seconds(number),
        _ => None,
    };
    nanos.map(|nanos| Value::Timespan(Timespan(nanos)))
}

/// Converts seconds to nanoseconds. Cuts off smaller fractions, which tend to be artefacts of
/// binary floating point.
fn seconds(number: &Number) -> Option<i64> {
    if let Some(whole) = number.as_i64() {
        return whole.checked_mul(NANOS_PER_SEC);
    }
    // Never has an exponent, and has only as many digits as needed to identify the double.
    let text = number.as_f64()?.to_string();
    let end = text.find('.').map_or(text.len(), |point| text.len().min(point + 1 + 9));
    nanoseconds(&text[..end], NANOS_PER_SEC)
}

/// Converts a decimal number of `unit` nanoseconds, if the result is a whole number.
fn nanoseconds(number: &str, unit: i64) -> Option<i64> {
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
fn digits(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then_some(text)
}

/// Reads a count: a number, or its digits as a string.
pub(super) fn count(json: &Json<'_>) -> Option<Value> {
    let n = match json {
        Json::String(text) => digits(text)?.parse().ok()?,
        _ => json.as_u64()?,
    };
    Some(Value::Count(n))
}

/// Reads an int: a number, or its digits as a string.
pub(super) fn integer(json: &Json<'_>) -> Option<Value> {
    let n = match json {
        Json::Number(number) => number.as_i64()?,
        Json::String(text) => {
            digits(text.strip_prefix('-').unwrap_or(text))?;
            text.parse().ok()?
        }
        _ => return None,
    };
    Some(Value::Integer(n))
}

pub(super) fn real(json: &Json<'_>) -> Option<Value> {
    let x = match json {
        Json::Number(number) => number.as_f64()?,
        Json::Large(number) => number.parse().ok().filter(|x: &f64| x.is_finite())?,
        Json::String(text) => match &**text {
            "-0" => -0.0,
            "inf" => f64::INFINITY,
            "-inf" => f64::NEG_INFINITY,
            "nan" => f64::NAN,
            _ => return None,
        },
        _ => return None,
    };
    Some(Value::Real(Real(x)))
}

pub(super) fn address(text: &str) -> Option<Value> {
    text.parse::<IpAddr>().ok().map(Value::from)
}

/// Reads a port; `None` without a protocol.
pub(super) fn port(text: &str) -> Option<Value> {
    let (number, protocol) = text.split_once('/')?;
    let number = digits(number)?.parse().ok()?;
    let mut protocols = (0..).map_while(Protocol::from_number);
    let protocol = protocols.find(|known| known.name() == protocol)?;
    Some(Port { number, protocol }.into())
}

pub(super) fn subnet(json: &Json<'_>) -> Option<Value> {
    let address = |text: &str| text.parse::<IpAddr>().ok().map(Address::from);
    let subnet = match json {
        Json::String(text) => {
            let (network, len) = text.split_once('/')?;
            Subnet::new(address(network)?, digits(len)?.parse().ok()?)?
        }
        Json::Object(members) if members.len() == 2 => {
            let member = |name| members.iter().find(|(n, _)| n == name).map(|(_, json)| json);
            let network = address(member("network")?.as_str()?)?;
            let prefix_len = member("prefix_len")?.as_u64()?.try_into().ok()?;
            (prefix_len <= MAX_PREFIX_LEN).then_some(Subnet { network, prefix_len })?
        }
        _ => return None,
    };
    Some(subnet.into())
}
