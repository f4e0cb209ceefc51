//! Reads the JSON that programs usually send, without a tree.
//!
//! [`message`] reads an event straight from the text, if its values look as every encoder writes them:
//! `@data-type` comes before `data`, nothing else is beside them, strings have no escapes, and counts
//! are plain digits. Otherwise it gives up, and the caller reads the text as a tree: what is accepted,
//! and what is wrong with a text, is decided there. What is read here means the same there.

use std::collections::{BTreeMap, BTreeSet};

use bstr::BString;

use super::super::MAX_DEPTH;
use super::super::json;
use super::json_text;
use crate::event::Event;
use crate::value::{Real, Value};

/// Reads an event and, if there is one, the topic beside it.
pub(super) fn message(text: &[u8]) -> Option<(Option<BString>, Event)> {
    let mut reader = Reader { text, offset: 0 };
    let (mut kind, mut topic, mut is_vector, mut event) = (None, None, false, None);
    reader.open(b'{')?;
    loop {
        let name = reader.string()?;
        reader.next(b':')?;
        // A member that comes twice counts once.
        match name {
            b"type" if kind.is_none() => kind = Some(reader.string()?),
            b"topic" if topic.is_none() => topic = Some(reader.string()?),
            b"@data-type" if !is_vector && reader.string()? == b"vector" => is_vector = true,
            b"data" if event.is_none() => event = Some(reader.envelope()?),
            _ => return None,
        }
        if !reader.goes_on(b'}')? {
            break;
        }
    }
    reader.skip_white_space();
    let is_whole = is_vector && reader.offset == text.len();
    event.filter(|_| is_whole).map(|event| (topic.map(BString::from), event))
}

