//! What is done to bytes: compared in constant time, and combined with a keystream.

use super::slot::TAG_SIZE;

/// Whether two tags are the same, in a time that does not depend on where they differ.
pub(crate) fn is_same(tag: &[u8; TAG_SIZE], other: &[u8; TAG_SIZE]) -> bool {
    let difference = tag.iter().zip(other).fold(0, |bits, (a, b)| bits | (a ^ b));
    std::hint::black_box(difference) == 0
}

/// `bytes` ^= the start of `stream`. The compiler makes vectors of it.
#[inline(always)]
pub(crate) fn xor(bytes: &mut [u8], stream: &[u8]) {
    let stream = &stream[..bytes.len()];
    let (chunks, rest) = bytes.as_chunks_mut::<32>();
    let (streams, behind) = stream.as_chunks::<32>();
    for (chunk, stream) in chunks.iter_mut().zip(streams) {
        for (byte, stream) in chunk.iter_mut().zip(stream) {
            *byte ^= stream;
        }
    }
    let (words, bytes) = rest.as_chunks_mut::<8>();
    let (streams, behind) = behind.as_chunks::<8>();
    for (word, stream) in words.iter_mut().zip(streams) {
        *word = (u64::from_ne_bytes(*word) ^ u64::from_ne_bytes(*stream)).to_ne_bytes();
    }
    for (byte, stream) in bytes.iter_mut().zip(behind) {
        *byte ^= stream;
    }
}
