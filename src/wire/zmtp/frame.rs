//! Frames: a byte of flags, a length, and a body (RFC 23).

use super::ZmtpError;

/// Size of the longest header in bytes.
pub const MAX_HEADER: usize = 9;

pub(super) const MORE: u8 = 1;
const LONG: u8 = 2;
pub(super) const COMMAND: u8 = 4;

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Whether the message continues in the next frame.
    pub more: bool,
    /// Whether this is a command rather than a part of a message.
    pub command: bool,
    /// Size of the header itself in bytes: 2 or 9.
    pub header_len: usize,
    /// Size of the body in bytes.
    pub body_len: u64,
}

impl FrameHeader {
    /// Reads the header at the start of `bytes`; `None` if it is incomplete.
    ///
    /// Long headers are accepted for short frames, as in libzmq.
    ///
    /// # Errors
    /// Unknown flags, or a command with the MORE flag.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, ZmtpError> {
        let Some((flags, rest)) = bytes.split_first() else { return Ok(None) };
        if *flags > 7 || flags & (MORE | COMMAND) == MORE | COMMAND {
            return Err(ZmtpError::Flags(*flags));
        }
        let (header_len, body_len) = if flags & LONG == 0 {
            let Some(length) = rest.first() else { return Ok(None) };
            (2, u64::from(*length))
        } else {
            let Some(length) = rest.first_chunk() else { return Ok(None) };
            (MAX_HEADER, u64::from_be_bytes(*length))
        };
        let (more, command) = (flags & MORE != 0, flags & COMMAND != 0);
        Ok(Some(FrameHeader { more, command, header_len, body_len }))
    }

    /// Where the frame ends. `usize::MAX` for a length that does not fit into memory: such a frame
    /// never arrives in full.
    #[inline]
    pub fn end(&self) -> usize {
        let end = self.body_len.saturating_add(self.header_len as u64);
        usize::try_from(end).unwrap_or(usize::MAX)
    }
}

/// The header of a frame with a body of `body_len` bytes, and the header's length in the array.
#[inline]
pub(super) fn header(flags: u8, body_len: usize) -> ([u8; MAX_HEADER], usize) {
    let mut header = [0; MAX_HEADER];
    if let Ok(length) = u8::try_from(body_len) {
        header[..2].copy_from_slice(&[flags, length]);
        (header, 2)
    } else {
        header[0] = flags | LONG;
        header[1..].copy_from_slice(&(body_len as u64).to_be_bytes());
        (header, MAX_HEADER)
    }
}

/// Appends a frame.
fn put(flags: u8, body: &[u8], out: &mut Vec<u8>) {
    let (header, length) = header(flags, body.len());
    out.extend_from_slice(&header[..length]);
    out.extend_from_slice(body);
}

/// Appends a frame of a message.
pub fn put_frame(body: &[u8], more: bool, out: &mut Vec<u8>) {
    put(if more { MORE } else { 0 }, body, out);
}

/// Appends a command frame.
pub(super) fn put_command(body: &[u8], out: &mut Vec<u8>) {
    put(COMMAND, body, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_every_form() {
        let header = |more, command, header_len, body_len| {
            Ok(Some(FrameHeader { more, command, header_len, body_len }))
        };
        for (bytes, expected) in [
            (&b""[..], Ok(None)),
            (b"\0", Ok(None)),
            (b"\0\x05", header(false, false, 2, 5)),
            (b"\x01\xff rest", header(true, false, 2, 255)),
            (b"\x04\0", header(false, true, 2, 0)),
            (b"\x02\0\0\0\0\0\0\x01", Ok(None)),
            (b"\x02\0\0\0\0\0\0\x01\0", header(false, false, 9, 256)),
            (b"\x03\0\0\0\0\0\0\0\x01", header(true, false, 9, 1)),
            (b"\x06\xff\xff\xff\xff\xff\xff\xff\xff", header(false, true, 9, u64::MAX)),
            (b"\x05\0", Err(ZmtpError::Flags(5))),
            (b"\x07", Err(ZmtpError::Flags(7))),
            (b"\x08\0", Err(ZmtpError::Flags(8))),
            (b"\xff\0", Err(ZmtpError::Flags(255))),
        ] {
            assert_eq!(FrameHeader::parse(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn frames_read_back() {
        for length in [0, 1, 255, 256, 70_000] {
            for more in [false, true] {
                let mut out = Vec::new();
                put_frame(&vec![b'x'; length], more, &mut out);
                let header = FrameHeader::parse(&out).unwrap().unwrap();
                assert_eq!((header.more, header.command), (more, false));
                assert_eq!(header.header_len, if length > 255 { 9 } else { 2 });
                assert_eq!(header.body_len, length as u64);
                assert_eq!(out.len(), header.header_len + length);
                assert_eq!(out.len(), header.end());
            }
        }
    }
}
