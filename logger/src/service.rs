//! The logger as a process: command line, start, signals, shutdown.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use zcluster::access::{AccessCell, client_keys, server_access};
use zcluster::daemon::{self, AccessSource, Failure, Signal, Signals};
use zcluster::exit::ExitCode;
use zcluster::health::Health;
use zcluster::layout::Loaded;
use zcluster::node::Node;
use zcluster::telemetry::Telemetry;

use crate::dir_lock::DirLock;
use crate::directories;
use crate::end::{Deadline, End, TellEnd};
use crate::intake::{self, Intake, IntakeError, Sender};
use crate::piece::ToWrite;
use crate::pipeline::{self, Pipeline, Shares};
use crate::strain::{Stages, Strain};
use crate::trouble::Trouble;
use crate::zone::LocalZone;

/// Longest shutdown: long enough for any use, and safe to add to a clock reading.
const LONGEST_STOP: Duration = Duration::from_secs(24 * 3600);

/// A logger of a Zeek-compatible cluster: receives log batches and writes log files.
#[derive(Debug, clap::Parser)]
#[command(name = "zcluster-logger", version)]
pub struct Args {
    /// The layout of the cluster.
    #[arg(long, value_name = "FILE", default_value = "cluster-layout.toml")]
    layout: PathBuf,
    /// Which node of the layout this is.
    #[arg(long, value_name = "NAME", env = "CLUSTER_NODE")]
    node: Option<String>,
    /// Check the configuration and the directories, report the result, and exit.
    #[arg(long)]
    check: bool,
}

