//! [`Connection`]: the two sockets of a client, and whether the broker has answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bstr::BString;

use super::ClientError;
use crate::access::ClientKeys;
use crate::layout::Layout;
use crate::node::bus::{Bus, Link, SubscriptionChange};
use crate::node::identity::new_client_id;
use crate::node::inquiry::{Answer, Inquiry};
use crate::node::subscriptions::Reader;
use crate::node::watch::{MUTE, NO_ANSWER, Watch};
use crate::telemetry::{NodeMetrics, Telemetry};
use crate::topic::NodeId;
use crate::transport::{Context, PollSet, Received, TransportError, Waker};
use crate::wire::event_format::EventFormat;

/// Subscriptions and events handled per turn before other work continues.
const SHARE: u32 = 1_000;
/// How long finding out why the broker is unreachable may take.
const INQUIRY_PATIENCE: Duration = Duration::from_millis(1_500);

/// How far the broker has answered.
///
/// The first probe may come back before subscriptions sent together with it, because a new
/// connection sends its subscriptions in no particular order. When the second probe comes back,
/// everything sent before it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    FirstProbe,
    SecondProbe,
    Ready,
}

/// A connection to the broker, or the attempt to make one.
pub(super) struct Connection {
    bus: Bus,
    layout: Arc<Layout>,
    id: NodeId,
    format: EventFormat,
    metrics: Arc<NodeMetrics>,
    stage: Stage,
    /// The subscription the client waits for, and how many probes it has sent.
    probe: BString,
    probes: u64,
    /// How often the connection was lost.
    losses: u64,
    broker: Watch,
    /// The latest log line about the broker, for [`Connection::report_broker`].
    news: Option<String>,
    waker: Arc<Waker>,
    /// Last, so that it is dropped after all sockets.
    context: Context,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("id", &self.id)
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Starts to connect. `name` is the name the key belongs to; the id must contain it, too.
    pub(super) fn new(
        layout: Arc<Layout>,
        keys: Option<&ClientKeys>,
        name: Option<&str>,
    ) -> Result<Self, ClientError> {
        let id = new_client_id(name)?;
        let telemetry = Telemetry::new(name.unwrap_or_default(), "node");
        let metrics = telemetry.node().clone();
        let context = Context::new(1)?;
        let bus = Bus::connect(&context, &layout, keys, id.clone(), metrics.clone())?;
        let format = layout.cluster.event_serializer.format();
        let waker = Arc::new(Waker::new()?);
        let mut connection = Connection {
            bus,
            layout,
            id,
            format,
            metrics: Arc::new(metrics),
            stage: Stage::FirstProbe,
            probe: BString::default(),
            probes: 0,
            losses: 0,
            broker: Watch::new("broker", Arc::clone(&waker), Instant::now()),
            news: None,
            waker,
            context,
        };
        connection.send_probe(Stage::FirstProbe)?;
        Ok(connection)
    }

    pub(super) fn id(&self) -> &NodeId {
        &self.id
    }

    pub(super) fn format(&self) -> EventFormat {
        self.format
    }

    pub(super) fn metrics(&self) -> &Arc<NodeMetrics> {
        &self.metrics
    }

    /// Whether the broker knows our subscriptions, and we know everyone else's.
    pub(super) fn is_ready(&self) -> bool {
        self.stage == Stage::Ready
    }

    /// How often the connection was lost so far.
    pub(super) fn losses(&self) -> u64 {
        self.losses
    }

    /// Whether the topic has a subscriber. Valid only once ready.
    pub(super) fn is_wanted(&self, topic: &[u8]) -> bool {
        self.bus.is_wanted(topic)
    }

    /// Whether the broker has accepted our subscription to `prefix`. Valid only once ready; also
    /// true if another process has the same subscription.
    pub(super) fn has_subscribed(&self, prefix: &[u8]) -> bool {
        self.bus.is_subscribed(prefix)
    }

    pub(super) fn subscribe(&mut self, prefix: BString) -> Result<(), TransportError> {
        self.bus.subscribe(prefix, Reader::Node)
    }

    /// Hands an event to libzmq; `false` if it has no room.
    pub(super) fn try_publish(
        &mut self,
        topic: &[u8],
        payload: &[u8],
    ) -> Result<bool, TransportError> {
        self.bus.try_publish(topic, self.format, payload)
    }

    /// The next event, if one has arrived.
    pub(super) fn next_event(&mut self, now: Instant) -> Result<Option<Received>, TransportError> {
        let mut budget = SHARE;
        Ok(self.bus.next_event(self.format, &mut budget, now)?.map(|incoming| incoming.message))
    }

