//! Version 1 of the API: Zeek's (WIRE.md §3.4 to §3.7).
//!
//! The first message of a client lists the prefixes it subscribes to, all others publish events.

use std::collections::BTreeSet;

use bstr::BString;
use serde_json::{Value as Json, json};
use zcluster::Event;
use zcluster::wire::broker_json;

/// The path of version 1. It must match byte for byte, without a query.
pub const PATH: &str = "/v1/messages/json";

/// The error about any other path.
pub const INVALID_URI: (&str, &str) = ("invalid_uri", "Invalid URI - use /v1/messages/json");
/// The error about the header `X-Application-Name`.
pub const INVALID_APPLICATION_NAME: (&str, &str) =
    ("invalid_application_name", "Invalid X-Application-Name");

pub(crate) const UNREADABLE: &str = "deserialization_failed";
const NO_ARRAY: &str = "subscriptions not an array";
const NO_STRING: &str = "individual subscription not a string";
/// An event that does not fit its declaration.
pub(crate) const NO_EVENT: &str = "failed to create Zeek event";

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// To subscribe to these prefixes, sorted and each once.
    Subscribe(BTreeSet<BString>),
    /// To publish an event.
    Publish(BString, Event),
}

/// Why a message is not a [`Request`]: the code and the context of the error to answer with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The code.
    pub code: &'static str,
    /// What is wrong, in Zeek's words.
    pub context: &'static str,
}

/// Reads the first message of a client.
///
/// # Errors
/// If it is not an array of strings.
pub fn subscriptions(text: &str) -> Result<Request, Unreadable> {
    let wrong = |context| Unreadable { code: UNREADABLE, context };
    let Ok(Json::Array(prefixes)) = serde_json::from_str(text) else {
        return Err(wrong(NO_ARRAY));
    };
    let prefix = |json| match json {
        Json::String(prefix) => Ok(BString::from(prefix)),
        _ => Err(wrong(NO_STRING)),
    };
    prefixes.into_iter().map(prefix).collect::<Result<_, _>>().map(Request::Subscribe)
}

/// Reads any later message.
///
/// # Errors
/// If it is not a `data-message` with an event.
pub fn data_message(text: &[u8]) -> Result<Request, Unreadable> {
    match broker_json::decode_data_message(text) {
        Ok((topic, event)) => Ok(Request::Publish(topic, event)),
        Err(error) => Err(Unreadable { code: UNREADABLE, context: error.websocket_context() }),
    }
}

/// The answer to the first message, once subscriptions are active and publishing works.
pub fn ack(endpoint: &str, version: &str) -> String {
    json!({ "type": "ack", "endpoint": endpoint, "version": version }).to_string()
}

/// An answer to a message that cannot be carried out.
pub fn error(code: &str, context: &str) -> String {
    json!({ "type": "error", "code": code, "context": context }).to_string()
}

/// Whether `X-Application-Name` may have that value.
pub fn is_application_name(name: &[u8]) -> bool {
    name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-/_.=:*@".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_is_a_list_of_prefixes() {
        let list = |prefixes: &[&str]| {
            Ok(Request::Subscribe(prefixes.iter().map(|prefix| BString::from(*prefix)).collect()))
        };
        let wrong = |context| Err(Unreadable { code: "deserialization_failed", context });
        for (text, expected) in [
            ("[]", list(&[])),
            (r#" ["b.", "a."] "#, list(&["a.", "b."])),
            (r#"["twice", "twice", ""]"#, list(&["", "twice"])),
            (r#"["é\u0000"]"#, list(&["é\0"])),
            ("", wrong(NO_ARRAY)),
            ("hello", wrong(NO_ARRAY)),
            ("{}", wrong(NO_ARRAY)),
            ("[\"a\"", wrong(NO_ARRAY)),
            ("[\"a\"] x", wrong(NO_ARRAY)),
            ("\"a\"", wrong(NO_ARRAY)),
            ("[7]", wrong(NO_STRING)),
            ("[\"a\", null]", wrong(NO_STRING)),
            ("[[\"a\"]]", wrong(NO_STRING)),
        ] {
            assert_eq!(subscriptions(text), expected, "{text}");
        }
    }

    /// The deviations that docs/websocket.md lists.
    #[test]
    fn more_is_accepted_in_events_than_by_zeek_and_less_in_the_first_message() {
        let argument = |json: &str| {
            let value = |ty: &str, data: &str| format!(r#"{{"@data-type":"{ty}","data":{data}}}"#);
            let (one, name) = (value("count", "1"), value("string", r#""A::a""#));
            let content =
                value("vector", &format!("[{name},{}]", value("vector", &format!("[{json}]"))));
            let text =
                format!(r#"{{"topic":"t","@data-type":"vector","data":[{one},{one},{content}]}}"#);
            match data_message(text.as_bytes()) {
                Ok(Request::Publish(_, event)) => format!("{:?}", event.args[0]),
                other => panic!("{text}: {other:?}"),
            }
        };
        let real = |data: &str| argument(&format!(r#"{{"@data-type":"real","data":{data}}}"#));
        let string =
            |data: &str| argument(&format!(r#"{{"@data-type":"string","data":"{data}"}}"#));
        let shown = |value: zcluster::Value| format!("{value:?}");
        for (found, expected) in [
            (string(r"a\/b"), "a/b".into()),
            (string("a\tb"), "a\tb".into()),
            (string(r"a\vb"), "a\u{b}b".into()),
            (
                real("123456789012345678901234567890.0"),
                123_456_789_012_345_678_901_234_567_890.0.into(),
            ),
            (real("null"), f64::NAN.into()),
            (real("nan"), f64::NAN.into()),
            (real("inf"), f64::INFINITY.into()),
        ] {
            assert_eq!(found, shown(expected));
        }
        for text in ["[\"a\tb\"]", r#"["a\vb"]"#] {
            let wrong = Unreadable { code: UNREADABLE, context: NO_ARRAY };
            assert_eq!(subscriptions(text), Err(wrong), "{text}");
        }
    }

    #[test]
    fn application_names() {
        for (name, expected) in [
            ("", true),
            ("zeekctl/2.7.0", true),
            ("aZ0-/_.=:*@", true),
            ("has a space", false),
            ("semi;colon", false),
            ("umlaut-é", false),
        ] {
            assert_eq!(is_application_name(name.as_bytes()), expected, "{name}");
        }
    }
}
