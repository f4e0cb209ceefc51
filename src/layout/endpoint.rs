//! [`Endpoint`]: the ZeroMQ endpoints a layout may name, and why others are rejected.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Where a ZeroMQ socket listens or connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `tcp://host:port`. Port 0, also written `*`, lets the system choose.
    Tcp {
        /// The host.
        host: Host,
        /// The port.
        port: u16,
    },
    /// `ipc://…`: a Unix socket of this host.
    Ipc(UnixAddress),
}

/// The address of a Unix socket, as in libzmq.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnixAddress {
    /// A file. A relative path is resolved from the working directory of each process.
    Path(String),
    /// `@name`, without the `@`: a Linux abstract name, without a file. It has no permissions: any
    /// process in the same network namespace can connect.
    Abstract(String),
    /// `*`: a file in a newly created directory.
    Any,
}

/// The longest path or name of a Unix socket, in bytes: `sun_path` has 108, one of which is a NUL
/// after a path or before a name.
const LONGEST_UNIX: usize = 107;

/// The host of an [`Endpoint::Tcp`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// `*`: every interface.
    Any,
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address in brackets, its scope after `%`.
    V6(Ipv6Addr, Option<String>),
    /// A host name, or when listening the name of an interface.
    Name(String),
}

impl Host {
    /// The address; `None` for names and `*`.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Host::V4(ip) => Some((*ip).into()),
            Host::V6(ip, _) => Some((*ip).into()),
            Host::Any | Host::Name(_) => None,
        }
    }

    /// Whether it means every address of the host: valid for listening, not for connecting.
    pub fn is_wildcard(&self) -> bool {
        match self {
            Host::Any => true,
            Host::V4(ip) => ip.is_unspecified(),
            Host::V6(ip, _) => ip.is_unspecified(),
            Host::Name(_) => false,
        }
    }
}

/// Why a text is not an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It starts with neither `tcp://` nor `ipc://`.
    #[error("no transport")]
    Transport,
    /// Nothing after the last colon, or no colon.
    #[error("no port")]
    NoPort,
    /// The port is neither a number from 0 to 65535 nor `*`.
    #[error("bad port `{0}`")]
    Port(String),
    /// The host is neither a name nor an address; IPv6 needs brackets.
    #[error("bad host `{0}`")]
    Host(String),
    /// An `ipc://` endpoint without a path or name, with a NUL in it, or with text beside the
    /// wildcard `*`.
    #[error("bad path")]
    Path,
    /// A path or name too long for a Unix socket.
    #[error("a path of {0} bytes, more than the 107 that a Unix socket allows,")]
    LongPath(usize),
}

impl Endpoint {
    /// Whether other hosts may reach a socket that listens there. Names are not resolved: they
    /// count as reachable.
    pub fn is_reachable(&self) -> bool {
        match self {
            Endpoint::Tcp { host, .. } => {
                !host.ip().is_some_and(|ip| ip.to_canonical().is_loopback())
            }
            Endpoint::Ipc(_) => false,
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("ipc://") {
            return path.parse().map(Endpoint::Ipc);
        }
        let rest = text.strip_prefix("tcp://").ok_or(EndpointError::Transport)?;
        let (host, port) = rest.rsplit_once(':').ok_or(EndpointError::NoPort)?;
        if port.is_empty() || port.ends_with(']') {
            return Err(EndpointError::NoPort);
        }
        let port = match port {
            "*" => 0,
            digits if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().map_err(|_| EndpointError::Port(port.into()))?
            }
            _ => return Err(EndpointError::Port(port.into())),
        };
        Ok(Endpoint::Tcp { host: host.parse()?, port })
    }
}

impl FromStr for UnixAddress {
    type Err = EndpointError;

    /// Parses the part after `ipc://`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > LONGEST_UNIX {
            return Err(EndpointError::LongPath(text.len()));
        }
        match (text.strip_prefix('@'), text) {
            _ if text.contains('\0') => Err(EndpointError::Path),
            (Some(""), _) | (_, "") => Err(EndpointError::Path),
            (Some(name), _) => Ok(UnixAddress::Abstract(name.into())),
            (_, "*") => Ok(UnixAddress::Any),
            // libzmq treats it as the wildcard.
            (_, path) if path.starts_with('*') => Err(EndpointError::Path),
            (_, path) => Ok(UnixAddress::Path(path.into())),
        }
    }
}

