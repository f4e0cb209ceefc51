//! [`Subscriber`]: events in.

use std::time::{Duration, Instant};

use bstr::BString;

use super::ClientError;
use super::connection::Connection;
use super::prefixes::Prefixes;
use crate::layout::Layout;
use crate::node::notification::ReceivedEvent;

/// The longest wait in one go.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// Receives events. Made by [`Client::subscriber`](super::Client::subscriber).
///
/// Events wait in the socket for [`Subscriber::receive`], `xsub_rcvhwm` of them. A subscriber that is
/// slower than that for long loses events at the broker, which counts them.
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

    /// Whether the broker knows the subscriptions: everything published from then on arrives. It may
    /// become so, or lose the broker, in [`Subscriber::receive`].
    pub fn is_subscribed(&self) -> bool {
        self.is_subscribed
    }

    /// Waits until the broker knows the subscriptions. Blocks for `patience` at most.
    ///
    /// # Errors
    /// That the broker has not answered in time or never will, or does not take a subscription.
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

    /// The next event. `None` when there is none within `patience`, or sooner where
    /// [`Subscriber::is_subscribed`] has changed. Blocks. A broker that is missing or goes is told of
    /// in the log, and waited for.
    ///
    /// # Errors
    /// When the broker and the client cannot talk for their keys, or the broker does not take a
    /// subscription.
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
