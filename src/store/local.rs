//! [`Local`]: what this process has of one store. It connects the pure parts with each other and with the app.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bstr::{BStr, BString};

use super::StoreError;
use super::bus::{publish, subscribe};
use super::content::Entry;
use super::follower::Follower;
use super::names::Topics;
use super::output::{Figures, Output, Ticket};
use super::protocol::{
    Answers, Changes, Chunk, Command, Info, Message, Moment, Probe, Pull, Request, Status, Sync, To,
};
use super::remote::Remote;
use super::seat::Seat;
use super::watch::Noted;
use crate::app::{Clock, Context, Outcome, TimerId, guarded};
use crate::peers::ErrorCode;
use crate::rate_limit::RateLimit;
use crate::telemetry::StoreMetrics;
use crate::value::Value;

/// How often in a turn what was done with results is followed up.
const ROUNDS: usize = 10;
/// How long an app that stops waits for its changes to be written.
const LAST_WRITE: Duration = Duration::from_secs(5);

/// What is done with the result of a command.
pub(super) type Then = Box<dyn FnOnce(Result<Value, StoreError>, &mut Context<'_>) -> Outcome>;
/// What is done with a change.
pub(super) type Watcher = Box<dyn FnMut(&Noted, &mut Context<'_>) -> Outcome>;

/// A store in this process.
pub(super) struct Local {
    pub(super) name: BString,
    topics: Topics,
    clock: RefCell<Clock>,
    /// Whether something was asked for that [`Local::step`] has not seen.
    has_news: Cell<bool>,
    state: RefCell<State>,
    watchers: RefCell<Vec<Watcher>>,
    /// How often it is said that functions of the program fail.
    warnings: RefCell<RateLimit>,
    /// Other threads, and what they see; `None` in a harness.
    outside: Option<Outside>,
}

/// How a store is seen from outside of the app.
pub(super) struct Outside {
    pub(super) remote: Remote,
    pub(super) metrics: StoreMetrics,
}

struct State {
    /// The id of this process; empty until the app runs.
    process: BString,
    follower: Follower,
    master: Option<Seat>,
    then: HashMap<Ticket, Then, ahash::RandomState>,
    timer: Option<(Instant, TimerId)>,
    /// Subscriptions that the app has not made yet.
    to_subscribe: Vec<BString>,
    subscribed: Vec<BString>,
    /// Nothing more is taken.
    is_closing: bool,
    is_closed: bool,
    /// What was counted.
    counted: Figures,
}

/// What a store is asked for, or told, by the bus.
pub(super) enum Received {
    Request(Request),
    Sync(Sync),
    Pull(Pull),
    Probe(Probe),
    Answers(Answers),
    Changes(Changes),
    Chunk(Chunk),
    Status(Status),
}

impl Local {
    pub(super) fn new(
        name: &str,
        clock: Clock,
        follower: Follower,
        master: Option<Seat>,
        outside: Option<Outside>,
    ) -> Self {
        let topics = Topics::new(name.into());
        let mut to_subscribe = vec![topics.status.clone()];
        if master.is_some() {
            to_subscribe.push(topics.master.clone());
        } else if follower.is_clone() {
            to_subscribe.push(topics.changes.clone());
        }
        let state = State {
            process: BString::default(),
            follower,
            master,
            then: HashMap::default(),
            timer: None,
            to_subscribe,
            subscribed: Vec::new(),
            is_closing: false,
            is_closed: false,
            counted: Figures::default(),
        };
        Local {
            name: name.into(),
            topics,
            clock: RefCell::new(clock),
            has_news: Cell::new(true),
            state: RefCell::new(state),
            watchers: RefCell::default(),
            warnings: RefCell::new(RateLimit::new(Duration::from_secs(10))),
            outside,
        }
    }

    pub(super) fn set_clock(&self, clock: &Clock) {
        self.clock.replace(clock.clone());
    }

    fn now(&self) -> Moment {
        let clock = self.clock.borrow();
        Moment { instant: clock.instant(), time: clock.time() }
    }

    /// Has something done. What is done with the result comes after the current handler.
    pub(super) fn submit(
        &self,
        command: Result<Command, StoreError>,
        timeout: Option<Duration>,
        then: Then,
    ) {
        let now = self.now();
        let state = &mut *self.state.borrow_mut();
        let command = if state.is_closing { Err(closed()) } else { command };
        let ticket = state.follower.submit(command, timeout, now);
        state.then.insert(ticket, then);
        self.has_news.set(true);
    }

    pub(super) fn remote(&self) -> Option<Remote> {
        Some(self.outside.as_ref()?.remote.clone())
    }

    /// Calls a function with each change from now on.
    pub(super) fn watch(&self, watcher: Watcher) {
        let state = &mut *self.state.borrow_mut();
        if state.is_closing {
            return;
        }
        let is_first = self.watchers.borrow().is_empty();
        match &mut state.master {
            Some(seat) => seat.master.watch(),
            None if is_first => {
                state.follower.watch();
                if !state.follower.is_clone() {
                    state.to_subscribe.push(self.topics.changes.clone());
                }
            }
            None => {}
        }
        self.watchers.borrow_mut().push(watcher);
    }

    /// The value of a key, if the content is here.
    pub(super) fn value(&self, key: &Value) -> Result<Option<Value>, StoreError> {
        let now = self.now();
        let state = self.state.borrow();
        match &state.master {
            Some(Seat { master, .. }) if !state.is_closed => Ok(master.settled_value(key).cloned()),
            _ => state.follower.value(key, now).map(Option::<&Value>::cloned),
        }
    }

    /// All entries, if the content is here.
    pub(super) fn entries(&self) -> Result<Vec<(Value, Entry)>, StoreError> {
        let now = self.now();
        let state = self.state.borrow();
        match &state.master {
            Some(Seat { master, .. }) if !state.is_closed => Ok(master.settled_entries()),
            _ => state.follower.entries(now),
        }
    }

    /// How many entries are here; `None` if there is no content.
    pub(super) fn len(&self) -> Option<usize> {
        let state = self.state.borrow();
        match &state.master {
            Some(Seat { master, .. }) => Some(master.settled_len()),
            None => state.follower.len(),
        }
    }

    pub(super) fn has_master(&self) -> bool {
        self.state.borrow().master.is_some()
    }

    pub(super) fn is_clone(&self) -> bool {
        self.state.borrow().follower.is_clone()
    }

    /// Whether commands can be done now: a master is there.
    pub(super) fn is_master_there(&self) -> bool {
        self.state.borrow().follower.is_master_there()
    }

    /// How many commands wait.
    pub(super) fn waiting(&self) -> usize {
        self.state.borrow().follower.waiting()
    }

    /// A message comes from the bus.
    pub(super) fn received(&self, topic: &BStr, from: &BStr, received: Received) {
        let now = self.now();
        let state = &mut *self.state.borrow_mut();
        if state.is_closed || !self.topics.may_carry(topic, &state.process, &received) {
            return;
        }
        let State { follower, master, .. } = state;
        match (received, master) {
            (Received::Answers(answers), _) => follower.answers(from, answers, now),
            (Received::Changes(changes), _) => follower.changes(from, changes, now),
            (Received::Chunk(chunk), _) => follower.chunk(from, chunk, now),
            // The own master is the one to follow, or there is none.
            (Received::Status(status), Some(seat)) => seat.master.status(&status),
            (Received::Status(status), None) => follower.status(from, &status, now),
            (Received::Request(request), Some(seat)) => seat.master.request(from, request, now),
            (Received::Sync(sync), Some(seat)) => seat.master.sync(from, &sync, now),
            (Received::Pull(pull), Some(seat)) => seat.master.pull(from, &pull, now),
            (Received::Probe(probe), Some(seat)) => seat.master.probe(&probe),
            (_, None) => {}
        }
        self.has_news.set(true);
    }

    /// A process is gone.
    pub(super) fn process_gone(&self, process: &BStr) {
        let now = self.now();
        let state = &mut *self.state.borrow_mut();
        state.follower.process_gone(process, now);
        if let Some(seat) = &mut state.master {
            seat.master.process_gone(process);
        }
        self.has_news.set(true);
    }

    /// Says what there is, if the master is here.
    pub(super) fn info(&self) -> Option<Info> {
        let state = self.state.borrow();
        let Seat { master, backend, .. } = state.master.as_ref()?;
        master.is_open().then(|| Info {
            store: self.name.clone(),
            epoch: master.epoch(),
            sequence: master.settled(),
            size: master.settled_len() as u64,
            backend: (*backend).into(),
        })
    }

    /// Does what there is to do: at the end of a turn, or when it is time.
    pub(super) fn step(self: &Rc<Self>, context: &mut Context<'_>) {
        let now = self.now();
        self.subscribe(context);
        self.look_for_bus(now);
        // What is done with results may ask for more.
        for _ in 0..ROUNDS {
            self.has_news.set(false);
            let had_master = self.has_master();
            let outputs = self.state.borrow_mut().advance(now);
            if had_master && !self.has_master() {
                log::error!(
                    "store {}: another process has the master; nothing can be done with it here",
                    self.name
                );
            }
            if outputs.is_empty() {
                break;
            }
            self.carry_out(outputs, context);
        }
        self.count();
        self.arm(now, context);
    }

    /// Whether something was asked for, or came, that [`Local::step`] has not seen.
    pub(super) fn has_news(&self) -> bool {
        self.has_news.get()
    }

    /// Whether [`Local::step`] has something to do. Time is not looked at: there are timers.
    pub(super) fn is_due(&self) -> bool {
        let state = self.state.borrow();
        let is_due = |seat: &Seat| seat.master.is_waiting() || seat.writer.is_done();
        self.has_news()
            || !state.to_subscribe.is_empty()
            || state.master.as_ref().is_some_and(is_due)
    }

    /// A master begins once others can hear it. In a harness they always can.
    fn look_for_bus(&self, now: Moment) {
        let state = &mut *self.state.borrow_mut();
        if let Some(seat) = state.master.as_mut().filter(|seat| seat.master.is_waiting())
            && self.outside.as_ref().is_none_or(|outside| outside.remote.is_bus_ready())
        {
            seat.master.bus_is_ready(now);
        }
    }

    fn count(&self) {
        let Some(Outside { metrics, .. }) = &self.outside else { return };
        let state = &mut *self.state.borrow_mut();
        let figures = match &state.master {
            Some(seat) => seat.master.figures(),
            None => state.follower.figures(),
        };
        let before = std::mem::replace(&mut state.counted, figures);
        metrics.entries.set(figures.entries as i64);
        metrics.has_master.set(i64::from(state.follower.is_master_there()));
        metrics.waiting.set(state.follower.waiting() as i64);
        metrics.changes.inc_by(figures.changes.saturating_sub(before.changes));
        metrics.snapshots.inc_by(figures.snapshots.saturating_sub(before.snapshots));
        metrics.dropped.inc_by(figures.dropped.saturating_sub(before.dropped));
    }

    fn subscribe(&self, context: &mut Context<'_>) {
        let topics = {
            let state = &mut *self.state.borrow_mut();
            if state.process.is_empty() {
                state.process = context.id().as_bytes().into();
                let own = self.topics.process(&state.process);
                state.to_subscribe.push(own);
            }
            std::mem::take(&mut state.to_subscribe)
        };
        for topic in topics {
            match subscribe(&topic, context) {
                Ok(()) => self.state.borrow_mut().subscribed.push(topic),
                Err(error) => {
                    log::error!("store {}: cannot subscribe to {topic}: {error}", self.name);
                    self.state.borrow_mut().to_subscribe.push(topic);
                }
            }
        }
    }

    fn carry_out(&self, outputs: Vec<Output>, context: &mut Context<'_>) {
        for output in outputs {
            let outcome = match output {
                Output::Send(to, message) => {
                    self.publish(&to, &message, context);
                    continue;
                }
                Output::Done(ticket, result) => {
                    if let (Err(_), Some(outside)) = (&result, &self.outside) {
                        outside.metrics.errors.inc();
                    }
                    let then = self.state.borrow_mut().then.remove(&ticket);
                    then.map(|then| attempt(|| then(result, context)))
                }
                Output::Noted(noted) => {
                    let mut watchers = self.watchers.take();
                    let mut outcome = Ok(());
                    for watcher in &mut watchers {
                        outcome = outcome.and(attempt(|| watcher(&noted, context)));
                    }
                    // A watcher may have added another one.
                    watchers.append(&mut self.watchers.borrow_mut());
                    self.watchers.replace(watchers);
                    Some(outcome)
                }
            };
            if let Some(Err(error)) = outcome
                && let Some(more) = self.warnings.borrow_mut().check(self.now().instant)
            {
                log::warn!("store {}: {error} ({more} more like this)", self.name);
            }
        }
    }

    fn publish(&self, to: &To, message: &Message, context: &mut Context<'_>) {
        let topic = match to {
            To::Master => self.topics.master.clone(),
            To::Status => self.topics.status.clone(),
            To::Changes => self.topics.changes.clone(),
            To::Process(id) => self.topics.process(id),
        };
        publish(&topic, message, context);
    }

    /// Sets the timer for what comes next.
    fn arm(self: &Rc<Self>, now: Moment, context: &mut Context<'_>) {
        let state = &mut *self.state.borrow_mut();
        let next = state.deadline(now);
        if state.timer.map(|(at, _)| at) == next {
            return;
        }
        if let Some((_, timer)) = state.timer.take() {
            context.cancel(timer);
        }
        if let Some(at) = next {
            let local = Rc::clone(self);
            let after = at.saturating_duration_since(now.instant);
            let timer = context.call_after(after, move |context| {
                local.state.borrow_mut().timer = None;
                local.step(context);
                Ok(())
            });
            state.timer = Some((at, timer));
        }
    }

    /// The app ends, or the program needs the store no longer. Changes that the master has made are written, and answered.
    pub(super) fn close(self: &Rc<Self>, context: &mut Context<'_>) {
        if self.is_closed() {
            return;
        }
        self.step(context);
        // What is done with results must not go on for ever.
        self.state.borrow_mut().is_closing = true;
        let end = Instant::now() + LAST_WRITE;
        loop {
            let patience = end.saturating_duration_since(Instant::now());
            let Some(outputs) = self.state.borrow_mut().drain(patience, self.now()) else { break };
            self.carry_out(outputs, context);
        }
        let outputs = self.state.borrow_mut().end(self.now(), context);
        self.carry_out(outputs, context);
        let (seat, subscribed) = {
            let state = &mut *self.state.borrow_mut();
            (state.master.take(), std::mem::take(&mut state.subscribed))
        };
        if let Some(seat) = seat {
            seat.close();
        }
        for topic in subscribed {
            // It fails only if the node has ended.
            _ = context.unsubscribe(topic);
        }
        // They may have handles of the store.
        self.watchers.take();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.borrow().is_closed
    }
}

fn closed() -> StoreError {
    StoreError::new(ErrorCode::Unspecified, "the store was closed")
}

/// Calls a function of the user, which may panic.
fn attempt(call: impl FnOnce() -> Outcome) -> Outcome {
    guarded(call).unwrap_or_else(|panic| Err(panic.into()))
}

impl State {
    fn deadline(&self, now: Moment) -> Option<Instant> {
        if self.is_closed {
            return None;
        }
        let master = self.master.as_ref().and_then(|seat| seat.master.deadline(now));
        self.follower.deadline().into_iter().chain(master).min()
    }

    /// Waits for the backend, and returns what is to be done then; `None` if nothing is left, or it takes too long.
    fn drain(&mut self, patience: Duration, now: Moment) -> Option<Vec<Output>> {
        let seat = self.master.as_mut().filter(|seat| seat.master.is_writing())?;
        let mut fresh = Vec::new();
        if !seat.wait(patience, now, &mut fresh) {
            return None;
        }
        let mut outputs: Vec<Output> =
            fresh.into_iter().filter_map(|output| self.pass(output, now)).collect();
        outputs.append(&mut self.advance(now));
        Some(outputs)
    }

    /// Nothing is done any more; says goodbye.
    fn end(&mut self, now: Moment, context: &mut Context<'_>) -> Vec<Output> {
        let mut outputs = Vec::new();
        if let Some((_, timer)) = self.timer.take() {
            context.cancel(timer);
        }
        if let Some(seat) = &mut self.master {
            seat.master.close();
            seat.master.flush(now, &mut outputs);
        }
        self.follower.end(&closed());
        self.follower.flush(now, &mut outputs);
        self.is_closed = true;
        outputs
    }

    /// Everything that can be done now. What this process has for itself does not leave it.
    fn advance(&mut self, now: Moment) -> Vec<Output> {
        let mut outputs = Vec::new();
        if self.is_closed {
            // Whatever was asked for since has failed.
            self.follower.flush(now, &mut outputs);
            return outputs;
        }
        self.follower.tick(now);
        if let Some(seat) = &mut self.master
            && let Some(probe) = seat.master.tick(now)
        {
            outputs.push(Output::Send(To::Master, probe.into()));
        }
        loop {
            let mut fresh = Vec::new();
            if let Some(seat) = &mut self.master {
                seat.advance(now, &mut fresh);
            }
            let mut own = Vec::new();
            self.follower.flush(now, &mut own);
            if fresh.is_empty() && own.is_empty() {
                break;
            }
            fresh.append(&mut own);
            for output in fresh {
                outputs.extend(self.pass(output, now));
            }
        }
        if let Some(seat) = self.master.take_if(|seat| seat.master.is_closed()) {
            let text = "another process has the master";
            self.follower.end(&StoreError::new(ErrorCode::MasterExists, text));
            self.follower.flush(now, &mut outputs);
            seat.close();
        }
        outputs
    }

    /// Takes what is for this process; returns what is to be done elsewhere.
    fn pass(&mut self, output: Output, now: Moment) -> Option<Output> {
        let Some(seat) = &mut self.master else { return Some(output) };
        let process = self.process.as_ref();
        match output {
            Output::Send(To::Master, message) => match message {
                Message::Request(request) => seat.master.request(process, request, now),
                Message::Probe(probe) => seat.master.probe(&probe),
                // It has no clone.
                _ => {}
            },
            Output::Send(To::Process(id), message) if id == *process => {
                if let Message::Answers(answers) = message {
                    self.follower.answers(process, answers, now);
                }
            }
            Output::Send(To::Status, Message::Status(status)) => {
                self.follower.status(process, &status, now);
                return Some(Output::Send(To::Status, status.into()));
            }
            output => return Some(output),
        }
        None
    }
}
