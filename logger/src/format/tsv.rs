//! Lines of TSV and the `#` lines around them (WIRE.md §5.1, §5.2).

use bstr::BString;
use zcluster::wire::zeek_bin::{Batch, Cursor, DecodeError, LogType, ValueRef};

use super::addr::{put_addr, put_subnet};
use super::escape::{Stops, hex_digits, put_escaped, put_header_value, put_unlike_marker};
use super::number::{put_double, put_fixed, put_int};
use super::options::WriterOptions;

/// The columns of a log and how their values become text.
#[derive(Clone, Debug)]
pub(super) struct Tsv {
    columns: Vec<LogType>,
    separator: Token,
    set_separator: Token,
    empty: Token,
    unset: Token,
    utf_8: bool,
    /// Stops of a string in a column, and of one in a container.
    stops: [Stops; 2],
    /// Whether a separator could occur in a number or an address, as `:` does in IPv6.
    escape_all: bool,
    meta_prefix: BString,
    meta: Meta,
    path: BString,
    names: Vec<BString>,
}

/// What stands around the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meta {
    /// Nothing.
    None,
    /// The names of the columns.
    Names,
    /// All `#` lines.
    Full,
}

/// A few bytes that stand between or in place of values. Nearly always it is one byte.
#[derive(Clone, Debug)]
struct Token(BString);

impl Token {
    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        match self.0.as_slice() {
            [byte] => out.push(*byte),
            bytes => out.extend_from_slice(bytes),
        }
    }

    /// The first byte; the backslash, which is a stop anyway, if there is none.
    fn first(&self) -> u8 {
        self.0.first().copied().unwrap_or(b'\\')
    }
}

impl Tsv {
    pub(super) fn new(batch: &Batch<'_>, options: &WriterOptions) -> Self {
        let separator = Token(options.separator.clone());
        let set_separator = Token(options.set_separator.clone());
        let (first, second) = (separator.first(), set_separator.first());
        let in_numbers = |byte| b"0123456789abcdefin.:/-TF".contains(&byte);
        Tsv {
            columns: batch.fields().map(|field| field.log_type).collect(),
            empty: Token(options.empty_field.clone()),
            unset: Token(options.unset_field.clone()),
            utf_8: options.enable_utf_8,
            stops: [Stops::new(first, first), Stops::new(first, second)],
            escape_all: in_numbers(first) || in_numbers(second),
            separator,
            set_separator,
            meta_prefix: options.meta_prefix.clone(),
            meta: match options {
                WriterOptions { tsv: true, .. } => Meta::Names,
                WriterOptions { include_meta: true, .. } => Meta::Full,
                _ => Meta::None,
            },
            path: batch.path.into(),
            names: batch.fields().map(|field| field.name.into()).collect(),
        }
    }

    pub(super) fn header(&self, open_time: &str, out: &mut Vec<u8>) {
        match self.meta {
            Meta::None => {}
            Meta::Names => {
                self.put_row(&self.names, out);
                out.push(b'\n');
            }
            Meta::Full => {
                out.extend_from_slice(&self.meta_prefix);
                out.extend_from_slice(b"separator ");
                put_header_value(&self.separator.0, out);
                out.push(b'\n');
                self.put_meta("set_separator", &self.set_separator.0, out);
                self.put_meta("empty_field", &self.empty.0, out);
                self.put_meta("unset_field", &self.unset.0, out);
                self.put_meta("path", &self.path, out);
                self.put_meta("open", open_time.as_bytes(), out);
                self.put_meta_row("fields", &self.names, out);
                let types: Vec<String> = self.columns.iter().map(LogType::to_string).collect();
                self.put_meta_row("types", &types, out);
            }
        }
    }

    pub(super) fn footer(&self, close_time: &str, out: &mut Vec<u8>) {
        if self.meta == Meta::Full {
            self.put_meta("close", close_time.as_bytes(), out);
        }
    }

