//! Programs that use version 2 of the WebSocket API. Every message they receive is held against the
//! JSON Schema.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Value as Json, json};
use tungstenite::Error;

use super::websocket::{Client, Closed};

/// The path of version 2.
pub const PATH: &str = "/v2/messages/json";

/// Whether a message may come from a gateway of this release: unlike the schema, it allows no members
/// of later ones.
static SERVER: LazyLock<Validator> = LazyLock::new(|| {
    fn close(schema: &mut Json) {
        match schema {
            Json::Object(members) => {
                members.values_mut().for_each(close);
                if members.contains_key("properties") {
                    members.entry("additionalProperties").or_insert(false.into());
                }
            }
            Json::Array(elements) => elements.iter_mut().for_each(close),
            _ => {}
        }
    }
    let text = include_str!("../../gateway/schema/v2.json");
    let mut schema: Json = serde_json::from_str(text).unwrap();
    close(&mut schema);
    schema["oneOf"] = json!([{ "$ref": "#/$defs/server_message" }]);
    jsonschema::draft202012::new(&schema).unwrap()
});

/// A client of version 2.
pub struct V2<S = TcpStream> {
    pub client: Client<S>,
    pub welcome: Json,
    /// What came while it waited for something else.
    early: VecDeque<Json>,
    asked: u64,
}

impl V2<TcpStream> {
    /// Connects, and reads the welcome.
    pub fn connect(address: &str, headers: &[(&'static str, &str)]) -> Result<Self, Box<Error>> {
        Ok(Self::welcomed(Client::connect(address, PATH, headers)?))
    }

    /// A client that has subscribed to these prefixes.
    pub fn subscriber(address: &str, topics: &[&str]) -> Self {
        let mut client = Self::connect(address, &[]).unwrap();
        client.subscribe(topics);
        client
    }
}

impl<S: Read + Write> V2<S> {
    /// Reads the welcome of a new connection.
    pub fn welcomed(client: Client<S>) -> Self {
        let mut v2 = V2 { client, welcome: Json::Null, early: VecDeque::new(), asked: 0 };
        v2.welcome = v2.receive();
        assert_eq!(v2.welcome["type"], "welcome");
        v2
    }

    /// The name by which another connection can continue this one.
    pub fn session(&self) -> String {
        self.welcome["session"].as_str().unwrap().to_owned()
    }

    /// The number of the last event before the welcome.
    pub fn seq(&self) -> u64 {
        self.welcome["seq"].as_u64().unwrap()
    }

    pub fn send(&mut self, message: &Json) {
        self.client.send(message.to_string());
    }

    /// The next message, or how the connection ended.
    pub fn next(&mut self) -> Result<Json, Closed> {
        if let Some(early) = self.early.pop_front() {
            return Ok(early);
        }
        let text = self.client.next()?;
        let message: Json = serde_json::from_str(&text).unwrap();
        if let Err(error) = SERVER.validate(&message) {
            panic!("{text}\nis not as the schema says: {error}");
        }
        Ok(message)
    }

    pub fn receive(&mut self) -> Json {
        self.next().unwrap()
    }

    /// The next message for which `pick` returns a value. What comes before is received later.
    pub fn wait<T>(&mut self, mut pick: impl FnMut(&Json) -> Option<T>) -> T {
        let mut others = VecDeque::new();
        loop {
            let message = self.receive();
            if let Some(picked) = pick(&message) {
                others.append(&mut self.early);
                self.early = others;
                return picked;
            }
            others.push_back(message);
        }
    }

    /// The next message of that type.
    pub fn wait_type(&mut self, ty: &str) -> Json {
        self.wait(|message| (message["type"] == ty).then(|| message.clone()))
    }

    /// Sends a request with an id; returns the answer.
    pub fn ask(&mut self, mut message: Json) -> Json {
        self.asked += 1;
        let id = json!(self.asked);
        message["id"] = id.clone();
        self.send(&message);
        self.wait(|answer| {
            (answer["id"] == id && answer["type"] != "event").then(|| answer.clone())
        })
    }

    /// Sends a request that must be carried out.
    pub fn succeed(&mut self, message: Json) -> Json {
        let what = message.to_string();
        let answer = self.ask(message);
        assert_eq!(answer["type"], "ok", "{what}: {answer}");
        answer
    }

    /// Sends a request that must not be carried out; returns the code and the message of the error.
    pub fn fail(&mut self, message: Json) -> (String, String) {
        let what = message.to_string();
        let answer = self.ask(message);
        assert_eq!(answer["type"], "error", "{what}: {answer}");
        let text = |key: &str| answer[key].as_str().unwrap().to_owned();
        (text("code"), text("message"))
    }

    pub fn subscribe(&mut self, topics: &[&str]) {
        self.succeed(json!({ "type": "subscribe", "topics": topics }));
    }

    pub fn unsubscribe(&mut self, topics: &[&str]) {
        self.succeed(json!({ "type": "unsubscribe", "topics": topics }));
    }

    pub fn publish(&mut self, topic: &str, event: &str, args: Json) {
        self.succeed(publication(topic, event, args));
    }

    /// Continues a session; returns the answer.
    pub fn resume(&mut self, session: &str, after: u64) -> Json {
        self.ask(json!({ "type": "resume", "session": session, "after": after }))
    }

    /// The next event.
    pub fn event(&mut self) -> Json {
        let event = self.receive();
        assert_eq!(event["type"], "event", "{event}");
        event
    }

    /// Topic, name and arguments of the next event.
    pub fn event_parts(&mut self) -> (String, String, Json) {
        let event = self.event();
        let text = |key: &str| event[key].as_str().unwrap().to_owned();
        (text("topic"), text("event"), event["args"].clone())
    }
}

/// A request that publishes an event.
#[allow(clippy::needless_pass_by_value)] // callers make them in place
pub fn publication(topic: &str, event: &str, args: Json) -> Json {
    json!({ "type": "publish", "topic": topic, "event": event, "args": args })
}
