//! When a log is rotated next (WIRE.md §5.8). Pure: the time and the time zone are arguments.
//!
//! Ticks are counted from the start of the local day plus a base time, in elapsed time, as in Zeek.
//! Two days of the year do not have 24 hours, and Zeek's ticks are shifted on those days. Here
//!
//! * an interval of whole days is counted in calendar days, so that a daily log starts at midnight
//!   on every day of the year;
//! * an interval that divides a day restarts at each day's first tick, so that the day after the
//!   clock change is a normal one. On the day of the change, one file is shorter or longer.

use std::time::{Duration, SystemTime};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// In nanoseconds, because all arithmetic here is exact.
const SECOND: i128 = 1_000_000_000;
const DAY: i128 = 24 * 3600 * SECOND;

/// The reference point of a day's ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BaseTime {
    /// Multiples of the interval since 1970.
    Epoch,
    /// This long after the start of the local day; less than a day.
    LocalDay(Duration),
}

/// The rotation times of a log.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    interval: i128,
    base: BaseTime,
    zone: TimeZone,
}

impl Schedule {
    /// Returns a schedule with a rotation every `interval`; none if it is zero.
    pub(crate) fn new(interval: Duration, base: BaseTime, zone: TimeZone) -> Self {
        Schedule { interval: nanoseconds(interval), base, zone }
    }

    /// The zone of its days.
    pub(crate) fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Returns the first rotation strictly after `now`. It is at most one interval later, or for
    /// whole days an hour more if the clock changes. `None` means never: without an interval, or
    /// beyond the range of calendars.
    pub(crate) fn next_after(&self, now: SystemTime) -> Option<SystemTime> {
        if self.interval == 0 {
            return None;
        }
        let now = Timestamp::try_from(now).ok()?;
        let next = match self.base {
            BaseTime::Epoch => self.tick_after(0, now.as_nanosecond()),
            BaseTime::LocalDay(base) => self.next_from_day(nanoseconds(base), now)?,
        };
        Timestamp::from_nanosecond(next).ok().map(SystemTime::from)
    }

    /// Returns the next rotation after the clock was set, never later than planned before.
    pub(crate) fn plan_again(
        &self,
        planned: Option<SystemTime>,
        now: SystemTime,
    ) -> Option<SystemTime> {
        match (planned, self.next_after(now)) {
            (Some(planned), Some(again)) => Some(planned.min(again)),
            (planned, again) => planned.or(again),
        }
    }

    fn next_from_day(&self, base: i128, now: Timestamp) -> Option<i128> {
        let today = now.to_zoned(self.zone.clone()).date();
        let now = now.as_nanosecond();
        let anchor = self.start_of(today)? + base;
        if self.interval % DAY == 0 {
            if anchor > now {
                return Some(anchor);
            }
            let days = i32::try_from(self.interval / DAY).ok()?;
            let day = today.checked_add(days.days()).ok()?;
            return Some(self.start_of(day)? + base);
        }
        let tick = self.tick_after(anchor, now);
        if DAY % self.interval == 0 {
            let tomorrow = self.start_of(today.tomorrow().ok()?)? + base;
            return Some(tick.min(tomorrow));
        }
        Some(tick)
    }

    /// Returns the first time after `now` that is a whole number of intervals away from `anchor`.
    fn tick_after(&self, anchor: i128, now: i128) -> i128 {
        now - (now - anchor).rem_euclid(self.interval) + self.interval
    }

    /// Returns the start of a day: not always midnight, which a clock change may skip.
    fn start_of(&self, day: Date) -> Option<i128> {
        let start = day.to_zoned(self.zone.clone()).ok()?.start_of_day().ok()?;
        Some(start.timestamp().as_nanosecond())
    }
}

