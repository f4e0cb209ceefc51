//! Delivers runs of events to their recipients, and decides what happens when a queue is full.
//!
//! Recipients that have room get their events at once. For the others, `when_full` decides: either
//! the events are dropped and counted, or the publisher is held back, which means that its
//! connection is not read until there is room. With `block` a publisher is held back for any
//! recipient; otherwise only if *none* of its recipients has room, and for `patience` at most. So a
//! subscriber that reads never waits for one that does not, and a burst to subscribers that all
//! read is slowed down rather than dropped. A subscriber that drains too little of its queue in
//! that time is slow: publishers stop waiting for it until its queue is half empty.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bstr::BString;
use zcluster::access::Access;
use zcluster::layout::WhenFull;
use zcluster::telemetry::EventDrop;

use super::bytes::Pool;
use super::connection::Connection;
use super::held::{Held, Late};
use super::hub::Hub;
use super::outbox::Lane;
use super::peer::Peer;
use super::refusals::Warnings;
use super::router::{Route, Router};
use super::run::Run;

/// Everything one thread needs to deliver events.
pub(super) struct Delivery<'a> {
    pub(super) hub: &'a Hub,
    /// Index of the thread.
    pub(super) shard: usize,
    pub(super) pool: &'a mut Pool,
    pub(super) router: &'a mut Router,
    pub(super) access: &'a Arc<Access>,
    pub(super) warnings: &'a mut Warnings,
    pub(super) now: Instant,
}

impl Delivery<'_> {
    /// Delivers runs in order, up to the first one that has to wait.
    pub(super) fn deliver(
        &mut self,
        connection: &mut Connection,
        runs: impl IntoIterator<Item = (Rc<Route>, Run)>,
    ) {
        let mut runs = runs.into_iter();
        while let Some((route, run)) = runs.next() {
            let (late, has_served) = self.hand_out(&route, &run);
            if has_served {
                connection.serves(&route, self.now);
            }
            if late.is_empty() {
                continue;
            }
            let late = self.choose(connection, &route, late, has_served);
            if !late.is_empty() {
                self.hub.metrics.held.inc();
                let then = runs.collect();
                connection.held = Some(Held { route, late, then });
                return;
            }
        }
    }

    /// Tries again for a publisher that is held back. Every wait has a deadline.
    pub(super) fn retry(&mut self, connection: &mut Connection) {
        let Some(mut held) = connection.held.take() else { return };
        let route = Rc::clone(&held.route);
        held.late = self.await_room(&route, held.late);
        if held.late.is_empty() {
            self.deliver(connection, held.then);
        } else {
            connection.held = Some(held);
        }
    }

    /// Drops whatever a held publisher still has to deliver.
    pub(super) fn abandon(&mut self, held: Held) {
        for late in held.late {
            self.give_up(&held.route, late);
        }
        for (route, run) in held.then {
            for late in self.hand_out(&route, &run).0 {
                self.give_up(&route, late);
            }
        }
    }

    /// Gives a run to every recipient that has room. Returns the recipients that have none, and
    /// whether any took the whole run.
    fn hand_out(&mut self, route: &Route, run: &Run) -> (Vec<Late>, bool) {
        let (mut late, mut has_served) = (Vec::new(), false);
        let is_evictable = route.when_full == WhenFull::DropOldest;
        for peer in &route.recipients {
            let mut rest = run.clone();
            let mut state = peer.lock();
            if state.outbox.is_closed() {
                continue;
            }
            state.counts.matched += run.messages as u64;
            state.outbox.take(route.lane, &mut rest, is_evictable, self.pool);
            drop(state);
            if rest.messages < run.messages {
                self.hub.mark(peer, self.shard);
            }
            if rest.messages > 0 {
                late.push(Late { peer: Arc::clone(peer), run: rest });
            } else {
                has_served = true;
            }
        }
        (late, has_served)
    }

    /// Delivers what fits by now and asks for a wake-up when there is room for the rest. Recipients
    /// whose time is up become slow and miss the rest. Returns the recipients that are still worth
    /// waiting for.
    fn await_room(&mut self, route: &Route, late: Vec<Late>) -> Vec<Late> {
        let (limit, is_evictable) = (self.limit(route), route.when_full == WhenFull::DropOldest);
        let mut awaited = Vec::new();
        for mut late in late {
            let Late { peer, run } = &mut late;
            let before = run.messages;
            let mut state = peer.lock();
            if state.outbox.is_closed() {
                let count = run.messages as u64;
                state.counts.drop_events(&route.prefix, EventDrop::Disconnected, count);
                continue;
            }
            state.outbox.take(route.lane, run, is_evictable, self.pool);
            if run.messages < before {
                self.hub.mark(peer, self.shard);
            }
            if run.messages == 0 {
                continue;
            }
            if self.now.saturating_duration_since(state.idle_since(self.now)) < limit {
                // The lock is still held, so no room can appear unnoticed.
                state.awaited_by |= 1 << self.shard;
                drop(state);
                awaited.push(late);
            } else {
                state.is_slow = true;
                drop(state);
                self.give_up(route, late);
            }
        }
        awaited
    }

    /// Applies the policy to recipients without room; returns those to wait for.
    fn choose(
        &mut self,
        connection: &mut Connection,
        route: &Route,
        late: Vec<Late>,
        has_served: bool,
    ) -> Vec<Late> {
        let may_wait = route.lane == Lane::Bulk
            && !self.limit(route).is_zero()
            && (route.when_full == WhenFull::Block
                || (!has_served && !connection.serves_others(&late, self.now)));
        let mut awaited = Vec::new();
        for late in late {
            if may_wait && !late.peer.lock().is_slow {
                awaited.push(late);
            } else {
                self.give_up(route, late);
            }
        }
        self.await_room(route, awaited)
    }

    fn limit(&self, route: &Route) -> Duration {
        let settings = &self.hub.settings;
        match route.when_full {
            WhenFull::Block => settings.block_timeout,
            _ => settings.patience,
        }
    }

    /// Drops the events that do not fit, or older ones in their place.
    fn give_up(&mut self, route: &Route, late: Late) {
        let Late { peer, mut run } = late;
        let mut evicted: Vec<(BString, u64)> = Vec::new();
        let mut state = peer.lock();
        match (route.lane, route.when_full) {
            (Lane::Bulk, WhenFull::DropOldest) => {
                let excess = run.messages.saturating_sub(self.hub.settings.bulk.messages);
                let excess = run.split(excess, usize::MAX);
                let prefix = &route.prefix;
                let dropped = excess.messages as u64;
                state.counts.drop_events(prefix, EventDrop::QueueFull, dropped);
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
        state.counts.drop_events(&route.prefix, reason, run.messages as u64);
        drop(state);
        self.account(&peer, EventDrop::QueueFull, evicted);
        self.hub.mark(&peer, self.shard);
    }

    /// Counts dropped events by the subscribed prefix of their topic.
    pub(super) fn account(&mut self, peer: &Peer, reason: EventDrop, topics: Vec<(BString, u64)>) {
        for (topic, count) in topics {
            // The peer is not locked, so the directory may be.
            let prefix = self.router.prefix(&topic);
            peer.lock().counts.drop_events(&prefix, reason, count);
        }
    }
}

/// Counts one topic.
pub(super) fn count(topics: &mut Vec<(BString, u64)>, topic: &[u8]) {
    match topics.iter_mut().rev().take(8).find(|(known, _)| known == topic) {
        Some((_, count)) => *count += 1,
        None => topics.push((topic.into(), 1)),
    }
}
