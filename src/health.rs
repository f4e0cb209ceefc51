//! [`Health`]: what is wrong with a process now, for `/healthz` and `/readyz`; and [`Pressure`]: whether
//! a queue is near its limit. Pure: the time is an argument.
//!
//! Readiness counts every problem at once, and also that a process is stopping. Health is for alerts:
//! it ignores problems younger than [`SETTLED`], so that a broker restart alerts nobody. A queue counts
//! for either only after it has been near its limit for [`SUSTAINED`], because queues exist to absorb
//! bursts.

use std::time::{Duration, Instant};

/// How long a problem must last before health counts it.
pub const SETTLED: Duration = Duration::from_secs(2);

/// A queue this full is near its limit, in percent of its messages or of its bytes.
pub const NEAR_LIMIT: u64 = 90;
/// A queue that was near its limit no longer is when it is less full than this, in percent.
const RELIEVED: u64 = 75;
/// How long a queue must be that full before it counts.
pub const SUSTAINED: Duration = Duration::from_secs(5);

/// What is wrong with a process now. Each problem is one readable line: what it is, where, and how
/// much.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    problems: Vec<Problem>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Problem {
    line: String,
    is_passing: bool,
}

impl Health {
    /// Nothing is wrong.
    pub fn ok() -> Self {
        Health::default()
    }

    /// Adds a problem.
    pub fn problem(&mut self, line: impl AsRef<str>) {
        self.add(line.as_ref(), false);
    }

    /// Adds a problem that counts for readiness only.
    pub fn passing(&mut self, line: impl AsRef<str>) {
        self.add(line.as_ref(), true);
    }

    /// Adds a problem that has lasted for that long.
    pub fn lasting(&mut self, line: impl AsRef<str>, lasted: Duration) {
        self.add(line.as_ref(), lasted < SETTLED);
    }

    fn add(&mut self, line: &str, is_passing: bool) {
        self.problems.push(Problem { line: line.replace(['\n', '\r'], " "), is_passing });
    }

    /// Whether nothing is wrong that counts for health.
    pub fn is_ok(&self) -> bool {
        self.problems.iter().all(|problem| problem.is_passing)
    }

    /// Whether nothing is wrong at all, and the process is not stopping.
    pub fn is_ready(&self) -> bool {
        self.problems.is_empty()
    }

    /// The problems that count for health, a line each.
    pub fn problems(&self) -> impl Iterator<Item = &str> {
        self.problems.iter().filter(|problem| !problem.is_passing).map(|problem| &*problem.line)
    }

    /// All problems, which count for readiness, a line each.
    pub fn obstacles(&self) -> impl Iterator<Item = &str> {
        self.problems.iter().map(|problem| &*problem.line)
    }
}

/// Whether a queue is near its limit: at [`NEAR_LIMIT`] or more for [`SUSTAINED`], and never below three
/// quarters since.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pressure {
    /// Since when it is that full.
    since: Option<Instant>,
    is_near: bool,
}

impl Pressure {
    /// Records how full the queue is, in percent. Call it about once a second, and several times a
    /// second while the queue is near its limit.
    pub fn observe(&mut self, percent: u64, now: Instant) {
        if percent < NEAR_LIMIT {
            self.since = None;
            self.is_near &= percent >= RELIEVED;
            return;
        }
        let since = *self.since.get_or_insert(now);
        self.is_near |= now.saturating_duration_since(since) >= SUSTAINED;
    }

    /// Whether it is near its limit.
    pub fn is_near(&self) -> bool {
        self.is_near
    }
}

/// How full something is, in percent, rounded down. A limit of zero is none.
pub fn percent(used: usize, limit: usize) -> u64 {
    let (used, limit) = (used as u128, limit as u128);
    (used * 100).checked_div(limit).map_or(0, |percent| percent as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_may_pass_is_no_problem_yet() {
        let mut health = Health::ok();
        assert!(health.is_ok() && health.is_ready());
        health.passing("stopping");
        health.lasting("no connection", Duration::from_millis(1999));
        assert!(health.is_ok() && !health.is_ready());
        assert_eq!(health.problems().count(), 0);
        health.lasting("no\nlogger", SETTLED);
        health.problem("disk full");
        assert!(!health.is_ok() && !health.is_ready());
        assert_eq!(health.problems().collect::<Vec<_>>(), ["no logger", "disk full"]);
        assert_eq!(
            health.obstacles().collect::<Vec<_>>(),
            ["stopping", "no connection", "no logger", "disk full"]
        );
    }

    #[test]
    fn percents() {
        for (used, limit, expected) in [
            (0, 0, 0),
            (5, 0, 0),
            (0, 5, 0),
            (899, 1000, 89),
            (900, 1000, 90),
            (3, 1, 300),
            (usize::MAX, usize::MAX, 100),
        ] {
            assert_eq!(percent(used, limit), expected, "{used} of {limit}");
        }
    }

    /// Whether a queue is near its limit, by tenths of seconds and percents.
    fn near(observations: &[(u64, u64)]) -> Vec<bool> {
        let start = Instant::now();
        let mut pressure = Pressure::default();
        let observe = |(tenths, percent): &(u64, u64)| {
            pressure.observe(*percent, start + Duration::from_millis(tenths * 100));
            pressure.is_near()
        };
        observations.iter().map(observe).collect()
    }

    #[test]
    fn a_burst_is_no_pressure() {
        assert_eq!(near(&[(0, 100), (20, 100), (30, 89), (49, 100), (98, 100)]), [false; 5]);
    }

    #[test]
    fn pressure_that_lasts_counts_until_it_is_relieved() {
        let steps = [
            ((0, 90), false),
            ((25, 95), false),
            ((50, 90), true),
            ((51, 80), true),
            ((60, 75), true),
            ((61, 74), false),
            // From here on it is a new one.
            ((62, 100), false),
            ((111, 100), false),
            ((112, 100), true),
            ((113, 0), false),
        ];
        let (observations, expected): (Vec<_>, Vec<_>) = steps.into_iter().unzip();
        assert_eq!(near(&observations), expected);
    }

    proptest! {
        /// Whatever came before, five seconds at the limit count, and an empty queue does not.
        #[test]
        fn the_end_is_right(before in prop::collection::vec((0..100_u64, 0..200_u64), 0..20)) {
            let mut time = 0;
            let mut observations: Vec<_> = before
                .into_iter()
                .map(|(pause, percent)| {
                    time += pause;
                    (time, percent)
                })
                .collect();
            observations.extend([(time + 1, NEAR_LIMIT), (time + 51, NEAR_LIMIT), (time + 52, 0)]);
            let near = near(&observations);
            prop_assert_eq!(&near[near.len() - 2..], &[true, false]);
        }
    }
}
