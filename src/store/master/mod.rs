//! [`Master`]: the only one that changes a store. Pure: what happens comes in as calls, and what is to be done about it
//! is collected until [`Master::flush`].
//!
//! | module | owns |
//! |---|---|
//! | here | the order of changes, and what may leave the master when |
//! | `held` | what waits until its changes are settled |
//! | `log` | what the backend is to keep |
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

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bstr::{BStr, BString};

use super::StoreError;
use super::backend::{ClientId, Record};
use super::content::{Content, Entry};
use super::limits::{
    AWAY_AFTER, MAX_IN_FLIGHT, MAX_UNSENT_BYTES, MAX_UNSETTLED, PROBE_INTERVAL, PROBE_TIME,
    STATUS_INTERVAL,
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

/// How many chunks of snapshots are sent in a turn, and how many clones are sent what they have missed.
const SENT_AT_ONCE: usize = 4;
/// How many of those who ask whether there is a master are answered in a turn.
const MAX_PROBES: usize = 16;
/// How many entries expire in a turn.
const EXPIRED_AT_ONCE: usize = 10_000;
/// How often a master that waits for the bus looks for it, if it is not told.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long nothing expires after changes could not be written.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The bus is not there yet.
    Waiting,
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
    /// Who has asked whether there is a master, by epoch.
    probed_by: BTreeSet<u64>,
    /// Whether to ask a master that seems to be older whether it is alive, and when that was done last.
    wants_probe: bool,
    probed: Option<Instant>,
    /// When it was called last: a process may be stopped.
    ticked: Instant,
    /// Until when nothing expires.
    paused_until: Option<Instant>,
    /// Whether this turn has not sent parts of snapshots yet.
    may_send: bool,
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
            phase: Phase::Waiting,
            content: Content::default(),
            deadlines: Deadlines::default(),
            sequence: 0,
            settled: 0,
            log: Log::default(),
            fresh: Held::default(),
            held: VecDeque::new(),
            history: History::default(),
            senders: Senders::default(),
            sessions: Sessions::after(u64::try_from(now.time.0).unwrap_or(1)),
            behind: BTreeMap::new(),
            next_status: now.instant,
            wants_status: false,
            says_closed: false,
            probed_by: BTreeSet::new(),
            wants_probe: false,
            probed: None,
            ticked: now.instant,
            paused_until: None,
            may_send: true,
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
            Record::Client { client, next, oldest } => {
                self.senders.restore(&client, next, oldest, self.ticked);
            }
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
        self.expire(now);
        let client = ClientId { process: from.into(), number: request.client };
        if !self.senders.heard(&client, request.oldest, now.instant) {
            self.dropped += 1;
            return;
        }
        let end = request.oldest.saturating_add(MAX_IN_FLIGHT);
        // No honest client sends more.
        let commands = request.commands.into_iter().take(MAX_IN_FLIGHT as usize);
        for (index, command) in commands.enumerate() {
            let (id, is_query) = (command.id, command.operation.is_query());
            if index > 0 {
                // What is missing after the command before has ended for its client.
                self.senders.ended(&client, id);
            }
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
            super::size::check(&command.key, &entry.value, self.max_value_size)?;
        }
        if effect != Effect::Nothing {
            self.change(&command.key, effect, Some(client.process.as_ref()));
            if !self.is_volatile {
                self.log.by(client);
            }
        }
        Ok(result)
    }

    /// Makes a change that has an effect: of a process, or because of its age.
    fn change(&mut self, key: &Value, effect: Effect, process: Option<&BStr>) {
        let by = process.unwrap_or_default();
        let (key, entry) = match effect {
            Effect::Nothing => return,
            Effect::Clear => {
                let change = Change::new(Kind::Clear, &Value::None, None, by);
                let old = Old::Content(self.clear());
                return self
                    .made(Applied { change, old }, (!self.is_volatile).then_some(Record::Clear));
            }
            Effect::Erase => (key, None),
            Effect::Set(entry) => (key, Some(entry)),
        };
        let record = (!self.is_volatile).then(|| match &entry {
            None => Record::Erase { key: encoded(key) },
            Some(Entry { value, expiry }) => {
                Record::Put { key: encoded(key), value: encoded(value), expiry: *expiry }
            }
        });
        let kind = match &entry {
            None if process.is_none() => Kind::Expire,
            None => Kind::Erase,
            Some(_) if self.content.get(key).is_some() => Kind::Update,
            Some(_) => Kind::Insert,
        };
        let change = Change::new(kind, key, entry.as_ref(), by);
        let old = self.set(key, entry);
        self.made(Applied { change, old: Old::Entry(old) }, record);
    }

    fn made(&mut self, applied: Applied, record: Option<Record>) {
        self.sequence += 1;
        self.fresh.applied.push(applied);
        if let Some(record) = record {
            self.log.push(record);
        }
    }

    fn set(&mut self, key: &Value, entry: Option<Entry>) -> Option<Entry> {
        let expiry = |entry: &Option<Entry>| entry.as_ref().and_then(|entry| entry.expiry);
        let new = expiry(&entry);
        let old = self.content.set(key, entry);
        self.deadlines.replace(key, expiry(&old), new);
        old
    }

    fn clear(&mut self) -> Content {
        self.deadlines = Deadlines::default();
        std::mem::take(&mut self.content)
    }

    /// Removes what has expired, as much as there is room for in a turn.
    fn expire(&mut self, now: Moment) {
        if self.paused_until.is_some_and(|until| now.instant < until) {
            return;
        }
        self.paused_until = None;
        for _ in 0..EXPIRED_AT_ONCE {
            let Some(key) = self.deadlines.due(now.time).filter(|_| !self.is_full()) else {
                return;
            };
            self.change(&key, Effect::Erase, None);
        }
    }

    /// Whether there is more to do at once.
    fn has_work(&self, now: Moment) -> bool {
        let has_expired = self.deadlines.first().is_some_and(|time| time <= now.time);
        let is_paused = self.paused_until.is_some_and(|until| now.instant < until);
        self.sessions.has_work()
            || !self.behind.is_empty()
            || (has_expired && !is_paused && !self.is_full())
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
            self.sessions.begin(&client, now.instant);
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
        if self.phase == Phase::Open && probe.epoch != self.epoch {
            self.probed_by.insert(probe.epoch);
            // There is hardly ever one.
            if self.probed_by.len() > MAX_PROBES {
                self.probed_by.pop_first();
            }
        }
    }

    /// What another master says about itself.
    pub(super) fn status(&mut self, status: &Status) {
        if status.epoch == self.epoch || !status.is_open || self.phase == Phase::Closed {
            return;
        }
        let is_older = status.epoch < self.epoch;
        if status.answers == self.epoch {
            // It is alive. Anything else may be the last words of one that is not.
            if is_older || self.phase != Phase::Open {
                self.close();
            }
        } else if self.phase == Phase::Open {
            self.wants_probe |= is_older;
            self.wants_status |= !is_older;
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

    fn own_status(&self, is_open: bool, answers: u64) -> Status {
        let (epoch, sequence) = (self.epoch, self.settled);
        Status { store: self.store.clone(), epoch, sequence, is_open, answers }
    }

    /// Whether it waits for the bus, which others need to hear it.
    pub(super) fn is_waiting(&self) -> bool {
        self.phase == Phase::Waiting
    }

    /// The bus is there.
    pub(super) fn bus_is_ready(&mut self, now: Moment) {
        if self.is_waiting() {
            self.phase = Phase::Probing { since: now.instant, asked: 0 };
        }
    }

    /// Time passes.
    pub(super) fn tick(&mut self, now: Moment) -> Option<Probe> {
        self.may_send = true;
        let stood_still = now.instant.saturating_duration_since(self.ticked) > AWAY_AFTER;
        self.ticked = now.instant;
        if self.phase == Phase::Open && stood_still {
            // Others may have taken it for gone.
            self.phase = Phase::Probing { since: now.instant, asked: 0 };
        }
        match &mut self.phase {
            Phase::Waiting => {}
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
                self.expire(now);
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
            Phase::Waiting => Some(now.instant + LOOK_AGAIN),
            Phase::Probing { since, asked } => {
                Some(since + (PROBE_INTERVAL * asked).min(PROBE_TIME))
            }
            Phase::Open if self.has_work(now) => Some(now.instant),
            Phase::Open => {
                let expiry = self.deadlines.first().map(|time| {
                    let nanos = u64::try_from(time.0.saturating_sub(now.time.0)).unwrap_or(0);
                    let at = now.instant + Duration::from_nanos(nanos.min(1 << 60));
                    self.paused_until.map_or(at, |until| at.max(until))
                });
                let expiry = expiry.filter(|_| !self.is_full());
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
            outputs.push(Output::Send(To::Status, self.own_status(true, 0).into()));
        }
        // Others get their turn between many that miss much.
        let at_once = if std::mem::take(&mut self.may_send) { SENT_AT_ONCE } else { 0 };
        for asker in std::mem::take(&mut self.probed_by).into_iter().filter(|_| self.is_open()) {
            let status = self.own_status(true, asker);
            outputs.push(Output::Send(To::Status, status.into()));
        }
        if std::mem::take(&mut self.wants_probe)
            && self.probed.is_none_or(|at| at + PROBE_TIME <= now.instant)
        {
            self.probed = Some(now.instant);
            let probe = Probe { store: self.store.clone(), epoch: self.epoch };
            outputs.push(Output::Send(To::Master, probe.into()));
        }
        for _ in 0..at_once {
            let Some((client, sequence)) = self.behind.pop_first() else { break };
            self.catch_up(&client, sequence, now, outputs);
        }
        for _ in 0..at_once {
            let Some(part) = self.sessions.next_part(&self.content, now.instant) else { break };
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
            outputs.push(Output::Send(To::Status, self.own_status(false, 0).into()));
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
            return self.sessions.begin(client, now.instant);
        };
        let changes: Vec<Change> = changes.cloned().collect();
        if changes.is_empty() {
            outputs.push(Output::Send(To::Status, self.own_status(true, 0).into()));
        }
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
        now: Moment,
        outputs: &mut Vec<Output>,
    ) {
        let clients = self.log.done();
        match result {
            Ok(()) => self.settled = sequence,
            Err(error) => {
                for client in &clients {
                    self.senders.not_kept(client);
                }
                self.paused_until = Some(now.instant + PAUSE);
                self.undo(&error);
            }
        }
        self.release(outputs);
    }

    /// Undoes all changes that are not settled: those after a change that failed depend on it.
    fn undo(&mut self, error: &StoreError) {
        self.log.clear();
        self.sessions.abort();
        let mut all = std::mem::take(&mut self.held);
        all.push_back(std::mem::take(&mut self.fresh));
        for held in all.iter_mut().rev() {
            held.sequence = self.settled;
            for Applied { change, old } in held.applied.drain(..).rev() {
                match old {
                    Old::Entry(old) => _ = self.set(&change.key, old),
                    Old::Content(content) => {
                        self.content = content;
                        self.deadlines = Deadlines::default();
                        for (key, entry) in self.content.iter() {
                            self.deadlines.replace(key, None, entry.expiry);
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
        self.held = all;
        self.sequence = self.settled;
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

    /// The last change that is settled.
    pub(super) fn settled(&self) -> u64 {
        self.settled
    }

    /// How many entries there are, as [`Master::settled_value`] has them.
    pub(super) fn settled_len(&self) -> usize {
        let unsettled = self.held.iter().chain([&self.fresh]).flat_map(|held| &held.applied);
        unsettled.rev().fold(self.content.len(), |len, Applied { change, old }| match old {
            Old::Content(old) => old.len(),
            Old::Entry(_) => match change.kind {
                Kind::Insert => len - 1,
                Kind::Erase | Kind::Expire => len + 1,
                Kind::Update | Kind::Clear => len,
            },
        })
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
