//! CURVE between our implementation and libzmq: our state machine and codec at one end of a TCP
//! connection, a libzmq socket at the other, in either role, with correct and with wrong keys.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::{Cluster, PATIENCE, wait_for};
use zcluster::transport::{
    ConnectionEventKind, Context, CurveOptions, Heartbeat, Monitor, Socket, SocketKind,
    SocketOptions, ZapHandler, ZapRequest,
};
use zcluster::wire::zmtp::{
    CodecScratch, Command, Curve, CurveCodec, Item, KeyPair, MessageReader, Open, Opening,
    PublicKey, SocketType, Step, ZmtpError, put_frame, put_ping, put_pong, put_subscription,
};

/// Sizes of bodies in bytes: around the limit of a short frame, with and without the overhead of
/// encryption, and large ones.
const SIZES: [usize; 8] = [0, 1, 222, 223, 255, 256, 64 << 10, 8 << 20];

/// Enough for the largest message.
const LIMIT: u64 = 16 << 20;

/// Keys of both sides, and of a stranger.
struct Keys {
    client: Arc<KeyPair>,
    server: Arc<KeyPair>,
    stranger: Arc<KeyPair>,
}

impl Keys {
    fn new() -> Self {
        let [client, server, stranger] = [(); 3].map(|()| Arc::new(KeyPair::generate()));
        Keys { client, server, stranger }
    }

    /// The options of our server.
    fn our_server(&self) -> Curve {
        Curve::Server(Arc::new([KeyPair::clone(&self.server)]))
    }

    /// The options of our client.
    fn our_client(&self) -> Curve {
        Curve::Client { keys: Arc::clone(&self.client), server: *self.server.public() }
    }

    /// The options of a libzmq client.
    fn client(&self) -> SocketOptions {
        client(&self.client, self.server.public())
    }

    /// The options of a libzmq server that accepts only our client.
    fn server(&self, context: &Context) -> SocketOptions {
        let allowed = *self.client.public();
        let zap = ZapHandler::start(context, move |request| {
            (request.key == allowed).then(|| "worker-1".to_owned())
        });
        server(&self.server, zap.unwrap())
    }
}

fn client(keys: &Arc<KeyPair>, server: &PublicKey) -> SocketOptions {
    let curve = CurveOptions::Client { keys: Arc::clone(keys), server: *server };
    SocketOptions { curve: Some(curve), ..SocketOptions::default() }
}

fn server(keys: &Arc<KeyPair>, zap: ZapHandler) -> SocketOptions {
    let curve = CurveOptions::Server { keys: Arc::clone(keys), zap: Arc::new(zap) };
    SocketOptions { curve: Some(curve), ..SocketOptions::default() }
}

/// What libzmq sent.
#[derive(Debug, PartialEq)]
enum Got {
    Message(Vec<Vec<u8>>),
    Subscription(Vec<u8>),
    Ping,
    Pong,
}

/// Our end of a connection.
struct Wire {
    stream: TcpStream,
    codec: CurveCodec,
    reader: MessageReader,
    sealed: Vec<u8>,
    plain: Vec<u8>,
}

/// Why the handshake failed.
#[derive(Debug, PartialEq)]
enum Failed {
    /// The peer closed the connection without a reason.
    Closed,
    Zmtp(ZmtpError),
}

impl Wire {
    /// Performs the handshake. A server accepts only the key that is `allowed`.
    fn open(
        mut stream: TcpStream,
        ours: SocketType,
        curve: Option<Curve>,
        allowed: &PublicKey,
    ) -> Result<(Self, Open), Failed> {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (mut out, mut received) = (Vec::new(), Vec::new());
        let mut opening = Opening::new(ours, curve, &mut out);
        loop {
            stream.write_all(&out).unwrap();
            out.clear();
            // One byte at a time, so that the buffer contains nothing after the handshake.
            let mut byte = [0];
            match stream.read(&mut byte) {
                Ok(1) => received.push(byte[0]),
                _ => return Err(Failed::Closed),
            }
            let (consumed, mut step) =
                opening.advance(&received, &mut out).map_err(Failed::Zmtp)?;
            received.drain(..consumed);
            if let Step::Authorize(key) = step {
                let decision = opening.authorize(key == *allowed, &mut out);
                stream.write_all(&out).unwrap();
                out.clear();
                step = Step::Open(decision.map_err(Failed::Zmtp)?);
            }
            if let Step::Open(mut open) = step {
                stream.write_all(&out).unwrap();
                let codec = open.codec.take().unwrap();
                let reader = MessageReader::new(LIMIT);
                let (sealed, plain) = (received, Vec::new());
                return Ok((Wire { stream, codec, reader, sealed, plain }, open));
            }
        }
    }

