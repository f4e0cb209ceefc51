//! [`Settling`]: how a new node finds out that its name is not in use, before it shows itself.
//!
//! Whoever greets under a name that is up takes it over (WIRE.md §6.4): others count the process that
//! they knew as gone. So a new node greets nobody until its first probe has come back, by when its
//! XPUB has shown all subscriptions there are. Mostly none of them is of a process with its own name,
//! and then it has lost nothing: it takes in what has happened so far as if it happened now.
//!
//! Where one may be, the node asks it, with the first hello of the handshake. A process that lives
//! answers with the second, as Zeek's nodes do, and then the new one must end. One that has been killed
//! or stopped, and whose connection nobody has missed yet, does not answer in time, and the new node
//! takes its place. Of two that are new, both of which ask and neither of which answers, that with the
//! lower id stays.

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
    /// Who may have our name, and whether it has greeted us in it.
    asked: BTreeMap<NodeId, bool>,
    /// Who was asked and is still there: they have had their first hello.
    greeted: BTreeSet<NodeId>,
    /// When those that were asked must have answered; `None` before any was.
    deadline: Option<Instant>,
}

/// What comes of an input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is not known yet.
    Waits,
    /// The process with that id has our name.
    Taken(NodeId),
    /// Nobody has: the node takes part, beginning with these inputs.
    Settled {
        inputs: Vec<Input>,
        /// Those that have had their first hello already.
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
                // Nobody's name is longer.
                if name.len() <= MAX_ID_LEN {
                    self.hellos.push((hello, name, id));
                }
            }
            Input::Ready => return self.ask(settings, now, actions),
            // All that is subscribed is going to be shown anew.
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
        // Nobody can keep us from taking part by making us remember.
        if self.subscribed.len() + self.hellos.len() >= MAX_ENTRIES {
            return self.settle();
        }
        Outcome::Waits
    }

    fn ask(&mut self, settings: &Settings, now: Instant, actions: &mut Vec<Action>) -> Outcome {
        // An id begins with a name, but does not say where that ends: the answer says whose it is.
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
