//! [`Channel`]: a connection that encrypts its frames once the handshake asks for it.
//!
//! Callers use it like a [`Stream`]: they read and write plain frames. It buffers the start of an
//! incomplete encrypted frame, and encrypted bytes that the socket has not taken yet.

use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};

use super::Stream;
use crate::wire::zmtp::{CodecScratch, CurveCodec, FrameHeader, Progress, ZmtpError};

/// Bytes per read.
const READ: usize = 256 << 10;
/// Bytes to encrypt before writing them; the last frame may end behind them.
const WRITE: usize = 64 << 10;
/// How much of an incomplete frame may be copied again at every read.
const CHEAP: usize = 16 << 10;
/// Frames of more bytes than this are gathered in their own memory, rather than copied from read to read.
const LARGE: usize = READ / 2;
/// Room for such a frame at first: the announced length is not trusted at once.
const FIRST_ROOM: usize = 2 * READ;
/// Most bytes of the caller's that are put before such a frame, to decrypt it where it is.
const FRONT: usize = 4 << 10;
/// Bytes to read after such a frame: probably another one follows, and they show how large it is.
const HEAD: usize = 1 << 10;
/// Capacity that [`Scratch`] keeps.
const KEPT: usize = 1 << 20;

/// A plain or encrypted connection. Reads and writes do not block.
#[derive(Debug)]
pub struct Channel {
    stream: Stream,
    codec: Option<CurveCodec>,
    /// Largest body of a frame, in bytes.
    limit: u64,
    /// The start of an encrypted frame, behind the room in front of it.
    received: Vec<u8>,
    /// Bytes of that room, if there is any: what the caller has will be put there.
    front: Option<usize>,
    /// Size of that frame in bytes, as far as it is known.
    need: usize,
    /// That frame arrives in pieces that are small compared to what has arrived already.
    trickles: bool,
    /// The frame before was large.
    after_large: bool,
    /// Bytes to send first, unchanged.
    unsent: Vec<u8>,
    /// How many of them have been sent.
    written: usize,
}

/// Memory shared by the channels of one thread; empty between calls.
#[derive(Debug, Default)]
pub struct Scratch {
    bytes: Vec<u8>,
    /// What is read after a large frame.
    head: Vec<u8>,
    codec: CodecScratch,
}

/// The result of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// That many bytes of plain frames were appended; 0 if no frame is complete yet.
    Bytes(usize),
    /// The end of the stream.
    End,
}

/// Why a channel is no longer usable; with [`ErrorKind::WouldBlock`] it is just not ready.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The system reported an error.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The peer sent something that cannot be decrypted.
    #[error(transparent)]
    Protocol(#[from] ZmtpError),
}

impl Channel {
    /// A connection that starts out plain.
    pub fn new(stream: Stream) -> Self {
        Channel {
            stream,
            codec: None,
            limit: 0,
            received: Vec::new(),
            front: None,
            need: 0,
            trickles: false,
            after_large: false,
            unsent: Vec::new(),
            written: 0,
        }
    }

    /// The underlying connection.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Queues bytes of the handshake, to be sent unchanged and before anything else.
    pub fn put_raw(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
    }

    /// Switches to encryption, with frame bodies of up to `limit` bytes. `rest`: bytes received
    /// after the handshake; their plain frames are appended to `plain`.
    ///
    /// # Errors
    /// When they cannot be decrypted.
    pub fn encrypt(
        &mut self,
        codec: CurveCodec,
        limit: u64,
        rest: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<(), ZmtpError> {
        self.limit = limit;
        let codec = self.codec.insert(codec);
        let progress = codec.open(rest, limit, plain, &mut CodecScratch::default())?;
        self.need = progress.need;
        rest[progress.consumed..].clone_into(&mut self.received);
        Ok(())
    }

    /// Whether it is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.codec.is_some()
    }

    /// Size of the encrypted frame that is arriving, in bytes and as far as it is known; 0 between
    /// frames.
    pub fn need(&self) -> usize {
        self.need
    }

    /// Whether that frame is so large that it is gathered in its own memory. It is best read to bytes that
    /// have no room for it: then it is not copied.
    pub fn gathers(&self) -> bool {
        self.need > LARGE
    }

    /// Memory it holds, in bytes.
    pub fn held(&self) -> usize {
        self.received.capacity() + self.unsent.capacity()
    }

