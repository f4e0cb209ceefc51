//! Publishing and subscribing without being a node.
//!
//! A [`Client`] only publishes and receives events. It has no name, takes no part in the hello
//! handshake, and needs no entry in the layout: other nodes, of Zeek or zcluster, do not notice it.
//! Use it for scripts and tools; use a [`Node`](crate::Node) for a process that should be a member
//! of the cluster, or write logs.
//!
//! ```no_run
//! use std::time::Duration;
//! use zcluster::Event;
//! use zcluster::client::{Client, Reach};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! const PATIENCE: Duration = Duration::from_secs(10);
//! let client = Client::at("tcp://127.0.0.1:5556", "tcp://127.0.0.1:5555");
//! let mut publisher = client.publisher()?;
//! let ping = Event::new("Demo::ping", vec!["hello".into(), 42_u64.into()]);
//! if publisher.publish("zeek.cluster.worker", &ping, PATIENCE)? == Reach::Nobody {
//!     eprintln!("nobody subscribes to that topic");
//! }
//! publisher.finish(PATIENCE)?;
//!
//! let mut subscriber = client.subscriber(["zeek.cluster.worker"])?;
//! while let Some(received) = subscriber.receive(PATIENCE)? {
//!     println!("{:?}", received.decode()?);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Clients start no thread apart from libzmq's: functions that block say so, and for how long.

mod connection;
mod prefixes;
mod publisher;
mod subscriber;

use std::sync::Arc;
use std::time::Duration;

use bstr::BString;

pub use publisher::{Publisher, Reach};
pub use subscriber::Subscriber;

use self::connection::Connection;
use super::NodeError;
use crate::access::{self, ClientKeys, KeyError};
use crate::event::EventError;
use crate::layout::{CurveKeys, Layout};
use crate::transport::TransportError;

/// Why a client operation fails.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The keys of the client are missing or wrong.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// A key name was given, but all clients share one key.
    #[error("'{0}' names a key, but the layout does not set `mode = \"per-node\"`")]
    NoKeyOfItsOwn(String),
    /// No key of that name is accepted.
    #[error("'{0}' has no key: it is neither a node of the layout nor '{operator}'", operator = CurveKeys::OPERATOR)]
    UnknownKey(String),
    /// The broker and the client cannot communicate: one of them has wrong keys.
    #[error("cannot talk to {peer}: {why}")]
    Refused {
        /// The peer, and its address.
        peer: String,
        /// The most likely cause.
        why: &'static str,
    },
    /// A socket could not be opened or configured.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The system refused a file descriptor.
    #[error("cannot open sockets: {0}")]
    System(#[from] std::io::Error),
    /// The broker did not answer in time.
    #[error("no answer from the broker at {endpoint} within {}: {why}", humantime::format_duration(*waited))]
    Unreachable {
        /// The endpoint it should listen on.
        endpoint: String,
        /// How long the client waited.
        waited: Duration,
        /// The cause, where it could be found.
        why: String,
    },
    /// The broker accepted no event in time.
    #[error(
        "the broker at {endpoint} accepted no event for {}",
        humantime::format_duration(*waited)
    )]
    Full {
        /// Its endpoint.
        endpoint: String,
        /// How long the client waited.
        waited: Duration,
    },
    /// The rules of the layout do not let the client publish to the topic.
    #[error("the layout does not let {who} publish on '{topic}'")]
    PublishDenied {
        /// The name of the key.
        who: String,
        /// The topic.
        topic: BString,
    },
    /// The event makes a statement about a node that only that node may make.
    #[error("the event speaks for a node, but '{who}' is not the key of that node")]
    Impersonation {
        /// The name of the key.
        who: String,
    },
    /// A typed event with an argument that Zeek has no type for.
    #[error(transparent)]
    Event(#[from] EventError),
    /// The broker did not accept a subscription.
    #[error(
        "the broker refuses the subscription to '{prefix}': the layout does not allow it, or there \
         are too many subscriptions"
    )]
    SubscriptionDenied {
        /// The topic prefix.
        prefix: BString,
    },
    /// The connection was lost after events were sent, or they did not leave in time.
    #[error("{sent} events were published, but some may not have reached the broker: {why}")]
    Unsure {
        /// The number of events published.
        sent: u64,
        /// The cause.
        why: String,
    },
}

