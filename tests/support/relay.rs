//! A relay between two processes that records the bytes that pass, as an eavesdropper would, and can
//! break their connections, as a network does.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

/// A relay to one port.
pub struct Relay {
    port: u16,
    target: Arc<AtomicU16>,
    seen: Arc<Mutex<Vec<u8>>>,
    /// The connections; `None` while it is broken.
    open: Arc<Mutex<Option<Vec<TcpStream>>>>,
}

impl Relay {
    /// Listens, and connects every client to `target`.
    pub fn to(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        let open = Arc::new(Mutex::new(Some(Vec::new())));
        let connections = Arc::clone(&open);
        let target = Arc::new(AtomicU16::new(target));
        let goal = Arc::clone(&target);
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let mut connections = connections.lock().unwrap();
                let Some(connections) = &mut *connections else { continue };
                connections.push(near.try_clone().unwrap());
                let Ok(far) = TcpStream::connect(("127.0.0.1", goal.load(Ordering::SeqCst))) else {
                    continue;
                };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let sink = Arc::clone(&sink);
                    std::thread::spawn(move || pass(from, to, &sink));
                }
            }
        });
        Relay { port, target, seen, open }
    }

    /// Breaks all connections, and refuses new ones.
    pub fn cut(&self) {
        for stream in self.open.lock().unwrap().take().into_iter().flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Lets connections through again, to this port.
    pub fn mend(&self, target: u16) {
        self.target.store(target, Ordering::SeqCst);
        *self.open.lock().unwrap() = Some(Vec::new());
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns whether `text` has passed, and how many bytes have.
    pub fn has_seen(&self, text: &str) -> (bool, usize) {
        let seen = self.seen.lock().unwrap();
        (bstr::ByteSlice::contains_str(seen.as_slice(), text), seen.len())
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, sink: &Mutex<Vec<u8>>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        sink.lock().unwrap().extend_from_slice(&buffer[..count]);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
