//! [`SharedValues`]: values that nodes publish to each other, by name (`Broker::publish_id`).
//!
//! ```
//! use zcluster::app::App;
//! use zcluster::shared::SharedValues;
//!
//! let values = SharedValues::new();
//! let threshold = values.add("Scan::threshold", 25_u64)?.on_change(|old, new, _| {
//!     println!("the threshold was {old} and is {new}");
//!     Ok(())
//! });
//! let app = App::new().subscribe("scan.config").with(values).on_event("Scan::busy", {
//!     move |_, context| {
//!         threshold.set(threshold.get() * 2);
//!         threshold.publish_id("scan.config", context)?;
//!         Ok(())
//!     }
//! });
//! # Ok::<(), zcluster::shared::SharedError>(())
//! ```
//!
//! Every node that has subscribed to the topic and has a value of that name takes over what is published.
//! Nobody merges or orders: the last one to arrive counts, which may be another one on each node if two
//! publish at once. A node that joins later gets what is published after that. To share tables, elements
//! and all, there are better ways (WIRE.md §8.7).
//!
//! On the wire it is an event, [`IdentifierUpdate`]. Zeek has no such message on the ZeroMQ backend, and ignores
//! the event; a script can declare and handle it, `event Broker::identifier_update(id: string, value: any)`.
//! (`Broker::publish_id` is a function there, and no event can have its name.)
//!
//! | what arrives | then |
//! |---|---|
//! | a value of a name that nobody has added here | ignored |
//! | a value of another type | ignored, and a warning is logged |
//! | the value that it has already | nobody is told |
//! | another value | it is taken over, then [`Shared::on_change`] is called |

mod value;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use bstr::BString;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use value::Shared;

use crate::app::{App, Context, Module, Outcome};
use crate::rate_limit::KeyedRateLimit;
use crate::value::{ValueError, to_value};
use crate::{Event, Value};
use value::{Slot, Update};

/// A warning about the same value is logged once in this time.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);
/// How many values have warnings of their own.
const MAX_WARNINGS: usize = 100;

/// `Broker::identifier_update`: the value that a name has at the sender.
#[derive(Clone, Debug, PartialEq, Event, Serialize, Deserialize)]
#[event(name = "Broker::identifier_update")]
pub struct IdentifierUpdate {
    /// The name.
    pub id: BString,
    /// The value.
    pub value: Value,
}

/// Why a value cannot be shared.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SharedError {
    /// Names are unique.
    #[error("there is a shared value '{id}' already; clone its handle")]
    Taken {
        /// The name.
        id: String,
    },
    /// Zeek has no such type.
    #[error("'{id}' cannot be shared: {error}")]
    Value {
        /// The name.
        id: String,
        /// Why not.
        error: ValueError,
    },
}

/// The values of an app that other nodes can change. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct SharedValues {
    slots: Rc<RefCell<HashMap<BString, Rc<dyn Slot>>>>,
}

impl SharedValues {
    /// None yet. Add them before or after [`App::with`].
    pub fn new() -> Self {
        SharedValues::default()
    }

    /// Adds a value under its qualified name, `Module::name`, and returns its handle. All nodes must agree
    /// on the type ([`to_value`] says which Rust type is which type in Zeek).
    ///
    /// # Errors
    /// When there is one of that name, or Zeek has no such type.
    pub fn add<T>(&self, id: impl Into<String>, value: T) -> Result<Shared<T>, SharedError>
    where
        T: Serialize + DeserializeOwned + Clone + 'static,
    {
        let id = id.into();
        if self.slots.borrow().contains_key(id.as_bytes()) {
            return Err(SharedError::Taken { id });
        }
        if let Err(error) = to_value(&value) {
            return Err(SharedError::Value { id, error });
        }
        let shared = Shared::new(id.clone(), value);
        self.slots.borrow_mut().insert(id.into(), shared.slot());
        Ok(shared)
    }

    fn update(&self, update: IdentifierUpdate, context: &mut Context<'_>) -> Result<(), Refusal> {
        let slot = self.slots.borrow().get(&update.id).cloned();
        let Some(slot) = slot else {
            log::debug!("ignored a value of {}, which is not shared here", update.id);
            return Ok(());
        };
        match slot.update(update.value, context) {
            Update::Done(outcome) => outcome.map_err(Refusal::Handler),
            Update::Misfit(error) => Err(Refusal::Misfit(error)),
        }
    }
}

/// What went wrong at an update.
enum Refusal {
    Misfit(ValueError),
    Handler(Box<dyn std::error::Error>),
}

impl Module for SharedValues {
    fn install(self, app: App) -> App {
        let clock = app.clock().clone();
        let mut warnings = KeyedRateLimit::new(WARNING_INTERVAL, MAX_WARNINGS);
        app.on::<IdentifierUpdate>(move |update, context| -> Outcome {
            let id = update.id.clone();
            match self.update(update, context) {
                Ok(()) => Ok(()),
                Err(Refusal::Handler(error)) => Err(error),
                Err(Refusal::Misfit(error)) => {
                    if let Some(more) = warnings.check(&id, clock.instant()) {
                        let from = context.origin().map(|origin| origin.sender.to_string());
                        let from = from.unwrap_or_else(|| "this node".into());
                        log::warn!("ignored {id} from {from}: {error} ({more} more like this)");
                    }
                    Ok(())
                }
            }
        })
    }
}
