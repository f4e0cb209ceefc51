//! A parser for Zeek's JSON dialect (WIRE.md §3.1), which no JSON library reads.
//!
//! It accepts what Zeek's own parser accepts, and what Zeek writes but its parser rejects:
//!
//! - strings of any bytes, including raw control characters, and the escape `\v`;
//! - numbers such as `+5`, `05` (octal), `0x5`, `0b101`, `.5`, `5.`, and the words `inf` and `nan`.
//!
//! `\/` is a slash, as in JSON. (Zeek reads it as `?`, a bug that is not copied.) Lone surrogates,
//! other escapes, comments and trailing commas are rejected.
//!
//! The result is a tree that borrows from the text. Objects keep their members in the original
//! order, so that [`Node::member`] can return the first with a given name, as Zeek does.

use std::borrow::Cow;

use thiserror::Error;

use super::MAX_DEPTH;

/// Text that is not in this dialect of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("byte {offset}: expected {expected}")]
pub struct SyntaxError {
    /// Offset from the start of the text.
    pub offset: usize,
    /// What should be there.
    pub expected: &'static str,
}

/// A value and its offset in the text.
#[derive(Debug, PartialEq)]
pub(super) struct Node<'a> {
    pub(super) offset: usize,
    pub(super) json: Json<'a>,
}

#[derive(Debug, PartialEq)]
pub(super) enum Json<'a> {
    Null,
    Bool(bool),
    /// The literal. [`parse_integer`] or [`parse_real`] can read it unless it is out of range.
    Number(&'a str),
    String(Cow<'a, [u8]>),
    Array(Vec<Node<'a>>),
    Object(Vec<(Cow<'a, [u8]>, Node<'a>)>),
}

impl<'a> Node<'a> {
    /// The first member of an object with that name.
    pub(super) fn member(&self, name: &str) -> Option<&Node<'a>> {
        match &self.json {
            Json::Object(members) => {
                members.iter().find(|(n, _)| **n == *name.as_bytes()).map(|(_, node)| node)
            }
            _ => None,
        }
    }
}

/// Reads a text that holds exactly one JSON value, with or without surrounding white space.
pub(super) fn parse(text: &[u8]) -> Result<Node<'_>, SyntaxError> {
    let mut reader = Reader { text, offset: 0, depth: 0 };
    let node = reader.node()?;
    reader.skip_white_space();
    if reader.offset < text.len() {
        return Err(reader.error("the end of the text"));
    }
    Ok(node)
}

/// Passes on the text of a string in JSON, without the quotes, in parts: what stays as it is, and the
/// escapes of quotes, backslashes and control characters.
pub(crate) fn escape_json(text: &str, mut put: impl FnMut(&str)) {
    let mut start = 0;
    for (i, byte) in text.bytes().enumerate() {
        if !matches!(byte, b'"' | b'\\' | 0..=0x1f) {
            continue;
        }
        put(&text[start..i]);
        start = i + 1;
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            0x08 => "\\b",
            0x0c => "\\f",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            control => {
                let digits = [control >> 4, control & 0xf].map(|digit| HEX[usize::from(digit)]);
                put("\\u00");
                put(digits[0]);
                digits[1]
            }
        };
        put(escape);
    }
    put(&text[start..]);
}

const HEX: [&str; 16] =
    ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "a", "b", "c", "d", "e", "f"];

/// Reads an integer literal in any base; `None` for reals and for integers that do not fit.
pub(super) fn parse_integer(literal: &str) -> Option<i128> {
    let (negative, digits) = split_sign(literal);
    let magnitude = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => parse_digits(&digits[2..], 16),
        [b'0', b'b' | b'B', ..] => parse_digits(&digits[2..], 2),
        [b'0', _, ..] => parse_digits(&digits[1..], 8),
        _ => parse_digits(digits, 10),
    }?;
    Some(if negative { -i128::from(magnitude) } else { i128::from(magnitude) })
}

