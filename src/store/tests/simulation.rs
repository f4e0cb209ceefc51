//! A cluster without sockets: a master, clones and a frontend, and a network that a test controls.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bstr::{BStr, BString};

use crate::Value;
use crate::peers::ErrorCode;
use crate::store::StoreError;
use crate::store::backend::Record;
use crate::store::content::Content;
use crate::store::follower::{Follower, Times};
use crate::store::master::{Batch, Master};
use crate::store::output::{Output, Ticket};
use crate::store::protocol::{Command, Message, Moment, To};
use crate::value::Timestamp;

pub(super) const TIMES: Times = Times {
    request: Duration::from_secs(10),
    resync: Duration::from_secs(10),
    stale: Some(Duration::from_secs(300)),
    buffer: Duration::from_secs(120),
};

/// A process of the simulation.
pub(super) struct Process {
    pub(super) id: BString,
    pub(super) follower: Follower,
    pub(super) results: BTreeMap<Ticket, Result<Value, StoreError>>,
}

/// Records that survive, as a file does.
#[derive(Default)]
pub(super) struct File {
    pub(super) records: Vec<Record>,
    /// The batch that is being written.
    writing: Option<Batch>,
}

/// Who is who: process 0 has the master.
pub(super) struct Simulation {
    pub(super) now: Moment,
    start: Moment,
    pub(super) master: Option<Master>,
    pub(super) file: Option<File>,
    pub(super) processes: Vec<Process>,
    /// What is under way, from one process to another.
    links: BTreeMap<(usize, usize), VecDeque<Message>>,
    restarts: u64,
    /// What the store was after each change, as those outputs of the master say that its file has.
    pub(super) history: BTreeMap<(u64, u64), Content>,
    /// What has been said of the store, in order.
    pub(super) published: Content,
    noted: u64,
    clones: usize,
}

impl Simulation {
    /// A master, clones, and a frontend as the last process.
    pub(super) fn new(clones: usize, has_file: bool) -> Self {
        let now = Moment { instant: Instant::now(), time: Timestamp(1_000_000_000_000) };
        let mut simulation = Simulation {
            now,
            start: now,
            master: None,
            file: has_file.then(File::default),
            processes: Vec::new(),
            links: BTreeMap::new(),
            restarts: 0,
            history: BTreeMap::new(),
            published: Content::default(),
            noted: 0,
            clones,
        };
        for index in 0..clones + 2 {
            let process = simulation.process(index);
            simulation.processes.push(process);
        }
        simulation.start_master();
        simulation
    }

    fn process(&mut self, index: usize) -> Process {
        self.restarts += 1;
        let id = BString::from(format!("process-{index}-{}", self.restarts));
        let is_clone = (1..=self.clones).contains(&index);
        let follower = Follower::new("s".into(), self.restarts, is_clone, TIMES, self.now);
        Process { id, follower, results: BTreeMap::new() }
    }

    pub(super) fn start_master(&mut self) {
        let mut master = Master::new("s".into(), 1 << 20, self.file.is_none(), self.now);
        master.watch();
        if let Some(file) = &mut self.file {
            for record in &file.records {
                master.restore(record.clone()).unwrap();
            }
            file.records.push(Record::Epoch(master.epoch()));
        } else {
            self.published = Content::default();
        }
        master.bus_is_ready(self.now);
        self.noted = 0;
        self.history.insert((master.epoch(), 0), self.published.clone());
        self.master = Some(master);
        self.settle();
    }

    /// The process of the master dies. What is being written may have been written or not.
    pub(super) fn kill_master(&mut self, was_written: bool) {
        if let Some(Batch { records, .. }) = self.file.as_mut().and_then(|file| file.writing.take())
            && was_written
        {
            self.file.as_mut().unwrap().records.extend(records);
        }
        self.master = None;
        self.restart(0);
        if let Some(file) = &self.file {
            // What nobody was told, but is in the file, counts.
            let mut reader = Master::new("s".into(), 1 << 20, false, self.now);
            for record in &file.records {
                reader.restore(record.clone()).unwrap();
            }
            self.published = reader.content().clone();
        }
    }

