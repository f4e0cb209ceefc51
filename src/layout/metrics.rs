//! Where processes serve their metrics according to a layout, and warnings about that.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Layout;

impl Layout {
    /// Where the node of that name serves its metrics; `None` without a port.
    pub fn metrics_socket(&self, name: &str) -> Option<SocketAddr> {
        let node = self.node(name)?;
        Some(SocketAddr::new(self.metrics_address(node), node.metrics_port?))
    }

    /// Where the broker serves its metrics and status; `None` without a port.
    pub fn broker_metrics_socket(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.broker_metrics_address(), self.broker.metrics_port?))
    }

    /// Warns if the broker serves its metrics at every address of its host because its sockets
    /// listen there, and not because the layout asks for it. Nodes have no such address.
    pub fn open_metrics(&self) -> Option<String> {
        let is_set = self.broker.metrics_address.or(self.telemetry.metrics_address).is_some();
        let socket = self.broker_metrics_socket().filter(|_| !is_set)?;
        let loopback: IpAddr = match socket.ip() {
            ip if !ip.to_canonical().is_unspecified() => return None,
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        Some(format!(
            "metrics and status are served at {socket}, every address of this host, as \
             `listen_xpub_endpoint` is: any client that reaches this host can read them. Set \
             `metrics_address = \"{loopback}\"` or another address in [broker]; \"{}\" keeps this \
             address without the warning",
            socket.ip()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &str = "[nodes.manager]\nnode_type = \"manager\"\nip = \"127.0.0.1\"\n";

    fn layout(text: &str) -> Layout {
        Layout::from_toml(text, "l.toml").unwrap_or_else(|error| panic!("{error}")).0
    }

    #[test]
    fn a_broker_that_listens_everywhere_is_warned_of_unless_somebody_said_so() {
        for (listens, more, warned) in [
            ("tcp://0.0.0.0:5555", "[broker]\nmetrics_port = 9910", Some("\"127.0.0.1\"")),
            ("tcp://[::]:5555", "[broker]\nmetrics_port = 9910", Some("\"::1\"")),
            ("tcp://0.0.0.0:5555", "", None),
            ("tcp://10.0.0.1:5555", "[broker]\nmetrics_port = 9910", None),
            // `*` is not an address: metrics then use the default.
            ("tcp://*:5555", "[broker]\nmetrics_port = 9910", None),
            (
                "tcp://0.0.0.0:5555",
                "[broker]\nmetrics_port = 9910\nmetrics_address = \"0.0.0.0\"",
                None,
            ),
            (
                "tcp://0.0.0.0:5555",
                "[broker]\nmetrics_port = 9910\n[telemetry]\nmetrics_address = \"0.0.0.0\"",
                None,
            ),
        ] {
            let text = format!("[zeromq]\nlisten_xpub_endpoint = \"{listens}\"\n{more}\n{NODES}");
            let told = layout(&text).open_metrics();
            assert_eq!(told.is_some(), warned.is_some(), "{text}: {told:?}");
            if let (Some(told), Some(option)) = (told, warned) {
                assert!(told.contains(&format!("`metrics_address = {option}`")), "{told}");
                assert!(told.contains("`listen_xpub_endpoint`"), "{told}");
            }
        }
    }
}
