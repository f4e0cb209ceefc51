//! The subscriptions of all peers (WIRE.md §1.4): a prefix structure, and what publishers must be
//! told.
//!
//! Pure: peers are numbers. From the outside it behaves like libzmq's XPUB (`XPUB_VERBOSER`) and
//! XSUB joined. A peer either has a prefix or not, however often it subscribes, but each of its
//! subscriptions is a reference upstream. Publishers are told every subscription, and only the
//! cancellation that ends the last reference. A connection that ends gives back one reference for
//! each prefix it has, so a prefix subscribed twice stays, as with libzmq. Unlike libzmq, only a
//! limited number of such leftovers is kept, and a peer cannot cancel what it has not subscribed
//! to.

use std::sync::Arc;

use ahash::AHashMap;
use zcluster::telemetry::Refusal;

use super::trie::Trie;

/// The number of a connection.
pub(super) type PeerId = u64;

/// A prefix of topics: any bytes.
pub(super) type Text = Arc<[u8]>;

/// Limit for prefixes that no peer has any more but whose references were never given back.
const MAX_ORPHANS: usize = 1_000;

/// How much one peer may subscribe to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Number of prefixes.
    pub(super) prefixes: usize,
    /// Length of each, in bytes.
    pub(super) length: usize,
}

/// Why a subscription is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("a prefix of {0} bytes (max_subscription_length)")]
    Length(usize),
    #[error("more than {0} prefixes (max_subscriptions)")]
    Count(usize),
    #[error("cancels a prefix that it has not subscribed to")]
    Unknown,
}

impl Refused {
    /// The metric label for it.
    pub(super) fn refusal(self) -> Refusal {
        match self {
            Refused::Length(_) | Refused::Count(_) => Refusal::SubscriptionLimit,
            Refused::Unknown => Refusal::Unsubscription,
        }
    }
}

/// The subscriptions of all peers.
pub(super) struct Subscriptions {
    limits: Limits,
    prefixes: Trie<Prefix>,
    /// Each peer's prefixes with their references; repeated subscriptions add to the first.
    peers: AHashMap<PeerId, AHashMap<Text, Held>>,
    /// Prefixes that have references but no peer.
    orphans: usize,
    /// Total bytes of all prefixes.
    bytes: usize,
}

struct Prefix {
    text: Text,
    /// In ascending order.
    subscribers: Vec<PeerId>,
    references: u64,
}

#[derive(Default)]
struct Held {
    /// Whether events of the prefix go to the peer.
    active: bool,
    references: u64,
}

/// The recipients of a topic.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Match {
    /// In ascending order, without duplicates.
    pub(super) recipients: Vec<PeerId>,
    /// The longest matching prefix, if any.
    pub(super) prefix: Option<Text>,
}

impl Subscriptions {
    pub(super) fn new(limits: Limits) -> Self {
        Subscriptions {
            limits,
            prefixes: Trie::new(),
            peers: AHashMap::new(),
            orphans: 0,
            bytes: 0,
        }
    }

    /// The number of distinct prefixes.
    pub(super) fn len(&self) -> usize {
        self.prefixes.len()
    }

