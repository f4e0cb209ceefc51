//! Names of rotated files (WIRE.md §5.8), and how to distinguish them from names of live logs.
//! Pure: the time zone is an argument.
//!
//! Zeek overwrites a file if two rotations produce the same name. These names get a number instead:
//! after the time or, in the archiver's form, within `log_suffix`, which zeek-archiver copies to
//! its own name.

use std::time::SystemTime;

use bstr::{BStr, ByteSlice};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use zcluster::layout::RotationName;

/// Longest file name in bytes on every file system Zeek runs on.
const MAX_FILE_NAME: usize = 255;
/// Room reserved for the extension of a compressed file.
const COMPRESSED_EXTENSION: usize = ".zst".len();
/// Time format of the ASCII writer's form and of the archiver's.
const LONG_TIME: &str = "%Y-%m-%d-%H-%M-%S";
/// Time format of the generic form and of the postprocessor's arguments.
const SHORT_TIME: &str = "%y-%m-%d_%H.%M.%S";

/// How rotated files are named.
#[derive(Clone, Debug)]
pub(crate) struct NameRules {
    form: RotationName,
    /// The logger's name, if names include it.
    logger: Option<String>,
    zone: TimeZone,
}

impl NameRules {
    /// Returns the rules for names of this form. `logger` is the node's name if the layout has
    /// several loggers; with `in_all_forms`, forms without a place for it have it at the end. A
    /// name that contains `,`, `=` or `/` is left out, as in Zeek; [`drops`](Self::drops) checks
    /// that.
    pub(crate) fn new(
        form: RotationName,
        logger: Option<&str>,
        in_all_forms: bool,
        zone: TimeZone,
    ) -> Self {
        let logger = logger
            .filter(|_| in_all_forms || form == RotationName::Archiver)
            .filter(|logger| !logger.is_empty() && !Self::drops(logger));
        NameRules { form, logger: logger.map(str::to_owned), zone }
    }

    /// Returns whether a logger's name cannot be part of a file name.
    pub(crate) fn drops(logger: &str) -> bool {
        logger.contains([',', '=', '/', '\0'])
    }

    /// Returns the name without its extension, for the text of a path. `number` distinguishes files
    /// that would have the same name; 0 is left out. A path too long for a file name with an
    /// extension of `extension` bytes is cut.
    pub(crate) fn stem(
        &self,
        path: &str,
        open: SystemTime,
        close: SystemTime,
        number: u32,
        extension: usize,
    ) -> String {
        let numbered =
            |before: &str| if number == 0 { String::new() } else { format!("{before}{number}") };
        let logger = |before: &str| match &self.logger {
            Some(logger) => format!("{before}{logger}"),
            None => String::new(),
        };
        let rest = match self.form {
            RotationName::Ascii => {
                format!(".{}{}{}", self.long_time(open), numbered("-"), logger("."))
            }
            RotationName::Generic => {
                format!("-{}{}{}", self.short_time(open), numbered("-"), logger("-"))
            }
            RotationName::Archiver => {
                let suffix = match &self.logger {
                    Some(logger) => format!("log_suffix={logger}{}__", numbered("-")),
                    None if number > 0 => format!("log_suffix={number}__"),
                    None => String::new(),
                };
                format!("__{}__{}__{suffix}", self.long_time(open), self.long_time(close))
            }
        };
        let around = rest.len() + 1 + extension + COMPRESSED_EXTENSION;
        let room = MAX_FILE_NAME.saturating_sub(around);
        format!("{}{rest}", cut(path, room))
    }

    /// Formats a time for the postprocessor command.
    pub(crate) fn short_time(&self, time: SystemTime) -> String {
        self.text(time, SHORT_TIME)
    }

    /// Formats a time as in headers and footers of TSV logs.
    pub(crate) fn long_time(&self, time: SystemTime) -> String {
        self.text(time, LONG_TIME)
    }

    /// Parses a [`long_time`](Self::long_time).
    pub(crate) fn parse_long_time(&self, text: &[u8]) -> Option<SystemTime> {
        let text = text.to_str().ok()?;
        let local = jiff::civil::DateTime::strptime(LONG_TIME, text).ok()?;
        Some(local.to_zoned(self.zone.clone()).ok()?.timestamp().into())
    }