fn parse_digits(digits: &str, radix: u32) -> Option<u64> {
    // The standard library would also accept a sign here.
    let valid = digits.bytes().all(|b| b.is_ascii_alphanumeric());
    if valid { u64::from_str_radix(digits, radix).ok() } else { None }
}

/// Reads a literal with a point or an exponent, or a word for infinity or NaN; `None` for integers.
/// Values out of range become infinity or zero.
pub(super) fn parse_real(literal: &str) -> Option<f64> {
    let (negative, magnitude) = split_sign(literal);
    let value: f64 = match magnitude {
        "inf" => f64::INFINITY,
        "nan" => return Some(f64::NAN),
        _ if is_decimal(magnitude) && magnitude.contains(['.', 'e', 'E']) => {
            magnitude.parse().ok()?
        }
        _ => return None,
    };
    Some(if negative { -value } else { value })
}

fn split_sign(literal: &str) -> (bool, &str) {
    match literal.as_bytes().first() {
        Some(b'-') => (true, &literal[1..]),
        Some(b'+') => (false, &literal[1..]),
        _ => (false, literal),
    }
}

/// Whether `unsigned` is `digits [. digits] [e [sign] digits]`, with a digit before or after the
/// point.
fn is_decimal(unsigned: &str) -> bool {
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(split_sign(exponent).1)),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    all_digits(whole)
        && all_digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(|digits| !digits.is_empty() && all_digits(digits))
}

/// A cursor over the text.
struct Reader<'a> {
    text: &'a [u8],
    offset: usize,
    /// Number of arrays and objects around the cursor.
    depth: usize,
}

impl<'a> Reader<'a> {
    fn error(&self, expected: &'static str) -> SyntaxError {
        SyntaxError { offset: self.offset, expected }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.offset).copied()
    }

    /// Skips this byte if it is the next one.
    fn accept(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.offset += usize::from(found);
        found
    }

    fn skip_white_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.offset += 1;
        }
    }

    fn node(&mut self) -> Result<Node<'a>, SyntaxError> {
        self.skip_white_space();
        let offset = self.offset;
        let json = match self.peek() {
            Some(b'"') => Json::String(self.string()?),
            Some(b'[') => Json::Array(self.items(b']', "`,` or `]`", Self::node)?),
            Some(b'{') => Json::Object(self.items(b'}', "`,` or `}`", Self::named_node)?),
            _ => self.word()?,
        };
        Ok(Node { offset, json })
    }

    /// Reads a list from its opening bracket, the next byte, to the closing one.
    fn items<T>(
        &mut self,
        close: u8,
        expected: &'static str,
        mut item: impl FnMut(&mut Self) -> Result<T, SyntaxError>,
    ) -> Result<Vec<T>, SyntaxError> {
        if self.depth == MAX_DEPTH {
            return Err(self.error("less nesting of arrays and objects"));
        }
        self.depth += 1;
        self.offset += 1;
        let mut items = Vec::new();
        self.skip_white_space();
        if !self.accept(close) {
            loop {
                items.push(item(self)?);
                self.skip_white_space();
                if self.accept(close) {
                    break;
                }
                if !self.accept(b',') {
                    return Err(self.error(expected));
                }
            }
        }
        self.depth -= 1;
        Ok(items)
    }

    fn named_node(&mut self) -> Result<(Cow<'a, [u8]>, Node<'a>), SyntaxError> {
        self.skip_white_space();
        if self.peek() != Some(b'"') {
            return Err(self.error("a member name in double quotes"));
        }
        let name = self.string()?;
        self.skip_white_space();
        if !self.accept(b':') {
            return Err(self.error("`:`"));
        }
        Ok((name, self.node()?))
    }

    /// Reads a number or a literal word.
    fn word(&mut self) -> Result<Json<'a>, SyntaxError> {
        let rest = &self.text[self.offset..];
        let in_word = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        let len = rest.iter().position(|b| !in_word(b)).unwrap_or(rest.len());
        let json = match str::from_utf8(&rest[..len]) {
            Ok("null") => Json::Null,
            Ok("true") => Json::Bool(true),
            Ok("false") => Json::Bool(false),
            Ok(literal) if is_number(literal) => Json::Number(literal),
            _ => return Err(self.error("a JSON value")),
        };
        self.offset += len;
        Ok(json)
    }

    /// Reads a string; its opening quote is the next byte.
    fn string(&mut self) -> Result<Cow<'a, [u8]>, SyntaxError> {
        self.offset += 1;
        let plain = self.plain_run()?;
        if self.accept(b'"') {
            return Ok(Cow::Borrowed(plain));
        }
        let mut unescaped = plain.to_vec();
        while !self.accept(b'"') {
            self.escape(&mut unescaped)?;
            unescaped.extend_from_slice(self.plain_run()?);
        }
        Ok(Cow::Owned(unescaped))
    }

    /// Reads the bytes up to the next quote or backslash.
    fn plain_run(&mut self) -> Result<&'a [u8], SyntaxError> {
        let rest = &self.text[self.offset..];
        let Some(len) = memchr::memchr2(b'"', b'\\', rest) else {
            self.offset = self.text.len();
            return Err(self.error("the closing quote of a string"));
        };
        self.offset += len;
        Ok(&rest[..len])
    }

    /// Reads the escape at the cursor.
    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), SyntaxError> {
        let error = self.error("one of the escapes \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\v \\uXXXX");
        let code = self.text.get(self.offset + 1).ok_or_else(|| error.clone())?;
        self.offset += 2;
        out.push(match code {
            b'"' | b'\\' | b'/' => *code,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 0x0b,
            b'u' => {
                let code_point = self.code_point().ok_or(SyntaxError {
                    expected: "four hexadecimal digits, and surrogates in pairs",
                    ..error
                })?;
                out.extend_from_slice(code_point.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err(error),
        });
        Ok(())
    }

    /// Reads what follows `\u`: one code unit or a surrogate pair.
    fn code_point(&mut self) -> Option<char> {
        let first = self.code_unit()?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first);
        }
        if !(self.accept(b'\\') && self.accept(b'u')) {
            return None;
        }
        let second = self.code_unit().filter(|unit| (0xdc00..0xe000).contains(unit))?;
        char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00))
    }

    fn code_unit(&mut self) -> Option<u32> {
        let digits = self.text.get(self.offset..self.offset + 4)?;
        self.offset += 4;
        digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
    }
}

