//! `broker-json-v1`: values and events as JSON (WIRE.md §3.1, §3.2), and the `data-message` of the
//! WebSocket API around an event (§3.6).
//!
//! The encoder writes what Zeek writes, and always valid JSON, except with [`InvalidUtf8::Raw`]. So
//! it differs where Zeek's output is not valid:
//!
//! | value | Zeek | here |
//! |---|---|---|
//! | control characters without a short escape, and byte 0b | raw, `\v` | `\u00XX` |
//! | infinite reals | `inf`, `-inf` | `1e400`, `-1e400`, which Zeek reads as infinities |
//! | NaN | `nan` | `null`, which Zeek rejects, as it does `nan` |
//!
//! JSON is lossy: timestamps keep milliseconds, reals six decimal places. So distinct elements of a
//! set can become equal, and then no reader accepts the set. Reals of 2^64 and more are written in
//! full; Zeek also writes them in full but cannot read them.
//!
//! The decoder accepts what Zeek accepts and what Zeek writes. `wire/json.rs` parses the text,
//! `wire/json_text.rs` reads and writes scalars that are strings in JSON. Most events need no tree
//! (`broker_json/quick.rs`).

use std::collections::{BTreeMap, BTreeSet};

use bstr::{BStr, BString};
use thiserror::Error;

pub use super::json::SyntaxError;
use super::json::{self, Json, Node};
use super::json_text::{self, append};
use crate::event::Event;
use crate::value::{Real, Timestamp, Value};

mod quick;

/// How to write bytes in strings that are not UTF-8.
///
/// Input needs no such choice: those bytes are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidUtf8 {
    /// Writes them unchanged. Zeek writes and reads them that way, so this is for events between
    /// Zeek nodes.
    Raw,
    /// Writes byte NN as the surrogate pair `\udb80\udcNN`, which is code point U+F00NN, for
    /// clients that require UTF-8. Zeek's policy `PUA` for logs uses the same mapping (WIRE.md
    /// §5.5). It is lossless unless a string already contains such private-use code points;
    /// decoding leaves them unchanged.
    Escape,
}

/// Why text is not a value, an event or a data message. Offsets count from the start of the text.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Not JSON, not even Zeek's dialect.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// JSON, but not the representation of a value.
    #[error("byte {offset}: expected {expected}, found {found}")]
    Value {
        /// Offset of the wrong part.
        offset: usize,
        /// What a value has there.
        expected: &'static str,
        /// What was found instead.
        found: String,
    },
    /// A data message whose topic is missing, not a string, or the reserved `<$>`.
    #[error("expected a member `topic`, a string other than `<$>`")]
    Topic,
    /// A value, but not an event: the envelope (WIRE.md §2.7) does not have the required shape.
    #[error("expected {expected}, found {found}")]
    Envelope {
        /// What an event has there.
        expected: &'static str,
        /// What was found instead.
        found: String,
    },
}

impl DecodeError {
    /// The `context` that Zeek's WebSocket API returns for a message with this error (WIRE.md
    /// §3.7).
    pub fn websocket_context(&self) -> &'static str {
        match self {
            DecodeError::Syntax(_) | DecodeError::Value { .. } => "failed to decode JSON object",
            DecodeError::Topic => "no topic in top-level JSON object",
            DecodeError::Envelope { .. } => "failed to create Zeek event",
        }
    }
}

