//! [`Json`]: a JSON text as a tree that borrows from it.
//!
//! `serde_json` parses (RFC 8259, to the letter); its own tree would copy every string and hash
//! every member's name, which costs more than everything that follows.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
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
    /// Any other number, as it is written: an integer beyond 64 bits, or larger than any double.
    Large(Cow<'a, str>),
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
        let (mut json, has_large) = match tree(text) {
            Ok(parsed) => parsed,
            // The parser gives up at a number that is larger than any double.
            Err(error) => match without_large(text) {
                Some(other) => (tree(&other)?.0.into_owned(), true),
                None => return Err(error),
            },
        };
        if has_large {
            json.keep_large(&mut numbers(text));
        }
        Ok(json)
    }

    /// Replaces the numbers that are large by what the text has. `numbers` are all of the text, in its
    /// order.
    fn keep_large(&mut self, numbers: &mut impl Iterator<Item = (usize, &'a str)>) {
        match self {
            Json::Number(_) => {
                if let Some((_, number)) = numbers.next().filter(|(_, number)| is_large(number)) {
                    *self = Json::Large(number.into());
                }
            }
            Json::Array(elements) => elements.iter_mut().for_each(|e| e.keep_large(numbers)),
            Json::Object(members) => members.iter_mut().for_each(|(_, m)| m.keep_large(numbers)),
            Json::Null | Json::Bool(_) | Json::Large(_) | Json::String(_) => {}
        }
    }

    /// The same, as a copy of all texts.
    fn into_owned(self) -> Json<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        match self {
            Json::Null => Json::Null,
            Json::Bool(b) => Json::Bool(b),
            Json::Number(number) => Json::Number(number),
            Json::Large(number) => Json::Large(owned(number)),
            Json::String(text) => Json::String(owned(text)),
            Json::Array(elements) => {
                Json::Array(elements.into_iter().map(Json::into_owned).collect())
            }
            Json::Object(members) => {
                let members = members.into_iter();
                Json::Object(members.map(|(name, json)| (owned(name), json.into_owned())).collect())
            }
        }
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
            Json::Large(number) => abbreviated(number, SHOWN),
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

/// Parses a text; whether there may be integers in it that were read as doubles.
fn tree(text: &str) -> Result<(Json<'_>, bool), serde_json::Error> {
    let has_large = Cell::new(false);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let json = Tree { has_large: &has_large }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok((json, has_large.get()))
}

/// The numbers of a JSON text and where they begin, in its order.
fn numbers(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let at = rest.find(|c: char| matches!(c, '"' | '-' | '0'..='9'))?;
            rest = &rest[at..];
            if let Some(string) = rest.strip_prefix('"') {
                rest = after_string(string)?;
                continue;
            }
            let in_number = |c: char| matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E');
            let start = text.len() - rest.len();
            let end = rest.find(|c| !in_number(c)).unwrap_or(rest.len());
            let (number, after) = rest.split_at(end);
            rest = after;
            return Some((start, number));
        }
    })
}

/// What follows the quote at the end of a string; `None` if there is none.
fn after_string(text: &str) -> Option<&str> {
    let mut rest = text;
    loop {
        let special = rest.find(['"', '\\'])?;
        let is_end = rest[special..].starts_with('"');
        rest = &rest[special + 1..];
        if is_end {
            return Some(rest);
        }
        let mut chars = rest.chars();
        chars.next()?;
        rest = chars.as_str();
    }
}

/// Whether this is an integer beyond 64 bits, or larger than any double.
fn is_large(number: &str) -> bool {
    if number.contains(['.', 'e', 'E']) {
        number.parse().is_ok_and(f64::is_infinite)
    } else {
        number.parse::<u64>().is_err() && number.parse::<i64>().is_err()
    }
}

/// The text with zeros in place of large numbers, of the same length; `None` if it has none.
fn without_large(text: &str) -> Option<String> {
    let mut other = String::new();
    for (start, number) in numbers(text).filter(|(_, number)| is_large(number)) {
        other.push_str(&text[other.len()..start]);
        other.push('0');
        other.extend(std::iter::repeat_n(' ', number.len() - 1));
    }
    if other.is_empty() {
        return None;
    }
    other.push_str(&text[other.len()..]);
    Some(other)
}

#[derive(Clone, Copy)]
struct Tree<'t> {
    /// Set when a number may be an integer beyond 64 bits.
    has_large: &'t Cell<bool>,
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
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
        const BEYOND_64_BITS: f64 = 9_223_372_036_854_775_808.0;
        if x.abs() >= BEYOND_64_BITS {
            self.has_large.set(true);
        }
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
        while let Some(element) = array.next_element_seed(self)? {
            elements.push(element);
        }
        Ok(Json::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(Name(name)) = object.next_key()? {
            members.push((name, object.next_value_seed(self)?));
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

    #[test]
    fn numbers_that_fit_nowhere_are_kept_as_they_are_written() {
        let digits = "9".repeat(400);
        for large in [
            "18446744073709551616",
            "-9223372036854775809",
            "100000000000000000000000",
            "1e400",
            "-1.5E+999",
            &digits,
        ] {
            let kept = Json::Large(large.into());
            let text = format!(
                r#" {{"1e400":["-1\\",{large} , 1e22,-7,[{large}]],"\"2":"{large}","3":1.5}} "#
            );
            let Json::Object(members) = Json::parse(&text).unwrap() else { panic!("{text}") };
            let Json::Array(elements) = &members[0].1 else { panic!("{members:?}") };
            let number = |x: f64| Number::from_f64(x).map(Json::Number).unwrap();
            let seven = Json::Number((-7).into());
            let expected = [kept.clone(), number(1e22), seven, Json::Array(vec![kept.clone()])];
            assert_eq!(elements[1..], expected, "{text}");
            assert_eq!(members[0].0, "1e400");
            let rest = [("\"2".into(), Json::String(large.into())), ("3".into(), number(1.5))];
            assert_eq!(members[1..], rest, "{text}");
            assert_eq!(Json::parse(large).unwrap(), kept);
            // An error is where it was.
            let wrong = format!("[{large}, x]");
            let error = Json::parse(&wrong).unwrap_err();
            assert_eq!(error.column(), wrong.len() - 1, "{error}");
        }
        for fits in ["18446744073709551615", "-9223372036854775808", "1.8e308", "-0", "1e-400"] {
            let json = Json::parse(fits);
            assert_eq!(matches!(json, Ok(Json::Number(_))), fits != "1.8e308", "{fits}: {json:?}");
        }
    }
}
