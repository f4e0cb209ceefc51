//! The compact syntax of a declaration, which is that of Zeek scripts: `peers: set[addr, port]`,
//! `note: string &optional`.

use super::types::{Field, Index, RecordId, Scalar, Type};

/// How deep types nest. In Zeek's own scripts it is four.
const MAX_DEPTH: usize = 16;

/// What is wrong with a declaration, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) expected: String,
    /// The text from the error on; empty at the end.
    pub(super) found: String,
}

/// Reads a declaration. `record` finds the place of a record by its name.
pub(super) fn field(
    text: &str,
    record: impl Fn(&str) -> Option<usize>,
) -> Result<Field, SyntaxError> {
    let mut reader = Reader { rest: text.trim(), depth: 0, record };
    let name = reader.identifier().ok_or_else(|| reader.expected("a name"))?;
    reader.require(":")?;
    let ty = reader.ty()?;
    let is_optional = reader.accept("&optional");
    if !reader.rest.is_empty() {
        return Err(reader.expected("`&optional` or the end"));
    }
    Ok(Field { name: name.into(), ty, is_optional })
}

/// Whether this is a name that Zeek scripts can declare: `Notice::Info`, `conn_id`.
pub(super) fn is_qualified_name(text: &str) -> bool {
    text.split("::").all(|part| !part.is_empty() && identifier_len(part) == part.len())
}

/// Whether a type of this name is built in.
pub(super) fn is_reserved(name: &str) -> bool {
    const OTHERS: [&str; 11] = [
        "any", "pattern", "function", "event", "hook", "opaque", "vector", "set", "table", "of",
        "record",
    ];
    OTHERS.contains(&name) || Scalar::ALL.iter().any(|scalar| scalar.name() == name)
}

/// The length of the identifier that the text begins with; 0 if there is none.
fn identifier_len(text: &str) -> usize {
    let in_name = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return 0;
    }
    text.bytes().position(|b| !in_name(b)).unwrap_or(text.len())
}

struct Reader<'t, F> {
    /// What is left, without leading white space.
    rest: &'t str,
    depth: usize,
    record: F,
}

impl<'t, F: Fn(&str) -> Option<usize>> Reader<'t, F> {
    fn expected(&self, expected: impl Into<String>) -> SyntaxError {
        const SHOWN: usize = 40;
        SyntaxError { expected: expected.into(), found: self.rest.chars().take(SHOWN).collect() }
    }

