//! The central broker (WIRE.md §1.1): an XSUB and an XPUB socket joined, so that subscriptions
//! flow up to the publishers and events flow down to the subscribers.
//!
//! - `engine_zmq`: `zmq_proxy_steerable` on a thread of its own.
//! - `peers`: who connects and goes, from the socket monitors.
//! - here: the command line, and the loop that waits for signals and copies statistics.

mod engine_zmq;
mod peers;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use zcluster::daemon::{self, Failure, Signal};
use zcluster::exit::ExitCode;
use zcluster::gateway::{self, Health};
use zcluster::node::NodeError;
use zcluster::telemetry::Telemetry;
use zcluster::transport::{PollSet, TransportError, Waker};

use engine_zmq::ZmqEngine;
use peers::Peers;

/// How often statistics are copied to the metrics.
const STATISTICS_INTERVAL: Duration = Duration::from_millis(500);
/// How long the engine may take to answer before it counts as stalled.
const STATISTICS_PATIENCE: Duration = Duration::from_millis(200);

/// The central broker of a Zeek-compatible cluster.
#[derive(Debug, clap::Parser)]
#[command(name = "zcluster-proxy", version)]
pub struct Args {
    /// The layout of the cluster.
    #[arg(long, value_name = "FILE", default_value = "cluster-layout.toml")]
    layout: PathBuf,
    /// Name of this process in metrics and in the ready line.
    #[arg(long, value_name = "NAME", default_value = "proxy")]
    node: String,
}

/// Runs the broker until SIGTERM or SIGINT.
///
/// # Errors
/// A bad layout or endpoint (78), an address that is taken (69), an engine that fails (70).
pub fn run(args: &Args) -> Result<(), Failure> {
    let layout = daemon::load_layout(&args.layout, None)?.layout;
    if layout.zeromq.has_curve_keys() {
        return Err(NodeError::CurveUnsupported.into());
    }
    let label = &layout.telemetry.metrics_endpoint_label;
    let telemetry = Telemetry::new(&args.node, label);
    let mut engine = ZmqEngine::start(&layout)?;
    let stalled = Arc::new(AtomicBool::new(false));
    let http = match layout.proxy.metrics_port {
        Some(port) => {
            let address = (layout.proxy_metrics_address(), port).into();
            let stalled = Arc::clone(&stalled);
            let health = move || {
                let mut health = Health::ok();
                if stalled.load(Ordering::Relaxed) {
                    health.problem("a subscriber that does not read stalls the bus");
                }
                health
            };
            let server = gateway::serve_metrics(address, &telemetry, None, health);
            Some(server.map_err(|error| Failure::new(ExitCode::Unavailable, error))?)
        }
        None => None,
    };

    let waker = Arc::new(Waker::new().map_err(|e| Failure::new(ExitCode::Software, e))?);
    let stop = Arc::new(AtomicBool::new(false));
    {
        let (waker, stop) = (Arc::clone(&waker), Arc::clone(&stop));
        daemon::on_signals(move |signal| {
            if signal == Signal::Stop {
                stop.store(true, Ordering::Relaxed);
                waker.wake();
            }
        })?;
    }
    print_ready(args, &engine, http.as_ref().map(|http| http.local_addr().to_string()))?;

    let mut peers = Peers::new(telemetry.proxy().clone());
    let outcome = serve(&mut engine, &mut peers, &telemetry, &waker, &stop, &stalled);
    let asked = stop.load(Ordering::Relaxed);
    match engine.stop() {
        Err(why) => Err(Failure::new(ExitCode::Software, format!("the broker failed: {why}"))),
        Ok(()) if !asked && outcome.is_ok() => {
            Err(Failure::new(ExitCode::Software, "the broker stopped by itself"))
        }
        Ok(()) => outcome.map_err(Failure::from),
    }
}

fn print_ready(args: &Args, engine: &ZmqEngine, metrics: Option<String>) -> Result<(), Failure> {
    let mut ready = serde_json::Map::new();
    let mut set = |key: &str, value: &str| ready.insert(key.into(), value.into());
    set("node", &args.node);
    set("engine", "zmq");
    set("xsub", &engine.xsub_endpoint);
    set("xpub", &engine.xpub_endpoint);
    if let Some(metrics) = metrics {
        set("metrics", &metrics);
    }
    daemon::print_ready(&ready)
}

/// Watches over the engine until told to stop, or until it fails.
fn serve(
    engine: &mut ZmqEngine,
    peers: &mut Peers,
    telemetry: &Telemetry,
    waker: &Waker,
    stop: &AtomicBool,
    stalled: &AtomicBool,
) -> Result<(), TransportError> {
    let metrics = telemetry.proxy();
    let mut next_statistics = Instant::now();
    while !stop.load(Ordering::Relaxed) && engine.is_running() {
        peers.read(&engine.xsub_monitor, &engine.xpub_monitor)?;
        let now = Instant::now();
        if now >= next_statistics {
            next_statistics = now + STATISTICS_INTERVAL;
            match engine.control.statistics(STATISTICS_PATIENCE)? {
                Some(statistics) => {
                    stalled.store(false, Ordering::Relaxed);
                    engine_zmq::copy(&statistics, metrics);
                }
                None if !stalled.swap(true, Ordering::Relaxed) => {
                    log::warn!(
                        "the bus is stalled: a subscriber does not read, and every publisher waits \
                         until it is cut off (heartbeat_timeout)"
                    );
                }
                None => {}
            }
        }
        let mut poll = PollSet::new();
        let woken = poll.add_waker(waker);
        poll.add_monitor(&engine.xsub_monitor);
        poll.add_monitor(&engine.xpub_monitor);
        poll.wait(Some(next_statistics.saturating_duration_since(Instant::now())))?;
        if poll.is_readable(woken) {
            waker.reset();
        }
    }
    Ok(())
}
