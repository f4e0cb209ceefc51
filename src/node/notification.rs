//! What a node reports to its application.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bstr::{BStr, BString};
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::broker::BrokerNews;
use crate::event::{Event, EventError, TypedEvent};
use crate::queue::{self, Empty};
use crate::telemetry::{EventFault, NodeMetrics};
use crate::topic::NodeId;
use crate::transport::{Frame, Received};
use crate::wire::event_format::{EventDecodeError, EventFormat};

/// An event or a change, in the order it happened.
#[derive(Debug)]
pub enum Notification {
    /// An event arrived on a subscribed topic.
    Event(ReceivedEvent),
    /// The handshake with a node is complete: events published to its topics reach it.
    NodeUp {
        /// Its name in the layout.
        name: String,
        /// The id of its process.
        id: NodeId,
    },
    /// A node is gone, or was replaced by a new process of that name.
    NodeDown {
        /// Its name in the layout.
        name: String,
        /// The id of the process that is gone.
        id: NodeId,
    },
    /// A process on the bus, perhaps this node, subscribed to a prefix that had no subscriber.
    Subscription(BString),
    /// The last subscriber of a prefix is gone.
    Unsubscription(BString),
    /// The bus has answered: events published from now on reach every subscriber. Repeated after
    /// each loss of the connection.
    Connected,
    /// The connection to the broker is lost; libzmq keeps trying.
    Disconnected,
    /// The same in more detail: each state of the connection to the broker, and what is wrong with it.
    Broker(BrokerNews),
    /// Somebody called [`Node::nudge`](super::Node::nudge).
    Nudged,
}

/// An event as it arrived, not decoded yet.
#[derive(Debug)]
pub struct ReceivedEvent {
    /// Topic, sender, format, payload: always four.
    frames: Vec<Frame>,
    format: EventFormat,
    metrics: Arc<NodeMetrics>,
}

impl ReceivedEvent {
    /// `None` unless the message has four frames.
    pub(super) fn new(
        message: Received,
        format: EventFormat,
        metrics: &Arc<NodeMetrics>,
    ) -> Option<Self> {
        let frames = message.frames;
        let metrics = Arc::clone(metrics);
        (frames.len() == 4).then_some(ReceivedEvent { frames, format, metrics })
    }

    /// The topic it was published to.
    pub fn topic(&self) -> &BStr {
        BStr::new(&*self.frames[0])
    }

    /// The id its publisher gave, which may be any bytes.
    pub fn sender(&self) -> &BStr {
        BStr::new(&*self.frames[1])
    }

    /// Its size in bytes, as queues count it.
    pub(super) fn size(&self) -> usize {
        self.frames.iter().map(|frame| frame.len()).sum()
    }

    /// A copy of all bytes, for a second reader.
    pub(super) fn copy(&self) -> Self {
        let frames = self.frames.iter().map(|frame| Frame::from(&**frame)).collect();
        ReceivedEvent { frames, format: self.format, metrics: Arc::clone(&self.metrics) }
    }

    /// The undecoded event.
    pub fn payload(&self) -> &[u8] {
        &self.frames[3]
    }

    /// Decodes the event.
    ///
    /// # Errors
    /// When the payload is not a well-formed event; this is also counted.
    pub fn decode(&self) -> Result<Event, EventDecodeError> {
        let event = self.decode_uncounted();
        self.count(&event);
        event
    }

    /// Decodes the event without counting it, if somebody wants events of its name; otherwise only checks
    /// it, which costs less.
    #[cfg(feature = "app")]
    pub(crate) fn decode_if(
        &self,
        is_wanted: impl FnOnce(&BStr) -> bool,
    ) -> Result<Option<Event>, EventDecodeError> {
        match self.format.quick_name(self.payload()) {
            Some(name) if !is_wanted(name.into()) => {
                self.format.check(self.payload()).map(|()| None)
            }
            _ => self.decode_uncounted().map(Some),
        }
    }

    /// Decodes the event into a struct; `None` if it is another event. To try one type after the
    /// other costs little: a binary event is not decoded to know its name.
    ///
    /// ```
    /// use serde::{Deserialize, Serialize};
    /// use zcluster::Event;
    /// use zcluster::node::{ReceiveError, ReceivedEvent};
    ///
    /// #[derive(Debug, Event, Serialize, Deserialize)]
    /// #[event(name = "Demo::ping")]
    /// struct Ping {
    ///     greeting: String,
    ///     number: u64,
    /// }
    ///
    /// fn handle(received: &ReceivedEvent) -> Result<(), ReceiveError> {
    ///     if let Some(ping) = received.decode_as::<Ping>()? {
    ///         println!("{} says {}", received.sender(), ping.greeting);
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// When the payload is not a well-formed event, or its arguments do not fit the struct; this is
    /// also counted, as `zcluster_event_errors_total` with `reason="payload"` or `"schema"`.
    pub fn decode_as<E: TypedEvent + DeserializeOwned>(&self) -> Result<Option<E>, ReceiveError> {
        if self.format.quick_name(self.payload()).is_some_and(|name| name != E::NAME.as_bytes()) {
            return Ok(None);
        }
        let event = match self.decode_uncounted() {
            Ok(event) if event.name != E::NAME => return Ok(None),
            Ok(event) => event,
            Err(error) => {
                self.metrics.event_errors[EventFault::Payload].inc();
                return Err(ReceiveError::Payload { sender: self.sender().into(), error });
            }
        };
        match E::from_event(event) {
            Ok(event) => {
                self.metrics.incoming_events.inc();
                Ok(Some(event))
            }
            Err(error) => {
                self.metrics.event_errors[EventFault::Schema].inc();
                Err(ReceiveError::Schema { sender: self.sender().into(), error })
            }
        }
    }

