//! [`Listener`]: accepts connections at a ZeroMQ endpoint, TCP or a Unix socket.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV6};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, sockopt};

use super::unix_socket::UnixSocket;
use crate::layout::{Endpoint, Host};

/// TCP keepalive: idle time before the first probe, interval, and the number of unanswered probes
/// after which the connection is dead. The peer's kernel answers, so a process that is merely
/// stopped stays connected.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(60), Duration::from_secs(15), 4);

/// Connections that may wait to be accepted; the system's limit (`net.core.somaxconn`) is often the
/// same.
const BACKLOG: i32 = 4_096;

/// Why it is impossible to listen there.
#[derive(Debug, thiserror::Error)]
#[error("cannot bind to {endpoint}: {}", reason(error))]
pub struct BindError {
    /// The endpoint as given.
    pub endpoint: String,
    /// The system's error.
    pub error: io::Error,
}

impl BindError {
    /// Whether the endpoint itself is wrong, rather than in use.
    pub fn is_configuration(&self) -> bool {
        use io::ErrorKind::{AlreadyExists, InvalidInput, NotFound};
        matches!(self.error.kind(), AlreadyExists | InvalidInput | NotFound)
    }
}

/// The system's message, without its error number where it has one.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "address already in use".into(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        _ => error.to_string(),
    }
}

/// A listening socket. Accepting does not block.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    endpoint: Endpoint,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixSocket),
}

/// An accepted connection. Reads and writes do not block.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

impl Listener {
    /// Listens at an endpoint. `ipv6`: whether `*` includes IPv6. `receive_buffer`: of accepted
    /// connections, in bytes; `None`: the kernel's default.
    ///
    /// # Errors
    /// A name that does not resolve, or an address that is in use or not of this host.
    pub fn bind(
        endpoint: &str,
        ipv6: bool,
        receive_buffer: Option<usize>,
    ) -> Result<Self, BindError> {
        let fail = |error| BindError { endpoint: endpoint.into(), error };
        let invalid = |error| fail(io::Error::new(io::ErrorKind::InvalidInput, error));
        let (socket, endpoint) = match endpoint.parse().map_err(invalid)? {
            Endpoint::Tcp { host, port } => bind_tcp(&host, port, ipv6).map_err(fail)?,
            Endpoint::Ipc(address) => {
                let socket = UnixSocket::bind(&address).map_err(fail)?;
                let bound = Endpoint::Ipc(socket.address().clone());
                (Socket::Unix(socket), bound)
            }
        };
        // The standard library allows fewer. Nodes come all at once when a broker returns, and the
        // kernel makes those beyond the limit wait for a second or more.
        rustix::net::listen(&socket, BACKLOG).map_err(|error| fail(error.into()))?;
        if let Some(size) = receive_buffer {
            // Accepted connections inherit it.
            sockopt::set_socket_recv_buffer_size(&socket, size)
                .map_err(|error| fail(error.into()))?;
        }
        Ok(Listener { socket, endpoint })
    }

    /// The endpoint as bound, with the port that the system chose.
    pub fn endpoint(&self) -> String {
        self.endpoint.to_string()
    }

