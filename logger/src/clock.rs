//! Wall-clock times as text, for the header and footer of TSV logs (WIRE.md §5.1).

use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Formats a time as local time of `zone`, `%Y-%m-%d-%H-%M-%S`.
pub(crate) fn text(time: SystemTime, zone: &TimeZone) -> String {
    let time = Timestamp::try_from(time).unwrap_or_default();
    time.to_zoned(zone.clone()).strftime("%Y-%m-%d-%H-%M-%S").to_string()
}

/// The current time, as [`text`].
pub(crate) fn now_text(zone: &TimeZone) -> String {
    text(SystemTime::now(), zone)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn it_has_zeeks_shape() {
        let time = UNIX_EPOCH + Duration::from_secs(1_767_225_600);
        for (zone, expected) in
            [("EST5", "2025-12-31-19-00-00"), ("<+0545>-5:45", "2026-01-01-05-45-00")]
        {
            assert_eq!(text(time, &TimeZone::posix(zone).unwrap()), expected);
        }
    }
}
