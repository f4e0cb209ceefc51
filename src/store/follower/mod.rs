//! [`Follower`]: a process that uses a store: a clone, a frontend, or the process of the master itself. Pure.
//!
//! | module | owns |
//! |---|---|
//! | here | what is answered here, and what by the master |
//! | `presence` | whether a master is there |
//! | `client` | commands on their way to the master |
//! | `replica` | the content of a clone |

mod client;
mod presence;
mod replica;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bstr::{BStr, BString};

use super::StoreError;
use super::content::{Content, Entry};
use super::limits::{ASK_AGAIN, MAX_WAITING};
use super::operation;
use super::output::{Figures, Output, Ticket};
use super::protocol::{
    Answers, Changes, Chunk, Command, Message, Moment, Probe, Pull, Request, Status, Sync, To,
};
use super::size;
use super::watch::Noted;
use crate::Value;
use crate::node::later;
use crate::peers::ErrorCode;
use client::Client;
use presence::{Heard, Presence};
use replica::{Ask, Position, Replica};

/// How long an answer waits at most until a clone has the change that it is about.
const SHOWN_AFTER: Duration = Duration::from_secs(10);

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// How long a command waits for its answer.
    pub(super) request: Duration,
    /// How often a process without a master looks for one.
    pub(super) resync: Duration,
    /// How long a clone without a master answers queries; `None` for ever.
    pub(super) stale: Option<Duration>,
    /// How long changes wait for a master that is away.
    pub(super) buffer: Duration,
}

/// A query of a clone that has no content yet.
#[derive(Debug)]
struct Query {
    ticket: Ticket,
    command: Command,
    deadline: Instant,
}

/// A change that was answered, and that the clone has not made yet.
#[derive(Debug)]
struct Unshown {
    ticket: Ticket,
    at: Position,
    value: Value,
    deadline: Instant,
}

/// What a process has of a store whose master may be elsewhere.
#[derive(Debug)]
pub(super) struct Follower {
    store: BString,
    /// Tells this client from others of the process.
    number: u64,
    times: Times,
    presence: Presence,
    client: Client,
    /// The content; `None` if this is no clone.
    replica: Option<Replica>,
    queries: VecDeque<Query>,
    unshown: Vec<Unshown>,
    tickets: Ticket,
    /// Why nothing can be done any more.
    ended: Option<StoreError>,
    /// When a frontend has looked for a master last.
    probed: Option<Instant>,
    /// The last change that those who watch were told of, where there is no content.
    noted: Option<Position>,
    outputs: Vec<Output>,
}

impl Follower {
    pub(super) fn new(
        store: &BStr,
        number: u64,
        is_clone: bool,
        times: Times,
        now: Moment,
    ) -> Self {
        Follower {
            store: store.into(),
            number,
            times,
            presence: Presence::new(now.instant),
            client: Client::new(),
            replica: is_clone.then(Replica::default),
            queries: VecDeque::new(),
            unshown: Vec::new(),
            tickets: 0,
            ended: None,
            probed: None,
            noted: None,
            outputs: Vec::new(),
        }
    }

    #[cfg(test)]
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Somebody wants to know what changes, from now on.
    pub(super) fn watch(&mut self) {
        match &mut self.replica {
            Some(replica) => replica.is_watched = true,
            None => self.noted = self.noted.or(Some(Position { epoch: 0, sequence: 0 })),
        }
    }

    /// Somebody wants something done, or something that cannot be. The result follows as [`Output::Done`].
    pub(super) fn submit(
        &mut self,
        command: Result<Command, StoreError>,
        timeout: Option<Duration>,
        now: Moment,
    ) -> Ticket {
        self.tickets += 1;
        let ticket = self.tickets;
        let begun = command.and_then(|command| self.begin(ticket, command, timeout, now.instant));
        if let Err(error) = begun {
            self.outputs.push(Output::Done(ticket, Err(error)));
        }
        ticket
    }

