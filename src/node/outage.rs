//! [`Outage`]: when to report that a peer is lost, and that it is back. Pure: the time is an
//! argument.

use std::fmt;
use std::time::{Duration, Instant};

/// The least time between two reported losses of one peer.
const LOSS_EVERY: Duration = Duration::from_secs(10);
/// How long a peer may be away before it is reported missing, whether it was there before or not, …
const PATIENCE: Duration = Duration::from_secs(5);
/// … and how often that is repeated.
const MISSING_EVERY: Duration = Duration::from_secs(60);

/// Watches whether a peer is there, which is expected from the start.
///
/// Each reported loss is followed by a report that the peer is back. A peer that keeps coming and
/// going is reported from time to time; once it settles, the last report is true. A peer that stays
/// away is reported missing, repeatedly.
#[derive(Debug)]
pub(super) struct Outage {
    /// It has been there before: a peer that was never there cannot be lost.
    was_there: bool,
    /// Since when it is away.
    since: Option<Instant>,
    /// Whether its absence has been reported.
    is_told: bool,
    last_loss: Option<Instant>,
    /// When it was last reported missing during this absence.
    last_missing: Option<Instant>,
    untold: u64,
}

/// What to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// The peer was lost `ago`; since the last report, it had been lost and come back `untold`
    /// times before that.
    Lost { ago: Duration, untold: u64 },
    /// The peer is back after that time.
    Back { away: Duration },
    /// The peer has been missing for that time.
    Missing { waited: Duration },
    /// The peer was reported missing before it was ever there, and is there now.
    Found { waited: Duration },
}

impl Outage {
    /// Starts to watch a peer, which is expected from now on.
    pub(super) fn expected(now: Instant) -> Self {
        Outage {
            was_there: false,
            since: Some(now),
            is_told: false,
            last_loss: None,
            last_missing: None,
            untold: 0,
        }
    }

    /// Since when the peer is away; `None` while it is there.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Records whether the peer is there now.
    pub(super) fn observe(&mut self, is_there: bool, now: Instant) -> Option<News> {
        if !is_there {
            let since = *self.since.get_or_insert(now);
            let away = now.saturating_duration_since(since);
            return self.tell_loss(away, now).or_else(|| self.tell_missing(since, now));
        }
        let away = now.saturating_duration_since(self.since.take()?);
        let was_there = std::mem::replace(&mut self.was_there, true);
        self.last_missing = None;
        match (std::mem::take(&mut self.is_told), was_there) {
            (true, true) => Some(News::Back { away }),
            (true, false) => Some(News::Found { waited: away }),
            (false, true) => {
                self.untold += 1;
                None
            }
            (false, false) => None,
        }
    }

    /// When a delayed report is due: call [`Outage::observe`] then.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let missing = self.missing_due(self.since?);
        Some(self.loss_due().map_or(missing, |loss| loss.min(missing)))
    }

    fn missing_due(&self, since: Instant) -> Instant {
        self.last_missing.map_or(since + PATIENCE, |last| last + MISSING_EVERY)
    }

    /// When a loss that has not been reported yet may be.
    fn loss_due(&self) -> Option<Instant> {
        let is_untold = self.was_there && !self.is_told;
        self.last_loss.filter(|_| is_untold).map(|last| last + LOSS_EVERY)
    }

    fn tell_loss(&mut self, ago: Duration, now: Instant) -> Option<News> {
        if !self.was_there || self.is_told || self.loss_due().is_some_and(|due| now < due) {
            return None;
        }
        self.is_told = true;
        self.last_loss = Some(now);
        Some(News::Lost { ago, untold: std::mem::take(&mut self.untold) })
    }

    fn tell_missing(&mut self, since: Instant, now: Instant) -> Option<News> {
        if now < self.missing_due(since) {
            return None;
        }
        self.is_told = true;
        self.last_missing = Some(now);
        Some(News::Missing { waited: now.saturating_duration_since(since) })
    }
}

impl News {
    /// The line that reports this about the peer of that name.
    pub(super) fn of(self, peer: &str) -> String {
        match self {
            News::Back { away } => format!("{peer} is back, after {}", span(away)),
            News::Lost { ago, untold } => {
                let mut line = format!("lost the connection to {peer}");
                if ago >= LOSS_EVERY / 10 {
                    line.push_str(&format!(" {} ago", span(ago)));
                }
                if untold > 0 {
                    line.push_str(&format!("; earlier losses not logged: {untold}"));
                }
                line
            }
            News::Missing { waited } => format!("no connection to {peer} for {}", span(waited)),
            News::Found { waited } => format!("{peer} is available, after {}", span(waited)),
        }
    }
}

