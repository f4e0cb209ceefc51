//! The JSON lines on a daemon's standard output, and how they are shown to users. Pure.

use serde::Deserialize;
use serde_json::{Map, Value};

/// A line of a daemon's standard output.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Message {
    /// It is up.
    Ready(Ready),
    /// It completed the handshake with another node.
    NodeUp(Peer),
    /// It lost another node.
    NodeDown(Peer),
    /// It received an event.
    Event {
        /// The event's name.
        name: String,
        /// Its arguments.
        args: Value,
    },
}

/// The first line of a daemon: its name and where it listens.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Ready {
    /// Every member but `node`, in the order of the line.
    pub(crate) members: Map<String, Value>,
}

impl Ready {
    /// A member that is a string.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.members.get(name).and_then(Value::as_str)
    }
}

/// A node as seen by another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) struct Peer {
    /// Its name.
    pub(crate) name: String,
    /// The id of its process, which changes with each start.
    #[serde(default)]
    pub(crate) id: String,
}

/// The members that distinguish the kinds of lines.
#[derive(Deserialize)]
struct Line {
    ready: Option<Map<String, Value>>,
    node_up: Option<Peer>,
    node_down: Option<Peer>,
    event: Option<String>,
    #[serde(default)]
    args: Value,
}

impl Message {
    /// Parses a line; `None` for one of another kind, which is shown unchanged.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let line: Line = serde_json::from_str(line).ok()?;
        if let Some(mut members) = line.ready {
            members.shift_remove("node");
            return Some(Message::Ready(Ready { members }));
        }
        let node_up = line.node_up.map(Message::NodeUp);
        let node_down = || line.node_down.map(Message::NodeDown);
        let event = || line.event.map(|name| Message::Event { name, args: line.args });
        node_up.or_else(node_down).or_else(event)
    }

    /// The line for users; an event has at most `width` characters.
    pub(crate) fn to_text(&self, width: usize) -> String {
        match self {
            Message::Ready(ready) => {
                let member = |(name, value): (&String, &Value)| match value {
                    Value::String(text) => format!(" {name}={text}"),
                    other => format!(" {name}={other}"),
                };
                let members: String = ready.members.iter().map(member).collect();
                format!("up:{members}")
            }
            Message::NodeUp(peer) => format!("sees {}", peer.name),
            Message::NodeDown(peer) => format!("lost {}", peer.name),
            Message::Event { name, args } => cut(&format!("event {name} {args}"), width),
        }
    }
}

/// The start of `text`, with an ellipsis if characters are missing.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.into();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_for_people() {
        let table = [
            (
                r#"{"ready":{"node":"w","id":"w_1","xsub":"tcp://127.0.0.1:5","metrics":null}}"#,
                "up: id=w_1 xsub=tcp://127.0.0.1:5 metrics=null",
            ),
            (r#"{"ready":{}}"#, "up:"),
            (r#"{"time":1.5,"node_up":{"name":"worker-1","id":"x"}}"#, "sees worker-1"),
            (r#"{"time":1.5,"node_down":{"name":"worker-1"}}"#, "lost worker-1"),
            (
                r#"{"time":1,"topic":"t","sender":"s","event":"Demo::heartbeat","args":["w",3]}"#,
                r#"event Demo::heartbeat ["w",3]"#,
            ),
            (
                r#"{"event":"a","args":["äöüäöüäöüäöüäöüäöüäöüäöüäöü"]}"#,
                r#"event a ["äöüäöüäöüäöüäöüäöüä…"#,
            ),
        ];
        for (line, text) in table {
            let width = if line.contains('ä') { 30 } else { 160 };
            let shown = Message::parse(line).map(|message| message.to_text(width));
            assert_eq!(shown.as_deref(), Some(text), "{line}");
        }
    }

    #[test]
    fn everything_else_stays_as_it_is() {
        for line in ["", "hello", "[1]", "{}", "7", r#"{"ready":1}"#, r#"{"other":{}}"#, "{\"re"] {
            assert_eq!(Message::parse(line), None, "{line}");
        }
    }
}
