//! [`Processes`]: starts, reads, signals and reaps the child processes, and leaves none behind.
//!
//! Two threads per process read its output, and one waits for its exit. Only the thread that owns
//! [`Processes`] reaps, so no signal can reach a new process that has the same process id.

use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{io, process, thread};

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use zcluster::daemon::{self, LogFilter};

use super::console::Voice;
use super::lines;
use super::message::Message;
use super::plan::Job;
use super::supervisor::{End, Input, Run};

/// How long to read the output of a process that has exited: its own children may keep the output
/// open for ever.
const OUTPUT_PATIENCE: Duration = Duration::from_secs(1);

/// A report of a process's threads.
#[derive(Debug)]
pub(crate) enum Told {
    /// An input for the supervisor.
    Input(Input),
    /// The process of this run has exited, after this line on standard error; it is to be
    /// [reaped](Processes::reap).
    Exited(Run, Option<String>),
}

/// The running processes.
pub(crate) struct Processes {
    running: BTreeMap<Run, Process>,
    told: Sender<Told>,
    /// The log filter of the processes.
    log_filter: LogFilter,
}

/// A process that has not been reaped. Dropping it kills it and all processes that it started.
struct Process {
    child: Child,
}

impl Process {
    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            // It may have exited already. Not waited for: a process that survives SIGKILL may be
            // stuck in the kernel.
            let _ = rustix::process::kill_process_group(self.pid(), Signal::KILL);
        }
    }
}

impl Processes {
    /// Creates an empty set; `told` receives the reports of the threads. Processes log what
    /// `log_filter` says.
    pub(crate) fn new(told: Sender<Told>, log_filter: LogFilter) -> Self {
        Processes { running: BTreeMap::new(), told, log_filter }
    }

    /// Starts `program` for `job` with these variables in its environment. The two voices show its
    /// output.
    ///
    /// Call it from the main thread only: the kernel treats the end of the thread that started a
    /// process as the end of its parent, and daemons exit then.
    ///
    /// # Errors
    /// When the system refuses the process or one of its threads.
    pub(crate) fn start(
        &mut self,
        run: Run,
        job: &Job,
        program: &PathBuf,
        environment: &[(&str, String)],
        [out, err]: [Voice; 2],
    ) -> io::Result<()> {
        let mut command = Command::new(program);
        command
            .args(&job.args)
            .env(daemon::PARENT_PID, process::id().to_string())
            .env("RUST_LOG", self.log_filter.as_str())
            // The shell's variable names at most one node; each process gets its own name as an
            // argument.
            .env_remove("CLUSTER_NODE")
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C in a terminal signals the foreground process group. Children have their own
            // groups, because this process decides the order in which they stop.
            .process_group(0);
        let mut process = Process { child: command.spawn()? };
        let last_line = Arc::new(Mutex::new(None));
        // Closed when both readers are done.
        let (reading, read) = bounded::<()>(0);
        if let Some(stdout) = process.child.stdout.take() {
            let (told, reading) = (self.told.clone(), reading.clone());
            spawn("stdout", move || {
                read_stdout(stdout, run, &told, out);
                drop(reading);
            })?;
        }
        if let Some(stderr) = process.child.stderr.take() {
            let last_line = Arc::clone(&last_line);
            spawn("stderr", move || {
                read_stderr(stderr, &last_line, err);
                drop(reading);
            })?;
        }
        let (pid, told) = (process.pid(), self.told.clone());
        spawn("wait", move || {
            wait(pid, &read);
            let line = last_line.lock().unwrap_or_else(PoisonError::into_inner).take();
            // The receiver is only gone at the very end.
            let _ = told.send(Told::Exited(run, line));
        })?;
        self.running.insert(run, process);
        Ok(())
    }

    /// Sends a signal to a process; SIGKILL also to all processes that it started.
    pub(crate) fn signal(&self, run: Run, signal: Signal) {
        let Some(process) = self.running.get(&run) else { return };
        // It may have exited; its thread reports that.
        let _ = if signal == Signal::KILL {
            rustix::process::kill_process_group(process.pid(), signal)
        } else {
            rustix::process::kill_process(process.pid(), signal)
        };
    }

    /// Forgets a process that has exited.
    pub(crate) fn reap(&mut self, run: Run, last_line: Option<String>) -> Option<Input> {
        let mut process = self.running.remove(&run)?;
        let status: io::Result<ExitStatus> = process.child.wait();
        let end = match status {
            Ok(status) => End::Exited(status, last_line),
            Err(error) => End::NotStarted(format!("its exit status is unknown: {error}")),
        };
        Some(Input::Ended(run, end))
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.into()).spawn(body).map(drop)
}

fn read_stdout(stdout: impl Read, run: Run, told: &Sender<Told>, mut voice: Voice) {
    // A pipe that cannot be read is treated as closed.
    let _ = lines::read(BufReader::new(stdout), |line| {
        let Some(message) = Message::parse(line) else { return voice.quote(line) };
        voice.quote(&message.to_text(voice.text_width()));
        let input = match message {
            Message::Ready(ready) => Input::Ready(run, ready),
            Message::NodeUp(peer) => Input::NodeUp(run, peer),
            Message::NodeDown(peer) => Input::NodeDown(run, peer),
            Message::Event { .. } => return,
        };
        let _ = told.send(Told::Input(input));
    });
}

fn read_stderr(stderr: impl Read, last_line: &Mutex<Option<String>>, mut voice: Voice) {
    let _ = lines::read(BufReader::new(stderr), |line| {
        voice.quote(line);
        if !line.trim().is_empty() {
            let mut last = last_line.lock().unwrap_or_else(PoisonError::into_inner);
            *last = Some(line.trim().to_owned());
        }
    });
}

/// Waits until the process has exited, without reaping it, and its output has been shown.
fn wait(pid: Pid, read: &Receiver<()>) {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    // The only other error is that the child does not exist.
    while matches!(rustix::process::waitid(WaitId::Pid(pid), options), Err(Errno::INTR)) {}
    // Nothing is ever sent: this returns when the channel closes, or after the timeout.
    let _: Result<(), _> = read.recv_timeout(OUTPUT_PATIENCE);
}
