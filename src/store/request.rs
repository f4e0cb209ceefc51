//! [`Request`]: an operation that was not done yet, and how its result is taken.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;
use super::expiry::Expiry;
use super::local::{Local, Then};
use super::operation::Operation;
use super::protocol::Command;
use super::remote::{Awaited, Remote};
use crate::app::{Context, Outcome};
use crate::peers::ErrorCode;
use crate::value::{Value, ValueError, from_value, to_value};

/// How the value in an answer becomes the result.
pub(super) type Decode<R> = fn(Value) -> Result<R, StoreError>;

/// A command that was not given to a store yet.
#[derive(Debug)]
pub(super) struct Prepared<R> {
    command: Result<Command, StoreError>,
    timeout: Option<Duration>,
    decode: Decode<R>,
}

impl<R> Prepared<R> {
    pub(super) fn new(
        operation: Operation,
        key: Result<Value, StoreError>,
        arguments: Result<Vec<Value>, StoreError>,
        decode: Decode<R>,
    ) -> Self {
        let command = key.and_then(|key| {
            Ok(Command { id: 0, operation, key, arguments: arguments?, expiry: None })
        });
        Prepared { command, timeout: None, decode }
    }
}

macro_rules! options {
    ($request:ident) => {
        impl<R> $request<R> {
            /// The entry is to expire then, if that is set. Has no meaning for queries, `erase` and `clear`.
            pub fn expires(mut self, expiry: impl Into<Option<Expiry>>) -> Self {
                if let Ok(command) = &mut self.prepared.command {
                    command.expiry = expiry.into().or(command.expiry);
                }
                self
            }

            /// How long to wait for the result, instead of the store's time.
            pub fn timeout(mut self, timeout: Duration) -> Self {
                self.prepared.timeout = Some(timeout);
                self
            }
        }
    };
}

options!(Request);
options!(RemoteRequest);

/// An operation on a [`Store`](super::Store): nothing happens until [`Request::then`] or [`Request::send`].
#[must_use = "nothing happens until `then` or `send`"]
pub struct Request<R> {
    pub(super) local: Rc<Local>,
    pub(super) prepared: Prepared<R>,
}

impl<R> fmt::Debug for Request<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("command", &self.prepared.command).finish_non_exhaustive()
    }
}

impl<R: 'static> Request<R> {
    /// Does it, and calls a function with the result, after the current handler or later.
    pub fn then(
        self,
        call: impl FnOnce(Result<R, StoreError>, &mut Context<'_>) -> Outcome + 'static,
    ) {
        let Prepared { command, timeout, decode } = self.prepared;
        let then: Then = Box::new(move |result, context| call(result.and_then(decode), context));
        self.local.submit(command, timeout, then);
    }

    /// Does it. If it fails, a warning is logged.
    pub fn send(self) {
        let Prepared { command, timeout, .. } = self.prepared;
        let what = command.as_ref().map_or(Operation::Get, |command| command.operation);
        let then: Then = Box::new(move |result, _| match result {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("{what:?} failed: {error}").into()),
        });
        self.local.submit(command, timeout, then);
    }
}

/// An operation on a [`RemoteStore`](super::RemoteStore): nothing happens until [`RemoteRequest::wait`] or
/// [`RemoteRequest::send`].
#[must_use = "nothing happens until `wait` or `send`"]
pub struct RemoteRequest<R> {
    pub(super) remote: Remote,
    pub(super) prepared: Prepared<R>,
}

impl<R> fmt::Debug for RemoteRequest<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteRequest")
            .field("command", &self.prepared.command)
            .finish_non_exhaustive()
    }
}

impl<R> RemoteRequest<R> {
    /// Does it, and waits for the result. Not for handlers of the app that has the store: nothing happens there while
    /// one of them waits.
    ///
    /// # Errors
    /// Why it was not done, or may not have been.
    pub fn wait(self) -> Result<R, StoreError> {
        let Prepared { command, timeout, decode } = self.prepared;
        self.remote.submit(command?, timeout)?.wait().and_then(decode)
    }

    /// Does it, without waiting for the result; [`Reply::wait`] does.
    ///
    /// # Errors
    /// Why it was not begun.
    pub fn send(self) -> Result<Reply<R>, StoreError> {
        let Prepared { command, timeout, decode } = self.prepared;
        let reply = self.remote.submit(command?, timeout)?;
        Ok(Reply { reply, decode })
    }
}

/// The result of an operation that was begun.
#[derive(Debug)]
pub struct Reply<R> {
    reply: Awaited,
    decode: Decode<R>,
}

impl<R> Reply<R> {
    /// Waits for the result.
    ///
    /// # Errors
    /// Why it was not done, or may not have been.
    pub fn wait(self) -> Result<R, StoreError> {
        self.reply.wait().and_then(self.decode)
    }
}

pub(super) fn ended() -> StoreError {
    StoreError::new(ErrorCode::Unspecified, "the app has ended")
}

/// A Rust value as it is stored.
pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Value, StoreError> {
    to_value(value).map_err(|error| StoreError::new(ErrorCode::InvalidData, error.to_string()))
}

/// What was stored as a Rust value.
pub(super) fn decode<T: DeserializeOwned>(value: Value) -> Result<T, StoreError> {
    from_value(value)
        .map_err(|error: ValueError| StoreError::new(ErrorCode::TypeClash, error.to_string()))
}

/// The elements of a set.
pub(super) fn decode_all<T: DeserializeOwned>(value: Value) -> Result<Vec<T>, StoreError> {
    match value {
        Value::Set(elements) => elements.into_iter().map(decode).collect(),
        other => decode(other),
    }
}

/// For operations without a result.
#[allow(clippy::unnecessary_wraps)]
pub(super) fn nothing(_: Value) -> Result<(), StoreError> {
    Ok(())
}

/// A vector's end that was taken, if it had one.
pub(super) fn decode_some<T: DeserializeOwned>(value: Value) -> Result<Option<T>, StoreError> {
    if value == Value::None { Ok(None) } else { decode(value).map(Some) }
}
