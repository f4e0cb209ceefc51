//! [`Timers`]: what happens later.

use std::collections::BTreeMap;
use std::time::Instant;

use super::{Context, Outcome};
use crate::Event;

/// A timer that has not fired yet: see [`Context::schedule`] and [`Context::call_after`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimerId {
    at: Instant,
    number: u64,
}

/// What happens when a timer fires.
pub(super) enum Task {
    Raise(Event),
    Call(Box<dyn FnOnce(&mut Context<'_>) -> Outcome>),
}

/// Tasks by the time when they are due; equal times in the order in which they were added.
#[derive(Default)]
pub(super) struct Timers {
    waiting: BTreeMap<TimerId, Task>,
    added: u64,
    /// How many of them raise an event.
    events: usize,
}

impl std::fmt::Debug for Timers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.waiting.keys()).finish()
    }
}

impl Timers {
    pub(super) fn add(&mut self, at: Instant, task: Task) -> TimerId {
        self.added += 1;
        let id = TimerId { at, number: self.added };
        self.events += usize::from(matches!(task, Task::Raise(_)));
        self.waiting.insert(id, task);
        id
    }

    /// `false` if it has fired, or was cancelled before.
    pub(super) fn cancel(&mut self, id: TimerId) -> bool {
        self.remove(id).is_some()
    }

    /// The number of the timer that was added last.
    pub(super) fn last(&self) -> u64 {
        self.added
    }

    /// The next task that is due, if one is, of those up to that number.
    pub(super) fn pop(&mut self, now: Instant, last: u64) -> Option<Task> {
        let (&first, _) = self.waiting.first_key_value()?;
        if first.at <= now && first.number <= last { self.remove(first) } else { None }
    }

    fn remove(&mut self, id: TimerId) -> Option<Task> {
        let task = self.waiting.remove(&id)?;
        self.events -= usize::from(matches!(task, Task::Raise(_)));
        Some(task)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|(id, _)| id.at)
    }

    /// Whether events are still to be raised.
    pub(super) fn has_events(&self) -> bool {
        self.events > 0
    }
}
