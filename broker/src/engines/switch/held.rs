//! [`Held`]: the undelivered events of a publisher that is held back.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use super::peer::Peer;
use super::router::Route;
use super::run::Run;

/// Events that one recipient has no room for.
pub(super) struct Late {
    pub(super) peer: Arc<Peer>,
    pub(super) run: Run,
}

/// The undelivered events of a publisher.
pub(super) struct Held {
    pub(super) route: Rc<Route>,
    pub(super) late: Vec<Late>,
    /// The runs that follow.
    pub(super) then: VecDeque<(Rc<Route>, Run)>,
}

impl Held {
    /// The recipients it waits for.
    pub(super) fn awaited(&self) -> impl Iterator<Item = &Arc<Peer>> {
        self.late.iter().map(|late| &late.peer)
    }
}
