//! [`View`]: which events follow from news of the connection to the broker. Pure.

use super::{ErrorCode, PeerStatus};
use crate::node::{BrokerNews, BrokerState};

/// The connection to the broker, as told so far.
#[derive(Debug, Default)]
pub(super) struct View {
    status: PeerStatus,
    is_closed: bool,
    /// The last error since the broker was there.
    error: Option<ErrorCode>,
}

/// What to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tell {
    /// The status that an event leads to, and the event.
    Change(PeerStatus, Change),
    Error(ErrorCode, String),
}

/// A change of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Added,
    Lost,
    Removed,
    /// With the line for people.
    Other(&'static str),
}

impl View {
    /// The app has started.
    pub(super) fn started(&mut self) -> Vec<Tell> {
        self.enter(&[(PeerStatus::Connecting, Change::Other("connecting to the broker"))])
    }

    /// The app stops, or its node does.
    pub(super) fn stopped(&mut self) -> Vec<Tell> {
        if std::mem::replace(&mut self.is_closed, true) {
            return Vec::new();
        }
        let change = match self.status {
            PeerStatus::Peered => Change::Removed,
            _ => Change::Other("no longer connecting: this node ends"),
        };
        self.enter(&[(PeerStatus::Disconnected, change)])
    }

    pub(super) fn news(&mut self, news: &BrokerNews) -> Vec<Tell> {
        use PeerStatus as S;

        if self.is_closed {
            return Vec::new();
        }
        let state = match news {
            BrokerNews::Trouble { fault, details } => {
                let code = ErrorCode::from(*fault);
                let is_new = self.error.replace(code) != Some(code);
                return is_new.then(|| Tell::Error(code, details.clone())).into_iter().collect();
            }
            BrokerNews::State(state) => *state,
        };
        let step = match state {
            BrokerState::Connecting => (
                S::Connecting,
                Change::Other("the connection was lost before the bus had answered; connecting"),
            ),
            BrokerState::Connected => {
                (S::Connected, Change::Other("connected; the bus has not answered yet"))
            }
            BrokerState::Ready => {
                self.error = None;
                (S::Peered, Change::Added)
            }
            BrokerState::Reconnecting => {
                (S::Reconnecting, Change::Other("reconnecting to the broker"))
            }
            BrokerState::Closed => return self.stopped(),
        };
        let is_lost = self.status == S::Peered && state != BrokerState::Ready;
        self.enter(&[(S::Disconnected, Change::Lost), step][usize::from(!is_lost)..])
    }

    fn enter(&mut self, steps: &[(PeerStatus, Change)]) -> Vec<Tell> {
        let mut told = Vec::new();
        for &(status, change) in steps {
            if self.status != status {
                self.status = status;
                told.push(Tell::Change(status, change));
            }
        }
        told
    }
}
