//! Stream sockets for code that speaks ZMTP itself: listeners, connections, and epoll.
//!
//! Nothing here interprets the bytes, except for finding the frames of encrypted connections, and
//! nothing uses libzmq.

mod channel;
mod listener;
mod poller;
mod unix_socket;

pub use channel::{Channel, ChannelError, Read, Scratch};
pub use listener::{BindError, Listener, Stream};
pub use poller::{Event, Poller};
pub use unix_socket::make_way;
