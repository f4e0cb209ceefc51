//! Lines of JSON (WIRE.md §5.5).

use std::net::IpAddr;

use zcluster::value::Protocol;
use zcluster::wire::zeek_bin::{Batch, Cursor, DecodeError, LogType, Visitor};

use super::addr::{put_addr, put_subnet};
use super::escape::{
    Stops, hex_digits, is_printable, is_printable_char, is_printable_text, put_escaped,
};
use super::number::{put_int, put_iso8601, put_json_double, put_uint};
use super::options::{JsonStringEscape, JsonTimestamps, WriterOptions};

/// The columns of a log and how their values become text.
#[derive(Clone, Debug)]
pub(super) struct Json {
    columns: Vec<Column>,
    timestamps: JsonTimestamps,
    strings: JsonStringEscape,
    include_unset: bool,
    /// Stops of all strings.
    stops: Stops,
}

#[derive(Clone, Debug)]
struct Column {
    log_type: LogType,
    /// Comma, name and colon.
    key: Box<[u8]>,
}

impl Json {
    pub(super) fn new(batch: &Batch<'_>, options: &WriterOptions) -> Self {
        let stops = Stops::new(b'"', b'"');
        let columns = batch
            .fields()
            .map(|field| {
                let mut key = vec![b','];
                put_hex_string(field.name, stops, &mut key);
                key.push(b':');
                Column { log_type: field.log_type, key: key.into() }
            })
            .collect();
        Json {
            columns,
            timestamps: options.json_timestamps,
            strings: options.json_string_escape_policy,
            include_unset: options.json_include_unset_fields,
            stops,
        }
    }

    /// Appends the lines of a batch. After an error `out` holds a part of them.
    pub(super) fn records(&self, batch: &Batch<'_>, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let mut cursor = batch.cursor();
        for _ in 0..batch.num_records() {
            let line = out.len();
            for column in &self.columns {
                let put = Put { json: self, key: &column.key, nulls: self.include_unset, out };
                if cursor.visit_value(column.log_type, put)? {
                    cursor = self.put_elements(cursor, out)?;
                }
            }
            // The first member began with a comma.
            match out.get_mut(line) {
                Some(comma) => *comma = b'{',
                None => out.push(b'{'),
            }
            out.extend_from_slice(b"}\n");
        }
        Ok(())
    }

    /// Appends the elements of the container before the cursor, and returns the cursor after them.
    /// (A reference to the cursor would keep it out of registers in `records`.)
    fn put_elements<'a>(
        &self,
        mut cursor: Cursor<'a>,
        out: &mut Vec<u8>,
    ) -> Result<Cursor<'a>, DecodeError> {
        // Every element begins with a comma; the first one's becomes the bracket.
        let start = out.len();
        while cursor.visit_element(Put { json: self, key: b",", nulls: true, out })?.is_some() {}
        match out.get_mut(start) {
            Some(comma) => *comma = b'[',
            None => out.push(b'['),
        }
        out.push(b']');
        Ok(cursor)
    }
}

/// Appends one member of an object or element of an array. Says whether it is a container, whose
/// elements are to follow.
struct Put<'p> {
    json: &'p Json,
    /// What stands before the value: a comma; for members, then the name and a colon.
    key: &'p [u8],
    /// Whether an absent value is `null`; otherwise it is left out.
    nulls: bool,
    out: &'p mut Vec<u8>,
}

impl Put<'_> {
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "one call around the closure")]
    fn plain(self, put: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.out.extend_from_slice(self.key);
        put(self.out);
        false
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "one call around the closure")]
    fn quoted(self, put: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.out.extend_from_slice(self.key);
        self.out.push(b'"');
        put(self.out);
        self.out.push(b'"');
        false
    }

    #[inline]
    fn container(self) -> bool {
        self.out.extend_from_slice(self.key);
        true
    }

    /// Enums and names have the HEX policy whatever is configured.
    #[inline]
    fn name(self, text: &[u8]) -> bool {
        let stops = self.json.stops;
        self.plain(|out| put_hex_string(text, stops, out))
    }
}

