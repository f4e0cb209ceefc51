//! [`Cursor`]: the tokens of a script in order, with `@if` and its consequences.
//!
//! Directives may appear anywhere, even between the entries of a table. The cursor therefore
//! processes them itself: the parser sees only tokens that apply to some node, and
//! [`Cursor::scope`] says to which.

use std::collections::HashMap;

use super::condition::Condition;
use super::names;
use super::token::{Kind, Token};
use super::value::Value;

/// The tokens of a file and the position in them, with the constants known so far.
pub(super) struct Cursor<'t> {
    tokens: Vec<Token<'t>>,
    pub(super) at: usize,
    /// Length of the text: the place for errors at the end.
    end: usize,
    /// Where the last token ended.
    last_end: usize,
    /// By qualified name.
    pub(super) constants: HashMap<String, Value>,
    /// The module of declared names; empty for the global one.
    pub(super) module: String,
    scope: Condition,
    /// The conditions that are open.
    open: Vec<Open>,
    /// Inside a condition, where no other can start.
    in_condition: bool,
    /// Directives without an `@if`.
    stray: Vec<((usize, usize), &'static str)>,
}

/// An open `@if`.
struct Open {
    at: (usize, usize),
    /// To which nodes the surrounding lines apply.
    around: Condition,
    condition: Condition,
    /// Whether its `@else` was read.
    turned: bool,
}

impl<'t> Cursor<'t> {
    /// `constants`: values set by earlier scripts.
    pub(super) fn new(
        tokens: Vec<Token<'t>>,
        end: usize,
        constants: HashMap<String, Value>,
    ) -> Self {
        let mut cursor = Cursor {
            tokens,
            at: 0,
            end,
            last_end: 0,
            constants,
            module: String::new(),
            scope: Condition::known(true),
            open: Vec::new(),
            in_condition: false,
            stray: Vec::new(),
        };
        cursor.directives();
        cursor
    }

    /// To which nodes the next token applies.
    pub(super) fn scope(&self) -> Condition {
        self.scope.clone()
    }

    pub(super) fn peek(&self) -> Option<&Kind<'t>> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    pub(super) fn bump(&mut self) -> Option<Kind<'t>> {
        let kind = self.peek()?.clone();
        self.advance();
        Some(kind)
    }

    /// Moves to the next token that applies.
    pub(super) fn advance(&mut self) {
        if let Some(token) = self.tokens.get(self.at) {
            self.last_end = token.end;
            self.at += 1;
            self.directives();
        }
    }

    /// Processes the directives that come next.
    fn directives(&mut self) {
        while !self.in_condition
            && let Some(Kind::Directive(word)) = self.peek()
        {
            match *word {
                "if" | "ifdef" | "ifndef" => {
                    let word = *word;
                    self.begin(word);
                }
                "else" => {
                    let at = self.place();
                    self.at += 1;
                    self.turn(at);
                }
                "endif" => {
                    let at = self.place();
                    self.at += 1;
                    match self.open.pop() {
                        Some(open) => self.scope = open.around,
                        None => self.stray.push((at, "`@endif` ends no `@if`")),
                    }
                }
                _ => return,
            }
        }
    }

    fn begin(&mut self, word: &str) {
        let at = self.place();
        let end_before = self.last_end;
        self.in_condition = true;
        self.advance();
        let condition = if self.eat("(") {
            let condition = if word == "if" { self.expr().truth() } else { self.is_defined() };
            self.skip_to(&[")", ";"]);
            self.eat(")");
            if word == "ifndef" { condition.not() } else { condition }
        } else {
            Condition::unknown("something that is not a condition")
        };
        self.in_condition = false;
        self.last_end = end_before;
        let around = self.scope.clone();
        self.scope = around.and(&condition);
        self.open.push(Open { at, around, condition, turned: false });
        self.skip_what_never_counts();
    }

    fn is_defined(&mut self) -> Condition {
        let Some(Kind::Ident(name)) = self.bump() else {
            return Condition::unknown("something that is not a name");
        };
        let name = self.qualified(name);
        if self.constants.contains_key(&name) || names::is_known(&name) {
            Condition::known(true)
        } else {
            Condition::unknown(format!("whether `{name}` is defined"))
        }
    }

