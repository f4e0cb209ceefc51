//! [`CurveCodec`]: encrypts and decrypts the frames of an open connection.
//!
//! An encrypted frame is a plain frame whose body is `MESSAGE`, a number and a box; the box holds a
//! byte of flags and the body of the inner frame. Only the flags in the box count: some peers set
//! MORE in the outer frame, too, where it means nothing.

use super::super::frame::{COMMAND, MORE, header as frame_header};
use super::super::{FrameHeader, ZmtpError};
use super::Fields;
use zcluster_boxes::{Engine, Slot, StreamKey, TAG_SIZE, Workspace};
use zmq_sys::sodium::BoxKey;

/// How the body of an encrypted frame starts.
const NAME: &[u8; 8] = b"\x07MESSAGE";

/// Bytes that encryption adds to the body of a frame.
const OVERHEAD: usize = NAME.len() + size_of::<u64>() + TAG_SIZE + 1;

/// The flag of commands inside a box, which has no flag for long frames.
const SEALED_COMMAND: u8 = 2;

/// How much a codec has processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes consumed, in whole frames.
    pub consumed: usize,
    /// How many bytes are needed from there on: one more than present, or more if a length is known
    /// already. Zero if everything was consumed.
    pub need: usize,
}

/// What codecs of one thread work in: between two calls there are no secrets in it.
#[derive(Debug, Default)]
pub struct CodecScratch {
    work: Workspace,
    slots: Vec<Slot>,
}

/// Encrypts and decrypts the frames of one connection, many at a time. Its keys are wiped when it is
/// dropped.
///
/// All frames have to be sent, in the order in which they were sealed, and opened in the order in
/// which they arrived. After an error the connection is unusable.
#[derive(Debug)]
pub struct CurveCodec {
    sealing: StreamKey,
    /// The number of the last box sealed. There are never 2^64 of them.
    sent: u64,
    opening: StreamKey,
    /// The number of the last box opened.
    received: u64,
    /// Found behind frames that were fine.
    fault: Option<ZmtpError>,
}

impl CurveCodec {
    /// By how much an encrypted frame is longer than the plain one; more if only one of them has a long
    /// header.
    pub const OVERHEAD: usize = OVERHEAD;

    const OF_CLIENT: &'static [u8; 16] = b"CurveZMQMESSAGEC";
    const OF_SERVER: &'static [u8; 16] = b"CurveZMQMESSAGES";

    /// `sent` and `received`: the numbers of the last boxes in the handshake.
    pub(super) fn of_server(key: &BoxKey, sent: u64, received: u64) -> Self {
        let (sealing, opening) = ((Self::OF_SERVER, sent), (Self::OF_CLIENT, received));
        Self::new(key, sealing, opening, Engine::best())
    }

    /// The same for the other side.
    pub(super) fn of_client(key: &BoxKey, sent: u64, received: u64) -> Self {
        let (sealing, opening) = ((Self::OF_CLIENT, sent), (Self::OF_SERVER, received));
        Self::new(key, sealing, opening, Engine::best())
    }

    /// A client and a server right after the handshake, with an engine that this machine has: for
    /// benchmarks and tests.
    #[doc(hidden)]
    pub fn ends(key: &BoxKey, engine: Engine) -> [Self; 2] {
        let (client, server) = ((Self::OF_CLIENT, 2), (Self::OF_SERVER, 1));
        [Self::new(key, client, server, engine), Self::new(key, server, client, engine)]
    }

    fn new(
        key: &BoxKey,
        (sealing, sent): (&[u8; 16], u64),
        (opening, received): (&[u8; 16], u64),
        engine: Engine,
    ) -> Self {
        let key = |prefix| StreamKey::with_engine(key.bytes(), prefix, engine);
        let (sealing, opening) = (key(sealing), key(opening));
        CurveCodec { sealing, sent, opening, received, fault: None }
    }

