//! zcluster's forwarding engine, a cut-through switch (docs/broker.md).
//!
//! With ZMTP 3.x the frames of a message are the same bytes in both directions. So the engine only
//! finds where messages end, matches the first frame against the subscriptions, and forwards the
//! bytes unchanged. Consecutive messages with the same recipients form a run, which goes into the
//! queue of each of them. Under CURVE the same holds between the channels, which decrypt what is
//! read and encrypt what is written.
//!
//! ```text
//! connection ─bytes─▶ sorting ─runs─▶ delivery ─▶ outbox of each recipient ─▶ its connection
//!                        │ router: topic → route       (run, bytes)
//!                        ▼
//!                subscriptions ─▶ hub ─▶ publishers
//! ```
//!
//! - `trie`, `subscriptions`: the subscriptions of all peers; pure.
//! - `run`, `bytes`, `outbox`: events in flight and their memory; pure.
//! - `peer`: what all threads know about a connection, and its counters.
//! - `hub`: state shared by the threads; `router`: each thread's cache of it.
//! - `connection`, `held`, `sorting`, `refusals`, `delivery`, `shard`: one thread and its
//!   connections.
//! - `settings`: the options.
//! - here: start, watch, stop.

mod bytes;
mod connection;
mod delivery;
mod gathering;
mod held;
mod hub;
mod outbox;
mod peer;
mod refusals;
mod router;
mod run;
mod settings;
mod shard;
mod sorting;
mod status;
mod subscriptions;
mod topics;
mod trie;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use zcluster::access::AccessCell;
use zcluster::daemon::Failure;
use zcluster::exit::ExitCode;
use zcluster::health::Health;
use zcluster::layout::Layout;
use zcluster::net::Listener;
use zcluster::telemetry::{BrokerMetrics, BrokerSocket};
use zcluster::transport::PollSet;

use self::hub::Hub;
use self::settings::Settings;
use self::shard::Shard;
use super::{Engine, Stop, bind_failure};

/// How often the metrics are updated.
const STATISTICS_INTERVAL: Duration = Duration::from_millis(250);
/// Stack size of a thread, in bytes: nothing recurses.
const STACK: usize = 512 << 10;
/// Far enough in the future to mean never.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The engine's threads, and how to stop them.
pub(crate) struct SwitchEngine {
    xsub_endpoint: String,
    xpub_endpoint: String,
    hub: Arc<Hub>,
    threads: Vec<JoinHandle<io::Result<u64>>>,
}

impl SwitchEngine {
    /// Binds both sockets and starts forwarding.
    pub(crate) fn start(
        layout: &Layout,
        access: &Arc<AccessCell>,
        metrics: &BrokerMetrics,
    ) -> Result<Self, Failure> {
        let system = |error: io::Error| {
            Failure::new(ExitCode::Software, format!("cannot start the engine: {error}"))
        };
        let settings = Settings::new(layout);
        let bind = |endpoint: &str| {
            Listener::bind(endpoint, layout.needs_ipv6(), None).map_err(|e| bind_failure(&e))
        };
        let xsub = bind(&layout.zeromq.listen_xsub_endpoint)?;
        let xpub = bind(&layout.zeromq.listen_xpub_endpoint)?;
        let (xsub_endpoint, xpub_endpoint) = (xsub.endpoint(), xpub.endpoint());
        let mut listeners = vec![(xsub, BrokerSocket::Frontend), (xpub, BrokerSocket::Backend)];
        let hub = Hub::new(settings, metrics.clone(), Arc::clone(access)).map_err(system)?;
        let hub = Arc::new(hub);
        let mut threads = Vec::new();
        // The first thread has the listeners, so it starts last.
        for index in (0..hub.settings.io_threads).rev() {
            let listeners = if index == 0 { std::mem::take(&mut listeners) } else { Vec::new() };
            let hub = Arc::clone(&hub);
            let body = move || {
                let _quiet = QuietOnDrop { hub: &hub, thread: index };
                Shard::new(&hub, index, listeners)?.run()
            };
            let thread = std::thread::Builder::new()
                .name(format!("switch-{index}"))
                .stack_size(STACK)
                .spawn(body)
                .map_err(system)?;
            threads.push(thread);
        }
        Ok(SwitchEngine { xsub_endpoint, xpub_endpoint, hub, threads })
    }
}

/// However a thread ends, the others must not wait for it to stop reading.
struct QuietOnDrop<'a> {
    hub: &'a Hub,
    thread: usize,
}

impl Drop for QuietOnDrop<'_> {
    fn drop(&mut self) {
        self.hub.fall_quiet(self.thread);
    }
}

impl Engine for SwitchEngine {
    fn name(&self) -> &'static str {
        "switch"
    }

    fn xsub_endpoint(&self) -> &str {
        &self.xsub_endpoint
    }

    fn xpub_endpoint(&self) -> &str {
        &self.xpub_endpoint
    }

    fn health(&self) -> Box<dyn Fn() -> Health + Send + Sync> {
        // Slow subscribers harm only themselves.
        Box::new(Health::ok)
    }

    fn status(&self) -> Option<Box<dyn Fn() -> serde_json::Value + Send + Sync>> {
        let hub = Arc::clone(&self.hub);
        Some(Box::new(move || status::status(&hub)))
    }

    fn on_reload(&self) -> Box<dyn Fn() + Send> {
        let hub = Arc::clone(&self.hub);
        Box::new(move || hub.wake_all())
    }

    fn watch(&mut self, stop: &Stop) -> Result<(), Failure> {
        while !stop.is_asked() && !self.threads.iter().any(JoinHandle::is_finished) {
            status::publish(&self.hub);
            let mut poll = PollSet::new();
            let woken = poll.add_waker(&stop.waker);
            poll.wait(Some(STATISTICS_INTERVAL))?;
            if poll.is_readable(woken) {
                stop.waker.reset();
            }
        }
        Ok(())
    }

    fn stop(self: Box<Self>) -> Result<(), String> {
        let linger = self.hub.settings.linger.unwrap_or(FOREVER);
        self.hub.end_at(Instant::now() + linger);
        let mut lost = 0;
        let mut outcome = Ok(());
        for thread in self.threads {
            match thread.join() {
                Ok(Ok(unsent)) => lost += unsent,
                Ok(Err(error)) => outcome = Err(error.to_string()),
                Err(_) => outcome = Err("an engine thread panicked".into()),
            }
        }
        status::publish(&self.hub);
        if lost > 0 {
            log::warn!("{lost} events were not sent in time (linger_ms)");
        }
        outcome
    }
}
