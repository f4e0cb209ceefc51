//! The broker (WIRE.md §1.1): an XSUB and an XPUB socket joined, so that subscriptions flow up to
//! publishers and events flow down to subscribers.
//!
//! - `engines`: the forwarding.
//! - `check`: `--check`, what the configuration means on this host.
//! - here: command line, HTTP, signals, shutdown.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod check;
mod engines;

use std::path::PathBuf;
use std::sync::Arc;

use zcluster::access::{AccessCell, server_access};
use zcluster::daemon::{self, AccessSource, Failure, Signal, Signals};
use zcluster::exit::ExitCode;
use zcluster::health::Health;
use zcluster::http;
use zcluster::layout::{CurveKeys, Layout};
use zcluster::telemetry::{BrokerMetrics, Telemetry};

use engines::{Engine, Stop};

/// The broker of a Zeek-compatible cluster.
#[derive(Debug, clap::Parser)]
#[command(name = "zcluster-broker", version)]
pub struct Args {
    /// The layout of the cluster.
    #[arg(long, value_name = "FILE", default_value = "cluster-layout.toml")]
    layout: PathBuf,
    /// Name of this process in metrics and in the ready line; must not be the name of a node of the
    /// layout [default: broker].
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Check the configuration, show how the broker interprets it on this host, and exit.
    #[arg(long)]
    check: bool,
}

/// Runs the broker until SIGTERM or SIGINT; SIGHUP reloads keys and rules.
///
/// # Errors
/// A bad layout, endpoint or key (78), the name of a node (64), an address in use (69), an engine
/// failure (70).
pub fn run(args: &Args, signals: &Signals) -> Result<(), Failure> {
    serve(args, signals, &BROKER)
}

/// The help of `--node` under the former program name.
const PROXY_NODE: &str = "Name of this process in metrics and in the ready line; must not be the name of a node of the layout [default: proxy]";

/// The command line of the broker under its former name, `zcluster-proxy`.
#[derive(Debug, clap::Parser)]
#[command(name = "zcluster-proxy", version, mut_arg("node", |node| node.help(PROXY_NODE)))]
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
    serve(&args.args, signals, &PROXY)
}

/// What depends on the program's name.
struct Program {
    /// The executable.
    executable: &'static str,
    /// The name of the process unless `--node` gives one.
    name: &'static str,
    /// The prefix of its series.
    series: &'static str,
}

const BROKER: Program =
    Program { executable: "zcluster-broker", name: "broker", series: BrokerMetrics::PREFIX };
const PROXY: Program =
    Program { executable: "zcluster-proxy", name: "proxy", series: BrokerMetrics::FORMER_PREFIX };

fn serve(args: &Args, signals: &Signals, program: &Program) -> Result<(), Failure> {
    let loaded = daemon::load_layout(&args.layout, None)?;
    let layout = Arc::new(loaded.layout);
    let name = match &args.node {
        Some(name) => not_a_node(name, &layout, program)?,
        None => program.name,
    };
    if args.check || loaded.environment.check_config {
        signals.leave_alone();
        return check::check(&layout, name);
    }
    signals.keep();
    let label = &layout.telemetry.metrics_endpoint_label;
    let telemetry = Telemetry::new(name, label);
    let access = server_access(&layout, CurveKeys::BROKER)?;
    let is_encrypted = access.server_keys().is_some();
    if is_encrypted {
        log::info!("encrypted: {}", access.summary());
    }
    let access = Arc::new(AccessCell::new(access));
    let mut engine = engines::start(&layout, &access, telemetry.broker_named(program.series))?;
    daemon::warn_if_open(engine.xsub_endpoint(), is_encrypted);
    daemon::warn_if_open(engine.xpub_endpoint(), is_encrypted);
    let stop = Arc::new(Stop::new().map_err(|e| Failure::new(ExitCode::Software, e))?);
    let http = match layout.broker_metrics_socket() {
        Some(address) => {
            if let Some(warning) = layout.open_metrics() {
                log::warn!("{warning}");
            }
            let health = health(&*engine, Arc::clone(&stop));
            let services = Some(daemon::services(&layout, name));
            let server = match engine.status() {
                Some(status) => {
                    http::serve_metrics_and_status(address, &telemetry, services, health, status)
                }
                None => http::serve_metrics(address, &telemetry, services, health),
            };
            Some(server.map_err(|error| Failure::new(ExitCode::Unavailable, error))?)
        }
        None => None,
    };

    {
        let stop = Arc::clone(&stop);
        let source = AccessSource {
            layout: args.layout.clone(),
            node: None,
            server: Some(CurveKeys::BROKER.into()),
            running: Arc::clone(&layout),
        };
        let reloader = daemon::Reloader::start(source, access, |_| Ok(()), engine.on_reload())?;
        signals.handle(move |signal| match signal {
            Signal::Stop => stop.ask(),
            Signal::Hangup => reloader.ask(),
        });
    }
    print_ready(name, &*engine, http.as_ref().map(|http| http.local_addr().to_string()));

    let outcome = engine.watch(&stop);
    match engine.stop() {
        Err(why) => Err(Failure::new(ExitCode::Software, format!("the broker failed: {why}"))),
        Ok(()) if !stop.is_asked() && outcome.is_ok() => {
            Err(Failure::new(ExitCode::Software, "the broker stopped unexpectedly"))
        }
        Ok(()) => outcome,
    }
}

/// The engine's problem, if any, and whether the process is stopping.
fn health(engine: &dyn Engine, stop: Arc<Stop>) -> impl Fn() -> Health + Send + Sync + 'static {
    let of_engine = engine.health();
    move || {
        let mut health = of_engine();
        if stop.is_asked() {
            health.passing("stopping");
        }
        health
    }
}

/// Returns the name from `--node`. The broker is not a node, so the name of one is a mistake.
fn not_a_node<'a>(
    name: &'a str,
    layout: &Layout,
    Program { executable, name: default, .. }: &Program,
) -> Result<&'a str, Failure> {
    let Some(node) = layout.node(name) else { return Ok(name) };
    let runs = if layout.is_run_by_logger(name) { "zcluster-logger" } else { "zcluster-node" };
    let node_type = node.node_type;
    Err(Failure::new(
        ExitCode::Usage,
        format!(
            "'{name}' is a {node_type} node of the layout, and {executable} is the broker, which is not \
             a node: start the node with {runs}, or the broker without --node (its name is then \
             '{default}')"
        ),
    ))
}

fn print_ready(name: &str, engine: &dyn Engine, metrics: Option<String>) {
    let mut ready = serde_json::Map::new();
    let mut set = |key: &str, value: &str| ready.insert(key.into(), value.into());
    set("node", name);
    set("engine", engine.name());
    set("xsub", engine.xsub_endpoint());
    set("xpub", engine.xpub_endpoint());
    if let Some(metrics) = metrics {
        set("metrics", &metrics);
    }
    daemon::print_ready(&ready);
}
