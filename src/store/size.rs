//! How large and how deep values may be. Pure.

use super::StoreError;
use super::limits::MAX_IN_FLIGHT_BYTES;
use super::protocol::Command;
use crate::peers::ErrorCode;
use crate::value::Value;
use crate::wire::MAX_DEPTH;

/// How deep a key or value may nest: answers and changes put it into containers of their own.
const MAX_NESTING: usize = MAX_DEPTH - 16;

/// Checks a command: one that nobody can read would hold up those behind it.
pub(super) fn check_command(command: &Command) -> Result<(), StoreError> {
    let size = command.size();
    if size > MAX_IN_FLIGHT_BYTES {
        let text = format!("the command has {size} bytes; expected at most {MAX_IN_FLIGHT_BYTES}");
        return Err(StoreError::new(ErrorCode::InvalidData, text));
    }
    check_depth([&command.key].into_iter().chain(&command.arguments))
}

fn check_depth<'v>(values: impl Iterator<Item = &'v Value>) -> Result<(), StoreError> {
    if values.map(depth).max() > Some(MAX_NESTING) {
        let text = format!("expected at most {MAX_NESTING} nested containers");
        return Err(StoreError::new(ErrorCode::InvalidData, text));
    }
    Ok(())
}

/// Checks an entry that is to be made.
pub(super) fn check(key: &Value, value: &Value, max_value_size: usize) -> Result<(), StoreError> {
    let size = key.size() + value.size();
    if size > max_value_size {
        let text = format!("key and value have {size} bytes; max_value_size is {max_value_size}");
        return Err(StoreError::new(ErrorCode::InvalidData, text));
    }
    check_depth([key, value].into_iter())
}

fn depth(value: &Value) -> usize {
    let deepest =
        |values: &mut dyn Iterator<Item = &Value>| 1 + values.map(depth).max().unwrap_or(0);
    match value {
        Value::Set(elements) => deepest(&mut elements.iter()),
        Value::Table(entries) => deepest(&mut entries.iter().flat_map(|(k, v)| [k, v])),
        Value::Vector(elements) => deepest(&mut elements.iter()),
        _ => 0,
    }
}
