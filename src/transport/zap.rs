//! [`ZapHandler`]: decides for libzmq which clients may connect to CURVE servers (RFC 27, WIRE.md
//! §7.2).

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::{
    Context, Interest, PollSet, Received, Socket, SocketKind, SocketOptions, TransportError, Waker,
};
use crate::wire::zmtp::PublicKey;

/// The address at which libzmq asks, in every context.
const ENDPOINT: &str = "inproc://zeromq.zap.01";

/// A client that asks to connect and has proved to own its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZapRequest {
    /// Its public key.
    pub key: PublicKey,
    /// Its IP address, for messages.
    pub address: String,
}

/// The thread that answers for all CURVE servers of a context.
///
/// Without it, libzmq admits every client that knows the server's public key. That is why a
/// server's [`CurveOptions`](super::CurveOptions), and with them its socket, hold it. Dropping the
/// last of them ends the thread.
#[derive(Debug)]
pub struct ZapHandler {
    context: Context,
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Stop {
    is_due: AtomicBool,
    waker: Waker,
}

impl ZapHandler {
    /// Starts answering. `allow` returns the name for a key that may connect, or `None`. It runs on
    /// its own thread, and the handshakes of all servers wait for it.
    ///
    /// # Errors
    /// When the context already has a handler, or the process is out of file descriptors or
    /// threads.
    pub fn start(
        context: &Context,
        mut allow: impl FnMut(&ZapRequest) -> Option<String> + Send + 'static,
    ) -> Result<Self, TransportError> {
        let fail = |error: io::Error| {
            let errno = error.raw_os_error().unwrap_or_default();
            TransportError::new("start the ZAP handler", zmq::Error::from_raw(errno))
        };
        let socket = Socket::new(context, SocketKind::Rep, &SocketOptions::default())?;
        socket.bind(ENDPOINT)?;
        let waker = Waker::new().map_err(fail)?;
        let stop = Arc::new(Stop { is_due: AtomicBool::new(false), waker });
        let thread = std::thread::Builder::new()
            .name("zap".into())
            .spawn({
                let stop = Arc::clone(&stop);
                move || {
                    if let Err(error) = serve(&socket, &stop, &mut allow) {
                        // The servers end at the same time.
                        log::debug!("the ZAP handler stopped: {error}");
                    }
                }
            })
            .map_err(fail)?;
        Ok(ZapHandler { context: context.clone(), stop, thread: Some(thread) })
    }

    /// Whether it answers for sockets of that context.
    pub(super) fn is_of(&self, context: &Context) -> bool {
        self.context.is_same(context)
    }
}

impl Drop for ZapHandler {
    fn drop(&mut self) {
        self.stop.is_due.store(true, Ordering::Release);
        self.stop.waker.wake();
        if let Some(thread) = self.thread.take() {
            // A panic of `allow` was reported when it happened.
            let _ = thread.join();
        }
    }
}

fn serve(
    socket: &Socket,
    stop: &Stop,
    allow: &mut impl FnMut(&ZapRequest) -> Option<String>,
) -> Result<(), TransportError> {
    while !stop.is_due.load(Ordering::Acquire) {
        let mut poll = PollSet::new();
        poll.add(socket, Interest::Readable);
        poll.add_waker(&stop.waker);
        poll.wait(None)?;
        while let Some(request) = socket.try_receive()? {
            // If there is no room for the answer, the peer is gone.
            socket.try_send(&answer(&request, allow))?;
        }
    }
    Ok(())
}

/// Version, id of the request, status code, status text, name, metadata.
fn answer(
    request: &Received,
    allow: &mut impl FnMut(&ZapRequest) -> Option<String>,
) -> [Vec<u8>; 6] {
    let frames: Vec<&[u8]> = request.frames.iter().map(|frame| &**frame).collect();
    let id = frames.get(1).copied().unwrap_or_default();
    // Version, id, domain, address, identity, mechanism, key.
    let name = match frames[..] {
        [b"1.0", _, _, address, _, b"CURVE", key] => {
            <[u8; 32]>::try_from(key).ok().and_then(|key| {
                let address = String::from_utf8_lossy(address).into_owned();
                let request = ZapRequest { key: key.into(), address };
                // Without a handler, libzmq would admit every client.
                catch_unwind(AssertUnwindSafe(|| allow(&request))).unwrap_or(None)
            })
        }
        _ => None,
    };
    let (code, text) = match name {
        Some(_) => ("200", "OK"),
        None => ("400", "Invalid ZAP request"),
    };
    let name = name.unwrap_or_default();
    [b"1.0", id, code.as_bytes(), text.as_bytes(), name.as_bytes(), b""].map(<[u8]>::to_vec)
}
