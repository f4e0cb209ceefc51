//! [`Connection`]: the two sockets of a client, and whether the broker has answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bstr::BString;

use super::ClientError;
use crate::access::ClientKeys;
use crate::layout::{EventSerializer, Layout};
use crate::node::bus::{Bus, Link, SubscriptionChange};
use crate::node::identity::new_client_id;
use crate::node::inquiry::{Answer, Inquiry};
use crate::node::watch::{MUTE, NO_ANSWER, Watch};
use crate::telemetry::{NodeMetrics, Telemetry};
use crate::topic::NodeId;
use crate::transport::{Context, PollSet, Received, TransportError, Waker};
use crate::wire::event_format::EventFormat;

/// Subscriptions and events looked at before the rest gets its turn.
const SHARE: u32 = 1_000;
/// How long it may take to find out why the broker cannot be reached.
const INQUIRY_PATIENCE: Duration = Duration::from_millis(1_500);

/// How far the broker has answered.
///
/// The first probe may come back before subscriptions that went out with it, as those that a
/// connection begins with are in no particular order. Whatever was sent before the second one is
/// known once that comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    FirstProbe,
    SecondProbe,
    Ready,
}

/// Connected, or trying to.
pub(super) struct Connection {
    bus: Bus,
    layout: Arc<Layout>,
    id: NodeId,
    format: EventFormat,
    metrics: Arc<NodeMetrics>,
    stage: Stage,
    /// The subscription that is awaited, and the number of those before it.
    probe: BString,
    probes: u64,
    /// How often the connection was lost.
    losses: u64,
    broker: Watch,
    /// The last line about it, for [`Connection::report_broker`].
    news: Option<String>,
    waker: Arc<Waker>,
    /// Last: it ends only after all sockets are closed.
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
    /// Starts to connect. `name`: what the key stands for, which the id must say, too.
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
        let format = match layout.cluster.event_serializer {
            EventSerializer::BrokerBinV1 => EventFormat::BrokerBinV1,
            EventSerializer::BrokerJsonV1 => EventFormat::BrokerJsonV1,
        };
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

    /// Whether the broker knows our subscriptions, and we know those of all others.
    pub(super) fn is_ready(&self) -> bool {
        self.stage == Stage::Ready
    }

    /// How often the connection was lost so far.
    pub(super) fn losses(&self) -> u64 {
        self.losses
    }

    /// Whether anybody subscribes to that topic. Only once ready.
    pub(super) fn is_wanted(&self, topic: &[u8]) -> bool {
        self.bus.is_wanted(topic)
    }

    /// Whether the broker has taken our subscription to that prefix. Only once ready; where somebody
    /// else has it as well, the answer is yes.
    pub(super) fn has_subscribed(&self, prefix: &[u8]) -> bool {
        self.bus.is_subscribed(prefix)
    }

    pub(super) fn subscribe(&mut self, prefix: BString) -> Result<(), TransportError> {
        self.bus.subscribe(prefix)
    }

    /// Hands an event to libzmq; `false` when there is no room.
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
        self.bus.next_event(self.format, &mut budget, now)
    }

    /// Takes in what happened to the connection and to subscriptions.
    pub(super) fn turn(&mut self, now: Instant) -> Result<(), ClientError> {
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
                    self.bus.unsubscribe(&prefix)?;
                }
                Stage::Ready => {}
            }
        }
        let news = self.broker.look_at_broker(&mut self.bus, self.stage == Stage::Ready, now);
        self.news = news.or(self.news.take());
        Ok(())
    }

    fn send_probe(&mut self, stage: Stage) -> Result<(), TransportError> {
        self.stage = stage;
        self.probes += 1;
        let prefix = &self.layout.zeromq.internal_topic_prefix;
        let topic = BString::from(format!("{prefix}{}.{}.", self.id, self.probes));
        let old = std::mem::replace(&mut self.probe, topic.clone());
        self.bus.unsubscribe(&old)?;
        self.bus.subscribe(topic)
    }

    /// Waits until something may have happened. Blocks for that long at most.
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
    /// That it has not by then, and why.
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

    /// Why an endpoint cannot be reached. Blocks for a while.
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

    /// Logs that the broker is lost, back, or was never there; for clients that keep trying.
    pub(super) fn report_broker(&mut self) {
        if let Some(line) = self.news.take() {
            log::warn!("{line}");
        }
    }

    /// When [`Connection::turn`] is due although nothing happens.
    pub(super) fn due(&self) -> Option<Instant> {
        self.broker.deadline()
    }

    /// Where events go.
    pub(super) fn publish_endpoint(&self) -> String {
        self.layout.connect_xpub_endpoint()
    }

    /// Lets what was published leave, for that long at most; `false` when the time was up. Blocks.
    pub(super) fn close(self, patience: Duration) -> Result<bool, TransportError> {
        /// How exact the clock is by which libzmq gives up what a closed socket holds.
        const MARGIN: Duration = Duration::from_millis(20);
        let Connection { bus, context, .. } = self;
        bus.set_linger(i32::try_from(patience.as_millis()).unwrap_or(i32::MAX))?;
        let closed = Instant::now();
        drop(bus);
        drop(context);
        Ok(closed.elapsed() + MARGIN < patience.max(2 * MARGIN))
    }
}
