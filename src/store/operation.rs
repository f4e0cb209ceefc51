//! [`Operation`]: what can be done with a store, and what it does to one entry. Pure.

use std::collections::{BTreeMap, BTreeSet};

use bstr::BString;
use serde::{Deserialize, Serialize};

use super::StoreError;
use super::content::{Content, Entry};
use super::limits::MAX_ANSWER;
use super::protocol::Command;
use crate::peers::ErrorCode;
use crate::value::{Real, Timespan, Timestamp, Value};

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident = $wire:literal;)*) => {
        /// What a command does (`ZCluster::StoreOperation`); docs/stores.md says what each is for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub(super) enum Operation {
            $($(#[$doc])* #[serde(rename = $wire)] $name,)*
        }

        #[cfg(test)]
        impl Operation {
            pub(super) const ALL: &[Operation] = &[$(Operation::$name),*];
        }
    };
}

operations! {
    Exists = "ZCluster::EXISTS";
    Get = "ZCluster::GET";
    GetIndexFromValue = "ZCluster::GET_INDEX_FROM_VALUE";
    Lookup = "ZCluster::LOOKUP";
    Keys = "ZCluster::KEYS";
    Size = "ZCluster::SIZE";
    Put = "ZCluster::PUT";
    PutUnique = "ZCluster::PUT_UNIQUE";
    Erase = "ZCluster::ERASE";
    Clear = "ZCluster::CLEAR";
    Increment = "ZCluster::INCREMENT";
    Decrement = "ZCluster::DECREMENT";
    Append = "ZCluster::APPEND";
    InsertIntoSet = "ZCluster::INSERT_INTO_SET";
    InsertIntoTable = "ZCluster::INSERT_INTO_TABLE";
    RemoveFrom = "ZCluster::REMOVE_FROM";
    PushLeft = "ZCluster::PUSH_LEFT";
    PushRight = "ZCluster::PUSH_RIGHT";
    PopLeft = "ZCluster::POP_LEFT";
    PopRight = "ZCluster::POP_RIGHT";
}

impl Operation {
    /// Whether it changes nothing.
    pub(super) fn is_query(self) -> bool {
        use Operation::{Exists, Get, GetIndexFromValue, Keys, Lookup, Size};
        matches!(self, Exists | Get | GetIndexFromValue | Lookup | Keys | Size)
    }
}

/// What a command that is no query does to the content.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Effect {
    /// Nothing.
    Nothing,
    /// The entry of the key becomes this one.
    Set(Entry),
    /// The entry is removed.
    Erase,
    /// All are.
    Clear,
}

fn type_clash(text: impl Into<String>) -> StoreError {
    StoreError::new(ErrorCode::TypeClash, text)
}

fn invalid(text: impl Into<String>) -> StoreError {
    StoreError::new(ErrorCode::InvalidData, text)
}

/// The argument of a command with as many as it must have.
fn arguments<const N: usize>(command: &Command) -> Result<&[Value; N], StoreError> {
    command
        .arguments
        .as_slice()
        .try_into()
        .map_err(|_| invalid(format!("expected {N} arguments, found {}", command.arguments.len())))
}

/// The answer to a query.
pub(super) fn query(content: &Content, command: &Command) -> Result<Value, StoreError> {
    let found = content.get(&command.key).map(|entry| &entry.value);
    let existing = || found.ok_or(StoreError::from(ErrorCode::NoSuchKey));
    let answer = match command.operation {
        Operation::Exists => Value::Boolean(found.is_some()),
        Operation::Get => existing()?.clone(),
        Operation::GetIndexFromValue => {
            let [index] = arguments(command)?;
            element(existing()?, index)?
        }
        Operation::Size => Value::Count(content.len() as u64),
        Operation::Lookup => {
            let entry = |key: &Value| Some((key.clone(), content.get(key)?.value.clone()));
            bounded(command.arguments.iter().filter_map(entry))?
        }
        Operation::Keys => {
            let mut size = 0;
            let mut keys = BTreeSet::new();
            for (key, _) in content.iter() {
                size += key.size();
                keys.insert(key.clone());
                if size > MAX_ANSWER {
                    return Err(too_large());
                }
            }
            Value::Set(keys)
        }
        _ => return Err(invalid("this is no query")),
    };
    Ok(answer)
}

