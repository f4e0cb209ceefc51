//! Many clients on one thread.

use std::time::Duration;

use zcluster::net::{Event, Poller};

use crate::client::{Client, Got};
use crate::event;
use crate::plan::{Api, Topics};
use crate::subject::Under;

/// How much is read at once.
const BUFFER: usize = 256 << 10;

pub(crate) struct Crowd {
    pub(crate) clients: Vec<Client>,
    poller: Poller,
    ready: Vec<Event>,
    buffer: Vec<u8>,
}

/// The topics of events for clients.
pub(crate) fn topics(clients: usize, topics: Topics) -> Vec<String> {
    match topics {
        Topics::Same => vec![event::topic(0)],
        Topics::Distinct => (0..clients).map(event::topic).collect(),
    }
}

impl Crowd {
    /// Connects that many clients, which subscribe to these topics in turn.
    pub(crate) fn connect(under: &Under, api: Api, clients: usize, topics: &[String]) -> Self {
        let poller = Poller::new().unwrap();
        let connect = |number: usize| {
            let prefix = (!topics.is_empty()).then(|| topics[number % topics.len()].as_str());
            let client = Client::connect(under.address, api, prefix);
            poller.add(&client.stream, number as u64, true, false).unwrap();
            client
        };
        let clients = (0..clients).map(connect).collect();
        Crowd { clients, poller, ready: Vec::new(), buffer: vec![0; BUFFER] }
    }

    /// Waits until something arrives, at most for that long, and passes it on with the number of its
    /// client.
    pub(crate) fn read(&mut self, timeout: Duration, mut each: impl FnMut(usize, Got<'_>)) {
        self.ready.clear();
        self.ready.extend(self.poller.wait(Some(timeout)).unwrap());
        for ready in &self.ready {
            let number = ready.key as usize;
            let client = &mut self.clients[number];
            if ready.readable {
                client.read(&mut self.buffer, |got| each(number, got));
            }
            if ready.writable {
                client.write(None);
                if !client.is_writing() {
                    self.poller.change(&client.stream, ready.key, true, false).unwrap();
                }
            }
        }
    }

    /// Waits until a client can write, too.
    pub(crate) fn watch_room(&self, number: usize) {
        let client = &self.clients[number];
        self.poller.change(&client.stream, number as u64, true, client.is_writing()).unwrap();
    }
}
