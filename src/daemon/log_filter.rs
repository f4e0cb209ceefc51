//! [`LogFilter`]: which records `RUST_LOG` selects.
//!
//! The syntax is env_logger's: levels and `MODULE=LEVEL`, separated by commas, and `/REGEX` at the
//! end. env_logger accepts any word as the name of a module and then logs nothing else, so
//! `RUST_LOG=debgu` would silence a program, including its errors. Here errors are always logged; a
//! mistake is itself logged as an error, and the default level is used.

use std::env;
use std::ffi::OsStr;

use env_filter::{Builder, Filter};
use log::{Level, LevelFilter, Metadata, Record};

/// The environment variable.
const VARIABLE: &str = "RUST_LOG";
/// The crates of this workspace that log; each module is one of them or part of one.
const CRATES: [&str; 5] =
    ["zcluster", "zcluster_broker", "zcluster_gateway", "zcluster_logger", "zcluster_node"];
/// The levels, as users write them.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// The number of characters of a value that messages show.
const MAX_SHOWN: usize = 200;

/// Which records a program logs.
#[derive(Debug)]
pub struct LogFilter {
    filter: Filter,
    text: String,
    complaint: Option<(Level, String)>,
}

impl LogFilter {
    /// Reads `RUST_LOG`; uses `default` if it is not set, empty, or wrong.
    pub fn from_env(default: LevelFilter) -> Self {
        Self::read(env::var_os(VARIABLE).as_deref(), default)
    }

    fn read(value: Option<&OsStr>, default: LevelFilter) -> Self {
        let default_text = default.as_str().to_ascii_lowercase();
        let Some(value) = value.filter(|value| !value.to_string_lossy().trim().is_empty()) else {
            return Self::of(&[], None, &default_text);
        };
        let read = match value.to_str() {
            Some(text) => parse(text),
            None => Err("is not UTF-8".into()),
        };
        let shown = shown(&value.to_string_lossy());
        match read {
            Ok(Parsed { directives, regex, unknown }) => {
                let filter = Self::of(&directives, regex, &default_text);
                if unknown.is_empty() {
                    return filter;
                }
                let text = format!(
                    "{VARIABLE}={shown}: no module is called {}; expected one of {}, or a module \
                     in one of them. Using the rest: {}",
                    unknown.join(", "),
                    CRATES.join(", "),
                    filter.text
                );
                LogFilter { complaint: Some((Level::Warn, text)), ..filter }
            }
            Err(why) => {
                let text = format!(
                    "{VARIABLE}={shown} {why}; expected a level ({}), MODULE=LEVEL, or a list of \
                     these with commas, for example info,zcluster_logger=debug. Logging at \
                     {default_text}",
                    LEVELS.join(", ")
                );
                let complaint = Some((Level::Error, text));
                LogFilter { complaint, ..Self::of(&[], None, &default_text) }
            }
        }
    }

    /// Creates a filter from these directives, or from the default if there are none.
    fn of(directives: &[Directive<'_>], regex: Option<&str>, default: &str) -> Self {
        let words: Vec<String> = directives.iter().map(|directive| directive.to_text()).collect();
        let mut text = if words.is_empty() { default.to_owned() } else { words.join(",") };
        if let Some(regex) = regex {
            text.push('/');
            text.push_str(regex);
        }
        let mut builder = Builder::new();
        // `parse` has already checked this text.
        let _ = builder.try_parse(&text);
        LogFilter { filter: builder.build(), text, complaint: None }
    }

    /// The filter as a value of `RUST_LOG`, without its mistakes.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What is wrong with the value, in one line: an error if the default replaces it, a warning if
    /// a part of it is ignored.
    pub fn complaint(&self) -> Option<(Level, &str)> {
        self.complaint.as_ref().map(|(level, text)| (*level, text.as_str()))
    }

    /// The most verbose level of any module.
    pub(super) fn max_level(&self) -> LevelFilter {
        self.filter.filter().max(LevelFilter::Error)
    }

    pub(super) fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() == Level::Error || self.filter.enabled(metadata)
    }

    pub(super) fn matches(&self, record: &Record<'_>) -> bool {
        record.level() == Level::Error || self.filter.matches(record)
    }
}

/// A level for one module or for all.
#[derive(Clone, Copy, Debug)]
struct Directive<'a> {
    module: Option<&'a str>,
    level: LevelFilter,
}

