//! Latency from one libzmq node to another at a steady rate, without a broker and with each engine.

use std::num::NonZeroU64;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::broker::{Broker, Subject};
use crate::crew::{Flag, STOP_INTERVAL};
use crate::event::{Sample, stamp};
use crate::flow::WARM_UP;
use crate::libzmq::Peer;

const TOPIC: &str = "zeek.cluster.worker";
/// Shortest window: at the lowest rate, a shorter one has too few events for a percentile.
const SHORTEST: Duration = Duration::from_secs(1);

/// One measurement.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    /// Median in microseconds.
    pub(crate) p50: f64,
    /// 99th percentile in microseconds.
    pub(crate) p99: f64,
    /// Events sent in the window that arrived, per second.
    pub(crate) rate: f64,
    /// CPU seconds of the broker per million events; 0 without a broker.
    pub(crate) cpu: f64,
}

/// Measures at `rate` events per second. Without a broker, the subscriber connects to the
/// publisher.
pub(crate) fn latency(
    subject: Option<&Subject>,
    rate: u32,
    size: usize,
    window: Duration,
) -> Latency {
    let prefixes = [TOPIC.to_owned()];
    let broker = subject.map(|subject| Broker::start(subject, false));
    let (subscriber, publisher) = if let Some(broker) = &broker {
        let subscriber = Peer::subscriber(&broker.xpub, &prefixes, None);
        (subscriber, Peer::publisher(&broker.xsub, &prefixes, None))
    } else {
        let (publisher, endpoint) = Peer::listening_publisher();
        let subscriber = Peer::subscriber(&endpoint, &prefixes, None);
        publisher.wait_for_subscriptions(&prefixes);
        (subscriber, publisher)
    };
    let sample = Sample::new(TOPIC, 0, size);
    let clock = Instant::now();
    let window = window.max(SHORTEST);
    let (from, to) = (WARM_UP, WARM_UP + window);
    // Extra time for the last events to arrive; later ones count as lost.
    let end = to + Duration::from_millis(100);
    let cpu_time = || broker.as_ref().map(Broker::cpu_time).unwrap_or_default();

    let (mut took, cpu) = std::thread::scope(|scope| {
        let sender = scope.spawn(move || publish(publisher, sample, rate, clock, to));
        let receiver = scope.spawn(move || receive(&subscriber, clock, from..to, end));
        sleep(from.saturating_sub(clock.elapsed()));
        let before = cpu_time();
        sleep(to.saturating_sub(clock.elapsed()));
        let cpu = cpu_time().saturating_sub(before);
        let took = receiver.join().unwrap();
        // Kept open until now because it may still have had events to send.
        drop(sender.join().unwrap());
        (took, cpu)
    });
    took.sort_unstable();
    let percentile = |percent: usize| took[(took.len() - 1) * percent / 100] as f64 / 1e3;
    Latency {
        p50: percentile(50),
        p99: percentile(99),
        rate: took.len() as f64 / window.as_secs_f64(),
        cpu: cpu.as_secs_f64() / (took.len() as f64 / 1e6),
    }
}

fn nanoseconds(clock: Instant) -> u64 {
    clock.elapsed().as_nanos() as u64
}

/// Sends at a steady rate and returns the peer. If it falls behind, it sends overdue events at
/// once.
fn publish(peer: Peer, mut sample: Sample, rate: u32, clock: Instant, until: Duration) -> Peer {
    // The kernel's default timer slack of 50 µs is longer than the time between two events.
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).unwrap();
    let stop = Flag::default();
    for n in 0u64.. {
        let due = Duration::from_nanos(n * 1_000_000_000 / u64::from(rate));
        if due >= until {
            break;
        }
        if let Some(early) = due.checked_sub(clock.elapsed()) {
            sleep(early);
        }
        sample.set_stamp(nanoseconds(clock));
        peer.send(&sample, &stop);
    }
    peer
}

/// Returns the nanoseconds that each event sent during `sent` took.
fn receive(
    peer: &Peer,
    clock: Instant,
    sent: std::ops::Range<Duration>,
    end: Duration,
) -> Vec<u64> {
    let mut took = Vec::new();
    while clock.elapsed() < end {
        let Some(received) = peer.receive() else {
            peer.wait(STOP_INTERVAL);
            continue;
        };
        let now = nanoseconds(clock);
        let stamp = stamp(&received.frames[3]);
        if sent.contains(&Duration::from_nanos(stamp)) {
            took.push(now - stamp);
        }
    }
    took
}
