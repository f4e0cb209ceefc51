//! [`Prefixes`]: what all clients together have subscribed to.

use std::collections::HashMap;

use bstr::BString;
use zcluster::node::guests::Change;
use zcluster::topic::Signals;

/// What all clients together may have, in bytes of memory.
const MAX_HELD: usize = 256 << 20;

/// The memory that a prefix takes for each client that has it, about.
fn cost(prefix: &BString) -> usize {
    prefix.len() + 128
}

/// Counts how many clients want each prefix, and collects what the node must be told.
///
/// A prefix is subscribed when the first client wants it and unsubscribed when the last one no longer
/// does: a bus counts a prefix once for each connection (WIRE.md §1.4). A prefix that has a meaning to
/// nodes is replaced: no client may look like a node, or hide the end of one.
///
/// The broker limits what one connection subscribes to, and silently ignores what is beyond, even the
/// probes of the node. So all clients together have a limit as well.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    signals: Signals,
    /// How many different ones there may be.
    max: usize,
    /// What all clients have, counted for each of them: about as many bytes of memory.
    held: usize,
    counts: HashMap<BString, usize>,
    /// Whether the node must still hear of a prefix: `true` to subscribe, `false` to unsubscribe.
    untold: HashMap<BString, bool>,
    /// The order in which they changed.
    order: Vec<BString>,
    /// The last number given out by [`Prefixes::ask`], and whether the node must still hear of it.
    asked: u64,
    is_asking: bool,
}

impl Prefixes {
    pub(super) fn new(signals: Signals, max: usize) -> Self {
        Prefixes { signals, max, ..Prefixes::default() }
    }

