//! Values and events as JSON that is easy to read and type: the lines of `zcluster-node`.
//!
//! This is not a wire format (for that see [`crate::wire::broker_json`]). Every value survives a
//! round trip exactly, to the nanosecond and bit; the only exception is that all NaNs become the
//! same. Types that JSON has are plain JSON:
//!
//! | value | JSON |
//! |---|---|
//! | none | `null` |
//! | boolean | `true`, `false` |
//! | count | `42`: an integer that is not negative |
//! | real | `1.5`, `1.0`, `1e+22`: a number with a fraction or an exponent |
//! | string | `"text"`, if it is UTF-8 |
//! | vector | `[…]` |
//!
//! All others are an object with one member, named after the type in Zeek:
//!
//! | value | JSON | also accepted |
//! |---|---|---|
//! | integer | `{"int":-1}` | a plain negative integer |
//! | real that is not finite | `{"double":"inf"}`, `"-inf"`, `"nan"` | `{"double":1}` |
//! | string that is not UTF-8 | `{"bytes":"636166e9"}` in hexadecimal | upper case |
//! | address | `{"addr":"192.0.2.1"}` | any form of IPv6 |
//! | subnet | `{"subnet":"192.0.2.0/24"}` | host bits, which are cleared |
//! | port | `{"port":"443/tcp"}`; protocols `tcp`, `udp`, `icmp`, `unknown` | |
//! | timestamp | `{"time":"2026-01-01T00:00:00.25Z"}` (RFC 3339) | other offsets; a number of seconds since 1970 |
//! | timespan | `{"interval":"1.5s"}` | units `ns`, `us`, `ms`, `min`, `h`; a number of seconds |
//! | enum value | `{"enum":"Cluster::WORKER"}`, or `{"enum":{"bytes":"ff"}}` | |
//! | set | `{"set":[element,…]}` | |
//! | table | `{"table":[[key,value],…]}` | |
//!
//! The object form is also accepted for types of the first table: `{"bool":true}`, `{"count":42}`,
//! `{"string":"text"}`, `{"vector":[…]}`. A number of seconds is read as the decimal number
//! written, cut after nine digits; a string must be a whole number of nanoseconds. Subnets that
//! Zeek never creates, with host bits set or with a prefix that ends inside the IPv4 mapping, are
//! `{"subnet":{"network":"192.0.2.77","prefix_len":120}}`, where the length counts as in IPv6.
//!
//! The JSON library decides two things: it reads integers beyond 64 bits, and `-0`, as reals, and
//! it rejects a text with more than 128 nested arrays and objects. A set is two of them and a table
//! three, so nested sets and tables reach this limit before [`MAX_DEPTH`].

mod scalar;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bstr::{BString, ByteSlice};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde_json::{Value as Json, json};
use thiserror::Error;

use crate::event::Event;
use crate::value::{Real, Timestamp, Value};
use crate::wire::MAX_DEPTH;

/// Why JSON is not a value or a publication.
///
/// Paths point to the wrong part: `args[1].set[0]`. If the path is empty, as for the argument of
/// [`value_from_json`] itself, it and its colon are omitted.
#[derive(Debug, Error)]
pub enum ReadableError {
    /// The line is not JSON.
    #[error("not JSON: {0}")]
    Syntax(#[from] serde_json::Error),
    /// JSON, but not a value or a publication.
    #[error("{}expected {expected}, found {found}", prefix(path))]
    Unexpected {
        /// Path of the wrong part.
        path: String,
        /// What is valid there.
        expected: &'static str,
        /// What was found, abbreviated.
        found: String,
    },
    /// Containers are nested deeper than any decoder of events accepts.
    #[error("{}nested deeper than {MAX_DEPTH} levels", prefix(path))]
    TooDeep {
        /// Path of the container.
        path: String,
    },
    /// A member that publications do not have.
    #[error("unknown member `{name}`; expected topic, event, args or metadata")]
    UnknownMember {
        /// Its name.
        name: String,
    },
    /// A member that publications must have.
    #[error("missing member `{name}`")]
    MissingMember {
        /// Its name.
        name: &'static str,
    },
}

fn prefix(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!("{path}: ") }
}

