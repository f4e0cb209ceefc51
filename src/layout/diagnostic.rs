//! [`Diagnostic`]: what is wrong in a file, where, and how it is displayed.
//!
//! Readers collect diagnostics in a [`Reporter`], so that all errors of a file are reported at
//! once. Lines that hold secrets are never shown beyond the name of the option and its `=`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};

use super::secret::{Secret, key_in, name_in};

/// The severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing; nothing is lost.
    Note,
    /// Legal but unwise, or without effect.
    Warning,
    /// The file cannot be used.
    Error,
}

/// One message about one place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The severity.
    pub severity: Severity,
    /// The name of the file, as given.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// How many characters of the line are marked; at least 1.
    pub width: usize,
    /// The text of the line without secrets, cut around the marked place if it is long.
    pub source: String,
    /// The column of the first character of `source`, from 1.
    pub source_column: usize,
    /// What was found and what was expected.
    pub message: String,
}

/// How many diagnostics are kept: each holds a line of the file, so the number must be bounded.
const KEPT: usize = 500;

/// Columns of a source line that are shown: longer lines are cut around the marked place.
const SHOWN: usize = 120;

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "",
            Severity::Warning => "warning: ",
            Severity::Note => "note: ",
        };
        writeln!(f, "{}:{}:{}: {severity}{}", self.file, self.line, self.column, self.message)?;
        let gutter = self.line.to_string();
        // Tabs stay tabs so that the caret is below its character.
        let indent: String = self
            .source
            .chars()
            .chain(std::iter::repeat(' '))
            .take(self.column.saturating_sub(self.source_column))
            .map(|c| if c == '\t' { c } else { ' ' })
            .collect();
        let caret = "^".repeat(self.width.min(SHOWN.saturating_sub(indent.chars().count())).max(1));
        writeln!(f, "{gutter} | {}", self.source)?;
        write!(f, "{:width$} | {indent}{caret}", "", width = gutter.len())
    }
}

/// Everything that is wrong with a layout: at least one error, and any warnings, in the order of
/// the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutErrors {
    /// Errors, warnings and notes.
    pub diagnostics: Vec<Diagnostic>,
}

impl LayoutErrors {
    /// The errors alone.
    pub fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error)
    }
}

impl fmt::Display for LayoutErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.diagnostics.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for LayoutErrors {}

/// A byte range in one of the texts that a [`Reporter`] knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) source: usize,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// A text, and the offset at which each of its lines starts.
#[derive(Debug)]
struct Source {
    file: String,
    text: Secret,
    lines: Vec<usize>,
}

/// Collects the diagnostics of one or more texts.
#[derive(Debug, Default)]
pub(super) struct Reporter {
    sources: Vec<Source>,
    found: Vec<(Span, Severity, String)>,
    /// Source and line, and how many bytes of the line precede the secret.
    secret_lines: Vec<((usize, usize), usize)>,
    /// Source and line of syntax errors.
    damaged_lines: BTreeSet<(usize, usize)>,
    /// Values that could not be read, whether reported or not.
    unread: BTreeSet<Span>,
    failed: bool,
    dropped: usize,
}

impl Reporter {
    /// Adds a text; spans in it carry the returned number.
    pub(super) fn add_source(&mut self, file: &str, text: &str) -> usize {
        let starts = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(starts).collect();
        self.sources.push(Source { file: file.into(), text: Secret::new(text), lines });
        self.sources.len() - 1
    }

    pub(super) fn report(&mut self, severity: Severity, span: Span, message: impl Into<String>) {
        self.failed |= severity == Severity::Error;
        if self.found.len() < KEPT {
            self.found.push((span, severity, message.into()));
        } else {
            self.dropped += 1;
        }
    }

    pub(super) fn error(&mut self, span: Span, message: impl Into<String>) {
        self.report(Severity::Error, span, message);
    }

    pub(super) fn warn(&mut self, span: Span, message: impl Into<String>) {
        self.report(Severity::Warning, span, message);
    }

    pub(super) fn note(&mut self, span: Span, message: impl Into<String>) {
        self.report(Severity::Note, span, message);
    }

    /// Never shows the text at this place, nor the rest of its last line.
    pub(super) fn keep_secret(&mut self, span: Span) {
        let (first, start) = self.line_start(span.source, span.start);
        let (last, _) = self.line_start(span.source, span.end);
        self.secret_lines.push(((span.source, first), span.start - start));
        self.secret_lines.extend((first + 1..=last).map(|line| ((span.source, line), 0)));
    }

