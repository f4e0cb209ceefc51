//! [`Value`]: the value of an expression in a script, and what operators do with values.
//!
//! A value that cannot be known here is [`Value::Unknown`] with the reason, and so is everything
//! computed from it. Values are kept flat and small, so that no file can make them grow.

use std::rc::Rc;
use std::time::Duration;

use super::super::NodeType;
use super::super::setting::Raw;
use super::condition::Condition;

/// The longest string an expression may produce.
pub(super) const MAX_TEXT: usize = 4096;

/// The value of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Bool(bool),
    Integer(i64),
    Real(f64),
    Interval(Duration),
    /// A string, port or address: as [`Raw::Text`].
    Text(Rc<str>),
    /// A name that no given script defines: an enum value, a function, or something defined
    /// elsewhere.
    Name(Rc<str>),
    Record(Vec<Field>),
    List(Vec<Value>),
    Table(Vec<Entry>),
    /// A truth value that differs from node to node.
    Condition(Condition),
    /// The first value for nodes for which the condition holds, the second for others.
    Choice(Condition, Box<(Value, Value)>),
    /// `Cluster::nodes`.
    Nodes,
    /// The entry of the node that reads the script, its name, its type, its address, and its
    /// metrics port.
    OwnNode,
    OwnName,
    OwnType,
    OwnAddress,
    OwnMetricsPort,
    /// A key that is set and must not be shown.
    Hidden,
    /// Cannot be known here; the text says what it is.
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

/// An element of a table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: Value,
    pub(super) key_at: (usize, usize),
    pub(super) value: Value,
    pub(super) value_at: (usize, usize),
    /// For which nodes it is in the table.
    pub(super) scope: Condition,
}

impl Value {
    pub(super) fn text(text: impl Into<Rc<str>>) -> Self {
        let text = text.into();
        if text.len() > MAX_TEXT {
            Self::unknown("a text that is too long")
        } else {
            Value::Text(text)
        }
    }

    pub(super) fn unknown(what: impl Into<Rc<str>>) -> Self {
        Value::Unknown(what.into())
    }

    fn condition(condition: Condition) -> Self {
        match condition.as_known() {
            Some(value) => Value::Bool(value),
            None => Value::Condition(condition),
        }
    }

