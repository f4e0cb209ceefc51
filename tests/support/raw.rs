//! Peers on bare libzmq sockets: the test decides what they send.

use std::io::Write;
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use zcluster::transport::{Context, CurveOptions, Socket, SocketKind, SocketOptions};
use zcluster::wire::SubscriptionMessage;

use super::{PATIENCE, wait_for};

/// A connected socket. Dropping it waits until all its messages have left.
pub struct RawPeer {
    // Declared before its context, because dropping the context waits for it.
    socket: Socket,
    _context: Context,
}

impl RawPeer {
    /// Connects a socket of that kind.
    pub fn connect(kind: SocketKind, endpoint: &str) -> Self {
        // An XSUB silently drops subscriptions when its queue is full.
        Self::connect_with(kind, endpoint, (kind == SocketKind::Xsub).then_some(0), None)
    }

    /// Connects a producer of logs that queues at most `send_hwm` batches.
    pub fn producer(endpoint: &str, send_hwm: i32, curve: Option<CurveOptions>) -> Self {
        Self::connect_with(SocketKind::Push, endpoint, Some(send_hwm), curve)
    }

    fn connect_with(
        kind: SocketKind,
        endpoint: &str,
        send_hwm: Option<i32>,
        curve: Option<CurveOptions>,
    ) -> Self {
        let context = Context::new(1).unwrap();
        let options = SocketOptions {
            // An XSUB whose peer has gone would wait to repeat its subscriptions.
            linger_ms: if kind == SocketKind::Xsub { 0 } else { PATIENCE.as_millis() as i32 },
            send_hwm,
            curve,
            // As in nodes.
            xpub_verbose: kind == SocketKind::Xpub,
            xpub_nodrop: kind == SocketKind::Xpub,
            ..SocketOptions::default()
        };
        let socket = Socket::new(&context, kind, &options).unwrap();
        socket.connect(endpoint).unwrap();
        RawPeer { socket, _context: context }
    }

    /// Connects a publisher and waits until it sees a subscription to this topic.
    pub fn publisher(xsub_endpoint: &str, topic: &[u8]) -> Self {
        let peer = Self::connect(SocketKind::Xpub, xsub_endpoint);
        wait_for("a subscription to the topic", || {
            // Reads all that have arrived: there may be thousands of others.
            let frames = std::iter::from_fn(|| peer.receive());
            let mut seen = frames.map(|frames| match SubscriptionMessage::parse(&frames[0]) {
                Some(SubscriptionMessage::Subscribe(prefix)) => topic.starts_with(prefix),
                _ => false,
            });
            seen.any(|matches| matches).then_some(())
        });
        peer
    }

    /// Sends a message as soon as the queue has room.
    pub fn send<F: AsRef<[u8]>>(&self, frames: &[F]) {
        wait_for("room to send", || self.socket.try_send(frames).unwrap().then_some(()));
    }

    /// Subscribes to all prefixes, and reads meanwhile, so that the peer never has to wait.
    pub fn subscribe_all(&self, prefixes: impl IntoIterator<Item = Vec<u8>>) {
        for prefix in prefixes {
            self.send(&[SubscriptionMessage::Subscribe(&prefix).encode()]);
            while self.receive().is_some() {}
        }
    }

    /// Continues to read on a thread until the returned value is dropped.
    pub fn read_on(self) -> ReadingPeer {
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let wait = Duration::from_millis(1);
            while stopped.recv_timeout(wait) == Err(mpsc::RecvTimeoutError::Timeout) {
                while self.receive().is_some() {}
            }
        });
        ReadingPeer { stop: Some(stop), thread: Some(thread) }
    }

    /// Receives the next message, if there is one.
    pub fn receive(&self) -> Option<Vec<Vec<u8>>> {
        let message = self.socket.try_receive().unwrap()?;
        Some(message.frames.iter().map(|frame| frame.to_vec()).collect())
    }
}

/// A peer that reads everything until it is dropped.
pub struct ReadingPeer {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for ReadingPeer {
    fn drop(&mut self) {
        self.stop = None;
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Connects to an endpoint or address over TCP.
pub fn tcp(endpoint: &str) -> TcpStream {
    TcpStream::connect(endpoint.trim_start_matches("tcp://")).unwrap()
}

/// Sends bytes over a new TCP connection, which the peer may close at any time.
pub fn send_garbage(endpoint: &str, bytes: &[u8]) -> TcpStream {
    let mut stream = tcp(endpoint);
    let _ = stream.write_all(bytes);
    stream
}
