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
//! | integer | `{"int":-1}` | a plain negative integer; `{"int":"-1"}` |
//! | real that is not finite | `{"double":"inf"}`, `"-inf"`, `"nan"` | `{"double":1}`, `{"double":"-0"}` |
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
//! `{"count":"42"}`, `{"string":"text"}`, `{"vector":[…]}`. A number of seconds is read as the decimal number
//! written, cut after nine digits; a string must be a whole number of nanoseconds. Subnets that
//! Zeek never creates, with host bits set or with a prefix that ends inside the IPv4 mapping, are
//! `{"subnet":{"network":"192.0.2.77","prefix_len":120}}`, where the length counts as in IPv6.
//!
//! JavaScript has no other numbers than doubles. [`Numbers::JavaScript`] writes those that it would
//! change as objects, with the digits of integers in a string.
//!
//! A plain integer beyond 64 bits is no value; `{"double":18446744073709551616}` is. The JSON library
//! decides two things: it reads `-0` as a real, and it rejects a text with more than 127 nested arrays
//! and objects. A set is two of them and a table three, so nested sets and tables reach this limit
//! before [`MAX_DEPTH`].

mod json;
mod part;
mod read;
mod scalar;
mod write;

use std::borrow::Cow;

use bstr::BString;
use thiserror::Error;

pub use json::Json;
pub use part::Part;
pub use write::{Numbers, rfc3339, write_array, write_metadata, write_text, write_value};

use crate::event::Event;
use crate::value::Timestamp;
use crate::wire::MAX_DEPTH;

/// Containers around the arguments of an event on the wire: message, content and arguments.
pub const ENVELOPE: usize = 3;

/// Why JSON is not a value or a publication.
///
/// Paths point to the wrong part: `args[1].set[0]`. If the path is empty, as for a whole text, it
/// and its colon are omitted.
#[derive(Debug, Error)]
pub enum ReadableError {
    /// The line is not JSON, or nests more arrays and objects than are read.
    #[error("{}", syntax(.0))]
    Syntax(#[from] serde_json::Error),
    /// JSON, but not a value or a publication.
    #[error("{}expected {expected}, found {found}", prefix(path))]
    Unexpected {
        /// Path of the wrong part.
        path: String,
        /// What is valid there.
        expected: Cow<'static, str>,
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

fn syntax(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.strip_prefix("recursion limit exceeded") {
        Some(place) => format!("more than 127 nested arrays and objects{place}"),
        None => format!("not JSON: {text}"),
    }
}

fn prefix(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!("{path}: ") }
}

/// Writes an event as a JSON object with the members `time`, `topic`, `sender`, `event` and `args`,
/// in this order, and, if there is any, `metadata` as pairs of id and value.
///
/// `time` is when the event was received, cut to microseconds. In topic, sender and name, bytes
/// that are not UTF-8 become `�`: real names do not have any.
pub fn event_to_json(time: Timestamp, topic: &[u8], sender: &[u8], event: &Event) -> String {
    const NUMBERS: Numbers = Numbers::Exact;
    let mut line = format!(r#"{{"time":"{:.6}","topic":"#, rfc3339(time));
    write_text(topic, &mut line);
    line.push_str(r#","sender":"#);
    write_text(sender, &mut line);
    line.push_str(r#","event":"#);
    write_text(&event.name, &mut line);
    line.push_str(r#","args":"#);
    write_array(&event.args, &mut line, |arg, out| write_value(arg, NUMBERS, out));
    if let Some(metadata) = event.metadata.as_ref().filter(|metadata| !metadata.is_empty()) {
        line.push_str(r#","metadata":"#);
        write_metadata(metadata, NUMBERS, &mut line);
    }
    line.push('}');
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
    let json = Json::parse(line)?;
    let whole = Part::whole(&json);
    let Some(members) = json.as_object() else {
        return Err(whole.unexpected("an object with the members topic, event and args"));
    };
    let (mut topic, mut name, mut args, mut metadata) = (None, None, vec![], None);
    for (member, json) in members {
        let part = whole.member(member, json).inside(ENVELOPE);
        match &**member {
            "topic" => topic = Some(part.text("a string")?),
            "event" => name = Some(part.text("the name of an event")?),
            "args" => args = part.elements()?.map(Part::value).collect::<Result<_, _>>()?,
            "metadata" => metadata = Some(part.metadata()?),
            "time" | "sender" => {}
            _ => return Err(ReadableError::UnknownMember { name: member.clone().into_owned() }),
        }
    }
    let topic = topic.ok_or(ReadableError::MissingMember { name: "topic" })?;
    let name = name.ok_or(ReadableError::MissingMember { name: "event" })?;
    let name = name.into_owned().into();
    Ok((topic.into_owned().into(), Event { name, args, metadata }))
}

#[cfg(test)]
mod tests;
