//! [`Engine`]: calls handlers, one event after the other. No sockets and no clock in here: the time is
//! an argument, and the bus is a trait.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bstr::{BStr, BString, ByteSlice};

use super::bus::Bus;
use super::clock::Now;
use super::context::{Context, Origin, Raised, Wishes};
use super::handlers::Handlers;
use super::timers::Task;
use super::{App, Outcome, own};
use crate::Event;
use crate::node::BrokerNews;
use crate::queue::Empty;
use crate::rate_limit::KeyedRateLimit;
use crate::topic::shown;
use crate::wire::event_format::EventDecodeError;

/// The same warning is logged once in this time, with the number of those between.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);
/// How many raised events are handled before the app looks at its notifications again.
const RAISED_SHARE: usize = 1_000;
/// How many events of other threads are raised between two from the bus.
const INBOX_SHARE: usize = 100;
/// How many events make a turn.
const LONG_TURN: usize = 500;
/// How many kinds of warnings are told apart.
const MAX_WARNINGS: usize = 100;

/// A running app.
pub(super) struct Engine {
    app: App,
    wishes: Wishes,
    warnings: KeyedRateLimit<(&'static str, BString)>,
    /// `zeek_done` has been raised.
    is_finishing: bool,
    /// How many events were handled since the last turn ended.
    turn: usize,
}

/// Calls one handler.
type Call<'c> = dyn FnMut(&mut dyn FnMut(&mut Context<'_>) -> Outcome) + 'c;

/// One event while it is handled.
struct Turn<'a> {
    bus: &'a dyn Bus,
    origin: Option<&'a Origin>,
    now: Now,
}

impl Engine {
    pub(super) fn new(mut app: App) -> Self {
        let auto_publish = std::mem::take(&mut app.auto_publish);
        let wishes = Wishes { auto_publish, ..Wishes::default() };
        let warnings = KeyedRateLimit::new(WARNING_INTERVAL, MAX_WARNINGS);
        Engine { app, wishes, warnings, is_finishing: false, turn: 0 }
    }

    /// Subscribes, and raises `zeek_init`.
    pub(super) fn start(&mut self, bus: &dyn Bus, now: Now) {
        self.app.clock.set(now);
        for prefix in std::mem::take(&mut self.app.subscriptions) {
            if let Err(error) = bus.subscribe(&prefix) {
                log::error!("cannot subscribe to {prefix}: {error}");
            }
            self.wishes.subscriptions.push_back((true, prefix));
        }
        self.happened(bus, &own::init(), now);
    }

    /// An event came from the bus. Returns whether its arguments fit all handlers.
    pub(super) fn received(
        &mut self,
        bus: &dyn Bus,
        event: &Event,
        origin: &Origin,
        now: Now,
    ) -> bool {
        self.app.clock.set(now);
        if self.app.own_events.contains(event.name.as_bstr()) {
            self.warn("own event", event.name.as_bstr(), now, || {
                let sender = shown(&origin.sender);
                format!("dropped {} from {sender}: nobody else can raise it", event.name)
            });
            return true;
        }
        self.wishes.is_misfit = false;
        self.dispatch(event, &Turn { bus, origin: Some(origin), now });
        let fits = !self.wishes.is_misfit;
        self.settle(bus, now);
        fits
    }

    /// Whether anything would be done with an event of that name from the bus.
    pub(super) fn wants(&self, name: &BStr) -> bool {
        self.app.handlers.are_for(name) || self.app.own_events.contains(name)
    }

    /// Something came from the bus that is no event.
    pub(super) fn undecodable(&mut self, origin: &Origin, error: &EventDecodeError, now: Now) {
        let (topic, sender) = (shown(&origin.topic), shown(&origin.sender));
        self.warn("payload", sender, now, || {
            format!("Failed to unserialize message: {topic}: {error} (from {sender})")
        });
    }

    /// Something happened to this node.
    pub(super) fn happened(&mut self, bus: &dyn Bus, event: &Event, now: Now) {
        self.app.clock.set(now);
        self.dispatch(event, &Turn { bus, origin: None, now });
        self.settle(bus, now);
    }

