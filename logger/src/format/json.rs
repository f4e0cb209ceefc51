//! Lines of JSON (WIRE.md §5.5).

use std::net::IpAddr;

use zcluster::value::Protocol;
use zcluster::wire::zeek_bin::{
    Batch, DecodeError, Fault, Field, LogType, Scalar, Text, Values, Visitor,
};

use super::addr::{put_addr, put_subnet};
use super::column::{Column, Step};
use super::digits::{put_int, put_uint};
use super::escape::{
    Stops, hex_digits, is_printable, is_printable_char, is_printable_text, put_escaped,
};
use super::json_time::put_json_time;
use super::number::put_json_double;
use super::options::{JsonStringEscape, JsonTimestamps, WriterOptions};
use super::pen::{Pen, Piece};
use super::times::{Times, note_time};

/// The columns of a log and how their values are formatted.
#[derive(Clone, Debug)]
pub(super) struct Json {
    columns: Vec<(Column, Lead)>,
    /// The text before an element.
    element: Lead,
    timestamps: JsonTimestamps,
    strings: JsonStringEscape,
    include_unset: bool,
}

/// The text before a value: a comma and, for members, the name and a colon.
#[derive(Clone, Debug)]
struct Lead {
    plain: Piece<LEAD>,
    /// The same with an opening quotation mark.
    quoted: Piece<LEAD>,
}

/// Long enough for most names.
const LEAD: usize = 24;

impl Lead {
    fn new(text: &[u8]) -> Self {
        let quoted = [text, b"\""].concat();
        Lead { plain: Piece::new(text), quoted: Piece::new(&quoted) }
    }
}

/// The stops of all strings.
const STOPS: Stops = Stops::new(b'"', b'"');

impl Json {
    pub(super) fn new(batch: &Batch<'_>, options: &WriterOptions) -> Self {
        let lead = |field: Field<'_>| {
            let mut lead = b",\"".to_vec();
            put_hex_string(field.name, Pen::new(&mut lead, 0)).finish();
            lead.extend_from_slice(b"\":");
            Lead::new(&lead)
        };
        let columns = Column::all(batch, options);
        let columns = columns.into_iter().zip(batch.fields().map(lead)).collect();
        Json {
            columns,
            element: Lead::new(b","),
            timestamps: options.json_timestamps,
            strings: options.json_string_escape_policy,
            include_unset: options.json_include_unset_fields,
        }
    }

    /// Appends the lines of a batch. After an error, the text ends in part of them and padding.
    pub(super) fn records(
        &self,
        batch: &Batch<'_>,
        mut pen: Pen<'_>,
    ) -> Result<Times, DecodeError> {
        let mut values = batch.values();
        let mut times = Times::default();
        for record in 0..batch.num_records() {
            let line = pen.at();
            for (column, lead) in &self.columns {
                let error = |fault| batch.error(fault, record, column.field);
                match column.step {
                    Step::Scalar(scalar) => {
                        let put = Put { json: self, lead, nulls: self.include_unset, pen };
                        pen = values.scalar(scalar, put).map_err(error)?;
                    }
                    Step::Time => {
                        note_time(values, &mut times);
                        let put = Put { json: self, lead, nulls: self.include_unset, pen };
                        pen = values.scalar(Scalar::Time, put).map_err(error)?;
                    }
                    Step::Container(log_type) => {
                        (values, pen) =
                            self.put_container(log_type, lead, values, pen).map_err(error)?;
                    }
                    Step::Skip(log_type) => values = values.after(log_type).map_err(error)?,
                }
            }
            // Replaces the comma before the first member.
            if pen.at() == line {
                pen = pen.byte(b'{');
            } else {
                pen.set(line, b'{');
            }
            pen = pen.chunk(b"}\n", 2);
        }
        pen.finish();
        Ok(times)
    }

    /// Appends a set or vector.
    #[inline(never)]
    fn put_container<'a, 'o>(
        &self,
        log_type: LogType,
        lead: &Lead,
        mut values: Values<'a>,
        mut pen: Pen<'o>,
    ) -> Result<(Values<'a>, Pen<'o>), Fault> {
        match values.container(log_type)? {
            None if self.include_unset => pen = lead.plain.put(pen).chunk(b"null", 4),
            None => {}
            Some(0) => pen = lead.plain.put(pen).chunk(b"[]", 2),
            Some(len) => {
                pen = lead.plain.put(pen);
                // A comma precedes every element; the first one is replaced by the bracket.
                let start = pen.at();
                for _ in 0..len {
                    let put = Put { json: self, lead: &self.element, nulls: true, pen };
                    pen = values.element(put)?;
                }
                pen.set(start, b'[');
                pen = pen.byte(b']');
            }
        }
        Ok((values, pen))
    }
}

/// Appends one member of an object or element of an array.
struct Put<'p, 'o> {
    json: &'p Json,
    lead: &'p Lead,
    /// Whether an absent value is written as `null`; otherwise it is left out.
    nulls: bool,
    pen: Pen<'o>,
}

impl<'o> Put<'_, 'o> {
    /// Appends the text before a value without quotation marks.
    #[inline(always)]
    fn plain(self) -> Pen<'o> {
        self.lead.plain.put(self.pen)
    }

    /// Appends the text before a quoted value, including the opening quotation mark.
    #[inline(always)]
    fn quoted(self) -> Pen<'o> {
        self.lead.quoted.put(self.pen)
    }

    /// Appends an enum or name, which always uses the HEX policy.
    #[inline(always)]
    fn name(self, text: Text<'_>) -> Pen<'o> {
        match STOPS.put_clean(text, self.quoted()) {
            Ok(pen) => pen,
            Err(pen) => put_unclean_string(text.bytes(), JsonStringEscape::Hex, pen),
        }
        .byte(b'"')
    }
}

