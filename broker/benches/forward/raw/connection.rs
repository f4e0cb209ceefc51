//! [`Connection`]: a connection that blocks.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;

use zcluster::wire::SubscriptionMessage;
use zcluster::wire::zmtp::{CodecScratch, Curve, SocketType, put_frame};

use super::notification::{Notification, take_notification};
use super::session::Session;
use crate::crew::PATIENCE;

/// Most bytes to receive at once.
const CHUNK: usize = 16 << 10;

/// A connection after its handshake. Reads and writes block.
pub(crate) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) session: Session,
    /// Received frames that were not asked for yet.
    plain: Vec<u8>,
    /// Bytes received since the handshake.
    received: u64,
    scratch: CodecScratch,
}

impl Connection {
    fn open(endpoint: &str, ours: SocketType, curve: Option<&Curve>) -> Self {
        let stream = TcpStream::connect(endpoint.trim_start_matches("tcp://")).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut out = Vec::new();
        let session = Session::new(ours, curve.cloned(), &mut out);
        let scratch = CodecScratch::default();
        let mut connection =
            Connection { stream, session, plain: Vec::new(), received: 0, scratch };
        connection.stream.write_all(&out).unwrap();
        while !connection.session.is_open() {
            // One byte at a time, so that bytes after the handshake are counted as such.
            assert!(connection.receive(1), "the broker closes a connection");
        }
        connection.received = 0;
        connection
    }

    /// Receives at most that many bytes; `false` if the broker has gone.
    fn receive(&mut self, most: usize) -> bool {
        let mut chunk = [0; CHUNK];
        let Ok(count @ 1..) = self.stream.read(&mut chunk[..most]) else { return false };
        self.received += count as u64;
        let mut out = Vec::new();
        self.session.receive(&chunk[..count], &mut self.plain, &mut out, &mut self.scratch);
        out.is_empty() || self.stream.write_all(&out).is_ok()
    }

    /// Connects a subscriber to these prefixes.
    pub(crate) fn subscriber(endpoint: &str, prefixes: &[String], curve: Option<&Curve>) -> Self {
        let mut connection = Self::open(endpoint, SocketType::Xsub, curve);
        let mut bytes = Vec::new();
        for prefix in prefixes {
            let message = SubscriptionMessage::Subscribe(prefix.as_bytes());
            put_frame(&message.encode(), false, &mut bytes);
        }
        assert!(connection.write(&bytes), "the broker closes a connection");
        connection
    }

    /// Connects a publisher.
    pub(crate) fn publisher(endpoint: &str, curve: Option<&Curve>) -> Self {
        Self::open(endpoint, SocketType::Xpub, curve)
    }

    /// Waits until a publisher has been told of all these subscriptions.
    pub(crate) fn wait_for_subscriptions(&mut self, prefixes: &[String]) {
        let mut missing: BTreeSet<&[u8]> = prefixes.iter().map(String::as_bytes).collect();
        while !missing.is_empty() {
            self.wait_for_notifications(1);
            self.take_notifications(|notification| {
                if let Notification::Subscribed(prefix) = notification {
                    missing.remove(prefix);
                }
            });
        }
    }

    /// Waits until a publisher has received that many notifications that were not taken yet.
    pub(crate) fn wait_for_notifications(&mut self, count: usize) {
        let (mut found, mut at) = (0, 0);
        while found < count {
            if let Some((notification, size)) = take_notification(&self.plain[at..]) {
                found += usize::from(notification.is_some());
                at += size;
            } else {
                assert!(self.receive(CHUNK), "the broker closes a connection");
            }
        }
    }

    /// Takes the notifications that were received.
    pub(crate) fn take_notifications(&mut self, mut take: impl FnMut(Notification<'_>)) {
        let mut at = 0;
        while let Some((notification, size)) = take_notification(&self.plain[at..]) {
            notification.into_iter().for_each(&mut take);
            at += size;
        }
        self.plain.drain(..at);
    }

    /// Bytes received since the handshake, encrypted if the connection is.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Writes whole frames; `false` if the broker has gone.
    pub(crate) fn write(&mut self, frames: &[u8]) -> bool {
        if !self.session.is_encrypted() {
            return self.stream.write_all(frames).is_ok();
        }
        let mut sealed = Vec::new();
        self.session.send(frames, &mut sealed, &mut self.scratch);
        self.stream.write_all(&sealed).is_ok()
    }

    /// Reads frames until the buffer is full; `false` if the broker has gone.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> bool {
        while self.session.is_encrypted() && self.plain.len() < buffer.len() {
            if !self.receive(CHUNK) {
                return false;
            }
        }
        let there = self.plain.len().min(buffer.len());
        buffer[..there].copy_from_slice(&self.plain[..there]);
        self.plain.drain(..there);
        // Spares plain bytes a copy.
        self.received += (buffer.len() - there) as u64;
        self.stream.read_exact(&mut buffer[there..]).is_ok()
    }
}
