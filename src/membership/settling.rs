//! [`Settling`]: how a new node finds out whether its name is in use, before it greets others.
//!
//! A process that greets under a name that is up takes the name over (WIRE.md §6.4): others count
//! the process they knew as gone. So a new node greets no peer until its first probe has come back;
//! by then its XPUB has shown all existing subscriptions. Usually none is of a process with its own
//! name, and nothing is lost: the node handles everything received so far as if it happened now.
//!
//! If one may be, the node asks it with the first hello of the handshake. A live process answers
//! with the second hello, as Zeek's nodes do, and then the new one must end. A process that was
//! killed or stopped, and whose connection has not timed out yet, does not answer in time, and the
//! new node takes its place. If two are new, both ask and neither answers: the one with the lower
//! id stays.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bstr::BString;

use super::{Action, Hello, Input, MAX_ENTRIES, MAX_ID_LEN, Settings, Warning};
use crate::topic::NodeId;

/// How long a process with our name may take to answer, beyond the delay between its two hellos.
pub(super) const ANSWER_PATIENCE: Duration = Duration::from_secs(1);

/// What a new node knows before it takes part.
#[derive(Clone, Debug, Default)]
pub(super) struct Settling {
    /// Nodeid topics that are subscribed.
    subscribed: BTreeSet<NodeId>,
    hellos: Vec<(Hello, BString, NodeId)>,
    /// Processes that may have our name, and whether they have greeted us under it.
    asked: BTreeMap<NodeId, bool>,
    /// Processes that were asked and are still there: they have had their first hello.
    greeted: BTreeSet<NodeId>,
    /// When the processes asked must have answered; `None` before any was asked.
    deadline: Option<Instant>,
}

/// The result of an input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Not known yet.
    Waits,
    /// The process with that id has our name.
    Taken(NodeId),
    /// No process has our name: the node takes part, beginning with these inputs.
    Settled {
        inputs: Vec<Input>,
        /// Processes that have had their first hello already.
        greeted: BTreeSet<NodeId>,
    },
}

impl Settling {
    /// When [`Input::Tick`] is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(super) fn handle(
        &mut self,
        input: Input,
        settings: &Settings,
        now: Instant,
        actions: &mut Vec<Action>,
    ) -> Outcome {
        match input {
            Input::Subscribed(id) | Input::Hello(_, _, id) | Input::Unsubscribed(id)
                if id == settings.id => {}
            Input::Subscribed(id) | Input::Hello(_, _, id) if id.as_bytes().len() > MAX_ID_LEN => {
                actions.push(Action::Warn(Warning::TooMany(id)));
            }
            Input::Subscribed(id) => {
                self.subscribed.insert(id);
            }
            Input::Unsubscribed(id) => {
                self.subscribed.remove(&id);
                self.hellos.retain(|(_, _, from)| *from != id);
                self.asked.remove(&id);
                self.greeted.remove(&id);
            }
            Input::Hello(hello, name, id) => {
                let is_ours = name == settings.name;
                if let Some(has_greeted) = self.asked.get_mut(&id) {
                    match (is_ours, hello) {
                        (true, Hello::Cluster) => return Outcome::Taken(id),
                        (true, Hello::Backend) => *has_greeted = true,
                        (false, _) => drop(self.asked.remove(&id)),
                    }
                }
                // No node has a longer name.
                if name.len() <= MAX_ID_LEN {
                    self.hellos.push((hello, name, id));
                }
            }
            Input::Ready => return self.ask(settings, now, actions),
            // All subscriptions will be shown again.
            Input::Disconnected => {
                let hellos = std::mem::take(&mut self.hellos);
                *self = Settling { hellos, ..Settling::default() };
            }
            Input::Connected | Input::Tick => {}
        }
        if let Some(deadline) = self.deadline {
            if now >= deadline {
                let twin = self.asked.iter().find(|(id, greeted)| **greeted && **id < settings.id);
                return match twin {
                    Some((id, _)) => Outcome::Taken(id.clone()),
                    None => self.settle(),
                };
            }
            if self.asked.is_empty() {
                return self.settle();
            }
        }
        // No peer can keep us from taking part by filling our memory.
        if self.subscribed.len() + self.hellos.len() >= MAX_ENTRIES {
            return self.settle();
        }
        Outcome::Waits
    }

    fn ask(&mut self, settings: &Settings, now: Instant, actions: &mut Vec<Action>) -> Outcome {
        // An id begins with a name, but does not say where that ends; the answer shows the full
        // name.
        let ours = format!("zeromq_{}_", settings.name);
        let may_be_ours = |id: &&NodeId| id.as_bytes().starts_with(ours.as_bytes());
        self.asked =
            self.subscribed.iter().filter(may_be_ours).map(|id| (id.clone(), false)).collect();
        if self.asked.is_empty() {
            return self.settle();
        }
        for id in self.asked.keys() {
            actions.push(Action::Greet(Hello::Backend, id.clone()));
            self.greeted.insert(id.clone());
        }
        self.deadline = Some(now + settings.hello_delay + ANSWER_PATIENCE);
        Outcome::Waits
    }

    fn settle(&mut self) -> Outcome {
        let Settling { subscribed, hellos, greeted, .. } = std::mem::take(self);
        let subscribed = subscribed.into_iter().map(Input::Subscribed);
        let hellos = hellos.into_iter().map(|(hello, name, id)| Input::Hello(hello, name, id));
        Outcome::Settled { inputs: subscribed.chain(hellos).collect(), greeted }
    }
}
