//! A client of the WebSocket API, version 1: Zeek's own. It works with Zeek's server as well.
//!
//! It prints the events of the cluster and publishes one every second. Run it while `make cluster` runs:
//!
//! ```text
//! cargo run --example websocket [HOST:PORT]
//! ```
//!
//! The address is 127.0.0.1:27759 if it is not given.

use std::error::Error;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::{Error as SocketError, Message};

const PAUSE: Duration = Duration::from_secs(1);

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:27759".into());
    let stream = TcpStream::connect(&address)?;
    let mut request = format!("ws://{address}/v1/messages/json").into_client_request()?;
    // The name that cluster.log and metrics show. A token would be another header: `Authorization`.
    request.headers_mut().insert("x-application-name", HeaderValue::from_static("example/1"));
    let (mut socket, _) = tungstenite::client(request, stream)?;
    // The first message is what to subscribe to; the answer says that the subscriptions are active.
    socket.send(Message::text(json!(["demo.", "zeek.cluster.manager"]).to_string()))?;

    let mut count = 0_u64;
    let mut next = None;
    loop {
        // So that reading ends in time to publish.
        let left = next.map(|at: Instant| at.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            count += 1;
            socket.send(Message::text(event("demo.ping", "Demo::ping", count).to_string()))?;
            next = Some(Instant::now() + PAUSE);
            continue;
        }
        socket.get_ref().set_read_timeout(left)?;
        match socket.read() {
            Ok(Message::Text(text)) => {
                let message: Json = serde_json::from_str(&text)?;
                if message["type"] == "ack" {
                    println!("we are {}", message["endpoint"]);
                    next = Some(Instant::now());
                } else if let [_, _, event, ..] = content(&message) {
                    println!("{} {}", message["topic"], plain(event));
                } else {
                    eprintln!("{message}");
                }
            }
            // Pings; the answer goes out with the next message.
            Ok(_) => socket.flush()?,
            Err(SocketError::Io(error))
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(SocketError::ConnectionClosed) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// An event as Zeek writes it: format and type, which are always 1, then name and arguments.
fn event(topic: &str, name: &str, count: u64) -> Json {
    let value = |kind: &str, data: Json| json!({ "@data-type": kind, "data": data });
    let args = json!([value("string", json!("Rust")), value("count", json!(count))]);
    let event = json!([value("string", json!(name)), value("vector", args)]);
    let one = || value("count", json!(1));
    json!({
        "type": "data-message",
        "topic": topic,
        "@data-type": "vector",
        "data": [one(), one(), value("vector", event)],
    })
}

/// The elements of a vector.
fn content(value: &Json) -> &[Json] {
    value["data"].as_array().map_or(&[], Vec::as_slice)
}

/// A value without its types.
fn plain(value: &Json) -> Json {
    match &value["data"] {
        Json::Array(all) if value["@data-type"] != "table" => all.iter().map(plain).collect(),
        data => data.clone(),
    }
}
