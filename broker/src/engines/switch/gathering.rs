//! [`Gathering`]: while many peers send little each, what goes to a recipient waits for more, so that it
//! leaves in fewer, larger writes. Pure.
//!
//! When a cluster starts or its broker returns, each node greets every other one. Read and written one
//! by one, a greeting costs thirty times what an event costs in bulk. There are two steps:
//!
//! 1. Where a poll finds many connections ready, the next one is made before anything small is written.
//!    As soon as a poll finds few, all is written. This takes no longer than reading them does.
//! 2. A thread that has been *behind* for a while, which means that its polls hardly waited and yet it was
//!    reading little from very many, pauses before it polls, so that reads and writes both become larger. Then it
//!    reads once from each connection and writes everything: polling again would find what has just arrived,
//!    one by one. It ends that when it gets half as much to do.
//!
//! A thread that is not behind never waits.

use std::time::{Duration, Instant};

use super::subscriptions::PeerId;

/// Connections that one poll must find ready.
const MANY: usize = 8;
/// The longest time that anything waits in step 1.
const LONGEST: Duration = Duration::from_millis(10);
/// A recipient with this many bytes does not wait: larger writes are not cheaper.
pub(super) const ENOUGH: usize = 64 << 10;
/// The pause of step 2.
const PAUSE: Duration = Duration::from_millis(30);
/// For how long a thread must be behind before step 2, and how often that is looked at.
const WINDOW: Duration = Duration::from_millis(30);
/// Polls of a thread that is behind take less than this part of its time.
const RESTED: u32 = 8;
/// Connections that polls must find ready for it, on average. From fewer, reads bring more by themselves.
const VERY_MANY: usize = 128;
/// Reads of fewer bytes, on average, are little.
const LITTLE: usize = 4 << 10;

/// Recipients that wait for more, and whether the thread is behind.
#[derive(Debug)]
pub(super) struct Gathering {
    waiting: Vec<PeerId>,
    /// When the waiting ends; `None` while nothing gathers.
    until: Option<Instant>,
    window: Window,
    /// Bytes per second that the thread read when it got behind; `None` while it is not.
    pace: Option<f64>,
}

/// What a thread has done since a point in time.
#[derive(Debug)]
struct Window {
    since: Instant,
    /// How long its polls took, which is next to nothing while there is always something ready.
    rested: Duration,
    polls: usize,
    ready: usize,
    bytes: usize,
}

impl Window {
    fn begin(since: Instant) -> Self {
        Window { since, rested: Duration::ZERO, polls: 0, ready: 0, bytes: 0 }
    }

    /// Whether it read little from very many.
    fn is_fiddly(&self) -> bool {
        self.ready >= self.polls * VERY_MANY && self.bytes < self.ready * LITTLE
    }
}

impl Gathering {
    pub(super) fn new(now: Instant) -> Self {
        Gathering { waiting: Vec::new(), until: None, window: Window::begin(now), pace: None }
    }

    /// Notes a turn: how long its poll took, how many connections that has found ready, and the bytes read
    /// from them.
    pub(super) fn note(&mut self, waited: Duration, ready: usize, bytes: usize, now: Instant) {
        self.window.rested += waited;
        self.window.polls += 1;
        self.window.ready += ready;
        self.window.bytes += bytes;
        let time = now.saturating_duration_since(self.window.since);
        if time < WINDOW {
            return;
        }
        let window = std::mem::replace(&mut self.window, Window::begin(now));
        let rate = window.bytes as f64 / time.as_secs_f64();
        let goes_on = match self.pace {
            None => window.rested < time / RESTED,
            Some(pace) => rate >= pace / 2.0,
        };
        let is_behind = goes_on && window.is_fiddly();
        self.pace = is_behind.then(|| self.pace.unwrap_or(rate));
    }

    /// How long to pause before the next poll, if the thread is behind and has written everything.
    pub(super) fn pause(&self) -> Option<Duration> {
        (self.pace.is_some() && self.waiting.is_empty()).then_some(PAUSE)
    }

    /// Whether what is small may wait, now that a poll has found that many connections ready. Not after a
    /// pause.
    pub(super) fn goes_on(&mut self, ready: usize, now: Instant) -> bool {
        let goes_on =
            self.pace.is_none() && ready >= MANY && now < *self.until.get_or_insert(now + LONGEST);
        if !goes_on {
            self.until = None;
        }
        goes_on
    }

    /// A recipient waits.
    pub(super) fn add(&mut self, peer: PeerId) {
        self.waiting.push(peer);
    }

    /// Those who wait, each once.
    pub(super) fn take(&mut self) -> Vec<PeerId> {
        std::mem::take(&mut self.waiting)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lasts_while_many_are_ready_and_not_for_long() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut gathering = Gathering::new(start);
        for (ready, millis, expected) in [
            (MANY - 1, 0, false),
            (MANY, 1, true),
            (MANY, 10, true),
            (MANY, 11, false),
            // A new one begins.
            (MANY, 12, true),
            (MANY - 1, 13, false),
            (0, 14, false),
            (MANY, 100, true),
            (MANY, 109, true),
            (MANY, 110, false),
        ] {
            assert_eq!(gathering.goes_on(ready, at(millis)), expected, "{millis}");
        }
    }

    #[test]
    fn a_thread_pauses_only_while_it_is_behind_with_little_from_very_many() {
        // Of each window: connections ready in each of ten polls, bytes read from each, percent of
        // the time that the thread was not waiting for them; whether it pauses then.
        for windows in [
            &[(250, 300, 100, true), (250, 300, 20, true), (150, 300, 10, true)][..],
            // Less to do: no more, until it is behind again.
            &[(250, 300, 95, true), (130, 200, 10, false), (250, 300, 95, true)],
            // It rests now and then.
            &[(250, 300, 80, false), (250, 300, 100, true), (0, 0, 1, false)],
            // Fewer peers; large reads.
            &[(VERY_MANY - 1, 300, 100, false), (250, 100_000, 100, false)],
            &[(250, 300, 100, true), (250, 100_000, 100, false)],
        ] {
            let mut now = Instant::now();
            let mut gathering = Gathering::new(now);
            for (ready, bytes, percent, expected) in windows {
                for _ in 0..10 {
                    now += WINDOW / 10;
                    let waited = WINDOW / 1000 * (100 - percent);
                    gathering.note(waited, *ready, ready * bytes, now);
                }
                assert_eq!(gathering.pause().is_some(), *expected, "{windows:?}");
                gathering.goes_on(0, now);
                assert_ne!(gathering.goes_on(MANY, now), *expected, "all is written after a pause");
            }
            gathering.add(1);
            assert_eq!(gathering.pause(), None, "not before all is written");
        }
    }
}