impl From<NodeError> for ClientError {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::Refused { peer, why } => ClientError::Refused { peer, why },
            NodeError::Keys(error) => error.into(),
            NodeError::Transport(error) => error.into(),
            NodeError::System(error) => error.into(),
            NodeError::Event(error) => error.into(),
            other => std::io::Error::other(other).into(),
        }
    }
}

/// Where the broker is, and which keys to connect with. Creates publishers and subscribers.
#[derive(Clone, Debug)]
pub struct Client {
    layout: Arc<Layout>,
    key: Option<String>,
    keys: Option<ClientKeys>,
}

impl Client {
    /// A client of the cluster with that layout. It uses only the layout's endpoints, options and
    /// keys.
    pub fn new(layout: impl Into<Arc<Layout>>) -> Self {
        Client { layout: layout.into(), key: None, keys: None }
    }

    /// A client of the broker with its XSUB and XPUB at these endpoints, such as
    /// `tcp://127.0.0.1:5556` and `tcp://127.0.0.1:5555`: it publishes to the first and subscribes
    /// at the second.
    pub fn at(publish_to: impl Into<String>, subscribe_to: impl Into<String>) -> Self {
        let mut layout = Layout::default();
        layout.zeromq.connect_xpub_endpoint = publish_to.into();
        layout.zeromq.connect_xsub_endpoint = subscribe_to.into();
        Client::new(layout)
    }

    /// Where each node has its own key, connects with the key of that name instead of the
    /// [operator's](CurveKeys::OPERATOR).
    #[must_use]
    pub fn key(mut self, name: impl Into<String>) -> Self {
        self.key = Some(name.into());
        self
    }

    /// Connects with these keys instead of those the layout names. Combined with [`Client::key`],
    /// they are the keys of that name.
    #[must_use]
    pub fn client_keys(mut self, keys: ClientKeys) -> Self {
        self.keys = Some(keys);
        self
    }

    /// Starts to connect a publisher. Does not wait for the broker.
    ///
    /// # Errors
    /// When keys are missing or wrong, an endpoint is malformed, or the system refuses.
    pub fn publisher(&self) -> Result<Publisher, ClientError> {
        let (connection, name) = self.connect()?;
        Ok(Publisher::new(connection, &self.layout, name))
    }

    /// Starts to connect a subscriber to all topics with one of these prefixes. Does not wait for the
    /// broker. An empty prefix means all topics.
    ///
    /// # Errors
    /// As [`Client::publisher`].
    pub fn subscriber<P: Into<BString>>(
        &self,
        prefixes: impl IntoIterator<Item = P>,
    ) -> Result<Subscriber, ClientError> {
        let (connection, _) = self.connect()?;
        let prefixes = prefixes.into_iter().map(Into::into).collect();
        Subscriber::new(connection, &self.layout, prefixes)
    }

    /// The connection, and the name its key belongs to, if any.
    fn connect(&self) -> Result<(Connection, Option<String>), ClientError> {
        let name = match (self.layout.has_keys_per_node(), &self.key) {
            (true, name) => Some(name.as_deref().unwrap_or(CurveKeys::OPERATOR)),
            (false, None) => None,
            (false, Some(name)) => return Err(ClientError::NoKeyOfItsOwn(name.clone())),
        };
        if let Some(name) = name
            && self.layout.node(name).is_none()
            && !self.layout.has_operator_key(name)
        {
            return Err(ClientError::UnknownKey(name.to_owned()));
        }
        let keys = match &self.keys {
            Some(keys) => Some(keys.clone()),
            None => access::client_keys(&self.layout, name.unwrap_or_default())?,
        };
        let connection = Connection::new(Arc::clone(&self.layout), keys.as_ref(), name)?;
        Ok((connection, name.map(str::to_owned)))
    }
}
