//! The daemon's own log: lines on standard error that hold nothing but text.
//!
//! Peers choose ids and topics that are told in such lines: none of them may end a line and begin
//! one of its own making, steer the terminal of who reads it, or fill a disk.

use std::borrow::Cow;
use std::fmt::Write;

use log::{LevelFilter, Log, Metadata, Record};

use super::LogFilter;

/// The target of texts of several lines, which speak of the operator's own files alone.
pub(super) const SEVERAL_LINES: &str = "zcluster::daemon::lines";

/// Bytes of the longest line.
const MAX_LINE: usize = 4 << 10;

/// Starts to log, as much as `RUST_LOG` asks for, and says what is wrong with that.
pub(super) fn start() {
    let filter = LogFilter::from_env(LevelFilter::Info);
    // What is logged is decided by `filter` alone.
    let writer = env_logger::Builder::new()
        .filter_level(LevelFilter::Trace)
        .format_target(false)
        .parse_write_style(&std::env::var("RUST_LOG_STYLE").unwrap_or_default())
        .build();
    if let Some((level, text)) = filter.complaint() {
        let mut record = Record::builder();
        writer.log(&record.level(level).args(format_args!("{text}")).build());
    }
    log::set_max_level(filter.max_level());
    // Where somebody else logs already, that is how it is.
    let _ = log::set_boxed_logger(Box::new(Lines { filter, writer }));
}

struct Lines {
    filter: LogFilter,
    writer: env_logger::Logger,
}

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.filter.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.filter.matches(record) {
            return;
        }
        if record.target() == SEVERAL_LINES {
            return self.writer.log(record);
        }
        let text = record.args().to_string();
        let line = printable(&text);
        let mut builder = Record::builder();
        builder.metadata(record.metadata().clone()).module_path(record.module_path());
        self.writer.log(&builder.args(format_args!("{line}")).build());
    }

    fn flush(&self) {
        self.writer.flush();
    }
}

/// A text as one line that can be printed, cut off where it is long.
fn printable(text: &str) -> Cow<'_, str> {
    let end = text.floor_char_boundary(MAX_LINE);
    if end == text.len() && !text.chars().any(is_harmful) {
        return text.into();
    }
    let mut line = String::with_capacity(end);
    for character in text[..end].chars() {
        if is_harmful(character) {
            line.extend(character.escape_debug());
        } else {
            line.push(character);
        }
    }
    if end < text.len() {
        // Writing to a string does not fail.
        let _ = write!(line, "… ({} bytes more)", text.len() - end);
    }
    line.into()
}

/// Ends a line, steers a terminal, or turns the direction of what follows.
fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_peers_say_stays_in_its_line() {
        for (text, line) in [
            ("", ""),
            (
                "plain 'text' with \"quotes\", \\ and café",
                "plain 'text' with \"quotes\", \\ and café",
            ),
            ("a\n[ERROR] forged\r\t", "a\\n[ERROR] forged\\r\\t"),
            ("\u{1b}[2J\0\u{7f}", "\\u{1b}[2J\\0\\u{7f}"),
            ("\u{9b}31m\u{85}", "\\u{9b}31m\\u{85}"),
            ("\u{202e}txt\u{2028}", "\\u{202e}txt\\u{2028}"),
        ] {
            assert_eq!(printable(text), line);
        }
    }

    #[test]
    fn what_is_long_is_cut_off() {
        let text = "é".repeat(MAX_LINE);
        let line = printable(&text);
        assert!(line.len() < MAX_LINE + 40 && line.ends_with("… (4096 bytes more)"), "{line}");
        let fits = "x".repeat(MAX_LINE);
        assert_eq!(printable(&fits), fits);
    }
}
