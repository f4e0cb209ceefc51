//! Strings: which are written verbatim, and how the rest are escaped (WIRE.md §5.3).
//!
//! Nearly every string in a log is printable ASCII without special bytes. [`Stops`] checks that, 32
//! bytes at a time; only strings that fail go through the rules.

use zcluster::wire::zeek_bin::Text;

use super::pen::Pen;

/// Appends a byte as `\xNN`.
#[inline]
fn put_hex(byte: u8, pen: Pen<'_>) -> Pen<'_> {
    let [high, low] = hex_digits(byte);
    pen.chunk(&[b'\\', b'x', high, low], 4)
}

/// Returns the two lower-case hex digits of a byte.
pub(super) fn hex_digits(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

/// Returns whether a byte is printable ASCII.
pub(super) fn is_printable(byte: u8) -> bool {
    (0x20..=0x7e).contains(&byte)
}

/// The bytes that prevent a string from being written verbatim: controls, DEL, everything outside
/// ASCII, the backslash, and two more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stops {
    first: u8,
    second: u8,
}

/// Bytes of a string that are checked together: most strings have no more.
const WINDOW: usize = 32;

impl Stops {
    /// Stops at the usual bytes and at `first` and `second`.
    pub(super) const fn new(first: u8, second: u8) -> Self {
        Stops { first, second }
    }

    /// Appends a string if it can be written verbatim. Otherwise returns the pen unchanged.
    #[inline(always)]
    pub(super) fn put_clean<'o>(self, text: Text<'_>, pen: Pen<'o>) -> Result<Pen<'o>, Pen<'o>> {
        if let Some(window) = text.window::<WINDOW>()
            && text.len() <= WINDOW
        {
            if self.is_clean_up_to(text.len() as u8, window) {
                return Ok(pen.chunk(window, text.len()));
            }
            return Err(pen);
        }
        self.put_long_clean(text.bytes(), pen)
    }

    #[inline(never)]
    fn put_long_clean<'o>(self, text: &[u8], pen: Pen<'o>) -> Result<Pen<'o>, Pen<'o>> {
        if self.is_clean(text) { Ok(pen.bytes(text)) } else { Err(pen) }
    }

    /// Returns whether a string can be written verbatim.
    pub(super) fn is_clean(self, text: &[u8]) -> bool {
        let Some(last) = text.last_chunk() else {
            return !text.iter().any(|byte| self.is_stop(*byte));
        };
        // The last bytes may be checked twice.
        let (chunks, _) = text.as_chunks();
        chunks.iter().chain([last]).all(|chunk| self.is_clean_up_to(WINDOW as u8, chunk))
    }

    /// Returns whether the first `len` bytes contain no stop. It compares the whole window at once,
    /// in vector registers.
    #[inline(always)]
    fn is_clean_up_to(self, len: u8, window: &[u8; WINDOW]) -> bool {
        let mut found = false;
        for (i, byte) in (0..).zip(window) {
            found |= self.is_stop(*byte) && i < len;
        }
        !found
    }

    #[inline(always)]
    fn is_stop(self, byte: u8) -> bool {
        // Printable ASCII is 0x20 to 0x7e.
        byte.wrapping_sub(0x20) > 0x5e || byte == b'\\' || byte == self.first || byte == self.second
    }
}

/// Appends a TSV string: separators as hex, backslashes doubled, and the segments between them
/// verbatim or, if not printable UTF-8, as ASCII and hex.
pub(super) fn put_escaped<'o>(
    text: &[u8],
    separators: &[&[u8]],
    utf_8: bool,
    mut pen: Pen<'o>,
) -> Pen<'o> {
    let first = |i: usize| separators.get(i).and_then(|s| s.first()).copied().unwrap_or(b'\\');
    let mut segment = 0;
    for at in memchr::memchr3_iter(b'\\', first(0), first(1), text) {
        let special = if text[at] == b'\\' {
            1
        } else {
            let found = |separator: &&&[u8]| text[at..].starts_with(separator);
            separators.iter().find(found).map_or(0, |separator| separator.len())
        };
        // A separator can overlap with itself.
        if special == 0 || at < segment {
            continue;
        }
        pen = put_segment(&text[segment..at], utf_8, pen);
        pen = if text[at] == b'\\' {
            pen.chunk(b"\\\\", 2)
        } else {
            text[at..at + special].iter().fold(pen, |pen, byte| put_hex(*byte, pen))
        };
        segment = at + special;
    }
    put_segment(&text[segment..], utf_8, pen)
}

