//! [`LocalZone`]: the zone of local times, from `TZ` and `/etc/localtime` (tzset(3)).
//!
//! Determined once, at start. Values that the C library silently treats as UTC, such as a
//! nonexistent name, are errors here. Zones by name come from the system's files or, if it has
//! none, from the built-in ones.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use rustix::fs::OFlags;
use thiserror::Error;

/// Directories where systems keep zone files.
const ZONE_DIRS: [&str; 4] =
    ["/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/zoneinfo"];
/// The file of the zone if `TZ` is not set.
const LOCALTIME: &str = "/etc/localtime";
/// The file with its name, on systems where that file is a copy and not a link.
const TIMEZONE: &str = "/etc/timezone";
/// Bytes of the largest file that is read: hundreds of times the size of a zone.
const MAX_FILE: u64 = 1 << 20;
/// Start and end of daylight saving time for POSIX strings without rules: glibc's default.
const DEFAULT_RULES: &str = ",M3.2.0,M11.1.0";

/// The zone of local times, and its origin.
#[derive(Clone, Debug)]
pub(crate) struct LocalZone {
    pub(crate) zone: TimeZone,
    /// Its name and origin, for messages.
    source: String,
}

/// Bytes of a bad value that are shown.
const MAX_TOLD: usize = 100;

/// Why the zone cannot be determined.
#[derive(Debug, Error)]
pub(crate) enum ZoneError {
    /// `TZ` is not valid.
    #[error(
        "TZ is {value:?}: {why}; expected the name of a time zone such as America/New_York, a POSIX \
         string such as EST5EDT,M3.2.0,M11.1.0, or the path of a time zone file"
    )]
    Variable {
        /// Its value.
        value: OsString,
        /// The reason.
        why: String,
    },
    /// The system's zone file is broken.
    #[error(
        "{}: {why}; expected a time zone file, or a link to one (set TZ to use another)",
        path.display()
    )]
    System {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
}

/// The inputs that determine the zone.
struct Surroundings<'a> {
    /// `TZ`.
    tz: Option<&'a OsStr>,
    /// `TZDIR`, the directory of zones.
    tzdir: Option<&'a OsStr>,
    localtime: &'a Path,
    /// The file with the name of the zone of `localtime`.
    timezone: &'a Path,
}

/// Why a file is not a zone, or `None` if it does not exist.
type NoZone = Option<String>;

impl LocalZone {
    /// Returns the zone of this process.
    ///
    /// # Errors
    /// If the environment or the system names something that is not a zone.
    pub(crate) fn of_process() -> Result<Self, ZoneError> {
        let (tz, tzdir) = (env::var_os("TZ"), env::var_os("TZDIR"));
        let (localtime, timezone) = (Path::new(LOCALTIME), Path::new(TIMEZONE));
        Surroundings { tz: tz.as_deref(), tzdir: tzdir.as_deref(), localtime, timezone }.zone()
    }

    /// Returns its name, its origin, and the local time.
    pub(crate) fn describe(&self, now: SystemTime) -> String {
        let now = Timestamp::try_from(now).unwrap_or_default().to_zoned(self.zone.clone());
        format!("{}, now {}", self.source, now.strftime("%Y-%m-%d %H:%M:%S %:z"))
    }
}

impl Surroundings<'_> {
    fn zone(&self) -> Result<LocalZone, ZoneError> {
        let Some(value) = self.tz else { return self.zone_of_system() };
        // A colon precedes an implementation-defined form, which here is the same one.
        let name = value.as_bytes().strip_prefix(b":").unwrap_or(value.as_bytes());
        if name.is_empty() {
            return Ok(LocalZone { zone: TimeZone::UTC, source: "UTC (TZ is empty)".into() });
        }
        let name = OsStr::from_bytes(name);
        if Path::new(name) == self.localtime {
            return self.zone_of_system();
        }
        let zone = self.named(name).map_err(|why| ZoneError::Variable {
            // The message need not show all of it.
            value: OsStr::from_bytes(&value.as_bytes()[..value.len().min(MAX_TOLD)]).to_owned(),
            why: why.unwrap_or_else(|| "no such time zone".into()),
        })?;
        let source = match zone_of_path(Path::new(name)) {
            Some(zone) => format!("{} (from TZ, {})", zone.display(), name.display()),
            None => format!("{} (from TZ)", name.display()),
        };
        Ok(LocalZone { zone, source })
    }

    /// Returns the zone for a value of `TZ`: from a file first, then as a POSIX string.
    fn named(&self, name: &OsStr) -> Result<TimeZone, NoZone> {
        let file = if Path::new(name).is_absolute() {
            read_zone(Path::new(name)).map_err(|why| why.or_else(|| Some("no such file".into())))
        } else {
            self.of_database(name)
        };
        file.or_else(|why| name.to_str().and_then(posix).ok_or(why))
    }

    /// Returns a zone by name from the system's files, or the built-in one.
    fn of_database(&self, name: &OsStr) -> Result<TimeZone, NoZone> {
        let own = self.tzdir.filter(|dir| !dir.is_empty()).map(Path::new);
        let usual = ZONE_DIRS.iter().map(Path::new).filter(|_| own.is_none());
        for dir in own.into_iter().chain(usual) {
            match read_zone(&dir.join(name)) {
                Err(None) => {}
                outcome => return outcome,
            }
        }
        built_in(name).ok_or(None)
    }

    /// Returns the zone if `TZ` is not set.
    fn zone_of_system(&self) -> Result<LocalZone, ZoneError> {
        let path = self.localtime;
        let target = fs::read_link(path).ok();
        let name = target.as_deref().and_then(zone_of_path);
        let zone = match read_zone(path) {
            Ok(zone) => zone,
            Err(None) if target.is_none() => {
                let source = format!("UTC (neither TZ nor {})", path.display());
                return Ok(LocalZone { zone: TimeZone::UTC, source });
            }
            // A link into files that this system, such as a container, does not have.
            Err(None) => name.and_then(built_in).ok_or_else(|| ZoneError::System {
                path: path.to_owned(),
                why: "a link to nothing".into(),
            })?,
            Err(Some(why)) => return Err(ZoneError::System { path: path.to_owned(), why }),
        };
        let shown = match name {
            Some(name) => name.display().to_string(),
            None => self.name_of_system().unwrap_or_else(|| "a zone without a name".into()),
        };
        Ok(LocalZone { zone, source: format!("{shown} (from {})", path.display()) })
    }

    /// Returns the name of the system's zone if its file is a copy: the name in `timezone`, if that
    /// zone is the same, else the rule at the end of the file.
    fn name_of_system(&self) -> Option<String> {
        let bytes = read_file(self.localtime).ok()?;
        let said = read_file(self.timezone).ok().and_then(|text| String::from_utf8(text).ok());
        let said = said.as_deref().map(str::trim).filter(|name| !name.is_empty());
        let is_same = |name: &str| {
            let own = self.tzdir.filter(|dir| !dir.is_empty()).map(Path::new);
            let dirs = own.into_iter().chain(ZONE_DIRS.iter().map(Path::new));
            // A string that is not a zone name must not lead elsewhere in the file system.
            !name.starts_with('/')
                && dirs.into_iter().any(|dir| read_file(&dir.join(name)).is_ok_and(|b| b == bytes))
        };
        said.filter(|name| is_same(name)).or_else(|| rule_of(&bytes)).map(str::to_owned)
    }
}

