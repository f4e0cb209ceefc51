//! [`Subscriber`]: receives events.

use std::time::{Duration, Instant};

use bstr::BString;

use super::ClientError;
use super::connection::Connection;
use super::prefixes::Prefixes;
use crate::layout::Layout;
use crate::node::notification::ReceivedEvent;

/// The longest single wait.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// Receives events. Created by [`Client::subscriber`](super::Client::subscriber).
///
/// The socket holds up to `xsub_rcvhwm` events for [`Subscriber::receive`]. A subscriber that stays
/// slower than the events arrive loses some at the broker, which counts them.
#[derive(Debug)]
pub struct Subscriber {
    connection: Connection,
    prefixes: Prefixes,
    is_subscribed: bool,
}

impl Subscriber {
    pub(super) fn new(
        mut connection: Connection,
        layout: &Layout,
        prefixes: Vec<BString>,
    ) -> Result<Self, ClientError> {
        let prefixes = Prefixes::new(prefixes, &layout.zeromq);
        for prefix in prefixes.subscribed() {
            connection.subscribe(prefix.clone())?;
        }
        Ok(Subscriber { connection, prefixes, is_subscribed: false })
    }

    /// Whether the broker knows the subscriptions: everything published from then on arrives.
    /// [`Subscriber::receive`] updates this as the broker answers or is lost.
    pub fn is_subscribed(&self) -> bool {
        self.is_subscribed
    }

    /// Waits until the broker knows the subscriptions. Blocks for `patience` at most.
    ///
    /// # Errors
    /// When the broker has not answered in time or never will, or does not accept a subscription.
    pub fn wait_until_subscribed(&mut self, patience: Duration) -> Result<(), ClientError> {
        self.connection.wait_until_ready(Instant::now(), patience)?;
        self.look_at_connection()
    }

    fn look_at_connection(&mut self) -> Result<(), ClientError> {
        let is_ready = self.connection.is_ready();
        if is_ready && !self.is_subscribed {
            let refused =
                self.prefixes.subscribed().iter().find(|p| !self.connection.has_subscribed(p));
            if let Some(prefix) = refused {
                return Err(ClientError::SubscriptionDenied { prefix: prefix.clone() });
            }
        }
        self.is_subscribed = is_ready;
        Ok(())
    }

    /// The next event. `None` if none arrives within `patience`, or sooner if
    /// [`Subscriber::is_subscribed`] has changed. Blocks. If the broker is missing or lost, this
    /// logs it and waits for the broker.
    ///
    /// # Errors
    /// When wrong keys keep the broker and the client from communicating, or the broker does not
    /// accept a subscription.
    pub fn receive(&mut self, patience: Duration) -> Result<Option<ReceivedEvent>, ClientError> {
        let since = Instant::now();
        let was_subscribed = self.is_subscribed;
        loop {
            let now = Instant::now();
            self.connection.turn(now)?;
            self.look_at_connection()?;
            self.connection.report_broker();
            while let Some(received) = self.connection.next_event(now)? {
                let event = ReceivedEvent::new(
                    received,
                    self.connection.format(),
                    self.connection.metrics(),
                );
                if let Some(event) = event.filter(|event| self.prefixes.want(event.topic())) {
                    return Ok(Some(event));
                }
            }
            let left = patience.saturating_sub(since.elapsed());
            if left.is_zero() || self.is_subscribed != was_subscribed {
                return Ok(None);
            }
            let due = self.connection.due().map(|due| due.saturating_duration_since(now));
            self.connection.wait(left.min(due.unwrap_or(LONGEST_WAIT)).min(LONGEST_WAIT))?;
        }
    }
}