    /// Encrypts the whole frames at the start of each piece and appends them to `sealed`, where each
    /// takes at most 40 bytes more. Stops where a piece ends with part of a frame.
    ///
    /// # Errors
    /// When a piece contains anything but frames; then nothing is appended.
    pub fn seal<'a>(
        &mut self,
        pieces: impl IntoIterator<Item = &'a [u8]>,
        sealed: &mut Vec<u8>,
        scratch: &mut CodecScratch,
    ) -> Result<Progress, ZmtpError> {
        let before = (sealed.len(), self.sent);
        scratch.slots.clear();
        let mut progress = Progress { consumed: 0, need: 0 };
        for piece in pieces {
            match self.lay_out(piece, sealed, &mut scratch.slots) {
                Ok(Progress { consumed, need }) => {
                    progress.consumed += consumed;
                    progress.need = need;
                }
                Err(error) => {
                    sealed.truncate(before.0);
                    self.sent = before.1;
                    return Err(error);
                }
            }
            if progress.need > 0 {
                break;
            }
        }
        self.sealing.seal(&mut scratch.work, sealed, &mut scratch.slots);
        for slot in &scratch.slots {
            sealed[slot.start - TAG_SIZE..slot.start].copy_from_slice(&slot.tag);
        }
        Ok(progress)
    }

    /// Appends the whole frames at the start of `plain` to `sealed`, with their headers, and still to be
    /// encrypted.
    fn lay_out(
        &mut self,
        plain: &[u8],
        sealed: &mut Vec<u8>,
        slots: &mut Vec<Slot>,
    ) -> Result<Progress, ZmtpError> {
        let mut consumed = 0;
        loop {
            let rest = &plain[consumed..];
            let Some(header) = FrameHeader::parse(rest)? else {
                return Ok(Progress::wants(consumed, rest, rest.len() + 1));
            };
            let end = header.end();
            let Some(body) = rest.get(header.header_len..end) else {
                return Ok(Progress::wants(consumed, rest, end));
            };
            self.sent += 1;
            slots.push(lay_out_frame(&header, self.sent, body, sealed));
            consumed += end;
        }
    }

    /// Decrypts the whole frames at the start of `sealed` and appends them to `plain`, as frames
    /// for a [`MessageReader`](super::super::MessageReader). `limit`: bytes the body of one may
    /// have. Appends less than it consumes, and allocates only room for that.
    ///
    /// Where a frame is wrong, the frames before it are appended all the same, and
    /// [`CurveCodec::fault`] or the next call has the error.
    ///
    /// # Errors
    /// Anything but messages that are genuine, unchanged, and in the order in which they were sent.
    pub fn open(
        &mut self,
        sealed: &[u8],
        limit: u64,
        plain: &mut Vec<u8>,
        scratch: &mut CodecScratch,
    ) -> Result<Progress, ZmtpError> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        let CodecScratch { work, slots } = scratch;
        slots.clear();
        let begin = plain.len();
        let mut consumed = 0;
        let mut last = self.received;
        let outcome = loop {
            match take_frame(&sealed[consumed..], limit, last) {
                Ok(Taken::Frame { number, tag, message, end }) => {
                    last = number;
                    // The byte of flags lands on the last byte of the header, which is written after.
                    let (_, header_len) = frame_header(0, message.len() - 1);
                    let start = plain.len() + header_len - 1;
                    plain.resize(start, 0);
                    plain.extend_from_slice(message);
                    slots.push(Slot { number, tag: *tag, start, len: message.len() });
                    consumed += end;
                }
                Ok(Taken::Wants(progress)) => break Ok(progress.need),
                Err(error) => break Err(error),
            }
        };
        let genuine = self.opening.open(work, plain, slots);
        let mut outcome = match (slots.get(genuine), outcome) {
            (Some(_), _) => Err(ZmtpError::Undecryptable("MESSAGE")),
            (None, outcome) => outcome,
        };
        let mut good = genuine;
        for (index, slot) in slots[..genuine].iter().enumerate() {
            if let Err(error) = put_plain_header(plain, slot) {
                (good, outcome) = (index, Err(error));
                break;
            }
            self.received = slot.number;
        }
        if good < slots.len() {
            plain.truncate(slots[..good].last().map_or(begin, |slot| slot.start + slot.len));
            consumed = end_of(sealed, good);
        }
        match outcome {
            Ok(need) => Ok(Progress { consumed, need }),
            Err(error) if plain.len() == begin => Err(error),
            Err(error) => {
                self.fault = Some(error);
                Ok(Progress { consumed, need: 0 })
            }
        }
    }

    /// Decrypts one frame where it is: from `start` on, `bytes` consists of it. Returns where the plain
    /// frame begins, which has the same end.
    ///
    /// # Errors
    /// As [`CurveCodec::open`]; also if it is not a whole frame.
    pub fn open_in_place(
        &mut self,
        bytes: &mut [u8],
        start: usize,
        limit: u64,
        scratch: &mut CodecScratch,
    ) -> Result<usize, ZmtpError> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        let sealed = &bytes[start..];
        let slot = match take_frame(sealed, limit, self.received)? {
            Taken::Frame { number, tag, message, end } if end == sealed.len() => {
                Slot { number, tag: *tag, start: bytes.len() - message.len(), len: message.len() }
            }
            _ => return Err(ZmtpError::Expected("MESSAGE")),
        };
        if self.opening.open(&mut scratch.work, bytes, &[slot]) == 0 {
            return Err(ZmtpError::Undecryptable("MESSAGE"));
        }
        let begin = put_plain_header(bytes, &slot)?;
        self.received = slot.number;
        Ok(begin)
    }

    /// What is wrong with the frame behind those that were opened last, if anything: once they are
    /// handled, the connection is to be closed.
    pub fn fault(&mut self) -> Option<ZmtpError> {
        self.fault.take()
    }
}

