//! What the hub does for clients of version 1.

use bstr::BString;

use super::{Announcement, Closing, Hub, Key, Outcome, Protocol, Reply};
use crate::v1::{self, Request, Unreadable};
use crate::v2::ErrorCode;

/// How far a client of version 1 is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum First {
    /// Nothing has come from it.
    #[default]
    Connected,
    /// Its subscriptions are not confirmed yet. Its messages wait.
    Subscribing,
    /// It is acknowledged.
    Open,
    /// It gets no subscriptions, and its connection ends.
    Refused,
}

impl First {
    pub(super) fn is_waiting(self) -> bool {
        self == First::Subscribing
    }

    pub(super) fn is_open(self) -> bool {
        self == First::Open
    }
}

impl Hub {
    pub(super) fn message_v1(&mut self, key: Key, text: &[u8]) -> Outcome {
        let Protocol::V1(first) = self.clients[key.0].protocol else { return Outcome::Done };
        let request = match first {
            First::Refused => return Outcome::Done,
            First::Connected => match std::str::from_utf8(text) {
                Ok(text) => v1::subscriptions(text),
                Err(_) => v1::subscriptions(""),
            },
            First::Subscribing | First::Open => v1::data_message(text),
        };
        match request {
            Ok(Request::Subscribe(prefixes)) => {
                if let Some((code, context)) = self.refuse_prefixes(key, &prefixes) {
                    self.refuse_v1(key, code.as_str(), &context, true);
                    return Outcome::Done;
                }
                self.clients[key.0].protocol = Protocol::V1(First::Subscribing);
                self.subscribe(key, prefixes, None);
                Outcome::Done
            }
            Ok(Request::Publish(topic, event)) => {
                if let Some(schema) = &self.settings.schema
                    && schema.check(&event).is_err()
                {
                    self.refuse_v1(key, v1::UNREADABLE, v1::NO_EVENT, false);
                } else if let Some(why) = self.refuse_event(key, &topic, &event) {
                    self.refuse_v1(key, ErrorCode::NotAllowed.as_str(), &why, false);
                } else {
                    let sender = BString::from(self.clients[key.0].endpoint.id.as_str());
                    return Outcome::Publish { sender, topic, event, reply: Reply(None) };
                }
                Outcome::Done
            }
            Err(Unreadable { code, context }) => {
                let is_useless = first == First::Connected;
                self.refuse_v1(key, code, context, is_useless);
                Outcome::Done
            }
        }
    }

    /// Answers with an error. Without subscriptions the connection is of no use, so it ends.
    pub(super) fn refuse_v1(&mut self, key: Key, code: &str, context: &str, ends: bool) {
        let client = &mut self.clients[key.0];
        client.metrics.errors.inc();
        client.answer(v1::error(code, context));
        if ends {
            client.protocol = Protocol::V1(First::Refused);
        }
        if ends && client.closing.is_none() {
            client.closing =
                Some(Closing { code: 1008, reason: "Invalid subscriptions", is_urgent: false });
        }
    }

    /// Answers the first message of a client: its subscriptions are active.
    pub(super) fn acknowledge(&mut self, key: Key) {
        let client = &mut self.clients[key.0];
        client.protocol = Protocol::V1(First::Open);
        client.answer(v1::ack(&client.endpoint.id, &self.settings.server));
        let prefixes: Vec<BString> = client.prefixes.iter().cloned().collect();
        let endpoint = client.endpoint.clone();
        for prefix in &prefixes {
            self.listen(key, prefix.clone());
        }
        self.announcements.push(Announcement::Added { endpoint, subscriptions: Some(prefixes) });
    }
}
