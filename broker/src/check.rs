//! `--check`: what the broker would do with its configuration on this host.
//!
//! Opens no socket, so that it can run beside the broker itself.

use std::thread;

use zcluster::access::{Access, server_access};
use zcluster::daemon::check::{Report, bound, duration, size};
use zcluster::daemon::{Failure, open_endpoint};
use zcluster::layout::{BrokerEngine, CurveKeys, Layout, WhenFull};

use crate::engines;

/// Prints what the broker would do; warnings and problems go to standard error.
///
/// # Errors
/// Whatever would stop the broker at start, with the exit code it would have.
pub(crate) fn check(layout: &Layout, name: &str) -> Result<(), Failure> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    report(layout, name, cores).print()
}

fn report(layout: &Layout, name: &str, cores: usize) -> Report {
    let mut report = Report::default();
    let (options, engine) = (&layout.zeromq, layout.broker.engine);
    report.say("broker", format!("{name}, engine {engine}"));
    report.say("publishers connect to", &options.listen_xsub_endpoint);
    report.say("subscribers connect to", &options.listen_xpub_endpoint);
    let access = server_access(layout, CurveKeys::BROKER);
    if let Ok(access) = &access {
        let is_encrypted = access.server_keys().is_some();
        for endpoint in [&options.listen_xsub_endpoint, &options.listen_xpub_endpoint] {
            report.warn(open_endpoint(endpoint, is_encrypted));
        }
        rules(&mut report, access, engine);
    }
    report.encryption(layout, access, Ok(()));
    report.metrics(layout.broker_metrics_socket());
    report.warn(layout.open_metrics());
    report.say("largest message", size(options.max_message_size));
    report.heartbeats(options);
    match engine {
        BrokerEngine::Switch => queues(&mut report, layout, cores),
        BrokerEngine::Zmq => {
            let nodrop = options.listen_xpub_nodrop;
            let then =
                if nodrop { "all publishers wait for it" } else { "it loses events, uncounted" };
            report.say("a subscriber that does not read", then);
            report.say("I/O threads", format!("{}, on {cores} cores", options.proxy_io_threads));
        }
    }
    report
}

/// Whether the engine enforces rules for nodes; warns about keys that it cannot use.
fn rules(report: &mut Report, access: &Access, engine: BrokerEngine) {
    let kept = match (access.has_rules(), engine) {
        (false, _) => "none",
        (true, BrokerEngine::Switch) => "enforced",
        (true, BrokerEngine::Zmq) => "not enforced by this engine",
    };
    report.say("rules for nodes", kept);
    if engine == BrokerEngine::Zmq {
        report.warn(engines::zmq_shortcomings(access));
    }
}

fn queues(report: &mut Report, layout: &Layout, cores: usize) {
    let broker = &layout.broker;
    let queue = bound(broker.subscriber_hwm, "events", broker.subscriber_max_bytes);
    report
        .say("queue of a subscriber", format!("{queue}; {}", when_full(layout, broker.when_full)));
    for (prefix, topic) in &broker.topic {
        if let Some(policy) = topic.when_full {
            report.say(&format!("topics {prefix}…"), when_full(layout, policy));
        }
    }
    let prefixes = broker.control_prefixes(&layout.zeromq);
    let control = bound(broker.control_hwm, "events", broker.control_max_bytes);
    report.say("control queue", format!("{control}; topics {}…", prefixes.join("…, ")));
    let largest = match (broker.subscriber_max_bytes, broker.control_max_bytes) {
        (0, _) | (_, 0) => "without a bound".to_owned(),
        (bytes, control) => {
            format!("at most {}", size(bytes.saturating_add(control).saturating_mul(2)))
        }
    };
    report.say("memory of a subscriber", largest);
    let (count, length) = (broker.max_subscriptions, broker.max_subscription_length);
    report.say("subscriptions of a peer", format!("at most {count}, of {length} bytes each"));
    let validated = if broker.validate_events { "checked" } else { "not checked" };
    report.say("payloads of events", validated);
    report.say("threads", format!("{}, on {cores} cores", broker.io_threads));
}

/// A policy, and the option that limits it.
fn when_full(layout: &Layout, policy: WhenFull) -> String {
    let broker = &layout.broker;
    match policy {
        WhenFull::DropNewest | WhenFull::DropOldest => {
            format!("when full {policy}, after {} of patience", duration(broker.patience))
        }
        WhenFull::Disconnect => {
            format!("when full {policy}, after {}", duration(broker.disconnect_after))
        }
        WhenFull::Block => format!("when full {policy}, for {}", duration(broker.block_timeout)),
    }
}