    pub(super) fn has_errors(&self) -> bool {
        self.failed
    }

    /// The places of all errors so far, and of values damaged by a syntax error.
    pub(super) fn error_spans(&self) -> BTreeSet<Span> {
        let errors = self.found.iter().filter(|(_, severity, _)| *severity == Severity::Error);
        errors.map(|(span, ..)| *span).chain(self.unread.iter().copied()).collect()
    }

    /// Reports a syntax error: other errors on that line may follow from it.
    pub(super) fn damage(&mut self, span: Span, message: impl Into<String>) {
        let (line, _) = self.line_start(span.source, span.start);
        self.damaged_lines.insert((span.source, line));
        self.error(span, message);
    }

    /// Reports a value that cannot be read, unless its line has a syntax error.
    pub(super) fn unless_damaged(&mut self, span: Span, message: impl Into<String>) {
        let (line, _) = self.line_start(span.source, span.start);
        if self.damaged_lines.contains(&(span.source, line)) {
            self.unread.insert(span);
        } else {
            self.error(span, message);
        }
    }

    /// The number of the line that contains a byte, from 1, and the offset at which the line
    /// starts.
    fn line_start(&self, source: usize, byte: usize) -> (usize, usize) {
        let Some(Source { lines, .. }) = self.sources.get(source) else { return (1, 0) };
        let line = lines.partition_point(|start| *start <= byte);
        (line, line.checked_sub(1).map_or(0, |index| lines[index]))
    }

    /// Everything reported, in the order of the texts.
    pub(super) fn finish(mut self) -> Vec<Diagnostic> {
        let mut found = std::mem::take(&mut self.found);
        found.sort_by_key(|(span, severity, _)| (*span, std::cmp::Reverse(*severity)));
        found.dedup();
        if let Some((.., message)) = found.last_mut()
            && self.dropped > 0
        {
            let _ = write!(message, " (and {} more)", self.dropped);
        }
        let mut diagnostics = Vec::with_capacity(found.len());
        // Diagnostics of one line are adjacent, and a line may be the whole file.
        let mut visible = ((usize::MAX, 0), 0);
        for (span, severity, message) in found {
            let line = (span.source, self.line_start(span.source, span.start).0);
            if visible.0 != line {
                visible = (line, self.visible(span));
            }
            diagnostics.push(self.diagnostic(span, severity, message, visible.1));
        }
        diagnostics
    }

    /// The line at a place, without its line end, and the offset at which it starts.
    fn line_text(&self, span: Span) -> (&str, usize) {
        let (_, start) = self.line_start(span.source, span.start);
        let text = self.sources.get(span.source).map_or("", |source| source.text.expose());
        let rest = text.get(start..).unwrap_or_default();
        (rest.lines().next().unwrap_or_default(), start)
    }

    /// How many bytes of the line at a place may be shown. A misspelt key name must not reveal the
    /// key, so the line is cut after the `=` before anything that looks like a key.
    fn visible(&self, span: Span) -> usize {
        let (line, _) = self.line_text(span);
        let number = self.line_start(span.source, span.start).0;
        let of_line = self.secret_lines.iter().filter(|(at, _)| *at == (span.source, number));
        let before_secrets = of_line.map(|(_, bytes)| *bytes).min().unwrap_or(line.len());
        before_secrets.min(before_key(line))
    }

    fn diagnostic(
        &self,
        span: Span,
        severity: Severity,
        message: String,
        visible: usize,
    ) -> Diagnostic {
        let (line_text, start) = self.line_text(span);
        let from = (span.start - start).min(line_text.len());
        let to = (span.end.max(span.start) - start).min(line_text.len());
        let characters = |bytes: &[u8]| bytes.iter().filter(|b| (**b as i8) >= -0x40).count();
        let column = characters(&line_text.as_bytes()[..from]) + 1;
        let skipped = (column + 20).saturating_sub(SHOWN);
        let shown = line_text[..visible].chars().skip(skipped).take(SHOWN);
        // Keeps control characters from moving the terminal's cursor.
        let safe = |c: char| if c.is_control() && c != '\t' { '\u{fffd}' } else { c };
        Diagnostic {
            severity,
            file: self.sources.get(span.source).map_or("", |source| &source.file).into(),
            line: self.line_start(span.source, span.start).0,
            column,
            width: characters(&line_text.as_bytes()[from..to]).max(1),
            source: shown.map(safe).collect(),
            source_column: skipped + 1,
            message,
        }
    }
}

