//! [`Shared`]: the handle of one value.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::IdentifierUpdate;
use crate::Value;
use crate::app::{Context, Outcome};
use crate::event::{EventError, TypedEvent};
use crate::node::NodeError;
use crate::value::{ValueError, from_value, to_value};

type Handler<T> = Rc<RefCell<dyn FnMut(&T, &T, &mut Context<'_>) -> Outcome>>;

/// A value that other nodes can change: see [`SharedValues::add`](super::SharedValues::add). Clones are
/// handles to the same value.
pub struct Shared<T> {
    inner: Rc<Inner<T>>,
}

struct Inner<T> {
    id: String,
    value: RefCell<T>,
    handlers: RefCell<Vec<Handler<T>>>,
}

/// A value whose type is not known.
pub(super) trait Slot: fmt::Debug {
    /// Takes over a value that another node has published.
    fn update(&self, value: Value, context: &mut Context<'_>) -> Update;
}

/// What became of an update.
pub(super) enum Update {
    /// With what the handlers returned.
    Done(Outcome),
    /// It is of another type.
    Misfit(ValueError),
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Shared { inner: Rc::clone(&self.inner) }
    }
}

impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl<T> fmt::Debug for Inner<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<T: Serialize + DeserializeOwned + Clone + 'static> Shared<T> {
    pub(super) fn new(id: String, value: T) -> Self {
        let (value, handlers) = (RefCell::new(value), RefCell::default());
        Shared { inner: Rc::new(Inner { id, value, handlers }) }
    }

    pub(super) fn slot(&self) -> Rc<dyn Slot> {
        Rc::clone(&self.inner) as Rc<dyn Slot>
    }

    /// Its name.
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// The value now.
    pub fn get(&self) -> T {
        self.inner.value.borrow().clone()
    }

    /// Sets the value at this node. Nobody is told: see [`Shared::publish_id`].
    pub fn set(&self, value: T) {
        self.inner.value.replace(value);
    }

    /// Publishes the value to the subscribers of a topic. Blocks as [`crate::Node::publish`] does.
    ///
    /// # Errors
    /// As [`crate::Node::publish`].
    pub fn publish_id(
        &self,
        topic: impl AsRef<[u8]>,
        context: &mut Context<'_>,
    ) -> Result<(), NodeError> {
        let value = to_value(&*self.inner.value.borrow());
        let value = value.map_err(|error| {
            NodeError::Event(EventError::Arguments { event: IdentifierUpdate::NAME, error })
        })?;
        context.publish(topic, &IdentifierUpdate { id: self.inner.id.as_str().into(), value })
    }

    /// Calls a handler when another node has changed the value, with the old value and the new one, which
    /// [`Shared::get`] returns by then. Handlers are called in the order in which they were added.
    #[must_use = "returns the handle"]
    pub fn on_change(
        self,
        handler: impl FnMut(&T, &T, &mut Context<'_>) -> Outcome + 'static,
    ) -> Self {
        self.inner.handlers.borrow_mut().push(Rc::new(RefCell::new(handler)));
        self
    }
}

impl<T: Serialize + DeserializeOwned + Clone + 'static> Slot for Inner<T> {
    fn update(&self, value: Value, context: &mut Context<'_>) -> Update {
        // Types need not be comparable, but values are.
        if to_value(&*self.value.borrow()).is_ok_and(|own| own == value) {
            return Update::Done(Ok(()));
        }
        let new: T = match from_value(value) {
            Ok(new) => new,
            Err(error) => return Update::Misfit(error),
        };
        let old = self.value.replace(new.clone());
        // Handlers may use the handle, and add handlers; one that panics stays.
        let handlers = self.handlers.borrow().clone();
        let mut outcome = Ok(());
        for handler in handlers {
            let result = (handler.borrow_mut())(&old, &new, context);
            outcome = outcome.and(result);
        }
        Update::Done(outcome)
    }
}
