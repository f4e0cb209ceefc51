//! [`Condition`]: the state that the I/O thread last reported, for callers that ask about the
//! health of the node; and the [`Reporter`] that reports it.
//!
//! Callers read a snapshot and some gauges: neither side waits for the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytesize::ByteSize;

use super::outage::span;
use crate::health::{Health, percent};
use crate::telemetry::NodeMetrics;

/// The state of a node.
#[derive(Debug)]
pub(super) struct Condition {
    current: ArcSwap<State>,
    bounds: [Bound; 3],
    metrics: NodeMetrics,
}

/// A queue of the node and its bounds; zero means unbounded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    /// What it holds.
    pub(super) what: &'static str,
    /// The unit of its messages.
    pub(super) unit: &'static str,
    pub(super) messages: usize,
    /// The option that sets this bound; `None` if it is fixed.
    pub(super) messages_option: Option<&'static str>,
    pub(super) bytes: usize,
    pub(super) bytes_option: &'static str,
}

/// What the I/O thread reports about the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) stage: Stage,
    /// The broker is missing or does not answer.
    pub(super) broker: Option<Lack>,
    /// No logger accepts logs.
    pub(super) loggers: Option<Lack>,
    /// The queues that are near their limits: of events to publish, of events received, of log
    /// batches.
    pub(super) near_limit: [bool; 3],
}

/// The stage of a node's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its I/O thread has reported nothing yet.
    #[default]
    Starting,
    Running,
    /// It has been told to end, or has said goodbye.
    Stopping,
    /// It has ended as requested.
    Ended,
    /// It has ended by itself.
    Failed,
}

/// Something missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lack {
    pub(super) what: &'static str,
    pub(super) since: Instant,
    /// The endpoint, and the cause if known.
    pub(super) details: String,
}

impl Condition {
    pub(super) fn new(bounds: [Bound; 3], metrics: NodeMetrics) -> Self {
        Condition { current: ArcSwap::default(), bounds, metrics }
    }

    /// The problems at that time.
    pub(super) fn health(&self, now: Instant) -> Health {
        let mut health = Health::ok();
        let state = self.current.load();
        match state.stage {
            Stage::Running => {}
            Stage::Starting => health.passing("starting"),
            Stage::Stopping => health.passing("stopping"),
            Stage::Ended => {
                health.passing("the node has been shut down");
                return health;
            }
            Stage::Failed => {
                health.problem("the node has ended by itself");
                return health;
            }
        }
        let depths = self.depths();
        for (lack, queue) in [(&state.broker, 0), (&state.loggers, 2)] {
            let Some(lack) = lack else { continue };
            let lasted = now.saturating_duration_since(lack.since);
            let mut line =
                format!("{} for {}: {}", lack.what, span(whole_seconds(lasted)), lack.details);
            let waiting = depths[queue].0;
            if waiting > 0 {
                line.push_str(&format!("; {} waiting: {waiting}", self.bounds[queue].unit));
            }
            health.lasting(line, lasted);
        }
        for ((is_near, bound), depth) in state.near_limit.iter().zip(&self.bounds).zip(depths) {
            if *is_near {
                health.problem(bound.describe(depth));
            }
        }
        health
    }

    /// Messages and bytes of each queue, as last measured.
    fn depths(&self) -> [(usize, usize); 3] {
        self.metrics.queue_gauges().map(|(messages, bytes)| {
            let get = |gauge: &crate::telemetry::Gauge| usize::try_from(gauge.get()).unwrap_or(0);
            (get(messages), get(bytes))
        })
    }
}

fn whole_seconds(span: Duration) -> Duration {
    Duration::from_secs(span.as_secs())
}

impl Bound {
    /// How full the queue is, in percent.
    pub(super) fn percent(&self, (messages, bytes): (usize, usize)) -> u64 {
        percent(messages, self.messages).max(percent(bytes, self.bytes))
    }

    fn describe(&self, (messages, bytes): (usize, usize)) -> String {
        let mut line = format!("the queue of {} is near its limit: {messages}", self.what);
        if self.messages > 0 {
            line.push_str(&format!(" of {}", self.messages));
        }
        line.push_str(&format!(" {}", self.unit));
        if let Some(option) = self.messages_option {
            line.push_str(&format!(" ({option})"));
        }
        line.push_str(&format!(", {}", ByteSize::b(bytes as u64)));
        if self.bytes > 0 {
            line.push_str(&format!(" of {}", ByteSize::b(self.bytes as u64)));
        }
        line.push_str(&format!(" ({})", self.bytes_option));
        line
    }
}

/// Reports the state of the I/O thread. When it is dropped, the node has ended.
#[derive(Debug)]
pub(super) struct Reporter {
    condition: Arc<Condition>,
    last: Signs,
}

/// What [`State`] is derived from: while these stay the same, so does the state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Signs {
    pub(super) stage: Stage,
    /// Since when the broker is missing, whether it is connected, and how often the cause has
    /// changed.
    pub(super) broker: (Option<Instant>, bool, u64),
    /// Since when no logger accepts logs, and how often the causes have changed.
    pub(super) loggers: (Option<Instant>, u64),
    pub(super) near_limit: [bool; 3],
}

impl Reporter {
    pub(super) fn new(condition: Arc<Condition>) -> Self {
        Reporter { condition, last: Signs::default() }
    }

    /// How full a queue is, in percent.
    pub(super) fn percent(&self, queue: usize, depth: (usize, usize)) -> u64 {
        self.condition.bounds[queue].percent(depth)
    }

