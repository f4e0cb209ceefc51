//! Tells the yardstick what to send to all of its clients: a number of messages, and their text.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use zcluster::transport::{PollSet, Waker};

use crate::event;
use crate::feed::Feed;
use crate::plan::Api;

pub(crate) struct Control {
    stream: TcpStream,
    api: Api,
    topic: String,
    /// Events for one message to each client.
    clients: u64,
    /// Events that are still owed.
    rest: u64,
}

impl Control {
    pub(crate) fn connect(address: SocketAddr, api: Api) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Control { stream, api, topic: String::new(), clients: 1, rest: 0 }
    }

    /// Has that many messages sent to each client.
    fn tell(&mut self, count: u64, nanoseconds: u64) {
        let text = event::to_client(self.api, &self.topic, nanoseconds);
        let mut order = Vec::with_capacity(8 + text.len());
        order.extend_from_slice(&(count as u32).to_be_bytes());
        order.extend_from_slice(&(text.len() as u32).to_be_bytes());
        order.extend_from_slice(text.as_bytes());
        self.stream.write_all(&order).unwrap();
    }
}

impl Feed for Control {
    fn choose(&mut self, topics: &[String]) {
        self.topic.clone_from(&topics[0]);
        self.clients = topics.len() as u64;
    }

    fn send(&mut self, count: u64) -> u64 {
        self.rest += count;
        let each = self.rest / self.clients;
        self.rest %= self.clients;
        if each > 0 {
            self.tell(each, 1_000_000_000);
        }
        count
    }

    fn send_stamped(&mut self, nanoseconds: u64) {
        self.tell(1, nanoseconds);
    }

    fn receive(&mut self) -> u64 {
        0
    }

    fn wait(&self, waker: &Waker, timeout: Option<Duration>) {
        let mut poll = PollSet::new();
        poll.add_waker(waker);
        poll.wait(timeout).unwrap();
    }
}