impl<'a, 'o> Visitor<'a> for Put<'_, 'o> {
    type Output = Pen<'o>;

    #[inline(always)]
    fn unset(self) -> Pen<'o> {
        if self.nulls { self.plain().chunk(b"null", 4) } else { self.pen }
    }
    #[inline(always)]
    fn bool(self, x: i64) -> Pen<'o> {
        const TEXTS: [(&[u8; 5], usize); 2] = [(b"false", 5), (b"true ", 4)];
        let (text, len) = TEXTS[usize::from(x != 0)];
        self.plain().chunk(text, len)
    }
    #[inline(always)]
    fn int(self, x: i64) -> Pen<'o> {
        put_int(x, self.plain())
    }
    #[inline(always)]
    fn count(self, x: u64) -> Pen<'o> {
        put_uint(x, self.plain())
    }
    #[inline(always)]
    fn double(self, x: f64) -> Pen<'o> {
        put_json_double(x, self.plain())
    }
    #[inline(always)]
    fn time(self, x: f64) -> Pen<'o> {
        put_json_time(x, self.json.timestamps, self.plain())
    }
    #[inline(always)]
    fn interval(self, x: f64) -> Pen<'o> {
        put_json_double(x, self.plain())
    }
    #[inline(always)]
    fn string(self, text: Text<'a>) -> Pen<'o> {
        let strings = self.json.strings;
        match STOPS.put_clean(text, self.quoted()) {
            Ok(pen) => pen,
            Err(pen) => put_unclean_string(text.bytes(), strings, pen),
        }
        .byte(b'"')
    }
    #[inline(always)]
    fn enum_name(self, text: Text<'a>) -> Pen<'o> {
        self.name(text)
    }
    #[inline(always)]
    fn func(self, text: Text<'a>) -> Pen<'o> {
        self.name(text)
    }
    #[inline(always)]
    fn file(self, text: Text<'a>) -> Pen<'o> {
        self.name(text)
    }
    #[inline(always)]
    fn port(self, number: u64, _: Protocol) -> Pen<'o> {
        put_uint(number, self.plain())
    }
    #[inline(always)]
    fn addr(self, ip: IpAddr) -> Pen<'o> {
        put_addr(ip, self.quoted()).byte(b'"')
    }
    #[inline(always)]
    fn subnet(self, prefix: IpAddr, length: u8) -> Pen<'o> {
        put_subnet(prefix, length, self.quoted()).byte(b'"')
    }
}

/// Appends a string that needs escapes, without quotation marks, like all functions below.
#[inline(never)]
fn put_unclean_string<'o>(text: &[u8], policy: JsonStringEscape, pen: Pen<'o>) -> Pen<'o> {
    match policy {
        JsonStringEscape::Hex => put_hex_string(text, pen),
        JsonStringEscape::Tsv => put_tsv_string(text, pen),
        JsonStringEscape::Pua => put_pua_string(text, pen),
    }
}

/// Appends a string by the HEX policy.
fn put_hex_string<'o>(text: &[u8], mut pen: Pen<'o>) -> Pen<'o> {
    let keep_utf_8 = !text.is_ascii() && is_printable_text(text, true);
    let is_plain = |byte: &u8| {
        (is_printable(*byte) || keep_utf_8 && !byte.is_ascii()) && !matches!(byte, b'"' | b'\\')
    };
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| !is_plain(byte)) {
        pen = pen.bytes(&rest[..at]);
        pen = if let Some(letter) = short_escape(rest[at]) {
            pen.chunk(&[b'\\', letter], 2)
        } else {
            let [high, low] = hex_digits(rest[at]);
            pen.chunk(&[b'\\', b'\\', b'x', high, low], 5)
        };
        rest = &rest[at + 1..];
    }
    pen.bytes(rest)
}

/// Appends a string by the TSV policy.
fn put_tsv_string<'o>(text: &[u8], pen: Pen<'o>) -> Pen<'o> {
    let start = pen.at();
    put_escaped(text, &[], true, pen).with(|out| {
        // No controls are left: only quotes and backslashes need another backslash. Make room for
        // those and move the text up, from its end.
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
    })
}

/// Appends a string by the PUA policy: a byte NN that is not text becomes U+F00NN, a surrogate
/// pair.
fn put_pua_string<'o>(text: &[u8], mut pen: Pen<'o>) -> Pen<'o> {
    let put_private = |bytes: &[u8], pen: Pen<'o>| {
        bytes
            .iter()
            .fold(pen, |pen, byte| pen.chunk(br"\udb80\udc", 10).chunk(&hex_digits(*byte), 2))
    };
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            let mut buffer = [0; 4];
            let len = c.encode_utf8(&mut buffer).len();
            pen = if !is_printable_char(c, true) {
                put_private(&buffer[..len], pen)
            } else if let Some(letter) = short_escape(buffer[0]) {
                pen.chunk(&[b'\\', letter], 2)
            } else {
                pen.chunk(&buffer, len)
            };
        }
        pen = put_private(chunk.invalid(), pen);
    }
    pen
}

/// Returns the letter of the short escape that JSON has for a byte.
#[inline]
fn short_escape(byte: u8) -> Option<u8> {
    Some(match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x0c => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => return None,
    })
}