/// Converts a value to JSON. [`value_from_json`] reads it back.
///
/// ```
/// use zcluster::Value;
/// use zcluster::readable::{value_from_json, value_to_json};
/// use zcluster::value::{Port, Protocol};
///
/// let value = Value::from(vec![7_u64.into(), (-7).into(), Port::new(53, Protocol::Udp).into()]);
/// let json = value_to_json(&value);
/// assert_eq!(json.to_string(), r#"[7,{"int":-7},{"port":"53/udp"}]"#);
/// assert_eq!(value_from_json(&json)?, value);
/// # Ok::<(), zcluster::readable::ReadableError>(())
/// ```
pub fn value_to_json(value: &Value) -> Json {
    match value {
        Value::None => Json::Null,
        Value::Boolean(b) => json!(b),
        Value::Count(n) => json!(n),
        Value::Integer(n) => json!({ "int": n }),
        Value::Real(Real(x)) if x.is_finite() => json!(x),
        Value::Real(Real(x)) if x.is_nan() => json!({ "double": "nan" }),
        Value::Real(Real(x)) => json!({ "double": if *x > 0.0 { "inf" } else { "-inf" } }),
        Value::String(bytes) => text_or_bytes(bytes),
        Value::Address(address) => json!({ "addr": address.to_string() }),
        Value::Subnet(subnet) => json!({ "subnet": scalar::subnet_to_json(*subnet) }),
        Value::Port(port) => json!({ "port": port.to_string() }),
        Value::Timestamp(time) => json!({ "time": scalar::time_to_text(*time) }),
        Value::Timespan(span) => json!({ "interval": scalar::interval_to_text(*span) }),
        Value::Enum(name) => json!({ "enum": text_or_bytes(name) }),
        Value::Set(elements) => {
            json!({ "set": elements.iter().map(value_to_json).collect::<Json>() })
        }
        Value::Table(entries) => {
            let entries = entries.iter().map(|(k, v)| json!([value_to_json(k), value_to_json(v)]));
            json!({ "table": entries.collect::<Json>() })
        }
        Value::Vector(elements) => elements.iter().map(value_to_json).collect(),
    }
}

fn text_or_bytes(bytes: &[u8]) -> Json {
    match bytes.to_str() {
        Ok(text) => json!(text),
        Err(_) => json!({ "bytes": HEXLOWER.encode(bytes) }),
    }
}

/// Reads a value from JSON in any of the forms of this [module](self).
///
/// # Errors
///
/// [`ReadableError::Unexpected`] for other forms, numbers out of range, and duplicate set elements
/// or table keys; [`ReadableError::TooDeep`] beyond [`MAX_DEPTH`] containers.
pub fn value_from_json(json: &Json) -> Result<Value, ReadableError> {
    value(json, Path::Start, 0)
}

/// Converts an event to a JSON object with the members `time`, `topic`, `sender`, `event` and
/// `args`, in this order, and, if there is any, `metadata` as pairs of id and value.
///
/// `time` is when the event was received, cut to microseconds. In topic, sender and name, bytes
/// that are not UTF-8 become `�`: real names do not have any.
pub fn event_to_json(time: Timestamp, topic: &[u8], sender: &[u8], event: &Event) -> Json {
    let mut line = json!({
        "time": scalar::time_to_micros(time),
        "topic": topic.to_str_lossy(),
        "sender": sender.to_str_lossy(),
        "event": event.name.to_str_lossy(),
        "args": event.args.iter().map(value_to_json).collect::<Json>(),
    });
    if let Some(metadata) = event.metadata.as_ref().filter(|metadata| !metadata.is_empty()) {
        let entries = metadata.iter().map(|(id, value)| json!([id, value_to_json(value)]));
        line["metadata"] = entries.collect();
    }
    line
}