fn bounded(found: impl Iterator<Item = (Value, Value)>) -> Result<Value, StoreError> {
    let (mut size, mut table) = (0, BTreeMap::new());
    for (key, value) in found {
        size += key.size() + value.size();
        table.insert(key, value);
        if size > MAX_ANSWER {
            return Err(too_large());
        }
    }
    Ok(Value::Table(table))
}

fn too_large() -> StoreError {
    invalid(format!("the answer is larger than {} MiB", MAX_ANSWER >> 20))
}

fn element(value: &Value, index: &Value) -> Result<Value, StoreError> {
    let found = match (value, index) {
        (Value::Set(elements), _) => Some(Value::Boolean(elements.contains(index))),
        (Value::Table(entries), _) => entries.get(index).cloned(),
        (Value::Vector(elements), Value::Count(at)) => {
            usize::try_from(*at).ok().and_then(|at| elements.get(at)).cloned()
        }
        (Value::Vector(elements), Value::Integer(at)) if *at >= 0 => {
            usize::try_from(*at).ok().and_then(|at| elements.get(at)).cloned()
        }
        (Value::Vector(_), _) => return Err(type_clash("the index of a vector is a count")),
        _ => return Err(type_clash(format!("a {} has no elements", value.type_name()))),
    };
    found.ok_or(ErrorCode::NoSuchKey.into())
}

/// What a command does, with the entry that its key has; and its result.
pub(super) fn effect(
    old: Option<&Entry>,
    command: &Command,
    now: Timestamp,
) -> Result<(Effect, Value), StoreError> {
    let renewed = |value| Entry { value, expiry: command.expiry.map(|expiry| expiry.renewed(now)) };
    match command.operation {
        Operation::Put => {
            let [value] = arguments(command)?;
            Ok((Effect::Set(renewed(value.clone())), Value::None))
        }
        Operation::PutUnique => {
            let [value] = arguments(command)?;
            Ok(match old {
                None => (Effect::Set(renewed(value.clone())), Value::Boolean(true)),
                Some(_) => (Effect::Nothing, Value::Boolean(false)),
            })
        }
        Operation::Erase => {
            let effect = if old.is_some() { Effect::Erase } else { Effect::Nothing };
            Ok((effect, Value::None))
        }
        Operation::Clear => Ok((Effect::Clear, Value::None)),
        _ => modified(old, command, now),
    }
}

/// The effect of a command that makes a new value of the one before.
fn modified(
    old: Option<&Entry>,
    command: &Command,
    now: Timestamp,
) -> Result<(Effect, Value), StoreError> {
    let (value, result) = new_value(old.map(|entry| &entry.value), command)?;
    let expiry = command.expiry.or(old.and_then(|entry| entry.expiry));
    let entry = Entry { value, expiry: expiry.map(|expiry| expiry.renewed(now)) };
    let effect = if old == Some(&entry) { Effect::Nothing } else { Effect::Set(entry) };
    Ok((effect, result))
}

