//! Publishers of numbered events, subscribers that record the numbers they receive, and the
//! broker's counters of both.

use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

use zcluster::wire::EventFormat;
use zcluster::wire::zmtp::SocketType;
use zcluster::{Event, Value};

use super::zmtp::{Incoming, ZmtpPeer, message};
use super::{Process, metric, wait_for};

/// The id of a node with that name (WIRE.md §1.5).
pub fn node_id(name: &str) -> String {
    format!("zeromq_{name}_host_1_N0")
}

/// The topic of the process with that id.
pub fn nodeid_topic(id: &str) -> Vec<u8> {
    format!("zeek.cluster.nodeid.{id}.").into_bytes()
}

/// The payload of a numbered event, with `size` more bytes.
fn payload(number: u64, size: usize) -> Vec<u8> {
    let arguments = vec![Value::from(number), Value::from("x".repeat(size))];
    let mut payload = Vec::new();
    EventFormat::BrokerBinV1.encode(&Event::new("Test::load", arguments), &mut payload);
    payload
}

/// Offset of the number in a payload.
fn number_at() -> usize {
    static AT: OnceLock<usize> = OnceLock::new();
    *AT.get_or_init(|| {
        let number = 0x0123_4567_89ab_cdef_u64;
        payload(number, 0).windows(8).position(|bytes| bytes == number.to_be_bytes()).unwrap()
    })
}

/// The number of an event.
pub fn number(frames: &[Vec<u8>]) -> u64 {
    let at = number_at();
    u64::from_be_bytes(frames[3][at..at + 8].try_into().unwrap())
}

/// A publisher of numbered events.
pub struct Source {
    pub peer: ZmtpPeer,
    /// The id of its node.
    pub id: String,
    /// The number of the next event.
    pub next: u64,
    /// Approximate size of each event in bytes.
    size: usize,
}

impl Source {
    /// Connects a publisher with the id of a node of that name.
    pub fn connect(broker: &Process, name: &str, size: usize) -> Self {
        let peer = ZmtpPeer::connect(&broker.endpoint("xsub"), SocketType::Xpub, 1);
        Source { peer, id: node_id(name), next: 0, size }
    }

    /// Waits until it sees a subscription to this prefix.
    pub fn wait_subscription(&mut self, prefix: &[u8]) {
        loop {
            let incoming = self.peer.receive().unwrap();
            if incoming.subscription() == Some((true, prefix)) {
                return;
            }
        }
    }

    /// Publishes `count` events. Blocks while the broker does not read.
    pub fn publish(&mut self, topic: &[u8], count: u64) {
        self.try_publish(topic, count).unwrap();
    }

    /// Like [`Self::publish`], but the connection may end. Does not count partly written batches.
    pub fn try_publish(&mut self, topic: &[u8], count: u64) -> io::Result<()> {
        const AT_ONCE: usize = 64 << 10;
        let mut payload = payload(0, self.size);
        let at = number_at();
        let (mut bytes, mut next) = (Vec::new(), self.next);
        for left in (0..count).rev() {
            payload[at..at + 8].copy_from_slice(&next.to_be_bytes());
            next += 1;
            let frames = [topic, self.id.as_bytes(), b"broker-bin-v1", &payload];
            bytes.extend(message(&frames));
            if left == 0 || bytes.len() > AT_ONCE {
                // Subscriptions do not matter here, but the broker must be able to send them.
                while self.peer.try_receive().is_some() {}
                self.peer.try_write(&bytes)?;
                self.next = next;
                bytes.clear();
            }
        }
        Ok(())
    }
}

/// The events that a subscriber has received from one publisher on one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Got {
    /// Their numbers, as ranges without gaps, in order of arrival.
    pub ranges: Vec<std::ops::Range<u64>>,
}

impl Got {
    /// The number of events.
    pub fn count(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }

    /// The range of all numbers, if there are no gaps.
    pub fn whole(&self) -> Option<std::ops::Range<u64>> {
        if let [all] = self.ranges.as_slice() { Some(all.clone()) } else { None }
    }

    fn add(&mut self, number: u64) {
        match self.ranges.last_mut() {
            Some(last) if last.end == number => last.end += 1,
            last => {
                let in_order = last.is_none_or(|last| last.end < number);
                assert!(in_order, "{number} after {:?}", self.ranges.last());
                self.ranges.push(number..number + 1);
            }
        }
    }
}

/// By topic and publisher id.
pub type Tally = BTreeMap<(Vec<u8>, Vec<u8>), Got>;

fn account(tally: &mut Tally, frames: Vec<Vec<u8>>) {
    assert_eq!(frames.len(), 4, "{frames:?}");
    let number = number(&frames);
    let mut frames = frames.into_iter();
    let key = (frames.next().unwrap(), frames.next().unwrap());
    tally.entry(key).or_default().add(number);
}

/// A subscriber with a name.
pub struct Sink {
    pub peer: ZmtpPeer,
    pub name: String,
    pub tally: Tally,
}

impl Sink {
    /// Connects a subscriber as the node of that name and subscribes. Reads nothing by itself.
    pub fn connect(broker: &Process, name: &str, prefixes: &[&[u8]]) -> Self {
        let peer = ZmtpPeer::connect(&broker.endpoint("xpub"), SocketType::Xsub, 1);
        Self::new(peer, name, prefixes)
    }

