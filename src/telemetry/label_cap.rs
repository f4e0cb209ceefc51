//! [`LabelCap`]: a bound on how many series peers can make this process keep.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use bstr::ByteSlice;

/// Bounds the distinct values of one label whose values come from the network.
///
/// The first `max` values are admitted for good; whatever comes later is counted under
/// [`LabelCap::OTHER`]. Values are text of bounded length: bytes that are not UTF-8 become U+FFFD,
/// and what is past [`LabelCap::MAX_BYTES`] is cut, so that two long values may share a series.
#[derive(Debug)]
pub struct LabelCap {
    max: usize,
    admitted: Mutex<HashSet<Box<str>>>,
}

impl LabelCap {
    /// The value that stands for all that were not admitted.
    pub const OTHER: &'static str = "other";
    /// How long a value may be, in bytes.
    pub const MAX_BYTES: usize = 128;

    /// Admits `max` distinct values.
    pub fn new(max: usize) -> Self {
        LabelCap { max, admitted: Mutex::default() }
    }

    /// The text to use for this value: its own, or [`LabelCap::OTHER`].
    ///
    /// Takes a lock; look a series up once and keep its handle where that is possible.
    pub fn admit<'a>(&self, value: &'a (impl AsRef<[u8]> + ?Sized)) -> Cow<'a, str> {
        let text = Self::text(value.as_ref());
        if self.admits(&text) { text } else { Cow::Borrowed(Self::OTHER) }
    }

    /// The texts to use for the values of several labels of one series, admitted together: each its
    /// own, or all of them [`LabelCap::OTHER`]. Labels admitted one by one would multiply.
    ///
    /// Takes a lock, as [`LabelCap::admit`] does.
    pub fn admit_all<const N: usize>(&self, values: [&[u8]; N]) -> [String; N] {
        let texts = values.map(|value| Self::text(value).into_owned());
        // Lengths keep apart what would read the same.
        let mut key = String::new();
        for text in &texts {
            key.extend([&text.len().to_string(), ":", text]);
        }
        if self.admits(&key) { texts } else { [Self::OTHER; N].map(str::to_owned) }
    }

    /// The value as text of bounded length.
    pub(super) fn text(value: &[u8]) -> Cow<'_, str> {
        let mut text = value[..value.len().min(Self::MAX_BYTES)].to_str_lossy();
        if text.len() > Self::MAX_BYTES {
            // U+FFFD is longer than the byte it stands for.
            let end = (0..=Self::MAX_BYTES).rev().find(|end| text.is_char_boundary(*end));
            text.to_mut().truncate(end.unwrap_or(0));
        }
        text
    }

    fn admits(&self, key: &str) -> bool {
        let mut admitted = self.admitted.lock().unwrap_or_else(PoisonError::into_inner);
        if admitted.contains(key) {
            return true;
        }
        let room = admitted.len() < self.max;
        if room {
            admitted.insert(key.into());
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_past_the_cap_are_other_and_admitted_ones_stay() {
        let cap = LabelCap::new(2);
        for (value, expected) in
            [("a", "a"), ("b", "b"), ("c", "other"), ("a", "a"), ("d", "other"), ("b", "b")]
        {
            assert_eq!(cap.admit(value), expected);
        }
        assert_eq!(LabelCap::new(0).admit("a"), "other");
    }

    #[test]
    fn values_of_several_labels_are_admitted_together() {
        let cap = LabelCap::new(2);
        for (values, expected) in [
            ([&b"a"[..], b"1:b"], ["a", "1:b"]),
            ([b"a1:", b"b"], ["a1:", "b"]),
            ([b"a", b"b"], ["other", "other"]),
            ([b"a", b"1:b"], ["a", "1:b"]),
        ] {
            assert_eq!(cap.admit_all(values), expected);
        }
    }

    #[test]
    fn values_become_short_text() {
        let umlauts = "x".to_owned() + &"ä".repeat(100);
        let rows: [(&[u8], String); 5] = [
            (b"", String::new()),
            (b"conn\xff", "conn\u{fffd}".into()),
            (&[b'x'; 200], "x".repeat(128)),
            // Cut inside a character.
            (umlauts.as_bytes(), "x".to_owned() + &"ä".repeat(63)),
            (&[0xff; 200], "\u{fffd}".repeat(42)),
        ];
        let cap = LabelCap::new(10);
        for (value, expected) in rows {
            assert_eq!(cap.admit(value), expected);
        }
    }

    proptest! {
        #[test]
        fn bounded_whatever_peers_send(values in vec(vec(any::<u8>(), 0..300), 0..50)) {
            let cap = LabelCap::new(5);
            let mut seen = HashSet::new();
            for value in &values {
                let text = cap.admit(value);
                prop_assert!(text.len() <= LabelCap::MAX_BYTES);
                seen.insert(text.into_owned());
            }
            prop_assert!(seen.len() <= 6);
        }
    }
}
