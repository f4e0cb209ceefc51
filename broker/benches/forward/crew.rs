//! Clients running on threads, and their counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Timeout for any step; after it the run fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How often a waiting client checks whether it should stop.
pub(crate) const STOP_INTERVAL: Duration = Duration::from_millis(20);

/// The number of events that one client has sent or received.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counter(Arc<AtomicU64>);

impl Counter {
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, events: u64) {
        self.0.store(events, Ordering::Relaxed);
    }
}

/// Creates counters for that many clients.
pub(crate) fn counters(clients: usize) -> Vec<Counter> {
    (0..clients).map(|_| Counter::default()).collect()
}

fn counts(counters: &[Counter]) -> Vec<u64> {
    counters.iter().map(Counter::get).collect()
}

/// Something that one thread tells others once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flag(Arc<AtomicBool>);

impl Flag {
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Connections that stay open until this value is dropped.
pub(crate) type Connections = Box<dyn Send>;

/// A group of publishers or subscribers.
pub(crate) struct Crew {
    counters: Vec<Counter>,
    stop: Flag,
    ran_out: Flag,
    threads: Vec<JoinHandle<Connections>>,
}

impl Crew {
    /// Wraps running threads that update `counters` and obey `stop`.
    pub(crate) fn new(
        counters: Vec<Counter>,
        stop: Flag,
        threads: Vec<JoinHandle<Connections>>,
    ) -> Self {
        Self::with_supply(counters, stop, Flag::default(), threads)
    }

    /// The same for clients that set `ran_out` when one of them has nothing left to send.
    pub(crate) fn with_supply(
        counters: Vec<Counter>,
        stop: Flag,
        ran_out: Flag,
        threads: Vec<JoinHandle<Connections>>,
    ) -> Self {
        Crew { counters, stop, ran_out, threads }
    }

    /// Whether a client has nothing left to send.
    pub(crate) fn has_run_out(&self) -> bool {
        self.ran_out.is_set()
    }

    /// The count of each client.
    pub(crate) fn counts(&self) -> Vec<u64> {
        counts(&self.counters)
    }

    /// The sum of all counts.
    pub(crate) fn total(&self) -> u64 {
        self.counters.iter().map(Counter::get).sum()
    }

    /// Waits until every client has counted something.
    pub(crate) fn wait_for_first(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.counters.iter().any(|counter| counter.get() == 0) {
            assert!(Instant::now() < deadline, "a client receives nothing: {:?}", self.counts());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until the clients have counted `expected` events in total, or no more arrive.
    pub(crate) fn wait_for_total(&self, expected: u64) {
        const QUIET: Duration = Duration::from_millis(200);
        let deadline = Instant::now() + PATIENCE;
        let mut last = (self.total(), Instant::now());
        while last.0 < expected && last.1.elapsed() < QUIET {
            assert!(Instant::now() < deadline, "events keep arriving");
            std::thread::sleep(Duration::from_millis(1));
            let now = self.total();
            if now != last.0 {
                last = (now, Instant::now());
            }
        }
    }

    /// Stops all clients and returns their counts. Events of publishers may still be in flight
    /// while the returned connections are open.
    pub(crate) fn finish(self) -> (Vec<u64>, Vec<Connections>) {
        self.stop.set();
        let connections = self.threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        (counts(&self.counters), connections)
    }
}
