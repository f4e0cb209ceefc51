//! Counts records, bytes and times in the text of a log, piece by piece. Pure.
//!
//! Records are the lines that are not meta lines (WIRE.md §5.1). Their times come from the field
//! `ts` if it is the first one, in each form of §5.2 and §5.5. Only the start of a line is ever
//! kept, however long the line.

use bstr::ByteSlice;
use jiff::Timestamp;
use memchr::memchr;

use super::job::Micros;
use super::tsv_head::TsvHead;

/// Bytes kept from the start of a line.
const FRONT: usize = 128;

/// The result of counting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// Length of the text.
    pub(crate) bytes: u64,
    pub(crate) records: u64,
    /// Earliest time of a record.
    pub(crate) first: Option<Micros>,
    /// Latest time of a record.
    pub(crate) last: Option<Micros>,
}

/// Where lines have their time.
#[derive(Clone, Debug)]
enum TimeField {
    Nowhere,
    FirstColumn(Vec<u8>),
}

/// Counts a text.
#[derive(Debug)]
pub(crate) struct Counter {
    figures: Figures,
    /// The start of an incomplete line.
    front: Vec<u8>,
    is_mid_line: bool,
    is_first_line: bool,
    bare_header: bool,
    head: Option<TsvHead>,
    time: TimeField,
}

impl Counter {
    /// Starts at the beginning of a text. With `bare_header`, its first line has the names of the
    /// columns, without a prefix.
    pub(crate) fn new(bare_header: bool) -> Self {
        Counter {
            figures: Figures::default(),
            front: Vec::with_capacity(FRONT),
            is_mid_line: false,
            is_first_line: true,
            bare_header,
            head: None,
            time: TimeField::Nowhere,
        }
    }

    /// Counts the next piece.
    pub(crate) fn add(&mut self, mut text: &[u8]) {
        self.figures.bytes += text.len() as u64;
        while let Some(end) = memchr(b'\n', text) {
            if self.is_mid_line {
                self.keep(&text[..end]);
                self.end_line();
            } else {
                self.line(&text[..end.min(FRONT)]);
            }
            text = &text[end + 1..];
        }
        if !text.is_empty() {
            self.is_mid_line = true;
            self.keep(text);
        }
    }

    /// Returns the result after the last piece.
    pub(crate) fn finish(mut self) -> Figures {
        if self.is_mid_line {
            self.end_line();
        }
        self.figures
    }

    fn keep(&mut self, text: &[u8]) {
        let room = FRONT - self.front.len();
        self.front.extend_from_slice(&text[..text.len().min(room)]);
    }

    fn end_line(&mut self) {
        let mut front = std::mem::take(&mut self.front);
        self.line(&front);
        front.clear();
        self.front = front;
        self.is_mid_line = false;
    }

    fn line(&mut self, line: &[u8]) {
        if std::mem::take(&mut self.is_first_line) {
            self.head = TsvHead::parse(line);
            if self.bare_header && self.head.is_none() {
                self.take_columns(line, b"\t");
                return;
            }
        }
        if let Some(head) = self.head.as_ref().filter(|head| head.is_meta(line)) {
            if let Some(columns) = head.value(line, "fields") {
                let separator = head.separator().to_owned();
                self.take_columns(columns, &separator);
            }
            return;
        }
        // A stray meta line in a file whose first line defines no meta lines.
        if self.head.is_none() && line.starts_with(b"#") {
            return;
        }
        self.figures.records += 1;
        let time = match &self.time {
            TimeField::FirstColumn(separator) => {
                let end = line.find(separator).unwrap_or(line.len());
                seconds(&line[..end])
            }
            TimeField::Nowhere => line.strip_prefix(br#"{"ts":"#).and_then(json_time),
        };
        if let Some(time) = time {
            let Figures { first, last, .. } = &mut self.figures;
            *first = Some(first.map_or(time, |first| first.min(time)));
            *last = Some(last.map_or(time, |last| last.max(time)));
        }
    }

    fn take_columns(&mut self, names: &[u8], separator: &[u8]) {
        let is_time = names
            .strip_prefix(b"ts")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(separator));
        self.time =
            if is_time { TimeField::FirstColumn(separator.to_owned()) } else { TimeField::Nowhere };
    }
}

/// Parses a decimal number of seconds since 1970.
fn seconds(text: &[u8]) -> Option<Micros> {
    let seconds: f64 = text.to_str().ok()?.parse().ok()?;
    seconds.is_finite().then(|| Micros::from_seconds(seconds))
}

/// Parses the time at the start of a JSON line, after `{"ts":`.
fn json_time(text: &[u8]) -> Option<Micros> {
    if let Some(text) = text.strip_prefix(b"\"") {
        let (text, _) = text.split_once_str("\"")?;
        return iso_8601(text.to_str().ok()?);
    }
    let end = text.find_byteset(",}")?;
    let text = &text[..end];
    // Seconds always have a fraction or an exponent, milliseconds never.
    if text.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-') {
        let text = text.to_str().ok()?;
        // Unsigned milliseconds before 1970 wrap around.
        let milliseconds =
            text.parse::<i64>().ok().or_else(|| Some(text.parse::<u64>().ok()?.cast_signed()))?;
        return Some(Micros(milliseconds.checked_mul(1000)?));
    }
    seconds(text)
}

