//! `zmq_proxy_steerable` and its control socket.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Context, Interest, PollSet, Socket, SocketKind, SocketOptions, TransportError};

/// What one socket of the proxy has moved since the start. Messages are frames: four an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketStatistics {
    /// Frames received.
    pub messages_received: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Frames sent.
    pub messages_sent: u64,
    /// Bytes sent.
    pub bytes_sent: u64,
}

/// Statistics of both sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProxyStatistics {
    /// The XSUB side, where publishers are.
    pub frontend: SocketStatistics,
    /// The XPUB side, where subscribers are.
    pub backend: SocketStatistics,
}

/// The handle that steers a running proxy from another thread.
#[derive(Debug)]
pub struct ProxyControl {
    socket: Socket,
    /// A request without an answer yet. The proxy answers in order unless it is stuck in a send.
    waiting: bool,
}

/// Joins two sockets until [`ProxyControl::terminate`] or the end of the context. Blocks.
///
/// # Errors
/// When libzmq gives up: the context was terminated.
pub fn run_proxy(
    mut frontend: Socket,
    mut backend: Socket,
    mut control: Socket,
) -> Result<(), TransportError> {
    loop {
        match zmq::proxy_steerable(&mut frontend.raw, &mut backend.raw, &mut control.raw) {
            // A signal was handled on this thread, which happens only if the main thread cannot
            // take it. If the send was blocked, the current message may be lost.
            Err(zmq::Error::EINTR) => {}
            outcome => return outcome.map_err(|error| TransportError::new("run the proxy", error)),
        }
    }
}

impl ProxyControl {
    /// A control handle, and the socket to hand to [`run_proxy`].
    ///
    /// # Errors
    /// When the process is out of file descriptors.
    pub fn new(context: &Context) -> Result<(Self, Socket), TransportError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let endpoint = format!("inproc://proxy-control-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let options = SocketOptions::default();
        let proxy_side = Socket::new(context, SocketKind::Pair, &options)?;
        proxy_side.bind(&endpoint)?;
        let socket = Socket::new(context, SocketKind::Pair, &options)?;
        socket.connect(&endpoint)?;
        Ok((ProxyControl { socket, waiting: false }, proxy_side))
    }

    /// The proxy's statistics, or `None` when it did not answer in time: it is stuck in a send to
    /// a subscriber that does not read. Blocks for `patience` at most.
    ///
    /// # Errors
    /// When the context was terminated.
    pub fn statistics(
        &mut self,
        patience: Duration,
    ) -> Result<Option<ProxyStatistics>, TransportError> {
        if !self.waiting {
            self.waiting = self.socket.try_send(&[b"STATISTICS"])?;
        }
        let mut poll = PollSet::new();
        poll.add(&self.socket, Interest::Readable);
        poll.wait(Some(patience))?;
        let Some(answer) = self.socket.try_receive()? else { return Ok(None) };
        self.waiting = false;
        let mut numbers = [0; 8];
        for (number, frame) in numbers.iter_mut().zip(&answer.frames) {
            *number = (**frame).try_into().map_or(0, u64::from_ne_bytes);
        }
        let side = |n: &[u64]| SocketStatistics {
            messages_received: n[0],
            bytes_received: n[1],
            messages_sent: n[2],
            bytes_sent: n[3],
        };
        Ok(Some(ProxyStatistics { frontend: side(&numbers[..4]), backend: side(&numbers[4..]) }))
    }

    /// Asks the proxy to return; it does so when it next looks at its control socket.
    ///
    /// # Errors
    /// When the context was terminated.
    pub fn terminate(&self) -> Result<(), TransportError> {
        self.socket.try_send(&[b"TERMINATE"]).map(drop)
    }
}
