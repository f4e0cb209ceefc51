//! Publishing and listening without being a node.
//!
//! A [`Client`] takes part in events and in nothing else. It has no name, greets nobody, is greeted by
//! nobody, and needs no entry in the layout: other nodes, of Zeek or zcluster, do not notice that it
//! comes or goes. Use it for scripts and tools; use a [`Node`](crate::Node) for what should be a
//! member of the cluster, or write logs.
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
//! Nothing here has a thread of its own, beyond that of libzmq: what blocks says so, and how long.

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
use crate::layout::{CurveKeys, Layout};
use crate::transport::TransportError;

/// Why a client cannot do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The keys of the client are missing or wrong.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// A key was named, but all clients share one.
    #[error("'{0}' names a key of its own, and the layout does not have `mode = \"per-node\"`")]
    NoKeyOfItsOwn(String),
    /// Nobody is let in with a key of that name.
    #[error("'{0}' has no key: it is neither a node of the layout nor '{operator}'", operator = CurveKeys::OPERATOR)]
    UnknownKey(String),
    /// The broker and the client cannot talk: one of them has wrong keys.
    #[error("cannot talk to {peer}: {why}")]
    Refused {
        /// Who, and where.
        peer: String,
        /// Why, most likely.
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
        /// Where it should be.
        endpoint: String,
        /// How long was waited.
        waited: Duration,
        /// Why, as far as that can be found out.
        why: String,
    },
    /// The broker takes no more events.
    #[error("the broker at {endpoint} took no event for {}", humantime::format_duration(*waited))]
    Full {
        /// Where it is.
        endpoint: String,
        /// How long was waited.
        waited: Duration,
    },
    /// The rules of the layout do not let the client publish there.
    #[error("the layout does not let {who} publish on '{topic}'")]
    PublishDenied {
        /// The name of the key.
        who: String,
        /// The topic.
        topic: BString,
    },
    /// The event says something of a node, which only that node may say.
    #[error("the event speaks for a node, and '{who}' is not the key of that node")]
    Impersonation {
        /// The name of the key.
        who: String,
    },
    /// The broker did not take a subscription.
    #[error(
        "the broker refuses the subscription to '{prefix}': the layout does not allow it, or there \
         are too many"
    )]
    SubscriptionDenied {
        /// The prefix of topics.
        prefix: BString,
    },
    /// The connection was lost after events were sent, or they did not leave in time.
    #[error("{sent} events were published, but some may not have reached the broker: {why}")]
    Unsure {
        /// How many were published.
        sent: u64,
        /// Why that is.
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
            other => std::io::Error::other(other).into(),
        }
    }
}

/// Where the broker is, and with which keys to connect: makes publishers and subscribers.
#[derive(Clone, Debug)]
pub struct Client {
    layout: Arc<Layout>,
    key: Option<String>,
    keys: Option<ClientKeys>,
}

impl Client {
    /// A client of the cluster with that layout. Of it, only endpoints, options and keys matter.
    pub fn new(layout: impl Into<Arc<Layout>>) -> Self {
        Client { layout: layout.into(), key: None, keys: None }
    }

    /// A client of the broker whose XSUB and XPUB are at these endpoints, as in
    /// `tcp://127.0.0.1:5556` and `tcp://127.0.0.1:5555`: it publishes to the first and subscribes at
    /// the second.
    pub fn at(publish_to: impl Into<String>, subscribe_to: impl Into<String>) -> Self {
        let mut layout = Layout::default();
        layout.zeromq.connect_xpub_endpoint = publish_to.into();
        layout.zeromq.connect_xsub_endpoint = subscribe_to.into();
        Client::new(layout)
    }

    /// Where nodes have keys of their own, connects with the key of that name rather than with the
    /// [operator's](CurveKeys::OPERATOR).
    #[must_use]
    pub fn key(mut self, name: impl Into<String>) -> Self {
        self.key = Some(name.into());
        self
    }

    /// Connects with these keys rather than with those the layout names. With
    /// [`Client::key`] they are those of that name.
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

    /// The connection, and the name that its key stands for, if it stands for one.
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
