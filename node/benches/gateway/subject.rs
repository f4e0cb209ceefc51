//! The process that is measured.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use serde::Serialize;

use crate::bus::Bus;
use crate::control::Control;
use crate::feed::{Feed, Feeder};
use crate::plan::Api;
use crate::usage;

/// Which process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// `zcluster-node` of this build.
    Node,
    /// Another build of it.
    Before,
    /// A plain server that sends ready-made messages.
    Yardstick,
}

impl Kind {
    /// All of them, in the order of the tables.
    pub(crate) const ALL: [Self; 3] = [Kind::Before, Kind::Node, Kind::Yardstick];

    /// The name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Node => "node",
            Kind::Before => "before",
            Kind::Yardstick => "yardstick",
        }
    }
}

/// A program to measure.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) kind: Kind,
    program: PathBuf,
}

impl Subject {
    pub(crate) fn now() -> Self {
        Subject { kind: Kind::Node, program: env!("CARGO_BIN_EXE_zcluster-node").into() }
    }

    pub(crate) fn before(program: &Path) -> Self {
        Subject { kind: Kind::Before, program: program.to_owned() }
    }

    pub(crate) fn yardstick() -> Self {
        Subject { kind: Kind::Yardstick, program: std::env::current_exe().unwrap() }
    }
}

/// The running process, killed on drop.
pub(crate) struct Under {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) kind: Kind,
    /// What makes its events, until that is started.
    feed: Mutex<Option<Box<dyn Feed>>>,
    _dir: tempfile::TempDir,
}

impl Under {
    /// Starts it and waits until it listens.
    pub(crate) fn start(subject: &Subject, api: Api) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(&subject.program);
        let bus = (subject.kind != Kind::Yardstick).then(Bus::bind);
        if let Some(bus) = &bus {
            let layout = dir.path().join("layout.toml");
            fs::write(&layout, layout_of(bus)).unwrap();
            command.args(["--node", "gw", "--quiet", "--no-stdin", "--layout"]).arg(&layout);
        } else {
            command.args(["--yardstick", "--api", api.name()]);
        }
        let mut child = command
            .env("RUST_LOG", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", subject.program.display()));
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        let of = |key: &str| ready["ready"][key].as_str().and_then(|address| address.parse().ok());
        let address = of("http").expect("the process did not start");
        let feed: Box<dyn Feed> = match bus {
            Some(bus) => Box::new(bus),
            None => Box::new(Control::connect(of("control").unwrap(), api)),
        };
        Under { child, address, kind: subject.kind, feed: Mutex::new(Some(feed)), _dir: dir }
    }

    /// Starts the thread that makes its events, of these topics in turn.
    pub(crate) fn feeder(&self, topics: &[String]) -> Feeder {
        Feeder::start(self.feed.lock().unwrap().take().expect("one feeder"), topics)
    }

    pub(crate) fn cpu_time(&self) -> Duration {
        usage::cpu_time(self.child.id())
    }

    /// CPU seconds since that was its time.
    pub(crate) fn cpu_since(&self, before: Duration) -> f64 {
        self.cpu_time().saturating_sub(before).as_secs_f64()
    }

    /// Resident memory in KiB.
    pub(crate) fn memory(&self) -> u64 {
        usage::memory(self.child.id())
    }

    /// The most that it was, in MiB.
    pub(crate) fn peak_memory(&self) -> f64 {
        usage::peak_memory(self.child.id()) as f64 / 1024.0
    }

    pub(crate) fn descriptors(&self) -> usize {
        usage::descriptors(self.child.id())
    }
}

impl Drop for Under {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn layout_of(bus: &Bus) -> String {
    format!(
        "[zeromq]\nlisten_xsub_endpoint = \"{}\"\nlisten_xpub_endpoint = \"{}\"\n\
         [nodes.gw]\nnode_type = \"worker\"\nip = \"127.0.0.1\"\nmetrics_port = 0\n\
         websocket = {{ listen_port = 0 }}\n",
        bus.for_publishers, bus.for_subscribers,
    )
}