    /// As an option accepts it.
    pub(super) fn raw(&self) -> Raw<'_> {
        match self {
            Value::Bool(value) => Raw::Bool(*value),
            Value::Integer(value) => Raw::Integer(*value),
            Value::Real(value) => Raw::Float(*value),
            Value::Interval(value) => Raw::Interval(*value),
            Value::Text(text) => Raw::Text(text),
            Value::Name(name) => Raw::Word(name),
            Value::List(list) => Raw::List(list.iter().map(Value::raw).collect()),
            Value::Record(_) | Value::OwnNode => Raw::Other("a record"),
            Value::Table(entries) => {
                let texts = entries.iter().map(|entry| match &entry.key {
                    Value::Text(key) => Some((&**key, entry.value.raw())),
                    _ => None,
                });
                texts.collect::<Option<_>>().map_or(Raw::Other("a table"), Raw::Table)
            }
            Value::Nodes => Raw::Other("a table"),
            _ => Raw::Other("an expression"),
        }
    }

    /// What it is, if it cannot be known here.
    pub(super) fn why_unknown(&self) -> Option<Rc<str>> {
        match self {
            Value::Unknown(what) => Some(Rc::clone(what)),
            Value::Condition(condition) | Value::Choice(condition, _) => {
                Some(format!("something that depends on {}", condition.asks_for()).into())
            }
            Value::OwnNode
            | Value::OwnName
            | Value::OwnType
            | Value::OwnAddress
            | Value::OwnMetricsPort => Some("a value that differs from node to node".into()),
            Value::Hidden => Some("a key".into()),
            Value::List(list) => list.iter().find_map(Value::why_unknown),
            Value::Table(entries) => entries.iter().find_map(|entry| entry.value.why_unknown()),
            _ => None,
        }
    }

    pub(super) fn is_scalar(&self) -> bool {
        !matches!(self, Value::Record(_) | Value::List(_) | Value::Table(_) | Value::Choice(..))
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

    /// As a condition.
    pub(super) fn truth(&self) -> Condition {
        match self {
            Value::Bool(value) => Condition::known(*value),
            Value::Condition(condition) => condition.clone(),
            Value::Name(name) => Condition::unknown(format!("`{name}`")),
            other => match other.why_unknown() {
                Some(what) => Condition::unknown(what),
                None => Condition::unknown("something that is not a condition"),
            },
        }
    }

    /// [`Value::truth`] as a value.
    pub(super) fn as_condition(&self) -> Value {
        Value::condition(self.truth())
    }

    /// `self ? yes : no`.
    pub(super) fn choose(&self, yes: Value, no: Value) -> Value {
        if yes == no {
            return yes;
        }
        match self.truth() {
            condition if condition.as_known() == Some(true) => yes,
            condition if condition.as_known() == Some(false) => no,
            condition => Value::Choice(condition, Box::new((yes, no))),
        }
    }

    /// `|self|`.
    pub(super) fn size(&self) -> Value {
        let count = |count: usize| Value::Integer(i64::try_from(count).unwrap_or(i64::MAX));
        match self {
            Value::Text(text) => count(text.chars().count()),
            Value::List(list) => count(list.len()),
            Value::Table(entries) => count(entries.len()),
            // All that is known; scripts ask only whether it is empty.
            Value::Hidden | Value::OwnName => Value::Integer(1),
            Value::Integer(number) => {
                number.checked_abs().map_or(Value::unknown("a number"), Value::Integer)
            }
            other => Value::Unknown(other.why_unknown().unwrap_or_else(|| match other {
                Value::Name(name) => format!("`{name}`").into(),
                _ => "the size of something".into(),
            })),
        }
    }

    pub(super) fn negated(&self) -> Value {
        match self {
            Value::Integer(number) => {
                number.checked_neg().map_or(Value::unknown("a number"), Value::Integer)
            }
            Value::Real(number) => Value::Real(-number),
            Value::Interval(value) if value.is_zero() => self.clone(),
            Value::Interval(_) => Value::unknown("a negative interval"),
            other => Value::Unknown(other.why_unknown().unwrap_or_else(|| "an expression".into())),
        }
    }

    /// The text that `cat` and `%s` produce.
    pub(super) fn shown(&self) -> Option<String> {
        match self {
            Value::Bool(value) => Some(if *value { "T" } else { "F" }.into()),
            Value::Integer(number) => Some(number.to_string()),
            Value::Text(text) => Some(text.to_string()),
            _ => None,
        }
    }
}

/// The result of an operator applied to two values.
pub(super) fn operate(operator: &str, left: &Value, right: &Value) -> Value {
    match operator {
        "&&" => Value::condition(left.truth().and(&right.truth())),
        "||" => Value::condition(left.truth().or(&right.truth())),
        "==" => Value::condition(equals(left, right)),
        "!=" => Value::condition(equals(left, right).not()),
        "in" => Value::condition(contains(right, left)),
        "!in" => Value::condition(contains(right, left).not()),
        "<" | "<=" | ">" | ">=" => compare(operator, left, right),
        _ => calculate(operator, left, right),
    }
}

fn unknown_of(left: &Value, right: &Value) -> Rc<str> {
    let name = |value: &Value| match value {
        Value::Name(name) => Some(format!("`{name}`").into()),
        _ => None,
    };
    let why = left.why_unknown().or_else(|| right.why_unknown());
    why.or_else(|| name(left)).or_else(|| name(right)).unwrap_or_else(|| "an expression".into())
}

fn type_named(name: &str) -> Option<NodeType> {
    name.parse().ok()
}

