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
            let title = format!("[nodes.{}]", toml_key(name));
            section(out, &title, "", &node_lines(node));
            let title = format!("[nodes.{}.allow]", toml_key(name));
            section(out, &title, "", &changed(&node.allow, secrets));
        }
    }
}

fn node_lines(node: &Node) -> Vec<Line> {
    let mut lines: Vec<_> = node
        .clone()
        .options()
        .into_iter()
        .filter(|(name, _)| *name != "curve_publickey" || !node.curve_publickey.is_empty())
        .filter_map(|(name, value)| Some(line(name, &value.to_toml()?)))
        .collect();
    if let Some(websocket) = &node.websocket {
        let mut websocket = websocket.clone();
        let mut defaults = WebSocket::default();
        let defaults = defaults.options();
        let members: Vec<String> = websocket
            .options()
            .into_iter()
            .zip(defaults)
            // Where it listens is worth showing even if it is the default.
            .filter(|((name, value), (_, default))| {
                name.starts_with("listen_") || value.to_toml() != default.to_toml()
            })
            .filter_map(|((name, value), _)| Some(format!("{name} = {}", value.to_toml()?)))
            .collect();
        lines.push(line("websocket", &format!("{{ {} }}", members.join(", "))));
    }
    lines
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