    /// Reads once and appends the plain bytes to `plain`. A plain stream reads up to its spare
    /// capacity (which must not be 0); an encrypted one reserves what it needs, or gives `plain` other
    /// memory.
    ///
    /// # Errors
    /// `WouldBlock` if nothing has arrived; data that cannot be decrypted.
    pub fn read_to(
        &mut self,
        plain: &mut Vec<u8>,
        scratch: &mut Scratch,
    ) -> Result<Read, ChannelError> {
        self.read_some(READ, plain, scratch)
    }

    /// The same, but of a frame that is just beginning it takes little more than `most` bytes.
    ///
    /// # Errors
    /// As [`Channel::read_to`].
    pub fn read_some(
        &mut self,
        most: usize,
        plain: &mut Vec<u8>,
        scratch: &mut Scratch,
    ) -> Result<Read, ChannelError> {
        let is_little = most < READ;
        let Some(codec) = &mut self.codec else {
            let count = if is_little {
                let mut bytes = Vec::with_capacity(most);
                let count = self.stream.read_to(&mut bytes)?;
                plain.append(&mut bytes);
                count
            } else {
                self.stream.read_to(plain)?
            };
            return Ok(if count == 0 { Read::End } else { Read::Bytes(count) });
        };
        let before = plain.len();
        if self.need > LARGE || self.trickles {
            return self.read_large(plain, scratch);
        }
        let is_head = std::mem::take(&mut self.after_large);
        let sealed = if is_head { &mut scratch.head } else { &mut scratch.bytes };
        sealed.clear();
        if is_head || is_little {
            // No room for more.
            let most = if is_head { most.min(HEAD) } else { most };
            if sealed.capacity() != self.received.len() + most {
                *sealed = Vec::with_capacity(self.received.len() + most);
            }
        } else {
            sealed.reserve(READ);
        }
        sealed.extend_from_slice(&self.received);
        if self.stream.read_to(sealed)? == 0 {
            return Ok(Read::End);
        }
        let progress = codec.open(sealed, self.limit, plain, &mut scratch.codec)?;
        self.need = progress.need;
        let (rest, before_it) = (&sealed[progress.consumed..], self.received.len());
        // Part of a frame that is still incomplete.
        self.trickles =
            progress.consumed == 0 && before_it > CHEAP && sealed.len() < before_it + before_it / 4;
        if rest.is_empty() {
            // There are many connections, and most are between two messages.
            self.received = Vec::new();
        } else {
            rest.clone_into(&mut self.received);
        }
        Ok(Read::Bytes(plain.len() - before))
    }

    /// Reads a frame that is large, or that would be copied over and over: it is gathered in its own
    /// memory, which grows in steps.
    fn read_large(
        &mut self,
        plain: &mut Vec<u8>,
        scratch: &mut Scratch,
    ) -> Result<Read, ChannelError> {
        let Some(codec) = &mut self.codec else { return Ok(Read::Bytes(0)) };
        let before = plain.len();
        let bytes = &mut self.received;
        if bytes.len() == bytes.capacity() {
            if self.front.is_none()
                && let Some(front) = room_in_front(plain, self.need)
            {
                let mut moved =
                    Vec::with_capacity(front + self.need.min(FIRST_ROOM.max(bytes.len())));
                moved.resize(front, 0);
                moved.extend_from_slice(bytes);
                (*bytes, self.front) = (moved, Some(front));
            }
            let len = bytes.len();
            if len == bytes.capacity() {
                let all = self.front.unwrap_or(0) + self.need;
                bytes.reserve_exact(len.max(FIRST_ROOM).min(all - len));
            }
        }
        if self.stream.read_to(bytes)? == 0 {
            return Ok(Read::End);
        }
        let front = self.front.unwrap_or(0);
        if bytes.len() - front < self.need {
            return Ok(Read::Bytes(0));
        }
        self.after_large = self.need > LARGE;
        self.trickles = false;
        let mut bytes = std::mem::take(bytes);
        let is_alone = bytes.len() == front + self.need;
        if self.front.take().is_some() && is_alone {
            let start = codec.open_in_place(&mut bytes, front, self.limit, &mut scratch.codec)?;
            if start == before {
                bytes[..before].copy_from_slice(plain);
                *plain = bytes;
            } else {
                // Something else precedes it by now.
                plain.extend_from_slice(&bytes[start..]);
            }
            self.need = 0;
        } else {
            let sealed = &bytes[front..];
            let progress = codec.open(sealed, self.limit, plain, &mut scratch.codec)?;
            self.need = progress.need;
            sealed[progress.consumed..].clone_into(&mut self.received);
        }
        Ok(Read::Bytes(plain.len() - before))
    }