/// Reads a line to publish. Returns its topic and event.
///
/// The line is an object with the members `topic` and `event`, and optionally `args` and
/// `metadata`. Members `time` and `sender` are ignored, so that a line of [`event_to_json`] can be
/// published again, with its metadata.
///
/// ```
/// let line = r#"{"topic":"zeek.demo.","event":"Demo::ping","args":["hello",{"interval":"3s"}]}"#;
/// let (topic, event) = zcluster::readable::publication_from_json(line)?;
/// assert_eq!((topic, event.args.len()), ("zeek.demo.".into(), 2));
/// # Ok::<(), zcluster::readable::ReadableError>(())
/// ```
///
/// # Errors
///
/// Any [`ReadableError`]. The event itself takes three levels of nesting.
pub fn publication_from_json(line: &str) -> Result<(BString, Event), ReadableError> {
    /// Containers around the arguments on the wire: message, content and arguments.
    const ENVELOPE: usize = 3;

    let json: Json = serde_json::from_str(line)?;
    let Json::Object(members) = &json else {
        let expected = "an object with the members topic, event and args";
        return Err(unexpected(&json, Path::Start, expected));
    };
    let (mut topic, mut name, mut args, mut metadata) = (None, None, vec![], None);
    for (member, json) in members {
        let at = Path::Member(&Path::Start, member);
        match member.as_str() {
            "topic" => topic = Some(text(json, at, "a string")?.into()),
            "event" => name = Some(text(json, at, "the name of an event")?),
            "args" => args = values(json, at, ENVELOPE)?,
            "metadata" => metadata = Some(metadata_entries(json, at, ENVELOPE + 1)?),
            "time" | "sender" => {}
            _ => return Err(ReadableError::UnknownMember { name: member.clone() }),
        }
    }
    let topic = topic.ok_or(ReadableError::MissingMember { name: "topic" })?;
    let name = name.ok_or(ReadableError::MissingMember { name: "event" })?;
    Ok((topic, Event { name: name.into(), args, metadata }))
}

fn metadata_entries(
    json: &Json,
    at: Path<'_>,
    depth: usize,
) -> Result<Vec<(u64, Value)>, ReadableError> {
    let entry = |(i, json)| {
        let at = Path::Index(&at, i);
        let [id, json] = pair(json, at, "an array of an id and a value")?;
        let id_at = Path::Index(&at, 0);
        let id = id.as_u64().ok_or_else(|| unexpected(id, id_at, "the id of metadata, a count"))?;
        Ok((id, value(json, Path::Index(&at, 1), depth)?))
    };
    array(json, at)?.iter().enumerate().map(entry).collect()
}

/// A location in the JSON, as a list from the inside out. Only errors format it.
#[derive(Clone, Copy)]
enum Path<'a> {
    Start,
    Member(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Start => Ok(()),
            Path::Member(Path::Start, name) => f.write_str(name),
            Path::Member(parent, name) => write!(f, "{parent}.{name}"),
            Path::Index(parent, i) => write!(f, "{parent}[{i}]"),
        }
    }
}

/// Reads a value inside `depth` containers.
fn value(json: &Json, at: Path<'_>, depth: usize) -> Result<Value, ReadableError> {
    Ok(match json {
        Json::Null => Value::None,
        Json::Bool(b) => Value::Boolean(*b),
        Json::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(n), _, _) => Value::Count(n),
            (_, Some(n), _) => Value::Integer(n),
            (_, _, Some(x)) => Value::Real(Real(x)),
            // Only possible with serde_json's `arbitrary_precision`.
            _ => return Err(unexpected(json, at, "a 64-bit number")),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(_) => Value::Vector(values(json, at, depth)?),
        Json::Object(members) => match members.iter().next() {
            Some((name, data)) if members.len() == 1 => {
                let expected = "the name of a type";
                let at_data = Path::Member(&at, name);
                typed(name, data, at_data, depth)?
                    .ok_or_else(|| unexpected(&json!(name), at, expected))?
            }
            _ => return Err(unexpected(json, at, "an object with one member, named after a type")),
        },
    })
}

