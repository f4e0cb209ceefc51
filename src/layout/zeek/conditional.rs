//! `@if`, `@else` and `@endif`: which parts of a script are read.
//!
//! Conditions ask about the running Zeek, which is not here. Their blocks are left out, both
//! branches, except for the guard of generated scripts, `@if ( |option| == 0 )`, which the
//! importer can answer itself (WIRE.md §8.1.2).

use super::token::{Kind, Token};

/// What a directive line does to the lines below it.
enum Directive<'t> {
    /// Opens a block that counts as long as that option is empty.
    Guard(&'t str),
    If,
    Else,
    End,
    /// `@load` and all others.
    Other,
}

fn directive(line: &str) -> Directive<'_> {
    let word = line.find(|c: char| !c.is_ascii_alphabetic()).map_or(line, |end| &line[..end]);
    match word {
        "if" => guard(&line[2..]).map_or(Directive::If, Directive::Guard),
        "ifdef" | "ifndef" => Directive::If,
        "else" => Directive::Else,
        "endif" => Directive::End,
        _ => Directive::Other,
    }
}

/// The option in `( |option| == 0 )`.
fn guard(condition: &str) -> Option<&str> {
    let inner = condition.trim().strip_prefix('(')?.strip_suffix(')')?;
    let (name, zero) = inner.split_once("==")?;
    let name = name.trim().strip_prefix('|')?.strip_suffix('|')?.trim();
    (zero.trim() == "0" && !name.contains('|')).then_some(name)
}

/// The tokens that are read, and the directives whose blocks are not.
///
/// The tokens of a guarded block stay between [`guard_of`] and [`is_end`] directives, its `@else`
/// branch is left out: whoever takes the guard for false finds the other value set already.
pub(super) fn select(tokens: Vec<Token<'_>>) -> (Vec<Token<'_>>, Vec<(usize, usize)>) {
    let mut selected = Vec::new();
    let mut left_out = Vec::new();
    // Whether the block of each open `@if` is a guard whose first branch is being read.
    let mut open: Vec<bool> = Vec::new();
    // How many of them are not.
    let mut hidden = 0;
    for token in tokens {
        let reading = hidden == 0;
        let Kind::Directive(line) = &token.kind else {
            if reading {
                selected.push(token);
            }
            continue;
        };
        match directive(line) {
            Directive::Guard(_) => {
                open.push(true);
                if reading {
                    selected.push(token);
                }
            }
            Directive::If => {
                open.push(false);
                hidden += 1;
                if reading {
                    left_out.push((token.start, token.end));
                }
            }
            Directive::Else => {
                if reading && !open.is_empty() {
                    selected.push(Token { kind: Kind::Directive("endif"), ..token });
                }
                if let Some(guard) = open.last_mut() {
                    hidden += usize::from(*guard);
                    *guard = false;
                }
            }
            Directive::End => {
                if reading && !open.is_empty() {
                    selected.push(token);
                }
                hidden -= usize::from(open.pop() == Some(false));
            }
            Directive::Other => {}
        }
    }
    (selected, left_out)
}

/// The option a selected directive asks about.
pub(super) fn guard_of(line: &str) -> Option<&str> {
    match directive(line) {
        Directive::Guard(option) => Some(option),
        _ => None,
    }
}

/// Whether a selected directive closes the guard that was opened last.
pub(super) fn is_end(line: &str) -> bool {
    matches!(directive(line), Directive::End)
}

#[cfg(test)]
mod tests {
    use super::super::token::tokens;
    use super::*;

    #[test]
    fn blocks_that_depend_on_the_running_zeek_are_left_out() {
        let text = "a\n@load x\n@if ( y )\nb\n@if ( |z| == 0 )\nc\n@endif\n@else\nd\n@endif\n\
                    @if ( |z| == 0 )\ne\n@else\nf\n@endif\n@endif\ng";
        let (selected, left_out) = select(tokens(text));
        let selected: Vec<_> = selected
            .iter()
            .map(|token| match &token.kind {
                Kind::Ident(name) => *name,
                Kind::Directive(line) => guard_of(line).unwrap_or("end"),
                _ => "?",
            })
            .collect();
        assert_eq!(selected, ["a", "z", "e", "end", "g"]);
        assert_eq!(left_out.len(), 1);
    }
}
