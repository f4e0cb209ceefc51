//! [`Strain`]: which stages of the logger hold those before them back, for the health.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use zcluster::health::{Health, Pressure, percent};
use zcluster::queue;

use crate::intake::{Buffers, Load};
use crate::piece::ToWrite;
use crate::pipeline::Shares;

/// How often the stages are looked at.
const INTERVAL: Duration = Duration::from_millis(250);

/// Where to look.
pub(crate) struct Stages {
    pub(crate) shares: Shares,
    pub(crate) load: Arc<Load>,
    pub(crate) buffers: Arc<Buffers>,
    pub(crate) pieces: queue::Sender<ToWrite>,
}

/// Watches the stages, in a thread that ends with it.
pub(crate) struct Strain {
    stages: Arc<Stages>,
    /// Those that are near their limits: arriving, received, to be written.
    near_limit: Arc<[AtomicBool; 3]>,
    _stop: Sender<()>,
}

impl Strain {
    /// Begins to watch.
    pub(crate) fn watch(stages: Stages) -> io::Result<Self> {
        let stages = Arc::new(stages);
        let near_limit: Arc<[AtomicBool; 3]> = Arc::default();
        let (stop, stopped) = bounded(0);
        let (looked_at, shown) = (Arc::clone(&stages), Arc::clone(&near_limit));
        let body = move || {
            let mut pressures = [Pressure::default(); 3];
            let mut last = (Instant::now(), looked_at.load.held());
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let now = Instant::now();
                let held = looked_at.load.held();
                let percents = looked_at.percents(held.saturating_sub(last.1), now - last.0);
                last = (now, held);
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

    /// Adds what is near its limit.
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
    /// How full the stages are, in percent, where nothing could be read for `held` of `time`.
    ///
    /// What is received goes up and down between half of its share and all of it while producers are
    /// held back, so that time tells more than bytes: half of it is as good as full. The same with
    /// what arrives, where a single large batch may take more than the share.
    fn percents(&self, held: Duration, time: Duration) -> [u64; 3] {
        let held = percent(2 * held.as_millis() as usize, time.as_millis() as usize);
        let arriving = if self.load.has_waiting() { 100 } else { 0 };
        [arriving, held, percent(self.pieces.depth().1, self.shares.to_write)]
    }
}
