//! The server side of the handshake: reads HELLO, sends WELCOME, reads INITIATE, sends READY.

use std::sync::Arc;

use super::super::command::put_properties;
use super::super::frame::put_command;
use super::super::handshake::{MAX_READY, peer_type};
use super::super::{SocketType, ZmtpError};
use super::codec::CurveCodec;
use super::{COOKIE_SIZE, Fields, KeyPair, PublicKey, SecretKey, counted_nonce, random_nonce};
use zmq_sys::sodium::{self, BoxKey, KEY_SIZE, MAC_SIZE};

const UNDECRYPTABLE: ZmtpError = ZmtpError::Undecryptable("INITIATE");

/// Size of HELLO in bytes; it is fixed.
const HELLO_SIZE: u64 = 200;
/// Size in bytes of an INITIATE without properties.
const INITIATE_SIZE: u64 = 257;

/// Size of a vouch in bytes: two keys, sealed.
const VOUCH_SIZE: usize = 2 * KEY_SIZE + MAC_SIZE;

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

/// A client that waits to be accepted. It knows our key and its own short-term key; that it owns the
/// long-term key is still to be shown, because that costs as much as accepting it.
#[derive(Debug)]
pub(in super::super) struct Welcomed {
    /// The long-term key it claims to own.
    pub(in super::super) client: PublicKey,
    pub(in super::super) socket_type: SocketType,
    vouch: Vouch,
    /// The key of the connection.
    key: BoxKey,
    received: u64,
}

/// With its long-term key, the client confirms that the short-term key is its own and that the
/// handshake is meant for us.
#[derive(Debug)]
struct Vouch {
    random: [u8; 16],
    sealed: [u8; VOUCH_SIZE],
    /// What it must contain.
    expected: [u8; 2 * KEY_SIZE],
    /// Our short-term key.
    ours: SecretKey,
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
                let keys = Keys { known, theirs, ours: secret };
                initiate(body, &keys, cookie, ours).map(Some)
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

/// The keys of a handshake, without which INITIATE cannot be read.
struct Keys<'a> {
    known: &'a PublicKey,
    theirs: &'a PublicKey,
    ours: &'a SecretKey,
}

/// Reads INITIATE, except for the vouch.
fn initiate(
    body: &[u8],
    keys: &Keys<'_>,
    cookie: &[u8; COOKIE_SIZE],
    ours: SocketType,
) -> Result<Welcomed, ZmtpError> {
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
        let key = BoxKey::new(keys.theirs.as_bytes(), keys.ours.expose())?;
        let plain = key.open_to_vec(&counted_nonce(b"CurveZMQINITIATE", number), sealed)?;
        Some((key, plain))
    };
    let (key, plain) = open().ok_or(UNDECRYPTABLE)?;
    let fields = |plain| {
        let mut fields = Fields(plain);
        let client = *fields.take::<KEY_SIZE>()?;
        Some((client, *fields.take::<16>()?, *fields.take::<VOUCH_SIZE>()?, fields.0))
    };
    let (client, random, sealed, properties) =
        fields(&plain).ok_or(ZmtpError::Command("INITIATE"))?;
    let mut expected = [0; 2 * KEY_SIZE];
    expected[..KEY_SIZE].copy_from_slice(keys.theirs.as_bytes());
    expected[KEY_SIZE..].copy_from_slice(keys.known.as_bytes());
    Ok(Welcomed {
        client: client.into(),
        socket_type: peer_type(ours, properties)?,
        vouch: Vouch { random, sealed, expected, ours: keys.ours.clone() },
        key,
        received: u64::from_be_bytes(number),
    })
}

impl Vouch {
    /// Whether the owner of the long-term key `client` made it.
    fn is_of(&self, client: &PublicKey) -> bool {
        let opened = BoxKey::new(client.as_bytes(), self.ours.expose()).and_then(|key| {
            key.open_to_vec(&random_nonce(*b"VOUCH---", &self.random), &self.sealed)
        });
        opened.is_some_and(|opened| opened == self.expected)
    }
}

impl Welcomed {
    /// Checks that the client owns its key and appends READY; all later frames are encrypted.
    ///
    /// # Errors
    /// When the key is somebody else's.
    pub(in super::super) fn ready(
        self,
        ours: SocketType,
        out: &mut Vec<u8>,
    ) -> Result<CurveCodec, ZmtpError> {
        if !self.vouch.is_of(&self.client) {
            return Err(UNDECRYPTABLE);
        }
        let number = 1u64;
        let mut properties = Vec::new();
        put_properties(ours, &mut properties);
        let number_bytes = number.to_be_bytes();
        let nonce = counted_nonce(b"CurveZMQREADY---", number_bytes);
        let sealed = self.key.seal_to_vec(&nonce, &properties);
        put_command(&[b"\x05READY", &number_bytes[..], &sealed].concat(), out);
        Ok(CurveCodec::of_server(&self.key, number, self.received))
    }
}