/// Returns the name of the zone in `file`.
fn zone_of_path(file: &Path) -> Option<&OsStr> {
    let mut parts = file.components();
    parts.by_ref().find(|part| part.as_os_str() == "zoneinfo")?;
    Some(parts.as_path().as_os_str()).filter(|name| !name.is_empty())
}

/// Returns the POSIX string at the end of a zone file (RFC 9636, §3.3): the rule after its last change.
fn rule_of(file: &[u8]) -> Option<&str> {
    let rule = file.strip_suffix(b"\n")?.rsplit(|byte| *byte == b'\n').next()?;
    let rule = std::str::from_utf8(rule).ok()?;
    (!rule.is_empty() && rule.bytes().all(|byte| byte.is_ascii_graphic())).then_some(rule)
}

/// Returns a zone that was compiled in. Names are case-sensitive, like file names.
fn built_in(name: &OsStr) -> Option<TimeZone> {
    let name = name.to_str()?;
    // `posix/` has zones without leap seconds, as all built-in zones are.
    let name = name.strip_prefix("posix/").unwrap_or(name);
    let zone = TimeZoneDatabase::bundled().get(name).ok()?;
    (zone.iana_name() == Some(name)).then_some(zone)
}

/// Parses a POSIX string, with or without rules.
fn posix(text: &str) -> Option<TimeZone> {
    let with_rules = || format!("{}{DEFAULT_RULES}", text.strip_suffix(',').unwrap_or(text));
    TimeZone::posix(text).or_else(|_| TimeZone::posix(&with_rules())).ok()
}

/// Reads a zone file. The error says why it is not one, or is `None` if it does not exist.
fn read_zone(path: &Path) -> Result<TimeZone, NoZone> {
    let why = |what: &dyn std::fmt::Display| Some(format!("{}: {what}", path.display()));
    let bytes = match read_file(path) {
        Ok(bytes) => bytes,
        // A name like `GMT0/x` does not exist either.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Err(None);
        }
        Err(error) => return Err(why(&error)),
    };
    if !bytes.starts_with(b"TZif") {
        return Err(why(&"not a time zone file"));
    }
    if counts_leap_seconds(&bytes) {
        return Err(why(&"counts leap seconds, which the clock of this system does not"));
    }
    let name = path.to_string_lossy();
    TimeZone::tzif(&name, &bytes).map_err(|error| why(&error))
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a FIFO would wait for a writer.
    let flags = OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Returns whether a file's second part, or the only part in old files, has leap seconds (RFC 9636,
/// §3.1): such a zone is for clocks that count them, which UNIX clocks do not.
fn counts_leap_seconds(bytes: &[u8]) -> bool {
    const HEADER: usize = 44;
    /// `isutcnt`, `isstdcnt`, `leapcnt`, `timecnt`, `typecnt`, `charcnt`.
    fn counts(header: &[u8]) -> Option<[usize; 6]> {
        let words = header.get(20..HEADER)?.chunks_exact(4);
        let words = words.map(|word| u32::from_be_bytes(word.try_into().unwrap_or_default()));
        words.map(|word| word as usize).collect::<Vec<_>>().try_into().ok()
    }
    let Some([utc, standard, leaps, times, types, chars]) = counts(bytes) else { return false };
    if leaps > 0 || bytes[4] == 0 {
        return leaps > 0;
    }
    // Counts in a damaged file may have any value.
    let sizes = [(times, 5), (types, 6), (chars, 1), (standard, 1), (utc, 1)];
    let body = sizes
        .iter()
        .fold(HEADER, |sum, (count, size)| sum.saturating_add(count.saturating_mul(*size)));
    bytes.get(body..).and_then(counts).is_some_and(|[_, _, leaps, ..]| leaps > 0)
}

#[cfg(test)]
mod tests;
