//! TSV lines and the `#` lines around them (WIRE.md §5.1, §5.2).

use std::net::IpAddr;

use bstr::BString;
use zcluster::value::Protocol;
use zcluster::wire::zeek_bin::{Batch, DecodeError, Fault, LogType, Scalar, Text, Values, Visitor};

use super::addr::{put_addr, put_subnet};
use super::column::{Column, Step};
use super::digits::{put_int, put_uint};
use super::escape::{Stops, hex_digits, put_escaped, put_header_value, put_unlike_marker};
use super::number::{put_double, put_fixed};
use super::options::WriterOptions;
use super::pen::{Pen, Piece};
use super::times::{Times, note_time};

/// The columns of a log and how their values are formatted.
#[derive(Clone, Debug)]
pub(super) struct Tsv {
    columns: Vec<Column>,
    separator: Token,
    set_separator: Token,
    empty: Token,
    unset: Token,
    /// First bytes of the markers `unset` and `empty`.
    marker_starts: [u8; 2],
    utf_8: bool,
    /// Stops of a string in a column, and of one in a container.
    stops: [Stops; 2],
    /// Whether a separator could occur in a number or an address, like `:` in IPv6.
    escape_all: bool,
    meta_prefix: BString,
    meta: Meta,
    path: BString,
    /// Names and types of the columns that are written.
    names: Vec<BString>,
    types: Vec<String>,
}

const TAB_STOPS: Stops = Stops::new(b'\t', b'\t');

/// The lines around the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meta {
    /// None.
    None,
    /// The names of the columns.
    Names,
    /// All `#` lines.
    Full,
}

/// Text between values or in place of one. Nearly always one byte.
#[derive(Clone, Debug)]
struct Token(Piece<8>);

impl Token {
    #[inline(always)]
    fn put<'o>(&self, pen: Pen<'o>) -> Pen<'o> {
        match self.as_slice() {
            [byte] => pen.byte(*byte),
            _ => self.0.put(pen),
        }
    }

    #[inline]
    fn as_slice(&self) -> &[u8] {
        self.0.as_slice()
    }

    fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Returns the first byte or, if empty, the backslash, which is a stop anyway.
    fn first(&self) -> u8 {
        self.as_slice().first().copied().unwrap_or(b'\\')
    }
}

impl Tsv {
    pub(super) fn new(batch: &Batch<'_>, options: &WriterOptions) -> Self {
        let [separator, set_separator, empty, unset] = [
            &options.separator,
            &options.set_separator,
            &options.empty_field,
            &options.unset_field,
        ]
        .map(|text| Token(Piece::new(text)));
        let (field, element) = (separator.first(), set_separator.first());
        let written = batch.fields().filter(|field| options.has_column(field.name));
        let in_numbers = |byte| b"0123456789abcdefin.:/-TF".contains(&byte);
        Tsv {
            columns: Column::all(batch, options),
            marker_starts: [unset.first(), empty.first()],
            empty,
            unset,
            utf_8: options.enable_utf_8,
            stops: [Stops::new(field, field), Stops::new(field, element)],
            escape_all: in_numbers(field) || in_numbers(element),
            separator,
            set_separator,
            meta_prefix: options.meta_prefix.clone(),
            meta: match options {
                WriterOptions { tsv: true, .. } => Meta::Names,
                WriterOptions { include_meta: true, .. } => Meta::Full,
                _ => Meta::None,
            },
            path: batch.path.into(),
            names: written.clone().map(|field| field.name.into()).collect(),
            types: written.map(|field| field.log_type.to_string()).collect(),
        }
    }

    pub(super) fn header(&self, open_time: &str, mut pen: Pen<'_>) {
        match self.meta {
            Meta::None => {}
            Meta::Names => pen = self.put_row(&self.names, pen).byte(b'\n'),
            Meta::Full => {
                pen = pen.bytes(&self.meta_prefix).bytes(b"separator ");
                pen = put_header_value(self.separator.as_slice(), pen).byte(b'\n');
                pen = self.put_meta("set_separator", self.set_separator.as_slice(), pen);
                pen = self.put_meta("empty_field", self.empty.as_slice(), pen);
                pen = self.put_meta("unset_field", self.unset.as_slice(), pen);
                pen = self.put_meta("path", &self.path, pen);
                pen = self.put_meta("open", open_time.as_bytes(), pen);
                pen = self.put_meta_row("fields", &self.names, pen);
                pen = self.put_meta_row("types", &self.types, pen);
            }
        }
        pen.finish();
    }

