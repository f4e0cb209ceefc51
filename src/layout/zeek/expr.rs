//! Expressions of Zeek script that a layout may use for its values: literals, records, tables,
//! constants of the same file, and the few functions real layouts call (WIRE.md §8.1.4).
//!
//! Anything else becomes [`Value::Unknown`] with the reason; it is reported where it is needed,
//! never guessed. Values are kept flat and small, so that no file can make them grow.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use super::super::setting::Raw;
use super::LOG_ROTATE_BASE_TIME;
use super::token::{Kind, Token};

/// How deep expressions may nest.
const MAX_DEPTH: usize = 32;
/// The longest string a constant may hold.
const MAX_CONSTANT: usize = 4096;

/// What an expression stands for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Bool(bool),
    Integer(i64),
    Real(f64),
    Interval(Duration),
    /// A string, port, address or the name of an enum value: as [`Raw::Text`].
    Text(Rc<str>),
    Record(Vec<Field>),
    List(Vec<Value>),
    Table(Vec<Entry>),
    /// Not to be known here; the text says what it is.
    Unknown(Rc<str>),
}

/// A field of a record.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) name_at: (usize, usize),
    pub(super) value: Value,
    pub(super) value_at: (usize, usize),
}

/// An element of a table whose index is a string.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: Value,
    pub(super) key_at: (usize, usize),
    pub(super) value: Value,
    pub(super) value_at: (usize, usize),
}

impl Value {
    pub(super) fn text(text: impl Into<Rc<str>>) -> Self {
        Value::Text(text.into())
    }

    fn unknown(what: &str) -> Self {
        Value::Unknown(what.into())
    }

    /// As an option takes it.
    pub(super) fn raw(&self) -> Raw<'_> {
        match self {
            Value::Bool(value) => Raw::Bool(*value),
            Value::Integer(value) => Raw::Integer(*value),
            Value::Real(value) => Raw::Float(*value),
            Value::Interval(value) => Raw::Interval(*value),
            Value::Text(text) => Raw::Text(text),
            Value::List(list) => Raw::List(list.iter().map(Value::raw).collect()),
            Value::Record(_) => Raw::Other("a record"),
            Value::Table(entries) => {
                let texts = entries.iter().map(|entry| match &entry.key {
                    Value::Text(key) => Some((&**key, entry.value.raw())),
                    _ => None,
                });
                texts.collect::<Option<_>>().map_or(Raw::Other("a table"), Raw::Table)
            }
            Value::Unknown(_) => Raw::Other("an expression"),
        }
    }

    fn is_scalar(&self) -> bool {
        match self {
            Value::Text(text) => text.len() <= MAX_CONSTANT,
            Value::Record(_) | Value::List(_) | Value::Table(_) => false,
            _ => true,
        }
    }

    /// Whether a constant may hold it: a scalar, or a table of records of scalars.
    pub(super) fn is_constant(&self) -> bool {
        match self {
            Value::Table(entries) => entries.iter().all(|entry| match &entry.value {
                Value::Record(fields) => fields.iter().all(|field| field.value.is_scalar()),
                value => value.is_scalar(),
            }),
            value => value.is_scalar(),
        }
    }
}

/// The tokens of a file and how far they are read, with the constants known so far.
pub(super) struct Cursor<'t> {
    tokens: Vec<Token<'t>>,
    at: usize,
    /// Length of the text: where the end is reported.
    end: usize,
    /// By qualified name.
    pub(super) constants: HashMap<String, Value>,
    /// The module names are declared in; empty for the global one.
    pub(super) module: String,
}

impl<'t> Cursor<'t> {
    pub(super) fn new(tokens: Vec<Token<'t>>, end: usize) -> Self {
        Cursor { tokens, at: 0, end, constants: HashMap::new(), module: String::new() }
    }

