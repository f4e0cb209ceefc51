//! The server side of the handshake: reads HELLO, sends WELCOME, reads INITIATE, sends READY.

use std::sync::Arc;

use super::super::command::put_properties;
use super::super::frame::put_command;
use super::super::handshake::{MAX_READY, peer_type};
use super::super::{SocketType, ZmtpError};
use super::codec::CurveCodec;
use super::{COOKIE_SIZE, Fields, KeyPair, PublicKey, SecretKey, counted_nonce, random_nonce};
use zmq_sys::sodium::{self, BoxKey, KEY_SIZE};

/// Size of HELLO in bytes; it is fixed.
const HELLO_SIZE: u64 = 200;
/// Size in bytes of an INITIATE without properties.
const INITIATE_SIZE: u64 = 257;

/// The command that the server waits for.
#[derive(Debug)]
pub(in super::super) enum Server {
    /// HELLO, with our long-term keys.
    Hello(Arc<[KeyPair]>),
    /// INITIATE.
    Initiate {
        /// The long-term key of ours that the client uses.
        known: PublicKey,
        /// The client's short-term key.
        theirs: PublicKey,
        /// Our short-term key.
        ours: SecretKey,
        /// Bytes that INITIATE must repeat. In RFC 26 they carry the state of the handshake, for
        /// servers that do not keep it; we keep it, and send random bytes of the same size.
        cookie: Box<[u8; COOKIE_SIZE]>,
    },
}

/// A client that has proved its identity and waits to be accepted.
#[derive(Debug)]
pub(in super::super) struct Welcomed {
    pub(in super::super) client: PublicKey,
    pub(in super::super) socket_type: SocketType,
    key: BoxKey,
    received: u64,
}

impl Server {
    /// The name of the expected command, and its maximum size.
    pub(in super::super) fn expects(&self) -> (&'static str, u64) {
        match self {
            Server::Hello(_) => ("HELLO", HELLO_SIZE),
            Server::Initiate { .. } => ("INITIATE", INITIATE_SIZE + MAX_READY),
        }
    }

    /// Handles the body of a command.
    pub(in super::super) fn advance(
        &mut self,
        body: &[u8],
        ours: SocketType,
        out: &mut Vec<u8>,
    ) -> Result<Option<Welcomed>, ZmtpError> {
        match self {
            Server::Hello(keys) => {
                *self = welcome(keys, body, out)?;
                Ok(None)
            }
            Server::Initiate { known, theirs, ours: secret, cookie } => {
                initiate(body, known, theirs, secret, cookie, ours).map(Some)
            }
        }
    }
}

/// Reads HELLO and appends WELCOME.
fn welcome(keys: &[KeyPair], body: &[u8], out: &mut Vec<u8>) -> Result<Server, ZmtpError> {
    let body = body.strip_prefix(b"\x05HELLO").ok_or(ZmtpError::Expected("HELLO"))?;
    let fields = |body| {
        let mut fields = Fields(body);
        let version = fields.take::<2>()?;
        // Padding that makes the command larger than the reply.
        fields.take::<72>()?;
        Some((version, *fields.take::<KEY_SIZE>()?, *fields.take::<8>()?, fields.0))
    };
    let (version, theirs, number, sealed) = fields(body).ok_or(ZmtpError::Command("HELLO"))?;
    if *version != [1, 0] || sealed.len() != 80 {
        return Err(ZmtpError::Command("HELLO"));
    }
    let (known, key) = keys
        .iter()
        .filter_map(|pair| Some((*pair.public(), BoxKey::new(&theirs, pair.secret().expose())?)))
        .find(|(_, key)| {
            // The content is 64 zeros; it only matters that they can be decrypted.
            key.open_to_vec(&counted_nonce(b"CurveZMQHELLO---", number), sealed).is_some()
        })
        .ok_or(ZmtpError::Undecryptable("HELLO"))?;

    let secret = SecretKey::generate();
    let mut cookie = Box::new([0; COOKIE_SIZE]);
    sodium::random(&mut cookie[..]);
    let mut random = [0; 16];
    sodium::random(&mut random);
    let plain = [&secret.public_key().as_bytes()[..], &cookie[..]].concat();
    let sealed = key.seal_to_vec(&random_nonce(*b"WELCOME-", &random), &plain);
    put_command(&[b"\x07WELCOME", &random[..], &sealed].concat(), out);
    Ok(Server::Initiate { known, theirs: theirs.into(), ours: secret, cookie })
}

/// Reads INITIATE.
fn initiate(
    body: &[u8],
    known: &PublicKey,
    theirs: &PublicKey,
    secret: &SecretKey,
    cookie: &[u8; COOKIE_SIZE],
    ours: SocketType,
) -> Result<Welcomed, ZmtpError> {
    const UNDECRYPTABLE: ZmtpError = ZmtpError::Undecryptable("INITIATE");
    let body = body.strip_prefix(b"\x08INITIATE").ok_or(ZmtpError::Expected("INITIATE"))?;
    let fields = |body| {
        let mut fields = Fields(body);
        Some((fields.take::<COOKIE_SIZE>()?, *fields.take::<8>()?, fields.0))
    };
    let (their_cookie, number, sealed) = fields(body).ok_or(ZmtpError::Command("INITIATE"))?;
    if their_cookie != cookie {
        return Err(UNDECRYPTABLE);
    }
    let open = || {
        let key = BoxKey::new(theirs.as_bytes(), secret.expose())?;
        let plain = key.open_to_vec(&counted_nonce(b"CurveZMQINITIATE", number), sealed)?;
        Some((key, plain))
    };
    let (key, plain) = open().ok_or(UNDECRYPTABLE)?;
    let fields = |plain| {
        let mut fields = Fields(plain);
        let client = *fields.take::<KEY_SIZE>()?;
        Some((client, fields.take::<16>()?, fields.take::<80>()?, fields.0))
    };
    let (client, random, vouch, properties) =
        fields(&plain).ok_or(ZmtpError::Command("INITIATE"))?;
    // The vouch: with its long-term key, the client confirms that the short-term key is its own and
    // that the handshake is meant for us.
    let expected = [&theirs.as_bytes()[..], known.as_bytes()].concat();
    let vouched = BoxKey::new(&client, secret.expose())
        .and_then(|key| key.open_to_vec(&random_nonce(*b"VOUCH---", random), vouch));
    if vouched != Some(expected) {
        return Err(UNDECRYPTABLE);
    }
    let socket_type = peer_type(ours, properties)?;
    Ok(Welcomed { client: client.into(), socket_type, key, received: u64::from_be_bytes(number) })
}

impl Welcomed {
    /// Appends READY; all later frames are encrypted.
    pub(in super::super) fn ready(self, ours: SocketType, out: &mut Vec<u8>) -> CurveCodec {
        let number = 1u64;
        let mut properties = Vec::new();
        put_properties(ours, &mut properties);
        let number_bytes = number.to_be_bytes();
        let nonce = counted_nonce(b"CurveZMQREADY---", number_bytes);
        let sealed = self.key.seal_to_vec(&nonce, &properties);
        put_command(&[b"\x05READY", &number_bytes[..], &sealed].concat(), out);
        CurveCodec::of_server(&self.key, number, self.received)
    }
}
