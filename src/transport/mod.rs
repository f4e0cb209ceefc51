//! All use of libzmq, and the only module that may hold `unsafe` code.
//!
//! It offers sockets that send and receive whole multipart messages without blocking, a poll over
//! them, connection events, and a way to wake the polling thread. Nothing here interprets messages.

mod error;
mod low_water;
mod monitor;
mod options;
mod poll;
mod proxy;
mod socket;
mod wake;
mod zap;

pub use error::TransportError;
pub use low_water::set_receive_low_water;
pub use monitor::{ConnectionEvent, ConnectionEventKind, HandshakeFault, Monitor};
pub use options::{CurveOptions, Heartbeat, SUBSCRIPTION_HWM, SocketOptions};
pub use poll::{Interest, PollSet};
pub use proxy::{ProxyControl, ProxyStatistics, SocketStatistics, run_proxy};
pub use socket::{Frame, MAX_FRAMES, Received, Socket, SocketKind};
pub use wake::Waker;
pub use zap::{ZapHandler, ZapRequest};

use std::sync::Arc;

/// A ZeroMQ context: the I/O threads that sockets share. Cheap to clone.
///
/// Dropping the last clone waits until every socket is closed and its linger time is over.
#[derive(Clone)]
pub struct Context {
    raw: zmq::Context,
    /// The same in all clones.
    identity: Arc<()>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Context")
    }
}

impl Context {
    /// A context with that many I/O threads, 1 or more.
    ///
    /// # Errors
    /// When libzmq refuses the number.
    pub fn new(io_threads: u32) -> Result<Self, TransportError> {
        let context = zmq::Context::new();
        context
            .set_io_threads(i32::try_from(io_threads.max(1)).unwrap_or(i32::MAX))
            .map_err(|error| TransportError::new("set the number of I/O threads", error))?;
        Ok(Context { raw: context, identity: Arc::default() })
    }

    /// Whether it is a clone of the other.
    fn is_same(&self, other: &Context) -> bool {
        Arc::ptr_eq(&self.identity, &other.identity)
    }

    /// Makes every blocking call on sockets of this context return, then waits until all of them
    /// are closed. Blocks.
    pub fn terminate(mut self) {
        if let Err(error) = self.raw.destroy() {
            log::debug!("cannot terminate the ZeroMQ context: {error}");
        }
    }
}

/// The version of libzmq that is linked in.
pub fn libzmq_version() -> (i32, i32, i32) {
    zmq::version()
}

#[cfg(test)]
mod tests {
    #[test]
    fn libzmq_is_the_vendored_one_with_curve() {
        assert_eq!(super::libzmq_version(), (4, 3, 5));
        assert_eq!(zmq::has("curve"), Some(true));
    }
}
