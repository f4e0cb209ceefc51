//! [`Watch`]: watches an expected peer: since when it is missing, why, and when to report it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::broker::PeerFault;
use super::bus::Bus;
use super::inquiry::{Answer, Inquiry};
use super::outage::{News, Outage, span};
use crate::transport::{HandshakeFault, Waker};

/// How long a connection may take before the watch looks for the cause.
const ASK_AFTER: Duration = Duration::from_secs(1);
/// How often it looks again.
const ASK_EVERY: Duration = Duration::from_secs(10);
/// What is wrong if the broker is connected but has not answered a probe.
pub(super) const MUTE: &str = "both connections to the broker are up, but nothing comes through";
/// The likely cause if a broker's address accepts connections but the handshake does not complete.
pub(super) const NO_ANSWER: &str = "a process listens there, but does not answer like a broker";
/// How long a failed handshake explains a missing connection: libzmq allows each handshake half a
/// minute.
const FAULT_COUNTS: Duration = Duration::from_secs(40);

/// Watches one peer, and finds out why it cannot be reached.
#[derive(Debug)]
pub(super) struct Watch {
    /// `broker` or `logger`.
    role: &'static str,
    waker: Arc<Waker>,
    outage: Outage,
    /// The endpoint without a connection.
    endpoint: Option<String>,
    fault: Option<(HandshakeFault, Instant)>,
    /// The cause, if known.
    cause: Option<Cause>,
    inquiry: Option<Inquiry>,
    next_inquiry: Option<Instant>,
    /// A report on a missing peer, held back until the cause is known.
    held: Option<News>,
    /// How often the cause has changed.
    changes: u64,
}

/// Why a peer cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cause {
    fault: PeerFault,
    text: String,
}

/// What to say about a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Report {
    /// For the log.
    pub(super) line: String,
    /// What is wrong, if it has been missing for a while.
    pub(super) fault: Option<PeerFault>,
}

/// The state of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach<'a> {
    /// It is available.
    There,
    /// It is connected, but does not work yet.
    Mute,
    /// It is not connected at that endpoint.
    Away(&'a str),
}

impl Watch {
    /// Starts to watch a peer, which is expected from now on. Wakes `waker` when there is something
    /// to look at.
    pub(super) fn new(role: &'static str, waker: Arc<Waker>, now: Instant) -> Self {
        Watch {
            role,
            waker,
            outage: Outage::expected(now),
            endpoint: None,
            fault: None,
            cause: None,
            inquiry: None,
            next_inquiry: None,
            held: None,
            changes: 0,
        }
    }

    /// Since when the peer is unavailable; `None` while it is available.
    pub(super) fn since(&self) -> Option<Instant> {
        self.outage.since()
    }

    /// Why it is not connected, if known.
    pub(super) fn cause(&self) -> Option<&str> {
        self.cause.as_ref().map(|cause| cause.text.as_str())
    }

    /// Changes whenever the cause does.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// Records that a handshake with the peer has failed.
    pub(super) fn failed(&mut self, fault: HandshakeFault, now: Instant) {
        self.fault = Some((fault, now));
        self.set_cause(Some(self.describe(fault)));
        self.next_inquiry = Some(now + ASK_EVERY);
    }

    /// Records the state of the peer, and returns what to report about it.
    pub(super) fn observe(&mut self, reach: Reach<'_>, now: Instant) -> Option<News> {
        let endpoint = match reach {
            Reach::Away(endpoint) => Some(endpoint),
            Reach::There | Reach::Mute => None,
        };
        if self.endpoint.as_deref() != endpoint {
            self.endpoint = endpoint.map(str::to_owned);
            self.fault = None;
            self.inquiry = None;
            self.next_inquiry = endpoint.map(|_| now + ASK_AFTER);
            self.set_cause(None);
        }
        self.inquire(now);
        let news = self.outage.observe(reach == Reach::There, now);
        match news {
            Some(News::Missing { .. }) => self.held = news,
            // The newer report says more.
            Some(_) => {
                self.held = None;
                return news;
            }
            None => {}
        }
        if reach == Reach::There {
            self.held = None;
        }
        let is_known = endpoint.is_none() || self.cause.is_some();
        self.held.take_if(|_| is_known)
    }

    /// Records the state of the broker, and returns what to say about it. `is_ready`: whether it has
    /// answered a probe.
    pub(super) fn look_at_broker(
        &mut self,
        bus: &mut Bus,
        is_ready: bool,
        now: Instant,
    ) -> Option<Report> {
        if let Some(fault) = bus.take_fault() {
            self.failed(fault, now);
        }
        let reach = match bus.missing() {
            Some(endpoint) => Reach::Away(endpoint),
            None if is_ready => Reach::There,
            None => Reach::Mute,
        };
        let news = self.observe(reach, now)?;
        let (line, fault) = match (news, reach) {
            (News::Missing { waited }, Reach::Mute) => {
                let line = format!("the bus has not been ready for {}: {MUTE}", span(waited));
                (line, Some(PeerFault::Unanswered))
            }
            (News::Missing { .. }, Reach::Away(endpoint)) => {
                let cause = self.cause().unwrap_or("cause unknown");
                let line = format!("{}: {endpoint}: {cause}; still trying", news.of("the broker"));
                let fault = self.cause.as_ref().map_or(PeerFault::Unavailable, |cause| cause.fault);
                (line, Some(fault))
            }
            _ => (news.of("the broker"), None),
        };
        Some(Report { line, fault })
    }

