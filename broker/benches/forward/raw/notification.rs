//! What publishers are told about subscriptions, in either encoding (WIRE.md §1.4).

use zcluster::wire::SubscriptionMessage;
use zcluster::wire::zmtp::{Command, FrameHeader};

/// A prefix that someone has subscribed to, or that nobody is subscribed to any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notification<'a> {
    Subscribed(&'a [u8]),
    Cancelled(&'a [u8]),
}

/// Reads the frame at the start of received bytes. Returns what it says, if that is about a
/// subscription, and its size; `None` if it is incomplete.
pub(crate) fn take_notification(plain: &[u8]) -> Option<(Option<Notification<'_>>, usize)> {
    let header = FrameHeader::parse(plain).unwrap()?;
    let size = header.header_len + header.body_len as usize;
    let body = plain.get(header.header_len..size)?;
    let notification = if header.command {
        match Command::parse(body).unwrap() {
            Command::Subscribe(prefix) => Some(Notification::Subscribed(prefix)),
            Command::Cancel(prefix) => Some(Notification::Cancelled(prefix)),
            _ => None,
        }
    } else {
        match SubscriptionMessage::parse(body) {
            Some(SubscriptionMessage::Subscribe(prefix)) => Some(Notification::Subscribed(prefix)),
            Some(SubscriptionMessage::Unsubscribe(prefix)) => Some(Notification::Cancelled(prefix)),
            None => None,
        }
    };
    Some((notification, size))
}