fn new_value(old: Option<&Value>, command: &Command) -> Result<(Value, Value), StoreError> {
    use Operation as Op;
    let existing = || old.cloned().ok_or(StoreError::from(ErrorCode::NoSuchKey));
    let or = |first: Value| old.cloned().unwrap_or(first);
    let mut result = Value::None;
    let value = match command.operation {
        Op::Increment => {
            let [amount] = arguments(command)?;
            let zero = || {
                Ok(match amount {
                    Value::Count(_) => Value::Count(0),
                    Value::Integer(_) => Value::Integer(0),
                    Value::Real(_) => Value::Real(Real(0.0)),
                    Value::Timespan(_) => Value::Timestamp(Timestamp(0)),
                    _ => return Err(type_clash(format!("cannot add a {}", amount.type_name()))),
                })
            };
            sum(&old.cloned().map_or_else(zero, Ok)?, amount, true)?
        }
        Op::Decrement => {
            let [amount] = arguments(command)?;
            sum(&existing()?, amount, false)?
        }
        Op::Append => {
            let [suffix] = arguments(command)?;
            match (or(Value::String(BString::default())), suffix) {
                (Value::String(mut text), Value::String(suffix)) => {
                    text.extend_from_slice(suffix);
                    Value::String(text)
                }
                (value, _) => return Err(clash(&value, suffix)),
            }
        }
        Op::InsertIntoSet => {
            let [element] = arguments(command)?;
            match or(Value::Set(BTreeSet::new())) {
                Value::Set(mut elements) => {
                    elements.insert(element.clone());
                    Value::Set(elements)
                }
                value => return Err(clash(&value, element)),
            }
        }
        Op::InsertIntoTable => {
            let [index, element] = arguments(command)?;
            match or(Value::Table(BTreeMap::new())) {
                Value::Table(mut entries) => {
                    entries.insert(index.clone(), element.clone());
                    Value::Table(entries)
                }
                value => return Err(clash(&value, index)),
            }
        }
        Op::RemoveFrom => {
            let [index] = arguments(command)?;
            match existing()? {
                Value::Set(mut elements) => {
                    elements.remove(index);
                    Value::Set(elements)
                }
                Value::Table(mut entries) => {
                    entries.remove(index);
                    Value::Table(entries)
                }
                value => return Err(clash(&value, index)),
            }
        }
        Op::PushLeft | Op::PushRight => {
            let [element] = arguments(command)?;
            match or(Value::Vector(Vec::new())) {
                Value::Vector(mut elements) => {
                    let at = if command.operation == Op::PushLeft { 0 } else { elements.len() };
                    elements.insert(at, element.clone());
                    Value::Vector(elements)
                }
                value => return Err(clash(&value, element)),
            }
        }
        Op::PopLeft | Op::PopRight => match existing()? {
            Value::Vector(mut elements) => {
                if !elements.is_empty() {
                    let last = elements.len() - 1;
                    let at = if command.operation == Op::PopLeft { 0 } else { last };
                    result = elements.remove(at);
                }
                Value::Vector(elements)
            }
            value => return Err(type_clash(format!("a {} has no ends", value.type_name()))),
        },
        _ => return Err(invalid("this is a query")),
    };
    Ok((value, result))
}

fn clash(value: &Value, argument: &Value) -> StoreError {
    let (value, argument) = (value.type_name(), argument.type_name());
    type_clash(format!("the value is a {value}, the argument a {argument}"))
}

fn sum(value: &Value, amount: &Value, adds: bool) -> Result<Value, StoreError> {
    let of = |value: i64, amount: i64| {
        if adds { value.checked_add(amount) } else { value.checked_sub(amount) }
    };
    let sum = match (value, amount) {
        (Value::Count(value), Value::Count(amount)) => {
            let sum = if adds { value.checked_add(*amount) } else { value.checked_sub(*amount) };
            sum.map(Value::Count)
        }
        (Value::Integer(value), Value::Integer(amount)) => of(*value, *amount).map(Value::Integer),
        (Value::Real(Real(value)), Value::Real(Real(amount))) => {
            Some(Value::Real(Real(if adds { value + amount } else { value - amount })))
        }
        (Value::Timespan(value), Value::Timespan(amount)) => {
            of(value.0, amount.0).map(|nanos| Value::Timespan(Timespan(nanos)))
        }
        (Value::Timestamp(value), Value::Timespan(amount)) => {
            of(value.0, amount.0).map(|nanos| Value::Timestamp(Timestamp(nanos)))
        }
        _ => return Err(clash(value, amount)),
    };
    sum.ok_or_else(|| invalid(format!("the {} leaves its range", value.type_name())))
}