impl<'a> Visitor<'a> for Put<'_> {
    type Output = bool;

    #[inline]
    fn unset(self) -> bool {
        if self.nulls {
            self.plain(|out| out.extend_from_slice(b"null"));
        }
        false
    }
    #[inline]
    fn bool(self, x: i64) -> bool {
        self.plain(|out| out.extend_from_slice(if x != 0 { &b"true"[..] } else { b"false" }))
    }
    #[inline]
    fn int(self, x: i64) -> bool {
        self.plain(|out| put_int(x, out))
    }
    #[inline]
    fn count(self, x: u64) -> bool {
        self.plain(|out| put_uint(x, out))
    }
    #[inline]
    fn double(self, x: f64) -> bool {
        self.plain(|out| put_json_double(x, out))
    }
    #[inline]
    fn time(self, x: f64) -> bool {
        let timestamps = self.json.timestamps;
        self.plain(|out| match timestamps {
            JsonTimestamps::Epoch => put_json_double(x, out),
            // Truncated; what does not fit becomes the largest or smallest number, and what is no
            // number 0.
            JsonTimestamps::Millis => put_int((x * 1000.0) as i64, out),
            JsonTimestamps::MillisUnsigned => put_uint((x * 1000.0) as i64 as u64, out),
            JsonTimestamps::Iso8601 => put_iso8601(x, out),
        })
    }
    #[inline]
    fn interval(self, x: f64) -> bool {
        self.plain(|out| put_json_double(x, out))
    }
    #[inline]
    fn string(self, text: &'a [u8]) -> bool {
        let Json { strings, stops, .. } = *self.json;
        self.plain(|out| match strings {
            JsonStringEscape::Hex => put_hex_string(text, stops, out),
            _ if stops.is_clean(text) => put_quoted(text, out),
            JsonStringEscape::Tsv => put_tsv_string(text, out),
            JsonStringEscape::Pua => put_pua_string(text, out),
        })
    }
    #[inline]
    fn enum_name(self, text: &'a [u8]) -> bool {
        self.name(text)
    }
    #[inline]
    fn func(self, text: &'a [u8]) -> bool {
        self.name(text)
    }
    #[inline]
    fn file(self, text: &'a [u8]) -> bool {
        self.name(text)
    }
    #[inline]
    fn port(self, number: u64, _: Protocol) -> bool {
        self.plain(|out| put_uint(number, out))
    }
    #[inline]
    fn addr(self, ip: IpAddr) -> bool {
        self.quoted(|out| put_addr(ip, out))
    }
    #[inline]
    fn subnet(self, prefix: IpAddr, length: u8) -> bool {
        self.quoted(|out| put_subnet(prefix, length, out))
    }
    #[inline]
    fn set(self, _: u64) -> bool {
        self.container()
    }
    #[inline]
    fn vector(self, _: u64) -> bool {
        self.container()
    }
}

/// Appends a string that needs no escapes.
#[inline]
fn put_quoted(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

/// Appends a string after the HEX policy.
#[inline]
fn put_hex_string(text: &[u8], stops: Stops, out: &mut Vec<u8>) {
    if stops.is_clean(text) {
        put_quoted(text, out);
    } else {
        put_unclean_hex_string(text, out);
    }
}

#[cold]
fn put_unclean_hex_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let keep_utf_8 = is_printable_text(text, true);
    for byte in text {
        if !put_short(*byte, out) {
            if keep_utf_8 || is_printable(*byte) {
                out.push(*byte);
            } else {
                out.extend_from_slice(br"\\x");
                out.extend_from_slice(&hex_digits(*byte));
            }
        }
    }
    out.push(b'"');
}

/// Appends a string after the TSV policy.
#[cold]
fn put_tsv_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let start = out.len();
    put_escaped(text, &[], true, out);
    // No control is left: only quotes and backslashes need a backslash more. Make room for them
    // and move the text up, from its end.
    let mut from = out.len();
    let specials = out[start..].iter().filter(|byte| matches!(byte, b'"' | b'\\')).count();
    out.resize(from + specials, 0);
    let mut to = out.len();
    while from < to {
        from -= 1;
        to -= 1;
        out[to] = out[from];
        if matches!(out[from], b'"' | b'\\') {
            to -= 1;
            out[to] = b'\\';
        }
    }
    out.push(b'"');
}

/// Appends a string after the PUA policy: byte NN that is not text as U+F00NN, a surrogate pair.
#[cold]
fn put_pua_string(text: &[u8], out: &mut Vec<u8>) {
    let put_private = |bytes: &[u8], out: &mut Vec<u8>| {
        for byte in bytes {
            out.extend_from_slice(br"\udb80\udc");
            out.extend_from_slice(&hex_digits(*byte));
        }
    };
    out.push(b'"');
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            let mut buffer = [0; 4];
            let bytes = c.encode_utf8(&mut buffer).as_bytes();
            if !is_printable_char(c, true) {
                put_private(bytes, out);
            } else if !put_short(bytes[0], out) {
                out.extend_from_slice(bytes);
            }
        }
        put_private(chunk.invalid(), out);
    }
    out.push(b'"');
}

/// Appends a byte that JSON has a short escape for; otherwise appends nothing and says so.
fn put_short(byte: u8, out: &mut Vec<u8>) -> bool {
    let letter = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x0c => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => return false,
    };
    out.extend_from_slice(&[b'\\', letter]);
    true
}
