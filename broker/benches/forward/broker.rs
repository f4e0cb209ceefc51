//! Runs the real `zcluster-broker` in a separate process.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::keys;
use crate::plan::Engine;

/// What to measure: a program and its options.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) engine: Engine,
    program: PathBuf,
    /// The section of the layout for the broker.
    section: &'static str,
    io_threads: Option<u32>,
}

impl Subject {
    /// This build with that engine.
    pub(crate) fn new(engine: Engine, io_threads: Option<u32>) -> Self {
        let program = env!("CARGO_BIN_EXE_zcluster-broker").into();
        Subject { engine, program, section: "broker", io_threads }
    }

    /// Another build. In old ones, the section of the layout has another name; unknown sections are
    /// errors.
    pub(crate) fn before(program: &Path, io_threads: Option<u32>) -> Self {
        let subject = |section| {
            let program = program.to_owned();
            Subject { engine: Engine::Before, program, section, io_threads }
        };
        let mut subjects = ["broker", "proxy"].map(subject).into_iter();
        subjects
            .find(|subject| Broker::launch(subject, false, Stdio::null()).is_some())
            .unwrap_or_else(|| panic!("{} is no broker", program.display()))
    }

    fn layout(&self, is_encrypted: bool) -> String {
        // Raw clients do not answer PINGs.
        let mut text = "[zeromq]\nlisten_xsub_endpoint = \"tcp://127.0.0.1:*\"\n\
             listen_xpub_endpoint = \"tcp://127.0.0.1:*\"\nheartbeat_interval = 0\n"
            .to_owned();
        let threads = |key: &str| self.io_threads.map(|threads| format!("{key} = {threads}\n"));
        let (zmq, switch) = match self.engine {
            Engine::Zmq => (threads("proxy_io_threads"), None),
            Engine::Switch | Engine::Before => (None, threads("io_threads")),
        };
        text.extend(zmq);
        if is_encrypted {
            text.push_str(&keys::options());
        }
        text.push_str("[nodes.manager]\nnode_type = \"manager\"\nip = \"127.0.0.1\"\n");
        text.push_str(&format!("[{}]\nengine = \"{}\"\n", self.section, self.engine.word()));
        text.extend(switch);
        text
    }
}

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
    pub(crate) fn start(subject: &Subject, is_encrypted: bool) -> Self {
        Self::launch(subject, is_encrypted, Stdio::inherit()).expect("the broker did not start")
    }

    /// Starts a broker; `None` if it ends at once.
    fn launch(subject: &Subject, is_encrypted: bool, errors: Stdio) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let layout = dir.path().join("layout.toml");
        fs::write(&layout, subject.layout(is_encrypted)).unwrap();
        let mut child = Command::new(&subject.program)
            .arg("--layout")
            .arg(&layout)
            .env("RUST_LOG", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", subject.program.display()));
        let stdout = child.stdout.take().unwrap();
        let mut broker = Broker { child, xsub: String::new(), xpub: String::new(), _dir: dir };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).ok()?;
        let of = |key: &str| ready["ready"][key].as_str().unwrap_or_default().to_owned();
        // A fallback to the other engine must not be measured under the wrong name.
        assert_eq!(of("engine"), subject.engine.word(), "the broker runs another engine");
        (broker.xsub, broker.xpub) = (of("xsub"), of("xpub"));
        Some(broker)
    }

    /// CPU time of all its threads so far, user and system.
    pub(crate) fn cpu_time(&self) -> Duration {
        let pid = self.child.id();
        precise_cpu_time(pid).unwrap_or_else(|| cpu_ticks(pid))
    }

    /// The most memory it has used so far, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        1024 * line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
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
