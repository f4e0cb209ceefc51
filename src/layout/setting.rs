//! How each type of option is parsed from a file and written back: to TOML and to Zeek script.
//!
//! Parsing is strict about types and errors say what would be accepted. Nothing here knows which
//! option it parses.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::secret::{Secret, key_in};
use crate::value::Timespan;
use crate::wire::zmtp::PublicKey;

/// A value as written in a file, before its option gives it a type.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Raw<'a> {
    Bool(bool),
    Integer(i64),
    Float(f64),
    /// A string; in Zeek script also an address or a port.
    Text(&'a str),
    /// A name in Zeek script: an enum value, or something not known here.
    Word(&'a str),
    /// An interval of Zeek script.
    Interval(Duration),
    List(Vec<Raw<'a>>),
    /// A table, by the text of its keys.
    Table(Vec<(&'a str, Raw<'a>)>),
    /// Anything that no option accepts; the text describes it.
    Other(&'static str),
}

impl fmt::Display for Raw<'_> {
    /// Describes the value, as in "found …".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Raw::Bool(value) => write!(f, "`{value}`"),
            Raw::Integer(value) => write!(f, "`{value}`"),
            Raw::Float(value) => write!(f, "`{value}`"),
            Raw::Text(text) if key_in(text).is_some() => f.write_str("what looks like a key"),
            // Typed text may be long, or a whole file if a quote is missing.
            Raw::Text(text) if text.chars().count() > 60 => {
                write!(f, "text of {} characters", text.chars().count())
            }
            Raw::Text(text) => write!(f, "{text:?}"),
            Raw::Word(name) => write!(f, "the name `{name}`"),
            Raw::Interval(value) => write!(f, "an interval of {value:?}"),
            Raw::List(_) => f.write_str("a list"),
            Raw::Table(_) => f.write_str("a table"),
            Raw::Other(what) => f.write_str(what),
        }
    }
}

/// One option of a section, without its type.
pub(super) trait Setting {
    /// Sets the value; the error says what is expected ("a port …").
    fn read(&mut self, raw: &Raw<'_>) -> Result<(), String>;
    /// The value in TOML; `None` if it is unset.
    fn to_toml(&self) -> Option<String>;
    /// The value in Zeek script; `None` if it is unset.
    fn to_zeek(&self) -> Option<String>;
    /// Whether messages must not show the value from the file.
    fn is_secret(&self) -> bool {
        false
    }
}

/// A type of option.
pub(super) trait Scalar: Sized {
    /// What is accepted, as in "expected …".
    fn expected() -> String;
    /// Parses it; `None` for anything else.
    fn parse(raw: &Raw<'_>) -> Option<Self>;
    /// What is expected instead of this value, as in "expected …".
    fn instead_of(_raw: &Raw<'_>) -> String {
        Self::expected()
    }
    /// Writes it in TOML.
    fn toml(&self) -> String;
    /// Writes it in Zeek script, if that differs.
    fn zeek(&self) -> String {
        self.toml()
    }
    /// Whether messages must not show the value from the file.
    const SECRET: bool = false;
    /// Whether an empty string unsets an optional value, as in Zeek.
    const EMPTY_IS_UNSET: bool = false;
}

impl<T: Scalar> Setting for T {
    fn read(&mut self, raw: &Raw<'_>) -> Result<(), String> {
        *self = T::parse(raw).ok_or_else(|| T::instead_of(raw))?;
        Ok(())
    }

    fn to_toml(&self) -> Option<String> {
        Some(self.toml())
    }

    fn to_zeek(&self) -> Option<String> {
        Some(self.zeek())
    }

    fn is_secret(&self) -> bool {
        T::SECRET
    }
}

impl<T: Scalar> Setting for Option<T> {
    fn read(&mut self, raw: &Raw<'_>) -> Result<(), String> {
        *self = match raw {
            Raw::Text("") if T::EMPTY_IS_UNSET => None,
            raw => Some(T::parse(raw).ok_or_else(|| T::instead_of(raw))?),
        };
        Ok(())
    }

    fn to_toml(&self) -> Option<String> {
        self.as_ref().map(T::toml)
    }

    fn to_zeek(&self) -> Option<String> {
        self.as_ref().map(T::zeek)
    }

