//! Commands: control frames between messages (RFC 23, RFC 37).

use super::ZmtpError;
use super::frame::put_command;
use super::socket_type::SocketType;

/// Longest context of a PING in bytes; any more is not echoed.
const MAX_CONTEXT: usize = 16;

/// A command, borrowed from its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// The last command of the NULL handshake: the peer's properties, unparsed.
    Ready(&'a [u8]),
    /// The peer refuses the connection, with this reason.
    Error(&'a [u8]),
    /// The peer asks for a PONG.
    Ping {
        /// Tenths of a second of silence after which the peer gives up; 0: never.
        ttl: u16,
        /// Bytes that the PONG must repeat, at most 16.
        context: &'a [u8],
    },
    /// The answer to a PING.
    Pong,
    /// Subscribes to a topic prefix (ZMTP 3.1).
    Subscribe(&'a [u8]),
    /// Ends the subscription to a topic prefix (ZMTP 3.1).
    Cancel(&'a [u8]),
    /// An unknown command; ignored, as in libzmq.
    Unknown,
}

impl<'a> Command<'a> {
    /// Reads the body of a command frame.
    ///
    /// # Errors
    /// [`ZmtpError::Command`].
    pub fn parse(body: &'a [u8]) -> Result<Self, ZmtpError> {
        let (name, rest) = short_text(body).ok_or(ZmtpError::Command("unnamed"))?;
        Ok(match name {
            b"READY" => Command::Ready(rest),
            b"ERROR" => {
                let (reason, _) = short_text(rest).ok_or(ZmtpError::Command("ERROR"))?;
                Command::Error(reason)
            }
            b"PING" => {
                let (ttl, context) = rest.split_first_chunk().ok_or(ZmtpError::Command("PING"))?;
                let context = &context[..context.len().min(MAX_CONTEXT)];
                Command::Ping { ttl: u16::from_be_bytes(*ttl), context }
            }
            b"PONG" => Command::Pong,
            b"SUBSCRIBE" => Command::Subscribe(rest),
            b"CANCEL" => Command::Cancel(rest),
            _ => Command::Unknown,
        })
    }
}

/// Splits off a text that follows its length of one byte. Returns the text and the rest.
fn short_text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

/// Splits off the next property of a READY command. Returns its name, its value and the rest.
pub(super) fn property(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (name, rest) = short_text(bytes)?;
    let (length, rest) = rest.split_first_chunk()?;
    let (value, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    Some((name, value, rest))
}

/// Appends the READY command of a socket of that type, with an empty identity.
pub fn put_ready(socket_type: SocketType, out: &mut Vec<u8>) {
    let mut body = b"\x05READY".to_vec();
    put_properties(socket_type, &mut body);
    put_command(&body, out);
}

/// Appends the properties of a socket of that type.
pub(super) fn put_properties(socket_type: SocketType, out: &mut Vec<u8>) {
    for (name, value) in [("Socket-Type", socket_type.name()), ("Identity", "")] {
        // Both are short constants.
        out.push(name.len() as u8);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(&(value.len() as u32).to_be_bytes());
        out.extend_from_slice(value.as_bytes());
    }
}

/// Appends an ERROR command with at most 255 bytes of `reason`.
pub fn put_error(reason: &str, out: &mut Vec<u8>) {
    let reason = &reason.as_bytes()[..reason.len().min(255)];
    let mut body = b"\x05ERROR".to_vec();
    body.push(reason.len() as u8);
    body.extend_from_slice(reason);
    put_command(&body, out);
}

/// Appends a PING without a context. `ttl` is in tenths of a second; 0: no timeout announced.
pub fn put_ping(ttl: u16, out: &mut Vec<u8>) {
    let [high, low] = ttl.to_be_bytes();
    put_command(&[b"\x04PING".as_slice(), &[high, low]].concat(), out);
}

/// Appends the answer to a PING.
pub fn put_pong(context: &[u8], out: &mut Vec<u8>) {
    put_command(&[b"\x04PONG", context].concat(), out);
}

/// Appends a SUBSCRIBE or CANCEL command, as ZMTP 3.1 peers expect.
pub fn put_subscription(subscribe: bool, prefix: &[u8], out: &mut Vec<u8>) {
    let name: &[u8] = if subscribe { b"\x09SUBSCRIBE" } else { b"\x06CANCEL" };
    put_command(&[name, prefix].concat(), out);
}

#[cfg(test)]
mod tests {
    use super::super::FrameHeader;
    use super::*;

    #[test]
    fn commands_of_every_kind() {
        for (body, expected) in [
            (&b"\x05READYrest"[..], Ok(Command::Ready(b"rest"))),
            (b"\x05ERROR\x02no", Ok(Command::Error(b"no"))),
            (b"\x05ERROR\x03no", Err(ZmtpError::Command("ERROR"))),
            (b"\x04PING\0\x0a", Ok(Command::Ping { ttl: 10, context: b"" })),
            (
                b"\x04PING\x01\0abcdefghijklmnopqrst",
                Ok(Command::Ping { ttl: 256, context: b"abcdefghijklmnop" }),
            ),
            (b"\x04PING\0", Err(ZmtpError::Command("PING"))),
            (b"\x04PONGab", Ok(Command::Pong)),
            (b"\x09SUBSCRIBEa.b", Ok(Command::Subscribe(b"a.b"))),
            (b"\x06CANCEL", Ok(Command::Cancel(b""))),
            (b"\x03FOOx", Ok(Command::Unknown)),
            (b"\0", Ok(Command::Unknown)),
            (b"", Err(ZmtpError::Command("unnamed"))),
            (b"\x06READY", Err(ZmtpError::Command("unnamed"))),
        ] {
            assert_eq!(Command::parse(body), expected, "{body:?}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        type Put = fn(&mut Vec<u8>);
        let rows: [(Put, Command<'_>); 5] = [
            (|out| put_error("bad", out), Command::Error(b"bad")),
            (|out| put_ping(150, out), Command::Ping { ttl: 150, context: b"" }),
            (|out| put_pong(b"c", out), Command::Pong),
            (|out| put_subscription(true, b"t", out), Command::Subscribe(b"t")),
            (|out| put_subscription(false, b"t", out), Command::Cancel(b"t")),
        ];
        for (put, expected) in rows {
            let mut out = Vec::new();
            put(&mut out);
            let header = FrameHeader::parse(&out).unwrap().unwrap();
            assert!(header.command);
            assert_eq!(out.len() as u64, header.header_len as u64 + header.body_len);
            assert_eq!(Command::parse(&out[header.header_len..]), Ok(expected));
        }
    }
}
