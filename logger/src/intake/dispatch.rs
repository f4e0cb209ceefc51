//! Batches on their way to the formatters: chooses a formatter for each, and sends this process's
//! own batches.

use std::sync::Arc;
use std::time::Instant;

use zcluster::queue;
use zcluster::wire::zeek_bin::Batch;

use super::buffers::{Buffers, Chunk};
use super::connection::{BatchAt, Sender};

/// Batches of one buffer on their way to a formatter.
#[derive(Debug)]
pub(crate) struct Burst {
    pub(crate) chunk: Arc<Chunk>,
    pub(crate) senders: Arc<[Arc<Sender>]>,
    pub(crate) batches: Vec<BatchAt>,
    pub(crate) received: Instant,
}

/// The queues of the formatters. Every sender of batches shares the choice of formatter for a path.
#[derive(Clone)]
pub(crate) struct Formatters {
    queues: Vec<queue::Sender<Burst>>,
    hasher: ahash::RandomState,
}

impl Formatters {
    pub(crate) fn new(queues: Vec<queue::Sender<Burst>>) -> Self {
        Formatters { queues, hasher: ahash::RandomState::new() }
    }

    /// Returns the formatter of a batch: always the same for one path, which keeps the order.
    #[inline]
    fn index(&self, payload: &[u8]) -> usize {
        // The formatter rejects batches without a path.
        let path = Batch::path_bytes(payload).unwrap_or_default();
        (self.hasher.hash_one(path) % self.queues.len() as u64) as usize
    }

    /// Sends each batch of a burst to its formatter. Never waits: the buffers bound the bytes in
    /// flight. Returns how many were refused because a formatter's thread is gone.
    pub(super) fn send(&self, burst: Burst) -> u64 {
        if self.queues.len() == 1 {
            return self.hand_over(0, burst);
        }
        let mut shares = vec![Vec::new(); self.queues.len()];
        for batch in burst.batches {
            shares[self.index(&burst.chunk[batch.payload.clone()])].push(batch);
        }
        let shares = shares.into_iter().enumerate().filter(|(_, share)| !share.is_empty());
        let refused = shares.map(|(index, batches)| {
            let (chunk, senders) = (Arc::clone(&burst.chunk), Arc::clone(&burst.senders));
            self.hand_over(index, Burst { chunk, senders, batches, received: burst.received })
        });
        refused.sum()
    }

    fn hand_over(&self, index: usize, burst: Burst) -> u64 {
        let count = burst.batches.len() as u64;
        if self.queues[index].try_send(burst, 0).is_err() { count } else { 0 }
    }

    /// Closes the queues: no more batches follow.
    pub(crate) fn close(&self) {
        self.queues.iter().for_each(queue::Sender::close);
    }
}

/// Sends batches of this process.
#[derive(Clone)]
pub(crate) struct OwnBatches {
    formatters: Formatters,
    buffers: Arc<Buffers>,
    sender: Arc<Sender>,
}

impl OwnBatches {
    pub(super) fn new(formatters: Formatters, buffers: Arc<Buffers>, sender: Sender) -> Self {
        OwnBatches { formatters, buffers, sender: Arc::new(sender) }
    }

    /// Sends a batch; returns `false` if there is no room for it.
    pub(crate) fn send(&self, payload: &[u8]) -> bool {
        if !self.buffers.has_room() {
            return false;
        }
        let burst = Burst {
            chunk: Arc::new(self.buffers.send(payload.to_vec())),
            senders: Arc::new([Arc::clone(&self.sender)]),
            batches: vec![BatchAt { sender: 0, payload: 0..payload.len() }],
            received: Instant::now(),
        };
        self.formatters.send(burst) == 0
    }
}
