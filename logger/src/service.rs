//! The logger as a process: command line, start, signals, end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::Access;
use zcluster::daemon::{self, Failure, Signal};
use zcluster::exit::ExitCode;
use zcluster::gateway::Health;
use zcluster::layout::{Layout, Loaded};
use zcluster::node::Node;
use zcluster::queue::{self, Limits};
use zcluster::telemetry::Telemetry;
use zcluster::transport::Context;

use crate::format::WriterOptions;
use crate::intake::{self, Intake, IntakeError};
use crate::writer::{Settings, Trouble, Writer};

/// Messages in the queue to the writer; bytes are what bounds it.
const QUEUE_MESSAGES: usize = 1 << 20;

/// A logger of a Zeek-compatible cluster: takes log batches and writes log files.
#[derive(Debug, clap::Parser)]
#[command(name = "zcluster-logger", version)]
pub struct Args {
    /// The layout of the cluster.
    #[arg(long, value_name = "FILE", default_value = "cluster-layout.toml")]
    layout: PathBuf,
    /// Which node of the layout this is.
    #[arg(long, value_name = "NAME", env = "CLUSTER_NODE")]
    node: Option<String>,
}

/// Runs the logger until SIGTERM or SIGINT.
///
/// # Errors
/// A bad layout (78), an address that is taken (69), a log directory that cannot be made (74).
pub fn run(args: &Args) -> Result<(), Failure> {
    let loaded = daemon::load_layout(&args.layout, args.node.as_deref())?;
    let (name, _) = loaded.local_node()?;
    let name = name.to_owned();
    let endpoint = log_endpoint(&loaded, &name)?;
    let layout = Arc::new(loaded.layout);
    let dir = layout.log.dir.join(&name);
    make_log_dir(&dir)?;

    let telemetry = Telemetry::new(&name, &layout.telemetry.metrics_endpoint_label);
    let metrics = telemetry.logger().clone();
    let bytes = usize::try_from(layout.log.max_memory).unwrap_or(usize::MAX);
    let (batches, batches_rx) = queue::bounded(Limits { messages: QUEUE_MESSAGES, bytes }, || {});
    let trouble = Trouble::default();
    let stopping = Arc::new(AtomicBool::new(false));
    let writer = Writer::new(
        settings(&layout, dir),
        batches_rx,
        metrics.clone(),
        trouble.clone(),
        Arc::clone(&stopping),
    );
    let writer = std::thread::Builder::new()
        .name("writer".into())
        .spawn(|| writer.run())
        .map_err(|error| Failure::new(ExitCode::Software, error))?;

    let context = Context::new(1)?;
    let intake = Intake::start(&context, &layout, &endpoint, batches.clone(), metrics)?;
    let own = batches.clone();
    let (node, notifications) = Node::builder(Arc::clone(&layout), name.as_str())
        .telemetry(telemetry.clone())
        .local_logs(move |payload| intake::send_own(&own, payload))
        .start()?;
    let health = move || {
        let mut health = Health::ok();
        trouble.get().into_iter().for_each(|line| health.problem(line));
        health
    };
    let http = daemon::serve_metrics(&layout, &name, &telemetry, health)?;

    let stop = node.clone();
    let patience = layout.log.shutdown_timeout;
    let (stop_tx, stop_rx) = std::sync::mpsc::channel();
    daemon::on_signals(move |signal| {
        if signal == Signal::Stop {
            let _ = stop_tx.send(());
        }
    })?;
    let mut ready = daemon::ready_members(&node);
    ready.insert("log".into(), intake.endpoint.as_str().into());
    if let Some(http) = &http {
        ready.insert("metrics".into(), http.local_addr().to_string().into());
    }
    daemon::print_ready(&ready)?;
    let printer = std::thread::spawn(move || daemon::print_members(&notifications));

    // Only the signal thread holds the sender, and it never ends.
    let _ = stop_rx.recv();
    log::info!("stopping: saying goodbye, taking in what is on its way");
    if let Err(error) = stop.leave() {
        log::debug!("{error}");
    }
    intake.stop();
    node.shutdown(patience);
    stopping.store(true, Ordering::Relaxed);
    batches.close();
    let written = writer.join();
    drop(printer);
    if let Some(http) = http {
        http.shutdown();
    }
    written.map_err(|_| Failure::new(ExitCode::Software, "the writing thread panicked"))
}

/// Makes the log directory. One that cannot be written is found out now, not with the first record.
fn make_log_dir(dir: &Path) -> Result<(), Failure> {
    let fail = |what: &str, error: std::io::Error| {
        let text = format!("cannot {what} the log directory {}: {error}", dir.display());
        Failure::new(ExitCode::Io, text)
    };
    std::fs::create_dir_all(dir).map_err(|error| fail("make", error))?;
    rustix::fs::access(dir, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| fail("write to", error.into()))
}

fn settings(layout: &Layout, dir: PathBuf) -> Settings {
    // Writers of Zeek flush on every batch where the interval is zero.
    let flush_interval = layout.log.flush_interval.max(Duration::from_millis(1));
    Settings {
        dir,
        extension: layout.log.suffix.clone(),
        options: WriterOptions::from(&layout.log),
        flush_interval,
        shutdown_timeout: layout.log.shutdown_timeout,
    }
}

fn log_endpoint(loaded: &Loaded, name: &str) -> Result<String, Failure> {
    loaded.layout.listen_log_endpoint(name).ok_or_else(|| {
        Failure::config(format!(
            "node '{name}' receives no logs; expected a node of type logger with a port, or the \
             manager with manager_is_logger"
        ))
    })
}

impl From<IntakeError> for Failure {
    fn from(error: IntakeError) -> Self {
        match error {
            IntakeError::Transport(error) => error.into(),
            IntakeError::System(_) => Failure::new(ExitCode::Software, error),
        }
    }
}