    pub(super) fn peek(&self) -> Option<&Kind<'t>> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    pub(super) fn bump(&mut self) -> Option<Kind<'t>> {
        let token = self.tokens.get(self.at)?;
        self.at += 1;
        Some(token.kind.clone())
    }

    /// The full name of what is declared as `name` here.
    pub(super) fn qualified(&self, name: &str) -> String {
        if let Some(global) = name.strip_prefix("GLOBAL::") {
            global.into()
        } else if name.contains("::") {
            name.into()
        } else if matches!(name, "nodes" | "hosts" | "manager_is_logger") {
            // As inside `module Cluster`, which snippets tend to leave out.
            format!("Cluster::{name}")
        } else if self.module.is_empty() || name == LOG_ROTATE_BASE_TIME {
            name.into()
        } else {
            format!("{}::{name}", self.module)
        }
    }

    fn constant(&self, name: &str) -> Option<&Value> {
        self.constants.get(&self.qualified(name)).or_else(|| self.constants.get(name))
    }

    /// The place of the next token.
    pub(super) fn place(&self) -> (usize, usize) {
        self.tokens.get(self.at).map_or((self.end, self.end), |token| (token.start, token.end))
    }

    fn end_of_last(&self) -> usize {
        self.at.checked_sub(1).and_then(|last| self.tokens.get(last)).map_or(0, |token| token.end)
    }

    /// From `start` to the token read last.
    pub(super) fn since(&self, start: usize) -> (usize, usize) {
        (start, self.end_of_last().max(start))
    }

    pub(super) fn at_punct(&self, punct: &str) -> bool {
        matches!(self.peek(), Some(Kind::Punct(p)) if *p == punct)
    }

    pub(super) fn at_ident(&self, name: &str) -> bool {
        matches!(self.peek(), Some(Kind::Ident(i)) if *i == name)
    }

    pub(super) fn eat(&mut self, punct: &str) -> bool {
        let found = self.at_punct(punct);
        self.at += usize::from(found);
        found
    }

