//! What is done to bytes: compared in constant time, and combined with a keystream.

use super::slot::TAG_SIZE;

/// Whether two tags are the same, in a time that does not depend on where they differ.
pub(crate) fn is_same(tag: &[u8; TAG_SIZE], other: &[u8; TAG_SIZE]) -> bool {
    let difference = tag.iter().zip(other).fold(0, |bits, (a, b)| bits | (a ^ b));
    std::hint::black_box(difference) == 0
}

/// `bytes` ^= the start of `stream`.
#[inline(always)]
pub(crate) fn xor(bytes: &mut [u8], stream: &[u8]) {
    let stream = &stream[..bytes.len()];
    match bytes.len() {
        32.. => xor_pieces::<32>(bytes, stream),
        16.. => xor_pieces::<16>(bytes, stream),
        8.. => xor_pieces::<8>(bytes, stream),
        4.. => xor_pieces::<4>(bytes, stream),
        _ => xor_pieces::<1>(bytes, stream),
    }
}

/// The same in pieces of `N` bytes, of which the last two may overlap. The compiler makes vectors of
/// them.
#[inline(always)]
fn xor_pieces<const N: usize>(bytes: &mut [u8], stream: &[u8]) {
    let (Some(last), Some(last_stream)) = (bytes.last_chunk(), stream.last_chunk()) else { return };
    let last = xored::<N>(last, last_stream);
    let (pieces, _) = bytes.as_chunks_mut();
    for (piece, stream) in pieces.iter_mut().zip(stream.as_chunks().0) {
        *piece = xored::<N>(piece, stream);
    }
    if let Some(to) = bytes.last_chunk_mut() {
        *to = last;
    }
}

#[inline(always)]
fn xored<const N: usize>(bytes: &[u8; N], stream: &[u8; N]) -> [u8; N] {
    std::array::from_fn(|at| bytes[at] ^ stream[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_once() {
        let stream: Vec<u8> = (1..=100).collect();
        for len in 0..stream.len() {
            let mut bytes = vec![0x80; len];
            xor(&mut bytes, &stream);
            assert!(bytes.iter().zip(&stream).all(|(byte, stream)| byte ^ stream == 0x80), "{len}");
        }
    }
}
