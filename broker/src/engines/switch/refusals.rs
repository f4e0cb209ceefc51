//! [`Refusals`]: messages that were not forwarded, and why.

use std::time::Instant;

use bstr::BStr;
use zcluster::access::Denial;
use zcluster::rate_limit::KeyedRateLimit;
use zcluster::telemetry::{LabelValue, Refusal};

use super::connection::Connection;
use super::subscriptions::Refused;

/// Bytes of a topic or id that a warning quotes.
const MAX_QUOTED: usize = 128;

/// How often each kind of fault is reported per node, or per host for peers without a proved name.
pub(super) type Warnings = KeyedRateLimit<(&'static str, String)>;

/// Why something is not forwarded.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("a message of {0} frames, expected 4")]
    FrameCount(usize),
    #[error("{0}")]
    MalformedEvent(String),
    #[error("a message from a subscriber; only publishers may send messages")]
    UserMessage,
    #[error(transparent)]
    Subscription(Refused),
    /// `what`: the topic and the id, for the warning.
    #[error("{denial} ({what})")]
    Denied { denial: Denial, what: String },
}

/// The metric label for a denial.
fn refusal_of(denial: Denial) -> Refusal {
    match denial {
        Denial::Impersonation => Refusal::Impersonation,
        Denial::Subscribe => Refusal::SubscribeDenied,
        // Logs do not pass through the broker.
        Denial::Publish | Denial::Logs => Refusal::PublishDenied,
    }
}

impl Fault {
    fn refusal(&self) -> Refusal {
        match self {
            Fault::FrameCount(_) => Refusal::FrameCount,
            Fault::MalformedEvent(_) => Refusal::MalformedEvent,
            Fault::UserMessage => Refusal::UserMessage,
            Fault::Subscription(why) => why.refusal(),
            Fault::Denied { denial, .. } => refusal_of(*denial),
        }
    }
}

/// What was refused in one chunk. Counted once per chunk, so that a peer that sends only garbage
/// costs no more than one that sends events.
#[derive(Default)]
pub(super) struct Refusals(Vec<(Fault, u64)>);

impl Refusals {
    pub(super) fn add(&mut self, fault: Fault) {
        self.add_as(fault.refusal(), || fault);
    }

    /// `text`: the topic or prefix; `id`: of the event's sender.
    pub(super) fn deny(&mut self, denial: Denial, text: &[u8], id: Option<&[u8]>) {
        let short = |text: &[u8]| format!("{:?}", BStr::new(&text[..text.len().min(MAX_QUOTED)]));
        self.add_as(refusal_of(denial), || {
            let id = id.map_or_else(String::new, |id| format!(", sender {}", short(id)));
            Fault::Denied { denial, what: format!("{}{id}", short(text)) }
        });
    }

    /// Only the first of its kind is reported.
    fn add_as(&mut self, refusal: Refusal, fault: impl FnOnce() -> Fault) {
        match self.0.iter_mut().find(|(first, _)| first.refusal() == refusal) {
            Some((_, count)) => *count += 1,
            None => self.0.push((fault(), 1)),
        }
    }

    /// Reconnecting does not reset the limit.
    pub(super) fn report(self, connection: &Connection, warnings: &mut Warnings, now: Instant) {
        for (fault, count) in self.0 {
            let refusal = fault.refusal();
            let counts = &mut connection.peer.lock().counts;
            let Some(more) = counts.refuse(refusal, count) else { continue };
            let key = (refusal.as_str(), counts.warning_key().to_owned());
            if let Some(before) = warnings.check(&key, now) {
                let more = more.saturating_add(before);
                log::warn!("refused from {}: {fault} ({more} more like this)", counts.who());
            }
        }
    }
}