    /// Skips to one of `stops` outside all brackets that open on the way, or to a bracket that
    /// closes more than was opened; reads neither.
    pub(super) fn skip_to(&mut self, stops: &[&str]) {
        let mut depth = 0usize;
        while let Some(kind) = self.peek() {
            if let Kind::Punct(punct) = kind {
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
            self.at += 1;
        }
    }

    /// Reads one expression and what it stands for.
    pub(super) fn expr(&mut self) -> Value {
        self.nested(0)
    }

    fn nested(&mut self, depth: usize) -> Value {
        if depth > MAX_DEPTH {
            self.skip_to(&[",", ";"]);
            return Value::unknown("an expression nested too deep");
        }
        let mut value = self.primary(depth);
        loop {
            if self.eat("$") {
                let Some(Kind::Ident(name)) = self.bump() else { break };
                value = match value {
                    Value::Record(fields) => member(&fields, name),
                    unknown @ Value::Unknown(_) => unknown,
                    _ => Value::unknown("a field of something that is no record"),
                };
            } else if self.at_punct("[") {
                self.at += 1;
                let index = self.list(depth, "]").pop();
                value = match (value, index) {
                    (Value::Table(entries), Some(key)) => element(&entries, &key),
                    (unknown @ Value::Unknown(_), _) => unknown,
                    _ => Value::unknown("an element of something that is no table"),
                };
            } else if self.at_ident("as") {
                // `as vector of addr`: the type does not change what is known.
                self.at += 1;
                while let Some(Kind::Ident(_)) = self.peek() {
                    self.at += 1;
                }
            } else {
                break;
            }
        }
        let ends = match self.peek() {
            None | Some(Kind::Directive(_)) => true,
            Some(Kind::Punct(p)) => matches!(*p, "," | ";" | "=" | "&" | ")" | "]" | "}"),
            Some(_) => false,
        };
        if ends {
            return value;
        }
        self.skip_to(&[",", ";", "&"]);
        Value::unknown("an expression with operators")
    }

    fn primary(&mut self, depth: usize) -> Value {
        match self.peek() {
            Some(Kind::Punct(p)) if matches!(*p, "," | ";" | ")" | "]" | "}") => {
                return Value::unknown("nothing");
            }
            _ => {}
        }
        match self.bump() {
            Some(Kind::Text(text)) => Value::text(text),
            Some(Kind::Address(ip)) => Value::text(ip.to_string()),
            Some(Kind::Port(text)) => Value::text(text),
            Some(Kind::Integer(number)) => match self.unit() {
                Some(unit) => interval(number as f64, unit),
                None => Value::Integer(number),
            },
            Some(Kind::Real(number)) => match self.unit() {
                Some(unit) => interval(number, unit),
                None => Value::Real(number),
            },
            Some(Kind::Punct("-")) => match self.primary_number() {
                Some(value) => value,
                None => Value::unknown("an expression with operators"),
            },
            Some(Kind::Punct("(")) => {
                let value = self.nested(depth + 1);
                self.skip_to(&[")"]);
                self.eat(")");
                value
            }
            Some(Kind::Punct("[")) => {
                if self.at_punct("$") {
                    Value::Record(self.fields(depth, "]"))
                } else {
                    Value::List(self.list(depth, "]"))
                }
            }
            Some(Kind::Punct("{")) => self.braces(depth, "}"),
            Some(Kind::Ident(name)) => self.name(name, depth),
            _ => Value::unknown("an expression"),
        }
    }

    /// A number after `-`.
    fn primary_number(&mut self) -> Option<Value> {
        let value = match self.peek()? {
            Kind::Integer(number) => Value::Integer(-*number),
            Kind::Real(number) => Value::Real(-*number),
            _ => return None,
        };
        self.at += 1;
        match self.unit() {
            Some(_) => Some(Value::unknown("a negative interval")),
            None => Some(value),
        }
    }

    /// A unit of time after a number.
    fn unit(&mut self) -> Option<f64> {
        let Some(Kind::Ident(name)) = self.peek() else { return None };
        let unit = match name.strip_suffix('s').unwrap_or(name) {
            "usec" => 1e-6,
            "msec" => 1e-3,
            "sec" => 1.0,
            "min" => 60.0,
            "hr" => 3600.0,
            "day" => 86400.0,
            _ => return None,
        };
        self.at += 1;
        Some(unit)
    }

    /// A constant, a function, or the name of an enum value.
    fn name(&mut self, name: &str, depth: usize) -> Value {
        match name {
            "T" => return Value::Bool(true),
            "F" => return Value::Bool(false),
            "vector" | "set" | "table" if !self.at_punct("(") => {
                // `vector of string(…)`, `table[string] of Host(…)`.
                self.skip_to(&["(", ",", ";"]);
            }
            _ => {}
        }
        if self.eat("(") {
            return self.call(name, depth);
        }
        if self.at_punct("[") || self.at_punct("$") {
            // Looks into the constant without copying it.
            return self.constant_part(name, depth);
        }
        match self.constant(name) {
            Some(value) if value.is_scalar() => value.clone(),
            Some(_) => Value::unknown("a constant that is no single value"),
            // Names without a constant are those of enum values.
            None => Value::text(name),
        }
    }

    fn constant_part(&mut self, name: &str, depth: usize) -> Value {
        if !self.eat("[") {
            return Value::Unknown(format!("a field of `{name}`").into());
        }
        let key = self.list(depth, "]").pop();
        match (self.constant(name), key) {
            (Some(Value::Table(entries)), Some(key)) => element(entries, &key),
            _ => Value::Unknown(format!("an element of `{name}`").into()),
        }
    }

    fn call(&mut self, name: &str, depth: usize) -> Value {
        if self.at_punct("$") {
            return Value::Record(self.fields(depth, ")"));
        }
        if name == "table" {
            return self.braces(depth, ")");
        }
        let mut arguments = self.list(depth, ")");
        match (name, arguments.as_slice()) {
            ("vector" | "set", _) => Value::List(arguments),
            ("to_port" | "to_addr", [Value::Text(_) | Value::Unknown(_)]) => arguments.remove(0),
            ("getenv", [Value::Text(variable)]) => {
                Value::Unknown(format!("the environment variable {variable}").into())
            }
            ("blocking_lookup_hostname", [Value::Text(host)]) => {
                Value::Unknown(format!("the address of the host {host:?}").into())
            }
            _ => Value::Unknown(format!("what `{name}()` returns").into()),
        }
    }

    /// `a, b, …` up to `close`, which is read.
    fn list(&mut self, depth: usize, close: &str) -> Vec<Value> {
        let mut list = Vec::new();
        while !self.eat(close) {
            let before = self.at;
            list.push(self.nested(depth + 1));
            if !self.eat(",") && !self.at_punct(close) && self.lost(before, close) {
                break;
            }
        }
        list
    }

    /// `$name=value, …` up to `close`, which is read.
    fn fields(&mut self, depth: usize, close: &str) -> Vec<Field> {
        let mut fields = Vec::new();
        while !self.eat(close) {
            let before = self.at;
            self.eat("$");
            let name_at = self.place();
            if let Some(Kind::Ident(name)) = self.peek() {
                let name = (*name).to_owned();
                self.at += 1;
                if self.eat("=") {
                    let start = self.place().0;
                    let value = self.nested(depth + 1);
                    fields.push(Field { name, name_at, value, value_at: self.since(start) });
                }
            }
            if !self.eat(",") && !self.at_punct(close) && self.lost(before, close) {
                break;
            }
        }
        fields
    }

    /// A table or a list up to `close`, which is read.
    fn braces(&mut self, depth: usize, close: &str) -> Value {
        let mut entries = Vec::new();
        let mut list = Vec::new();
        while !self.eat(close) {
            let before = self.at;
            let start = self.place().0;
            let mut key = self.nested(depth + 1);
            let key_at = self.since(start);
            if self.eat("=") {
                if let Value::List(index) = &mut key
                    && index.len() == 1
                {
                    key = index.remove(0);
                }
                let start = self.place().0;
                let value = self.nested(depth + 1);
                entries.push(Entry { key, key_at, value, value_at: self.since(start) });
            } else {
                list.push(key);
            }
            if !self.eat(",") && !self.at_punct(close) && self.lost(before, close) {
                break;
            }
        }
        if entries.is_empty() && !list.is_empty() {
            Value::List(list)
        } else {
            Value::Table(entries)
        }
    }

    /// After an element that neither a comma nor the end follows: skips to one of them. Whether
    /// there is none, or nothing was read since `before`.
    fn lost(&mut self, before: usize, close: &str) -> bool {
        self.skip_to(&[",", ";"]);
        let resumed = self.eat(",") || self.at_punct(close);
        !resumed || self.at == before
    }
}

fn interval(number: f64, unit: f64) -> Value {
    // Microseconds are what Zeek keeps of an interval; rounding undoes the product's error.
    let micros = (number * unit * 1e6).round();
    if (0.0..1e18).contains(&micros) {
        Value::Interval(Duration::from_micros(micros as u64))
    } else {
        Value::unknown("an interval too long")
    }
}

fn member(fields: &[Field], name: &str) -> Value {
    match fields.iter().find(|field| field.name == name) {
        Some(field) if field.value.is_scalar() => field.value.clone(),
        _ => Value::Unknown(format!("the field `{name}` of a record").into()),
    }
}

fn element(entries: &[Entry], key: &Value) -> Value {
    let shown = key.raw();
    // The last of equal keys is the one that counts.
    match entries.iter().rev().find(|entry| entry.key == *key) {
        Some(entry) => entry.value.clone(),
        None => Value::Unknown(format!("an element that is not defined: {shown}").into()),
    }
}
