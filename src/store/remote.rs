//! [`Remote`]: commands from other threads.

use std::time::{Duration, Instant};

use bstr::BString;
use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded};

use super::StoreError;
use super::local::Outside;
use super::protocol::Command;
use super::request::ended;
use crate::node::{BrokerState, Node, later};
use crate::peers::ErrorCode;
use crate::value::Value;

/// How many commands of other threads may wait for the app.
const MAX_SUBMITTED: usize = 1_000;

/// How long an app may be late with what it has an answer to.
const APP_TIME: Duration = Duration::from_secs(5);

/// A command of another thread.
pub(super) struct Submission {
    pub(super) store: BString,
    pub(super) command: Command,
    pub(super) timeout: Option<Duration>,
    pub(super) reply: Sender<Result<Value, StoreError>>,
}

/// The app's side.
#[derive(Debug)]
pub(super) struct Submitted(Receiver<Submission>);

impl Submitted {
    /// The commands that wait now.
    pub(super) fn take(&self) -> impl Iterator<Item = Submission> {
        self.0.try_iter().take(MAX_SUBMITTED)
    }
}

/// Gives commands to the app that has a store.
#[derive(Clone, Debug)]
pub(super) struct Remote {
    store: BString,
    /// How long an answer takes at most, unless a command says otherwise.
    patience: Duration,
    wires: Wires,
}

/// What all stores of an app have in common.
#[derive(Clone, Debug)]
pub(super) struct Wires {
    submissions: Sender<Submission>,
    node: Node,
}

impl Wires {
    pub(super) fn new(node: &Node) -> (Self, Submitted) {
        let (submissions, submitted) = bounded(MAX_SUBMITTED);
        (Wires { submissions, node: node.clone() }, Submitted(submitted))
    }

    /// Lets the app have a look.
    pub(super) fn wake(&self) {
        // If it has so much to wake up for that it cannot be told, it looks anyway. (Or it has ended.)
        _ = self.node.nudge();
    }

    /// How the store of that name is seen from outside of the app.
    pub(super) fn outside(&self, store: &str, patience: Duration) -> Outside {
        Outside {
            remote: Remote { store: store.into(), patience, wires: self.clone() },
            metrics: self.node.telemetry().stores().of(store),
        }
    }
}

/// The result of a command that was given to the app.
#[derive(Debug)]
pub(super) struct Awaited {
    result: Receiver<Result<Value, StoreError>>,
    deadline: Instant,
}

impl Awaited {
    /// Waits for it.
    pub(super) fn wait(self) -> Result<Value, StoreError> {
        self.result.recv_deadline(self.deadline).unwrap_or_else(|error| match error {
            RecvTimeoutError::Timeout => {
                let text = "the app does not respond: one of its handlers takes too long";
                Err(StoreError::new(ErrorCode::RequestTimeout, text))
            }
            RecvTimeoutError::Disconnected => Err(ended()),
        })
    }
}

impl Remote {
    /// Whether what is published now reaches those who have subscribed.
    pub(super) fn is_bus_ready(&self) -> bool {
        self.wires.node.broker_state() == BrokerState::Ready
    }

    /// Gives a command to the app.
    pub(super) fn submit(
        &self,
        command: Command,
        timeout: Option<Duration>,
    ) -> Result<Awaited, StoreError> {
        let patience = timeout.unwrap_or(self.patience);
        let (reply, result) = bounded(1);
        let submission = Submission { store: self.store.clone(), command, timeout, reply };
        match self.wires.submissions.send_timeout(submission, patience) {
            Ok(()) => {
                self.wires.wake();
                Ok(Awaited { result, deadline: later(Instant::now(), patience) + APP_TIME })
            }
            Err(SendTimeoutError::Timeout(_)) => {
                let text = format!("{MAX_SUBMITTED} commands wait for the app");
                Err(StoreError::new(ErrorCode::Unspecified, text))
            }
            Err(SendTimeoutError::Disconnected(_)) => Err(ended()),
        }
    }
}