/// Tenths of a second for short spans, whole seconds for long ones.
pub(super) fn span(span: Duration) -> impl fmt::Display {
    let unit = if span < Duration::from_secs(60) { 100 } else { 1000 };
    let whole = span.as_millis() as u64 / unit * unit;
    humantime::format_duration(Duration::from_millis(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reports, each with the second it is made in; the peer is expected from second 0 on.
    fn told(observations: &[(u64, bool)]) -> Vec<(u64, String)> {
        let start = Instant::now();
        let mut outage = Outage::expected(start);
        let mut said = Vec::new();
        for (second, is_there) in observations {
            let now = start + Duration::from_secs(*second);
            said.extend(outage.observe(*is_there, now).map(|news| (*second, news.of("it"))));
            assert_eq!(outage.since().is_none(), *is_there);
        }
        said
    }

    #[test]
    fn a_peer_that_is_there_before_long_is_not_told_of() {
        assert!(told(&[(0, false), (1, false), (2, true), (3, true)]).is_empty());
        assert!(told(&[(0, false), (4, false), (6, true), (7, true)]).is_empty());
    }

    #[test]
    fn a_peer_that_is_missing_is_told_of_now_and_then() {
        let observations = [
            (0, false),
            (4, false),
            (5, false),
            (6, false),
            (64, false),
            (65, false),
            (70, true),
            (71, false),
            (73, true),
        ];
        assert_eq!(
            told(&observations),
            [
                (5, "no connection to it for 5s".into()),
                (65, "no connection to it for 1m 5s".into()),
                (70, "it is available, after 1m 10s".into()),
                (71, "lost the connection to it".into()),
                (73, "it is back, after 2s".into()),
            ]
        );
    }

    #[test]
    fn each_loss_is_followed_by_a_return() {
        let observations =
            [(0, true), (5, false), (6, false), (8, true), (9, true), (20, false), (23, true)];
        assert_eq!(
            told(&observations),
            [
                (5, "lost the connection to it".into()),
                (8, "it is back, after 3s".into()),
                (20, "lost the connection to it".into()),
                (23, "it is back, after 3s".into()),
            ]
        );
    }

    #[test]
    fn a_peer_that_stays_away_is_told_of_as_missing() {
        let observations = [
            (0, true),
            (10, false),
            (14, false),
            (15, false),
            (74, false),
            (75, false),
            (3800, true),
        ];
        assert_eq!(
            told(&observations),
            [
                (10, "lost the connection to it".into()),
                (15, "no connection to it for 5s".into()),
                (75, "no connection to it for 1m 5s".into()),
                (3800, "it is back, after 1h 3m 10s".into()),
            ]
        );
    }

    #[test]
    fn a_peer_that_comes_and_goes_is_told_of_once_in_a_while() {
        let observations = [
            (0, true),
            (1, false),
            (2, true),
            (3, false),
            (4, true),
            (5, false),
            (6, true),
            (7, false),
            (10, false),
            // Ten seconds after the first.
            (11, false),
            (12, true),
        ];
        assert_eq!(
            told(&observations),
            [
                (1, "lost the connection to it".into()),
                (2, "it is back, after 1s".into()),
                (11, "lost the connection to it 4s ago; earlier losses not logged: 2".into()),
                (12, "it is back, after 5s".into()),
            ]
        );
    }

    #[test]
    fn a_loss_that_could_not_be_told_is_told_as_missing() {
        let observations =
            [(0, true), (1, false), (2, true), (3, false), (8, false), (11, false), (12, true)];
        assert_eq!(
            told(&observations),
            [
                (1, "lost the connection to it".into()),
                (2, "it is back, after 1s".into()),
                (8, "no connection to it for 5s".into()),
                (12, "it is back, after 9s".into()),
            ]
        );
    }

    #[test]
    fn what_is_to_be_told_has_a_deadline() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let never_there: &[(u64, bool, Option<u64>)] =
            &[(0, false, Some(5)), (5, false, Some(65)), (65, false, Some(125)), (66, true, None)];
        let lost: &[(u64, bool, Option<u64>)] = &[
            (0, true, None),
            (1, false, Some(6)),
            (2, true, None),
            (7, false, Some(11)),
            (11, false, Some(12)),
            (12, false, Some(72)),
            (13, true, None),
        ];
        for observations in [never_there, lost] {
            let mut outage = Outage::expected(start);
            for (second, is_there, deadline) in observations {
                outage.observe(*is_there, at(*second));
                assert_eq!(outage.deadline(), deadline.map(at), "{second}");
            }
        }
    }

    #[test]
    fn spans_are_short() {
        for (millis, expected) in
            [(0, "0s"), (40, "0s"), (340, "300ms"), (3_456, "3s 400ms"), (61_900, "1m 1s")]
        {
            assert_eq!(span(Duration::from_millis(millis)).to_string(), expected);
        }
    }
}
