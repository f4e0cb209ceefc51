//! The start of a connection: greetings, then READY in both directions (RFC 23, mechanism NULL).
//! Also has the parts that mechanism CURVE shares.

use bstr::ByteSlice;

use super::command::{Command, property, put_ready};
use super::socket_type::SocketType;
use super::{FrameHeader, ZmtpError};

/// Size of a greeting in bytes.
pub const GREETING_SIZE: usize = 64;

/// Largest READY command accepted, in bytes. libzmq's have about fifty; applications can add
/// properties.
pub(super) const MAX_READY: u64 = 8 << 10;

/// The name of the mechanism without security.
pub(super) const NULL: &str = "NULL";

/// Offset in a greeting of the as-server flag, and the end of the mechanism's name.
const AS_SERVER: usize = 32;

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The lower of the two minor versions: 0 or 1. With 1, subscriptions are commands and PINGs
    /// are supported.
    pub minor: u8,
    /// The peer's socket type.
    pub socket_type: SocketType,
}

/// The handshake of one connection, as a state machine fed with bytes.
#[derive(Clone, Debug)]
pub struct Handshake {
    ours: SocketType,
    /// The minor version of the peer, once its greeting has arrived.
    minor: Option<u8>,
}

impl Handshake {
    /// Starts the handshake of a socket of that type and appends its first bytes to `out`.
    ///
    /// They include READY: with NULL neither side waits for the other.
    pub fn new(ours: SocketType, out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(&our_greeting(NULL, false));
        put_ready(ours, out);
        Handshake { ours, minor: None }
    }

    /// Continues a handshake after both greetings. Appends READY to `out`.
    pub(super) fn after_greetings(ours: SocketType, minor: u8, out: &mut Vec<u8>) -> Self {
        put_ready(ours, out);
        Handshake { ours, minor: Some(minor) }
    }

    /// Continues with `bytes`, which must be everything received and not yet consumed. Returns how
    /// many were consumed, and the peer once the handshake is complete; the bytes after it are
    /// frames.
    ///
    /// # Errors
    /// If this socket cannot talk to the peer.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<(usize, Option<Peer>), ZmtpError> {
        let mut consumed = 0;
        let minor = match self.minor {
            Some(minor) => minor,
            None => match greeting(bytes, NULL)? {
                None => return Ok((0, None)),
                Some(minor) => {
                    consumed = GREETING_SIZE;
                    *self.minor.insert(minor)
                }
            },
        };
        let Some((body, end)) = command_frame(&bytes[consumed..], "READY", MAX_READY)? else {
            return Ok((consumed, None));
        };
        let socket_type = match Command::parse(body)? {
            Command::Ready(properties) => peer_type(self.ours, properties)?,
            Command::Error(reason) => return Err(ZmtpError::Refused(text(reason))),
            _ => return Err(ZmtpError::Expected("READY")),
        };
        Ok((consumed + end, Some(Peer { minor, socket_type })))
    }
}

/// Our greeting.
pub(super) fn our_greeting(mechanism: &str, is_server: bool) -> [u8; GREETING_SIZE] {
    let mut greeting = [0; GREETING_SIZE];
    greeting[..12].copy_from_slice(&[0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 1]);
    greeting[12..][..mechanism.len()].copy_from_slice(mechanism.as_bytes());
    greeting[AS_SERVER] = u8::from(is_server);
    greeting
}

/// Reads the minor version of the greeting, capped at ours; `None` if it is incomplete. Rejects
/// bytes that cannot become a greeting at once, rather than waiting for the rest of an HTTP
/// request.
pub(super) fn greeting(bytes: &[u8], ours: &'static str) -> Result<Option<u8>, ZmtpError> {
    let is = |at: usize, good: fn(u8) -> bool| bytes.get(at).is_none_or(|byte| good(*byte));
    if !is(0, |b| b == 0xff) || !is(9, |b| b == 0x7f) || !is(10, |major| major >= 3) {
        return Err(ZmtpError::Greeting);
    }
    let Some(greeting) = bytes.get(..GREETING_SIZE) else { return Ok(None) };
    let theirs = greeting[12..AS_SERVER].trim_end_with(|c| c == '\0');
    if theirs != ours.as_bytes() {
        return Err(ZmtpError::Mechanism { theirs: text(theirs), ours });
    }
    // The as-server flag is ignored, as in libzmq. A later major version must speak ours, too.
    Ok(Some(if greeting[10] > 3 { 1 } else { greeting[11].min(1) }))
}

/// The body of the `expected` command frame at the start of `bytes`, of at most `limit` bytes, and
/// where it ends; `None` if it is incomplete.
pub(super) fn command_frame<'a>(
    bytes: &'a [u8],
    expected: &'static str,
    limit: u64,
) -> Result<Option<(&'a [u8], usize)>, ZmtpError> {
    let Some(header) = FrameHeader::parse(bytes)? else { return Ok(None) };
    if !header.command {
        return Err(ZmtpError::Expected(expected));
    }
    if header.body_len > limit {
        return Err(ZmtpError::TooLarge { size: header.body_len, limit });
    }
    let end = header.end();
    Ok(bytes.get(header.header_len..end).map(|body| (body, end)))
}

