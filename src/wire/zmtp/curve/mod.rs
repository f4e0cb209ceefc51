//! The CURVE mechanism (RFC 25 and RFC 26, WIRE.md §7.1): the connecting side proves that it holds
//! a secret key, and must know the listener's public key beforehand. After the handshake, every
//! frame is encrypted.
//!
//! ```text
//! client                                server
//!   HELLO     short-term key of client →           proves to know the server's key
//!           ← WELCOME  short-term key of server    proves to be the server
//!   INITIATE  client's key, its type   →           … the caller decides whether to accept it
//!                                                  proves to hold the client's secret key
//!           ← READY    server's type               or ERROR 400
//!   MESSAGE                           ⇄  MESSAGE
//! ```
//!
//! Short-term keys exist only as long as the connection: whoever steals the long-term keys later
//! cannot decrypt recorded traffic. Each box has its own nonce: in HELLO, INITIATE, READY and
//! MESSAGE a prefix and a number that each side counts up, in the others a prefix and 16 random
//! bytes.

#[cfg(test)]
mod box_tests;
mod client;
mod codec;
mod keys;
mod server;

use std::sync::Arc;

#[cfg(test)]
pub(crate) use codec::tests::pair as codecs;
pub use codec::{CodecScratch, CurveCodec, Progress};
pub use keys::{BadKey, KeyPair, PublicKey, SecretKey};

pub(super) use client::Client;
pub(super) use server::{Server, Welcomed};

use zmq_sys::sodium::NONCE_SIZE;

/// The name of the mechanism in greetings.
pub(super) const CURVE: &str = "CURVE";

/// Size in bytes of the cookie in WELCOME, which INITIATE repeats.
const COOKIE_SIZE: usize = 96;

/// One side of CURVE and its keys. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Curve {
    /// The listening side's keys. Clients may use any of them, so keys can be rotated without
    /// downtime; each costs one multiplication on the curve per connecting client.
    Server(Arc<[KeyPair]>),
    /// The connecting side.
    Client {
        /// Its own keys.
        keys: Arc<KeyPair>,
        /// The server's public key.
        server: PublicKey,
    },
}

/// The nonce of a box with a counter.
fn counted_nonce(prefix: &[u8; 16], number: [u8; 8]) -> [u8; NONCE_SIZE] {
    let mut nonce = [0; NONCE_SIZE];
    nonce[..16].copy_from_slice(prefix);
    nonce[16..].copy_from_slice(&number);
    nonce
}

/// The nonce of a box with random bytes.
fn random_nonce(prefix: [u8; 8], random: &[u8; 16]) -> [u8; NONCE_SIZE] {
    let mut nonce = [0; NONCE_SIZE];
    nonce[..8].copy_from_slice(&prefix);
    nonce[8..].copy_from_slice(random);
    nonce
}

/// The likely reason why a command cannot be decrypted, for messages.
pub(super) fn hint(command: &str) -> &'static str {
    match command {
        "HELLO" => "it expects this server to have another public key",
        "WELCOME" => "the server's public key is not the one set here",
        _ => "it was altered in transit, or is not valid",
    }
}

/// Splits fixed parts off the start of a command. `take` returns `None` if it is too short.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(field)
    }
}