    /// Writes as much of the pieces as fits, in order, and returns how many bytes it accepted. If
    /// encrypted, each piece must consist of whole frames, of which it accepts whole ones; accepted
    /// bytes may still be [`unsent`](Self::has_unsent).
    ///
    /// # Errors
    /// `WouldBlock` if nothing fits.
    pub fn write_pieces(
        &mut self,
        pieces: &[IoSlice<'_>],
        scratch: &mut Scratch,
    ) -> io::Result<usize> {
        self.flush()?;
        let Some(codec) = &mut self.codec else { return self.stream.write_pieces(pieces) };
        let mut taken = 0;
        loop {
            let sealed = &mut scratch.bytes;
            sealed.clear();
            let sealing = codec.seal(run(pieces, taken), sealed, &mut scratch.codec);
            let Ok(Progress { consumed, need: 0 }) = sealing else {
                return Err(io::Error::new(ErrorKind::InvalidInput, "a piece of a frame"));
            };
            if consumed == 0 {
                break;
            }
            taken += consumed;
            let written = write(&self.stream, sealed)?;
            if written < sealed.len() {
                self.unsent.extend_from_slice(&sealed[written..]);
                break;
            }
        }
        scratch.shrink();
        Ok(taken)
    }

    /// Writes accepted bytes that are still unsent.
    ///
    /// # Errors
    /// `WouldBlock` if some remain.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        self.written += write(&self.stream, &self.unsent[self.written..])?;
        if self.written < self.unsent.len() {
            return Err(ErrorKind::WouldBlock.into());
        }
        (self.unsent, self.written) = (Vec::new(), 0);
        Ok(())
    }

    /// Why what was read last ended before a frame that is wrong. After that the channel is unusable;
    /// ask once what was read is handled.
    pub fn fault(&mut self) -> Option<ZmtpError> {
        self.codec.as_mut().and_then(CurveCodec::fault)
    }

    /// Whether accepted bytes are still unsent.
    pub fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }
}

/// How much room to leave in front of an encrypted frame of `need` bytes, so that `plain` is in place there
/// once the frame is decrypted where it is; `None` if it is better copied to `plain`.
fn room_in_front(plain: &Vec<u8>, need: usize) -> Option<usize> {
    let is_worth_it = need > LARGE && plain.capacity() - plain.len() < need;
    let front = plain.len().checked_sub(CurveCodec::OVERHEAD)?;
    (is_worth_it && front <= FRONT).then_some(front)
}

