//! [`Harness`]: runs an app without sockets and without waiting.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use bstr::{BStr, BString};

use super::bus::Bus;
use super::clock::Now;
use super::engine::Engine;
use super::{App, Origin, own};
use crate::node::topic_rules::{Change, TopicRules};
use crate::node::{BrokerNews, NodeError, pools_of};
use crate::pool::{PoolError, Pools};
use crate::topic::NodeId;
use crate::value::Timestamp;
use crate::{Event, Layout};

/// Runs an [`App`] in a test: feed it events and time, and look at what it publishes.
///
/// ```
/// use std::time::Duration;
/// use zcluster::app::{App, Harness};
/// use zcluster::{Event, Layout};
/// # let text = "[nodes.manager]\nnode_type = \"manager\"\nip = \"127.0.0.1\"\n";
/// # let (layout, _) = Layout::from_toml(text, "layout").unwrap();
///
/// let app = App::new().on_event("Demo::ping", |event, context| {
///     context.publish("demo.pong", &Event::new("Demo::pong", event.args.clone()))?;
///     context.schedule(Duration::from_secs(60), &Event::new("Demo::ping", vec![]))?;
///     Ok(())
/// });
/// let mut harness = Harness::new(app, layout, "manager").unwrap();
/// harness.receive("demo.ping", "somebody", &Event::new("Demo::ping", vec!["hi".into()]));
/// assert_eq!(harness.published()[0].event, Event::new("Demo::pong", vec!["hi".into()]));
/// harness.advance(Duration::from_secs(60));
/// assert_eq!(harness.published()[0].event, Event::new("Demo::pong", vec![]));
/// ```
pub struct Harness {
    engine: Engine,
    bus: Recorder,
    now: Now,
    misfits: u64,
}

impl std::fmt::Debug for Harness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Harness").finish_non_exhaustive()
    }
}

/// An event that an app has published.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// The topic.
    pub topic: BString,
    /// The event.
    pub event: Event,
}

impl Harness {
    /// Starts the app on a node of that name. The layout decides who is in its pools.
    ///
    /// # Errors
    /// As for a node.
    pub fn new(app: App, layout: Layout, name: &str) -> Result<Self, PoolError> {
        Harness::with_id(app, layout, name, NodeId::generate(name, "harness", 1, 1))
    }

    /// As [`Harness::new`], with the id of the process.
    ///
    /// # Errors
    /// As for a node.
    pub fn with_id(app: App, layout: Layout, name: &str, id: NodeId) -> Result<Self, PoolError> {
        let now = Now::read();
        let pools = pools_of(&layout, &[], name, &layout.node_topics())?;
        let bus = Recorder {
            topic_rules: RefCell::new(TopicRules::new(&layout.cluster)),
            own_topic: layout.node_topics().node(name),
            name: name.into(),
            id,
            layout,
            pools: RefCell::new(pools),
            members: RefCell::default(),
            published: RefCell::default(),
            subscriptions: RefCell::default(),
            cluster_log: RefCell::default(),
        };
        let mut harness = Harness { engine: Engine::new(app), bus, now, misfits: 0 };
        harness.engine.start(&harness.bus, now);
        harness.end_turn();
        Ok(harness)
    }

    /// An event comes from the bus, whether the app has subscribed to its topic or not.
    pub fn receive(&mut self, topic: &str, sender: &str, event: &Event) {
        let origin = Origin::new(BStr::new(topic), BStr::new(sender));
        let fits = self.engine.received(&self.bus, event, &origin, self.now);
        self.misfits += u64::from(!fits);
        self.tick();
    }

    /// A node is up.
    pub fn node_up(&mut self, name: &str, id: &str) {
        self.bus.members.borrow_mut().insert(name.into(), NodeId::from_bytes(id));
        self.bus.pools.borrow_mut().node_up(name);
        self.happened(&own::node_up(name, id.as_bytes()));
    }

    /// A node is gone.
    pub fn node_down(&mut self, name: &str, id: &str) {
        self.bus.members.borrow_mut().remove(name);
        self.bus.pools.borrow_mut().node_down(name);
        self.happened(&own::node_down(name, id.as_bytes()));
    }

    /// There is news of the connection to the broker. The app starts while the node connects.
    pub fn broker_news(&mut self, news: &BrokerNews) {
        self.engine.broker_news(&self.bus, news, self.now);
        self.tick();
    }

    fn happened(&mut self, event: &Event) {
        self.engine.happened(&self.bus, event, self.now);
        self.tick();
    }

    fn tick(&mut self) {
        self.engine.tick(&self.bus, self.now);
        self.end_turn();
    }

    /// What hooks raise at the end of a turn begins another one.
    fn end_turn(&mut self) {
        const MANY: usize = 100;
        for _ in 0..MANY {
            self.engine.end_turn(&self.bus, self.now);
        }
    }

