//! [`Socket`]: whole multipart messages in and out, without blocking.

use std::cell::{Cell, OnceCell};
use std::fmt;
use std::io::{self, ErrorKind};
use std::ops::Deref;
use std::sync::Arc;

use tempfile::TempDir;

use crate::layout::{Endpoint, UnixAddress};
use crate::net::make_way;

use super::{Context, CurveOptions, SocketOptions, TransportError, ZapHandler};

/// Frames kept of one message. Protocol messages have four at most; further frames are read and
/// discarded, so that they cost no memory.
pub const MAX_FRAMES: usize = 8;

/// The socket types a cluster uses (WIRE.md §1.1, §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketKind {
    /// Publishes, and receives subscriptions.
    Xpub,
    /// Receives events, and sends subscriptions.
    Xsub,
    /// Sends log batches.
    Push,
    /// Receives log batches.
    Pull,
    /// Control connections inside a process.
    Pair,
    /// Answers requests inside a process.
    Rep,
    /// Publishes, and handles subscriptions itself: used by other programs.
    Pub,
    /// Receives the events that [`Socket::subscribe`] asked for: used by other programs.
    Sub,
}

impl SocketKind {
    fn raw(self) -> zmq::SocketType {
        match self {
            SocketKind::Xpub => zmq::XPUB,
            SocketKind::Xsub => zmq::XSUB,
            SocketKind::Push => zmq::PUSH,
            SocketKind::Pull => zmq::PULL,
            SocketKind::Pair => zmq::PAIR,
            SocketKind::Rep => zmq::REP,
            SocketKind::Pub => zmq::PUB,
            SocketKind::Sub => zmq::SUB,
        }
    }
}

/// One frame of a received message. Derefs to its bytes, which stay where libzmq put them.
pub struct Frame(zmq::Message);

impl Deref for Frame {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}
impl AsRef<[u8]> for Frame {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
impl From<&[u8]> for Frame {
    fn from(bytes: &[u8]) -> Self {
        Frame(zmq::Message::from(bytes))
    }
}
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(bstr::BStr::new(&**self), f)
    }
}

/// One received message.
#[derive(Debug, Default)]
pub struct Received {
    /// The first [`MAX_FRAMES`] frames.
    pub frames: Vec<Frame>,
    /// How many frames the message had.
    pub count: usize,
}

impl Received {
    /// Total size of the kept frames, in bytes.
    pub fn len(&self) -> usize {
        self.frames.iter().map(|frame| frame.len()).sum()
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A ZeroMQ socket. It may move to another thread, but is not shared between threads.
pub struct Socket {
    pub(super) raw: zmq::Socket,
    /// Must outlive the socket, which without it would admit every client.
    _zap: Option<Arc<ZapHandler>>,
    /// Where `ipc://*` is, removed with the socket: libzmq would leave its file in the directory that
    /// the process was started in.
    directory: OnceCell<TempDir>,
    /// Whether libzmq has handled all that had arrived, and found nothing to receive: then its
    /// descriptor shows when more arrives. Any other call may handle what arrives, so that the
    /// descriptor does not show it.
    pub(super) is_settled: Cell<bool>,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Socket")
    }
}

impl Socket {
    /// A socket with its options set, neither bound nor connected.
    ///
    /// # Errors
    /// When libzmq refuses an option, the process is out of file descriptors, or a CURVE server's
    /// ZAP handler belongs to another context.
    pub fn new(
        context: &Context,
        kind: SocketKind,
        options: &SocketOptions,
    ) -> Result<Self, TransportError> {
        let mut raw = context
            .raw
            .socket(kind.raw())
            .map_err(|error| TransportError::new(format!("open a {kind:?} socket"), error))?;
        let zap = match &options.curve {
            Some(CurveOptions::Server { zap, .. }) if zap.is_of(context) => Some(Arc::clone(zap)),
            Some(CurveOptions::Server { .. }) => {
                let action = "use a ZAP handler of another context";
                return Err(TransportError::new(action, zmq::Error::EINVAL));
            }
            Some(CurveOptions::Client { .. }) | None => None,
        };
        options.apply(&mut raw)?;
        Ok(Socket { raw, _zap: zap, directory: OnceCell::new(), is_settled: Cell::new(false) })
    }

