//! [`Publisher`]: sends events.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ClientError;
use super::connection::Connection;
use crate::access::{Access, Denial, Guard, Identity};
use crate::event::ToEvent;
use crate::layout::Layout;
use crate::topic::NodeId;

/// Time between attempts to publish while libzmq has no room.
const ROOM_RETRY: Duration = Duration::from_millis(5);

/// Whether an event reaches a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Its topic has a subscriber.
    Somebody,
    /// Its topic has none: the event was discarded.
    Nobody,
}

/// Publishes events. Created by [`Client::publisher`](super::Client::publisher).
#[derive(Debug)]
pub struct Publisher {
    connection: Connection,
    /// What the layout lets the owner of the key publish, if the key has a name.
    guard: Option<(String, Guard)>,
    sent: u64,
    /// How often the connection had been lost when the first event was sent.
    losses_before: u64,
}

impl Publisher {
    pub(super) fn new(connection: Connection, layout: &Layout, name: Option<String>) -> Self {
        let guard = name.map(|name| {
            let identity = Identity::Node(name.as_str().into());
            let guard = Guard::new(Arc::new(Access::of_client(layout)), identity);
            (name, guard)
        });
        Publisher { connection, guard, sent: 0, losses_before: 0 }
    }

    /// The sender id of its events.
    pub fn id(&self) -> &NodeId {
        self.connection.id()
    }

    /// Waits until the broker has answered, so that all subscriptions are known. Blocks for
    /// `patience` at most. [`Publisher::publish`] does this by itself.
    ///
    /// # Errors
    /// When the broker has not answered in time, or never will.
    pub fn wait_until_ready(&mut self, patience: Duration) -> Result<(), ClientError> {
        self.connection.wait_until_ready(Instant::now(), patience)
    }

    /// Publishes an event, [typed](crate::TypedEvent) or not, once all subscriptions are known.
    /// Blocks for `patience` at most.
    ///
    /// # Errors
    /// Those of [`Publisher::wait_until_ready`]; also when there is no room for the event in time,
    /// the layout does not let the client publish it, or an argument of a typed event has no form in
    /// Zeek. The event is then not published.
    pub fn publish(
        &mut self,
        topic: impl AsRef<[u8]>,
        event: &(impl ToEvent + ?Sized),
        patience: Duration,
    ) -> Result<Reach, ClientError> {
        let topic = topic.as_ref();
        let mut payload = Vec::with_capacity(256);
        self.connection.format().encode(&*event.to_event()?, &mut payload);
        self.check(topic, &payload)?;
        let since = Instant::now();
        loop {
            let left = patience.saturating_sub(since.elapsed());
            self.connection.wait_until_ready(since, patience)?;
            if self.sent == 0 {
                self.losses_before = self.connection.losses();
            }
            if self.connection.try_publish(topic, &payload)? {
                self.sent += 1;
                let is_wanted = self.connection.is_wanted(topic);
                return Ok(if is_wanted { Reach::Somebody } else { Reach::Nobody });
            }
            if left.is_zero() {
                let endpoint = self.connection.publish_endpoint();
                return Err(ClientError::Full { endpoint, waited: patience });
            }
            self.connection.wait(left.min(ROOM_RETRY))?;
        }
    }

    /// The broker refuses what the rules forbid, but reports that only in its own log.
    fn check(&mut self, topic: &[u8], payload: &[u8]) -> Result<(), ClientError> {
        let Some((name, guard)) = &mut self.guard else { return Ok(()) };
        let format = self.connection.format().name().as_bytes();
        match guard.check_event(topic, self.connection.id().as_bytes(), format, payload) {
            Ok(()) => Ok(()),
            Err(Denial::Impersonation) => Err(ClientError::Impersonation { who: name.clone() }),
            Err(_) => Err(ClientError::PublishDenied { who: name.clone(), topic: topic.into() }),
        }
    }

    /// How many events were published.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Sends all events to the broker, and disconnects. Blocks for `patience` at most. Dropping a
    /// publisher also sends them, for `linger_ms`, but does not report losses.
    ///
    /// # Errors
    /// When some may not have reached the broker: it read them too slowly, or the connection was
    /// lost meanwhile.
    pub fn finish(mut self, patience: Duration) -> Result<(), ClientError> {
        let outcome = self.connection.turn(Instant::now());
        let (sent, endpoint) = (self.sent, self.connection.publish_endpoint());
        let losses = self.connection.losses() - self.losses_before;
        let has_left = self.connection.close(patience)?;
        outcome?;
        if sent == 0 {
            return Ok(());
        }
        let why = if losses > 0 {
            format!("the connection to {endpoint} was lost meanwhile")
        } else if has_left {
            return Ok(());
        } else {
            let patience = humantime::format_duration(patience);
            format!("{endpoint} did not read all of them within {patience}")
        };
        Err(ClientError::Unsure { sent, why })
    }
}
