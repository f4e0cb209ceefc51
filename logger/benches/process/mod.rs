//! The logger as a separate process: start, end, and what it costs.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use zcluster::transport::{Context, CurveOptions, Socket, SocketKind, SocketOptions};
use zcluster::wire::zmtp::KeyPair;

/// Keys of both sides for encrypted runs.
pub(crate) struct Keys {
    client: KeyPair,
    server: KeyPair,
}

impl Keys {
    pub(crate) fn new() -> Self {
        Keys { client: KeyPair::generate(), server: KeyPair::generate() }
    }

    /// Returns the key lines for `[zeromq]`.
    fn options(&self) -> String {
        [("client", &self.client), ("server", &self.server)]
            .map(|(role, pair)| {
                let (public, secret) = (pair.public(), pair.secret().expose_text());
                format!(
                    "curve_{role}_publickey = \"{public}\"\ncurve_{role}_secretkey = {:?}\n",
                    *secret
                )
            })
            .concat()
    }

    fn of_client(&self) -> CurveOptions {
        let keys = Arc::new(self.client.clone());
        CurveOptions::Client { keys, server: *self.server.public() }
    }
}

/// A running logger, killed on drop.
pub(crate) struct Logger {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
    /// Where it looks for the broker. The kernel accepts its connections, so it does not keep
    /// trying.
    _broker: [TcpListener; 2],
}

impl Logger {
    /// The binary of this build.
    pub(crate) const BINARY: &'static str = env!("CARGO_BIN_EXE_zcluster-logger");

    /// Starts a logger on a port that the system chooses, and waits until it listens. `log`: lines
    /// of `[log]`.
    pub(crate) fn start(binary: &Path, log: &str, keys: Option<&Keys>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let broker = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [xsub, xpub] = broker.each_ref().map(|listener| listener.local_addr().unwrap());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let layout = dir.path().join("layout.toml");
        let text = format!(
            "[zeromq]\nlisten_xsub_endpoint = \"tcp://{xsub}\"\nlisten_xpub_endpoint = \
             \"tcp://{xpub}\"\n{}[log]\ndir = {:?}\n{log}[nodes.logger]\nnode_type = \"logger\"\n\
             ip = \"127.0.0.1\"\nport = {port}\nmetrics_port = 0\n",
            keys.map(Keys::options).unwrap_or_default(),
            dir.path().join("logs").display().to_string(),
        );
        fs::write(&layout, text).unwrap();
        // The layout may hold secrets; other permissions would cause a warning.
        fs::set_permissions(&layout, fs::Permissions::from_mode(0o600)).unwrap();
        let mut child = Command::new(binary)
            .args(["--node", "logger", "--layout"])
            .arg(&layout)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        Logger { child, port, dir, _broker: broker }
    }

    /// A producer's socket, connected to it.
    pub(crate) fn producer(&self, context: &Context, keys: Option<&Keys>) -> Socket {
        let curve = keys.map(Keys::of_client);
        let options = SocketOptions { curve, ..SocketOptions::default() };
        let push = Socket::new(context, SocketKind::Push, &options).unwrap();
        push.connect(&format!("tcp://127.0.0.1:{}", self.port)).unwrap();
        push
    }

    /// Where its logs are.
    fn logs(&self) -> PathBuf {
        self.dir.path().join("logs/logger")
    }

    /// Bytes in its log files.
    pub(crate) fn written(&self) -> u64 {
        let Ok(files) = fs::read_dir(self.logs()) else { return 0 };
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
    }

    /// Records in its log files, apart from its own.
    pub(crate) fn records(&self) -> u64 {
        let Ok(files) = fs::read_dir(self.logs()) else { return 0 };
        files
            .map(|file| file.unwrap())
            .filter(|file| !file.file_name().to_string_lossy().starts_with("cluster."))
            .filter(|file| file.file_type().unwrap().is_file())
            .map(|file| {
                let text = BufReader::with_capacity(1 << 20, fs::File::open(file.path()).unwrap());
                text.split(b'\n').filter(|line| !line.as_ref().unwrap().starts_with(b"#")).count()
                    as u64
            })
            .sum()
    }

    /// What it has used so far.
    pub(crate) fn usage(&self) -> Usage {
        let pid = self.child.id();
        let mut usage = Usage::default();
        for thread in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
            let thread = thread.unwrap().path();
            let status = fs::read_to_string(thread.join("status")).unwrap();
            usage.wake_ups += number_of(&status, "voluntary_ctxt_switches:");
            usage.threads += 1;
            // Nanoseconds on a processor, from the scheduler.
            let times = fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
            let time = times.split(' ').next().and_then(|time| time.parse().ok());
            usage.cpu += Duration::from_nanos(time.unwrap_or(0));
        }
        if usage.cpu.is_zero() {
            // A kernel that does not record them.
            usage.cpu = cpu_ticks(pid);
        }
        usage
    }

    /// Peak resident set in KiB.
    #[allow(dead_code)] // Only some benchmarks show it.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        number_of(&status, "VmHWM:")
    }
}

impl Drop for Logger {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a process has used since its start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// User and system time of all threads.
    pub(crate) cpu: Duration,
    /// How often a thread stopped to wait for something.
    pub(crate) wake_ups: u64,
    pub(crate) threads: u64,
}

fn number_of(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// User and system time of a process in clock ticks, usually of ten milliseconds.
fn cpu_ticks(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}