    fn send_plain(&mut self, plain: &[u8]) {
        let mut sealed = Vec::new();
        assert_eq!(
            self.codec.seal([plain], &mut sealed, &mut CodecScratch::default()).unwrap().consumed,
            plain.len()
        );
        self.stream.write_all(&sealed).unwrap();
    }

    fn send(&mut self, frames: &[&[u8]]) {
        let mut plain = Vec::new();
        for (i, frame) in frames.iter().enumerate() {
            put_frame(frame, i + 1 < frames.len(), &mut plain);
        }
        self.send_plain(&plain);
    }

    fn subscribe(&mut self) {
        let mut plain = Vec::new();
        put_subscription(true, b"", &mut plain);
        self.send_plain(&plain);
    }

    /// The next item, if one arrives within a moment.
    fn try_receive(&mut self) -> Option<Got> {
        self.stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        loop {
            match self.reader.next(&self.plain).unwrap() {
                Item::Need(_) => {}
                Item::Message(message) => {
                    let frames = message.frames[..message.count].iter();
                    return Some(Got::Message(
                        frames.map(|frame| self.plain[frame.clone()].to_vec()).collect(),
                    ));
                }
                Item::Command(body) => match Command::parse(&self.plain[body]).unwrap() {
                    Command::Subscribe(prefix) => return Some(Got::Subscription(prefix.to_vec())),
                    Command::Pong => return Some(Got::Pong),
                    Command::Ping { context, .. } => {
                        let mut pong = Vec::new();
                        put_pong(context, &mut pong);
                        self.send_plain(&pong);
                        return Some(Got::Ping);
                    }
                    other => panic!("{other:?}"),
                },
            }
            let mut bytes = [0; 16 << 10];
            match self.stream.read(&mut bytes) {
                Ok(0) => panic!("libzmq closed the connection"),
                Ok(count) => self.sealed.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => panic!("{error}"),
            }
            let progress = self
                .codec
                .open(&self.sealed, LIMIT, &mut self.plain, &mut CodecScratch::default())
                .unwrap();
            self.sealed.drain(..progress.consumed);
        }
    }

    fn receive(&mut self) -> Got {
        wait_for("something from libzmq", || self.try_receive())
    }
}

/// Connects our end to a libzmq socket.
fn connect(
    ours: SocketType,
    theirs: SocketKind,
    we_listen: bool,
    heartbeat: Heartbeat,
) -> (Wire, Socket) {
    let keys = Keys::new();
    let context = Context::new(1).unwrap();
    let options = if we_listen { keys.client() } else { keys.server(&context) };
    let socket = Socket::new(&context, theirs, &SocketOptions { heartbeat, ..options }).unwrap();
    let (stream, curve) = if we_listen {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        socket.connect(&format!("tcp://{}", listener.local_addr().unwrap())).unwrap();
        (listener.accept().unwrap().0, Some(keys.our_server()))
    } else {
        let endpoint = socket.bind("tcp://127.0.0.1:*").unwrap();
        let stream = TcpStream::connect(endpoint.strip_prefix("tcp://").unwrap()).unwrap();
        (stream, Some(keys.our_client()))
    };
    let (wire, open) = Wire::open(stream, ours, curve, keys.client.public()).unwrap();
    let name = format!("{theirs:?}").to_uppercase();
    assert_eq!((open.peer.minor, open.peer.socket_type.name()), (1, &name[..]));
    assert_eq!(open.client, we_listen.then(|| *keys.client.public()));
    (wire, socket)
}

