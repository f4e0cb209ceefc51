//! [`Pen`]: where the next byte of text goes.
//!
//! Short pieces of text are copied as chunks of a fixed size: the first bytes stay and the next
//! text overwrites the others. That needs room beyond the text, so the vector is filled with zeros
//! ahead of the pen, and the position is kept separately from its length. The position stays in a
//! register as long as the pen is passed by value, also to functions that are not inlined: hence
//! `let pen = put(…, pen)` everywhere.

/// Zeros added ahead of the pen at a time. More would leave the first-level cache before they are
/// overwritten; fewer would have to be added too often.
const AHEAD: usize = 1024;

/// Writes at the end of a text.
pub(super) struct Pen<'o> {
    /// The text and the zeros after it.
    text: &'o mut Vec<u8>,
    /// End of the text.
    at: usize,
}

impl<'o> Pen<'o> {
    /// Returns a pen at the end of `text`, which will grow by about `expected` bytes. The vector
    /// ends in zeros until [`Pen::finish`].
    pub(super) fn new(text: &'o mut Vec<u8>, expected: usize) -> Self {
        let at = text.len();
        text.resize(at + expected.min(AHEAD), 0);
        Pen { text, at }
    }

    /// Truncates the vector to its text.
    pub(super) fn finish(self) {
        self.text.truncate(self.at);
    }

    /// The end of the text, where the next byte goes.
    #[inline(always)]
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Returns the next `N` bytes, to write to and then pass with [`Pen::advance`].
    #[inline(always)]
    pub(super) fn window<const N: usize>(&mut self) -> &mut [u8; N] {
        let room = self.text.get(self.at..).unwrap_or_default();
        if room.len() >= N {
            self.text[self.at..].first_chunk_mut().expect("there are at least N bytes")
        } else {
            make_room(self.text, self.at + N);
            self.text[self.at..].first_chunk_mut().expect("there are at least N bytes")
        }
    }

    /// Moves past `len` bytes that were written to the window.
    #[inline(always)]
    pub(super) fn advance(self, len: usize) -> Self {
        Pen { at: self.at + len, ..self }
    }

    /// Removes the last `len` bytes.
    #[inline(always)]
    pub(super) fn retreat(self, len: usize) -> Self {
        Pen { at: self.at.saturating_sub(len), ..self }
    }

    /// Appends the first `len` bytes of a chunk.
    #[inline(always)]
    pub(super) fn chunk<const N: usize>(mut self, chunk: &[u8; N], len: usize) -> Self {
        self.window::<N>().copy_from_slice(chunk);
        self.advance(len)
    }

    #[inline(always)]
    pub(super) fn byte(self, byte: u8) -> Self {
        self.chunk(&[byte], 1)
    }

    /// Appends text of any length.
    #[inline(never)]
    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        let end = self.at + bytes.len();
        if self.text.len() < end {
            make_room(self.text, end);
        }
        self.text[self.at..end].copy_from_slice(bytes);
        self.at = end;
        self
    }

    /// Overwrites a byte of the text.
    #[inline(always)]
    pub(super) fn set(&mut self, at: usize, byte: u8) {
        self.text[at] = byte;
    }

    /// Returns the text from `start` on.
    #[inline(always)]
    pub(super) fn text_from(&self, start: usize) -> &[u8] {
        &self.text[start..self.at]
    }

    /// Appends with a function that needs a vector; for rare kinds of text.
    #[cold]
    pub(super) fn with(self, put: impl FnOnce(&mut Vec<u8>)) -> Self {
        self.text.truncate(self.at);
        put(self.text);
        Pen { at: self.text.len(), ..self }
    }
}

/// Makes the vector longer than `len`. (A method would put the position into memory.)
#[cold]
#[inline(never)]
fn make_room(text: &mut Vec<u8>, len: usize) {
    text.resize(len + AHEAD, 0);
}

/// A text that is appended often, as one chunk if it fits.
#[derive(Clone, Debug)]
pub(super) struct Piece<const N: usize> {
    chunk: [u8; N],
    text: Box<[u8]>,
}

impl<const N: usize> Piece<N> {
    pub(super) fn new(text: &[u8]) -> Self {
        let mut chunk = [0; N];
        chunk.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
        Piece { chunk, text: text.into() }
    }

    #[inline(always)]
    pub(super) fn put<'o>(&self, pen: Pen<'o>) -> Pen<'o> {
        if self.text.len() <= N {
            pen.chunk(&self.chunk, self.text.len())
        } else {
            pen.bytes(&self.text)
        }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.text
    }
}

/// Formats one value, for the tests of modules that write values.
#[cfg(test)]
pub(super) fn text_of<T>(put: impl for<'o> Fn(T, Pen<'o>) -> Pen<'o>, x: T) -> String {
    let mut out = Vec::new();
    put(x, Pen::new(&mut out, 0)).finish();
    String::from_utf8(out).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_grows_by_pieces_of_all_lengths() {
        let long: Vec<u8> = (0..=255).cycle().take(3 * AHEAD).collect();
        let pieces = [1, 7, 8, 9, AHEAD, 3 * AHEAD].map(|len| Piece::<8>::new(&long[..len]));
        let mut out = b"before".to_vec();
        let mut expected = out.clone();
        let mut pen = Pen::new(&mut out, 10);
        for i in 0..1000 {
            let piece = &pieces[i * i % 7 % 6];
            pen = piece.put(pen).byte(i as u8).chunk(b"chunk", i % 6);
            expected.extend_from_slice(piece.as_slice());
            expected.push(i as u8);
            expected.extend_from_slice(&b"chunk"[..i % 6]);
            if i % 100 == 0 {
                pen = pen.with(|out| out.extend_from_slice(b"with")).retreat(2);
                expected.extend_from_slice(b"wi");
            }
            assert_eq!(pen.text_from(6), &expected[6..]);
        }
        pen.finish();
        assert_eq!(out, expected);
    }
}
