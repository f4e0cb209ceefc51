//! Lines of JSON (WIRE.md §5.5).

use zcluster::wire::zeek_bin::{Batch, Cursor, DecodeError, LogType, ValueRef};

use super::addr::{put_addr, put_subnet};
use super::escape::{
    Stops, hex_digits, is_printable, is_printable_char, is_printable_text, put_escaped,
};
use super::number::{put_int, put_iso8601, put_json_double};
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
            out.push(b'{');
            let mut comma = 1;
            for column in &self.columns {
                let value = cursor.next_value(column.log_type)?;
                if matches!(value, ValueRef::Unset) && !self.include_unset {
                    continue;
                }
                // The first member has no comma.
                out.extend_from_slice(&column.key[std::mem::take(&mut comma)..]);
                match value {
                    ValueRef::Set { .. } | ValueRef::Vector { .. } => {
                        self.put_elements(&mut cursor, out)?;
                    }
                    scalar => self.put_scalar(scalar, out),
                }
            }
            out.extend_from_slice(b"}\n");
        }
        Ok(())
    }

    fn put_elements(&self, cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        out.push(b'[');
        let mut first = true;
        while let Some(element) = cursor.next_element()? {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            self.put_scalar(element, out);
        }
        out.push(b']');
        Ok(())
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "one match on the type for decoding and formatting")]
    fn put_scalar(&self, value: ValueRef<'_>, out: &mut Vec<u8>) {
        match value {
            ValueRef::Unset => out.extend_from_slice(b"null"),
            ValueRef::Bool(true) => out.extend_from_slice(b"true"),
            ValueRef::Bool(false) => out.extend_from_slice(b"false"),
            ValueRef::Int(x) => put_int(x, out),
            ValueRef::Count(x) => put_int(x, out),
            ValueRef::Port { number, .. } => put_int(number, out),
            ValueRef::Double(x) | ValueRef::Interval(x) => put_json_double(x, out),
            ValueRef::Time(x) => self.put_time(x, out),
            ValueRef::String(text) => self.put_string(text, out),
            ValueRef::Enum(text) | ValueRef::Func(text) | ValueRef::File(text) => {
                put_hex_string(text, self.stops, out);
            }
            ValueRef::Addr(ip) => {
                out.push(b'"');
                put_addr(ip, out);
                out.push(b'"');
            }
            ValueRef::Subnet { prefix, length } => {
                out.push(b'"');
                put_subnet(prefix, length, out);
                out.push(b'"');
            }
            // Neither holds containers: the cursor refuses them as elements.
            ValueRef::Set { .. } | ValueRef::Vector { .. } => {}
        }
    }

    #[inline]
    fn put_time(&self, x: f64, out: &mut Vec<u8>) {
        match self.timestamps {
            JsonTimestamps::Epoch => put_json_double(x, out),
            // Truncated; what does not fit becomes the largest or smallest number, and what is no
            // number 0.
            JsonTimestamps::Millis => put_int((x * 1000.0) as i64, out),
            JsonTimestamps::MillisUnsigned => put_int((x * 1000.0) as i64 as u64, out),
            JsonTimestamps::Iso8601 => put_iso8601(x, out),
        }
    }

    #[inline]
    fn put_string(&self, text: &[u8], out: &mut Vec<u8>) {
        match self.strings {
            JsonStringEscape::Hex => put_hex_string(text, self.stops, out),
            _ if self.stops.is_clean(text) => put_quoted(text, out),
            JsonStringEscape::Tsv => put_tsv_string(text, out),
            JsonStringEscape::Pua => put_pua_string(text, out),
        }
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
