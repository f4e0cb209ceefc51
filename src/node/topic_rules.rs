//! [`TopicRules`]: which topics a process lets itself publish, and which subscriptions it lets others
//! see: the access control of Zeek's Broker framework. Pure.
//!
//! A process binds itself with them. What others let it do is in [`access`](crate::access).

use std::collections::{BTreeMap, BTreeSet};

use bstr::BString;

use crate::layout;

/// The rules of a process, and what it has subscribed to.
#[derive(Debug)]
pub(crate) struct TopicRules {
    auto_publish: bool,
    auto_advertise: bool,
    published: BTreeSet<BString>,
    advertised: BTreeSet<BString>,
    /// What the process has subscribed to, and how often; only kept without `auto_advertise`.
    wanted: BTreeMap<BString, usize>,
    /// What others are to see of it.
    visible: BTreeSet<BString>,
}

/// A subscription that others must now see, or no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Subscribe(BString),
    Unsubscribe(BString),
}

impl TopicRules {
    pub(crate) fn new(options: &layout::Cluster) -> Self {
        let set = |topics: &[String]| topics.iter().map(|topic| topic.as_str().into()).collect();
        TopicRules {
            auto_publish: options.auto_publish_topics,
            auto_advertise: options.auto_advertise_topics,
            published: set(&options.publish_topics),
            advertised: set(&options.advertise_topics),
            wanted: BTreeMap::new(),
            visible: BTreeSet::new(),
        }
    }

    /// Whether events of that topic may be published.
    pub(crate) fn may_publish(&self, topic: &[u8]) -> bool {
        self.auto_publish || self.published.contains(topic)
    }

    /// Allows a topic; `false` if it was allowed before.
    pub(crate) fn publish_topic(&mut self, topic: BString) -> bool {
        self.published.insert(topic)
    }

    /// Withdraws that; `false` if there was nothing to withdraw.
    pub(crate) fn unpublish_topic(&mut self, topic: &[u8]) -> bool {
        self.published.remove(topic)
    }

    /// Allows subscriptions below a prefix; `None` if they were allowed before.
    pub(crate) fn advertise_topic(&mut self, prefix: BString) -> Option<Vec<Change>> {
        self.advertised.insert(prefix).then(|| self.changes())
    }

    /// Withdraws that; `None` if there was nothing to withdraw.
    pub(crate) fn unadvertise_topic(&mut self, prefix: &[u8]) -> Option<Vec<Change>> {
        self.advertised.remove(prefix).then(|| self.changes())
    }

    /// The process subscribes to a prefix.
    pub(crate) fn subscribe(&mut self, prefix: BString) -> Vec<Change> {
        if self.auto_advertise {
            return vec![Change::Subscribe(prefix)];
        }
        *self.wanted.entry(prefix).or_default() += 1;
        self.changes()
    }

    /// The process ends a subscription.
    pub(crate) fn unsubscribe(&mut self, prefix: BString) -> Vec<Change> {
        if self.auto_advertise {
            return vec![Change::Unsubscribe(prefix)];
        }
        if let Some(count) = self.wanted.get_mut(&prefix) {
            *count -= 1;
            if *count == 0 {
                self.wanted.remove(&prefix);
            }
        }
        self.changes()
    }

    /// Whether a subscription is one that others see nothing of.
    pub(crate) fn is_hidden(&self, prefix: &[u8]) -> bool {
        let touches = |rule: &BString| prefix.starts_with(rule) || rule.starts_with(prefix);
        !self.auto_advertise && !self.advertised.iter().any(touches)
    }

