//! [`Held`]: what waits until its changes are settled.

use std::collections::BTreeSet;

use crate::store::backend::ClientId;
use crate::store::content::{Content, Entry};
use crate::store::protocol::{Answer, Change, Message, To};

/// A change that was made, and what it has replaced.
#[derive(Debug)]
pub(super) struct Applied {
    pub(super) change: Change,
    pub(super) old: Old,
}

/// What an entry was, or all of them.
#[derive(Debug)]
pub(super) enum Old {
    Entry(Option<Entry>),
    Content(Content),
}

/// What must not leave the master before the changes up to `sequence` are settled.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) sequence: u64,
    pub(super) applied: Vec<Applied>,
    /// In the order of the commands, those of a client that follow each other together.
    pub(super) answers: Vec<(ClientId, Vec<Answer>)>,
    /// Clients that must send again from `next`.
    pub(super) gaps: BTreeSet<ClientId>,
    pub(super) sends: Vec<(To, Message)>,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.applied.is_empty()
            && self.answers.is_empty()
            && self.gaps.is_empty()
            && self.sends.is_empty()
    }
}
