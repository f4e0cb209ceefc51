//! Rules for `[log]`: ranges, names that become file names, and options that require or exclude
//! each other.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::log::{MAX_FORMAT_THREADS, time_of_day};
use super::super::options::MIB;
use super::super::{Compress, PathOptions};
use super::{Check, LONGEST, option_name};
use crate::file_name::escape;

/// Longer rotation intervals are a mistake; and times that far ahead can still be computed.
const LONGEST_ROTATION: Duration = Duration::from_secs(366 * 24 * 3600);
/// With a shorter one, producers that alternate would cause constant rotation.
const SHORTEST_SCHEMA: Duration = Duration::from_secs(1);
/// Below this, a single batch of the usual size may be all that fits.
const LITTLE_MEMORY: u64 = 16 * MIB;
/// Records per batch: more would exceed any reasonable message size.
const MOST_RECORDS: i64 = 10_000_000;
/// Bytes of a path in a file name: leaves room for extensions and times within 255.
const LONGEST_PATH: usize = 200;

impl Check<'_> {
    pub(super) fn log(&mut self) {
        self.log_text();
        self.log_sizes_and_times();
        self.log_rotation();
        self.log_compression();
        for (name, options) in &self.layout.log.path {
            self.log_path(name, options);
        }
        self.log_path_names();
    }

    fn log_text(&mut self) {
        let log = &self.layout.log;
        for (key, text) in [("separator", &log.separator), ("set_separator", &log.set_separator)] {
            if text.is_empty() {
                let message = format!("`{key}` is empty; expected at least one character");
                self.error(&["log", key], message);
            }
        }
        if log.separator == log.set_separator {
            self.warn(&["log", "set_separator"], "`set_separator` and `separator` are the same");
        }
        for (key, text) in
            [("suffix", &log.suffix), ("gzip_file_extension", &log.gzip_file_extension)]
        {
            let is_default = key == "gzip_file_extension" && text.is_empty();
            if !is_default && !is_extension(text) {
                let message = format!("`{key}`: found {text:?}, expected a file extension");
                self.error(&["log", key], message);
            }
        }
    }

    fn log_sizes_and_times(&mut self) {
        let log = &self.layout.log;
        let records = log.write_buffer_size.into();
        self.range(&["log", "write_buffer_size"], records, 1, MOST_RECORDS);
        self.at_least_one(&["log", "max_memory"], log.max_memory);
        if (1..LITTLE_MEMORY).contains(&log.max_memory) {
            let message = "`max_memory` is below 16 MiB: loggers pause often, and a larger batch \
                           still uses what it needs";
            self.warn(&["log", "max_memory"], message);
        }
        for (key, value) in [
            ("flush_interval", log.flush_interval),
            ("gather_interval", log.gather_interval),
            ("shutdown_timeout", log.shutdown_timeout),
            ("fsync_interval", log.fsync_interval),
            ("schema_timeout", log.schema_timeout),
        ] {
            self.at_most(&["log", key], value, LONGEST);
        }
        if log.schema_timeout < SHORTEST_SCHEMA {
            let message = format!(
                "`schema_timeout`: found {}, expected at least 1s; producers that alternate would \
                 create a file for each batch",
                humantime::format_duration(log.schema_timeout)
            );
            self.error(&["log", "schema_timeout"], message);
        }
        if log.fsync_interval.is_zero() {
            let message = "`fsync_interval`: found `0`, expected more; `fsync = \"batch\"` syncs \
                           without delay";
            self.error(&["log", "fsync_interval"], message);
        }
        self.range(
            &["log", "format_threads"],
            log.format_threads.into(),
            0,
            MAX_FORMAT_THREADS as i64,
        );
        self.range(&["log", "gzip_level"], log.gzip_level.into(), 0, 9);
    }

    fn log_rotation(&mut self) {
        let log = &self.layout.log;
        self.rotation_interval(&["log", "rotation"], log.rotation);
        let base = &log.rotation_base_time;
        if !base.is_empty() && time_of_day(base).is_none() {
            let message = format!(
                "`rotation_base_time`: found {base:?}, expected a time of day such as \"0:00\", or \
                 \"\""
            );
            self.error(&["log", "rotation_base_time"], message);
        }
        if log.rotation_postprocessor.contains('\0') {
            let message = "`rotation_postprocessor` contains a NUL; expected a shell command";
            self.error(&["log", "rotation_postprocessor"], message);
        }
        let at_env = ["log", "rotation_postprocessor_env"];
        for (name, value) in &log.rotation_postprocessor_env {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
            let digit = |b: &u8| b.is_ascii_digit();
            if !name.bytes().all(plain) || name.as_bytes().first().is_none_or(digit) {
                let message = format!(
                    "`rotation_postprocessor_env`: found the name {name:?}, expected letters, \
                     digits and `_`"
                );
                self.error(&at_env, message);
            } else if value.contains('\0') {
                let message = format!(
                    "`rotation_postprocessor_env`: the value of `{name}` contains a NUL; expected \
                     text"
                );
                self.error(&at_env, message);
            }
        }
        if log.rotation_postprocessor.is_empty() && !log.rotation_postprocessor_env.is_empty() {
            let message = "`rotation_postprocessor_env` has no effect without \
                           `rotation_postprocessor`";
            self.warn(&at_env, message);
        }
    }

    fn rotation_interval(&mut self, path: &[&str], interval: Duration) {
        if !interval.is_zero() && interval < Duration::from_secs(1) {
            let (name, found) = (option_name(path), humantime::format_duration(interval));
            self.error(path, format!("{name}: found {found}, expected 0 (never) or at least 1s"));
        }
        self.at_most(path, interval, LONGEST_ROTATION);
    }

    fn log_compression(&mut self) {
        let log = &self.layout.log;
        if let Some(level) = log.compress_level {
            match log.compress {
                Compress::None => self.warn(
                    &["log", "compress_level"],
                    "`compress_level` has no effect without `compress`",
                ),
                Compress::Zstd => self.range(&["log", "compress_level"], level.into(), 1, 22),
                Compress::Gzip => self.range(&["log", "compress_level"], level.into(), 1, 9),
            }
        }
        if log.gzip_level > 0 && log.compress != Compress::None {
            let message =
                "`compress` has no effect with `gzip_level`: files are not compressed twice";
            self.warn(&["log", "compress"], message);
        }
    }

    fn log_path(&mut self, name: &str, options: &PathOptions) {
        let at = |key| ["log", "path", name, key];
        if let Some(problem) = problem_with_path(name) {
            let message = format!("the path {name:?} {problem}; it must fit the name of a file");
            self.error(&["log", "path", name], message);
        }
        if let Some(rename) = &options.rename
            && let Some(problem) = problem_with_path(rename)
        {
            let message = format!(
                "{} {problem}: found {rename:?}, expected the name of a file without extension",
                option_name(&at("rename"))
            );
            self.error(&at("rename"), message);
        }
        if let Some(rotation) = options.rotation {
            self.rotation_interval(&at("rotation"), rotation);
        }
        for column in &options.exclude {
            if options.include.contains(column) {
                let message = format!(
                    "the column `{column}` of the path `{name}` is in `include` and in `exclude`; \
                     expected one of them"
                );
                self.error(&at("exclude"), message);
            }
        }
    }

    /// No two paths may write to the same file.
    fn log_path_names(&mut self) {
        let paths = &self.layout.log.path;
        let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
        for (path, options) in paths {
            let Some(rename) = options.rename.as_deref().filter(|rename| rename != path) else {
                continue;
            };
            let problem = if let Some(other) = taken.insert(rename, path) {
                format!("as is `{other}`")
            } else if paths.contains_key(rename) {
                "which is another path".to_owned()
            } else {
                continue;
            };
            let message = format!(
                "`{path}` is renamed to `{rename}`, {problem}; expected a name no other path has"
            );
            self.error(&["log", "path", path, "rename"], message);
        }
    }
}

/// Whether a text is a valid file extension, or several separated by dots.
pub(in super::super) fn is_extension(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c == '/' || c.is_ascii_control())
}

/// Why a text cannot be the name of a log file, without its extension: loggers refuse producers'
/// paths for the same reasons.
fn problem_with_path(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("is empty")
    } else if escape(name.as_bytes()).len() > LONGEST_PATH {
        Some("is longer than 200 bytes as part of a file name")
    } else if name.contains('/') {
        Some("contains `/`")
    } else if name.starts_with('.') {
        Some("starts with a dot")
    } else if name.chars().any(|c| c.is_ascii_control()) {
        Some("contains a control character")
    } else {
        None
    }
}
