//! [`EventFormat`]: the encodings of events, by the name in the format frame (WIRE.md §2.8).

use thiserror::Error;

use super::broker_json::InvalidUtf8;
use super::{broker_bin, broker_json};
use crate::event::Event;

/// The format of event payloads. A cluster uses one; Zeek drops events in any other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EventFormat {
    /// [`broker_bin`], the default.
    #[default]
    BrokerBinV1,
    /// [`broker_json`], with bytes that are not UTF-8 unchanged, as in Zeek.
    BrokerJsonV1,
}

/// Why a payload is not an event.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EventDecodeError {
    /// The payload should be `broker-bin-v1`.
    #[error("broker-bin-v1: {0}")]
    BrokerBinV1(#[from] broker_bin::DecodeError),
    /// The payload should be `broker-json-v1`.
    #[error("broker-json-v1: {0}")]
    BrokerJsonV1(#[from] broker_json::DecodeError),
}

impl EventFormat {
    /// The content of the format frame.
    pub fn name(self) -> &'static str {
        match self {
            EventFormat::BrokerBinV1 => "broker-bin-v1",
            EventFormat::BrokerJsonV1 => "broker-json-v1",
        }
    }

    /// The format that a format frame names. Compares byte for byte, as Zeek does.
    pub fn from_name(name: impl AsRef<[u8]>) -> Option<Self> {
        [EventFormat::BrokerBinV1, EventFormat::BrokerJsonV1]
            .into_iter()
            .find(|format| format.name().as_bytes() == name.as_ref())
    }

    /// Appends the payload of an event.
    pub fn encode(self, event: &Event, out: &mut Vec<u8>) {
        match self {
            EventFormat::BrokerBinV1 => broker_bin::encode_event(event, out),
            EventFormat::BrokerJsonV1 => broker_json::encode_event(event, InvalidUtf8::Raw, out),
        }
    }

    /// Checks that a payload is a well-formed event. The result is that of [`EventFormat::decode`].
    ///
    /// # Errors
    ///
    /// The error of the format's decoder.
    pub fn check(self, payload: &[u8]) -> Result<(), EventDecodeError> {
        match self {
            EventFormat::BrokerBinV1 => broker_bin::check_event(payload)?,
            EventFormat::BrokerJsonV1 => drop(broker_json::decode_event(payload)?),
        }
        Ok(())
    }

    /// Reads the payload of an event.
    ///
    /// # Errors
    ///
    /// The error of the format's decoder.
    pub fn decode(self, payload: &[u8]) -> Result<Event, EventDecodeError> {
        Ok(match self {
            EventFormat::BrokerBinV1 => broker_bin::decode_event(payload)?,
            EventFormat::BrokerJsonV1 => broker_json::decode_event(payload)?,
        })
    }

    /// The name of the event, where it can be had without decoding all of the payload; `None` also
    /// if the payload does not begin like an event.
    pub fn quick_name(self, payload: &[u8]) -> Option<&[u8]> {
        match self {
            EventFormat::BrokerBinV1 => broker_bin::event_name(payload).ok(),
            EventFormat::BrokerJsonV1 => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_go_by_their_names() {
        for format in [EventFormat::BrokerBinV1, EventFormat::BrokerJsonV1] {
            assert_eq!(EventFormat::from_name(format.name()), Some(format));
            let event = Event::new("ping", vec![b"\xff".as_slice().into()]);
            let mut payload = Vec::new();
            format.encode(&event, &mut payload);
            assert_eq!(format.decode(&payload), Ok(event));
            let error = format.decode(b"").unwrap_err().to_string();
            assert!(error.starts_with(format.name()), "{error}");
        }
        for name in ["", "Broker-bin-v1", "broker-bin-v1 ", "broker-bin-v2"] {
            assert_eq!(EventFormat::from_name(name), None);
        }
    }
}
