//! Wall-clock times as text, for the header and footer of TSV logs (WIRE.md §5.1).

use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A time as local time, `%Y-%m-%d-%H-%M-%S`.
pub(crate) fn text(time: SystemTime) -> String {
    let time = Timestamp::try_from(time).unwrap_or_default();
    time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d-%H-%M-%S").to_string()
}

/// Now, as [`text`].
pub(crate) fn now_text() -> String {
    text(SystemTime::now())
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_has_zeeks_shape() {
        let text =
            super::text(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_767_225_600));
        let numbers: Vec<u32> = text.split('-').map(|part| part.parse().unwrap()).collect();
        assert_eq!(numbers.len(), 6, "{text}");
        assert!(numbers[0] == 2025 || numbers[0] == 2026, "{text}");
    }
}