    fn begin(
        &mut self,
        ticket: Ticket,
        command: Command,
        timeout: Option<Duration>,
        now: Instant,
    ) -> Result<(), StoreError> {
        if let Some(error) = &self.ended {
            return Err(error.clone());
        }
        size::check_command(&command)?;
        let is_query = command.operation.is_query();
        let deadline = later(now, timeout.unwrap_or(self.times.request));
        match &self.replica {
            Some(replica) if is_query => {
                self.check_fresh(now)?;
                if replica.position().is_some() {
                    let value = operation::query(replica.content(), &command)?;
                    self.outputs.push(Output::Done(ticket, Ok(value)));
                } else if self.queries.len() >= MAX_WAITING {
                    let text = format!("{MAX_WAITING} queries wait already");
                    return Err(StoreError::new(ErrorCode::Unspecified, text));
                } else {
                    self.queries.push_back(Query { ticket, command, deadline });
                }
                return Ok(());
            }
            Some(_) if self.times.buffer.is_zero() && !self.presence.is_there() => {
                return Err(ErrorCode::NoSuchMaster.into());
            }
            _ => {}
        }
        let buffered = later(now, self.times.buffer);
        let deadline = match timeout {
            None if !is_query && self.replica.is_some() => deadline.max(buffered),
            _ => deadline,
        };
        self.client.add(ticket, command, deadline)
    }

    /// Whether the content may still be used.
    fn check_fresh(&self, now: Instant) -> Result<(), StoreError> {
        let has_content = self.replica.as_ref().is_some_and(|one| one.position().is_some());
        match (self.presence.away_since(), self.times.stale) {
            (Some(since), Some(stale)) if has_content && since + stale <= now => {
                let text = format!("no master for {} s", (now - since).as_secs());
                Err(StoreError::new(ErrorCode::StaleData, text))
            }
            _ => Ok(()),
        }
    }

    /// The value of a key in the content of a clone.
    ///
    /// # Errors
    /// When there is no content, or it must not be used any more.
    pub(super) fn value(&self, key: &Value, now: Moment) -> Result<Option<&Value>, StoreError> {
        Ok(self.content(now)?.get(key).map(|entry| &entry.value))
    }

    fn content(&self, now: Moment) -> Result<&Content, StoreError> {
        if let Some(error) = &self.ended {
            return Err(error.clone());
        }
        self.check_fresh(now.instant)?;
        let replica = self.replica.as_ref().filter(|replica| replica.position().is_some());
        let replica = replica.ok_or(StoreError::from(ErrorCode::NoSuchMaster))?;
        Ok(replica.content())
    }

    /// All entries of a clone.
    ///
    /// # Errors
    /// As [`Follower::value`].
    pub(super) fn entries(&self, now: Moment) -> Result<Vec<(Value, Entry)>, StoreError> {
        Ok(self.content(now)?.clone().into_entries())
    }

    /// A master says something; `false` if it is not the one to listen to.
    fn hear(&mut self, from: &BStr, position: Position, now: Moment) -> bool {
        match self.presence.heard(from, position.epoch, now.instant) {
            Heard::Other => return false,
            Heard::New | Heard::Back => self.client.send_again(now.instant),
            Heard::Known => {}
        }
        if let Some(replica) = &mut self.replica {
            replica.master_is_at(position);
        }
        true
    }

    /// What a master says about itself.
    pub(super) fn status(&mut self, from: &BStr, status: &Status, now: Moment) {
        if status.is_open {
            let position = Position { epoch: status.epoch, sequence: status.sequence };
            self.hear(from, position, now);
        } else {
            self.presence.closed(from, status.epoch, now.instant);
        }
    }