    /// Looks for the reason why the peer cannot be reached, and records the answer.
    fn inquire(&mut self, now: Instant) {
        if let Some(answer) = self.inquiry.as_ref().and_then(Inquiry::answer) {
            self.inquiry = None;
            let cause = match answer {
                Answer::Unreachable(text) => Cause { fault: PeerFault::Unavailable, text },
                Answer::Listens => self.why_no_answer(now),
            };
            self.set_cause(Some(cause));
        }
        let Some(endpoint) = &self.endpoint else { return };
        if self.inquiry.is_some() || self.next_inquiry.is_none_or(|at| now < at) {
            return;
        }
        self.next_inquiry = Some(now + ASK_EVERY);
        match Inquiry::begin(endpoint.clone(), Arc::clone(&self.waker)) {
            Ok(inquiry) => self.inquiry = Some(inquiry),
            Err(error) => {
                let text = format!("cause unknown: {error}");
                self.set_cause(Some(Cause { fault: PeerFault::Unavailable, text }));
            }
        }
    }

    fn why_no_answer(&self, now: Instant) -> Cause {
        let fault = self.fault.filter(|(_, at)| now.saturating_duration_since(*at) < FAULT_COUNTS);
        match fault {
            Some((fault, _)) => self.describe(fault),
            None => self.describe(HandshakeFault::NoAnswer),
        }
    }

    fn describe(&self, fault: HandshakeFault) -> Cause {
        let text = match fault {
            HandshakeFault::NoAnswer => {
                format!("a process listens there, but does not answer like a {}", self.role)
            }
            fault => fault.to_string(),
        };
        Cause { fault: fault.into(), text }
    }

    fn set_cause(&mut self, cause: Option<Cause>) {
        if self.cause != cause {
            self.cause = cause;
            self.changes += 1;
        }
    }

    /// When to call [`Watch::observe`] even if nothing happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let inquiry = self.next_inquiry.filter(|_| self.inquiry.is_none());
        [inquiry, self.outage.deadline()].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::PollSet;
    use std::net::TcpListener;

    const AWAY: Reach<'static> = Reach::Away("udp://nowhere");

    fn watch(now: Instant) -> Watch {
        Watch::new("broker", Arc::new(Waker::new().unwrap()), now)
    }

    /// Waits for the answer to the pending inquiry.
    fn wait(watch: &Watch) {
        let waker = Arc::clone(&watch.waker);
        let mut poll = PollSet::new();
        let index = poll.add_waker(&waker);
        poll.wait(Some(Duration::from_secs(60))).unwrap();
        assert!(poll.is_readable(index));
        waker.reset();
    }

    #[test]
    fn the_cause_is_known_before_it_is_told() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut watch = watch(start);
        assert_eq!(watch.observe(AWAY, at(0)), None);
        assert_eq!((watch.since(), watch.cause()), (Some(start), None));
        assert_eq!(watch.deadline(), Some(at(1000)));
        assert_eq!(watch.observe(AWAY, at(1000)), None);
        wait(&watch);
        assert_eq!(watch.observe(AWAY, at(1001)), None);
        assert_eq!(watch.cause(), Some("no transport"));
        assert_eq!(watch.deadline(), Some(at(5000)));
        let waited = Duration::from_secs(5);
        assert_eq!(watch.observe(AWAY, at(5000)), Some(News::Missing { waited }));
        // It asks again; until a new answer arrives, the last one holds.
        assert_eq!(watch.deadline(), Some(at(11_000)));
        let changes = watch.changes();
        assert_eq!(watch.observe(AWAY, at(11_000)), None);
        wait(&watch);
        assert_eq!(watch.observe(AWAY, at(11_001)), None);
        assert_eq!((watch.cause(), watch.changes()), (Some("no transport"), changes));
        let waited = Duration::from_secs(12);
        assert_eq!(watch.observe(Reach::There, at(12_000)), Some(News::Found { waited }));
        assert_eq!((watch.since(), watch.cause(), watch.deadline()), (None, None, None));
    }

    #[test]
    fn what_is_told_waits_for_the_cause() {
        let start = Instant::now();
        let mut watch = watch(start);
        watch.observe(AWAY, start);
        let late = start + Duration::from_secs(5);
        assert_eq!(watch.observe(AWAY, late), None, "nobody knows why");
        wait(&watch);
        let told = watch.observe(AWAY, late + Duration::from_secs(1));
        assert_eq!(told, Some(News::Missing { waited: Duration::from_secs(5) }));
    }

    #[test]
    fn a_peer_that_is_mute_is_told_of_at_once() {
        let start = Instant::now();
        let mut watch = watch(start);
        watch.observe(Reach::Mute, start);
        let waited = Duration::from_secs(5);
        assert_eq!(watch.observe(Reach::Mute, start + waited), Some(News::Missing { waited }));
        assert_eq!(watch.cause(), None);
    }

    #[test]
    fn a_failed_handshake_is_a_cause_until_another_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
        let away = Reach::Away(&endpoint);
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut watch = watch(start);
        watch.observe(away, at(0));
        watch.failed(HandshakeFault::Other(300), at(1));
        assert_eq!(watch.cause(), Some("status 300"));
        assert_eq!(watch.deadline(), Some(at(5)), "nobody asks while handshakes fail");
        for (second, cause) in
            [(11, "status 300"), (60, "a process listens there, but does not answer like a broker")]
        {
            watch.observe(away, at(second));
            wait(&watch);
            watch.observe(away, at(second));
            assert_eq!(watch.cause(), Some(cause), "{second}");
        }
        drop(listener);
        watch.observe(away, at(80));
        wait(&watch);
        watch.observe(away, at(80));
        assert!(watch.cause().unwrap().contains("refused"), "{:?}", watch.cause());
        watch.observe(Reach::Away("tcp://127.0.0.1:1"), at(81));
        assert_eq!(watch.cause(), None, "it is another endpoint");
    }
}
