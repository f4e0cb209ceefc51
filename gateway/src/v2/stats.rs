//! [`Stats`]: what the live page shows, measured once a second for all clients that want it.

use std::borrow::Cow;

use serde::Serialize;
use zcluster::value::Timestamp;

/// Measurements of the last interval. Rates are per second, and finite.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stats<'a> {
    /// When it ended.
    #[serde(serialize_with = "super::server::time")]
    pub ts: Timestamp,
    /// The node that hosts the gateway.
    pub node: Cow<'a, str>,
    /// Its length; more than 0.
    pub interval_seconds: f64,
    /// Who counted the events of `topics`.
    pub topics_from: CountedBy,
    /// Events by topic; of those with most, if there are many.
    pub topics: Vec<TopicRate<'a>>,
    /// Records of the cluster's logs.
    pub logs: Vec<LogRate<'a>>,
    /// What processes lost.
    pub drops: Vec<Drops<'a>>,
    /// Subscribers of the broker that fall behind.
    pub slow: Vec<SlowPeer<'a>>,
    /// Clients of this gateway.
    pub clients: Vec<ClientStats<'a>>,
    /// Processes whose figures could not be read.
    pub unreachable: Vec<Cow<'a, str>>,
}

/// Who counts events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CountedBy {
    /// The broker: all events of the cluster.
    Broker,
    /// The gateway: those that its clients subscribe to. The broker cannot tell.
    Gateway,
}

/// How many events a topic has.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TopicRate<'a> {
    /// The topic.
    pub topic: Cow<'a, str>,
    /// The rate.
    pub events_per_second: f64,
}

/// How many records a log has.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LogRate<'a> {
    /// Its path, such as `conn`.
    pub path: Cow<'a, str>,
    /// The rate.
    pub records_per_second: f64,
}

/// What a process lost for one reason.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Drops<'a> {
    /// The process, by its name.
    pub process: Cow<'a, str>,
    /// The reason, as its metrics name it.
    pub reason: Cow<'a, str>,
    /// The rate.
    pub per_second: f64,
    /// How many since it started.
    pub total: u64,
}

/// A subscriber of the broker that falls behind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SlowPeer<'a> {
    /// Its name.
    pub peer: Cow<'a, str>,
    /// How many events wait for it.
    pub queued_events: u64,
    /// How long they are.
    pub queued_bytes: u64,
    /// How many it lost.
    pub dropped: u64,
}

/// A client of this gateway.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClientStats<'a> {
    /// Its id in the cluster.
    pub endpoint: Cow<'a, str>,
    /// Who it is to access control.
    pub application: Option<Cow<'a, str>>,
    /// Its address and port.
    pub address: Cow<'a, str>,
    /// The version of the API that it uses: 1 or 2.
    pub version: u8,
    /// How many prefixes it subscribes to.
    pub subscriptions: u64,
    /// The rate of messages from it.
    pub received_per_second: f64,
    /// The rate of messages to it.
    pub sent_per_second: f64,
    /// How many messages wait for it.
    pub queued_messages: u64,
    /// How many events it lost.
    pub dropped: u64,
}
