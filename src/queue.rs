//! A queue between threads, bounded in messages *and* bytes, with two lanes.
//!
//! The *bulk* lane obeys the bounds: when it is full, [`Sender::try_send`] returns the item and
//! [`Sender::send`] waits. The *control* lane has its own bound, so membership and other small
//! messages never wait behind bulk data and are never dropped with it. The receiver sees the items
//! of both lanes in the order they were sent.
//!
//! A crossbeam channel counts only messages, but memory is measured in bytes.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Bounds of the bulk lane. Zero means no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Items.
    pub messages: usize,
    /// Sum of the sizes given with the items. An item larger than that is admitted alone.
    pub bytes: usize,
}

/// Items that the control lane holds, far more than a working receiver leaves there.
pub const CONTROL_LIMIT: usize = 16_384;

/// Why an item was rejected, with the item.
#[derive(Debug, PartialEq, Eq)]
pub enum Rejected<T> {
    /// The lane is full (or still full at the deadline).
    Full(T),
    /// The receiver is gone.
    Closed(T),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lane {
    Bulk,
    Control,
}

struct State<T> {
    items: VecDeque<(Lane, usize, T)>,
    bulk_messages: usize,
    bulk_bytes: usize,
    closed: bool,
    /// Whether the receiver waits for an item, and how many senders wait for room. A notification is
    /// a system call even where nobody waits.
    is_awaited: bool,
    waiting_for_room: usize,
}

struct Shared<T> {
    limits: Limits,
    state: Mutex<State<T>>,
    /// Signalled when an item arrives or the queue closes.
    arrived: Condvar,
    /// Signalled when there may be room again.
    room: Condvar,
    /// Called after an item has arrived, for receivers that wait in a poll.
    on_arrival: Box<dyn Fn() + Send + Sync>,
}

impl<T> Shared<T> {
    /// A panic elsewhere leaves the state consistent: every change is a single step.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
        self.room.notify_all();
        (self.on_arrival)();
    }
}

/// The sending side; clones share the queue. Dropping the last one closes it.
pub struct Sender<T> {
    shared: Arc<CloseOnDrop<T>>,
}

/// What all senders share, so that the last of them closes the queue.
struct CloseOnDrop<T>(Arc<Shared<T>>);

impl<T> std::ops::Deref for CloseOnDrop<T> {
    type Target = Shared<T>;
    fn deref(&self) -> &Shared<T> {
        &self.0
    }
}

impl<T> Drop for CloseOnDrop<T> {
    fn drop(&mut self) {
        self.close();
    }
}

/// The receiving side. Dropping it closes the queue.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Sender { shared: Arc::clone(&self.shared) }
    }
}

/// A sender that does not keep the queue open.
pub struct WeakSender<T> {
    shared: Weak<CloseOnDrop<T>>,
}

impl<T> Sender<T> {
    /// A sender that does not keep the queue open.
    pub fn downgrade(&self) -> WeakSender<T> {
        WeakSender { shared: Arc::downgrade(&self.shared) }
    }
}

impl<T> WeakSender<T> {
    /// [`Sender::send_control`], as long as there is a sender.
    ///
    /// # Errors
    /// As there.
    pub fn send_control(&self, item: T) -> Result<(), Rejected<T>> {
        match self.shared.upgrade() {
            Some(shared) => Sender { shared }.send_control(item),
            None => Err(Rejected::Closed(item)),
        }
    }
}

impl<T> std::fmt::Debug for WeakSender<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("queue::WeakSender")
    }
}

impl<T> std::fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("queue::Sender")
    }
}
impl<T> std::fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("queue::Receiver")
    }
}

/// A queue; `on_arrival` runs on the sender's thread after each item and must not block.
pub fn bounded<T>(
    limits: Limits,
    on_arrival: impl Fn() + Send + Sync + 'static,
) -> (Sender<T>, Receiver<T>) {
    let state = State {
        items: VecDeque::new(),
        bulk_messages: 0,
        bulk_bytes: 0,
        closed: false,
        is_awaited: false,
        waiting_for_room: 0,
    };
    let shared = Arc::new(Shared {
        limits,
        state: Mutex::new(state),
        arrived: Condvar::new(),
        room: Condvar::new(),
        on_arrival: Box::new(on_arrival),
    });
    (Sender { shared: Arc::new(CloseOnDrop(Arc::clone(&shared))) }, Receiver { shared })
}

