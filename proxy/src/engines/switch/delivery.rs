//! Runs of events to their recipients, and what happens where there is no room.
//!
//! Whoever has room gets its events at once. For the others there is a choice (`when_full`): the
//! events are dropped and counted, or their publisher is held back, that is not read, until there
//! is room. It is held back with `block`, and else only where *nobody* whom it serves has room,
//! for up to `patience`: nobody who reads waits for one who does not, and a burst to subscribers
//! that all read is paced rather than lost. Who made no room in that time is slow: nobody waits
//! for it until half of its queue is gone.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bstr::BString;
use zcluster::layout::WhenFull;
use zcluster::telemetry::EventDrop;

use super::bytes::Pool;
use super::connection::Connection;
use super::hub::Hub;
use super::outbox::Lane;
use super::peer::Peer;
use super::router::{Route, Router};
use super::run::Run;

/// Events of a publisher that is held back.
pub(super) struct Held {
    route: Rc<Route>,
    /// Who has no room for what.
    late: Vec<(Arc<Peer>, Run)>,
    /// What comes after that.
    pub(super) then: VecDeque<(Rc<Route>, Run)>,
    /// Since when nobody has made room.
    since: Instant,
}

/// The means of delivery of one thread.
pub(super) struct Delivery<'a> {
    pub(super) hub: &'a Hub,
    /// The thread.
    pub(super) shard: usize,
    pub(super) pool: &'a mut Pool,
    pub(super) router: &'a mut Router,
    pub(super) now: Instant,
}

