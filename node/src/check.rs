//! `--check`: what the program `zcluster-node` would do with its configuration on this host.
//!
//! Opens no socket, so that it can run beside the node.

use std::net::SocketAddr;

use zcluster::access::{Access, ClientKeys, client_keys};
use zcluster::daemon::Failure;
use zcluster::daemon::check::{Report, bound};
use zcluster::layout::{Layout, LogHwmAction, Node, StoreBackend, ZeroMq};

use super::{gateway, is_ours, stores};

/// Prints what node `name` would do; warnings and problems go to standard error.
///
/// # Errors
/// What would stop it at start, with the exit code it would have.
pub(super) fn check(layout: &Layout, name: &str, own: &Node) -> Result<(), Failure> {
    report(layout, name, own).print()
}

fn report(layout: &Layout, name: &str, own: &Node) -> Report {
    let mut report = Report::default();
    match is_ours(layout, name, own) {
        Ok(()) => report.say("node", format!("{name}, type {}, at {}", own.node_type, own.ip)),
        Err(failure) => report.problem(failure),
    }
    report.broker(layout);
    match client_keys(layout, name) {
        Err(error) => report.problem(error.into()),
        Ok(None) => {
            report.say("encryption", "none");
            loggers(&mut report, layout, None);
        }
        Ok(Some(keys)) => {
            let (mode, own) = (layout.curve.mode, keys.keys().public());
            report.say("encryption", format!("CURVE, mode {mode}, own public key {own}"));
            loggers(&mut report, layout, Some(&keys));
        }
    }
    let others = layout.nodes.keys().filter(|other| *other != name);
    report.say("other nodes", list(others.cloned()));
    let has_rules = Access::of_client(layout).has_rules();
    report.say("rules for nodes", if has_rules { "enforced" } else { "none" });
    report.metrics(layout.metrics_socket(name));
    websocket(&mut report, own);
    stores(&mut report, layout, name);
    report.say("event format", layout.cluster.event_serializer.as_str());
    queues(&mut report, &layout.zeromq);
    report.heartbeats(&layout.zeromq);
    report
}

/// The WebSocket API, and who may use it.
fn websocket(report: &mut Report, own: &Node) {
    let Some(options) = &own.websocket else { return };
    let scheme = if options.tls_options.is_set() { "https" } else { "http" };
    let address = SocketAddr::new(options.listen_addr, options.listen_port);
    match zcluster_gateway::check(options) {
        Ok(lines) => {
            report.say("WebSocket API", format!("{scheme}://{address}/, {}", lines.join(", ")));
        }
        Err(error) => report.problem(gateway::failure(error)),
    }
}

/// The masters of data stores that the node has.
fn stores(report: &mut Report, layout: &Layout, name: &str) {
    for store in stores::mastered(layout, name) {
        let place = match layout.store_backend(store, false) {
            StoreBackend::Memory => "in memory".into(),
            StoreBackend::Sqlite => format!("in {}", layout.store_path(store).display()),
        };
        report.say("master of the store", format!("{store}, {place}"));
    }
}

/// Which loggers get the node's log records, and which do not because a key is missing.
fn loggers(report: &mut Report, layout: &Layout, keys: Option<&ClientKeys>) {
    let mut served = Vec::new();
    for (name, endpoint) in layout.log_routes() {
        let who = name.map_or_else(String::new, |name| format!("{name} at "));
        if keys.is_none_or(|keys| keys.logger(name).is_some()) {
            served.push(format!("{who}{endpoint}"));
        } else {
            report.warn([format!(
                "{who}{endpoint} gets no logs from this node: its public key is not known"
            )]);
        }
    }
    report.say("sends logs to", list(served));
}

fn queues(report: &mut Report, options: &ZeroMq) {
    let events = bound(options.onloop_queue_hwm, "events", options.onloop_queue_bytes);
    report.say("queue of received events", events);
    report.say("queue of events to publish", bound(0, "", options.publish_queue_bytes));
    let then = match options.log_hwm_action {
        LogHwmAction::Block => "writers wait",
        LogHwmAction::Drop => "records are dropped and counted",
    };
    let logs = bound(0, "", options.log_queue_bytes);
    report.say("queue of log records", format!("{logs}; when full, {then}"));
}

fn list(texts: impl IntoIterator<Item = String>) -> String {
    let texts: Vec<_> = texts.into_iter().collect();
    if texts.is_empty() { "none".into() } else { texts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zcluster::exit::ExitCode;

    const NODES: &str = "[nodes.manager]\nnode_type = \"manager\"\nip = \"127.0.0.1\"\n\
        metrics_port = 9911\nport = 5559\n\
        [nodes.logger-1]\nnode_type = \"logger\"\nip = \"10.0.0.2\"\nport = 5560\n";

    fn report_of(more: &str, name: &str) -> Report {
        let text = format!("{more}\n{NODES}");
        let layout = Layout::from_toml(&text, "l.toml").unwrap_or_else(|error| panic!("{error}")).0;
        report(&layout, name, &layout.nodes[name])
    }

    #[test]
    fn a_plain_node() {
        let report = report_of("", "manager");
        assert_eq!((&report.warnings[..], report.problems.len()), (&[][..], 0));
        assert_eq!(
            report.found,
            [
                "node: manager, type manager, at 127.0.0.1",
                "broker: publishes to tcp://127.0.0.1:5556, receives events from tcp://127.0.0.1:5555",
                "encryption: none",
                "sends logs to: logger-1 at tcp://10.0.0.2:5560",
                "other nodes: logger-1",
                "rules for nodes: none",
                "metrics: http://127.0.0.1:9911/metrics",
                "event format: broker-bin-v1",
                "queue of received events: at most 10000 events and 64.0 MiB",
                "queue of events to publish: at most 64.0 MiB",
                "queue of log records: at most 64.0 MiB; when full, writers wait",
                "heartbeats: every 5s, disconnects after 15s without an answer",
            ]
        );
    }

    #[test]
    fn the_masters_of_a_node_are_listed() {
        let more = "[cluster]\ndefault_store_dir = \"/var/s\"\n[stores.\"a/b\"]\nbackend = \"sqlite\"\n\
            [stores.c]\n[stores.d]\nmaster_node = \"logger-1\"";
        let found = report_of(more, "manager").found;
        let stores: Vec<_> = found.iter().filter(|line| line.contains("store")).collect();
        let expected = ["a/b, in /var/s/a/b.sqlite", "c, in memory"];
        assert_eq!(stores, expected.map(|what| format!("master of the store: {what}")).each_ref());
    }

    #[test]
    fn what_another_program_runs_and_keys_that_are_missing_are_problems() {
        for (more, name, what) in [
            ("", "logger-1", "start it with zcluster-logger"),
            (
                "[cluster]\nmanager_is_logger = true\n[nodes.m]\nnode_type = \"worker\"\n\
                 ip = \"127.0.0.1\"\nmanager = \"manager\"",
                "manager",
                "manager_is_logger",
            ),
            ("[curve]\nmode = \"per-node\"\nsecret_keys_dir = \"/no/such\"", "manager", "/no/such"),
        ] {
            let report = report_of(more, name);
            assert_eq!(report.exit_code(), ExitCode::Config, "{report:?}");
            assert!(report.problems[0].1.contains(what), "{report:?}");
        }
    }
}