/// Appends a value.
///
/// Values nested deeper than about sixty containers are written, but no reader accepts them:
/// [`super::MAX_DEPTH`] counts JSON arrays and objects here, and each container is two of them.
pub fn encode_value(value: &Value, policy: InvalidUtf8, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"@data-type":""#);
    out.extend_from_slice(value.type_name().as_bytes());
    out.extend_from_slice(br#"","data":"#);
    match value {
        Value::None => out.extend_from_slice(b"{}"),
        Value::Boolean(b) => append(out, format_args!("{b}")),
        Value::Count(n) => append(out, format_args!("{n}")),
        Value::Integer(n) => append(out, format_args!("{n}")),
        Value::Real(real) => encode_real(*real, out),
        Value::String(bytes) | Value::Enum(bytes) => encode_string(bytes, policy, out),
        Value::Address(address) => append(out, format_args!("\"{address}\"")),
        Value::Subnet(subnet) => append(out, format_args!("\"{subnet}\"")),
        Value::Port(port) => quoted(out, |out| json_text::write_port(*port, out)),
        Value::Timestamp(time) => quoted(out, |out| json_text::write_timestamp(*time, out)),
        Value::Timespan(span) => quoted(out, |out| json_text::write_timespan(*span, out)),
        Value::Set(elements) => array(elements, out, |element, out| {
            encode_value(element, policy, out);
        }),
        Value::Table(entries) => array(entries, out, |(key, value), out| {
            out.extend_from_slice(br#"{"key":"#);
            encode_value(key, policy, out);
            out.extend_from_slice(br#","value":"#);
            encode_value(value, policy, out);
            out.push(b'}');
        }),
        Value::Vector(elements) => array(elements, out, |element, out| {
            encode_value(element, policy, out);
        }),
    }
    out.push(b'}');
}

/// Appends an event as Zeek's ZeroMQ backend writes it in this format: the bare envelope.
pub fn encode_event(event: &Event, policy: InvalidUtf8, out: &mut Vec<u8>) {
    out.push(b'{');
    encode_envelope(event, policy, out);
}

/// Appends an event and its topic as a `data-message` of the WebSocket API.
pub fn encode_data_message(topic: &[u8], event: &Event, policy: InvalidUtf8, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"type":"data-message","topic":"#);
    encode_string(topic, policy, out);
    out.push(b',');
    encode_envelope(event, policy, out);
}

/// Appends the last two members of an object and its closing brace.
fn encode_envelope(event: &Event, policy: InvalidUtf8, out: &mut Vec<u8>) {
    const VECTOR: &[u8] = br#""@data-type":"vector","data":["#;
    out.extend_from_slice(VECTOR);
    encode_value(&Value::Count(1), policy, out);
    out.push(b',');
    encode_value(&Value::Count(1), policy, out);
    out.extend_from_slice(b",{");
    out.extend_from_slice(VECTOR);
    out.extend_from_slice(br#"{"@data-type":"string","data":"#);
    encode_string(&event.name, policy, out);
    out.extend_from_slice(b"},{\"@data-type\":\"vector\",\"data\":");
    array(&event.args, out, |arg, out| encode_value(arg, policy, out));
    out.push(b'}');
    if let Some(metadata) = &event.metadata {
        out.extend_from_slice(b",{\"@data-type\":\"vector\",\"data\":");
        array(metadata, out, |(id, value), out| {
            out.push(b'{');
            out.extend_from_slice(VECTOR);
            encode_value(&Value::Count(*id), policy, out);
            out.push(b',');
            encode_value(value, policy, out);
            out.extend_from_slice(b"]}");
        });
        out.push(b'}');
    }
    out.extend_from_slice(b"]}]}");
}

fn array<T>(
    items: impl IntoIterator<Item = T>,
    out: &mut Vec<u8>,
    encode: impl Fn(T, &mut Vec<u8>),
) {
    out.push(b'[');
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        encode(item, out);
    }
    out.push(b']');
}

fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    write(out);
    out.push(b'"');
}

fn encode_real(Real(x): Real, out: &mut Vec<u8>) {
    if x.is_finite() {
        append(out, format_args!("{x:.6}"));
    } else if x.is_nan() {
        out.extend_from_slice(b"null");
    } else {
        out.extend_from_slice(if x > 0.0 { b"1e400" } else { b"-1e400" });
    }
}

fn encode_string(bytes: &[u8], policy: InvalidUtf8, out: &mut Vec<u8>) {
    quoted(out, |out| {
        for chunk in bytes.utf8_chunks() {
            json::escape_json(chunk.valid(), |part| out.extend_from_slice(part.as_bytes()));
            match policy {
                InvalidUtf8::Raw => out.extend_from_slice(chunk.invalid()),
                InvalidUtf8::Escape => {
                    for byte in chunk.invalid() {
                        append(out, format_args!("\\udb80\\udc{byte:02x}"));
                    }
                }
            }
        }
    });
}

/// Reads a text that holds exactly one value.
///
/// # Errors
///
/// [`DecodeError::Syntax`] or [`DecodeError::Value`] if it does not.
pub fn decode_value(text: &[u8]) -> Result<Value, DecodeError> {
    value(&json::parse(text)?)
}

/// Reads a text that holds exactly one event. Ignores any members beside the envelope.
///
/// # Errors
///
/// Any [`DecodeError`] except [`DecodeError::Topic`].
pub fn decode_event(text: &[u8]) -> Result<Event, DecodeError> {
    if let Some((_, event)) = quick::message(text) {
        return Ok(event);
    }
    event(decode_value(text)?)
}

/// Reads a text that holds a `data-message`. Returns its topic and event. Like Zeek, it does not
/// check the member `type`, which may be missing.
///
/// # Errors
///
/// Any [`DecodeError`], checked in the order of its variants, as Zeek does.
pub fn decode_data_message(text: &[u8]) -> Result<(BString, Event), DecodeError> {
    match quick::message(text) {
        Some((Some(topic), event)) if *topic != *b"<$>" => Ok((topic, event)),
        _ => decode_data_message_by_tree(text),
    }
}

/// The same, only slower: what [`decode_data_message`] must return. For tests.
///
/// # Errors
///
/// The same.
#[doc(hidden)]
pub fn decode_data_message_by_tree(text: &[u8]) -> Result<(BString, Event), DecodeError> {
    let node = json::parse(text)?;
    let value = value(&node)?;
    match node.member("topic").map(|topic| &topic.json) {
        Some(Json::String(topic)) if **topic != *b"<$>" => {
            Ok((topic.to_vec().into(), event(value)?))
        }
        _ => Err(DecodeError::Topic),
    }
}

fn unexpected(node: &Node<'_>, expected: &'static str) -> DecodeError {
    // Keeps messages short: the text comes from the network.
    const SHOWN: usize = 40;
    let found = match &node.json {
        Json::Null => "null".into(),
        Json::Bool(b) => b.to_string(),
        Json::Number(literal) => format!("{literal:.SHOWN$}"),
        Json::String(text) => format!("{:?}", BStr::new(&text[..text.len().min(SHOWN)])),
        Json::Array(items) => format!("an array of {}", items.len()),
        Json::Object(_) => "an object".into(),
    };
    DecodeError::Value { offset: node.offset, expected, found }
}

fn value(node: &Node<'_>) -> Result<Value, DecodeError> {
    let Some(type_node) = node.member("@data-type") else {
        return Err(unexpected(node, "an object with the members `@data-type` and `data`"));
    };
    let Json::String(type_name) = &type_node.json else {
        return Err(unexpected(type_node, "the name of a type"));
    };
    if **type_name == *b"none" {
        return Ok(Value::None);
    }
    let data = node
        .member("data")
        .ok_or_else(|| unexpected(node, "a member `data` beside `@data-type`"))?;
    Ok(match &**type_name {
        b"boolean" => match data.json {
            Json::Bool(b) => Value::Boolean(b),
            _ => return Err(unexpected(data, "true or false")),
        },
        b"count" => Value::Count(integer(data, "a non-negative 64-bit integer")?),
        b"integer" => Value::Integer(integer(data, "a 64-bit integer")?),
        b"real" => Value::Real(real(data)?),
        b"string" => Value::String(string(data)?),
        b"enum-value" => Value::Enum(string(data)?),
        b"address" => Value::Address(text(data, "an IP address", json_text::parse_address)?),
        b"subnet" => {
            Value::Subnet(text(data, "an IP address, `/` and a length", json_text::parse_subnet)?)
        }
        b"port" => {
            Value::Port(text(data, "a port number, `/` and a protocol", json_text::parse_port)?)
        }
        b"timestamp" => Value::Timestamp(timestamp(data)?),
        b"timespan" => Value::Timespan(text(
            data,
            "a number with one of the units ns, us, ms, s, min, h",
            json_text::parse_timespan,
        )?),
        b"set" => {
            let mut elements = BTreeSet::new();
            for item in items(data)? {
                if !elements.insert(value(item)?) {
                    return Err(unexpected(item, "each element of a set once"));
                }
            }
            Value::Set(elements)
        }
        b"table" => {
            let mut entries = BTreeMap::new();
            for item in items(data)? {
                let (Some(key), Some(mapped)) = (item.member("key"), item.member("value")) else {
                    return Err(unexpected(item, "an object with the members `key` and `value`"));
                };
                if entries.insert(value(key)?, value(mapped)?).is_some() {
                    return Err(unexpected(item, "each key of a table once"));
                }
            }
            Value::Table(entries)
        }
        b"vector" => Value::Vector(items(data)?.iter().map(value).collect::<Result<_, _>>()?),
        _ => return Err(unexpected(type_node, "the name of a type")),
    })
}

fn integer<T: TryFrom<i128>>(node: &Node<'_>, expected: &'static str) -> Result<T, DecodeError> {
    let number = match node.json {
        Json::Number(literal) => json::parse_integer(literal),
        _ => None,
    };
    number.and_then(|n| T::try_from(n).ok()).ok_or_else(|| unexpected(node, expected))
}

fn real(node: &Node<'_>) -> Result<Real, DecodeError> {
    let number = match node.json {
        Json::Number(literal) => json::parse_real(literal),
        Json::Null => Some(f64::NAN),
        _ => None,
    };
    number.map(Real).ok_or_else(|| unexpected(node, "a number with a point or an exponent"))
}

fn string(node: &Node<'_>) -> Result<BString, DecodeError> {
    match &node.json {
        Json::String(bytes) => Ok(bytes.to_vec().into()),
        _ => Err(unexpected(node, "a string")),
    }
}

fn timestamp(node: &Node<'_>) -> Result<Timestamp, DecodeError> {
    text(node, "a date and time as in 2026-01-01T00:00:00.000", json_text::parse_timestamp)
}

/// Reads a value that JSON holds as a string.
fn text<T>(
    node: &Node<'_>,
    expected: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, DecodeError> {
    let parsed = match &node.json {
        Json::String(bytes) => str::from_utf8(bytes).ok().and_then(parse),
        _ => None,
    };
    parsed.ok_or_else(|| unexpected(node, expected))
}

fn items<'n, 'a>(node: &'n Node<'a>) -> Result<&'n [Node<'a>], DecodeError> {
    match &node.json {
        Json::Array(items) => Ok(items),
        _ => Err(unexpected(node, "an array")),
    }
}

/// Unpacks an event from its envelope, as strictly as the binary decoder does.
fn event(envelope: Value) -> Result<Event, DecodeError> {
    let [version, message_type, content] =
        elements(envelope, "a vector of version, type and content")?;
    if version != Value::Count(1) {
        return Err(no_event("version 1", &version));
    }
    if message_type != Value::Count(1) {
        return Err(no_event("message type 1 (event)", &message_type));
    }
    let has_metadata = matches!(&content, Value::Vector(parts) if parts.len() == 3);
    let expected = "a vector of name, arguments and optional metadata";
    let (name, args, metadata) = if has_metadata {
        let [name, args, metadata] = elements(content, expected)?;
        (name, args, Some(metadata))
    } else {
        let [name, args] = elements(content, expected)?;
        (name, args, None)
    };
    let Value::String(name) = name else {
        return Err(no_event("the name of the event as a string", &name));
    };
    let Value::Vector(args) = args else {
        return Err(no_event("a vector of arguments", &args));
    };
    let metadata = match metadata {
        None => None,
        Some(Value::Vector(entries)) => {
            Some(entries.into_iter().map(metadata_entry).collect::<Result<_, _>>()?)
        }
        Some(other) => return Err(no_event("a vector of metadata", &other)),
    };
    Ok(Event { name, args, metadata })
}

fn metadata_entry(entry: Value) -> Result<(u64, Value), DecodeError> {
    let [id, value] = elements(entry, "a metadata entry of id and value")?;
    match id {
        Value::Count(id) => Ok((id, value)),
        other => Err(no_event("the id of a metadata entry as a count", &other)),
    }
}

/// The elements of a vector that must have exactly N.
fn elements<const N: usize>(
    vector: Value,
    expected: &'static str,
) -> Result<[Value; N], DecodeError> {
    match vector {
        Value::Vector(elements) => {
            elements.try_into().map_err(|other| no_event(expected, &Value::Vector(other)))
        }
        other => Err(no_event(expected, &other)),
    }
}

fn no_event(expected: &'static str, found: &Value) -> DecodeError {
    let found = match found {
        Value::Count(n) => format!("count {n}"),
        Value::Vector(elements) => format!("a vector of {}", elements.len()),
        other => other.type_name().into(),
    };
    DecodeError::Envelope { expected, found }
}

#[cfg(test)]
mod tests;
