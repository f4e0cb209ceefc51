//! What a node reports to its application.

use std::sync::Arc;
use std::time::Duration;

use bstr::{BStr, BString};

use crate::Event;
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

/// The receiver of a node's notifications.
///
/// Events beyond `onloop_queue_hwm` that wait here are dropped and counted; member and subscription
/// changes have a separate lane. Dropping the receiver means that the application is not
/// interested: the node keeps running.
#[derive(Debug)]
pub struct Notifications {
    pub(super) queue: queue::Receiver<Notification>,
}

impl Notifications {
    /// The next notification. Blocks; `None` once the node has ended.
    pub fn receive(&self) -> Option<Notification> {
        self.queue.receive()
    }

    /// The next notification, waiting for `patience` at most. Blocks.
    ///
    /// # Errors
    /// [`Empty::TimedOut`], or [`Empty::Closed`] once the node has ended.
    pub fn receive_timeout(&self, patience: Duration) -> Result<Notification, Empty> {
        self.queue.receive_timeout(patience)
    }

    /// The next notification if there is one. Does not block.
    pub fn try_receive(&self) -> Option<Notification> {
        self.queue.try_receive()
    }
}