impl Directive<'_> {
    fn to_text(self) -> String {
        let level = self.level.as_str().to_ascii_lowercase();
        self.module.map_or(level.clone(), |module| format!("{module}={level}"))
    }
}

/// A valid value; modules in it may not exist.
struct Parsed<'a> {
    directives: Vec<Directive<'a>>,
    regex: Option<&'a str>,
    unknown: Vec<String>,
}

/// Parses a value, or says what is wrong with it.
fn parse(text: &str) -> Result<Parsed<'_>, String> {
    let (words, regex) = match text.split_once('/') {
        Some((words, regex)) => (words, Some(regex)),
        None => (text, None),
    };
    if let Some(regex) = regex {
        Builder::new().try_parse(&format!("/{regex}")).map_err(|error| {
            // The lines before the last one mark the position.
            let text = error.to_string();
            let why = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("has an invalid regular expression after the slash ({why})")
        })?;
    }
    let mut parsed = Parsed { directives: Vec::new(), regex, unknown: Vec::new() };
    for word in words.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let directive = parse_directive(word)?;
        match directive.module {
            Some(module) if !is_ours(module) => parsed.unknown.push(shown(module)),
            _ => parsed.directives.push(directive),
        }
    }
    // A regular expression alone applies to the default level.
    if parsed.directives.is_empty() && (regex.is_none() || !parsed.unknown.is_empty()) {
        let what = parsed.unknown.first();
        return Err(what.map_or("names no level".into(), |module| {
            format!("names no module of this program, but {module}")
        }));
    }
    Ok(parsed)
}

fn parse_directive(word: &str) -> Result<Directive<'_>, String> {
    let level = |text: &str| {
        text.parse()
            .map_err(|_| format!("has {} where a level should be{}", shown(text), near(text)))
    };
    match word.split_once('=').map(|(module, level)| (module.trim(), level.trim())) {
        Some(("", _)) => Err(format!("has no module before the = in {}", shown(word))),
        Some((module, text)) => Ok(Directive { module: Some(module), level: level(text)? }),
        // A module without a level logs everything, as in env_logger.
        None if is_ours(word) => Ok(Directive { module: Some(word), level: LevelFilter::Trace }),
        None => Ok(Directive { module: None, level: level(word)? }),
    }
}

/// Whether a module belongs to a crate of this workspace.
fn is_ours(module: &str) -> bool {
    CRATES.into_iter().any(|name| {
        module.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    })
}

/// Suggests the level that was probably meant.
fn near(typed: &str) -> String {
    let typed = typed.to_lowercase();
    let distances = LEVELS.map(|level| (strsim::damerau_levenshtein(&typed, level), level));
    match distances.into_iter().min() {
        _ if typed == "warning" => ", did you mean warn?".into(),
        Some((0..=2, level)) if typed.len() > 2 => format!(", did you mean {level}?"),
        _ => String::new(),
    }
}

