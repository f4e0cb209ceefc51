//! [`Walks`]: whole tables that are to be sent, one after the other. Pure.

use std::collections::VecDeque;

use bstr::{BStr, BString};

/// How many whole tables may wait to be sent.
const MAX_WALKS: usize = 1000;

/// A whole table on its way to a topic.
#[derive(Debug)]
pub(super) struct Walk {
    pub(super) topic: BString,
    /// How many elements an event has.
    pub(super) batch_size: usize,
    /// The name of the node that it is for, if it is sent because that node has come up.
    pub(super) node: Option<String>,
    /// Elements at positions below this are still to be sent; `None` before the first event.
    pub(super) cursor: Option<usize>,
}

/// Walks in the order in which they were asked for. The first one may be under way.
#[derive(Debug, Default)]
pub(super) struct Walks {
    queue: VecDeque<Walk>,
}

impl Walks {
    /// Adds a walk; `false` if too many wait. One to the same topic that has not begun is as good, and one
    /// to an earlier process of the same node is not needed any more.
    pub(super) fn push(&mut self, walk: Walk) -> bool {
        if walk.node.is_some() {
            self.queue.retain(|other| other.node != walk.node);
        }
        let is_same = |other: &&mut Walk| {
            other.cursor.is_none() && (&other.topic, &other.node) == (&walk.topic, &walk.node)
        };
        if let Some(other) = self.queue.iter_mut().find(is_same) {
            other.batch_size = walk.batch_size;
            return true;
        }
        let has_room = self.queue.len() < MAX_WALKS;
        if has_room {
            self.queue.push_back(walk);
        }
        has_room
    }

    /// Takes the walk whose turn it is.
    pub(super) fn take(&mut self) -> Option<Walk> {
        self.queue.pop_front()
    }

    /// Puts back what [`Walks::take`] took: it stays the first.
    pub(super) fn put_back(&mut self, walk: Walk) {
        self.queue.push_front(walk);
    }

    /// A process of a node is gone: nothing is sent to it any more.
    pub(super) fn node_down(&mut self, name: &str, topic: &BStr) {
        self.queue.retain(|walk| walk.node.as_deref() != Some(name) || walk.topic != topic);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(topic: &str, node: Option<&str>) -> Walk {
        Walk { topic: topic.into(), batch_size: 1, node: node.map(str::to_owned), cursor: None }
    }

    fn topics(walks: &Walks) -> Vec<String> {
        walks.queue.iter().map(|walk| walk.topic.to_string()).collect()
    }

    #[test]
    fn no_node_has_more_than_one() {
        let mut walks = Walks::default();
        for (topic, node) in
            [("a1", Some("a")), ("b1", Some("b")), ("t", None), ("a2", Some("a")), ("t", None)]
        {
            assert!(walks.push(walk(topic, node)));
        }
        assert_eq!(topics(&walks), ["b1", "t", "a2"]);
        // That of another process, and that which somebody asked for, stay.
        walks.push(walk("b1", None));
        walks.node_down("a", "a1".into());
        walks.node_down("b", "b1".into());
        assert_eq!(topics(&walks), ["t", "a2", "b1"]);
    }

    #[test]
    fn one_that_has_begun_is_no_substitute() {
        let mut walks = Walks::default();
        walks.push(walk("t", None));
        let mut first = walks.take().unwrap();
        first.cursor = Some(3);
        walks.put_back(first);
        for _ in 0..3 {
            walks.push(walk("t", None));
        }
        assert_eq!(topics(&walks), ["t", "t"]);
        assert_eq!(walks.take().unwrap().cursor, Some(3));
    }

    #[test]
    fn there_are_not_too_many() {
        let mut walks = Walks::default();
        for number in 0..MAX_WALKS + 5 {
            assert_eq!(walks.push(walk(&number.to_string(), None)), number < MAX_WALKS);
        }
        assert_eq!(walks.queue.len(), MAX_WALKS);
        assert!(walks.push(walk("7", None)), "it is there");
    }
}
