//! Writes a [`Layout`] as equivalent Zeek scripts: `cluster-layout.zeek`, and one for everything
//! that Zeek does not accept in that file, since it loads it before its own frameworks.

use std::fmt::Write;

use super::super::pool::is_built_in;
use super::super::setting::{Scalar, toml_key, zeek_string};
use super::super::table::{Table, differing};
use super::super::{
    Cluster, EventSerializer, Layout, Log, LogFormat, Node, NodeType, RotationName, Telemetry,
    TlsOptions, WebSocket, ZeroMq,
};
use super::names::{LOG, LOG_ASCII, ZEROMQ, log_name};

/// The name of the script for everything that `cluster-layout.zeek` cannot contain.
pub const OPTIONS_FILE: &str = "zcluster.zeek";

/// A layout as two Zeek scripts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// `cluster-layout.zeek`: the nodes, and nothing else. Zeek loads it before everything it could
    /// refer to.
    pub layout: String,
    /// [`OPTIONS_FILE`]: endpoints and options, which nodes load explicitly.
    pub options: String,
    /// Options set in the layout that Zeek does not have, as `[section] option`. CURVE keys are not
    /// included.
    pub left_out: Vec<String>,
}

/// The first line of what [`export`] writes.
const FIRST_LINE: &str = "# Written by `zcluster layout export`.";

impl Exported {
    /// Whether a file was written by [`export`], and may be overwritten.
    pub fn is_ours(text: &[u8]) -> bool {
        text.starts_with(FIRST_LINE.as_bytes())
    }
}

/// Writes the layout as Zeek script, without CURVE keys.
///
/// Also leaves out options that Zeek does not have, and ports chosen by the system.
pub fn export(layout: &Layout) -> Exported {
    Exported { layout: nodes(layout), options: options(layout), left_out: left_out(layout) }
}

fn left_out(layout: &Layout) -> Vec<String> {
    let (mut layout, mut defaults) = (layout.clone(), Layout::default());
    let mut zeromq = differing(&mut layout.zeromq, &mut defaults.zeromq);
    zeromq.retain(|name| ZeroMq::OWN.contains(name));
    let aliases = layout.log.aliases();
    let mut log = differing(&mut layout.log, &mut defaults.log);
    log.retain(|name| {
        let has_alias = aliases.iter().any(|(_, option)| option == name);
        let is_word = matches!(*name, "format" | "rotation_name");
        !has_alias && !is_word && !LOG_ASCII.contains(name) && !LOG.contains(name)
    });
    let mut cluster = differing(&mut layout.cluster, &mut defaults.cluster);
    cluster.retain(|name| name.ends_with("_topics"));
    let broker = differing(&mut layout.broker, &mut defaults.broker);
    let mut telemetry = differing(&mut layout.telemetry, &mut defaults.telemetry);
    telemetry.retain(|name| !matches!(*name, "metrics_address" | "metrics_endpoint_label"));
    let mut names = Vec::new();
    for (section, options) in [
        ("cluster", cluster),
        ("zeromq", zeromq),
        ("log", log),
        ("broker", broker),
        ("telemetry", telemetry),
    ] {
        names.extend(options.iter().map(|name| format!("[{section}] {name}")));
    }
    names.extend(layout.allow.keys().map(|node_type| format!("[allow.{node_type}]")));
    // On ZeroMQ, Zeek has no stores.
    names.extend(layout.stores.keys().map(|name| format!("[stores.{}]", toml_key(name))));
    for (name, node) in &layout.nodes {
        let websocket = node.websocket.iter().flat_map(left_out_of_websocket);
        names.extend(websocket.map(|option| format!("[nodes.{}] {option}", toml_key(name))));
    }
    names
}

fn left_out_of_websocket(websocket: &WebSocket) -> Vec<String> {
    if !is_as_safe_in_zeek(websocket) {
        return vec!["websocket".into()];
    }
    let mut options = differing(&mut websocket.clone(), &mut WebSocket::default());
    // Zeek always admits them.
    options.retain(|name| WebSocket::OWN.contains(name) && *name != "allow_anonymous");
    if !websocket.applications.is_empty() {
        options.push("applications");
    }
    options.into_iter().map(|name| format!("websocket.{name}")).collect()
}

fn nodes(layout: &Layout) -> String {
    let mut out = format!("{FIRST_LINE}\n\n");
    let flag = layout.cluster.manager_is_logger.zeek();
    let _ = writeln!(out, "redef Cluster::manager_is_logger = {flag};\n");
    out.push_str("redef Cluster::nodes = {\n");
    // In zeekctl's order; within a type by name.
    for node_type in [
        NodeType::Control,
        NodeType::Manager,
        NodeType::Logger,
        NodeType::Proxy,
        NodeType::Worker,
        NodeType::None,
    ] {
        for (name, node) in layout.nodes_of_type(node_type) {
            let _ = writeln!(out, "\t[{}] = [{}],", zeek_string(name), fields(node));
        }
    }
    out.push_str("};\n");
    out
}

