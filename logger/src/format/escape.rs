//! Strings: what is written as it is, and how the rest is escaped (WIRE.md §5.3).
//!
//! Nearly every string of a log is printable ASCII without a byte that means something. [`Stops`]
//! finds that out eight bytes at a time; only then come the rules.

/// Appends a byte as `\xNN`.
fn put_hex(byte: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\\x");
    out.extend_from_slice(&hex_digits(byte));
}

/// The two lower-case digits of a byte.
pub(super) fn hex_digits(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

/// Whether a byte is printable ASCII.
pub(super) fn is_printable(byte: u8) -> bool {
    (0x20..=0x7e).contains(&byte)
}

/// The bytes that keep a string from being written as it is: controls, DEL, everything that is not
/// ASCII, the backslash, and two more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stops {
    first: u64,
    second: u64,
}

const ONES: u64 = u64::MAX / 0xff;
const HIGH_BITS: u64 = ONES << 7;

impl Stops {
    /// Stops at the usual bytes and at these two.
    pub(super) fn new(first: u8, second: u8) -> Self {
        // All that is not ASCII is a stop already.
        let word = |byte: u8| ONES * u64::from(if byte.is_ascii() { byte } else { b'\\' });
        Stops { first: word(first), second: word(second) }
    }

    /// Whether a string can be written as it is.
    #[inline]
    pub(super) fn is_clean(self, text: &[u8]) -> bool {
        let Some(last) = text.last_chunk::<8>() else {
            return self.is_short_clean(text);
        };
        // The last eight bytes may overlap the chunks; looking twice is cheaper than a loop.
        let (chunks, _) = text.as_chunks::<8>();
        let found = chunks.iter().fold(self.find(u64::from_le_bytes(*last)), |found, chunk| {
            found | self.find(u64::from_le_bytes(*chunk))
        });
        found == 0
    }

    /// The same for fewer than eight bytes: fill a word with them, some twice.
    #[inline]
    fn is_short_clean(self, text: &[u8]) -> bool {
        let word = match (text.first_chunk::<4>(), text.last_chunk::<4>(), text) {
            (Some(first), Some(last), _) => {
                u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32
            }
            (_, _, []) => return true,
            (_, _, [first, .., last]) => {
                let middle = text[text.len() / 2];
                u64::from_le_bytes([*first, middle, *last, *last, *last, *last, *last, *last])
            }
            (_, _, [only]) => ONES * u64::from(*only),
        };
        self.find(word) == 0
    }

    /// Not zero if one of the eight bytes is a stop. (Which one, the word does not say: a borrow
    /// can mark the byte after a stop as well.)
    #[inline]
    fn find(self, word: u64) -> u64 {
        // Bytes of 0x80 and above are stops themselves. For the others, the high bit of a byte
        // comes from counting below zero or above 0x7f.
        let control = word.wrapping_sub(ONES * 0x20);
        let del = word.wrapping_add(ONES);
        let is = |pattern: u64| (word ^ pattern).wrapping_sub(ONES);
        let backslash = is(ONES * u64::from(b'\\'));
        (word | control | del | backslash | is(self.first) | is(self.second)) & HIGH_BITS
    }
}

/// Appends a string of TSV: separators as hex, backslashes doubled, and what lies between them as
/// text or, where it is not printable UTF-8, as ASCII and hex.
pub(super) fn put_escaped(text: &[u8], separators: &[&[u8]], utf_8: bool, out: &mut Vec<u8>) {
    let mut segment = 0;
    let mut at = 0;
    while at < text.len() {
        let special = if text[at] == b'\\' {
            1
        } else {
            let found = |separator: &&&[u8]| text[at..].starts_with(separator);
            separators.iter().find(found).map_or(0, |separator| separator.len())
        };
        if special == 0 {
            at += 1;
            continue;
        }
        put_segment(&text[segment..at], utf_8, out);
        if text[at] == b'\\' {
            out.extend_from_slice(b"\\\\");
        } else {
            text[at..at + special].iter().for_each(|byte| put_hex(*byte, out));
        }
        at += special;
        segment = at;
    }
    put_segment(&text[segment..], utf_8, out);
}

fn put_segment(segment: &[u8], utf_8: bool, out: &mut Vec<u8>) {
    if utf_8 && is_printable_text(segment, false) {
        out.extend_from_slice(segment);
    } else {
        put_ascii(segment, out);
    }
}

/// Appends printable ASCII as it is, all other bytes as hex.
fn put_ascii(text: &[u8], out: &mut Vec<u8>) {
    for byte in text {
        if is_printable(*byte) {
            out.push(*byte);
        } else {
            put_hex(*byte, out);
        }
    }
}

/// Appends a string, its first byte as hex, so that it is not taken for a marker.
pub(super) fn put_unlike_marker(text: &[u8], separators: &[&[u8]], utf_8: bool, out: &mut Vec<u8>) {
    if let [first, rest @ ..] = text {
        put_hex(*first, out);
        put_escaped(rest, separators, utf_8, out);
    }
}

/// Appends a value of the header: printable ASCII as it is, all else as hex, backslashes doubled.
pub(super) fn put_header_value(text: &[u8], out: &mut Vec<u8>) {
    put_escaped(text, &[], false, out);
}