/// Appends a frame to `sealed` that is still to be encrypted, and returns its box.
#[inline]
fn lay_out_frame(header: &FrameHeader, number: u64, body: &[u8], sealed: &mut Vec<u8>) -> Slot {
    let size = body.len() + OVERHEAD;
    // libzmq encrypts whole frames, including their flags: the outer frame has none.
    let (outer, outer_len) = frame_header(0, size);
    sealed.reserve(outer_len + size);
    sealed.extend_from_slice(&outer[..outer_len]);
    sealed.extend_from_slice(NAME);
    sealed.extend_from_slice(&number.to_be_bytes());
    sealed.extend_from_slice(&[0; TAG_SIZE]);
    let start = sealed.len();
    let command = if header.command { SEALED_COMMAND } else { 0 };
    sealed.push(if header.more { MORE } else { 0 } | command);
    sealed.extend_from_slice(body);
    Slot { number, start, len: 1 + body.len(), ..Slot::default() }
}

/// Writes the header of a plain frame before its body, where the byte of flags was and before. Returns
/// where it begins.
#[inline]
fn put_plain_header(bytes: &mut [u8], slot: &Slot) -> Result<usize, ZmtpError> {
    let flags = match bytes[slot.start] {
        0 => 0,
        MORE => MORE,
        SEALED_COMMAND => COMMAND,
        unknown => return Err(ZmtpError::Flags(unknown)),
    };
    let (header, header_len) = frame_header(flags, slot.len - 1);
    let begin = slot.start + 1 - header_len;
    bytes[begin..=slot.start].copy_from_slice(&header[..header_len]);
    Ok(begin)
}

/// Where the first `count` frames end, all of which are there.
fn end_of(frames: &[u8], count: usize) -> usize {
    (0..count).fold(0, |at, _| match FrameHeader::parse(&frames[at..]) {
        Ok(Some(header)) => at + header.end(),
        _ => at,
    })
}

/// What is at the start of encrypted bytes.
enum Taken<'a> {
    Frame {
        number: u64,
        tag: &'a [u8; TAG_SIZE],
        /// At least one byte.
        message: &'a [u8],
        /// Where the frame ends.
        end: usize,
    },
    /// No whole frame.
    Wants(Progress),
}

