//! [`CurveCodec`]: encrypts and decrypts the frames of an open connection.
//!
//! An encrypted frame is a plain frame whose body is `MESSAGE`, a number and a box; the box holds a
//! byte of flags and the body of the inner frame. Only the flags in the box count: some peers set
//! MORE in the outer frame, too, where it means nothing.

use super::super::frame::{COMMAND, MORE, header};
use super::super::{FrameHeader, ZmtpError};
use super::{Fields, counted_nonce};
use zmq_sys::sodium::{BoxKey, MAC_SIZE};

/// How the body of an encrypted frame starts.
const NAME: &[u8; 8] = b"\x07MESSAGE";

/// Bytes that encryption adds to the body of a frame.
const OVERHEAD: usize = NAME.len() + size_of::<u64>() + MAC_SIZE + 1;

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

/// Encrypts and decrypts the frames of one connection. Wipes its key when dropped.
///
/// Every sealed frame must be sent, in the order of sealing, and frames must be opened in the order
/// of arrival. After an error the connection is unusable.
#[derive(Debug)]
pub struct CurveCodec {
    key: BoxKey,
    /// The number of the last box sealed with the key. It never reaches 2^64.
    sent: u64,
    sent_prefix: &'static [u8; 16],
    /// The number of the last box opened.
    received: u64,
    received_prefix: &'static [u8; 16],
}

impl CurveCodec {
    const OF_CLIENT: &'static [u8; 16] = b"CurveZMQMESSAGEC";
    const OF_SERVER: &'static [u8; 16] = b"CurveZMQMESSAGES";

    /// `sent` and `received`: the numbers of the last boxes in the handshake.
    pub(super) fn of_server(key: BoxKey, sent: u64, received: u64) -> Self {
        let (sent_prefix, received_prefix) = (Self::OF_SERVER, Self::OF_CLIENT);
        CurveCodec { key, sent, sent_prefix, received, received_prefix }
    }

    /// Creates the codec of the server side.
    pub(super) fn of_client(key: BoxKey, sent: u64, received: u64) -> Self {
        let (sent_prefix, received_prefix) = (Self::OF_CLIENT, Self::OF_SERVER);
        CurveCodec { key, sent, sent_prefix, received, received_prefix }
    }

    /// Encrypts the whole frames at the start of `plain` and appends them to `sealed`, where each
    /// is up to 40 bytes larger. Allocates only space in `sealed`.
    ///
    /// # Errors
    /// If `plain` contains anything but frames.
    pub fn seal(&mut self, plain: &[u8], sealed: &mut Vec<u8>) -> Result<Progress, ZmtpError> {
        let mut consumed = 0;
        loop {
            let rest = &plain[consumed..];
            let Some(header) = FrameHeader::parse(rest)? else {
                return Ok(Progress::wants(consumed, rest, rest.len() + 1));
            };
            // A frame whose size does not fit in usize is never complete.
            let end = header.body_len.saturating_add(header.header_len as u64);
            let end = usize::try_from(end).unwrap_or(usize::MAX);
            let Some(body) = rest.get(header.header_len..end) else {
                return Ok(Progress::wants(consumed, rest, end));
            };
            self.seal_frame(header.more, header.command, body, sealed);
            consumed += end;
        }
    }

    /// Encrypts one frame.
    #[inline]
    pub fn seal_frame(&mut self, more: bool, command: bool, body: &[u8], sealed: &mut Vec<u8>) {
        self.sent += 1;
        let number = self.sent.to_be_bytes();
        let size = body.len() + OVERHEAD;
        // libzmq encrypts whole frames with their flags, so the outer frame has none.
        let (header, header_len) = header(0, size);
        sealed.reserve(header_len + size);
        sealed.extend_from_slice(&header[..header_len]);
        sealed.extend_from_slice(NAME);
        sealed.extend_from_slice(&number);
        let start = sealed.len();
        sealed.extend_from_slice(&[0; MAC_SIZE]);
        sealed.push(if more { MORE } else { 0 } | if command { SEALED_COMMAND } else { 0 });
        sealed.extend_from_slice(body);
        let (mac, message) = sealed[start..].split_at_mut(MAC_SIZE);
        let nonce = counted_nonce(self.sent_prefix, number);
        mac.copy_from_slice(&self.key.seal(&nonce, message));
    }

