//! Holds what waits for room on the XPUB: [`Outbox`] for events, [`Greetings`] for the handshake,
//! which must not wait behind them.

use std::collections::{HashSet, VecDeque};

use bstr::BString;

use crate::membership::{Hello, MAX_ENTRIES};
use crate::queue::Limits;
use crate::topic::NodeId;

/// One event to publish.
#[derive(Debug)]
pub(super) struct Publication {
    pub(super) topic: BString,
    pub(super) payload: Vec<u8>,
}

impl Publication {
    fn size(&self) -> usize {
        self.topic.len() + self.payload.len()
    }
}

/// Events in order, bounded in messages and bytes; the newest is dropped when it is full.
#[derive(Debug)]
pub(super) struct Outbox {
    limits: Limits,
    waiting: VecDeque<Publication>,
    bytes: usize,
}

impl Outbox {
    pub(super) fn new(limits: Limits) -> Self {
        Outbox { limits, waiting: VecDeque::new(), bytes: 0 }
    }

    /// Appends an event; `false` when the outbox is full and the event is lost.
    pub(super) fn push(&mut self, publication: Publication) -> bool {
        let bytes = self.bytes + publication.size();
        let full = (self.limits.messages > 0 && self.waiting.len() >= self.limits.messages)
            || (self.limits.bytes > 0 && bytes > self.limits.bytes && !self.waiting.is_empty());
        if !full {
            self.bytes = bytes;
            self.waiting.push_back(publication);
        }
        !full
    }

    /// The next event.
    pub(super) fn front(&self) -> Option<&Publication> {
        self.waiting.front()
    }

    /// Removes the next event.
    pub(super) fn pop(&mut self) {
        if let Some(publication) = self.waiting.pop_front() {
            self.bytes -= publication.size();
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// Greetings in order, each once: a peer that greets repeatedly gets one answer.
#[derive(Debug, Default)]
pub(super) struct Greetings {
    waiting: VecDeque<(Hello, NodeId)>,
    known: HashSet<(Hello, NodeId)>,
}

impl Greetings {
    /// Two for each node the membership can track; further peers get none.
    const MAX: usize = 2 * MAX_ENTRIES;

    pub(super) fn push(&mut self, hello: Hello, to: NodeId) {
        if self.waiting.len() < Self::MAX && self.known.insert((hello, to.clone())) {
            self.waiting.push_back((hello, to));
        }
    }

    pub(super) fn pop(&mut self) -> Option<(Hello, NodeId)> {
        let next = self.waiting.pop_front()?;
        self.known.remove(&next);
        Some(next)
    }

    /// Puts back at the front what [`Greetings::pop`] returned.
    pub(super) fn put_back(&mut self, hello: Hello, to: NodeId) {
        self.known.insert((hello, to.clone()));
        self.waiting.push_front((hello, to));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greetings_stand_once_and_in_order() {
        let (a, b) = (NodeId::from_bytes("a"), NodeId::from_bytes("b"));
        let mut greetings = Greetings::default();
        for _ in 0..3 {
            greetings.push(Hello::Backend, a.clone());
            greetings.push(Hello::Cluster, a.clone());
            greetings.push(Hello::Backend, b.clone());
        }
        let first = greetings.pop().unwrap();
        greetings.put_back(first.0, first.1);
        let mut order = Vec::new();
        while let Some(next) = greetings.pop() {
            order.push(next);
        }
        let expected = [(Hello::Backend, a.clone()), (Hello::Cluster, a), (Hello::Backend, b)];
        assert_eq!(order, expected);
        assert!(greetings.is_empty() && greetings.known.is_empty());
    }

    #[test]
    fn bounds_hold_and_the_newest_is_lost() {
        let event = |topic: &str, size| Publication { topic: topic.into(), payload: vec![0; size] };
        let mut outbox = Outbox::new(Limits { messages: 3, bytes: 100 });
        assert!(outbox.push(event("a", 1000)), "alone, an event may exceed the bound");
        assert!(!outbox.push(event("b", 1)));
        outbox.pop();
        assert!(outbox.push(event("c", 49)));
        assert!(outbox.push(event("d", 49)));
        assert!(!outbox.push(event("e", 49)), "bytes");
        outbox.pop();
        assert!(outbox.push(event("f", 9)));
        assert!(outbox.push(event("g", 9)));
        assert!(!outbox.push(event("h", 0)), "messages");
        let mut topics = Vec::new();
        while let Some(next) = outbox.front() {
            topics.push(next.topic.to_string());
            outbox.pop();
        }
        assert_eq!(topics, ["d", "f", "g"]);
        assert!(outbox.is_empty() && outbox.bytes == 0);
    }
}
