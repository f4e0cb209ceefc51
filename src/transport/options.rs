//! Socket options: one struct for all of them, applied before bind or connect.

use std::os::raw::{c_int, c_void};
use std::sync::Arc;
use std::time::Duration;

use super::{TransportError, ZapHandler};
use crate::wire::zmtp::{KeyPair, PublicKey};

/// What to set on a socket; `None` leaves libzmq's default.
#[derive(Clone, Debug, Default)]
pub struct SocketOptions {
    /// `ZMQ_IPV6`: allow IPv6 endpoints.
    pub ipv6: bool,
    /// `ZMQ_LINGER` in milliseconds: how long a closed socket goes on sending; −1 forever.
    /// Always set: libzmq's own default waits forever.
    pub linger_ms: i32,
    /// `ZMQ_SNDHWM` in messages per peer, 0 unlimited.
    pub send_hwm: Option<i32>,
    /// `ZMQ_RCVHWM` in messages per peer, 0 unlimited.
    pub receive_hwm: Option<i32>,
    /// `SO_SNDBUF` in bytes, −1 the system's default.
    pub send_buffer: Option<i32>,
    /// `SO_RCVBUF` in bytes, −1 the system's default.
    pub receive_buffer: Option<i32>,
    /// `ZMQ_MAXMSGSIZE`: a peer that sends a larger frame is disconnected.
    pub max_message_size: Option<i64>,
    /// `ZMQ_IMMEDIATE`: queue only for completed connections.
    pub immediate: bool,
    /// `ZMQ_XPUB_VERBOSE`: show repeated subscriptions.
    pub xpub_verbose: bool,
    /// `ZMQ_XPUB_VERBOSER`: show repeated subscriptions and unsubscriptions.
    pub xpub_verboser: bool,
    /// `ZMQ_XPUB_NODROP`: a full peer makes the send fail instead of dropping.
    pub xpub_nodrop: bool,
    /// ZMTP heartbeats; zero interval means none.
    pub heartbeat: Heartbeat,
    /// Encryption; none by default.
    pub curve: Option<CurveOptions>,
}

/// A side of CURVE, and its keys.
#[derive(Clone, Debug)]
pub enum CurveOptions {
    /// The listening side.
    Server {
        /// Its own keys.
        keys: Arc<KeyPair>,
        /// The handler in the socket's context that decides which keys to admit.
        zap: Arc<ZapHandler>,
    },
    /// The connecting side.
    Client {
        /// Its own keys.
        keys: Arc<KeyPair>,
        /// The server's public key.
        server: PublicKey,
    },
}

/// A send high-water mark for XSUB sockets. They send subscriptions, and libzmq silently drops
/// those beyond the mark, including the ones that a broker repeats to a new node. The default of
/// 1000 is less than the number of topics of a few hundred nodes.
pub const SUBSCRIPTION_HWM: i32 = 100_000;

/// ZMTP heartbeats (RFC 37): PING every `interval`, cut the peer off when nothing came back
/// within `timeout`, and ask the peer to do the same to us after `ttl`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heartbeat {
    /// Time between PINGs; zero switches heartbeats off.
    pub interval: Duration,
    /// How long to wait for any traffic after a PING.
    pub timeout: Duration,
    /// What the peer is asked for; tenths of a second on the wire, at most 65 s for libzmq peers.
    pub ttl: Duration,
}

