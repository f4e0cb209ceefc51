//! [`Outage`]: when to say that a peer is lost, and that it is back. Pure: the time is an argument.

use std::fmt;
use std::time::{Duration, Instant};

/// How often losses of one peer are told.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// How long a peer may take to be there for the first time before that is told, …
const START_PATIENCE: Duration = Duration::from_secs(5);
/// … and how often it is told from then on.
const MISSING_EVERY: Duration = Duration::from_secs(60);

/// Watches whether a peer is there.
///
/// Each loss that is told is followed by the news that the peer is back. One that comes and goes
/// all the time is told of once in a while, and what was said last is true in the end. One that is
/// [expected](Outage::expected) and was never there is told of, too: as missing, since it is not lost.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// It has been there before: who was never there is not lost.
    was_there: bool,
    /// Since when it should be there; `None` where that is not asked.
    expected_since: Option<Instant>,
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
    /// The peer has not been there yet, for that long.
    Missing { waited: Duration },
    /// The peer was told to be missing, and is there now.
    Found { waited: Duration },
}

impl Outage {
    /// Of a peer that should be there from now on.
    pub(super) fn expected(now: Instant) -> Self {
        Outage { expected_since: Some(now), ..Outage::default() }
    }

    /// Takes in whether the peer is there now.
    pub(super) fn observe(&mut self, is_there: bool, now: Instant) -> Option<News> {
        if !is_there {
            if !self.was_there {
                return self.tell_missing(now);
            }
            self.since.get_or_insert(now);
            return self.tell(now);
        }
        if !std::mem::replace(&mut self.was_there, true) {
            let is_told = self.last_told.take().is_some();
            let since = self.expected_since.filter(|_| is_told)?;
            return Some(News::Found { waited: now.saturating_duration_since(since) });
        }
        let since = self.since.take()?;
        if std::mem::take(&mut self.is_told) {
            return Some(News::Back { away: now.saturating_duration_since(since) });
        }
        self.untold += 1;
        None
    }

    /// When something is to be told that could not be at once: [`Outage::observe`] is due then.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if !self.was_there {
            let first = self.expected_since? + START_PATIENCE;
            return Some(self.last_told.map_or(first, |last| last + MISSING_EVERY));
        }
        self.since.filter(|_| !self.is_told)?;
        self.last_told.map(|last| last + TOLD_EVERY)
    }

    fn tell_missing(&mut self, now: Instant) -> Option<News> {
        let since = self.expected_since?;
        self.deadline().filter(|due| *due <= now)?;
        self.last_told = Some(now);
        Some(News::Missing { waited: now.saturating_duration_since(since) })
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
            News::Missing { waited } => format!("no connection to {peer} for {}", span(waited)),
            News::Found { waited } => format!("{peer} is there, after {}", span(waited)),
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
        told_by(Outage::default(), start, observations)
    }

    fn told_by(
        mut outage: Outage,
        start: Instant,
        observations: &[(u64, bool)],
    ) -> Vec<(u64, String)> {
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
    fn who_is_expected_and_never_there_is_told_of_now_and_then() {
        let start = Instant::now();
        let told = |observations| told_by(Outage::expected(start), start, observations);
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
                (70, "it is there, after 1m 10s".into()),
                (71, "lost the connection to it".into()),
                (73, "it is back, after 2s".into()),
            ]
        );
        assert!(told(&[(0, false), (4, false), (6, true), (7, true)]).is_empty());
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
    fn who_is_missing_has_a_deadline() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut outage = Outage::expected(start);
        for (second, is_there, deadline) in
            [(0, false, Some(5)), (5, false, Some(65)), (65, false, Some(125)), (66, true, None)]
        {
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