/// Waits for a notification, for that long at most (`None`: without limit).
fn wait<'a, T>(
    notified: &Condvar,
    state: MutexGuard<'a, State<T>>,
    left: Option<Duration>,
) -> MutexGuard<'a, State<T>> {
    match left {
        None => notified.wait(state).unwrap_or_else(PoisonError::into_inner),
        Some(left) => notified.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
    }
}

impl<T> State<T> {
    fn has_room(&self, limits: Limits, bytes: usize) -> bool {
        let messages = limits.messages == 0 || self.bulk_messages < limits.messages;
        let bytes = limits.bytes == 0
            || self.bulk_messages == 0
            || self.bulk_bytes.saturating_add(bytes) <= limits.bytes;
        messages && bytes
    }
}

impl<T> Sender<T> {
    /// Adds a bulk item of that many bytes if there is room. Does not block.
    ///
    /// # Errors
    /// [`Rejected::Full`] or [`Rejected::Closed`], with the item.
    pub fn try_send(&self, item: T, bytes: usize) -> Result<(), Rejected<T>> {
        self.send_until(item, bytes, Some(Instant::now()))
    }

    /// Adds a bulk item, waiting for room. Blocks.
    ///
    /// # Errors
    /// [`Rejected::Closed`], with the item.
    pub fn send(&self, item: T, bytes: usize) -> Result<(), Rejected<T>> {
        self.send_until(item, bytes, None)
    }

    /// Adds a bulk item, waiting for room until the deadline. Blocks.
    ///
    /// # Errors
    /// [`Rejected::Full`] at the deadline, or [`Rejected::Closed`], with the item.
    pub fn send_until(
        &self,
        item: T,
        bytes: usize,
        deadline: Option<Instant>,
    ) -> Result<(), Rejected<T>> {
        let mut state = self.shared.lock();
        loop {
            if state.closed {
                return Err(Rejected::Closed(item));
            }
            if state.has_room(self.shared.limits, bytes) {
                break;
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Err(Rejected::Full(item));
            }
            state.waiting_for_room += 1;
            state = wait(&self.shared.room, state, left);
            state.waiting_for_room -= 1;
        }
        state.bulk_messages += 1;
        state.bulk_bytes += bytes;
        self.finish_send(state, (Lane::Bulk, bytes, item));
        Ok(())
    }

    /// Adds a control item, which does not count against the bounds. Does not block.
    ///
    /// # Errors
    /// [`Rejected::Full`] beyond [`CONTROL_LIMIT`] control items, or [`Rejected::Closed`], with
    /// the item.
    pub fn send_control(&self, item: T) -> Result<(), Rejected<T>> {
        let state = self.shared.lock();
        if state.closed {
            return Err(Rejected::Closed(item));
        }
        if state.items.len() - state.bulk_messages >= CONTROL_LIMIT {
            return Err(Rejected::Full(item));
        }
        self.finish_send(state, (Lane::Control, 0, item));
        Ok(())
    }

    fn finish_send(&self, mut state: MutexGuard<'_, State<T>>, entry: (Lane, usize, T)) {
        state.items.push_back(entry);
        let is_awaited = state.is_awaited;
        drop(state);
        if is_awaited {
            self.shared.arrived.notify_one();
        }
        (self.shared.on_arrival)();
    }

    /// Closes the queue: senders are refused, the receiver gets what is left.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Whether the queue is closed, for example because the receiver is gone.
    pub fn is_closed(&self) -> bool {
        self.shared.lock().closed
    }

    /// Bulk items waiting, and their bytes.
    pub fn depth(&self) -> (usize, usize) {
        let state = self.shared.lock();
        (state.bulk_messages, state.bulk_bytes)
    }
}

/// Why nothing was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Empty {
    /// Nothing arrived in time.
    TimedOut,
    /// The queue is closed and empty.
    Closed,
}

impl<T> Receiver<T> {
    /// The next item, waiting until the deadline (`None`: without limit). Blocks.
    ///
    /// # Errors
    /// [`Empty`] says why there is none.
    pub fn receive_until(&self, deadline: Option<Instant>) -> Result<T, Empty> {
        let mut state = self.shared.lock();
        loop {
            if let Some((lane, bytes, item)) = state.items.pop_front() {
                if lane == Lane::Bulk {
                    state.bulk_messages -= 1;
                    state.bulk_bytes -= bytes;
                    let is_awaited = state.waiting_for_room > 0;
                    drop(state);
                    // Wake all senders: a small item may fit where the first sender has a large
                    // one.
                    if is_awaited {
                        self.shared.room.notify_all();
                    }
                }
                return Ok(item);
            }
            if state.closed {
                return Err(Empty::Closed);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Err(Empty::TimedOut);
            }
            state.is_awaited = true;
            state = wait(&self.shared.arrived, state, left);
            state.is_awaited = false;
        }
    }

