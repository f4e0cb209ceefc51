//! [`set_receive_low_water`]: how much must have arrived before a poll finds a socket readable.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Lets a poll find a TCP socket readable only once it holds that many bytes, at least 1, or the
/// peer has closed it, or the kernel has little room left for it (`SO_RCVLOWAT`, tcp(7)). Reads
/// that do not block return what is there, as before. Unix sockets ignore it.
///
/// # Errors
/// When this is no socket.
pub fn set_receive_low_water(socket: impl AsFd, bytes: usize) -> io::Result<()> {
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    // SAFETY: the descriptor is borrowed for the call, which reads an int of that size and nothing
    // else. No safe crate has this option.
    #[allow(unsafe_code)]
    let answer = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            (&raw const bytes).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::net::Poller;

    #[test]
    fn a_socket_is_readable_once_enough_has_arrived() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut poller = Poller::new().unwrap();
        poller.add(&ours, 0, true, false).unwrap();
        let mut is_readable = |patience| {
            let events = poller.wait(Some(patience)).unwrap();
            events.into_iter().any(|event| event.readable)
        };
        let (now, patience) = (Duration::ZERO, Duration::from_secs(10));
        let mut buffer = [0; 100];

        theirs.write_all(&[1; 9]).unwrap();
        assert!(is_readable(patience));
        set_receive_low_water(&ours, 10).unwrap();
        assert!(!is_readable(now));
        theirs.write_all(&[1]).unwrap();
        assert!(is_readable(patience));
        assert_eq!(ours.read(&mut buffer).unwrap(), 10);

        theirs.write_all(&[1; 5]).unwrap();
        let deadline = Instant::now() + patience;
        // Reads are not affected.
        while ours.read(&mut buffer).ok() != Some(5) {
            assert!(Instant::now() < deadline);
        }
        theirs.write_all(&[1; 5]).unwrap();
        set_receive_low_water(&ours, 1).unwrap();
        assert!(is_readable(patience), "lowering it shows what is there");
        assert_eq!(ours.read(&mut buffer).unwrap(), 5);

        set_receive_low_water(&ours, 10).unwrap();
        drop(theirs);
        assert!(is_readable(patience), "so does the end");
    }
}
