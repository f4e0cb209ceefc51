//! `--check`: what a logger would do with its configuration, and what would prevent it.
//!
//! Opens no socket and creates no file or directory, so it can run beside the logger itself.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use std::{env, fs, thread};

use rustix::fs::Access;
use zcluster::access::{client_keys, server_access};
use zcluster::daemon::check::{Report, size};
use zcluster::daemon::{Failure, open_endpoint};
use zcluster::exit::ExitCode;
use zcluster::layout::{Compress, Fsync, Layout, Loaded, Log, PathOptions};

use crate::dir_lock;
use crate::directories::{self, DirectoryError};
use crate::zone::{LocalZone, ZoneError};

/// Shell builtins and keywords: no program to look for.
const SHELL_WORDS: [&str; 16] = [
    ".", ":", "[", "case", "cd", "command", "eval", "exec", "export", "for", "if", "set", "test",
    "umask", "until", "while",
];

/// Prints what node `name` would do as a logger; warnings and problems go to standard error.
///
/// # Errors
/// A mistake in the configuration (78), a missing parent of a directory to be created (69), or a
/// directory that cannot be written (74).
pub(crate) fn check(loaded: &Loaded, name: &str) -> Result<(), Failure> {
    let host = Host {
        cores: thread::available_parallelism().map_or(1, usize::from),
        search_path: env::var_os("PATH"),
        local_time: LocalZone::of_process().map(|zone| zone.describe(SystemTime::now())),
    };
    report(&loaded.layout, name, &host).print()
}

/// The inputs besides the layout and the file system.
struct Host {
    cores: usize,
    /// `PATH`.
    search_path: Option<OsString>,
    /// The zone of local times.
    local_time: Result<String, ZoneError>,
}

fn report(layout: &Layout, name: &str, host: &Host) -> Report {
    let mut report = Report::default();
    let log = &layout.log;
    match layout.listen_log_endpoint(name) {
        Some(endpoint) => report.say("node", format!("{name}, receives logs at {endpoint}")),
        None => report.problem(Failure::config(format!(
            "node '{name}' receives no logs; expected a node of type logger with a port, or the \
             manager with manager_is_logger"
        ))),
    }
    // A logger is also a client of the broker.
    let access = server_access(layout, name);
    if let (Some(endpoint), Ok(access)) = (layout.listen_log_endpoint(name), &access) {
        report.warn(open_endpoint(&endpoint, access.server_keys().is_some()));
    }
    report.encryption(layout, access, client_keys(layout, name).map(drop));
    match &host.local_time {
        Ok(zone) => report.say("local time", zone),
        Err(error) => report.problem(Failure::config(error)),
    }
    directories(&mut report, log, name);
    files(&mut report, log);
    postprocessor(&mut report, &log.rotation_postprocessor, host);
    report.say("memory", format!("at most {} in queues and buffers", size(log.max_memory)));
    let threads = log.format_threads_on(host.cores);
    report.say("format threads", format!("{threads}, on {} cores", host.cores));
    for (path, options) in &log.path {
        report.say(&format!("path {path}"), path_text(options));
    }
    report.broker(layout);
    report.metrics(layout.metrics_socket(name));
    report.heartbeats(&layout.zeromq);
    report
}

fn directories(report: &mut Report, log: &Log, name: &str) {
    let dir = log.dir.join(name);
    let why = directories::why_not_made(log, "log directory", &dir, Some(&log.dir));
    let logs = directory(report, "log directory", &dir, why);
    if let Some(owner) = dir_lock::owner_of(&dir) {
        report.say("in use by", owner);
    }
    let Some(rotation_dir) = &log.rotation_dir else {
        report.say("rotated files", "stay in the log directory");
        return;
    };
    let why = directories::why_not_made(log, "rotation directory", rotation_dir, None);
    let rotated = directory(report, "rotation directory", rotation_dir, why);
    if let (Some(logs), Some(rotated)) = (logs, rotated)
        && logs != rotated
    {
        report.warnings.push(format!(
            "the rotation directory {} is on another file system than the log directory {}: \
             rotated files are copied, which takes time and room",
            rotation_dir.display(),
            dir.display()
        ));
    }
}

/// Reports on a directory. Returns its file system if the directory can be written.
fn directory(
    report: &mut Report,
    what: &str,
    dir: &Path,
    why_not_made: Option<DirectoryError>,
) -> Option<u64> {
    let (existing, device) = match probe(dir) {
        Ok(found) => found,
        Err(why) => {
            let text = format!("cannot write to the {what} {}: {why}", dir.display());
            report.problem(Failure::new(ExitCode::Io, text));
            return None;
        }
    };
    if let Some(why) = why_not_made {
        report.problem(Failure::new(why.exit_code(), why));
        return None;
    }
    let mut text = dir.display().to_string();
    if existing != dir {
        let _ = write!(text, ", to be created in {}", existing.display());
    }
    match rustix::fs::statvfs(&existing) {
        Ok(system) => {
            let free = system.f_bavail.saturating_mul(system.f_frsize);
            let _ = write!(text, ", {} free", size(free));
            if free == 0 {
                report.warnings.push(format!("no space is left for the {what}"));
            }
        }
        Err(error) => report.warnings.push(format!("cannot determine the free space: {error}")),
    }
    report.say(what, text);
    Some(device)
}

