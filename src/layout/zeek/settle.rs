//! Options set by scripts, for all nodes or conditionally, and how they enter a [`Layout`] once all
//! nodes are known.
//!
//! A layout has one value of an option for all nodes that use it. A value that a script sets for
//! only some of them, or under a condition that cannot be evaluated, is reported with its place and
//! left out.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::super::diagnostic::{Places, Reporter, Span};
use super::super::setting::Setting;
use super::super::{Layout, NodeType};
use super::condition::Condition;
use super::functions::ENVIRONMENT;
use super::names::{Heeds, Known, Section, section};
use super::value::Value;

/// The places of an assignment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Assignment {
    pub(super) name_at: Span,
    pub(super) value_at: Span,
    pub(super) statement: Span,
}

/// One option set by a script.
#[derive(Debug)]
pub(super) struct Said {
    /// The name in the script.
    pub(super) name: String,
    pub(super) known: Known,
    /// `=` rather than `+=`.
    pub(super) replaces: bool,
    pub(super) value: Value,
    pub(super) scope: Condition,
    pub(super) at: Assignment,
}

/// Applies all assignments, in order; of two names for one option, the one in `LogAscii` wins.
pub(super) fn settle(
    said: Vec<Said>,
    layout: &mut Layout,
    places: &mut Places,
    reporter: &mut Reporter,
) {
    let mut rounds: BTreeMap<u8, Vec<Said>> = BTreeMap::new();
    for one in said {
        // Which nodes receive logs depends on it; and `LogAscii::separator` overrides
        // `Log::separator`, whatever their order.
        let round = match &*one.name {
            "Cluster::manager_is_logger" => 0,
            name if name.starts_with("LogAscii::") => 2,
            _ => 1,
        };
        rounds.entry(round).or_default().push(one);
    }
    for said in rounds.into_values().flatten() {
        if applies(&said, layout, reporter) {
            set(said, layout, places, reporter);
        }
    }
}

/// Whether it applies to all nodes that use the option.
fn applies(said: &Said, layout: &Layout, reporter: &mut Reporter) -> bool {
    if said.scope.as_known() == Some(true) {
        return true;
    }
    let Said { name, known, scope, at, .. } = said;
    let who = known.heeds.who();
    let mut holds = Vec::new();
    for (node_type, node) in heeding(known.heeds, layout) {
        match scope.holds_for(node_type, node) {
            Some(true) => holds.push((true, node)),
            Some(false) => holds.push((false, node)),
            None => {
                let asks_for = scope.asks_for();
                let message = format!("`{name}` is left out: it depends on {asks_for}");
                match &said.value {
                    // The meaning of a layout without it.
                    Value::OwnAddress => {}
                    // Generated scripts leave it to the environment at startup.
                    Value::Unknown(what) if what.contains(ENVIRONMENT) => {
                        reporter.note(at.name_at, message);
                    }
                    _ => reporter.warn(at.name_at, message),
                }
                return false;
            }
        }
    }
    if holds.iter().all(|(holds, _)| *holds) {
        return true;
    }
    if holds.iter().all(|(holds, _)| !*holds) {
        let message = format!(
            "`{name}` is left out: it is set for no node that uses zcluster's `{}` ({who})",
            known.option
        );
        reporter.note(at.name_at, message);
        return false;
    }
    let some: Vec<_> = holds.iter().filter(|(holds, _)| *holds).filter_map(|(_, n)| *n).collect();
    let message = format!(
        "`{name}` is left out: it is set for {} only, and a layout has one `{}` for {who}",
        shortened(&some),
        known.option
    );
    reporter.warn(at.name_at, message);
    false
}

fn shortened(names: &[&str]) -> String {
    let shown: Vec<_> = names.iter().take(3).map(|name| format!("`{name}`")).collect();
    let more = names.len().saturating_sub(shown.len());
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    if shown.is_empty() { "some nodes".into() } else { format!("{}{rest}", shown.join(", ")) }
}

/// A node that uses an option: its type and name.
type Heeding<'l> = (NodeType, Option<&'l str>);

/// The nodes that use an option. If the layout has none, each of their types represents them.
fn heeding(heeds: Heeds, layout: &Layout) -> Vec<Heeding<'_>> {
    use NodeType::{Logger, Manager, Proxy, Worker};
    match heeds {
        Heeds::All => of_types(layout, &[Manager, Logger, Proxy, Worker]),
        Heeds::Producers => of_types(layout, &[Manager, Proxy, Worker]),
        Heeds::LogFiles => log_writers(layout),
        Heeds::Broker => of_types(layout, &[Manager]),
        Heeds::Servers => [of_types(layout, &[Manager]), log_writers(layout)].concat(),
    }
}

fn log_writers(layout: &Layout) -> Vec<Heeding<'_>> {
    let manager = layout.cluster.manager_is_logger && layout.loggers().next().is_none();
    of_types(layout, if manager { &[NodeType::Manager] } else { &[NodeType::Logger] })
}

