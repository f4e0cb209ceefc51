//! `[log]`: how log records are batched, how loggers write files, and overrides for some paths
//! (WIRE.md §4.6, §5.6 to §5.8, which define the names and defaults of the options).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bstr::BStr;

use super::options::MIB;
use super::table::table;
use super::words::words;

words! {
    /// The format of log files.
    pub enum LogFormat {
        /// Tab-separated values with a header (WIRE.md §5.1).
        #[default]
        Tsv = "tsv",
        /// One JSON object per line (WIRE.md §5.5).
        Json = "json",
    }
}

words! {
    /// How JSON logs write times, `LogAscii::json_timestamps` (WIRE.md §5.5).
    pub enum JsonTimestamps {
        /// Seconds since 1970 as a real number.
        #[default]
        Epoch = "JSON::TS_EPOCH",
        /// Milliseconds since 1970, signed.
        Millis = "JSON::TS_MILLIS",
        /// Milliseconds since 1970, unsigned.
        MillisUnsigned = "JSON::TS_MILLIS_UNSIGNED",
        /// `2026-01-01T00:00:00.000000Z`.
        Iso8601 = "JSON::TS_ISO8601",
    }
    may_omit "JSON::"
}

words! {
    /// How JSON logs write strings, `LogAscii::json_string_escape_policy` (WIRE.md §5.5).
    pub enum JsonStringEscapePolicy {
        /// Bytes that are not text become `\xNN`; ambiguous by design.
        #[default]
        Hex = "JSON::STRING_ESCAPE_POLICY_HEX",
        /// Escaped as in TSV logs, backslashes doubled.
        Tsv = "JSON::STRING_ESCAPE_POLICY_TSV",
        /// Bytes that are not text become code points of a private use area: lossless.
        Pua = "JSON::STRING_ESCAPE_POLICY_PUA",
    }
    may_omit "JSON::"
}

words! {
    /// How rotated files are named (WIRE.md §5.8).
    pub enum RotationName {
        /// `conn.2026-01-01-00-00-00.log`, after the time the file was opened.
        #[default]
        Ascii = "ascii",
        /// `conn-26-01-01_00.00.00.log`.
        Generic = "generic",
        /// `conn__2026-01-01-00-00-00__2026-01-01-01-00-00__.log`, as `zeek-archiver` reads it.
        Archiver = "archiver",
    }
}

words! {
    /// How rotated files are compressed.
    pub enum Compress {
        /// Not at all.
        #[default]
        None = "none",
        /// Zstandard: `.zst`.
        Zstd = "zstd",
        /// Gzip: `.gz`.
        Gzip = "gzip",
    }
}

words! {
    /// When written log data is synced to disk, to survive a power failure.
    pub enum Fsync {
        /// When the operating system decides.
        #[default]
        Never = "never",
        /// Every `fsync_interval`.
        Interval = "interval",
        /// Before its records count as written.
        Batch = "batch",
    }
}

