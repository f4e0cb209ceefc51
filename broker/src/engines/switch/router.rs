//! [`Router`]: each thread's cache of topic → recipients and counter.

use std::rc::Rc;
use std::sync::Arc;

use ahash::AHashMap;
use zcluster::layout::WhenFull;

use super::hub::Hub;
use super::outbox::Lane;
use super::peer::Peer;
use super::subscriptions::{PeerId, Text};
use super::topics::Count;

/// Cached topics; when full, the cache is cleared.
const MAX_TOPICS: usize = 8_192;
/// Longest topic, in bytes, that is cached and counted by itself.
pub(super) const MAX_LENGTH: usize = 256;

/// The recipients of an event. Consecutive events with the same route form one run.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) recipients: Vec<Arc<Peer>>,
    /// The longest subscribed prefix that matches; events are counted under it.
    pub(super) prefix: Text,
    pub(super) lane: Lane,
    pub(super) when_full: WhenFull,
}

/// What is known about a topic.
#[derive(Debug)]
pub(super) struct Topic {
    /// `None`: no subscriber.
    pub(super) route: Option<Rc<Route>>,
    pub(super) count: Count,
}

type RouteKey = (Vec<PeerId>, Text, Lane, WhenFull);

/// The routes of topics.
pub(super) struct Router {
    hub: Arc<Hub>,
    /// The generation of the cached routes.
    generation: u64,
    topics: AHashMap<Box<[u8]>, Rc<Topic>>,
    routes: AHashMap<RouteKey, Rc<Route>>,
}

impl Router {
    pub(super) fn new(hub: Arc<Hub>) -> Self {
        Router { hub, generation: 0, topics: AHashMap::new(), routes: AHashMap::new() }
    }

    /// Clears stale routes. Call it after reading and before routing: the publishers may know of
    /// subscriptions that this thread has not seen.
    pub(super) fn refresh(&mut self) {
        let generation = self.hub.generation();
        if self.generation != generation || self.topics.len() >= MAX_TOPICS {
            self.generation = generation;
            self.topics.clear();
            self.routes.clear();
        }
    }

    /// What is known about a topic.
    pub(super) fn topic(&mut self, topic: &[u8]) -> Rc<Topic> {
        if let Some(known) = self.topics.get(topic) {
            return Rc::clone(known);
        }
        let found = Rc::new(Topic {
            route: self.look_up(topic),
            count: self.hub.topics_seen.counter(topic),
        });
        if topic.len() <= MAX_LENGTH && self.topics.len() < MAX_TOPICS {
            self.topics.insert(topic.into(), Rc::clone(&found));
        }
        found
    }

    fn look_up(&mut self, topic: &[u8]) -> Option<Rc<Route>> {
        let (recipients, prefix) = self.hub.directory().recipients(topic)?;
        if recipients.is_empty() {
            return None;
        }
        let settings = &self.hub.settings;
        let (lane, when_full) = (settings.lane(topic), settings.when_full(topic));
        let ids = recipients.iter().map(|peer| peer.id).collect();
        let key = (ids, Text::clone(&prefix), lane, when_full);
        if self.routes.len() >= MAX_TOPICS {
            self.routes.clear();
        }
        let route = || Rc::new(Route { recipients, prefix, lane, when_full });
        Some(Rc::clone(self.routes.entry(key).or_insert_with(route)))
    }

    /// The prefix under which events of a topic are counted.
    pub(super) fn prefix(&mut self, topic: &[u8]) -> Text {
        let topic = self.topic(topic);
        topic.route.as_ref().map_or_else(|| [].into(), |route| Text::clone(&route.prefix))
    }
}
