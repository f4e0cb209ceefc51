//! [`Clock`] and [`Now`]: what time it is for an app.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use crate::value::Timestamp;

/// One moment, on two clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// For timers.
    pub(super) instant: Instant,
    /// The time of day, for people and other nodes.
    pub(super) time: Timestamp,
}

impl Now {
    pub(super) fn read() -> Self {
        Now { instant: Instant::now(), time: Timestamp::from(SystemTime::now()) }
    }

    /// That moment, some time later; at most ten years, which is for ever.
    pub(super) fn after(self, time: Duration) -> Self {
        const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
        let time = time.min(FOR_EVER);
        let nanos = i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        let time_of_day = Timestamp(self.time.0.saturating_add(nanos));
        Now { instant: self.instant + time, time: time_of_day }
    }
}

/// The time of an app: that of the event being handled, or of the last one. In a
/// [`Harness`](super::Harness) it is the harness's.
#[derive(Clone, Debug)]
pub struct Clock {
    now: Rc<Cell<Now>>,
}

impl Default for Clock {
    fn default() -> Self {
        Clock { now: Rc::new(Cell::new(Now::read())) }
    }
}

impl Clock {
    /// The time of day.
    pub fn time(&self) -> Timestamp {
        self.now.get().time
    }

    /// The time on the clock of timers, which nobody sets.
    pub fn instant(&self) -> Instant {
        self.now.get().instant
    }

    pub(super) fn set(&self, now: Now) {
        self.now.set(now);
    }
}
