//! [`Meter`]: what a client has sent that waits in memory, within a limit for all clients.
//!
//! A message is handled as soon as it is complete, and no longer than `max_message_size`. But every
//! client could send the beginning of such a message, or as much while earlier ones wait for the bus.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use zcluster::layout::WebSocket;

/// What each client may have waiting in any case, in bytes.
const FREE: usize = 64 << 10;
/// How many of the longest messages may wait from all clients together, beyond that.
const MESSAGES: usize = 16;
/// The longest header of a control frame, in bytes.
const CONTROL_HEADER: usize = 6;

/// What waits from all clients together, beyond what each may have in any case.
#[derive(Debug)]
pub(super) struct Budget {
    max: usize,
    /// The longest message.
    longest: usize,
    used: AtomicUsize,
}

impl Budget {
    pub(super) fn new(options: &WebSocket) -> Arc<Self> {
        let longest = usize::try_from(options.max_message_size).unwrap_or(usize::MAX);
        let max = longest.saturating_mul(MESSAGES);
        Arc::new(Budget { max, longest, used: AtomicUsize::new(0) })
    }
}

/// What waits from one client, in bytes. Used on one thread.
#[derive(Debug)]
pub(super) struct Meter {
    budget: Arc<Budget>,
    /// HTTP does not keep what it reads.
    is_running: AtomicBool,
    /// Of complete messages.
    complete: AtomicUsize,
    /// Read since the last complete message, without control frames. It may be a few bytes more for
    /// each of them, and never less.
    unfinished: AtomicUsize,
    /// The same, but it may be less, and never more.
    begun: AtomicUsize,
    /// Read since the last frame.
    unseen: AtomicUsize,
    /// What the budget has of it.
    charged: AtomicUsize,
}

impl Meter {
    pub(super) fn new(budget: &Arc<Budget>) -> Arc<Self> {
        let budget = Arc::clone(budget);
        let [complete, unfinished, begun, unseen, charged] = <[AtomicUsize; 5]>::default();
        let is_running = AtomicBool::new(false);
        Arc::new(Meter { budget, is_running, complete, unfinished, begun, unseen, charged })
    }

    /// From now on messages are read.
    pub(super) fn start(&self) {
        self.is_running.store(true, Ordering::Relaxed);
    }

    /// A message has come.
    pub(super) fn finish(&self) {
        for count in [&self.unfinished, &self.begun, &self.unseen] {
            count.store(0, Ordering::Relaxed);
        }
        self.charge();
    }

    /// A control frame has come, perhaps in the middle of a message.
    pub(super) fn control(&self, payload: usize) {
        // Nobody says how long its header was. If it is all that was read, that is known; otherwise it
        // has two bytes at least.
        let unseen = self.unseen.swap(0, Ordering::Relaxed);
        let is_alone = unseen == payload + 2 || unseen == payload + CONTROL_HEADER;
        let least = if is_alone { unseen } else { payload + 2 };
        for (count, less) in [(&self.unfinished, least), (&self.begun, payload + CONTROL_HEADER)] {
            let before = count.load(Ordering::Relaxed);
            count.store(before.saturating_sub(less), Ordering::Relaxed);
        }
        self.charge();
    }

    /// So many bytes of complete messages wait.
    pub(super) fn set_complete(&self, bytes: usize) {
        self.complete.store(bytes, Ordering::Relaxed);
        self.charge();
    }

    /// Whether a longer message has begun.
    pub(super) fn is_unfinished(&self) -> bool {
        self.begun.load(Ordering::Relaxed) > FREE
    }

    /// Whether this client has too much waiting for what the others have.
    pub(super) fn is_over(&self) -> bool {
        self.charged.load(Ordering::Relaxed) > 0
            && self.budget.used.load(Ordering::Relaxed) > self.budget.max
    }

    fn read(&self, bytes: usize) {
        if self.is_running.load(Ordering::Relaxed) {
            for count in [&self.unfinished, &self.begun, &self.unseen] {
                count.fetch_add(bytes, Ordering::Relaxed);
            }
            self.charge();
        }
    }

    fn charge(&self) {
        // No message gets longer.
        let unfinished = self.unfinished.load(Ordering::Relaxed).min(self.budget.longest);
        let waiting = self.complete.load(Ordering::Relaxed) + unfinished;
        let charge = waiting.saturating_sub(FREE);
        let before = self.charged.swap(charge, Ordering::Relaxed);
        self.budget.used.fetch_add(charge, Ordering::Relaxed);
        self.budget.used.fetch_sub(before, Ordering::Relaxed);
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(*self.charged.get_mut(), Ordering::Relaxed);
    }
}

/// A stream whose bytes are counted as they are read. Reading fails once its client has too much
/// waiting.
#[derive(Debug)]
pub(super) struct Metered<S> {
    stream: S,
    meter: Arc<Meter>,
}

impl<S> Metered<S> {
    pub(super) fn new(stream: S, meter: Arc<Meter>) -> Self {
        Metered { stream, meter }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.meter.is_over() {
            return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.meter.read(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_waits_beyond_the_free_part_counts() {
        let budget = Arc::new(Budget { max: 1_000, longest: 1 << 20, used: AtomicUsize::new(0) });
        let (one, two) = (Meter::new(&budget), Meter::new(&budget));
        one.read(5 * FREE);
        one.start();
        two.start();
        let used = || budget.used.load(Ordering::Relaxed);
        one.read(FREE);
        two.read(FREE + 900);
        assert!(!one.is_unfinished() && two.is_unfinished());
        assert_eq!(used(), 900);
        two.control(98);
        assert_eq!(used(), 800);
        one.read(201);
        assert!(one.is_over() && two.is_over());
        one.finish();
        assert!(!one.is_over() && !two.is_over());
        one.set_complete(FREE + 150);
        one.read(50);
        assert_eq!(used(), 1_000);
        one.read(1);
        assert!(two.is_over());
        drop(two);
        assert_eq!(used(), 201);
        assert!(!one.is_over());
        one.control(usize::MAX / 2);
        one.set_complete(0);
        assert_eq!(used(), 0);
        one.read(usize::MAX / 4);
        assert_eq!(used(), (1 << 20) - FREE, "it is refused before it gets longer");
    }

    #[test]
    fn whoever_only_answers_pings_has_nothing_waiting() {
        let budget = Budget::new(&WebSocket::default());
        let meter = Meter::new(&budget);
        meter.start();
        for header in [2, CONTROL_HEADER] {
            for _ in 0..FREE {
                meter.read(20 + header);
                meter.control(20);
            }
            assert_eq!(meter.unfinished.load(Ordering::Relaxed), 0);
        }
        // Many at once are no unfinished message, either, whatever they count.
        for _ in 0..FREE {
            meter.read(10 * (20 + CONTROL_HEADER));
            (0..10).for_each(|_| meter.control(20));
        }
        assert!(!meter.is_unfinished());
        // A message in parts is one.
        for _ in 0..FREE {
            meter.read(100 + 20 + CONTROL_HEADER);
            meter.control(20);
        }
        assert!(meter.is_unfinished());
    }
}