    /// A process dies, and another one takes its place.
    pub(super) fn restart(&mut self, index: usize) {
        let new = self.process(index);
        let old = std::mem::replace(&mut self.processes[index], new);
        self.links.retain(|(from, to), _| *from != index && *to != index);
        for process in &mut self.processes {
            process.follower.process_gone(old.id.as_ref(), self.now);
        }
        if let Some(master) = &mut self.master {
            master.process_gone(old.id.as_ref());
        }
        self.settle();
    }

    pub(super) fn submit(&mut self, index: usize, command: Command) -> Ticket {
        self.submit_within(index, command, None)
    }

    /// A command that is given up after that time, if one is given.
    pub(super) fn submit_within(
        &mut self,
        index: usize,
        command: Command,
        timeout: Option<Duration>,
    ) -> Ticket {
        let ticket = self.processes[index].follower.submit(Ok(command), timeout, self.now);
        self.settle();
        ticket
    }

    /// Whether the backend has something to do.
    pub(super) fn is_writing(&self) -> bool {
        self.file.as_ref().is_some_and(|file| file.writing.is_some())
    }

    /// The backend is done with what it was given.
    pub(super) fn write(&mut self, succeeds: bool) {
        let Some(file) = &mut self.file else { return };
        let Some(Batch { sequence, records }) = file.writing.take() else { return };
        let result = if succeeds {
            file.records.extend(records);
            Ok(())
        } else {
            Err(StoreError::from(ErrorCode::BackendFailure))
        };
        let mut outputs = Vec::new();
        self.master.as_mut().unwrap().written(sequence, result, self.now, &mut outputs);
        self.route(0, outputs);
        self.settle();
    }

    /// The next message of a link arrives, unless it is lost. `false` if there is none.
    pub(super) fn deliver(&mut self, link: usize, is_lost: bool, is_repeated: bool) -> bool {
        let is_there = self.deliver_within_turn(link, is_lost, is_repeated);
        self.settle();
        is_there
    }

    /// The same, while the turn of the process goes on.
    pub(super) fn deliver_within_turn(
        &mut self,
        link: usize,
        is_lost: bool,
        is_repeated: bool,
    ) -> bool {
        self.links.retain(|_, queue| !queue.is_empty());
        if self.links.is_empty() {
            return false;
        }
        let at = *self.links.keys().nth(link % self.links.len()).unwrap();
        let message = self.links.get_mut(&at).unwrap().pop_front().unwrap();
        if !is_lost {
            self.receive(at.0, at.1, message.clone());
            if is_repeated {
                self.receive(at.0, at.1, message);
            }
        }
        true
    }

    /// All that is under way between two processes is lost.
    pub(super) fn lose(&mut self, from: usize, to: usize) {
        self.links.remove(&(from, to));
    }

    /// Time passes; timers fire.
    pub(super) fn advance(&mut self, time: Duration) {
        let end = self.now.instant + time;
        loop {
            let deadline = self.deadline().filter(|at| *at < end);
            self.set_time(deadline.unwrap_or(end).max(self.now.instant));
            self.tick();
            self.settle();
            for process in &self.processes {
                let next = process.follower.deadline();
                assert!(next.is_none_or(|at| at > self.now.instant), "it spins: {}", process.id);
            }
            if deadline.is_none() {
                return;
            }
        }
    }

    fn set_time(&mut self, instant: Instant) {
        let passed = instant - self.start.instant;
        let time = Timestamp(self.start.time.0 + i64::try_from(passed.as_nanos()).unwrap());
        self.now = Moment { instant, time };
    }

    fn deadline(&self) -> Option<Instant> {
        // What is due, and waits for nothing but a grant, need not stop the clock.
        let later = |at: &Instant| *at > self.now.instant;
        let master = self.master.as_ref().and_then(|master| master.deadline(self.now));
        let followers = self.processes.iter().filter_map(|process| process.follower.deadline());
        followers.chain(master).filter(later).min()
    }

