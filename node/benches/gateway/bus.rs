//! The broker that a node connects to, as far as it needs one.

use std::time::Duration;

use zcluster::transport::{Context, Interest, PollSet, Socket, SocketKind, SocketOptions, Waker};
use zcluster::wire::SubscriptionMessage;

use crate::event::{Sample, UPWARD};
use crate::feed::Feed;

/// Both sockets of a broker. Subscriptions go from one to the other; events come from here, and end
/// here.
pub(crate) struct Bus {
    /// What the node publishes to.
    pub(crate) for_publishers: String,
    /// What the node subscribes to.
    pub(crate) for_subscribers: String,
    xsub: Socket,
    xpub: Socket,
    samples: Vec<Sample>,
    next: usize,
    /// Dropped last.
    _context: Context,
}

impl Bus {
    pub(crate) fn bind() -> Self {
        let context = Context::new(1).unwrap();
        // Never full: the windows of the measurements are smaller.
        let hwm = Some(1_000_000);
        let options = SocketOptions {
            linger_ms: 0,
            send_hwm: hwm,
            receive_hwm: hwm,
            ..SocketOptions::default()
        };
        let xsub = Socket::new(&context, SocketKind::Xsub, &options).unwrap();
        let options = SocketOptions { xpub_verbose: true, xpub_nodrop: true, ..options };
        let xpub = Socket::new(&context, SocketKind::Xpub, &options).unwrap();
        let for_publishers = xsub.bind("tcp://127.0.0.1:*").unwrap();
        let for_subscribers = xpub.bind("tcp://127.0.0.1:*").unwrap();
        let upward = SubscriptionMessage::Subscribe(UPWARD.as_bytes()).encode();
        xsub.try_send(&[upward]).unwrap();
        let (samples, next) = Default::default();
        Bus { for_publishers, for_subscribers, xsub, xpub, samples, next, _context: context }
    }
}

impl Feed for Bus {
    fn choose(&mut self, topics: &[String]) {
        self.samples = topics.iter().map(|topic| Sample::new(topic)).collect();
    }

    fn send(&mut self, count: u64) -> u64 {
        for _ in 0..count {
            let sample = &self.samples[self.next];
            assert!(self.xpub.try_send(&sample.frames()).unwrap(), "no room for an event");
            self.next = (self.next + 1) % self.samples.len();
        }
        count
    }

    fn send_stamped(&mut self, nanoseconds: u64) {
        self.samples[self.next].set_stamp(nanoseconds);
        self.send(1);
    }

    fn receive(&mut self) -> u64 {
        while let Some(subscription) = self.xpub.try_receive().unwrap() {
            assert!(self.xsub.try_send(&subscription.frames).unwrap(), "no room upstream");
        }
        let mut events = 0;
        while events < 256
            && let Some(event) = self.xsub.try_receive().unwrap()
        {
            assert_eq!(event.count, 4, "an event has four frames");
            events += u64::from(*event.frames[0] == *UPWARD.as_bytes());
        }
        events
    }

    fn wait(&self, waker: &Waker, timeout: Option<Duration>) {
        let mut poll = PollSet::new();
        poll.add_waker(waker);
        poll.add(&self.xpub, Interest::Readable);
        poll.add(&self.xsub, Interest::Readable);
        poll.wait(timeout).unwrap();
    }
}
