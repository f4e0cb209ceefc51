//! Zeek script expressions that a layout may use for its values: literals, records, tables,
//! operators, constants of the same scripts, and the few functions that real layouts call (WIRE.md
//! §8.1.4).
//!
//! Anything else becomes [`Value::Unknown`] with the reason; it is reported where it is needed,
//! never guessed.

use std::collections::HashMap;

use super::cursor::Cursor;
use super::functions::call;
use super::names;
use super::token::{Kind, tokens};
use super::value::{Entry, Field, Value, interval, operate};

/// How deeply expressions may nest.
const MAX_DEPTH: usize = 32;

/// The precedence of binary operators; higher ones bind tighter.
fn level(operator: &str) -> Option<u8> {
    Some(match operator {
        "||" => 1,
        "&&" => 2,
        "==" | "!=" | "<" | "<=" | ">" | ">=" | "in" | "!in" => 3,
        "+" | "-" => 4,
        "*" | "/" | "%" => 5,
        _ => return None,
    })
}

impl<'t> Cursor<'t> {
    /// Reads one expression and evaluates it.
    pub(super) fn expr(&mut self) -> Value {
        self.nested(0)
    }

    fn nested(&mut self, depth: usize) -> Value {
        if depth > MAX_DEPTH {
            self.skip_to(&[",", ";"]);
            return Value::unknown("an expression nested too deeply");
        }
        let mut value = self.binary(depth, 1);
        if self.eat("?") {
            let yes = self.nested(depth + 1);
            let no = if self.eat(":") { self.nested(depth + 1) } else { Value::unknown("nothing") };
            value = value.choose(yes, no);
        }
        let ends = match self.peek() {
            None | Some(Kind::Directive(_)) => true,
            Some(Kind::Punct(p)) => {
                matches!(*p, "," | ";" | "=" | "&" | ")" | "]" | "}" | ":" | "|")
            }
            Some(_) => false,
        };
        if ends {
            return value;
        }
        self.skip_to(&[",", ";", "&"]);
        Value::unknown("an expression with operators")
    }

    /// Operands joined by operators of that precedence or higher.
    fn binary(&mut self, depth: usize, lowest: u8) -> Value {
        let mut left = self.unary(depth);
        while let Some((operator, level)) = self.operator(lowest) {
            self.advance();
            if operator == "!in" {
                self.advance();
            }
            let right = self.binary(depth, level + 1);
            left = operate(operator, &left, &right);
        }
        left
    }

    /// The next operator, if it has that precedence or higher.
    fn operator(&self, lowest: u8) -> Option<(&'t str, u8)> {
        let operator = match self.peek()? {
            Kind::Punct("!") if self.follows_in() => "!in",
            Kind::Punct(punct) => punct,
            Kind::Ident("in") => "in",
            _ => return None,
        };
        level(operator).filter(|level| *level >= lowest).map(|level| (operator, level))
    }

    fn unary(&mut self, depth: usize) -> Value {
        if depth > MAX_DEPTH {
            self.skip_to(&[",", ";"]);
            return Value::unknown("an expression nested too deeply");
        }
        if self.eat("!") {
            let value = self.unary(depth + 1);
            return operate("==", &value.as_condition(), &Value::Bool(false));
        }
        if self.eat("-") {
            return self.unary(depth + 1).negated();
        }
        self.postfix(depth)
    }

    fn postfix(&mut self, depth: usize) -> Value {
        let mut value = self.primary(depth);
        loop {
            if self.eat("$") {
                let Some(Kind::Ident(name)) = self.bump() else { break };
                value = member(value, name);
            } else if self.eat("[") {
                let index = self.list(depth, "]").pop();
                value = match (value, index) {
                    (Value::Nodes, Some(Value::OwnName)) => Value::OwnNode,
                    (Value::Table(entries), Some(key)) => element(&entries, &key),
                    (unknown @ Value::Unknown(_), _) => unknown,
                    _ => Value::unknown("an element of something that is not a table"),
                };
            } else if self.at_ident("as") {
                // `as vector of addr`: the type does not change the known value.
                self.advance();
                while let Some(Kind::Ident(_)) = self.peek() {
                    self.advance();
                }
            } else {
                return value;
            }
        }
        value
    }

