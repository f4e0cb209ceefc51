//! [`Output`]: what the pure parts of a store want done.

use super::StoreError;
use super::protocol::{Message, To};
use super::watch::Noted;
use crate::Value;

/// A command of this process whose result somebody waits for.
pub(super) type Ticket = u64;

/// What is counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    /// Entries that are here.
    pub(super) entries: usize,
    /// Changes that were made in them.
    pub(super) changes: u64,
    /// Snapshots that were begun or completed.
    pub(super) snapshots: u64,
    /// Commands that were dropped because the backend was behind.
    pub(super) dropped: u64,
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Output {
    /// Send this.
    Send(To, Message),
    /// A command is done.
    Done(Ticket, Result<Value, StoreError>),
    /// Tell those who watch.
    Noted(Noted),
}