fn bodies() -> impl Iterator<Item = Vec<u8>> {
    SIZES.into_iter().map(|size| b"0123456789abcdefg".repeat(size / 17 + 1)[..size].to_vec())
}

#[test]
fn messages_of_every_size_reach_libzmq() {
    for (ours, theirs) in [
        (SocketType::Push, SocketKind::Pull),
        (SocketType::Xpub, SocketKind::Sub),
        (SocketType::Xpub, SocketKind::Xsub),
        (SocketType::Pub, SocketKind::Xsub),
    ] {
        for we_listen in [true, false] {
            let (mut wire, socket) = connect(ours, theirs, we_listen, Heartbeat::default());
            match theirs {
                SocketKind::Sub => socket.subscribe(b"").unwrap(),
                SocketKind::Xsub => {
                    wait_for("room", || socket.try_send(&[b"\x01"]).unwrap().then_some(()));
                }
                _ => {}
            }
            if theirs != SocketKind::Pull {
                // A command from SUB, a message from XSUB, depending on libzmq.
                let got = wait_for("the subscription", || {
                    // A bound socket notices our connection only when it is used.
                    assert!(socket.try_receive().unwrap().is_none());
                    wire.try_receive()
                });
                assert!(
                    matches!(&got, Got::Subscription(prefix) if prefix.is_empty())
                        || got == Got::Message(vec![b"\x01".to_vec()]),
                    "{got:?}"
                );
            }
            for body in bodies() {
                let frames = [b"topic", &body[..], b"", &body[body.len() / 2..]];
                wire.send(&frames);
                wire.send(&frames[1..2]);
                let receive = || wait_for("a message", || socket.try_receive().unwrap());
                let received = receive();
                assert_eq!(received.count, 4);
                let is_same = received.frames.iter().zip(frames).all(|(got, sent)| **got == *sent);
                assert!(is_same, "{ours:?} to {theirs:?}, {} bytes", body.len());
                assert!(receive().frames[0][..] == body[..]);
            }
            let mut ping = Vec::new();
            put_ping(0, &mut ping);
            wire.send_plain(&ping);
            assert_eq!(wire.receive(), Got::Pong);
        }
    }
}

#[test]
fn messages_of_every_size_come_from_libzmq() {
    for (ours, theirs) in [
        (SocketType::Pull, SocketKind::Push),
        (SocketType::Xsub, SocketKind::Xpub),
        (SocketType::Xsub, SocketKind::Pub),
        (SocketType::Sub, SocketKind::Pub),
    ] {
        for we_listen in [true, false] {
            let (mut wire, socket) = connect(ours, theirs, we_listen, Heartbeat::default());
            if theirs != SocketKind::Push {
                wire.subscribe();
                // A PUB does not report when it has the subscription.
                wait_for("the subscription to be known", || {
                    socket.try_send(&[b"marker"]).unwrap();
                    wire.try_receive().map(drop)
                });
            }
            for body in bodies() {
                let frames = [b"topic", &body[..], b"", &body[body.len() / 2..]];
                assert!(socket.try_send(&frames).unwrap());
                let message = std::iter::repeat_with(|| wire.receive())
                    .find(|got| *got != Got::Message(vec![b"marker".to_vec()]));
                let Some(Got::Message(received)) = message else { panic!("{message:?}") };
                assert!(received == frames, "{theirs:?} to {ours:?}, {} bytes", body.len());
            }
        }
    }
}

#[test]
fn libzmq_pings_us_and_stays() {
    let heartbeat = Heartbeat {
        interval: Duration::from_millis(20),
        timeout: PATIENCE,
        ttl: Duration::from_secs(60),
    };
    let (mut wire, socket) = connect(SocketType::Pull, SocketKind::Push, true, heartbeat);
    for _ in 0..3 {
        assert_eq!(wire.receive(), Got::Ping);
    }
    assert!(socket.try_send(&[b"still here"]).unwrap());
    let message = std::iter::repeat_with(|| wire.receive()).find(|got| *got != Got::Ping);
    assert_eq!(message, Some(Got::Message(vec![b"still here".to_vec()])));
}

