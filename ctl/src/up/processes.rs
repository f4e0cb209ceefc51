//! [`Processes`]: the child processes: started, listened to, signalled, and never left behind.
//!
//! Each has two threads that read its output and one that waits for its end. Only the thread that
//! owns [`Processes`] reaps, so that no signal can reach a process that took over a process id.

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
use zcluster::daemon;

use super::console::Voice;
use super::lines;
use super::message::Message;
use super::plan::Job;
use super::supervisor::{End, Input, Run};

/// How long a process that has exited may keep its output open: what it left behind in its own
/// children may do so for ever.
const OUTPUT_PATIENCE: Duration = Duration::from_secs(1);

/// What the threads of a process tell.
#[derive(Debug)]
pub(crate) enum Told {
    /// Something the supervisor decides about.
    Input(Input),
    /// The process of this run has exited, after this line on standard error; it is to be
    /// [reaped](Processes::reap).
    Exited(Run, Option<String>),
}

/// The processes that run.
pub(crate) struct Processes {
    running: BTreeMap<Run, Process>,
    told: Sender<Told>,
}

/// A process that has not been reaped. Dropping it kills it and all it started.
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
            // It may be gone already. Not waited for: what even SIGKILL does not end may be stuck in
            // the kernel.
            let _ = rustix::process::kill_process_group(self.pid(), Signal::KILL);
        }
    }
}

impl Processes {
    /// None yet; `told` receives what their threads have to tell.
    pub(crate) fn new(told: Sender<Told>) -> Self {
        Processes { running: BTreeMap::new(), told }
    }

    /// Starts `program` for `job` with these variables in its environment. Its output is shown by
    /// the two voices.
    ///
    /// To be called by the main thread only: the kernel takes the end of the thread that started
    /// a process for the end of its parent, upon which a daemon ends.
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
            // That of the shell names one node at most, and each process is told which one it is.
            .env_remove("CLUSTER_NODE")
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C in a terminal goes to the process group in the foreground: that is ours, and
            // the order in which the others stop is for us to decide.
            .process_group(0);
        if std::env::var_os("RUST_LOG").is_none() {
            // What daemons say at `info` they also say on stdout, which is shown in other words.
            command.env("RUST_LOG", "warn");
        }
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
            // Nobody listens any more only at the very end.
            let _ = told.send(Told::Exited(run, line));
        })?;
        self.running.insert(run, process);
        Ok(())
    }

    /// Sends a signal to a process; SIGKILL also to all it started.
    pub(crate) fn signal(&self, run: Run, signal: Signal) {
        let Some(process) = self.running.get(&run) else { return };
        // It may have exited; that is told by its thread.
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
    // A pipe that cannot be read is as good as one that has ended.
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
    // The only other answer is that there is no such child.
    while matches!(rustix::process::waitid(WaitId::Pid(pid), options), Err(Errno::INTR)) {}
    // Nothing is ever sent: it closes, or the time is up.
    let _: Result<(), _> = read.recv_timeout(OUTPUT_PATIENCE);
}
