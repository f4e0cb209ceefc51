//! The engine `zmq`: libzmq's `zmq_proxy_steerable`.
//!
//! It forwards with a blocking send. With `listen_xpub_nodrop`, a subscriber that stops reading
//! blocks everyone until heartbeats or the TCP timeout cut it off; without, it loses events
//! uncounted. It also forwards upstream whatever subscribers send, subscription or not (WIRE.md
//! §1.2). With CURVE it only decides who may connect: it cannot tell which peer a message came
//! from.

mod peers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use zcluster::access::{Access, AccessCell, Identity};
use zcluster::daemon::Failure;
use zcluster::health::Health;
use zcluster::layout::{Layout, ZeroMq};
use zcluster::rate_limit::KeyedRateLimit;
use zcluster::telemetry::{BrokerMetrics, SocketTraffic};
use zcluster::transport::{
    Context, CurveOptions, Heartbeat, Monitor, PollSet, ProxyControl, ProxyStatistics,
    SUBSCRIPTION_HWM, Socket, SocketKind, SocketOptions, SocketStatistics, TransportError,
    ZapHandler, ZapRequest, run_proxy,
};

use self::peers::Peers;
use super::{Engine, Stop};

/// How often statistics are copied into the metrics.
const STATISTICS_INTERVAL: Duration = Duration::from_millis(500);
/// How long the engine may take to answer before it counts as stalled.
const STATISTICS_PATIENCE: Duration = Duration::from_millis(200);

/// How long the engine may take to stop before its context is terminated.
const STOP_PATIENCE: Duration = Duration::from_millis(500);

/// How often a refusal is reported per host.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);
/// Hosts that are told apart.
const MAX_WARNINGS: usize = 1_024;

/// A running `zmq_proxy_steerable`.
pub(crate) struct ZmqEngine {
    xsub_endpoint: String,
    xpub_endpoint: String,
    xsub_monitor: Monitor,
    xpub_monitor: Monitor,
    control: ProxyControl,
    metrics: BrokerMetrics,
    /// A subscriber blocks everyone.
    is_stalled: Arc<AtomicBool>,
    access: Arc<AccessCell>,
    thread: JoinHandle<Result<(), TransportError>>,
    context: Context,
}

impl ZmqEngine {
    /// Binds both sockets and starts forwarding.
    pub(crate) fn start(
        layout: &Layout,
        access: &Arc<AccessCell>,
        metrics: &BrokerMetrics,
    ) -> Result<Self, Failure> {
        for warning in shortcomings(&access.load()) {
            log::warn!("{warning}");
        }
        let options = &layout.zeromq;
        let context = Context::new(options.proxy_io_threads)?;
        let common = SocketOptions {
            curve: curve(access, &context)?,
            ..socket_options(options, layout.needs_ipv6())
        };
        let xsub_options = SocketOptions { send_hwm: Some(SUBSCRIPTION_HWM), ..common.clone() };
        let xsub = Socket::new(&context, SocketKind::Xsub, &xsub_options)?;
        let xpub_options = SocketOptions {
            xpub_verboser: true,
            xpub_nodrop: options.listen_xpub_nodrop,
            ..common
        };
        let xpub = Socket::new(&context, SocketKind::Xpub, &xpub_options)?;
        let xsub_monitor = Monitor::new(&context, &xsub)?;
        let xpub_monitor = Monitor::new(&context, &xpub)?;
        let xsub_endpoint = xsub.bind(&options.listen_xsub_endpoint)?;
        let xpub_endpoint = xpub.bind(&options.listen_xpub_endpoint)?;
        let (control, proxy_side) = ProxyControl::new(&context)?;
        let thread = std::thread::spawn(move || run_proxy(xsub, xpub, proxy_side));
        Ok(ZmqEngine {
            xsub_endpoint,
            xpub_endpoint,
            xsub_monitor,
            xpub_monitor,
            control,
            metrics: metrics.clone(),
            is_stalled: Arc::default(),
            access: Arc::clone(access),
            thread,
            context,
        })
    }

    /// Copies the statistics into the metrics. As long as none arrive, the engine is stalled.
    fn look_at_statistics(&mut self) -> Result<(), TransportError> {
        match self.control.statistics(STATISTICS_PATIENCE)? {
            Some(statistics) => {
                self.is_stalled.store(false, Ordering::Relaxed);
                copy(&statistics, &self.metrics);
            }
            None if !self.is_stalled.swap(true, Ordering::Relaxed) => {
                log::warn!(
                    "the bus is stalled: a subscriber does not read, and every publisher waits \
                     until it is cut off (heartbeat_timeout)"
                );
            }
            None => {}
        }
        Ok(())
    }
}

