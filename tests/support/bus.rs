//! A broker with its own engine and two well-behaved peers, a publisher and a subscriber, to check
//! that nothing a test does affects others.

use zcluster::wire::EventFormat;
use zcluster::wire::zmtp::SocketType;
use zcluster::{Event, Value};

use super::zmtp::ZmtpPeer;
use super::{Cluster, Engine, NodeSpec, Process, wait_for};

const NODES: &[NodeSpec<'static>] = &[("manager", "manager")];

pub const REFUSED: &str = "zcluster_broker_refused_total";
pub const CUT_OFF: &str = "zcluster_broker_cut_off_total";
pub const RECEIVED: &str = "zcluster_broker_events_received_total";

/// The frames of an event.
pub type Frames<'a> = [&'a [u8]; 4];

pub const EVENT: Frames<'static> = [b"topic", b"sender", b"broker-bin-v1", b"payload"];

/// A broker with a well-behaved publisher and subscriber.
pub struct Bus {
    pub publisher: ZmtpPeer,
    pub subscriber: ZmtpPeer,
    /// Makes each of their events unique.
    number: u64,
    pub broker: Process,
    _cluster: Cluster,
}

impl Bus {
    /// Starts a broker. `zeromq` and `broker`: lines of these sections.
    pub fn start(zeromq: &str, broker: &str) -> Self {
        let options = format!("{zeromq}\n[broker]\nmetrics_port = 0\n{broker}");
        let cluster = Cluster::on(Engine::Switch, NODES, &options);
        let broker = cluster.broker();
        let mut publisher = ZmtpPeer::connect(&broker.endpoint("xsub"), SocketType::Xpub, 1);
        let mut subscriber = ZmtpPeer::connect(&broker.endpoint("xpub"), SocketType::Xsub, 1);
        subscriber.subscribe(true, b"");
        assert_eq!(publisher.receive().unwrap().subscription(), Some((true, &b""[..])));
        Bus { publisher, subscriber, number: 0, broker, _cluster: cluster }
    }

    pub fn xsub(&self) -> String {
        self.broker.endpoint("xsub")
    }

    pub fn xpub(&self) -> String {
        self.broker.endpoint("xpub")
    }

    /// The endpoint and metrics label of one of the sockets.
    pub fn socket(&self, is_frontend: bool) -> (String, &'static str) {
        if is_frontend { (self.xsub(), "frontend") } else { (self.xpub(), "backend") }
    }

    /// Receives the subscriber's next message.
    pub fn receive(&mut self) -> Vec<Vec<u8>> {
        self.subscriber.receive_message().unwrap()
    }

    /// Checks that an event reaches the subscriber, and that no unchecked event arrives before it.
    pub fn assert_well(&mut self) {
        self.number += 1;
        let number = self.number.to_be_bytes();
        let event = Event::new("Test::well", vec![Value::from(self.number)]);
        let mut payload = Vec::new();
        EventFormat::BrokerBinV1.encode(&event, &mut payload);
        let frames: Frames<'_> = [b"well", &number, b"broker-bin-v1", &payload];
        self.publisher.send(&frames);
        assert_eq!(self.receive(), frames);
        assert!(self.broker.is_running());
        assert!(self.broker.health().0, "{}", self.broker.health().1);
        assert!(!self.broker.stderr().contains("panicked"));
    }

    pub fn count(&self, name: &str, label: &str) -> f64 {
        self.broker.metric_with(name, label)
    }

    /// Waits until a counter has that value. Fails if it is greater.
    pub fn wait_count(&self, name: &str, label: &str, value: f64) {
        wait_for(&format!("{name}{{{label}}} = {value}"), || {
            let now = self.count(name, label);
            assert!(now <= value, "{name}{{{label}}} is {now}, beyond {value}");
            (now == value).then_some(())
        });
    }
}

pub fn refused(reason: &str) -> String {
    format!("reason=\"{reason}\"")
}

pub fn cut_off(socket: &str, reason: &str) -> String {
    format!("socket=\"{socket}\",reason=\"{reason}\"")
}
