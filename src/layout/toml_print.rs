//! Prints a [`Layout`] as `cluster-layout.toml`: only what differs from its default, in the order
//! readers look for it. Parsing the text gives the same layout.

use std::collections::BTreeMap;
use std::fmt::Write;

use zeroize::Zeroizing;

use super::setting::toml_key;
use super::table::Table;
use super::{Layout, Node, NodeType, WebSocket};

/// Writes a layout file. Secret keys are replaced by comments that name them.
pub fn to_toml(layout: &Layout) -> String {
    let mut out = String::new();
    print(&mut out, layout, false);
    out
}

/// Writes a layout file, secret keys included: keep the text as safe as the keys.
pub fn to_toml_with_secrets(layout: &Layout) -> Zeroizing<String> {
    // Comments are longer than keys: the buffer never grows, which would leave copies of secrets
    // behind.
    let mut out = Zeroizing::new(String::with_capacity(to_toml(layout).len()));
    print(&mut out, layout, true);
    out
}

/// Characters that readers can be expected to see of a line.
const WIDTH: usize = 100;

/// `name = value`, or the comment that replaces a secret.
type Line = Zeroizing<String>;

fn line(name: &str, value: &str) -> Line {
    // Allocates once, as it may be a secret.
    let mut line = Zeroizing::new(String::with_capacity(name.len() + 3 + value.len()));
    line.extend([name, " = ", value]);
    line
}

fn print(out: &mut String, layout: &Layout, secrets: bool) {
    let derived = layout.cluster.manager_is_logger == layout.default_manager_is_logger();
    let mut cluster = layout.cluster.clone();
    cluster.manager_is_logger = false;
    let mut lines = changed(&cluster, secrets);
    if !derived {
        let value = layout.cluster.manager_is_logger.to_string();
        lines.push(line("manager_is_logger", &value));
    }
    section(out, "[cluster]", "", &lines);

    section(
        out,
        "[zeromq]",
        "The options of Zeek's ZeroMQ backend, under the same names.",
        &changed(&layout.zeromq, secrets),
    );
    section(out, "[curve]", "", &changed(&layout.curve, secrets));
    for (name, allow) in &layout.allow {
        section(out, &format!("[allow.{name}]"), "", &changed(allow, secrets));
    }
    let lines = changed(&layout.broker, secrets);
    section(out, "[broker]", "The broker.", &lines);
    named_sections(out, "broker.topic", &layout.broker.topic);
    section(out, "[log]", "", &changed(&layout.log, secrets));
    named_sections(out, "log.path", &layout.log.path);
    section(out, "[telemetry]", "", &changed(&layout.telemetry, secrets));

    named_sections(out, "pools", &layout.pools);
    named_sections(out, "stores", &layout.stores);

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
            print_node(out, &format!("nodes.{}", toml_key(name)), node, secrets);
        }
    }
}

fn print_node(out: &mut String, title: &str, node: &Node, secrets: bool) {
    let mut lines = node_lines(node);
    let mut websocket = node.websocket.as_ref();
    if let Some(short) = websocket.and_then(short_websocket) {
        lines.push(short);
        websocket = None;
    }
    section(out, &format!("[{title}]"), "", &lines);
    section(out, &format!("[{title}.allow]"), "", &changed(&node.allow, secrets));
    if let Some(websocket) = websocket {
        section(out, &format!("[{title}.websocket]"), "", &websocket_lines(websocket));
        let applications = &websocket.applications;
        named_sections(out, &format!("{title}.websocket.applications"), applications);
    }
}

fn node_lines(node: &Node) -> Vec<Line> {
    node.clone()
        .options()
        .into_iter()
        .filter(|(name, _)| *name != "curve_publickey" || !node.curve_publickey.is_empty())
        .filter_map(|(name, value)| Some(line(name, &value.to_toml()?)))
        .collect()
}

/// A WebSocket API in braces, if it fits on a line. No table can follow it there.
fn short_websocket(websocket: &WebSocket) -> Option<Line> {
    let line = line("websocket", &braces(&websocket_lines(websocket)));
    (websocket.applications.is_empty() && line.len() <= WIDTH).then_some(line)
}

fn websocket_lines(websocket: &WebSocket) -> Vec<Line> {
    let (mut options, mut defaults) = (websocket.clone(), WebSocket::default());
    let options = options.options().into_iter().zip(defaults.options());
    let mut lines: Vec<_> = options
        // Where it listens is worth showing even if it is the default.
        .filter(|((name, value), (_, default))| {
            name.starts_with("listen_") || value.to_toml() != default.to_toml()
        })
        .filter_map(|((name, value), _)| Some(line(name, &value.to_toml()?)))
        .collect();
    let tls = changed(&websocket.tls_options, false);
    if !tls.is_empty() {
        lines.push(line("tls_options", &braces(&tls)));
    }
    lines
}

fn braces(lines: &[Line]) -> String {
    let lines: Vec<_> = lines.iter().map(|line| line.as_str()).collect();
    format!("{{ {} }}", lines.join(", "))
}

/// The options that differ from their defaults.
fn changed<T: Table + Clone + Default>(table: &T, secrets: bool) -> Vec<Line> {
    let (mut table, mut defaults) = (table.clone(), T::default());
    let lines = table.options().into_iter().zip(defaults.options());
    lines
        .filter_map(|((name, value), (_, default))| {
            let text = Zeroizing::new(value.to_toml()?);
            if Some(&*text) == default.to_toml().as_ref() {
                None
            } else if secrets || !is_secret_key(name) {
                Some(line(name, &text))
            } else {
                Some(Zeroizing::new(format!(
                    "# {name}: a secret, not printed; set it by hand, or print it with `--secrets`"
                )))
            }
        })
        .collect()
}

/// Whether the option holds a secret. Public keys are hidden in messages too, but must be printed
/// in a layout.
fn is_secret_key(name: &str) -> bool {
    name.ends_with("_secretkey")
}

fn section(out: &mut String, title: &str, comment: &str, lines: &[Line]) {
    if lines.is_empty() {
        return;
    }
    if !out.is_empty() {
        out.push('\n');
    }
    if !comment.is_empty() {
        let _ = writeln!(out, "# {comment}");
    }
    let _ = writeln!(out, "{title}");
    assignments(out, lines);
}

/// Named tables, including empty ones: the user wrote them.
fn named_sections<T: Table + Clone + Default>(
    out: &mut String,
    title: &str,
    tables: &BTreeMap<String, T>,
) {
    for (name, options) in tables {
        let _ = write!(out, "\n[{title}.{}]\n", toml_key(name));
        assignments(out, &changed(options, false));
    }
}

fn assignments(out: &mut String, lines: &[Line]) {
    for line in lines {
        out.extend([line.as_str(), "\n"]);
    }
}
