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

/// Logs in all. Further paths are refused: paths come from the network.
const MAX_LOGS: usize = 10_000;

/// A log, whatever stream and producer its records are of.
#[derive(Debug)]
pub(crate) struct Log {
    /// Its number, from 0 on.
    pub(crate) id: usize,
    pub(crate) path: LogPath,
    dir: PathBuf,
    /// What stands behind the path and a dot in the names of its files.
    extension: String,
    pub(crate) fsync: Fsync,
    /// How often it is rotated; zero: never.
    pub(crate) rotation: Duration,
    pub(crate) counters: PathCounters,
}

impl Log {
    /// One of its files, from 1 on: there are several where producers disagree about its columns.
    pub(crate) fn file(&self, number: u32) -> PathBuf {
        self.dir.join(self.path.file_name(number, &self.extension).to_path_lossy())
    }
}

/// Where a producer's path leads.
pub(crate) enum Route {
    /// Nowhere, by configuration.
    Disabled,
    /// To this log, formatted like this.
    To(Arc<Log>, Box<WriterOptions>),
}

/// A path that leads to no log.
#[derive(Debug, Error)]
pub(crate) enum RouteError {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error(
        "log path {0:?} looks like a name that is given by rotation, or to further files of a log"
    )]
    Rotated(BString),
    #[error("log path {0:?} has the file {MANIFEST}, the list of rotated files")]
    Manifest(BString),
    #[error("path {path}: more than {MAX_LOGS} logs")]
    TooMany { path: BString },
}

/// All logs. Clones are the same.
#[derive(Clone)]
pub(crate) struct Logs(Arc<Shared>);

struct Shared {
    dir: PathBuf,
    options: layout::Log,
    metrics: LoggerMetrics,
    by_path: Mutex<HashMap<LogPath, Arc<Log>>>,
}

impl Logs {
    /// None yet; their files will be in `dir`.
    pub(crate) fn new(dir: PathBuf, options: layout::Log, metrics: LoggerMetrics) -> Self {
        Logs(Arc::new(Shared { dir, options, metrics, by_path: Mutex::default() }))
    }

    pub(crate) fn metrics(&self) -> &LoggerMetrics {
        &self.0.metrics
    }

    /// Where a path of the network leads. Takes a lock; keep the result.
    pub(crate) fn route(&self, path: &[u8]) -> Result<Route, RouteError> {
        let Shared { dir, options, metrics, by_path } = &*self.0;
        // The path itself must be fit, too, whatever it is renamed to.
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