    fn skip(&mut self, len: usize) -> &'t str {
        let (skipped, rest) = self.rest.split_at(len);
        self.rest = rest.trim_start();
        skipped
    }

    fn accept(&mut self, symbol: &str) -> bool {
        let found = self.rest.starts_with(symbol);
        if found {
            self.skip(symbol.len());
        }
        found
    }

    fn require(&mut self, symbol: &str) -> Result<(), SyntaxError> {
        if self.accept(symbol) { Ok(()) } else { Err(self.expected(format!("`{symbol}`"))) }
    }

    fn identifier(&mut self) -> Option<&'t str> {
        let len = identifier_len(self.rest);
        (len > 0).then(|| self.skip(len))
    }

    /// A name with its module: `Notice::Info`.
    fn qualified_name(&mut self) -> Option<&'t str> {
        let mut len = identifier_len(self.rest);
        while len > 0 && self.rest[len..].starts_with("::") {
            match identifier_len(&self.rest[len + 2..]) {
                0 => break,
                more => len += 2 + more,
            }
        }
        (len > 0).then(|| self.skip(len))
    }

    fn ty(&mut self) -> Result<Type, SyntaxError> {
        if self.depth == MAX_DEPTH {
            return Err(self.expected("less nesting"));
        }
        self.depth += 1;
        let before = self.rest;
        let name = self.qualified_name().ok_or_else(|| self.expected("a type"))?;
        let ty = match name {
            "any" => Type::Any,
            "pattern" => Type::Pattern,
            "function" => Type::Function("function"),
            "event" => Type::Function("event"),
            "hook" => Type::Function("hook"),
            "opaque" => {
                if self.of().is_ok() {
                    self.qualified_name().ok_or_else(|| self.expected("the name of a type"))?;
                }
                Type::Opaque
            }
            "vector" => {
                self.of()?;
                Type::Vector(Box::new(self.ty()?))
            }
            "set" => Type::Set(self.index()?),
            "table" => {
                let index = self.index()?;
                self.of()?;
                Type::Table(index, Box::new(self.ty()?))
            }
            _ => self.named(name).ok_or_else(|| {
                self.rest = before;
                self.expected("a type or the name of a [[record]]")
            })?,
        };
        self.depth -= 1;
        Ok(ty)
    }

    /// The scalar type or the record of this name.
    fn named(&self, name: &str) -> Option<Type> {
        if let Some(scalar) = Scalar::ALL.into_iter().find(|scalar| scalar.name() == name) {
            return Some(Type::Scalar(scalar));
        }
        let place = (self.record)(name)?;
        Some(Type::Record(RecordId { place, name: name.into() }))
    }

    fn of(&mut self) -> Result<(), SyntaxError> {
        let before = self.rest;
        if self.identifier() == Some("of") {
            return Ok(());
        }
        self.rest = before;
        Err(self.expected("`of`"))
    }

    fn index(&mut self) -> Result<Index, SyntaxError> {
        self.require("[")?;
        let mut types = vec![self.ty()?];
        while self.accept(",") {
            types.push(self.ty()?);
        }
        if self.accept("]") { Ok(Index(types)) } else { Err(self.expected("`,` or `]`")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Field, String> {
        let record = |name: &str| ["Conn", "Notice::Info"].iter().position(|known| *known == name);
        field(text, record).map_err(|error| format!("{} at {:?}", error.expected, error.found))
    }

    #[test]
    fn declarations_are_displayed_as_they_are_written() {
        for text in [
            "a: any",
            "_b2: count &optional",
            "f: function",
            "p: pattern",
            "o: opaque",
            "s: set[addr]",
            "s: set[addr, port]",
            "t: table[string, count] of vector of set[Conn]",
            "r: Notice::Info &optional",
            "v: vector of table[subnet] of double",
        ] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        for scalar in Scalar::ALL {
            let text = format!("x: {}", scalar.name());
            assert_eq!(parse(&text).unwrap().ty, Type::Scalar(scalar));
        }
    }

    #[test]
    fn white_space_is_free() {
        let field = parse(" t :table [ count,port ]of  string&optional ").unwrap();
        assert_eq!(field.to_string(), "t: table[count, port] of string &optional");
    }

    #[test]
    fn which_opaque_type_does_not_matter() {
        assert_eq!(parse("s: set[opaque of md5]").unwrap().to_string(), "s: set[opaque]");
    }

    #[test]
    fn errors_say_what_is_expected_and_where() {
        for (text, error) in [
            ("", "a name at \"\""),
            ("2x: count", "a name at \"2x: count\""),
            ("x", "`:` at \"\""),
            ("x count", "`:` at \"count\""),
            ("x:", "a type at \"\""),
            ("x: adr", "a type or the name of a [[record]] at \"adr\""),
            ("x: Notice::", "a type or the name of a [[record]] at \"Notice::\""),
            ("x: set", "`[` at \"\""),
            ("x: set[]", "a type at \"]\""),
            ("x: set[addr", "`,` or `]` at \"\""),
            ("x: set[addr port]", "`,` or `]` at \"port]\""),
            ("x: table[addr]", "`of` at \"\""),
            ("x: table[addr] offset", "`of` at \"offset\""),
            ("x: opaque of", "the name of a type at \"\""),
            ("x: vector count", "`of` at \"count\""),
            ("x: count &default=5", "`&optional` or the end at \"&default=5\""),
            ("x: count, y: count", "`&optional` or the end at \", y: count\""),
        ] {
            assert_eq!(parse(text), Err(error.into()), "{text}");
        }
        let deep = format!("x: {}count", "vector of ".repeat(1_000_000));
        assert!(parse(&deep).unwrap_err().starts_with("less nesting"));
        assert!(parse(&format!("x: {}count", "vector of ".repeat(MAX_DEPTH - 1))).is_ok());
    }

    #[test]
    fn names() {
        for name in ["conn_id", "Notice::Info", "A::B::c", "_x"] {
            assert!(is_qualified_name(name), "{name}");
        }
        for name in ["", "::", "A::", "::b", "A:b", "a b", "9a", "A::9", "é", "a-b"] {
            assert!(!is_qualified_name(name), "{name}");
        }
        assert!(is_reserved("addr") && is_reserved("set") && !is_reserved("Conn"));
    }
}
