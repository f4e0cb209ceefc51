//! Multipart messages as borrowed views: events (WIRE.md §1.2), log writes (§4.1) and subscriptions
//! (§1.4).
//!
//! A view checks only the number of frames. Codecs read their contents, and receivers decide which
//! senders and formats to accept.

use thiserror::Error;

/// A multipart message with the wrong number of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected {expected} parts, have {found}")]
pub struct FrameError {
    /// How many frames a message of this kind has.
    pub expected: usize,
    /// How many arrived.
    pub found: usize,
}

/// Exactly four frames, borrowed.
fn four<F: AsRef<[u8]>>(frames: &[F]) -> Result<[&[u8]; 4], FrameError> {
    match frames {
        [a, b, c, d] => Ok([a.as_ref(), b.as_ref(), c.as_ref(), d.as_ref()]),
        _ => Err(FrameError { expected: 4, found: frames.len() }),
    }
}

/// One event on the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventMessage<'a> {
    /// Frame 0: the topic, which subscriptions match by prefix.
    pub topic: &'a [u8],
    /// Id of the publisher. Zeek drops messages with its own id, compared byte for byte.
    pub sender: &'a [u8],
    /// Name of the event format, for example `broker-bin-v1`.
    pub format: &'a [u8],
    /// The event in that format.
    pub payload: &'a [u8],
}

impl<'a> EventMessage<'a> {
    /// Returns a view of a received message.
    ///
    /// # Errors
    ///
    /// If there are not exactly four frames; Zeek also drops such messages.
    pub fn parse<F: AsRef<[u8]>>(frames: &'a [F]) -> Result<Self, FrameError> {
        let [topic, sender, format, payload] = four(frames)?;
        Ok(EventMessage { topic, sender, format, payload })
    }

    /// The frames in wire order.
    pub fn frames(&self) -> [&'a [u8]; 4] {
        [self.topic, self.sender, self.format, self.payload]
    }
}

/// One log batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogMessage<'a> {
    /// [`LogMessage::KIND`] from any Zeek. Like Zeek, receivers do not check it.
    pub kind: &'a [u8],
    /// Id of the node that wrote the log. Not checked either.
    pub sender: &'a [u8],
    /// Name of the batch format: [`LogMessage::ZEEK_BIN`].
    pub format: &'a [u8],
    /// The batch in that format.
    pub payload: &'a [u8],
}

impl<'a> LogMessage<'a> {
    /// The content of frame 0.
    pub const KIND: &'static [u8] = b"log-write";
    /// The only batch format. Its name in Zeek's configuration enum is different.
    pub const ZEEK_BIN: &'static [u8] = b"zeek-bin-serializer";

    /// Returns a view of a received message.
    ///
    /// # Errors
    ///
    /// If there are not exactly four frames.
    pub fn parse<F: AsRef<[u8]>>(frames: &'a [F]) -> Result<Self, FrameError> {
        let [kind, sender, format, payload] = four(frames)?;
        Ok(LogMessage { kind, sender, format, payload })
    }

    /// The frames in wire order.
    pub fn frames(&self) -> [&'a [u8]; 4] {
        [self.kind, self.sender, self.format, self.payload]
    }
}

/// A single-frame message from a subscriber that starts or ends a subscription to a topic prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionMessage<'a> {
    /// Subscribes to all topics with this prefix.
    Subscribe(&'a [u8]),
    /// Ends the subscription to this prefix.
    Unsubscribe(&'a [u8]),
}

impl<'a> SubscriptionMessage<'a> {
    /// Returns a view of a frame received on an XPUB.
    ///
    /// `None` for a user message, which is any frame that does not start with 0 or 1. A forwarder
    /// drops those (WIRE.md §1.2).
    pub fn parse(frame: &'a [u8]) -> Option<Self> {
        match frame.split_first()? {
            (1, prefix) => Some(SubscriptionMessage::Subscribe(prefix)),
            (0, prefix) => Some(SubscriptionMessage::Unsubscribe(prefix)),
            _ => None,
        }
    }

    /// The frame to send on an XSUB.
    pub fn encode(&self) -> Vec<u8> {
        let (first, prefix) = match self {
            SubscriptionMessage::Subscribe(prefix) => (1, prefix),
            SubscriptionMessage::Unsubscribe(prefix) => (0, prefix),
        };
        let mut frame = Vec::with_capacity(1 + prefix.len());
        frame.push(first);
        frame.extend_from_slice(prefix);
        frame
    }

    /// The topic prefix.
    pub fn prefix(&self) -> &'a [u8] {
        match self {
            SubscriptionMessage::Subscribe(prefix) | SubscriptionMessage::Unsubscribe(prefix) => {
                prefix
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn events_and_log_writes_have_four_frames() {
        let frames = ["zeek.cluster.worker", "zeromq_a", "broker-bin-v1", ""];
        let event = EventMessage::parse(&frames).unwrap();
        assert_eq!(event.topic, b"zeek.cluster.worker");
        assert_eq!(event.payload, b"");
        assert_eq!(event.frames(), frames.map(str::as_bytes));

        let frames = [LogMessage::KIND, b"zeromq_a", LogMessage::ZEEK_BIN, b"batch"];
        let log = LogMessage::parse(&frames).unwrap();
        assert_eq!((log.kind, log.payload), (LogMessage::KIND, b"batch".as_slice()));
        assert_eq!(log.frames(), frames);
    }

    #[test]
    fn any_other_number_of_frames_is_named_in_the_error() {
        for found in [0, 1, 3, 5] {
            let error = FrameError { expected: 4, found };
            assert_eq!(EventMessage::parse(&vec![""; found]), Err(error));
            assert_eq!(LogMessage::parse(&vec![""; found]), Err(error));
            assert_eq!(error.to_string(), format!("expected 4 parts, have {found}"));
        }
    }

    #[test]
    fn subscriptions_read_back() {
        for message in [
            SubscriptionMessage::Subscribe(b"zeek.cluster.worker"),
            SubscriptionMessage::Subscribe(b""),
            SubscriptionMessage::Unsubscribe(b"\x01\x00"),
        ] {
            assert_eq!(SubscriptionMessage::parse(&message.encode()), Some(message));
        }
        assert_eq!(SubscriptionMessage::parse(b"\x01ab").unwrap().prefix(), b"ab");
    }

    proptest! {
        #[test]
        fn the_first_byte_makes_a_subscription(frame in vec(0..4_u8, 0..4)) {
            let is_one = frame.first().is_some_and(|first| *first < 2);
            prop_assert_eq!(SubscriptionMessage::parse(&frame).is_some(), is_one);
        }
    }
}
