//! Clients that speak ZMTP over plain TCP and use almost no CPU time: publishers write large blocks
//! of encoded events, subscribers let the kernel discard received bytes.
//!
//! On a machine with few cores, expensive clients would be the bottleneck instead of the broker.
//! That is true even more of encryption. So encrypted publishers seal what they will send before
//! the measurement starts, and encrypted subscribers decrypt only their first event.
//!
//! - [`session`]: handshake and encryption, without I/O; [`connection`]: a blocking connection.
//! - [`notification`]: what publishers are told; [`supply`]: what they send.
//! - here: publishers and subscribers on threads.

mod connection;
mod notification;
mod session;
mod supply;

use std::io::{ErrorKind, Write};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::net::RecvFlags;
use zcluster::net::Poller;
use zcluster::wire::zmtp::Curve;

pub(crate) use connection::Connection;
pub(crate) use notification::{Notification, take_notification};
pub(crate) use session::{Session, size_on_wire};
use supply::Supply;

use crate::crew::{Connections, Counter, Crew, Flag, STOP_INTERVAL, counters};
use crate::event::Sample;

/// Most bytes that a subscriber receives at once.
const CHUNK: usize = 1 << 20;

/// Starts one subscriber for each list of prefixes, all on one thread. All `samples` must have the
/// same size; the first event of each subscriber must be one of them, byte for byte.
pub(crate) fn subscribers(
    endpoint: &str,
    prefixes: &[Vec<String>],
    samples: &[Sample],
    curve: Option<&Curve>,
) -> Crew {
    let connect = |prefixes: &Vec<String>| Connection::subscriber(endpoint, prefixes, curve);
    let connections: Vec<Connection> = prefixes.iter().map(connect).collect();
    let events: Vec<Vec<u8>> = samples.iter().map(Sample::encode).collect();
    let size = size_on_wire(&samples[0].frames(), curve.is_some()) as u64;
    let (counters, stop) = (counters(prefixes.len()), Flag::default());
    let thread = {
        let (counters, stop) = (counters.clone(), stop.clone());
        std::thread::spawn(move || receive(connections, &events, size, &counters, &stop))
    };
    Crew::new(counters, stop, vec![thread])
}

/// Counts events of `size` bytes each.
fn receive(
    mut connections: Vec<Connection>,
    events: &[Vec<u8>],
    size: u64,
    counters: &[Counter],
    stop: &Flag,
) -> Connections {
    let mut first = vec![0; events[0].len()];
    let mut received = vec![0; connections.len()];
    let mut poller = Poller::new().unwrap();
    for (i, connection) in connections.iter_mut().enumerate() {
        assert!(connection.read(&mut first), "a subscriber receives nothing");
        assert!(
            events.contains(&first),
            "this is not what was sent: {:?}",
            bstr::BStr::new(&first)
        );
        received[i] = connection.received();
        counters[i].set(received[i] / size);
        connection.stream.set_nonblocking(true).unwrap();
        poller.add(&connection.stream, i as u64, true, false).unwrap();
    }
    // Never written to: with MSG_TRUNC the kernel discards the bytes instead of copying them.
    let mut nowhere = vec![0; CHUNK];
    while !stop.is_set() {
        for event in poller.wait(Some(STOP_INTERVAL)).unwrap() {
            let i = event.key as usize;
            match rustix::net::recv(&connections[i].stream, &mut nowhere[..], RecvFlags::TRUNC) {
                Ok((_, 0)) => panic!("the broker cuts a subscriber off"),
                Ok((_, count)) => received[i] += count as u64,
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(error) => panic!("receive: {error}"),
            }
            counters[i].set(received[i] / size);
        }
    }
    Box::new(connections)
}