    pub(super) fn footer(&self, close_time: &str, mut pen: Pen<'_>) {
        if self.meta == Meta::Full {
            pen = self.put_meta("close", close_time.as_bytes(), pen);
        }
        pen.finish();
    }

    /// Returns names and types of the columns that are written.
    pub(super) fn columns(&self) -> impl Iterator<Item = (&BString, &str)> {
        self.names.iter().zip(self.types.iter().map(String::as_str))
    }

    fn put_meta<'o>(&self, key: &str, value: &[u8], pen: Pen<'o>) -> Pen<'o> {
        let pen = pen.bytes(&self.meta_prefix).bytes(key.as_bytes());
        put_header_value(value, self.separator.put(pen)).byte(b'\n')
    }

    fn put_meta_row<'o>(&self, key: &str, texts: &[impl AsRef<[u8]>], pen: Pen<'o>) -> Pen<'o> {
        let pen = pen.bytes(&self.meta_prefix).bytes(key.as_bytes());
        self.put_row(texts, self.separator.put(pen)).byte(b'\n')
    }

    fn put_row<'o>(&self, texts: &[impl AsRef<[u8]>], mut pen: Pen<'o>) -> Pen<'o> {
        for (i, text) in texts.iter().enumerate() {
            if i > 0 {
                pen = self.separator.put(pen);
            }
            pen = pen.bytes(text.as_ref());
        }
        pen
    }

    /// Appends the lines of a batch. After an error, the text ends in part of them and padding.
    pub(super) fn records(&self, batch: &Batch<'_>, pen: Pen<'_>) -> Result<Times, DecodeError> {
        // A constant separator saves an eighth of the instructions.
        let tabs = self.separator.as_slice() == b"\t" && !self.escape_all;
        if tabs { self.rows::<true>(batch, pen) } else { self.rows::<false>(batch, pen) }
    }

    fn rows<const TABS: bool>(
        &self,
        batch: &Batch<'_>,
        mut pen: Pen<'_>,
    ) -> Result<Times, DecodeError> {
        let mut values = batch.values();
        let mut times = Times::default();
        for record in 0..batch.num_records() {
            let line = pen.at();
            for column in &self.columns {
                let error = |fault| batch.error(fault, record, column.field);
                match column.step {
                    Step::Scalar(scalar) => {
                        let put = Put::<TABS> { tsv: self, in_container: false, pen };
                        pen = values.scalar(scalar, put).map_err(error)?;
                    }
                    Step::Time => {
                        note_time(values, &mut times);
                        let put = Put::<TABS> { tsv: self, in_container: false, pen };
                        pen = values.scalar(Scalar::Time, put).map_err(error)?;
                    }
                    Step::Container(log_type) => {
                        (values, pen) = self.put_container(log_type, values, pen).map_err(error)?;
                    }
                    Step::Skip(log_type) => {
                        values = values.after(log_type).map_err(error)?;
                        continue;
                    }
                }
                pen = if TABS { pen.byte(b'\t') } else { self.separator.put(pen) };
            }
            // Remove the last separator.
            pen = self.unlike_meta(line, pen.retreat(self.separator.len())).byte(b'\n');
        }
        pen.finish();
        Ok(times)
    }

    /// A line must not look like a `#` line.
    #[inline(always)]
    fn unlike_meta<'o>(&self, line: usize, pen: Pen<'o>) -> Pen<'o> {
        let prefix = &self.meta_prefix;
        if prefix.is_empty() || !pen.text_from(line).starts_with(prefix) {
            return pen;
        }
        pen.with(|out| {
            let [high, low] = hex_digits(out[line]);
            out.splice(line..=line, [b'\\', b'x', high, low]);
        })
    }

    /// Appends a set or vector.
    #[inline(never)]
    fn put_container<'a, 'o>(
        &self,
        log_type: LogType,
        mut values: Values<'a>,
        mut pen: Pen<'o>,
    ) -> Result<(Values<'a>, Pen<'o>), Fault> {
        match values.container(log_type)? {
            None => pen = self.unset.put(pen),
            Some(0) => pen = self.empty.put(pen),
            Some(len) => {
                for _ in 0..len {
                    let put = Put::<false> { tsv: self, in_container: true, pen };
                    pen = self.set_separator.put(values.element(put)?);
                }
                // Remove the last one.
                pen = pen.retreat(self.set_separator.len());
            }
        }
        Ok((values, pen))
    }

    /// The separators of columns and of elements.
    fn separators(&self) -> [&[u8]; 2] {
        [self.separator.as_slice(), self.set_separator.as_slice()]
    }
}

