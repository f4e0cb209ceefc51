//! [`Context`]: what a handler can do.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bstr::{BStr, BString};

use super::Outcome;
use super::bus::Bus;
use super::clock::Now;
use super::cluster::Cluster;
use super::timers::{Task, TimerId, Timers};
use crate::Event;
use crate::Layout;
use crate::event::{EventError, ToEvent};
use crate::node::NodeError;
use crate::topic::{NodeId, shown};
use crate::value::Timestamp;

/// Where an event is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The topic it was published to.
    pub topic: BString,
    /// The id its publisher gave, which may be any bytes.
    pub sender: BString,
}

impl Origin {
    pub(super) fn new(topic: &BStr, sender: &BStr) -> Self {
        Origin { topic: topic.into(), sender: sender.into() }
    }
}

/// An event that follows the current one.
#[derive(Debug)]
pub(super) enum Raised {
    /// By a handler.
    Here(Event),
    /// By publishing it to this node.
    Published(Event),
}

/// What handlers have asked for, to be done after the current one.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pub(super) raised: VecDeque<Raised>,
    /// Prefixes that were subscribed (`true`) or unsubscribed.
    pub(super) subscriptions: VecDeque<(bool, BString)>,
    pub(super) timers: Timers,
    pub(super) stops: bool,
    /// The arguments of the current event do not fit one of its handlers.
    pub(super) is_misfit: bool,
    /// Event to topic: see [`Context::auto_publish`].
    pub(super) auto_publish: Vec<(BString, BString)>,
}

