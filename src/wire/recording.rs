//! Recordings of multipart messages, as in `tests/fixtures/*.zmq`, for tests, benches and tools.
//!
//! A recording is a sequence of messages: `u32le` number of frames, then per frame `u32le` length
//! and the bytes. Sockets never carry this format.

use thiserror::Error;

/// Why a recording cannot be read, or a message cannot be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RecordingError {
    /// The file ends inside a message. The messages before it are intact.
    #[error("byte {offset}: expected {expected}, found the end of the recording")]
    Truncated {
        /// Where the missing part should start.
        offset: usize,
        /// The missing part.
        expected: &'static str,
    },
    /// A message with more frames, or a frame with more bytes, than fit in 32 bits.
    #[error("a recording cannot hold {0} frames in a message or bytes in a frame")]
    TooLarge(usize),
}

/// Iterates over the messages of a recording. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Recording<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Recording<'a> {
    /// Reads a recording from memory.
    pub fn new(bytes: &'a [u8]) -> Self {
        Recording { bytes, offset: 0 }
    }

    fn take(&mut self, len: usize, expected: &'static str) -> Result<&'a [u8], RecordingError> {
        let rest = &self.bytes[self.offset..];
        let part =
            rest.get(..len).ok_or(RecordingError::Truncated { offset: self.offset, expected })?;
        self.offset += len;
        Ok(part)
    }

    fn number(&mut self, expected: &'static str) -> Result<usize, RecordingError> {
        let mut le = [0; 4];
        le.copy_from_slice(self.take(4, expected)?);
        Ok(u32::from_le_bytes(le) as usize)
    }

    fn message(&mut self) -> Result<Vec<&'a [u8]>, RecordingError> {
        // The number is not trusted: frames are collected as they are read.
        let frames = self.number("a number of frames")?;
        (0..frames)
            .map(|_| {
                let len = self.number("a frame length")?;
                self.take(len, "the bytes of a frame")
            })
            .collect::<Result<Vec<_>, _>>()
    }
}

impl<'a> Iterator for Recording<'a> {
    type Item = Result<Vec<&'a [u8]>, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.offset == self.bytes.len() {
            return None;
        }
        let message = self.message();
        if message.is_err() {
            self.offset = self.bytes.len();
        }
        Some(message)
    }
}

/// Appends one message to a recording.
///
/// # Errors
///
/// [`RecordingError::TooLarge`], which leaves `out` unchanged.
pub fn write_message<F: AsRef<[u8]>>(
    frames: &[F],
    out: &mut Vec<u8>,
) -> Result<(), RecordingError> {
    let number =
        |n: usize| u32::try_from(n).map(u32::to_le_bytes).map_err(|_| RecordingError::TooLarge(n));
    let start = out.len();
    out.extend_from_slice(&number(frames.len())?);
    for frame in frames.iter().map(AsRef::as_ref) {
        match number(frame.len()) {
            Ok(len) => out.extend_from_slice(&len),
            Err(error) => {
                out.truncate(start);
                return Err(error);
            }
        }
        out.extend_from_slice(frame);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut bytes = Vec::new();
        write_message(&["a", "", "bcd"], &mut bytes).unwrap();
        write_message::<&[u8]>(&[], &mut bytes).unwrap();
        write_message(&["e"], &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn messages_read_back() {
        let bytes = sample();
        assert!(bytes.starts_with(b"\x03\0\0\0\x01\0\0\0a\0\0\0\0\x03\0\0\0bcd"));
        let messages: Vec<_> = Recording::new(&bytes).map(Result::unwrap).collect();
        assert_eq!(messages, [vec![b"a".as_slice(), b"", b"bcd"], vec![], vec![b"e"]]);
    }

    #[test]
    fn a_truncated_recording_yields_its_whole_messages_and_one_error() {
        let bytes = sample();
        let ends = [0, 4 + 4 + 1 + 4 + 4 + 3, 24, bytes.len()];
        for len in 0..=bytes.len() {
            let results: Vec<_> = Recording::new(&bytes[..len]).collect();
            let whole = ends.iter().filter(|end| **end <= len).count() - 1;
            let errors = usize::from(!ends.contains(&len));
            assert_eq!(results.iter().filter(|r| r.is_ok()).count(), whole, "{len}");
            assert_eq!(results.iter().filter(|r| r.is_err()).count(), errors, "{len}");
        }
        let error = Recording::new(b"\xff\xff\xff\xff\x01\0").next().unwrap().unwrap_err();
        assert_eq!(
            error.to_string(),
            "byte 4: expected a frame length, found the end of the recording"
        );
    }
}
