//! All nodes connect at once, as after a restart of the broker.

use std::time::Instant;

use serde::Serialize;

use super::crowd::{Crowd, own_cpu_time};
use crate::broker::Broker;

/// One measurement.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Join {
    /// Seconds until all handshakes are complete.
    pub(crate) open: f64,
    /// Seconds until all publishers have been told of all subscriptions.
    pub(crate) told: f64,
    /// CPU seconds of the broker until then.
    pub(crate) cpu: f64,
    /// CPU seconds of all nodes until then.
    pub(crate) nodes_cpu: f64,
    /// Subscriptions that publishers have been told of, all together.
    pub(crate) notifications: u64,
    /// How often a node could not connect and tried again.
    pub(crate) failures: u64,
    /// The most memory that the broker has used, in bytes.
    pub(crate) memory: u64,
}

/// Connects all nodes.
pub(super) fn join(crowd: &mut Crowd, broker: &Broker) -> Join {
    let (clock, cpu, nodes_cpu) = (Instant::now(), broker.cpu_time(), own_cpu_time());
    crowd.connect(broker);
    crowd.run_until(|crowd| crowd.is_open());
    let open = clock.elapsed();
    crowd.run_until(|crowd| crowd.is_complete());
    Join {
        open: open.as_secs_f64(),
        told: clock.elapsed().as_secs_f64(),
        cpu: broker.cpu_time().saturating_sub(cpu).as_secs_f64(),
        nodes_cpu: own_cpu_time().saturating_sub(nodes_cpu).as_secs_f64(),
        notifications: crowd.notifications(),
        failures: crowd.failures(),
        memory: broker.peak_memory(),
    }
}