    fn is_secret(&self) -> bool {
        T::SECRET
    }
}

/// A TOML string, on one line.
pub(super) fn toml_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A TOML key, bare if possible.
pub(super) fn toml_key(name: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !name.is_empty() && name.bytes().all(bare) { name.into() } else { toml_string(name) }
}

/// A Zeek script string. Bytes beyond ASCII need no escape in Zeek source files.
pub(super) fn zeek_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            c if c.is_ascii_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// For a number or the like written in quotes.
fn without_quotes(raw: &Raw<'_>, expected: String) -> String {
    let plain = |text: &str| {
        let number = text.parse::<f64>().is_ok();
        number || matches!(&*text.to_ascii_lowercase(), "true" | "false" | "yes" | "no" | "t" | "f")
    };
    match raw {
        Raw::Text(text) if plain(text) => format!("{expected}, without quotes"),
        _ => expected,
    }
}

impl Scalar for bool {
    fn expected() -> String {
        "`true` or `false`".into()
    }
    fn parse(raw: &Raw<'_>) -> Option<Self> {
        match raw {
            Raw::Bool(value) => Some(*value),
            _ => None,
        }
    }
    fn instead_of(raw: &Raw<'_>) -> String {
        without_quotes(raw, Self::expected())
    }
    fn toml(&self) -> String {
        self.to_string()
    }
    fn zeek(&self) -> String {
        if *self { "T" } else { "F" }.into()
    }
}

impl Scalar for u32 {
    fn expected() -> String {
        format!("a whole number from 0 to {}", u32::MAX)
    }
    fn parse(raw: &Raw<'_>) -> Option<Self> {
        match raw {
            Raw::Integer(value) => u32::try_from(*value).ok(),
            _ => None,
        }
    }
    fn instead_of(raw: &Raw<'_>) -> String {
        without_quotes(raw, Self::expected())
    }
    fn toml(&self) -> String {
        self.to_string()
    }
}

impl Scalar for i32 {
    fn expected() -> String {
        format!("a whole number from -1 to {}", i32::MAX)
    }
    fn parse(raw: &Raw<'_>) -> Option<Self> {
        match raw {
            Raw::Integer(value) => i32::try_from(*value).ok().filter(|value| *value >= -1),
            _ => None,
        }
    }
    fn instead_of(raw: &Raw<'_>) -> String {
        without_quotes(raw, Self::expected())
    }
    fn toml(&self) -> String {
        self.to_string()
    }
}

/// A port: `u16` is used for no other option.
impl Scalar for u16 {
    fn expected() -> String {
        "a TCP port from 0 to 65535, such as 5560 or \"5560/tcp\"".into()
    }
    fn parse(raw: &Raw<'_>) -> Option<Self> {
        match raw {
            Raw::Integer(value) => u16::try_from(*value).ok(),
            Raw::Text(text) => {
                let digits = ["/tcp", "/unknown"]
                    .iter()
                    .find_map(|protocol| text.strip_suffix(protocol))
                    .unwrap_or(text);
                // `parse` alone would also accept "+1".
                let plain = digits.bytes().all(|b| b.is_ascii_digit());
                digits.parse().ok().filter(|_| plain)
            }
            _ => None,
        }
    }
    fn toml(&self) -> String {
        self.to_string()
    }
    fn zeek(&self) -> String {
        format!("{self}/tcp")
    }
}

/// The largest number of bytes: what a process can address.
const MOST_BYTES: u64 = 1 << 47;

/// A number of bytes: `u64` is used for no other option.
impl Scalar for u64 {
    fn expected() -> String {
        "a number of bytes, such as 1048576 or \"64MiB\"".into()
    }
    fn parse(raw: &Raw<'_>) -> Option<Self> {
        bytes(raw).filter(|bytes| *bytes <= MOST_BYTES)
    }
    fn instead_of(raw: &Raw<'_>) -> String {
        match (bytes(raw), raw) {
            (Some(_), _) | (_, Raw::Other("a number beyond 64 bits")) => {
                "at most 128TiB, as no process can have more".into()
            }
            _ => Self::expected(),
        }
    }
    fn toml(&self) -> String {
        for (unit, name) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
            // Larger counts would be parsed back as floats.
            if *self > 0 && self.is_multiple_of(unit) && *self / unit < 10_000 {
                return format!("\"{}{name}\"", self / unit);
            }
        }
        self.to_string()
    }
}

fn bytes(raw: &Raw<'_>) -> Option<u64> {
    match raw {
        Raw::Integer(value) => u64::try_from(*value).ok(),
        Raw::Text(text) => Some(text.parse::<bytesize::ByteSize>().ok()?.as_u64()),
        _ => None,
    }
}

impl Scalar for Duration {
    fn expected() -> String {
        "a duration, such as \"5s\", \"100ms\" or a number of seconds".into()
    }
    fn parse(raw: &Raw<'_>) -> Option<Self> {
        match raw {
            Raw::Integer(value) => u64::try_from(*value).ok().map(Duration::from_secs),
            Raw::Float(value) => Duration::try_from_secs_f64(*value).ok(),
            Raw::Text(text) => humantime::parse_duration(text).ok(),
            Raw::Interval(value) => Some(*value),
            _ => None,
        }
    }
    fn instead_of(raw: &Raw<'_>) -> String {
        let expected = Self::expected();
        match raw {
            Raw::Text(text) if text.trim().starts_with('-') => format!("{expected}, not below 0"),
            Raw::Text(text) if text.parse::<f64>().is_ok() => {
                format!("{expected}; a number of seconds has no quotes")
            }
            _ => expected,
        }
    }
    fn toml(&self) -> String {
        toml_string(&humantime::format_duration(*self).to_string())
    }
    fn zeek(&self) -> String {
        // Zeek's intervals are floating point; whole units keep them exact.
        if self.subsec_nanos() == 0 {
            format!("{} sec", self.as_secs())
        } else if self.subsec_nanos().is_multiple_of(1_000_000) {
            format!("{} msec", self.as_millis())
        } else {
            format!("{} usec", self.as_micros())
        }
    }
}

/// A duration that may be below 0.
impl Scalar for Timespan {
    fn expected() -> String {
        "a duration, such as \"5min\", \"-1s\" or a number of seconds".into()
    }
    fn parse(raw: &Raw<'_>) -> Option<Self> {
        let (sign, positive) = match raw {
            Raw::Integer(value) if *value < 0 => (-1, Raw::Integer(value.checked_neg()?)),
            Raw::Float(value) if *value < 0.0 => (-1, Raw::Float(-value)),
            Raw::Text(text) if text.starts_with('-') => (-1, Raw::Text(&text[1..])),
            raw => (1, raw.clone()),
        };
        Some(Timespan(sign * Timespan::from(Duration::parse(&positive)?).0))
    }
    fn instead_of(raw: &Raw<'_>) -> String {
        let expected = Self::expected();
        match raw {
            Raw::Text(text) if text.parse::<f64>().is_ok() => {
                format!("{expected}; a number of seconds has no quotes")
            }
            _ => expected,
        }
    }
    fn toml(&self) -> String {
        let sign = if self.0 < 0 { "-" } else { "" };
        let positive = Duration::from_nanos(self.0.unsigned_abs());
        toml_string(&format!("{sign}{}", humantime::format_duration(positive)))
    }
}

impl Scalar for IpAddr {
    fn expected() -> String {
        "an IPv4 or IPv6 address".into()
    }
    fn parse(raw: &Raw<'_>) -> Option<Self> {
        match raw {
            Raw::Text(text) => {
                let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
                // Zeek treats IPv4-mapped addresses as IPv4 (WIRE.md §5.4).
                bare.unwrap_or(text).parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
            }
            _ => None,
        }
    }
    fn instead_of(raw: &Raw<'_>) -> String {
        let expected = Self::expected();
        let Raw::Text(text) = raw else { return format!("{expected} in quotes") };
        let is_address = |text: &str| Self::parse(&Raw::Text(text)).is_some();
        let parts = |separator| text.rsplit_once(separator);
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'-' || b == b'_';
        let is_numeric = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        if text.contains("://") {
            format!("{expected} alone, without transport and port")
        } else if parts('/').is_some_and(|(address, _)| is_address(address)) {
            format!("{expected} of one host, not a network")
        } else if parts('%').is_some_and(|(address, _)| is_address(address)) {
            format!("{expected}; the part after `%` belongs in `zone_id`")
        } else if parts(':').is_some_and(|(address, _)| is_address(address)) {
            format!("{expected} alone, without port")
        } else if *text == "localhost" {
            format!("{expected}: this host's loopback address is \"127.0.0.1\"")
        } else if !text.is_empty() && text.bytes().all(is_name) && !is_numeric {
            format!(
                "{expected}, not a name, which each host may look up differently; `getent hosts \
                 {text}` shows its address"
            )
        } else {
            expected
        }
    }
    fn toml(&self) -> String {
        format!("\"{self}\"")
    }
    fn zeek(&self) -> String {
        match self {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        }
    }
}

impl Scalar for String {
    fn expected() -> String {
        "a string".into()
    }
    fn parse(raw: &Raw<'_>) -> Option<Self> {
        match raw {
            Raw::Text(text) => Some((*text).into()),
            _ => None,
        }
    }
    fn toml(&self) -> String {
        toml_string(self)
    }
    fn zeek(&self) -> String {
        zeek_string(self)
    }
}

impl Scalar for PathBuf {
    const EMPTY_IS_UNSET: bool = true;

