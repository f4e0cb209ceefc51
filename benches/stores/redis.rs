//! Redis, and `redis-benchmark`, which drives it: the driver that Redis is tuned with, written in C. A client of it is a
//! connection with one command in flight.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::plan::{KEYS, Kind, VALUE_SIZE};
use crate::report::Flow;
use crate::support::{free_port, wait_for};
use crate::usage;

/// A running server, killed on drop.
#[derive(Debug)]
pub(crate) struct Redis {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Redis {
    /// Why there can be none.
    pub(crate) fn obstacle() -> Option<String> {
        ["redis-server", "redis-benchmark"].into_iter().find_map(|program| {
            let mut command = Command::new(program);
            let output = command.arg("--version").stdin(Stdio::null()).output();
            output.err().map(|error| format!("{program}: {error}"))
        })
    }

    /// Starts a server on a port of the system's choice, with a directory of its own, and waits until it listens.
    pub(crate) fn start(kind: Kind) -> Self {
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--loglevel", "warning"]);
        command.args(["--port", &port.to_string()]).arg("--dir").arg(dir.path());
        match kind {
            Kind::Memory => command.args(["--appendonly", "no"]),
            Kind::Normal | Kind::Full => {
                command.args(["--appendonly", "yes", "--appendfsync", kind.of_redis()])
            }
        };
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let redis = Redis { child, port, _dir: dir };
        wait_for("redis-server to listen", || TcpStream::connect(("127.0.0.1", port)).ok());
        redis
    }

    /// Sends `set` or `get` with random keys from that many clients, about as long as that.
    pub(crate) fn flow(&self, test: &str, clients: u64, window: Duration) -> Flow {
        let few = 200 * clients.clamp(1, 100);
        let rate = self.requests(test, clients, few);
        let count = (rate * window.as_secs_f64()).max(few as f64);
        let cpu = || usage::cpu_time(self.child.id()) + usage::cpu_time_of_children();
        let before = cpu();
        let rate = self.requests(test, clients, count as u64);
        Flow { rate, cpu: cpu().saturating_sub(before).as_secs_f64() * 1e6 / count.trunc() }
    }

    /// Fills it, so that gets find something.
    pub(crate) fn fill(&self) {
        self.requests("set", 50, KEYS * 20);
    }

    /// Returns how many were done per second.
    fn requests(&self, test: &str, clients: u64, count: u64) -> f64 {
        let start = Instant::now();
        let output = Command::new("redis-benchmark")
            .args(["-h", "127.0.0.1", "--csv", "-t", test])
            .args(["-p", &self.port.to_string(), "-c", &clients.to_string()])
            .args(["-n", &count.to_string(), "-r", &KEYS.to_string()])
            .args(["-d", &VALUE_SIZE.to_string()])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        // "SET","123456.78","0.04",…
        let line = text.lines().last().unwrap_or_default();
        let rate = line.split(',').nth(1).and_then(|rate| rate.trim_matches('"').parse().ok());
        rate.unwrap_or_else(|| panic!("redis-benchmark, after {:?}: {text}", start.elapsed()))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
