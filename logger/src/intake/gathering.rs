//! [`Gathering`]: lets what producers send gather in the kernel, so that a small batch does not wake
//! a thread of its own.
//!
//! A connection that has been quiet is read as soon as a byte arrives. From then on it is *busy*:
//! it is read when its socket holds [`LOW_WATER`] bytes or has little room left, and at each *sweep*,
//! once per interval. After [`QUIET_SWEEPS`] sweeps without bytes it is quiet again, so an idle
//! logger sleeps. Unix sockets are always read at once: the kernel cannot tell how much they hold.
//!
//! What was read is passed on at the next sweep, or earlier if it is much. So a batch waits for one
//! interval at most.

use std::time::{Duration, Instant};

use zcluster::net::Stream;
use zcluster::transport::set_receive_low_water;

use super::connection::Connection;
use super::peers::Peers;

/// Bytes in a busy connection's socket that end its waiting. The kernel makes the socket's buffer
/// larger for it, unless `log_rcvbuf` sets its size: small segments take several times their bytes
/// there, and would fill it long before the next sweep.
const LOW_WATER: usize = 256 << 10;
/// Sweeps without bytes after which a connection is quiet.
const QUIET_SWEEPS: u8 = 4;

/// Which connections are busy, and when to read them next.
pub(super) struct Gathering {
    /// Zero: nothing gathers.
    interval: Duration,
    /// The keys of the busy connections, with their last sweeps without bytes.
    busy: Vec<(u64, u8)>,
    next_sweep: Option<Instant>,
}

impl Gathering {
    pub(super) fn new(interval: Duration) -> Self {
        Gathering { interval, busy: Vec::new(), next_sweep: None }
    }

    /// When the next sweep is due; `None` while all connections are quiet.
    pub(super) fn next_sweep(&self) -> Option<Instant> {
        self.next_sweep
    }

    /// Makes a connection busy that has sent something.
    pub(super) fn note(&mut self, key: u64, peers: &mut Peers) {
        let Some(peer) = peers.get(key) else { return };
        if self.interval.is_zero() || !peer.has_sent || peer.is_busy {
            return;
        }
        self.next_sweep.get_or_insert_with(|| Instant::now() + self.interval);
        if peer.is_open()
            && let Stream::Tcp(stream) = peer.channel.stream()
        {
            peer.is_busy = set_receive_low_water(stream, LOW_WATER).is_ok();
            if peer.is_busy {
                self.busy.push((key, 0));
            }
        }
    }

    /// Begins a sweep: returns the connections to read, to be passed to [`Gathering::end_sweep`].
    pub(super) fn begin_sweep(&mut self) -> Vec<(u64, u8)> {
        std::mem::take(&mut self.busy)
    }

    /// Ends a sweep: connections that have been quiet for long leave.
    pub(super) fn end_sweep(&mut self, mut swept: Vec<(u64, u8)>, peers: &mut Peers) {
        swept.retain_mut(|(key, without)| {
            let Some(peer) = peers.get(*key) else { return false };
            *without = if std::mem::take(&mut peer.has_sent) { 0 } else { *without + 1 };
            let is_busy = *without < QUIET_SWEEPS;
            if !is_busy {
                make_quiet(peer);
            }
            is_busy
        });
        swept.append(&mut self.busy);
        self.busy = swept;
        self.next_sweep = (!self.busy.is_empty()).then(|| Instant::now() + self.interval);
    }

    /// Ends the gathering for good: from now on everything is read as it arrives.
    pub(super) fn stop(&mut self, peers: &mut Peers) {
        self.interval = Duration::ZERO;
        self.next_sweep = None;
        for (key, _) in std::mem::take(&mut self.busy) {
            if let Some(peer) = peers.get(key) {
                make_quiet(peer);
            }
        }
    }
}

fn make_quiet(peer: &mut Connection) {
    peer.is_busy = false;
    if let Stream::Tcp(stream) = peer.channel.stream() {
        // It cannot fail where it has worked before.
        let _ = set_receive_low_water(stream, 1);
    }
}