    /// There is news of the connection to the broker.
    pub(super) fn broker_news(&mut self, bus: &dyn Bus, news: &BrokerNews, now: Now) {
        self.app.clock.set(now);
        let turn = Turn { bus, origin: None, now };
        self.call_all("hook", "broker news".into(), None, &turn, |handlers, call| {
            for hook in &mut handlers.on_broker_news {
                call(&mut |context| hook(news, context));
            }
        });
        self.settle(bus, now);
    }

    /// Raises what is due.
    pub(super) fn tick(&mut self, bus: &dyn Bus, now: Now) {
        self.app.clock.set(now);
        self.settle(bus, now);
        // Timers that are added from now on wait for the next turn, however soon they are due.
        let last = self.wishes.timers.last();
        while !self.is_stopped()
            && let Some(task) = self.wishes.timers.pop(now.instant, last)
        {
            match task {
                Task::Raise(event) => self.raise(&event, bus, now),
                Task::Call(call) => self.call(call, bus, now),
            }
            self.settle(bus, now);
        }
    }

    /// Raises what other threads want raised, up to a share of a turn; `true` if there may be more.
    pub(super) fn take_raised(&mut self, bus: &dyn Bus, now: Now) -> bool {
        for _ in 0..INBOX_SHARE {
            let Some(inbox) = self.app.inbox.as_ref().filter(|_| !self.is_stopped()) else {
                return false;
            };
            match inbox.next() {
                Ok(event) => {
                    self.raise(&event, bus, now);
                    self.settle(bus, now);
                }
                Err(Empty::TimedOut) => return false,
                Err(Empty::Closed) => self.app.inbox = None,
            }
        }
        true
    }

    /// Another thread wants hooks to have a look.
    pub(super) fn nudged(&mut self) {
        self.turn += 1;
    }

    /// Whether there is a turn to be ended before the app waits.
    pub(super) fn is_in_turn(&self) -> bool {
        self.turn > 0 && !self.app.handlers.at_end_of_turn.is_empty()
    }

    /// Whether it must be ended although there is more to handle.
    pub(super) fn is_turn_long(&self) -> bool {
        self.turn >= LONG_TURN && self.is_in_turn()
    }

    /// Calls the hooks for the end of a turn, if there was one.
    pub(super) fn end_turn(&mut self, bus: &dyn Bus, now: Now) {
        if !self.is_in_turn() {
            return;
        }
        self.app.clock.set(now);
        let turn = Turn { bus, origin: None, now };
        self.call_all("hook", "the end of a turn".into(), None, &turn, |handlers, call| {
            for hook in &mut handlers.at_end_of_turn {
                call(&mut |context| hook(context));
            }
        });
        self.turn = 0;
        self.settle(bus, now);
    }

    /// Whether [`Engine::tick`] has something to do at once.
    pub(super) fn has_pending(&self) -> bool {
        !self.wishes.raised.is_empty() || !self.wishes.subscriptions.is_empty()
    }

