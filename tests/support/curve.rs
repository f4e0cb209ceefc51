//! A client that speaks CURVE byte by byte.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use zcluster::wire::zmtp::{Curve, CurveCodec, Opening, SocketType, Step};

use super::PATIENCE;
use super::keys::SharedKeys;
use super::raw::tcp;

/// A client that has shaken hands.
pub struct CurvePeer {
    pub stream: TcpStream,
    codec: CurveCodec,
}

impl CurvePeer {
    /// A socket that pushes.
    pub fn producer(endpoint: &str, keys: &SharedKeys) -> Self {
        Self::connect(endpoint, keys, SocketType::Push)
    }

    /// A socket of that type.
    pub fn connect(endpoint: &str, keys: &SharedKeys, ours: SocketType) -> Self {
        let mut stream = tcp(endpoint);
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let curve =
            Curve::Client { keys: Arc::new(keys.client.clone()), server: *keys.server.public() };
        let (mut out, mut received) = (Vec::new(), Vec::new());
        let mut opening = Opening::new(ours, Some(curve), &mut out);
        loop {
            stream.write_all(&out).unwrap();
            out.clear();
            // Byte by byte: nothing of what follows the handshake is in the buffer then.
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            received.extend_from_slice(&byte);
            let (consumed, step) = opening.advance(&received, &mut out).unwrap();
            received.drain(..consumed);
            if let Step::Open(open) = step {
                stream.write_all(&out).unwrap();
                return CurvePeer { stream, codec: open.codec.unwrap() };
            }
        }
    }

    /// These frames, encrypted.
    pub fn seal(&mut self, frames: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::new();
        assert_eq!(self.codec.seal(frames, &mut sealed).unwrap().consumed, frames.len());
        sealed
    }

    /// These frames, encrypted one by one, with a MORE outside of each box whose frame has one, as
    /// some implementations send them.
    pub fn seal_with_more_outside(&mut self, frames: &[(&[u8], bool)]) -> Vec<u8> {
        let mut all = Vec::new();
        for (body, more) in frames {
            let mut sealed = Vec::new();
            self.codec.seal_frame(*more, false, body, &mut sealed);
            sealed[0] |= u8::from(*more);
            all.extend(sealed);
        }
        all
    }

    /// The frames that come until the connection ends.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let (mut sealed, mut plain) = (Vec::new(), Vec::new());
        self.stream.read_to_end(&mut sealed).unwrap();
        let progress = self.codec.open(&sealed, 1 << 20, &mut plain).unwrap();
        assert_eq!(progress.consumed, sealed.len());
        plain
    }
}
