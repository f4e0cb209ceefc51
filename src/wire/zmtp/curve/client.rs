//! The client side of the handshake: sends HELLO, reads WELCOME, sends INITIATE, reads READY.

use std::sync::Arc;

use super::super::command::{Command, put_properties};
use super::super::frame::put_command;
use super::super::handshake::{MAX_READY, peer_type, text};
use super::super::{SocketType, ZmtpError};
use super::codec::CurveCodec;
use super::{COOKIE_SIZE, Fields, KeyPair, PublicKey, SecretKey, counted_nonce, random_nonce};
use zmq_sys::sodium::{self, BoxKey, KEY_SIZE};

/// Nonce numbers of HELLO and INITIATE; messages continue from there.
const HELLO_NUMBER: u64 = 1;
const INITIATE_NUMBER: u64 = 2;

/// Longest ERROR in bytes.
const MAX_ERROR: u64 = 6 + 1 + 255;

/// A client that has sent HELLO.
#[derive(Debug)]
pub(in super::super) struct Client {
    keys: Arc<KeyPair>,
    server: PublicKey,
    /// Our short-term keys.
    short_term: KeyPair,
    awaited: Awaited,
}

/// The command that the client waits for.
#[derive(Debug)]
enum Awaited {
    /// WELCOME, with the key between the server's long-term and our short-term key.
    Welcome(BoxKey),
    /// READY, with the key of the connection.
    Ready(BoxKey),
    /// Nothing more.
    Nothing,
}

impl Client {
    /// Appends HELLO.
    pub(in super::super) fn new(
        keys: Arc<KeyPair>,
        server: PublicKey,
        out: &mut Vec<u8>,
    ) -> Result<Self, ZmtpError> {
        let short_term = KeyPair::generate();
        let key = BoxKey::new(server.as_bytes(), short_term.secret().expose())
            .ok_or(ZmtpError::Undecryptable("WELCOME"))?;
        let number = HELLO_NUMBER.to_be_bytes();
        let sealed = key.seal_to_vec(&counted_nonce(b"CurveZMQHELLO---", number), &[0; 64]);
        // The version, and padding that makes the command larger than the reply.
        let head = [b"\x05HELLO\x01\0", &[0; 72][..]].concat();
        put_command(&[&head, &short_term.public().as_bytes()[..], &number, &sealed].concat(), out);
        Ok(Client { keys, server, short_term, awaited: Awaited::Welcome(key) })
    }

    /// The name of the expected command, and its maximum size.
    pub(in super::super) fn expects(&self) -> (&'static str, u64) {
        match self.awaited {
            Awaited::Welcome(_) => ("WELCOME", MAX_ERROR),
            Awaited::Ready(_) | Awaited::Nothing => ("READY", MAX_READY),
        }
    }

    /// Handles the body of a command.
    pub(in super::super) fn advance(
        &mut self,
        body: &[u8],
        ours: SocketType,
        out: &mut Vec<u8>,
    ) -> Result<Option<(SocketType, CurveCodec)>, ZmtpError> {
        if let Command::Error(reason) = Command::parse(body)? {
            return Err(ZmtpError::Refused(text(reason)));
        }
        match std::mem::replace(&mut self.awaited, Awaited::Nothing) {
            Awaited::Welcome(key) => {
                self.awaited = Awaited::Ready(self.initiate(&key, body, ours, out)?);
                Ok(None)
            }
            Awaited::Ready(key) => ready(&key, body, ours).map(Some),
            Awaited::Nothing => Err(ZmtpError::Expected("READY")),
        }
    }

    /// Reads WELCOME and appends INITIATE. Returns the key of the connection.
    fn initiate(
        &self,
        key: &BoxKey,
        body: &[u8],
        ours: SocketType,
        out: &mut Vec<u8>,
    ) -> Result<BoxKey, ZmtpError> {
        const UNDECRYPTABLE: ZmtpError = ZmtpError::Undecryptable("WELCOME");
        let body = body.strip_prefix(b"\x07WELCOME").ok_or(ZmtpError::Expected("WELCOME"))?;
        let (random, sealed) = body.split_first_chunk().ok_or(ZmtpError::Command("WELCOME"))?;
        let plain = key.open_to_vec(&random_nonce(*b"WELCOME-", random), sealed);
        let plain = plain.ok_or(UNDECRYPTABLE)?;
        let fields = |plain| {
            let mut fields = Fields(plain);
            let (theirs, cookie) = (*fields.take::<KEY_SIZE>()?, fields.take::<COOKIE_SIZE>()?);
            fields.0.is_empty().then_some((theirs, cookie))
        };
        let (theirs, cookie) = fields(&plain).ok_or(ZmtpError::Command("WELCOME"))?;
        let shared = |ours: &SecretKey| BoxKey::new(&theirs, ours.expose());
        let key = shared(self.short_term.secret()).ok_or(UNDECRYPTABLE)?;

        let mut random = [0; 16];
        sodium::random(&mut random);
        let vouch = [&self.short_term.public().as_bytes()[..], self.server.as_bytes()].concat();
        let vouch = shared(self.keys.secret())
            .ok_or(UNDECRYPTABLE)?
            .seal_to_vec(&random_nonce(*b"VOUCH---", &random), &vouch);
        let mut plain = [&self.keys.public().as_bytes()[..], &random, &vouch].concat();
        put_properties(ours, &mut plain);
        let number = INITIATE_NUMBER.to_be_bytes();
        let sealed = key.seal_to_vec(&counted_nonce(b"CurveZMQINITIATE", number), &plain);
        put_command(&[b"\x08INITIATE", &cookie[..], &number, &sealed].concat(), out);
        Ok(key)
    }
}

/// Reads READY; all later frames are encrypted.
fn ready(
    key: &BoxKey,
    body: &[u8],
    ours: SocketType,
) -> Result<(SocketType, CurveCodec), ZmtpError> {
    let body = body.strip_prefix(b"\x05READY").ok_or(ZmtpError::Expected("READY"))?;
    let (number, sealed) = body.split_first_chunk().ok_or(ZmtpError::Command("READY"))?;
    let properties = key
        .open_to_vec(&counted_nonce(b"CurveZMQREADY---", *number), sealed)
        .ok_or(ZmtpError::Undecryptable("READY"))?;
    let socket_type = peer_type(ours, &properties)?;
    let received = u64::from_be_bytes(*number);
    Ok((socket_type, CurveCodec::of_client(key, INITIATE_NUMBER, received)))
}