/// Parses a time as Zeek writes it (WIRE.md §5.5): the year has as many digits as it needs, and a
/// fraction that was rounded up to a second has seven digits.
fn iso_8601(text: &str) -> Option<Micros> {
    let (seconds, fraction) = text.strip_suffix('Z')?.split_once('.')?;
    let (year, rest) = seconds.split_once('-')?;
    let seconds: Timestamp = format!("{year:0>4}-{rest}Z").parse().ok()?;
    if !matches!(fraction.len(), 6 | 7) {
        return None;
    }
    let fraction: u32 = fraction.parse().ok()?;
    Some(Micros(seconds.as_microsecond() + i64::from(fraction)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn count(text: &[u8], bare_header: bool, piece: usize) -> Figures {
        let mut counter = Counter::new(bare_header);
        text.chunks(piece).for_each(|piece| counter.add(piece));
        counter.finish()
    }

    #[test]
    fn records_and_times() {
        const TSV: &str = "#separator \\x09\n#path\tx\n#fields\tts\ta\n#types\ttime\tstring\n";
        let micros = |time: Option<i64>| time.map(Micros);
        for (text, bare, records, first, last) in [
            ("", false, 0, None, None),
            (TSV, false, 0, None, None),
            (
                &*format!("{TSV}2.5\tx\n1.000001\ty\n-\tz\n#close\t-\n"),
                false,
                3,
                Some(1_000_001),
                Some(2_500_000),
            ),
            (
                &format!("{TSV}2.5\tx\n#fields\ta\tts\n9\tx\n"),
                false,
                2,
                Some(2_500_000),
                Some(2_500_000),
            ),
            ("#separator ;\n#fields;ts\n1.0\n2.0\n", false, 2, Some(1_000_000), Some(2_000_000)),
            (
                "//separator \\x09\n//fields\tts\n1.0\n#\n",
                false,
                2,
                Some(1_000_000),
                Some(1_000_000),
            ),
            ("ts\ta\n7.0\tx\n", true, 1, Some(7_000_000), Some(7_000_000)),
            ("ts\ta\n7.0\tx\n", false, 2, None, None),
            ("tsx\ta\n7.0\tx\n", true, 1, None, None),
            ("{\"ts\":3.25,\"a\":1}\n{\"ts\":1e-1}\n", false, 2, Some(100_000), Some(3_250_000)),
            (
                "{\"ts\":1767225600250}\n",
                false,
                1,
                Some(1_767_225_600_250_000),
                Some(1_767_225_600_250_000),
            ),
            (
                "{\"ts\":\"2026-01-01T00:00:00.250000Z\"}\n",
                false,
                1,
                Some(1_767_225_600_250_000),
                Some(1_767_225_600_250_000),
            ),
            // The second before 1970, unsigned; a fraction that was rounded up; a year with one
            // digit.
            ("{\"ts\":18446744073709550616}\n", false, 1, Some(-1_000_000), Some(-1_000_000)),
            (
                "{\"ts\":\"2026-01-01T00:00:00.1000000Z\"}\n",
                false,
                1,
                Some(1_767_225_601_000_000),
                Some(1_767_225_601_000_000),
            ),
            (
                "{\"ts\":\"1-01-01T00:00:00.000000Z\"}\n",
                false,
                1,
                Some(-62_135_596_800_000_000),
                Some(-62_135_596_800_000_000),
            ),
            ("{\"ts\":\"2000-01-01T00:00:00.000000\"}\n", false, 1, None, None),
            ("{\"a\":1,\"ts\":3.0}\n{\"ts\":null}\n{\"ts\":9e999}\n{\"ts\"", false, 4, None, None),
            ("# stray\nx\ntorn", false, 2, None, None),
        ] {
            for piece in [1, 7, 1 << 20] {
                let figures = count(text.as_bytes(), bare, piece);
                let expected = Figures {
                    bytes: text.len() as u64,
                    records,
                    first: micros(first),
                    last: micros(last),
                };
                assert_eq!(figures, expected, "{text:?} by {piece}");
            }
        }
    }

    #[test]
    fn of_a_long_line_the_front_is_kept() {
        let mut counter = Counter::new(false);
        for _ in 0..1000 {
            counter.add(&[b'x'; 1000]);
        }
        assert!(counter.front.capacity() <= FRONT);
        assert_eq!(counter.finish().records, 1);
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            text in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..300),
                "(#|separator |fields|ts|\\\\x09|\t|\n|\\{|\"ts\":|1.5|,|\\}){0,40}"
                    .prop_map(String::into_bytes),
            ],
            bare in any::<bool>(),
            piece in 1..50_usize,
        ) {
            prop_assert_eq!(count(&text, bare, piece), count(&text, bare, 1000));
        }
    }
}
