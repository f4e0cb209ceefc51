//! Syntax errors of a layout file: one message for each mistake, at its place, and a corrected
//! text, so that the rest of the file can be read.
//!
//! The TOML parser continues after an error and reports its consequences as more errors. Here the
//! lines of a rejected file are walked ([`walk`]), common mistakes are named and corrected, and
//! what the parser still rejects is reported once per line and left out.

mod value;
mod walk;

use std::ops::Range;

use ::toml::de::DeTable;
use zeroize::Zeroizing;

use walk::{Kind, Script, Statement};

/// A mistake at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remark {
    pub(super) at: Range<usize>,
    pub(super) message: String,
}

/// A file that is not valid TOML, corrected.
pub(super) struct Mended {
    /// The corrected text, which is valid TOML.
    pub(super) text: Zeroizing<String>,
    /// The mistakes.
    pub(super) remarks: Vec<Remark>,
    /// Parts of the original text that messages must not show.
    pub(super) secrets: Vec<Range<usize>>,
    /// Whether the text still contains everything in the original.
    pub(super) is_whole: bool,
    edits: Vec<Edit>,
}

/// A change to the text.
struct Edit {
    at: Range<usize>,
    text: Zeroizing<String>,
}

impl Edit {
    fn new(at: Range<usize>, text: impl Into<String>) -> Self {
        Edit { at, text: Zeroizing::new(text.into()) }
    }
}

/// Prefix of the names of tables that replace damaged ones.
const HIDDEN: char = '\0';

/// Whether a table replaces one whose header is damaged or repeated.
pub(super) fn is_hidden(name: &str) -> bool {
    name.starts_with(HIDDEN)
}

/// Finds the syntax errors of a text; `None` if it has none.
pub(super) fn mend(text: &str) -> Option<Mended> {
    DeTable::parse(text).err()?;
    let Script { statements, mut remarks, mut edits, mut is_whole } = walk::script(text);
    let mut blank = vec![false; statements.len()];
    let mended = loop {
        edits.sort_by_key(|edit| (edit.at.start, edit.at.end));
        let mended = applied(text, &edits);
        let (_, errors) = DeTable::parse_recoverable(&mended);
        let place = |error: &::toml::de::Error| error.span().unwrap_or_default().start;
        let Some(error) = errors.iter().min_by_key(|error| place(error)) else { break mended };
        is_whole = false;
        let at = original(&edits, place(error));
        let end = original(&edits, error.span().unwrap_or_default().end).max(at);
        let index = statements.partition_point(|statement| statement.at.start <= at);
        let damaged = index.checked_sub(1).filter(|index| !blank[*index]);
        let Some(index) = damaged else {
            // Nothing more can be left out: every mistake is reported.
            if remarks.is_empty() {
                remarks.push(Remark { at: at..end, message: message_of(error) });
            }
            edits = vec![Edit::new(0..text.len(), "")];
            break Zeroizing::default();
        };
        let statement = &statements[index];
        if !statement.is_told {
            let message = message_of(error);
            remarks.push(
                duplicate(text, &statements, index, &message)
                    .unwrap_or(Remark { at: at..end, message }),
            );
        }
        blank[index] = true;
        leave_out(&mut edits, statement, index);
    };
    let secrets = statements.iter().filter_map(|statement| further_lines(text, statement));
    let secrets = secrets.collect();
    Some(Mended { text: mended, remarks, secrets, is_whole, edits })
}

/// Removes a statement from the text; after a header, the lines that follow then belong to no
/// table.
fn leave_out(edits: &mut Vec<Edit>, statement: &Statement, index: usize) {
    edits.retain(|edit| edit.at.start < statement.at.start || edit.at.end > statement.at.end);
    let text = match statement.kind {
        Kind::Header => format!("[\"\\u0000{index}\"]"),
        Kind::Entry => String::new(),
    };
    edits.push(Edit::new(statement.at.clone(), text));
}

/// For a duplicate name, or one in a table that is complete, the message that says where the first
/// one is.
fn duplicate(text: &str, statements: &[Statement], index: usize, message: &str) -> Option<Remark> {
    let adds = message.starts_with("cannot extend value of type inline table");
    if !adds && !message.starts_with("duplicate key") {
        return None;
    }
    let statement = &statements[index];
    let first = statements[..index].iter().find(|other| {
        let (a, b) = (&other.path, &statement.path);
        let holds = other.kind == Kind::Entry && b.starts_with(a);
        !a.is_empty() && (a.starts_with(b) || holds)
    })?;
    let remark = if adds { walk::after_braces } else { walk::twice };
    Some(remark(text, first, statement))
}

fn message_of(error: &::toml::de::Error) -> String {
    error.message().trim_end().replace('\n', ", ")
}

/// The later lines of a statement that may hold a secret: nothing on them marks them as secret.
fn further_lines(text: &str, statement: &Statement) -> Option<Range<usize>> {
    let of_statement = &text[statement.at.clone()];
    let lines = of_statement.find('\n')?;
    let is_secret = value::may_be_secret(of_statement);
    is_secret.then(|| statement.at.start + lines + 1..statement.at.end)
}

fn applied(text: &str, edits: &[Edit]) -> Zeroizing<String> {
    // Allocates once: growing would leave copies of secrets behind.
    let added: usize = edits.iter().map(|edit| edit.text.len()).sum();
    let mut mended = Zeroizing::new(String::with_capacity(text.len() + added));
    let mut from = 0;
    for edit in edits {
        mended.push_str(text.get(from..edit.at.start).unwrap_or_default());
        mended.push_str(&edit.text);
        from = from.max(edit.at.end);
    }
    mended.push_str(&text[from..]);
    mended
}

/// Maps a byte of the corrected text to the original one.
fn original(edits: &[Edit], offset: usize) -> usize {
    let (mut from, mut to) = (0, 0);
    for edit in edits {
        let unchanged = edit.at.start.saturating_sub(from);
        if offset < to + unchanged {
            break;
        }
        to += unchanged;
        from = from.max(edit.at.start);
        if offset < to + edit.text.len() {
            return (from + (offset - to)).min(edit.at.end);
        }
        to += edit.text.len();
        from = from.max(edit.at.end);
    }
    from + (offset - to)
}

impl Mended {
    /// Maps a byte of the text to the original one.
    pub(super) fn original(&self, offset: usize) -> usize {
        original(&self.edits, offset)
    }
}

#[cfg(test)]
mod tests;
