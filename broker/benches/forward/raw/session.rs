//! The bytes of one connection without I/O: its handshake, and encryption if there are keys.

use zcluster::wire::zmtp::{CodecScratch, Curve, CurveCodec, Opening, SocketType, Step};

/// Bytes that encryption adds to the body of each frame: a name, a number, a tag and a byte of
/// flags.
const BOX: usize = 8 + 8 + 16 + 1;
/// Largest body of a frame in bytes.
const LIMIT: u64 = 16 << 20;

/// The client side of a connection.
pub(crate) struct Session {
    state: State,
    /// Received bytes that do not make a whole command or encrypted frame yet.
    received: Vec<u8>,
}

enum State {
    Opening(Opening),
    Open(Option<CurveCodec>),
}

impl Session {
    /// Starts a connection, encrypted if there are keys, and appends its first bytes to `out`.
    pub(crate) fn new(ours: SocketType, curve: Option<Curve>, out: &mut Vec<u8>) -> Self {
        Session { state: State::Opening(Opening::new(ours, curve, out)), received: Vec::new() }
    }

    /// Whether the handshake is complete.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Whether frames are encrypted.
    pub(crate) fn is_encrypted(&self) -> bool {
        matches!(self.state, State::Open(Some(_)))
    }

    /// Takes received bytes. Appends what the handshake answers to `out`, and the frames that
    /// follow it to `plain`, decrypted and as whole frames if they are encrypted.
    pub(crate) fn receive(
        &mut self,
        bytes: &[u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
        scratch: &mut CodecScratch,
    ) {
        if let State::Open(None) = self.state {
            plain.extend_from_slice(bytes);
            return;
        }
        self.received.extend_from_slice(bytes);
        if let State::Opening(opening) = &mut self.state {
            let (consumed, step) = opening.advance(&self.received, out).unwrap();
            self.received.drain(..consumed);
            match step {
                Step::Open(open) => self.state = State::Open(open.codec),
                Step::More => return,
                Step::Authorize(_) => unreachable!("clients do not authorize servers"),
            }
        }
        match &mut self.state {
            State::Open(Some(codec)) => {
                let progress = codec.open(&self.received, LIMIT, plain, scratch).unwrap();
                self.received.drain(..progress.consumed);
            }
            _ => plain.append(&mut self.received),
        }
    }

    /// Appends whole frames to `out`, encrypted if the connection is.
    pub(crate) fn send(&mut self, frames: &[u8], out: &mut Vec<u8>, scratch: &mut CodecScratch) {
        match &mut self.state {
            State::Open(Some(codec)) => {
                let taken = codec.seal_pieces(&mut std::iter::once(frames), out, scratch).unwrap();
                assert_eq!(taken, frames.len());
            }
            _ => out.extend_from_slice(frames),
        }
    }
}

/// Bytes of a message on a connection.
pub(crate) fn size_on_wire(frames: &[&[u8]], is_encrypted: bool) -> usize {
    let size = |frame: &&[u8]| {
        let body = frame.len() + if is_encrypted { BOX } else { 0 };
        body + if body > usize::from(u8::MAX) { 9 } else { 2 }
    };
    frames.iter().map(size).sum()
}
