//! Zeek functions that real layouts call, where their results can be known here.

use std::fmt::Write;
use std::net::IpAddr;

use super::value::{MAX_TEXT, Value, interval};

/// How messages start to describe a value from the environment.
pub(super) const ENVIRONMENT: &str = "the environment variable";

/// The result of `name(arguments)`.
pub(super) fn call(name: &str, mut arguments: Vec<Value>) -> Value {
    let bare = name.strip_prefix("GLOBAL::").unwrap_or(name);
    match (bare, arguments.as_slice()) {
        ("vector" | "set", _) => Value::List(arguments),
        ("Cluster::local_node_type" | "local_node_type", []) => Value::OwnType,
        ("Cluster::local_node_metrics_port" | "local_node_metrics_port", []) => {
            Value::OwnMetricsPort
        }
        ("Cluster::is_enabled" | "is_enabled", []) => Value::Bool(true),
        ("to_port" | "to_addr" | "to_string" | "addr_to_uri" | "cat", [Value::OwnAddress]) => {
            Value::OwnAddress
        }
        // Brackets around an IPv6 address.
        ("cat" | "fmt", [Value::Text(_), Value::OwnAddress, Value::Text(_)])
            if is_bracketed(bare, &arguments) =>
        {
            Value::OwnAddress
        }
        ("to_port" | "to_addr", [Value::Text(_) | Value::Unknown(_)]) => arguments.remove(0),
        ("to_count" | "to_int", [Value::Text(text)]) => {
            text.trim().parse().map_or(unknown(name), Value::Integer)
        }
        ("to_double", [Value::Text(text)]) => {
            text.trim().parse().map_or(unknown(name), Value::Real)
        }
        ("double_to_interval", [Value::Real(seconds)]) => interval(*seconds, 1.0),
        ("double_to_interval", [Value::Integer(seconds)]) => interval(*seconds as f64, 1.0),
        ("port_to_count", [Value::Text(port)]) => {
            let digits = port.split('/').next().unwrap_or_default();
            digits.parse().map_or(unknown(name), Value::Integer)
        }
        ("addr_to_uri", [Value::Text(text)]) => match text.parse() {
            Ok(IpAddr::V6(ip)) => Value::text(format!("[{ip}]")),
            Ok(IpAddr::V4(_)) => arguments.remove(0),
            Err(_) => unknown(name),
        },
        ("is_v4_addr" | "is_v6_addr", [Value::Text(text)]) => match text.parse::<IpAddr>() {
            Ok(ip) => Value::Bool(ip.is_ipv4() == (bare == "is_v4_addr")),
            Err(_) => unknown(name),
        },
        ("cat", _) => cat(&arguments),
        ("fmt", [Value::Text(format), values @ ..]) => fmt(format, values),
        ("getenv", [Value::Text(variable)]) => Value::unknown(format!("{ENVIRONMENT} {variable}")),
        ("blocking_lookup_hostname", [Value::Text(host)]) => {
            Value::unknown(format!("the address of the host {host:?}"))
        }
        _ => arguments.iter().find_map(Value::why_unknown).map_or(unknown(name), Value::Unknown),
    }
}

fn unknown(name: &str) -> Value {
    Value::unknown(format!("the result of `{name}()`"))
}

fn is_bracketed(name: &str, arguments: &[Value]) -> bool {
    matches!((name, arguments), ("cat", [Value::Text(open), _, Value::Text(close)])
        if &**open == "[" && &**close == "]")
}

fn cat(values: &[Value]) -> Value {
    let mut text = String::new();
    for value in values {
        match value.shown() {
            Some(shown) if text.len() + shown.len() <= MAX_TEXT => text += &shown,
            Some(_) => return Value::unknown("a text that is too long"),
            None => return value.why_unknown().map_or(unknown("cat"), Value::Unknown),
        }
    }
    Value::text(text)
}

/// `%s`, `%d` and `%%`.
fn fmt(format: &str, values: &[Value]) -> Value {
    let mut text = String::new();
    let mut values = values.iter();
    let mut parts = format.split('%');
    text += parts.next().unwrap_or_default();
    let mut literal = false;
    for part in parts {
        if std::mem::take(&mut literal) {
            text += part;
        } else if part.is_empty() {
            // `%%`: the text up to the next one is literal.
            text.push('%');
            literal = true;
        } else if let Some(rest) = part.strip_prefix(['s', 'd']) {
            let Some(value) = values.next() else { return unknown("fmt") };
            let Some(shown) = value.shown() else {
                return value.why_unknown().map_or(unknown("fmt"), Value::Unknown);
            };
            if text.len() + shown.len() > MAX_TEXT {
                return Value::unknown("a text that is too long");
            }
            let _ = write!(text, "{shown}{rest}");
        } else {
            return unknown("fmt");
        }
    }
    Value::text(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results() {
        let text = |text: &str| Value::text(text);
        for (name, arguments, expected) in [
            (
                "cat",
                vec![text("tcp://"), text("10.0.0.1"), text(":"), Value::Integer(5)],
                "tcp://10.0.0.1:5",
            ),
            ("fmt", vec![text("tcp://%s:%d"), text("h"), Value::Integer(5)], "tcp://h:5"),
            ("fmt", vec![text("100%%s %s%%"), text("x")], "100%s x%"),
            ("addr_to_uri", vec![text("::1")], "[::1]"),
            ("addr_to_uri", vec![text("10.0.0.1")], "10.0.0.1"),
            ("to_port", vec![text("5/tcp")], "5/tcp"),
        ] {
            assert_eq!(call(name, arguments.clone()), text(expected), "{name} {arguments:?}");
        }
        assert_eq!(call("to_count", vec![text("7")]), Value::Integer(7));
        assert_eq!(call("port_to_count", vec![text("7/tcp")]), Value::Integer(7));
        assert_eq!(call("double_to_interval", vec![Value::Real(1.5)]), interval(1.5, 1.0));
        assert_eq!(call("is_v4_addr", vec![text("::1")]), Value::Bool(false));
        assert_eq!(call("cat", vec![Value::OwnAddress]), Value::OwnAddress);
    }

    #[test]
    fn what_cannot_be_known_says_why() {
        let why = |name, arguments| call(name, arguments).why_unknown().unwrap().to_string();
        assert_eq!(why("getenv", vec![Value::text("X")]), "the environment variable X");
        let unknown = call("getenv", vec![Value::text("X")]);
        assert_eq!(why("cat", vec![unknown.clone()]), "the environment variable X");
        assert_eq!(why("fmt", vec![Value::text("%s"), unknown]), "the environment variable X");
        assert_eq!(why("fmt", vec![Value::text("%s")]), "the result of `fmt()`");
        assert_eq!(why("fmt", vec![Value::text("%5s"), Value::text("x")]), "the result of `fmt()`");
        assert_eq!(why("f", vec![]), "the result of `f()`");
        let long = Value::text("x".repeat(3000));
        assert_eq!(why("cat", vec![long.clone(), long]), "a text that is too long");
    }
}
