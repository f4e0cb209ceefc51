//! The logs of this logger: one per file name, shared by the formatters and the writer.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bstr::{BString, ByteSlice};
use thiserror::Error;
use zcluster::layout::{self, Fsync};
use zcluster::telemetry::{LoggerMetrics, PathCounters};

use crate::format::WriterOptions;
use crate::path::{LogPath, PathError, without_number};
use crate::rotation::{MANIFEST, is_rotated_name};

/// Most logs in all. Further paths are refused: paths come from the network.
const MAX_LOGS: usize = 10_000;

/// A log, for records of any stream and producer.
#[derive(Debug)]
pub(crate) struct Log {
    /// Its number, starting at 0.
    pub(crate) id: usize,
    pub(crate) path: LogPath,
    dir: PathBuf,
    /// The part of its file names after the path and a dot.
    extension: String,
    pub(crate) fsync: Fsync,
    /// The rotation interval; zero means never.
    pub(crate) rotation: Duration,
    pub(crate) counters: PathCounters,
}

impl Log {
    /// Returns the name of a file by its number, starting at 1; there are several if producers
    /// disagree about the columns.
    pub(crate) fn file(&self, number: u32) -> PathBuf {
        self.dir.join(self.path.file_name(number, &self.extension).to_path_lossy())
    }
}

/// The destination of a producer's path.
pub(crate) enum Route {
    /// None: the path is disabled.
    Disabled,
    /// This log, with these format options.
    To(Arc<Log>, Box<WriterOptions>),
}

/// Why a path has no log.
#[derive(Debug, Error)]
pub(crate) enum RouteError {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error(
        "log path {0:?} looks like the name of a rotated file, or of an additional file of a log"
    )]
    Rotated(BString),
    #[error("log path {0:?} would use {MANIFEST}, the list of rotated files")]
    Manifest(BString),
    #[error("path {path}: more than {MAX_LOGS} logs")]
    TooMany { path: BString },
}

/// All logs. Clones share them.
#[derive(Clone)]
pub(crate) struct Logs(Arc<Shared>);

struct Shared {
    dir: PathBuf,
    options: layout::Log,
    metrics: LoggerMetrics,
    by_path: Mutex<HashMap<LogPath, Arc<Log>>>,
}

impl Logs {
    /// Starts without logs; their files will be in `dir`.
    pub(crate) fn new(dir: PathBuf, options: layout::Log, metrics: LoggerMetrics) -> Self {
        Logs(Arc::new(Shared { dir, options, metrics, by_path: Mutex::default() }))
    }

    pub(crate) fn metrics(&self) -> &LoggerMetrics {
        &self.0.metrics
    }

    /// Returns the destination of a path from the network. Takes a lock, so callers cache the
    /// result.
    pub(crate) fn route(&self, path: &[u8]) -> Result<Route, RouteError> {
        let Shared { dir, options, metrics, by_path } = &*self.0;
        // The path itself must be valid, too, even if it is renamed.
        LogPath::new(path)?;
        let settings = options.for_path(path);
        if settings.disabled {
            return Ok(Route::Disabled);
        }
        let name = LogPath::new(settings.name)?;
        if is_rotated_name(name.as_bstr()) || without_number(name.as_bstr()).is_some() {
            return Err(RouteError::Rotated(name.as_bstr().into()));
        }
        let mut writer = WriterOptions::from(options);
        writer.format = settings.format;
        let names =
            |list: &[String]| list.iter().map(|name| BString::from(name.as_str())).collect();
        writer.include = names(settings.include);
        writer.exclude = names(settings.exclude);

        let mut by_path = by_path.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_path.len();
        if let Some(log) = by_path.get(&name) {
            return Ok(Route::To(Arc::clone(log), Box::new(writer)));
        }
        if count >= MAX_LOGS {
            return Err(RouteError::TooMany { path: path.into() });
        }
        if name.file_name(1, &options.suffix) == MANIFEST {
            return Err(RouteError::Manifest(name.as_bstr().into()));
        }
        let mut extension = options.suffix.clone();
        if let Some(gzip) = options.gzip_extension() {
            extension.push('.');
            extension.push_str(gzip);
        }
        let log = Arc::new(Log {
            id: count,
            dir: dir.clone(),
            extension,
            fsync: settings.fsync,
            rotation: settings.rotation,
            counters: metrics.path(name.text()),
            path: name.clone(),
        });
        by_path.insert(name, Arc::clone(&log));
        Ok(Route::To(log, Box::new(writer)))
    }
}
