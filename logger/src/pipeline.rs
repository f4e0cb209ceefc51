//! [`Pipeline`]: everything behind the socket, and the memory limit of each stage.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use zcluster::daemon::Failure;
use zcluster::exit::ExitCode;
use zcluster::layout::{Compress, Fsync, Layout};
use zcluster::queue::{self, Limits};
use zcluster::telemetry::LoggerMetrics;

use crate::end::{Deadline, TellEnd};
use crate::formatter::{self, Formatter};
use crate::intake::{self, Formatters};
use crate::logs::Logs;
use crate::piece::{TextBuffers, ToWrite};
use crate::rotation::{
    self, BaseTime, Compression, Finisher, POSTPROCESSOR_TIMEOUT, Postprocessor, RotationSettings,
    Rotator,
};
use crate::trouble::Trouble;
use crate::writer::{self, Writer};

/// Memory limits of the stages in bytes, out of `max_memory`. Little data waits for the processor,
/// much for the disk; the rest is for a single large batch beyond its share, and for tables.
#[derive(Clone, Copy)]
pub(crate) struct Shares {
    pub(crate) intake: intake::Limits,
    /// For text being collected, in all formatters together.
    gathered: usize,
    /// For text waiting to be written.
    pub(crate) to_write: usize,
}

impl Shares {
    pub(crate) fn of(layout: &Layout) -> Self {
        let all = usize::try_from(layout.log.max_memory).unwrap_or(usize::MAX);
        Shares {
            intake: intake::Limits { under_way: all / 16, unfinished: all / 8 },
            gathered: all / 8,
            to_write: all / 4,
        }
    }
}

/// Settings that the process passes in.
pub(crate) struct Settings<'a> {
    pub(crate) layout: &'a Layout,
    /// The logger's name.
    pub(crate) name: &'a str,
    /// The directory of its logs.
    pub(crate) dir: &'a Path,
    /// The zone of local times.
    pub(crate) zone: &'a TimeZone,
    /// Returns whether the process was asked to stop during its start.
    pub(crate) is_stopping: &'a dyn Fn() -> bool,
}

/// Everything behind the socket: formatters, the writer, and the finisher of rotated files.
pub(crate) struct Pipeline {
    pub(crate) formatters: Formatters,
    formatter_threads: Vec<JoinHandle<u64>>,
    pub(crate) pieces: queue::Sender<ToWrite>,
    writer_thread: JoinHandle<u64>,
    finisher: Finisher,
    pub(crate) troubles: [Trouble; 2],
}

