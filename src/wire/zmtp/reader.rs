//! [`MessageReader`]: assembles frames into multipart messages, as ranges of the received bytes.

use std::ops::Range;

use super::{FrameHeader, ZmtpError};

/// Frames kept per message: all messages of the protocol have four (WIRE.md §1.2, §4.1). The frames
/// of longer messages are counted and discarded as they arrive.
const FRAMES: usize = 4;

/// A complete multipart message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Number of its frames.
    pub count: usize,
    /// Ranges of the first four frames; missing ones are empty. All are empty if there were more
    /// than four.
    pub frames: [Range<usize>; FRAMES],
    /// Range of the whole message, headers included. Meaningless with more than four frames.
    pub whole: Range<usize>,
    /// Whether commands are among the frames, so that `whole` covers more than the message.
    pub has_commands: bool,
}

/// What the reader found next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A message.
    Message(Message),
    /// The body of a command.
    Command(Range<usize>),
    /// Nothing complete. Everything before [`MessageReader::start`] can be dropped; at least this
    /// many bytes from there on are needed.
    Need(usize),
}

impl Default for Message {
    fn default() -> Self {
        Message { count: 0, frames: [const { 0..0 }; FRAMES], whole: 0..0, has_commands: false }
    }
}

/// A frame that is being discarded.
#[derive(Clone, Copy, Debug)]
struct Excess {
    /// Bytes of its body that have not arrived yet.
    left: u64,
    /// Whether it is the last of its message.
    last: bool,
}

/// Finds the messages of one connection in a buffer.
#[derive(Clone, Debug)]
pub struct MessageReader {
    /// Largest message in bytes, including the headers of its frames.
    limit: u64,
    /// Offset of the unfinished message.
    start: usize,
    /// Offset of its next frame.
    next: usize,
    message: Message,
    /// Bytes of the unfinished message that were discarded.
    dropped: u64,
    excess: Option<Excess>,
}

impl MessageReader {
    /// Creates a reader at the start of a buffer, for messages of at most `limit` bytes.
    pub fn new(limit: u64) -> Self {
        let message = Message::default();
        MessageReader { limit, start: 0, next: 0, message, dropped: 0, excess: None }
    }

    /// Offset of the first byte that is still needed; all bytes before it have been consumed.
    pub fn start(&self) -> usize {
        self.start
    }

    /// Whether a message has begun and is incomplete, judging by the bytes seen so far.
    pub fn is_mid_message(&self) -> bool {
        self.message.count > 0
    }

    /// Must be called after moving the bytes from [`MessageReader::start`] on to offset `to`, in
    /// this buffer or another.
    pub fn rebase(&mut self, to: usize) {
        let start = self.start;
        let shift = |at: usize| at - start + to;
        self.next = shift(self.next);
        // No frames are kept of a message with too many.
        let kept = if self.message.count > FRAMES { 0 } else { self.message.count };
        for frame in &mut self.message.frames[..kept] {
            *frame = shift(frame.start)..shift(frame.end);
        }
        self.start = to;
    }

    /// Finds the next item in `buffer`. The buffer may have grown since the last call, but its
    /// bytes must not have moved, except by [`MessageReader::rebase`].
    ///
    /// # Errors
    /// Malformed frames, and messages over the limit.
    #[inline]
    pub fn next(&mut self, buffer: &[u8]) -> Result<Item, ZmtpError> {
        loop {
            if self.excess.is_some()
                && let Some(item) = self.throw_away(buffer.len())
            {
                return Ok(item);
            }
            let Some(header) = FrameHeader::parse(&buffer[self.next..])? else {
                return Ok(Item::Need(buffer.len() - self.start + 1));
            };
            let begin = self.next + header.header_len;
            let size = (self.dropped + (begin - self.start) as u64).saturating_add(header.body_len);
            if size > self.limit {
                return Err(ZmtpError::TooLarge { size, limit: self.limit });
            }
            if !header.command && self.message.count >= FRAMES {
                self.message.count += 1;
                // They are discarded, and later bytes may be in a shorter buffer.
                self.message.frames = Message::default().frames;
                self.excess = Some(Excess { left: header.body_len, last: !header.more });
                self.drop_until(begin);
                continue;
            }
            // Within the limit, so it fits in usize.
            let end = begin + header.body_len as usize;
            if end > buffer.len() {
                return Ok(Item::Need(end - self.start));
            }
            self.next = end;
            if header.command {
                if self.message.count == 0 {
                    self.start = end;
                } else {
                    self.message.has_commands = true;
                }
                return Ok(Item::Command(begin..end));
            }
            self.message.frames[self.message.count] = begin..end;
            self.message.count += 1;
            if !header.more {
                return Ok(Item::Message(self.take()));
            }
        }
    }

    /// Discards the available part of an excess frame. `None` if the frame is complete and the
    /// message continues.
    #[cold]
    fn throw_away(&mut self, end: usize) -> Option<Item> {
        let Excess { left, last } = self.excess?;
        let there = left.min((end - self.next) as u64);
        self.drop_until(self.next + there as usize);
        if there < left {
            self.excess = Some(Excess { left: left - there, last });
            return Some(Item::Need(1));
        }
        self.excess = None;
        last.then(|| Item::Message(self.take()))
    }

