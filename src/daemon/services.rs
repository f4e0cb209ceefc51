//! The metrics addresses of a whole cluster, as listed by `/services.json` for Prometheus.

use std::net::{IpAddr, SocketAddr};

use crate::http::Service;
use crate::layout::{Endpoint, Layout, Node};

/// The type of the broker, and its name if its process does not set one.
pub const BROKER: &str = "broker";

/// The metrics addresses of all processes of a layout, the broker first, then the nodes by name.
///
/// Processes without an address that other hosts can query are left out: those with no port, with a
/// port that the system chooses, or with only "all addresses of this host" (`0.0.0.0`, `::`).
pub fn services(layout: &Layout, broker: &str) -> Vec<Service> {
    let of_broker = address(broker_ip(layout), layout.broker.metrics_port).map(|address| Service {
        address,
        node: broker.into(),
        node_type: BROKER,
    });
    let of_nodes = layout.nodes.iter().filter_map(|(name, node)| {
        let address = address(node_ip(layout, node), node.metrics_port)?;
        Some(Service { address, node: name.clone(), node_type: node.node_type.as_str() })
    });
    of_broker.into_iter().chain(of_nodes).collect()
}

fn address(ip: Option<IpAddr>, port: Option<u16>) -> Option<SocketAddr> {
    Some(SocketAddr::new(ip?, port.filter(|port| *port != 0)?))
}

/// A node that listens on all addresses is listed with its address in the layout.
fn node_ip(layout: &Layout, node: &Node) -> Option<IpAddr> {
    specified(layout.metrics_address(node)).or_else(|| specified(node.ip))
}

/// A broker that listens on all addresses is listed with the address that nodes connect to.
fn broker_ip(layout: &Layout) -> Option<IpAddr> {
    let where_nodes_connect = || match layout.connect_xsub_endpoint().parse() {
        Ok(Endpoint::Tcp { host, .. }) => host.ip().and_then(specified),
        _ => None,
    };
    specified(layout.broker_metrics_address()).or_else(where_nodes_connect)
}

fn specified(ip: IpAddr) -> Option<IpAddr> {
    Some(ip).filter(|ip| !ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(toml: &str) -> Vec<String> {
        let layout = Layout::from_toml(toml, "layout").unwrap_or_else(|error| panic!("{error}")).0;
        let services = services(&layout, BROKER);
        let line = |s: &Service| format!("{} {} {}", s.address, s.node, s.node_type);
        services.iter().map(line).collect()
    }

    #[test]
    fn all_that_can_be_asked_are_listed() {
        let nodes = "\
            [nodes.worker-1]\nnode_type = \"worker\"\nip = \"10.0.0.2\"\nmetrics_port = 9921\n\
            [nodes.manager]\nnode_type = \"manager\"\nip = \"10.0.0.1\"\nmetrics_port = 9911\n";
        for (options, expected) in [
            ("", &["10.0.0.1:9911 manager manager", "10.0.0.2:9921 worker-1 worker"][..]),
            (
                "[broker]\nmetrics_port = 9910\n",
                &[
                    "127.0.0.1:9910 broker broker",
                    "10.0.0.1:9911 manager manager",
                    "10.0.0.2:9921 worker-1 worker",
                ],
            ),
            // Chosen by the system: not known beforehand.
            (
                "[broker]\nmetrics_port = 0\n[nodes.logger-1]\nnode_type = \"logger\"\n\
                 ip = \"10.0.0.3\"\nport = 1\nmetrics_port = 0\n\
                 [nodes.logger-2]\nnode_type = \"logger\"\nip = \"10.0.0.3\"\nport = 2\n",
                &["10.0.0.1:9911 manager manager", "10.0.0.2:9921 worker-1 worker"],
            ),
            (
                "[telemetry]\nmetrics_address = \"127.0.0.1\"\n",
                &["127.0.0.1:9911 manager manager", "127.0.0.1:9921 worker-1 worker"],
            ),
            // All addresses: each at the one it has.
            (
                "[telemetry]\nmetrics_address = \"0.0.0.0\"\n[broker]\nmetrics_port = 9910\n\
                 [zeromq]\nlisten_xpub_endpoint = \"tcp://10.0.0.9:5555\"\n\
                 listen_xsub_endpoint = \"tcp://10.0.0.9:5556\"\n",
                &[
                    "10.0.0.9:9910 broker broker",
                    "10.0.0.1:9911 manager manager",
                    "10.0.0.2:9921 worker-1 worker",
                ],
            ),
            // A broker on all addresses is where the manager is, or where the option says.
            (
                "[broker]\nmetrics_port = 9910\nmetrics_address = \"0.0.0.0\"\n\
                 [zeromq]\nlisten_xpub_endpoint = \"tcp://*:5555\"\n",
                &[
                    "10.0.0.1:9910 broker broker",
                    "10.0.0.1:9911 manager manager",
                    "10.0.0.2:9921 worker-1 worker",
                ],
            ),
            (
                "[broker]\nmetrics_port = 9910\nmetrics_address = \"::\"\n[zeromq]\n\
                 connect_xsub_endpoint = \"tcp://[2001:db8::1]:5555\"\n",
                &[
                    "[2001:db8::1]:9910 broker broker",
                    "10.0.0.1:9911 manager manager",
                    "10.0.0.2:9921 worker-1 worker",
                ],
            ),
            // Nodes connect by a Unix socket, which is no address for Prometheus.
            (
                "[broker]\nmetrics_port = 9910\nmetrics_address = \"0.0.0.0\"\n[zeromq]\n\
                 listen_xpub_endpoint = \"ipc:///run/zcluster/xpub\"\n",
                &["10.0.0.1:9911 manager manager", "10.0.0.2:9921 worker-1 worker"],
            ),
        ] {
            assert_eq!(listed(&format!("{options}{nodes}")), expected, "{options}");
        }
    }
}