impl Pipeline {
    /// Recovers the files of a previous process and starts the threads; `None` if the process was
    /// asked to stop meanwhile. The remaining files stay unchanged then.
    pub(crate) fn start(
        settings: &Settings<'_>,
        metrics: &LoggerMetrics,
        deadline: &Deadline,
        tell_end: impl Fn(&'static str) -> TellEnd,
    ) -> Result<Option<Self>, Failure> {
        let Settings { layout, dir, .. } = *settings;
        let io = |what: &str| {
            let what = format!("{what} in {}", dir.display());
            move |error: std::io::Error| Failure::new(ExitCode::Io, format!("{what}: {error}"))
        };
        let software = |error| Failure::new(ExitCode::Software, error);
        let rotation = rotation_settings(settings);
        let rotation = Arc::new(rotation.absolute().map_err(io("cannot rotate logs"))?);
        let troubles = [Trouble::default(), Trouble::default()];
        let finisher = Finisher::start(&rotation, metrics, &troubles[1], &tell_end)
            .map_err(io("cannot resume rotated logs"))?;
        let rotator = Rotator::new(rotation, metrics.clone(), finisher.waker());
        let recovered = rotation::recover(&rotator, settings.is_stopping);
        if recovered.map_err(io("cannot recover logs"))?.is_stopped {
            finisher.stop(Instant::now());
            return Ok(None);
        }

        let log = &layout.log;
        let shares = Shares::of(layout);
        let text_buffers = TextBuffers::default();
        let limits = Limits { messages: 0, bytes: shares.to_write.max(1) };
        let (pieces, pieces_rx) = queue::bounded(limits, || {});
        let settings = writer::Settings {
            gzip_level: log.gzip_level,
            fsync_interval: log.fsync_interval,
            schema_timeout: log.schema_timeout,
            rotation_base: log.rotation_base().map_or(BaseTime::Epoch, BaseTime::LocalDay),
            bare_header: log.tsv,
            rotator,
            text_buffers: text_buffers.clone(),
            deadline: deadline.clone(),
        };
        let writer = Writer::new(settings, pieces_rx, metrics.clone(), troubles[0].clone());
        let writer_thread =
            spawn("writer", tell_end("writing"), || writer.run()).map_err(software)?;

        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = log.format_threads_on(cores);
        let logs = Logs::new(dir.to_owned(), log.clone(), metrics.clone());
        let mut queues = Vec::new();
        let mut formatter_threads = Vec::new();
        for _ in 0..threads {
            // The intake's buffers bound the bytes in flight.
            let (bursts, bursts_rx) = queue::bounded(Limits { messages: 0, bytes: 0 }, || {});
            let settings = formatter::Settings {
                // Zeek's writers flush after each batch if the interval is zero.
                flush_interval: log.flush_interval.max(Duration::from_millis(1)),
                max_gathered: shares.gathered / threads,
                text_buffers: text_buffers.clone(),
            };
            let formatter = Formatter::new(settings, bursts_rx, pieces.clone(), logs.clone());
            let thread = spawn("formatter", tell_end("formatting"), || formatter.run());
            formatter_threads.push(thread.map_err(software)?);
            queues.push(bursts);
        }
        let formatters = Formatters::new(queues);
        let pipeline =
            Pipeline { formatters, formatter_threads, pieces, writer_thread, finisher, troubles };
        Ok(Some(pipeline))
    }

    /// Writes everything received, then closes and rotates the logs; the intake must have ended.
    /// Returns how many records were lost.
    ///
    /// # Errors
    /// The name of a thread that panicked.
    pub(crate) fn stop(self, deadline: Instant) -> Result<u64, &'static str> {
        self.formatters.close();
        // Even if a thread panicked, the others finish their work.
        let formatted: Vec<_> = self.formatter_threads.into_iter().map(JoinHandle::join).collect();
        self.pieces.close();
        let written = self.writer_thread.join();
        let left = self.finisher.stop(deadline);
        if left > 0 {
            log::info!("{left} rotated logs will be finished at the next start");
        }
        let mut lost = written.map_err(|_| "writing")?;
        for records in formatted {
            lost += records.map_err(|_| "formatting")?;
        }
        Ok(lost)
    }
}

/// Starts a thread that reports its end, even if it panics.
fn spawn(
    name: &str,
    end: TellEnd,
    body: impl FnOnce() -> u64 + Send + 'static,
) -> std::io::Result<JoinHandle<u64>> {
    std::thread::Builder::new().name(name.into()).spawn(move || {
        let _end = end;
        body()
    })
}

fn rotation_settings(settings: &Settings<'_>) -> RotationSettings {
    let Settings { layout, name, dir, zone, .. } = *settings;
    let log = &layout.log;
    let several = layout.several_loggers();
    let level = log.compression_level();
    let postprocessor = Postprocessor {
        command: log.rotation_postprocessor.clone(),
        environment: log.rotation_postprocessor_env.clone().into_iter().collect(),
        timeout: POSTPROCESSOR_TIMEOUT,
    };
    RotationSettings {
        log_dir: dir.to_owned(),
        rotation_dir: log.rotation_dir.clone(),
        name: log.rotation_name,
        suffix: log.suffix.clone(),
        gzip_extension: log.gzip_extension().unwrap_or("gz").to_owned(),
        logger: several.then(|| name.to_owned()),
        // In a logger's own directory, the names of logs need not include the logger.
        name_in_all_forms: several && log.rotation_dir.is_some(),
        compress: match log.compress {
            Compress::None => Compression::None,
            Compress::Zstd => Compression::Zstd(level),
            Compress::Gzip => Compression::Gzip(level.unsigned_abs()),
        },
        postprocessor: (!log.rotation_postprocessor.is_empty()).then_some(postprocessor),
        zone: zone.clone(),
        fsync: log.fsync != Fsync::Never
            || log.path.values().any(|path| path.fsync.is_some_and(|fsync| fsync != Fsync::Never)),
        bare_header: log.tsv,
    }
}
