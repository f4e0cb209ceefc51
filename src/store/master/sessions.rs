//! [`Sessions`]: snapshots on their way to clones. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bstr::BStr;

use crate::store::backend::ClientId;
use crate::store::content::Content;
use crate::store::limits::{CHUNKS_AHEAD, EVENT_BYTES, MAX_PER_EVENT, MAX_SESSIONS, SESSION_IDLE};
use crate::store::protocol::SentEntry;

/// How long parts are not sent again.
const SENT_AGAIN: Duration = Duration::from_secs(3);

/// A part of a snapshot: the entries at positions from `end` to below `begin`.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) client: ClientId,
    pub(super) session: u64,
    pub(super) total: u64,
    pub(super) begin: u64,
    pub(super) end: u64,
    pub(super) entries: Vec<SentEntry>,
}

#[derive(Debug)]
struct Session {
    number: u64,
    /// How many entries there were when its first part was made, once it was: what is added from then on is sent as a change.
    total: Option<usize>,
    /// Entries at positions below this were not sent yet. Those that move do so only downwards, so going back to
    /// an earlier position misses none either.
    cursor: usize,
    is_complete: bool,
    /// Where the parts end that were sent and not accepted.
    unaccepted: VecDeque<usize>,
    /// The last position of a pull.
    pulled: usize,
    heard: Instant,
    /// When a part was sent last.
    sent: Option<Instant>,
}

impl Session {
    fn may_send(&self) -> bool {
        !self.is_complete && self.unaccepted.len() < CHUNKS_AHEAD
    }
}

/// All snapshots.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    by_client: BTreeMap<ClientId, Session>,
    first: u64,
    numbers: u64,
    /// Who had the last turn.
    turn: Option<ClientId>,
}

impl Sessions {
    /// Numbers of sessions begin after that one, so that none is of an earlier master.
    pub(super) fn after(number: u64) -> Self {
        Sessions { first: number, numbers: number, ..Sessions::default() }
    }

    /// Begins a snapshot, unless there are too many.
    pub(super) fn begin(&mut self, client: &ClientId, now: Instant) {
        let is_new = !self.by_client.contains_key(client);
        if is_new && self.by_client.len() >= MAX_SESSIONS {
            return;
        }
        self.numbers = self.numbers.wrapping_add(1);
        let session = Session {
            number: self.numbers,
            total: None,
            cursor: usize::MAX,
            is_complete: false,
            unaccepted: VecDeque::new(),
            pulled: usize::MAX,
            heard: now,
            sent: None,
        };
        self.by_client.insert(client.clone(), session);
    }

    /// A clone has accepted everything from that position on. Pulls for a session that is over are late.
    pub(super) fn pull(&mut self, client: &ClientId, number: u64, position: u64, now: Instant) {
        let Some(session) = self.by_client.get_mut(client).filter(|one| one.number == number)
        else {
            return;
        };
        let Some(total) = session.total else { return };
        let position = usize::try_from(position).unwrap_or(usize::MAX).min(total);
        session.heard = now;
        if position >= session.pulled {
            // What was sent a moment ago may wait until changes are written.
            if session.sent.is_some_and(|at| now < at + SENT_AGAIN) {
                return;
            }
            // It says so again: what was sent since is lost.
            session.cursor = session.pulled;
            session.unaccepted.clear();
            session.is_complete = false;
        } else {
            session.pulled = position;
            session.unaccepted.retain(|end| *end < position);
        }
        if position == 0 {
            self.by_client.remove(client);
        }
    }

    /// The next part that may be sent: clones take turns.
    pub(super) fn next_part(&mut self, content: &Content, now: Instant) -> Option<Part> {
        let mut hungry = self.by_client.iter().filter(|(_, session)| session.may_send());
        let next = match &self.turn {
            Some(last) => hungry.clone().find(|(client, _)| *client > last).or(hungry.next()),
            None => hungry.next(),
        };
        let client = next?.0.clone();
        self.turn = Some(client.clone());
        let session = self.by_client.get_mut(&client)?;
        let total = *session.total.get_or_insert(content.len());
        let begin = session.cursor.min(total);
        let mut at = begin.min(content.len());
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while at > 0 && entries.len() < MAX_PER_EVENT && bytes < EVENT_BYTES {
            at -= 1;
            if let Some((key, entry)) = content.at(at) {
                bytes += key.size() + entry.value.size();
                let (key, value) = (key.clone(), entry.value.clone());
                entries.push(SentEntry { key, value, expiry: entry.expiry });
            }
        }
        session.cursor = at;
        session.sent = Some(now);
        session.is_complete = at == 0;
        session.unaccepted.push_back(at);
        let (number, total) = (session.number, total as u64);
        let (begin, end) = (begin as u64, at as u64);
        Some(Part { client, session: number, total, begin, end, entries })
    }

    /// Whether a part may be sent.
    pub(super) fn has_work(&self) -> bool {
        self.by_client.values().any(Session::may_send)
    }

    /// How many have begun so far.
    pub(super) fn begun(&self) -> u64 {
        self.numbers.wrapping_sub(self.first)
    }

    /// A process is gone.
    pub(super) fn process_gone(&mut self, process: &BStr) {
        self.by_client.retain(|client, _| client.process != process);
    }

    /// Ends all: what they have sent may not be so.
    pub(super) fn abort(&mut self) {
        self.by_client.clear();
    }

    /// Ends those of clones that say nothing.
    pub(super) fn tick(&mut self, now: Instant) {
        self.by_client.retain(|_, session| now < session.heard + SESSION_IDLE);
    }

    /// When to call [`Sessions::tick`].
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.by_client.values().map(|session| session.heard + SESSION_IDLE).min()
    }
}
