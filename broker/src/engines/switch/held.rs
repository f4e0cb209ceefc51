//! [`Held`]: the events of a publisher that is not read because nobody has room for them.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use super::peer::Peer;
use super::router::Route;
use super::run::Run;

/// Events that a recipient has no room for.
pub(super) struct Late {
    pub(super) peer: Arc<Peer>,
    pub(super) run: Run,
}

/// Events of a publisher that is held back.
pub(super) struct Held {
    pub(super) route: Rc<Route>,
    pub(super) late: Vec<Late>,
    /// What comes after that.
    pub(super) then: VecDeque<(Rc<Route>, Run)>,
}

impl Held {
    /// Who is waited for.
    pub(super) fn awaited(&self) -> impl Iterator<Item = &Arc<Peer>> {
        self.late.iter().map(|late| &late.peer)
    }
}