    /// Answers of the master.
    pub(super) fn answers(&mut self, from: &BStr, answers: Answers, now: Moment) {
        let epoch = answers.epoch;
        let sequence = answers.answers.iter().map(|answer| answer.sequence).max().unwrap_or(0);
        if answers.client != self.number || !self.hear(from, Position { epoch, sequence }, now) {
            return;
        }
        if answers.answers.is_empty() {
            self.client.lost(answers.next, now.instant);
        }
        for answer in answers.answers {
            let Some(ticket) = self.client.answered(answer.id, now.instant) else { continue };
            let at = Position { epoch, sequence: answer.sequence };
            match answer.into_result() {
                Ok(value) if !self.shows(at) => {
                    let deadline = now.instant + SHOWN_AFTER;
                    self.unshown.push(Unshown { ticket, at, value, deadline });
                }
                result => self.outputs.push(Output::Done(ticket, result)),
            }
        }
    }

    /// Whether queries show the change at that position.
    fn shows(&self, at: Position) -> bool {
        let position = self.replica.as_ref().and_then(Replica::position);
        position.is_none_or(|own| own.epoch == at.epoch && own.sequence >= at.sequence)
    }

    /// Changes of the store.
    pub(super) fn changes(&mut self, from: &BStr, changes: Changes, now: Moment) {
        let Changes { epoch, first, .. } = changes;
        if !self.hear(from, Position { epoch, sequence: 0 }, now) {
            return;
        }
        if let Some(replica) = &mut self.replica {
            let noted = replica.changes(changes);
            self.outputs.extend(noted.into_iter().map(Output::Noted));
            self.progress();
        } else if let Some(noted) = &mut self.noted {
            let missed = first.saturating_sub(noted.sequence.saturating_add(1));
            if noted.epoch == epoch && missed > 0 {
                // Only a clone can ask what they were.
                let store = &self.store;
                log::warn!("store {store}: {missed} changes were lost before they were seen");
            }
            for (index, change) in (0..).zip(changes.changes) {
                let sequence = first.saturating_add(index);
                if noted.epoch != epoch || sequence > noted.sequence {
                    *noted = Position { epoch, sequence };
                    self.outputs.push(Output::Noted(Noted { change, old: None }));
                }
            }
        }
    }

    /// A part of a snapshot.
    pub(super) fn chunk(&mut self, from: &BStr, chunk: Chunk, now: Moment) {
        let position = Position { epoch: chunk.epoch, sequence: chunk.sequence };
        if chunk.client != self.number || !self.hear(from, position, now) {
            return;
        }
        if let Some(replica) = &mut self.replica {
            let noted = replica.chunk(chunk);
            self.outputs.extend(noted.into_iter().map(Output::Noted));
            self.progress();
        }
    }

    /// The content has changed.
    fn progress(&mut self) {
        let Some(replica) = self.replica.as_ref().filter(|one| one.position().is_some()) else {
            return;
        };
        for Query { ticket, command, .. } in self.queries.drain(..) {
            let result = operation::query(replica.content(), &command);
            self.outputs.push(Output::Done(ticket, result));
        }
        if !self.unshown.is_empty() {
            let waiting = std::mem::take(&mut self.unshown);
            for unshown in waiting {
                if self.shows(unshown.at) {
                    self.outputs.push(Output::Done(unshown.ticket, Ok(unshown.value)));
                } else {
                    self.unshown.push(unshown);
                }
            }
        }
    }

    /// A process is gone.
    pub(super) fn process_gone(&mut self, process: &BStr, now: Moment) {
        self.presence.process_gone(process, now.instant);
    }

    /// Nothing can be done any more: everything fails with this error, now and later.
    pub(super) fn end(&mut self, error: &StoreError) {
        self.ended = Some(error.clone());
        let failed = self.client.fail_all(error).into_iter();
        self.outputs.extend(failed.map(|(ticket, error)| Output::Done(ticket, Err(error))));
        for Query { ticket, .. } in self.queries.drain(..) {
            self.outputs.push(Output::Done(ticket, Err(error.clone())));
        }
        for Unshown { ticket, value, .. } in self.unshown.drain(..) {
            self.outputs.push(Output::Done(ticket, Ok(value)));
        }
    }

