//! Programs that use the WebSocket API, and a cluster whose manager offers it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::{self, AddressFamily, SocketType};
use serde_json::{Value as Json, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, Message, WebSocket};

use super::{Cluster, NodeSpec, PATIENCE, Process};

/// A manager that offers the API, and a worker.
pub const NODES: &[NodeSpec<'static>] = &[("manager", "manager"), ("worker-1", "worker")];

/// A broker, and a manager that offers the API.
pub struct Gateway {
    pub cluster: Cluster,
    pub broker: Process,
    pub manager: Process,
}

impl Gateway {
    /// Starts both. `options` are lines of the manager's `websocket`.
    pub fn start(options: &str) -> Self {
        Self::with(NODES, options, "")
    }

    /// The same with other nodes, and with more TOML as for [`Cluster::new`].
    pub fn with(nodes: &[NodeSpec<'_>], options: &str, more: &str) -> Self {
        let options = format!("{more}\n[nodes.manager.websocket]\nlisten_port = 0\n{options}\n");
        let cluster = Cluster::new(nodes, &options);
        let broker = cluster.broker();
        let manager = cluster.node("manager", &["--no-stdin"]);
        Gateway { cluster, broker, manager }
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        self.manager.endpoint("http")
    }

    /// Connects a client of version 1.
    pub fn client(&self) -> Client {
        Client::connect(&self.address(), "/v1/messages/json", &[]).unwrap()
    }

    /// A client that has subscribed to these prefixes.
    pub fn subscriber(&self, prefixes: &[&str]) -> Client {
        let mut client = self.client();
        client.subscribe(prefixes);
        client
    }
}

/// A program on the other side of a WebSocket, over TCP as it is or over TLS.
pub struct Client<S = TcpStream> {
    pub socket: WebSocket<S>,
}

/// How a connection ended: code and reason of the server's close frame.
pub type Closed = (u16, String);

impl Client {
    /// Connects. An HTTP response that refuses it is an error.
    pub fn connect(
        address: &str,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, Box<Error>> {
        Self::over(tcp(address), address, path, headers)
    }

    /// Whether nothing comes for a while.
    pub fn is_silent_for(&mut self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        let silent = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break true;
            }
            self.socket.get_ref().set_read_timeout(Some(left)).unwrap();
            match self.socket.read() {
                Ok(Message::Ping(_)) => self.socket.flush().unwrap(),
                Err(Error::Io(_)) => break true,
                _ => break false,
            }
        };
        self.socket.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
        silent
    }

    /// Ends the connection without a word, as a crash does.
    pub fn vanish(self) {
        self.socket.get_ref().shutdown(Shutdown::Both).unwrap();
    }
}

/// A connection whose reads give up some time.
pub fn tcp(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// The same, with little room for what is received and not read.
pub fn tcp_with_small_buffer(address: &str) -> TcpStream {
    let address: SocketAddr = address.parse().unwrap();
    let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    net::sockopt::set_socket_recv_buffer_size(&socket, 16 << 10).unwrap();
    net::connect(&socket, &address).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

impl<S: Read + Write> Client<S> {
    /// The same over a stream.
    pub fn over(
        stream: S,
        address: &str,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, Box<Error>> {
        let mut request =
            format!("ws://{address}{path}").into_client_request().map_err(Box::new)?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match tungstenite::client(request, stream) {
            Ok((socket, _)) => Ok(Client { socket }),
            Err(tungstenite::HandshakeError::Failure(error)) => Err(Box::new(error)),
            Err(tungstenite::HandshakeError::Interrupted(_)) => panic!("no answer"),
        }
    }

    pub fn send(&mut self, text: impl Into<String>) {
        self.socket.send(Message::text(text.into())).unwrap();
    }

    /// The next text message, or how the connection ended.
    pub fn next(&mut self) -> Result<String, Closed> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Pings arrive for ever.
            assert!(Instant::now() < deadline, "no message came");
            match self.socket.read() {
                Ok(Message::Text(text)) => return Ok(text.to_string()),
                Ok(Message::Close(frame)) => {
                    let frame = frame.unwrap();
                    let closed = (frame.code.into(), frame.reason.to_string());
                    let _ = self.socket.flush();
                    return Err(closed);
                }
                Ok(Message::Ping(_)) => self.socket.flush().unwrap(),
                Ok(other) => panic!("unexpected {other:?}"),
                Err(error) => return Err((1006, error.to_string())),
            }
        }
    }

    pub fn receive(&mut self) -> Json {
        let text = self.next().unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// How the connection ends. Everything else that comes is skipped.
    pub fn closed(&mut self) -> Closed {
        loop {
            if let Err(closed) = self.next() {
                return closed;
            }
        }
    }

    /// Sends the first message and waits for the ack; returns the id.
    pub fn subscribe(&mut self, prefixes: &[&str]) -> String {
        self.send(json!(prefixes).to_string());
        let ack = self.receive();
        assert_eq!(ack["type"], "ack", "{ack}");
        ack["endpoint"].as_str().unwrap().to_owned()
    }

    /// Publishes an event with counts as arguments.
    pub fn publish(&mut self, topic: &str, event: &str, args: &[u64]) {
        self.send(data_message(topic, event, args));
    }

    /// The topic, the name and the arguments, if they are counts, of the next event.
    pub fn event(&mut self) -> (String, String, Vec<u64>) {
        let message = self.receive();
        assert_eq!(message["type"], "data-message", "{message}");
        let event = &message["data"][2]["data"];
        let args = event[1]["data"].as_array().unwrap();
        (
            message["topic"].as_str().unwrap().to_owned(),
            event[0]["data"].as_str().unwrap().to_owned(),
            args.iter().filter_map(|arg| arg["data"].as_u64()).collect(),
        )
    }

    /// Closes the connection and waits for the answer.
    pub fn close(mut self) {
        let frame =
            tungstenite::protocol::CloseFrame { code: CloseCode::Normal, reason: "".into() };
        self.socket.close(Some(frame)).unwrap();
        while self.socket.read().is_ok() {}
    }
}

/// A message that publishes an event with counts as arguments.
pub fn data_message(topic: &str, event: &str, args: &[u64]) -> String {
    let count = |n: &u64| json!({ "@data-type": "count", "data": n });
    let args: Vec<Json> = args.iter().map(count).collect();
    json!({
        "type": "data-message",
        "topic": topic,
        "@data-type": "vector",
        "data": [
            { "@data-type": "count", "data": 1 },
            { "@data-type": "count", "data": 1 },
            { "@data-type": "vector", "data": [
                { "@data-type": "string", "data": event },
                { "@data-type": "vector", "data": args },
            ] },
        ],
    })
    .to_string()
}

/// A frame of up to 2^63 bytes as it is on the wire, without a mask. `first` has the opcode and the
/// bits before it.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ ..126 => bytes.push(len as u8),
        len @ 126..0x1_0000 => {
            bytes.push(126);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend(payload);
    bytes
}
