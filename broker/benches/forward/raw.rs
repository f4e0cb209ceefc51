//! Clients that speak ZMTP over plain TCP and use almost no CPU time: publishers write large blocks
//! of encoded events, subscribers let the kernel discard received bytes.
//!
//! On a machine with few cores, expensive clients would be the bottleneck instead of the broker.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::net::RecvFlags;
use zcluster::net::Poller;
use zcluster::wire::SubscriptionMessage;
use zcluster::wire::zmtp::{Command, FrameHeader, Handshake, SocketType, put_frame};

use crate::crew::{Connections, Counter, Crew, PATIENCE, STOP_INTERVAL, Stop, counters};
use crate::event::Sample;

/// Size of a publisher's block in bytes, at least.
const BLOCK: usize = 256 << 10;
/// Most bytes that a subscriber receives at once.
const CHUNK: usize = 1 << 20;

/// A connection after its handshake. Reads and writes block.
pub(crate) struct Connection {
    stream: TcpStream,
    /// Bytes received after the handshake.
    received: Vec<u8>,
}

impl Connection {
    fn open(endpoint: &str, ours: SocketType) -> Self {
        let mut stream = TcpStream::connect(endpoint.trim_start_matches("tcp://")).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut opening = Vec::new();
        let mut handshake = Handshake::new(ours, &mut opening);
        stream.write_all(&opening).unwrap();
        let mut connection = Connection { stream, received: Vec::new() };
        loop {
            let (consumed, peer) = handshake.advance(&connection.received).unwrap();
            connection.received.drain(..consumed);
            if peer.is_some() {
                return connection;
            }
            connection.receive_more();
        }
    }

    fn receive_more(&mut self) {
        let mut chunk = [0; 4096];
        let count = self.stream.read(&mut chunk).unwrap();
        assert!(count > 0, "the broker closes a connection");
        self.received.extend_from_slice(&chunk[..count]);
    }

    /// Connects a subscriber to these prefixes.
    pub(crate) fn subscriber(endpoint: &str, prefixes: &[String]) -> Self {
        let mut connection = Self::open(endpoint, SocketType::Xsub);
        let mut bytes = Vec::new();
        for prefix in prefixes {
            let message = SubscriptionMessage::Subscribe(prefix.as_bytes());
            put_frame(&message.encode(), false, &mut bytes);
        }
        connection.stream.write_all(&bytes).unwrap();
        connection
    }

    /// Connects a publisher and waits until the broker has forwarded all these subscriptions.
    pub(crate) fn publisher(endpoint: &str, prefixes: &[String]) -> Self {
        let mut connection = Self::open(endpoint, SocketType::Xpub);
        let mut missing: BTreeSet<&[u8]> = prefixes.iter().map(String::as_bytes).collect();
        while !missing.is_empty() {
            let (command, body) = connection.next_frame();
            let prefix = if command {
                match Command::parse(&body).unwrap() {
                    Command::Subscribe(prefix) => Some(prefix),
                    _ => None,
                }
            } else {
                match SubscriptionMessage::parse(&body) {
                    Some(SubscriptionMessage::Subscribe(prefix)) => Some(prefix),
                    _ => None,
                }
            };
            prefix.map(|prefix| missing.remove(prefix));
        }
        connection
    }

    /// Returns whether the next frame is a command, and its body.
    fn next_frame(&mut self) -> (bool, Vec<u8>) {
        loop {
            if let Some(header) = FrameHeader::parse(&self.received).unwrap() {
                let end = header.header_len + header.body_len as usize;
                if end <= self.received.len() {
                    let frame: Vec<u8> = self.received.drain(..end).collect();
                    return (header.command, frame[header.header_len..].to_vec());
                }
            }
            self.receive_more();
        }
    }

    /// Writes bytes; `false` if the broker has gone.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Reads until the buffer is full; `false` if the broker has gone.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> bool {
        let there = self.received.len().min(buffer.len());
        buffer[..there].copy_from_slice(&self.received[..there]);
        self.received.drain(..there);
        self.stream.read_exact(&mut buffer[there..]).is_ok()
    }
}

