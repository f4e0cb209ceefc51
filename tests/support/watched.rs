//! libzmq sockets, encrypted or not, with their connection events.

use std::sync::Arc;

use zcluster::transport::{
    ConnectionEventKind, Context, CurveOptions, Monitor, Socket, SocketKind, SocketOptions,
};
use zcluster::wire::zmtp::{KeyPair, PublicKey};

use super::{Process, wait_for};

/// Generates keys.
pub fn keys() -> Arc<KeyPair> {
    Arc::new(KeyPair::generate())
}

/// The options of a client with these keys, for a server with that key.
pub fn client(keys: &Arc<KeyPair>, server: &PublicKey) -> CurveOptions {
    CurveOptions::Client { keys: Arc::clone(keys), server: *server }
}

/// A libzmq socket and the monitor of its connection.
pub struct Peer {
    monitor: Monitor,
    pub socket: Socket,
    _context: Context,
}

impl Peer {
    pub fn connect(
        kind: SocketKind,
        endpoint: &str,
        curve: impl Into<Option<CurveOptions>>,
        receive_hwm: Option<i32>,
    ) -> Self {
        let context = Context::new(1).unwrap();
        let options = SocketOptions {
            curve: curve.into(),
            receive_hwm,
            send_hwm: (kind == SocketKind::Xsub).then_some(0),
            xpub_verbose: kind == SocketKind::Xpub,
            xpub_nodrop: kind == SocketKind::Xpub,
            ..SocketOptions::default()
        };
        let socket = Socket::new(&context, kind, &options).unwrap();
        let monitor = Monitor::new(&context, &socket).unwrap();
        socket.connect(endpoint).unwrap();
        Peer { monitor, socket, _context: context }
    }

    pub fn publisher(broker: &Process, curve: impl Into<Option<CurveOptions>>) -> Self {
        Self::connect(SocketKind::Xpub, &broker.endpoint("xsub"), curve, None)
    }

    pub fn subscriber(broker: &Process, curve: impl Into<Option<CurveOptions>>) -> Self {
        Self::connect(SocketKind::Xsub, &broker.endpoint("xpub"), curve, None)
    }

    pub fn send<F: AsRef<[u8]>>(&self, frames: &[F]) {
        wait_for("room to send", || self.socket.try_send(frames).unwrap().then_some(()));
    }

    pub fn subscribe(&self, prefix: &[u8]) {
        self.send(&[[b"\x01", prefix].concat()]);
    }

    pub fn try_receive(&self) -> Option<Vec<Vec<u8>>> {
        let message = self.socket.try_receive().unwrap()?;
        Some(message.frames.iter().map(|frame| frame.to_vec()).collect())
    }

    pub fn receive(&self) -> Vec<Vec<u8>> {
        wait_for("a message", || self.try_receive())
    }

    /// Waits until a publisher receives this subscription or unsubscription.
    pub fn wait_subscription(&self, on: bool, prefix: &[u8]) {
        let expected = [&[u8::from(on)], prefix].concat();
        while self.receive() != [expected.clone()] {}
    }

    /// Waits for the next connection event of that kind. Returns its value.
    pub fn wait_event(&self, kind: ConnectionEventKind) -> u32 {
        wait_for("an event of the connection", || {
            self.monitor.try_next().unwrap().filter(|event| event.kind == kind)
        })
        .value
    }

    /// Whether its connection has ended since the last call.
    pub fn was_cut_off(&self) -> bool {
        std::iter::from_fn(|| self.monitor.try_next().unwrap())
            .any(|event| event.kind == ConnectionEventKind::Disconnected)
    }
}
