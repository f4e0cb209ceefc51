//! The logs of this logger: one per file name, shared by the formatters and the writer.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bstr::BString;
use thiserror::Error;
use zcluster::layout::{self, Fsync};
use zcluster::telemetry::{LoggerMetrics, PathCounters};

use crate::format::WriterOptions;
use crate::path::{LogPath, PathError};
use crate::rotation::{MANIFEST, is_rotated_name};

/// Logs in all. Further paths are refused: paths come from the network.
const MAX_LOGS: usize = 10_000;

/// A log, whatever stream and producer its records are of.
#[derive(Debug)]
pub(crate) struct Log {
    /// Its number, from 0 on.
    pub(crate) id: usize,
    pub(crate) path: LogPath,
    /// Its file.
    pub(crate) target: PathBuf,
    pub(crate) fsync: Fsync,
    /// How often it is rotated; zero: never.
    pub(crate) rotation: Duration,
    pub(crate) counters: PathCounters,
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
    #[error("log path {0:?} looks like the name of a rotated log")]
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
        if is_rotated_name(name.as_bstr()) {
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
        let mut file = name.file_name(&options.suffix);
        if file == MANIFEST {
            return Err(RouteError::Manifest(name.as_bstr().into()));
        }
        if let Some(extension) = options.gzip_extension() {
            file.push(b'.');
            file.extend_from_slice(extension.as_bytes());
        }
        let log = Arc::new(Log {
            id: count,
            target: dir.join(bstr::ByteSlice::to_path_lossy(file.as_slice())),
            fsync: settings.fsync,
            rotation: settings.rotation,
            counters: metrics.path(name.text()),
            path: name.clone(),
        });
        by_path.insert(name, Arc::clone(&log));
        Ok(Route::To(log, Box::new(writer)))
    }
}