/// Starts one subscriber for each list of prefixes, all on one thread. All `samples` must have the
/// same size; the first event of each subscriber must be one of them, byte for byte.
pub(crate) fn subscribers(endpoint: &str, prefixes: &[Vec<String>], samples: &[Sample]) -> Crew {
    let connect = |prefixes: &Vec<String>| Connection::subscriber(endpoint, prefixes);
    let connections: Vec<Connection> = prefixes.iter().map(connect).collect();
    let events: Vec<Vec<u8>> = samples.iter().map(Sample::encode).collect();
    let (counters, stop) = (counters(prefixes.len()), Stop::default());
    let thread = {
        let (counters, stop) = (counters.clone(), stop.clone());
        std::thread::spawn(move || receive(connections, &events, &counters, &stop))
    };
    Crew::new(counters, stop, vec![thread])
}

fn receive(
    mut connections: Vec<Connection>,
    events: &[Vec<u8>],
    counters: &[Counter],
    stop: &Stop,
) -> Connections {
    let size = events[0].len();
    let mut first = vec![0; size];
    let mut received = vec![size as u64; connections.len()];
    let mut poller = Poller::new().unwrap();
    for (i, connection) in connections.iter_mut().enumerate() {
        assert!(connection.read(&mut first), "a subscriber receives nothing");
        assert!(
            events.contains(&first),
            "this is not what was sent: {:?}",
            bstr::BStr::new(&first)
        );
        received[i] += connection.received.len() as u64;
        counters[i].set(received[i] / size as u64);
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
            counters[i].set(received[i] / size as u64);
        }
    }
    Box::new(connections)
}

/// Starts one publisher for each sample, all on one thread, after they have seen all these
/// subscriptions.
pub(crate) fn publishers(endpoint: &str, samples: &[Sample], prefixes: &[String]) -> Crew {
    let publishers: Vec<Publisher> =
        samples.iter().map(|sample| Publisher::connect(endpoint, sample, prefixes)).collect();
    let (counters, stop) = (counters(samples.len()), Stop::default());
    let thread = {
        let (counters, stop) = (counters.clone(), stop.clone());
        std::thread::spawn(move || send(publishers, &counters, &stop))
    };
    Crew::new(counters, stop, vec![thread])
}

/// Writes whole events endlessly.
struct Publisher {
    connection: Connection,
    /// Size of an event in bytes.
    size: usize,
    /// The event, repeated.
    block: Vec<u8>,
    sent: u64,
}

impl Publisher {
    fn connect(endpoint: &str, sample: &Sample, prefixes: &[String]) -> Self {
        let event = sample.encode();
        let connection = Connection::publisher(endpoint, prefixes);
        connection.stream.set_nonblocking(true).unwrap();
        let block = event.repeat(BLOCK.div_ceil(event.len()));
        Publisher { connection, size: event.len(), block, sent: 0 }
    }

    fn events(&self) -> u64 {
        self.sent / self.size as u64
    }

    /// Writes as much of the block as the kernel accepts.
    fn write(&mut self) {
        let at = self.sent as usize % self.block.len();
        match self.connection.stream.write(&self.block[at..]) {
            Ok(count) => self.sent += count as u64,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => panic!("send: {error}"),
        }
    }

    /// Completes a partly written event, unless the broker has stopped reading.
    fn end(&mut self) {
        let stream = &mut self.connection.stream;
        stream.set_nonblocking(false).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        let begun = self.sent as usize % self.size;
        if begun > 0 && stream.write_all(&self.block[begun..self.size]).is_ok() {
            self.sent += (self.size - begun) as u64;
        }
    }
}

fn send(mut publishers: Vec<Publisher>, counters: &[Counter], stop: &Stop) -> Connections {
    let mut poller = Poller::new().unwrap();
    for (i, publisher) in publishers.iter().enumerate() {
        poller.add(&publisher.connection.stream, i as u64, false, true).unwrap();
    }
    while !stop.is_set() {
        for event in poller.wait(Some(STOP_INTERVAL)).unwrap() {
            let i = event.key as usize;
            publishers[i].write();
            counters[i].set(publishers[i].events());
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
    Connection::subscriber(endpoint, &[prefix.to_owned()])
}

/// Starts a subscriber that spends a millisecond on each event of `size` bytes.
pub(crate) fn slow(endpoint: &str, prefix: &str, size: usize) -> JoinHandle<()> {
    let mut connection = Connection::subscriber(endpoint, &[prefix.to_owned()]);
    std::thread::spawn(move || {
        let mut event = vec![0; size];
        while connection.read(&mut event) {
            std::thread::sleep(Duration::from_millis(1));
        }
    })
}
