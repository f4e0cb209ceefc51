//! The program `zcluster-node`: a node that reads and writes lines of JSON on standard input and
//! output, for users and scripts.
//!
//! - `check`: `--check`, what the configuration means on this host.
//! - `input`: reads lines, and publishes them or passes them to the stores.
//! - `runner`: runs the app of this node, which is `stores`, `console` and `demo`.
//! - `stores`: hosts data stores.
//! - `console`: prints events, and nodes that come and go.
//! - `demo`: demo traffic.
//! - `gateway`: the WebSocket API, if the layout gives the node one.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod check;
mod console;
mod demo;
mod gateway;
mod input;
mod runner;
mod stores;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded, select};

use zcluster::daemon::{self, AccessSource, Failure, Reloader, Signal, Signals};
use zcluster::exit::ExitCode;
use zcluster::layout::{self, Layout, NodeType};
use zcluster::node::Node;
use zcluster::telemetry::Telemetry;
use zcluster_gateway::Gateway;

use runner::{Runner, Work};

/// A node of a Zeek-compatible cluster.
///
/// Prints what it receives as lines of JSON and publishes the lines it reads, for example
/// `{"topic":"zeek.cluster.worker","event":"Demo::ping","args":["hello",42]}`. It has the masters of the data stores that the
/// layout gives it, and lines such as `{"store":"hosts","put":["key",42],"id":7}` use any store.
#[derive(Debug, clap::Parser)]
#[command(name = "zcluster-node", version)]
pub struct Args {
    /// The layout of the cluster.
    #[arg(long, value_name = "FILE", default_value = "cluster-layout.toml")]
    layout: PathBuf,
    /// Which node of the layout this is.
    #[arg(long, value_name = "NAME", env = "CLUSTER_NODE")]
    node: Option<String>,
    /// Check the configuration, say what it means on this host, and exit.
    #[arg(long)]
    check: bool,
    /// Also subscribe to topics that start with PREFIX; may be given several times.
    #[arg(long, value_name = "PREFIX")]
    subscribe: Vec<String>,
    /// Print only the ready line.
    #[arg(long)]
    quiet: bool,
    /// Do not read standard input.
    #[arg(long)]
    no_stdin: bool,
    /// Generate demo traffic: each worker publishes a heartbeat once a second and writes a log.
    #[arg(long)]
    demo: bool,
}

/// How long the app may still take at the end.
const LAST_HANDLER: Duration = Duration::from_secs(1);
/// Time between two looks at whether the node has ended.
const NODE_CHECK: Duration = Duration::from_secs(1);
/// The least time that events and logs get to be sent when the node stops.
const MIN_PATIENCE: Duration = Duration::from_millis(500);

