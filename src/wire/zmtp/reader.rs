//! [`MessageReader`]: frames to multipart messages, as ranges of the bytes they arrived in.

use std::ops::Range;

use super::{FrameHeader, ZmtpError};

/// Frames kept of a message: all messages of the protocol have four (WIRE.md §1.2, §4.1). A longer
/// one is counted to its end, and its frames are thrown away as they come.
const FRAMES: usize = 4;

/// A whole multipart message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// How many frames it had.
    pub count: usize,
    /// Where the first four are; those that were not there are empty, and all of them when there
    /// were more than four.
    pub frames: [Range<usize>; FRAMES],
    /// Where all of it is, headers included. Meaningless when there were more than four frames.
    pub whole: Range<usize>,
    /// Whether commands stand in it, so that `whole` is more than the message.
    pub has_commands: bool,
}

/// What the bytes hold next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A message.
    Message(Message),
    /// The body of a command.
    Command(Range<usize>),
    /// Nothing complete. Everything before [`MessageReader::start`] can be dropped; to get
    /// further takes that many bytes from there on, if not more.
    Need(usize),
}

impl Default for Message {
    fn default() -> Self {
        Message { count: 0, frames: [const { 0..0 }; FRAMES], whole: 0..0, has_commands: false }
    }
}

/// A frame that is being thrown away.
#[derive(Clone, Copy, Debug)]
struct Excess {
    /// Bytes of its body still to come.
    left: u64,
    /// Whether the message ends with it.
    last: bool,
}

/// Finds the messages of one connection in a buffer.
#[derive(Clone, Debug)]
pub struct MessageReader {
    /// Bytes a message may have, all its frames and their headers together.
    limit: u64,
    /// Where the unfinished message starts.
    start: usize,
    /// Where its next frame starts.
    next: usize,
    message: Message,
    /// Bytes of the unfinished message that were thrown away.
    dropped: u64,
    excess: Option<Excess>,
}

impl MessageReader {
    /// A reader at the start of a buffer, for messages of at most `limit` bytes.
    pub fn new(limit: u64) -> Self {
        let message = Message::default();
        MessageReader { limit, start: 0, next: 0, message, dropped: 0, excess: None }
    }

    /// Where the bytes begin that are still needed: what is before was consumed.
    pub fn start(&self) -> usize {
        self.start
    }

    /// Whether a message has begun and is not complete, as far as the bytes seen tell.
    pub fn is_mid_message(&self) -> bool {
        self.message.count > 0
    }

    /// Says that the bytes from [`MessageReader::start`] on have been moved to `to`, of this
    /// buffer or of another.
    pub fn rebase(&mut self, to: usize) {
        let start = self.start;
        let shift = |at: usize| at - start + to;
        self.next = shift(self.next);
        // Of an excessive message no frame is kept.
        let kept = if self.message.count > FRAMES { 0 } else { self.message.count };
        for frame in &mut self.message.frames[..kept] {
            *frame = shift(frame.start)..shift(frame.end);
        }
        self.start = to;
    }

    /// The next thing in `buffer`, which starts where it did at the last call unless
    /// [`MessageReader::rebase`] was told, and may have grown.
    ///
    /// # Errors
    /// Malformed frames, and messages beyond the limit.
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
                // They are thrown away, and what comes may be in a shorter buffer.
                self.message.frames = Message::default().frames;
                self.excess = Some(Excess { left: header.body_len, last: !header.more });
                self.drop_until(begin);
                continue;
            }
            // No larger than the limit: the machine can count it.
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

    /// Throws away what is there of an excessive frame. `None` when it is gone and the message
    /// goes on.
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

    /// Hands the message out that ends here.
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

    /// What came out: messages as their frames (none where there were too many), and commands.
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

    /// Reads bytes that come in pieces, moving what is left to the start of the buffer each time.
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
        // Also where the frames are thrown away.
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
