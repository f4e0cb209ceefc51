//! Walks the statements of a layout file that is not valid TOML: table headers, and names with
//! values. Syntax errors are reported and corrected; any text is read to its end.

use std::collections::HashMap;
use std::ops::Range;

use toml_parser::Source;
use toml_parser::lexer::TokenKind;

use super::super::setting::{toml_key, toml_string};
use super::value::{self, Bare, QUOTES};
use super::{Edit, Remark};

/// A text that is not a layout has a mistake on each line: nobody reads that many.
const MOST: usize = 20;

/// No option nests lists and tables this deep.
const DEEPEST: usize = 16;

/// The statements of a text, and its mistakes.
#[derive(Default)]
pub(super) struct Script {
    pub(super) statements: Vec<Statement>,
    pub(super) remarks: Vec<Remark>,
    pub(super) edits: Vec<Edit>,
    /// Whether nothing was left out.
    pub(super) is_whole: bool,
}

/// A header or an entry.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    pub(super) at: Range<usize>,
    pub(super) kind: Kind,
    /// The names that lead to it; empty if unknown.
    pub(super) path: Vec<String>,
    /// How many of them come from the header.
    header: usize,
    /// Whether a mistake in it was reported.
    pub(super) is_told: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Header,
    Entry,
}

/// Walks the statements of a text.
pub(super) fn script(text: &str) -> Script {
    let tokens = Source::new(text).lex().into_vec();
    let tokens =
        tokens.iter().map(|token| (token.kind(), token.span().start()..token.span().end()));
    let script = Script { is_whole: true, ..Script::default() };
    let mut walker = Walker {
        text,
        tokens: tokens.collect(),
        at: 0,
        header: Vec::new(),
        script,
        is_told: false,
        seen: HashMap::new(),
        depth: 0,
    };
    walker.statements();
    walker.script
}

/// The message about a statement whose name is already used.
pub(super) fn twice(text: &str, first: &Statement, again: &Statement) -> Remark {
    let line = text[..first.at.start].matches('\n').count() + 1;
    let is_shown = again.path.iter().all(|name| value::name(name) == name);
    let what = match again.kind {
        _ if !is_shown => "this".into(),
        Kind::Header => format!("[{}]", joined(&again.path)),
        Kind::Entry if again.header == 0 => format!("`{}`", joined(&again.path)),
        Kind::Entry => {
            let (header, name) = again.path.split_at(again.header);
            format!("`{}` in [{}]", joined(name), joined(header))
        }
    };
    let end = text[again.at.clone()].find('\n').map_or(again.at.end, |at| again.at.start + at);
    let end = match again.kind {
        Kind::Header => end,
        Kind::Entry => text[again.at.start..end].find('=').map_or(end, |at| again.at.start + at),
    };
    let width = text[again.at.start..end].trim_end().len();
    Remark {
        at: again.at.start..again.at.start + width,
        message: format!("{what} appears twice, first at line {line}; expected it once"),
    }
}

/// The message about a statement that adds to a table in braces.
pub(super) fn after_braces(text: &str, first: &Statement, again: &Statement) -> Remark {
    let line = text[..first.at.start].matches('\n').count() + 1;
    let is_shown = again.path.iter().all(|name| value::name(name) == name);
    let message = if is_shown {
        let (what, expected) = match again.kind {
            Kind::Header => (joined(&again.path), format!("[{}] there", joined(&first.path))),
            Kind::Entry => (joined(&again.path[again.header..]), "it inside of them".into()),
        };
        let braces = joined(&first.path[first.header..]);
        format!(
            "`{what}` cannot add to `{braces}`, which is in braces at line {line}; expected {expected}"
        )
    } else {
        format!("this cannot add to what is in braces at line {line}")
    };
    let end = again.at.start + text[again.at.clone()].lines().next().map_or(0, str::len);
    Remark { at: again.at.start..end, message }
}