table! {
    /// `[log]`: how log records are batched, and how loggers write files.
    pub struct Log {
        /// Directory of the log files: a logger writes `<dir>/<node>/<path>.log`.
        dir | default_logdir: PathBuf = "logs".into(),
        /// Whether missing parent directories of `dir` and `rotation_dir` are created. Off by
        /// default: a disk may not be mounted.
        create_parents: bool = false,
        /// Format of the files.
        format: LogFormat = LogFormat::Tsv,
        /// Extension of the files, without the dot.
        suffix: String = "log".into(),
        /// Records that a producer collects before it sends a batch.
        write_buffer_size: u32 = 1000,
        /// The longest time a producer holds records back; 0 means until the batch is full.
        flush_interval: Duration = Duration::from_secs(1),
        /// The longest time a logger leaves what it receives in its sockets, so that it gathers; 0
        /// means not at all. Read it through [`Log::gathers_for`].
        gather_interval: Duration = Duration::from_millis(20),
        /// Bound of all of a logger's queues and buffers, in bytes. When it is reached the logger
        /// stops reading its socket. A single larger batch is accepted alone.
        max_memory: u64 = 256 * MIB,
        /// How long a logger may take at shutdown to write what it holds.
        shutdown_timeout: Duration = Duration::from_secs(5),
        /// Threads of a logger that turn batches into text, at most 64; 0 means half the number of
        /// cores. Read it through [`Log::format_threads_on`].
        format_threads: u32 = 0,
        /// How often files are rotated; 0 means never.
        rotation | default_rotation_interval: Duration = Duration::ZERO,
        /// The time of day that rotations are counted from, `H:MM` local time; empty means from
        /// 1970. Read it through [`Log::rotation_base`].
        rotation_base_time | log_rotate_base_time: String = "0:00".into(),
        /// Directory for rotated files; unset leaves them in the log directory.
        rotation_dir | default_rotation_dir: Option<PathBuf> = None,
        /// How rotated files are named.
        rotation_name: RotationName = RotationName::Ascii,
        /// Shell command run on each rotated file; empty means none.
        rotation_postprocessor | default_rotation_postprocessor_cmd: String = String::new(),
        /// Environment variables of that command, in addition to the logger's.
        rotation_postprocessor_env | default_rotation_postprocessor_cmd_env:
            BTreeMap<String, String> = BTreeMap::new(),
        /// How rotated files are compressed.
        compress: Compress = Compress::None,
        /// The compression level: 1 to 22 for Zstandard (default 3), 1 to 9 for gzip (default 6).
        /// Read it through [`Log::compression_level`].
        compress_level: Option<i32> = None,
        /// Level at which files are written as gzip streams, 1 to 9; 0 means plain files.
        gzip_level: u32 = 0,
        /// Extension of such files after `suffix`; empty means `gz`. Read it through
        /// [`Log::gzip_extension`].
        gzip_file_extension: String = "gz".into(),
        /// When files are synced to disk.
        fsync: Fsync = Fsync::Never,
        /// How often they are synced with `fsync = "interval"`.
        fsync_interval: Duration = Duration::from_secs(5),
        /// How long a log's set of columns stays unused before its file is completed, when
        /// producers use different sets at the same time.
        schema_timeout: Duration = Duration::from_secs(300),
        /// TSV: whether valid UTF-8 stays as it is.
        enable_utf_8: bool = true,
        /// JSON: how times are written.
        json_timestamps: JsonTimestamps = JsonTimestamps::Epoch,
        /// JSON: whether unset fields are written as `null`.
        json_include_unset_fields: bool = false,
        /// JSON: how strings are escaped.
        json_string_escape_policy: JsonStringEscapePolicy = JsonStringEscapePolicy::Hex,
        /// TSV: whether the header and footer are written.
        include_meta: bool = true,
        /// TSV: what header and footer lines start with.
        meta_prefix: String = "#".into(),
        /// TSV: the separator between fields; not empty.
        separator: String = "\t".into(),
        /// TSV: the separator between elements of a set or vector; not empty.
        set_separator: String = ",".into(),
        /// TSV: an empty string, set or vector.
        empty_field: String = "(empty)".into(),
        /// TSV: an unset field.
        unset_field: String = "-".into(),
        /// TSV: plain tab-separated values with the field names as the only header.
        tsv: bool = false,
    }
    beside {
        /// `[log.path.NAME]`: overrides for the logs of one path. Read it through
        /// [`Log::for_path`].
        path: BTreeMap<String, PathOptions>,
    }
}

table! {
    /// `[log.path.NAME]`: overrides for the logs of one path. Unset options inherit from `[log]`.
    pub struct PathOptions {
        /// Format of the file.
        format: Option<LogFormat> = None,
        /// How often it is rotated; 0 means never.
        rotation: Option<Duration> = None,
        /// When it is synced to disk.
        fsync: Option<Fsync> = None,
        /// Whether its records are discarded.
        disabled: bool = false,
        /// The path to write it under: the file name without extensions.
        rename: Option<String> = None,
        /// The columns to write; empty means all.
        include: Vec<String> = Vec::new(),
        /// The columns to leave out.
        exclude: Vec<String> = Vec::new(),
    }
}

/// How a logger treats the logs of one path: `[log]` with the overrides of `[log.path]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathSettings<'a> {
    /// The path to write it under.
    pub name: &'a BStr,
    /// Format of the file.
    pub format: LogFormat,
    /// How often it is rotated; zero means never.
    pub rotation: Duration,
    /// When it is synced to disk.
    pub fsync: Fsync,
    /// Whether its records are discarded.
    pub disabled: bool,
    /// The columns to write; empty means all except those in `exclude`.
    pub include: &'a [String],
    /// The columns to leave out.
    pub exclude: &'a [String],
}

impl Log {
    /// How to treat the logs of a path, as producers name it. One lookup; does not allocate.
    ///
    /// Two paths can have the same `name` if one is renamed to a path of another producer. They
    /// then become one log.
    pub fn for_path<'a>(&'a self, path: &'a [u8]) -> PathSettings<'a> {
        let options = std::str::from_utf8(path).ok().and_then(|path| self.path.get(path));
        let rename = options.and_then(|options| options.rename.as_deref());
        PathSettings {
            name: BStr::new(rename.map_or(path, str::as_bytes)),
            format: options.and_then(|options| options.format).unwrap_or(self.format),
            rotation: options.and_then(|options| options.rotation).unwrap_or(self.rotation),
            fsync: options.and_then(|options| options.fsync).unwrap_or(self.fsync),
            disabled: options.is_some_and(|options| options.disabled),
            include: options.map_or(&[], |options| &options.include),
            exclude: options.map_or(&[], |options| &options.exclude),
        }
    }