    /// Time passes.
    pub(super) fn tick(&mut self, now: Moment) {
        self.presence.tick(now.instant);
        for (ticket, error) in self.client.tick(now.instant, self.presence.is_there()) {
            self.outputs.push(Output::Done(ticket, Err(error)));
        }
        let code = if self.presence.was_seen() {
            ErrorCode::RequestTimeout
        } else {
            ErrorCode::NoSuchMaster
        };
        let outputs = &mut self.outputs;
        self.queries.retain(|query| {
            let is_due = query.deadline <= now.instant;
            if is_due {
                outputs.push(Output::Done(query.ticket, Err(code.into())));
            }
            !is_due
        });
        self.unshown.retain_mut(|unshown| {
            let is_due = unshown.deadline <= now.instant;
            if is_due {
                let value = std::mem::take(&mut unshown.value);
                outputs.push(Output::Done(unshown.ticket, Ok(value)));
            }
            !is_due
        });
    }

    fn patience(&self) -> Duration {
        if self.presence.is_there() { ASK_AGAIN } else { self.times.resync }
    }

    /// When to call [`Follower::tick`] and [`Follower::flush`].
    pub(super) fn deadline(&self) -> Option<Instant> {
        let asks = match &self.replica {
            _ if self.ended.is_some() => None,
            Some(replica) => replica.deadline(self.patience(), !self.presence.is_there()),
            None => {
                self.probed.filter(|_| !self.presence.is_there()).map(|at| at + self.times.resync)
            }
        };
        let queries = self.queries.iter().map(|query| query.deadline).min();
        let unshown = self.unshown.iter().map(|unshown| unshown.deadline).min();
        let own = [asks, queries, unshown, self.presence.deadline(), self.client.deadline()];
        own.into_iter().flatten().min()
    }

    /// A turn ends: sends what there is to be sent.
    pub(super) fn flush(&mut self, now: Moment, outputs: &mut Vec<Output>) {
        outputs.append(&mut self.outputs);
        if self.ended.is_some() {
            return;
        }
        if self.presence.is_there() {
            for commands in self.client.take_unsent(now.instant) {
                let (store, client, oldest) =
                    (self.store.clone(), self.number, self.client.oldest());
                to_master(Request { store, client, oldest, commands }, outputs);
            }
        }
        let patience = self.patience();
        let seeks_master = !self.presence.is_there();
        let asks = match &mut self.replica {
            Some(replica) => replica.ask(now.instant, patience, seeks_master),
            None => Vec::new(),
        };
        for ask in asks {
            let (store, client) = (self.store.clone(), self.number);
            match ask {
                Ask::Sync(Position { epoch, sequence }) => {
                    to_master(Sync { store, client, epoch, sequence }, outputs);
                }
                Ask::Pull { session, position } => {
                    to_master(Pull { store, client, session, position }, outputs);
                }
            }
        }
        let is_over = |at: Instant| at + patience <= now.instant;
        if self.replica.is_none() && seeks_master && self.probed.is_none_or(is_over) {
            self.probed = Some(now.instant);
            to_master(Probe { store: self.store.clone(), epoch: 0 }, outputs);
        }
    }

    pub(super) fn is_clone(&self) -> bool {
        self.replica.is_some()
    }

    pub(super) fn is_master_there(&self) -> bool {
        self.presence.is_there()
    }

    /// How many commands wait for an answer.
    pub(super) fn waiting(&self) -> usize {
        self.client.len() + self.queries.len()
    }

    pub(super) fn figures(&self) -> Figures {
        self.replica.as_ref().map(Replica::figures).unwrap_or_default()
    }

    /// How many entries a clone has; `None` if it has no content yet.
    pub(super) fn len(&self) -> Option<usize> {
        let replica = self.replica.as_ref().filter(|replica| replica.position().is_some())?;
        Some(replica.content().len())
    }

    #[cfg(test)]
    pub(super) fn replica(&self) -> Option<&Replica> {
        self.replica.as_ref()
    }
}

fn to_master(message: impl Into<Message>, outputs: &mut Vec<Output>) {
    outputs.push(Output::Send(To::Master, message.into()));
}
