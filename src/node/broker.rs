//! The connection to the broker, as an application sees it: [`BrokerState`] and [`BrokerNews`].
//!
//! [`BrokerLink`] derives them from the two connections and the probe. Pure.

use crate::transport::HandshakeFault;

/// The state of a node's connection to the broker. It consists of two connections (WIRE.md §1.1); it is
/// there when both are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BrokerState {
    /// Not connected yet.
    #[default]
    Connecting,
    /// Connected, but the bus has not answered: what is published now may reach nobody.
    Connected,
    /// The bus has answered.
    Ready,
    /// It was ready once, and is lost; libzmq keeps trying.
    Reconnecting,
    /// The node has said goodbye or has ended. Nothing follows.
    Closed,
}

/// News of the connection to the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokerNews {
    /// Its state has changed.
    State(BrokerState),
    /// It has been missing for some seconds, which is repeated once a minute, or the node ends because
    /// of a fault.
    Trouble {
        /// The kind of trouble.
        fault: PeerFault,
        /// A line about it.
        details: String,
    },
}

/// What is wrong with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerFault {
    /// It cannot be reached: nothing listens there, or the network does not lead there.
    Unavailable,
    /// It can be reached, but does not answer.
    Unanswered,
    /// It disconnects during the handshake.
    BrokenOff,
    /// It speaks another protocol, or only one side encrypts.
    Incompatible,
    /// One side does not accept the key of the other.
    Keys,
    /// Something else has ended the node.
    Other,
}

impl From<HandshakeFault> for PeerFault {
    fn from(fault: HandshakeFault) -> Self {
        match fault {
            HandshakeFault::Mechanism | HandshakeFault::Other(_) => PeerFault::Incompatible,
            HandshakeFault::Cryptographic | HandshakeFault::Refused => PeerFault::Keys,
            HandshakeFault::BrokenOff => PeerFault::BrokenOff,
            HandshakeFault::NoAnswer => PeerFault::Unanswered,
        }
    }
}

/// Derives the state from what happens, and says what is new. Each change is told once, and nothing is
/// skipped: `Ready` always follows `Connected`.
#[derive(Debug, Default)]
pub(super) struct BrokerLink {
    /// Whether the connections of the XPUB and the XSUB are up.
    up: [bool; 2],
    /// The bus has answered since the XPUB was last connected.
    is_answered: bool,
    was_ready: bool,
    state: BrokerState,
}

impl BrokerLink {
    /// One of the two connections came or went, perhaps both since the last call. `up`: whether it is known
    /// to be up now; `was_lost`: whether it was lost in between.
    pub(super) fn changed(&mut self, up: [bool; 2], was_lost: [bool; 2]) -> Vec<BrokerState> {
        self.is_answered &= !was_lost[0];
        let mut news = Vec::new();
        if was_lost != [false; 2] {
            self.up = std::array::from_fn(|socket| self.up[socket] && !was_lost[socket]);
            self.settle(&mut news);
        }
        // An answer may have proved a connection before it was seen.
        self.up = std::array::from_fn(|socket| self.up[socket] || up[socket]);
        self.settle(&mut news);
        news
    }

    /// The bus has answered, which proves that both connections are there.
    pub(super) fn answered(&mut self) -> Vec<BrokerState> {
        let mut news = Vec::new();
        self.up = [true; 2];
        self.is_answered = true;
        self.settle(&mut news);
        news
    }

    /// The node says goodbye, or ends.
    pub(super) fn closed(&mut self) -> Vec<BrokerState> {
        let mut news = Vec::new();
        self.enter(BrokerState::Closed, &mut news);
        news
    }

    fn settle(&mut self, news: &mut Vec<BrokerState>) {
        if self.up != [true; 2] {
            let away =
                if self.was_ready { BrokerState::Reconnecting } else { BrokerState::Connecting };
            self.enter(away, news);
        } else if self.is_answered {
            if self.state != BrokerState::Ready {
                self.enter(BrokerState::Connected, news);
            }
            self.was_ready = true;
            self.enter(BrokerState::Ready, news);
        } else {
            self.enter(BrokerState::Connected, news);
        }
    }

    fn enter(&mut self, state: BrokerState, news: &mut Vec<BrokerState>) {
        if self.state != state && self.state != BrokerState::Closed {
            self.state = state;
            news.push(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use BrokerState::{Closed, Connected, Connecting, Ready, Reconnecting};
    use proptest::prelude::*;

    const UP: [bool; 2] = [true; 2];
    const NO: [bool; 2] = [false; 2];

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Changed([bool; 2], [bool; 2]),
        Answered,
        Closed,
    }

    fn apply(link: &mut BrokerLink, step: Step) -> Vec<BrokerState> {
        match step {
            Step::Changed(up, lost) => link.changed(up, lost),
            Step::Answered => link.answered(),
            Step::Closed => link.closed(),
        }
    }

    #[test]
    fn each_change_is_told_once() {
        use Step::{Answered, Changed};
        let mut link = BrokerLink::default();
        for (row, (step, expected)) in [
            (Changed([true, false], NO), vec![]),
            (Changed(UP, NO), vec![Connected]),
            // Lost before the bus has answered: it was never there.
            (Changed([false, true], [true, false]), vec![Connecting]),
            (Changed(UP, NO), vec![Connected]),
            (Answered, vec![Ready]),
            (Changed(UP, NO), vec![]),
            // The broker is killed; both connections go, one after the other.
            (Changed([true, false], [false, true]), vec![Reconnecting]),
            (Changed(NO, [true, false]), vec![]),
            (Changed([true, false], NO), vec![]),
            (Changed(UP, NO), vec![Connected]),
            (Answered, vec![Ready]),
            // It is back before anybody looked.
            (Changed(UP, UP), vec![Reconnecting, Connected]),
            // The answer is seen before the connections are.
            (Changed(NO, UP), vec![Reconnecting]),
            (Answered, vec![Connected, Ready]),
            (Changed(NO, NO), vec![]),
            (Changed([false, true], NO), vec![]),
            (Changed(UP, NO), vec![]),
            // Only the XSUB: publishing was possible all the time.
            (Changed([true, false], [false, true]), vec![Reconnecting]),
            (Changed(UP, NO), vec![Connected, Ready]),
            (Step::Closed, vec![Closed]),
            (Changed(NO, UP), vec![]),
            (Answered, vec![]),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(apply(&mut link, step), expected, "row {row}");
        }
    }

    proptest! {
        #[test]
        fn whatever_happens_the_order_makes_sense(
            steps in prop::collection::vec(
                prop_oneof![
                    10 => (any::<[bool; 2]>(), any::<[bool; 2]>())
                        .prop_map(|(up, lost)| Step::Changed(up, lost)),
                    5 => Just(Step::Answered),
                    1 => Just(Step::Closed),
                ],
                0..40,
            )
        ) {
            let mut link = BrokerLink::default();
            let mut last = Connecting;
            let mut was_ready = false;
            for step in steps {
                for state in apply(&mut link, step) {
                    let fits = match state {
                        Connecting => last == Connected && !was_ready,
                        Connected => matches!(last, Connecting | Reconnecting),
                        Ready => last == Connected,
                        Reconnecting => matches!(last, Ready | Connected) && was_ready,
                        Closed => last != Closed,
                    };
                    prop_assert!(fits, "{last:?} → {state:?}");
                    was_ready |= state == Ready;
                    last = state;
                }
                prop_assert_eq!(link.state, last);
            }
        }
    }
}
