//! Recovers live logs left by a previous process: a killed logger, or a Zeek logger whose directory
//! is taken over (WIRE.md §5.9). Each is repaired and rotated like any other.
//!
//! A log that cannot be repaired is set aside under another name, unchanged, and never prevents the
//! start. Each step can be repeated after a crash; until the last one, the log stays where it was.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bstr::{BString, ByteSlice};
use rustix::fs::fstat;

use super::RotationSettings;
use super::compress::Unfinished;
use super::manifest::MANIFEST;
use super::name::is_rotated_name;
use super::repair::{self, Repaired};
use super::rotator::{RotationInfo, Rotator};
use super::shadow::{self, Shadow};
use crate::files;
use crate::path::{LogPath, without_number};

/// Appended to the name of a log that was set aside.
const SET_ASIDE: &str = ".damaged";
/// Names tried to set a log aside.
const MAX_NUMBER: u32 = 1000;
/// Standard output and error of processes in Zeek's directories: not logs.
const NOT_LOGS: [&[u8]; 2] = [b"stdout", b"stderr"];

/// The result of a recovery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recovered {
    /// Logs that were rotated.
    pub(crate) rotated: usize,
    /// Files without any text that were removed.
    pub(crate) empty: usize,
    /// Logs that could not be repaired and were renamed.
    pub(crate) set_aside: usize,
    /// Logs left where they were because of an error.
    pub(crate) failed: usize,
    /// Whether it was stopped. The next start recovers the rest.
    pub(crate) is_stopped: bool,
}

/// The result for one log.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Rotated(PathBuf),
    Empty,
    SetAside,
}

/// Recovers every live log in the log directory. Must run before anything is written there. Calls
/// `stop` regularly; the log being recovered then is unchanged.
///
/// # Errors
/// If the directory cannot be read. Errors about one log are logged and counted.
pub(crate) fn recover(rotator: &Rotator, stop: &dyn Fn() -> bool) -> io::Result<Recovered> {
    let settings = rotator.settings();
    let mut recovered = Recovered::default();
    for (shadow, log) in shadow::list(&settings.log_dir)? {
        let outcome = recover_shadowed(rotator, &shadow, &log, stop);
        recovered.count(&settings.log_dir.join(OsStr::from_bytes(&log)), outcome.transpose());
    }
    for (live, name) in live_logs(settings)? {
        if stop() {
            recovered.is_stopped = true;
            break;
        }
        let outcome = recover_log(rotator, &live, &name, None, stop);
        recovered.count(&live, Some(outcome));
    }
    Ok(recovered)
}

impl Recovered {
    fn count(&mut self, live: &Path, outcome: Option<Result<Fate, Unfinished>>) {
        match outcome {
            None => {}
            Some(Ok(Fate::Rotated(_))) => self.rotated += 1,
            Some(Ok(Fate::Empty)) => self.empty += 1,
            Some(Ok(Fate::SetAside)) => self.set_aside += 1,
            Some(Err(Unfinished::Stopped)) => self.is_stopped = true,
            Some(Err(Unfinished::Io(error))) => {
                self.failed += 1;
                log::error!("cannot recover {}: {error}", live.display());
            }
        }
    }
}

/// Recovers the file, if any, under a name that is about to be opened for the first time. Returns
/// its rotated name. Afterwards the name is free, or refers to something other than a regular file.
///
/// # Errors
/// If a step fails; then the file is still there.
pub(crate) fn recover_one(rotator: &Rotator, live: &Path) -> io::Result<Option<PathBuf>> {
    if !files::look_at(live)?.is_some_and(|metadata| metadata.is_file()) {
        return Ok(None);
    }
    let name = LiveName::parse(files::name_of(live), rotator.settings()).ok_or_else(not_a_log)?;
    match recover_log(rotator, live, &name, None, &|| false)? {
        Fate::Rotated(file) => Ok(Some(file)),
        Fate::Empty | Fate::SetAside => Ok(None),
    }
}

fn not_a_log() -> io::Error {
    io::Error::new(ErrorKind::InvalidFilename, "not the name of a log")
}

/// The parts of a live log's name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LiveName {
    path: LogPath,
    /// Without a leading dot.
    extension: BString,
}

impl LiveName {
    /// Parses `<path>.<suffix>` or `<path>.<suffix>.<gzip extension>`.
    fn parse(name: &[u8], settings: &RotationSettings) -> Option<Self> {
        let strip = |name: &'_ [u8], extension: &str| -> Option<usize> {
            let rest = name.strip_suffix(extension.as_bytes())?.strip_suffix(b".")?;
            (!extension.is_empty()).then_some(rest.len())
        };
        let plain = strip(name, &settings.gzip_extension).unwrap_or(name.len());
        let stem =
            strip(&name[..plain], &settings.suffix).or_else(|| strip(name, &settings.suffix))?;
        // Further files of a log are rotated under its path.
        let path = without_number(&name[..stem]).unwrap_or(&name[..stem]);
        let path = LogPath::of_file(path)?;
        Some(LiveName { path, extension: name[stem + 1..].into() })
    }
}