fn files(report: &mut Report, log: &Log) {
    let gzip = log.gzip_extension().map(|e| format!(".{e}, gzip level {}", log.gzip_level));
    let extension = format!("{}{}", log.suffix, gzip.unwrap_or_default());
    report.say("format", format!("{}, extension {extension}", log.format));

    let mut rotation = interval_text(log.rotation);
    if !log.rotation.is_zero() {
        rotation += &match log.rotation_base_time.as_str() {
            "" => ", counted from 1970".to_owned(),
            time => format!(", counted from {time} local time"),
        };
    }
    report.say("rotation", format!("{rotation}, names as of {}", log.rotation_name));

    let compression = match log.compress {
        Compress::None => log.compress.to_string(),
        _ if log.gzip_level > 0 => "none, files are gzip streams already".to_owned(),
        _ => format!("{} level {}, after rotation", log.compress, log.compression_level()),
    };
    report.say("compression", compression);
    report.say(
        "fsync",
        match log.fsync {
            Fsync::Interval => every(log.fsync_interval),
            Fsync::Never | Fsync::Batch => log.fsync.to_string(),
        },
    );
}

fn postprocessor(report: &mut Report, command: &str, host: &Host) {
    if command.trim().is_empty() {
        return report.say("postprocessor", "none");
    }
    let Some(program) = program_of(command) else {
        return report.say("postprocessor", format!("{command}, run by the shell"));
    };
    match find_program(program, host.search_path.as_deref()) {
        Ok(found) => {
            report.say("postprocessor", format!("{command}, program {}", found.display()));
        }
        Err(why) => {
            report.problem(Failure::config(format!("rotation_postprocessor: {program} {why}")));
        }
    }
}

/// Returns the nearest existing directory, `dir` itself or an ancestor, and its file system.
///
/// # Errors
/// Why the directory cannot be written or created.
fn probe(dir: &Path) -> Result<(PathBuf, u64), String> {
    for ancestor in dir.ancestors() {
        // The last ancestor of a relative path is empty.
        let ancestor = if ancestor.as_os_str().is_empty() { Path::new(".") } else { ancestor };
        let metadata = match fs::metadata(ancestor) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if ancestor.is_symlink() {
                    return Err(format!("{} is a link to nothing", ancestor.display()));
                }
                continue;
            }
            Err(error) => return Err(error.to_string()),
        };
        if !metadata.is_dir() {
            return Err(format!("{} is not a directory", ancestor.display()));
        }
        rustix::fs::access(ancestor, Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|error| format!("{}: {}", ancestor.display(), io::Error::from(error)))?;
        return Ok((ancestor.to_owned(), metadata.dev()));
    }
    Err("none of the directories above it exists".into())
}

/// Returns the program a shell command starts, or `None` if only a shell can tell.
fn program_of(command: &str) -> Option<&str> {
    let word = command.split_ascii_whitespace().next()?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-./+,@%:[".contains(&b) || !b.is_ascii();
    (word.bytes().all(plain) && !SHELL_WORDS.contains(&word)).then_some(word)
}

/// Looks for a program as a shell does. The error text follows the program's name.
fn find_program(program: &str, search_path: Option<&OsStr>) -> Result<PathBuf, &'static str> {
    if program.contains('/') {
        let path = PathBuf::from(program);
        return match fs::metadata(&path) {
            Err(_) => Err("is not there"),
            Ok(_) if !is_executable(&path) => Err("is not an executable file"),
            Ok(_) => Ok(path),
        };
    }
    let dirs = search_path.into_iter().flat_map(env::split_paths);
    let found = dirs.map(|dir| dir.join(program)).find(|path| is_executable(path));
    found.ok_or("is not in any directory of PATH")
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok()
}

/// Describes the settings of one path that differ from the defaults.
fn path_text(options: &PathOptions) -> String {
    // Lists all fields, so that a new one is not forgotten here.
    let PathOptions { format, rotation, fsync, disabled, rename, include, exclude } = options;
    if *disabled {
        return "thrown away".into();
    }
    let columns = |label: &str, names: &[String]| {
        (!names.is_empty()).then(|| format!("{label} {}", names.join(", ")))
    };
    let parts: Vec<String> = [
        rename.as_ref().map(|name| format!("written as {name}")),
        format.map(|format| format!("format {format}")),
        rotation.map(|rotation| format!("rotation {}", interval_text(rotation))),
        fsync.map(|fsync| format!("fsync {fsync}")),
        columns("only the columns", include),
        columns("without the columns", exclude),
    ]
    .into_iter()
    .flatten()
    .collect();
    if parts.is_empty() { "as all others".into() } else { parts.join("; ") }
}

fn interval_text(interval: Duration) -> String {
    if interval.is_zero() { "never".into() } else { every(interval) }
}

fn every(interval: Duration) -> String {
    format!("every {}", humantime::format_duration(interval))
}

#[cfg(test)]
mod tests;