    /// Bytes of all prefixes, including what is sent along with them.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + 32 * self.prefixes.len()
    }

    /// The number of prefixes a peer has.
    pub(super) fn of_peer(&self, peer: PeerId) -> usize {
        self.peers.get(&peer).map_or(0, |own| own.len())
    }

    /// All prefixes in ascending order: what a new publisher must be told.
    pub(super) fn all(&self) -> impl Iterator<Item = &Text> {
        self.prefixes.values().map(|prefix| &prefix.text)
    }

    /// Adds a subscription. All publishers must be told.
    pub(super) fn subscribe(&mut self, peer: PeerId, text: &[u8]) -> Result<(), Refused> {
        if text.len() > self.limits.length {
            return Err(Refused::Length(text.len()));
        }
        let own = self.peers.entry(peer).or_default();
        let is_new = !own.contains_key(text);
        if is_new && own.len() >= self.limits.prefixes {
            return Err(Refused::Count(self.limits.prefixes));
        }
        let bytes = &mut self.bytes;
        let prefix = self.prefixes.get_or_insert_with(text, || {
            *bytes += text.len();
            Prefix { text: text.into(), subscribers: Vec::new(), references: 0 }
        });
        if prefix.references > 0 && prefix.subscribers.is_empty() {
            self.orphans -= 1;
        }
        prefix.references += 1;
        let held = own.entry(Arc::clone(&prefix.text)).or_default();
        held.references += 1;
        held.active = true;
        if let Err(at) = prefix.subscribers.binary_search(&peer) {
            prefix.subscribers.insert(at, peer);
        }
        Ok(())
    }

    /// Cancels a subscription. Returns whether publishers must be told.
    pub(super) fn cancel(&mut self, peer: PeerId, text: &[u8]) -> Result<bool, Refused> {
        let own = self.peers.get_mut(&peer).ok_or(Refused::Unknown)?;
        let held = own.get_mut(text).ok_or(Refused::Unknown)?;
        held.active = false;
        held.references -= 1;
        if held.references == 0 {
            own.remove(text);
        }
        Ok(self.give_back(peer, text, 1))
    }

    /// Removes a peer. Returns the cancelled prefixes that publishers must be told, in ascending
    /// order.
    pub(super) fn remove(&mut self, peer: PeerId) -> Vec<Text> {
        let own = self.peers.remove(&peer).unwrap_or_default();
        let mut ended: Vec<_> =
            own.into_iter().filter(|(_, held)| held.active).map(|(text, _)| text).collect();
        ended.sort_unstable();
        ended.retain(|text| self.give_back(peer, text, 1));
        ended
    }

    /// Cancels the subscriptions a peer is no longer allowed to have, with all their references.
    /// Returns how many prefixes it loses, and those that publishers must be told.
    pub(super) fn withdraw(
        &mut self,
        peer: PeerId,
        is_allowed: impl Fn(&[u8]) -> bool,
    ) -> (Vec<Text>, Vec<Text>) {
        let Some(own) = self.peers.get_mut(&peer) else { return Default::default() };
        let mut lost: Vec<_> = own.extract_if(|text, _| !is_allowed(text)).collect();
        lost.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let ended = lost.iter().filter(|(text, held)| self.give_back(peer, text, held.references));
        let ended = ended.map(|(text, _)| Arc::clone(text)).collect();
        (lost.into_iter().filter(|(_, held)| held.active).map(|(text, _)| text).collect(), ended)
    }

    /// The recipients of a topic, in time proportional to its length.
    pub(super) fn matching(&self, topic: &[u8]) -> Match {
        let mut found = Match::default();
        let mut lists = 0;
        for prefix in self.prefixes.prefixes_of(topic) {
            if !prefix.subscribers.is_empty() {
                found.recipients.extend_from_slice(&prefix.subscribers);
                found.prefix = Some(Arc::clone(&prefix.text));
                lists += 1;
            }
        }
        if lists > 1 {
            found.recipients.sort_unstable();
            found.recipients.dedup();
        }
        found
    }

    /// Removes the prefix from the peer and gives back that many references. Returns whether they
    /// were the last.
    fn give_back(&mut self, peer: PeerId, text: &[u8], references: u64) -> bool {
        let Some(prefix) = self.prefixes.get_mut(text) else { return false };
        let had_any = !prefix.subscribers.is_empty();
        if let Ok(at) = prefix.subscribers.binary_search(&peer) {
            prefix.subscribers.remove(at);
        }
        // Every subscriber keeps its own reference, whatever happened to others.
        let left = prefix.references.saturating_sub(references);
        prefix.references = left.max(prefix.subscribers.len() as u64);
        let is_unused = prefix.subscribers.is_empty();
        if prefix.references > 0 && (!is_unused || self.orphans < MAX_ORPHANS) {
            self.orphans += usize::from(is_unused && had_any);
            return false;
        }
        self.orphans -= usize::from(is_unused && !had_any);
        self.bytes -= text.len();
        self.prefixes.remove(text);
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { prefixes: 5, length: 8 };

    /// What publishers are told in one step: `+prefix`, `-prefix`.
    fn step(subscriptions: &mut Subscriptions, line: &str) -> String {
        let (peer, rest) = line.split_at(1);
        let peer = peer.bytes().map(u64::from).sum();
        let said = |text: &[u8]| String::from_utf8(text.to_vec()).unwrap();
        match rest.split_at(1) {
            ("+", text) => match subscriptions.subscribe(peer, text.as_bytes()) {
                Ok(()) => format!("+{text}"),
                Err(refused) => refused.to_string(),
            },
            ("-", text) => match subscriptions.cancel(peer, text.as_bytes()) {
                Ok(true) => format!("-{text}"),
                Ok(false) => String::new(),
                Err(refused) => refused.to_string(),
            },
            _ => {
                let ended = subscriptions.remove(peer);
                ended.iter().flat_map(|text| ["-".into(), said(text)]).collect()
            }
        }
    }

    #[test]
    fn publishers_hear_every_subscription_and_the_last_cancellation() {
        for (steps, expected) in [
            // (peer, action), what publishers are told
            ("a+x b+x a-x b-x", "+x +x . -x"),
            ("a+x b+x a! b!", "+x +x . -x"),
            ("a+x a!", "+x -x"),
            // In ascending order, including the empty prefix.
            ("a+y a+x a+ a+yy a!", "+y +x + +yy --x-y-yy"),
            // Twice by one peer: two references, of which its end gives back one.
            ("a+x a+x a-x a-x", "+x +x . -x"),
            ("a+x a+x a! b+x b!", "+x +x . +x ."),
            ("a+x a+x b+x a! b! ", "+x +x +x . ."),
            ("a+x a+x a-x a!", "+x +x . ."),
            // A peer cannot cancel what it does not have.
            ("a+x b-x a-x a-x", "+x unknown -x unknown"),
            ("a-x", "unknown"),
            ("a+123456789", "length"),
            ("a+1 a+2 a+3 a+4 a+5 a+6 a+5 a-1 a+6", "+1 +2 +3 +4 +5 count +5 -1 +6"),
        ] {
            let mut subscriptions = Subscriptions::new(LIMITS);
            let heard: Vec<String> = steps
                .split_whitespace()
                .map(|line| match step(&mut subscriptions, line) {
                    said if said.is_empty() => ".".into(),
                    said if said.starts_with("a prefix") => "length".into(),
                    said if said.starts_with("more") => "count".into(),
                    said if said.starts_with("cancels") => "unknown".into(),
                    said => said,
                })
                .collect();
            assert_eq!(heard.join(" "), expected, "{steps}");
        }
    }

    #[test]
    fn recipients_are_told_once_with_the_longest_prefix() {
        let mut subscriptions = Subscriptions::new(LIMITS);
        for (peer, text) in [(3, "a"), (1, "ab"), (3, "abc"), (2, ""), (1, "b"), (3, "ab")] {
            subscriptions.subscribe(peer, text.as_bytes()).unwrap();
        }
        subscriptions.cancel(3, b"abc").unwrap();
        for (topic, recipients, prefix) in [
            ("abcd", vec![1, 2, 3], "ab"),
            ("a", vec![2, 3], "a"),
            ("b", vec![1, 2], "b"),
            ("c", vec![2], ""),
            ("", vec![2], ""),
        ] {
            let prefix = Some(prefix.as_bytes().into());
            assert_eq!(subscriptions.matching(topic.as_bytes()), Match { recipients, prefix });
        }
        assert_eq!((subscriptions.len(), subscriptions.of_peer(3)), (4, 2));
        subscriptions.remove(2);
        assert_eq!(subscriptions.matching(b"c"), Match::default());
    }

    #[test]
    fn references_that_are_never_given_back_are_bounded() {
        let mut subscriptions = Subscriptions::new(LIMITS);
        for round in 0..3 * MAX_ORPHANS {
            let text = round.to_string();
            subscriptions.subscribe(7, text.as_bytes()).unwrap();
            subscriptions.subscribe(7, text.as_bytes()).unwrap();
            let ended = subscriptions.remove(7);
            assert_eq!(ended.is_empty(), round < MAX_ORPHANS);
        }
        assert_eq!(subscriptions.len(), MAX_ORPHANS);
        // A prefix that is subscribed to again is no leftover.
        subscriptions.subscribe(8, b"0").unwrap();
        assert_eq!(subscriptions.orphans, MAX_ORPHANS - 1);
    }

    #[test]
    fn what_is_withdrawn_leaves_no_reference_behind() {
        let mut subscriptions = Subscriptions::new(LIMITS);
        for line in ["1+a", "1+a", "1+b", "1+c", "2+b", "2+a", "2-a"] {
            step(&mut subscriptions, line);
        }
        let peer = u64::from(b'1');
        let (lost, ended) = subscriptions.withdraw(peer, |text| text == b"c");
        let texts = |all: &[Text]| all.iter().map(|text| text.to_vec()).collect::<Vec<_>>();
        assert_eq!(texts(&lost), [b"a", b"b"]);
        assert_eq!(texts(&ended), [b"a"], "somebody else has b");
        assert_eq!(step(&mut subscriptions, "1-a"), Refused::Unknown.to_string());
        assert_eq!(step(&mut subscriptions, "2-b"), "-b");
        assert_eq!((subscriptions.len(), subscriptions.orphans), (1, 0));
    }

    proptest! {
        #[test]
        fn references_add_up_whatever_peers_do(
            steps in vec((0u64..4, 0u8..6, vec(0u8..2, 0..3)), 0..80),
        ) {
            let mut subscriptions = Subscriptions::new(Limits { prefixes: 100, length: 8 });
            let mut active = std::collections::BTreeSet::new();
            for (peer, what, text) in steps {
                match what {
                    0 | 1 => {
                        subscriptions.subscribe(peer, &text).unwrap();
                        active.insert((peer, text));
                    }
                    2 | 3 => {
                        let _ = subscriptions.cancel(peer, &text);
                        active.remove(&(peer, text));
                    }
                    4 => {
                        let is_allowed = |other: &[u8]| !other.starts_with(&text);
                        let (lost, _) = subscriptions.withdraw(peer, is_allowed);
                        let before = active.len();
                        active.retain(|(other, prefix)| *other != peer || is_allowed(prefix));
                        prop_assert_eq!(lost.len(), before - active.len());
                    }
                    _ => {
                        subscriptions.remove(peer);
                        active.retain(|(other, _)| *other != peer);
                    }
                }
                for topic in [&[][..], &[0], &[1], &[0, 1, 0], &[1, 1, 1]] {
                    let mut expected: Vec<u64> = active
                        .iter()
                        .filter(|(_, text)| topic.starts_with(text))
                        .map(|(peer, _)| *peer)
                        .collect();
                    expected.sort_unstable();
                    expected.dedup();
                    prop_assert_eq!(subscriptions.matching(topic).recipients, expected);
                }
                let orphans = subscriptions.prefixes.values()
                    .filter(|prefix| prefix.subscribers.is_empty()).count();
                prop_assert_eq!(subscriptions.orphans, orphans);
                let bytes: usize = subscriptions.all().map(|text| text.len()).sum();
                prop_assert_eq!(subscriptions.bytes, bytes);
            }
        }
    }
}