/// A cursor over the text. Its functions return `None` where the text is not as usual.
struct Reader<'a> {
    text: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.offset).copied()
    }

    fn skip_white_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.offset += 1;
        }
    }

    /// Reads that byte, which may have white space before it.
    fn next(&mut self, byte: u8) -> Option<()> {
        if self.peek() != Some(byte) {
            self.skip_white_space();
            if self.peek() != Some(byte) {
                return None;
            }
        }
        self.offset += 1;
        Some(())
    }

    /// Reads an opening bracket with something in it.
    fn open(&mut self, bracket: u8) -> Option<()> {
        self.next(bracket)
    }

    /// Reads a comma, or the closing bracket: then it is `false`.
    fn goes_on(&mut self, close: u8) -> Option<bool> {
        if self.next(b',').is_some() {
            return Some(true);
        }
        self.next(close).map(|()| false)
    }

    /// Reads a string without escapes.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.next(b'"')?;
        let rest = &self.text[self.offset..];
        let length = memchr::memchr2(b'"', b'\\', rest)?;
        if rest[length] != b'"' {
            return None;
        }
        self.offset += length + 1;
        Some(&rest[..length])
    }

    fn text(&mut self) -> Option<&'a str> {
        str::from_utf8(self.string()?).ok()
    }

    /// Reads a number or a literal word.
    fn word(&mut self) -> Option<&'a str> {
        self.skip_white_space();
        let rest = &self.text[self.offset..];
        let in_word = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        let length = rest.iter().position(|b| !in_word(b))?;
        self.offset += length;
        str::from_utf8(&rest[..length]).ok()
    }

    /// Reads digits: a number of at most 18, without zeros in front, which would make it octal.
    fn digits(&mut self) -> Option<u64> {
        self.skip_white_space();
        let rest = &self.text[self.offset..];
        let length = rest.iter().position(|b| !b.is_ascii_digit())?;
        let is_plain = matches!(rest[..length], [_] | [b'1'..=b'9', ..]) && length <= 18;
        if !is_plain {
            return None;
        }
        self.offset += length;
        Some(rest[..length].iter().fold(0, |so_far, digit| so_far * 10 + u64::from(digit - b'0')))
    }

    /// Reads the start of a value up to its data, and returns the type.
    fn head(&mut self) -> Option<&'a [u8]> {
        self.open(b'{')?;
        self.member(b"@data-type")?;
        let data_type = self.string()?;
        self.next(b',')?;
        self.member(b"data")?;
        Some(data_type)
    }

    fn member(&mut self, name: &[u8]) -> Option<()> {
        (self.string()? == name).then_some(())?;
        self.next(b':')
    }

    /// Reads a value of that type; returns what reads the data.
    fn typed<T>(
        &mut self,
        data_type: &[u8],
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        (self.head()? == data_type).then_some(())?;
        let data = read(self)?;
        self.next(b'}')?;
        Some(data)
    }

    /// Reads an array; `depth` counts the arrays and objects around it.
    fn items(
        &mut self,
        depth: usize,
        mut item: impl FnMut(&mut Self, usize) -> Option<()>,
    ) -> Option<()> {
        if depth >= MAX_DEPTH {
            return None;
        }
        self.open(b'[')?;
        if self.next(b']').is_some() {
            return Some(());
        }
        loop {
            item(self, depth + 1)?;
            if !self.goes_on(b']')? {
                return Some(());
            }
        }
    }

    fn vector(&mut self, depth: usize) -> Option<Vec<Value>> {
        let mut elements = Vec::new();
        self.items(depth, |reader, depth| {
            elements.push(reader.value(depth)?);
            Some(())
        })?;
        Some(elements)
    }

    /// Reads the data of the vector that is an event (WIRE.md §2.7).
    fn envelope(&mut self) -> Option<Event> {
        const VECTOR: &[u8] = b"vector";
        self.open(b'[')?;
        for expected in [1, 1] {
            let number = self.typed(b"count", Self::digits)?;
            (number == expected).then_some(())?;
            self.next(b',')?;
        }
        let event = self.typed(VECTOR, |reader| {
            reader.open(b'[')?;
            let name = reader.typed(b"string", Self::string)?.into();
            reader.next(b',')?;
            // Around the arguments: message, data, content, data, arguments.
            let args = reader.typed(VECTOR, |reader| reader.vector(5))?;
            let mut metadata = None;
            if reader.goes_on(b']')? {
                metadata = Some(reader.typed(VECTOR, Self::metadata)?);
                reader.next(b']')?;
            }
            Some(Event { name, args, metadata })
        })?;
        self.next(b']')?;
        Some(event)
    }

    fn metadata(&mut self) -> Option<Vec<(u64, Value)>> {
        let mut entries = Vec::new();
        self.items(5, |reader, depth| {
            let entry = reader.typed(b"vector", |reader| {
                reader.open(b'[')?;
                let id = reader.typed(b"count", Self::digits)?;
                reader.next(b',')?;
                let value = reader.value(depth + 2)?;
                reader.next(b']')?;
                Some((id, value))
            })?;
            entries.push(entry);
            Some(())
        })?;
        Some(entries)
    }

    /// Reads a value; `depth` counts the arrays and objects around it.
    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth >= MAX_DEPTH {
            return None;
        }
        let inside = depth + 1;
        let value = match self.head()? {
            b"none" => {
                self.open(b'{')?;
                self.next(b'}')?;
                Value::None
            }
            b"boolean" => match self.word()? {
                "true" => Value::Boolean(true),
                "false" => Value::Boolean(false),
                _ => return None,
            },
            b"count" => Value::Count(self.digits()?),
            b"integer" => {
                let is_negative = self.next(b'-').is_some();
                let magnitude = self.digits()? as i64;
                Value::Integer(if is_negative { -magnitude } else { magnitude })
            }
            b"real" => Value::Real(Real(json::parse_real(self.word()?)?)),
            b"string" => Value::String(self.string()?.into()),
            b"enum-value" => Value::Enum(self.string()?.into()),
            b"address" => Value::Address(json_text::parse_address(self.text()?)?),
            b"subnet" => Value::Subnet(json_text::parse_subnet(self.text()?)?),
            b"port" => Value::Port(json_text::parse_port(self.text()?)?),
            b"timestamp" => Value::Timestamp(json_text::parse_timestamp(self.text()?)?),
            b"timespan" => Value::Timespan(json_text::parse_timespan(self.text()?)?),
            b"vector" => Value::Vector(self.vector(inside)?),
            b"set" => {
                let mut elements = BTreeSet::new();
                self.items(inside, |reader, depth| {
                    elements.insert(reader.value(depth)?).then_some(())
                })?;
                Value::Set(elements)
            }
            b"table" => {
                let mut entries = BTreeMap::new();
                self.items(inside, |reader, depth| {
                    if depth >= MAX_DEPTH {
                        return None;
                    }
                    reader.open(b'{')?;
                    reader.member(b"key")?;
                    let key = reader.value(depth + 1)?;
                    reader.next(b',')?;
                    reader.member(b"value")?;
                    let value = reader.value(depth + 1)?;
                    reader.next(b'}')?;
                    entries.insert(key, value).is_none().then_some(())
                })?;
                Value::Table(entries)
            }
            _ => return None,
        };
        self.next(b'}')?;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{InvalidUtf8, decode_data_message_by_tree as by_tree, encode_data_message};
    use super::*;
    use crate::testing;

    fn written(topic: &[u8], event: &Event) -> Vec<u8> {
        let mut text = Vec::new();
        encode_data_message(topic, event, InvalidUtf8::Raw, &mut text);
        text
    }

    /// What both readers think; the quick one may have no opinion.
    fn assert_same(text: &[u8]) -> bool {
        let quick = message(text);
        if let Some((Some(topic), event)) = &quick
            && **topic != *b"<$>"
        {
            assert_eq!(
                by_tree(text),
                Ok((topic.clone(), event.clone())),
                "{}",
                bstr::BStr::new(text)
            );
        }
        quick.is_some()
    }

    #[test]
    fn what_is_unusual_is_left_to_the_tree() {
        let usual = r#"{"type":"data-message","topic":"t","@data-type":"vector","data":[{"@data-type":"count","data":1},{"@data-type":"count","data":1},{"@data-type":"vector","data":[{"@data-type":"string","data":"e"},{"@data-type":"vector","data":[{"@data-type":"count","data":10}]}]}]}"#;
        assert!(assert_same(usual.as_bytes()));
        let spaced = usual.replace(':', " :\n").replace(',', "\t, ").replace('}', " }\r");
        assert!(assert_same(spaced.as_bytes()), "white space");
        for (part, instead, is_read) in [
            (r#""type":"data-message","#, "", true),
            (r#""topic":"t","#, "", true),
            (r#""data":10"#, r#""data":0"#, true),
            (r#""data":10"#, r#""data":010"#, false),
            (r#""data":10"#, r#""data":+10"#, false),
            (r#""data":10"#, r#""data":10.0"#, false),
            (r#""data":10"#, r#""data":999999999999999999"#, true),
            (r#""data":10"#, r#""data":1000000000000000000"#, false),
            (r#""count","data":10"#, r#""integer","data":-10"#, true),
            (r#""count","data":10"#, r#""integer","data":-0"#, true),
            (r#""count","data":10"#, r#""real","data":10"#, false),
            (r#""count","data":10"#, r#""real","data":1e1"#, true),
            (r#""count","data":10"#, r#""real","data":inf"#, true),
            (r#""count","data":10"#, r#""none","data":{}"#, true),
            (r#""count","data":10"#, r#""none""#, false),
            (r#""data":10"#, r#""data":10,"more":1"#, false),
            (r#""@data-type":"count","data":10"#, r#""data":10,"@data-type":"count""#, false),
            (r#""data":"e""#, r#""data":"\u0065""#, false),
            (r#""topic":"t""#, r#""topic":"t","topic":"u""#, false),
            (r#""topic":"t""#, r#""topic":"t","extra":null"#, false),
            (r#""data-message""#, "7", false),
            (r#""data":1}"#, r#""data":2}"#, false),
            ("]}]}", "]}]} x", false),
            ("]}]}", "]}]", false),
        ] {
            let text = usual.replacen(part, instead, 1);
            assert_ne!(text, usual);
            assert_eq!(assert_same(text.as_bytes()), is_read, "{text}");
        }
        for end in 0..usual.len() {
            assert!(!assert_same(&usual.as_bytes()[..end]), "cut at {end}");
        }
    }

    #[test]
    fn nesting_has_the_same_limit() {
        for depth in 0..MAX_DEPTH {
            let mut value = Value::None;
            for _ in 0..depth {
                value = Value::Vector(vec![value]);
            }
            let text = written(b"t", &Event::new("e", vec![value]));
            assert_eq!(assert_same(&text), by_tree(&text).is_ok(), "{depth}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_in_the_same_way(event in testing::event(), topic in ".{0,9}") {
            assert_same(&written(topic.as_bytes(), &event));
        }

        #[test]
        fn changed_texts_mean_the_same_if_anything(
            event in testing::event(),
            at in any::<prop::sample::Index>(),
            byte in prop::sample::select(&b"\"\\{}[]:,0123456789.-+ entx\n\xff"[..]),
        ) {
            let mut text = written(b"topic", &event);
            let at = at.index(text.len());
            text[at] = byte;
            assert_same(&text);
            text.remove(at);
            assert_same(&text);
        }
    }
}