/// Runs the logger until SIGTERM or SIGINT; SIGHUP rotates all logs and reloads the access rules.
///
/// # Errors
/// A bad layout or time zone, or missing keys (78), an address or a log directory that is in use, or a
/// missing directory above it (69), a log directory that cannot be created or log records that could not
/// be written before the shutdown (74), a thread that ended unexpectedly (70).
pub fn run(args: &Args, signals: &Signals) -> Result<(), Failure> {
    daemon::warn_if_another_is_named(args.node.as_deref());
    let loaded = daemon::load_layout(&args.layout, args.node.as_deref())?;
    let (name, _) = loaded.local_node()?;
    let name = name.to_owned();
    if args.check || loaded.environment.check_config {
        signals.leave_alone();
        return crate::check::check(&loaded, &name);
    }
    let endpoint = log_endpoint(&loaded, &name)?;
    let zone = LocalZone::of_process().map_err(Failure::config)?;
    // Before binding or rotating: a logger that should be encrypted never runs in the clear.
    let access = server_access(&loaded.layout, &name)?;
    client_keys(&loaded.layout, &name)?;
    if access.server_keys().is_some() {
        log::info!("encrypted: {}", access.summary());
    }
    let access = Arc::new(AccessCell::new(access));
    let layout = Arc::new(loaded.layout);
    let dir = layout.log.dir.join(&name);
    signals.keep();
    directories::make(&layout.log, &dir)?;
    let _lock = DirLock::take(&dir, &name)?;
    log::info!("local time: {}", zone.describe(SystemTime::now()));

    let telemetry = Telemetry::new(&name, &layout.telemetry.metrics_endpoint_label);
    let metrics = telemetry.logger().clone();
    metrics.memory_limit_bytes.set(i64::try_from(layout.log.max_memory).unwrap_or(i64::MAX));
    let (ends, ended) = crossbeam_channel::unbounded();
    let tell_end = |thread| TellEnd(ends.clone(), thread);
    let deadline = Deadline::default();
    let settings = pipeline::Settings {
        layout: &layout,
        name: &name,
        dir: &dir,
        zone: &zone.zone,
        is_stopping: &|| signals.is_stopping(),
    };
    let Some(pipeline) = Pipeline::start(&settings, &metrics, &deadline, tell_end)? else {
        log::info!("stopped before it was ready: the next start continues with the remaining logs");
        return Ok(());
    };
    let Pipeline { formatters, .. } = &pipeline;
    let shares = Shares::of(&layout);
    let settings = intake::Settings {
        layout: &layout,
        endpoint: &endpoint,
        limits: shares.intake,
        access: Arc::clone(&access),
        deadline: deadline.clone(),
    };
    let intake =
        Intake::start(settings, formatters.clone(), metrics.clone(), tell_end("receiving"))?;
    daemon::warn_if_open(&intake.endpoint, layout.is_encrypted());
    let counters = metrics.sender(&name);
    let own = Sender { id: name.as_str().into(), counters, is_self: true };
    let own = intake.own_batches(formatters.clone(), own);
    let (node, notifications) = Node::builder(Arc::clone(&layout), name.as_str())
        .telemetry(telemetry.clone())
        .local_logs(move |payload| own.send(payload))
        .access(Arc::clone(&access))
        .start()?;
    let troubles = pipeline.troubles.clone();
    let strain = Strain::watch(Stages {
        shares,
        load: Arc::clone(&intake.load),
        buffers: Arc::clone(&intake.buffers),
        pieces: pipeline.pieces.clone(),
    });
    let strain = strain.map_err(|error| Failure::new(ExitCode::Software, error))?;
    let (asked, is_stopping) = (node.clone(), deadline.clone());
    let health = move || {
        let mut health = Health::ok();
        if is_stopping.get().is_some() {
            // From here on, receiving and writing need no broker.
            health.passing("stopping");
        } else {
            health = asked.health();
        }
        strain.tell(&mut health);
        troubles.iter().filter_map(Trouble::get).for_each(|line| health.problem(line));
        health
    };
    let http = daemon::serve_metrics(&layout, &name, &telemetry, health)?;

    let source = AccessSource {
        layout: args.layout.clone(),
        node: args.node.clone(),
        server: Some(name.clone()),
        running: Arc::clone(&layout),
    };
    let waker = intake.waker();
    let reloader = daemon::Reloader::start(source, access, |_| Ok(()), move || waker.wake())?;
    let (stop, rotate) = (ends.clone(), pipeline.pieces.clone());
    signals.handle(move |signal| match signal {
        Signal::Stop => {
            let _ = stop.send(End::Requested);
        }
        Signal::Hangup => {
            let _ = rotate.send_control(ToWrite::Rotate);
            reloader.ask();
        }
    });
    let mut ready = daemon::ready_members(&node);
    ready.insert("log".into(), intake.endpoint.as_str().into());
    if let Some(http) = &http {
        ready.insert("metrics".into(), http.local_addr().to_string().into());
    }
    daemon::print_ready(&ready);
    let end = tell_end("node's I/O");
    std::thread::spawn(move || {
        let _end = end;
        daemon::print_members(&notifications);
    });

    // `recv` never fails: the signal handler holds a sender forever.
    let end = ended.recv().unwrap_or(End::Requested);
    log::info!("stopping: saying goodbye, receiving what is in flight");
    let stop_by = Instant::now() + layout.log.shutdown_timeout.min(LONGEST_STOP);
    deadline.set(stop_by);
    if let Err(error) = node.leave() {
        log::debug!("{error}");
    }
    let received = intake.stop();
    let unsent = node.shutdown(stop_by.saturating_duration_since(Instant::now()));
    let written = pipeline.stop(stop_by);
    if let Some(http) = http {
        http.shutdown();
    }
    if let Some(error) = node.take_failure() {
        return Err(error.into());
    }
    let fail = |what: String| Err(Failure::new(ExitCode::Software, what));
    let (batches_lost, records_lost) = match (received, written) {
        (Err(why), _) => return fail(format!("the receiving thread ended: {why}")),
        (_, Err(thread)) => return fail(format!("the {thread} thread panicked")),
        (Ok(batches), Ok(records)) => (batches, records + unsent.records),
    };
    if let End::Thread(thread) = end {
        return fail(format!("the {thread} thread ended unexpectedly"));
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
            IntakeError::Bind(ref inner) if inner.is_configuration() => Failure::config(error),
            IntakeError::Bind(_) => Failure::new(ExitCode::Unavailable, error),
            IntakeError::System(_) => Failure::new(ExitCode::Software, error),
        }
    }
}