    /// What others see is what is wanted and allowed: the longer one of two prefixes.
    fn changes(&mut self) -> Vec<Change> {
        if self.auto_advertise {
            return Vec::new();
        }
        let mut visible = BTreeSet::new();
        for wanted in self.wanted.keys() {
            for rule in &self.advertised {
                if wanted.starts_with(rule) {
                    visible.insert(wanted.clone());
                } else if rule.starts_with(wanted) {
                    visible.insert(rule.clone());
                }
            }
        }
        let new = visible.difference(&self.visible).cloned().map(Change::Subscribe);
        let old = self.visible.difference(&visible).cloned().map(Change::Unsubscribe);
        // Nothing that stays wanted is missing in between.
        let changes = new.chain(old).collect();
        self.visible = visible;
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::Change::{Subscribe, Unsubscribe};
    use super::*;

    fn rules(publish: &[&str], advertise: &[&str]) -> TopicRules {
        let list = |topics: &[&str]| topics.iter().map(|topic| (*topic).to_owned()).collect();
        TopicRules::new(&layout::Cluster {
            auto_publish_topics: false,
            auto_advertise_topics: false,
            publish_topics: list(publish),
            advertise_topics: list(advertise),
            ..layout::Cluster::default()
        })
    }

    #[test]
    fn everything_is_allowed_unless_told_otherwise() {
        let mut rules = TopicRules::new(&layout::Cluster::default());
        assert!(rules.may_publish(b"a"));
        assert!(!rules.is_hidden(b"a"));
        assert_eq!(rules.subscribe("a".into()), [Subscribe("a".into())]);
        assert_eq!(rules.subscribe("a".into()), [Subscribe("a".into())]);
        assert_eq!(rules.unsubscribe("a".into()), [Unsubscribe("a".into())]);
        // Lists of what is allowed anyway change nothing.
        assert_eq!(rules.advertise_topic("b".into()), Some(vec![]));
        assert_eq!(rules.unadvertise_topic(b"b"), Some(vec![]));
        assert!(rules.publish_topic("b".into()) && rules.unpublish_topic(b"b"));
        assert!(rules.may_publish(b"b"));
    }

    #[test]
    fn topics_to_publish_are_listed_to_the_letter() {
        let mut rules = rules(&["a.b"], &[]);
        for (topic, allowed) in [("a.b", true), ("a.b.c", false), ("a", false), ("", false)] {
            assert_eq!(rules.may_publish(topic.as_bytes()), allowed, "{topic}");
        }
        assert!(rules.publish_topic("c".into()));
        assert!(!rules.publish_topic("c".into()));
        assert!(rules.may_publish(b"c"));
        assert!(rules.unpublish_topic(b"c"));
        assert!(!rules.unpublish_topic(b"c"));
        assert!(!rules.may_publish(b"c"));
    }

    #[test]
    fn subscriptions_are_visible_as_far_as_they_are_advertised() {
        let mut rules = rules(&[], &["a."]);
        assert_eq!(rules.subscribe("a.b".into()), [Subscribe("a.b".into())]);
        // The second one changes nothing for others.
        assert_eq!(rules.subscribe("a.b".into()), []);
        assert_eq!(rules.subscribe("c".into()), []);
        assert!(rules.is_hidden(b"c") && !rules.is_hidden(b"a.b") && !rules.is_hidden(b"a"));
        assert_eq!(rules.advertise_topic("c.d".into()), Some(vec![Subscribe("c.d".into())]));
        assert_eq!(rules.advertise_topic("c.d".into()), None);
        let wider = [Subscribe("c".into()), Unsubscribe("c.d".into())];
        // `c.d` stays: it is a rule, and `c` is wanted.
        assert_eq!(rules.advertise_topic("c".into()), Some(vec![wider[0].clone()]));
        assert_eq!(rules.unadvertise_topic(b"c.d"), Some(vec![wider[1].clone()]));
        assert_eq!(rules.unsubscribe("a.b".into()), []);
        assert_eq!(rules.unsubscribe("a.b".into()), [Unsubscribe("a.b".into())]);
        assert_eq!(rules.unsubscribe("never".into()), []);
        assert_eq!(rules.unadvertise_topic(b"c"), Some(vec![Unsubscribe("c".into())]));
        assert_eq!(rules.unadvertise_topic(b"c"), None);
    }
}
