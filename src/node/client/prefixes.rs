//! [`Prefixes`]: what a client subscribes to, and which of those events it wants.
//! It subscribes to none that has a meaning to nodes ([`Signals`]).

use bstr::{BString, ByteSlice};

use crate::layout::ZeroMq;
use crate::topic::Signals;

/// The prefixes requested from a client, and those it subscribes to instead.
#[derive(Debug)]
pub(super) struct Prefixes {
    wanted: Vec<BString>,
    subscribed: Vec<BString>,
}

impl Prefixes {
    pub(super) fn new(wanted: Vec<BString>, options: &ZeroMq) -> Self {
        let signals = Signals::new(&options.nodeid_topic_prefix, &options.internal_topic_prefix);
        let mut subscribed: Vec<BString> = Vec::new();
        for prefix in &wanted {
            let harmless = signals.harmless(prefix);
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