    fn tick(&mut self) {
        if let Some(master) = &mut self.master
            && let Some(probe) = master.tick(self.now)
        {
            self.route(0, vec![Output::Send(To::Master, probe.into())]);
        }
        for process in &mut self.processes {
            process.follower.tick(self.now);
        }
    }

    /// Ends the turn of every process, until nothing happens any more without the network.
    fn settle(&mut self) {
        loop {
            let mut is_quiet = true;
            if let Some(master) = &mut self.master {
                let mut outputs = Vec::new();
                if let Some(probe) = master.tick(self.now) {
                    outputs.push(Output::Send(To::Master, probe.into()));
                }
                master.flush(self.now, &mut outputs);
                if let Some(file) = &mut self.file
                    && file.writing.is_none()
                {
                    file.writing = master.take_batch();
                }
                is_quiet &= outputs.is_empty();
                self.route(0, outputs);
            }
            for index in 0..self.processes.len() {
                let mut outputs = Vec::new();
                self.processes[index].follower.flush(self.now, &mut outputs);
                is_quiet &= outputs.is_empty();
                self.route(index, outputs);
            }
            if is_quiet {
                return;
            }
        }
    }

    fn route(&mut self, from: usize, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Done(ticket, result) => {
                    assert!(self.processes[from].results.insert(ticket, result).is_none());
                }
                Output::Noted(noted) if from == 0 => self.note(noted.change),
                Output::Noted(_) => {}
                Output::Send(to, message) => {
                    for index in 0..self.processes.len() {
                        let process = &self.processes[index];
                        let is_for = match &to {
                            To::Master => index == 0,
                            To::Status => true,
                            To::Changes => process.follower.is_clone(),
                            To::Process(id) => process.id == *id,
                        };
                        if is_for && index == from {
                            self.receive(from, index, message.clone());
                        } else if is_for {
                            let link = self.links.entry((from, index)).or_default();
                            link.push_back(message.clone());
                        }
                    }
                }
            }
        }
    }

    /// A change is published: nobody was told of it before.
    fn note(&mut self, change: crate::store::protocol::Change) {
        use crate::store::content::Entry;
        use crate::store::protocol::Kind;
        let entry = match change.kind {
            Kind::Insert | Kind::Update => {
                Some(Entry { value: change.value, expiry: change.expiry })
            }
            _ => None,
        };
        let old = self.published.set(&change.key, entry.clone());
        assert_eq!(change.kind == Kind::Insert, old.is_none() && entry.is_some());
        self.noted += 1;
        let epoch = self.master.as_ref().unwrap().epoch();
        // All of this would be much with a large content.
        if self.published.len() < 100 {
            self.history.insert((epoch, self.noted), self.published.clone());
        }
    }

    fn receive(&mut self, from: usize, to: usize, message: Message) {
        let from: BString = self.processes[from].id.clone();
        let from: &BStr = from.as_ref();
        let now = self.now;
        let process = &mut self.processes[to];
        match (message, &mut self.master) {
            (Message::Answers(answers), _) => process.follower.answers(from, answers, now),
            (Message::Changes(changes), _) => process.follower.changes(from, changes, now),
            (Message::Chunk(chunk), _) => process.follower.chunk(from, chunk, now),
            (Message::Status(status), _) => process.follower.status(from, &status, now),
            (Message::Request(request), Some(master)) => master.request(from, request, now),
            (Message::Sync(sync), Some(master)) => master.sync(from, &sync, now),
            (Message::Pull(pull), Some(master)) => master.pull(from, &pull, now),
            (Message::Probe(probe), Some(master)) => master.probe(&probe),
            (_, _) => {}
        }
    }

    /// Everything arrives, everything is written, until nothing is left to be done.
    pub(super) fn quiesce(&mut self) {
        for _ in 0..60 {
            for _ in 0..100_000 {
                let arrived = self.deliver(0, false, false);
                self.write(true);
                if !arrived && self.file.as_ref().is_none_or(|file| file.writing.is_none()) {
                    break;
                }
            }
            self.advance(Duration::from_secs(1));
        }
    }
}