/// What a handler can do. It exists for one event.
pub struct Context<'a> {
    pub(super) bus: &'a dyn Bus,
    pub(super) wishes: &'a mut Wishes,
    pub(super) origin: Option<&'a Origin>,
    pub(super) now: Now,
    pub(super) network_time: Timestamp,
    pub(super) add_network_timestamps: bool,
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Context<'_> {
    /// The name of this node.
    pub fn name(&self) -> &str {
        self.bus.name()
    }

    /// The id of this process.
    pub fn id(&self) -> &NodeId {
        self.bus.id()
    }

    /// The layout of the cluster.
    pub fn layout(&self) -> &Layout {
        self.bus.layout()
    }

    /// The nodes of the layout, and which of them are up.
    pub fn cluster(&self) -> Cluster<'_> {
        Cluster::new(self.bus.layout(), self.bus.name(), self.bus.members())
    }

    /// The nodes that are up, without this one: names to ids.
    pub fn members(&self) -> BTreeMap<String, NodeId> {
        self.bus.members()
    }

    /// Where the event is from; `None` if it was raised here.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin
    }

    /// The time of day, whatever the event says.
    pub fn time(&self) -> Timestamp {
        self.now.time
    }

    /// The time of the event, if it says so, otherwise the time of day.
    pub fn network_time(&self) -> Timestamp {
        self.network_time
    }

    /// Publishes an event. Blocks as [`crate::Node::publish`] does.
    ///
    /// # Errors
    /// As [`crate::Node::publish`].
    pub fn publish(
        &mut self,
        topic: impl AsRef<[u8]>,
        event: &(impl ToEvent + ?Sized),
    ) -> Result<(), NodeError> {
        let event = self.stamped(event.to_event()?);
        self.bus.publish(topic.as_ref(), event)
    }

    /// Publishes an event to the next live member of a pool, in turn; `false` if none is alive. If it
    /// is this node, the event is raised here: it would not come back from the bus.
    ///
    /// # Errors
    /// As [`crate::Node::publish`].
    pub fn publish_rr(
        &mut self,
        pool: &str,
        key: &[u8],
        event: &(impl ToEvent + ?Sized),
    ) -> Result<bool, NodeError> {
        let topic = self.bus.rr_topic(pool, key);
        self.publish_to(topic, event)
    }

    /// Publishes an event to the live member of a pool that rendezvous hashing maps a key to; `false`
    /// if none is alive.
    ///
    /// # Errors
    /// As [`crate::Node::publish`].
    pub fn publish_hrw(
        &mut self,
        pool: &str,
        key: &[u8],
        event: &(impl ToEvent + ?Sized),
    ) -> Result<bool, NodeError> {
        let topic = self.bus.hrw_topic(pool, key);
        self.publish_to(topic, event)
    }

    /// The topic of the next live member of a pool, in turn; `None` if none is alive.
    pub fn rr_topic(&self, pool: &str, key: &[u8]) -> Option<BString> {
        self.bus.rr_topic(pool, key)
    }

    /// The topic of the live member of a pool that rendezvous hashing maps a key to; `None` if none is
    /// alive.
    pub fn hrw_topic(&self, pool: &str, key: &[u8]) -> Option<BString> {
        self.bus.hrw_topic(pool, key)
    }

    fn publish_to(
        &mut self,
        topic: Option<BString>,
        event: &(impl ToEvent + ?Sized),
    ) -> Result<bool, NodeError> {
        let Some(topic) = topic else { return Ok(false) };
        if topic == self.bus.own_topic() {
            let event = self.stamped(event.to_event()?).into_owned();
            self.wishes.raised.push_back(Raised::Published(event));
        } else {
            self.publish(topic, event)?;
        }
        Ok(true)
    }

    fn stamped<'e>(&self, event: Cow<'e, Event>) -> Cow<'e, Event> {
        if self.add_network_timestamps && event.network_timestamp().is_none() {
            Cow::Owned(event.into_owned().with_network_timestamp(self.network_time))
        } else {
            event
        }
    }

    /// Raises an event here, after the current one.
    ///
    /// # Errors
    /// When an argument has no form in Zeek.
    pub fn raise(&mut self, event: &(impl ToEvent + ?Sized)) -> Result<(), EventError> {
        self.wishes.raised.push_back(Raised::Here(event.to_event()?.into_owned()));
        Ok(())
    }

    /// Raises an event here after some time.
    ///
    /// # Errors
    /// As [`Context::raise`].
    pub fn schedule(
        &mut self,
        after: Duration,
        event: &(impl ToEvent + ?Sized),
    ) -> Result<TimerId, EventError> {
        let event = event.to_event()?.into_owned();
        Ok(self.wishes.timers.add(self.now.after(after).instant, Task::Raise(event)))
    }

    /// Calls a function here after some time. Unlike a scheduled event, it does not keep an app running
    /// (see [`App::peer_counts_as_iosource`](super::App::peer_counts_as_iosource)).
    pub fn call_after(
        &mut self,
        after: Duration,
        call: impl FnOnce(&mut Context<'_>) -> Outcome + 'static,
    ) -> TimerId {
        self.wishes.timers.add(self.now.after(after).instant, Task::Call(Box::new(call)))
    }

    /// Notes and describes an event whose arguments do not fit.
    pub(super) fn misfit(&mut self, error: &EventError) -> Box<dyn std::error::Error> {
        self.wishes.is_misfit = true;
        match self.origin {
            Some(origin) => format!("{error} (from {})", shown(&origin.sender)).into(),
            None => error.to_string().into(),
        }
    }

    /// Cancels a timer; `false` if it has fired, or was cancelled before.
    pub fn cancel(&mut self, timer: TimerId) -> bool {
        self.wishes.timers.cancel(timer)
    }

    /// Subscribes to all topics that start with these bytes. Hooks follow after the current handler.
    ///
    /// # Errors
    /// As [`crate::Node::subscribe`].
    pub fn subscribe(&mut self, prefix: impl Into<BString>) -> Result<(), NodeError> {
        let prefix = prefix.into();
        self.bus.subscribe(&prefix)?;
        self.wishes.subscriptions.push_back((true, prefix));
        Ok(())
    }

    /// Ends a subscription. Hooks follow after the current handler.
    ///
    /// # Errors
    /// As [`crate::Node::unsubscribe`].
    pub fn unsubscribe(&mut self, prefix: impl Into<BString>) -> Result<(), NodeError> {
        let prefix = prefix.into();
        self.bus.unsubscribe(&prefix)?;
        self.wishes.subscriptions.push_back((false, prefix));
        Ok(())
    }

    /// Lets this process publish to a topic: see [`crate::Node::publish_topic`].
    pub fn publish_topic(&mut self, topic: impl Into<BString>) -> bool {
        self.bus.publish_topic(topic.into())
    }

    /// Withdraws that: see [`crate::Node::unpublish_topic`].
    pub fn unpublish_topic(&mut self, topic: impl AsRef<[u8]>) -> bool {
        self.bus.unpublish_topic(topic.as_ref())
    }

    /// Lets others see subscriptions: see [`crate::Node::advertise_topic`].
    ///
    /// # Errors
    /// As [`crate::Node::subscribe`].
    pub fn advertise_topic(&mut self, prefix: impl Into<BString>) -> Result<bool, NodeError> {
        self.bus.advertise_topic(prefix.into())
    }

    /// Withdraws that: see [`crate::Node::unadvertise_topic`].
    ///
    /// # Errors
    /// As [`crate::Node::subscribe`].
    pub fn unadvertise_topic(&mut self, prefix: impl AsRef<[u8]>) -> Result<bool, NodeError> {
        self.bus.unadvertise_topic(prefix.as_ref())
    }

    /// Writes a line of `cluster.log`. Does not block.
    ///
    /// # Errors
    /// As [`crate::Node::cluster_log`].
    pub fn cluster_log(&mut self, line: &str) -> Result<(), NodeError> {
        self.bus.cluster_log(line)
    }

    /// From now on also publishes events of that name to a topic when they are raised here.
    pub fn auto_publish(&mut self, topic: impl Into<BString>, event: impl Into<BString>) {
        let pair = (event.into(), topic.into());
        if !self.wishes.auto_publish.contains(&pair) {
            self.wishes.auto_publish.push(pair);
        }
    }

    /// Undoes [`Context::auto_publish`]; `false` if there was nothing to undo.
    pub fn auto_unpublish(&mut self, topic: &[u8], event: &[u8]) -> bool {
        let auto_publish = &mut self.wishes.auto_publish;
        let before = auto_publish.len();
        auto_publish.retain(|(name, to)| name != event || to != topic);
        auto_publish.len() < before
    }

    /// Ends the app after what was raised so far.
    pub fn stop(&mut self) {
        self.wishes.stops = true;
    }
}