/// The peer's socket type, from its properties; an error if it does not match ours.
pub(super) fn peer_type(ours: SocketType, mut properties: &[u8]) -> Result<SocketType, ZmtpError> {
    let mut name: &[u8] = b"";
    while !properties.is_empty() {
        let (key, value, rest) = property(properties).ok_or(ZmtpError::Command("READY"))?;
        if key.eq_ignore_ascii_case(b"Socket-Type") {
            name = value;
        }
        properties = rest;
    }
    SocketType::named(name)
        .filter(|theirs| ours.goes_with(*theirs))
        .ok_or_else(|| ZmtpError::SocketType(text(name)))
}

/// Text from the peer, made printable and short for messages.
pub(super) fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(64)]);
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{put_error, put_frame, put_ping};
    use super::*;

    fn greeting_of(minor: u8, mechanism: &str) -> Vec<u8> {
        let mut out = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, minor];
        out.extend_from_slice(mechanism.as_bytes());
        out.resize(GREETING_SIZE, 0);
        out
    }

    fn opening(ours: SocketType) -> Vec<u8> {
        let mut out = Vec::new();
        Handshake::new(ours, &mut out);
        out
    }

    /// Feeds bytes in pieces of `size`, keeping unconsumed ones, as a connection does.
    fn feed(
        ours: SocketType,
        bytes: &[u8],
        size: usize,
    ) -> Result<Option<(Peer, Vec<u8>)>, ZmtpError> {
        let mut handshake = Handshake::new(ours, &mut Vec::new());
        let mut kept = Vec::new();
        let mut pieces = bytes.chunks(size);
        while let Some(piece) = pieces.next() {
            kept.extend_from_slice(piece);
            let (consumed, peer) = handshake.advance(&kept)?;
            kept.drain(..consumed);
            if let Some(peer) = peer {
                kept.extend(pieces.flatten());
                return Ok(Some((peer, kept)));
            }
        }
        Ok(None)
    }

    #[test]
    fn two_of_us_understand_one_another_however_the_bytes_come() {
        for (ours, theirs) in [
            (SocketType::Pull, SocketType::Push),
            (SocketType::Xpub, SocketType::Sub),
            (SocketType::Xsub, SocketType::Pub),
            (SocketType::Xsub, SocketType::Xpub),
        ] {
            let mut bytes = opening(theirs);
            bytes.extend_from_slice(b"\0\x01x");
            for size in 1..=bytes.len() {
                let (peer, rest) = feed(ours, &bytes, size).unwrap().unwrap();
                assert_eq!(peer, Peer { minor: 1, socket_type: theirs });
                assert_eq!(rest, b"\0\x01x");
            }
            let whole = bytes.len() - 3;
            for end in 0..whole {
                assert_eq!(feed(ours, &bytes[..end], whole), Ok(None), "{end}");
            }
        }
    }

    #[test]
    fn older_and_newer_versions() {
        let ready = &opening(SocketType::Push)[GREETING_SIZE..];
        for (major, minor, expected) in [(3, 0, 0), (3, 1, 1), (3, 7, 1), (4, 0, 1)] {
            let mut bytes = greeting_of(minor, "NULL");
            bytes[10] = major;
            bytes.extend_from_slice(ready);
            let (peer, _) = feed(SocketType::Pull, &bytes, 1000).unwrap().unwrap();
            assert_eq!(peer.minor, expected);
        }
    }

    #[test]
    fn strangers_are_refused() {
        let after = |put: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = greeting_of(1, "NULL");
            put(&mut bytes);
            bytes
        };
        let refuse = |bytes: &[u8]| feed(SocketType::Pull, bytes, bytes.len()).unwrap_err();
        for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"\x01\0", b"\xff\0\0\0\0\0\0\0\x01\x00"] {
            assert_eq!(refuse(bytes), ZmtpError::Greeting);
        }
        // ZMTP 2.0.
        let mut old = greeting_of(0, "NULL");
        old[10] = 1;
        assert_eq!(refuse(&old), ZmtpError::Greeting);
        for mechanism in ["CURVE", "PLAIN", "", "NULLX"] {
            let error = ZmtpError::Mechanism { theirs: mechanism.into(), ours: "NULL" };
            assert_eq!(refuse(&greeting_of(1, mechanism)), error);
        }
        for wrong in [SocketType::Pull, SocketType::Sub, SocketType::Xpub] {
            assert_eq!(refuse(&opening(wrong)), ZmtpError::SocketType(wrong.name().into()));
        }
        assert_eq!(
            refuse(&after(&|out| put_error("go away\n", out))),
            ZmtpError::Refused("go away?".into())
        );
        assert_eq!(
            refuse(&after(&|out| put_frame(b"early", false, out))),
            ZmtpError::Expected("READY")
        );
        assert_eq!(refuse(&after(&|out| put_ping(1, out))), ZmtpError::Expected("READY"));
        let mut long = greeting_of(1, "NULL");
        long.extend_from_slice(b"\x06\0\0\0\0\x01\0\0\0");
        assert!(matches!(refuse(&long), ZmtpError::TooLarge { size: 0x0100_0000, .. }));
        let torn = after(&|out| out.extend_from_slice(b"\x04\x0b\x05READY\x04Sock"));
        assert_eq!(refuse(&torn), ZmtpError::Command("READY"));
        let none = after(&|out| out.extend_from_slice(b"\x04\x06\x05READY"));
        assert_eq!(refuse(&none), ZmtpError::SocketType(String::new()));
    }
}