    /// Connects a subscriber whose name the broker does not learn.
    pub fn connect_nameless(broker: &Process, prefixes: &[&[u8]]) -> Self {
        let mut peer = ZmtpPeer::connect(&broker.endpoint("xpub"), SocketType::Xsub, 1);
        for prefix in prefixes {
            peer.subscribe(true, prefix);
        }
        Sink { peer, name: "unnamed".into(), tally: Tally::new() }
    }

    /// Connects a subscriber with a small receive buffer.
    pub fn connect_narrow(broker: &Process, name: &str, prefixes: &[&[u8]]) -> Self {
        Self::new(ZmtpPeer::narrow_subscriber(&broker.endpoint("xpub"), 1), name, prefixes)
    }

    fn new(mut peer: ZmtpPeer, name: &str, prefixes: &[&[u8]]) -> Self {
        peer.subscribe(true, &nodeid_topic(&node_id(name)));
        for prefix in prefixes {
            peer.subscribe(true, prefix);
        }
        Sink { peer, name: name.to_owned(), tally: Tally::new() }
    }

    /// Receives an event; `false` at the end of the connection.
    pub fn receive(&mut self) -> bool {
        let Some(frames) = self.peer.receive_message() else { return false };
        account(&mut self.tally, frames);
        true
    }

    /// Receives an event, if there is one, and returns whether there was.
    pub fn try_receive(&mut self) -> bool {
        while let Some(incoming) = self.peer.try_receive() {
            if let Incoming::Message(frames) = incoming {
                account(&mut self.tally, frames);
                return true;
            }
        }
        false
    }

    /// Receives until it has that event.
    pub fn receive_up_to(&mut self, topic: &[u8], id: &str, number: u64) {
        while self.got(topic, id).ranges.last().is_none_or(|last| last.end <= number) {
            assert!(self.receive(), "{}: the connection ended", self.name);
        }
    }

    /// The events received on that topic from that publisher.
    pub fn got(&self, topic: &[u8], id: &str) -> Got {
        self.tally.get(&(topic.to_vec(), id.as_bytes().to_vec())).cloned().unwrap_or_default()
    }

    /// The number of events received.
    pub fn count(&self) -> u64 {
        self.tally.values().map(Got::count).sum()
    }

    /// Continues to read on a thread.
    pub fn read_on(mut self) -> ReadingSink {
        let stream = self.peer.stream();
        let tally = Arc::new(Mutex::new(std::mem::take(&mut self.tally)));
        let (name, shared) = (self.name.clone(), Arc::clone(&tally));
        let thread = std::thread::spawn(move || {
            while let Some(incoming) = self.peer.receive_at_any_time() {
                let Incoming::Message(frames) = incoming else { continue };
                account(&mut shared.lock().unwrap(), frames);
            }
        });
        ReadingSink { name, tally, stream, thread: Some(thread) }
    }
}

/// A subscriber that reads everything until it is dropped.
pub struct ReadingSink {
    pub name: String,
    tally: Arc<Mutex<Tally>>,
    stream: TcpStream,
    thread: Option<JoinHandle<()>>,
}

impl ReadingSink {
    /// The number of events received.
    pub fn count(&self) -> u64 {
        self.tally.lock().unwrap().values().map(Got::count).sum()
    }

    /// The events received on that topic from that publisher.
    pub fn got(&self, topic: &[u8], id: &str) -> Got {
        let key = (topic.to_vec(), id.as_bytes().to_vec());
        self.tally.lock().unwrap().get(&key).cloned().unwrap_or_default()
    }

    /// Waits until it has received `count` events.
    pub fn wait_count(&self, count: u64) {
        wait_for(&format!("{count} events at {}, so far {}", self.name, self.count()), || {
            (self.count() >= count).then_some(())
        });
    }

    /// Waits until the broker closes the connection.
    pub fn wait_end(&mut self) {
        let thread = self.thread.take().unwrap();
        wait_for("the end of the connection", || thread.is_finished().then_some(()));
        thread.join().unwrap();
    }
}

impl Drop for ReadingSink {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let outcome = thread.join();
            assert!(outcome.is_ok() || std::thread::panicking(), "{}", self.name);
        }
    }
}

/// A broker's counters of one subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    pub matched: u64,
    pub sent: u64,
    pub dropped: u64,
}

impl Counts {
    /// Reads the counters of the subscriber with that name.
    pub fn of(broker: &Process, name: &str) -> Self {
        let text = broker.metrics();
        let value = |series: &str| {
            metric(&text, &format!("zcluster_broker_{series}_total"), &format!("peer=\"{name}\""))
                as u64
        };
        Counts {
            matched: value("subscriber_events_matched"),
            sent: value("subscriber_events_sent"),
            dropped: value("events_dropped"),
        }
    }

    /// Waits until `matched` events have matched and each has been sent or dropped. Returns the
    /// counters.
    pub fn wait_closed(broker: &Process, name: &str, matched: u64) -> Self {
        wait_for(&format!("the counts of {name}, {:?}", Self::of(broker, name)), || {
            let counts = Self::of(broker, name);
            assert!(counts.matched <= matched, "{name}: {counts:?}, matched {matched}");
            let is_closed = counts.sent + counts.dropped == counts.matched;
            (counts.matched == matched && is_closed).then_some(counts)
        })
    }
}