impl SocketOptions {
    pub(super) fn apply(&self, socket: &mut zmq::Socket) -> Result<(), TransportError> {
        use zmq_sys as z;
        set(socket, "LINGER", z::ZMQ_LINGER, self.linger_ms)?;
        set(socket, "IPV6", z::ZMQ_IPV6, self.ipv6)?;
        for (name, option, value) in [
            ("SNDHWM", z::ZMQ_SNDHWM, self.send_hwm),
            ("RCVHWM", z::ZMQ_RCVHWM, self.receive_hwm),
            ("SNDBUF", z::ZMQ_SNDBUF, self.send_buffer),
            ("RCVBUF", z::ZMQ_RCVBUF, self.receive_buffer),
        ] {
            if let Some(value) = value {
                set(socket, name, option, value)?;
            }
        }
        if let Some(bytes) = self.max_message_size {
            socket
                .set_maxmsgsize(bytes)
                .map_err(|error| TransportError::new("set MAXMSGSIZE", error))?;
        }
        for (name, option, wanted) in [
            ("IMMEDIATE", z::ZMQ_IMMEDIATE, self.immediate),
            ("XPUB_VERBOSE", z::ZMQ_XPUB_VERBOSE, self.xpub_verbose),
            ("XPUB_VERBOSER", z::ZMQ_XPUB_VERBOSER, self.xpub_verboser),
            ("XPUB_NODROP", z::ZMQ_XPUB_NODROP, self.xpub_nodrop),
        ] {
            if wanted {
                set(socket, name, option, 1)?;
            }
        }
        if let Some(curve) = &self.curve {
            curve.apply(socket)?;
        }
        self.heartbeat.apply(socket)
    }
}

impl CurveOptions {
    fn apply(&self, socket: &zmq::Socket) -> Result<(), TransportError> {
        let set = |keys: &KeyPair| {
            socket.set_curve_publickey(keys.public().as_bytes())?;
            socket.set_curve_secretkey(keys.secret().expose())
        };
        match self {
            CurveOptions::Server { keys, .. } => {
                socket.set_curve_server(true).and_then(|()| set(keys))
            }
            CurveOptions::Client { keys, server } => {
                socket.set_curve_serverkey(server.as_bytes()).and_then(|()| set(keys))
            }
        }
        .map_err(|error| TransportError::new("set the CURVE keys", error))
    }
}

impl Heartbeat {
    fn apply(&self, socket: &mut zmq::Socket) -> Result<(), TransportError> {
        use zmq_sys as z;
        if self.interval.is_zero() {
            return Ok(());
        }
        set(socket, "HEARTBEAT_IVL", z::ZMQ_HEARTBEAT_IVL, millis(self.interval))?;
        set(socket, "HEARTBEAT_TIMEOUT", z::ZMQ_HEARTBEAT_TIMEOUT, millis(self.timeout))?;
        set(socket, "HEARTBEAT_TTL", z::ZMQ_HEARTBEAT_TTL, millis(self.ttl))?;
        // libzmq cannot send a PING while the kernel takes no more bytes, as with a stopped peer
        // under load. There, TCP_USER_TIMEOUT cuts it off.
        set(socket, "TCP_MAXRT", z::ZMQ_TCP_MAXRT, millis(self.timeout))
    }
}

fn millis(duration: Duration) -> c_int {
    c_int::try_from(duration.as_millis()).unwrap_or(c_int::MAX)
}

/// Sets an option of type int; the `zmq` crate has no setter for some of them.
fn set(
    socket: &mut zmq::Socket,
    name: &str,
    option: u32,
    value: impl Into<c_int>,
) -> Result<(), TransportError> {
    let value: c_int = value.into();
    // SAFETY: the socket is open for the length of the call, and libzmq reads `size_of::<c_int>()`
    // bytes from a live local.
    #[allow(unsafe_code)]
    let answer = unsafe {
        zmq_sys::zmq_setsockopt(
            socket.as_mut_ptr(),
            option as c_int,
            (&raw const value).cast::<c_void>(),
            size_of::<c_int>(),
        )
    };
    if answer == 0 {
        return Ok(());
    }
    // SAFETY: reads libzmq's thread-local error number.
    #[allow(unsafe_code)]
    let error = zmq::Error::from_raw(unsafe { zmq_sys::zmq_errno() });
    Err(TransportError::new(format!("set socket option {name} to {value}"), error))
}
