//! [`App`]: handlers of events, as in a Zeek script, on a node.
//!
//! Everything that happens is an event: what other nodes publish, nodes that come and go, timers,
//! and what handlers raise themselves. Handlers run one after the other, on the thread that called
//! [`App::run`]; so they may share state through [`std::rc::Rc`] and [`std::cell::RefCell`].
//!
//! ```no_run
//! use serde::{Deserialize, Serialize};
//! use zcluster::app::{App, NodeUp};
//! use zcluster::{Event, Node};
//!
//! #[derive(Event, Serialize, Deserialize)]
//! #[event(name = "Demo::hello")]
//! struct Hello {
//!     name: String,
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let loaded = zcluster::layout::load("cluster-layout.toml", |name| std::env::var(name).ok())?;
//! let (node, notifications) = Node::builder(loaded.layout, "worker-1").start()?;
//! App::new()
//!     .subscribe("demo.")
//!     .on::<NodeUp>(|node, context| {
//!         context.publish("demo.greetings", &Hello { name: node.name })?;
//!         Ok(())
//!     })
//!     .on::<Hello>(|hello, _| {
//!         println!("hello, {}", hello.name);
//!         Ok(())
//!     })
//!     .run(&node, &notifications)?;
//! # Ok(())
//! # }
//! ```
//!
//! # Events of the app itself
//!
//! | event | when |
//! |---|---|
//! | `zeek_init()` | the app starts |
//! | `Cluster::node_up(name, id)`, `Cluster::node_down(name, id)`: [`NodeUp`], [`NodeDown`] | the handshake with a node is complete; it is gone |
//! | `Cluster::Backend::ZeroMQ::subscription(topic)`, `…::unsubscription(topic)`: [`Subscription`], [`Unsubscription`] | a prefix has its first subscriber, or none any more |
//! | `zeek_done()` | the app stops; what handlers publish now is still sent, unless the node has ended |
//!
//! Nobody else can raise these: if they come from the bus, they are dropped and a warning is logged.
//!
//! The handlers do not know of the bus, only of what [`Context`] offers; [`Harness`] runs them
//! without one.

mod bus;
mod clock;
mod cluster;
mod context;
mod engine;
mod handlers;
mod harness;
mod inbox;
mod own;
mod timers;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bstr::{BStr, BString};
use serde::de::DeserializeOwned;

pub use clock::Clock;
pub use cluster::Cluster;
pub use context::{Context, Origin};
#[cfg(any(feature = "store", feature = "table"))]
pub(crate) use engine::guarded;
pub use harness::{Harness, Published};
pub use inbox::{Inbox, InboxError};
pub use own::{NodeDown, NodeUp, Subscription, Unsubscription};
pub use timers::TimerId;

use crate::Event;
use crate::event::TypedEvent;
use crate::node::{BrokerNews, Node, NodeError, Notification, Notifications};
use crate::queue::Empty;
use crate::telemetry::EventFault;
use clock::Now;
use engine::Engine;
use handlers::Handlers;

/// What a handler returns. An error is logged with its event, and the app goes on.
pub type Outcome = Result<(), Box<dyn std::error::Error>>;

/// How long a handler may take before a warning is logged.
pub const SLOW_HANDLER: Duration = Duration::from_secs(1);

/// Handlers of events, and how they are run.
#[derive(Debug)]
pub struct App {
    handlers: Handlers,
    subscriptions: Vec<BString>,
    auto_publish: Vec<(BString, BString)>,
    add_network_timestamps: bool,
    peer_counts_as_iosource: bool,
    slow_handler: Duration,
    is_stopped: Arc<AtomicBool>,
    clock: Clock,
    inbox: Option<inbox::Taken>,
    /// Events that only this process may raise.
    own_events: HashSet<BString>,
}

impl Default for App {
    fn default() -> Self {
        App {
            handlers: Handlers::default(),
            subscriptions: Vec::new(),
            auto_publish: Vec::new(),
            add_network_timestamps: false,
            peer_counts_as_iosource: true,
            slow_handler: SLOW_HANDLER,
            is_stopped: Arc::default(),
            clock: Clock::default(),
            inbox: None,
            own_events: own::NAMES.into_iter().map(BString::from).collect(),
        }
    }
}

impl App {
    /// An app without handlers.
    pub fn new() -> Self {
        App::default()
    }

    /// Adds the handlers of a part of the app: see [`Module`].
    #[must_use]
    pub fn with(self, module: impl Module) -> Self {
        module.install(self)
    }

