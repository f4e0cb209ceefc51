//! [`Run`]: consecutive whole messages in the bytes they arrived in, including frame headers.
//!
//! With ZMTP 3.x and no encryption a message is the same bytes in both directions, so only the
//! boundaries between messages matter.

use std::ops::Range;

use zcluster::wire::zmtp::FrameHeader;

use super::bytes::Chunk;

/// One or more whole messages.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) chunk: Chunk,
    pub(super) range: Range<usize>,
    pub(super) messages: usize,
    /// Bytes in the bodies of all frames.
    pub(super) body: usize,
}

impl Run {
    /// The bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.chunk[self.range.clone()]
    }

    /// The number of bytes.
    pub(super) fn len(&self) -> usize {
        self.range.len()
    }

    /// Splits off the first messages, as many as the limits allow; possibly none.
    pub(super) fn split(&mut self, messages: usize, bytes: usize) -> Run {
        let start = self.range.start;
        let (mut end, mut count, mut body) = (0, 0, 0);
        for message in Messages::new(&self.chunk[self.range.clone()]) {
            if count == messages || message.end > bytes {
                break;
            }
            (end, count, body) = (message.end, count + 1, body + message.body);
        }
        self.range.start += end;
        self.messages -= count;
        self.body -= body;
        Run { chunk: Chunk::clone(&self.chunk), range: start..start + end, messages: count, body }
    }
}

/// One message of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WholeMessage<'a> {
    pub(super) topic: &'a [u8],
    /// Offset of its end.
    pub(super) end: usize,
    /// Bytes in the bodies of all its frames.
    pub(super) body: usize,
}

/// Iterates over whole messages, and over commands between them.
pub(super) struct Messages<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Messages<'a> {
    /// `bytes` must have been checked to be whole messages; anything else ends the iteration.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Messages { bytes, at: 0 }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = WholeMessage<'a>;

    fn next(&mut self) -> Option<WholeMessage<'a>> {
        let (mut topic, mut body) = (None, 0);
        loop {
            let header = FrameHeader::parse(self.bytes.get(self.at..)?).ok()??;
            let start = self.at + header.header_len;
            let end = start + usize::try_from(header.body_len).ok()?;
            let frame = self.bytes.get(start..end)?;
            self.at = end;
            if header.command {
                continue;
            }
            body += frame.len();
            let topic = *topic.get_or_insert(frame);
            if !header.more {
                return Some(WholeMessage { topic, end, body });
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use zcluster::wire::zmtp::{put_frame, put_ping};

    use super::*;

    /// Events of the given topics, each with its topic as its payload.
    pub(in super::super) fn run_of(topics: &[&str]) -> Run {
        let mut bytes = Vec::new();
        let mut body = 0;
        for topic in topics {
            for (part, more) in [(*topic, true), ("id", true), ("f", true), (*topic, false)] {
                put_frame(part.as_bytes(), more, &mut bytes);
                body += part.len();
            }
        }
        Run { range: 0..bytes.len(), chunk: Arc::new(bytes), messages: topics.len(), body }
    }

    #[test]
    fn runs_are_split_between_messages() {
        let whole = run_of(&["a", "bb", "c"]);
        let [a, bb]: [usize; 2] = [run_of(&["a"]).len(), run_of(&["bb"]).len()];
        for (messages, bytes, count, length) in [
            (9, 1000, 3, whole.len()),
            (2, 1000, 2, a + bb),
            (0, 1000, 0, 0),
            (9, a - 1, 0, 0),
            (9, a, 1, a),
            (9, a + bb + 1, 2, a + bb),
        ] {
            let mut rest = whole.clone();
            let first = rest.split(messages, bytes);
            assert_eq!((first.messages, first.len()), (count, length));
            assert_eq!(rest.messages, 3 - count);
            assert_eq!([first.bytes(), rest.bytes()].concat(), whole.bytes());
            assert_eq!(first.body + rest.body, whole.body);
        }
    }

    #[test]
    fn commands_between_messages_are_passed_over() {
        let mut bytes = Vec::new();
        put_ping(1, &mut bytes);
        bytes.extend_from_slice(run_of(&["a"]).bytes());
        put_ping(1, &mut bytes);
        let found: Vec<_> = Messages::new(&bytes).map(|message| message.topic).collect();
        assert_eq!(found, [b"a"]);
        assert_eq!(Messages::new(b"\x01").count(), 0);
    }
}