    /// How long received batches gather at most: never past `flush_interval`.
    pub fn gathers_for(&self) -> Duration {
        self.gather_interval.min(self.flush_interval)
    }

    /// The number of threads that turn batches into text on a host with that many cores.
    pub fn format_threads_on(&self, cores: usize) -> usize {
        match self.format_threads {
            0 => (cores / 2).clamp(1, 8),
            threads => usize::try_from(threads).unwrap_or(MAX_FORMAT_THREADS),
        }
    }

    /// The time of day that rotations are counted from, as time since midnight; `None` if they are
    /// counted from 1970.
    pub fn rotation_base(&self) -> Option<Duration> {
        time_of_day(&self.rotation_base_time)
    }

    /// The compression level of rotated files.
    pub fn compression_level(&self) -> i32 {
        self.compress_level.unwrap_or(match self.compress {
            Compress::None => 0,
            Compress::Zstd => 3,
            Compress::Gzip => 6,
        })
    }

    /// The extension of files after `suffix`; `None` unless they are gzip streams.
    pub fn gzip_extension(&self) -> Option<&str> {
        let extension =
            if self.gzip_file_extension.is_empty() { "gz" } else { &self.gzip_file_extension };
        (self.gzip_level > 0).then_some(extension)
    }
}

/// The maximum number of threads that turn batches into text: no host has cores for more.
pub(super) const MAX_FORMAT_THREADS: usize = 64;

/// Reads `H:MM`.
pub(super) fn time_of_day(text: &str) -> Option<Duration> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |digits: &str, below: u64| {
        let plain = matches!(digits.len(), 1..=2) && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse::<u64>().ok().filter(|number| plain && *number < below)
    };
    let minutes = number(minutes, 60).filter(|_| minutes.len() == 2)?;
    Some(Duration::from_secs((number(hours, 24)? * 60 + minutes) * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day() {
        for (text, minutes) in [
            ("0:00", Some(0)),
            ("00:00", Some(0)),
            ("6:30", Some(390)),
            ("23:59", Some(1439)),
            ("24:00", None),
            ("1:60", None),
            ("1:5", None),
            ("+1:05", None),
            ("1:05:00", None),
            ("001:05", None),
            ("noon", None),
            (":", None),
            ("", None),
        ] {
            assert_eq!(time_of_day(text), minutes.map(|m| Duration::from_secs(m * 60)), "{text}");
        }
    }

    #[test]
    fn a_path_is_as_the_section_unless_it_says_otherwise() {
        let mut log = Log { fsync: Fsync::Interval, ..Log::default() };
        let conn = PathOptions {
            format: Some(LogFormat::Json),
            rotation: Some(Duration::ZERO),
            rename: Some("connections".into()),
            exclude: vec!["uid".into()],
            ..PathOptions::default()
        };
        log.rotation = Duration::from_secs(3600);
        log.path.insert("conn".into(), conn);
        log.path.insert("weird".into(), PathOptions { disabled: true, ..PathOptions::default() });

        let conn = log.for_path(b"conn");
        assert_eq!((conn.name, conn.format), (BStr::new("connections"), LogFormat::Json));
        assert_eq!((conn.rotation, conn.fsync), (Duration::ZERO, Fsync::Interval));
        assert_eq!((conn.include, conn.exclude), (&[][..], &["uid".to_owned()][..]));
        let dns = log.for_path(b"dns\xff");
        assert_eq!((dns.name, dns.format), (BStr::new(b"dns\xff"), LogFormat::Tsv));
        assert_eq!((dns.rotation, dns.disabled), (log.rotation, false));
        assert!(log.for_path(b"weird").disabled);
    }

    #[test]
    fn what_is_not_said_follows_from_the_rest() {
        let mut log = Log::default();
        for (cores, threads) in [(0, 1), (1, 1), (2, 1), (3, 1), (4, 2), (16, 8), (200, 8)] {
            assert_eq!(log.format_threads_on(cores), threads, "{cores}");
        }
        log.format_threads = 12;
        assert_eq!(log.format_threads_on(2), 12);

        assert_eq!((log.gzip_extension(), log.rotation_base()), (None, Some(Duration::ZERO)));
        log.gzip_level = 1;
        log.gzip_file_extension.clear();
        assert_eq!(log.gzip_extension(), Some("gz"));
        for (compress, level) in [(Compress::None, 0), (Compress::Zstd, 3), (Compress::Gzip, 6)] {
            log.compress = compress;
            assert_eq!(log.compression_level(), level);
        }
        log.compress_level = Some(9);
        assert_eq!(log.compression_level(), 9);
    }
}
