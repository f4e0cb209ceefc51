//! [`Topics`]: how many events each topic has.

use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ahash::AHashMap;

use super::router::MAX_LENGTH;

/// How many topics are counted one by one.
const MAX_TOPICS: usize = 8_192;
/// How long rates are measured at least.
const INTERVAL: Duration = Duration::from_secs(1);
/// Topics without events are forgotten after so many measurements.
const MAX_IDLE: u32 = 300;

/// The number of events of a topic, which every thread adds to.
pub(super) type Count = Arc<AtomicU64>;

/// Events by topic. Of the topics beyond a limit, and of very long ones, only the sum is known.
#[derive(Debug)]
pub(super) struct Topics {
    /// Of all topics that are not counted one by one.
    other: Count,
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    topics: AHashMap<Box<[u8]>, Topic>,
    other: Rate,
    measured: Instant,
}

#[derive(Debug)]
struct Topic {
    count: Count,
    rate: Rate,
    /// Measurements without an event.
    idle: u32,
}

/// A number of events, and how fast it grows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rate {
    pub(super) events: u64,
    pub(super) per_second: f64,
}

/// What [`Topics::busiest`] tells.
#[derive(Debug, PartialEq)]
pub(super) struct Busiest {
    /// The highest rate first.
    pub(super) topics: Vec<(Box<[u8]>, Rate)>,
    /// The sum of all others.
    pub(super) other: Rate,
}

impl Rate {
    /// Returns whether the number has grown.
    fn measure(&mut self, events: u64, seconds: f64) -> bool {
        let grown = events - self.events;
        *self = Rate { events, per_second: grown as f64 / seconds };
        grown > 0
    }
}

impl Topics {
    pub(super) fn new(now: Instant) -> Self {
        let table = Table { topics: AHashMap::new(), other: Rate::default(), measured: now };
        Topics { other: Count::default(), table: Mutex::new(table) }
    }

    /// The counter of a topic, to be kept and added to.
    pub(super) fn counter(&self, topic: &[u8]) -> Count {
        if topic.len() > MAX_LENGTH {
            return Arc::clone(&self.other);
        }
        let topics = &mut self.table().topics;
        let is_full = topics.len() >= MAX_TOPICS;
        match topics.entry(topic.into()) {
            Entry::Occupied(known) => Arc::clone(&known.get().count),
            Entry::Vacant(_) if is_full => Arc::clone(&self.other),
            Entry::Vacant(new) => {
                let count = Count::default();
                let topic = Topic { count: Arc::clone(&count), rate: Rate::default(), idle: 0 };
                new.insert(topic);
                count
            }
        }
    }

    /// Measures the rates once a second, whenever it is called more often.
    pub(super) fn measure(&self, now: Instant) {
        let mut table = self.table();
        let elapsed = now.saturating_duration_since(table.measured);
        if elapsed < INTERVAL {
            return;
        }
        table.measured = now;
        let seconds = elapsed.as_secs_f64();
        table.other.measure(self.other.load(Ordering::Relaxed), seconds);
        table.topics.retain(|_, topic| {
            let grew = topic.rate.measure(topic.count.load(Ordering::Relaxed), seconds);
            topic.idle = if grew { 0 } else { topic.idle.saturating_add(1) };
            // A counter that a thread keeps may still grow.
            topic.idle < MAX_IDLE || Arc::strong_count(&topic.count) > 1
        });
    }

    /// The `limit` topics with most events lately, and the sum of all others, as last measured.
    pub(super) fn busiest(&self, limit: usize) -> Busiest {
        let table = self.table();
        let mut topics: Vec<_> = (table.topics.iter())
            .filter(|(_, topic)| topic.rate.events > 0)
            .map(|(name, topic)| (name.clone(), topic.rate))
            .collect();
        let mut other = table.other;
        drop(table);
        topics.sort_by(|(a, x), (b, y)| {
            let faster = y.per_second.total_cmp(&x.per_second);
            faster.then(y.events.cmp(&x.events)).then_with(|| a.cmp(b))
        });
        for (_, rate) in topics.drain(limit.min(topics.len())..) {
            other.events += rate.events;
            other.per_second += rate.per_second;
        }
        Busiest { topics, other }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(topics: &Topics, topic: &str, events: u64) -> Count {
        let count = topics.counter(topic.as_bytes());
        count.fetch_add(events, Ordering::Relaxed);
        count
    }

    fn named(found: &Busiest) -> Vec<(&str, u64, f64)> {
        let topics = found.topics.iter();
        topics
            .map(|(name, rate)| (str::from_utf8(name).unwrap(), rate.events, rate.per_second))
            .collect()
    }

    #[test]
    fn rates_are_of_the_last_interval_and_the_fastest_come_first() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let topics = Topics::new(start);
        add(&topics, "slow", 2);
        add(&topics, "was.fast", 100);
        topics.measure(after(999));
        assert_eq!(named(&topics.busiest(9)), [], "measured too early");
        topics.measure(after(2_000));
        let found = topics.busiest(9);
        assert_eq!(named(&found), [("was.fast", 100, 50.0), ("slow", 2, 1.0)]);
        add(&topics, "slow", 1);
        add(&topics, "slow", 1);
        add(&topics, "new", 1);
        topics.measure(after(3_000));
        let found = topics.busiest(9);
        assert_eq!(
            named(&found),
            [("slow", 4, 2.0), ("new", 1, 1.0), ("was.fast", 100, 0.0)],
            "also those without events lately"
        );
        let found = topics.busiest(1);
        assert_eq!(named(&found), [("slow", 4, 2.0)]);
        assert_eq!(found.other, Rate { events: 101, per_second: 1.0 });
    }

    #[test]
    fn topics_beyond_the_limits_are_counted_together() {
        let start = Instant::now();
        let topics = Topics::new(start);
        add(&topics, &"x".repeat(MAX_LENGTH + 1), 3);
        for number in 0..MAX_TOPICS + 5 {
            add(&topics, &number.to_string(), 1);
        }
        topics.measure(start + INTERVAL);
        let Busiest { topics: found, other } = topics.busiest(usize::MAX);
        assert_eq!((found.len(), other), (MAX_TOPICS, Rate { events: 8, per_second: 8.0 }));
    }

    #[test]
    fn a_topic_that_nobody_uses_is_forgotten() {
        let start = Instant::now();
        let topics = Topics::new(start);
        let kept = add(&topics, "kept", 1);
        drop(add(&topics, "gone", 1));
        for second in 1..=MAX_IDLE + 1 {
            topics.measure(start + INTERVAL * second);
        }
        let found = topics.busiest(9);
        assert_eq!(named(&found), [("kept", 1, 0.0)]);
        kept.fetch_add(5, Ordering::Relaxed);
        topics.measure(start + INTERVAL * (MAX_IDLE + 2));
        let found = topics.busiest(9);
        assert_eq!(named(&found), [("kept", 6, 5.0)]);
    }
}
