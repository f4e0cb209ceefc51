//! What the gateway sends. Writers append to a text, so that one buffer serves many messages.

use std::fmt::{self, Write as _};

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};
use zcluster::Event;
use zcluster::readable::{Numbers, rfc3339, write_metadata, write_text};
use zcluster::value::Timestamp;

use super::{ErrorCode, Refusal, RequestId, Stats};
use crate::schema::{Schema, write_args};

/// An event on its way to clients. All of them get the same text.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// The number of the event.
    pub seq: u64,
    /// The topic to which it was published.
    pub topic: &'a [u8],
    /// The event.
    pub event: &'a Event,
    /// When the gateway received it.
    pub received: Timestamp,
}

impl Delivery<'_> {
    /// Appends the message. If the schema declares the event, its arguments have names. Allocates
    /// nothing but the text.
    pub fn write(&self, schema: Option<&Schema>, out: &mut String) {
        let Delivery { seq, topic, event, received } = self;
        append(out, format_args!(r#"{{"type":"event","seq":{seq},"topic":"#));
        write_text(topic, out);
        out.push_str(r#","event":"#);
        write_text(&event.name, out);
        out.push_str(r#","args":"#);
        match schema {
            Some(schema) => schema.write_args(event, out),
            None => write_args(event, out),
        }
        let ts = event.network_timestamp().unwrap_or(*received);
        append(out, format_args!(r#","ts":"{}""#, rfc3339(ts)));
        if let Some(metadata) = event.metadata.as_ref().filter(|metadata| !metadata.is_empty()) {
            out.push_str(r#","metadata":"#);
            write_metadata(metadata, Numbers::JavaScript, out);
        }
        out.push('}');
    }
}

fn append(out: &mut String, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("appending to a string never fails");
}

/// Any message of the gateway but events.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage<'a> {
    /// The first message of a connection.
    Welcome(Welcome<'a>),
    /// A request was carried out.
    Ok {
        /// That of the request, which has one: others are not answered.
        id: &'a RequestId,
    },
    /// A session was resumed.
    #[serde(rename = "ok")]
    Resumed {
        /// That of the request.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a RequestId>,
        /// How many events are sent again.
        replayed: u64,
        /// Whether these are all that the client missed.
        complete: bool,
    },
    /// A request was not carried out.
    Error {
        /// That of the request.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a RequestId>,
        /// What is wrong, for programs.
        code: ErrorCode,
        /// What is wrong, for people.
        message: &'a str,
    },
    /// Events of this client are missing.
    Lagged {
        /// How many; `None` if unknown, after a resume.
        dropped: Option<u64>,
        /// Number of the first.
        from: u64,
        /// Number of the last.
        to: u64,
    },
    /// All nodes that the gateway knows.
    Nodes {
        /// The nodes.
        nodes: &'a [NodeEntry<'a>],
    },
    /// A node has appeared.
    NodeUp {
        /// Its name.
        node: &'a str,
        /// Its id in the cluster.
        id: &'a str,
        /// When.
        #[serde(serialize_with = "time")]
        ts: Timestamp,
    },
    /// A node has disappeared.
    NodeDown {
        /// Its name.
        node: &'a str,
        /// The id that it had in the cluster.
        id: &'a str,
        /// When.
        #[serde(serialize_with = "time")]
        ts: Timestamp,
    },
    /// Whether the gateway is connected to the cluster.
    Bus {
        /// Whether it is.
        connected: bool,
    },
    /// Measurements for the live page.
    Stats(&'a Stats<'a>),
}

impl ServerMessage<'_> {
    /// Appends the message.
    pub fn write(&self, out: &mut String) {
        let text = serde_json::to_string(self).expect("no map here has other keys than texts");
        out.push_str(&text);
    }
}

impl<'a> From<&'a Refusal> for ServerMessage<'a> {
    fn from(refusal: &'a Refusal) -> Self {
        let Refusal { id, code, message } = refusal;
        ServerMessage::Error { id: id.as_ref(), code: *code, message }
    }
}

/// The first message of a connection. It also says which version of the API and which program this
/// is.
#[derive(Clone, Copy, Debug)]
pub struct Welcome<'a> {
    /// The id of the client in the cluster.
    pub endpoint: &'a str,
    /// Secret: with it, another connection can resume this one.
    pub session: &'a str,
    /// The number of the last event; 0 if there was none.
    pub seq: u64,
    /// The node that hosts the gateway.
    pub node: &'a str,
    /// Who the client is to access control.
    pub application: Option<&'a str>,
    /// What the client may do, and what the gateway keeps for it.
    pub limits: Limits,
}

impl Serialize for Welcome<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const SERVER: &str = concat!("zcluster/", env!("CARGO_PKG_VERSION"));
        let mut members = serializer.serialize_struct("Welcome", 8)?;
        members.serialize_field("version", &2)?;
        members.serialize_field("endpoint", self.endpoint)?;
        members.serialize_field("session", self.session)?;
        members.serialize_field("seq", &self.seq)?;
        members.serialize_field("node", self.node)?;
        members.serialize_field("server", SERVER)?;
        members.serialize_field("application", &self.application)?;
        members.serialize_field("limits", &self.limits)?;
        members.end()
    }
}

/// What a client may do, and what the gateway keeps for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Length of the longest message that it may send.
    pub message_bytes: u64,
    /// How many prefixes it may subscribe to.
    pub subscriptions: u64,
    /// How many messages may wait for it.
    pub queue_messages: u64,
    /// How many bytes may wait for it.
    pub queue_bytes: u64,
    /// How many events are kept for clients that resume.
    pub replay_events: u64,
    /// How long a lost session is remembered.
    pub resume_seconds: u64,
}

/// A node that the gateway knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct NodeEntry<'a> {
    /// Its name.
    pub node: &'a str,
    /// Its type as in a layout: `manager`, `worker` …
    pub node_type: &'a str,
    /// Its id in the cluster, if it is up.
    pub id: Option<&'a str>,
    /// Whether it is up.
    pub up: bool,
}

/// A time as RFC 3339.
#[allow(clippy::trivially_copy_pass_by_ref)] // serde passes references.
pub(super) fn time<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&rfc3339(*time))
}
