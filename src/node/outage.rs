//! [`Outage`]: when to say that a peer is lost, and that it is back. Pure: the time is an argument.

use std::fmt;
use std::time::{Duration, Instant};

/// How often losses of one peer are told.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Watches whether a peer is there.
///
/// Each loss that is told is followed by the news that the peer is back. One that comes and goes
/// all the time is told of once in a while, and what was said last is true in the end.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// It has been there before: who was never there is not lost.
    was_there: bool,
    since: Option<Instant>,
    is_told: bool,
    last_told: Option<Instant>,
    untold: u64,
}

/// What there is to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// The peer is gone, for that long already; it has come back so many times since that was last
    /// said.
    Lost { ago: Duration, untold: u64 },
    /// The peer is back, and was away for that long.
    Back { away: Duration },
}

impl Outage {
    /// Takes in whether the peer is there now.
    pub(super) fn observe(&mut self, is_there: bool, now: Instant) -> Option<News> {
        if !is_there {
            if self.was_there && self.since.is_none() {
                self.since = Some(now);
            }
            return self.tell(now);
        }
        self.was_there = true;
        let since = self.since.take()?;
        if std::mem::take(&mut self.is_told) {
            return Some(News::Back { away: now.saturating_duration_since(since) });
        }
        self.untold += 1;
        None
    }

    /// When a loss is to be told that could not be at once: [`Outage::observe`] is due then.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.since.filter(|_| !self.is_told)?;
        self.last_told.map(|last| last + TOLD_EVERY)
    }

    fn tell(&mut self, now: Instant) -> Option<News> {
        let since = self.since.filter(|_| !self.is_told)?;
        if self.deadline().is_some_and(|due| now < due) {
            return None;
        }
        self.is_told = true;
        self.last_told = Some(now);
        let ago = now.saturating_duration_since(since);
        Some(News::Lost { ago, untold: std::mem::take(&mut self.untold) })
    }
}

impl News {
    /// The line to say of a peer of that name.
    pub(super) fn of(self, peer: &str) -> String {
        match self {
            News::Back { away } => format!("{peer} is back, after {}", span(away)),
            News::Lost { ago, untold } => {
                let mut line = format!("lost the connection to {peer}");
                if ago >= TOLD_EVERY / 10 {
                    line.push_str(&format!(" {} ago", span(ago)));
                }
                if untold > 0 {
                    line.push_str(&format!("; it had come and gone {untold} more times"));
                }
                line
            }
        }
    }
}

/// Tenths of a second for short spans, whole seconds for long ones.
fn span(span: Duration) -> impl fmt::Display {
    let unit = if span < Duration::from_secs(60) { 100 } else { 1000 };
    let whole = span.as_millis() as u64 / unit * unit;
    humantime::format_duration(Duration::from_millis(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said, by the second it is said in.
    fn told(observations: &[(u64, bool)]) -> Vec<(u64, String)> {
        let start = Instant::now();
        let mut outage = Outage::default();
        let mut said = Vec::new();
        for (second, is_there) in observations {
            let now = start + Duration::from_secs(*second);
            said.extend(outage.observe(*is_there, now).map(|news| (*second, news.of("it"))));
        }
        said
    }

    #[test]
    fn who_was_never_there_is_not_lost() {
        assert!(told(&[(0, false), (1, false), (2, true), (3, true)]).is_empty());
    }

    #[test]
    fn each_loss_is_followed_by_a_return() {
        let observations =
            [(0, true), (5, false), (6, false), (8, true), (9, true), (20, false), (3800, true)];
        assert_eq!(
            told(&observations),
            [
                (5, "lost the connection to it".into()),
                (8, "it is back, after 3s".into()),
                (20, "lost the connection to it".into()),
                (3800, "it is back, after 1h 3m".into()),
            ]
        );
    }

    #[test]
    fn who_comes_and_goes_is_told_of_once_in_a_while() {
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
                (11, "lost the connection to it 4s ago; it had come and gone 2 more times".into()),
                (12, "it is back, after 5s".into()),
            ]
        );
    }

    #[test]
    fn a_loss_that_could_not_be_told_has_a_deadline() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut outage = Outage::default();
        for (second, is_there, deadline) in [
            (0, true, None),
            (1, false, None),
            (2, true, None),
            (3, false, Some(11)),
            (11, false, None),
            (12, true, None),
        ] {
            outage.observe(is_there, at(second));
            assert_eq!(outage.deadline(), deadline.map(at), "{second}");
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
