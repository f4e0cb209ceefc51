//! The broker (WIRE.md §1.1): an XSUB and an XPUB socket joined, so that subscriptions flow up to
//! publishers and events flow down to subscribers.
//!
//! - `engines`: the forwarding.
//! - here: command line, HTTP, signals, shutdown.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod engines;

use std::path::PathBuf;
use std::sync::Arc;

use zcluster::access::{AccessCell, server_access};
use zcluster::daemon::{self, AccessSource, Failure, Signal, Signals};
use zcluster::exit::ExitCode;
use zcluster::gateway;
use zcluster::layout::CurveKeys;
use zcluster::telemetry::{BrokerMetrics, Telemetry};

use engines::{Engine, Stop};

/// The broker of a Zeek-compatible cluster.
#[derive(Debug, clap::Parser)]
#[command(name = "zcluster-broker", version)]
pub struct Args {
    /// The layout of the cluster.
    #[arg(long, value_name = "FILE", default_value = "cluster-layout.toml")]
    layout: PathBuf,
    /// Name of this process in metrics and in the ready line.
    #[arg(long, value_name = "NAME", default_value = "broker")]
    node: String,
}

/// Runs the broker until SIGTERM or SIGINT; SIGHUP reloads keys and rules.
///
/// # Errors
/// A bad layout, endpoint or key (78), an address in use (69), an engine failure (70).
pub fn run(args: &Args, signals: &Signals) -> Result<(), Failure> {
    serve(args, signals, BrokerMetrics::PREFIX)
}

/// The command line of the broker under its former name, `zcluster-proxy`.
#[derive(Debug, clap::Parser)]
#[command(name = "zcluster-proxy", version, mut_arg("node", |node| node.default_value("proxy")))]
pub struct ProxyArgs {
    #[command(flatten)]
    args: Args,
}

/// Runs the broker under its former name. Its series are called `zcluster_proxy_…`, so existing
/// dashboards and alerts keep working.
///
/// # Errors
/// As [`run`].
pub fn run_as_proxy(args: &ProxyArgs, signals: &Signals) -> Result<(), Failure> {
    serve(&args.args, signals, BrokerMetrics::FORMER_PREFIX)
}

fn serve(args: &Args, signals: &Signals, series: &str) -> Result<(), Failure> {
    let layout = daemon::load_layout(&args.layout, None)?.layout;
    signals.keep();
    let label = &layout.telemetry.metrics_endpoint_label;
    let telemetry = Telemetry::new(&args.node, label);
    let access = server_access(&layout, CurveKeys::BROKER)?;
    let is_encrypted = access.server_keys().is_some();
    if is_encrypted {
        log::info!("encrypted: {}", access.summary());
    }
    let access = Arc::new(AccessCell::new(access));
    let mut engine = engines::start(&layout, &access, telemetry.broker_named(series))?;
    daemon::warn_if_open(engine.xsub_endpoint(), is_encrypted);
    daemon::warn_if_open(engine.xpub_endpoint(), is_encrypted);
    let http = match layout.broker.metrics_port {
        Some(port) => {
            let address = (layout.broker_metrics_address(), port).into();
            let health = engine.health();
            let services = Some(daemon::services(&layout, &args.node));
            let server = match engine.status() {
                Some(status) => {
                    gateway::serve_metrics_and_status(address, &telemetry, services, health, status)
                }
                None => gateway::serve_metrics(address, &telemetry, services, health),
            };
            Some(server.map_err(|error| Failure::new(ExitCode::Unavailable, error))?)
        }
        None => None,
    };

    let stop = Arc::new(Stop::new().map_err(|e| Failure::new(ExitCode::Software, e))?);
    {
        let stop = Arc::clone(&stop);
        let layout = args.layout.clone();
        let server = Some(CurveKeys::BROKER.into());
        let source = AccessSource { layout, node: None, server };
        let reloader = daemon::Reloader::start(source, access, engine.on_reload())?;
        signals.handle(move |signal| match signal {
            Signal::Stop => stop.ask(),
            Signal::Hangup => reloader.ask(),
        });
    }
    print_ready(args, &*engine, http.as_ref().map(|http| http.local_addr().to_string()));

    let outcome = engine.watch(&stop);
    match engine.stop() {
        Err(why) => Err(Failure::new(ExitCode::Software, format!("the broker failed: {why}"))),
        Ok(()) if !stop.is_asked() && outcome.is_ok() => {
            Err(Failure::new(ExitCode::Software, "the broker stopped by itself"))
        }
        Ok(()) => outcome,
    }
}

fn print_ready(args: &Args, engine: &dyn Engine, metrics: Option<String>) {
    let mut ready = serde_json::Map::new();
    let mut set = |key: &str, value: &str| ready.insert(key.into(), value.into());
    set("node", &args.node);
    set("engine", engine.name());
    set("xsub", engine.xsub_endpoint());
    set("xpub", engine.xpub_endpoint());
    if let Some(metrics) = metrics {
        set("metrics", &metrics);
    }
    daemon::print_ready(&ready);
}