/// Takes a frame off the start of `rest`. `last`: the number of the frame before.
#[inline]
fn take_frame(rest: &[u8], limit: u64, last: u64) -> Result<Taken<'_>, ZmtpError> {
    let Some(header) = FrameHeader::parse(rest)? else {
        return Ok(Taken::Wants(Progress::wants(0, rest, rest.len() + 1)));
    };
    if header.more && !may_be_message(&header, rest) {
        return Err(ZmtpError::Flags(MORE));
    }
    let size = header.body_len.saturating_sub(OVERHEAD as u64);
    if size > limit {
        return Err(ZmtpError::TooLarge { size, limit });
    }
    let end = header.end();
    let Some(body) = rest.get(header.header_len..end) else {
        return Ok(Taken::Wants(Progress::wants(0, rest, end)));
    };
    let body = body.strip_prefix(NAME).ok_or(ZmtpError::Expected("MESSAGE"))?;
    let fields = |body| {
        let mut fields = Fields(body);
        let (number, tag) = (fields.take::<8>()?, fields.take::<TAG_SIZE>()?);
        Some((u64::from_be_bytes(*number), tag, fields.0)).filter(|_| !fields.0.is_empty())
    };
    let (number, tag, message) = fields(body).ok_or(ZmtpError::Command("MESSAGE"))?;
    if number <= last {
        return Err(ZmtpError::Replayed { nonce: number, last });
    }
    Ok(Taken::Frame { number, tag, message, end })
}

/// Whether a partial frame may still turn out to be a MESSAGE.
fn may_be_message(header: &FrameHeader, frame: &[u8]) -> bool {
    let body = &frame[header.header_len..];
    let seen = body.len().min(NAME.len());
    header.body_len >= NAME.len() as u64 && body[..seen] == NAME[..seen]
}