    /// The next item. Blocks; `None` when the queue is closed and empty.
    pub fn receive(&self) -> Option<T> {
        self.receive_until(None).ok()
    }

    /// The next item, waiting for that long at most. Blocks.
    ///
    /// # Errors
    /// [`Empty`] says why there is none.
    pub fn receive_timeout(&self, patience: Duration) -> Result<T, Empty> {
        // A time that the clock cannot represent means no limit.
        self.receive_until(Instant::now().checked_add(patience))
    }

    /// The next item if there is one. Does not block.
    pub fn try_receive(&self) -> Option<T> {
        self.receive_until(Some(Instant::now())).ok()
    }

    /// Bulk items waiting, and their bytes.
    pub fn depth(&self) -> (usize, usize) {
        let state = self.shared.lock();
        (state.bulk_messages, state.bulk_bytes)
    }

    /// Whether nothing waits in either lane.
    pub fn is_empty(&self) -> bool {
        self.shared.lock().items.is_empty()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.close();
        self.shared.lock().items.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn queue(messages: usize, bytes: usize) -> (Sender<u32>, Receiver<u32>) {
        bounded(Limits { messages, bytes }, || {})
    }

    #[test]
    fn bounds_hold_in_messages_and_in_bytes() {
        let (tx, rx) = queue(2, 100);
        assert_eq!(tx.try_send(1, 60), Ok(()));
        assert_eq!(tx.try_send(2, 60), Err(Rejected::Full(2)), "bytes");
        assert_eq!(tx.try_send(3, 40), Ok(()));
        assert_eq!(tx.try_send(4, 0), Err(Rejected::Full(4)), "messages");
        assert_eq!(tx.depth(), (2, 100));
        assert_eq!(
            (rx.try_receive(), rx.try_receive(), rx.try_receive()),
            (Some(1), Some(3), None)
        );
        assert_eq!(tx.try_send(5, 1_000_000), Ok(()), "alone, an item may exceed the bound");
        assert_eq!(tx.try_send(6, 1), Err(Rejected::Full(6)));
        let (tx, _rx) = queue(0, 0);
        (0..1000).for_each(|i| tx.try_send(i, 1 << 20).unwrap());
    }

    #[test]
    fn control_items_pass_a_full_bulk_lane_in_order() {
        let (tx, rx) = queue(1, 0);
        tx.try_send(1, 10).unwrap();
        tx.send_control(2).unwrap();
        assert_eq!(tx.try_send(3, 10), Err(Rejected::Full(3)));
        for i in 1..CONTROL_LIMIT {
            tx.send_control(i as u32).unwrap();
        }
        assert_eq!(tx.send_control(9), Err(Rejected::Full(9)), "it has a bound, too");
        assert_eq!((rx.try_receive(), rx.try_receive()), (Some(1), Some(2)));
    }

    #[test]
    fn a_blocked_sender_goes_on_when_there_is_room() {
        let (tx, rx) = queue(1, 0);
        tx.send(1, 1).unwrap();
        let sender = std::thread::spawn(move || tx.send(2, 1));
        assert_eq!(rx.receive(), Some(1));
        assert_eq!(rx.receive(), Some(2));
        assert_eq!(sender.join().unwrap(), Ok(()));
        assert_eq!(rx.receive(), None, "all senders gone: closed");
    }

    #[test]
    fn closing_wakes_both_sides() {
        let (tx, rx) = queue(1, 0);
        tx.send(1, 1).unwrap();
        let blocked = {
            let tx = tx.clone();
            std::thread::spawn(move || tx.send(2, 1))
        };
        tx.close();
        assert_eq!(blocked.join().unwrap(), Err(Rejected::Closed(2)));
        assert_eq!(rx.receive(), Some(1), "what is left is delivered");
        assert_eq!(rx.receive(), None);
        assert_eq!(rx.receive_timeout(Duration::ZERO), Err(Empty::Closed));
        drop(rx);
        assert_eq!(tx.send_control(3), Err(Rejected::Closed(3)));
    }

    #[test]
    fn arrivals_are_announced() {
        let count = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&count);
        let (tx, rx) = bounded(Limits { messages: 0, bytes: 0 }, move || {
            seen.fetch_add(1, Ordering::Relaxed);
        });
        tx.send(1, 1).unwrap();
        tx.send_control(2).unwrap();
        assert_eq!(count.load(Ordering::Relaxed), 2);
        assert_eq!(rx.depth(), (1, 1));
    }
}
