//! [`RateLimit`]: limits how often one kind of log line is printed.
//!
//! Metrics count every effect of overload and hostile peers, but the log reports them at a limited
//! rate, so that logging does not add to the overload. No clock here: the time is an argument.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Lets one line through per interval and counts the rest.
///
/// ```
/// use std::time::{Duration, Instant};
/// use zcluster::rate_limit::RateLimit;
///
/// let mut limit = RateLimit::new(Duration::from_secs(10));
/// let start = Instant::now();
/// assert_eq!(limit.check(start), Some(0));
/// assert_eq!(limit.check(start), None);
/// assert_eq!(limit.check(start + Duration::from_secs(10)), Some(1));
/// ```
#[derive(Clone, Debug)]
pub struct RateLimit {
    interval: Duration,
    last: Option<Instant>,
    suppressed: u64,
}

impl RateLimit {
    /// Allows one line per `interval`, the first one at once.
    pub fn new(interval: Duration) -> Self {
        RateLimit { interval, last: None, suppressed: 0 }
    }

    /// Returns the number of lines suppressed since the last one if a line may be printed now, or
    /// `None`.
    ///
    /// A time before the last line counts as the time of that line.
    pub fn check(&mut self, now: Instant) -> Option<u64> {
        if self.is_quiet(now) {
            self.last = Some(now);
            return Some(std::mem::take(&mut self.suppressed));
        }
        self.suppressed = self.suppressed.saturating_add(1);
        None
    }

    /// Whether the next line may be printed.
    fn is_quiet(&self, now: Instant) -> bool {
        self.last.is_none_or(|last| now.saturating_duration_since(last) >= self.interval)
    }
}

/// A [`RateLimit`] per key, for example per peer and reason, with a bounded number of keys.
///
/// Peers choose their names, and so also the number of keys. When `max_keys` is reached, keys that
/// have been quiet for an interval are removed; if there are none, all further keys share one
/// limit. The suppressed lines of removed keys count toward the next line of that shared limit.
#[derive(Clone, Debug)]
pub struct KeyedRateLimit<K> {
    interval: Duration,
    max_keys: usize,
    limits: HashMap<K, RateLimit>,
    /// The limit of all keys beyond `max_keys`.
    shared: RateLimit,
    /// The last sweep: it takes time proportional to the number of keys.
    swept: Option<Instant>,
}

impl<K: Eq + Hash> KeyedRateLimit<K> {
    /// Allows one line per `interval` and key, for `max_keys` keys.
    pub fn new(interval: Duration, max_keys: usize) -> Self {
        KeyedRateLimit {
            interval,
            max_keys,
            limits: HashMap::new(),
            shared: RateLimit::new(interval),
            swept: None,
        }
    }

    /// Like [`RateLimit::check`], for one key. Clones the key only if it is new.
    pub fn check<Q>(&mut self, key: &Q, now: Instant) -> Option<u64>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        if let Some(limit) = self.limits.get_mut(key) {
            return limit.check(now);
        }
        if self.limits.len() >= self.max_keys {
            self.sweep(now);
        }
        if self.limits.len() >= self.max_keys {
            return self.shared.check(now);
        }
        self.limits.entry(key.to_owned()).or_insert(RateLimit::new(self.interval)).check(now)
    }

    /// Removes quiet keys, at most once per interval.
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|swept| now.saturating_duration_since(swept) < self.interval) {
            return;
        }
        self.swept = Some(now);
        let shared = &mut self.shared;
        self.limits.retain(|_, limit| {
            let quiet = limit.is_quiet(now);
            if quiet {
                shared.suppressed = shared.suppressed.saturating_add(limit.suppressed);
            }
            !quiet
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    #[test]
    fn one_line_per_interval() {
        // (milliseconds since the start, expected result), with one limit for all rows.
        let rows = [
            (0, Some(0)),
            (0, None),
            (9_999, None),
            (10_000, Some(2)),
            (10_001, None),
            // The time of another thread may be slightly older.
            (5_000, None),
            (20_000, Some(2)),
            (90_000, Some(0)),
        ];
        let start = Instant::now();
        let mut limit = RateLimit::new(INTERVAL);
        for (row, (millis, expected)) in rows.into_iter().enumerate() {
            assert_eq!(limit.check(start + Duration::from_millis(millis)), expected, "row {row}");
        }
    }

    #[test]
    fn keys_are_independent_until_there_is_no_room() {
        let rows = [
            (0, "a", Some(0)),
            (0, "a", None),
            (1, "b", Some(0)),
            // Full: c and d share one limit, a and b keep theirs.
            (2, "c", Some(0)),
            (2, "d", None),
            (3, "b", None),
            // The last sweep was at 2, the next is at 12.
            (11, "c", None),
            // a and b are quiet and are removed; their suppressed lines are not lost.
            (12, "c", Some(0)),
            (12, "b", Some(0)),
            (12, "a", Some(4)),
        ];
        let start = Instant::now();
        let mut limit = KeyedRateLimit::<String>::new(INTERVAL, 2);
        for (row, (secs, key, expected)) in rows.into_iter().enumerate() {
            let now = start + Duration::from_secs(secs);
            assert_eq!(limit.check(key, now), expected, "row {row}");
            assert!(limit.limits.len() <= 2, "row {row}");
        }
    }

    #[test]
    fn without_room_for_any_key_all_share_one_limit() {
        let now = Instant::now();
        let mut limit = KeyedRateLimit::<String>::new(INTERVAL, 0);
        assert_eq!(limit.check("a", now), Some(0));
        assert_eq!(limit.check("b", now), None);
        assert_eq!(limit.check("c", now + INTERVAL), Some(1));
    }
}
