//! Web pages that may connect. A browser lets every page open a WebSocket to any address that it
//! reaches, also to 127.0.0.1, and says in the header `Origin` where the page is from (RFC 6455
//! §10.2, RFC 6454). Few other programs send such a header.

use std::net::{IpAddr, Ipv6Addr};

use zcluster::layout::WebSocket;

/// The pages that may connect.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Origins {
    any: bool,
    listed: Vec<Origin>,
    /// Whether a page from a named host that the gateway seems to be may connect.
    ///
    /// Whoever controls a name can let it point to the gateway once a browser has loaded the page
    /// (DNS rebinding), and the page is then from the same origin. With TLS, the gateway has no
    /// certificate for that name; and where clients need credentials, the page has none.
    trusts_names: bool,
}

/// Where a page is from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    authority: Authority,
}

/// A host and a port, such as in the header `Host`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Authority {
    host: String,
    /// `None` if it is unknown.
    port: Option<u16>,
}

impl Origins {
    pub(super) fn new(websocket: &WebSocket) -> Self {
        let listed = &websocket.allowed_origins;
        Origins {
            any: listed.iter().any(|origin| origin == "*"),
            listed: listed.iter().filter_map(|origin| Origin::parse(origin)).collect(),
            trusts_names: websocket.tls_options.is_set() || !websocket.admits_anonymous(),
        }
    }

    pub(super) fn allow(&self, origin: Option<&str>, host: Option<&str>) -> bool {
        let Some(origin) = origin else { return true };
        if self.any {
            return true;
        }
        // Pages from files, and others that browsers do not tell about, are from `null`.
        let Some(origin) = Origin::parse(origin) else { return false };
        let own = host.and_then(|host| Authority::parse(host, &origin.scheme));
        let is_own = own.is_some_and(|own| {
            own == origin.authority && (self.trusts_names || own.is_beyond_doubt())
        });
        is_own || self.listed.contains(&origin)
    }
}

impl Origin {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let authority = Authority::parse(authority, &scheme)?;
        Some(Origin { scheme, authority })
    }
}

impl Authority {
    /// Parses `host` and `host:port`; without a port, it is that of the scheme.
    fn parse(text: &str, scheme: &str) -> Option<Self> {
        let port_at = text.rfind(':').filter(|at| !text[*at..].contains(']'));
        let (host, port) = match port_at {
            Some(at) => (&text[..at], Some(text[at + 1..].parse().ok()?)),
            None => (text, None),
        };
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(address) => address.parse::<Ipv6Addr>().ok()?.to_string(),
            None => host.trim_end_matches('.').to_ascii_lowercase(),
        };
        let port = port.or(match scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        });
        (!host.is_empty() && !host.contains('/')).then_some(Authority { host, port })
    }

    /// Whether nobody can let it point elsewhere: an address, or this host.
    fn is_beyond_doubt(&self) -> bool {
        let is_local = self.host == "localhost" || self.host.ends_with(".localhost");
        is_local || self.host.parse::<IpAddr>().is_ok()
    }
}

#[cfg(test)]
mod tests {
    use zcluster::layout::TlsOptions;

    use super::*;

    #[test]
    fn pages_from_elsewhere_need_to_be_listed() {
        let websocket = WebSocket {
            allowed_origins: ["https://Soc.example.org:443", "http://[::1]:3000", "app://x"]
                .map(str::to_owned)
                .into(),
            ..WebSocket::default()
        };
        let origins = Origins::new(&websocket);
        for (origin, host, allowed) in [
            // No browser.
            (None, Some("127.0.0.1:27759"), true),
            (None, None, true),
            // The gateway's own page.
            (Some("http://127.0.0.1:27759"), Some("127.0.0.1:27759"), true),
            (Some("http://localhost:27759"), Some("localhost:27759"), true),
            (Some("http://gw.localhost:27759"), Some("GW.localhost:27759"), true),
            (Some("http://[::1]:27759"), Some("[0::1]:27759"), true),
            (Some("http://10.0.0.1"), Some("10.0.0.1"), true),
            (Some("http://10.0.0.1"), Some("10.0.0.1:80"), true),
            // Behind something that does TLS.
            (Some("https://10.0.0.1"), Some("10.0.0.1:443"), true),
            // Another page of this host.
            (Some("http://127.0.0.1:3000"), Some("127.0.0.1:27759"), false),
            (Some("http://localhost"), Some("127.0.0.1"), false),
            (Some("https://10.0.0.1"), Some("10.0.0.1:80"), false),
            (Some("http://127.0.0.1:27759"), None, false),
            // Listed.
            (Some("https://soc.example.org"), Some("127.0.0.1:27759"), true),
            (Some("http://[::1]:3000"), Some("127.0.0.1:27759"), true),
            (Some("app://x"), Some("127.0.0.1:27759"), true),
            (Some("app://x"), None, true),
            (Some("http://soc.example.org"), Some("127.0.0.1:27759"), false),
            (Some("https://soc.example.org:444"), Some("127.0.0.1:27759"), false),
            (Some("https://soc.example.org.evil"), Some("127.0.0.1:27759"), false),
            (Some("https://evil/soc.example.org"), Some("127.0.0.1:27759"), false),
            // A name that points to this host since a moment ago.
            (Some("http://evil.example:27759"), Some("evil.example:27759"), false),
            (Some("null"), Some("127.0.0.1:27759"), false),
            (Some(""), Some("127.0.0.1:27759"), false),
            (Some("http://"), Some(""), false),
            (Some("http://a:b"), Some("a:b"), false),
        ] {
            assert_eq!(origins.allow(origin, host), allowed, "{origin:?} {host:?}");
        }
    }

    #[test]
    fn names_are_trusted_where_a_page_gains_nothing_by_them() {
        let own = (Some("https://gw.example"), Some("gw.example:443"));
        let other = (Some("https://evil.example"), Some("gw.example:443"));
        let with = |websocket: WebSocket| {
            let origins = Origins::new(&websocket);
            (origins.allow(own.0, own.1), origins.allow(other.0, other.1))
        };
        let tls = TlsOptions { cert_file: Some("c".into()), ..TlsOptions::default() };
        assert_eq!(with(WebSocket::default()), (false, false));
        assert_eq!(with(WebSocket { tls_options: tls, ..WebSocket::default() }), (true, false));
        let remote = WebSocket { listen_addr: [10, 0, 0, 1].into(), ..WebSocket::default() };
        assert_eq!(with(remote.clone()), (true, false), "clients need credentials");
        assert_eq!(with(WebSocket { allow_anonymous: true, ..remote.clone() }), (false, false));
        let any = vec!["*".to_owned()];
        assert_eq!(with(WebSocket { allowed_origins: any, ..remote }), (true, true));
    }
}