    /// Decodes like [`ReceivedEvent::decode`], without counting: for events that may not be for the
    /// caller.
    pub(super) fn decode_uncounted(&self) -> Result<Event, EventDecodeError> {
        self.format.decode(self.payload())
    }

    /// Counts the result of decoding it.
    pub(super) fn count(&self, event: &Result<Event, EventDecodeError>) {
        match event {
            Ok(_) => self.metrics.incoming_events.inc(),
            Err(_) => self.metrics.event_errors[EventFault::Payload].inc(),
        };
    }
}

/// Why a received event is not the typed event it should be.
#[derive(Debug, Error)]
pub enum ReceiveError {
    /// It does not decode.
    #[error("event of {sender}: {error}")]
    Payload {
        /// The id its publisher gave.
        sender: BString,
        /// Why not.
        error: EventDecodeError,
    },
    /// Its arguments do not fit the struct.
    #[error("event of {sender}: {error}")]
    Schema {
        /// The id its publisher gave.
        sender: BString,
        /// The event, the argument, and what is wrong with it.
        error: EventError,
    },
}

/// The receiver of a node's notifications.
///
/// Events beyond `onloop_queue_hwm` that wait here are dropped and counted; member and subscription
/// changes have a separate lane. Dropping the receiver means that the application is not
/// interested: the node keeps running.
#[derive(Debug)]
pub struct Notifications {
    pub(super) queue: queue::Receiver<Notification>,
    /// Whether a [`Notification::Nudged`] is in the queue: one is enough.
    pub(super) is_nudged: Arc<AtomicBool>,
}

impl Notifications {
    /// The next notification. Blocks; `None` once the node has ended.
    pub fn receive(&self) -> Option<Notification> {
        self.queue.receive().inspect(|notification| self.taken(notification))
    }

    /// The next notification, waiting for `patience` at most. Blocks.
    ///
    /// # Errors
    /// [`Empty::TimedOut`], or [`Empty::Closed`] once the node has ended.
    pub fn receive_timeout(&self, patience: Duration) -> Result<Notification, Empty> {
        self.queue.receive_timeout(patience).inspect(|notification| self.taken(notification))
    }

    /// The next notification if there is one. Does not block.
    pub fn try_receive(&self) -> Option<Notification> {
        self.queue.try_receive().inspect(|notification| self.taken(notification))
    }

    fn taken(&self, notification: &Notification) {
        if matches!(notification, Notification::Nudged) {
            self.is_nudged.store(false, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::telemetry::Telemetry;
    use crate::value::Value;

    #[derive(Debug, PartialEq, zcluster::Event, Serialize, Deserialize)]
    #[event(name = "Demo::ping")]
    struct Ping {
        number: u64,
    }

    #[test]
    fn typed_events_are_decoded_and_what_does_not_fit_is_counted() {
        let telemetry = Telemetry::new("worker-1", "node");
        for format in [EventFormat::BrokerBinV1, EventFormat::BrokerJsonV1] {
            let received = |payload: &[u8]| {
                let frames = [b"demo.".as_slice(), b"sender-1", b"format", payload];
                let message = Received { frames: frames.map(Frame::from).into(), count: 4 };
                ReceivedEvent::new(message, format, &Arc::new(telemetry.node().clone())).unwrap()
            };
            let event = |name: &str, arg: Value| {
                let mut payload = Vec::new();
                format.encode(&Event::new(name, vec![arg]), &mut payload);
                received(&payload)
            };
            let ping = event("Demo::ping", 7_u64.into()).decode_as::<Ping>().unwrap();
            assert_eq!(ping, Some(Ping { number: 7 }));
            let other = event("Demo::pong", 7_u64.into()).decode_as::<Ping>().unwrap();
            assert_eq!(other, None);
            let misfit = event("Demo::ping", "7".into()).decode_as::<Ping>().unwrap_err();
            assert_eq!(
                misfit.to_string(),
                "event of sender-1: Demo::ping: argument 1, number: expected count, found string"
            );
            let broken = received(b"{").decode_as::<Ping>().unwrap_err();
            assert!(matches!(broken, ReceiveError::Payload { .. }), "{broken}");
        }
        let node = telemetry.node();
        let counts = [
            node.incoming_events.get(),
            node.event_errors[EventFault::Schema].get(),
            node.event_errors[EventFault::Payload].get(),
            node.event_errors[EventFault::Format].get(),
        ];
        assert_eq!(counts, [2, 2, 2, 0]);
    }
}