struct Walker<'t> {
    text: &'t str,
    tokens: Vec<(TokenKind, Range<usize>)>,
    /// The next token.
    at: usize,
    /// The names in the header above.
    header: Vec<String>,
    script: Script,
    /// Whether a mistake in the current statement was reported.
    is_told: bool,
    /// The first statement of each name.
    seen: HashMap<Vec<String>, usize>,
    /// Depth of lists and tables around the current value.
    depth: usize,
}

/// Whether a value could be read to its end.
type Read = Result<(), Damaged>;

/// The rest of the line cannot be understood.
struct Damaged;

impl Walker<'_> {
    fn kind_at(&self, index: usize) -> TokenKind {
        self.tokens.get(index).map_or(TokenKind::Eof, |(kind, _)| *kind)
    }

    fn kind(&self) -> TokenKind {
        self.kind_at(self.at)
    }

    fn span_at(&self, index: usize) -> Range<usize> {
        self.tokens.get(index).map_or(self.text.len()..self.text.len(), |(_, span)| span.clone())
    }

    fn span(&self) -> Range<usize> {
        self.span_at(self.at)
    }

    fn slice(&self) -> &str {
        &self.text[self.span()]
    }

    fn skip_space(&mut self) {
        while self.kind() == TokenKind::Whitespace {
            self.at += 1;
        }
    }

    fn is_line_end(&self) -> bool {
        matches!(self.kind(), TokenKind::Newline | TokenKind::Comment | TokenKind::Eof)
    }

    /// The end of the last token before the next one that is neither whitespace nor a comment.
    fn end_of_last(&self) -> usize {
        let last = self.tokens[..self.at.min(self.tokens.len())].iter().rev().find(|(kind, _)| {
            !matches!(kind, TokenKind::Whitespace | TokenKind::Newline | TokenKind::Comment)
        });
        last.map_or(0, |(_, span)| span.end)
    }

    /// Reports a mistake, one per statement, as others may follow from it.
    fn remark(&mut self, at: Range<usize>, message: impl Into<String>) {
        if !std::mem::replace(&mut self.is_told, true) {
            self.script.remarks.push(Remark { at, message: message.into() });
        }
    }

    fn edit(&mut self, at: Range<usize>, text: impl Into<String>) {
        self.script.edits.push(Edit::new(at, text));
    }

    fn insert(&mut self, at: usize, text: &str) {
        self.edit(at..at, text);
    }

    fn statements(&mut self) {
        loop {
            self.is_told = false;
            match self.kind() {
                TokenKind::Eof => return,
                TokenKind::Newline => {
                    self.line_end();
                    self.at += 1;
                }
                TokenKind::Whitespace | TokenKind::Comment => self.at += 1,
                _ if self.script.remarks.len() >= MOST => {
                    let rest = self.span().start..self.text.len();
                    self.remark(
                        rest.start..rest.start,
                        "more mistakes follow, which are not shown",
                    );
                    self.edit(rest, "");
                    self.script.is_whole = false;
                    return;
                }
                TokenKind::LeftSquareBracket => self.header(),
                TokenKind::Atom | TokenKind::BasicString | TokenKind::LiteralString => self.entry(),
                _ => {
                    let begin = self.at;
                    self.skip_line();
                    self.done(begin, Kind::Entry, Vec::new());
                }
            }
        }
    }

    fn line_end(&mut self) {
        if self.slice() == "\r" {
            let at = self.span();
            let is_first = !self.script.edits.iter().any(|edit| *edit.text == "\n");
            if is_first {
                let message = "a line ends with a carriage return alone; expected line feeds";
                self.remark(at.clone(), message);
            }
            self.edit(at, "\n");
        }
    }

    fn skip_line(&mut self) {
        while !matches!(self.kind(), TokenKind::Newline | TokenKind::Eof) {
            self.at += 1;
        }
    }

    /// Ends the statement that began at a token.
    fn done(&mut self, begin: usize, kind: Kind, path: Vec<String>) {
        let start = self.span_at(begin).start;
        let header = if kind == Kind::Entry { self.header.len() } else { path.len() };
        let at = start..self.end_of_last().max(start);
        let is_told = self.is_told;
        self.script.statements.push(Statement { at, kind, path, header, is_told });
    }

    /// The same, for a statement that is left out.
    fn damaged(&mut self, begin: usize, kind: Kind, path: Vec<String>) {
        self.script.is_whole = false;
        self.skip_line();
        self.done(begin, kind, path);
        let index = self.script.statements.len() - 1;
        let statement = self.script.statements[index].clone();
        super::leave_out(&mut self.script.edits, &statement, index);
    }

    /// The names of a key, each bare or quoted, separated by dots.
    fn keys(&mut self) -> Vec<String> {
        let mut path = Vec::new();
        loop {
            self.skip_space();
            match self.kind() {
                TokenKind::Atom => path.push(self.slice().to_owned()),
                TokenKind::BasicString | TokenKind::LiteralString if self.is_closed() => {
                    let text = self.slice();
                    path.push(text[1..text.len() - 1].to_owned());
                }
                _ => return path,
            }
            self.at += 1;
            let behind = self.at;
            self.skip_space();
            if self.kind() != TokenKind::Dot {
                self.at = behind;
                return path;
            }
            self.at += 1;
        }
    }

    /// Whether the current string is closed.
    fn is_closed(&self) -> bool {
        let text = self.slice();
        let (quote, escapes) = match self.kind() {
            TokenKind::BasicString => ("\"", true),
            TokenKind::LiteralString => ("'", false),
            TokenKind::MlBasicString => ("\"\"\"", true),
            TokenKind::MlLiteralString => ("'''", false),
            _ => return true,
        };
        let Some(body) = text[quote.len()..].strip_suffix(quote) else { return false };
        let escaped = body.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1;
        !(escapes && escaped)
    }

    fn header(&mut self) {
        let begin = self.at;
        let brackets = |walker: &mut Self, kind| {
            let from = walker.at;
            while walker.kind() == kind && walker.at - from < 2 {
                walker.at += 1;
            }
            walker.at - from
        };
        let opening = brackets(self, TokenKind::LeftSquareBracket);
        let path = self.keys();
        let behind = self.span_at(self.at.saturating_sub(1)).end;
        self.skip_space();
        let closing = brackets(self, TokenKind::RightSquareBracket);
        self.skip_space();
        let at = self.span_at(begin).start..self.end_of_last();
        let meant = format!("[{}]", joined(&path));
        let write = write_header(&meant);
        let is_plain = path.iter().all(|name| !name.is_empty());
        if path.is_empty() || !is_plain {
            self.skip_line();
            self.header.clear();
            return self.done(begin, Kind::Header, Vec::new());
        }
        if !self.is_line_end() {
            return self.unusual_header(begin, closing, path);
        }
        match (opening, closing) {
            (1, 1) | (2, 2) => {}
            (1, 0) => {
                self.remark(at, format!("the header of a table has no `]`{write}"));
                self.insert(behind, "]");
            }
            _ => {
                self.remark(at.clone(), format!("the brackets do not match{write}"));
                self.edit(at, meant);
            }
        }
        self.begin_table(begin, path, opening.max(closing) < 2);
    }

    /// A header with extra text on its line.
    fn unusual_header(&mut self, begin: usize, closing: usize, path: Vec<String>) {
        let start = self.span_at(begin).start;
        self.header.clone_from(&path);
        while !self.is_line_end() {
            self.at += 1;
        }
        let raw = self.text[start..self.end_of_last()].to_owned();
        let inner = raw.trim_start_matches('[').trim_end_matches(']');
        let has_spaces = closing == 0 && !inner.contains(['=', '"', '\'', '[', ']', '#', ',']);
        if has_spaces {
            let (table, name) = inner.rsplit_once('.').unwrap_or(("", inner));
            let dot = if table.is_empty() { "" } else { "." };
            let meant = format!("[{table}{dot}{}]", toml_string(name.trim()));
            let at = start..start + raw.len();
            let write = write_header(&meant);
            self.remark(at.clone(), format!("a name with spaces needs quotes{write}"));
            self.edit(at, meant);
            let mut path: Vec<String> = table.split('.').map(|part| part.trim().into()).collect();
            path.retain(|part: &String| !part.is_empty());
            path.push(name.trim().into());
            return self.begin_table(begin, path, true);
        }
        self.header.clear();
        self.done(begin, Kind::Header, path);
    }

    /// The lines that follow belong to that table, unless it is a duplicate.
    fn begin_table(&mut self, begin: usize, path: Vec<String>, is_single: bool) {
        self.header.clone_from(&path);
        let first = self.seen.get(&path).copied().filter(|_| is_single);
        let Some(first) = first else {
            self.seen.entry(path.clone()).or_insert(self.script.statements.len());
            return self.done(begin, Kind::Header, path);
        };
        self.twice(first, begin, Kind::Header, path);
        // Its content then belongs to no table: no name in it is a duplicate.
        self.header = vec![format!("{}{}", super::HIDDEN, self.script.statements.len())];
    }

    fn twice(&mut self, first: usize, begin: usize, kind: Kind, path: Vec<String>) {
        let told = self.is_told;
        self.damaged(begin, kind, path);
        if !told && let Some(again) = self.script.statements.last_mut() {
            again.is_told = true;
            let again = again.clone();
            let remark = twice(self.text, &self.script.statements[first], &again);
            self.script.remarks.push(remark);
        }
    }

    fn entry(&mut self) {
        let begin = self.at;
        let names = self.keys();
        let start = self.span_at(begin).start;
        if names.is_empty() {
            self.skip_line();
            return self.done(begin, Kind::Entry, Vec::new());
        }
        let behind = self.at;
        self.skip_space();
        if self.kind() == TokenKind::RightSquareBracket {
            while self.kind() == TokenKind::RightSquareBracket {
                self.at += 1;
            }
            self.skip_space();
            if self.is_line_end() {
                let meant = format!("[{}]", joined(&names));
                let at = start..self.end_of_last();
                let write = write_header(&meant);
                self.remark(at.clone(), format!("the header of a table has no `[`{write}"));
                self.edit(at, meant);
                return self.begin_table(begin, names, true);
            }
        }
        self.at = behind;
        let mut path = self.header.clone();
        let name = names.last().map_or("", |name| name.trim_end_matches(':'));
        let name = value::name(name).to_owned();
        path.extend(names.iter().map(|name| name.trim_end_matches(':').to_owned()));
        let read = self.assignment(begin, &name).and_then(|()| self.value(&name, false));
        if read.and_then(|()| self.end_of_entry()).is_err() {
            return self.damaged(begin, Kind::Entry, path);
        }
        if let Some(first) = self.seen.get(&path).copied() {
            return self.twice(first, begin, Kind::Entry, path);
        }
        self.seen.insert(path.clone(), self.script.statements.len());
        self.done(begin, Kind::Entry, path);
    }

    /// The `=` after a name, or what was written instead.
    fn assignment(&mut self, begin: usize, name: &str) -> Read {
        let last = self.span_at(self.at.saturating_sub(1));
        let key = self.span_at(begin).start..last.end;
        self.skip_space();
        // `name:"text"` is one token.
        let glued = self.text[last.clone()].find([':', '"', '\'']);
        if let Some(colon) = glued.filter(|at| *at + 1 < last.len() && !self.is_string(begin)) {
            let sign = &self.text[last.start + colon..=last.start + colon];
            let name = value::name(&self.text[last.start..last.start + colon]).to_owned();
            let (message, mended) = match sign {
                ":" => (format!("expected `{name} = …`, with `=` instead of `:`"), " = "),
                sign => (format!("`{name}` has no `=`; expected `{name} = …`"), sign),
            };
            let mended = if mended == sign { format!(" = {sign}") } else { mended.to_owned() };
            let at = last.start + colon..last.start + colon + 1;
            self.remark(at.clone(), message);
            self.edit(at, mended);
            self.skip_line();
            return Err(Damaged);
        }
        let has_colon = self.text[last.clone()].ends_with(':');
        let colon = if has_colon { last.end - 1 } else { self.span().start };
        match self.kind() {
            TokenKind::Equals if !has_colon => {}
            TokenKind::Equals => {
                self.remark(colon..colon + 1, format!("expected `{name} = …`, without `:`"));
                self.edit(colon..colon + 1, "");
            }
            TokenKind::Atom if self.slice() == "+" => {
                let at = self.span();
                self.remark(
                    at.clone(),
                    format!("expected `{name} = …`: a layout file has no `+=`"),
                );
                self.edit(at, "");
                self.at += 1;
            }
            _ if self.is_line_end() => {
                let message = format!("`{name}` has no value; expected `{name} = …`");
                self.remark(key, message);
                return Err(Damaged);
            }
            _ if has_colon || self.slice().starts_with(':') => {
                self.remark(
                    colon..colon + 1,
                    format!("expected `{name} = …`, with `=` instead of `:`"),
                );
                self.edit(colon..colon + 1, "=");
                if !has_colon {
                    self.colon_of_value();
                }
                return Ok(());
            }
            TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket | TokenKind::Comma => {
                self.remark(key, format!("`{name}` has no value; expected `{name} = …`"));
                return Err(Damaged);
            }
            _ => {
                self.remark(key, format!("`{name}` has no `=`; expected `{name} = …`"));
                self.insert(last.end, " =");
                return Ok(());
            }
        }
        self.at += 1;
        Ok(())
    }

    fn is_string(&self, index: usize) -> bool {
        matches!(self.kind_at(index), TokenKind::BasicString | TokenKind::LiteralString)
    }

    /// Moves past the colon that the current token starts with.
    fn colon_of_value(&mut self) {
        if let Some((_, span)) = self.tokens.get_mut(self.at) {
            span.start += 1;
            if span.start == span.end {
                self.at += 1;
            }
        }
    }

    /// Nothing may follow an entry on its line.
    fn end_of_entry(&mut self) -> Read {
        self.skip_space();
        if self.is_line_end() {
            return Ok(());
        }
        let start = self.span().start;
        while !self.is_line_end() {
            self.at += 1;
        }
        let at = start..self.end_of_last();
        let rest = &self.text[at.clone()];
        if matches!(rest, ";" | ",") {
            let message = format!("expected the end of the line instead of `{rest}`");
            self.remark(at.clone(), message);
            self.edit(at, "");
            return Ok(());
        }
        let message = if rest.matches('"').count() % 2 == 1 {
            QUOTES
        } else {
            "expected the end of the line after the value"
        };
        self.remark(at, message);
        Err(Damaged)
    }

    fn value(&mut self, name: &str, is_inside: bool) -> Read {
        self.skip_space();
        let at = self.span();
        match self.kind() {
            TokenKind::BasicString
            | TokenKind::LiteralString
            | TokenKind::MlBasicString
            | TokenKind::MlLiteralString => {
                let is_closed = self.is_closed();
                if !is_closed {
                    self.unclosed(name, is_inside)?;
                }
                self.at += 1;
                Ok(())
            }
            TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket if self.depth >= DEEPEST => {
                self.remark(at, "lists and tables are nested too deeply");
                Err(Damaged)
            }
            kind @ (TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket) => {
                self.depth += 1;
                let read = match kind {
                    TokenKind::LeftCurlyBracket => self.table(name),
                    _ => self.list(name, is_inside),
                };
                self.depth -= 1;
                read
            }
            TokenKind::Atom | TokenKind::Dot => self.bare(name, is_inside),
            _ if self.is_line_end() => {
                let end = self.end_of_last();
                self.remark(
                    end.saturating_sub(1)..end,
                    format!("`{name}` has no value; expected one after `=`"),
                );
                Err(Damaged)
            }
            _ => {
                self.remark(at, format!("expected a value of `{name}`"));
                Err(Damaged)
            }
        }
    }

    /// An unclosed string.
    fn unclosed(&mut self, name: &str, is_inside: bool) -> Read {
        let at = self.span();
        let text = self.slice();
        if matches!(self.kind(), TokenKind::MlBasicString | TokenKind::MlLiteralString) {
            let quote = text[..3].to_owned();
            self.remark(at.start..at.start + 3, format!("this text has no closing `{quote}`"));
            return Err(Damaged);
        }
        let quote = text[..1].to_owned();
        let line = text.lines().next().unwrap_or_default();
        let body = line[1..].find(" #").map_or(&line[1..], |comment| &line[1..=comment]).trim_end();
        let end = at.start + 1 + body.len();
        if is_inside || text.len() != line.len() {
            self.remark(at, QUOTES);
            return Err(Damaged);
        }
        let meant = value::shown(name, body);
        self.remark(at.start..end, format!("this text has no closing `{quote}`: {meant}"));
        // The text after it was a comment.
        self.edit(end..at.end, format!("{quote}{}", &self.text[end..at.end]));
        Ok(())
    }

    /// Whether a new statement seems to start here, at the start of a line.
    fn at_statement(&mut self, with_entries: bool) -> bool {
        let begin = self.at;
        self.skip_space();
        let is_header = self.kind() == TokenKind::LeftSquareBracket;
        let seems = if is_header {
            self.at += 1;
            let is_name = self.slice().starts_with(|c: char| c.is_ascii_alphabetic());
            let has_names = !self.keys().is_empty();
            self.skip_space();
            let closes = self.kind() == TokenKind::RightSquareBracket;
            self.at += 1;
            self.skip_space();
            is_name && has_names && closes && self.is_line_end()
        } else {
            let has_names = with_entries && !self.keys().is_empty();
            self.skip_space();
            has_names && self.kind() == TokenKind::Equals
        };
        self.at = begin;
        seems
    }

    fn list(&mut self, name: &str, is_inside: bool) -> Read {
        let open = self.span();
        if !is_inside && self.bracketed_address(name) {
            return Ok(());
        }
        self.at += 1;
        let mut needs_comma = false;
        loop {
            match self.kind() {
                TokenKind::Whitespace | TokenKind::Comment => self.at += 1,
                TokenKind::Newline if !self.ends_here(true) => {
                    self.line_end();
                    self.at += 1;
                }
                TokenKind::Newline | TokenKind::Eof => {
                    self.remark(open, "the list that begins here has no `]`");
                    let end = self.end_of_last();
                    self.insert(end, "]");
                    return Ok(());
                }
                TokenKind::RightSquareBracket => {
                    self.at += 1;
                    return Ok(());
                }
                TokenKind::Comma => {
                    needs_comma = false;
                    self.at += 1;
                }
                TokenKind::RightCurlyBracket | TokenKind::Equals => {
                    let at = self.span();
                    self.remark(at, "expected a value, `,` or `]` in this list");
                    return Err(Damaged);
                }
                _ => {
                    if needs_comma {
                        self.missing_comma("the values of a list")?;
                    }
                    self.value(name, true)?;
                    needs_comma = true;
                }
            }
        }
    }

    fn missing_comma(&mut self, of: &str) -> Read {
        let end = self.end_of_last();
        if self.span().start == end {
            // What looks like two values is text with a missing quote.
            self.remark(self.span(), QUOTES);
            return Err(Damaged);
        }
        self.remark(end..end, format!("expected `,` between {of}"));
        self.insert(end, ",");
        Ok(())
    }

    /// Whether the next line starts something outside of every list and table around this place.
    fn ends_here(&mut self, with_entries: bool) -> bool {
        let begin = self.at;
        self.at += 1;
        let ends = self.at_statement(with_entries);
        self.at = begin;
        ends
    }

    /// `[::1]`, as Zeek writes addresses.
    fn bracketed_address(&mut self, name: &str) -> bool {
        let rest = &self.text[self.span().start..];
        let Some(end) = rest.find(']') else { return false };
        let inner = &rest[1..end];
        if inner.parse::<std::net::Ipv6Addr>().is_err() {
            return false;
        }
        let at = self.span().start..self.span().start + end + 1;
        let meant = value::assigned(name, inner);
        self.remark(at.clone(), format!("an address is text: write {meant}"));
        self.edit(at, toml_string(inner));
        while self.kind() != TokenKind::RightSquareBracket {
            self.at += 1;
        }
        self.at += 1;
        true
    }

    fn table(&mut self, name: &str) -> Read {
        let open = self.span();
        self.at += 1;
        let mut needs_comma = false;
        let mut is_new_line = false;
        loop {
            match self.kind() {
                TokenKind::Whitespace | TokenKind::Comment => self.at += 1,
                TokenKind::Newline if !self.ends_here(false) => {
                    self.line_end();
                    is_new_line = true;
                    self.at += 1;
                }
                TokenKind::Newline | TokenKind::Eof => {
                    self.unclosed_table(open);
                    return Ok(());
                }
                TokenKind::RightCurlyBracket => {
                    self.at += 1;
                    return Ok(());
                }
                TokenKind::Comma => {
                    needs_comma = false;
                    self.at += 1;
                }
                TokenKind::Atom | TokenKind::BasicString | TokenKind::LiteralString => {
                    if needs_comma && is_new_line {
                        self.unclosed_table(open);
                        return Ok(());
                    }
                    if needs_comma {
                        self.missing_comma("the entries of a table")?;
                    }
                    let begin = self.at;
                    let names = self.keys();
                    let Some(key) = names.last().cloned() else {
                        let at = self.span();
                        self.remark(at, QUOTES);
                        return Err(Damaged);
                    };
                    let key = value::name(key.trim_end_matches(':'));
                    self.assignment(begin, key)?;
                    self.value(key, true)?;
                    needs_comma = true;
                    is_new_line = false;
                }
                _ => {
                    let at = self.span();
                    self.remark(at, format!("expected `name = value` in the table `{name}`"));
                    return Err(Damaged);
                }
            }
        }
    }

    fn unclosed_table(&mut self, open: Range<usize>) {
        self.remark(open, "the table that begins here has no `}`");
        let end = self.end_of_last();
        self.insert(end, " }");
        // The next statement starts after the end of the line.
        while self.at > 0 && self.span_at(self.at - 1).end > end {
            self.at -= 1;
        }
    }

    /// An unquoted value: a number or the like, or text that needs quotes.
    fn bare(&mut self, name: &str, is_inside: bool) -> Read {
        let start = self.span().start;
        let mut depth = 0usize;
        loop {
            match self.kind() {
                TokenKind::Newline | TokenKind::Comment | TokenKind::Eof => break,
                TokenKind::Comma | TokenKind::RightCurlyBracket if is_inside => break,
                TokenKind::RightSquareBracket if is_inside && depth == 0 => break,
                // Text after a number is not part of it.
                TokenKind::Whitespace
                    if is_inside && value::is_value(&self.text[start..self.end_of_last()]) =>
                {
                    break;
                }
                TokenKind::RightSquareBracket => depth = depth.saturating_sub(1),
                TokenKind::LeftSquareBracket => depth += 1,
                _ => {}
            }
            self.at += 1;
        }
        let at = start..self.end_of_last();
        match value::bare(name, &self.text[at.clone()], is_inside) {
            Bare::Fine => Ok(()),
            Bare::Meant { message, text } => {
                self.remark(at.clone(), message);
                self.edit(at, text);
                Ok(())
            }
            Bare::Damaged(message) => {
                self.remark(at, message);
                Err(Damaged)
            }
        }
    }
}

/// The header to write, if it may be shown.
fn write_header(meant: &str) -> String {
    let is_shown = value::name(meant) == meant;
    if is_shown { format!(": write {meant}") } else { String::new() }
}

/// Names as written in a file.
fn joined(path: &[String]) -> String {
    path.iter().map(|name| toml_key(name)).collect::<Vec<_>>().join(".")
}
