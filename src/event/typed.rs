//! [`TypedEvent`] and [`ToEvent`]: events as Rust structs.

use std::borrow::Cow;
use std::sync::Arc;

use bstr::{BString, ByteSlice};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::Event;
use crate::value::{ValueError, from_args, to_args};

/// A struct whose fields are the arguments of an event, in order. Derived, together with serde's
/// traits:
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use zcluster::value::Timestamp;
/// use zcluster::{Event, ToEvent, TypedEvent, Value};
///
/// #[derive(Debug, PartialEq, Event, Serialize, Deserialize)]
/// #[event(name = "Demo::ping")]
/// struct Ping {
///     greeting: String,
///     number: u64,
///     sent: Timestamp,
/// }
///
/// let ping = Ping { greeting: "hello".into(), number: 42, sent: Timestamp(0) };
/// let event = ping.to_event()?;
/// assert_eq!(event.name, "Demo::ping");
/// assert_eq!(event.args, ["hello".into(), 42_u64.into(), Timestamp(0).into()]);
/// assert_eq!(Ping::from_event(event)?, ping);
///
/// let event = Event::new(Ping::NAME, vec!["hello".into(), (-1).into(), Timestamp(0).into()]);
/// let error = Ping::from_event(&event).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "Demo::ping: argument 2, number: expected count, found int"
/// );
/// # Ok::<(), zcluster::EventError>(())
/// ```
///
/// [`to_value`](crate::value::to_value) says which Rust type is which type in Zeek. A Zeek node
/// takes an argument that is unset only for a parameter of type `any`, so a field should not be an
/// `Option`; fields of records in it may be (WIRE.md §2.5).
///
/// ```compile_fail
/// #[derive(zcluster::Event, serde::Serialize)]
/// #[event(name = "Demo.ping")] // identifiers are joined by `::`
/// struct Ping;
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event",
    note = "derive `zcluster::Event`, serde's `Serialize` to publish it, and `Deserialize` to receive it"
)]
pub trait TypedEvent: Sized {
    /// The name of the event: qualified, `Module::event`, or that of a global event.
    const NAME: &'static str;

    /// Makes the struct of an event, which may be borrowed or given away. Ignores metadata.
    ///
    /// # Errors
    /// When the event has another name, or arguments of another number or other types.
    #[inline]
    fn from_event<'a>(event: impl Into<Cow<'a, Event>>) -> Result<Self, EventError>
    where
        Self: DeserializeOwned,
    {
        let event = event.into();
        if event.name != Self::NAME {
            let (expected, found) = (Self::NAME, event.name.clone());
            return Err(EventError::Name { expected, found });
        }
        let args = match event {
            Cow::Borrowed(event) => from_args(Cow::Borrowed(event.args.as_slice())),
            Cow::Owned(event) => from_args(Cow::Owned(event.args)),
        };
        args.map_err(|error| EventError::Arguments { event: Self::NAME, error })
    }
}

/// What can be published: a [`TypedEvent`] that is `Serialize`, or an [`Event`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event that can be published",
    note = "derive `zcluster::Event` and serde's `Serialize`"
)]
pub trait ToEvent {
    /// The event with its name and arguments.
    ///
    /// # Errors
    /// When an argument has no form in Zeek (see [`to_value`](crate::value::to_value)). Never for an
    /// [`Event`].
    fn to_event(&self) -> Result<Cow<'_, Event>, EventError>;
}

impl<T: TypedEvent + Serialize> ToEvent for T {
    #[inline]
    fn to_event(&self) -> Result<Cow<'_, Event>, EventError> {
        let args = to_args(self);
        let args = args.map_err(|error| EventError::Arguments { event: T::NAME, error })?;
        Ok(Cow::Owned(Event::new(T::NAME, args)))
    }
}

macro_rules! dynamic {
    ($($type:ty),*) => {
        $(impl ToEvent for $type {
            fn to_event(&self) -> Result<Cow<'_, Event>, EventError> {
                Ok(Cow::Borrowed(self))
            }
        })*
    };
}
dynamic!(Event, &Event, &mut Event, Box<Event>, Arc<Event>);

impl From<Event> for Cow<'_, Event> {
    #[inline]
    fn from(event: Event) -> Self {
        Cow::Owned(event)
    }
}

impl<'a> From<&'a Event> for Cow<'a, Event> {
    #[inline]
    fn from(event: &'a Event) -> Self {
        Cow::Borrowed(event)
    }
}

/// Why an event and a Rust struct are not the same.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EventError {
    /// Another event.
    #[error("expected the event {expected}, found {}", found.as_bstr())]
    Name {
        /// The name of the struct's event.
        expected: &'static str,
        /// The name of the other event.
        found: BString,
    },
    /// Arguments that do not fit: their number, or one of them.
    #[error("{event}: {error}")]
    Arguments {
        /// The name of the event.
        event: &'static str,
        /// Which argument, and what is wrong with it.
        error: ValueError,
    },
}