fn fields(node: &Node) -> String {
    let mut node = node.clone();
    // 0 means "none" in Zeek, not "any".
    node.port = node.port.filter(|port| *port != 0);
    node.metrics_port = node.metrics_port.filter(|port| *port != 0);
    let options = node.options().into_iter().filter(|(name, _)| *name != "curve_publickey");
    let fields = options.filter_map(|(name, value)| {
        let name = if name == "port" { "p" } else { name };
        Some(format!("${name}={}", value.to_zeek()?))
    });
    fields.collect::<Vec<_>>().join(", ")
}

fn websocket_script(out: &mut String, node: &str, websocket: &WebSocket) {
    if !is_as_safe_in_zeek(websocket) {
        let _ = writeln!(
            out,
            "\n# The WebSocket API of {} is left out: Zeek has no tokens, so it would be open to any\n\
             # client.",
            zeek_string(node)
        );
        return;
    }
    let is_shown = |name: &str, is_default: bool| {
        // Where it listens is worth showing even if it is the default.
        name.starts_with("listen_") || (!is_default && !WebSocket::OWN.contains(&name))
    };
    let mut fields = record(&mut websocket.clone(), &mut WebSocket::default(), is_shown);
    let is_shown = |_: &str, is_default: bool| !is_default;
    let tls = record(&mut websocket.tls_options.clone(), &mut TlsOptions::default(), is_shown);
    if !tls.is_empty() {
        fields.push(format!("$tls_options=[{}]", tls.join(", ")));
    }
    let _ = write!(
        out,
        "\nevent zeek_init()\n\t{{\n\tif ( getenv(\"ZEEKCTL_DISABLE_LISTEN\") == \"\" && \
         Cluster::node == {} )\n\t\tCluster::listen_websocket([{}]);\n\t}}\n",
        zeek_string(node),
        fields.join(", ")
    );
}

/// The fields of a record: the options that `is_shown` by their name and whether they have their
/// default.
fn record(
    table: &mut dyn Table,
    defaults: &mut dyn Table,
    is_shown: impl Fn(&str, bool) -> bool,
) -> Vec<String> {
    let options = table.options().into_iter().zip(defaults.options());
    let fields = options.filter_map(|((name, value), (_, default))| {
        let text = value.to_zeek()?;
        let is_default = Some(&text) == default.to_zeek().as_ref();
        is_shown(name, is_default).then(|| format!("${name}={text}"))
    });
    fields.collect()
}

/// Whether no more clients could use it in Zeek, which knows of certificates only.
fn is_as_safe_in_zeek(websocket: &WebSocket) -> bool {
    let is_verified = websocket.tls_options.enable_peer_verification;
    websocket.listen_addr.is_loopback() || is_verified || websocket.admits_anonymous()
}

/// The options that differ from Zeek's defaults.
fn options(layout: &Layout) -> String {
    let mut out = format!(
        "{FIRST_LINE}\n\
         # Load it in local.zeek or name it on the command line; cluster-layout.zeek comes too early.\n\n\
         @load frameworks/cluster/backend/zeromq\n\n\
         # The broker is a separate process, zcluster-broker.\n\
         redef {ZEROMQ}run_proxy_thread = F;\n"
    );
    if layout.cluster.event_serializer == EventSerializer::BrokerJsonV1 {
        out.push_str(
            "redef Cluster::event_serializer = Cluster::EVENT_SERIALIZER_BROKER_JSON_V1;\n",
        );
    }
    if !layout.cluster.enable_round_robin_logging {
        out.push_str("redef Cluster::enable_round_robin_logging = F;\n");
    }
    store_options(&mut out, layout);
    pools(&mut out, layout);
    zeromq_options(&mut out, layout);
    log_options(&mut out, layout);
    telemetry_options(&mut out, layout);
    for (name, node) in &layout.nodes {
        if let Some(websocket) = &node.websocket {
            websocket_script(&mut out, name, websocket);
        }
    }
    if layout.has_keys_per_node() {
        out.push_str(
            "\n# Each node has its own CURVE keys. Set them in its environment, which\n\
             # `zcluster keys zeek NAME` prints.\n",
        );
    } else if layout.zeromq.has_curve_keys() {
        out.push_str(
            "\n# The CURVE keys are left out of this file. Set all of them in the environment:\n\
             # ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_{SERVER,CLIENT}_{PUBLICKEY,SECRETKEY}.\n",
        );
    }
    out
}

