//! Throughput: events per second from publishers to subscribers, and the CPU time they cost.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::broker::{Broker, Subject};
use crate::crew::Crew;
use crate::event::Sample;
use crate::plan::{Client, Shape};
use crate::{keys, libzmq, raw};

/// Time after the first event for buffers and queues to reach their final size.
pub(crate) const WARM_UP: Duration = Duration::from_millis(250);
/// How often to check whether publishers have run out of events.
const CHECK_INTERVAL: Duration = Duration::from_millis(5);
/// Shortest window that is worth reporting, if publishers run out of events.
const SHORTEST: Duration = Duration::from_millis(50);

/// One measurement.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Flow {
    /// Events delivered per second to all subscribers together.
    pub(crate) rate: f64,
    /// CPU seconds of the broker per million delivered events.
    pub(crate) cpu: f64,
    /// Fraction of events that never arrived, over the whole run.
    pub(crate) lost: f64,
    /// Whether publishers ran out of sealed events, which made the window shorter.
    pub(crate) is_cut: bool,
}

/// The changes between two points in time.
pub(crate) struct Window {
    /// Events that each client counted in between.
    pub(crate) events: Vec<u64>,
    cpu: Duration,
    pub(crate) seconds: f64,
}

impl Window {
    /// Measures for that long.
    pub(crate) fn measure(broker: &Broker, crew: &Crew, length: Duration) -> Self {
        Self::measure_while(broker, crew, length, || true)
    }

    /// Measures for that long, or until the condition is false.
    fn measure_while(
        broker: &Broker,
        crew: &Crew,
        length: Duration,
        holds: impl Fn() -> bool,
    ) -> Self {
        let look = || (crew.counts(), broker.cpu_time(), Instant::now());
        let before = look();
        while let Some(left) = length.checked_sub(before.2.elapsed())
            && holds()
        {
            sleep(left.min(CHECK_INTERVAL));
        }
        let after = look();
        Window {
            events: after.0.iter().zip(&before.0).map(|(after, before)| after - before).collect(),
            cpu: after.1.saturating_sub(before.1),
            seconds: (after.2 - before.2).as_secs_f64(),
        }
    }

    fn total(&self) -> f64 {
        self.events.iter().sum::<u64>() as f64
    }

    /// Events per second.
    pub(crate) fn rate(&self) -> f64 {
        self.total() / self.seconds
    }

    /// CPU seconds of the broker per million events.
    pub(crate) fn cpu(&self) -> f64 {
        self.cpu.as_secs_f64() / (self.total() / 1e6)
    }
}

/// Clients running at full speed.
pub(crate) struct Clients {
    pub(crate) subscribers: Crew,
    pub(crate) publishers: Crew,
}

impl Clients {
    /// Connects clients and waits until every subscriber receives events. Clients that seal events
    /// in advance have enough of them for a window of that length after the warm-up. The broker has
    /// `known` prefixes already, of which it tells each publisher.
    pub(crate) fn start(
        broker: &Broker,
        known: usize,
        shape: Shape,
        client: Client,
        size: usize,
        window: Duration,
    ) -> Self {
        // Each subscriber has its own prefix. A broker applies the subscriptions of a connection in
        // order: when publishers see the last one, all before it are active.
        let prefixes: Vec<Vec<String>> = (0..shape.subscribers)
            .map(|i| vec![shape.prefix(i), format!("bench.subscriber.{i}.")])
            .collect();
        let all = prefixes.concat();
        let samples: Vec<Sample> =
            (0..shape.publishers).map(|i| Sample::new(&shape.topic(i), i, size)).collect();
        let (subscribers, publishers) = match client {
            Client::Raw | Client::RawCurve => {
                let curve = client.is_encrypted().then(keys::raw_client);
                let curve = curve.as_ref();
                let connect = |_| {
                    let mut publisher = raw::Connection::publisher(&broker.xsub, curve);
                    // As long as some are on their way, libzmq may have no room for more.
                    publisher.wait_for_notifications(known);
                    publisher
                };
                let publishers = samples.iter().map(connect).collect();
                let subscribers = raw::subscribers(&broker.xpub, &prefixes, &samples, curve);
                (subscribers, raw::publishers(publishers, &samples, &all, WARM_UP + window))
            }
            Client::Libzmq | Client::Curve => {
                let curve = client.is_encrypted().then(keys::libzmq_client);
                let curve = curve.as_ref();
                let subscribers = libzmq::subscribers(&broker.xpub, &prefixes, curve);
                (subscribers, libzmq::publishers(&broker.xsub, &samples, &all, curve))
            }
        };
        subscribers.wait_for_first();
        Clients { subscribers, publishers }
    }
}

/// Measures publishers and subscribers at full speed.
pub(crate) fn flow(
    subject: &Subject,
    shape: Shape,
    client: Client,
    size: usize,
    window: Duration,
) -> Flow {
    flow_through(&Broker::start(subject, client.is_encrypted()), 0, shape, client, size, window)
}

/// The same with a broker that has other clients, with `known` prefixes.
pub(crate) fn flow_through(
    broker: &Broker,
    known: usize,
    shape: Shape,
    client: Client,
    size: usize,
    window: Duration,
) -> Flow {
    let clients = Clients::start(broker, known, shape, client, size, window);
    sleep(WARM_UP);
    let has_more = || !clients.publishers.has_run_out();
    let window = Window::measure_while(broker, &clients.subscribers, window, has_more);
    let is_cut = !has_more();
    assert!(
        !is_cut || window.seconds >= SHORTEST.as_secs_f64(),
        "the sealed events were all sent in {:?} and {:.3} s",
        WARM_UP,
        window.seconds
    );
    let (sent, connections) = clients.publishers.finish();
    let to = |subscriber: usize| -> u64 {
        let publishers = (0..shape.publishers).filter(|&i| shape.joins(i, subscriber));
        publishers.map(|i| sent[i]).sum()
    };
    let expected: Vec<u64> = (0..shape.subscribers).map(to).collect();
    clients.subscribers.wait_for_total(expected.iter().sum());
    let (received, _) = clients.subscribers.finish();
    drop(connections);
    assert!(
        received.iter().zip(&expected).all(|(received, expected)| received <= expected),
        "more was received than sent: {received:?} of {expected:?}"
    );
    let share = received.iter().sum::<u64>() as f64 / expected.iter().sum::<u64>() as f64;
    Flow { rate: window.rate(), cpu: window.cpu(), lost: 1.0 - share, is_cut }
}