    /// When to call [`Engine::tick`].
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.wishes.timers.deadline()
    }

    /// Whether nothing is left to do, or it was stopped.
    pub(super) fn is_done(&self) -> bool {
        let may_end = !self.app.peer_counts_as_iosource;
        let has_work =
            self.has_pending() || self.wishes.timers.has_events() || self.app.inbox.is_some();
        self.is_stopped() || (may_end && !has_work)
    }

    /// Raises `zeek_done`.
    pub(super) fn finish(&mut self, bus: &dyn Bus, now: Now) {
        // What was raised before, and what these handlers raise, is still handled.
        self.is_finishing = true;
        self.happened(bus, &own::done(), now);
    }

    fn is_stopped(&self) -> bool {
        self.wishes.stops || self.app.is_stopped.load(Ordering::Relaxed)
    }

    /// Does what handlers have asked for, up to a share of a turn: handlers that raise for ever must not
    /// keep the app from hearing of anything else.
    fn settle(&mut self, bus: &dyn Bus, now: Now) {
        for _ in 0..RAISED_SHARE {
            if self.app.is_stopped.load(Ordering::Relaxed) && !self.is_finishing {
                return;
            }
            if let Some((is_new, prefix)) = self.wishes.subscriptions.pop_front() {
                self.call_hooks(is_new, prefix.as_bstr(), &Turn { bus, origin: None, now });
            } else if let Some(raised) = self.wishes.raised.pop_front() {
                match raised {
                    Raised::Here(event) => self.raise(&event, bus, now),
                    Raised::Published(event) => {
                        self.dispatch(&event, &Turn { bus, origin: None, now });
                    }
                }
            } else {
                return;
            }
        }
    }

    fn raise(&mut self, event: &Event, bus: &dyn Bus, now: Now) {
        let turn = Turn { bus, origin: None, now };
        let topics: Vec<BString> = (self.wishes.auto_publish.iter())
            .filter(|(name, _)| *name == event.name)
            .map(|(_, topic)| topic.clone())
            .collect();
        for topic in topics {
            let mut context = context(&mut self.wishes, &self.app, &turn, Some(event));
            if let Err(error) = context.publish(&topic, event) {
                log::error!("cannot publish {} to {topic}: {error}", event.name);
            }
        }
        self.dispatch(event, &turn);
    }

    fn call(&mut self, call: impl FnOnce(&mut Context<'_>) -> Outcome, bus: &dyn Bus, now: Now) {
        self.turn += 1;
        let turn = Turn { bus, origin: None, now };
        let mut context = context(&mut self.wishes, &self.app, &turn, None);
        let complaints = attempt(self.app.slow_handler, || call(&mut context));
        self.complain(complaints, "timer", "call_after".into(), now);
    }

    fn dispatch(&mut self, event: &Event, turn: &Turn<'_>) {
        let name = event.name.as_bstr();
        self.call_all("handler", name, Some(event), turn, |handlers, call| {
            for handler in handlers.of(name) {
                call(&mut |context| handler(event, context));
            }
        });
    }

    fn call_hooks(&mut self, is_new: bool, prefix: &BStr, turn: &Turn<'_>) {
        let name = if is_new { "Cluster::on_subscribe" } else { "Cluster::on_unsubscribe" };
        self.call_all("hook", name.into(), None, turn, |handlers, call| {
            let hooks =
                if is_new { &mut handlers.on_subscribe } else { &mut handlers.on_unsubscribe };
            for hook in hooks {
                call(&mut |context| hook(prefix, context));
            }
        });
    }

    /// Calls some of the handlers, each with a context of its own, and warns of what is wrong with them.
    fn call_all(
        &mut self,
        what: &'static str,
        name: &BStr,
        event: Option<&Event>,
        turn: &Turn<'_>,
        each: impl FnOnce(&mut Handlers, &mut Call<'_>),
    ) {
        self.turn += 1;
        let mut complaints = Vec::new();
        let mut handlers = std::mem::take(&mut self.app.handlers);
        each(&mut handlers, &mut |handler| {
            let mut context = context(&mut self.wishes, &self.app, turn, event);
            complaints.extend(attempt(self.app.slow_handler, || handler(&mut context)));
        });
        self.app.handlers = handlers;
        self.complain(complaints, what, name, turn.now);
    }

    fn complain(&mut self, complaints: Vec<String>, what: &'static str, name: &BStr, now: Now) {
        for complaint in complaints {
            self.warn(what, name, now, || format!("a {what} of {} {complaint}", shown(name)));
        }
    }

    fn warn(&mut self, what: &'static str, name: &BStr, now: Now, line: impl FnOnce() -> String) {
        if let Some(more) = self.warnings.check(&(what, shown(name).to_owned()), now.instant) {
            log::warn!("{} ({more} more like this)", line());
        }
    }
}

fn context<'a>(
    wishes: &'a mut Wishes,
    app: &App,
    turn: &Turn<'a>,
    event: Option<&Event>,
) -> Context<'a> {
    let network_time = event.and_then(Event::network_timestamp).unwrap_or(turn.now.time);
    Context {
        bus: turn.bus,
        wishes,
        origin: turn.origin,
        now: turn.now,
        network_time,
        add_network_timestamps: app.add_network_timestamps,
    }
}

/// Calls a handler; returns what is wrong with it.
fn attempt(slow: Duration, handler: impl FnOnce() -> Outcome) -> Vec<String> {
    let start = Instant::now();
    let mut complaints = Vec::new();
    match guarded(handler) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => complaints.push(format!("failed: {error}")),
        Err(panic) => complaints.push(panic),
    }
    let took = start.elapsed();
    if took > slow {
        complaints.push(format!("took {:.1} s", took.as_secs_f64()));
    }
    complaints
}

/// Calls a function of the user; an error is what its panic says.
pub(crate) fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| format!("panicked: {}", message(&*panic)))
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}
