//! The thread that makes events.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use zcluster::transport::Waker;

/// Where events come from, and where those of clients go.
pub(crate) trait Feed: Send {
    /// Chooses the topics, which take turns.
    fn choose(&mut self, topics: &[String]);

    /// Sends up to that many events; says how many it did.
    fn send(&mut self, count: u64) -> u64;

    /// Sends an event that tells when it was sent.
    fn send_stamped(&mut self, nanoseconds: u64);

    /// Handles what has arrived; says how many events.
    fn receive(&mut self) -> u64;

    /// Waits until something arrives, at most for that long (`None`: no limit), or `waker` is woken.
    fn wait(&self, waker: &Waker, timeout: Option<Duration>);
}

#[derive(Debug, Default)]
struct Shared {
    /// Events that may be sent.
    limit: AtomicU64,
    /// Events that clients have sent.
    received: AtomicU64,
    /// Nanoseconds from one event to the next; 0 if they are sent at once.
    interval: AtomicU64,
    must_end: AtomicBool,
}

/// The thread; it ends on drop.
pub(crate) struct Feeder {
    shared: Arc<Shared>,
    waker: Arc<Waker>,
    /// The limit when it was last woken.
    told: u64,
    /// What the times of stamped events are from.
    pub(crate) clock: Instant,
    thread: Option<JoinHandle<()>>,
}

impl Feeder {
    pub(crate) fn start(mut feed: Box<dyn Feed>, topics: &[String]) -> Self {
        feed.choose(topics);
        let shared = Arc::<Shared>::default();
        let waker = Arc::new(Waker::new().unwrap());
        let clock = Instant::now();
        let thread = {
            let (shared, waker) = (Arc::clone(&shared), Arc::clone(&waker));
            std::thread::spawn(move || run(feed, &shared, &waker, clock))
        };
        Feeder { shared, waker, told: 0, clock, thread: Some(thread) }
    }

    /// Lets it send so many events in total; `step` more are worth waking it.
    pub(crate) fn allow(&mut self, total: u64, step: u64) {
        let before = self.shared.limit.fetch_max(total, Ordering::Relaxed);
        if before.max(total) >= self.told + step.max(1) {
            self.told = before.max(total);
            self.waker.wake();
        }
    }

    /// Tells it of all events that it was allowed to send.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    /// The events it was allowed to send: all of them will be.
    pub(crate) fn allowed(&self) -> u64 {
        self.shared.limit.load(Ordering::Relaxed)
    }

    /// Sends that many more events, at a steady rate, with the times at which they were sent.
    pub(crate) fn pace(&mut self, rate: u32, events: u64) {
        self.shared.interval.store(1_000_000_000 / u64::from(rate), Ordering::Relaxed);
        self.allow(self.allowed() + events, 1);
    }

    /// Events of clients that have arrived.
    pub(crate) fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.shared.must_end.store(true, Ordering::Relaxed);
        self.waker.wake();
        let _ = self.thread.take().unwrap().join();
    }
}

fn run(mut feed: Box<dyn Feed>, shared: &Shared, waker: &Waker, clock: Instant) {
    // The kernel's default timer slack of 50 µs is a part of the latency at a steady rate.
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).unwrap();
    let mut sent = 0;
    // When the first event of a steady rate was due, and its number.
    let mut pace: Option<(Instant, u64)> = None;
    while !shared.must_end.load(Ordering::Relaxed) {
        waker.reset();
        let received = feed.receive();
        shared.received.fetch_add(received, Ordering::Relaxed);
        let limit = shared.limit.load(Ordering::Relaxed);
        let interval = shared.interval.load(Ordering::Relaxed);
        if sent == limit {
            pace = None;
            feed.wait(waker, None);
        } else if interval == 0 {
            // In portions, so that what arrives is not left waiting.
            sent += feed.send((limit - sent).min(256));
        } else {
            let (start, first) = *pace.get_or_insert((Instant::now(), sent));
            let due = start + Duration::from_nanos((sent - first) * interval);
            let early = due.saturating_duration_since(Instant::now());
            if early.is_zero() {
                feed.send_stamped(clock.elapsed().as_nanos() as u64);
                sent += 1;
            } else {
                feed.wait(waker, Some(early));
            }
        }
    }
}
