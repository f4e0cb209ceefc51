//! Tests of the pure parts.

mod api;
mod errors;
mod hostile;
mod operations;
mod properties;
mod settled;
mod simulation;

use super::operation::Operation;
use super::protocol::Command;
use crate::Value;

/// A command.
fn command(operation: Operation, key: impl Into<Value>, arguments: Vec<Value>) -> Command {
    Command { id: 0, operation, key: key.into(), arguments, expiry: None }
}