impl fmt::Display for UnixAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UnixAddress::Path(path) => f.write_str(path),
            UnixAddress::Abstract(name) => write!(f, "@{name}"),
            UnixAddress::Any => f.write_str("*"),
        }
    }
}

impl FromStr for Host {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || EndpointError::Host(text.into());
        if text == "*" {
            return Ok(Host::Any);
        }
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or_else(bad)?;
            let (ip, zone) = match inner.split_once('%') {
                Some((_, "")) => return Err(bad()),
                Some((ip, zone)) => (ip, Some(zone.to_owned())),
                None => (inner, None),
            };
            return ip.parse().map(|ip| Host::V6(ip, zone)).map_err(|_| bad());
        }
        if let Ok(ip) = text.parse() {
            return Ok(Host::V4(ip));
        }
        let name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        // Digits and dots alone are a mistyped address, not a name.
        let numeric = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        if text.bytes().all(name) && !numeric { Ok(Host::Name(text.into())) } else { Err(bad()) }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Endpoint::Ipc(address) => write!(f, "ipc://{address}"),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Any => f.write_str("*"),
            Host::V4(ip) => write!(f, "{ip}"),
            Host::V6(ip, None) => write!(f, "[{ip}]"),
            Host::V6(ip, Some(zone)) => write!(f, "[{ip}%{zone}]"),
            Host::Name(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_can_be_reached_from_elsewhere() {
        for (endpoint, expected) in [
            ("tcp://127.0.0.1:5555", false),
            ("tcp://127.8.9.1:5555", false),
            ("tcp://[::1]:5555", false),
            ("tcp://[::ffff:127.0.0.1]:5555", false),
            ("ipc:///run/zcluster/xsub", false),
            ("tcp://*:5555", true),
            ("tcp://0.0.0.0:5555", true),
            ("tcp://[::]:5555", true),
            ("tcp://10.0.0.1:5555", true),
            ("tcp://[fe80::1%eth0]:5555", true),
            ("tcp://eth0:5555", true),
        ] {
            let parsed: Endpoint = endpoint.parse().unwrap();
            assert_eq!(parsed.is_reachable(), expected, "{endpoint}");
        }
    }

    #[test]
    fn endpoints_read_back() {
        for text in [
            "tcp://127.0.0.1:5555",
            "tcp://*:5555",
            "tcp://[::1]:0",
            "tcp://[fe80::1%eth0]:5560",
            "tcp://manager.example:27760",
            "ipc:///run/zcluster/xpub",
            "ipc://relative",
            "ipc://@zcluster/xpub",
            "ipc://@@",
            "ipc://*",
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        let any_port = Endpoint::Tcp { host: Host::V4(Ipv4Addr::LOCALHOST), port: 0 };
        assert_eq!("tcp://127.0.0.1:*".parse(), Ok(any_port));
    }

    #[test]
    fn anything_else_is_refused() {
        use EndpointError as E;
        for (text, error) in [
            ("", E::Transport),
            ("127.0.0.1:5555", E::Transport),
            ("tcp:/127.0.0.1:5555", E::Transport),
            ("inproc://x", E::Transport),
            ("tcp://127.0.0.1", E::NoPort),
            ("tcp://127.0.0.1:", E::NoPort),
            ("tcp://[::1]", E::NoPort),
            ("tcp://h:65536", E::Port("65536".into())),
            ("tcp://h:+1", E::Port("+1".into())),
            ("tcp://:5555", E::Host(String::new())),
            ("tcp://::1:5555", E::Host("::1".into())),
            ("tcp://10.0.0.256:5555", E::Host("10.0.0.256".into())),
            ("tcp://[::1:5555", E::Host("[::1".into())),
            ("tcp://[fe80::1%]:1", E::Host("[fe80::1%]".into())),
            ("tcp://a b:1", E::Host("a b".into())),
            ("ipc://", E::Path),
            ("ipc://@", E::Path),
            ("ipc://*x", E::Path),
            ("ipc://a\0b", E::Path),
            ("ipc://@a\0b", E::Path),
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(error), "{text}");
        }
        for start in ["/", "@"] {
            let longest = format!("ipc://{start}{}", "x".repeat(106));
            assert_eq!(longest.parse::<Endpoint>().unwrap().to_string(), longest);
            assert_eq!(format!("{longest}x").parse::<Endpoint>(), Err(E::LongPath(108)));
        }
    }
}
