//! The forwarding engine that libzmq brings: `zmq_proxy_steerable`.
//!
//! It forwards with a blocking send. With `listen_xpub_nodrop`, a subscriber that stops reading
//! holds everybody back until the heartbeats or the TCP timeout cut it off; without, what it
//! misses is lost uncounted. It also passes user messages of subscribers upstream, which Zeek
//! nodes had better not see (WIRE.md §1.2).

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use zcluster::layout::{Layout, ZeroMq};
use zcluster::telemetry::{ProxyMetrics, SocketTraffic};
use zcluster::transport::{
    Context, Heartbeat, Monitor, ProxyControl, ProxyStatistics, SUBSCRIPTION_HWM, Socket,
    SocketKind, SocketOptions, SocketStatistics, TransportError, run_proxy,
};

/// How long the engine may take to stop before its context is pulled away under it.
const STOP_PATIENCE: Duration = Duration::from_millis(500);

/// A running `zmq_proxy_steerable`.
pub(crate) struct ZmqEngine {
    pub(crate) xsub_endpoint: String,
    pub(crate) xpub_endpoint: String,
    pub(crate) xsub_monitor: Monitor,
    pub(crate) xpub_monitor: Monitor,
    pub(crate) control: ProxyControl,
    thread: JoinHandle<Result<(), TransportError>>,
    context: Context,
}

impl ZmqEngine {
    /// Binds both sockets and starts to forward.
    pub(crate) fn start(layout: &Layout) -> Result<Self, TransportError> {
        let options = &layout.zeromq;
        let ipv6 = layout.needs_ipv6();
        let context = Context::new(options.proxy_io_threads)?;
        let xsub_options =
            SocketOptions { send_hwm: Some(SUBSCRIPTION_HWM), ..socket_options(options, ipv6) };
        let xsub = Socket::new(&context, SocketKind::Xsub, &xsub_options)?;
        let xpub_options = SocketOptions {
            xpub_verboser: true,
            xpub_nodrop: options.listen_xpub_nodrop,
            ..socket_options(options, ipv6)
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
            thread,
            context,
        })
    }

    /// Whether it has not failed.
    pub(crate) fn is_running(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Stops forwarding and closes the sockets. Blocks, but never for long: a proxy that is stuck
    /// in a send cannot hear TERMINATE, and is then ended with its context.
    ///
    /// # Errors
    /// Why the engine ended, if not because of this.
    pub(crate) fn stop(self) -> Result<(), String> {
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
            Err(_) => Err("its thread panicked".into()),
        }
    }
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
pub(crate) fn copy(statistics: &ProxyStatistics, metrics: &ProxyMetrics) {
    let side = |from: &SocketStatistics, to: &SocketTraffic| {
        to.messages_received.raise_to(from.messages_received);
        to.bytes_received.raise_to(from.bytes_received);
        to.messages_sent.raise_to(from.messages_sent);
        to.bytes_sent.raise_to(from.bytes_sent);
    };
    side(&statistics.frontend, &metrics.frontend);
    side(&statistics.backend, &metrics.backend);
}