    fn drop_until(&mut self, at: usize) {
        self.dropped += (at - self.start) as u64;
        (self.start, self.next) = (at, at);
    }

    /// Returns the message that ends here.
    fn take(&mut self) -> Message {
        self.message.whole = self.start..self.next;
        self.start = self.next;
        self.dropped = 0;
        std::mem::take(&mut self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{put_frame, put_ping};
    use super::*;
    use proptest::prelude::*;

    /// The items read: messages as their frames (none if there were too many), and commands.
    #[derive(Clone, Debug, PartialEq)]
    enum Seen {
        Message(usize, Vec<Vec<u8>>),
        Command(Vec<u8>),
    }

    fn encoded(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (i, frame) in frames.iter().enumerate() {
            put_frame(frame, i + 1 < frames.len(), &mut bytes);
        }
        bytes
    }

    /// Reads bytes that arrive in pieces, moving the unread rest to the start of the buffer each
    /// time.
    fn read(bytes: &[u8], sizes: &[usize], limit: u64) -> Result<Vec<Seen>, ZmtpError> {
        let mut reader = MessageReader::new(limit);
        let (mut buffer, mut seen) = (Vec::new(), Vec::new());
        let mut rest = bytes;
        for size in sizes.iter().cycle() {
            let (piece, after) = rest.split_at((*size).min(rest.len()));
            buffer.extend_from_slice(piece);
            rest = after;
            loop {
                match reader.next(&buffer)? {
                    Item::Message(message) => {
                        for frame in &message.frames {
                            assert!(frame.end <= buffer.len(), "a range of another buffer");
                        }
                        let kept = if message.count > FRAMES { 0 } else { message.count };
                        let frames = message.frames[..kept].iter();
                        let frames: Vec<_> =
                            frames.map(|frame| buffer[frame.clone()].to_vec()).collect();
                        if !message.has_commands && message.count <= FRAMES {
                            assert_eq!(buffer[message.whole], encoded(&frames), "all of it");
                        }
                        seen.push(Seen::Message(message.count, frames));
                    }
                    Item::Command(body) => seen.push(Seen::Command(buffer[body].to_vec())),
                    Item::Need(bytes) => {
                        assert!(bytes > buffer.len() - reader.start(), "it is all there");
                        break;
                    }
                }
            }
            buffer.drain(..reader.start());
            reader.rebase(0);
            if rest.is_empty() {
                break;
            }
        }
        Ok(seen)
    }

    #[test]
    fn a_ping_may_stand_inside_a_message() {
        let mut bytes = Vec::new();
        put_ping(7, &mut bytes);
        put_frame(b"a", true, &mut bytes);
        put_ping(7, &mut bytes);
        put_frame(b"", false, &mut bytes);
        let ping = Seen::Command(b"\x04PING\0\x07".to_vec());
        let message = Seen::Message(2, vec![b"a".to_vec(), vec![]]);
        for size in 1..=bytes.len() {
            let seen = read(&bytes, &[size], 100).unwrap();
            assert_eq!(seen, [ping.clone(), ping.clone(), message.clone()]);
        }
    }

    #[test]
    fn what_is_too_large_is_refused_at_its_header() {
        let refuse = |bytes: &[u8], limit| read(bytes, &[bytes.len()], limit).unwrap_err();
        let huge = b"\x02\xff\xff\xff\xff\xff\xff\xff\xff";
        assert!(matches!(refuse(huge, u64::MAX - 1), ZmtpError::TooLarge { .. }));
        let mut two = Vec::new();
        put_frame(&[0; 40], true, &mut two);
        put_frame(&[0; 40], false, &mut two);
        assert_eq!(refuse(&two, 83), ZmtpError::TooLarge { size: 84, limit: 83 });
        assert_eq!(read(&two, &[100], 84).unwrap().len(), 1);
        // The limit also applies to discarded frames.
        let endless = b"\x01\x00".repeat(100);
        assert_eq!(refuse(&endless, 50), ZmtpError::TooLarge { size: 52, limit: 50 });
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in(
            messages in prop::collection::vec(
                prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..7), 0..6),
            sizes in prop::collection::vec(1usize..400, 1..10),
        ) {
            let mut bytes = Vec::new();
            for frames in &messages {
                bytes.extend(encoded(frames));
            }
            let expected: Vec<Seen> = messages.into_iter().map(|frames| {
                let count = frames.len();
                Seen::Message(count, if count > FRAMES { vec![] } else { frames })
            }).collect();
            prop_assert_eq!(read(&bytes, &sizes, 1 << 20).unwrap(), expected);
        }

        #[test]
        fn nothing_makes_it_panic(
            bytes in prop::collection::vec(prop_oneof![0u8..8, any::<u8>()], 0..300),
            sizes in prop::collection::vec(1usize..50, 1..10),
        ) {
            let _ = read(&bytes, &sizes, 1000);
        }
    }
}
