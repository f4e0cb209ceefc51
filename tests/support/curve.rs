//! A client that speaks CURVE byte by byte.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use zcluster::wire::zmtp::{CodecScratch, Curve, CurveCodec, Opening, SocketType, Step, put_frame};

use super::PATIENCE;
use super::keys::SharedKeys;
use super::raw::tcp;

/// A client after the handshake.
pub struct CurvePeer {
    pub stream: TcpStream,
    codec: CurveCodec,
}

impl CurvePeer {
    /// Connects a PUSH socket.
    pub fn producer(endpoint: &str, keys: &SharedKeys) -> Self {
        Self::connect(endpoint, keys, SocketType::Push)
    }

    /// Connects a socket of that type.
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
            // One byte at a time, so that the buffer contains nothing after the handshake.
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

    /// Encrypts frames.
    pub fn seal(&mut self, frames: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::new();
        assert_eq!(
            self.codec.seal([frames], &mut sealed, &mut CodecScratch::default()).unwrap().consumed,
            frames.len()
        );
        sealed
    }

    /// Encrypts frames, and alters the last byte of those in the middle.
    pub fn seal_with_forgery(&mut self, before: &[u8], forged: &[u8], behind: &[u8]) -> Vec<u8> {
        let mut sealed = [self.seal(before), self.seal(forged)].concat();
        *sealed.last_mut().unwrap() ^= 1;
        sealed.extend(self.seal(behind));
        sealed
    }

    /// Encrypts frames one by one, and repeats their MORE flags outside the boxes, as some
    /// implementations do.
    pub fn seal_with_more_outside(&mut self, frames: &[(&[u8], bool)]) -> Vec<u8> {
        let mut all = Vec::new();
        for (body, more) in frames {
            let mut sealed = Vec::new();
            let mut frame = Vec::new();
            put_frame(body, *more, &mut frame);
            self.codec.seal([&frame[..]], &mut sealed, &mut CodecScratch::default()).unwrap();
            sealed[0] |= u8::from(*more);
            all.extend(sealed);
        }
        all
    }

    /// Reads frames until the connection ends.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let (mut sealed, mut plain) = (Vec::new(), Vec::new());
        self.stream.read_to_end(&mut sealed).unwrap();
        let scratch = &mut CodecScratch::default();
        let progress = self.codec.open(&sealed, 1 << 20, &mut plain, scratch).unwrap();
        assert_eq!(progress.consumed, sealed.len());
        plain
    }
}
