//! [`Opening`]: a connection from its first byte to the end of its handshake, with any mechanism.
//!
//! libzmq sends the rest of its greeting only after it has received the peer's version, and closes
//! the connection as soon as it sees a different mechanism. We use the same order, but always send
//! our mechanism, so that both sides learn why they cannot talk.

use super::curve::{CURVE, Client, Curve, CurveCodec, PublicKey, Server, Welcomed};
use super::handshake::{NULL, command_frame, greeting, our_greeting};
use super::{GREETING_SIZE, Handshake, Peer, SocketType, ZmtpError};

/// The handshake of one connection, as a state machine fed with bytes.
#[derive(Debug)]
pub struct Opening {
    ours: SocketType,
    state: State,
}

/// A connection whose handshake is complete.
#[derive(Debug)]
pub struct Open {
    /// The other end of the connection.
    pub peer: Peer,
    /// Encrypts and decrypts everything from now on; `None`: nothing is encrypted.
    pub codec: Option<CurveCodec>,
    /// If we are a CURVE server: the client's key, of which it has proved ownership.
    pub client: Option<PublicKey>,
}

/// The state of a handshake.
#[derive(Debug)]
pub enum Step {
    /// It needs more bytes from the peer.
    More,
    /// Somebody who claims to own this key wants to connect: call [`Opening::authorize`].
    Authorize(PublicKey),
    /// It is complete.
    Open(Open),
}

/// Size in bytes of a greeting up to and including the version.
const VERSION_END: usize = 12;

#[derive(Debug)]
enum State {
    Greeting {
        curve: Option<Curve>,
        /// Whether our whole greeting was sent, or only its version.
        is_sent: bool,
    },
    Null(Handshake),
    Server(Server, u8),
    Authorizing(Welcomed, u8),
    Client(Client, u8),
    /// Open, or failed.
    Done,
}

impl Opening {
    /// Starts the handshake of a socket of that type, with CURVE if there are keys, and appends its
    /// first bytes to `out`.
    pub fn new(ours: SocketType, curve: Option<Curve>, out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(&greeting_of(curve.as_ref())[..VERSION_END]);
        Opening { ours, state: State::Greeting { curve, is_sent: false } }
    }

    /// Continues with `bytes`, which must be everything received and not yet consumed, and appends
    /// bytes to send to `out`. Returns how many bytes were consumed, and the state of the
    /// handshake. Once it is open, the bytes after it are frames, encrypted ones if there is a
    /// codec.
    ///
    /// # Errors
    /// If this socket cannot talk to the peer. Bytes in `out` should still be sent, so that the
    /// peer learns why.
    pub fn advance(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(usize, Step), ZmtpError> {
        let mut consumed = 0;
        loop {
            let outcome = self.advance_once(&bytes[consumed..], out);
            if outcome.is_err() {
                self.state = State::Done;
            }
            let (length, step) = outcome?;
            consumed += length;
            if length == 0 || !matches!(step, Step::More) {
                return Ok((consumed, step));
            }
        }
    }

    /// Accepts or rejects the waiting client. One that is accepted must prove that it owns its key,
    /// which costs a multiplication on the curve.
    ///
    /// # Errors
    /// If it is rejected or does not own the key; the connection ends once `out` is sent. Also if no
    /// client is waiting.
    pub fn authorize(&mut self, is_allowed: bool, out: &mut Vec<u8>) -> Result<Open, ZmtpError> {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Authorizing(welcomed, minor) if is_allowed => {
                let peer = Peer { minor, socket_type: welcomed.socket_type };
                let client = Some(welcomed.client);
                Ok(Open { peer, codec: Some(welcomed.ready(self.ours, out)?), client })
            }
            State::Authorizing(welcomed, _) => {
                // The ZAP status code (RFC 27) that libzmq sends.
                super::put_error("400", out);
                Err(ZmtpError::Unauthorized(welcomed.client))
            }
            _ => Err(ZmtpError::Expected("INITIATE")),
        }
    }