/// Starts these publishers, one for each sample and all on one thread, after they have seen all these
/// subscriptions. Encrypted ones have enough to send for about that time, and
/// [`Crew::has_run_out`] says when one of them has sent everything.
pub(crate) fn publishers(
    mut connections: Vec<Connection>,
    samples: &[Sample],
    prefixes: &[String],
    time: Duration,
) -> Crew {
    for connection in &mut connections {
        connection.wait_for_subscriptions(prefixes);
    }
    let publishers: Vec<Publisher> = connections
        .into_iter()
        .zip(samples)
        .map(|(connection, sample)| Publisher::new(connection, sample, samples.len(), time))
        .collect();
    let (counters, stop, ran_out) = (counters(samples.len()), Flag::default(), Flag::default());
    let thread = {
        let (counters, stop, ran_out) = (counters.clone(), stop.clone(), ran_out.clone());
        std::thread::spawn(move || send(publishers, &counters, &stop, &ran_out))
    };
    Crew::with_supply(counters, stop, ran_out, vec![thread])
}

/// Writes whole events.
struct Publisher {
    connection: Connection,
    supply: Supply,
    /// Size of an event in bytes.
    size: usize,
    sent: u64,
}

impl Publisher {
    fn new(mut connection: Connection, sample: &Sample, publishers: usize, time: Duration) -> Self {
        connection.stream.set_nonblocking(true).unwrap();
        let session = &mut connection.session;
        let size = size_on_wire(&sample.frames(), session.is_encrypted());
        let supply = Supply::new(&sample.encode(), session, publishers, time);
        assert!(supply.after(0).len().is_multiple_of(size), "an event has another size");
        Publisher { connection, supply, size, sent: 0 }
    }

    fn events(&self) -> u64 {
        self.sent / self.size as u64
    }

    /// Writes as much as the kernel accepts; `false` if nothing is left.
    fn write(&mut self) -> bool {
        let bytes = self.supply.after(self.sent);
        if bytes.is_empty() {
            return false;
        }
        match self.connection.stream.write(bytes) {
            Ok(count) => self.sent += count as u64,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => panic!("send: {error}"),
        }
        true
    }

    /// Completes a partly written event, unless the broker has stopped reading.
    fn end(&mut self) {
        let stream = &mut self.connection.stream;
        stream.set_nonblocking(false).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        let begun = self.sent as usize % self.size;
        if begun > 0 {
            let rest = &self.supply.after(self.sent)[..self.size - begun];
            if stream.write_all(rest).is_ok() {
                self.sent += rest.len() as u64;
            }
        }
    }
}

fn send(
    mut publishers: Vec<Publisher>,
    counters: &[Counter],
    stop: &Flag,
    ran_out: &Flag,
) -> Connections {
    let mut poller = Poller::new().unwrap();
    for (i, publisher) in publishers.iter().enumerate() {
        poller.add(&publisher.connection.stream, i as u64, false, true).unwrap();
    }
    let mut done = Vec::new();
    while !stop.is_set() {
        for event in poller.wait(Some(STOP_INTERVAL)).unwrap() {
            let i = event.key as usize;
            if !publishers[i].write() {
                done.push(i);
            }
            counters[i].set(publishers[i].events());
        }
        for i in done.drain(..) {
            ran_out.set();
            poller.remove(&publishers[i].connection.stream).unwrap();
        }
    }
    for (publisher, counter) in publishers.iter_mut().zip(counters) {
        publisher.end();
        counter.set(publisher.events());
    }
    Box::new(publishers)
}

/// Connects a subscriber that never reads.
pub(crate) fn stalled(endpoint: &str, prefix: &str) -> Connection {
    Connection::subscriber(endpoint, &[prefix.to_owned()], None)
}

/// Starts a subscriber that spends a millisecond on each event of `size` bytes.
pub(crate) fn slow(endpoint: &str, prefix: &str, size: usize) -> JoinHandle<()> {
    let mut connection = Connection::subscriber(endpoint, &[prefix.to_owned()], None);
    std::thread::spawn(move || {
        let mut event = vec![0; size];
        while connection.read(&mut event) {
            std::thread::sleep(Duration::from_millis(1));
        }
    })
}
