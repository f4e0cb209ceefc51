//! [`LocalZone`]: the zone of local times, as `TZ` and `/etc/localtime` say (tzset(3)).
//!
//! Found once, at start. What the C library takes for UTC in silence, a name that does not exist for
//! one, is an error here. Zones by name come from the system's files or, where it has none, from
//! those that are built in.

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

/// Where systems keep the files of zones.
const ZONE_DIRS: [&str; 4] =
    ["/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/zoneinfo"];
/// The zone where `TZ` is not set.
const LOCALTIME: &str = "/etc/localtime";
/// Its name, on systems where that is a copy rather than a link.
const TIMEZONE: &str = "/etc/timezone";
/// Bytes of the largest file that is read: hundreds of times what zones take.
const MAX_FILE: u64 = 1 << 20;
/// When daylight saving time begins and ends where a POSIX string does not say: what glibc uses.
const DEFAULT_RULES: &str = ",M3.2.0,M11.1.0";

/// The zone of local times, and where it comes from.
#[derive(Clone, Debug)]
pub(crate) struct LocalZone {
    pub(crate) zone: TimeZone,
    /// Its name and who gave that, for people.
    source: String,
}

/// Bytes of a bad value that are told.
const MAX_TOLD: usize = 100;

/// Why there is no zone.
#[derive(Debug, Error)]
pub(crate) enum ZoneError {
    /// `TZ` names nothing.
    #[error(
        "TZ is {value:?}: {why}; expected the name of a time zone such as America/New_York, a POSIX \
         string such as EST5EDT,M3.2.0,M11.1.0, or the path of a time zone file"
    )]
    Variable {
        /// What it is set to.
        value: OsString,
        /// What is wrong with that.
        why: String,
    },
    /// The system's own is broken.
    #[error(
        "{}: {why}; expected a time zone file, or a link to one (set TZ to go by another)",
        path.display()
    )]
    System {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// What a zone is looked for with.
struct Surroundings<'a> {
    /// `TZ`.
    tz: Option<&'a OsStr>,
    /// `TZDIR`, the directory of zones.
    tzdir: Option<&'a OsStr>,
    localtime: &'a Path,
    /// The file with the name of the zone of `localtime`.
    timezone: &'a Path,
}

/// A file that is no zone: why, or `None` where there is none.
type NoZone = Option<String>;

impl LocalZone {
    /// The zone of this process.
    ///
    /// # Errors
    /// When what the environment or the system names is no zone.
    pub(crate) fn of_process() -> Result<Self, ZoneError> {
        let (tz, tzdir) = (env::var_os("TZ"), env::var_os("TZDIR"));
        let (localtime, timezone) = (Path::new(LOCALTIME), Path::new(TIMEZONE));
        Surroundings { tz: tz.as_deref(), tzdir: tzdir.as_deref(), localtime, timezone }.zone()
    }

    /// Its name, where that comes from, and what time it is there.
    pub(crate) fn describe(&self, now: SystemTime) -> String {
        let now = Timestamp::try_from(now).unwrap_or_default().to_zoned(self.zone.clone());
        format!("{}, now {}", self.source, now.strftime("%Y-%m-%d %H:%M:%S %:z"))
    }
}