    /// Reads one greeting or command.
    fn advance_once(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(usize, Step), ZmtpError> {
        match &mut self.state {
            State::Greeting { curve, is_sent } => {
                let mechanism = if curve.is_some() { CURVE } else { NULL };
                let theirs = greeting(bytes, mechanism);
                if !*is_sent && bytes.len() >= VERSION_END {
                    *is_sent = true;
                    out.extend_from_slice(&greeting_of(curve.as_ref())[VERSION_END..]);
                }
                let Some(minor) = theirs? else { return Ok((0, Step::More)) };
                self.state = match curve.take() {
                    None => State::Null(Handshake::after_greetings(self.ours, minor, out)),
                    Some(Curve::Server(keys)) => State::Server(Server::Hello(keys), minor),
                    Some(Curve::Client { keys, server }) => {
                        State::Client(Client::new(keys, server, out)?, minor)
                    }
                };
                Ok((GREETING_SIZE, Step::More))
            }
            State::Null(handshake) => {
                let (consumed, peer) = handshake.advance(bytes)?;
                let Some(peer) = peer else { return Ok((consumed, Step::More)) };
                self.state = State::Done;
                Ok((consumed, Step::Open(Open { peer, codec: None, client: None })))
            }
            State::Server(server, minor) => {
                let minor = *minor;
                let (name, limit) = server.expects();
                let Some((body, end)) = command_frame(bytes, name, limit)? else {
                    return Ok((0, Step::More));
                };
                let Some(welcomed) = server.advance(body, self.ours, out)? else {
                    return Ok((end, Step::More));
                };
                let client = welcomed.client;
                self.state = State::Authorizing(welcomed, minor);
                Ok((end, Step::Authorize(client)))
            }
            State::Authorizing(welcomed, _) => Ok((0, Step::Authorize(welcomed.client))),
            State::Client(client, minor) => {
                let (name, limit) = client.expects();
                let Some((body, end)) = command_frame(bytes, name, limit)? else {
                    return Ok((0, Step::More));
                };
                let Some((socket_type, codec)) = client.advance(body, self.ours, out)? else {
                    return Ok((end, Step::More));
                };
                let peer = Peer { minor: *minor, socket_type };
                self.state = State::Done;
                Ok((end, Step::Open(Open { peer, codec: Some(codec), client: None })))
            }
            State::Done => Err(ZmtpError::Expected("READY")),
        }
    }
}

/// Our greeting.
fn greeting_of(curve: Option<&Curve>) -> [u8; GREETING_SIZE] {
    match curve {
        None => our_greeting(NULL, false),
        Some(curve) => our_greeting(CURVE, matches!(curve, Curve::Server(_))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::curve::CodecScratch;
    use super::super::{KeyPair, put_frame};
    use super::*;

    fn server(keys: &KeyPair) -> Curve {
        Curve::Server(Arc::new([keys.clone()]))
    }

    fn client(keys: &KeyPair, server: &KeyPair) -> Curve {
        Curve::Client { keys: Arc::new(keys.clone()), server: *server.public() }
    }

    /// One end of a connection.
    struct End {
        opening: Opening,
        /// Received bytes that are not consumed yet.
        kept: Vec<u8>,
        out: Vec<u8>,
        open: Option<Open>,
    }

    impl End {
        fn new(ours: SocketType, curve: Option<Curve>) -> Self {
            let mut out = Vec::new();
            let opening = Opening::new(ours, curve, &mut out);
            End { opening, kept: Vec::new(), out, open: None }
        }

        /// Receives bytes in pieces of `size`, and accepts every client if `is_allowed`.
        fn take(&mut self, bytes: &[u8], size: usize, is_allowed: bool) -> Result<(), ZmtpError> {
            for piece in bytes.chunks(size) {
                self.kept.extend_from_slice(piece);
                if self.open.is_some() {
                    continue;
                }
                let (consumed, step) = self.opening.advance(&self.kept, &mut self.out)?;
                self.kept.drain(..consumed);
                self.open = match step {
                    Step::More => None,
                    Step::Open(open) => Some(open),
                    Step::Authorize(key) => {
                        // A second call returns the same.
                        let (consumed, step) = self.opening.advance(&self.kept, &mut self.out)?;
                        assert!(consumed == 0 && matches!(step, Step::Authorize(k) if k == key));
                        Some(self.opening.authorize(is_allowed, &mut self.out)?)
                    }
                };
            }
            Ok(())
        }
    }

    /// Runs two ends until neither has anything to send or one fails. Returns which one, and why.
    fn talk(
        a: &mut End,
        b: &mut End,
        size: usize,
        is_allowed: bool,
    ) -> Result<(), (char, ZmtpError)> {
        while !a.out.is_empty() || !b.out.is_empty() {
            let out = std::mem::take(&mut a.out);
            b.take(&out, size, is_allowed).map_err(|error| ('b', error))?;
            let out = std::mem::take(&mut b.out);
            a.take(&out, size, is_allowed).map_err(|error| ('a', error))?;
        }
        Ok(())
    }

    #[test]
    fn two_of_us_understand_one_another_however_the_bytes_come() {
        let (keys, server_keys) = (KeyPair::generate(), KeyPair::generate());
        for size in [1, 2, 7, 63, 64, 65, 200, 10_000] {
            let mut a = End::new(SocketType::Sub, Some(client(&keys, &server_keys)));
            let mut b = End::new(SocketType::Xpub, Some(server(&server_keys)));
            assert_eq!(talk(&mut a, &mut b, size, true), Ok(()));
            let (a, b) = (a.open.unwrap(), b.open.unwrap());
            assert_eq!(a.peer, Peer { minor: 1, socket_type: SocketType::Xpub });
            assert_eq!(b.peer, Peer { minor: 1, socket_type: SocketType::Sub });
            assert_eq!((a.client, b.client), (None, Some(*keys.public())));
            let (mut a, mut b) = (a.codec.unwrap(), b.codec.unwrap());
            for _ in 0..6 {
                let (mut sealed, mut plain) = (Vec::new(), Vec::new());
                let scratch = &mut CodecScratch::default();
                a.seal([&b"\0\x05hello"[..]], &mut sealed, scratch).unwrap();
                b.open(&sealed, 5, &mut plain, scratch).unwrap();
                assert_eq!(plain, b"\0\x05hello");
                std::mem::swap(&mut a, &mut b);
            }
        }
    }

    #[test]
    fn without_keys_it_is_null() {
        let mut a = End::new(SocketType::Push, None);
        let mut b = End::new(SocketType::Pull, None);
        assert_eq!(talk(&mut a, &mut b, 3, true), Ok(()));
        for (end, expected) in [(a, SocketType::Pull), (b, SocketType::Push)] {
            let open = end.open.unwrap();
            assert_eq!(open.peer.socket_type, expected);
            assert!(open.codec.is_none() && open.client.is_none() && end.kept.is_empty());
        }
    }

    #[test]
    fn who_cannot_talk_is_told_why() {
        use SocketType::{Pull, Push, Sub};
        let (keys, ours, other) = (KeyPair::generate(), KeyPair::generate(), KeyPair::generate());
        let mechanism = |theirs: &str, ours: &str| ZmtpError::Mechanism {
            theirs: theirs.into(),
            ours: if ours == NULL { NULL } else { CURVE },
        };
        let weak = Curve::Client { keys: Arc::new(keys.clone()), server: [0; 32].into() };
        let rows: [(_, _, _, _, (char, ZmtpError)); 7] = [
            (Push, None, Some(server(&ours)), true, ('a', mechanism("CURVE", "NULL"))),
            (Push, Some(client(&keys, &ours)), None, true, ('a', mechanism("NULL", "CURVE"))),
            (Push, Some(client(&keys, &other)), Some(server(&ours)), true, {
                ('b', ZmtpError::Undecryptable("HELLO"))
            }),
            (
                Push,
                Some(weak),
                Some(server(&ours)),
                true,
                ('a', ZmtpError::Undecryptable("WELCOME")),
            ),
            (Sub, Some(client(&keys, &ours)), Some(server(&ours)), true, {
                ('b', ZmtpError::SocketType("SUB".into()))
            }),
            (Push, Some(client(&keys, &ours)), Some(server(&ours)), false, {
                ('b', ZmtpError::Unauthorized(*keys.public()))
            }),
            (Push, Some(client(&keys, &ours)), Some(client(&keys, &ours)), true, {
                ('b', ZmtpError::Expected("WELCOME"))
            }),
        ];
        for (socket_type, a, b, is_allowed, expected) in rows {
            let mut a = End::new(socket_type, a);
            let mut b = End::new(Pull, b);
            assert_eq!(talk(&mut a, &mut b, 1000, is_allowed), Err(expected.clone()));
            if matches!(expected.1, ZmtpError::Unauthorized(_)) {
                let refusal = std::mem::take(&mut b.out);
                let refused = Err(ZmtpError::Refused("400".into()));
                assert_eq!(a.take(&refusal, 1, true), refused);
            }
            // The other side learns the same.
            if let ZmtpError::Mechanism { theirs, ours } = expected.1 {
                let rest = std::mem::take(&mut a.out);
                assert_eq!(b.take(&rest, 1, true), Err(mechanism(ours, &theirs)));
            }
        }
    }

    // Only if it is allowed to connect is it checked that the client owns its key.
    #[test]
    fn who_claims_the_key_of_somebody_else_does_not_come_in() {
        let (thief, owner, ours) = (KeyPair::generate(), KeyPair::generate(), KeyPair::generate());
        let forged = KeyPair::mismatched(thief.secret(), *owner.public());
        for (is_allowed, expected) in [
            (true, ZmtpError::Undecryptable("INITIATE")),
            (false, ZmtpError::Unauthorized(*owner.public())),
        ] {
            let mut a = End::new(SocketType::Push, Some(client(&forged, &ours)));
            let mut b = End::new(SocketType::Pull, Some(server(&ours)));
            assert_eq!(talk(&mut a, &mut b, 1000, is_allowed), Err(('b', expected)));
            assert!(b.open.is_none() && b.out.is_empty() == is_allowed);
            assert!(b.opening.authorize(true, &mut Vec::new()).is_err());
        }
    }

    /// A server that waits for INITIATE, and the INITIATE of its client.
    fn recorded(keys: &KeyPair, ours: &KeyPair) -> (End, Vec<u8>) {
        let mut a = End::new(SocketType::Push, Some(client(keys, ours)));
        let mut b = End::new(SocketType::Pull, Some(server(ours)));
        b.take(&std::mem::take(&mut a.out), 1000, true).unwrap();
        a.take(&std::mem::take(&mut b.out), 1000, true).unwrap();
        b.take(&std::mem::take(&mut a.out), 1000, true).unwrap();
        a.take(&std::mem::take(&mut b.out), 1000, true).unwrap();
        (b, std::mem::take(&mut a.out))
    }

    #[test]
    fn no_byte_of_a_command_can_be_changed() {
        let (keys, ours) = (KeyPair::generate(), KeyPair::generate());
        let (_, initiate) = recorded(&keys, &ours);
        assert_eq!(initiate[..9], *b"\x06\0\0\0\0\0\0\x01\x22");
        for at in (0..initiate.len()).step_by(7) {
            let (mut b, mut initiate) = recorded(&keys, &ours);
            initiate[at] ^= 1;
            // A modified length may just mean that more bytes are needed.
            let outcome = b.take(&initiate, 1000, true);
            assert!(b.open.is_none() && (outcome.is_err() || at < 9), "{at}: {outcome:?}");
        }
    }

    #[test]
    fn commands_out_of_order_and_out_of_form() {
        let (keys, ours) = (KeyPair::generate(), KeyPair::generate());
        let greeting = greeting_of(Some(&client(&keys, &ours)));
        let command = |body: &[u8]| {
            let mut out = Vec::new();
            super::super::frame::put_command(body, &mut out);
            out
        };
        let mut message = Vec::new();
        put_frame(b"early", false, &mut message);
        let hello = |version: u8, size: usize| {
            let mut body = [&b"\x05HELLO"[..], &[version]].concat();
            body.resize(size, 0);
            command(&body)
        };
        for (bytes, expected) in [
            (command(b"\x05READY"), ZmtpError::Expected("HELLO")),
            (command(b"\x05HELLO"), ZmtpError::Command("HELLO")),
            (hello(1, 199), ZmtpError::Command("HELLO")),
            (hello(2, 200), ZmtpError::Command("HELLO")),
            (hello(1, 200), ZmtpError::Undecryptable("HELLO")),
            (hello(1, 201), ZmtpError::TooLarge { size: 201, limit: 200 }),
            (message, ZmtpError::Expected("HELLO")),
        ] {
            let mut b = End::new(SocketType::Pull, Some(server(&ours)));
            b.take(&greeting, 1000, true).unwrap();
            assert_eq!(b.take(&bytes, 1000, true), Err(expected));
        }
        for (body, expected) in [
            (&b"\x05HELLO"[..], ZmtpError::Expected("INITIATE")),
            (b"\x08INITIATE", ZmtpError::Command("INITIATE")),
            (&[&b"\x08INITIATE"[..], &[0; 300]].concat(), ZmtpError::Undecryptable("INITIATE")),
        ] {
            let (mut b, _) = recorded(&keys, &ours);
            assert_eq!(b.take(&command(body), 1000, true), Err(expected));
        }
        for (body, expected) in [
            (&b"\x05READY"[..], ZmtpError::Expected("WELCOME")),
            (b"\x07WELCOME", ZmtpError::Command("WELCOME")),
            (&[&b"\x07WELCOME"[..], &[0; 160]].concat(), ZmtpError::Undecryptable("WELCOME")),
            (b"\x05ERROR\x03400", ZmtpError::Refused("400".into())),
            (b"\x05ERROR\x04400", ZmtpError::Command("ERROR")),
            (b"", ZmtpError::Command("unnamed")),
        ] {
            let mut a = End::new(SocketType::Push, Some(client(&keys, &ours)));
            a.take(&greeting, 1000, true).unwrap();
            assert_eq!(a.take(&command(body), 1000, true), Err(expected));
        }
        // No client is waiting.
        let mut opening = Opening::new(SocketType::Pull, Some(server(&ours)), &mut Vec::new());
        let early = opening.authorize(true, &mut Vec::new());
        assert_eq!(early.unwrap_err(), ZmtpError::Expected("INITIATE"));
    }

    // In particular not without encryption.
    #[test]
    fn after_an_error_it_does_not_go_on() {
        let weak = Curve::Client { keys: Arc::new(KeyPair::generate()), server: [0; 32].into() };
        let server = greeting_of(Some(&server(&KeyPair::generate())));
        let mut a = End::new(SocketType::Push, Some(weak));
        assert_eq!(a.take(&server, 64, true), Err(ZmtpError::Undecryptable("WELCOME")));
        let mut null = Vec::new();
        Handshake::new(SocketType::Pull, &mut null);
        a.kept.clear();
        assert_eq!(a.take(&null, 1000, true), Err(ZmtpError::Expected("READY")));
        assert!(a.open.is_none());
    }

    #[test]
    fn no_secret_is_shown() {
        let keys = KeyPair::generate();
        let secret = keys.secret().expose_text();
        let mut out = Vec::new();
        let opening = Opening::new(SocketType::Pull, Some(server(&keys)), &mut out);
        let shown = format!("{opening:?}");
        assert!(shown.contains("<secret>") && !shown.contains(&secret[..]));
    }
}
