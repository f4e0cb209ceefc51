//! `zcluster up`: a local cluster in the foreground.
//!
//! - `plan`: which processes a layout needs.
//! - `supervisor`: when to start, restart and stop each of them: a state machine.
//! - `processes`, `lines`, `message`: child processes, and what they print.
//! - `programs`: where their executables are.
//! - `signals`: requests of the user or the system.
//! - `console`: the output.
//! - here: the command line, and the loop that connects these parts.

mod console;
mod lines;
mod message;
mod plan;
mod processes;
mod programs;
mod signals;
mod supervisor;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use log::LevelFilter;
use rustix::process::Signal;
use zcluster::daemon::{Failure, LogFilter};
use zcluster::exit::ExitCode;
use zcluster::layout::{self, Endpoint, Layout};

use crate::output;

use console::{Console, Voice};
use message::Ready;
use plan::Job;
use processes::{Processes, Told};
use supervisor::{Action, End, Input, Supervisor};

/// The number of reports from threads that may wait; threads block when it is full.
const TOLD: usize = 256;
/// How long the processes of one role may take to exit, at least, …
const MIN_STOP_PATIENCE: Duration = Duration::from_secs(10);
/// … and in addition to the time that the layout grants them to write what they hold.
const STOP_MARGIN: Duration = Duration::from_secs(5);
/// The label of lines about the cluster as a whole.
const LABEL: &str = "zcluster";

/// The arguments of `zcluster up`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The layout of the cluster.
    #[arg(long, value_name = "FILE", default_value = "cluster-layout.toml")]
    layout: PathBuf,
    /// Let workers publish demo events and logs.
    #[arg(long)]
    demo: bool,
    /// Look for zcluster-broker, zcluster-logger and zcluster-node in this directory first, then
    /// next to this program, then in PATH.
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    /// Do not use colours, even in a terminal. The environment variable NO_COLOR does the same.
    #[arg(long)]
    no_color: bool,
    /// Do not restart processes that exit.
    #[arg(long)]
    no_restart: bool,
    /// Start only these nodes, and the broker. Without any, starts all nodes.
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
}

/// Runs the cluster until it is asked to stop. Prints a failure on stderr: a wrong layout (78), a
/// missing executable or a process that does not start (69), one that had to be killed (70).
pub fn run(args: &Args) -> ExitCode {
    output::end(up(args))
}

fn up(args: &Args) -> Result<(), Failure> {
    let (told, inbox) = bounded(TOLD);
    // Before anything else, so that no signal is lost; each takes effect as soon as possible.
    signals::take(told.clone())?;
    // What daemons log at `info` is also on their stdout, which is already shown.
    let log_filter = LogFilter::from_env(LevelFilter::Warn);
    if let Some((_, complaint)) = log_filter.complaint() {
        // Daemons get only the valid part, so the mistake is reported once.
        output::say(&format!("zcluster: {complaint}"));
    }
    let loaded = layout::load(&args.layout, |name| std::env::var(name).ok())
        .map_err(|error| Failure::new(error.exit_code(), error))?;
    let layout = loaded.layout;
    let jobs =
        plan::plan(&layout, &args.layout, &args.nodes, args.demo).map_err(Failure::config)?;
    let mut programs = BTreeMap::new();
    for job in &jobs {
        let program = job.role.program();
        let path = programs::find(program, args.bin_dir.as_deref())
            .map_err(|error| Failure::new(ExitCode::Unavailable, error))?;
        programs.insert(program, path);
    }

    let fail = |error| Failure::new(ExitCode::Software, format!("cannot start a thread: {error}"));
    let names = jobs.iter().map(|job| job.name.chars().count());
    let label_width = names.chain([LABEL.len()]).max().unwrap_or_default();
    let colour = console::wants_colour(args.no_color);
    let console = Console::start(label_width, colour).map_err(fail)?;
    let mut whole = console.voice(LABEL, None);
    for warning in &loaded.warnings {
        for line in warning.to_string().lines() {
            whole.say(line);
        }
    }

    let mut cluster = Cluster {
        supervisor: Supervisor::new(
            jobs.clone(),
            !args.no_restart,
            MIN_STOP_PATIENCE.max(layout.log.shutdown_timeout + STOP_MARGIN),
            logs_hint(&layout.log.dir, &layout.log.suffix),
            Instant::now(),
        ),
        processes: Processes::new(told, log_filter),
        voices: jobs.iter().enumerate().map(|(i, j)| console.voice(&j.name, Some(i))).collect(),
        whole,
        console: &console,
        programs,
        jobs,
        ports: BrokerPorts::of(&layout),
    };
    let outcome = cluster.run(&inbox);
    drop(cluster);
    console.finish();
    outcome
}

fn logs_hint(dir: &Path, suffix: &str) -> String {
    format!("logs: tail -f {}/*/*.{suffix}", dir.display())
}

/// The running processes, and the supervisor that controls them.
struct Cluster<'a> {
    supervisor: Supervisor,
    processes: Processes,
    jobs: Vec<Job>,
    /// Executables by name.
    programs: BTreeMap<&'static str, PathBuf>,
    console: &'a Console,
    /// By job.
    voices: Vec<Voice>,
    whole: Voice,
    ports: BrokerPorts,
}

