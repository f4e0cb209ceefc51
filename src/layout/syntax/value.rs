//! Unquoted values that TOML does not accept: what they were meant to be.

use std::net::IpAddr;

use ::toml::de::DeValue;

use super::super::secret::{key_in, name_in};
use super::super::setting::toml_string;

/// Longer values are not repeated in messages.
const LONGEST_SHOWN: usize = 60;

pub(super) const QUOTES: &str = "the quotes on this line do not match: one is missing or too many";

/// What an unquoted value is.
pub(super) enum Bare {
    /// A number or the like.
    Fine,
    /// Something else that is recognized: what to say about it, and how TOML writes it.
    Meant { message: String, text: String },
    /// It is not recognized; why.
    Damaged(&'static str),
}

/// Whether an option of that name may be secret: messages then do not repeat its value.
pub(super) fn may_be_secret(text: &str) -> bool {
    name_in(text).or_else(|| key_in(text)).is_some()
}

/// A name as messages show it: text that looks like a key, or is not a name, is not repeated.
pub(super) fn name(name: &str) -> &str {
    if key_in(name).is_some() || name.chars().count() > LONGEST_SHOWN { "NAME" } else { name }
}

/// `name = "text"`, without the text if it may be secret or is long.
pub(super) fn assigned(name: &str, text: &str) -> String {
    let hides = may_be_secret(name) || key_in(text).is_some();
    if hides || text.chars().count() > LONGEST_SHOWN {
        format!("{name} = \"…\"")
    } else {
        format!("{name} = {}", toml_string(text))
    }
}

/// What to write, as in "this text has no closing `\"`: write …".
pub(super) fn shown(name: &str, text: &str) -> String {
    format!("write {}", assigned(name, text))
}

/// Whether it is valid TOML.
pub(super) fn is_value(raw: &str) -> bool {
    DeValue::parse(raw).is_ok()
}

/// Classifies the value of `name`; `is_inside` a list or table.
pub(super) fn bare(name: &str, raw: &str, is_inside: bool) -> Bare {
    if is_value(raw) {
        return Bare::Fine;
    }
    let meant = |message: String, text: String| Bare::Meant { message, text };
    let quotes = raw.matches(['"', '\'']).count();
    if quotes == 1 && raw.ends_with(['"', '\'']) {
        let text = &raw[..raw.len() - 1];
        let message = format!("this text has no opening `\"`: {}", shown(name, text));
        return meant(message, toml_string(text));
    }
    if quotes > 0 {
        return Bare::Damaged(QUOTES);
    }
    if let Some(rest) = raw.strip_suffix([';', ','])
        && !is_inside
    {
        return match bare(name, rest.trim_end(), is_inside) {
            Bare::Fine => {
                let end = &raw[rest.len()..];
                meant(format!("expected the end of the line instead of `{end}`"), rest.into())
            }
            other => other,
        };
    }
    match raw {
        "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "T" => {
            return meant(format!("write {name} = true"), "true".into());
        }
        "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "F" => {
            return meant(format!("write {name} = false"), "false".into());
        }
        _ => {}
    }
    let port = raw.strip_suffix("/tcp").filter(|digits| digits.parse::<u16>().is_ok());
    if let Some(digits) = port {
        return meant(format!("a port is a number: write {name} = {digits}"), digits.into());
    }
    let plain = raw.bytes().all(|byte| byte.is_ascii_digit() || b"+-.".contains(&byte));
    if let Some(number) = raw.parse::<f64>().ok().filter(|n| plain && n.is_finite()) {
        let text = number.to_string();
        let message = format!("`{raw}` is not how a number is written: write {name} = {text}");
        return meant(message, text);
    }
    let kind = kind(raw);
    let meant_as = if is_inside { toml_string(raw) } else { assigned(name, raw) };
    let hides = may_be_secret(name) || may_be_secret(raw) || raw.chars().count() > LONGEST_SHOWN;
    let meant_as = if is_inside && hides { "\"…\"".to_owned() } else { meant_as };
    let what = if kind.is_empty() { "text needs quotes".into() } else { format!("{kind} is text") };
    meant(format!("{what}: write {meant_as}"), toml_string(raw))
}

/// What an unquoted text seems to be; empty if nothing in particular.
fn kind(raw: &str) -> &'static str {
    let address = raw.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(raw);
    if address.parse::<IpAddr>().is_ok() {
        "an address"
    } else if raw.contains("://") {
        "an endpoint"
    } else if raw.starts_with(['/', '~']) || raw.starts_with("./") || raw.starts_with("../") {
        "a path"
    } else if !raw.starts_with(|c: char| c.is_ascii_digit()) {
        ""
    } else if humantime::parse_duration(raw).is_ok() {
        "a duration with its unit"
    } else if raw.parse::<bytesize::ByteSize>().is_ok() {
        "a size with its unit"
    } else {
        ""
    }
}