impl Surroundings<'_> {
    fn zone(&self) -> Result<LocalZone, ZoneError> {
        let Some(value) = self.tz else { return self.zone_of_system() };
        // A colon announces a form that is the system's own, which is the same one.
        let name = value.as_bytes().strip_prefix(b":").unwrap_or(value.as_bytes());
        if name.is_empty() {
            return Ok(LocalZone { zone: TimeZone::UTC, source: "UTC (TZ is empty)".into() });
        }
        let name = OsStr::from_bytes(name);
        if Path::new(name) == self.localtime {
            return self.zone_of_system();
        }
        let zone = self.named(name).map_err(|why| ZoneError::Variable {
            // Whoever reads the line need not see all of it.
            value: OsStr::from_bytes(&value.as_bytes()[..value.len().min(MAX_TOLD)]).to_owned(),
            why: why.unwrap_or_else(|| "no such time zone".into()),
        })?;
        let source = match zone_of_path(Path::new(name)) {
            Some(zone) => format!("{} (from TZ, {})", zone.display(), name.display()),
            None => format!("{} (from TZ)", name.display()),
        };
        Ok(LocalZone { zone, source })
    }

    /// The zone that a value of `TZ` means: a file before all else, then a POSIX string.
    fn named(&self, name: &OsStr) -> Result<TimeZone, NoZone> {
        let file = if Path::new(name).is_absolute() {
            read_zone(Path::new(name)).map_err(|why| why.or_else(|| Some("no such file".into())))
        } else {
            self.of_database(name)
        };
        file.or_else(|why| name.to_str().and_then(posix).ok_or(why))
    }

    /// A zone by its name in the system's files, or built in.
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

    /// The zone where nobody has said which.
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
            // A link into files that this system, a container say, does not have.
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

    /// The name of the system's zone where its file is a copy: what the system says elsewhere, if the
    /// zone of that name is the same, else its rule, which is a name of its own.
    fn name_of_system(&self) -> Option<String> {
        let bytes = read_file(self.localtime).ok()?;
        let said = read_file(self.timezone).ok().and_then(|text| String::from_utf8(text).ok());
        let said = said.as_deref().map(str::trim).filter(|name| !name.is_empty());
        let is_same = |name: &str| {
            let own = self.tzdir.filter(|dir| !dir.is_empty()).map(Path::new);
            let dirs = own.into_iter().chain(ZONE_DIRS.iter().map(Path::new));
            // What is no name of a zone is no reason to look elsewhere in the file system.
            !name.starts_with('/')
                && dirs.into_iter().any(|dir| read_file(&dir.join(name)).is_ok_and(|b| b == bytes))
        };
        said.filter(|name| is_same(name)).or_else(|| rule_of(&bytes)).map(str::to_owned)
    }
}

/// The name of a zone whose file is that.
fn zone_of_path(file: &Path) -> Option<&OsStr> {
    let mut parts = file.components();
    parts.by_ref().find(|part| part.as_os_str() == "zoneinfo")?;
    Some(parts.as_path().as_os_str()).filter(|name| !name.is_empty())
}

/// The POSIX string at the end of a zone file (RFC 9636, §3.3): what holds after its last change.
fn rule_of(file: &[u8]) -> Option<&str> {
    let rule = file.strip_suffix(b"\n")?.rsplit(|byte| *byte == b'\n').next()?;
    let rule = std::str::from_utf8(rule).ok()?;
    (!rule.is_empty() && rule.bytes().all(|byte| byte.is_ascii_graphic())).then_some(rule)
}

/// A zone that was compiled in. Names are told apart by case, as those of files are.
fn built_in(name: &OsStr) -> Option<TimeZone> {
    let name = name.to_str()?;
    // Where leap seconds are not counted, as everywhere.
    let name = name.strip_prefix("posix/").unwrap_or(name);
    let zone = TimeZoneDatabase::bundled().get(name).ok()?;
    (zone.iana_name() == Some(name)).then_some(zone)
}

/// A POSIX string, with or without rules.
fn posix(text: &str) -> Option<TimeZone> {
    let with_rules = || format!("{}{DEFAULT_RULES}", text.strip_suffix(',').unwrap_or(text));
    TimeZone::posix(text).or_else(|_| TimeZone::posix(&with_rules())).ok()
}

/// Reads the file of a zone. The error says what it is instead, or nothing where nothing is there.
fn read_zone(path: &Path) -> Result<TimeZone, NoZone> {
    let why = |what: &dyn std::fmt::Display| Some(format!("{}: {what}", path.display()));
    let bytes = match read_file(path) {
        Ok(bytes) => bytes,
        // A name like `GMT0/x`, too, is the name of nothing.
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
    // A pipe would wait for a writer.
    let flags = OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether a file's second part, or the only one of old files, has leap seconds (RFC 9636, §3.1): a
/// zone for clocks that count them, which those of UNIX do not.
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
    // Counts are of any size in a file that is damaged.
    let sizes = [(times, 5), (types, 6), (chars, 1), (standard, 1), (utc, 1)];
    let body = sizes
        .iter()
        .fold(HEADER, |sum, (count, size)| sum.saturating_add(count.saturating_mul(*size)));
    bytes.get(body..).and_then(counts).is_some_and(|[_, _, leaps, ..]| leaps > 0)
}

#[cfg(test)]
mod tests;