fn equals(left: &Value, right: &Value) -> Condition {
    match (left, right) {
        (Value::OwnType, Value::OwnType) | (Value::OwnName, Value::OwnName) => {
            Condition::known(true)
        }
        (Value::OwnType, Value::Name(name)) | (Value::Name(name), Value::OwnType) => {
            match type_named(name) {
                Some(node_type) => Condition::is_type(node_type),
                // Obsolete: no node has this type.
                None if name.ends_with("TIME_MACHINE") => Condition::known(false),
                None => Condition::unknown(format!("`{name}`")),
            }
        }
        (Value::OwnName, Value::Text(name)) | (Value::Text(name), Value::OwnName) => {
            Condition::is_name(name)
        }
        (Value::Name(a), Value::Name(b)) if a == b => Condition::known(true),
        // Two values of one enum.
        (Value::Name(a), Value::Name(b)) if type_named(a).is_some() && type_named(b).is_some() => {
            Condition::known(type_named(a) == type_named(b))
        }
        (Value::Condition(condition), Value::Bool(value))
        | (Value::Bool(value), Value::Condition(condition)) => {
            if *value {
                condition.clone()
            } else {
                condition.not()
            }
        }
        (Value::Bool(a), Value::Bool(b)) => Condition::known(a == b),
        (Value::Text(a), Value::Text(b)) => Condition::known(a == b),
        (Value::Hidden, Value::Text(text)) | (Value::Text(text), Value::Hidden)
            if text.is_empty() =>
        {
            Condition::known(false)
        }
        _ => match (number(left), number(right)) {
            (Some(a), Some(b)) => Condition::known(a.total_cmp(&b).is_eq()),
            _ => Condition::unknown(unknown_of(left, right)),
        },
    }
}

fn contains(whole: &Value, part: &Value) -> Condition {
    match (whole, part) {
        (Value::Nodes, Value::OwnName) => Condition::known(true),
        (Value::OwnName, Value::Text(text)) => Condition::name_has(text),
        (Value::Text(whole), Value::Text(part)) => Condition::known(whole.contains(&**part)),
        (Value::List(list), _) if list.len() <= 16 => {
            let any = |found: Condition, one: &Value| found.or(&equals(one, part));
            list.iter().fold(Condition::known(false), any)
        }
        _ => Condition::unknown(unknown_of(whole, part)),
    }
}

/// A number, or an interval in seconds.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(number) => Some(*number as f64),
        Value::Real(number) => Some(*number),
        Value::Interval(value) => Some(value.as_secs_f64()),
        _ => None,
    }
}

fn compare(operator: &str, left: &Value, right: &Value) -> Value {
    match (number(left), number(right)) {
        (Some(a), Some(b)) => Value::Bool(match operator {
            "<" => a < b,
            "<=" => a <= b,
            ">" => a > b,
            _ => a >= b,
        }),
        _ => Value::Unknown(unknown_of(left, right)),
    }
}

fn calculate(operator: &str, left: &Value, right: &Value) -> Value {
    use Value::{Integer, Interval, Real, Text};
    if let (Text(a), Text(b), "+") = (left, right, operator) {
        return Value::text(format!("{a}{b}"));
    }
    if let (Integer(a), Integer(b)) = (left, right) {
        let result = match operator {
            "+" => a.checked_add(*b),
            "-" => a.checked_sub(*b),
            "*" => a.checked_mul(*b),
            "/" => a.checked_div(*b),
            _ => a.checked_rem(*b),
        };
        return result.map_or(Value::unknown("a number out of range"), Integer);
    }
    let (Some(a), Some(b)) = (number(left), number(right)) else {
        return Value::Unknown(unknown_of(left, right));
    };
    let result = match operator {
        "+" => a + b,
        "-" => a - b,
        "*" => a * b,
        "/" => a / b,
        _ => return Value::unknown("an expression with operators"),
    };
    match (left, right) {
        (Interval(_), Interval(_)) if operator == "/" => Real(result),
        (Interval(_), _) | (_, Interval(_)) => interval(result, 1.0),
        _ => Real(result),
    }
}

/// A number of units of that many seconds.
pub(super) fn interval(number: f64, unit: f64) -> Value {
    // Zeek keeps intervals to the microsecond; rounding removes the product's error.
    let micros = (number * unit * 1e6).round();
    if (0.0..1e18).contains(&micros) {
        Value::Interval(Duration::from_micros(micros as u64))
    } else if micros < 0.0 {
        Value::unknown("a negative interval")
    } else {
        Value::unknown("an interval too long")
    }
}
