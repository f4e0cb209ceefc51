//! One event at a time, back and forth: the cost of wakeups for clients and broker.

use std::thread::sleep;
use std::time::Duration;

use crate::broker::{Broker, Subject};
use crate::crew::{Connections, Crew, Flag, STOP_INTERVAL, counters};
use crate::event::Sample;
use crate::flow::{Flow, WARM_UP, Window};
use crate::plan::Client;
use crate::{keys, libzmq, raw};

/// Measures two nodes that answer each other. Both directions count as deliveries.
pub(crate) fn ping_pong(subject: &Subject, client: Client, size: usize, window: Duration) -> Flow {
    let broker = Broker::start(subject, client.is_encrypted());
    // All of the same length, because raw clients count bytes.
    let topics = ["zeek.cluster.node.worker-1.", "zeek.cluster.node.worker-2."].map(String::from);
    let prefix = |i: usize| std::slice::from_ref(&topics[i]);
    // Each publishes to the other's topic.
    let sample = |i: usize| Sample::new(&topics[1 - i], i, size);
    let stop = Flag::default();
    let crew = match client {
        Client::Raw | Client::RawCurve => {
            let curve = client.is_encrypted().then(keys::raw_client);
            let curve = curve.as_ref();
            let subscriber = |i| raw::Connection::subscriber(&broker.xpub, prefix(i), curve);
            let subscribers = [0, 1].map(subscriber);
            let publishers = [0, 1].map(|_| {
                let mut publisher = raw::Connection::publisher(&broker.xsub, curve);
                publisher.wait_for_subscriptions(&topics);
                publisher
            });
            let [first, second] = pair(subscribers, publishers, |i, subscriber, publisher| {
                let event = sample(i).encode();
                RawEnd { received: vec![0; event.len()], event, publisher, subscriber }
            });
            answer_each_other(first, second, stop)
        }
        Client::Libzmq | Client::Curve => {
            let curve = client.is_encrypted().then(keys::libzmq_client);
            let subscriber = |i| libzmq::Peer::subscriber(&broker.xpub, prefix(i), curve.clone());
            let subscribers = [0, 1].map(subscriber);
            let publisher = |_| libzmq::Peer::publisher(&broker.xsub, &topics, curve.clone());
            let publishers = [0, 1].map(publisher);
            let [first, second] = pair(subscribers, publishers, |i, subscriber, publisher| {
                LibzmqEnd { sample: sample(i), stop: stop.clone(), publisher, subscriber }
            });
            answer_each_other(first, second, stop)
        }
    };
    crew.wait_for_first();
    sleep(WARM_UP);
    let window = Window::measure(&broker, &crew, window);
    // Raw ends wait for events until their connections are closed.
    drop(broker);
    crew.finish();
    Flow { rate: window.rate(), cpu: window.cpu(), lost: 0.0, is_cut: false }
}

/// Pairs each subscriber with a publisher.
fn pair<C, E>(subscribers: [C; 2], publishers: [C; 2], end: impl Fn(usize, C, C) -> E) -> [E; 2] {
    let [first, second] = subscribers;
    let [first_publisher, second_publisher] = publishers;
    [end(0, first, first_publisher), end(1, second, second_publisher)]
}

/// One of two nodes that answer each other.
trait End: Send + 'static {
    /// Sends an event; `false` if the run has ended.
    fn send(&mut self) -> bool;
    /// Receives an event; `false` if the run has ended.
    fn receive(&mut self) -> bool;
}

struct RawEnd {
    publisher: raw::Connection,
    subscriber: raw::Connection,
    event: Vec<u8>,
    received: Vec<u8>,
}

impl End for RawEnd {
    fn send(&mut self) -> bool {
        self.publisher.write(&self.event)
    }

    fn receive(&mut self) -> bool {
        self.subscriber.read(&mut self.received)
    }
}

struct LibzmqEnd {
    publisher: libzmq::Peer,
    subscriber: libzmq::Peer,
    sample: Sample,
    stop: Flag,
}

impl End for LibzmqEnd {
    fn send(&mut self) -> bool {
        self.publisher.send(&self.sample, &self.stop)
    }

    fn receive(&mut self) -> bool {
        while !self.stop.is_set() {
            if self.subscriber.receive().is_some() {
                return true;
            }
            self.subscriber.wait(STOP_INTERVAL);
        }
        false
    }
}

/// Runs two ends until one of them ends.
fn answer_each_other<E: End>(mut first: E, mut second: E, stop: Flag) -> Crew {
    let counters = counters(1);
    let counter = counters[0].clone();
    let told = stop.clone();
    let serve = std::thread::spawn(move || -> Connections {
        let mut events = 0;
        while !told.is_set() && first.send() && first.receive() {
            events += 2;
            counter.set(events);
        }
        Box::new(first)
    });
    let answer = std::thread::spawn(move || -> Connections {
        while second.receive() && second.send() {}
        Box::new(second)
    });
    Crew::new(counters, stop, vec![serve, answer])
}
