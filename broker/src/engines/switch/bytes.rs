//! Memory for events: the chunks they are read into, the buffers they wait in, and how both are
//! reused.
//!
//! Events are read into large chunks. A long run is shared: all its subscribers reference the chunk
//! it arrived in. A short run is copied into each subscriber's own buffer, because a slice keeps
//! its whole chunk alive.

use std::collections::VecDeque;
use std::sync::Arc;

/// Bytes per read.
pub(super) const CHUNK: usize = 256 << 10;
/// Size of the buffers that runs are copied into.
pub(super) const BUFFER: usize = 64 << 10;
/// Chunks kept for reuse.
const KEPT_CHUNKS: usize = 16;
/// Buffers kept for reuse.
const KEPT_BUFFERS: usize = 64;

/// Immutable bytes with any number of readers.
pub(super) type Chunk = Arc<Vec<u8>>;

/// The unused memory of one thread.
#[derive(Debug, Default)]
pub(super) struct Pool {
    /// Some may still have readers; checked when one is needed.
    chunks: VecDeque<Chunk>,
    buffers: Vec<Vec<u8>>,
}

impl Pool {
    /// An empty chunk of [`CHUNK`] bytes without other readers.
    pub(super) fn take_chunk(&mut self) -> Chunk {
        for _ in 0..self.chunks.len() {
            let Some(mut chunk) = self.chunks.pop_front() else { break };
            if let Some(bytes) = Arc::get_mut(&mut chunk) {
                bytes.clear();
                return chunk;
            }
            self.chunks.push_back(chunk);
        }
        Arc::new(Vec::with_capacity(CHUNK))
    }

    /// Returns a chunk to the pool. It may still have readers.
    pub(super) fn give_chunk(&mut self, chunk: Chunk) {
        if self.chunks.len() >= KEPT_CHUNKS {
            // A chunk that keeps its readers for long is left to them.
            self.chunks.pop_front();
        }
        if (CHUNK..=2 * CHUNK).contains(&chunk.capacity()) {
            self.chunks.push_front(chunk);
        }
    }

    /// An empty buffer with room for at least `bytes`.
    pub(super) fn take_buffer(&mut self, bytes: usize) -> Vec<u8> {
        if bytes > BUFFER {
            return Vec::with_capacity(bytes);
        }
        self.buffers.pop().unwrap_or_else(|| Vec::with_capacity(BUFFER))
    }

    /// Returns a buffer to the pool.
    pub(super) fn give_buffer(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() == BUFFER && self.buffers.len() < KEPT_BUFFERS {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_once_nobody_reads_it() {
        let mut pool = Pool::default();
        let mut chunk = pool.take_chunk();
        Arc::get_mut(&mut chunk).unwrap().push(1);
        let (place, reader) = (chunk.as_ptr(), Arc::clone(&chunk));
        pool.give_chunk(chunk);
        let other = pool.take_chunk();
        assert_ne!(other.as_ptr(), place);
        assert_eq!(*reader, [1], "untouched");
        drop(reader);
        let again = pool.take_chunk();
        assert_eq!((again.as_ptr(), again.len()), (place, 0));

        let buffer = pool.take_buffer(10);
        let place = buffer.as_ptr();
        pool.give_buffer(buffer);
        let again = pool.take_buffer(BUFFER);
        assert_eq!(again.as_ptr(), place);
        assert!(pool.take_buffer(BUFFER + 1).capacity() > BUFFER);
    }

    #[test]
    fn only_so_much_is_kept() {
        let mut pool = Pool::default();
        (0..100).for_each(|_| pool.give_chunk(Arc::new(Vec::with_capacity(CHUNK))));
        (0..100).for_each(|_| pool.give_buffer(Vec::with_capacity(BUFFER)));
        pool.give_chunk(Arc::new(Vec::with_capacity(100 * CHUNK)));
        pool.give_chunk(Arc::new(Vec::with_capacity(CHUNK / 2)));
        assert!(pool.take_chunk().capacity() >= CHUNK);
        pool.give_buffer(Vec::with_capacity(100 * BUFFER));
        assert!(pool.chunks.len() <= KEPT_CHUNKS && pool.buffers.len() <= KEPT_BUFFERS);
    }
}
