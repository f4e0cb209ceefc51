//! The mechanism CURVE (RFC 25 and RFC 26, WIRE.md §7.1): who connects proves to hold a secret key
//! and knows the listener's public key beforehand; from then on every frame is encrypted.
//!
//! ```text
//! client                                server
//!   HELLO     short-term key of client →           proves to know the server's key
//!           ← WELCOME  short-term key of server    proves to be the server
//!   INITIATE  client's key, its type   →           proves to hold the client's secret key
//!                                                  … the caller decides whether it may come in
//!           ← READY    server's type               or ERROR 400
//!   MESSAGE                           ⇄  MESSAGE
//! ```
//!
//! Short-term keys live as long as the connection: who learns the long-term ones later cannot read
//! what was recorded. Each box has a nonce of its own: in HELLO, INITIATE, READY and MESSAGE it is
//! a prefix and a number that each side counts up, in the others a prefix and 16 random bytes.

#[cfg(test)]
mod box_tests;
mod client;
mod codec;
mod keys;
mod server;

use std::sync::Arc;

#[cfg(test)]
pub(crate) use codec::tests::pair as codecs;
pub use codec::{CurveCodec, Progress};
pub use keys::{BadKey, KeyPair, PublicKey, SecretKey};

pub(super) use client::Client;
pub(super) use server::{Server, Welcomed};

use zmq_sys::sodium::NONCE_SIZE;

/// The name of the mechanism in greetings.
pub(super) const CURVE: &str = "CURVE";

/// Bytes of the cookie in WELCOME, which INITIATE repeats.
const COOKIE_SIZE: usize = 96;

/// A side of CURVE, and its keys. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Curve {
    /// Who listens: its keys. Clients may know it by any of them, so that keys can be changed while
    /// they are in use; each costs a multiplication on the curve when a client connects.
    Server(Arc<[KeyPair]>),
    /// Who connects.
    Client {
        /// Its own keys.
        keys: Arc<KeyPair>,
        /// Who it wants to talk to.
        server: PublicKey,
    },
}

/// The nonce of a box whose sender counts.
fn counted_nonce(prefix: &[u8; 16], number: [u8; 8]) -> [u8; NONCE_SIZE] {
    let mut nonce = [0; NONCE_SIZE];
    nonce[..16].copy_from_slice(prefix);
    nonce[16..].copy_from_slice(&number);
    nonce
}

/// The nonce of a box whose sender takes random bytes.
fn random_nonce(prefix: [u8; 8], random: &[u8; 16]) -> [u8; NONCE_SIZE] {
    let mut nonce = [0; NONCE_SIZE];
    nonce[..8].copy_from_slice(&prefix);
    nonce[8..].copy_from_slice(random);
    nonce
}

/// The likely reason why a command cannot be decrypted, for people.
pub(super) fn hint(command: &str) -> &'static str {
    match command {
        "HELLO" => "it takes this server for one with another public key",
        "WELCOME" => "the server has another public key than is set here",
        _ => "it was changed on its way, or never was what it should be",
    }
}

/// Reads fixed parts off the start of a command. Every `take` says `None` where it is too short.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(field)
    }
}