    /// Accepts connections at `endpoint`. Returns the endpoint as bound, with the port that the
    /// system chose for `:0` or `:*`.
    ///
    /// # Errors
    /// A bad endpoint, or one that is in use.
    pub fn bind(&self, endpoint: &str) -> Result<String, TransportError> {
        let fail = |error| TransportError::new(format!("bind to {endpoint}"), error);
        // A NUL would make the zmq crate panic.
        if endpoint.contains('\0') {
            return Err(fail(zmq::Error::EINVAL));
        }
        if matches!(endpoint.parse(), Ok(Endpoint::Ipc(UnixAddress::Any))) {
            let fail = |error: io::Error| {
                let action = format!("bind to {endpoint}");
                TransportError::with_reason(action, error.to_string(), zmq::Error::EACCES)
            };
            let directory = tempfile::Builder::new().prefix("zcluster-").tempdir().map_err(fail)?;
            let path = directory.path().join("socket");
            let bound = self.bind(&format!("ipc://{}", path.display()))?;
            let _ = self.directory.set(directory);
            return Ok(bound);
        }
        // libzmq would replace a socket that is in use, and remove any other file.
        if let Ok(Endpoint::Ipc(address)) = endpoint.parse() {
            make_way(&address).map_err(|error| match error.kind() {
                ErrorKind::AddrInUse => fail(zmq::Error::EADDRINUSE),
                ErrorKind::PermissionDenied => fail(zmq::Error::EACCES),
                _ => TransportError::with_reason(
                    format!("bind to {endpoint}"),
                    error.to_string(),
                    zmq::Error::EINVAL,
                ),
            })?;
        }
        self.is_settled.set(false);
        self.raw.bind(endpoint).map_err(fail)?;
        match self.raw.get_last_endpoint() {
            Ok(Ok(bound)) => Ok(bound),
            Ok(Err(_)) | Err(_) => Ok(endpoint.to_owned()),
        }
    }

    /// Connects in the background, retrying until the peer is there.
    ///
    /// # Errors
    /// Only a bad endpoint.
    pub fn connect(&self, endpoint: &str) -> Result<(), TransportError> {
        let fail = |error| TransportError::new(format!("connect to {endpoint}"), error);
        if endpoint.contains('\0') {
            return Err(fail(zmq::Error::EINVAL));
        }
        self.is_settled.set(false);
        self.raw.connect(endpoint).map_err(fail)
    }

    /// Subscribes to topics that start with `prefix`. Only for [`SocketKind::Sub`]: an XSUB sends
    /// its subscriptions as messages.
    ///
    /// # Errors
    /// With any other kind of socket.
    pub fn subscribe(&self, prefix: &[u8]) -> Result<(), TransportError> {
        self.is_settled.set(false);
        self.raw.set_subscribe(prefix).map_err(|error| TransportError::new("subscribe", error))
    }

    /// Changes how long the socket keeps sending after it is closed.
    ///
    /// # Errors
    /// When the context is gone.
    pub fn set_linger(&self, milliseconds: i32) -> Result<(), TransportError> {
        self.raw
            .set_linger(milliseconds)
            .map_err(|error| TransportError::new("set socket option LINGER", error))
    }

    /// Whether there was nothing to receive when a [`PollSet`](super::PollSet) last waited, or at the
    /// last attempt after it.
    pub fn is_settled(&self) -> bool {
        self.is_settled.get()
    }

    /// The next message, or `None` if none has arrived. Never blocks.
    ///
    /// # Errors
    /// When the context was terminated.
    pub fn try_receive(&self) -> Result<Option<Received>, TransportError> {
        let mut received = Received::default();
        self.is_settled.set(false);
        loop {
            let mut frame = zmq::Message::new();
            match self.raw.recv(&mut frame, zmq::DONTWAIT) {
                Ok(()) => {}
                // libzmq delivers whole messages: after the first frame, the others are there.
                Err(zmq::Error::EAGAIN) => {
                    self.is_settled.set(true);
                    return Ok(None);
                }
                Err(zmq::Error::EINTR) => continue,
                Err(error) => return Err(TransportError::new("receive", error)),
            }
            let more = frame.get_more();
            received.count += 1;
            if received.frames.len() < MAX_FRAMES {
                received.frames.push(Frame(frame));
            }
            if !more {
                return Ok(Some(received));
            }
        }
    }

    /// Sends a message of one or more frames. Returns `false` if there is no room; nothing was sent
    /// then. Never blocks.
    ///
    /// # Errors
    /// When the context was terminated.
    pub fn try_send<F: AsRef<[u8]>>(&self, frames: &[F]) -> Result<bool, TransportError> {
        self.is_settled.set(false);
        let last = frames.len().saturating_sub(1);
        let mut sent = true;
        for (i, frame) in frames.iter().enumerate() {
            let more = if i < last { zmq::SNDMORE } else { 0 };
            loop {
                match self.raw.send(frame.as_ref(), zmq::DONTWAIT | more) {
                    Ok(()) => break,
                    Err(zmq::Error::EINTR) => {}
                    Err(zmq::Error::EAGAIN) if i == 0 => return Ok(false),
                    // The peer of a PUSH left between two frames. libzmq has dropped the message
                    // and expects its remaining frames, to drop them, too.
                    Err(zmq::Error::EAGAIN) => {
                        sent = false;
                        break;
                    }
                    Err(error) => return Err(TransportError::new("send", error)),
                }
            }
        }
        Ok(sent)
    }
}
