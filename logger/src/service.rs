//! The logger as a process: command line, start, signals, end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::Access;
use zcluster::daemon::{self, Failure, Signal};
use zcluster::exit::ExitCode;
use zcluster::gateway::Health;
use zcluster::layout::{Layout, Loaded};
use zcluster::node::Node;
use zcluster::queue::{self, Limits};
use zcluster::telemetry::Telemetry;
use zcluster::transport::Context;

use crate::end::{Deadline, End, TellEnd};
use crate::format::WriterOptions;
use crate::intake::{self, Intake, IntakeError};
use crate::writer::{Settings, Trouble, Writer};

/// Messages in the queue to the writer; bytes are what bounds it.
const QUEUE_MESSAGES: usize = 1 << 20;
/// The smallest queue and the largest amount of gathered text, in bytes.
const MIN_QUEUE: usize = 1 << 20;
const MAX_UNWRITTEN: usize = 32 << 20;
/// A time to stop beyond what matters to anybody; the clock can say it.
const LONGEST_STOP: Duration = Duration::from_secs(24 * 3600);

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
/// A bad layout (78), an address that is taken (69), a log directory that cannot be made or log
/// records that could not be written before the end (74), a thread that ended by itself (70).
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
    let deadline = Deadline::default();
    let (ends, ended) = crossbeam_channel::unbounded();
    let tell_end = |thread| TellEnd(ends.clone(), thread);
    let bytes = memory_share(&layout).max(MIN_QUEUE);
    let (batches, batches_rx) = queue::bounded(Limits { messages: QUEUE_MESSAGES, bytes }, || {});
    let trouble = Trouble::default();
    let settings = settings(&layout, dir, deadline.clone());
    let writer = Writer::new(settings, batches_rx, metrics.clone(), trouble.clone());
    let end = tell_end("writing");
    let body = move || {
        let _end = end;
        writer.run()
    };
    let writer = std::thread::Builder::new()
        .name("writer".into())
        .spawn(body)
        .map_err(|error| Failure::new(ExitCode::Software, error))?;

    let context = Context::new(1)?;
    let end = tell_end("receiving");
    let intake = Intake::start(
        &context,
        &layout,
        &endpoint,
        batches.clone(),
        metrics,
        deadline.clone(),
        end,
    )?;
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

    let stop = ends.clone();
    daemon::on_signals(move |signal| {
        if signal == Signal::Stop {
            let _ = stop.send(End::Requested);
        }
    })?;
    let mut ready = daemon::ready_members(&node);
    ready.insert("log".into(), intake.endpoint.as_str().into());
    if let Some(http) = &http {
        ready.insert("metrics".into(), http.local_addr().to_string().into());
    }
    daemon::print_ready(&ready)?;
    let end = tell_end("node's I/O");
    std::thread::spawn(move || {
        let _end = end;
        daemon::print_members(&notifications);
        // Perhaps nobody reads standard output any more; the node lives on.
        while notifications.receive().is_some() {}
    });

    // There are always senders: one waits for signals for ever.
    let end = ended.recv().unwrap_or(End::Requested);
    log::info!("stopping: saying goodbye, taking in what is on its way");
    let stop_by = Instant::now() + layout.log.shutdown_timeout.min(LONGEST_STOP);
    deadline.set(stop_by);
    if let Err(error) = node.leave() {
        log::debug!("{error}");
    }
    let received = intake.stop();
    let unsent = node.shutdown(stop_by.saturating_duration_since(Instant::now()));
    batches.close();
    let written = writer.join();
    if let Some(http) = http {
        http.shutdown();
    }
    let fail = |what: String| Err(Failure::new(ExitCode::Software, what));
    let (batches_lost, records_lost) = match (received, written) {
        (Err(why), _) => return fail(format!("the receiving thread ended: {why}")),
        (_, Err(_)) => return fail("the writing thread panicked".into()),
        (Ok(batches), Ok(records)) => (batches, records + unsent.records),
    };
    if let End::Thread(thread) = end {
        return fail(format!("the {thread} thread ended by itself"));
    }
    if batches_lost + records_lost > 0 {
        let lost = format!(
            "lost {records_lost} log records, and {batches_lost} log batches unread, that could \
             not be written before the end (shutdown_timeout)"
        );
        return Err(Failure::new(ExitCode::Io, lost));
    }
    Ok(())
}

/// What the queue to the writer, and the text it gathers, may each take of `max_memory`. The rest
/// is for what is being read and formatted, and for libzmq's pipes.
fn memory_share(layout: &Layout) -> usize {
    usize::try_from(layout.log.max_memory / 4).unwrap_or(usize::MAX)
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

fn settings(layout: &Layout, dir: PathBuf, deadline: Deadline) -> Settings {
    // Writers of Zeek flush on every batch where the interval is zero.
    let flush_interval = layout.log.flush_interval.max(Duration::from_millis(1));
    Settings {
        dir,
        extension: layout.log.suffix.clone(),
        options: WriterOptions::from(&layout.log),
        flush_interval,
        max_unwritten: memory_share(layout).min(MAX_UNWRITTEN),
        deadline,
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
