//! [`Link`]: one of a node's two connections. Nothing here blocks.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, connect, socket_with};
use zcluster::net::Poller;
use zcluster::wire::zmtp::CodecScratch;

use crate::raw::Session;

/// Bytes per write, as with libzmq (`out_batch_size`).
pub(super) const BATCH: usize = 8 << 10;
/// Most bytes to receive at once.
const CHUNK: usize = 64 << 10;

/// A connection and what is still to be sent on it.
pub(super) struct Link {
    stream: TcpStream,
    /// Its number in the poller.
    key: u64,
    session: Session,
    out: Vec<u8>,
    waits_to_write: bool,
    /// Received frames that are incomplete.
    rest: Vec<u8>,
}

/// Memory that all links use in turn.
pub(super) struct Buffers {
    chunk: Vec<u8>,
    /// The frames that were received last.
    pub(super) plain: Vec<u8>,
    scratch: CodecScratch,
}

impl Buffers {
    pub(super) fn new() -> Self {
        Buffers { chunk: vec![0; CHUNK], plain: Vec::new(), scratch: CodecScratch::default() }
    }
}

impl Link {
    /// Begins to connect a session that has these first bytes to send.
    pub(super) fn connect(
        address: SocketAddr,
        (session, first): (Session, Vec<u8>),
        key: u64,
        poller: &Poller,
    ) -> Self {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None);
        let socket = socket.unwrap();
        match connect(&socket, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => panic!("connect: {error}"),
        }
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true).unwrap();
        poller.add(&stream, key, true, true).unwrap();
        Link { stream, key, session, out: first, waits_to_write: true, rest: Vec::new() }
    }

    pub(super) fn is_open(&self) -> bool {
        self.session.is_open()
    }

    /// Whether the kernel has no room for what is still to be sent.
    pub(super) fn waits_to_write(&self) -> bool {
        self.waits_to_write
    }

    /// Bytes still to be sent.
    pub(super) fn unsent(&self) -> usize {
        self.out.len()
    }

    /// Appends frames to what is to be sent.
    pub(super) fn put(&mut self, frames: &[u8], scratch: &mut Buffers) {
        self.session.send(frames, &mut self.out, &mut scratch.scratch);
    }

    /// Sends everything in batches, or only complete ones, as far as the kernel has room.
    ///
    /// # Errors
    /// When the connection is gone.
    pub(super) fn flush(&mut self, only_complete: bool, poller: &Poller) -> io::Result<()> {
        let mut sent = 0;
        let mut is_full = false;
        loop {
            let rest = &self.out[sent..];
            let batch = &rest[..rest.len().min(BATCH)];
            if batch.is_empty() || only_complete && batch.len() < BATCH {
                break;
            }
            match self.stream.write(batch) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    is_full = true;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        self.out.drain(..sent);
        if self.out.is_empty() {
            // There are many links.
            self.out = Vec::new();
        }
        if is_full != self.waits_to_write {
            self.waits_to_write = is_full;
            poller.change(&self.stream, self.key, true, is_full)?;
        }
        Ok(())
    }

    /// Receives once. Afterwards `buffers.plain` has the frames; call [`Link::keep`] with those that
    /// are incomplete. Returns the number of bytes received.
    ///
    /// # Errors
    /// When the connection is gone.
    pub(super) fn receive(&mut self, buffers: &mut Buffers, poller: &Poller) -> io::Result<usize> {
        let Buffers { chunk, plain, scratch } = buffers;
        plain.clear();
        plain.append(&mut self.rest);
        let count = match self.stream.read(chunk) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(error),
        };
        self.session.receive(&chunk[..count], plain, &mut self.out, scratch);
        if !self.out.is_empty() {
            self.flush(false, poller)?;
        }
        Ok(count)
    }

    /// Keeps the start of an incomplete frame until the rest arrives.
    pub(super) fn keep(&mut self, rest: &[u8]) {
        self.rest = rest.to_vec();
    }

    /// Lets the kernel discard what has arrived. Returns the number of bytes.
    ///
    /// # Errors
    /// When the connection is gone.
    pub(super) fn discard(&mut self, buffers: &mut Buffers) -> io::Result<usize> {
        match rustix::net::recv(&self.stream, &mut buffers.chunk[..], RecvFlags::TRUNC) {
            Ok((_, 0)) => Err(ErrorKind::UnexpectedEof.into()),
            Ok((_, count)) => Ok(count),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Hears nothing more of it.
    pub(super) fn close(&self, poller: &Poller) {
        poller.remove(&self.stream).unwrap();
    }
}