fn of_types<'l>(layout: &'l Layout, types: &[NodeType]) -> Vec<Heeding<'l>> {
    let nodes = layout.nodes.iter().filter(|(_, node)| types.contains(&node.node_type));
    let found: Vec<_> = nodes.map(|(name, node)| (node.node_type, Some(name.as_str()))).collect();
    if found.is_empty() { types.iter().map(|one| (*one, None)).collect() } else { found }
}

fn set(said: Said, layout: &mut Layout, places: &mut Places, reporter: &mut Reporter) {
    let Said { name, known, replaces, value, at, .. } = said;
    let value = match translated(&name, value) {
        // What the layout says without it.
        Value::OwnAddress if known.option == "metrics_address" => {
            layout.telemetry.metrics_address = None;
            return;
        }
        Value::Text(text) if text.is_empty() && known.option == "metrics_address" => {
            layout.telemetry.metrics_address = None;
            return;
        }
        value => value,
    };
    let earlier_endpoints = layout.zeromq.connect_log_endpoints.clone();
    let earlier_environment = layout.log.rotation_postprocessor_env.clone();
    let adds = !replaces;
    if adds && !matches!(known.option, "connect_log_endpoints" | "rotation_postprocessor_env") {
        let message = format!("`{name}`: found `+=`, expected `=`");
        reporter.error(at.value_at, message);
        return;
    }
    let mut options = section(layout, known.section).options();
    let Some((_, setting)) = options.iter_mut().find(|(option, _)| *option == known.option) else {
        return;
    };
    places.put(&[known.section.as_str(), known.option], at.value_at);
    if !read(reporter, known.option, *setting, &value, at.value_at) {
        return;
    }
    drop(options);
    match known.option {
        "dir" => {
            let message = "loggers write to a separate directory in there, named after the node";
            reporter.note(at.value_at, message);
        }
        "rotation_dir" if layout.log.rotation_dir.as_ref().is_some_and(|dir| dir.is_relative()) => {
            let message = "loggers resolve `rotation_dir` from the directory they are started in";
            reporter.note(at.value_at, message);
        }
        "connect_log_endpoints" if adds => {
            let added =
                std::mem::replace(&mut layout.zeromq.connect_log_endpoints, earlier_endpoints);
            layout.zeromq.connect_log_endpoints.extend(added);
        }
        "rotation_postprocessor_env" if adds => {
            let added =
                std::mem::replace(&mut layout.log.rotation_postprocessor_env, earlier_environment);
            layout.log.rotation_postprocessor_env.extend(added);
        }
        _ => {}
    }
}

/// A value as the zcluster option accepts it.
fn translated(name: &str, value: Value) -> Value {
    let word = |word: &str| Value::Name(word.into());
    match (name, &value) {
        ("LogAscii::use_json", Value::Bool(json)) => word(if *json { "json" } else { "tsv" }),
        ("Cluster::event_serializer", Value::Name(serializer)) => {
            match serializer.rsplit("::").next() {
                Some("EVENT_SERIALIZER_BROKER_BIN_V1") => word("broker-bin-v1"),
                Some("EVENT_SERIALIZER_BROKER_JSON_V1") => word("broker-json-v1"),
                _ => value,
            }
        }
        ("Log::rotation_format_func", Value::Name(function)) => {
            if function.ends_with("archiver_rotation_format_func") {
                word("archiver")
            } else {
                Value::unknown(format!("a function, `{function}`"))
            }
        }
        // `{ "a", "b" }` and `vector()` are lists, empty or not.
        ("Cluster::Backend::ZeroMQ::connect_log_endpoints", Value::Table(entries))
            if entries.is_empty() =>
        {
            Value::List(Vec::new())
        }
        _ => value,
    }
}

/// Reads a value into an option; reports why it cannot.
pub(super) fn read(
    reporter: &mut Reporter,
    name: &str,
    setting: &mut dyn Setting,
    value: &Value,
    at: Span,
) -> bool {
    read_as(reporter, &format!("`{name}`"), setting, value, at)
}

pub(super) fn read_as(
    reporter: &mut Reporter,
    what: &str,
    setting: &mut dyn Setting,
    value: &Value,
    at: Span,
) -> bool {
    let raw = value.raw();
    let Err(expected) = setting.read(&raw) else { return true };
    let reason: Option<Rc<str>> = value.why_unknown();
    let message = match reason {
        Some(reason) => format!("{what} is {reason}, which cannot be known here"),
        None if setting.is_secret() => format!("{what}: expected {expected}"),
        None => format!("{what}: found {raw}, expected {expected}"),
    };
    reporter.error(at, message);
    false
}

impl Said {
    /// Whether any part of it must stay secret.
    pub(super) fn is_secret(&self) -> bool {
        let mut layout = Layout::default();
        let mut options = section(&mut layout, self.known.section).options();
        let found = options.iter_mut().find(|(option, _)| *option == self.known.option);
        self.known.section == Section::ZeroMq && found.is_some_and(|(_, s)| s.is_secret())
    }
}