/// What to encrypt at once: the frames of the pieces that begin within [`WRITE`] bytes from offset
/// `from` on.
fn run<'a>(pieces: &'a [IoSlice<'a>], from: usize) -> impl Iterator<Item = &'a [u8]> {
    let (mut skip, mut room) = (from, WRITE);
    pieces.iter().map_while(move |piece| {
        let (skipped, rest) = piece.split_at(skip.min(piece.len()));
        skip -= skipped.len();
        let rest = (room > 0).then(|| frames_within(rest, room))?;
        room = room.saturating_sub(rest.len());
        Some(rest)
    })
}

/// The frames at the start of `bytes` that begin within the first `room` of them.
fn frames_within(bytes: &[u8], room: usize) -> &[u8] {
    let mut end = 0;
    if bytes.len() > room {
        while end < room {
            let Ok(Some(header)) = FrameHeader::parse(&bytes[end..]) else { return bytes };
            end = end.saturating_add(header.end()).min(bytes.len());
        }
        return &bytes[..end];
    }
    bytes
}

/// Writes until the socket is full. Returns the number of bytes written.
fn write(stream: &Stream, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match stream.write_pieces(&[IoSlice::new(&bytes[written..])]) {
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

impl Scratch {
    fn shrink(&mut self) {
        if self.bytes.capacity() > KEPT {
            self.bytes = Vec::new();
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::wire::zmtp::{codecs, put_frame};

    fn pair() -> (Channel, Channel) {
        let (a, b) = UnixStream::pair().unwrap();
        a.set_nonblocking(true).unwrap();
        b.set_nonblocking(true).unwrap();
        (Channel::new(Stream::Unix(a)), Channel::new(Stream::Unix(b)))
    }

    fn encrypted() -> (Channel, Channel) {
        let (mut a, mut b) = pair();
        let (client, server) = codecs();
        a.encrypt(client, 10 << 20, b"", &mut Vec::new()).unwrap();
        b.encrypt(server, 10 << 20, b"", &mut Vec::new()).unwrap();
        (a, b)
    }

    fn frame(body: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        put_frame(body, false, &mut frame);
        frame
    }

    fn would_block<T>(outcome: Result<T, impl Into<ChannelError>>) -> bool {
        matches!(outcome.map_err(Into::into),
            Err(ChannelError::Io(error)) if error.kind() == ErrorKind::WouldBlock)
    }

    /// Writes all pieces into one end while reading from the other.
    fn carry(a: &mut Channel, b: &mut Channel, pieces: &[Vec<u8>]) -> Vec<u8> {
        let (mut scratch, mut out) = (Scratch::default(), Vec::with_capacity(64 << 10));
        let (mut at, mut offset) = (0, 0);
        let is_over = |at: usize, a: &Channel| at == pieces.len() && !a.has_unsent();
        loop {
            if at < pieces.len() {
                let rest = pieces[at + 1..].iter().map(|piece| IoSlice::new(piece));
                let all: Vec<_> =
                    [IoSlice::new(&pieces[at][offset..])].into_iter().chain(rest).collect();
                let mut taken = match a.write_pieces(&all, &mut scratch) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                    outcome => outcome.unwrap(),
                };
                while at < pieces.len() && taken >= pieces[at].len() - offset {
                    taken -= pieces[at].len() - offset;
                    (at, offset) = (at + 1, 0);
                }
                offset += taken;
            } else {
                assert!(a.flush().is_ok() || a.has_unsent());
            }
            out.reserve(64 << 10);
            let outcome = b.read_to(&mut out, &mut scratch);
            if is_over(at, a) && would_block(outcome) {
                return out;
            }
        }
    }

    fn frames(sizes: &[usize]) -> Vec<Vec<u8>> {
        let frame = |(index, size): (usize, &usize)| {
            let mut out = Vec::new();
            put_frame(&vec![index as u8; *size], index % 3 == 0, &mut out);
            put_frame(b"end", false, &mut out);
            out
        };
        sizes.iter().enumerate().map(frame).collect()
    }

    #[test]
    fn what_goes_in_comes_out() {
        let sizes = [0, 1, 100, 70_000, 300, 3 << 20, 255, 256, 600_000, 10];
        for (mut a, mut b) in [pair(), encrypted()] {
            let pieces = frames(&sizes);
            for _ in 0..3 {
                assert!(carry(&mut a, &mut b, &pieces) == pieces.concat());
                assert!(!a.has_unsent() && b.held() == 0);
                std::mem::swap(&mut a, &mut b);
            }
            drop(a);
            let outcome = b.read_to(&mut Vec::with_capacity(10), &mut Scratch::default());
            assert_eq!(outcome.unwrap(), Read::End);
        }
    }

    #[test]
    fn a_large_piece_is_encrypted_bit_by_bit() {
        let (mut a, mut b) = encrypted();
        let piece = frames(&vec![1000; 10_000]).concat();
        let mut scratch = Scratch::default();
        let taken = a.write_pieces(&[IoSlice::new(&piece)], &mut scratch).unwrap();
        // The socket is full, long before the end of the piece.
        assert!(a.has_unsent() && taken < piece.len() / 2);
        assert!(a.held() < 2 * WRITE && scratch.bytes.capacity() < 4 * WRITE);
        let rest = [piece[taken..].to_vec(), frame(b"end")];
        let out = carry(&mut a, &mut b, &rest);
        assert!(out == [piece, frame(b"end")].concat());
    }

    #[test]
    fn what_is_encrypted_at_once() {
        let pieces = [frames(&[30_000, 40_000]).concat(), vec![], frames(&[70_000, 1]).concat()];
        let all: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let frames = [30_009, 5, 40_009, 5, 70_009, 5, 3, 5];
        let mut from = 0;
        // Ends with the frame in which the 64 KiB end.
        for run_of in [&frames[..3], &frames[3..5], &frames[5..], &[]] {
            let runs: Vec<_> = run(&all, from).collect();
            let size: usize = run_of.iter().sum();
            assert!(runs.concat() == pieces.concat()[from..from + size]);
            from += size;
        }
    }

    #[test]
    fn what_is_raw_goes_first_and_what_follows_the_handshake_is_decrypted() {
        let (mut a, mut b) = pair();
        let (mut client, server) = codecs();
        let mut sealed = Vec::new();
        client.seal([&frame(b"one")[..]], &mut sealed, &mut CodecScratch::default()).unwrap();
        client.seal([&frame(b"two")[..]], &mut sealed, &mut CodecScratch::default()).unwrap();
        let (early, late) = sealed.split_at(50);
        let mut plain = Vec::new();
        b.encrypt(server, 100, early, &mut plain).unwrap();
        assert_eq!(plain, b"\0\x03one");
        a.put_raw(late);
        assert!(a.has_unsent());
        a.flush().unwrap();
        assert_eq!(b.read_to(&mut plain, &mut Scratch::default()).unwrap(), Read::Bytes(5));
        assert_eq!(plain, b"\0\x03one\0\x03two");
    }

    #[test]
    fn a_frame_that_trickles_in_is_not_copied_with_each_read() {
        let (mut a, mut b) = encrypted();
        let (mut plain, mut scratch) = (Vec::new(), Scratch::default());
        let (mut sealed, frames) = (Vec::new(), frames(&[100_000, 10]).concat());
        let codec = a.codec.as_mut().unwrap();
        codec.seal([&frames[..]], &mut sealed, &mut CodecScratch::default()).unwrap();
        let mut copied = 0;
        for piece in sealed.chunks(500) {
            a.put_raw(piece);
            a.flush().unwrap();
            loop {
                let outcome = b.read_to(&mut plain, &mut scratch);
                if would_block(outcome) {
                    break;
                }
                copied += std::mem::take(&mut scratch.bytes).len();
            }
        }
        assert!(plain == frames, "{}", plain.len());
        // Copying at every read would add up to ten megabytes; copying only the start is fine.
        assert!(copied < 1 << 20, "{copied}");
    }

    #[test]
    fn large_frames_in_a_row_are_not_copied_from_read_to_read() {
        let (mut a, mut b) = encrypted();
        let (mut plain, mut scratch) = (Vec::new(), Scratch::default());
        let frames = frames(&[200_000, 150_000, 300_000, 1 << 20, 250_000, 100, 100]).concat();
        let mut sealed = Vec::new();
        let codec = a.codec.as_mut().unwrap();
        codec.seal([&frames[..]], &mut sealed, &mut CodecScratch::default()).unwrap();
        a.put_raw(&sealed);
        let mut copied = 0;
        while a.has_unsent() || plain.len() < frames.len() {
            assert!(a.flush().is_ok() || a.has_unsent());
            while !would_block(b.read_to(&mut plain, &mut scratch)) {
                copied += std::mem::take(&mut scratch.bytes).len() + scratch.head.len();
                scratch.head.clear();
            }
        }
        assert!(plain == frames && b.held() == 0);
        // The start of the first frame, and what shows how large the next ones are.
        assert!(copied <= READ + 10 * HEAD, "{copied}");
    }

    /// Reads all frames as a reader does that keeps what it has in memory without room.
    fn read_tightly(
        (a, b): (&mut Channel, &mut Channel),
        mut plain: Vec<u8>,
        mut between: impl FnMut(&mut Vec<u8>, &Channel),
    ) -> Result<Vec<u8>, ChannelError> {
        let mut scratch = Scratch::default();
        while a.has_unsent() || b.held() > 0 {
            assert!(a.flush().is_ok() || a.has_unsent());
            loop {
                plain.shrink_to_fit();
                let outcome = b.read_to(&mut plain, &mut scratch);
                between(&mut plain, b);
                match outcome {
                    Err(ChannelError::Io(error)) if error.kind() == ErrorKind::WouldBlock => break,
                    outcome => drop(outcome?),
                }
            }
        }
        Ok(plain)
    }

    #[test]
    fn large_frames_are_decrypted_where_they_are() {
        let large = frame(&vec![7; 8 * LARGE]);
        for small in [0, 10, 31, 32, 100, 2 * FRONT] {
            let (mut a, mut b) = encrypted();
            let (small, mut sealed) = (frame(&vec![1; small]), Vec::new());
            let codec = a.codec.as_mut().unwrap();
            for plain in [&large, &small, &large] {
                codec.seal([&plain[..]], &mut sealed, &mut CodecScratch::default()).unwrap();
            }
            a.put_raw(&sealed);
            // The frames before were handled.
            let mut is_in_place = false;
            let drop_first = |plain: &mut Vec<u8>, b: &Channel| {
                if plain.len() >= large.len() && plain.len() < large.len() + small.len() {
                    plain.drain(..large.len());
                }
                is_in_place |= b.front.is_some();
            };
            let plain = read_tightly((&mut a, &mut b), Vec::new(), drop_first).unwrap();
            let tail = [&small[..], &large].concat();
            assert!(plain.ends_with(&tail), "{}", small.len());
            let is_small = (CurveCodec::OVERHEAD..FRONT).contains(&small.len());
            assert_eq!((is_in_place, b.need()), (is_small, 0), "{}", small.len());
        }
    }

    #[test]
    fn what_changes_before_a_large_frame_does_not_matter() {
        let large = frame(&vec![7; 8 * LARGE]);
        for (is_changed, before) in [(false, 50), (true, 50), (true, 60), (true, 0)] {
            let (mut a, mut b) = encrypted();
            let mut sealed = Vec::new();
            let codec = a.codec.as_mut().unwrap();
            codec.seal([&large[..]], &mut sealed, &mut CodecScratch::default()).unwrap();
            a.put_raw(&sealed);
            let change = |plain: &mut Vec<u8>, b: &Channel| {
                if is_changed && b.front.is_some() {
                    *plain = vec![2; before];
                }
            };
            let plain = read_tightly((&mut a, &mut b), vec![1; 50], change).unwrap();
            let expected = if is_changed { vec![2; before] } else { vec![1; 50] };
            assert!(plain == [&expected[..], &large].concat());
        }
    }

    #[test]
    fn a_large_frame_that_is_not_genuine_ends_it() {
        let large = frame(&vec![7; 8 * LARGE]);
        let (mut a, mut b) = encrypted();
        let mut sealed = Vec::new();
        let codec = a.codec.as_mut().unwrap();
        codec.seal([&large[..]], &mut sealed, &mut CodecScratch::default()).unwrap();
        *sealed.last_mut().unwrap() ^= 1;
        a.put_raw(&sealed);
        let outcome = read_tightly((&mut a, &mut b), vec![1; 50], |_, _| {});
        let undecryptable = ZmtpError::Undecryptable("MESSAGE");
        assert!(matches!(outcome, Err(ChannelError::Protocol(error)) if error == undecryptable));
    }

    #[test]
    fn what_finds_little_room_at_a_time_goes_out_whole() {
        let (mut a, mut b) = pair();
        let bytes: Vec<u8> = (0..4 << 20).map(|n: u32| (n / 251) as u8).collect();
        let (mut scratch, mut out) = (Scratch::default(), Vec::new());
        a.put_raw(&bytes);
        while a.has_unsent() {
            assert!(a.flush().is_ok() || a.has_unsent());
            out.reserve_exact(10_000);
            b.read_to(&mut out, &mut scratch).unwrap();
        }
        loop {
            out.reserve(64 << 10);
            let outcome = b.read_to(&mut out, &mut scratch);
            if would_block(outcome) {
                break;
            }
        }
        assert!(out == bytes, "{}", out.len());
    }

    #[test]
    fn a_frame_whose_end_is_short_is_like_any_other() {
        let (mut a, mut b) = pair();
        let (mut client, server) = codecs();
        let mut plain = Vec::new();
        b.encrypt(server, 100_000, b"", &mut plain).unwrap();
        let (mut scratch, mut expected) = (Scratch::default(), Vec::new());
        let body = vec![7; 20_000];
        // Where each frame is cut: at its end, or one byte into the next one.
        for ends in [&[19_990, 20_040][..], &[19_990, 20_041], &[19_990, 20_000, 20_040, 20_060]] {
            let mut sealed = Vec::new();
            for _ in 0..2 {
                client
                    .seal([&frame(&body)[..]], &mut sealed, &mut CodecScratch::default())
                    .unwrap();
                put_frame(&body, false, &mut expected);
            }
            let mut sent = 0;
            for end in ends.iter().copied().chain([sealed.len()]) {
                a.put_raw(&sealed[sent..end]);
                a.flush().unwrap();
                sent = end;
                while !would_block(b.read_to(&mut plain, &mut scratch)) {}
            }
            assert!(plain == expected && b.held() == 0);
        }
    }

    #[test]
    fn what_is_not_genuine_ends_it() {
        let (mut a, mut b) = encrypted();
        a.put_raw(b"\0\x05hello");
        a.flush().unwrap();
        let outcome = b.read_to(&mut Vec::new(), &mut Scratch::default());
        assert!(matches!(outcome, Err(ChannelError::Protocol(ZmtpError::Expected("MESSAGE")))));
        let error = a.write_pieces(&[IoSlice::new(b"\0\x05he")], &mut Scratch::default());
        assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
