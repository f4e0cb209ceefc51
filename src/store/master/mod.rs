//! [`Master`]: the only one that changes a store. Pure: what happens comes in as calls, and what is to be done about it
//! is collected until [`Master::flush`].
//!
//! | module | owns |
//! |---|---|
//! | here | the order of changes, and what may leave the master when |
//! | `held` | what waits until its changes are settled |
//! | `log` | what the backend is to keep |
//! | `size` | how large and how deep values may be |
//! | `senders` | what every client has sent, so that nothing is executed twice |
//! | `sessions` | snapshots on their way to clones |
//! | `history` | the last changes, for clones that have missed some |
//! | `deadlines` | what expires when |

mod deadlines;
mod held;
mod history;
mod log;
mod senders;
mod sessions;
mod size;

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use bstr::{BStr, BString};

use super::StoreError;
use super::backend::{ClientId, Record};
use super::content::{Content, Entry};
use super::limits::{
    MAX_IN_FLIGHT, MAX_UNSENT_BYTES, MAX_UNSETTLED, PROBE_INTERVAL, PROBE_TIME, STATUS_INTERVAL,
};
use super::operation::{self, Effect};
use super::output::{Figures, Output};
use super::parts::parts;
use super::protocol::{
    Answer, Answers, Change, Changes, Chunk, Command, Kind, Moment, Probe, Pull, Request, Status,
    Sync, To,
};
use super::watch::Noted;
use crate::peers::ErrorCode;
use crate::value::{Timestamp, Value, from_value};
use crate::wire::broker_bin;
use deadlines::Deadlines;
use held::{Applied, Held, Old};
use history::History;
pub(super) use log::Batch;
use log::{Log, encoded};
use senders::{Senders, Verdict};
use sessions::Sessions;

/// How many chunks of snapshots are sent at once, so that others get their turn.
const CHUNKS_AT_ONCE: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It waits for a response of another master, and has asked that often.
    Probing {
        since: Instant,
        asked: u32,
    },
    Open,
    Closed,
}

/// The master of a store.
#[derive(Debug)]
pub(super) struct Master {
    store: BString,
    max_value_size: usize,
    /// Nothing is kept: all changes are settled at once.
    is_volatile: bool,
    /// Somebody in this process wants to know what changes.
    is_watched: bool,
    epoch: u64,
    phase: Phase,
    content: Content,
    deadlines: Deadlines,
    /// The last change, and the last one that is settled.
    sequence: u64,
    settled: u64,
    log: Log,
    /// What has happened since [`Master::flush`].
    fresh: Held,
    held: VecDeque<Held>,
    history: History,
    senders: Senders,
    sessions: Sessions,
    /// Clones that miss changes after this one.
    behind: BTreeMap<ClientId, u64>,
    next_status: Instant,
    wants_status: bool,
    says_closed: bool,
    /// The size of the answers that were not sent yet.
    answer_bytes: usize,
    /// Commands that were dropped because the backend is behind.
    dropped: u64,
}

impl Master {
    /// A master that begins to probe, with what its backend has kept.
    pub(super) fn new(store: &BStr, max_value_size: usize, is_volatile: bool, now: Moment) -> Self {
        Master {
            store: store.into(),
            max_value_size,
            is_volatile,
            is_watched: false,
            epoch: u64::try_from(now.time.0).unwrap_or(1),
            phase: Phase::Probing { since: now.instant, asked: 0 },
            content: Content::default(),
            deadlines: Deadlines::default(),
            sequence: 0,
            settled: 0,
            log: Log::default(),
            fresh: Held::default(),
            held: VecDeque::new(),
            history: History::default(),
            senders: Senders::default(),
            sessions: Sessions::default(),
            behind: BTreeMap::new(),
            next_status: now.instant,
            wants_status: false,
            says_closed: false,
            answer_bytes: 0,
            dropped: 0,
        }
    }

    /// Somebody wants to know what changes, from now on.
    pub(super) fn watch(&mut self) {
        self.is_watched = true;
    }

