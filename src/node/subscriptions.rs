//! [`Subscriptions`]: what this process has subscribed to and for whom, and what the bus is told of it.
//! Pure.

use std::collections::{BTreeMap, HashMap};

use bstr::BString;

use crate::topic::Signals;

/// How many topics have an audience that is remembered.
const MAX_AUDIENCES: usize = 4_096;
/// Longer topics are looked up each time.
const MAX_REMEMBERED_LEN: usize = 1024;

/// Who has subscribed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// The node itself.
    Node,
    /// Its application. What it subscribes to must not mean anything to nodes ([`Signals`]): another
    /// process's nodeid topic would hide from all others that this process has died.
    Application,
    /// [Guests](super::guests), who see to that themselves.
    Guests,
}

/// Whom an event is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Audience {
    /// The node or its application.
    pub(super) node: bool,
    pub(super) guests: bool,
}

/// How often each reader has subscribed to a prefix.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    node: usize,
    application: usize,
    guests: usize,
}

impl Counts {
    fn of(&mut self, reader: Reader) -> &mut usize {
        match reader {
            Reader::Node => &mut self.node,
            Reader::Application => &mut self.application,
            Reader::Guests => &mut self.guests,
        }
    }

    fn are_zero(self) -> bool {
        self.node == 0 && self.application == 0 && self.guests == 0
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Subscriptions {
    signals: Signals,
    wanted: BTreeMap<BString, Counts>,
    /// What the bus knows, and for how many wanted prefixes. Each is sent only once: a second one could
    /// never be cancelled (WIRE.md §1.4).
    sent: BTreeMap<BString, usize>,
    /// How many subscriptions there are because of which events must be sorted: those of guests, and
    /// those of the application that are sent shorter than wanted.
    sorted: usize,
    /// How many of them are of guests.
    guests: usize,
    /// Whom events on a topic are for; empty if nothing has to be sorted.
    audiences: HashMap<BString, Audience>,
}

impl Subscriptions {
    pub(super) fn new(signals: Signals) -> Self {
        Subscriptions {
            signals,
            wanted: BTreeMap::new(),
            sent: BTreeMap::new(),
            sorted: 0,
            guests: 0,
            audiences: HashMap::new(),
        }
    }

    /// A reader subscribes. Returns what to subscribe to, if that is new.
    pub(super) fn subscribe(&mut self, prefix: BString, reader: Reader) -> Option<BString> {
        self.audiences.clear();
        let sent = self.sent_for(&prefix, reader);
        self.sorted += usize::from(is_sorted(&prefix, &sent, reader));
        self.guests += usize::from(reader == Reader::Guests);
        let count = self.wanted.entry(prefix).or_default().of(reader);
        *count += 1;
        if *count > 1 {
            return None;
        }
        let uses = self.sent.entry(sent.clone()).or_default();
        *uses += 1;
        (*uses == 1).then_some(sent)
    }

    /// A reader cancels one subscription. Returns what to cancel, if it was the last one.
    pub(super) fn unsubscribe(&mut self, prefix: &BString, reader: Reader) -> Option<BString> {
        let counts = self.wanted.get_mut(prefix)?;
        let less = counts.of(reader).checked_sub(1)?;
        *counts.of(reader) = less;
        let are_zero = counts.are_zero();
        if are_zero {
            self.wanted.remove(prefix);
        }
        self.audiences.clear();
        let sent = self.sent_for(prefix, reader);
        self.sorted -= usize::from(is_sorted(prefix, &sent, reader));
        self.guests -= usize::from(reader == Reader::Guests);
        if less > 0 {
            return None;
        }
        let uses = self.sent.get_mut(&sent)?;
        *uses -= 1;
        if *uses > 0 {
            return None;
        }
        self.sent.remove(&sent);
        Some(sent)
    }

    fn sent_for(&self, prefix: &BString, reader: Reader) -> BString {
        match reader {
            Reader::Application => self.signals.harmless(prefix).into(),
            Reader::Node | Reader::Guests => prefix.clone(),
        }
    }

    /// The subscriptions of guests, and how often each was requested.
    pub(super) fn of_guests(&self) -> Vec<(BString, usize)> {
        let guests = self.wanted.iter().filter(|(_, counts)| counts.guests > 0);
        guests.map(|(prefix, counts)| (prefix.clone(), counts.guests)).collect()
    }

    pub(super) fn has_guests(&self) -> bool {
        self.guests > 0
    }

    /// Whom an event on that topic is for.
    pub(super) fn audience(&mut self, topic: &[u8]) -> Audience {
        if self.sorted == 0 {
            return Audience { node: true, guests: false };
        }
        if let Some(audience) = self.audiences.get(topic) {
            return *audience;
        }
        let mut audience = Audience::default();
        for end in 0..=topic.len() {
            if let Some(counts) = self.wanted.get(&topic[..end]) {
                audience.node |= counts.node > 0 || counts.application > 0;
                audience.guests |= counts.guests > 0;
            }
        }
        if self.audiences.len() >= MAX_AUDIENCES {
            self.audiences.clear();
        }
        if topic.len() <= MAX_REMEMBERED_LEN {
            self.audiences.insert(topic.into(), audience);
        }
        audience
    }
}

fn is_sorted(prefix: &BString, sent: &BString, reader: Reader) -> bool {
    reader == Reader::Guests || prefix != sent
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODEID: &str = "zeek.cluster.nodeid.x.";

    fn subscriptions() -> Subscriptions {
        Subscriptions::new(Signals::new("zeek.cluster.nodeid", "zeek.zeromq.internal."))
    }

    #[test]
    fn each_prefix_is_sent_once_and_cancelled_with_its_last_reader() {
        let mut all = subscriptions();
        assert_eq!(all.subscribe("a".into(), Reader::Node), Some("a".into()));
        for reader in [Reader::Node, Reader::Application, Reader::Guests] {
            assert_eq!(all.subscribe("a".into(), reader), None);
        }
        assert_eq!(all.of_guests(), [("a".into(), 1)]);
        for reader in [Reader::Node, Reader::Guests, Reader::Guests, Reader::Application] {
            assert_eq!(all.unsubscribe(&"a".into(), reader), None);
        }
        assert_eq!(all.unsubscribe(&"a".into(), Reader::Node), Some("a".into()));
        assert_eq!(all.unsubscribe(&"a".into(), Reader::Node), None);
        assert_eq!(all.unsubscribe(&"b".into(), Reader::Node), None);
    }

    #[test]
    fn what_means_a_node_is_sent_for_the_node_itself_only() {
        let mut all = subscriptions();
        assert_eq!(all.subscribe(NODEID.into(), Reader::Node), Some(NODEID.into()));
        let harmless: BString = "zeek.cluster.nodeid".into();
        assert_eq!(all.subscribe(NODEID.into(), Reader::Application), Some(harmless.clone()));
        assert_eq!(all.subscribe("zeek.cluster.nodeid.y.".into(), Reader::Application), None);
        // Only what was wanted is delivered.
        for (topic, node) in [(NODEID, true), ("zeek.cluster.nodeid.z.", false), ("a", false)] {
            assert_eq!(all.audience(topic.as_bytes()), Audience { node, guests: false }, "{topic}");
        }
        assert_eq!(all.unsubscribe(&NODEID.into(), Reader::Node), Some(NODEID.into()));
        assert!(all.audience(NODEID.as_bytes()).node);
        assert_eq!(all.unsubscribe(&NODEID.into(), Reader::Application), None);
        assert!(!all.audience(NODEID.as_bytes()).node);
        let last = all.unsubscribe(&"zeek.cluster.nodeid.y.".into(), Reader::Application);
        assert_eq!(last, Some(harmless));
        // Nothing has to be sorted any more.
        assert!(all.audience(b"anything").node);
    }

    #[test]
    fn events_are_for_those_who_subscribed() {
        let mut all = subscriptions();
        all.subscribe("a.".into(), Reader::Application);
        all.subscribe("a.b".into(), Reader::Guests);
        for (topic, node, guests) in
            [("a.", true, false), ("a.b", true, true), ("a.bc", true, true), ("b", false, false)]
        {
            assert_eq!(all.audience(topic.as_bytes()), Audience { node, guests }, "{topic}");
        }
        all.subscribe(BString::default(), Reader::Guests);
        assert_eq!(all.audience(b"b"), Audience { node: false, guests: true });
    }
}