/// Whether text is UTF-8 without a code point that Zeek does not print. With `short_escapes` the
/// controls JSON has a short escape for count as printable.
pub(super) fn is_printable_text(text: &[u8], short_escapes: bool) -> bool {
    std::str::from_utf8(text)
        .is_ok_and(|text| text.chars().all(|c| is_printable_char(c, short_escapes)))
}

/// Whether Zeek prints a code point. Surrogates are no `char`.
pub(super) fn is_printable_char(c: char, short_escapes: bool) -> bool {
    match c {
        '\x08' | '\t' | '\n' | '\x0c' | '\r' => short_escapes,
        '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{ffff}' => {
            false
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use bstr::ByteSlice;
    use proptest::prelude::*;

    use super::*;

    fn escaped(text: &[u8], separators: &[&[u8]], utf_8: bool) -> String {
        let mut out = Vec::new();
        put_escaped(text, separators, utf_8, &mut out);
        out.to_str().unwrap().to_string()
    }

    #[test]
    fn strings_escape_as_in_the_table() {
        for (raw, field, element, ascii) in [
            (&b"plain text"[..], "plain text", "plain text", "plain text"),
            (b"a\tb", r"a\x09b", r"a\x09b", r"a\x09b"),
            (br"back\slash", r"back\\slash", r"back\\slash", r"back\\slash"),
            ("café".as_bytes(), "café", "café", r"caf\xc3\xa9"),
            ("café\x07".as_bytes(), r"caf\xc3\xa9\x07", r"caf\xc3\xa9\x07", r"caf\xc3\xa9\x07"),
            (b"caf\xe9", r"caf\xe9", r"caf\xe9", r"caf\xe9"),
            ("x\u{85}y".as_bytes(), r"x\xc2\x85y", r"x\xc2\x85y", r"x\xc2\x85y"),
            (b"1,2", "1,2", r"1\x2c2", "1,2"),
            ("🦀 crab".as_bytes(), "🦀 crab", "🦀 crab", r"\xf0\x9f\xa6\x80 crab"),
            // A bad byte spoils its segment, which a backslash or separator ends.
            (
                "é\x01\\é,é\x02".as_bytes(),
                r"\xc3\xa9\x01\\\xc3\xa9,\xc3\xa9\x02",
                r"\xc3\xa9\x01\\é\x2c\xc3\xa9\x02",
                r"\xc3\xa9\x01\\\xc3\xa9,\xc3\xa9\x02",
            ),
            // Truncated, overlong, surrogate, too large; private use, specials.
            (b"\xe2\x82", r"\xe2\x82", r"\xe2\x82", r"\xe2\x82"),
            (b"\xc0\x80", r"\xc0\x80", r"\xc0\x80", r"\xc0\x80"),
            (b"\xed\xa0\x80", r"\xed\xa0\x80", r"\xed\xa0\x80", r"\xed\xa0\x80"),
            (b"\xf4\x90\x80\x80", r"\xf4\x90\x80\x80", r"\xf4\x90\x80\x80", r"\xf4\x90\x80\x80"),
            ("\u{e000}".as_bytes(), r"\xee\x80\x80", r"\xee\x80\x80", r"\xee\x80\x80"),
            ("\u{fffd}".as_bytes(), r"\xef\xbf\xbd", r"\xef\xbf\xbd", r"\xef\xbf\xbd"),
        ] {
            assert_eq!(escaped(raw, &[b"\t"], true), field, "{raw:?}");
            assert_eq!(escaped(raw, &[b"\t", b","], true), element, "{raw:?}");
            assert_eq!(escaped(raw, &[b"\t"], false), ascii, "{raw:?}");
        }
    }

    #[test]
    fn separators_of_several_bytes_escape_whole() {
        assert_eq!(escaped(b"a||b|c", &[b"||"], true), r"a\x7c\x7cb|c");
        assert_eq!(escaped("aéb".as_bytes(), &[b"\xc3"], true), r"a\xc3\xa9b");
    }

    #[test]
    fn markers_lose_their_first_byte() {
        let mut out = Vec::new();
        put_unlike_marker(b"(empty)", &[b"\t"], true, &mut out);
        assert_eq!(out, br"\x28empty)");
    }

    fn is_clean_by_byte(text: &[u8], stops: [u8; 2]) -> bool {
        text.iter().all(|b| is_printable(*b) && *b != b'\\' && !stops.contains(b))
    }

    #[test]
    fn every_byte_is_judged_at_every_position() {
        for len in 0..40 {
            for at in 0..len {
                for byte in 0..=255 {
                    let mut text = vec![b'a'; len];
                    text[at] = byte;
                    let expected = is_clean_by_byte(&text, [b'\t', b',']);
                    assert_eq!(Stops::new(b'\t', b',').is_clean(&text), expected, "{text:?}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn words_find_what_bytes_find(text: Vec<u8>, ascii in "[ -~]{0,40}", stops: [u8; 2]) {
            for text in [&text[..], ascii.as_bytes()] {
                let clean = Stops::new(stops[0], stops[1]).is_clean(text);
                prop_assert_eq!(clean, is_clean_by_byte(text, stops));
            }
        }

        #[test]
        fn clean_text_needs_no_escapes(text in "[ -~é🦀]{0,20}") {
            let escaped = escaped(text.as_bytes(), &[b"\t"], true);
            prop_assert_eq!(escaped, text.replace('\\', r"\\"));
        }
    }
}