impl Delivery<'_> {
    /// Delivers runs in order, until one is to be waited for.
    pub(super) fn deliver(
        &mut self,
        connection: &mut Connection,
        runs: impl IntoIterator<Item = (Rc<Route>, Run)>,
    ) {
        let mut runs = runs.into_iter();
        while let Some((route, run)) = runs.next() {
            let late = self.hand_out(&route, &run);
            if late.len() < route.recipients.len() {
                connection.serves(&route, self.now);
            }
            if late.is_empty() {
                continue;
            }
            let late = self.choose(connection, &route, late);
            if !late.is_empty() {
                self.hub.metrics.held.inc();
                let then = runs.collect();
                connection.held = Some(Held { route, late, then, since: self.now });
                return;
            }
        }
    }

    /// Tries again for a publisher that is held back. What it waits for ends by itself.
    pub(super) fn retry(&mut self, connection: &mut Connection) {
        let Some(mut held) = connection.held.take() else { return };
        let route = Rc::clone(&held.route);
        let mut made_room = false;
        held.late.retain_mut(|(peer, run)| {
            let before = run.messages;
            self.push(peer, &route, run);
            made_room |= run.messages < before;
            run.messages > 0
        });
        if made_room {
            held.since = self.now;
        }
        if held.late.is_empty() {
            self.deliver(connection, held.then);
        } else if self.now.saturating_duration_since(held.since) < self.limit(&route) {
            self.await_room(&held.late);
            connection.held = Some(held);
        } else {
            for (peer, run) in held.late {
                peer.lock().is_slow = true;
                self.give_up(&peer, &route, run);
            }
            self.deliver(connection, held.then);
        }
    }

    /// Gives up what a publisher that is held back still has.
    pub(super) fn abandon(&mut self, held: Held) {
        for (peer, run) in held.late {
            self.give_up(&peer, &held.route, run);
        }
        for (route, run) in held.then {
            for (peer, run) in self.hand_out(&route, &run) {
                self.give_up(&peer, &route, run);
            }
        }
    }

    /// Hands a run to all who have room. Returns who has not, and for what.
    fn hand_out(&mut self, route: &Route, run: &Run) -> Vec<(Arc<Peer>, Run)> {
        let mut late = Vec::new();
        for peer in &route.recipients {
            let mut rest = run.clone();
            {
                let mut state = peer.lock();
                if state.outbox.is_closed() {
                    continue;
                }
                state.books.matched += run.messages as u64;
                let is_evictable = route.when_full == WhenFull::DropOldest;
                state.outbox.take(route.lane, &mut rest, is_evictable, self.pool);
            }
            if rest.messages < run.messages {
                self.hub.mark(peer, self.shard);
            }
            if rest.messages > 0 {
                late.push((Arc::clone(peer), rest));
            }
        }
        late
    }

    /// Hands on what is left of a run, as far as there is room.
    fn push(&mut self, peer: &Peer, route: &Route, run: &mut Run) {
        let before = run.messages;
        let mut state = peer.lock();
        if state.outbox.is_closed() {
            let count = std::mem::take(&mut run.messages) as u64;
            state.books.drop_events(&route.prefix, EventDrop::Disconnected, count);
            return;
        }
        let is_evictable = route.when_full == WhenFull::DropOldest;
        state.outbox.take(route.lane, run, is_evictable, self.pool);
        drop(state);
        if run.messages < before {
            self.hub.mark(peer, self.shard);
        }
    }

    /// Decides for those who have no room; returns those to be waited for.
    fn choose(
        &mut self,
        connection: &mut Connection,
        route: &Route,
        mut late: Vec<(Arc<Peer>, Run)>,
    ) -> Vec<(Arc<Peer>, Run)> {
        let may_wait = route.lane == Lane::Bulk
            && !self.limit(route).is_zero()
            && (route.when_full == WhenFull::Block
                || (late.len() == route.recipients.len()
                    && !connection.serves_others(&late, self.now)));
        let mut awaited = Vec::new();
        for (peer, run) in late.drain(..) {
            if may_wait && !peer.lock().is_slow {
                awaited.push((peer, run));
            } else {
                self.give_up(&peer, route, run);
            }
        }
        self.await_room(&awaited);
        awaited
    }

    fn limit(&self, route: &Route) -> Duration {
        let settings = &self.hub.settings;
        match route.when_full {
            WhenFull::Block => settings.block_timeout,
            _ => settings.patience,
        }
    }

    /// Asks to be told when one of those has room.
    fn await_room(&self, late: &[(Arc<Peer>, Run)]) {
        for (peer, _) in late {
            peer.lock().awaited_by |= 1 << self.shard;
        }
    }

    /// Drops events that there is no room for, or older ones in their stead.
    fn give_up(&mut self, peer: &Peer, route: &Route, mut run: Run) {
        let mut evicted: Vec<(BString, u64)> = Vec::new();
        let mut state = peer.lock();
        match (route.lane, route.when_full) {
            (Lane::Bulk, WhenFull::DropOldest) => {
                let excess = run.messages.saturating_sub(self.hub.settings.bulk.messages);
                let excess = run.split(excess, usize::MAX);
                let prefix = &route.prefix;
                let dropped = excess.messages as u64;
                state.books.drop_events(prefix, EventDrop::QueueFull, dropped);
                state.outbox.make_room(&run, &mut |topic| count(&mut evicted, topic));
                state.outbox.take(route.lane, &mut run, true, self.pool);
            }
            (Lane::Bulk, WhenFull::Disconnect) => {
                state.full_since.get_or_insert(self.now);
            }
            _ => {}
        }
        let reason = match route.lane {
            Lane::Control => EventDrop::ControlFull,
            Lane::Bulk => EventDrop::QueueFull,
        };
        let reason = if state.outbox.is_closed() { EventDrop::Disconnected } else { reason };
        state.books.drop_events(&route.prefix, reason, run.messages as u64);
        drop(state);
        self.account(peer, EventDrop::QueueFull, evicted);
        self.hub.mark(peer, self.shard);
    }

    /// Counts events that were dropped, by topic, under their prefixes.
    pub(super) fn account(&mut self, peer: &Peer, reason: EventDrop, topics: Vec<(BString, u64)>) {
        for (topic, count) in topics {
            // The directory may be asked here: the peer is not locked.
            let prefix = self.router.prefix(&topic);
            peer.lock().books.drop_events(&prefix, reason, count);
        }
    }
}

/// Counts a topic.
pub(super) fn count(topics: &mut Vec<(BString, u64)>, topic: &[u8]) {
    match topics.iter_mut().rev().take(8).find(|(known, _)| known == topic) {
        Some((_, count)) => *count += 1,
        None => topics.push((topic.into(), 1)),
    }
}
