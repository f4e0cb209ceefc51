//! [`Gathering`]: while many peers send at once, what goes to a recipient waits a little for more, so
//! that it leaves in fewer, larger writes. Pure.
//!
//! When a cluster starts or its broker returns, each node greets every other one. Written one by one, a
//! greeting costs thirty times what an event costs in bulk. That many peers are ready at once means
//! that the broker is behind: it will find more to do as soon as it looks. An idle broker never waits.

use std::time::{Duration, Instant};

use super::subscriptions::PeerId;

/// Connections that one poll must find ready.
const MANY: usize = 8;
/// The longest time that anything waits.
const LONGEST: Duration = Duration::from_millis(10);
/// A recipient with this many bytes does not wait: larger writes are not cheaper.
pub(super) const ENOUGH: usize = 64 << 10;

/// Recipients that wait for more.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    waiting: Vec<PeerId>,
    /// When it ends; `None` while nothing gathers.
    until: Option<Instant>,
}

impl Gathering {
    /// Whether what is small may wait, now that a poll has found that many connections ready.
    pub(super) fn goes_on(&mut self, ready: usize, now: Instant) -> bool {
        let goes_on = ready >= MANY && now < *self.until.get_or_insert(now + LONGEST);
        if !goes_on {
            self.until = None;
        }
        goes_on
    }

    /// A recipient waits.
    pub(super) fn add(&mut self, peer: PeerId) {
        self.waiting.push(peer);
    }

    /// Those who wait, each once.
    pub(super) fn take(&mut self) -> Vec<PeerId> {
        std::mem::take(&mut self.waiting)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lasts_while_many_are_ready_and_not_for_long() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut gathering = Gathering::default();
        for (ready, millis, expected) in [
            (MANY - 1, 0, false),
            (MANY, 1, true),
            (MANY, 10, true),
            (MANY, 11, false),
            // A new one begins.
            (MANY, 12, true),
            (MANY - 1, 13, false),
            (0, 14, false),
            (MANY, 100, true),
            (MANY, 109, true),
            (MANY, 110, false),
        ] {
            assert_eq!(gathering.goes_on(ready, at(millis)), expected, "{millis}");
        }
    }
}