    /// The time of the app, for modules.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Events of that name can be raised by this process only: if they come from the bus, they are
    /// dropped and a warning is logged.
    #[must_use]
    pub fn own_event(mut self, name: impl Into<BString>) -> Self {
        self.own_events.insert(name.into());
        self
    }

    /// Handles events of a type with priority 0: see [`App::on_with`].
    #[must_use]
    pub fn on<E: TypedEvent + DeserializeOwned>(
        self,
        handler: impl FnMut(E, &mut Context<'_>) -> Outcome + 'static,
    ) -> Self {
        self.on_with(0, handler)
    }

    /// Handles events of a type, with a priority as in [`App::on_event_with`]. An event whose arguments do
    /// not fit reaches no handler of this kind; it is logged, and counted as
    /// `zcluster_event_errors_total{reason="schema"}`.
    #[must_use]
    pub fn on_with<E: TypedEvent + DeserializeOwned>(
        self,
        priority: i64,
        mut handler: impl FnMut(E, &mut Context<'_>) -> Outcome + 'static,
    ) -> Self {
        self.on_event_with(priority, E::NAME, move |event, context| match E::from_event(event) {
            Ok(event) => handler(event, context),
            Err(error) => Err(context.misfit(&error)),
        })
    }

    /// Handles events of that name with priority 0: see [`App::on_event_with`].
    #[must_use]
    pub fn on_event(
        self,
        name: impl Into<BString>,
        handler: impl FnMut(&Event, &mut Context<'_>) -> Outcome + 'static,
    ) -> Self {
        self.on_event_with(0, name, handler)
    }

    /// Handles events of that name. As in Zeek, handlers with higher priorities come first, and equal
    /// ones in the order in which they are added here.
    #[must_use]
    pub fn on_event_with(
        mut self,
        priority: i64,
        name: impl Into<BString>,
        handler: impl FnMut(&Event, &mut Context<'_>) -> Outcome + 'static,
    ) -> Self {
        self.handlers.add(priority, name.into(), Box::new(handler));
        self
    }

    /// Handles every event, after the handlers of its name.
    #[must_use]
    pub fn on_any(
        mut self,
        handler: impl FnMut(&Event, &mut Context<'_>) -> Outcome + 'static,
    ) -> Self {
        self.handlers.of_any.push(Box::new(handler));
        self
    }

    /// Calls a hook whenever the app subscribes to a prefix (`Cluster::on_subscribe`).
    #[must_use]
    pub fn on_subscribe(
        mut self,
        hook: impl FnMut(&BStr, &mut Context<'_>) -> Outcome + 'static,
    ) -> Self {
        self.handlers.on_subscribe.push(Box::new(hook));
        self
    }

    /// Calls a hook whenever the app ends a subscription (`Cluster::on_unsubscribe`).
    #[must_use]
    pub fn on_unsubscribe(
        mut self,
        hook: impl FnMut(&BStr, &mut Context<'_>) -> Outcome + 'static,
    ) -> Self {
        self.handlers.on_unsubscribe.push(Box::new(hook));
        self
    }

    /// Calls a hook with all news of the connection to the broker.
    #[must_use]
    pub fn on_broker_news(
        mut self,
        hook: impl FnMut(&BrokerNews, &mut Context<'_>) -> Outcome + 'static,
    ) -> Self {
        self.handlers.on_broker_news.push(Box::new(hook));
        self
    }

    /// Calls a hook when the app has handled what there was, before it waits for more, and at the latest after
    /// some hundred events: for work that is cheaper for many at once. Also after [`Node::nudge`], so that other threads
    /// can have something done here.
    #[must_use]
    pub fn at_end_of_turn(
        mut self,
        hook: impl FnMut(&mut Context<'_>) -> Outcome + 'static,
    ) -> Self {
        self.handlers.at_end_of_turn.push(Box::new(hook));
        self
    }

    /// Subscribes to all topics that start with these bytes when the app starts.
    #[must_use]
    pub fn subscribe(mut self, prefix: impl Into<BString>) -> Self {
        self.subscriptions.push(prefix.into());
        self
    }

    /// Publishes events of that name to a topic, too, whenever a handler or a timer raises them
    /// (`Broker::auto_publish`).
    #[must_use]
    pub fn auto_publish(mut self, topic: impl Into<BString>, event: impl Into<BString>) -> Self {
        self.auto_publish.push((event.into(), topic.into()));
        self
    }

    /// Gives each published event the network time as metadata (`EventMetadata::NETWORK_TIMESTAMP`):
    /// that of the event being handled if it has one, otherwise the time of day. Off by default, as
    /// in Zeek.
    #[must_use]
    pub fn add_network_timestamps(mut self, on: bool) -> Self {
        self.add_network_timestamps = on;
        self
    }

    /// Whether the connection to the cluster keeps the app running (`Broker::peer_counts_as_iosource`,
    /// true by default). If not, it ends when no timer and no inbox is left.
    #[must_use]
    pub fn peer_counts_as_iosource(mut self, on: bool) -> Self {
        self.peer_counts_as_iosource = on;
        self
    }

    /// Warns of handlers that take longer than this; [`SLOW_HANDLER`] by default.
    #[must_use]
    pub fn warn_after(mut self, time: Duration) -> Self {
        self.slow_handler = time;
        self
    }

    /// Lets another thread stop the app; the last call counts.
    #[must_use]
    pub fn stopped_by(mut self, stopper: &Stopper) -> Self {
        self.is_stopped = Arc::clone(&stopper.is_stopped);
        self
    }

    /// Takes events from other threads; the last call counts. An inbox feeds one app.
    #[must_use]
    pub fn inbox(mut self, inbox: &Inbox) -> Self {
        self.inbox = inbox.take();
        self
    }

    /// Runs the app on a node until it is stopped, its work is done, or the node ends. Blocks.
    ///
    /// # Errors
    /// Why the node has ended by itself.
    pub fn run(self, node: &Node, notifications: &Notifications) -> Result<(), NodeError> {
        let mut engine = Engine::new(self);
        engine.start(node, Now::read());
        // Whoever has read notifications before may have taken the one that says that the inbox is not empty.
        let mut has_more = true;
        while !engine.is_done() {
            let next = match engine.deadline() {
                _ if has_more || engine.is_in_turn() => {
                    notifications.receive_timeout(Duration::ZERO)
                }
                Some(at) => {
                    let patience = at.saturating_duration_since(Instant::now());
                    notifications.receive_timeout(patience)
                }
                None => notifications.receive().ok_or(Empty::Closed),
            };
            let now = Now::read();
            match next {
                Ok(notification) => notified(&mut engine, node, notification, now),
                Err(Empty::TimedOut) => engine.end_turn(node, now),
                Err(Empty::Closed) => {
                    engine.finish(node, now);
                    return node.take_failure().map_or(Ok(()), Err);
                }
            }
            engine.tick(node, now);
            has_more = engine.take_raised(node, now) || engine.has_pending();
            if engine.is_turn_long() {
                engine.end_turn(node, now);
            }
        }
        engine.finish(node, Now::read());
        Ok(())
    }
}

/// A part of an app that brings its own handlers. A function from an app to an app is one, too.
pub trait Module {
    /// Adds the handlers.
    fn install(self, app: App) -> App;
}

impl<F: FnOnce(App) -> App> Module for F {
    fn install(self, app: App) -> App {
        self(app)
    }
}

fn notified(engine: &mut Engine, node: &Node, notification: Notification, now: Now) {
    let event = match notification {
        Notification::Event(received) => {
            let origin = Origin::new(received.topic(), received.sender());
            let metrics = node.telemetry().node();
            match received.decode_if(|name| engine.wants(name)) {
                Ok(None) => _ = metrics.incoming_events.inc(),
                Ok(Some(event)) if engine.received(node, &event, &origin, now) => {
                    metrics.incoming_events.inc();
                }
                Ok(Some(_)) => _ = metrics.event_errors[EventFault::Schema].inc(),
                Err(error) => {
                    metrics.event_errors[EventFault::Payload].inc();
                    engine.undecodable(&origin, &error, now);
                }
            }
            return;
        }
        Notification::NodeUp { name, id } => own::node_up(&name, id.as_bytes()),
        Notification::NodeDown { name, id } => own::node_down(&name, id.as_bytes()),
        Notification::Subscription(prefix) => own::subscription(prefix),
        Notification::Unsubscription(prefix) => own::unsubscription(prefix),
        Notification::Broker(news) => return engine.broker_news(node, &news, now),
        Notification::Nudged => return engine.nudged(),
        Notification::Connected | Notification::Disconnected => return,
    };
    engine.happened(node, &event, now);
}

/// Stops an [`App`], from any thread.
#[derive(Clone, Debug)]
pub struct Stopper {
    is_stopped: Arc<AtomicBool>,
    node: Node,
}

impl Stopper {
    /// For an app that will run on this node.
    pub fn new(node: &Node) -> Self {
        Stopper { is_stopped: Arc::default(), node: node.clone() }
    }

    /// Ends [`App::run`] after the current handler. Does not block.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        // If the queue is full, the app has enough to wake up for, and if the node has ended, so has the app.
        _ = self.node.nudge();
    }
}