/// How many bytes of a line may be shown, judging by its text alone: those before anything that looks like
/// a key; and if there is the name of one, up to it and its `=`, or to another `=` before it.
fn before_key(line: &str) -> usize {
    key_in(line).unwrap_or(line.len()).min(before_value_of_key(line))
}

fn before_value_of_key(line: &str) -> usize {
    let Some(name) = name_in(line) else { return line.len() };
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
    let end = name + line.bytes().skip(name).take_while(is_word).count();
    match line.find('=') {
        // Z85 digits include `=`: it is an assignment only if no value precedes it.
        Some(at) if at < end || line[end..at].trim().is_empty() => at + 1,
        _ => end,
    }
}

/// Where the parts of a layout are in their files.
#[derive(Debug, Default)]
pub(super) struct Places(BTreeMap<Vec<String>, Span>);

impl Places {
    pub(super) fn put(&mut self, path: &[&str], span: Span) {
        self.0.insert(path.iter().map(|part| (*part).to_owned()).collect(), span);
    }

    /// Forgets a part and everything below it.
    pub(super) fn forget(&mut self, path: &[&str]) {
        let path: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
        let below = self.0.range(path.clone()..).map(|(key, _)| key);
        let below: Vec<_> = below.take_while(|key| key.starts_with(&path)).cloned().collect();
        for key in below {
            self.0.remove(&key);
        }
    }

    /// Whether a file sets it.
    pub(super) fn has(&self, path: &[&str]) -> bool {
        self.get(path).is_some()
    }

    fn get(&self, path: &[&str]) -> Option<Span> {
        let path: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
        self.0.get(&path).copied()
    }

    /// Its place, or that of the nearest enclosing part, or the start of the file.
    pub(super) fn find(&self, path: &[&str]) -> Span {
        (0..=path.len()).rev().find_map(|end| self.get(&path[..end])).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(text: &str, start: usize, end: usize) -> String {
        let mut reporter = Reporter::default();
        let source = reporter.add_source("f", text);
        reporter.error(Span { source, start, end }, "bad");
        reporter.finish()[0].to_string()
    }

    #[test]
    fn carets_stand_below_their_characters() {
        assert_eq!(show("a\nbc = 1\n", 2, 4), "f:2:1: bad\n2 | bc = 1\n  | ^^");
        assert_eq!(show("\tcafé = 1", 9, 10), "f:1:9: bad\n1 | \tcafé = 1\n  | \t       ^");
        // Past the end of a line, and of the text.
        assert_eq!(show("a\nb", 1, 9), "f:1:2: bad\n1 | a\n  |  ^");
        assert_eq!(show("a\n", 2, 2), "f:2:1: bad\n2 | \n  | ^");
        assert_eq!(show("", 7, 9), "f:1:1: bad\n1 | \n  | ^");
    }

    #[test]
    fn long_lines_are_cut() {
        let text = format!("{}x", "a".repeat(1000));
        let shown = show(&text, 1000, 1001);
        assert!(shown.starts_with("f:1:1001: bad\n"));
        assert!(shown.lines().all(|line| line.len() < 130), "{shown}");
        let (source, caret) = shown.split_once("bad\n").unwrap().1.split_once('\n').unwrap();
        assert_eq!(source.find('x').unwrap(), caret.find('^').unwrap());
    }

    #[test]
    fn secrets_and_escapes_stay_hidden() {
        for (line, shown) in [
            ("curve_sever_secret = \"hunter2\"", "curve_sever_secret ="),
            ("curve_sever_secret \"hunter=2\"", "curve_sever_secret"),
            ("Secret:hunter=2", "Secret"),
            ("a = { b = \"hunter2\" } # a secret", "a ="),
            ("é = 2", "é = 2"),
            ("\"rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7\"", "\""),
        ] {
            assert_eq!(show(line, 0, 1), format!("f:1:1: bad\n1 | {shown}\n  | ^"));
        }
        assert!(!show("a = \"\u{1b}[2J\"", 0, 1).contains('\u{1b}'));
    }
}
