#!/bin/sh
# zmq.rs 0.7.0 (the crate `zeromq`): a PUB socket whose connection ends never connects again, while its `send`
# keeps returning Ok. A SUB socket of the same version does reconnect. libzmq (pyzmq 27.3.0) is at the other end: it
# closes its socket and binds another one to the same address.
#
# Seen:
#     from PUB of zmq.rs: arrived before True, after False; sends that failed: 0
#     from PUB of libzmq: arrived before True, after True
#     to SUB of zmq.rs: arrived before True, after True
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
cat >Cargo.toml <<'EOF'
[package]
name = "peer"
version = "0.1.0"
edition = "2021"
[dependencies]
zeromq = "=0.7.0"
tokio = { version = "1", features = ["full"] }
EOF
cat >src/main.rs <<'EOF'
use std::time::Duration;
use zeromq::{PubSocket, Socket, SocketRecv, SocketSend, SubSocket, ZmqMessage};

/// `peer pub ENDPOINT` prints each send that fails, `peer sub ENDPOINT` each message.
#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments[1] == "pub" {
        let mut socket = PubSocket::new();
        socket.connect(&arguments[2]).await.unwrap();
        loop {
            if let Err(error) = socket.send(ZmqMessage::from("event")).await {
                println!("failed: {error}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let mut socket = SubSocket::new();
    socket.connect(&arguments[2]).await.unwrap();
    socket.subscribe("").await.unwrap();
    loop {
        if socket.recv().await.is_ok() {
            println!("arrived");
        }
    }
}
EOF
cargo build --quiet
python3 -m venv tools
tools/bin/pip install --quiet --disable-pip-version-check pyzmq==27.3.0
tools/bin/python - <<'EOF'
import subprocess
import threading
import time
import zmq

context = zmq.Context()


def bound(kind, endpoint):
    socket = context.socket(kind)
    socket.linger = 0
    if kind == zmq.SUB:
        socket.subscribe(b"")
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.bind(endpoint)
            return socket
        except zmq.ZMQError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


class Peer:
    """A process of zmq.rs, and the lines that it prints."""

    def __init__(self, kind, endpoint):
        self.lines = []
        self.process = subprocess.Popen(
            ["target/debug/peer", kind, endpoint], stdout=subprocess.PIPE, text=True
        )
        threading.Thread(target=lambda: self.lines.extend(self.process.stdout)).start()

    def end(self):
        self.process.kill()
        self.process.wait()


def arrives(socket):
    return socket.poll(6_000) != 0


def from_publisher(start):
    """Whether something comes from it before and after its connection ended."""
    first = bound(zmq.SUB, "tcp://127.0.0.1:*")
    endpoint = first.last_endpoint.decode()
    end = start(endpoint)
    before = arrives(first)
    first.close()
    second = bound(zmq.SUB, endpoint)
    after = arrives(second)
    second.close()
    return before, after, end()


def zmq_rs(endpoint):
    peer = Peer("pub", endpoint)

    def end():
        peer.end()
        return len(peer.lines)

    return end


def libzmq(endpoint):
    is_over = threading.Event()

    def publish():
        socket = context.socket(zmq.PUB)
        socket.connect(endpoint)
        while not is_over.wait(0.05):
            socket.send(b"event")
        socket.close(0)

    thread = threading.Thread(target=publish)
    thread.start()

    def end():
        is_over.set()
        thread.join()

    return end


def to_subscriber():
    first = bound(zmq.PUB, "tcp://127.0.0.1:*")
    endpoint = first.last_endpoint.decode()
    peer = Peer("sub", endpoint)

    def reached(socket):
        seen, deadline = len(peer.lines), time.monotonic() + 6
        while len(peer.lines) == seen and time.monotonic() < deadline:
            socket.send(b"event")
            time.sleep(0.05)
        return len(peer.lines) > seen

    before = reached(first)
    first.close()
    time.sleep(0.5)
    second = bound(zmq.PUB, endpoint)
    after = reached(second)
    second.close()
    peer.end()
    return before, after


own, other, subscriber = from_publisher(zmq_rs), from_publisher(libzmq), to_subscriber()
print("from PUB of zmq.rs: arrived before %s, after %s; sends that failed: %s" % own)
print("from PUB of libzmq: arrived before %s, after %s" % other[:2])
print("to SUB of zmq.rs: arrived before %s, after %s" % subscriber)
context.destroy(0)
assert other[:2] == (True, True) and subscriber == (True, True)
assert own == (True, False, 0), "this has changed"
EOF