    fn turn(&mut self, at: (usize, usize)) {
        if let Some(open) = self.open.last_mut().filter(|open| !open.turned) {
            open.turned = true;
            self.scope = open.around.and(&open.condition.not());
            self.skip_what_never_counts();
        } else {
            self.stray.push((at, "`@else` belongs to no `@if`"));
        }
    }

    /// At the end: directives whose counterparts are missing.
    pub(super) fn unpaired(&mut self) -> Vec<((usize, usize), &'static str)> {
        let open = self.open.drain(..).map(|open| (open.at, "no `@endif` follows"));
        self.stray.drain(..).chain(open).collect()
    }

    /// Skips to the directive that ends a part which applies to no node.
    fn skip_what_never_counts(&mut self) {
        if self.scope.as_known() != Some(false) {
            return;
        }
        let mut depth = 0usize;
        while let Some(kind) = self.peek() {
            match kind {
                Kind::Directive("if" | "ifdef" | "ifndef") => depth += 1,
                Kind::Directive("else" | "endif") if depth == 0 => return,
                Kind::Directive("endif") => depth -= 1,
                _ => {}
            }
            self.at += 1;
        }
    }

    /// The full name of what is declared as `name` here.
    pub(super) fn qualified(&self, name: &str) -> String {
        if let Some(global) = name.strip_prefix("GLOBAL::") {
            global.into()
        } else if name.contains("::") {
            name.into()
        } else if matches!(name, "nodes" | "hosts" | "manager_is_logger") {
            // As inside `module Cluster`, which snippets often omit.
            format!("Cluster::{name}")
        } else if self.module.is_empty() || name == names::LOG_ROTATE_BASE_TIME {
            name.into()
        } else {
            format!("{}::{name}", self.module)
        }
    }

    pub(super) fn constant(&self, name: &str) -> Option<&Value> {
        self.constants.get(&self.qualified(name)).or_else(|| self.constants.get(name))
    }

    /// The place of the next token.
    pub(super) fn place(&self) -> (usize, usize) {
        self.tokens.get(self.at).map_or((self.end, self.end), |token| (token.start, token.end))
    }

    /// From `start` to the last token read.
    pub(super) fn since(&self, start: usize) -> (usize, usize) {
        (start, self.last_end.max(start))
    }

    pub(super) fn at_punct(&self, punct: &str) -> bool {
        matches!(self.peek(), Some(Kind::Punct(p)) if *p == punct)
    }

    pub(super) fn at_ident(&self, name: &str) -> bool {
        matches!(self.peek(), Some(Kind::Ident(i)) if *i == name)
    }

    /// At the `redef` that starts a statement, rather than the attribute `&redef`.
    pub(super) fn at_redef(&self) -> bool {
        let before = self.at.checked_sub(1).and_then(|before| self.tokens.get(before));
        self.at_ident("redef") && before.is_none_or(|token| token.kind != Kind::Punct("&"))
    }

    pub(super) fn eat(&mut self, punct: &str) -> bool {
        let found = self.at_punct(punct);
        if found {
            self.advance();
        }
        found
    }

    /// Whether `in` follows the next token.
    pub(super) fn follows_in(&self) -> bool {
        matches!(self.tokens.get(self.at + 1), Some(Token { kind: Kind::Ident("in"), .. }))
    }

