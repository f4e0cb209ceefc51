//! [`Guard`]: one connection, and what it may say.

use std::fmt;
use std::sync::Arc;

use bstr::{BString, ByteSlice};

use super::claims::membership_event;
use super::{Access, Identity, Rules};
use crate::event::Event;
use crate::membership::read_hello;
use crate::value::Value;

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
            Denial::Impersonation => "it claims to be another node",
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
        let (access, is_per_node) = (&self.access, self.access.is_per_node);
        let to_process = below(&access.topics.nodeid_prefix, topic).is_some();
        let mut is_greeting = false;
        if is_per_node || to_process {
            match membership_event(format, payload) {
                Ok(None) => {}
                Ok(Some(event)) => {
                    if is_per_node && !self.is_own_claim(&event, id) {
                        return Err(Denial::Impersonation);
                    }
                    is_greeting = read_hello(&event).is_some();
                }
                Err(denial) if is_per_node => return Err(denial),
                Err(_) => {}
            }
        }
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
            let is_own = is_own && !access.is_operator(name);
            return if is_own { Ok(()) } else { Err(Denial::Impersonation) };
        }
        if let Some(rest @ [_, ..]) = prefix.strip_prefix(access.internal_prefix.as_slice()) {
            // Its owner takes a probe that comes back for the end of all subscriptions.
            let id = rest.strip_suffix(b".").and_then(|rest| rest.rsplit_once_str("."));
            let is_own = id.is_some_and(|(id, _)| access.owner(id) == Some(name));
            return if is_own { Ok(()) } else { Err(Denial::Impersonation) };
        }
        let is_own = access.topics.node(name) == prefix;
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

    /// Whether what an event says of a member, if anything, its sender says of itself.
    fn is_own_claim(&self, event: &Event, sender: &[u8]) -> bool {
        let [Value::String(name), Value::String(id), ..] = event.args.as_slice() else {
            // Nobody's handler has other arguments.
            return true;
        };
        let Some(own) = self.access.owner(sender) else { return false };
        let is_own = own.as_bytes() == name && self.access.owner(id) == Some(own);
        is_own && !self.access.is_operator(own)
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
