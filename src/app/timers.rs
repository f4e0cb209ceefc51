//! [`Timers`]: events that are raised later.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::Event;

/// A timer that has not fired yet: see [`Context::schedule`](super::Context::schedule).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimerId {
    at: Instant,
    number: u64,
}

/// Events by the time when they are due; equal times in the order in which they were added.
#[derive(Debug, Default)]
pub(super) struct Timers {
    waiting: BTreeMap<TimerId, Event>,
    added: u64,
}

impl Timers {
    pub(super) fn add(&mut self, at: Instant, event: Event) -> TimerId {
        self.added += 1;
        let id = TimerId { at, number: self.added };
        self.waiting.insert(id, event);
        id
    }

    /// `false` if it has fired, or was cancelled before.
    pub(super) fn cancel(&mut self, id: TimerId) -> bool {
        self.waiting.remove(&id).is_some()
    }

    /// The next event that is due, if one is.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Event> {
        let first = self.waiting.first_entry()?;
        (first.key().at <= now).then(|| first.remove())
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|(id, _)| id.at)
    }
}
