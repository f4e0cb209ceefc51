//! Unix sockets at the addresses of ZeroMQ's `ipc://`: binding, and checking whether an address is
//! in use.
//!
//! A socket file outlives its process, and binding fails while it exists. libzmq removes whatever
//! is at the path before it binds, even a socket that is in use: call [`make_way`] first.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use crate::layout::UnixAddress;

/// A listening Unix socket. Dropping it removes its file.
#[derive(Debug)]
pub(super) struct UnixSocket {
    pub(super) listener: UnixListener,
    address: UnixAddress,
    file: Option<File>,
}

/// The file of a socket.
#[derive(Debug)]
struct File {
    path: PathBuf,
    /// Device and inode, because another process may have put its own socket there.
    identity: Option<(u64, u64)>,
    /// A directory made only for the socket.
    _directory: Option<tempfile::TempDir>,
}

impl UnixSocket {
    /// Listens without blocking. Replaces the file of a killed predecessor.
    pub(super) fn bind(address: &UnixAddress) -> io::Result<Self> {
        let (address, directory) = match address {
            UnixAddress::Any => {
                let directory = tempfile::Builder::new().prefix("zcluster-").tempdir()?;
                let path = directory.path().join("socket");
                (UnixAddress::Path(path.to_string_lossy().into_owned()), Some(directory))
            }
            other => (other.clone(), None),
        };
        make_way(&address)?;
        let (listener, file) = match &address {
            UnixAddress::Abstract(name) => {
                let name = SocketAddr::from_abstract_name(name)?;
                (UnixListener::bind_addr(&name)?, None)
            }
            UnixAddress::Path(path) => {
                let listener = UnixListener::bind(path)?;
                let path = PathBuf::from(path);
                let identity = identity(&path);
                (listener, Some(File { path, identity, _directory: directory }))
            }
            UnixAddress::Any => return Err(ErrorKind::InvalidInput.into()),
        };
        listener.set_nonblocking(true)?;
        Ok(UnixSocket { listener, address, file })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> &UnixAddress {
        &self.address
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if let Some(file) = &self.file
            && file.identity.is_some()
            && identity(&file.path) == file.identity
        {
            let _ = fs::remove_file(&file.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// Removes the socket file that a killed process left at an address, if any.
///
/// # Errors
/// `AddrInUse` if a process listens there; `AlreadyExists` if something else has the path;
/// `NotFound` if the directory is missing.
pub fn make_way(address: &UnixAddress) -> io::Result<()> {
    // Abstract names vanish with their processes.
    let UnixAddress::Path(path) = address else { return Ok(()) };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let directory = Path::new(path).parent().filter(|parent| *parent != Path::new(""));
            if directory.is_some_and(|directory| !directory.is_dir()) {
                return Err(io::Error::new(ErrorKind::NotFound, "no such directory"));
            }
            return Ok(());
        }
        Err(error) => return Err(error),
        Ok(file) if !file.file_type().is_socket() => {
            return Err(io::Error::new(
                ErrorKind::AlreadyExists,
                "the file exists and is not a socket",
            ));
        }
        Ok(_) => {}
    }
    // The queue of a stopped process fills up at some point; do not wait for it.
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let probe = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(probe.as_fd(), &SocketAddrUnix::new(path.as_str())?) {
        Err(Errno::CONNREFUSED) => match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::ACCESS) => Err(ErrorKind::PermissionDenied.into()),
        _ => Err(ErrorKind::AddrInUse.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn path(path: &Path) -> UnixAddress {
        UnixAddress::Path(path.to_str().unwrap().into())
    }

    #[test]
    fn a_file_is_removed_only_by_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().join("s");
        let socket = UnixSocket::bind(&path(&at)).unwrap();
        assert!(at.exists());
        assert_eq!(make_way(&path(&at)).unwrap_err().kind(), ErrorKind::AddrInUse);
        fs::remove_file(&at).unwrap();
        let successor = UnixSocket::bind(&path(&at)).unwrap();
        drop(socket);
        assert!(at.exists(), "another socket has the path now");
        drop(successor);
        assert!(!at.exists());
    }

    #[test]
    fn what_is_no_socket_stays() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().join("s");
        fs::write(&at, "a letter").unwrap();
        let error = UnixSocket::bind(&path(&at)).unwrap_err();
        assert_eq!(error.to_string(), "the file exists and is not a socket");
        assert_eq!(fs::read_to_string(&at).unwrap(), "a letter");
        let missing = directory.path().join("none/s");
        assert_eq!(UnixSocket::bind(&path(&missing)).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_listener_whose_queue_is_full_is_somebody() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().join("s");
        let probe =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .unwrap();
        rustix::net::bind(&probe, &SocketAddrUnix::new(&at).unwrap()).unwrap();
        rustix::net::listen(&probe, 0).unwrap();
        let _waiting = UnixStream::connect(&at).unwrap();
        assert_eq!(make_way(&path(&at)).unwrap_err().kind(), ErrorKind::AddrInUse);
        drop(probe);
        make_way(&path(&at)).unwrap();
        assert!(!at.exists());
    }

    #[test]
    fn names_leave_no_file_and_have_one_owner() {
        let name = format!("zcluster-test-{}", std::process::id());
        let address = UnixAddress::Abstract(name.clone());
        let socket = UnixSocket::bind(&address).unwrap();
        assert!(!Path::new(&name).exists() && !Path::new(&format!("@{name}")).exists());
        assert_eq!(UnixSocket::bind(&address).unwrap_err().kind(), ErrorKind::AddrInUse);
        let peer = SocketAddr::from_abstract_name(&name).unwrap();
        UnixStream::connect_addr(&peer).unwrap();
        drop(socket);
        UnixSocket::bind(&address).unwrap();
    }

    #[test]
    fn a_wildcard_is_a_file_of_its_own() {
        let [one, other] = [(); 2].map(|()| UnixSocket::bind(&UnixAddress::Any).unwrap());
        let UnixAddress::Path(at) = one.address().clone() else { panic!("{one:?}") };
        assert_ne!(one.address(), other.address());
        UnixStream::connect(&at).unwrap();
        drop(one);
        assert!(!Path::new(&at).parent().unwrap().exists());
    }
}