fn nanoseconds(time: Duration) -> i128 {
    // 2^64 seconds are less than 2^94 ns.
    i128::try_from(time.as_nanos()).unwrap_or(i128::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use zcluster::layout::Log;

    const HOUR: u64 = 3600;
    const NEW_YORK: &str = "EST5EDT,M3.2.0,M11.1.0";
    /// The clock changes at midnight: the day of the spring change starts at 1:00.
    const HAVANA: &str = "CST5CDT,M3.2.0/0,M11.1.0/1";

    /// Parses a base time as in the layout.
    fn base_time(text: &str) -> BaseTime {
        let log = Log { rotation_base_time: text.into(), ..Log::default() };
        log.rotation_base().map_or(BaseTime::Epoch, BaseTime::LocalDay)
    }

    fn schedule(interval: u64, base: &str, zone: &str) -> Schedule {
        let zone = TimeZone::posix(zone).unwrap();
        Schedule::new(Duration::from_secs(interval), base_time(base), zone)
    }

    /// Returns the first `count` rotations after `start`, all in local time.
    fn ticks(schedule: &Schedule, start: &str, count: usize) -> Vec<String> {
        let start: jiff::civil::DateTime = start.parse().unwrap();
        let start = start.to_zoned(schedule.zone.clone()).unwrap().timestamp();
        let mut now = SystemTime::from(start);
        let mut tick = || {
            now = schedule.next_after(now).unwrap();
            let local = Timestamp::try_from(now).unwrap().to_zoned(schedule.zone.clone());
            local.strftime("%d %H:%M").to_string()
        };
        (0..count).map(|_| tick()).collect()
    }

    #[test]
    fn rotations_of_ordinary_days() {
        for (interval, base, start, expected) in [
            (HOUR, "0:00", "2026-01-05T10:30", ["05 11:00", "05 12:00", "05 13:00"]),
            (HOUR, "0:00", "2026-01-05T10:00", ["05 11:00", "05 12:00", "05 13:00"]),
            (HOUR, "0:20", "2026-01-05T00:10", ["05 00:20", "05 01:20", "05 02:20"]),
            (24 * HOUR, "0:00", "2026-01-05T10:30", ["06 00:00", "07 00:00", "08 00:00"]),
            (24 * HOUR, "6:30", "2026-01-05T01:00", ["05 06:30", "06 06:30", "07 06:30"]),
            (6 * HOUR, "3:00", "2026-01-05T02:00", ["05 03:00", "05 09:00", "05 15:00"]),
            // With an interval that does not divide a day, the last file of a day ends late, as in
            // Zeek.
            (5 * HOUR, "0:00", "2026-01-05T19:00", ["05 20:00", "06 01:00", "06 05:00"]),
            (48 * HOUR, "0:00", "2026-01-05T10:00", ["07 00:00", "09 00:00", "11 00:00"]),
            // Counted since 1970, in any zone.
            (7 * HOUR, "", "2026-01-05T10:30", ["05 11:00", "05 18:00", "06 01:00"]),
            (900, "", "2026-01-05T10:30", ["05 10:45", "05 11:00", "05 11:15"]),
        ] {
            let schedule = schedule(interval, base, NEW_YORK);
            assert_eq!(ticks(&schedule, start, 3), expected, "{interval} s from {base:?}, {start}");
        }
    }

    #[test]
    fn rotations_when_the_clock_changes() {
        for (zone, interval, start, expected) in [
            // Spring: 2:00 becomes 3:00.
            (NEW_YORK, 24, "2026-03-07T12:00", ["08 00:00", "09 00:00", "10 00:00"]),
            (NEW_YORK, 1, "2026-03-08T00:30", ["08 01:00", "08 03:00", "08 04:00"]),
            (NEW_YORK, 12, "2026-03-08T00:00", ["08 13:00", "09 00:00", "09 12:00"]),
            // Autumn: 2:00 becomes 1:00.
            (NEW_YORK, 24, "2026-10-31T12:00", ["01 00:00", "02 00:00", "03 00:00"]),
            (NEW_YORK, 1, "2026-11-01T00:30", ["01 01:00", "01 01:00", "01 02:00"]),
            (NEW_YORK, 12, "2026-11-01T11:30", ["01 23:00", "02 00:00", "02 12:00"]),
            (HAVANA, 24, "2026-03-07T12:00", ["08 01:00", "09 00:00", "10 00:00"]),
            (HAVANA, 24, "2026-10-31T12:00", ["01 00:00", "02 00:00", "03 00:00"]),
        ] {
            let schedule = schedule(interval * HOUR, "0:00", zone);
            assert_eq!(ticks(&schedule, start, 3), expected, "{zone}: {interval} h, {start}");
        }
    }

    #[test]
    fn never() {
        let now = SystemTime::UNIX_EPOCH;
        for interval in [Duration::ZERO, Duration::from_secs(u64::MAX), Duration::MAX] {
            for base in ["", "0:00"] {
                let schedule = Schedule::new(interval, base_time(base), TimeZone::UTC);
                assert_eq!(schedule.next_after(now), None, "{interval:?} {base}");
            }
        }
        let last = SystemTime::from(Timestamp::MAX);
        assert_eq!(schedule(1, "0:00", "UTC0").next_after(last), None);
    }

    proptest! {
        #[test]
        fn always_after_now_and_never_much_later(
            // The year 2026, in nanoseconds, and intervals up to three days.
            now in 0..31_536_000_000_000_000_u64,
            interval in prop_oneof![
                1..260_000_000_000_000_u64,
                (1..260_000_u64).prop_map(|s| s * 1_000_000_000),
                prop::sample::select(vec![3600, 7200, 21_600, 86_400, 172_800])
                    .prop_map(|s: u64| s * 1_000_000_000),
            ],
            minutes in 0..1440_u64,
            zone in prop::sample::select(vec![NEW_YORK, HAVANA, "UTC0", "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0"]),
        ) {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600)
                + Duration::from_nanos(now);
            let base = BaseTime::LocalDay(Duration::from_secs(minutes * 60));
            let interval = Duration::from_nanos(interval);
            let schedule = Schedule::new(interval, base, TimeZone::posix(zone).unwrap());
            let wait = schedule.next_after(now).unwrap().duration_since(now).unwrap();
            prop_assert!(wait > Duration::ZERO);
            let longest = interval + Duration::from_secs(HOUR);
            prop_assert!(wait <= longest, "{wait:?} of {interval:?}");
        }

        #[test]
        fn however_the_clock_is_set_one_interval_is_the_most(
            steps in prop::collection::vec(-400_000_000_i64..400_000_000, 1..5),
            interval in prop::sample::select(vec![3, 900, 3600, 86_400, 172_800]),
            zone in prop::sample::select(vec![NEW_YORK, HAVANA, "UTC0"]),
        ) {
            let interval = Duration::from_secs(interval);
            let base = BaseTime::LocalDay(Duration::ZERO);
            let schedule = Schedule::new(interval, base, TimeZone::posix(zone).unwrap());
            let mut now = 1_767_225_600_i64;
            let time = |seconds: i64| {
                SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs())
            };
            let mut next = schedule.next_after(time(now));
            for step in steps {
                now += step;
                next = schedule.plan_again(next, time(now));
                // Due at once if the clock was set ahead.
                let wait = next.unwrap().duration_since(time(now)).unwrap_or_default();
                prop_assert!(wait <= interval + Duration::from_secs(HOUR), "{wait:?}");
            }
        }
    }
}
