//! The reference that engines are compared with: frames encrypted and decrypted by libsodium, one
//! box after the other.

use zcluster::wire::zmtp::{FrameHeader, ZmtpError};
use zmq_sys::sodium::{BoxKey, MAC_SIZE, NONCE_SIZE};

const NAME: &[u8; 8] = b"\x07MESSAGE";
/// Bytes that encryption adds to the body of a frame.
const OVERHEAD: usize = NAME.len() + size_of::<u64>() + MAC_SIZE + 1;
/// Flags of frames, and the flag of commands inside a box.
const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;
const SEALED_COMMAND: u8 = 2;

/// One end of an encrypted connection.
pub(crate) struct Boxwise<'a> {
    key: &'a BoxKey,
    sent: u64,
    sent_prefix: &'static [u8; 16],
    received: u64,
    received_prefix: &'static [u8; 16],
}

impl<'a> Boxwise<'a> {
    /// The client and the server, as `CurveCodec::ends`.
    pub(crate) fn ends(key: &'a BoxKey) -> [Self; 2] {
        let (client, server) = (b"CurveZMQMESSAGEC", b"CurveZMQMESSAGES");
        let end = |sent_prefix, sent, received_prefix, received| Boxwise {
            key,
            sent,
            sent_prefix,
            received,
            received_prefix,
        };
        [end(client, 2, server, 1), end(server, 1, client, 2)]
    }

    /// Encrypts whole frames and appends them to `sealed`.
    ///
    /// # Errors
    /// When it finds anything but frames.
    pub(crate) fn seal(&mut self, plain: &[u8], sealed: &mut Vec<u8>) -> Result<(), ZmtpError> {
        let mut rest = plain;
        while let Some(header) = FrameHeader::parse(rest)? {
            let Some(body) = rest.get(header.header_len..header.end()) else { break };
            self.seal_frame(header.more, header.command, body, sealed);
            rest = &rest[header.end()..];
        }
        Ok(())
    }

    fn seal_frame(&mut self, more: bool, command: bool, body: &[u8], sealed: &mut Vec<u8>) {
        self.sent += 1;
        let number = self.sent.to_be_bytes();
        let size = body.len() + OVERHEAD;
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
        mac.copy_from_slice(&self.key.seal(&nonce(self.sent_prefix, number), message));
    }

    /// Decrypts whole frames and appends them to `plain`.
    ///
    /// # Errors
    /// Anything but genuine messages in the order in which they were sealed.
    pub(crate) fn open(&mut self, sealed: &[u8], plain: &mut Vec<u8>) -> Result<(), ZmtpError> {
        let mut rest = sealed;
        while let Some(header) = FrameHeader::parse(rest)? {
            let Some(body) = rest.get(header.header_len..header.end()) else { break };
            self.open_frame(body, plain)?;
            rest = &rest[header.end()..];
        }
        Ok(())
    }

    fn open_frame(&mut self, body: &[u8], plain: &mut Vec<u8>) -> Result<(), ZmtpError> {
        let body = body.strip_prefix(NAME).ok_or(ZmtpError::Expected("MESSAGE"))?;
        let fields = || {
            let (number, rest) = body.split_first_chunk()?;
            let (mac, message) = rest.split_first_chunk()?;
            Some((*number, mac, message, message.len().checked_sub(1)?))
        };
        let (number, mac, message, size) = fields().ok_or(ZmtpError::Command("MESSAGE"))?;
        let count = u64::from_be_bytes(number);
        if count <= self.received {
            return Err(ZmtpError::Replayed { nonce: count, last: self.received });
        }
        // The byte of flags lands on the last byte of the header, which is written after.
        let start = plain.len();
        let (_, header_len) = header(0, size);
        plain.resize(start + header_len + size, 0);
        let opened = &mut plain[start + header_len - 1..];
        if !self.key.open(&nonce(self.received_prefix, number), mac, message, opened) {
            plain.truncate(start);
            return Err(ZmtpError::Undecryptable("MESSAGE"));
        }
        self.received = count;
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

/// The header of a frame, and its length in the array.
pub(crate) fn header(flags: u8, body_len: usize) -> ([u8; 9], usize) {
    let mut header = [0; 9];
    if let Ok(length) = u8::try_from(body_len) {
        header[..2].copy_from_slice(&[flags, length]);
        (header, 2)
    } else {
        header[0] = flags | LONG;
        header[1..].copy_from_slice(&(body_len as u64).to_be_bytes());
        (header, 9)
    }
}

fn nonce(prefix: &[u8; 16], number: [u8; 8]) -> [u8; NONCE_SIZE] {
    let mut nonce = [0; NONCE_SIZE];
    nonce[..16].copy_from_slice(prefix);
    nonce[16..].copy_from_slice(&number);
    nonce
}
