//! [`Poller`]: waits for many descriptors, level-triggered (epoll).

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;

/// Events per wait; the rest come with the next one. Most waits find few, and then the size costs nothing.
const EVENTS: usize = 4_096;

/// A set of descriptors, each with a number chosen by the caller.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
    events: Vec<Event>,
}

/// A descriptor that is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The number it was added under.
    pub key: u64,
    /// Readable, including end of stream and errors.
    pub readable: bool,
    /// Writable.
    pub writable: bool,
}

impl Poller {
    /// An empty set.
    ///
    /// # Errors
    /// When the process is out of file descriptors.
    pub fn new() -> std::io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Poller { epoll, events: Vec::new() })
    }

    /// Adds a descriptor. Closing it removes it.
    ///
    /// # Errors
    /// When the kernel has no room for it.
    pub fn add(&self, fd: impl AsFd, key: u64, read: bool, write: bool) -> std::io::Result<()> {
        epoll::add(&self.epoll, fd, EventData::new_u64(key), flags(read, write))?;
        Ok(())
    }

    /// Changes what to wait for. With neither, only errors are reported.
    ///
    /// # Errors
    /// When it was not added.
    pub fn change(&self, fd: impl AsFd, key: u64, read: bool, write: bool) -> std::io::Result<()> {
        epoll::modify(&self.epoll, fd, EventData::new_u64(key), flags(read, write))?;
        Ok(())
    }

    /// Removes a descriptor. Nothing is reported for it any more, not even errors.
    ///
    /// # Errors
    /// When it was not added.
    pub fn remove(&self, fd: impl AsFd) -> std::io::Result<()> {
        epoll::delete(&self.epoll, fd)?;
        Ok(())
    }

    /// Blocks until something is ready or the time is up (`None`: no limit). Returns what is ready.
    ///
    /// # Errors
    /// None that a working kernel reports.
    pub fn wait(
        &mut self,
        timeout: Option<Duration>,
    ) -> std::io::Result<impl Iterator<Item = Event> + '_> {
        // A time that the kernel cannot represent means no limit.
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        self.events.clear();
        // Not initialised, so it costs nothing.
        #[allow(clippy::large_stack_arrays)]
        let mut events = [const { MaybeUninit::uninit() }; EVENTS];
        match epoll::wait(&self.epoll, &mut events, timeout.as_ref()) {
            Ok((ready, _)) => self.events.extend(ready.iter().map(|event| {
                let flags = event.flags;
                let gone = EventFlags::HUP | EventFlags::ERR;
                Event {
                    key: event.data.u64(),
                    readable: flags.intersects(EventFlags::IN | gone),
                    writable: flags.intersects(EventFlags::OUT | gone),
                }
            })),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.events.iter().copied())
    }
}

fn flags(read: bool, write: bool) -> EventFlags {
    let mut flags = EventFlags::empty();
    flags.set(EventFlags::IN, read);
    flags.set(EventFlags::OUT, write);
    flags
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_is_ready_is_told_until_it_is_dealt_with() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let mut poller = Poller::new().unwrap();
        poller.add(&ours, 7, true, false).unwrap();
        let wait = |poller: &mut Poller| -> Vec<Event> {
            poller.wait(Some(Duration::ZERO)).unwrap().collect()
        };
        assert_eq!(wait(&mut poller), []);
        theirs.write_all(b"x").unwrap();
        let readable = Event { key: 7, readable: true, writable: false };
        assert_eq!(wait(&mut poller), [readable]);
        assert_eq!(wait(&mut poller), [readable], "level-triggered");
        poller.change(&ours, 8, false, true).unwrap();
        assert_eq!(wait(&mut poller), [Event { key: 8, readable: false, writable: true }]);
        poller.change(&ours, 7, true, false).unwrap();
        ours.read_exact(&mut [0]).unwrap();
        assert_eq!(wait(&mut poller), []);
        drop(theirs);
        assert_eq!(wait(&mut poller).len(), 1);
        drop(ours);
        assert_eq!(wait(&mut poller), [], "closed, it leaves the set");
    }
}