    /// The next waiting connection and its address, for messages; `None` if there is none.
    ///
    /// # Errors
    /// Mostly when the process is out of file descriptors.
    pub fn accept(&self) -> io::Result<Option<(Stream, String)>> {
        let accepted = match &self.socket {
            Socket::Tcp(listener) => listener.accept().and_then(|(stream, address)| {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                let (idle, interval, count) = KEEPALIVE;
                sockopt::set_socket_keepalive(&stream, true)?;
                sockopt::set_tcp_keepidle(&stream, idle)?;
                sockopt::set_tcp_keepintvl(&stream, interval)?;
                sockopt::set_tcp_keepcnt(&stream, count)?;
                Ok((Stream::Tcp(stream), address.to_string()))
            }),
            Socket::Unix(socket) => socket.listener.accept().and_then(|(stream, _)| {
                stream.set_nonblocking(true)?;
                Ok((Stream::Unix(stream), socket.address().to_string()))
            }),
        };
        match accepted {
            Ok(accepted) => Ok(Some(accepted)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            // The peer left before it was accepted; try the next one.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::Interrupted
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::NotConnected
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

fn bind_tcp(host: &Host, port: u16, ipv6: bool) -> io::Result<(Socket, Endpoint)> {
    let address = match host {
        Host::Any if ipv6 => SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
        Host::Any => SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
        Host::V4(ip) => SocketAddr::from((*ip, port)),
        Host::V6(ip, zone) => {
            let scope = zone.as_deref().map_or(Ok(0), interface_index)?;
            SocketAddrV6::new(*ip, port, 0, scope).into()
        }
        Host::Name(name) => match interface_address(name, ipv6)? {
            Some(ip) => SocketAddr::from((ip, port)),
            None => resolve(name, port, ipv6)?,
        },
    };
    // This sets SO_REUSEADDR, so a restart need not wait for the connections of its predecessor.
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    let host = match (host, address.ip()) {
        (Host::V6(ip, zone), _) => Host::V6(*ip, zone.clone()),
        (_, IpAddr::V4(ip)) => Host::V4(ip),
        (_, IpAddr::V6(ip)) => Host::V6(ip, None),
    };
    Ok((Socket::Tcp(listener), Endpoint::Tcp { host, port }))
}

fn interface_index(zone: &str) -> io::Result<u32> {
    if let Ok(index) = zone.parse() {
        return Ok(index);
    }
    let any = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )?;
    rustix::net::netdevice::name_to_index(any, zone).map_err(|_| no_such("interface", zone))
}

/// The address of the interface with that name, if it exists.
fn interface_address(name: &str, ipv6: bool) -> io::Result<Option<IpAddr>> {
    let addresses = if_addrs::get_if_addrs()?;
    let mut addresses = addresses.into_iter().filter(|one| one.name == name).map(|one| one.ip());
    Ok(addresses.find(|ip| ip.is_ipv4() || ipv6))
}

fn resolve(name: &str, port: u16, ipv6: bool) -> io::Result<SocketAddr> {
    let mut addresses = (name, port).to_socket_addrs().map_err(|_| no_such("host", name))?;
    addresses
        .find(|address| address.is_ipv4() || ipv6)
        .ok_or_else(|| no_such("usable address for", name))
}

fn no_such(what: &str, name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no {what} {name}"))
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(listener) => listener.as_fd(),
            Socket::Unix(socket) => socket.listener.as_fd(),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Stream {
    /// Appends what has arrived to `buffer`, up to its spare capacity (which must not be 0); 0 at
    /// the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` if nothing has arrived.
    pub fn read_to(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            // Unlike `read`, it does not look at what only files have, which counts with many sockets.
            let room = rustix::buffer::spare_capacity(buffer);
            match rustix::net::recv(self, room, RecvFlags::empty()) {
                Err(Errno::INTR) => {}
                outcome => return Ok(outcome?.0),
            }
        }
    }

    /// Ends the connection if sent data stays unacknowledged, or the peer's window stays closed,
    /// for that long. No effect on Unix sockets.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn set_user_timeout(&self, timeout: Duration) -> io::Result<()> {
        if let Stream::Tcp(stream) = self {
            let millis = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
            sockopt::set_tcp_user_timeout(stream, millis)?;
        }
        Ok(())
    }

    /// Writes as much of the pieces as fits, in order.
    ///
    /// # Errors
    /// `WouldBlock` if nothing fits.
    pub fn write_pieces(&self, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
        loop {
            let outcome = if let [piece] = pieces {
                rustix::net::send(self, piece, SendFlags::NOSIGNAL)
            } else {
                let control = &mut SendAncillaryBuffer::default();
                rustix::net::sendmsg(self, pieces, control, SendFlags::NOSIGNAL)
            };
            match outcome {
                Err(Errno::INTR) => {}
                outcome => return Ok(outcome?),
            }
        }
    }

    /// Shuts down our direction: the peer sees the end of the stream, and its data still arrives.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn end_writing(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn endpoints_are_reported_as_bound() {
        for (endpoint, ipv6, expected) in [
            ("tcp://127.0.0.1:0", false, "tcp://127.0.0.1:"),
            ("tcp://*:*", false, "tcp://0.0.0.0:"),
            ("tcp://lo:0", false, "tcp://127.0.0.1:"),
            ("tcp://localhost:0", false, "tcp://127.0.0.1:"),
        ] {
            let listener = Listener::bind(endpoint, ipv6, Some(8192)).unwrap();
            let bound = listener.endpoint();
            assert!(bound.starts_with(expected), "{endpoint}: {bound}");
            assert!(listener.accept().unwrap().is_none());
            let address = bound.strip_prefix("tcp://").unwrap().replace("0.0.0.0", "127.0.0.1");
            let mut peer = TcpStream::connect(address).unwrap();
            peer.write_all(b"hello").unwrap();
            let (stream, from) = listener.accept().unwrap().unwrap();
            assert_eq!(from, peer.local_addr().unwrap().to_string());
            stream.end_writing().unwrap();
            assert_eq!(peer.read(&mut [0]).unwrap(), 0);
            let mut buffer = Vec::with_capacity(100);
            while !matches!(stream.read_to(&mut buffer), Ok(5)) {}
            assert_eq!(buffer, b"hello");
        }
    }

    #[test]
    fn a_socket_that_is_left_over_is_replaced_and_one_in_use_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let endpoint = format!("ipc://{}", path.display());
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let listener = Listener::bind(&endpoint, false, None).unwrap();
        let error = Listener::bind(&endpoint, false, None).unwrap_err();
        assert!(!error.is_configuration(), "{error}");
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn mistakes_are_told_from_addresses_that_are_taken() {
        let taken = Listener::bind("tcp://127.0.0.1:0", false, None).unwrap().endpoint();
        let listener = Listener::bind(&taken, false, None).unwrap();
        assert!(!Listener::bind(&listener.endpoint(), false, None).unwrap_err().is_configuration());
        for wrong in ["tcp://", "tcp://no-such-host.invalid:0", "tcp://[fe80::1%nope]:0"] {
            let error = Listener::bind(wrong, true, None).unwrap_err();
            assert!(error.is_configuration(), "{error}");
            assert!(error.to_string().starts_with(&format!("cannot bind to {wrong}: ")), "{error}");
        }
    }
}
