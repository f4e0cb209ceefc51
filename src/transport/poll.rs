//! Waits for any of several sockets, or a wake-up.
//!
//! `zmq_poll` asks every socket twice for its state, and each question is a system call. But a socket
//! that has nothing to receive, and was not used since that was found out, has a descriptor that
//! shows when something arrives ([`Socket::is_settled`]). So one `poll` covers all of those, and only
//! the others are asked.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

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
    items: Vec<Item<'a>>,
}

struct Item<'a> {
    what: What<'a>,
    is_ready: bool,
}

enum What<'a> {
    Socket(&'a Socket, Interest),
    Waker(&'a Waker),
}

impl<'a> PollSet<'a> {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    fn push(&mut self, what: What<'a>) -> usize {
        self.items.push(Item { what, is_ready: false });
        self.items.len() - 1
    }

    /// Adds a socket and returns its index.
    pub fn add(&mut self, socket: &'a Socket, interest: Interest) -> usize {
        self.push(What::Socket(socket, interest))
    }

    /// Adds a connection monitor and returns its index.
    pub fn add_monitor(&mut self, monitor: &'a Monitor) -> usize {
        self.add(&monitor.events, Interest::Readable)
    }

    /// Adds a wake-up and returns its index.
    pub fn add_waker(&mut self, waker: &'a Waker) -> usize {
        self.push(What::Waker(waker))
    }

    /// Blocks until something is ready or the time is over (`None`: no limit). A signal may end it
    /// early.
    ///
    /// # Errors
    /// When the context was terminated.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<(), TransportError> {
        // A time that the clock cannot represent means no limit.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut is_any_ready = false;
        for item in &mut self.items {
            if let What::Socket(socket, interest) = item.what {
                let is_known = interest == Interest::Readable && socket.is_settled();
                item.is_ready = !is_known && ask(socket, interest)?;
                is_any_ready |= item.is_ready;
            }
        }
        loop {
            let left = if is_any_ready {
                Some(Duration::ZERO)
            } else {
                deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
            };
            if !self.poll(left)? {
                return Ok(());
            }
            // The descriptor of a socket also shows what concerns only libzmq.
            is_any_ready |= self.items.iter().any(|item| item.is_ready);
            if is_any_ready || left == Some(Duration::ZERO) {
                return Ok(());
            }
        }
    }

    /// Polls the descriptors once and asks the sockets whose descriptors show something. Returns
    /// whether any does.
    fn poll(&mut self, left: Option<Duration>) -> Result<bool, TransportError> {
        let descriptor = |item: &Item<'a>| match item.what {
            What::Waker(waker) => Ok(waker.as_raw_fd()),
            What::Socket(socket, _) => socket.raw.get_fd().map_err(|error| fail("poll", error)),
        };
        let raw = self.items.iter().map(descriptor).collect::<Result<Vec<_>, _>>()?;
        // SAFETY: the sockets and wakers, which own the descriptors, are borrowed for 'a.
        #[allow(unsafe_code)]
        let borrowed: Vec<BorrowedFd<'a>> =
            raw.iter().map(|fd| unsafe { BorrowedFd::borrow_raw(*fd) }).collect();
        let mut fds: Vec<_> = borrowed.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut fds, left.as_ref()) {
            Ok(0) | Err(Errno::INTR) => return Ok(false),
            Ok(_) => {}
            Err(error) => {
                let error = zmq::Error::from_raw(error.raw_os_error());
                return Err(fail("poll", error));
            }
        }
        for (item, fd) in self.items.iter_mut().zip(&fds) {
            if !fd.revents().is_empty() {
                item.is_ready |= match item.what {
                    What::Waker(_) => true,
                    What::Socket(socket, interest) => ask(socket, interest)?,
                };
            }
        }
        Ok(true)
    }

    /// Whether the thing at that index can be read, or a socket written to if that is its interest.
    pub fn is_readable(&self, index: usize) -> bool {
        self.items[index].is_ready
    }
}

/// Asks libzmq whether a socket is ready, and settles it if there is nothing to receive.
fn ask(socket: &Socket, interest: Interest) -> Result<bool, TransportError> {
    loop {
        match socket.raw.get_events() {
            Ok(events) => {
                socket.is_settled.set(!events.contains(zmq::POLLIN));
                return Ok(events.contains(match interest {
                    Interest::Readable => zmq::POLLIN,
                    Interest::Writable => zmq::POLLOUT,
                }));
            }
            Err(zmq::Error::EINTR) => {}
            Err(error) => return Err(fail("poll", error)),
        }
    }
}

fn fail(action: &'static str, error: zmq::Error) -> TransportError {
    TransportError::new(action, error)
}