    fn expected() -> String {
        "a path".into()
    }
    fn parse(raw: &Raw<'_>) -> Option<Self> {
        match raw {
            Raw::Text(text) if !text.is_empty() && !text.contains('\0') => Some(text.into()),
            _ => None,
        }
    }
    fn toml(&self) -> String {
        toml_string(&self.to_string_lossy())
    }
    fn zeek(&self) -> String {
        zeek_string(&self.to_string_lossy())
    }
}

impl Scalar for Secret {
    const SECRET: bool = true;

    fn expected() -> String {
        "a string".into()
    }
    fn parse(raw: &Raw<'_>) -> Option<Self> {
        match raw {
            Raw::Text(text) => Some(Secret::new(*text)),
            _ => None,
        }
    }
    fn toml(&self) -> String {
        toml_string(self.expose())
    }
    fn zeek(&self) -> String {
        zeek_string(self.expose())
    }
}

impl Scalar for PublicKey {
    /// Text that is not a public key may well be a secret key, or most of one.
    const SECRET: bool = true;
    const EMPTY_IS_UNSET: bool = true;

    fn expected() -> String {
        "a CURVE public key, 40 characters of Z85".into()
    }
    fn parse(raw: &Raw<'_>) -> Option<Self> {
        match raw {
            Raw::Text(text) => text.parse().ok(),
            _ => None,
        }
    }
    fn toml(&self) -> String {
        toml_string(&self.to_string())
    }
}

/// One key, or a list of them.
impl Scalar for Vec<PublicKey> {
    const SECRET: bool = true;