    /// Decrypts the whole frames at the start of `sealed` and appends them to `plain`, as frames
    /// for a [`MessageReader`](super::super::MessageReader). `limit`: largest body of a frame, in
    /// bytes. Appends less than it consumes, and allocates only space in `plain`.
    ///
    /// # Errors
    /// Anything but genuine, unmodified messages in the order in which they were sent.
    pub fn open(
        &mut self,
        sealed: &[u8],
        limit: u64,
        plain: &mut Vec<u8>,
    ) -> Result<Progress, ZmtpError> {
        let mut consumed = 0;
        loop {
            let rest = &sealed[consumed..];
            let Some(header) = FrameHeader::parse(rest)? else {
                return Ok(Progress::wants(consumed, rest, rest.len() + 1));
            };
            if header.more && !may_be_message(&header, rest) {
                return Err(ZmtpError::Flags(MORE));
            }
            let size = header.body_len.saturating_sub(OVERHEAD as u64);
            if size > limit {
                return Err(ZmtpError::TooLarge { size, limit });
            }
            // `limit` can be any number.
            let end = header.body_len.saturating_add(header.header_len as u64);
            let end = usize::try_from(end).unwrap_or(usize::MAX);
            let Some(body) = rest.get(header.header_len..end) else {
                return Ok(Progress::wants(consumed, rest, end));
            };
            self.open_frame(body, plain)?;
            consumed += end;
        }
    }

