//! [`Inquiry`]: finds out why an endpoint cannot be reached. libzmq retries, but does not say why.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};

use crate::layout::{Endpoint, Host, UnixAddress};
use crate::transport::Waker;

/// How long an address may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// An inquiry in progress, in its own thread: looking up names may take long.
#[derive(Debug)]
pub(super) struct Inquiry(Receiver<Answer>);

/// The answer to an inquiry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// A process listens there, so the cause must be something else.
    Listens,
    /// It cannot be reached, for that reason.
    Unreachable(String),
}

impl Inquiry {
    /// Starts an inquiry. Wakes `waker` once the answer is available.
    pub(super) fn begin(endpoint: String, waker: Arc<Waker>) -> io::Result<Self> {
        let (told, answer) = bounded(1);
        thread::Builder::new().name("inquiry".into()).spawn(move || {
            // Sending fails if the answer is no longer wanted.
            let _ = told.send(why_unreachable(&endpoint));
            waker.wake();
        })?;
        Ok(Inquiry(answer))
    }

    /// The answer, once available.
    pub(super) fn answer(&self) -> Option<Answer> {
        self.0.try_recv().ok()
    }
}

fn why_unreachable(endpoint: &str) -> Answer {
    match endpoint.parse() {
        Ok(endpoint) => match connect(&endpoint) {
            Ok(()) => Answer::Listens,
            Err(error) => Answer::Unreachable(error.to_string()),
        },
        Err(error) => Answer::Unreachable(error.to_string()),
    }
}

fn connect(endpoint: &Endpoint) -> io::Result<()> {
    match endpoint {
        Endpoint::Tcp { host, port } => connect_tcp(host, *port),
        Endpoint::Ipc(UnixAddress::Abstract(name)) => {
            UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?).map(drop)
        }
        Endpoint::Ipc(address) => UnixStream::connect(address.to_string()).map(drop),
    }
}

fn connect_tcp(host: &Host, port: u16) -> io::Result<()> {
    let host = match host {
        // Only endpoints need brackets.
        Host::V6(ip, Some(zone)) => format!("{ip}%{zone}"),
        Host::V6(ip, None) => ip.to_string(),
        other => other.to_string(),
    };
    let mut outcome = Err(io::Error::from(io::ErrorKind::AddrNotAvailable));
    for address in (host.as_str(), port).to_socket_addrs()? {
        outcome = TcpStream::connect_timeout(&address, PATIENCE).map(drop);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn the_cause_is_that_of_the_system() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = format!("tcp://{}", listener.local_addr().unwrap());
        assert_eq!(why_unreachable(&taken), Answer::Listens);
        drop(listener);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none");
        let name = format!("ipc://@{}", path.display());
        let path = format!("ipc://{}", path.display());
        for (endpoint, cause) in [
            (taken.as_str(), "Connection refused"),
            (&path, "No such file or directory"),
            (&name, "Connection refused"),
            ("tcp://[::1]:1", ""),
            ("udp://127.0.0.1:1", "no transport"),
        ] {
            let Answer::Unreachable(why) = why_unreachable(endpoint) else {
                panic!("{endpoint} can be reached");
            };
            assert!(!why.is_empty() && why.contains(cause), "{endpoint}: {why}");
        }
    }

    #[test]
    fn an_answer_wakes_who_waits() {
        let waker = Arc::new(Waker::new().unwrap());
        let inquiry = Inquiry::begin("udp://x".into(), Arc::clone(&waker)).unwrap();
        let mut poll = crate::transport::PollSet::new();
        let index = poll.add_waker(&waker);
        poll.wait(Some(Duration::from_secs(60))).unwrap();
        assert!(poll.is_readable(index));
        assert_eq!(inquiry.answer(), Some(Answer::Unreachable("no transport".into())));
    }
}