    /// Skips to one of `stops` outside all brackets opened on the way, or to an unmatched closing
    /// bracket; consumes neither. A condition ends at any directive, and everything at `redef`,
    /// which can only start a statement: an unfinished statement must not hide the next.
    pub(super) fn skip_to(&mut self, stops: &[&str]) {
        let mut depth = 0usize;
        while let Some(kind) = self.peek() {
            match kind {
                Kind::Directive(_) if self.in_condition => return,
                Kind::Ident("redef") if self.at_redef() => return,
                Kind::Punct(punct) => {
                    if depth == 0 && stops.contains(punct) {
                        return;
                    }
                    match *punct {
                        "(" | "[" | "{" => depth += 1,
                        ")" | "]" | "}" if depth == 0 => return,
                        ")" | "]" | "}" => depth -= 1,
                        _ => {}
                    }
                }
                _ => {}
            }
            self.advance();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::NodeType;
    use super::super::token::tokens;
    use super::*;

    /// The names read, each with the types of nodes it applies to.
    fn read(text: &str) -> Vec<String> {
        let mut cursor = Cursor::new(tokens(text), text.len(), HashMap::new());
        let mut read = Vec::new();
        while let Some(kind) = cursor.peek().cloned() {
            let scope = cursor.scope();
            let holds = |node_type| match scope.holds_for(node_type, Some("n")) {
                Some(true) => "+",
                Some(false) => "-",
                None => "?",
            };
            let Kind::Ident(name) = kind else { panic!("{kind:?}") };
            let holds = [NodeType::Manager, NodeType::Logger, NodeType::Worker].map(holds);
            read.push(format!("{name}{}", holds.concat()));
            cursor.advance();
        }
        read
    }

    #[test]
    fn conditions_say_for_whom_what_follows_counts() {
        let logger = "Cluster::local_node_type() == Cluster::LOGGER";
        let manager = "Cluster::local_node_type() == Cluster::MANAGER";
        for (condition, then, otherwise) in [
            ("T".to_owned(), "+++", ""),
            ("F".to_owned(), "", "+++"),
            ("! F && ( T || F )".to_owned(), "+++", ""),
            (logger.into(), "-+-", "+-+"),
            (format!("! ( {logger} )"), "+-+", "-+-"),
            (logger.replace("==", "!="), "+-+", "-+-"),
            (format!("{logger} || {manager}"), "++-", "--+"),
            (format!("{logger} && T"), "-+-", "+-+"),
            (format!("{logger} && {manager}"), "---", "+++"),
            (
                "Cluster::local_node_type() in set(Cluster::LOGGER, Cluster::WORKER)".into(),
                "-++",
                "+--",
            ),
            ("Cluster::local_node_type() !in set(Cluster::LOGGER)".into(), "+-+", "-+-"),
            ("Cluster::nodes[Cluster::node]$node_type == Cluster::WORKER".into(), "--+", "++-"),
            ("Cluster::node == \"n\"".into(), "+++", "---"),
            ("Cluster::node == \"m\"".into(), "---", "+++"),
            ("Cluster::node == \"\"".into(), "", "+++"),
            ("Cluster::node != \"\"".into(), "+++", ""),
            ("\"n\" in Cluster::node".into(), "+++", "---"),
            ("Cluster::is_enabled()".into(), "+++", ""),
            ("Cluster::node in Cluster::nodes".into(), "+++", ""),
            ("|Cluster::node| > 0".into(), "+++", ""),
            ("1 + 1 == 2 && 3 > 2".into(), "+++", ""),
            ("getenv(\"X\") == \"\"".into(), "???", "???"),
            ("something".into(), "???", "???"),
            ("/x/ == y".into(), "???", "???"),
        ] {
            let text = format!("a\n@if ( {condition} )\nb\n@else\nc\n@endif\nd");
            let mut expected = vec!["a+++".to_owned()];
            expected.extend((!then.is_empty()).then(|| format!("b{then}")));
            expected.extend((!otherwise.is_empty()).then(|| format!("c{otherwise}")));
            expected.push("d+++".into());
            assert_eq!(read(&text), expected, "{condition}");
        }
    }

    #[test]
    fn conditions_nest_and_may_be_broken() {
        let logger = "@if ( Cluster::local_node_type() == Cluster::LOGGER )\n";
        for (text, expected) in [
            (
                format!(
                    "{logger}a\n@if ( F )\nb\n@if ( x )\nc\n@else\nd\n@endif\n@else\ne\n@endif\nf\n@endif\ng"
                ),
                vec!["a-+-", "e-+-", "f-+-", "g+++"],
            ),
            (format!("{logger}@else\n{logger}a\n@else\nb\n@endif\n@endif"), vec!["a---", "b+-+"]),
            ("@endif\n@else\na".into(), vec!["a+++"]),
            ("@if\na".into(), vec!["a???"]),
            ("@if ( T\na\n@endif\nb".into(), vec!["b+++"]),
            (
                "@ifdef ( Cluster::nodes )\na\n@endif\n@ifndef ( Cluster::nodes )\nb\n@endif"
                    .into(),
                vec!["a+++"],
            ),
            ("@ifdef ( Some::thing )\na\n@endif".into(), vec!["a???"]),
            (format!("{logger}a\n@else\nb\n@else\nc\n@endif"), vec!["a-+-", "b+-+", "c+-+"]),
        ] {
            assert_eq!(read(&text), expected, "{text}");
        }
    }
}
