//! The earliest and the latest time of records, by their producers' clocks. Pure.

use std::ops::AddAssign;

use zcluster::value::Protocol;
use zcluster::wire::zeek_bin::{Scalar, Text, Values, Visitor};

/// Name of the column with the time of a record, if it is the first column of a log.
pub(super) const TIME_COLUMN: &str = "ts";

/// The earliest and the latest time of records, in seconds since 1970. Records without a finite
/// time do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Times(Option<(f64, f64)>);

impl Times {
    /// Adds the time of one record.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "once for each record that is formatted")]
    pub fn note(&mut self, time: f64) {
        if time.is_finite() {
            let (first, last) = self.0.unwrap_or((time, time));
            self.0 = Some((first.min(time), last.max(time)));
        }
    }

    /// Returns the earliest and the latest, or `None` without any time.
    pub fn range(self) -> Option<(f64, f64)> {
        self.0
    }
}

impl AddAssign for Times {
    /// Merges the times of other records.
    fn add_assign(&mut self, others: Self) {
        if let Some((first, last)) = others.0 {
            self.note(first);
            self.note(last);
        }
    }
}

/// Reads a time to record.
struct ReadTime;

impl<'a> Visitor<'a> for ReadTime {
    type Output = Option<f64>;

    #[inline(always)]
    fn time(self, x: f64) -> Option<f64> {
        Some(x)
    }
    fn unset(self) -> Option<f64> {
        None
    }
    fn bool(self, _: i64) -> Option<f64> {
        None
    }
    fn int(self, _: i64) -> Option<f64> {
        None
    }
    fn count(self, _: u64) -> Option<f64> {
        None
    }
    fn double(self, _: f64) -> Option<f64> {
        None
    }
    fn interval(self, _: f64) -> Option<f64> {
        None
    }
    fn string(self, _: Text<'a>) -> Option<f64> {
        None
    }
    fn enum_name(self, _: Text<'a>) -> Option<f64> {
        None
    }
    fn func(self, _: Text<'a>) -> Option<f64> {
        None
    }
    fn file(self, _: Text<'a>) -> Option<f64> {
        None
    }
    fn port(self, _: u64, _: Protocol) -> Option<f64> {
        None
    }
    fn addr(self, _: std::net::IpAddr) -> Option<f64> {
        None
    }
    fn subnet(self, _: std::net::IpAddr, _: u8) -> Option<f64> {
        None
    }
}

/// Records the next value's time if it can be read; errors are reported when the value is written.
#[inline(always)]
#[allow(clippy::inline_always, reason = "once for each record that is formatted")]
pub(super) fn note_time(mut values: Values<'_>, times: &mut Times) {
    if let Ok(Some(time)) = values.scalar(Scalar::Time, ReadTime) {
        times.note(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_time_does_not_count() {
        let mut times = Times::default();
        assert_eq!(times.range(), None);
        for time in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            times.note(time);
        }
        assert_eq!(times.range(), None);
        for time in [2.5, -1.0, 2.0] {
            times.note(time);
        }
        let mut both = Times::default();
        both += times;
        both += Times::default();
        assert_eq!(both.range(), Some((-1.0, 2.5)));
    }
}