    #[inline]
    fn open_frame(&mut self, body: &[u8], plain: &mut Vec<u8>) -> Result<(), ZmtpError> {
        let body = body.strip_prefix(NAME).ok_or(ZmtpError::Expected("MESSAGE"))?;
        let fields = |body| {
            let mut fields = Fields(body);
            let (number, mac) = (*fields.take::<8>()?, fields.take::<MAC_SIZE>()?);
            Some((number, mac, fields.0, fields.0.len().checked_sub(1)?))
        };
        let (number, mac, message, size) = fields(body).ok_or(ZmtpError::Command("MESSAGE"))?;
        let nonce = u64::from_be_bytes(number);
        if nonce <= self.received {
            return Err(ZmtpError::Replayed { nonce, last: self.received });
        }
        // The byte of flags lands on the last byte of the header, which is written afterwards.
        let start = plain.len();
        let (_, header_len) = header(0, size);
        plain.resize(start + header_len + size, 0);
        let opened = &mut plain[start + header_len - 1..];
        let nonce_bytes = counted_nonce(self.received_prefix, number);
        if !self.key.open(&nonce_bytes, mac, message, opened) {
            plain.truncate(start);
            return Err(ZmtpError::Undecryptable("MESSAGE"));
        }
        self.received = nonce;
        let flags = match opened[0] {
            0 => 0,
            MORE => MORE,
            SEALED_COMMAND => COMMAND,
            unknown => {
                plain.truncate(start);
                return Err(ZmtpError::Flags(unknown));
            }
        };
        let (header, header_len) = header(flags, size);
        plain[start..start + header_len].copy_from_slice(&header[..header_len]);
        Ok(())
    }
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
        let (client, server) = (KeyPair::generate(), KeyPair::generate());
        let key = |theirs: &KeyPair, ours: &KeyPair| {
            BoxKey::new(theirs.public().as_bytes(), ours.secret().expose()).unwrap()
        };
        (
            CurveCodec::of_client(key(&server, &client), 2, 1),
            CurveCodec::of_server(key(&client, &server), 1, 2),
        )
    }

    fn seal(codec: &mut CurveCodec, plain: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::new();
        let progress = codec.seal(plain, &mut sealed).unwrap();
        assert_eq!(progress, Progress { consumed: plain.len(), need: 0 });
        sealed
    }

    /// Seals one frame whose first byte in the box is `flags`.
    fn seal_flags(codec: &mut CurveCodec, flags: u8) -> Vec<u8> {
        codec.sent += 1;
        let number = codec.sent.to_be_bytes();
        let sealed = codec.key.seal_to_vec(&counted_nonce(codec.sent_prefix, number), &[flags]);
        let mut out = Vec::new();
        put_frame(&[NAME, &number[..], &sealed].concat(), false, &mut out);
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
                let progress = server.open(&sealed, size.max(7) as u64, &mut plain).unwrap();
                assert_eq!(progress, Progress { consumed: sealed.len(), need: 0 });
                assert!(plain == frames, "{size}");
                std::mem::swap(&mut client, &mut server);
            }
        }
    }

    // The bytes on the wire: the outer frame has no flags, and the number continues from the
    // handshake.
    #[test]
    fn the_form_of_a_message() {
        let (mut client, _) = pair();
        let mut sealed = Vec::new();
        client.seal_frame(true, false, b"abc", &mut sealed);
        assert_eq!(sealed[..18], *b"\x00\x24\x07MESSAGE\0\0\0\0\0\0\0\x03");
        assert_eq!(sealed.len(), 2 + 8 + 8 + 16 + 1 + 3);
    }

    // omq-tokio 0.33.0 sends such frames, and libzmq 4.3.5 accepts them.
    #[test]
    fn more_outside_of_the_box_means_nothing() {
        let (mut client, mut server) = pair();
        for (outer, inner) in [(true, false), (false, true), (true, true)] {
            for size in [3, 300] {
                let body = vec![7; size];
                let mut sealed = Vec::new();
                client.seal_frame(inner, false, &body, &mut sealed);
                sealed[0] |= u8::from(outer);
                let mut expected = Vec::new();
                put_frame(&body, inner, &mut expected);
                // Any incomplete part of it makes the codec wait for more.
                for end in 0..sealed.len() {
                    let progress = server.open(&sealed[..end], 300, &mut Vec::new()).unwrap();
                    assert_eq!(progress.consumed, 0);
                }
                let mut plain = Vec::new();
                server.open(&sealed, 300, &mut plain).unwrap();
                assert_eq!(plain, expected, "{outer} {inner} {size}");
            }
        }
    }

    #[test]
    fn what_is_not_genuine_is_refused() {
        let open = |codec: &mut CurveCodec, sealed: &[u8]| {
            let mut plain = b"kept".to_vec();
            let error = codec.open(sealed, 100, &mut plain).unwrap_err();
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
        assert!(server.open(&second, 100, &mut Vec::new()).is_ok());
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
        server.open(&sealed, 0, &mut plain).unwrap();
        assert_eq!(plain, [4, 0]);
    }

    #[test]
    fn a_length_that_is_known_is_told() {
        let (mut client, mut server) = pair();
        let mut plain = Vec::new();
        for bytes in [&[][..], &[2], &[2, 0, 0, 0, 0, 0, 0, 1], &[2, 0, 0, 0, 0, 0, 0, 1, 0]] {
            let need = [0, 2, 9, 265][[0, 1, 8, 9].iter().position(|n| *n == bytes.len()).unwrap()];
            let expected = Ok(Progress { consumed: 0, need });
            assert_eq!(server.open(bytes, 1 << 20, &mut plain), expected);
            assert_eq!(client.seal(bytes, &mut plain), expected);
        }
        let endless = [2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        let expected = Ok(Progress { consumed: 0, need: usize::MAX });
        assert_eq!(server.open(&endless, u64::MAX, &mut plain), expected);
        assert_eq!(client.seal(&endless, &mut plain), expected);
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
                let (header, length) = header([0, MORE, COMMAND][*kind], body.len());
                plain.extend_from_slice(&header[..length]);
                plain.extend_from_slice(body);
            }
            let turns: [(&mut CurveCodec, Turn); 2] = [
                (&mut client, |codec, bytes, out| codec.seal(bytes, out)),
                (&mut server, |codec, bytes, out| codec.open(bytes, 600, out)),
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
            let _ = server.open(&bytes, 1000, &mut Vec::new());
            let mut framed = Vec::new();
            put_frame(&[NAME, &bytes[..]].concat(), false, &mut framed);
            let _ = server.open(&framed, 1000, &mut Vec::new());
            let _ = client.seal(&bytes, &mut Vec::new());
        }
    }
}
