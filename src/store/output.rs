//! [`Output`]: what the pure parts of a store want done.

use super::StoreError;
use super::protocol::{Message, To};
use super::watch::Noted;
use crate::Value;

/// A command of this process whose result somebody waits for.
pub(super) type Ticket = u64;

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
