//! Runs the real `zcluster-broker` in a separate process.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::keys;
use crate::plan::Engine;

/// A running broker, killed on drop.
pub(crate) struct Broker {
    child: Child,
    /// Endpoint for publishers.
    pub(crate) xsub: String,
    /// Endpoint for subscribers.
    pub(crate) xpub: String,
    _dir: tempfile::TempDir,
}

impl Broker {
    /// Starts a broker on ports that the system chooses, and waits until it listens.
    pub(crate) fn start(engine: Engine, is_encrypted: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = dir.path().join("layout.toml");
        // Raw clients do not answer PINGs.
        let mut text = "[zeromq]\nlisten_xsub_endpoint = \"tcp://127.0.0.1:*\"\n\
             listen_xpub_endpoint = \"tcp://127.0.0.1:*\"\nheartbeat_interval = 0\n"
            .to_owned();
        if is_encrypted {
            text.push_str(&keys::options());
        }
        text.push_str("[nodes.manager]\nnode_type = \"manager\"\nip = \"127.0.0.1\"\n");
        text.push_str(&format!("[broker]\nengine = \"{}\"\n", engine.word()));
        fs::write(&layout, text).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_zcluster-broker"))
            .arg("--layout")
            .arg(&layout)
            .env("RUST_LOG", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("the broker did not start: {error}"));
        let of = |key: &str| ready["ready"][key].as_str().unwrap_or_default().to_owned();
        // A fallback to the other engine must not be measured under the wrong name.
        assert_eq!(of("engine"), engine.word(), "the broker runs another engine");
        Broker { child, xsub: of("xsub"), xpub: of("xpub"), _dir: dir }
    }

    /// CPU time of all its threads so far, user and system.
    pub(crate) fn cpu_time(&self) -> Duration {
        let pid = self.child.id();
        precise_cpu_time(pid).unwrap_or_else(|| cpu_ticks(pid))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time in nanoseconds, from the scheduler, if the kernel records it.
fn precise_cpu_time(pid: u32) -> Option<Duration> {
    let mut total = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        total += text.split(' ').next()?.parse::<u64>().ok()?;
    }
    (total > 0).then(|| Duration::from_nanos(total))
}

/// CPU time in clock ticks, usually of ten milliseconds.
fn cpu_ticks(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}
