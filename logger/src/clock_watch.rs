//! Detects that the wall clock was set. Pure; only [`now`] reads clocks.
//!
//! Code that waits for a time of day must then plan again: a time that was an hour away may now be
//! a day away. The wall clock is compared with the time since boot, which cannot be set and which
//! keeps running while the machine sleeps.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

/// Steps of at least this size are reported; smaller ones are ignored until they add up to it.
const STEP: i128 = 1_000_000_000;
/// Two readings further apart than this are not compared: the process was paused between them.
const READING: Duration = Duration::from_millis(50);

/// Both clocks at the same moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) wall: SystemTime,
    /// Time since boot.
    pub(crate) uptime: Duration,
}

/// Reads both clocks; `None` if that took too long to compare them.
pub(crate) fn now() -> Option<Now> {
    let uptime = || {
        let time = clock_gettime(ClockId::Boottime);
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
    };
    let before = uptime();
    let wall = SystemTime::now();
    let after = uptime();
    (after.saturating_sub(before) <= READING).then_some(Now { wall, uptime: before })
}

/// What happened to the wall clock since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// It kept time.
    Goes,
    /// Small steps added up to a second or more.
    HasDrifted,
    /// It was set back by this much.
    SetBack(Duration),
    /// It was set ahead by this much.
    SetAhead(Duration),
}

impl Clock {
    /// Returns the direction and size of a step, rounded to tenths of a second.
    pub(crate) fn step(self) -> Option<(&'static str, Duration)> {
        let (way, size) = match self {
            Clock::SetBack(size) => ("back", size),
            Clock::SetAhead(size) => ("ahead", size),
            Clock::Goes | Clock::HasDrifted => return None,
        };
        let tenths = (size.as_millis() + 50) / 100;
        Some((way, Duration::from_millis(tenths as u64 * 100)))
    }
}

/// Compares the clocks at each look.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClockWatch {
    last: Option<Now>,
    /// Sum of the small steps in nanoseconds.
    drift: i128,
}

impl ClockWatch {
    /// Compares the clocks with those of the last look.
    pub(crate) fn look(&mut self, now: Now) -> Clock {
        let Some(last) = self.last.replace(now) else { return Clock::Goes };
        let passed = nanoseconds(now.uptime) - nanoseconds(last.uptime);
        let step = match now.wall.duration_since(last.wall) {
            Ok(ahead) => nanoseconds(ahead),
            Err(back) => -nanoseconds(back.duration()),
        } - passed;
        if step.abs() >= STEP {
            self.drift = 0;
            let size = u64::try_from(step.unsigned_abs()).unwrap_or(u64::MAX);
            let size = Duration::from_nanos(size);
            return if step < 0 { Clock::SetBack(size) } else { Clock::SetAhead(size) };
        }
        self.drift += step;
        if self.drift.abs() >= STEP {
            self.drift = 0;
            return Clock::HasDrifted;
        }
        Clock::Goes
    }
}

fn nanoseconds(time: Duration) -> i128 {
    i128::try_from(time.as_nanos()).unwrap_or(i128::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall_ms: u64, uptime_ms: u64) -> Now {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(wall_ms);
        Now { wall, uptime: Duration::from_millis(uptime_ms) }
    }

    #[test]
    fn steps_are_told_once_with_their_size() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let start = 100 * 3_600_000;
        let mut watch = ClockWatch::default();
        for (wall, uptime, expected) in [
            (start, 5000, Clock::Goes),
            (start + 200, 5200, Clock::Goes),
            // Paused for an hour, for example by a full disk: no step.
            (start + 3_600_200, 3_605_200, Clock::Goes),
            (start + 3_600_400 - 2 * 3_600_000, 3_605_400, Clock::SetBack(hours(2))),
            (start + 3_600_600 - 2 * 3_600_000, 3_605_600, Clock::Goes),
            // A step back during a longer pause: the wall clock still moved ahead.
            (start + 3_600_600 - 3_600_000, 3_605_600 + 2 * 3_600_000, Clock::SetBack(hours(1))),
            (start * 1000 + 600, 3_605_600 + 2 * 3_600_000, Clock::SetAhead(hours(99_900))),
        ] {
            assert_eq!(watch.look(at(wall, uptime)), expected, "{wall}");
        }
    }

    #[test]
    fn small_steps_add_up() {
        let mut watch = ClockWatch::default();
        let mut seen = Vec::new();
        for n in 0..=20 {
            // Each second of the wall clock takes 1.1 s.
            seen.push(watch.look(at(1_000_000 + n * 1000, n * 1100)));
        }
        let drifted: Vec<_> = (0..).zip(&seen).filter(|(_, seen)| **seen != Clock::Goes).collect();
        assert_eq!(drifted, [(10, &Clock::HasDrifted), (20, &Clock::HasDrifted)]);
    }

    #[test]
    fn clocks_can_be_read() {
        let mut watch = ClockWatch::default();
        // Retry if the process was paused between two readings.
        let read = || (0..1000).find_map(|_| now()).unwrap();
        watch.look(read());
        watch.look(read());
    }
}