    fn primary(&mut self, depth: usize) -> Value {
        match self.peek() {
            Some(Kind::Punct(p)) if matches!(*p, "," | ";" | ")" | "]" | "}" | ":") => {
                return Value::unknown("nothing");
            }
            Some(Kind::Directive(_) | Kind::Ident("redef")) => return Value::unknown("nothing"),
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
            Some(Kind::Pattern) => Value::unknown("a pattern"),
            Some(Kind::Punct("(")) => {
                let value = self.nested(depth + 1);
                self.skip_to(&[")", ";"]);
                self.eat(")");
                value
            }
            Some(Kind::Punct("|")) => {
                let value = self.nested(depth + 1);
                if self.eat("|") { value.size() } else { Value::unknown("an expression") }
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
        self.advance();
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
        match name {
            "Cluster::node" => return Value::OwnName,
            "Cluster::nodes" => return Value::Nodes,
            "nodes" if self.module == "Cluster" => return Value::Nodes,
            _ => {}
        }
        match self.constant(name) {
            Some(value) if value.is_scalar() || value.is_constant() => return value.clone(),
            Some(_) => return Value::unknown("a constant that is not a single value"),
            None => {}
        }
        // Options that no script has set yet have Zeek's default.
        match names::default_of(&self.qualified(name)) {
            Some(text) => Cursor::new(tokens(&text), text.len(), HashMap::new()).nested(depth + 1),
            None => Value::Name(name.into()),
        }
    }

    fn constant_part(&mut self, name: &str, depth: usize) -> Value {
        if !self.eat("[") {
            return Value::Unknown(format!("a field of `{name}`").into());
        }
        let key = self.list(depth, "]").pop();
        let nodes = self.qualified(name) == "Cluster::nodes";
        match (self.constant(name), key) {
            (_, Some(Value::OwnName)) if nodes => Value::OwnNode,
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
        let arguments = self.list(depth, ")");
        call(name, arguments)
    }

    /// `a, b, …` up to and including `close`.
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

    /// `$name=value, …` up to and including `close`.
    fn fields(&mut self, depth: usize, close: &str) -> Vec<Field> {
        let mut fields = Vec::new();
        while !self.eat(close) {
            let before = self.at;
            self.eat("$");
            let name_at = self.place();
            if let Some(Kind::Ident(name)) = self.peek() {
                let name = (*name).to_owned();
                self.advance();
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

    /// A table or a list up to and including `close`.
    fn braces(&mut self, depth: usize, close: &str) -> Value {
        let mut entries = Vec::new();
        let mut list = Vec::new();
        while !self.eat(close) {
            let before = self.at;
            let scope = self.scope();
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
                let value_at = self.since(start);
                entries.push(Entry { key, key_at, value, value_at, scope });
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

    /// After an element followed by neither a comma nor the end: skips to one of them. Returns
    /// whether neither was found, or nothing was read since `before`.
    fn lost(&mut self, before: usize, close: &str) -> bool {
        self.skip_to(&[",", ";"]);
        let resumed = self.eat(",") || self.at_punct(close);
        !resumed || self.at == before
    }
}

fn member(value: Value, name: &str) -> Value {
    match value {
        Value::Record(fields) => match fields.into_iter().find(|field| field.name == name) {
            Some(field) if field.value.is_scalar() => field.value,
            _ => Value::unknown(format!("the field `{name}` of a record")),
        },
        Value::OwnNode => match name {
            "ip" => Value::OwnAddress,
            "node_type" => Value::OwnType,
            "metrics_port" => Value::OwnMetricsPort,
            _ => Value::unknown("a value that differs from node to node"),
        },
        unknown @ Value::Unknown(_) => unknown,
        _ => Value::unknown("a field of something that is not a record"),
    }
}

fn element(entries: &[Entry], key: &Value) -> Value {
    // The last of equal keys wins.
    match entries.iter().rev().find(|entry| entry.key == *key) {
        Some(entry) if entry.scope.as_known() == Some(true) => entry.value.clone(),
        Some(entry) => {
            Value::unknown(format!("something that depends on {}", entry.scope.asks_for()))
        }
        None => Value::unknown(format!("an element that is not defined: {}", key.raw())),
    }
}
