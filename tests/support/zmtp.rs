//! Peers that speak ZMTP over their own TCP connection, with every byte under the test's control
//! (RFC 23, RFC 37; WIRE.md §1.4).

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType as Kind, sockopt};
use zcluster::wire::SubscriptionMessage;
use zcluster::wire::zmtp::{
    Command, FrameHeader, SocketType, put_frame, put_pong, put_subscription,
};

use super::PATIENCE;

/// The greeting of a client.
pub fn greeting(minor: u8, mechanism: &str) -> Vec<u8> {
    let mut bytes = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, minor];
    bytes.extend_from_slice(mechanism.as_bytes());
    bytes.resize(64, 0);
    bytes
}

/// A READY command with these properties.
pub fn ready(properties: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = b"\x05READY".to_vec();
    for (name, value) in properties {
        body.push(name.len() as u8);
        body.extend_from_slice(name.as_bytes());
        body.extend_from_slice(&(value.len() as u32).to_be_bytes());
        body.extend_from_slice(value);
    }
    command(&body)
}

/// A command frame with this body.
pub fn command(body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![4, body.len() as u8];
    if body.len() > 255 {
        bytes = vec![6];
        bytes.extend_from_slice(&(body.len() as u64).to_be_bytes());
    }
    bytes.extend_from_slice(body);
    bytes
}

/// A PING command.
pub fn ping(ttl: u16, context: &[u8]) -> Vec<u8> {
    command(&[b"\x04PING".as_slice(), &ttl.to_be_bytes(), context].concat())
}

/// All bytes that a client of that type sends before its first message.
pub fn handshake(socket_type: SocketType, minor: u8) -> Vec<u8> {
    let mut bytes = greeting(minor, "NULL");
    bytes.extend(ready(&[("Socket-Type", socket_type.name().as_bytes())]));
    bytes
}

/// The frames of a message.
pub fn message<F: AsRef<[u8]>>(frames: &[F]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (n, frame) in frames.iter().enumerate() {
        put_frame(frame.as_ref(), n + 1 < frames.len(), &mut bytes);
    }
    bytes
}

/// A message or command that a peer receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    Message(Vec<Vec<u8>>),
    /// The body of a command.
    Command(Vec<u8>),
}

impl Incoming {
    /// The subscription or unsubscription in it, in either form.
    pub fn subscription(&self) -> Option<(bool, &[u8])> {
        match self {
            Incoming::Message(frames) => match SubscriptionMessage::parse(frames.first()?)? {
                SubscriptionMessage::Subscribe(prefix) => Some((true, prefix)),
                SubscriptionMessage::Unsubscribe(prefix) => Some((false, prefix)),
            },
            Incoming::Command(body) => match Command::parse(body).unwrap() {
                Command::Subscribe(prefix) => Some((true, prefix)),
                Command::Cancel(prefix) => Some((false, prefix)),
                _ => None,
            },
        }
    }
}

/// Bytes per read.
const PIECE: usize = 64 << 10;

/// A connection, before or after its handshake.
pub struct ZmtpPeer {
    stream: TcpStream,
    /// Received bytes.
    buffer: Vec<u8>,
    /// Offset of the first unread one.
    at: usize,
    /// The frames of an incomplete message.
    frames: Vec<Vec<u8>>,
    /// Whether PINGs are answered as they arrive and hidden from the test.
    pub answers_pings: bool,
    /// Our minor version.
    minor: u8,
    /// Whether the other side has closed the connection, as far as read.
    pub has_ended: bool,
}

impl ZmtpPeer {
    /// Connects without sending anything.
    pub fn silent(endpoint: &str) -> Self {
        Self::new(TcpStream::connect(address(endpoint)).unwrap())
    }

    fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let (buffer, frames) = (Vec::new(), Vec::new());
        ZmtpPeer { stream, buffer, at: 0, frames, answers_pings: true, minor: 1, has_ended: false }
    }

    /// Connects a peer of that type and completes the handshake.
    pub fn connect(endpoint: &str, socket_type: SocketType, minor: u8) -> Self {
        Self::silent(endpoint).shake_hands(socket_type, minor)
    }

    /// Connects a subscriber of that minor version with a small receive buffer, so that the broker soon
    /// notices when it does not read.
    pub fn narrow_subscriber(endpoint: &str, minor: u8) -> Self {
        let flags = SocketFlags::CLOEXEC;
        let socket =
            rustix::net::socket_with(AddressFamily::INET, Kind::STREAM, flags, None).unwrap();
        sockopt::set_socket_recv_buffer_size(&socket, 16 << 10).unwrap();
        let address: SocketAddrV4 = address(endpoint).parse().unwrap();
        rustix::net::connect(&socket, &address).unwrap();
        Self::new(TcpStream::from(socket)).shake_hands(SocketType::Sub, minor)
    }

    fn shake_hands(mut self, socket_type: SocketType, minor: u8) -> Self {
        self.minor = minor;
        self.write(&handshake(socket_type, minor));
        self.skip_greeting();
        let answer = self.receive();
        let is_ready = matches!(&answer, Some(Incoming::Command(c)) if c.starts_with(b"\x05READY"));
        assert!(is_ready, "{answer:?} for READY");
        self
    }

    /// Reads the greeting of the other side.
    pub fn skip_greeting(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.buffer.len() < 64 {
            assert!(self.fill(deadline) == Filled::Some, "no greeting");
        }
        assert!(self.buffer[0] == 0xff && self.buffer[9] == 0x7f, "{:?}", &self.buffer[..64]);
        self.at = 64;
    }

    /// Sends bytes. The other side may have closed the connection.
    pub fn write(&mut self, bytes: &[u8]) {
        let _ = self.try_write(bytes);
    }

    /// Sends bytes; fails if the connection has ended or stays blocked for too long.
    pub fn try_write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a message.
    pub fn send<F: AsRef<[u8]>>(&mut self, frames: &[F]) {
        self.write(&message(frames));
    }

    /// Subscribes to a prefix or unsubscribes from it, in the form of our version.
    pub fn subscribe(&mut self, on: bool, prefix: &[u8]) {
        self.subscribe_as(self.minor > 0, on, prefix);
    }

    /// Like [`Self::subscribe`], with a command or a message.
    pub fn subscribe_as(&mut self, by_command: bool, on: bool, prefix: &[u8]) {
        if by_command {
            let mut bytes = Vec::new();
            put_subscription(on, prefix, &mut bytes);
            self.write(&bytes);
        } else {
            self.send(&[[&[u8::from(on)], prefix].concat()]);
        }
    }

    /// Waits for the next message or command; `None` at the end of the connection.
    pub fn receive(&mut self) -> Option<Incoming> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(incoming) = self.take() {
                return Some(incoming);
            }
            match self.fill(deadline) {
                Filled::Some => {}
                Filled::End => return None,
                Filled::Nothing => panic!("nothing comes"),
            }
        }
    }

    /// Like [`Self::receive`], without a timeout.
    pub fn receive_at_any_time(&mut self) -> Option<Incoming> {
        let ages = Duration::from_secs(3600);
        loop {
            if let Some(incoming) = self.take() {
                return Some(incoming);
            }
            if self.fill(Instant::now() + ages) == Filled::End {
                return None;
            }
        }
    }

    /// A handle of the connection, to close it from elsewhere.
    pub fn stream(&self) -> TcpStream {
        self.stream.try_clone().unwrap()
    }

    /// The next message or command, if there is one.
    pub fn try_receive(&mut self) -> Option<Incoming> {
        loop {
            if let Some(incoming) = self.take() {
                return Some(incoming);
            }
            if self.fill(Instant::now()) != Filled::Some {
                return None;
            }
        }
    }

    /// Waits for the next message; `None` at the end of the connection.
    pub fn receive_message(&mut self) -> Option<Vec<Vec<u8>>> {
        loop {
            if let Incoming::Message(frames) = self.receive()? {
                return Some(frames);
            }
        }
    }

    /// Reads and discards messages until the other side closes the connection.
    pub fn wait_end(&mut self) {
        while self.receive().is_some() {}
    }

    /// Reads and discards any bytes until the other side closes the connection.
    pub fn drain(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.at = self.buffer.len();
            match self.fill(deadline) {
                Filled::Some => {}
                Filled::End => return,
                Filled::Nothing => panic!("the connection does not end"),
            }
        }
    }

    /// Discards received bytes; `false` if the other side has closed the connection.
    pub fn is_open(&mut self) -> bool {
        self.at = self.buffer.len();
        self.fill(Instant::now()) != Filled::End
    }

    /// Shuts down the sending direction.
    pub fn end_sending(&self) {
        self.stream.shutdown(std::net::Shutdown::Write).unwrap();
    }

    /// Takes the next complete message or command from the buffer.
    fn take(&mut self) -> Option<Incoming> {
        loop {
            let bytes = &self.buffer[self.at..];
            let header = FrameHeader::parse(bytes).unwrap()?;
            let end = header.header_len + header.body_len as usize;
            let body = bytes.get(header.header_len..end)?.to_vec();
            self.at += end;
            if header.command {
                match Command::parse(&body).unwrap() {
                    Command::Ping { context, .. } if self.answers_pings => {
                        let mut pong = Vec::new();
                        put_pong(context, &mut pong);
                        self.write(&pong);
                    }
                    _ => return Some(Incoming::Command(body)),
                }
                continue;
            }
            self.frames.push(body);
            if !header.more {
                return Some(Incoming::Message(std::mem::take(&mut self.frames)));
            }
        }
    }

    /// Receives more bytes; waits until `deadline`.
    fn fill(&mut self, deadline: Instant) -> Filled {
        self.buffer.drain(..self.at);
        self.at = 0;
        let wait = deadline.saturating_duration_since(Instant::now());
        self.stream.set_nonblocking(wait.is_zero()).unwrap();
        if !wait.is_zero() {
            self.stream.set_read_timeout(Some(wait.max(Duration::from_millis(1)))).unwrap();
        }
        let start = self.buffer.len();
        self.buffer.resize(start + PIECE, 0);
        let read = self.stream.read(&mut self.buffer[start..]);
        self.buffer.truncate(start + *read.as_ref().unwrap_or(&0));
        let filled = match read {
            Ok(0) => Filled::End,
            Ok(_) => Filled::Some,
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Filled::Nothing,
                ErrorKind::Interrupted => Filled::Some,
                _ => Filled::End,
            },
        };
        self.stream.set_nonblocking(false).unwrap();
        self.has_ended |= filled == Filled::End;
        filled
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Filled {
    Some,
    /// Nothing before the deadline.
    Nothing,
    /// The connection has ended.
    End,
}

fn address(endpoint: &str) -> &str {
    endpoint.trim_start_matches("tcp://")
}
