//! Stream sockets for what speaks ZMTP itself: listeners, connections, and waiting for many of them.
//!
//! Nothing here knows what the bytes mean, and nothing uses libzmq.

mod listener;
mod poller;

pub use listener::{BindError, Listener, Stream};
pub use poller::{Event, Poller};