fn is_number(literal: &str) -> bool {
    parse_real(literal).is_some()
        || parse_integer(literal).is_some()
        // A number, but out of any range.
        || is_decimal(split_sign(literal).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> Option<Vec<u8>> {
        match parse(text.as_bytes()).ok()?.json {
            Json::String(bytes) => Some(bytes.into_owned()),
            _ => None,
        }
    }

    #[test]
    fn documents() {
        let node = parse(b" {\"a\" : [1, true ,null,\"x\"] , \"a\":{}} \r\n").unwrap();
        assert_eq!(node.offset, 1);
        let first = node.member("a").unwrap();
        assert_eq!(first.offset, 8);
        let Json::Array(items) = &first.json else { panic!("{first:?}") };
        let items: Vec<_> = items.iter().map(|node| &node.json).collect();
        let x = Json::String(Cow::Borrowed(b"x"));
        assert_eq!(items, [&Json::Number("1"), &Json::Bool(true), &Json::Null, &x]);
        assert_eq!(node.member("b"), None);
        assert_eq!(first.member("a"), None);
    }

    #[test]
    fn what_is_no_json_is_rejected_where_it_goes_wrong() {
        for (text, offset) in [
            ("", 0),
            ("  ", 2),
            ("[1] 2", 4),
            ("{}{}", 2),
            ("\u{feff}{}", 0),
            ("[1,]", 3),
            ("[,1]", 1),
            ("[1 2]", 3),
            ("[1", 2),
            ("{\"a\":1,}", 7),
            ("{\"a\" 1}", 5),
            ("{a:1}", 1),
            ("{'a':1}", 1),
            ("'a'", 0),
            ("// no\n1", 0),
            ("[1 /* no */]", 3),
            ("[\0]", 1),
            ("True", 0),
            ("nulls", 0),
            ("\"abc", 4),
            ("\"abc\\", 4),
            ("\"\\x41\"", 1),
            ("\"\\u12g4\"", 1),
            ("\"\\u+123\"", 1),
            ("\"\\u12", 1),
            ("\"\\ud800\"", 1),
            ("\"\\ud800\\n\"", 1),
            ("\"\\ud800\\u0041\"", 1),
            ("\"\\udc00\"", 1),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap_err().offset, offset, "{text}");
        }
    }

    #[test]
    fn strings_hold_any_bytes() {
        for (text, bytes) in [
            (r#""""#, "".as_bytes()),
            (r#""a\"\\\/\b\f\n\r\t\vz""#, b"a\"\\/\x08\x0c\n\r\t\x0bz"),
            ("\"tab\there, nul\0, line\n\"", b"tab\there, nul\0, line\n"),
            (r#""\u0041\u00e9\u20AC\u0000""#, "A\u{e9}\u{20ac}\0".as_bytes()),
            (r#""\ud83d\ude00\udb80\udce9""#, "\u{1f600}\u{f00e9}".as_bytes()),
        ] {
            assert_eq!(string(text).unwrap(), bytes, "{text}");
        }
        let node = parse(b"\"caf\xe9\"").unwrap();
        assert_eq!(node.json, Json::String(Cow::Borrowed(b"caf\xe9")));
    }

    #[test]
    fn numbers_of_all_kinds() {
        let integers = [
            ("0", 0),
            ("-0", 0),
            ("5", 5),
            ("+5", 5),
            ("05", 5),
            ("010", 8),
            ("0x5", 5),
            ("0XfF", 255),
            ("0b101", 5),
            ("-17", -17),
            ("18446744073709551615", i128::from(u64::MAX)),
            ("-9223372036854775808", i128::from(i64::MIN)),
        ];
        for (literal, value) in integers {
            assert_eq!(parse_integer(literal), Some(value), "{literal}");
            assert_eq!(parse_real(literal), None, "{literal}");
            assert_eq!(parse(literal.as_bytes()).unwrap().json, Json::Number(literal));
        }
        let reals = [
            ("1.5", 1.5),
            (".5", 0.5),
            ("5.", 5.0),
            ("+1.5", 1.5),
            ("-0.0", -0.0),
            ("1e3", 1000.0),
            ("1E+3", 1000.0),
            ("5.e-1", 0.5),
            ("1e400", f64::INFINITY),
            ("-1e400", f64::NEG_INFINITY),
            ("1e-400", 0.0),
            ("123456789012345678901234567890.0", 123_456_789_012_345_678_901_234_567_890.0),
            ("inf", f64::INFINITY),
            ("-inf", f64::NEG_INFINITY),
            ("nan", f64::NAN),
            ("-nan", f64::NAN),
        ];
        for (literal, value) in reals {
            let read = parse_real(literal).unwrap();
            assert_eq!(read.to_bits(), value.to_bits(), "{literal}");
            assert_eq!(parse_integer(literal), None, "{literal}");
            assert_eq!(parse(literal.as_bytes()).unwrap().json, Json::Number(literal));
        }
        for no_number in [
            "+", "-", ".", "-.", "e5", "1e", "1e+", "1.2.3", "--1", "+-1", "0x", "0b2", "1e5.0",
            "infinity",
        ] {
            assert!(parse(no_number.as_bytes()).is_err(), "{no_number}");
        }
        let huge = "123456789012345678901234567890";
        assert_eq!(parse(huge.as_bytes()).unwrap().json, Json::Number(huge));
        assert_eq!((parse_integer(huge), parse_real(huge)), (None, None));
    }

    #[test]
    fn nesting_is_limited() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(parse(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert_eq!(parse(nested(MAX_DEPTH + 1).as_bytes()).unwrap_err().offset, MAX_DEPTH);
        assert!(parse(format!("[{},{}]", nested(127), nested(127)).as_bytes()).is_ok());
    }
}
