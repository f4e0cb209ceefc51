//! The daemon's own log: lines on standard error that hold nothing but text.
//!
//! Peers choose ids and topics that are told in such lines: none of them may end a line and begin
//! one of its own making, steer the terminal of who reads it, or fill a disk.

use std::borrow::Cow;
use std::fmt::Write;

use log::{Log, Metadata, Record};

/// The target of texts of several lines, which speak of the operator's own files alone.
pub(super) const SEVERAL_LINES: &str = "zcluster::daemon::lines";

/// Bytes of the longest line.
const MAX_LINE: usize = 4 << 10;

/// Starts to log, as much as `RUST_LOG` asks for.
pub(super) fn start() {
    let inner = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info"))
        .format_target(false)
        .build();
    log::set_max_level(inner.filter());
    // Where somebody else logs already, that is how it is.
    let _ = log::set_boxed_logger(Box::new(Lines(inner)));
}

struct Lines(env_logger::Logger);

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if record.target() == SEVERAL_LINES || !self.0.matches(record) {
            return self.0.log(record);
        }
        let text = record.args().to_string();
        let line = printable(&text);
        let mut builder = Record::builder();
        builder.metadata(record.metadata().clone()).module_path(record.module_path());
        self.0.log(&builder.args(format_args!("{line}")).build());
    }

    fn flush(&self) {
        self.0.flush();
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
