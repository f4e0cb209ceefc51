//! Dates of the proleptic Gregorian calendar, for every number of seconds that has a date in C.
//!
//! ISO 8601 times in JSON lines follow C's `gmtime_r`, whose years have 32 bits. Date crates end
//! long before that: `jiff` at the year 9999.

/// A moment in UTC, to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Civil {
    pub(super) year: i64,
    pub(super) month: u8,
    pub(super) day: u8,
    pub(super) hour: u8,
    pub(super) minute: u8,
    pub(super) second: u8,
}

const DAY: i64 = 86_400;

impl Civil {
    /// Returns the moment `seconds` after the start of 1970, or before it if negative.
    pub(super) fn of(seconds: i64) -> Self {
        let (year, month, day) = date(seconds.div_euclid(DAY));
        let in_day = seconds.rem_euclid(DAY);
        Civil {
            year,
            month,
            day,
            hour: (in_day / 3600) as u8,
            minute: (in_day / 60 % 60) as u8,
            second: (in_day % 60) as u8,
        }
    }
}

/// Returns year, month and day of a day counted from 1970-01-01.
fn date(days: i64) -> (i64, u8, u8) {
    // Counting from 0000-03-01 makes the leap day the last of its year.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // From March on, month lengths repeat 31 30 31 30 31, which is 153 days.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month as u8, day as u8)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::*;

    fn by_jiff(seconds: i64) -> Civil {
        let moment = Timestamp::from_second(seconds).unwrap().to_zoned(TimeZone::UTC);
        Civil {
            year: moment.year().into(),
            month: moment.month() as u8,
            day: moment.day() as u8,
            hour: moment.hour() as u8,
            minute: moment.minute() as u8,
            second: moment.second() as u8,
        }
    }

    /// The days of 400 years, after which the calendar repeats.
    const ERA: i64 = 146_097;

    #[test]
    fn every_day_of_an_era_and_its_last_second() {
        for day in -ERA..ERA {
            for seconds in [day * DAY, day * DAY + DAY - 1] {
                assert_eq!(Civil::of(seconds), by_jiff(seconds), "{seconds}");
            }
        }
    }

    #[test]
    fn no_number_of_seconds_is_too_large() {
        assert_eq!(Civil::of(i64::MAX).year, 292_277_026_596);
        assert_eq!(Civil::of(i64::MIN).year, -292_277_022_657);
    }

    proptest! {
        #[test]
        fn whatever_jiff_knows_it_says_the_same_of(
            seconds in Timestamp::MIN.as_second()..=Timestamp::MAX.as_second(),
        ) {
            prop_assert_eq!(Civil::of(seconds), by_jiff(seconds));
        }

        #[test]
        fn beyond_that_every_era_is_like_the_first(
            seconds in 0..ERA * DAY,
            eras in -700_000_000..700_000_000i64,
        ) {
            let first = Civil::of(seconds);
            let year = first.year + eras * 400;
            prop_assert_eq!(Civil::of(seconds + eras * ERA * DAY), Civil { year, ..first });
        }
    }
}