    /// Reports the state of the node, unless nothing has changed.
    pub(super) fn report(&mut self, signs: Signs, state: impl FnOnce() -> State) {
        if std::mem::replace(&mut self.last, signs) != signs {
            self.condition.current.store(Arc::new(state()));
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        let asked = self.last.stage == Stage::Stopping;
        let stage = if asked { Stage::Ended } else { Stage::Failed };
        self.condition.current.store(Arc::new(State { stage, ..State::default() }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Telemetry;

    const EVENTS: Bound = Bound {
        what: "events to publish",
        unit: "events",
        messages: 100,
        messages_option: None,
        bytes: 1 << 20,
        bytes_option: "publish_queue_bytes",
    };
    const RECEIVED: Bound = Bound {
        what: "events received",
        messages: 0,
        messages_option: Some("onloop_queue_hwm"),
        bytes: 0,
        bytes_option: "onloop_queue_bytes",
        ..EVENTS
    };
    const BATCHES: Bound = Bound {
        what: "log batches",
        unit: "log batches",
        messages: 10,
        messages_option: Some("log_sndhwm"),
        bytes_option: "log_queue_bytes",
        ..EVENTS
    };

    fn running() -> State {
        State { stage: Stage::Running, ..State::default() }
    }

    fn condition() -> (Arc<Condition>, NodeMetrics) {
        let metrics = Telemetry::new("n", "node").node().clone();
        (Arc::new(Condition::new([EVENTS, RECEIVED, BATCHES], metrics.clone())), metrics)
    }

    #[test]
    fn what_is_wrong_is_a_line_each() {
        let (condition, metrics) = condition();
        let now = Instant::now();
        let mut reporter = Reporter::new(Arc::clone(&condition));
        assert!(condition.health(now).obstacles().eq(["starting"]));
        reporter.report(Signs { stage: Stage::Running, ..Signs::default() }, running);
        assert!(condition.health(now).is_ready());
        let signs = Signs { near_limit: [true; 3], ..Signs::default() };
        let lack = |what| Lack { what, since: now, details: "tcp://h:1: refused".into() };
        let state = State {
            broker: Some(lack("no connection to the broker")),
            loggers: Some(lack("no logger has been available")),
            near_limit: [true; 3],
            ..running()
        };
        reporter.report(signs, || state);
        metrics.publish_queue_messages.set(95);
        metrics.publish_queue_bytes.set(1 << 19);
        metrics.log_queue_messages.set(10);
        let after = |millis| condition.health(now + Duration::from_millis(millis));
        let expected = |span| {
            [
                format!(
                    "no connection to the broker for {span}: tcp://h:1: refused; events waiting: 95"
                ),
                format!(
                    "no logger has been available for {span}: tcp://h:1: refused; \
                     log batches waiting: 10"
                ),
                "the queue of events to publish is near its limit: 95 of 100 events, \
                 512.0 KiB of 1.0 MiB (publish_queue_bytes)"
                    .into(),
                "the queue of events received is near its limit: 0 events (onloop_queue_hwm), \
                 0 B (onloop_queue_bytes)"
                    .into(),
                "the queue of log batches is near its limit: 10 of 10 log batches (log_sndhwm), \
                 0 B of 1.0 MiB (log_queue_bytes)"
                    .into(),
            ]
        };
        assert_eq!(after(1999).obstacles().collect::<Vec<_>>(), expected("1s"));
        assert_eq!(after(1999).problems().count(), 3);
        assert_eq!(after(72_000).problems().collect::<Vec<_>>(), expected("1m 12s"));
    }

    #[test]
    fn nothing_is_said_twice() {
        let (condition, _) = condition();
        let mut reporter = Reporter::new(Arc::clone(&condition));
        let signs = Signs { near_limit: [true, false, false], ..Signs::default() };
        let state = || State { near_limit: [true, false, false], ..State::default() };
        reporter.report(Signs::default(), || panic!("nothing has changed"));
        reporter.report(signs, state);
        reporter.report(signs, || panic!("nothing has changed"));
        assert!(!condition.health(Instant::now()).is_ok());
        reporter.report(Signs::default(), State::default);
        assert!(condition.health(Instant::now()).is_ok());
    }

    #[test]
    fn the_end_shows() {
        let now = Instant::now();
        for (is_asked, is_ok, line) in
            [(true, true, "the node has been shut down"), (false, false, "ended by itself")]
        {
            let (condition, _) = condition();
            let mut reporter = Reporter::new(Arc::clone(&condition));
            if is_asked {
                let stage = Stage::Stopping;
                let signs = Signs { stage, ..Signs::default() };
                reporter.report(signs, || State { stage, ..State::default() });
                let health = condition.health(now);
                assert_eq!((health.is_ok(), health.is_ready()), (true, false));
                assert!(health.obstacles().eq(["stopping"]));
            }
            drop(reporter);
            let health = condition.health(now);
            assert_eq!((health.is_ok(), health.is_ready()), (is_ok, false));
            assert!(health.obstacles().next().unwrap().contains(line));
        }
    }

    #[test]
    fn the_fuller_bound_counts() {
        for (bound, depth, percent) in [
            (EVENTS, (0, 0), 0),
            (EVENTS, (95, 1 << 19), 95),
            (EVENTS, (1, 1 << 20), 100),
            (RECEIVED, (1_000_000, 1 << 40), 0),
        ] {
            assert_eq!(bound.percent(depth), percent, "{} {depth:?}", bound.what);
        }
    }
}
