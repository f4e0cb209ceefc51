//! The format of a TSV log's meta lines, from its first line (WIRE.md §5.1). Pure.
//!
//! Each file defines the format of its own meta lines, so files written by Zeek or with other
//! settings can be read, too.

use bstr::ByteSlice;

/// Longest line that is taken for such a first line.
const MAX_LINE: usize = 128;

/// The format of meta lines: `<prefix><key><separator><value>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TsvHead {
    prefix: Vec<u8>,
    separator: Vec<u8>,
}

impl TsvHead {
    /// Parses `<prefix>separator <escaped separator>`; `None` for any other line.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        if line.len() > MAX_LINE || line.starts_with(b"{") {
            return None;
        }
        let (prefix, separator) = line.split_once_str("separator ")?;
        let separator = unescape(separator)?;
        let is_usable = !prefix.is_empty() && !separator.is_empty();
        is_usable.then(|| TsvHead { prefix: prefix.to_owned(), separator })
    }

    /// The separator of columns.
    pub(crate) fn separator(&self) -> &[u8] {
        &self.separator
    }

    /// Returns whether a line is not a record. Records that start with the prefix are escaped.
    pub(crate) fn is_meta(&self, line: &[u8]) -> bool {
        line.starts_with(&self.prefix)
    }

    /// Returns the value if `line` is the meta line with that key.
    pub(crate) fn value<'a>(&self, line: &'a [u8], key: &str) -> Option<&'a [u8]> {
        let line = line.strip_prefix(&*self.prefix)?.strip_prefix(key.as_bytes())?;
        line.strip_prefix(&*self.separator)
    }

    /// Returns a meta line, with its end.
    pub(crate) fn line(&self, key: &str, value: &str) -> Vec<u8> {
        let parts = [&*self.prefix, key.as_bytes(), &*self.separator, value.as_bytes(), b"\n"];
        parts.concat()
    }
}

/// Reverses `\xNN` escapes.
fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'\\' {
            bytes.push(first);
            continue;
        }
        if let Some(after) = rest.strip_prefix(b"\\") {
            bytes.push(b'\\');
            rest = after;
            continue;
        }
        let (digits, after) = rest.strip_prefix(b"x")?.split_at_checked(2)?;
        let is_hex = digits.iter().all(u8::is_ascii_hexdigit);
        let digits = digits.to_str().ok().filter(|_| is_hex)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn first_lines() {
        for (line, prefix, separator) in [
            (r"#separator \x09", "#", "\t"),
            (r"// separator \x2c\x20", "// ", ", "),
            (r"#separator ;", "#", ";"),
            (r"#separator a\\b\x5c", "#", r"a\b\"),
        ] {
            let head = TsvHead::parse(line.as_bytes()).unwrap();
            assert_eq!(head.prefix.as_bstr(), prefix, "{line}");
            assert_eq!(head.separator().as_bstr(), separator, "{line}");
        }
        for line in [
            "",
            "#separator ",
            "#separator",
            r"separator \x09",
            r"#separator \x0",
            r"#separator \x+1",
            r"#separator \t",
            r#"{"a":"separator x"}"#,
            "1767225600.250000\t-",
        ] {
            assert_eq!(TsvHead::parse(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn meta_lines() {
        let head = TsvHead::parse(br"#separator \x09").unwrap();
        assert_eq!(head.value(b"#open\t2026", "open"), Some(b"2026".as_slice()));
        assert_eq!(head.value(b"#opened\t2026", "open"), None);
        assert_eq!(head.value(b"open\t2026", "open"), None);
        assert_eq!(head.line("close", "2026"), b"#close\t2026\n");
        assert!(head.is_meta(b"#x") && !head.is_meta(b"\\x23x"));
    }

    proptest! {
        #[test]
        fn any_line_can_be_read(line in prop::collection::vec(any::<u8>(), 0..40)) {
            TsvHead::parse(&line);
            TsvHead::parse(&[b"#separator ", &*line].concat());
        }
    }
}
