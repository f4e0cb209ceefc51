//! [`Json`]: a JSON text as a tree that borrows from it.
//!
//! `serde_json` parses (RFC 8259, to the letter); its own tree would copy every string and hash
//! every member's name, which costs more than everything that follows.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

/// A JSON value. Strings without escapes are parts of the text.
#[derive(Clone, Debug, PartialEq)]
pub enum Json<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number: 64 bits with or without sign, or a double.
    Number(Number),
    /// A string.
    String(Cow<'a, str>),
    /// An array.
    Array(Vec<Json<'a>>),
    /// An object: its members in the order of the text. A name may occur twice.
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

impl<'a> Json<'a> {
    /// Parses a text that holds exactly one JSON value. Allocates a small multiple of its length,
    /// at most.
    ///
    /// # Errors
    ///
    /// If the text is not JSON, or nests more than 127 arrays and objects.
    pub fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The text of a string; `None` for other types.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Json::String(text) => Some(text),
            _ => None,
        }
    }

    /// The members of an object; `None` for other types.
    pub fn as_object(&self) -> Option<&[(Cow<'a, str>, Json<'a>)]> {
        match self {
            Json::Object(members) => Some(members),
            _ => None,
        }
    }

    /// `true` or `false`; `None` for other types.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Json::Bool(b) => Some(*b),
            _ => None,
        }
    }

    /// An integer that is not negative; `None` for other types and numbers.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Json::Number(number) => number.as_u64(),
            _ => None,
        }
    }

    /// The member of an object that has only this one.
    pub(super) fn only_member(&self) -> Option<(&str, &Json<'a>)> {
        match self.as_object()? {
            [(name, json)] => Some((name, json)),
            _ => None,
        }
    }

    /// What the value is, for an error: short, whatever it is.
    pub(super) fn abbreviated(&self) -> String {
        const SHOWN: usize = 40;
        match self {
            Json::Null => "null".into(),
            Json::Bool(b) => b.to_string(),
            Json::Number(number) => number.to_string(),
            Json::String(text) => format!("{:?}", abbreviated(text, SHOWN)),
            Json::Array(elements) => format!("an array of {}", elements.len()),
            Json::Object(members) if members.is_empty() => "an empty object".into(),
            Json::Object(members) => {
                // More names than there are characters to show.
                let names: Vec<_> = members.iter().take(SHOWN).map(|(name, _)| &**name).collect();
                abbreviated(&format!("an object of {}", names.join(", ")), SHOWN)
            }
        }
    }
}

/// The first `max` characters, and `…` if there are more.
fn abbreviated(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Json<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Tree)
    }
}

struct Tree;

impl<'de> Visitor<'de> for Tree {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, b: bool) -> Result<Self::Value, E> {
        Ok(Json::Bool(b))
    }

    fn visit_u64<E>(self, n: u64) -> Result<Self::Value, E> {
        Ok(Json::Number(n.into()))
    }

    fn visit_i64<E>(self, n: i64) -> Result<Self::Value, E> {
        Ok(Json::Number(n.into()))
    }

    fn visit_f64<E>(self, x: f64) -> Result<Self::Value, E> {
        // The parser rejects numbers that are not finite.
        Ok(Number::from_f64(x).map_or(Json::Null, Json::Number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Json::String(text.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Json::String(text.to_owned().into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = array.next_element()? {
            elements.push(element);
        }
        Ok(Json::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((Name(name), json)) = object.next_entry()? {
            members.push((name, json));
        }
        Ok(Json::Object(members))
    }
}

/// The name of a member.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a member")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Name(text.into()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Name(text.to_owned().into()))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_without_escapes_are_not_copied() {
        let json = Json::parse(r#" {"a":["x","\n",null,true], "a":-1.5} "#).unwrap();
        let [(name, Json::Array(elements)), (again, Json::Number(number))] =
            json.as_object().unwrap()
        else {
            panic!("{json:?}")
        };
        assert!(matches!((name, again), (Cow::Borrowed("a"), Cow::Borrowed("a"))));
        assert!(matches!(&elements[0], Json::String(Cow::Borrowed("x"))));
        assert!(matches!(&elements[1], Json::String(Cow::Owned(text)) if text == "\n"));
        assert_eq!(elements[2..], [Json::Null, Json::Bool(true)]);
        assert_eq!(number.as_f64(), Some(-1.5));
    }

    #[test]
    fn nesting_has_a_limit() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Json::parse(&nested(127)).is_ok());
        assert!(Json::parse(&nested(128)).is_err());
        assert!(Json::parse(&"[{\"a\":".repeat(1_000_000)).is_err());
    }
}