    /// Time passes: timers that become due fire, each at its time.
    pub fn advance(&mut self, time: Duration) {
        let end = self.now.after(time);
        // The test may have done something that is finished at the end of a turn.
        self.engine.nudged();
        self.end_turn();
        while !self.engine.is_done()
            && let Some(at) = self.engine.deadline().filter(|at| *at <= end.instant)
        {
            self.now = self.now.after(at.saturating_duration_since(self.now.instant));
            self.tick();
        }
        self.now = end;
    }

    /// Sets the time of day. It then passes with [`Harness::advance`] only.
    pub fn set_time(&mut self, time: Timestamp) {
        self.now.time = time;
    }

    /// What the app has published since the last call.
    pub fn published(&mut self) -> Vec<Published> {
        self.bus.published.take()
    }

    /// What others see of what the app has subscribed to.
    pub fn subscriptions(&self) -> Vec<BString> {
        self.bus.subscriptions.borrow().clone()
    }

    /// The lines of `cluster.log` since the last call.
    pub fn cluster_log(&mut self) -> Vec<String> {
        self.bus.cluster_log.take()
    }

    /// How many events had arguments that did not fit the handlers of [`App::on`].
    pub fn misfits(&self) -> u64 {
        self.misfits
    }

    /// Whether the app would end now.
    pub fn is_done(&self) -> bool {
        self.engine.is_done()
    }

    /// Stops the app: raises `zeek_done`. Returns what it has published since the last call.
    pub fn stop(mut self) -> Vec<Published> {
        self.engine.finish(&self.bus, self.now);
        self.published()
    }
}

/// Remembers what an app does.
struct Recorder {
    name: String,
    own_topic: BString,
    id: NodeId,
    layout: Layout,
    pools: RefCell<Pools>,
    members: RefCell<BTreeMap<String, NodeId>>,
    published: RefCell<Vec<Published>>,
    topic_rules: RefCell<TopicRules>,
    /// What others see of the app's subscriptions.
    subscriptions: RefCell<Vec<BString>>,
    cluster_log: RefCell<Vec<String>>,
}

impl Recorder {
    fn show(&self, changes: Vec<Change>) {
        let mut subscriptions = self.subscriptions.borrow_mut();
        for change in changes {
            match change {
                Change::Subscribe(prefix) => subscriptions.push(prefix),
                Change::Unsubscribe(prefix) => {
                    if let Some(at) = subscriptions.iter().position(|own| *own == prefix) {
                        subscriptions.remove(at);
                    }
                }
            }
        }
    }
}

impl Bus for Recorder {
    fn name(&self) -> &str {
        &self.name
    }

    fn id(&self) -> &NodeId {
        &self.id
    }

    fn members(&self) -> BTreeMap<String, NodeId> {
        self.members.borrow().clone()
    }

    fn publish(&self, topic: &[u8], event: Cow<'_, Event>) -> Result<(), NodeError> {
        if !self.topic_rules.borrow().may_publish(topic) {
            return Err(NodeError::NotPublished { topic: topic.into() });
        }
        let published = Published { topic: topic.into(), event: event.into_owned() };
        self.published.borrow_mut().push(published);
        Ok(())
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn own_topic(&self) -> &BStr {
        self.own_topic.as_ref()
    }

    fn rr_topic(&self, pool: &str, key: &[u8]) -> Option<BString> {
        self.pools.borrow_mut().rr_topic(pool, key)
    }

    fn hrw_topic(&self, pool: &str, key: &[u8]) -> Option<BString> {
        self.pools.borrow().hrw_topic(pool, key)
    }

    fn subscribe(&self, prefix: &[u8]) -> Result<(), NodeError> {
        let changes = self.topic_rules.borrow_mut().subscribe(prefix.into());
        self.show(changes);
        Ok(())
    }

    fn unsubscribe(&self, prefix: &[u8]) -> Result<(), NodeError> {
        let changes = self.topic_rules.borrow_mut().unsubscribe(prefix.into());
        self.show(changes);
        Ok(())
    }

    fn publish_topic(&self, topic: BString) -> bool {
        self.topic_rules.borrow_mut().publish_topic(topic)
    }

    fn unpublish_topic(&self, topic: &[u8]) -> bool {
        self.topic_rules.borrow_mut().unpublish_topic(topic)
    }

    fn advertise_topic(&self, prefix: BString) -> Result<bool, NodeError> {
        let changes = self.topic_rules.borrow_mut().advertise_topic(prefix);
        Ok(changes.map(|changes| self.show(changes)).is_some())
    }

    fn unadvertise_topic(&self, prefix: &[u8]) -> Result<bool, NodeError> {
        let changes = self.topic_rules.borrow_mut().unadvertise_topic(prefix);
        Ok(changes.map(|changes| self.show(changes)).is_some())
    }

    fn cluster_log(&self, line: &str) -> Result<(), NodeError> {
        self.cluster_log.borrow_mut().push(line.to_owned());
        Ok(())
    }
}