/// Reads the member of an object that is named after a type; `None` if there is no such type.
fn typed(
    name: &str,
    json: &Json,
    at: Path<'_>,
    depth: usize,
) -> Result<Option<Value>, ReadableError> {
    let expect =
        |value: Option<Value>, expected| value.ok_or_else(|| unexpected(json, at, expected));
    let text = || json.as_str();
    let value = match name {
        "bool" => expect(json.as_bool().map(Value::from), "true or false")?,
        "count" => expect(json.as_u64().map(Value::from), "a non-negative 64-bit integer")?,
        "int" => expect(json.as_i64().map(Value::from), "a 64-bit integer")?,
        "double" => expect(scalar::real(json), r#"a number, "inf", "-inf" or "nan""#)?,
        "string" => expect(text().map(Value::from), "a string")?,
        "bytes" => Value::String(hex(json, at)?),
        "enum" => match json {
            Json::String(name) => Value::enum_value(name.as_str()),
            _ => match json.get("bytes") {
                Some(bytes) => Value::Enum(hex(bytes, Path::Member(&at, "bytes"))?),
                None => return Err(unexpected(json, at, "the name of an enum value")),
            },
        },
        "addr" => expect(text().and_then(scalar::address), "an IP address")?,
        "subnet" => expect(scalar::subnet(json), "a subnet as in 192.0.2.0/24")?,
        "port" => {
            expect(text().and_then(scalar::port), "a port as in 443/tcp (tcp, udp, icmp, unknown)")?
        }
        "time" => expect(
            scalar::time(json),
            "a time as in 2026-01-01T00:00:00Z or a number of seconds, from 1678 to 2261",
        )?,
        "interval" => expect(
            scalar::interval(json),
            "a number with one of the units ns, us, ms, s, min, h, or a number of seconds",
        )?,
        "set" => set(json, at, depth)?,
        "table" => table(json, at, depth)?,
        "vector" => Value::Vector(values(json, at, depth)?),
        _ => return Ok(None),
    };
    Ok(Some(value))
}

fn set(json: &Json, at: Path<'_>, depth: usize) -> Result<Value, ReadableError> {
    let depth = inside(at, depth)?;
    let mut elements = BTreeSet::new();
    for (i, json) in array(json, at)?.iter().enumerate() {
        let at = Path::Index(&at, i);
        if !elements.insert(value(json, at, depth)?) {
            return Err(unexpected(json, at, "each element of a set once"));
        }
    }
    Ok(Value::Set(elements))
}

fn table(json: &Json, at: Path<'_>, depth: usize) -> Result<Value, ReadableError> {
    let depth = inside(at, depth)?;
    let mut entries = BTreeMap::new();
    for (i, json) in array(json, at)?.iter().enumerate() {
        let at = Path::Index(&at, i);
        let [key, mapped] = pair(json, at, "an array of a key and a value")?;
        let key_at = Path::Index(&at, 0);
        let mapped = value(mapped, Path::Index(&at, 1), depth)?;
        if entries.insert(value(key, key_at, depth)?, mapped).is_some() {
            return Err(unexpected(key, key_at, "each key of a table once"));
        }
    }
    Ok(Value::Table(entries))
}

/// Reads an array of values inside `depth` containers.
fn values(json: &Json, at: Path<'_>, depth: usize) -> Result<Vec<Value>, ReadableError> {
    let depth = inside(at, depth)?;
    let elements = array(json, at)?.iter().enumerate();
    elements.map(|(i, json)| value(json, Path::Index(&at, i), depth)).collect()
}

/// The depth inside one more container.
fn inside(at: Path<'_>, depth: usize) -> Result<usize, ReadableError> {
    if depth < MAX_DEPTH {
        Ok(depth + 1)
    } else {
        Err(ReadableError::TooDeep { path: at.to_string() })
    }
}

fn array<'j>(json: &'j Json, at: Path<'_>) -> Result<&'j [Json], ReadableError> {
    match json {
        Json::Array(elements) => Ok(elements),
        _ => Err(unexpected(json, at, "an array")),
    }
}

fn pair<'j>(
    json: &'j Json,
    at: Path<'_>,
    expected: &'static str,
) -> Result<&'j [Json; 2], ReadableError> {
    let elements = json.as_array().and_then(|elements| elements.as_slice().try_into().ok());
    elements.ok_or_else(|| unexpected(json, at, expected))
}

fn text<'j>(
    json: &'j Json,
    at: Path<'_>,
    expected: &'static str,
) -> Result<&'j str, ReadableError> {
    json.as_str().ok_or_else(|| unexpected(json, at, expected))
}

fn hex(json: &Json, at: Path<'_>) -> Result<BString, ReadableError> {
    let expected = "pairs of hexadecimal digits";
    let bytes = HEXLOWER_PERMISSIVE.decode(text(json, at, expected)?.as_bytes());
    bytes.map(BString::from).map_err(|_| unexpected(json, at, expected))
}

fn unexpected(json: &Json, at: Path<'_>, expected: &'static str) -> ReadableError {
    const SHOWN: usize = 40;
    let found = match json {
        Json::Array(elements) => format!("an array of {}", elements.len()),
        Json::Object(members) if members.is_empty() => "an empty object".into(),
        Json::Object(members) => {
            let names: Vec<_> = members.keys().map(String::as_str).collect();
            abbreviated(&format!("an object of {}", names.join(", ")), SHOWN)
        }
        Json::String(text) => format!("{:?}", abbreviated(text, SHOWN)),
        Json::Null | Json::Bool(_) | Json::Number(_) => json.to_string(),
    };
    ReadableError::Unexpected { path: at.to_string(), expected, found }
}

/// The first `max` characters, and `…` if there are more.
fn abbreviated(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests;