impl Progress {
    fn wants(consumed: usize, rest: &[u8], need: usize) -> Self {
        Progress { consumed, need: if rest.is_empty() { 0 } else { need } }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::super::{MAX_HEADER, put_frame, put_ping};
    use super::super::KeyPair;
    use super::*;
    use proptest::prelude::*;

    type Turn = fn(&mut CurveCodec, &[u8], &mut Vec<u8>) -> Result<Progress, ZmtpError>;

    /// Codecs of a client and a server right after the handshake.
    pub(crate) fn pair() -> (CurveCodec, CurveCodec) {
        let (ours, theirs) = (KeyPair::generate(), KeyPair::generate());
        let key = BoxKey::new(theirs.public().as_bytes(), ours.secret().expose()).unwrap();
        CurveCodec::ends(&key, Engine::best()).into()
    }

    fn open_all(
        codec: &mut CurveCodec,
        sealed: &[u8],
        limit: u64,
        plain: &mut Vec<u8>,
    ) -> Result<Progress, ZmtpError> {
        codec.open(sealed, limit, plain, &mut CodecScratch::default())
    }

    fn seal(codec: &mut CurveCodec, plain: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::new();
        let progress = codec.seal([plain], &mut sealed, &mut CodecScratch::default()).unwrap();
        assert_eq!(progress, Progress { consumed: plain.len(), need: 0 });
        sealed
    }

    /// Seals one frame whose first byte in the box is `flags`.
    fn seal_flags(codec: &mut CurveCodec, flags: u8) -> Vec<u8> {
        codec.sent += 1;
        let mut message = [flags];
        let mut slots = [Slot { number: codec.sent, len: 1, ..Slot::default() }];
        codec.sealing.seal(&mut Workspace::default(), &mut message, &mut slots);
        let number = codec.sent.to_be_bytes();
        let mut out = Vec::new();
        put_frame(&[NAME, &number[..], &slots[0].tag, &message].concat(), false, &mut out);
        out
    }

    #[test]
    fn frames_of_every_size_go_both_ways() {
        let (mut client, mut server) = pair();
        for size in [0, 1, 222, 223, 255, 256, 65_536] {
            let mut frames = Vec::new();
            put_frame(&vec![7; size], true, &mut frames);
            put_ping(3, &mut frames);
            put_frame(&vec![8; size], false, &mut frames);
            for _ in 0..2 {
                let sealed = seal(&mut client, &frames);
                assert!(sealed.len() <= frames.len() + 3 * (OVERHEAD + MAX_HEADER - 2));
                let mut plain = Vec::new();
                let progress =
                    open_all(&mut server, &sealed, size.max(7) as u64, &mut plain).unwrap();
                assert_eq!(progress, Progress { consumed: sealed.len(), need: 0 });
                assert!(plain == frames, "{size}");
                std::mem::swap(&mut client, &mut server);
            }
        }
    }

    #[test]
    fn one_frame_is_opened_where_it_is() {
        let (mut client, mut server) = pair();
        let mut scratch = CodecScratch::default();
        for size in [0, 1, 223, 255, 256, 70_000] {
            let mut frame = Vec::new();
            put_frame(&vec![7; size], size % 2 == 0, &mut frame);
            let sealed = seal(&mut client, &frame);
            let mut open = |mut bytes: Vec<u8>| {
                let begin = server.open_in_place(&mut bytes, 5, 70_000, &mut scratch)?;
                Ok((begin, bytes))
            };
            let before = &b"other"[..];
            let part = [before, &sealed[..sealed.len() - 1]].concat();
            assert_eq!(open(part), Err(ZmtpError::Expected("MESSAGE")));
            let more = [before, &sealed, b"\0"].concat();
            assert_eq!(open(more), Err(ZmtpError::Expected("MESSAGE")));
            let mut bad = [before, &sealed].concat();
            *bad.last_mut().unwrap() ^= 1;
            assert_eq!(open(bad), Err(ZmtpError::Undecryptable("MESSAGE")));
            let (begin, bytes) = open([before, &sealed].concat()).unwrap();
            assert!(bytes[begin..] == frame && bytes.starts_with(before), "{size}");
            let again = open([before, &sealed].concat());
            assert!(matches!(again, Err(ZmtpError::Replayed { .. })));
            // Both have headers of the same length.
            assert!(begin == 5 + CurveCodec::OVERHEAD || (223..256).contains(&size));
        }
    }

    // The bytes on the wire: the outer frame has no flags, and the number continues from the
    // handshake.
    #[test]
    fn the_form_of_a_message() {
        let (mut client, _) = pair();
        let mut sealed = Vec::new();
        client.seal([&b"\x01\x03abc"[..]], &mut sealed, &mut CodecScratch::default()).unwrap();
        assert_eq!(sealed[..18], *b"\x00\x24\x07MESSAGE\0\0\0\0\0\0\0\x03");
        assert_eq!(sealed.len(), 2 + 8 + 8 + 16 + 1 + 3);
    }

    #[test]
    fn pieces_are_sealed_as_one_run() {
        let frames = [&b"\x01\x03one"[..], b"\0\x03two", b"\0\x05three"];
        let all = frames.concat();
        let (mut client, mut server) = pair();
        let mut scratch = CodecScratch::default();
        let mut check = |pieces: &[&[u8]], expected: Result<Progress, ZmtpError>| {
            let mut sealed = b"kept".to_vec();
            let outcome = client.seal(pieces.iter().copied(), &mut sealed, &mut scratch);
            assert_eq!(outcome, expected);
            let mut plain = Vec::new();
            // After an error, the numbers continue as if nothing had been sealed.
            server.open(&sealed[4..], 100, &mut plain, &mut scratch).unwrap();
            let consumed = expected.map_or(0, |progress| progress.consumed);
            assert_eq!((&sealed[..4], &plain[..]), (&b"kept"[..], &all[..consumed]));
            assert_eq!(server.received, client.sent);
        };
        check(&[&all], Ok(Progress { consumed: 17, need: 0 }));
        check(&frames, Ok(Progress { consumed: 17, need: 0 }));
        check(&[b"", &all[..10], b"", &all[10..]], Ok(Progress { consumed: 17, need: 0 }));
        check(&[], Ok(Progress { consumed: 0, need: 0 }));
        // It stops at a part of a frame, whatever follows.
        check(&[&all[..6], &all[6..]], Ok(Progress { consumed: 5, need: 2 }));
        check(&[&all[..9], b"\x08"], Ok(Progress { consumed: 5, need: 5 }));
        check(&[frames[0], b"\x08"], Err(ZmtpError::Flags(8)));
        check(&[&[frames[0], b"\x05"].concat()], Err(ZmtpError::Flags(5)));
    }

    // omq-tokio 0.33.0 sends such frames, and libzmq 4.3.5 accepts them.
    #[test]
    fn more_outside_of_the_box_means_nothing() {
        let (mut client, mut server) = pair();
        for (outer, inner) in [(true, false), (false, true), (true, true)] {
            for size in [3, 300] {
                let body = vec![7; size];
                let mut sealed = Vec::new();
                let mut frame = Vec::new();
                put_frame(&body, inner, &mut frame);
                client.seal([&frame[..]], &mut sealed, &mut CodecScratch::default()).unwrap();
                sealed[0] |= u8::from(outer);
                let mut expected = Vec::new();
                put_frame(&body, inner, &mut expected);
                // Any incomplete part of it makes the codec wait for more.
                for end in 0..sealed.len() {
                    let progress =
                        open_all(&mut server, &sealed[..end], 300, &mut Vec::new()).unwrap();
                    assert_eq!(progress.consumed, 0);
                }
                let mut plain = Vec::new();
                open_all(&mut server, &sealed, 300, &mut plain).unwrap();
                assert_eq!(plain, expected, "{outer} {inner} {size}");
            }
        }
    }

    #[test]
    fn what_is_not_genuine_is_refused() {
        let open = |codec: &mut CurveCodec, sealed: &[u8]| {
            let mut plain = b"kept".to_vec();
            let error = open_all(codec, sealed, 100, &mut plain).unwrap_err();
            assert_eq!(plain, b"kept");
            error
        };
        let frames = |body: &[u8]| {
            let mut frames = Vec::new();
            put_frame(body, false, &mut frames);
            frames
        };
        let (mut client, mut server) = pair();
        let first = seal(&mut client, &frames(b"first"));
        let second = seal(&mut client, &frames(b"second"));
        // Every byte except the name and the number, which have errors of their own.
        for at in 18..first.len() {
            let mut forged = first.clone();
            forged[at] ^= 1;
            assert_eq!(open(&mut server, &forged), ZmtpError::Undecryptable("MESSAGE"), "{at}");
        }
        let mut renumbered = first.clone();
        renumbered[17] = 9;
        assert_eq!(open(&mut server, &renumbered), ZmtpError::Undecryptable("MESSAGE"));
        // Our own message, sent back to us.
        assert_eq!(open(&mut client, &first), ZmtpError::Undecryptable("MESSAGE"));
        // Out of order, and twice.
        assert!(open_all(&mut server, &second, 100, &mut Vec::new()).is_ok());
        assert_eq!(open(&mut server, &first), ZmtpError::Replayed { nonce: 3, last: 4 });
        assert_eq!(open(&mut server, &second), ZmtpError::Replayed { nonce: 4, last: 4 });

        for (sealed, expected) in [
            (frames(b"in the clear"), ZmtpError::Expected("MESSAGE")),
            (frames(b""), ZmtpError::Expected("MESSAGE")),
            (frames(b"\x07MESSAGE"), ZmtpError::Command("MESSAGE")),
            (frames(&first[2..34]), ZmtpError::Command("MESSAGE")),
            (vec![1, 0], ZmtpError::Flags(1)),
            (vec![1, 34, b'\x07', b'M', b'x'], ZmtpError::Flags(1)),
            ([&[1, 12], &b"in the clear"[..]].concat(), ZmtpError::Flags(1)),
            ([&[5], &first[1..]].concat(), ZmtpError::Flags(5)),
            (vec![8, 0], ZmtpError::Flags(8)),
            (frames(&[7; 134]), ZmtpError::TooLarge { size: 101, limit: 100 }),
            (
                vec![2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                ZmtpError::TooLarge { size: u64::MAX - OVERHEAD as u64, limit: 100 },
            ),
        ] {
            assert_eq!(open(&mut server, &sealed), expected, "{sealed:?}");
        }
        for flags in [3, 4, 0xff] {
            let sealed = seal_flags(&mut client, flags);
            assert_eq!(open(&mut server, &sealed), ZmtpError::Flags(flags));
        }
        let sealed = seal_flags(&mut client, 2);
        let mut plain = Vec::new();
        open_all(&mut server, &sealed, 0, &mut plain).unwrap();
        assert_eq!(plain, [4, 0]);
    }

    #[test]
    fn frames_before_a_wrong_one_are_opened() {
        let frame = |body: &[u8]| {
            let mut frame = Vec::new();
            put_frame(body, false, &mut frame);
            frame
        };
        for count in [1, 2, 9, 40] {
            let (mut client, mut server) = pair();
            let mut scratch = CodecScratch::default();
            let (mut sealed, mut plain) = (Vec::new(), Vec::new());
            let mut expected = Vec::new();
            for index in 0..count {
                let frame = frame(&vec![index; 7 * usize::from(index)]);
                client.seal([&frame[..]], &mut sealed, &mut scratch).unwrap();
                expected.extend_from_slice(&frame);
            }
            let good = sealed.len();
            client.seal([&frame(b"forged")[..]], &mut sealed, &mut scratch).unwrap();
            *sealed.last_mut().unwrap() ^= 1;
            client.seal([&frame(b"behind")[..]], &mut sealed, &mut scratch).unwrap();
            let progress = server.open(&sealed, 1000, &mut plain, &mut scratch).unwrap();
            assert_eq!(progress, Progress { consumed: good, need: 0 });
            assert_eq!(plain, expected);
            let outcome = server.open(&sealed[good..], 1000, &mut plain, &mut scratch);
            assert_eq!(outcome, Err(ZmtpError::Undecryptable("MESSAGE")));
            assert_eq!(plain, expected);
            assert_eq!(server.fault(), None);
        }
    }

    #[test]
    fn a_length_that_is_known_is_told() {
        let (mut client, mut server) = pair();
        let mut plain = Vec::new();
        for bytes in [&[][..], &[2], &[2, 0, 0, 0, 0, 0, 0, 1], &[2, 0, 0, 0, 0, 0, 0, 1, 0]] {
            let need = [0, 2, 9, 265][[0, 1, 8, 9].iter().position(|n| *n == bytes.len()).unwrap()];
            let expected = Ok(Progress { consumed: 0, need });
            assert_eq!(open_all(&mut server, bytes, 1 << 20, &mut plain), expected);
            assert_eq!(client.seal([bytes], &mut plain, &mut CodecScratch::default()), expected);
        }
        let endless = [2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        let expected = Ok(Progress { consumed: 0, need: usize::MAX });
        assert_eq!(open_all(&mut server, &endless, u64::MAX, &mut plain), expected);
        assert_eq!(client.seal([&endless[..]], &mut plain, &mut CodecScratch::default()), expected);
        assert!(plain.is_empty());
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_the_bytes_are_cut(
            frames in prop::collection::vec(
                (prop::collection::vec(any::<u8>(), 0..600), 0..3usize), 0..12),
            sizes in prop::collection::vec(1usize..700, 1..10),
        ) {
            let (mut client, mut server) = pair();
            let mut plain = Vec::new();
            for (body, kind) in &frames {
                let (header, length) = frame_header([0, MORE, COMMAND][*kind], body.len());
                plain.extend_from_slice(&header[..length]);
                plain.extend_from_slice(body);
            }
            let turns: [(&mut CurveCodec, Turn); 2] = [
                (&mut client, |codec, bytes, out| codec.seal([bytes], out, &mut CodecScratch::default())),
                (&mut server, |codec, bytes, out| open_all(codec, bytes, 600, out)),
            ];
            let mut bytes = plain.clone();
            for (codec, turn) in turns {
                let (mut kept, mut out) = (Vec::new(), Vec::new());
                let mut rest = &bytes[..];
                for size in sizes.iter().cycle() {
                    let (piece, after) = rest.split_at((*size).min(rest.len()));
                    kept.extend_from_slice(piece);
                    rest = after;
                    let progress = turn(codec, &kept, &mut out).unwrap();
                    kept.drain(..progress.consumed);
                    prop_assert!(progress.need > kept.len() || kept.is_empty());
                    if rest.is_empty() {
                        break;
                    }
                }
                prop_assert!(kept.is_empty());
                bytes = out;
            }
            prop_assert_eq!(bytes, plain);
        }

        #[test]
        fn nothing_makes_it_panic(
            bytes in prop::collection::vec(prop_oneof![0u8..8, any::<u8>()], 0..200),
        ) {
            let (mut client, mut server) = pair();
            let _ = open_all(&mut server, &bytes, 1000, &mut Vec::new());
            let mut framed = Vec::new();
            put_frame(&[NAME, &bytes[..]].concat(), false, &mut framed);
            let _ = open_all(&mut server, &framed, 1000, &mut Vec::new());
            let _ = client.seal([&bytes[..]], &mut Vec::new(), &mut CodecScratch::default());
        }
    }
}
