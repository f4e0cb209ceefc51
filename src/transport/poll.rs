//! Waits for any of several sockets, or a wake-up.

use std::os::fd::AsRawFd;
use std::time::Duration;

use super::{Monitor, Socket, TransportError, Waker};

/// What to wait for on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// A message to receive.
    Readable,
    /// Room to send; useless with XPUB, which always reports it.
    Writable,
}

/// A set of things to wait for, rebuilt for each wait, which costs no system call.
#[derive(Default)]
pub struct PollSet<'a> {
    items: Vec<zmq::PollItem<'a>>,
}

impl<'a> PollSet<'a> {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a socket and returns its index.
    pub fn add(&mut self, socket: &'a Socket, interest: Interest) -> usize {
        let events = match interest {
            Interest::Readable => zmq::POLLIN,
            Interest::Writable => zmq::POLLOUT,
        };
        self.items.push(socket.raw.as_poll_item(events));
        self.items.len() - 1
    }

    /// Adds a connection monitor and returns its index.
    pub fn add_monitor(&mut self, monitor: &'a Monitor) -> usize {
        self.add(&monitor.events, Interest::Readable)
    }

    /// Adds a wake-up and returns its index.
    pub fn add_waker(&mut self, waker: &'a Waker) -> usize {
        self.items.push(zmq::PollItem::from_fd(waker.as_raw_fd(), zmq::POLLIN));
        self.items.len() - 1
    }

    /// Blocks until something is ready or the time is over (`None`: no limit).
    ///
    /// # Errors
    /// When the context was terminated.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<(), TransportError> {
        let timeout = timeout.map_or(-1, |timeout| {
            // Rounded up: rounding down would spin until the deadline.
            i64::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(i64::MAX)
        });
        match zmq::poll(&mut self.items, timeout) {
            Ok(_) | Err(zmq::Error::EINTR) => Ok(()),
            Err(error) => Err(TransportError::new("poll", error)),
        }
    }

    /// Whether the thing at that index can be read.
    pub fn is_readable(&self, index: usize) -> bool {
        self.items[index].is_readable()
    }
}
