//! Stream sockets for what speaks ZMTP itself: listeners, connections, and waiting for many of them.
//!
//! Nothing here knows what the bytes mean, beyond that they are frames where they are encrypted, and
//! nothing uses libzmq.

mod channel;
mod listener;
mod poller;
mod unix_socket;

pub use channel::{Channel, ChannelError, Read, Scratch};
pub use listener::{BindError, Listener, Stream};
pub use poller::{Event, Poller};
pub use unix_socket::make_way;
