//! Latency: how long events take from one libzmq node to another at a steady rate, with no broker
//! between them and with each engine.

use std::num::NonZeroU64;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::broker::Broker;
use crate::crew::{STOP_INTERVAL, Stop};
use crate::event::{Sample, stamp};
use crate::flow::WARM_UP;
use crate::libzmq::Peer;
use crate::plan::Engine;

const TOPIC: &str = "zeek.cluster.worker";
/// Windows are not shorter: at the lowest rate there would be too few events for a percentile.
const SHORTEST: Duration = Duration::from_secs(1);

/// One measurement.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    /// Microseconds that half the events take at most.
    pub(crate) p50: f64,
    /// Microseconds that 99 % of them take at most.
    pub(crate) p99: f64,
    /// Events of the window that arrived, per second of it.
    pub(crate) rate: f64,
    /// CPU seconds of the broker per million events; 0 without one.
    pub(crate) cpu: f64,
}

/// Measures at so many events a second; `None`: the subscriber connects to the publisher.
pub(crate) fn latency(engine: Option<Engine>, rate: u32, size: usize, window: Duration) -> Latency {
    let prefixes = [TOPIC.to_owned()];
    let broker = engine.map(|engine| Broker::start(engine, false));
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
    // Until the last events have arrived, too; those that have not by then count as lost.
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
        // Until now it may still have had something to send.
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

/// Sends at a steady rate, and gives the peer back. Whoever comes late sends at once what is due.
fn publish(peer: Peer, mut sample: Sample, rate: u32, clock: Instant, until: Duration) -> Peer {
    // The kernel's usual 50 µs of tolerance are more than the time between two events.
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).unwrap();
    let stop = Stop::default();
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

/// The nanoseconds that each event took which was sent in that time.
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
