//! Reads scalars from their JSON. `None` is JSON of another type, malformed, or out of range.

use serde_json::Number;

use super::Json;
use crate::value::{Real, Subnet, Timespan, Timestamp, Value, digits, nanoseconds};

const NANOS_PER_SEC: i64 = 1_000_000_000;
const MAX_PREFIX_LEN: u8 = 128;

pub(super) fn time(json: &Json<'_>) -> Option<Value> {
    match json {
        Json::String(text) => text.parse().ok().map(Value::Timestamp),
        Json::Number(number) => seconds(number).map(|nanos| Value::Timestamp(Timestamp(nanos))),
        _ => None,
    }
}

pub(super) fn interval(json: &Json<'_>) -> Option<Value> {
    match json {
        Json::String(text) => text.parse().ok().map(Value::Timespan),
        Json::Number(number) => seconds(number).map(|nanos| Value::Timespan(Timespan(nanos))),
        _ => None,
    }
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
    text.parse().ok().map(Value::Address)
}

/// Reads a port; `None` without a protocol.
pub(super) fn port(text: &str) -> Option<Value> {
    text.parse().ok().map(Value::Port)
}

pub(super) fn subnet(json: &Json<'_>) -> Option<Value> {
    let subnet = match json {
        Json::String(text) => text.parse().ok()?,
        Json::Object(members) if members.len() == 2 => {
            let member = |name| members.iter().find(|(n, _)| n == name).map(|(_, json)| json);
            let network = member("network")?.as_str()?.parse().ok()?;
            let prefix_len = member("prefix_len")?.as_u64()?.try_into().ok()?;
            (prefix_len <= MAX_PREFIX_LEN).then_some(Subnet { network, prefix_len })?
        }
        _ => return None,
    };
    Some(subnet.into())
}
