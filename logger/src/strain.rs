//! [`Strain`]: which stages of the logger hold back the stages before them, for the health check.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use zcluster::health::{Health, NEAR_LIMIT, Pressure, percent};
use zcluster::queue;

use crate::intake::{Buffers, Load};
use crate::piece::ToWrite;
use crate::pipeline::Shares;

/// How often the stages are sampled while one is near its limit, and otherwise.
const NEAR: Duration = Duration::from_millis(250);
const CALM: Duration = Duration::from_secs(1);

/// What to sample.
pub(crate) struct Stages {
    pub(crate) shares: Shares,
    pub(crate) load: Arc<Load>,
    pub(crate) buffers: Arc<Buffers>,
    pub(crate) pieces: queue::Sender<ToWrite>,
}

/// Watches the stages on a thread of its own, which ends when this is dropped.
pub(crate) struct Strain {
    stages: Arc<Stages>,
    /// Whether each stage is near its limit: arriving, received, to be written.
    near_limit: Arc<[AtomicBool; 3]>,
    _stop: Sender<()>,
}

impl Strain {
    /// Starts the thread.
    pub(crate) fn watch(stages: Stages) -> io::Result<Self> {
        let stages = Arc::new(stages);
        let near_limit: Arc<[AtomicBool; 3]> = Arc::default();
        let (stop, stopped) = bounded(0);
        let (looked_at, shown) = (Arc::clone(&stages), Arc::clone(&near_limit));
        let body = move || {
            let mut pressures = [Pressure::default(); 3];
            let mut last = (Instant::now(), looked_at.load.held());
            let mut interval = CALM;
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                let now = Instant::now();
                let held = looked_at.load.held();
                let percents = looked_at.percents(held.saturating_sub(last.1), now - last.0);
                last = (now, held);
                let is_near = percents.iter().any(|percent| *percent >= NEAR_LIMIT);
                interval = if is_near { NEAR } else { CALM };
                for ((pressure, percent), shown) in pressures.iter_mut().zip(percents).zip(&*shown)
                {
                    pressure.observe(percent, now);
                    shown.store(pressure.is_near(), Ordering::Relaxed);
                }
            }
        };
        std::thread::Builder::new().name("strain".into()).spawn(body)?;
        Ok(Strain { stages, near_limit, _stop: stop })
    }

    /// Adds a problem for each stage that is near its limit.
    pub(crate) fn tell(&self, health: &mut Health) {
        let Stages { shares, load, buffers, pieces } = &*self.stages;
        let rows = [
            ("arriving log batches", load.arriving(), shares.intake.unfinished, "1/8"),
            ("received log batches", buffers.under_way(), shares.intake.under_way, "1/16"),
            ("text for the disk", pieces.depth().1, shares.to_write, "1/4"),
        ];
        for ((what, bytes, limit, share), is_near) in rows.into_iter().zip(&*self.near_limit) {
            if is_near.load(Ordering::Relaxed) {
                let [bytes, limit] = [bytes, limit].map(|bytes| ByteSize::b(bytes as u64));
                health.problem(format!(
                    "the queue of {what} is near its limit: {bytes} of {limit} ({share} of \
                     max_memory); producers are held back"
                ));
            }
        }
    }
}

impl Stages {
    /// Returns how full the receiving stages are, in percent, given that reading was blocked for
    /// `held` out of `time`.
    ///
    /// While producers are held back, the bytes received swing between half of the share and all of
    /// it, so blocked time says more than bytes: half of the time counts as full. The same applies
    /// to what arrives, where a single large batch may exceed the share.
    fn percents(&self, held: Duration, time: Duration) -> [u64; 3] {
        let held = percent(2 * held.as_millis() as usize, time.as_millis() as usize);
        let arriving = if self.load.has_waiting() { 100 } else { 0 };
        [arriving, held, percent(self.pieces.depth().1, self.shares.to_write)]
    }
}
