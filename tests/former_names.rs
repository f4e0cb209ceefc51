//! The broker under its former name, `zcluster-proxy`: units, dashboards and alerts still work.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use support::{Cluster, Process};

#[test]
fn the_broker_answers_to_its_former_name() {
    let cluster = Cluster::new(&[("manager", "manager")], "");
    let mut broker = Process::start("proxy", "zcluster-proxy", &["--layout", cluster.layout_arg()]);
    assert_eq!(broker.ready["node"], "proxy");
    let metrics = broker.metrics();
    assert!(
        metrics.contains("zcluster_proxy_events_received_total{node=\"proxy\"} 0"),
        "{metrics}"
    );
    assert!(!metrics.contains("zcluster_broker_"), "{metrics}");
    broker.stop();
}
