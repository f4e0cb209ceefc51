//! Peers that speak ZeroMQ and nothing more: what they send is up to the test.

use std::io::Write;
use std::net::TcpStream;

use zcluster::transport::{Context, Socket, SocketKind, SocketOptions};

use super::{PATIENCE, wait_for};

/// A socket that is connected to somebody. Dropping it waits until all it sent has left.
pub struct RawPeer {
    // Before its context, which waits for it.
    socket: Socket,
    _context: Context,
}

impl RawPeer {
    /// A socket of that kind that connects there.
    pub fn connect(kind: SocketKind, endpoint: &str) -> Self {
        let context = Context::new(1).unwrap();
        let options = SocketOptions {
            linger_ms: PATIENCE.as_millis() as i32,
            xpub_nodrop: kind == SocketKind::Xpub,
            ..SocketOptions::default()
        };
        let socket = Socket::new(&context, kind, &options).unwrap();
        socket.connect(endpoint).unwrap();
        RawPeer { socket, _context: context }
    }

    /// A publisher on the bus that already sees who subscribes to this topic.
    pub fn publisher(xsub_endpoint: &str, topic: &[u8]) -> Self {
        let peer = Self::connect(SocketKind::Xpub, xsub_endpoint);
        wait_for("a subscription to the topic", || {
            peer.receive().filter(|frames| frames[0][0] == 1 && topic.starts_with(&frames[0][1..]))
        });
        peer
    }

    /// Sends a message as soon as there is room.
    pub fn send<F: AsRef<[u8]>>(&self, frames: &[F]) {
        wait_for("room to send", || self.socket.try_send(frames).unwrap().then_some(()));
    }

    /// The next message, if there is one.
    pub fn receive(&self) -> Option<Vec<Vec<u8>>> {
        let message = self.socket.try_receive().unwrap()?;
        Some(message.frames.iter().map(|frame| frame.to_vec()).collect())
    }
}

/// A TCP connection to an endpoint or address.
pub fn tcp(endpoint: &str) -> TcpStream {
    TcpStream::connect(endpoint.trim_start_matches("tcp://")).unwrap()
}

/// Sends bytes over a TCP connection of their own. The peer may close it at any time.
pub fn send_garbage(endpoint: &str, bytes: &[u8]) -> TcpStream {
    let mut stream = tcp(endpoint);
    let _ = stream.write_all(bytes);
    stream
}
