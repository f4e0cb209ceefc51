//! ZMTP 3.0 and 3.1, the bytes between ZeroMQ sockets (RFC 23, RFC 37), without any I/O.
//!
//! [`Handshake`] takes a connection from its first byte to the end of the NULL mechanism, and
//! [`Opening`] does so with either mechanism, NULL or CURVE (RFC 25, RFC 26); with the latter a
//! [`CurveCodec`] stands between the frames sent and those meant. [`FrameHeader`] and [`Command`]
//! read what comes then, and [`MessageReader`] puts frames together to multipart messages without
//! copying them. `put_*` functions write.
//!
//! Bytes come from the network: sizes are held against limits before anything is kept, and every
//! violation is a [`ZmtpError`], after which the connection is of no use.

mod command;
mod curve;
mod frame;
mod handshake;
mod opening;
mod reader;
mod socket_type;

pub use command::{Command, put_error, put_ping, put_pong, put_ready, put_subscription};
#[cfg(test)]
pub(crate) use curve::codecs;
pub use curve::{BadKey, Curve, CurveCodec, KeyPair, Progress, PublicKey, SecretKey};
pub use frame::{FrameHeader, MAX_HEADER, put_frame};
pub use handshake::{GREETING_SIZE, Handshake, Peer};
pub use opening::{Open, Opening, Step};
pub use reader::{Item, Message, MessageReader};
pub use socket_type::SocketType;

use thiserror::Error;

/// Why a connection cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ZmtpError {
    /// The first bytes are not those of ZMTP 3: another protocol, or a libzmq before 4.0.
    #[error("no ZMTP 3 greeting")]
    Greeting,
    /// The peer asks for another security mechanism than ours.
    #[error("{}", other_mechanism(theirs, ours))]
    Mechanism {
        /// What it asks for.
        theirs: String,
        /// What it should have asked for.
        ours: &'static str,
    },
    /// The peer is a socket of a type that does not go with ours.
    #[error("a peer of socket type {0:?}")]
    SocketType(String),
    /// The peer refused us, in its own words.
    #[error("the peer refused the connection: {0:?}")]
    Refused(String),
    /// Something else than this command where it was due.
    #[error("no {0} command")]
    Expected(&'static str),
    /// The flags of a frame contradict the protocol.
    #[error("frame with flags {0:#04x}")]
    Flags(u8),
    /// A frame or message is larger than the limit.
    #[error("message of {size} bytes, more than {limit}")]
    TooLarge {
        /// Bytes announced so far.
        size: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// A command is cut off or contradicts itself.
    #[error("malformed {0} command")]
    Command(&'static str),
    /// This command of CURVE cannot be decrypted, or is not genuine. With HELLO and WELCOME the
    /// client has another server key than the server's.
    #[error("cannot decrypt the {0} command: {hint}", hint = curve::hint(.0))]
    Undecryptable(&'static str),
    /// A message of CURVE that is not newer than the last: somebody sends it a second time.
    #[error("message with nonce {nonce} after {last}")]
    Replayed {
        /// Its number.
        nonce: u64,
        /// That of the last message.
        last: u64,
    },
    /// The key of the client is not one that may connect.
    #[error("its public key {0} is not one of those that may connect")]
    Unauthorized(PublicKey),
}

/// Two sides that cannot talk, and why, most likely.
fn other_mechanism(theirs: &str, ours: &str) -> String {
    match (theirs, ours) {
        ("CURVE", "NULL") => {
            "it encrypts (mechanism CURVE) and this side does not: keys of CURVE are set there, not \
             here"
        }
        ("NULL", "CURVE") => {
            "it does not encrypt (mechanism NULL) and this side does: keys of CURVE are set here, \
             not there"
        }
        _ => return format!("it wants the mechanism {theirs:?}, this side {ours}"),
    }
    .into()
}
