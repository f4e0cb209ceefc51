//! Splits Zeek script into tokens, as far as layouts need it (WIRE.md §8.1.5).
//!
//! Any text can be tokenized: text that is not a token of the language becomes [`Kind::Punct`], and
//! the parser skips it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A token and its byte range.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind<'t>,
    pub(super) start: usize,
    pub(super) end: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind<'t> {
    /// A name, qualified or not; keywords too.
    Ident(&'t str),
    /// A string, unescaped.
    Text(String),
    Integer(i64),
    Real(f64),
    /// `5560/tcp`, as written.
    Port(&'t str),
    Address(IpAddr),
    /// `@if`, `@ifdef`, `@else` and the like without the `@`, their conditions being separate
    /// tokens; other lines that start with `@` as a whole, without a trailing comment.
    Directive(&'t str),
    /// `/…/`, which no option accepts.
    Pattern,
    /// A two-character operator, or else one character.
    Punct(&'t str),
}

/// Directives that are separate tokens, whatever follows on the line.
const WORDS: [&str; 7] = ["ifdef", "ifndef", "if", "else", "endif", "DIR", "FILENAME"];
/// Two-character operators.
const PAIRS: [&str; 8] = ["+=", "-=", "==", "!=", "<=", ">=", "&&", "||"];

/// The tokens of `text`, in order.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        }
        if c == '#' {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        }
        let (kind, length) = match pattern(rest, tokens.last()) {
            Some(length) => (Kind::Pattern, length),
            None => token(rest, c),
        };
        tokens.push(Token { kind, start: at, end: at + length });
        at += length;
    }
    tokens
}

/// The token `rest` starts with, and its length; `first` is its first character.
fn token(rest: &str, first: char) -> (Kind<'_>, usize) {
    match first {
        '"' => string(rest),
        '@' => {
            let length = ident(&rest[1..]);
            if let Some(word) = WORDS.into_iter().find(|word| *word == &rest[1..=length]) {
                return (Kind::Directive(word), 1 + length);
            }
            let line = rest[1..].lines().next().unwrap_or_default();
            let code = line.split('#').next().unwrap_or_default();
            (Kind::Directive(code.trim()), 1 + line.len())
        }
        '[' => ipv6(rest).unwrap_or((Kind::Punct(&rest[..1]), 1)),
        '0'..='9' => number(rest),
        c if c.is_ascii_alphabetic() || c == '_' => {
            let length = ident(rest);
            (Kind::Ident(&rest[..length]), length)
        }
        c => {
            let pair = PAIRS.into_iter().find(|p| rest.starts_with(p));
            let length = pair.map_or(c.len_utf8(), str::len);
            (Kind::Punct(&rest[..length]), length)
        }
    }
}

/// Length of the pattern that `rest` starts with; `None` if it starts with anything else, including
/// a division. Brackets and quotes inside a pattern must not count as such.
fn pattern(rest: &str, before: Option<&Token<'_>>) -> Option<usize> {
    let body = rest.strip_prefix('/')?;
    let operand = match before.map(|token| &token.kind) {
        None => false,
        Some(Kind::Punct(punct)) => matches!(*punct, ")" | "]" | "}" | "|"),
        Some(Kind::Ident(name)) => !matches!(*name, "in" | "return"),
        Some(_) => true,
    };
    if operand {
        return None;
    }
    let mut escaped = false;
    for (at, byte) in body.bytes().enumerate() {
        match byte {
            b'\n' => return None,
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'/' => {
                let flags = body.as_bytes()[at + 1..].iter().take_while(|b| b"is".contains(b));
                return Some(at + 2 + flags.count());
            }
            _ => {}
        }
    }
    None
}

/// Length of the name, including its `::` if a name follows.
fn ident(rest: &str) -> usize {
    let word = |from: usize| {
        let word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
        from + rest.as_bytes()[from..].iter().take_while(|b| word(b)).count()
    };
    let mut end = word(0);
    while rest[end..].starts_with("::") {
        let next = word(end + 2);
        if next == end + 2 {
            break;
        }
        end = next;
    }
    end
}

/// String escapes: `\n`, `\t`, `\xNN`, and the character itself for any other. A string ends at its
/// quote, or at the end of its line: a missing quote must not swallow the file.
fn string(rest: &str) -> (Kind<'_>, usize) {
    let mut bytes = Vec::new();
    let mut chars = rest.char_indices().skip(1).peekable();
    let mut end = rest.len();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                end = at + 1;
                break;
            }
            '\n' => {
                end = at;
                break;
            }
            '\\' => match chars.next_if(|(_, c)| *c != '\n') {
                Some((_, 'n')) => bytes.push(b'\n'),
                Some((_, 't')) => bytes.push(b'\t'),
                Some((_, 'r')) => bytes.push(b'\r'),
                Some((_, 'x')) => {
                    let mut byte = None;
                    for _ in 0..2 {
                        let Some((_, digit)) = chars.next_if(|(_, c)| c.is_ascii_hexdigit()) else {
                            break;
                        };
                        let digit = digit.to_digit(16).unwrap_or_default() as u8;
                        byte = Some(byte.unwrap_or_default() << 4 | digit);
                    }
                    bytes.push(byte.unwrap_or(b'x'));
                }
                Some((_, other)) => bytes.extend(other.encode_utf8(&mut [0; 4]).bytes()),
                None => {}
            },
            c => bytes.extend(c.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    (Kind::Text(String::from_utf8_lossy(&bytes).into_owned()), end)
}

/// `[2001:db8::1]`, distinguished from an index or a record by its content.
fn ipv6(rest: &str) -> Option<(Kind<'_>, usize)> {
    // No address is longer; a search to the end of the file would make this quadratic.
    let window = &rest.as_bytes()[..rest.len().min(48)];
    let close = window.iter().position(|b| *b == b']')?;
    let inner = rest.get(1..close)?.trim();
    let ip: Ipv6Addr = inner.parse().ok()?;
    Some((Kind::Address(IpAddr::V6(ip).to_canonical()), close + 1))
}

/// An IPv4 address, a port, a real or an integer.
fn number(rest: &str) -> (Kind<'_>, usize) {
    let bytes = rest.as_bytes();
    let length = bytes.iter().take_while(|b| b.is_ascii_digit() || **b == b'.').count();
    let digits = &rest[..length];
    if let Ok(ip) = digits.parse::<Ipv4Addr>() {
        return (Kind::Address(ip.into()), length);
    }
    let protocols = ["/tcp", "/udp", "/icmp", "/unknown"];
    if let Some(protocol) = protocols.into_iter().find(|p| rest[length..].starts_with(p)) {
        let length = length + protocol.len();
        return (Kind::Port(&rest[..length]), length);
    }
    if let Some(hex) = rest.strip_prefix("0x") {
        let digits = hex.bytes().take_while(u8::is_ascii_hexdigit).count();
        if let Ok(number) = i64::from_str_radix(&hex[..digits], 16) {
            return (Kind::Integer(number), 2 + digits);
        }
    }
    // `1e3`, `1.5e-3`.
    let exponent = rest[length..].strip_prefix(['e', 'E']).map_or(0, |rest| {
        let sign = usize::from(rest.starts_with(['+', '-']));
        let digits = rest[sign..].bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 { 0 } else { 1 + sign + digits }
    });
    let digits = &rest[..length + exponent];
    match (digits.parse(), digits.parse()) {
        (Ok(number), _) => (Kind::Integer(number), digits.len()),
        (_, Ok(number)) => (Kind::Real(number), digits.len()),
        _ => (Kind::Punct(digits), digits.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind<'_>> {
        tokens(text).into_iter().map(|token| token.kind).collect()
    }

    #[test]
    fn every_kind_of_token() {
        use Kind::*;
        assert_eq!(
            kinds("redef Cluster::nodes += { # c\n[\"a\\\"\\x41\\n\"]=10sec 1.5"),
            [
                Ident("redef"),
                Ident("Cluster::nodes"),
                Punct("+="),
                Punct("{"),
                Punct("["),
                Text("a\"A\n".into()),
                Punct("]"),
                Punct("="),
                Integer(10),
                Ident("sec"),
                Real(1.5),
            ]
        );
        assert_eq!(
            kinds("10.0.0.1, 5560/tcp 0/unknown [2001:db8::1] [a] @if ( |x| == 0 ) # y\n;"),
            [
                Address([10, 0, 0, 1].into()),
                Punct(","),
                Port("5560/tcp"),
                Port("0/unknown"),
                Address("2001:db8::1".parse().unwrap()),
                Punct("["),
                Ident("a"),
                Punct("]"),
                Directive("if"),
                Punct("("),
                Punct("|"),
                Ident("x"),
                Punct("|"),
                Punct("=="),
                Integer(0),
                Punct(")"),
                Punct(";"),
            ]
        );
        assert_eq!(
            kinds("@load a/b # c\n@else x\n@elsewhere y\n"),
            [Directive("load a/b"), Directive("else"), Ident("x"), Directive("elsewhere y")]
        );
        assert_eq!(
            kinds("x = /(a\\/[\"/i; 6/2 !in a != 0x1f 1e3 1.5e-1 1e"),
            [
                Ident("x"),
                Punct("="),
                Pattern,
                Punct(";"),
                Integer(6),
                Punct("/"),
                Integer(2),
                Punct("!"),
                Ident("in"),
                Ident("a"),
                Punct("!="),
                Integer(31),
                Real(1000.0),
                Real(0.15),
                Integer(1),
                Ident("e"),
            ]
        );
    }

    #[test]
    fn broken_text_still_ends() {
        assert_eq!(kinds("\"abc\n;"), [Kind::Text("abc".into()), Kind::Punct(";")]);
        assert_eq!(kinds("\"\\"), [Kind::Text(String::new())]);
        assert_eq!(kinds("1.2.3 é"), [Kind::Punct("1.2.3"), Kind::Punct("é")]);
        assert_eq!(kinds("a::"), [Kind::Ident("a"), Kind::Punct(":"), Kind::Punct(":")]);
    }
}