impl Engine for ZmqEngine {
    fn name(&self) -> &'static str {
        "zmq"
    }

    fn xsub_endpoint(&self) -> &str {
        &self.xsub_endpoint
    }

    fn xpub_endpoint(&self) -> &str {
        &self.xpub_endpoint
    }

    fn health(&self) -> Box<dyn Fn() -> Health + Send + Sync> {
        let is_stalled = Arc::clone(&self.is_stalled);
        Box::new(move || {
            let mut health = Health::ok();
            if is_stalled.load(Ordering::Relaxed) {
                health.problem(
                    "the bus is stalled: a subscriber does not read, and every publisher waits",
                );
            }
            health
        })
    }

    fn status(&self) -> Option<Box<dyn Fn() -> serde_json::Value + Send + Sync>> {
        // libzmq does not report its peers.
        None
    }

    fn on_reload(&self) -> Box<dyn Fn() + Send> {
        let access = Arc::clone(&self.access);
        Box::new(move || {
            let access = access.load();
            if access.server_keys().is_some() {
                log::warn!(
                    "engine zmq applies new keys to new connections only; it cannot close existing \
                     connections or change its own key"
                );
            }
            if let Some(warning) = warning_of_rules(&access) {
                log::warn!("{warning}");
            }
        })
    }

    fn watch(&mut self, stop: &Stop) -> Result<(), Failure> {
        let mut peers = Peers::new(self.metrics.clone());
        let mut next_statistics = Instant::now();
        while !stop.is_asked() && !self.thread.is_finished() {
            peers.read(&self.xsub_monitor, &self.xpub_monitor)?;
            let now = Instant::now();
            if now >= next_statistics {
                next_statistics = now + STATISTICS_INTERVAL;
                self.look_at_statistics()?;
            }
            let mut poll = PollSet::new();
            let woken = poll.add_waker(&stop.waker);
            poll.add_monitor(&self.xsub_monitor);
            poll.add_monitor(&self.xpub_monitor);
            poll.wait(Some(next_statistics.saturating_duration_since(Instant::now())))?;
            if poll.is_readable(woken) {
                stop.waker.reset();
            }
        }
        Ok(())
    }

    /// An engine that is stuck in a send cannot receive TERMINATE; terminating its context ends it.
    fn stop(self: Box<Self>) -> Result<(), String> {
        if let Err(error) = self.control.terminate() {
            log::debug!("{error}");
        }
        let deadline = Instant::now() + STOP_PATIENCE;
        while !self.thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        drop((self.xsub_monitor, self.xpub_monitor, self.control));
        self.context.terminate();
        match self.thread.join() {
            Ok(Err(error)) if !error.is_terminated() => Err(error.to_string()),
            Ok(_) => Ok(()),
            Err(_) => Err("the engine's thread panicked".into()),
        }
    }
}

/// The broker's side of CURVE (WIRE.md §7.1): admits a peer if its key is authorized at that
/// moment. `None` without encryption.
fn curve(cell: &Arc<AccessCell>, context: &Context) -> Result<Option<CurveOptions>, Failure> {
    let access = cell.load();
    let Some([keys, ..]) = access.server_keys().map(|keys| &**keys) else {
        return Ok(None);
    };
    let cell = Arc::clone(cell);
    let mut warnings = KeyedRateLimit::<String>::new(WARNING_INTERVAL, MAX_WARNINGS);
    let allow = move |request: &ZapRequest| match cell.load().admit(&request.key) {
        Some(Identity::Node(name)) => Some(name.to_string()),
        Some(Identity::Unproven) => Some(String::new()),
        None => {
            if let Some(more) = warnings.check(&request.address, Instant::now()) {
                log::warn!(
                    "refused {}: its public key {} is not authorized to connect ({more} more \
                     like this)",
                    request.address,
                    request.key
                );
            }
            None
        }
    };
    let zap = Arc::new(ZapHandler::start(context, allow)?);
    Ok(Some(CurveOptions::Server { keys: Arc::new(keys.clone()), zap }))
}

/// Settings that this engine cannot enforce.
pub(crate) fn shortcomings(access: &Access) -> Vec<String> {
    let one_key = match access.server_keys().map(|keys| &**keys) {
        Some([keys, others @ ..]) if !others.is_empty() => Some(format!(
            "engine zmq uses only one server key, {}; engine switch accepts all {}",
            keys.public(),
            1 + others.len()
        )),
        _ => None,
    };
    warning_of_rules(access).into_iter().chain(one_key).collect()
}

fn warning_of_rules(access: &Access) -> Option<String> {
    access.has_rules().then(|| {
        "engine zmq cannot enforce what nodes may publish and subscribe to (allow), or that each \
         node uses its own name; engine switch can"
            .into()
    })
}

fn socket_options(options: &ZeroMq, ipv6: bool) -> SocketOptions {
    SocketOptions {
        ipv6,
        linger_ms: options.linger_ms,
        max_message_size: Some(i64::try_from(options.max_message_size).unwrap_or(i64::MAX)),
        heartbeat: Heartbeat {
            interval: options.heartbeat_interval,
            timeout: options.heartbeat_timeout,
            ttl: options.heartbeat_ttl,
        },
        ..SocketOptions::default()
    }
}

/// Copies statistics into the metrics.
fn copy(statistics: &ProxyStatistics, metrics: &BrokerMetrics) {
    let side = |from: &SocketStatistics, to: &SocketTraffic| {
        to.messages_received.raise_to(from.messages_received);
        to.bytes_received.raise_to(from.bytes_received);
        to.messages_sent.raise_to(from.messages_sent);
        to.bytes_sent.raise_to(from.bytes_sent);
    };
    side(&statistics.frontend, &metrics.frontend);
    side(&statistics.backend, &metrics.backend);
}