    fn expected() -> String {
        "a CURVE public key, 40 characters of Z85, or a list of them".into()
    }
    fn parse(raw: &Raw<'_>) -> Option<Self> {
        match raw {
            Raw::Text("") => Some(Vec::new()),
            Raw::List(list) => list.iter().map(PublicKey::parse).collect(),
            one => Some(vec![PublicKey::parse(one)?]),
        }
    }
    fn toml(&self) -> String {
        match self.as_slice() {
            [one] => one.toml(),
            all => format!("[{}]", all.iter().map(PublicKey::toml).collect::<Vec<_>>().join(", ")),
        }
    }
}

impl Scalar for Vec<String> {
    fn expected() -> String {
        "a list of strings".into()
    }
    fn parse(raw: &Raw<'_>) -> Option<Self> {
        match raw {
            Raw::List(list) => list.iter().map(String::parse).collect(),
            _ => None,
        }
    }
    fn instead_of(raw: &Raw<'_>) -> String {
        match raw {
            Raw::Text(text) if text.len() <= 60 && key_in(text).is_none() => {
                format!("{}, such as [{}]", Self::expected(), toml_string(text))
            }
            _ => Self::expected(),
        }
    }
    fn toml(&self) -> String {
        format!("[{}]", self.iter().map(String::toml).collect::<Vec<_>>().join(", "))
    }
    fn zeek(&self) -> String {
        format!("vector({})", self.iter().map(String::zeek).collect::<Vec<_>>().join(", "))
    }
}

impl Scalar for BTreeMap<String, String> {
    fn expected() -> String {
        "a table of strings, such as { NAME = \"value\" }".into()
    }
    fn parse(raw: &Raw<'_>) -> Option<Self> {
        match raw {
            Raw::Table(entries) => entries
                .iter()
                .map(|(key, value)| Some(((*key).to_owned(), String::parse(value)?)))
                .collect(),
            _ => None,
        }
    }
    fn toml(&self) -> String {
        let entries =
            self.iter().map(|(key, value)| format!("{} = {}", toml_key(key), value.toml()));
        format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
    }
    fn zeek(&self) -> String {
        let entries =
            self.iter().map(|(key, value)| format!("[{}] = {}", key.zeek(), value.zeek()));
        format!("table({})", entries.collect::<Vec<_>>().join(", "))
    }
}
