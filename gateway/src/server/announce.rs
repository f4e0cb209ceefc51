//! Clients that come and go, as events and as lines of `cluster.log` (WIRE.md §3.7).

use bstr::{BString, ByteSlice};
use zcluster::value::{Port, Protocol};
use zcluster::{Event, Value};

use crate::hub::{Announcement, Endpoint};

/// The line, and the event.
pub(crate) fn lines(announcement: &Announcement) -> (String, Event) {
    match announcement {
        Announcement::Added { endpoint, subscriptions } => {
            let done = match subscriptions {
                Some(prefixes) => format!("subscribed to [{}]", list(prefixes)),
                None => "connected, version 2".into(),
            };
            let line = format!("WebSocket client {} {done}", described(endpoint));
            let prefixes = subscriptions.iter().flatten();
            let subscriptions: Vec<Value> =
                prefixes.map(|prefix| Value::String(prefix.clone())).collect();
            let args = vec![info(endpoint), Value::from(subscriptions)];
            (line, Event::new("Cluster::websocket_client_added", args))
        }
        Announcement::Lost { endpoint, code, reason } => {
            let mut line =
                format!("WebSocket client {} gone with code {code}", described(endpoint));
            if !reason.is_empty() {
                line += &format!(" and reason '{reason}'");
            }
            let args =
                vec![info(endpoint), Value::from(u64::from(*code)), Value::from(reason.as_str())];
            (line, Event::new("Cluster::websocket_client_lost", args))
        }
    }
}

fn list(prefixes: &[BString]) -> String {
    let texts: Vec<_> = prefixes.iter().map(|prefix| prefix.to_str_lossy()).collect();
    texts.join(", ")
}

fn described(endpoint: &Endpoint) -> String {
    let Endpoint { id, peer, name, application } = endpoint;
    let mut text = format!("'{id}' ({}:{})", peer.ip(), peer.port());
    if let Some(application) = application {
        text += &format!(" application={application}");
    }
    if let Some(name) = name {
        text += &format!(" application_name={name}");
    }
    text
}

/// `Cluster::EndpointInfo`.
fn info(endpoint: &Endpoint) -> Value {
    let Endpoint { id, peer, name, application: _ } = endpoint;
    let port = Port::new(peer.port(), Protocol::Tcp);
    let network = vec![Value::from(peer.ip().to_string()), Value::from(port)];
    let name =
        name.as_ref().map_or(Value::None, |name| Value::String(BString::from(name.as_str())));
    Value::from(vec![Value::from(id.as_str()), Value::from(network), name])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_zeeks() {
        let endpoint = Endpoint {
            id: "n-websocket-3".into(),
            peer: ([192, 0, 2, 1], 4711).into(),
            name: None,
            application: None,
        };
        let named = Endpoint { name: Some("zeekctl/2.7.0".into()), ..endpoint.clone() };
        let proven = Endpoint { application: Some("alerts".into()), ..endpoint.clone() };
        let both = Endpoint { application: Some("alerts".into()), ..named.clone() };
        let prefixes =
            |list: &[&str]| Some(list.iter().map(|prefix| BString::from(*prefix)).collect());
        let lost = |endpoint: &Endpoint, code, reason: &str| Announcement::Lost {
            endpoint: endpoint.clone(),
            code,
            reason: reason.into(),
        };
        for (announcement, expected) in [
            (
                Announcement::Added {
                    endpoint: named.clone(),
                    subscriptions: prefixes(&["a.", "b."]),
                },
                "WebSocket client 'n-websocket-3' (192.0.2.1:4711) application_name=zeekctl/2.7.0 \
                 subscribed to [a., b.]",
            ),
            (
                Announcement::Added { endpoint: endpoint.clone(), subscriptions: prefixes(&[]) },
                "WebSocket client 'n-websocket-3' (192.0.2.1:4711) subscribed to []",
            ),
            (
                Announcement::Added { endpoint: both, subscriptions: prefixes(&["a."]) },
                "WebSocket client 'n-websocket-3' (192.0.2.1:4711) application=alerts \
                 application_name=zeekctl/2.7.0 subscribed to [a.]",
            ),
            (
                Announcement::Added { endpoint: proven.clone(), subscriptions: None },
                "WebSocket client 'n-websocket-3' (192.0.2.1:4711) application=alerts connected, \
                 version 2",
            ),
            (
                lost(&proven, 1000, ""),
                "WebSocket client 'n-websocket-3' (192.0.2.1:4711) application=alerts gone with code \
                 1000",
            ),
            (
                lost(&endpoint, 1000, ""),
                "WebSocket client 'n-websocket-3' (192.0.2.1:4711) gone with code 1000",
            ),
            (
                lost(&named, 1006, "Abnormal closure"),
                "WebSocket client 'n-websocket-3' (192.0.2.1:4711) application_name=zeekctl/2.7.0 \
                 gone with code 1006 and reason 'Abnormal closure'",
            ),
        ] {
            assert_eq!(lines(&announcement).0, expected);
        }
    }
}
