//! Which Zeek options zcluster has, under which name, and which nodes use them. Shared by importer
//! and exporter.

use super::super::table::Table;
use super::super::{Layout, ZeroMq};

/// Prefix of the names of the ZeroMQ backend's options.
pub(super) const ZEROMQ: &str = "Cluster::Backend::ZeroMQ::";
/// The one option of `[log]` that is outside any module in Zeek.
pub(super) const LOG_ROTATE_BASE_TIME: &str = "log_rotate_base_time";
/// The options of `[log]` that Zeek has under the same name in its module `LogAscii`.
pub(super) const LOG_ASCII: [&str; 12] = [
    "enable_utf_8",
    "json_timestamps",
    "json_include_unset_fields",
    "json_string_escape_policy",
    "include_meta",
    "meta_prefix",
    "separator",
    "set_separator",
    "empty_field",
    "unset_field",
    "gzip_level",
    "gzip_file_extension",
];
/// The options of `[log]` that Zeek has under the same name in its module `Log`. Those also in
/// `LogAscii` apply unless the latter is set.
pub(super) const LOG: [&str; 6] = [
    "flush_interval",
    "write_buffer_size",
    "separator",
    "set_separator",
    "empty_field",
    "unset_field",
];

/// A section of a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Section {
    Cluster,
    ZeroMq,
    Log,
    Telemetry,
}

/// The nodes that use an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heeds {
    All,
    /// Nodes that write log files.
    LogFiles,
    /// Nodes that send log batches.
    Producers,
    /// The node that runs the broker in Zeek: the manager.
    Broker,
    /// Nodes that others connect to: the broker, and log receivers.
    Servers,
}

impl Heeds {
    /// As in "no node that uses it (…)".
    pub(super) fn who(self) -> &'static str {
        match self {
            Heeds::All => "all nodes",
            Heeds::LogFiles => "loggers",
            Heeds::Producers => "nodes that send logs",
            Heeds::Broker => "the broker",
            Heeds::Servers => "the broker and loggers",
        }
    }
}

/// An option that Zeek and zcluster both have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) section: Section,
    pub(super) option: &'static str,
    pub(super) heeds: Heeds,
}

/// The zcluster option for that Zeek option.
pub(super) fn known(name: &str) -> Option<Known> {
    use Heeds::{All, Broker, LogFiles, Producers, Servers};
    let of = |section, option, heeds| Some(Known { section, option, heeds });
    match name {
        "Cluster::manager_is_logger" => return of(Section::Cluster, "manager_is_logger", All),
        "Cluster::event_serializer" => return of(Section::Cluster, "event_serializer", All),
        "Cluster::enable_round_robin_logging" => {
            return of(Section::Cluster, "enable_round_robin_logging", Producers);
        }
        "Cluster::default_master_node" => return of(Section::Cluster, "default_master_node", All),
        "Cluster::default_backend" => return of(Section::Cluster, "default_backend", All),
        "Cluster::default_persistent_backend" => {
            return of(Section::Cluster, "default_persistent_backend", All);
        }
        "Cluster::default_store_dir" => return of(Section::Cluster, "default_store_dir", All),
        "LogAscii::use_json" => return of(Section::Log, "format", LogFiles),
        "LogAscii::logdir" => return of(Section::Log, "dir", LogFiles),
        "Log::rotation_format_func" => return of(Section::Log, "rotation_name", LogFiles),
        "Telemetry::metrics_address" => return of(Section::Telemetry, "metrics_address", All),
        "Telemetry::metrics_endpoint_label" => {
            return of(Section::Telemetry, "metrics_endpoint_label", All);
        }
        _ => {}
    }
    if let Some(option) = name.strip_prefix(ZEROMQ) {
        let names = zeromq_options();
        let option = names.into_iter().find(|known| *known == option)?;
        let heeds = match option {
            "proxy_io_threads"
            | "listen_xsub_endpoint"
            | "listen_xpub_endpoint"
            | "listen_xpub_nodrop" => Broker,
            "curve_server_secretkey" => Servers,
            "listen_log_endpoint" | "log_rcvhwm" | "log_rcvbuf" => LogFiles,
            "connect_log_endpoints" | "log_immediate" | "log_sndhwm" | "log_sndbuf" => Producers,
            _ => All,
        };
        return of(Section::ZeroMq, option, heeds);
    }
    if let Some(option) = name.strip_prefix("LogAscii::") {
        let option = LOG_ASCII.into_iter().find(|known| *known == option)?;
        return of(Section::Log, option, LogFiles);
    }
    if let Some(option) = name.strip_prefix("Log::")
        && let Some(option) = LOG.into_iter().find(|known| *known == option)
    {
        let heeds = match option {
            "flush_interval" => All,
            "write_buffer_size" => Producers,
            _ => LogFiles,
        };
        return of(Section::Log, option, heeds);
    }
    let aliases = Layout::default().log.aliases();
    let (_, option) = aliases.iter().find(|(alias, _)| log_name(alias) == name)?;
    of(Section::Log, option, LogFiles)
}

/// The options of the ZeroMQ backend that both have.
pub(super) fn zeromq_options() -> Vec<&'static str> {
    let mut zeromq = ZeroMq::default();
    let names = zeromq.options().into_iter().map(|(name, _)| name);
    names.filter(|name| !ZeroMq::OWN.contains(name)).collect()
}

/// The Zeek script name of a `[log]` option with the second name `alias`.
pub(super) fn log_name(alias: &str) -> String {
    if alias == LOG_ROTATE_BASE_TIME { alias.into() } else { format!("Log::{alias}") }
}

/// Whether Zeek has an option with that name.
pub(super) fn is_known(name: &str) -> bool {
    matches!(name, "Cluster::nodes" | "Cluster::node") || known(name).is_some()
}

/// The default of an option in Zeek, as script.
pub(super) fn default_of(name: &str) -> Option<String> {
    let known = known(name)?;
    let mut layout = Layout::default();
    // In zcluster they follow from where the broker listens, and from which nodes exist.
    match known.option {
        "connect_xpub_endpoint" => return Some("\"tcp://127.0.0.1:5556\"".into()),
        "connect_xsub_endpoint" => return Some("\"tcp://127.0.0.1:5555\"".into()),
        "manager_is_logger" => return Some("T".into()),
        "format" => return Some("F".into()),
        "dir" | "metrics_address" => return Some("\"\"".into()),
        // They differ from node to node, or are functions.
        "rotation" | "rotation_postprocessor" | "rotation_name" => return None,
        _ => {}
    }
    section(&mut layout, known.section)
        .options()
        .into_iter()
        .find(|(option, _)| *option == known.option)
        .map(|(_, value)| value.to_zeek().unwrap_or_else(|| "\"\"".into()))
}

/// The options in that section.
pub(super) fn section(layout: &mut Layout, section: Section) -> &mut dyn Table {
    match section {
        Section::Cluster => &mut layout.cluster,
        Section::ZeroMq => &mut layout.zeromq,
        Section::Log => &mut layout.log,
        Section::Telemetry => &mut layout.telemetry,
    }
}

impl Section {
    /// Its name in a layout file.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Section::Cluster => "cluster",
            Section::ZeroMq => "zeromq",
            Section::Log => "log",
            Section::Telemetry => "telemetry",
        }
    }
}