/// Waits for an event of that kind. Returns its value.
fn event(monitor: &Monitor, kind: ConnectionEventKind) -> u32 {
    wait_for("the event", || monitor.try_next().unwrap().filter(|event| event.kind == kind)).value
}

#[test]
fn our_server_refuses_who_does_not_belong_to_it() {
    let keys = Keys::new();
    let mechanism = |theirs: &str, ours| ZmtpError::Mechanism { theirs: theirs.into(), ours };
    let unknown = ZmtpError::Unauthorized(*keys.stranger.public());
    for (options, curve, expected, seen) in [
        (
            client(&keys.client, keys.stranger.public()),
            Some(keys.our_server()),
            ZmtpError::Undecryptable("HELLO"),
            ConnectionEventKind::HandshakeFailedNoDetail,
        ),
        (
            client(&keys.stranger, keys.server.public()),
            Some(keys.our_server()),
            unknown,
            ConnectionEventKind::HandshakeFailedAuth,
        ),
        (
            SocketOptions::default(),
            Some(keys.our_server()),
            mechanism("NULL", "CURVE"),
            ConnectionEventKind::HandshakeFailedProtocol,
        ),
        (
            keys.client(),
            None,
            mechanism("CURVE", "NULL"),
            ConnectionEventKind::HandshakeFailedProtocol,
        ),
    ] {
        let context = Context::new(1).unwrap();
        let socket = Socket::new(&context, SocketKind::Push, &options).unwrap();
        let monitor = Monitor::new(&context, &socket).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        socket.connect(&format!("tcp://{}", listener.local_addr().unwrap())).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let outcome = Wire::open(stream, SocketType::Pull, curve, keys.client.public());
        assert_eq!(outcome.err(), Some(Failed::Zmtp(expected)));
        let value = event(&monitor, seen);
        if seen == ConnectionEventKind::HandshakeFailedAuth {
            assert_eq!(value, 400);
        }
    }
}

#[test]
fn our_client_learns_why_libzmq_refuses_it() {
    let keys = Keys::new();
    let our = |keys: &Arc<KeyPair>, server: &PublicKey| {
        Some(Curve::Client { keys: Arc::clone(keys), server: *server })
    };
    let mechanism =
        |theirs: &str, ours| Failed::Zmtp(ZmtpError::Mechanism { theirs: theirs.into(), ours });
    let (client, server, stranger) = (&keys.client, keys.server.public(), keys.stranger.public());
    for (curve, is_encrypted, expected) in [
        // Only the server detects this, and it sends nothing.
        (our(client, stranger), true, Failed::Closed),
        (our(&keys.stranger, server), true, Failed::Zmtp(ZmtpError::Refused("400".into()))),
        (None, true, mechanism("CURVE", "NULL")),
        (our(client, server), false, mechanism("NULL", "CURVE")),
    ] {
        let context = Context::new(1).unwrap();
        let options = if is_encrypted { keys.server(&context) } else { SocketOptions::default() };
        let socket = Socket::new(&context, SocketKind::Pull, &options).unwrap();
        let endpoint = socket.bind("tcp://127.0.0.1:*").unwrap();
        let stream = TcpStream::connect(endpoint.strip_prefix("tcp://").unwrap()).unwrap();
        let outcome = Wire::open(stream, SocketType::Push, curve, keys.client.public());
        assert_eq!(outcome.err(), Some(expected));
    }
}