/// Appends one value. With `TABS`, it is a column between tabs, which occur in no number.
struct Put<'p, 'o, const TABS: bool> {
    tsv: &'p Tsv,
    in_container: bool,
    pen: Pen<'o>,
}

impl<'o, const TABS: bool> Put<'_, 'o, TABS> {
    #[inline(always)]
    fn text(self, text: Text<'_>) -> Pen<'o> {
        let Put { tsv, in_container, pen } = self;
        // Most strings do not start like a marker.
        let is_usual = text.bytes().first().is_some_and(|first| !tsv.marker_starts.contains(first));
        let pen = if is_usual {
            let stops = if TABS { TAB_STOPS } else { tsv.stops[usize::from(in_container)] };
            match stops.put_clean(text, pen) {
                Ok(pen) => return pen,
                Err(pen) => pen,
            }
        } else {
            pen
        };
        tsv.put_unusual_text(text, in_container, pen)
    }

    /// Appends a value that is not a string.
    #[inline(always)]
    fn plain(self, put: impl FnOnce(Pen<'o>) -> Pen<'o>) -> Pen<'o> {
        let start = self.pen.at();
        let pen = put(self.pen);
        if !TABS && self.tsv.escape_all {
            return self.tsv.escape_from(start, self.in_container, pen);
        }
        pen
    }
}

impl Tsv {
    #[inline(never)]
    fn put_unusual_text<'o>(&self, text: Text<'_>, in_container: bool, pen: Pen<'o>) -> Pen<'o> {
        let separators = &self.separators()[..=usize::from(in_container)];
        let text = text.bytes();
        if text.is_empty() {
            return self.empty.put(pen);
        }
        if text == self.unset.as_slice() || text == self.empty.as_slice() {
            return put_unlike_marker(text, separators, self.utf_8, pen);
        }
        put_escaped(text, separators, self.utf_8, pen)
    }

    /// Escapes the text appended since `start` if it contains a separator. Only unusual options
    /// lead here, so it may allocate.
    #[cold]
    fn escape_from<'o>(&self, start: usize, in_container: bool, pen: Pen<'o>) -> Pen<'o> {
        if self.stops[usize::from(in_container)].is_clean(pen.text_from(start)) {
            return pen;
        }
        let text = pen.text_from(start).to_vec();
        let separators = &self.separators()[..=usize::from(in_container)];
        put_escaped(&text, separators, self.utf_8, pen.retreat(text.len()))
    }
}

impl<'a, 'o, const TABS: bool> Visitor<'a> for Put<'_, 'o, TABS> {
    type Output = Pen<'o>;

    #[inline(always)]
    fn unset(self) -> Pen<'o> {
        self.tsv.unset.put(self.pen)
    }
    #[inline(always)]
    fn bool(self, x: i64) -> Pen<'o> {
        self.plain(|pen| pen.byte(if x != 0 { b'T' } else { b'F' }))
    }
    #[inline(always)]
    fn int(self, x: i64) -> Pen<'o> {
        self.plain(|pen| put_int(x, pen))
    }
    #[inline(always)]
    fn count(self, x: u64) -> Pen<'o> {
        self.plain(|pen| put_uint(x, pen))
    }
    #[inline(always)]
    fn double(self, x: f64) -> Pen<'o> {
        self.plain(|pen| put_double(x, pen))
    }
    #[inline(always)]
    fn time(self, x: f64) -> Pen<'o> {
        self.plain(|pen| put_fixed(x, pen))
    }
    #[inline(always)]
    fn interval(self, x: f64) -> Pen<'o> {
        self.plain(|pen| put_fixed(x, pen))
    }
    #[inline(always)]
    fn string(self, text: Text<'a>) -> Pen<'o> {
        self.text(text)
    }
    #[inline(always)]
    fn enum_name(self, text: Text<'a>) -> Pen<'o> {
        self.text(text)
    }
    #[inline(always)]
    fn func(self, text: Text<'a>) -> Pen<'o> {
        self.text(text)
    }
    #[inline(always)]
    fn file(self, text: Text<'a>) -> Pen<'o> {
        self.text(text)
    }
    #[inline(always)]
    fn port(self, number: u64, _: Protocol) -> Pen<'o> {
        self.plain(|pen| put_uint(number, pen))
    }
    #[inline(always)]
    fn addr(self, ip: IpAddr) -> Pen<'o> {
        self.plain(|pen| put_addr(ip, pen))
    }
    #[inline(always)]
    fn subnet(self, prefix: IpAddr, length: u8) -> Pen<'o> {
        self.plain(|pen| put_subnet(prefix, length, pen))
    }
}
