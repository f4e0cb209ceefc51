//! [`Inbox`]: raises events in an app from other threads.

use std::sync::{Arc, Mutex};

use crate::Event;
use crate::event::{EventError, ToEvent};
use crate::node::{Node, lock};
use crate::queue::{self, Empty, Limits, Rejected};
use crate::wire::broker_bin;

/// Events that wait for the app; [`Inbox::raise`] waits while they are as many.
const LIMITS: Limits = Limits { messages: 1_000, bytes: 8 << 20 };

/// Raises events in an [`App`](super::App) from other threads, for example from one that reads standard
/// input. Clones share the app. While one exists, the app has work to do
/// ([`App::peer_counts_as_iosource`](super::App::peer_counts_as_iosource)).
///
/// ```no_run
/// use zcluster::app::{App, Inbox};
/// use zcluster::{Event, Node};
///
/// # fn run(node: Node, notifications: zcluster::node::Notifications) -> Result<(), Box<dyn std::error::Error>> {
/// let inbox = Inbox::new(&node);
/// let app = App::new().inbox(&inbox).on_event("Demo::line", |event, context| {
///     context.publish("demo.lines", event)?;
///     Ok(())
/// });
/// std::thread::spawn(move || {
///     for line in std::io::stdin().lines().map_while(Result::ok) {
///         if inbox.raise(&Event::new("Demo::line", vec![line.into()])).is_err() {
///             break; // The app has ended.
///         }
///     }
/// });
/// app.run(&node, &notifications)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Inbox {
    events: queue::Sender<Vec<u8>>,
    taken: Arc<Mutex<Option<Taken>>>,
}

/// The app's side.
#[derive(Debug)]
pub(super) struct Taken {
    /// Encoded, so that their size is known.
    events: queue::Receiver<Vec<u8>>,
}

/// Why an event was not raised.
#[derive(Debug, thiserror::Error)]
pub enum InboxError {
    /// An argument has no form in Zeek.
    #[error(transparent)]
    Event(#[from] EventError),
    /// The app does not take events as fast as they come.
    #[error("the app's inbox is full")]
    Full,
    /// The app has ended.
    #[error("the app has ended")]
    Ended,
}

impl Inbox {
    /// For an app that will run on this node.
    pub fn new(node: &Node) -> Self {
        let node = node.clone();
        let (sender, events) = queue::bounded(LIMITS, move || {
            // If the app has so much to wake up for that it cannot be told, it looks anyway. (Or it has ended.)
            _ = node.nudge();
        });
        let taken = Arc::new(Mutex::new(Some(Taken { events })));
        Inbox { events: sender, taken }
    }

    /// Raises an event, after the one that the app handles now. Blocks while 1,000 events or 8 MiB wait: not
    /// for handlers, which have [`Context::raise`](super::Context::raise).
    ///
    /// # Errors
    /// [`InboxError::Ended`], [`InboxError::Event`].
    pub fn raise(&self, event: &(impl ToEvent + ?Sized)) -> Result<(), InboxError> {
        let bytes = encode(event)?;
        let size = bytes.len();
        self.events.send(bytes, size).map_err(|_| InboxError::Ended)
    }

    /// Raises an event like [`Inbox::raise`], but fails instead of waiting for room.
    ///
    /// # Errors
    /// [`InboxError::Full`], and those of [`Inbox::raise`].
    pub fn try_raise(&self, event: &(impl ToEvent + ?Sized)) -> Result<(), InboxError> {
        let bytes = encode(event)?;
        let size = bytes.len();
        self.events.try_send(bytes, size).map_err(|rejected| match rejected {
            Rejected::Full(_) => InboxError::Full,
            Rejected::Closed(_) => InboxError::Ended,
        })
    }

    pub(super) fn take(&self) -> Option<Taken> {
        lock(&self.taken).take()
    }
}

fn encode(event: &(impl ToEvent + ?Sized)) -> Result<Vec<u8>, EventError> {
    let mut bytes = Vec::new();
    broker_bin::encode_event(&*event.to_event()?, &mut bytes);
    Ok(bytes)
}

impl Taken {
    /// The next event; [`Empty::Closed`] once nobody can raise any more.
    pub(super) fn next(&self) -> Result<Event, Empty> {
        loop {
            let bytes = self.events.receive_until(Some(std::time::Instant::now()))?;
            // What was encoded here decodes, but for one thing: sets and tables with duplicates.
            match broker_bin::decode_event(&bytes) {
                Ok(event) => return Ok(event),
                Err(error) => log::error!("an event of another thread is lost: {error}"),
            }
        }
    }
}