    /// Takes over a record of the backend, before anything else is done.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn restore(&mut self, record: Record) -> Result<(), StoreError> {
        let decode = |bytes: &[u8]| {
            broker_bin::decode_value(bytes).map_err(|error| {
                StoreError::new(ErrorCode::CannotOpenFile, format!("a record is damaged: {error}"))
            })
        };
        match record {
            Record::Put { key, value, expiry } => {
                let entry = Entry { value: decode(&value)?, expiry };
                self.set(&decode(&key)?, Some(entry));
            }
            Record::Erase { key } => _ = self.set(&decode(&key)?, None),
            Record::Clear => _ = self.clear(),
            Record::Epoch(epoch) => self.epoch = self.epoch.max(epoch.saturating_add(1)),
            Record::Client { client, next, oldest } => self.senders.restore(&client, next, oldest),
            Record::Answer { client, id, answer } => {
                let answer = from_value::<Answer>(decode(&answer)?).map_err(|error| {
                    let text = format!("the answer to command {id} is damaged: {error}");
                    StoreError::new(ErrorCode::CannotOpenFile, text)
                })?;
                self.senders.restore_answer(&client, answer);
            }
        }
        Ok(())
    }

    /// Commands of a client.
    pub(super) fn request(&mut self, from: &BStr, request: Request, now: Moment) {
        if self.phase != Phase::Open {
            return;
        }
        self.expire(now.time);
        let client = ClientId { process: from.into(), number: request.client };
        self.senders.heard(&client, request.oldest);
        let end = request.oldest.saturating_add(MAX_IN_FLIGHT);
        // No honest client sends more.
        for command in request.commands.into_iter().take(MAX_IN_FLIGHT as usize) {
            let (id, is_query) = (command.id, command.operation.is_query());
            let result = match self.senders.verdict(&client, id) {
                _ if self.answer_bytes > MAX_UNSENT_BYTES => {
                    self.dropped += 1;
                    break;
                }
                Verdict::Execute if id >= end => break,
                Verdict::Execute if !is_query && self.is_full() => {
                    self.dropped += 1;
                    break;
                }
                Verdict::Execute => {
                    self.senders.executed(&client);
                    self.execute(&client, &command, now.time)
                }
                Verdict::Repeat(_) if is_query => operation::query(&self.content, &command),
                Verdict::Repeat(answer) => {
                    // An earlier master has made it, and settled.
                    let answer = answer.unwrap_or_else(|| Answer::new(id, 0, Ok(Value::None)));
                    self.answer_later(&client, answer);
                    continue;
                }
                Verdict::Ignore => continue,
                Verdict::Gap => {
                    self.fresh.gaps.insert(client);
                    break;
                }
            };
            let answer = Answer::new(id, self.sequence, result);
            if !is_query {
                self.senders.remember(&client, answer.clone());
            }
            self.answer_later(&client, answer);
        }
    }

    fn answer_later(&mut self, client: &ClientId, answer: Answer) {
        self.answer_bytes += answer.size();
        match self.fresh.answers.last_mut() {
            Some((last, answers)) if last == client => answers.push(answer),
            _ => self.fresh.answers.push((client.clone(), vec![answer])),
        }
    }

    fn is_full(&self) -> bool {
        self.sequence - self.settled >= MAX_UNSETTLED as u64 || self.log.is_full()
    }

    fn execute(
        &mut self,
        client: &ClientId,
        command: &Command,
        now: Timestamp,
    ) -> Result<Value, StoreError> {
        if command.operation.is_query() {
            return operation::query(&self.content, command);
        }
        let (effect, result) = operation::effect(self.content.get(&command.key), command, now)?;
        if let Effect::Set(entry) = &effect {
            size::check(&command.key, &entry.value, self.max_value_size)?;
        }
        if effect != Effect::Nothing {
            self.change(&command.key, effect, client.process.as_ref());
            if !self.is_volatile {
                self.log.by(client);
            }
        }
        Ok(result)
    }

    /// Makes a change that has an effect.
    fn change(&mut self, key: &Value, effect: Effect, by: &BStr) {
        let (key, entry) = match effect {
            Effect::Nothing => return,
            Effect::Clear => {
                let change = Change::new(Kind::Clear, &Value::None, None, by);
                let old = Old::Content(self.clear());
                return self.made(Applied { change, old }, Record::Clear);
            }
            Effect::Erase => (key, None),
            Effect::Set(entry) => (key, Some(entry)),
        };
        let record = match &entry {
            _ if self.is_volatile => Record::Clear,
            None => Record::Erase { key: encoded(key) },
            Some(Entry { value, expiry }) => {
                Record::Put { key: encoded(key), value: encoded(value), expiry: *expiry }
            }
        };
        let kind = match &entry {
            None if by.is_empty() => Kind::Expire,
            None => Kind::Erase,
            Some(_) if self.content.get(key).is_some() => Kind::Update,
            Some(_) => Kind::Insert,
        };
        let change = Change::new(kind, key, entry.as_ref(), by);
        let old = self.set(key, entry);
        self.made(Applied { change, old: Old::Entry(old) }, record);
    }

    fn made(&mut self, applied: Applied, record: Record) {
        self.sequence += 1;
        self.fresh.applied.push(applied);
        if !self.is_volatile {
            self.log.push(record);
        }
    }

    fn set(&mut self, key: &Value, entry: Option<Entry>) -> Option<Entry> {
        let new_expiry = entry.as_ref().map(|entry| Entry { value: Value::None, ..*entry });
        let old = self.content.set(key, entry);
        self.deadlines.replace(key, old.as_ref(), new_expiry.as_ref());
        old
    }

    fn clear(&mut self) -> Content {
        self.deadlines = Deadlines::default();
        // Snapshots of what is gone would go on to the end of it.
        std::mem::take(&mut self.content)
    }

    fn expire(&mut self, now: Timestamp) {
        while let Some(key) = self.deadlines.due(now) {
            self.change(&key, Effect::Erase, BStr::new(""));
        }
    }

    /// A clone misses changes.
    pub(super) fn sync(&mut self, from: &BStr, sync: &Sync, now: Moment) {
        if self.phase != Phase::Open {
            return;
        }
        let client = ClientId { process: from.into(), number: sync.client };
        let is_known = sync.epoch == self.epoch && self.history.after(sync.sequence).is_some();
        if is_known {
            self.behind.insert(client, sync.sequence);
        } else {
            self.sessions.begin(&client, &self.content, now.instant);
        }
    }

    /// A clone has accepted a part of its snapshot.
    pub(super) fn pull(&mut self, from: &BStr, pull: &Pull, now: Moment) {
        if self.phase != Phase::Open {
            return;
        }
        let client = ClientId { process: from.into(), number: pull.client };
        self.sessions.pull(&client, pull.session, pull.position, now.instant);
    }

    /// Somebody asks whether there is a master.
    pub(super) fn probe(&mut self, probe: &Probe) {
        self.wants_status |= self.phase == Phase::Open && probe.epoch != self.epoch;
    }

    /// What another master says about itself.
    pub(super) fn status(&mut self, status: &Status) {
        if status.epoch == self.epoch || !status.is_open || self.phase == Phase::Closed {
            return;
        }
        let is_probing = matches!(self.phase, Phase::Probing { .. });
        if is_probing || status.epoch < self.epoch {
            self.close();
        } else {
            self.wants_status |= self.phase == Phase::Open;
        }
    }

    /// A process is gone.
    pub(super) fn process_gone(&mut self, process: &BStr) {
        self.sessions.process_gone(process);
        self.behind.retain(|client, _| client.process != process);
    }

    /// The master ends. What is not settled yet still is, if the backend goes on.
    pub(super) fn close(&mut self) {
        self.says_closed = self.phase == Phase::Open;
        self.phase = Phase::Closed;
        self.sessions.abort();
        self.behind.clear();
    }

    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    pub(super) fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    fn own_status(&self, is_open: bool) -> Status {
        let (epoch, sequence) = (self.epoch, self.settled);
        Status { store: self.store.clone(), epoch, sequence, is_open }
    }

    /// Time passes.
    pub(super) fn tick(&mut self, now: Moment) -> Option<Probe> {
        match &mut self.phase {
            Phase::Probing { since, .. } if *since + PROBE_TIME <= now.instant => {
                self.phase = Phase::Open;
                self.wants_status = true;
            }
            Phase::Probing { since, asked } => {
                let is_due = *since + PROBE_INTERVAL * *asked <= now.instant;
                *asked += u32::from(is_due);
                return is_due.then(|| Probe { store: self.store.clone(), epoch: self.epoch });
            }
            Phase::Open => {
                self.expire(now.time);
                self.sessions.tick(now.instant);
                self.wants_status |= self.next_status <= now.instant;
            }
            Phase::Closed => {}
        }
        None
    }

    /// When to call [`Master::tick`].
    pub(super) fn deadline(&self, now: Moment) -> Option<Instant> {
        match self.phase {
            Phase::Probing { since, asked } => {
                Some(since + (PROBE_INTERVAL * asked).min(PROBE_TIME))
            }
            Phase::Open if self.sessions.has_work() => Some(now.instant),
            Phase::Open => {
                let expiry = self.deadlines.first().map(|time| {
                    let nanos = u64::try_from(time.0.saturating_sub(now.time.0)).unwrap_or(0);
                    now.instant + std::time::Duration::from_nanos(nanos.min(1 << 60))
                });
                let others = expiry.into_iter().chain(self.sessions.deadline());
                others.chain([self.next_status]).min()
            }
            Phase::Closed => None,
        }
    }

    /// A turn ends: what has happened in it leaves the master as soon as its changes are settled.
    pub(super) fn flush(&mut self, now: Moment, outputs: &mut Vec<Output>) {
        // These tell only of what was published.
        if std::mem::take(&mut self.wants_status) && self.is_open() {
            self.next_status = now.instant + STATUS_INTERVAL;
            outputs.push(Output::Send(To::Status, self.own_status(true).into()));
        }
        for (client, sequence) in std::mem::take(&mut self.behind) {
            self.catch_up(&client, sequence, now, outputs);
        }
        for _ in 0..CHUNKS_AT_ONCE {
            let Some(part) = self.sessions.next_part(&self.content) else { break };
            let chunk = Chunk {
                store: self.store.clone(),
                client: part.client.number,
                epoch: self.epoch,
                session: part.session,
                total: part.total,
                begin: part.begin,
                end: part.end,
                sequence: self.sequence,
                entries: part.entries,
            };
            self.fresh.sends.push((To::Process(part.client.process), chunk.into()));
        }
        if !self.fresh.is_empty() {
            let fresh = std::mem::take(&mut self.fresh);
            self.held.push_back(Held { sequence: self.sequence, ..fresh });
        }
        if self.is_volatile {
            self.settled = self.sequence;
        }
        self.release(outputs);
        if std::mem::take(&mut self.says_closed) {
            outputs.push(Output::Send(To::Status, self.own_status(false).into()));
        }
    }

    fn catch_up(
        &mut self,
        client: &ClientId,
        sequence: u64,
        now: Moment,
        outputs: &mut Vec<Output>,
    ) {
        let Some(changes) = self.history.after(sequence) else {
            return self.sessions.begin(client, &self.content, now.instant);
        };
        let changes: Vec<Change> = changes.cloned().collect();
        self.wants_status |= changes.is_empty();
        for message in split(&self.store, self.epoch, sequence + 1, changes) {
            outputs.push(Output::Send(To::Process(client.process.clone()), message.into()));
        }
    }

    fn release(&mut self, outputs: &mut Vec<Output>) {
        while self.held.front().is_some_and(|held| held.sequence <= self.settled) {
            let Some(held) = self.held.pop_front() else { return };
            self.publish(held, outputs);
        }
    }

    fn publish(&mut self, held: Held, outputs: &mut Vec<Output>) {
        let first = held.sequence - held.applied.len() as u64 + 1;
        let mut changes = Vec::with_capacity(held.applied.len());
        for Applied { change, old } in held.applied {
            changes.push(change.clone());
            match old {
                _ if !self.is_watched => {}
                Old::Entry(old) => outputs.push(Output::Noted(Noted::new(change.clone(), old))),
                Old::Content(content) => {
                    let erased = Noted::erased(&content, change.by.as_ref());
                    outputs.extend(erased.map(Output::Noted));
                }
            }
            self.history.push(change);
        }
        for message in split(&self.store, self.epoch, first, changes) {
            outputs.push(Output::Send(To::Changes, message.into()));
        }
        let mut by_client = BTreeMap::<ClientId, Vec<Answer>>::new();
        for (client, mut answers) in held.answers {
            self.answer_bytes -= answers.iter().map(Answer::size).sum::<usize>();
            by_client.entry(client).or_default().append(&mut answers);
        }
        for (client, answers) in by_client {
            for part in parts(answers, Answer::size) {
                self.answer(&client, part, outputs);
            }
        }
        for client in held.gaps {
            self.answer(&client, Vec::new(), outputs);
        }
        outputs.extend(held.sends.into_iter().map(|(to, message)| Output::Send(to, message)));
    }

    fn answer(&self, client: &ClientId, answers: Vec<Answer>, outputs: &mut Vec<Output>) {
        let next = self.senders.next(client).unwrap_or(0);
        let (store, epoch) = (self.store.clone(), self.epoch);
        let answers = Answers { store, client: client.number, epoch, next, answers };
        outputs.push(Output::Send(To::Process(client.process.clone()), answers.into()));
    }

    /// What the backend is to keep next, once it is done with the batch before. Call it after [`Master::flush`].
    pub(super) fn take_batch(&mut self) -> Option<Batch> {
        let (mut records, clients) = self.log.take()?;
        for client in clients {
            records.extend(self.senders.take_unkept(client));
        }
        Some(Batch { sequence: self.sequence, records })
    }

    /// The backend is done with a batch.
    pub(super) fn written(
        &mut self,
        sequence: u64,
        result: Result<(), StoreError>,
        outputs: &mut Vec<Output>,
    ) {
        let clients = self.log.done();
        match result {
            Ok(()) => self.settled = sequence,
            Err(error) => {
                for client in &clients {
                    self.senders.not_kept(client);
                }
                self.undo(&error);
            }
        }
        self.release(outputs);
    }

    /// Undoes all changes that are not settled: those after a change that failed depend on it.
    fn undo(&mut self, error: &StoreError) {
        self.log.clear();
        self.sessions.abort();
        let fresh = std::mem::take(&mut self.fresh);
        self.held.push_back(fresh);
        for held in self.held.make_contiguous().iter_mut().rev() {
            held.sequence = self.settled;
            for Applied { change, old } in held.applied.drain(..).rev() {
                match old {
                    Old::Entry(old) => {
                        let new = old.as_ref().map(|old| Entry { value: Value::None, ..*old });
                        let undone = self.content.set(&change.key, old);
                        self.deadlines.replace(&change.key, undone.as_ref(), new.as_ref());
                    }
                    Old::Content(content) => {
                        self.content = content;
                        self.deadlines = Deadlines::default();
                        for (key, entry) in self.content.iter() {
                            self.deadlines.replace(key, None, Some(entry));
                        }
                    }
                }
            }
            for (client, answers) in &mut held.answers {
                for answer in answers.iter_mut().filter(|one| one.sequence > self.settled) {
                    self.answer_bytes -= answer.size();
                    *answer = Answer::new(answer.id, self.settled, Err(error.clone()));
                    self.answer_bytes += answer.size();
                    self.senders.remember(client, answer.clone());
                }
            }
            // A chunk or a status may tell of what was undone.
            held.sends.clear();
        }
        self.sequence = self.settled;
        self.wants_status = self.is_open();
    }

    /// A query of this process, which does not wait: what is settled.
    pub(super) fn settled_value(&self, key: &Value) -> Option<&Value> {
        let unsettled = self.held.iter().chain([&self.fresh]).flat_map(|held| &held.applied);
        for Applied { change, old } in unsettled {
            match old {
                Old::Entry(old) if change.key == *key => return old.as_ref().map(|old| &old.value),
                Old::Content(content) => return content.get(key).map(|entry| &entry.value),
                Old::Entry(_) => {}
            }
        }
        self.content.get(key).map(|entry| &entry.value)
    }

    /// All entries, as [`Master::settled_value`] has them.
    pub(super) fn settled_entries(&self) -> Vec<(Value, Entry)> {
        let mut content = self.content.clone();
        let unsettled = self.held.iter().chain([&self.fresh]).flat_map(|held| &held.applied);
        for Applied { change, old } in unsettled.rev() {
            match old {
                Old::Entry(old) => _ = content.set(&change.key, old.clone()),
                Old::Content(old) => content.clone_from(old),
            }
        }
        content.into_entries()
    }

    /// Whether changes are not kept yet.
    pub(super) fn is_writing(&self) -> bool {
        !self.log.is_empty()
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    pub(super) fn len(&self) -> usize {
        self.content.len()
    }

    pub(super) fn figures(&self) -> Figures {
        Figures {
            entries: self.content.len(),
            changes: self.settled,
            snapshots: self.sessions.begun(),
            dropped: self.dropped,
        }
    }

    #[cfg(test)]
    pub(super) fn content(&self) -> &Content {
        &self.content
    }
}

/// Consecutive changes as events of limited size.
fn split(store: &BString, epoch: u64, first: u64, changes: Vec<Change>) -> Vec<Changes> {
    let mut first = first;
    let mut events = Vec::new();
    for changes in parts(changes, Change::size) {
        let count = changes.len() as u64;
        events.push(Changes { store: store.clone(), epoch, first, changes });
        first += count;
    }
    events
}
