//! [`Presence`]: whether a master is there, as one process sees it. Pure.

use std::time::Instant;

use bstr::{BStr, BString};

use crate::store::limits::AWAY_AFTER;

/// The master that this process follows.
#[derive(Debug)]
pub(super) struct Presence {
    master: Option<Seen>,
    /// Since when there is none.
    away_since: Option<Instant>,
}

#[derive(Debug)]
struct Seen {
    process: BString,
    epoch: u64,
    heard: Instant,
}

/// What a message of a master means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It is from the master that this process follows.
    Known,
    /// It is, and that was away.
    Back,
    /// There is a new one, or the first.
    New,
    /// It is from another one, while the one before is still there.
    Other,
}

impl Presence {
    pub(super) fn new(now: Instant) -> Self {
        Presence { master: None, away_since: Some(now) }
    }

    /// A master says something.
    pub(super) fn heard(&mut self, process: &BStr, epoch: u64, now: Instant) -> Heard {
        let was_away = self.away_since.is_some();
        match &mut self.master {
            Some(seen) if seen.process == process && seen.epoch == epoch => {
                seen.heard = now;
                self.away_since = None;
                if was_away { Heard::Back } else { Heard::Known }
            }
            // A later master of the same process replaces the one before.
            Some(seen) if !was_away && (seen.process != process || seen.epoch > epoch) => {
                Heard::Other
            }
            _ => {
                self.master = Some(Seen { process: process.into(), epoch, heard: now });
                self.away_since = None;
                Heard::New
            }
        }
    }

    /// The master has closed; `false` if it is another one.
    pub(super) fn closed(&mut self, process: &BStr, epoch: u64, now: Instant) -> bool {
        let is_ours = |seen: &Seen| seen.process == process && seen.epoch == epoch;
        let is_ours = self.master.as_ref().is_some_and(is_ours);
        if is_ours {
            self.away_since.get_or_insert(now);
        }
        is_ours
    }

    /// A process is gone.
    pub(super) fn process_gone(&mut self, process: &BStr, now: Instant) {
        if self.master.as_ref().is_some_and(|seen| seen.process == process) {
            self.away_since.get_or_insert(now);
        }
    }

    pub(super) fn tick(&mut self, now: Instant) {
        if let Some(seen) = &self.master
            && seen.heard + AWAY_AFTER <= now
        {
            self.away_since.get_or_insert(now);
        }
    }

    /// When to call [`Presence::tick`].
    pub(super) fn deadline(&self) -> Option<Instant> {
        let seen = self.master.as_ref().filter(|_| self.away_since.is_none());
        seen.map(|seen| seen.heard + AWAY_AFTER)
    }

    pub(super) fn is_there(&self) -> bool {
        self.away_since.is_none()
    }

    /// Since when there is none.
    pub(super) fn away_since(&self) -> Option<Instant> {
        self.away_since
    }

    /// Whether there has ever been one.
    pub(super) fn was_seen(&self) -> bool {
        self.master.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn another_master_is_followed_only_if_the_one_before_is_away() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (a, b) = (BStr::new("a"), BStr::new("b"));
        let mut presence = Presence::new(start);
        assert!(!presence.is_there() && !presence.was_seen());
        assert_eq!(presence.heard(a, 1, at(0)), Heard::New);
        assert_eq!(presence.heard(a, 1, at(1)), Heard::Known);
        assert_eq!(presence.heard(b, 2, at(1)), Heard::Other);
        assert!(!presence.closed(b, 2, at(1)));
        presence.process_gone(b, at(1));
        assert!(presence.is_there());
        assert_eq!(presence.deadline(), Some(at(6)));
        presence.tick(at(5));
        assert!(presence.is_there());
        presence.tick(at(6));
        assert_eq!(presence.away_since(), Some(at(6)));
        assert_eq!(presence.heard(a, 1, at(7)), Heard::Back);
        presence.process_gone(a, at(8));
        assert_eq!(presence.heard(b, 2, at(9)), Heard::New);
        assert!(presence.closed(b, 2, at(10)));
        assert_eq!(presence.heard(a, 1, at(11)), Heard::New);
        // The same process has a new master.
        assert_eq!(presence.heard(a, 0, at(11)), Heard::Other);
        assert_eq!(presence.heard(a, 5, at(11)), Heard::New);
    }
}
