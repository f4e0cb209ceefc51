//! [`Prefixes`]: what a client subscribes to, and which of those events it wants.
//!
//! Every process sees a subscription, and some have a meaning: one below the prefix of nodeid
//! topics announces a node, and one to a probe signals its owner that the bus is ready (WIRE.md
//! §1.8, §6.2). A client that wants such topics subscribes to a shorter, meaningless prefix, and
//! filters the events.

use bstr::{BString, ByteSlice};

use crate::layout::ZeroMq;

/// The prefixes requested from a client, and those it subscribes to instead.
#[derive(Debug)]
pub(super) struct Prefixes {
    wanted: Vec<BString>,
    subscribed: Vec<BString>,
}

impl Prefixes {
    pub(super) fn new(wanted: Vec<BString>, options: &ZeroMq) -> Self {
        let nodeid = format!("{}.", options.nodeid_topic_prefix);
        let mut subscribed: Vec<BString> = Vec::new();
        for prefix in &wanted {
            let mut harmless: &[u8] = prefix;
            for special in [nodeid.as_bytes(), options.internal_topic_prefix.as_bytes()] {
                if harmless.starts_with(special) {
                    harmless = &special[..special.len().saturating_sub(1)];
                }
            }
            // A second subscription on one connection could never be cancelled (WIRE.md §1.4).
            if !subscribed.iter().any(|other| *other == harmless) {
                subscribed.push(harmless.into());
            }
        }
        Prefixes { wanted, subscribed }
    }

    /// What to subscribe to.
    pub(super) fn subscribed(&self) -> &[BString] {
        &self.subscribed
    }

    /// Whether an event on that topic was requested.
    pub(super) fn want(&self, topic: &[u8]) -> bool {
        self.wanted.iter().any(|prefix| topic.starts_with_str(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_subscription_means_a_node_or_a_probe() {
        let rows: [(&[&str], &[&str]); 6] = [
            (&["zeek.cluster.worker", ""], &["zeek.cluster.worker", ""]),
            (&["a", "a"], &["a"]),
            (&["zeek.cluster.nodeid."], &["zeek.cluster.nodeid"]),
            (&["zeek.cluster.nodeid.zeromq_w_h_1_N0."], &["zeek.cluster.nodeid"]),
            (&["zeek.cluster.nodeid.a", "zeek.cluster.nodeid"], &["zeek.cluster.nodeid"]),
            (&["zeek.zeromq.internal.zeromq_w_h_1_N0.1."], &["zeek.zeromq.internal"]),
        ];
        for (wanted, subscribed) in rows {
            let wanted: Vec<BString> = wanted.iter().map(|prefix| (*prefix).into()).collect();
            let prefixes = Prefixes::new(wanted.clone(), &ZeroMq::default());
            assert_eq!(prefixes.subscribed(), subscribed, "{wanted:?}");
            for topic in &wanted {
                assert!(prefixes.want(topic), "{topic}");
            }
        }
    }

    #[test]
    fn only_what_was_asked_for_is_wanted() {
        let prefixes = Prefixes::new(vec!["zeek.cluster.nodeid.a".into()], &ZeroMq::default());
        assert!(prefixes.want(b"zeek.cluster.nodeid.abc."));
        assert!(!prefixes.want(b"zeek.cluster.nodeid.b."));
        assert!(!prefixes.want(b"zeek.cluster.nodeid"));
    }
}
