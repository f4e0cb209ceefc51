//! [`Layout`] to `cluster-layout.toml`: only what differs from its default, in the order people
//! look for it. Reading the text back gives the same layout.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::options::Table;
use super::setting::toml_key;
use super::{Layout, Node, NodeType, WebSocket};

/// Writes a layout file, CURVE keys included: keep the text as safe as the keys.
pub fn to_toml(layout: &Layout) -> String {
    let mut out = String::new();
    let derived = layout.cluster.manager_is_logger == layout.default_manager_is_logger();
    let mut cluster = layout.cluster.clone();
    cluster.manager_is_logger = false;
    let mut lines = changed(&cluster);
    if !derived {
        lines.push(("manager_is_logger", layout.cluster.manager_is_logger.to_string()));
    }
    section(&mut out, "[cluster]", "", &lines);

    section(
        &mut out,
        "[zeromq]",
        "The options of Zeek's ZeroMQ backend, under the same names.",
        &changed(&layout.zeromq),
    );
    section(&mut out, "[curve]", "", &changed(&layout.curve));
    for (name, allow) in &layout.allow {
        section(&mut out, &format!("[allow.{name}]"), "", &changed(allow));
    }
    let lines = changed(&layout.proxy);
    section(&mut out, "[proxy]", "The central broker.", &lines);
    named_sections(&mut out, "proxy.topic", &layout.proxy.topic);
    let lines = changed(&layout.log);
    section(&mut out, "[log]", "", &lines);
    named_sections(&mut out, "log.path", &layout.log.path);
    let lines = changed(&layout.telemetry);
    section(&mut out, "[telemetry]", "", &lines);

    // As zeekctl orders them; within a type by name.
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
            section(&mut out, &title, "", &node_lines(node));
            let title = format!("[nodes.{}.allow]", toml_key(name));
            section(&mut out, &title, "", &changed(&node.allow));
        }
    }
    out
}

fn node_lines(node: &Node) -> Vec<(&'static str, String)> {
    let mut lines: Vec<_> = node
        .clone()
        .options()
        .into_iter()
        .filter(|(name, _)| *name != "curve_publickey" || !node.curve_publickey.is_empty())
        .filter_map(|(name, value)| Some((name, value.to_toml()?)))
        .collect();
    if let Some(websocket) = &node.websocket {
        let mut websocket = websocket.clone();
        let mut defaults = WebSocket::default();
        let defaults = defaults.options();
        let members: Vec<String> = websocket
            .options()
            .into_iter()
            .zip(defaults)
            // Where it listens is worth a word even where it is the default.
            .filter(|((name, value), (_, default))| {
                name.starts_with("listen_") || value.to_toml() != default.to_toml()
            })
            .filter_map(|((name, value), _)| Some(format!("{name} = {}", value.to_toml()?)))
            .collect();
        lines.push(("websocket", format!("{{ {} }}", members.join(", "))));
    }
    lines
}

/// The options that differ from their defaults, as TOML.
fn changed<T: Table + Clone + Default>(table: &T) -> Vec<(&'static str, String)> {
    let (mut table, mut defaults) = (table.clone(), T::default());
    table
        .options()
        .into_iter()
        .zip(defaults.options())
        .filter_map(|((name, value), (_, default))| {
            let text = value.to_toml()?;
            (Some(&text) != default.to_toml().as_ref()).then_some((name, text))
        })
        .collect()
}

fn section(out: &mut String, title: &str, comment: &str, lines: &[(&'static str, String)]) {
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

/// Tables by name, those without content too: somebody wrote them down.
fn named_sections<T: Table + Clone + Default>(
    out: &mut String,
    title: &str,
    tables: &BTreeMap<String, T>,
) {
    for (name, options) in tables {
        let _ = write!(out, "\n[{title}.{}]\n", toml_key(name));
        assignments(out, &changed(options));
    }
}

fn assignments(out: &mut String, lines: &[(&'static str, String)]) {
    for (name, value) in lines {
        let _ = writeln!(out, "{name} = {value}");
    }
}