/// Lists the live logs of the directory, without rotated files and files of other programs.
fn live_logs(settings: &RotationSettings) -> io::Result<Vec<(PathBuf, LiveName)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(&settings.log_dir)? {
        let entry = entry?;
        let file_name = entry.file_name();
        let Some(name) = LiveName::parse(file_name.as_encoded_bytes(), settings) else { continue };
        let path = name.path.as_bstr();
        if is_rotated_name(path) || NOT_LOGS.contains(&path.as_bytes()) || file_name == MANIFEST {
            continue;
        }
        let live = settings.log_dir.join(&file_name);
        // Skips files that are gone again or not regular.
        let metadata = files::look_at(&live)?.filter(Metadata::is_file);
        if metadata.is_some_and(|metadata| !is_ours_to_print(&metadata)) {
            found.push((live, name));
        }
    }
    Ok(found)
}

/// Returns whether the file is the logger's own output, redirected by the shell: not a log, and
/// still being written.
fn is_ours_to_print(file: &Metadata) -> bool {
    let is = |fd: BorrowedFd<'_>| {
        fstat(fd).is_ok_and(|stat| stat.st_dev == file.dev() && stat.st_ino == file.ino())
    };
    is(io::stdout().as_fd()) || is(io::stderr().as_fd())
}

/// Recovers a log of Zeek by its shadow file. Returns `None`, and removes the shadow file, if the
/// log is gone.
fn recover_shadowed(
    rotator: &Rotator,
    file: &Path,
    log: &BString,
    stop: &dyn Fn() -> bool,
) -> Result<Option<Fate>, Unfinished> {
    if stop() {
        return Err(Unfinished::Stopped);
    }
    let settings = rotator.settings();
    let live = settings.log_dir.join(OsStr::from_bytes(log));
    if !files::look_at(&live)?.is_some_and(|metadata| metadata.is_file()) {
        files::remove_if_there(file)?;
        return Ok(None);
    }
    let Some(shadow) = Shadow::read(file)? else { return Ok(None) };
    if let Some(function) = &shadow.postprocessor {
        let live = live.display();
        log::warn!("{live}: the postprocessor {function} of Zeek does not run; ours does");
    }
    let name = shadowed_name(log, &shadow, settings)?;
    let fate = recover_log(rotator, &live, &name, Some(shadow.open), stop)?;
    files::remove_if_there(file)?;
    Ok(Some(fate))
}

/// Returns path and extension of a log from its shadow file.
fn shadowed_name(log: &[u8], shadow: &Shadow, settings: &RotationSettings) -> io::Result<LiveName> {
    let extension = shadow.extension.clone().unwrap_or_else(|| settings.suffix.as_str().into());
    let with_dot = [b".", extension.as_slice()].concat();
    let stem = match log.strip_suffix(&*with_dot) {
        Some(stem) => stem,
        None => log.rsplit_once_str(".").map_or(log, |(stem, _)| stem),
    };
    let path = LogPath::of_file(stem).ok_or_else(not_a_log)?;
    Ok(LiveName { path, extension })
}

fn recover_log(
    rotator: &Rotator,
    live: &Path,
    name: &LiveName,
    open: Option<SystemTime>,
    stop: &dyn Fn() -> bool,
) -> Result<Fate, Unfinished> {
    let settings = rotator.settings();
    let metadata = fs::symlink_metadata(live)?;
    let close = metadata.modified()?;
    let repaired = if settings.is_gzip(name.extension.as_bstr()) {
        rotator.jobs().make()?;
        let temporary = rotator.jobs().temporary();
        repair::repair_gzip(live, rotator.names(), &temporary, stop)?
    } else {
        repair::repair_plain(live, rotator.names(), stop)?
    };
    match repaired {
        Repaired::Empty => {
            fs::remove_file(live)?;
            Ok(Fate::Empty)
        }
        Repaired::Hopeless(why) => {
            let aside = set_aside(live)?;
            log::error!("{}: {why}; kept as {}", live.display(), aside.display());
            Ok(Fate::SetAside)
        }
        Repaired::Whole(own) => {
            let open = open.or(own).or_else(|| birth(&metadata)).unwrap_or(close).min(close);
            let info = RotationInfo {
                path: name.path.clone(),
                open,
                close,
                terminating: false,
                bare_header: settings.bare_header,
                times: None,
            };
            let file = rotator.rotate_as(live, &info, name.extension.as_bstr())?;
            log::info!("rotated {}, left by an earlier run, to {}", live.display(), file.display());
            Ok(Fate::Rotated(file))
        }
    }
}

/// Returns when the file was created, if the file system records it. `metadata` must be from before
/// the repair, which replaces a gzip stream with a new file.
fn birth(metadata: &Metadata) -> Option<SystemTime> {
    metadata.created().ok()
}

fn set_aside(live: &Path) -> io::Result<PathBuf> {
    for number in 0..MAX_NUMBER {
        let number = if number == 0 { String::new() } else { format!("-{number}") };
        let aside = files::with_end(live, &format!("{SET_ASIDE}{number}"));
        match files::rename_new(live, &aside) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            outcome => return outcome.map(|()| aside),
        }
    }
    Err(io::Error::new(ErrorKind::AlreadyExists, "no free name to move it to"))
}
