//! Lines of TSV and the `#` lines around them (WIRE.md §5.1, §5.2).

use std::net::IpAddr;

use bstr::BString;
use zcluster::value::Protocol;
use zcluster::wire::zeek_bin::{Batch, Cursor, DecodeError, LogType, Visitor};

use super::addr::{put_addr, put_subnet};
use super::escape::{Stops, hex_digits, put_escaped, put_header_value, put_unlike_marker};
use super::number::{put_double, put_fixed, put_int, put_uint};
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
                let put = Put { tsv: self, in_container: false, out };
                if cursor.visit_value(*column, put)? {
                    cursor = self.put_elements(cursor, out)?;
                }
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

    /// Appends the elements of the container before the cursor, which has some, and returns the
    /// cursor after them. (A reference to the cursor would keep it out of registers in `records`.)
    fn put_elements<'a>(
        &self,
        mut cursor: Cursor<'a>,
        out: &mut Vec<u8>,
    ) -> Result<Cursor<'a>, DecodeError> {
        while cursor.visit_element(Put { tsv: self, in_container: true, out })?.is_some() {
            self.set_separator.put(out);
        }
        // The last one is one too many.
        out.truncate(out.len() - self.set_separator.0.len());
        Ok(cursor)
    }

    /// The separator of columns, and that of elements.
    fn separators(&self) -> [&[u8]; 2] {
        [&self.separator.0, &self.set_separator.0]
    }
}

/// Appends one value. Says whether it is a container whose elements are to follow.
struct Put<'p> {
    tsv: &'p Tsv,
    in_container: bool,
    out: &'p mut Vec<u8>,
}

impl Put<'_> {
    #[inline]
    fn text(self, text: &[u8]) -> bool {
        let Tsv { unset, empty, stops, .. } = self.tsv;
        let is_marker = text == unset.0.as_slice() || text == empty.0.as_slice();
        if !is_marker && !text.is_empty() && stops[usize::from(self.in_container)].is_clean(text) {
            self.out.extend_from_slice(text);
        } else {
            self.unusual_text(text, is_marker);
        }
        false
    }

    #[cold]
    fn unusual_text(self, text: &[u8], is_marker: bool) {
        let separators = &self.tsv.separators()[..=usize::from(self.in_container)];
        if text.is_empty() {
            self.tsv.empty.put(self.out);
        } else if is_marker {
            put_unlike_marker(text, separators, self.tsv.utf_8, self.out);
        } else {
            put_escaped(text, separators, self.tsv.utf_8, self.out);
        }
    }

    /// Appends something that is no string.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "one test around the call of the closure")]
    fn plain(self, put: impl FnOnce(&mut Vec<u8>)) -> bool {
        let start = self.out.len();
        put(self.out);
        if self.tsv.escape_all {
            self.escape_from(start);
        }
        false
    }

    /// Escapes what was appended since `start`, if it holds a separator. That takes options that
    /// nobody should choose, so it may allocate.
    #[cold]
    fn escape_from(self, start: usize) {
        let stops = self.tsv.stops[usize::from(self.in_container)];
        if !stops.is_clean(&self.out[start..]) {
            let text = self.out.split_off(start);
            let separators = &self.tsv.separators()[..=usize::from(self.in_container)];
            put_escaped(&text, separators, self.tsv.utf_8, self.out);
        }
    }

    #[inline]
    fn container(self, len: u64) -> bool {
        if len == 0 {
            self.tsv.empty.put(self.out);
        }
        len > 0
    }
}

impl<'a> Visitor<'a> for Put<'_> {
    type Output = bool;

    #[inline]
    fn unset(self) -> bool {
        self.tsv.unset.put(self.out);
        false
    }
    #[inline]
    fn bool(self, x: i64) -> bool {
        self.plain(|out| out.push(if x != 0 { b'T' } else { b'F' }))
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
        self.plain(|out| put_double(x, out))
    }
    #[inline]
    fn time(self, x: f64) -> bool {
        self.plain(|out| put_fixed(x, out))
    }
    #[inline]
    fn interval(self, x: f64) -> bool {
        self.plain(|out| put_fixed(x, out))
    }
    #[inline]
    fn string(self, text: &'a [u8]) -> bool {
        self.text(text)
    }
    #[inline]
    fn enum_name(self, text: &'a [u8]) -> bool {
        self.text(text)
    }
    #[inline]
    fn func(self, text: &'a [u8]) -> bool {
        self.text(text)
    }
    #[inline]
    fn file(self, text: &'a [u8]) -> bool {
        self.text(text)
    }
    #[inline]
    fn port(self, number: u64, _: Protocol) -> bool {
        self.plain(|out| put_uint(number, out))
    }
    #[inline]
    fn addr(self, ip: IpAddr) -> bool {
        self.plain(|out| put_addr(ip, out))
    }
    #[inline]
    fn subnet(self, prefix: IpAddr, length: u8) -> bool {
        self.plain(|out| put_subnet(prefix, length, out))
    }
    #[inline]
    fn set(self, len: u64) -> bool {
        self.container(len)
    }
    #[inline]
    fn vector(self, len: u64) -> bool {
        self.container(len)
    }
}
