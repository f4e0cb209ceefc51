//! Events that wait for room on the XPUB: bounded in messages and bytes, newest dropped when full.

use std::collections::VecDeque;

use bstr::BString;

use crate::queue::Limits;

/// One event to publish.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Publication {
    pub(super) topic: BString,
    pub(super) payload: Vec<u8>,
}

impl Publication {
    fn size(&self) -> usize {
        self.topic.len() + self.payload.len()
    }
}

/// The queue between the I/O thread and its XPUB.
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

    /// The event that is next.
    pub(super) fn front(&self) -> Option<&Publication> {
        self.waiting.front()
    }

    /// Removes the event that was next.
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

#[cfg(test)]
mod tests {
    use super::*;

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
