//! All kinds of publishers and subscribers that can connect to a broker, with one interface:
//! libzmq's sockets, and ZMTP 3.0 and 3.1 without it.

use zcluster::transport::SocketKind;
use zcluster::wire::zmtp::SocketType;

use super::raw::RawPeer;
use super::zmtp::{Incoming, ZmtpPeer};
use super::{PATIENCE, wait_for};

/// A kind of subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriberKind {
    /// libzmq's XSUB, as in nodes.
    Xsub,
    /// libzmq's SUB.
    Sub,
    /// ZMTP 3.0: subscriptions are messages.
    Zmtp30,
    /// ZMTP 3.1: subscriptions are commands.
    Zmtp31,
    /// ZMTP 3.1, which subscribes with messages and unsubscribes with commands, as libzmq may.
    Mixed,
}

impl SubscriberKind {
    /// Whether libzmq tracks the subscriptions of this peer: of several unsubscriptions it then
    /// sends only the last.
    pub fn is_libzmq(self) -> bool {
        matches!(self, SubscriberKind::Xsub | SubscriberKind::Sub)
    }
}

/// A subscriber of any kind.
pub enum Subscriber {
    Xsub(RawPeer),
    Sub(zmq::Socket),
    Zmtp { peer: Box<ZmtpPeer>, kind: SubscriberKind },
}

impl Subscriber {
    /// Connects to the broker's XPUB socket.
    pub fn connect(kind: SubscriberKind, endpoint: &str) -> Self {
        let zmtp = |socket_type, minor| Subscriber::Zmtp {
            peer: Box::new(ZmtpPeer::connect(endpoint, socket_type, minor)),
            kind,
        };
        match kind {
            SubscriberKind::Xsub => Subscriber::Xsub(RawPeer::connect(SocketKind::Xsub, endpoint)),
            SubscriberKind::Sub => Subscriber::Sub(libzmq_socket(zmq::SUB, endpoint)),
            SubscriberKind::Zmtp30 => zmtp(SocketType::Sub, 0),
            SubscriberKind::Zmtp31 => zmtp(SocketType::Xsub, 1),
            SubscriberKind::Mixed => zmtp(SocketType::Sub, 1),
        }
    }

    /// Subscribes to a prefix, or unsubscribes from it.
    pub fn subscribe(&mut self, on: bool, prefix: &[u8]) {
        match self {
            Subscriber::Xsub(peer) => peer.send(&[[&[u8::from(on)], prefix].concat()]),
            Subscriber::Sub(socket) if on => socket.set_subscribe(prefix).unwrap(),
            Subscriber::Sub(socket) => {
                // It fails if there is no such subscription.
                let _ = socket.set_unsubscribe(prefix);
            }
            Subscriber::Zmtp { peer, kind } => {
                let by_command = match kind {
                    SubscriberKind::Zmtp30 => false,
                    SubscriberKind::Mixed => !on,
                    _ => true,
                };
                peer.subscribe_as(by_command, on, prefix);
            }
        }
    }

    /// Sends a user message.
    pub fn send(&mut self, frames: &[&[u8]]) {
        match self {
            Subscriber::Xsub(peer) => peer.send(frames),
            Subscriber::Sub(_) => panic!("SUB sends nothing"),
            Subscriber::Zmtp { peer, .. } => peer.send(frames),
        }
    }

    /// Receives the next message, if there is one.
    pub fn try_receive(&mut self) -> Option<Vec<Vec<u8>>> {
        match self {
            Subscriber::Xsub(peer) => peer.receive(),
            Subscriber::Sub(socket) => match socket.recv_multipart(zmq::DONTWAIT) {
                Ok(frames) => Some(frames),
                Err(zmq::Error::EAGAIN) => None,
                Err(error) => panic!("receive: {error}"),
            },
            Subscriber::Zmtp { peer, .. } => match peer.try_receive()? {
                Incoming::Message(frames) => Some(frames),
                Incoming::Command(body) => panic!("a command {:?}", body.escape_ascii()),
            },
        }
    }
}

/// A kind of publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublisherKind {
    /// libzmq's XPUB, as in nodes.
    Xpub,
    /// libzmq's PUB, which does not expose the subscriptions it receives.
    Pub,
    Zmtp30,
    Zmtp31,
}

/// The publishers that expose the subscriptions they receive.
pub const OBSERVERS: [PublisherKind; 3] =
    [PublisherKind::Xpub, PublisherKind::Zmtp30, PublisherKind::Zmtp31];

/// A publisher of any kind.
pub enum Publisher {
    Xpub(RawPeer),
    Pub(zmq::Socket),
    Zmtp { peer: Box<ZmtpPeer>, kind: PublisherKind },
}

impl Publisher {
    /// Connects to the broker's XSUB socket.
    pub fn connect(kind: PublisherKind, endpoint: &str) -> Self {
        let zmtp = |socket_type, minor| Publisher::Zmtp {
            peer: Box::new(ZmtpPeer::connect(endpoint, socket_type, minor)),
            kind,
        };
        match kind {
            PublisherKind::Xpub => Publisher::Xpub(RawPeer::connect(SocketKind::Xpub, endpoint)),
            PublisherKind::Pub => Publisher::Pub(libzmq_socket(zmq::PUB, endpoint)),
            PublisherKind::Zmtp30 => zmtp(SocketType::Xpub, 0),
            PublisherKind::Zmtp31 => zmtp(SocketType::Pub, 1),
        }
    }

    /// Publishes a message.
    pub fn send(&mut self, frames: &[&[u8]]) {
        match self {
            Publisher::Xpub(peer) => peer.send(frames),
            Publisher::Pub(socket) => socket.send_multipart(frames, 0).unwrap(),
            Publisher::Zmtp { peer, .. } => peer.send(frames),
        }
    }

    /// The next subscription (`true`) or unsubscription that it receives, if there is one.
    pub fn try_see(&mut self) -> Option<(bool, Vec<u8>)> {
        let incoming = match self {
            Publisher::Xpub(peer) => Incoming::Message(peer.receive()?),
            Publisher::Pub(_) => return None,
            Publisher::Zmtp { peer, .. } => peer.try_receive()?,
        };
        if matches!(self, Publisher::Zmtp { kind: PublisherKind::Zmtp30, .. }) {
            // It does not support commands.
            assert!(matches!(incoming, Incoming::Message(_)), "{incoming:?} to a peer of ZMTP 3.0");
        }
        if let Incoming::Message(frames) = &incoming {
            assert_eq!(frames.len(), 1, "{frames:?}");
        }
        let (on, prefix) = incoming.subscription().unwrap_or_else(|| panic!("{incoming:?}"));
        Some((on, prefix.to_vec()))
    }

    /// Waits for the next subscription or unsubscription.
    pub fn see(&mut self) -> (bool, Vec<u8>) {
        wait_for("a subscription", || self.try_see())
    }
}

/// Connects a libzmq socket that closes at once when dropped.
fn libzmq_socket(kind: zmq::SocketType, endpoint: &str) -> zmq::Socket {
    let socket = zmq::Context::new().socket(kind).unwrap();
    socket.set_linger(0).unwrap();
    socket.set_sndtimeo(PATIENCE.as_millis() as i32).unwrap();
    socket.connect(endpoint).unwrap();
    socket
}
