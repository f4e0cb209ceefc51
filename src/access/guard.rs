//! [`Guard`]: one connection, and what it may say.

use std::fmt;
use std::sync::{Arc, LazyLock};

use bstr::BString;
use memchr::memmem::Finder;

use super::{Access, Identity, Rules};
use crate::event::Event;
use crate::membership::read_hello;
use crate::wire::event_format::{EventDecodeError, EventFormat};

/// Why something was not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Denial {
    /// It speaks for another node than the one whose key was shown, or for none.
    Impersonation,
    /// The node may not publish on that topic.
    Publish,
    /// The node may not subscribe to that prefix.
    Subscribe,
    /// The node may not send logs.
    Logs,
}

impl Denial {
    /// A word for metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Denial::Impersonation => "impersonation",
            Denial::Publish => "publish",
            Denial::Subscribe => "subscribe",
            Denial::Logs => "logs",
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Denial::Impersonation => "it speaks for another node than its own",
            Denial::Publish => "it may not publish on that topic",
            Denial::Subscribe => "it may not subscribe to that prefix",
            Denial::Logs => "it may not send logs",
        })
    }
}

/// Bytes of the longest id and topic that are remembered. Longer ones are nobody's.
const MAX_REMEMBERED: usize = 256;

/// Holds what a connection says against the rules. Made for many questions: what was allowed last
/// is remembered.
#[derive(Clone, Debug)]
pub struct Guard {
    access: Arc<Access>,
    identity: Identity,
    /// Those of the node it is, or says to be.
    rules: Arc<Rules>,
    /// The id it spoke under last, rightly.
    id: BString,
    /// The topic it published on last, rightly.
    topic: BString,
    has_spoken: bool,
}

impl Guard {
    /// For a connection whose other end is that.
    pub fn new(access: Arc<Access>, identity: Identity) -> Self {
        let rules = match &identity {
            Identity::Node(name) => access.nodes.get(name).cloned().unwrap_or_default(),
            Identity::Unproven => Arc::default(),
        };
        let (id, topic) = (BString::default(), BString::default());
        Guard { access, identity, rules, id, topic, has_spoken: false }
    }

    /// Who it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether everything is allowed, so that nobody need ask.
    pub fn is_open(&self) -> bool {
        !self.access.has_rules()
    }

    /// Whether it may publish that event, under that id.
    ///
    /// # Errors
    /// Why not.
    pub fn check_event(
        &mut self,
        topic: &[u8],
        id: &[u8],
        format: &[u8],
        payload: &[u8],
    ) -> Result<(), Denial> {
        if self.is_open() {
            return Ok(());
        }
        self.check_id(id)?;
        let to_process = below(&self.access.topics.nodeid_prefix, topic).is_some();
        let is_greeting = match membership_event(format, payload, to_process) {
            None => false,
            Some(event) if self.access.is_per_node => self.check_membership(event, id)?,
            Some(event) => event.is_ok_and(|event| read_hello(&event).is_some()),
        };
        if (self.has_spoken && self.topic == topic) || (to_process && is_greeting) {
            return Ok(());
        }
        if !matches(self.rules.publish.as_deref(), topic) {
            return Err(Denial::Publish);
        }
        self.has_spoken = topic.len() <= MAX_REMEMBERED;
        if self.has_spoken {
            topic.clone_into(&mut self.topic);
        }
        Ok(())
    }

    /// Whether it may subscribe to a prefix. What the protocol itself needs it always may: its own
    /// topics, and probes.
    ///
    /// # Errors
    /// Why not.
    pub fn check_subscription(&self, prefix: &[u8]) -> Result<(), Denial> {
        let Identity::Node(name) = &self.identity else { return Ok(()) };
        let access = &self.access;
        if let Some(rest @ [_, ..]) = below(&access.topics.nodeid_prefix, prefix) {
            // Others take whoever subscribes to it for its owner; Zeek cuts off the last byte,
            // whatever it is.
            let id = rest.strip_suffix(b".");
            let is_own = id.is_some_and(|id| access.owner(id) == Some(name));
            return if is_own { Ok(()) } else { Err(Denial::Impersonation) };
        }
        let is_own =
            access.topics.node(name) == prefix || prefix.starts_with(&access.internal_prefix);
        if is_own || matches(self.rules.subscribe.as_deref(), prefix) {
            return Ok(());
        }
        Err(Denial::Subscribe)
    }

