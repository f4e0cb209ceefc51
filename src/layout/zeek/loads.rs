//! The options set by an `@load` of a script that comes with Zeek.

use super::super::NodeType;
use super::value::Value;

/// What loading a script means for a layout.
#[derive(Debug, PartialEq)]
pub(super) enum Meaning {
    /// Nothing beyond what a layout says anyway.
    Nothing,
    /// Options that it sets, on nodes of that type or on all.
    Sets(&'static [(&'static str, Set)], Option<NodeType>),
    /// The broker is on the host of the node `manager`.
    MultiHost,
    /// The WebSocket API.
    WebSocket,
    /// A script to read, which may have been given or not.
    Script,
}

/// A value that a script of Zeek sets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Set {
    True,
    Text(&'static str),
    Name(&'static str),
    Hour,
}

impl Set {
    pub(super) fn value(self) -> Value {
        match self {
            Set::True => Value::Bool(true),
            Set::Text(text) => Value::text(text),
            Set::Name(name) => Value::Name(name.into()),
            Set::Hour => super::value::interval(1.0, 3600.0),
        }
    }
}

/// What `@load path` means.
pub(super) fn meaning(path: &str) -> Meaning {
    match bare(path) {
        "tuning/json-logs" => Meaning::Sets(&[("LogAscii::use_json", Set::True)], None),
        // It sets no rotation interval: the hour is the default of Zeek's loggers.
        "misc/systemd-generator" => Meaning::Sets(
            &[
                ("Log::default_rotation_interval", Set::Hour),
                ("Log::default_rotation_dir", Set::Text("../log-queue")),
                ("Log::rotation_format_func", Set::Name("archiver_rotation_format_func")),
                ("Log::default_rotation_postprocessor_cmd", Set::Text("")),
            ],
            Some(NodeType::Logger),
        ),
        "misc/zeromq-multi-host-auto-setup" => Meaning::MultiHost,
        "frameworks/cluster/websocket/server" => Meaning::WebSocket,
        path if path.starts_with("base/") => Meaning::Nothing,
        path if path == "frameworks/cluster/backend/zeromq"
            || path.starts_with("frameworks/cluster/backend/zeromq/") =>
        {
            Meaning::Nothing
        }
        _ => Meaning::Script,
    }
}

/// The path of a script as named in Zeek's documentation.
fn bare(path: &str) -> &str {
    let path = path.trim().trim_matches('"');
    let path = path.strip_prefix("policy/").unwrap_or(path);
    let path = path.strip_suffix(".zeek").or_else(|| path.strip_suffix(".bro")).unwrap_or(path);
    path.strip_suffix("/__load__").unwrap_or(path)
}

/// The name of the loaded file, without directories and extension.
pub(super) fn file_stem(path: &str) -> &str {
    let path = bare(path);
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_people_write_them() {
        let json = meaning("tuning/json-logs");
        assert!(matches!(json, Meaning::Sets(_, None)));
        assert_eq!(meaning("policy/tuning/json-logs.zeek"), json);
        assert_eq!(meaning(" tuning/json-logs"), json);
        for path in [
            "frameworks/cluster/backend/zeromq",
            "base/frameworks/telemetry/options",
            "policy/frameworks/cluster/backend/zeromq/options",
            "frameworks/cluster/backend/zeromq/__load__.zeek",
        ] {
            assert_eq!(meaning(path), Meaning::Nothing, "{path}");
        }
        assert_eq!(meaning("./site-options"), Meaning::Script);
        assert_eq!(file_stem("./a/site-options.zeek"), "site-options");
    }
}