fn put_segment<'o>(segment: &[u8], utf_8: bool, pen: Pen<'o>) -> Pen<'o> {
    const NO_MORE: Stops = Stops::new(b'\\', b'\\');
    if NO_MORE.is_clean(segment) || (utf_8 && is_printable_text(segment, false)) {
        pen.bytes(segment)
    } else {
        // Appends printable ASCII verbatim and all other bytes as hex.
        segment.iter().fold(pen, |pen, byte| {
            if is_printable(*byte) { pen.byte(*byte) } else { put_hex(*byte, pen) }
        })
    }
}

/// Appends a string with its first byte as hex, so that readers do not take it for a marker.
pub(super) fn put_unlike_marker<'o>(
    text: &[u8],
    separators: &[&[u8]],
    utf_8: bool,
    pen: Pen<'o>,
) -> Pen<'o> {
    match text {
        [first, rest @ ..] => put_escaped(rest, separators, utf_8, put_hex(*first, pen)),
        [] => pen,
    }
}

/// Appends a header value: printable ASCII verbatim, other bytes as hex, backslashes doubled.
pub(super) fn put_header_value<'o>(text: &[u8], pen: Pen<'o>) -> Pen<'o> {
    put_escaped(text, &[], false, pen)
}

/// Returns whether text is UTF-8 without a code point that Zeek does not print. With
/// `short_escapes`, controls that have a short escape in JSON count as printable.
pub(super) fn is_printable_text(text: &[u8], short_escapes: bool) -> bool {
    std::str::from_utf8(text)
        .is_ok_and(|text| text.chars().all(|c| is_printable_char(c, short_escapes)))
}

/// Returns whether Zeek prints a code point. Surrogates are not `char`s.
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
        put_escaped(text, separators, utf_8, Pen::new(&mut out, 0)).finish();
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
            // One bad byte makes the whole segment hex, up to the next backslash or separator.
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
        put_unlike_marker(b"(empty)", &[b"\t"], true, Pen::new(&mut out, 0)).finish();
        assert_eq!(out, br"\x28empty)");
    }

    fn is_clean_by_byte(text: &[u8], stops: [u8; 2]) -> bool {
        text.iter().all(|b| is_printable(*b) && *b != b'\\' && !stops.contains(b))
    }

    /// Returns whether the string at the start of `tail` is appended verbatim.
    fn is_put(stops: Stops, tail: &[u8], len: usize) -> bool {
        let mut out = Vec::new();
        let text = Text::new(tail, len).unwrap();
        let (done, pen) = match stops.put_clean(text, Pen::new(&mut out, 0)) {
            Ok(pen) => (true, pen),
            Err(pen) => (false, pen),
        };
        pen.finish();
        assert_eq!(out, &tail[..if done { len } else { 0 }]);
        done
    }

    #[test]
    fn every_byte_is_judged_at_every_position() {
        let stops = Stops::new(b'\t', b',');
        for len in 0..36 {
            for at in 0..len {
                for byte in 0..=255 {
                    let mut text = vec![b'a'; len];
                    text[at] = byte;
                    let expected = is_clean_by_byte(&text, [b'\t', b',']);
                    assert_eq!(stops.is_clean(&text), expected, "{text:?}");
                    if (0x22..0x7c).contains(&byte) && ![b',', b'\\'].contains(&byte) {
                        continue;
                    }
                    assert_eq!(is_put(stops, &text, len), expected, "{text:?}");
                    // The bytes after the string do not matter.
                    text.extend_from_slice(&[0; 40]);
                    assert_eq!(is_put(stops, &text, len), expected, "{text:?}");
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