/// The defaults of data stores.
fn store_options(out: &mut String, layout: &Layout) {
    let (mut cluster, mut defaults) = (layout.cluster.clone(), Cluster::default());
    for ((name, value), (_, default)) in cluster.options().into_iter().zip(defaults.options()) {
        if let Some(text) = value.to_zeek()
            && name.starts_with("default_")
            && Some(&text) != default.to_zeek().as_ref()
        {
            let _ = writeln!(out, "redef Cluster::{name} = {text};");
        }
    }
}

/// Pools, which the layout of a Zeek node does not have. Zeek computes their members after `zeek_init`
/// of the default priority.
fn pools(out: &mut String, layout: &Layout) {
    let mut own = String::new();
    for name in layout.pools.keys() {
        let spec = layout.pool_spec(name);
        let mut fields = vec![
            format!("$topic={}", zeek_string(&spec.topic)),
            format!("$node_type={}", spec.node_type.zeek_name()),
        ];
        fields.extend(spec.max_nodes.map(|max| format!("$max_nodes={max}")));
        if spec.exclusive {
            fields.push("$exclusive=T".into());
        }
        let spec = format!("Cluster::PoolSpec({})", fields.join(", "));
        if is_built_in(name) {
            let _ = writeln!(out, "redef Cluster::{name}_pool_spec = {spec};");
        } else {
            let _ = writeln!(own, "\tCluster::register_pool({spec});");
        }
    }
    if !own.is_empty() {
        let _ = write!(out, "\nevent zeek_init()\n\t{{\n{own}\t}}\n\n");
    }
}

fn zeromq_options(out: &mut String, layout: &Layout) {
    let (mut zeromq, mut defaults) = (layout.zeromq.clone(), ZeroMq::default());
    // In zcluster they follow where the broker listens; Zeek needs them set.
    zeromq.connect_xpub_endpoint = layout.connect_xpub_endpoint();
    zeromq.connect_xsub_endpoint = layout.connect_xsub_endpoint();
    // In zcluster it follows from the addresses.
    zeromq.ipv6 = layout.needs_ipv6();
    defaults.connect_xpub_endpoint.clone_from(&defaults.listen_xsub_endpoint);
    defaults.connect_xsub_endpoint.clone_from(&defaults.listen_xpub_endpoint);
    for ((name, value), (_, default)) in zeromq.options().into_iter().zip(defaults.options()) {
        if ZeroMq::OWN.contains(&name) || value.is_secret() {
            continue;
        }
        let Some(text) = value.to_zeek() else { continue };
        if Some(&text) != default.to_zeek().as_ref() {
            let _ = writeln!(out, "redef {ZEROMQ}{name} = {text};");
        }
    }
}

fn log_options(out: &mut String, layout: &Layout) {
    if layout.log.format == LogFormat::Json {
        out.push_str("redef LogAscii::use_json = T;\n");
    }
    if layout.log.rotation_name == RotationName::Archiver {
        out.push_str("redef Log::rotation_format_func = archiver_rotation_format_func;\n");
    }
    let (mut log, mut defaults) = (layout.log.clone(), Log::default());
    let aliases = log.aliases();
    for ((name, value), (_, default)) in log.options().into_iter().zip(defaults.options()) {
        let alias = aliases.iter().find(|(_, option)| *option == name);
        let zeek_name = match alias {
            Some((alias, _)) => log_name(alias),
            None if LOG_ASCII.contains(&name) => format!("LogAscii::{name}"),
            None if LOG.contains(&name) => format!("Log::{name}"),
            None => continue,
        };
        let Some(text) = value.to_zeek() else { continue };
        // Zeek's loggers rotate hourly by default.
        if name == "rotation" || Some(&text) != default.to_zeek().as_ref() {
            let _ = writeln!(out, "redef {zeek_name} = {text};");
        }
    }
}

fn telemetry_options(out: &mut String, layout: &Layout) {
    let telemetry = &layout.telemetry;
    if let Some(address) = telemetry.metrics_address {
        // A Zeek string, for an address written as in a URL.
        let text = zeek_string(&address.zeek());
        let _ = writeln!(out, "redef Telemetry::metrics_address = {text};");
    }
    if telemetry.metrics_endpoint_label != Telemetry::default().metrics_endpoint_label {
        let text = zeek_string(&telemetry.metrics_endpoint_label);
        let _ = writeln!(out, "redef Telemetry::metrics_endpoint_label = {text};");
    }
}