/// A value in quotes, shortened if it is long.
fn shown(value: &str) -> String {
    let mut characters = value.chars();
    let start: String = characters.by_ref().take(MAX_SHOWN).collect();
    if characters.next().is_some() { format!("{start:?}…") } else { format!("{start:?}") }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use proptest::prelude::*;

    use super::*;

    fn read(value: &str) -> LogFilter {
        LogFilter::read(Some(OsStr::new(value)), LevelFilter::Info)
    }

    fn tells(filter: &LogFilter, level: Level, target: &str) -> bool {
        filter.enabled(&Metadata::builder().level(level).target(target).build())
    }

    #[test]
    fn what_is_right_counts() {
        for (value, text) in [
            ("", "info"),
            (" \t", "info"),
            ("debug", "debug"),
            ("DEBUG", "debug"),
            (" warn ", "warn"),
            ("off", "off"),
            ("info,zcluster_logger=debug", "info,zcluster_logger=debug"),
            (" info , zcluster_logger = Debug ,", "info,zcluster_logger=debug"),
            ("zcluster::node", "zcluster::node=trace"),
            ("zcluster::node=off,trace", "zcluster::node=off,trace"),
            ("debug/broker|logger", "debug/broker|logger"),
            ("/broker", "info/broker"),
        ] {
            let filter = read(value);
            assert_eq!((filter.complaint(), filter.as_str()), (None, text), "{value:?}");
            assert_eq!(read(filter.as_str()).as_str(), text);
        }
        assert_eq!(LogFilter::read(None, LevelFilter::Warn).as_str(), "warn");
    }

    #[test]
    fn what_is_wrong_is_told_and_the_default_counts() {
        for (value, parts) in [
            ("debgu", &["RUST_LOG=\"debgu\" ", "did you mean debug?", "Logging at info"][..]),
            ("warning", &["did you mean warn?"]),
            ("verbose", &["\"verbose\" where a level should be;", "error, warn, info, debug"]),
            ("1", &["\"1\" where a level should be;"]),
            ("info,debgu", &["\"debgu\" where a level should be"]),
            ("info debug", &["\"info debug\" where a level should be"]),
            ("zcluster=loud", &["\"loud\" where a level should be;"]),
            ("zcluster=", &["\"\" where a level should be;"]),
            ("zcluster=info=debug", &["\"info=debug\" where a level should be"]),
            ("=", &["no module before the = in \"=\""]),
            ("=debug", &["no module before the = in \"=debug\""]),
            (",", &["names no level"]),
            ("zclustr=debug", &["no module of this program, but \"zclustr\""]),
            ("zclustr=debug/x", &["no module of this program"]),
            ("info/(", &["an invalid regular expression"]),
            ("info/a/b", &["an invalid regular expression"]),
            ("a\nb", &["RUST_LOG=\"a\\nb\" "]),
        ] {
            let filter = read(value);
            assert_eq!(filter.as_str(), "info", "{value:?}");
            let (level, text) = filter.complaint().unwrap_or_else(|| panic!("{value:?}"));
            assert_eq!(level, Level::Error, "{text}");
            assert!(parts.iter().all(|part| text.contains(part)), "{text}");
            assert!(!text.contains('\n'), "{text}");
        }
        let filter = LogFilter::read(Some(OsStr::from_bytes(b"debug\xff")), LevelFilter::Warn);
        let (level, text) = filter.complaint().unwrap();
        assert!(level == Level::Error && text.contains("is not UTF-8"), "{text}");
        assert_eq!(filter.as_str(), "warn");
        let long = "x".repeat(1 << 20);
        assert!(read(&long).complaint().unwrap().1.len() < 1000);
    }

    #[test]
    fn modules_that_do_not_exist_are_told_and_the_rest_counts() {
        for (value, text, unknown) in [
            ("info,zclustr=debug", "info", "\"zclustr\""),
            ("zcluster-logger=debug,zcluster=debug", "zcluster=debug", "\"zcluster-logger\""),
            ("debug,a=info,zclusters::x=warn", "debug", "\"a\", \"zclusters::x\""),
        ] {
            let filter = read(value);
            assert_eq!(filter.as_str(), text, "{value:?}");
            let (level, told) = filter.complaint().unwrap();
            assert_eq!(level, Level::Warn);
            assert!(told.contains(&format!("no module is called {unknown};")), "{told}");
        }
    }

    #[test]
    fn errors_are_always_told() {
        for value in ["off", "zcluster_logger=off", "zcluster_broker=debug", "off/nothing"] {
            let filter = read(value);
            assert!(tells(&filter, Level::Error, "zcluster::node"), "{value}");
            assert!(!tells(&filter, Level::Warn, "zcluster::node"), "{value}");
            let mut record = Record::builder();
            record.level(Level::Error).target("zcluster::node");
            assert!(filter.matches(&record.args(format_args!("told")).build()), "{value}");
            assert!(filter.max_level() >= LevelFilter::Error);
        }
        let filter = read("warn,zcluster_broker=debug");
        assert!(tells(&filter, Level::Debug, "zcluster_broker::engines"));
        assert!(!tells(&filter, Level::Info, "zcluster::node"));
    }

    proptest! {
        /// Any value is either right or complained about, and gives a filter that reads back the same.
        #[test]
        fn any_value_gives_a_filter(value in "[a-z=,/ :_(]{0,20}|\\PC{0,20}") {
            let filter = read(&value);
            let again = read(filter.as_str());
            prop_assert_eq!(again.complaint(), None);
            prop_assert_eq!(again.as_str(), filter.as_str());
        }
    }
}
