//! [`Diagnostic`]: what is wrong in a file, where, and how it is shown to people.
//!
//! Readers collect diagnostics in a [`Reporter`], so that all errors of a file are told at once.
//! Lines that hold secrets are never shown beyond their `=`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing; nothing is lost.
    Note,
    /// Legal but unwise, or without effect.
    Warning,
    /// The file cannot be used.
    Error,
}

/// One remark about one place of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The name of the file, as it was given.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// How many characters of the line it speaks of; at least 1.
    pub width: usize,
    /// The text of the line, without what must stay secret.
    pub source: String,
    /// What was found and what was expected.
    pub message: String,
}

/// Columns of a source line that are shown: longer lines are cut around the place in question.
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
        let skipped = (self.column + 20).saturating_sub(SHOWN);
        let shown: String = self.source.chars().skip(skipped).take(SHOWN).collect();
        // Tabs stay tabs so that the caret stands below its character.
        let indent: String = shown
            .chars()
            .take(self.column - 1 - skipped)
            .map(|c| if c == '\t' { c } else { ' ' })
            .collect();
        let caret = "^".repeat(self.width.min(SHOWN - indent.chars().count()).max(1));
        writeln!(f, "{gutter} | {shown}")?;
        write!(f, "{:width$} | {indent}{caret}", "", width = gutter.len())
    }
}

/// Everything that is wrong with a layout: at least one error, and the warnings beside it, in the
/// order of the file.
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

/// A range of bytes of one of the texts a [`Reporter`] knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) source: usize,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Collects the diagnostics of one or more texts.
#[derive(Debug, Default)]
pub(super) struct Reporter {
    sources: Vec<(String, String)>,
    found: Vec<(Span, Severity, String)>,
    secret_lines: Vec<(usize, usize)>,
}

impl Reporter {
    /// Adds a text; spans of it carry the number returned.
    pub(super) fn add_source(&mut self, file: &str, text: &str) -> usize {
        self.sources.push((file.into(), text.into()));
        self.sources.len() - 1
    }

    pub(super) fn report(&mut self, severity: Severity, span: Span, message: impl Into<String>) {
        self.found.push((span, severity, message.into()));
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

    /// Never shows the lines of that place.
    pub(super) fn keep_secret(&mut self, span: Span) {
        let (first, _) = self.line_start(span.source, span.start);
        let (last, _) = self.line_start(span.source, span.end);
        self.secret_lines.extend((first..=last).map(|line| (span.source, line)));
    }

    pub(super) fn has_errors(&self) -> bool {
        self.found.iter().any(|(_, severity, _)| *severity == Severity::Error)
    }

    /// The places of all errors so far.
    pub(super) fn error_spans(&self) -> BTreeSet<Span> {
        let errors = self.found.iter().filter(|(_, severity, _)| *severity == Severity::Error);
        errors.map(|(span, ..)| *span).collect()
    }

    /// Whether an error was reported on the line of that place.
    pub(super) fn has_error_on_line(&self, span: Span) -> bool {
        let line = self.line_start(span.source, span.start);
        self.found.iter().any(|(at, severity, _)| {
            *severity == Severity::Error
                && at.source == span.source
                && self.line_start(at.source, at.start) == line
        })
    }

    /// The number of the line a byte is on, from 1, and the byte its line starts at.
    fn line_start(&self, source: usize, byte: usize) -> (usize, usize) {
        let text = self.sources.get(source).map_or("", |(_, text)| text);
        let before = &text.as_bytes()[..byte.min(text.len())];
        let start = before.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        (before.iter().filter(|b| **b == b'\n').count() + 1, start)
    }

    /// Everything reported, in the order of the texts.
    pub(super) fn finish(mut self) -> Vec<Diagnostic> {
        let mut found = std::mem::take(&mut self.found);
        found.sort_by_key(|(span, severity, _)| (*span, std::cmp::Reverse(*severity)));
        found.dedup();
        found.into_iter().map(|found| self.diagnostic(found)).collect()
    }

    fn diagnostic(&self, (span, severity, message): (Span, Severity, String)) -> Diagnostic {
        let (file, text) = self.sources.get(span.source).map_or(("", ""), |(f, t)| (f, t));
        let (line, start) = self.line_start(span.source, span.start);
        let rest = text.get(start..).unwrap_or_default();
        let line_text = rest.lines().next().unwrap_or_default();
        let from = span.start.min(text.len()) - start;
        let to = (span.end.max(span.start) - start).min(line_text.len());
        let characters = |bytes: &[u8]| bytes.iter().filter(|b| (**b as i8) >= -0x40).count();
        let before = characters(&line_text.as_bytes()[..from.min(line_text.len())]);
        let within = line_text.as_bytes().get(from..to).map_or(0, characters);
        let source = if self.secret_lines.contains(&(span.source, line)) {
            String::new()
        } else {
            without_secrets(line_text)
        };
        Diagnostic {
            severity,
            file: file.into(),
            line,
            column: before + 1,
            width: within.max(1),
            source,
            message,
        }
    }
}

/// The line as it may be shown. A misspelt name of a key must not give the key away, so anything
/// that looks like a key ends at its `=`; and nothing moves the cursor of a terminal.
fn without_secrets(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let shown = match line.find('=') {
        Some(at) if lower.contains("curve") || lower.contains("secret") => &line[..=at],
        _ => line,
    };
    shown.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// Where the parts of a layout stand in their files.
#[derive(Debug, Default)]
pub(super) struct Places(BTreeMap<Vec<String>, Span>);

impl Places {
    pub(super) fn put(&mut self, path: &[&str], span: Span) {
        self.0.insert(path.iter().map(|part| (*part).to_owned()).collect(), span);
    }

    /// Forgets a part and all below it.
    pub(super) fn forget(&mut self, path: &[&str]) {
        self.0.retain(|key, _| {
            !(key.len() >= path.len() && key.iter().zip(path).all(|(a, b)| a == b))
        });
    }

    /// Whether a file says anything about it.
    pub(super) fn has(&self, path: &[&str]) -> bool {
        self.get(path).is_some()
    }

    fn get(&self, path: &[&str]) -> Option<Span> {
        let path: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
        self.0.get(&path).copied()
    }

    /// Where it stands; else where the nearest part that encloses it stands; else the start.
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
        // Beyond the end of a line, and of the text.
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
        assert!(!show("curve_sever_secret = \"hunter2\"", 0, 5).contains("hunter2"));
        assert!(!show("a = \"\u{1b}[2J\"", 0, 1).contains('\u{1b}'));
    }
}