    /// Handles what happened to the connection and to subscriptions.
    pub(super) fn turn(&mut self, now: Instant) -> Result<(), ClientError> {
        // The bus reads what a poll has shown, and a program may publish without ever waiting.
        self.wait(Duration::ZERO)?;
        for link in self.bus.read_connections(now)? {
            if link == Link::Down {
                self.losses += 1;
                self.bus.forget_subscriptions();
                self.send_probe(Stage::FirstProbe)?;
            }
        }
        let mut budget = SHARE;
        while let Some(change) = self.bus.next_subscription(&mut budget, now)? {
            let SubscriptionChange::Subscribed { prefix, .. } = change else { continue };
            if prefix != self.probe {
                continue;
            }
            match self.stage {
                Stage::FirstProbe => self.send_probe(Stage::SecondProbe)?,
                Stage::SecondProbe => {
                    self.stage = Stage::Ready;
                    self.bus.unsubscribe(&prefix, Reader::Node)?;
                }
                Stage::Ready => {}
            }
        }
        let news = self.broker.look_at_broker(&mut self.bus, self.stage == Stage::Ready, now);
        self.news = news.map(|report| report.line).or(self.news.take());
        Ok(())
    }

    fn send_probe(&mut self, stage: Stage) -> Result<(), TransportError> {
        self.stage = stage;
        self.probes += 1;
        let prefix = &self.layout.zeromq.internal_topic_prefix;
        let topic = BString::from(format!("{prefix}{}.{}.", self.id, self.probes));
        let old = std::mem::replace(&mut self.probe, topic.clone());
        self.bus.unsubscribe(&old, Reader::Node)?;
        self.bus.subscribe(topic, Reader::Node)
    }

    /// Waits until something may have happened. Blocks for `timeout` at most.
    pub(super) fn wait(&self, timeout: Duration) -> Result<(), TransportError> {
        let mut poll = PollSet::new();
        let waker = poll.add_waker(&self.waker);
        self.bus.poll(&mut poll);
        poll.wait(Some(timeout))?;
        if poll.is_readable(waker) {
            self.waker.reset();
        }
        Ok(())
    }

    /// Waits until the broker has answered. Blocks.
    ///
    /// # Errors
    /// When it has not answered `patience` after `since`; the error says why.
    pub(super) fn wait_until_ready(
        &mut self,
        since: Instant,
        patience: Duration,
    ) -> Result<(), ClientError> {
        loop {
            self.turn(Instant::now())?;
            if self.is_ready() {
                return Ok(());
            }
            let left = patience.saturating_sub(since.elapsed());
            if left.is_zero() {
                return Err(self.unreachable(patience)?);
            }
            let due = self.due().map(|due| due.saturating_duration_since(Instant::now()));
            self.wait(due.map_or(left, |due| due.min(left)))?;
        }
    }

    fn unreachable(&self, waited: Duration) -> Result<ClientError, ClientError> {
        let (endpoint, why) = match (self.bus.missing(), self.broker.cause()) {
            (Some(endpoint), Some(cause)) => (endpoint.to_owned(), cause.to_owned()),
            (Some(endpoint), None) => (endpoint.to_owned(), self.ask_why(endpoint.to_owned())?),
            (None, _) => (self.layout.connect_xpub_endpoint(), MUTE.to_owned()),
        };
        Ok(ClientError::Unreachable { endpoint, waited, why })
    }

    /// Returns why an endpoint cannot be reached. Blocks for a while.
    fn ask_why(&self, endpoint: String) -> Result<String, ClientError> {
        let inquiry = Inquiry::begin(endpoint, Arc::clone(&self.waker))?;
        let deadline = Instant::now() + INQUIRY_PATIENCE;
        loop {
            match inquiry.answer() {
                Some(Answer::Unreachable(why)) => return Ok(why),
                Some(Answer::Listens) => return Ok(NO_ANSWER.into()),
                None => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(NO_ANSWER.into());
            }
            let mut poll = PollSet::new();
            let waker = poll.add_waker(&self.waker);
            poll.wait(Some(left))?;
            if poll.is_readable(waker) {
                self.waker.reset();
            }
        }
    }

    /// Logs that the broker is lost, back, or has never answered; for clients that keep trying.
    pub(super) fn report_broker(&mut self) {
        if let Some(line) = self.news.take() {
            log::warn!("{line}");
        }
    }

    /// When to call [`Connection::turn`] even if nothing happens.
    pub(super) fn due(&self) -> Option<Instant> {
        self.broker.deadline()
    }

    /// The endpoint that events are sent to.
    pub(super) fn publish_endpoint(&self) -> String {
        self.layout.connect_xpub_endpoint()
    }

    /// Sends what is still queued, for `patience` at most; `false` if time ran out. Blocks.
    pub(super) fn close(self, patience: Duration) -> Result<bool, TransportError> {
        /// How precise libzmq's clock is when it gives up on what a closed socket still holds.
        const MARGIN: Duration = Duration::from_millis(20);
        let Connection { bus, context, .. } = self;
        bus.set_linger(i32::try_from(patience.as_millis()).unwrap_or(i32::MAX))?;
        let closed = Instant::now();
        drop(bus);
        drop(context);
        Ok(closed.elapsed() + MARGIN < patience.max(2 * MARGIN))
    }
}
