//! The bytes of one connection without I/O: its handshake, and encryption if there are keys.

use zcluster::wire::zmtp::{
    CodecScratch, Curve, CurveCodec, GREETING_SIZE, Opening, SocketType, Step,
};

/// Bytes that encryption adds to the body of each frame: a name, a number, a tag and a byte of
/// flags.
const BOX: usize = 8 + 8 + 16 + 1;
/// Largest body of a frame in bytes.
const LIMIT: u64 = 16 << 20;

/// The client side of a connection.
pub(crate) struct Session {
    state: State,
    /// What to send once the server's greeting has arrived; `None` after that.
    answer: Option<Vec<u8>>,
    /// Received bytes that do not make a whole command or encrypted frame yet.
    received: Vec<u8>,
}

enum State {
    Opening(Opening),
    Open(Option<CurveCodec>),
}

impl Session {
    /// Starts a connection, encrypted if there are keys, and appends its first bytes to `out`.
    ///
    /// The server's greeting is known beforehand. So everything that the client computes until the
    /// server's first command is computed here: half of what a handshake with CURVE costs it.
    pub(crate) fn new(ours: SocketType, curve: Option<Curve>, out: &mut Vec<u8>) -> Self {
        let greeting = greeting_of_server(if curve.is_some() { b"CURVE" } else { b"NULL" });
        let mut opening = Opening::new(ours, curve, out);
        let mut answer = Vec::new();
        let (consumed, _) = opening.advance(&greeting, &mut answer).unwrap();
        assert_eq!(consumed, GREETING_SIZE);
        let state = State::Opening(opening);
        Session { state, answer: Some(answer), received: Vec::new() }
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
        if self.answer.is_some() {
            if self.received.len() < GREETING_SIZE {
                return;
            }
            self.received.drain(..GREETING_SIZE);
            out.extend(self.answer.take().into_iter().flatten());
        }
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
                let progress = codec.seal([frames], out, scratch).unwrap();
                assert_eq!(progress.consumed, frames.len());
            }
            _ => out.extend_from_slice(frames),
        }
    }
}

/// The greeting of a server with that mechanism.
fn greeting_of_server(mechanism: &[u8]) -> [u8; GREETING_SIZE] {
    let mut greeting = [0; GREETING_SIZE];
    greeting[..12].copy_from_slice(&[0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 1]);
    greeting[12..][..mechanism.len()].copy_from_slice(mechanism);
    greeting
}

/// Bytes of a message on a connection.
pub(crate) fn size_on_wire(frames: &[&[u8]], is_encrypted: bool) -> usize {
    let size = |frame: &&[u8]| {
        let body = frame.len() + if is_encrypted { BOX } else { 0 };
        body + if body > usize::from(u8::MAX) { 9 } else { 2 }
    };
    frames.iter().map(size).sum()
}