    fn put_meta(&self, key: &str, value: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&self.meta_prefix);
        out.extend_from_slice(key.as_bytes());
        self.separator.put(out);
        put_header_value(value, out);
        out.push(b'\n');
    }

    fn put_meta_row(&self, key: &str, texts: &[impl AsRef<[u8]>], out: &mut Vec<u8>) {
        out.extend_from_slice(&self.meta_prefix);
        out.extend_from_slice(key.as_bytes());
        self.separator.put(out);
        self.put_row(texts, out);
        out.push(b'\n');
    }

    fn put_row(&self, texts: &[impl AsRef<[u8]>], out: &mut Vec<u8>) {
        for (i, text) in texts.iter().enumerate() {
            if i > 0 {
                self.separator.put(out);
            }
            out.extend_from_slice(text.as_ref());
        }
    }

    /// Appends the lines of a batch. After an error `out` holds a part of them.
    pub(super) fn records(&self, batch: &Batch<'_>, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let mut cursor = batch.cursor();
        for _ in 0..batch.num_records() {
            let line = out.len();
            for (i, column) in self.columns.iter().enumerate() {
                if i > 0 {
                    self.separator.put(out);
                }
                self.put_value(*column, &mut cursor, out)?;
            }
            self.mark_unlike_meta(line, out);
            out.push(b'\n');
        }
        Ok(())
    }

    /// A line must not look like a `#` line.
    #[inline]
    fn mark_unlike_meta(&self, line: usize, out: &mut Vec<u8>) {
        if !self.meta_prefix.is_empty() && out[line..].starts_with(&self.meta_prefix) {
            let [high, low] = hex_digits(out[line]);
            out.splice(line..=line, [b'\\', b'x', high, low]);
        }
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "one match on the type for decoding and formatting")]
    fn put_value(
        &self,
        column: LogType,
        cursor: &mut Cursor<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        match cursor.next_value(column)? {
            ValueRef::Set { len } | ValueRef::Vector { len } => {
                if len == 0 {
                    self.empty.put(out);
                } else {
                    self.put_elements(cursor, out)?;
                }
            }
            scalar => self.put_scalar(scalar, false, out),
        }
        Ok(())
    }

    fn put_elements(&self, cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let mut first = true;
        while let Some(element) = cursor.next_element()? {
            if !std::mem::take(&mut first) {
                self.set_separator.put(out);
            }
            self.put_scalar(element, true, out);
        }
        Ok(())
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "see put_value")]
    fn put_scalar(&self, value: ValueRef<'_>, in_container: bool, out: &mut Vec<u8>) {
        let start = out.len();
        match value {
            ValueRef::Unset => return self.unset.put(out),
            ValueRef::String(text)
            | ValueRef::Enum(text)
            | ValueRef::Func(text)
            | ValueRef::File(text) => return self.put_string(text, in_container, out),
            ValueRef::Bool(x) => out.push(if x { b'T' } else { b'F' }),
            ValueRef::Int(x) => put_int(x, out),
            ValueRef::Count(x) => put_int(x, out),
            ValueRef::Port { number, .. } => put_int(number, out),
            ValueRef::Double(x) => put_double(x, out),
            ValueRef::Time(x) | ValueRef::Interval(x) => put_fixed(x, out),
            ValueRef::Addr(ip) => put_addr(ip, out),
            ValueRef::Subnet { prefix, length } => put_subnet(prefix, length, out),
            // Neither holds containers: the cursor refuses them as elements.
            ValueRef::Set { .. } | ValueRef::Vector { .. } => {}
        }
        if self.escape_all && !self.stops[usize::from(in_container)].is_clean(&out[start..]) {
            let text = out.split_off(start);
            put_escaped(&text, &self.separators()[..=usize::from(in_container)], self.utf_8, out);
        }
    }

    #[inline]
    fn put_string(&self, text: &[u8], in_container: bool, out: &mut Vec<u8>) {
        let is_marker = text == self.unset.0.as_slice() || text == self.empty.0.as_slice();
        if !is_marker && !text.is_empty() && self.stops[usize::from(in_container)].is_clean(text) {
            out.extend_from_slice(text);
        } else {
            self.put_unusual_string(text, is_marker, in_container, out);
        }
    }

    /// The separator of columns, and that of elements.
    fn separators(&self) -> [&[u8]; 2] {
        [&self.separator.0, &self.set_separator.0]
    }

    #[cold]
    fn put_unusual_string(
        &self,
        text: &[u8],
        is_marker: bool,
        in_container: bool,
        out: &mut Vec<u8>,
    ) {
        let separators = &self.separators()[..=usize::from(in_container)];
        if text.is_empty() {
            self.empty.put(out);
        } else if is_marker {
            put_unlike_marker(text, separators, self.utf_8, out);
        } else {
            put_escaped(text, separators, self.utf_8, out);
        }
    }
}
