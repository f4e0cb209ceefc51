//! [`Guard`]: what the peer of one connection may send.

use std::fmt;
use std::sync::Arc;

use bstr::{BString, ByteSlice};

use super::claims::membership_event;
use super::{Access, Identity, Rules};
use crate::event::Event;
use crate::membership::read_hello;
use crate::value::Value;

/// Why a message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Denial {
    /// It claims to be a node other than the one whose key it has, or none.
    Impersonation,
    /// The node may not publish on that topic.
    Publish,
    /// The node may not subscribe to that prefix.
    Subscribe,
    /// The node may not send logs.
    Logs,
}

impl Denial {
    /// The value of the label in metrics.
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

/// The longest id and topic that are remembered, in bytes. Longer ones belong to no node.
const MAX_REMEMBERED: usize = 256;

/// Checks the messages of a connection against the rules. It is called often, so it remembers what
/// it allowed last.
#[derive(Clone, Debug)]
pub struct Guard {
    access: Arc<Access>,
    identity: Identity,
    /// The rules of the node that it is, or claims to be.
    rules: Arc<Rules>,
    /// The last id that it was allowed to use.
    id: BString,
    /// The last topic that it was allowed to publish on.
    topic: BString,
    has_spoken: bool,
}

impl Guard {
    /// Creates a guard for a connection with that identity.
    pub fn new(access: Arc<Access>, identity: Identity) -> Self {
        let rules = match &identity {
            Identity::Node(name) => access.nodes.get(name).cloned().unwrap_or_default(),
            Identity::Unproven => Arc::default(),
        };
        let (id, topic) = (BString::default(), BString::default());
        Guard { access, identity, rules, id, topic, has_spoken: false }
    }

    /// The identity of the peer.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether everything is allowed, so that no check is needed.
    pub fn is_open(&self) -> bool {
        !self.access.has_rules()
    }

    /// Checks whether the peer may publish that event, under that id.
    ///
    /// # Errors
    /// The reason why not.
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

    /// Checks whether the peer may subscribe to a prefix. What the protocol needs is always
    /// allowed: its own topics, and probes.
    ///
    /// # Errors
    /// The reason why not.
    pub fn check_subscription(&self, prefix: &[u8]) -> Result<(), Denial> {
        let Identity::Node(name) = &self.identity else { return Ok(()) };
        let access = &self.access;
        if let Some(rest @ [_, ..]) = below(&access.topics.nodeid_prefix, prefix) {
            // Other nodes treat the subscriber as the owner of this topic; Zeek cuts off the last
            // byte, whatever it is.
            let id = rest.strip_suffix(b".");
            let is_own = id.is_some_and(|id| access.owner(id) == Some(name));
            let is_own = is_own && !access.is_operator(name);
            return if is_own { Ok(()) } else { Err(Denial::Impersonation) };
        }
        if let Some(rest @ [_, ..]) = prefix.strip_prefix(access.internal_prefix.as_slice()) {
            // The owner treats a returning probe as the end of all subscriptions.
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

    /// Checks whether the peer may send a log batch, under that id.
    ///
    /// # Errors
    /// The reason why not.
    pub fn check_batch(&mut self, id: &[u8]) -> Result<(), Denial> {
        if self.is_open() {
            return Ok(());
        }
        self.check_id(id)?;
        if self.rules.logs { Ok(()) } else { Err(Denial::Logs) }
    }

    /// Checks whether the peer may use that id.
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
            // The id decides which node it is. With per-node keys, ids must belong to nodes.
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

    /// Whether an event makes claims only about its sender, if it makes any about a member.
    fn is_own_claim(&self, event: &Event, sender: &[u8]) -> bool {
        let [Value::String(name), Value::String(id), ..] = event.args.as_slice() else {
            // No handler accepts other arguments.
            return true;
        };
        let Some(own) = self.access.owner(sender) else { return false };
        let is_own = own.as_bytes() == name && self.access.owner(id) == Some(own);
        is_own && !self.access.is_operator(own)
    }
}

/// The part of a topic after that prefix and a dot, if it starts with them.
fn below<'t>(prefix: &str, topic: &'t [u8]) -> Option<&'t [u8]> {
    topic.strip_prefix(prefix.as_bytes())?.strip_prefix(b".")
}

/// Whether text starts with one of the prefixes; without a list, always.
fn matches(prefixes: Option<&[String]>, text: &[u8]) -> bool {
    prefixes.is_none_or(|all| all.iter().any(|prefix| text.starts_with(prefix.as_bytes())))
}
