//! ZMTP 3.0 and 3.1, the protocol between ZeroMQ sockets (RFC 23, RFC 37), without any I/O.
//!
//! [`Handshake`] handles a connection from its first byte to the end of the NULL mechanism.
//! [`Opening`] does the same with either mechanism, NULL or CURVE (RFC 25, RFC 26); with CURVE a
//! [`CurveCodec`] encrypts and decrypts all later frames. [`FrameHeader`] and [`Command`] parse
//! those frames, and [`MessageReader`] assembles them into multipart messages without copying.
//! `put_*` functions write.
//!
//! Bytes come from the network: sizes are checked against limits before anything is stored, and
//! every violation is a [`ZmtpError`], after which the connection is unusable.

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
pub use curve::{BadKey, CodecScratch, Curve, CurveCodec, KeyPair, Progress, PublicKey, SecretKey};
pub use frame::{FrameHeader, MAX_HEADER, put_frame};
pub use handshake::{GREETING_SIZE, Handshake, Peer};
pub use opening::{Open, Opening, Step};
pub use reader::{Item, Message, MessageReader};
pub use socket_type::SocketType;

use thiserror::Error;

/// Why a connection must end.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ZmtpError {
    /// The first bytes are not ZMTP 3: another protocol, or a libzmq before 4.0.
    #[error("no ZMTP 3 greeting")]
    Greeting,
    /// The peer uses another security mechanism.
    #[error("{}", other_mechanism(theirs, ours))]
    Mechanism {
        /// The peer's mechanism.
        theirs: String,
        /// Our mechanism.
        ours: &'static str,
    },
    /// The peer's socket type does not match ours.
    #[error("incompatible socket type {0:?}")]
    SocketType(String),
    /// The peer refused the connection, with this reason.
    #[error("the peer refused the connection: {0:?}")]
    Refused(String),
    /// Something other than this command, which was expected.
    #[error("no {0} command")]
    Expected(&'static str),
    /// The flags of a frame violate the protocol.
    #[error("frame with invalid flags {0:#04x}")]
    Flags(u8),
    /// A frame or message is larger than the limit.
    #[error("message of {size} bytes, more than {limit}")]
    TooLarge {
        /// Bytes announced so far.
        size: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// A command is truncated or inconsistent.
    #[error("malformed {0} command")]
    Command(&'static str),
    /// This CURVE command cannot be decrypted or is not genuine. For HELLO and WELCOME it means
    /// that the client has a wrong server key.
    #[error("cannot decrypt the {0} command: {hint}", hint = curve::hint(.0))]
    Undecryptable(&'static str),
    /// A CURVE message that is not newer than the last: it has been replayed.
    #[error("message with nonce {nonce} after {last}")]
    Replayed {
        /// The number of this message.
        nonce: u64,
        /// The number of the last message.
        last: u64,
    },
    /// The client's key is not allowed to connect.
    #[error("its public key {0} is not authorized to connect")]
    Unauthorized(PublicKey),
}

/// Describes a mismatch of mechanisms and its most likely cause.
fn other_mechanism(theirs: &str, ours: &str) -> String {
    match (theirs, ours) {
        ("CURVE", "NULL") => {
            "it encrypts (mechanism CURVE) and this side does not: CURVE keys are set there, \
             but not here"
        }
        ("NULL", "CURVE") => {
            "it does not encrypt (mechanism NULL) and this side does: CURVE keys are set here, \
             but not there"
        }
        _ => return format!("it uses mechanism {theirs:?}, this side {ours}"),
    }
    .into()
}