    /// Whether it may send a log batch, under that id.
    ///
    /// # Errors
    /// Why not.
    pub fn check_batch(&mut self, id: &[u8]) -> Result<(), Denial> {
        if self.is_open() {
            return Ok(());
        }
        self.check_id(id)?;
        if self.rules.logs { Ok(()) } else { Err(Denial::Logs) }
    }

    /// Whether it may speak under that id.
    fn check_id(&mut self, id: &[u8]) -> Result<(), Denial> {
        if self.id == id && !id.is_empty() {
            return Ok(());
        }
        let owner = self.access.owner(id);
        if let Identity::Node(name) = &self.identity {
            if owner != Some(name) {
                return Err(Denial::Impersonation);
            }
        } else {
            // It is whoever it says to be. With keys of their own, nodes speak for nodes only.
            if owner.is_none() && self.access.is_per_node {
                return Err(Denial::Impersonation);
            }
            let rules = owner.and_then(|name| self.access.nodes.get(name));
            self.rules = rules.cloned().unwrap_or_default();
            self.has_spoken = false;
        }
        self.id.clear();
        if id.len() <= MAX_REMEMBERED {
            self.id.extend_from_slice(id);
        }
        Ok(())
    }

    /// Events that say who takes part: greetings everybody may send, under its own name; whether it
    /// is one. The others nobody may: Zeek raises them itself, and would believe them.
    fn check_membership(
        &self,
        event: Result<Event, EventDecodeError>,
        under: &[u8],
    ) -> Result<bool, Denial> {
        // What we cannot read somebody else perhaps can.
        let event = event.map_err(|_| Denial::Impersonation)?;
        if RAISED_LOCALLY.iter().any(|name| event.name == *name) {
            return Err(Denial::Impersonation);
        }
        let Some((_, name, id)) = read_hello(&event) else { return Ok(false) };
        let own = self.access.owner(under).map(|own| own.as_bytes());
        let is_own = own == Some(name) && self.access.owner(id).map(|id| id.as_bytes()) == own;
        if is_own { Ok(true) } else { Err(Denial::Impersonation) }
    }
}

/// Events about members that no node publishes (WIRE.md §1.4, §6.2, §7.3).
const RAISED_LOCALLY: [&str; 5] = [
    "Cluster::node_up",
    "Cluster::node_down",
    "Cluster::Backend::ZeroMQ::subscription",
    "Cluster::Backend::ZeroMQ::unsubscription",
    "Cluster::Backend::ZeroMQ::monitoring_event",
];

/// The event in a payload, if it may be one about members, for their names all begin alike, or if it
/// goes to a single process.
fn membership_event(
    format: &[u8],
    payload: &[u8],
    to_process: bool,
) -> Option<Result<Event, EventDecodeError>> {
    static NAME: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("Cluster::"));
    // Nobody understands others.
    let format = EventFormat::from_name(format)?;
    // In JSON a name may be written in many ways.
    let is_escaped = || format == EventFormat::BrokerJsonV1 && payload.contains(&b'\\');
    if NAME.find(payload).is_some() || is_escaped() {
        Some(format.decode(payload))
    } else if to_process {
        format.decode(payload).ok().map(Ok)
    } else {
        None
    }
}

/// What follows that prefix and a dot, if a topic starts so.
fn below<'t>(prefix: &str, topic: &'t [u8]) -> Option<&'t [u8]> {
    topic.strip_prefix(prefix.as_bytes())?.strip_prefix(b".")
}

/// Whether text starts with one of the prefixes, if there are any to start with.
fn matches(prefixes: Option<&[String]>, text: &[u8]) -> bool {
    prefixes.is_none_or(|all| all.iter().any(|prefix| text.starts_with(prefix.as_bytes())))
}