#[test]
fn the_zap_handler_decides_between_sockets_of_libzmq() {
    let keys = Keys::new();
    let context = Context::new(1).unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let allowed = *keys.client.public();
    let startling = Arc::new(KeyPair::generate());
    let zap = ZapHandler::start(&context, {
        let asked = Arc::clone(&asked);
        let startling = *startling.public();
        move |request: &ZapRequest| {
            // The handler must survive the panic, or libzmq would accept every client.
            assert_ne!(request.key, startling, "a panic in the handler, as is meant here");
            asked.lock().unwrap().push(request.clone());
            (request.key == allowed).then(|| "worker-1".to_owned())
        }
    });
    let options = server(&keys.server, zap.unwrap());
    let again = ZapHandler::start(&context, |_| None).unwrap_err();
    assert!(again.is_address_in_use(), "{again}");
    let elsewhere = Socket::new(&Context::new(1).unwrap(), SocketKind::Pull, &options);
    assert!(elsewhere.unwrap_err().is_configuration());

    let pull = Socket::new(&context, SocketKind::Pull, &options).unwrap();
    // The socket keeps the handler alive.
    drop(options);
    let endpoint = pull.bind("tcp://127.0.0.1:*").unwrap();
    let push = |keys: &Arc<KeyPair>, server: &PublicKey| {
        let socket = Socket::new(&context, SocketKind::Push, &client(keys, server)).unwrap();
        let monitor = Monitor::new(&context, &socket).unwrap();
        socket.connect(&endpoint).unwrap();
        (monitor, socket)
    };
    let (monitor, _startling) = push(&startling, keys.server.public());
    assert_eq!(event(&monitor, ConnectionEventKind::HandshakeFailedAuth), 400);
    let (monitor, _stranger) = push(&keys.stranger, keys.server.public());
    assert_eq!(event(&monitor, ConnectionEventKind::HandshakeFailedAuth), 400);
    let (monitor, friend) = push(&keys.client, keys.server.public());
    event(&monitor, ConnectionEventKind::HandshakeSucceeded);
    wait_for("room", || friend.try_send(&[b"hello"]).unwrap().then_some(()));
    let received = wait_for("the message", || pull.try_receive().unwrap());
    assert_eq!(*received.frames[0], *b"hello");
    let request = |key: &KeyPair| ZapRequest { key: *key.public(), address: "127.0.0.1".into() };
    let asked = asked.lock().unwrap();
    assert!(asked.contains(&request(&keys.stranger)) && asked.contains(&request(&keys.client)));
}

#[test]
fn a_broker_with_keys_lets_in_who_has_the_client_key() {
    let keys = Keys::new();
    let text = |key: &KeyPair| key.secret().expose_text();
    let options = format!(
        "curve_server_secretkey = \"{}\"\ncurve_client_publickey = \"{}\"",
        text(&keys.server).as_str(),
        keys.client.public(),
    );
    let cluster = Cluster::new(&[("manager", "manager")], &options);
    let mut broker = cluster.broker();
    assert_eq!(broker.ready["engine"], "switch");

    let context = Context::new(1).unwrap();
    let connect = |kind, options: &SocketOptions, endpoint: &str| {
        let socket = Socket::new(&context, kind, options).unwrap();
        socket.connect(&broker.endpoint(endpoint)).unwrap();
        socket
    };
    let publisher = connect(SocketKind::Xpub, &keys.client(), "xsub");
    let strangers = [
        SocketOptions::default(),
        client(&keys.stranger, keys.server.public()),
        client(&keys.client, keys.stranger.public()),
    ];
    let refused = strangers.each_ref().map(|options| {
        let socket = connect(SocketKind::Xsub, options, "xpub");
        assert!(socket.try_send(&[b"\x01"]).unwrap());
        socket
    });
    let subscriber = connect(SocketKind::Xsub, &keys.client(), "xpub");
    assert!(subscriber.try_send(&[b"\x01topic"]).unwrap());
    let seen = wait_for("the subscription", || publisher.try_receive().unwrap());
    assert_eq!(*seen.frames[0], *b"\x01topic", "and none of a stranger");

    let event: [&[u8]; 4] = [b"topic", b"sender", b"broker-bin-v1", b"payload"];
    assert!(publisher.try_send(&event).unwrap());
    let got = wait_for("the event", || subscriber.try_receive().unwrap());
    assert_eq!(got.frames.len(), 4);
    broker.wait_metric("zcluster_broker_handshakes_failed_total", 1.0);
    assert!(refused.iter().all(|socket| socket.try_receive().unwrap().is_none()));
    let stderr = broker.stderr();
    assert!(!stderr.contains(text(&keys.server).as_str()), "{stderr}");
    broker.stop();
}