/// Runs a node until SIGTERM or SIGINT. SIGHUP reloads the rules of the layout.
///
/// # Errors
/// A bad layout, or keys that are missing or wrong (78), an address in use or log records that no
/// logger accepted before the end (69), a closed standard output, or the file of a store that cannot be used (74).
pub fn run(args: &Args, signals: &Signals) -> Result<(), Failure> {
    daemon::warn_if_another_is_named(args.node.as_deref());
    let loaded = daemon::load_layout(&args.layout, args.node.as_deref())?;
    let (name, own) = loaded.local_node()?;
    let (name, own) = (name.to_owned(), own.clone());
    if args.check || loaded.environment.check_config {
        signals.leave_alone();
        return check::check(&loaded.layout, &name, &own);
    }
    signals.keep();
    is_ours(&loaded.layout, &name, &own)?;
    let layout = Arc::new(loaded.layout);
    let patience = layout.log.shutdown_timeout.max(MIN_PATIENCE);
    let telemetry = Telemetry::new(&name, &layout.telemetry.metrics_endpoint_label);
    let (node, notifications) =
        Node::builder(Arc::clone(&layout), name.as_str()).telemetry(telemetry.clone()).start()?;
    for prefix in &args.subscribe {
        node.subscribe(prefix.as_str())?;
    }
    let gateway = gateway::start(&node, &layout, &own, &telemetry, args.quiet)?;
    let asked = node.clone();
    let http = daemon::serve_metrics(&layout, &name, &telemetry, move || asked.health())?;

    let source = AccessSource {
        layout: args.layout.clone(),
        node: args.node.clone(),
        server: None,
        running: layout,
    };
    let apply = gateway::reloader(gateway.as_ref(), &name);
    let reloader = Reloader::start(source, Arc::clone(node.access()), apply, || {})?;
    let signals = stop_signals(signals, reloader);
    let demo = args.demo && own.node_type == NodeType::Worker;
    let demo = if demo { Some(node.log(demo::schema())?) } else { None };
    let (lines, commands) = stores::Lines::new(&node);
    let (is_printing, prefixes) = (!args.quiet, args.subscribe.clone());
    let runner = Runner::new(&node, Work { notifications, commands, is_printing, prefixes, demo })?;
    let mut ready = daemon::ready_members(&node);
    if let Some(http) = &http {
        ready.insert("metrics".into(), http.local_addr().to_string().into());
    }
    if let Some(address) = gateway.as_ref().and_then(Gateway::local_addr) {
        ready.insert("http".into(), address.to_string().into());
    }
    daemon::print_ready(&ready);

    runner.go();
    if !args.no_stdin {
        input::start(node.clone(), lines)?;
    }
    let stopped = wait_for_end(&signals, &runner, &node);
    let end = Instant::now() + patience;
    // Nobody may read what the app prints.
    let outcome = stopped.unwrap_or_else(|| runner.stop(patience.min(LAST_HANDLER)));
    // First, so that what clients have sent is still published.
    drop(gateway);
    // Also for a node that has ended by itself: this reports what it has not sent.
    let left = end.saturating_duration_since(Instant::now());
    let unsent = node.shutdown(left.max(MIN_PATIENCE));
    if let Some(error) = node.take_failure() {
        return Err(error.into());
    }
    outcome?;
    // Losing the node's own records of who was up is no failure.
    let lost = unsent.records - unsent.own_records;
    if lost > 0 {
        let text =
            format!("{lost} log records lost: no logger accepted them in time (shutdown_timeout)");
        return Err(Failure::new(ExitCode::Unavailable, text));
    }
    Ok(())
}

/// Blocks until the process should end: `None` on a signal, or how the app or the node has ended.
fn wait_for_end(
    signals: &Receiver<()>,
    runner: &Runner,
    node: &Node,
) -> Option<Result<(), Failure>> {
    loop {
        select! {
            recv(signals) -> _ => return None,
            recv(runner.ended()) -> ended => return Some(runner::outcome(ended)),
            // The app does not hear that the node has ended while it waits for a reader.
            default(NODE_CHECK) => if node.has_ended() {
                return Some(runner.stop(LAST_HANDLER));
            },
        }
    }
}

/// Fails if another program must run that node.
fn is_ours(layout: &Layout, name: &str, own: &layout::Node) -> Result<(), Failure> {
    if own.node_type == NodeType::Logger {
        let text = format!("node '{name}' is a logger; start it with zcluster-logger");
        return Err(Failure::config(text));
    }
    // Other nodes send it their logs.
    if layout.is_run_by_logger(name) {
        let text = format!(
            "node '{name}' receives the cluster's logs (manager_is_logger), which this program does \
             not write; start it with zcluster-logger, or set manager_is_logger to false"
        );
        return Err(Failure::config(text));
    }
    Ok(())
}

fn stop_signals(signals: &Signals, reloader: Reloader) -> Receiver<()> {
    let (stop, stopped) = bounded(1);
    signals.handle(move |signal| match signal {
        Signal::Stop => {
            let _ = stop.try_send(());
        }
        Signal::Hangup => reloader.ask(),
    });
    stopped
}
