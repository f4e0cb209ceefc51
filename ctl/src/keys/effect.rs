//! How to put a change of keys into effect.

use std::fmt::Write as _;

use zcluster::access::revoked::Revoked;
use zcluster::layout::{BrokerEngine, Layout};

use super::holder::{Holder, Kind};

/// Adds which processes need a SIGHUP, and what a SIGHUP does not change.
pub(super) fn tell(report: &mut String, holder: &Holder<'_>, layout: &Layout, revoked: &Revoked) {
    let loggers: Vec<_> = layout.log_receivers().map(|(name, _)| name).collect();
    let servers = match (holder.kind, loggers.as_slice()) {
        (Kind::Broker, _) | (_, []) => "the broker".to_owned(),
        (_, names) => format!("the broker and to {}", names.join(", ")),
    };
    // Writing to a string cannot fail.
    let _ = writeln!(
        report,
        "To apply the change, copy the files, including {}, to their hosts, then send SIGHUP to \
         {servers}.",
        revoked.path().display()
    );
    if layout.broker.engine == BrokerEngine::Zmq {
        report.push_str(match holder.kind {
            Kind::Operator | Kind::Node { .. } => {
                "With `engine = \"zmq\"` the broker refuses a revoked key, but keeps existing \
                 connections: restart the broker to close them.\n"
            }
            Kind::Broker => {
                "With `engine = \"zmq\"` the broker changes its key only when it restarts.\n"
            }
            Kind::Servers => "",
        });
    }
    if holder.kind.is_server() {
        let _ = writeln!(
            report,
            "Nodes that have connected to {} with that key trust it until they restart.",
            holder.name
        );
    }
}