impl Cluster<'_> {
    /// Carries out the supervisor's actions until it has finished.
    fn run(&mut self, inbox: &Receiver<Told>) -> Result<(), Failure> {
        if let Ok(Told::Input(Input::Stop)) = inbox.try_recv() {
            // A stop before anything was started; SIGHUP has no effect here.
            return Ok(());
        }
        let mut actions: VecDeque<Action> = self.supervisor.begin(Instant::now()).into();
        loop {
            while let Some(action) = actions.pop_front() {
                if let Action::Finish(outcome) = action {
                    return outcome;
                }
                if let Some(input) = self.act(action) {
                    actions.extend(self.supervisor.handle(input, Instant::now()));
                }
            }
            if let Some(input) = self.wait(inbox) {
                actions.extend(self.supervisor.handle(input, Instant::now()));
            }
        }
    }

    /// Waits for the next input; `None` if the report no longer matters.
    fn wait(&mut self, inbox: &Receiver<Told>) -> Option<Input> {
        let told = match self.supervisor.deadline() {
            Some(deadline) => inbox.recv_deadline(deadline).ok(),
            None => inbox.recv().ok(),
        };
        match told {
            None => Some(Input::Tick),
            Some(Told::Exited(run, last_line)) => self.processes.reap(run, last_line),
            Some(Told::Input(input)) => {
                if let Input::Ready(_, ready) = &input {
                    self.ports.learn(ready);
                }
                Some(input)
            }
        }
    }

    fn act(&mut self, action: Action) -> Option<Input> {
        match action {
            Action::Start(index, run) => {
                let job = &self.jobs[index];
                let program = &self.programs[job.role.program()];
                let voice = || self.console.voice(&job.name, Some(index));
                let environment = self.ports.environment();
                let voices = [voice(), voice()];
                if let Err(error) = self.processes.start(run, job, program, &environment, voices) {
                    let why = format!("{}: {error}", program.display());
                    return Some(Input::Ended(run, End::NotStarted(why)));
                }
            }
            Action::Terminate(run) => self.processes.signal(run, Signal::TERM),
            Action::Hangup(run) => self.processes.signal(run, Signal::HUP),
            Action::Kill(run) => self.processes.signal(run, Signal::KILL),
            Action::Say(Some(index), text) => self.voices[index].say(&text),
            Action::Say(None, text) => self.whole.say(&text),
            // The caller handles it.
            Action::Finish(_) => {}
        }
        None
    }
}

/// The ports of the broker that the layout leaves to the system. The ports that the broker got are
/// passed to all other processes, and to the broker when it restarts, in the environment (WIRE.md
/// §7.5).
#[derive(Debug, Default, PartialEq, Eq)]
struct BrokerPorts {
    /// The open ports: the variable, the member of the ready line with the endpoint, and the port.
    open: Vec<(&'static str, &'static str, Option<u16>)>,
}

impl BrokerPorts {
    fn of(layout: &Layout) -> Self {
        let zeromq = &layout.zeromq;
        let all = [
            ("ZEEK_CLUSTER_BACKEND_ZEROMQ_XPUB_PORT", "xpub", &zeromq.listen_xpub_endpoint),
            ("ZEEK_CLUSTER_BACKEND_ZEROMQ_XSUB_PORT", "xsub", &zeromq.listen_xsub_endpoint),
        ];
        let open = all.into_iter().filter(|(.., endpoint)| port(endpoint) == Some(0));
        BrokerPorts { open: open.map(|(variable, member, _)| (variable, member, None)).collect() }
    }

    /// Learns ports from a ready line. While a port is open only the broker runs, so the first line
    /// with an endpoint is the broker's.
    fn learn(&mut self, ready: &Ready) {
        for (_, member, known) in &mut self.open {
            if known.is_none() {
                *known = ready.get(member).and_then(port);
            }
        }
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        let known = |(name, _, port): &(_, _, Option<u16>)| Some((*name, (*port)?.to_string()));
        self.open.iter().filter_map(known).collect()
    }
}

/// The port of a TCP endpoint.
fn port(endpoint: &str) -> Option<u16> {
    match endpoint.parse() {
        Ok(Endpoint::Tcp { port, .. }) => Some(port),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::up::message::Message;

    #[test]
    fn open_ports_are_learnt_from_the_broker() {
        let mut layout = Layout::default();
        assert_eq!(BrokerPorts::of(&layout), BrokerPorts::default());
        layout.zeromq.listen_xsub_endpoint = "tcp://127.0.0.1:0".into();
        layout.zeromq.listen_xpub_endpoint = "tcp://*:*".into();
        let mut ports = BrokerPorts::of(&layout);
        assert!(ports.environment().is_empty());
        for xsub in [7001, 8001] {
            let line = format!(
                r#"{{"ready":{{"xsub":"tcp://127.0.0.1:{xsub}","xpub":"tcp://0.0.0.0:7002"}}}}"#
            );
            let Some(Message::Ready(ready)) = Message::parse(&line) else { panic!("{line}") };
            ports.learn(&ready);
        }
        let expected = [
            ("ZEEK_CLUSTER_BACKEND_ZEROMQ_XPUB_PORT", "7002".to_owned()),
            ("ZEEK_CLUSTER_BACKEND_ZEROMQ_XSUB_PORT", "7001".to_owned()),
        ];
        assert_eq!(ports.environment(), expected);
    }
}