    /// Whether a client may add these.
    pub(super) fn has_room<'a>(&self, added: impl Iterator<Item = &'a BString>) -> bool {
        let (mut different, mut held) = (self.counts.len(), self.held);
        for prefix in added {
            held += cost(prefix);
            different += usize::from(!self.counts.contains_key(self.signals.harmless(prefix)));
        }
        different <= self.max && held <= MAX_HELD
    }

    pub(super) fn add(&mut self, prefix: &BString) {
        self.held += cost(prefix);
        let prefix = BString::from(self.signals.harmless(prefix));
        let count = self.counts.entry(prefix.clone()).or_default();
        *count += 1;
        if *count == 1 {
            self.changed(&prefix, true);
        }
    }

    pub(super) fn remove(&mut self, prefix: &BString) {
        self.held = self.held.saturating_sub(cost(prefix));
        let prefix = BString::from(self.signals.harmless(prefix));
        let Some(count) = self.counts.get_mut(&prefix) else { return };
        *count -= 1;
        if *count == 0 {
            self.counts.remove(&prefix);
            self.changed(&prefix, false);
        }
    }

    fn changed(&mut self, prefix: &BString, on: bool) {
        match self.untold.remove(prefix) {
            // The node knows nothing of the earlier change, which this one undoes.
            Some(earlier) if earlier != on => {}
            Some(_) | None => {
                self.untold.insert(prefix.clone(), on);
                self.order.push(prefix.clone());
            }
        }
    }

    /// A number that is confirmed once everything added so far is in effect.
    pub(super) fn ask(&mut self) -> u64 {
        self.asked += 1;
        self.is_asking = true;
        self.asked
    }

    /// What the node must hear, if anything.
    pub(super) fn take_change(&mut self) -> Option<Change> {
        if self.order.is_empty() && !self.is_asking {
            return None;
        }
        let mut change = Change::default();
        for prefix in self.order.drain(..) {
            match self.untold.remove(&prefix) {
                Some(true) => change.subscribe.push(prefix),
                Some(false) => change.unsubscribe.push(prefix),
                None => {}
            }
        }
        change.confirm = std::mem::take(&mut self.is_asking).then_some(self.asked);
        // Changes may have undone each other.
        (change != Change::default()).then_some(change)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_prefix_is_told_once() {
        let mut prefixes = Prefixes::default();
        prefixes.add(&"a".into());
        prefixes.add(&"a".into());
        prefixes.add(&"b".into());
        assert_eq!(prefixes.ask(), 1);
        assert_eq!(prefixes.ask(), 2);
        let change = prefixes.take_change().unwrap();
        assert_eq!(change.subscribe, ["a", "b"]);
        assert_eq!((change.unsubscribe.len(), change.confirm), (0, Some(2)));
        assert_eq!(prefixes.take_change(), None);
        prefixes.remove(&"a".into());
        assert_eq!(prefixes.take_change(), None);
        prefixes.remove(&"a".into());
        prefixes.add(&"a".into());
        assert_eq!(prefixes.take_change(), None, "undone before the node heard of it");
    }

    #[test]
    fn all_clients_together_have_a_limit() {
        let mut prefixes = Prefixes::new(Signals::new("nodeid", "probe."), 2);
        let fits = |prefixes: &Prefixes, added: &[&str]| {
            let added: Vec<BString> = added.iter().map(|prefix| (*prefix).into()).collect();
            prefixes.has_room(added.iter())
        };
        assert!(fits(&prefixes, &["a", "b"]) && !fits(&prefixes, &["a", "b", "c"]));
        prefixes.add(&"a".into());
        prefixes.add(&"nodeid.x".into());
        assert!(fits(&prefixes, &["a", "nodeid.y"]) && !fits(&prefixes, &["b"]));
        prefixes.remove(&"a".into());
        assert!(fits(&prefixes, &["b"]));

        let mut prefixes = Prefixes::new(Signals::default(), 9);
        let long = BString::from(vec![b'x'; MAX_HELD / 2]);
        prefixes.add(&long);
        assert!(!prefixes.has_room([&long].into_iter()), "once more for another client");
        prefixes.remove(&long);
        assert!(prefixes.has_room([&long].into_iter()));
        assert_eq!(prefixes.held, 0);
    }

    #[test]
    fn what_means_something_to_nodes_is_not_told() {
        let mut prefixes = Prefixes::new(Signals::new("nodeid", "probe."), 9);
        prefixes.add(&"nodeid.a.".into());
        prefixes.add(&"nodeid.b.".into());
        prefixes.add(&"nodeid".into());
        prefixes.add(&"probe.1".into());
        assert_eq!(prefixes.take_change().unwrap().subscribe, ["nodeid", "probe"]);
        prefixes.remove(&"nodeid".into());
        prefixes.remove(&"nodeid.a.".into());
        assert_eq!(prefixes.take_change(), None);
        prefixes.remove(&"nodeid.b.".into());
        assert_eq!(prefixes.take_change().unwrap().unsubscribe, ["nodeid"]);
    }

    proptest! {
        /// Whatever clients do, and whenever the node is told, it ends with what they want.
        #[test]
        fn the_node_has_what_clients_want(
            steps in prop::collection::vec((0u8..6, prop::bool::ANY, prop::bool::ANY), 0..200)
        ) {
            let mut prefixes = Prefixes::default();
            let mut wanted: Vec<BString> = Vec::new();
            let mut told: BTreeSet<BString> = BTreeSet::new();
            let mut tell = |prefixes: &mut Prefixes| {
                let Some(change) = prefixes.take_change() else { return };
                for prefix in change.subscribe {
                    assert!(told.insert(prefix), "subscribed twice");
                }
                for prefix in change.unsubscribe {
                    assert!(told.remove(&prefix), "unsubscribed twice");
                }
            };
            for (which, adds, tells) in steps {
                let prefix = BString::from(format!("p{which}"));
                if adds {
                    prefixes.add(&prefix);
                    wanted.push(prefix);
                } else if let Some(at) = wanted.iter().position(|other| *other == prefix) {
                    prefixes.remove(&prefix);
                    wanted.swap_remove(at);
                }
                if tells {
                    tell(&mut prefixes);
                }
            }
            tell(&mut prefixes);
            let wanted: BTreeSet<BString> = wanted.into_iter().collect();
            prop_assert_eq!(prefixes.counts.len(), wanted.len());
            prop_assert_eq!(told, wanted);
        }
    }
}