    fn text(&self, time: SystemTime, format: &str) -> String {
        let time = Timestamp::try_from(time).unwrap_or_default();
        time.to_zoned(self.zone.clone()).strftime(format).to_string()
    }
}

/// Cuts a path's text to `room` bytes without splitting a character or an escape.
fn cut(path: &str, room: usize) -> &str {
    if path.len() <= room {
        return path;
    }
    let mut end = room;
    while !path.is_char_boundary(end) {
        end -= 1;
    }
    let text = &path[..end];
    // An escape is `%` and two digits.
    match text.rfind('%') {
        Some(at) if end - at < 3 => &text[..at],
        _ => text,
    }
}

/// Returns whether a file name without its extension is one that rotation gives: in any form, with
/// or without number and logger.
pub(crate) fn is_rotated_name(stem: &BStr) -> bool {
    is_ascii_form(stem) || is_generic_form(stem) || is_archiver_form(stem)
}

fn is_ascii_form(stem: &[u8]) -> bool {
    ends_after(stem, b".", LONG_SHAPE, |rest| {
        let digits = rest.strip_prefix(b"-").map(|rest| (digits(rest), rest));
        let rest = match digits {
            Some((0, _)) => return false,
            Some((count, rest)) => &rest[count..],
            None => rest,
        };
        rest.is_empty() || rest.len() > 1 && rest[0] == b'.'
    })
}

fn is_generic_form(stem: &[u8]) -> bool {
    ends_after(stem, b"-", SHORT_SHAPE, |rest| rest.is_empty() || rest.len() > 1 && rest[0] == b'-')
}

fn is_archiver_form(stem: &[u8]) -> bool {
    ends_after(stem, b"__", LONG_SHAPE, |rest| {
        let Some(rest) = rest.strip_prefix(b"__").and_then(|rest| strip(rest, LONG_SHAPE)) else {
            return false;
        };
        rest.strip_prefix(b"__").is_some_and(|rest| rest.is_empty() || rest.ends_with(b"__"))
    })
}

const LONG_SHAPE: &[u8] = b"0000-00-00-00-00-00";
const SHORT_SHAPE: &[u8] = b"00-00-00_00.00.00";

/// Returns whether the text consists of a path, `before`, a time of this shape, and a rest that
/// `is_good` accepts.
fn ends_after(stem: &[u8], before: &[u8], shape: &[u8], is_good: impl Fn(&[u8]) -> bool) -> bool {
    // Tries every position, because the path may end in the characters of `before`.
    (1..stem.len()).any(|start| {
        let rest = stem[start..].strip_prefix(before).and_then(|rest| strip(rest, shape));
        rest.is_some_and(&is_good)
    })
}

/// Strips a prefix of this shape, in which `0` stands for a digit.
fn strip<'a>(text: &'a [u8], shape: &[u8]) -> Option<&'a [u8]> {
    let (front, rest) = text.split_at_checked(shape.len())?;
    let fits = |(byte, shape): (&u8, &u8)| match shape {
        b'0' => byte.is_ascii_digit(),
        other => byte == other,
    };
    front.iter().zip(shape).all(fits).then_some(rest)
}

fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;
    use zcluster::file_name::escape;

    fn time(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn name(form: RotationName, logger: Option<&str>, all: bool, number: u32) -> String {
        let rules = NameRules::new(form, logger, all, TimeZone::UTC);
        let (open, close) = (time(1_767_225_600), time(1_767_229_200));
        rules.stem("conn", open, close, number, 3)
    }

    #[test]
    fn names_are_zeeks() {
        use RotationName::{Archiver, Ascii, Generic};
        let one = Some("logger-1");
        for (form, logger, all, number, expected) in [
            (Ascii, None, false, 0, "conn.2026-01-01-00-00-00"),
            (Ascii, one, false, 0, "conn.2026-01-01-00-00-00"),
            (Ascii, None, true, 2, "conn.2026-01-01-00-00-00-2"),
            (Ascii, one, true, 0, "conn.2026-01-01-00-00-00.logger-1"),
            (Ascii, one, true, 3, "conn.2026-01-01-00-00-00-3.logger-1"),
            (Generic, None, false, 0, "conn-26-01-01_00.00.00"),
            (Generic, one, false, 1, "conn-26-01-01_00.00.00-1"),
            (Generic, one, true, 0, "conn-26-01-01_00.00.00-logger-1"),
            (Generic, one, true, 12, "conn-26-01-01_00.00.00-12-logger-1"),
            (Archiver, None, true, 0, "conn__2026-01-01-00-00-00__2026-01-01-01-00-00__"),
            (
                Archiver,
                one,
                false,
                0,
                "conn__2026-01-01-00-00-00__2026-01-01-01-00-00__log_suffix=logger-1__",
            ),
            (
                Archiver,
                one,
                true,
                2,
                "conn__2026-01-01-00-00-00__2026-01-01-01-00-00__log_suffix=logger-1-2__",
            ),
            (
                Archiver,
                None,
                true,
                2,
                "conn__2026-01-01-00-00-00__2026-01-01-01-00-00__log_suffix=2__",
            ),
            (Archiver, Some("a,b"), true, 0, "conn__2026-01-01-00-00-00__2026-01-01-01-00-00__"),
        ] {
            let got = name(form, logger, all, number);
            assert_eq!(got, expected);
            assert!(is_rotated_name(got.as_bytes().as_bstr()), "{got}");
        }
    }

    #[test]
    fn times_are_local() {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let rules = NameRules::new(RotationName::Ascii, None, false, zone);
        let open = time(1_782_864_000);
        assert_eq!(rules.short_time(open), "26-07-01_02.00.00");
        assert_eq!(rules.long_time(open), "2026-07-01-02-00-00");
        assert_eq!(rules.parse_long_time(b"2026-07-01-02-00-00"), Some(open));
        for text in ["", "2026-07-01", "2026-07-01-02-00-00x", "2026-13-01-02-00-00"] {
            assert_eq!(rules.parse_long_time(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn live_names_are_not_rotated_ones() {
        for stem in [
            "conn",
            "conn-2",
            "conn.2",
            "conn.2026-01-01",
            "conn-26-01-01",
            ".2026-01-01-00-00-00",
            "conn.2026-01-01-00-00-0",
            "conn.2026-01-01-00-00-00-",
            "conn.2026-01-01-00-00-00x",
            "conn.2026-01-01-00-00-00.",
            "conn__2026-01-01-00-00-00__",
            "conn__2026-01-01-00-00-00__2026-01-01-01-00-00__x",
            "",
            "__",
        ] {
            assert!(!is_rotated_name(stem.as_bytes().as_bstr()), "{stem}");
        }
        for stem in ["a.b.2026-01-01-00-00-00", "a-b-26-01-01_00.00.00", "a.2026-01-01-00-00-00-1"]
        {
            assert!(is_rotated_name(stem.as_bytes().as_bstr()), "{stem}");
        }
    }

    #[test]
    fn long_paths_are_cut_between_characters() {
        for (path, room, expected) in [
            ("grüße", 3, "gr"),
            ("grüße", 4, "grü"),
            ("a%FF%FE", 7, "a%FF%FE"),
            ("a%FF%FE", 6, "a%FF"),
            ("a%FF%FE", 5, "a%FF"),
            ("a%FF%FE", 4, "a%FF"),
            ("a%FF%FE", 3, "a"),
            ("conn", 0, ""),
        ] {
            assert_eq!(cut(path, room), expected, "{path} {room}");
        }
    }

    proptest! {
        #[test]
        fn every_name_is_known_and_fits(
            path in prop::collection::vec(any::<u8>(), 1..=crate::path::MAX_PATH),
            form in prop::sample::select(vec![
                RotationName::Ascii, RotationName::Generic, RotationName::Archiver,
            ]),
            logger in prop::option::of("[a-z0-9.-]{1,20}"),
            seconds in 0..4_000_000_000_u64,
            number in prop_oneof![Just(0), 0..10_000_u32],
        ) {
            let rules = NameRules::new(form, logger.as_deref(), true, TimeZone::UTC);
            let open = time(seconds);
            let stem = rules.stem(&escape(&path), open, open, number, 6);
            prop_assert!(is_rotated_name(stem.as_bytes().as_bstr()), "{stem}");
            prop_assert!(stem.len() + ".log.gz.zst".len() <= MAX_FILE_NAME);
        }

        #[test]
        fn any_name_can_be_asked_about(stem in prop::collection::vec(any::<u8>(), 0..100)) {
            is_rotated_name(stem.as_bstr());
        }
    }
}
