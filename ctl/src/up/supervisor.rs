//! [`Supervisor`]: when each process of the cluster is started, restarted and stopped.
//!
//! A state machine: it receives [`Input`]s and the time, and returns [`Action`]s. It starts no
//! process, reads no clock and prints nothing.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use zcluster::daemon::Failure;
use zcluster::exit::ExitCode;

use super::message::{Peer, Ready};
use super::plan::{Job, Role};

/// How long a process may take to print its ready line.
pub(crate) const READY_PATIENCE: Duration = Duration::from_secs(10);
/// How long a killed process may take to exit: the kernel may be busy, but not for ever.
const KILL_PATIENCE: Duration = Duration::from_secs(2);
/// The pause before a process that exited by itself is restarted; doubled each time …
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// … up to this, …
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// … and reset after it has been up for this long.
const STEADY_AFTER: Duration = Duration::from_mins(1);
/// When to report nodes that do not see each other, after all were started.
const MEETING_PATIENCE: Duration = Duration::from_secs(15);
/// The number of such nodes that are named.
const NAMED: usize = 4;

/// Identifies one start of a process.
pub(crate) type Run = u64;

/// What happened.
#[derive(Debug)]
pub(crate) enum Input {
    /// A process printed its ready line.
    Ready(Run, Ready),
    /// A node sees another one.
    NodeUp(Run, Peer),
    /// A node lost another one.
    NodeDown(Run, Peer),
    /// A process has exited, or could not be started.
    Ended(Run, End),
    /// The user asked to stop; the second time, to stop at once.
    Stop,
    /// SIGHUP: the processes rotate, and reload what they reload at SIGHUP.
    Hangup,
    /// Time has passed; see [`Supervisor::deadline`].
    Tick,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The system refused to start it, for this reason.
    NotStarted(String),
    /// It exited, after this line on its standard error.
    Exited(ExitStatus, Option<String>),
}

/// What to do next.
#[derive(Debug)]
pub(crate) enum Action {
    /// Start this job (an index into the jobs).
    Start(usize, Run),
    /// Send SIGTERM.
    Terminate(Run),
    /// Send SIGHUP.
    Hangup(Run),
    /// Send SIGKILL.
    Kill(Run),
    /// Print a message about a job or the whole cluster.
    Say(Option<usize>, String),
    /// The cluster has ended.
    Finish(Result<(), Failure>),
}

/// Starts, watches and stops the processes of a cluster.
#[derive(Debug)]
pub(crate) struct Supervisor {
    members: Vec<Member>,
    phase: Phase,
    /// Whether processes that exit by themselves are restarted.
    restart: bool,
    /// Printed once the cluster is up.
    hint: String,
    /// How long the processes of one role may take to exit before they are killed.
    stop_patience: Duration,
    started: Instant,
    /// When to report nodes that do not see each other, if not done yet.
    complain_at: Option<Instant>,
    /// Whether all nodes see each other.
    whole: bool,
    /// Whether they ever did.
    was_whole: bool,
    last_run: Run,
    /// Why the cluster is stopped, unless the user asked for it.
    failure: Option<Failure>,
}

/// A job and its state.
#[derive(Debug)]
struct Member {
    job: Job,
    state: State,
    /// Whether it has ever been up: if it ends before that, the whole cluster stops.
    was_up: bool,
    /// What its ready line said.
    ready: Ready,
    /// The nodes it sees.
    seen: BTreeSet<Peer>,
    /// The pause before its next restart.
    pause: Duration,
    /// Whether to send it SIGHUP once it is ready: before that, it may not handle signals yet.
    hangup: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Not started yet, or gone for good.
    Down,
    /// Its ready line must arrive before this time.
    Starting(Run, Instant),
    /// It was not ready in time and has been killed.
    Condemned(Run),
    /// Up since this time.
    Up(Run, Instant),
    /// To be restarted at this time.
    Paused(Instant),
}

impl State {
    /// The run of a process that exists.
    fn run(self) -> Option<Run> {
        match self {
            State::Starting(run, _) | State::Condemned(run) | State::Up(run, _) => Some(run),
            State::Down | State::Paused(_) => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Only the broker runs: without its endpoints, other processes cannot connect.
    Broker,
    /// All processes have been started.
    Running,
    /// The processes of one role have been asked to stop.
    Stopping { role: Role, until: Instant, killed: bool },
    /// All have been killed.
    Killing { until: Instant },
    /// The cluster has ended.
    Done,
}

impl Supervisor {
    /// Creates a cluster of these jobs, including the broker; nothing is started yet. The processes
    /// of each role may take `stop_patience` to exit, and `hint` is printed once the cluster is up.
    pub(crate) fn new(
        jobs: Vec<Job>,
        restart: bool,
        stop_patience: Duration,
        hint: String,
        now: Instant,
    ) -> Self {
        let member = |job| Member {
            job,
            state: State::Down,
            was_up: false,
            ready: Ready::default(),
            seen: BTreeSet::new(),
            pause: FIRST_PAUSE,
            hangup: false,
        };
        Supervisor {
            members: jobs.into_iter().map(member).collect(),
            phase: Phase::Broker,
            restart,
            hint,
            stop_patience,
            started: now,
            complain_at: None,
            whole: false,
            was_whole: false,
            last_run: 0,
            failure: None,
        }
    }

    /// What to do first.
    pub(crate) fn begin(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        self.start_where(|role| role == Role::Broker, now, &mut actions);
        actions
    }

    /// When the next [`Input::Tick`] is due at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Stopping { until, .. } | Phase::Killing { until } => return Some(until),
            Phase::Broker | Phase::Running => self.complain_at,
            Phase::Done => None,
        };
        let members = self.members.iter().filter_map(|member| match member.state {
            State::Starting(_, until) | State::Paused(until) => Some(until),
            State::Down | State::Condemned(_) | State::Up(..) => None,
        });
        members.chain(phase).min()
    }

    /// What to do about `input`.
    pub(crate) fn handle(&mut self, input: Input, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::Ready(run, ready) => self.on_ready(run, ready, now, &mut actions),
            Input::NodeUp(run, peer) => {
                if let Some(index) = self.find(run) {
                    self.members[index].seen.insert(peer);
                }
            }
            Input::NodeDown(run, peer) => {
                if let Some(index) = self.find(run) {
                    self.members[index].seen.remove(&peer);
                }
            }
            Input::Ended(run, end) => self.on_end(run, end, now, &mut actions),
            Input::Stop => match self.phase {
                Phase::Broker | Phase::Running => {
                    actions.push(Action::Say(None, "stopping; again to kill".into()));
                    self.stop_next(now, &mut actions);
                }
                Phase::Stopping { .. } => {
                    self.kill_all(
                        "asked twice: killing the remaining processes",
                        now,
                        &mut actions,
                    );
                }
                Phase::Killing { .. } | Phase::Done => {}
            },
            Input::Hangup => self.hang_up(&mut actions),
            Input::Tick => {}
        }
        self.on_time(now, &mut actions);
        if matches!(self.phase, Phase::Running) {
            self.look_around(now, &mut actions);
        }
        actions
    }

    fn hang_up(&mut self, actions: &mut Vec<Action>) {
        if !matches!(self.phase, Phase::Broker | Phase::Running) {
            return;
        }
        actions.push(Action::Say(None, "SIGHUP: sent to all processes".into()));
        for member in &mut self.members {
            match member.state {
                State::Up(run, _) => actions.push(Action::Hangup(run)),
                State::Starting(..) => member.hangup = true,
                // Processes that start later read the current files anyway.
                State::Down | State::Condemned(_) | State::Paused(_) => {}
            }
        }
    }

    fn find(&self, run: Run) -> Option<usize> {
        self.members.iter().position(|member| member.state.run() == Some(run))
    }

    fn start(&mut self, index: usize, now: Instant, actions: &mut Vec<Action>) {
        self.last_run += 1;
        self.members[index].state = State::Starting(self.last_run, now + READY_PATIENCE);
        actions.push(Action::Start(index, self.last_run));
    }

    fn start_where(&mut self, wanted: fn(Role) -> bool, now: Instant, actions: &mut Vec<Action>) {
        for index in 0..self.members.len() {
            if wanted(self.members[index].job.role) {
                self.start(index, now, actions);
            }
        }
    }

    fn on_ready(&mut self, run: Run, ready: Ready, now: Instant, actions: &mut Vec<Action>) {
        let Some(index) = self.find(run) else { return };
        let member = &mut self.members[index];
        let State::Starting(..) = member.state else { return };
        member.state = State::Up(run, now);
        member.ready = ready;
        if std::mem::replace(&mut member.was_up, true) {
            actions.push(Action::Say(Some(index), "restarted".into()));
        }
        if std::mem::take(&mut member.hangup) {
            actions.push(Action::Hangup(run));
        }
        if matches!(self.phase, Phase::Broker) {
            self.phase = Phase::Running;
            self.complain_at = Some(now + MEETING_PATIENCE);
            self.start_where(|role| role != Role::Broker, now, actions);
        }
    }

    fn on_end(&mut self, run: Run, end: End, now: Instant, actions: &mut Vec<Action>) {
        let Some(index) = self.find(run) else { return };
        let member = &mut self.members[index];
        let state = std::mem::replace(&mut member.state, State::Down);
        member.seen.clear();
        member.hangup = false;
        match self.phase {
            Phase::Stopping { role, .. } => {
                let text = match end {
                    End::Exited(status, _) if !status.success() => format!("stopped ({status})"),
                    _ => "stopped".into(),
                };
                actions.push(Action::Say(Some(index), text));
                if !self.runs(role) {
                    self.stop_next(now, actions);
                }
                return;
            }
            Phase::Killing { .. } => {
                if self.members.iter().all(|member| member.state.run().is_none()) {
                    self.finish(actions);
                }
                return;
            }
            Phase::Done => return,
            Phase::Broker | Phase::Running => {}
        }
        let (code, how) = match end {
            End::NotStarted(why) => (ExitCode::Unavailable, format!("cannot be started: {why}")),
            End::Exited(status, last_line) => {
                let code = match status.code() {
                    Some(code) if code == i32::from(ExitCode::Config.code()) => ExitCode::Config,
                    _ => ExitCode::Unavailable,
                };
                let line =
                    last_line.map(|line| format!(", its last line: {line}")).unwrap_or_default();
                (code, format!("exited ({status}){line}"))
            }
        };
        let member = &mut self.members[index];
        if !member.was_up {
            let message = format!("startup failed: {} {how}", member.job.name);
            return self.fail(index, code, &how, message, now, actions);
        }
        if !self.restart {
            actions.push(Action::Say(Some(index), how));
            if self.members.iter().all(|member| member.state.run().is_none()) {
                let message = "every process has exited";
                self.failure = Some(Failure::new(ExitCode::Unavailable, message));
                self.finish(actions);
            }
            return;
        }
        if matches!(state, State::Up(_, since) if now.duration_since(since) >= STEADY_AFTER) {
            member.pause = FIRST_PAUSE;
        }
        let pause = member.pause;
        member.pause = (pause * 2).min(LONGEST_PAUSE);
        member.state = State::Paused(now + pause);
        let text = format!("{how}; restarting in {} s", pause.as_secs());
        actions.push(Action::Say(Some(index), text));
    }

    /// Acts on what is due by `now`.
    fn on_time(&mut self, now: Instant, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Broker | Phase::Running => self.check_members(now, actions),
            Phase::Stopping { role, until, killed } if now >= until => {
                let late: Vec<_> = (0..self.members.len())
                    .filter(|index| self.members[*index].job.role == role)
                    .filter_map(|index| Some((index, self.members[index].state.run()?)))
                    .collect();
                for (index, run) in late {
                    if killed {
                        self.give_up(index, actions);
                    } else {
                        let patience = self.stop_patience.as_secs();
                        let text = format!("did not exit within {patience} s: killed");
                        actions.extend([Action::Say(Some(index), text), Action::Kill(run)]);
                        self.note_force(index);
                    }
                }
                if killed {
                    self.stop_next(now, actions);
                } else {
                    self.phase = Phase::Stopping { role, until: now + KILL_PATIENCE, killed: true };
                }
            }
            Phase::Killing { until } if now >= until => {
                for index in 0..self.members.len() {
                    if self.members[index].state.run().is_some() {
                        self.give_up(index, actions);
                    }
                }
                self.finish(actions);
            }
            Phase::Stopping { .. } | Phase::Killing { .. } | Phase::Done => {}
        }
    }

    /// Looks for processes that are late, and for those whose pause is over.
    fn check_members(&mut self, now: Instant, actions: &mut Vec<Action>) {
        for index in 0..self.members.len() {
            let member = &mut self.members[index];
            match member.state {
                State::Paused(until) if now >= until => self.start(index, now, actions),
                State::Starting(run, until) if now >= until => {
                    let how = format!("not ready within {} s", READY_PATIENCE.as_secs());
                    if member.was_up {
                        // Its exit will be reported, and then it is restarted.
                        member.state = State::Condemned(run);
                        let text = format!("{how}: killed");
                        actions.extend([Action::Say(Some(index), text), Action::Kill(run)]);
                        continue;
                    }
                    let message = format!("{} was {how}", member.job.name);
                    return self.fail(index, ExitCode::Unavailable, &how, message, now, actions);
                }
                _ => {}
            }
        }
    }

    /// Stops the cluster because the job at `index` could not be started.
    fn fail(
        &mut self,
        index: usize,
        code: ExitCode,
        how: &str,
        message: String,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        self.failure.get_or_insert_with(|| Failure::new(code, message));
        actions.push(Action::Say(Some(index), format!("{how}; stopping the cluster")));
        self.stop_next(now, actions);
    }

    fn runs(&self, role: Role) -> bool {
        let mut of_role = self.members.iter().filter(|member| member.job.role == role);
        of_role.any(|member| member.state.run().is_some())
    }

    /// Asks the next role to stop, or finishes if none is left.
    fn stop_next(&mut self, now: Instant, actions: &mut Vec<Action>) {
        for member in &mut self.members {
            if let State::Paused(_) = member.state {
                member.state = State::Down;
            }
        }
        let Some(role) = Role::STOP_ORDER.into_iter().find(|role| self.runs(*role)) else {
            return self.finish(actions);
        };
        let of_role = self.members.iter().filter(|member| member.job.role == role);
        actions.extend(of_role.filter_map(|member| member.state.run()).map(Action::Terminate));
        self.phase = Phase::Stopping { role, until: now + self.stop_patience, killed: false };
    }

    fn kill_all(&mut self, why: &str, now: Instant, actions: &mut Vec<Action>) {
        actions.push(Action::Say(None, why.into()));
        for index in 0..self.members.len() {
            if let Some(run) = self.members[index].state.run() {
                actions.push(Action::Kill(run));
                self.note_force(index);
            }
        }
        self.phase = Phase::Killing { until: now + KILL_PATIENCE };
    }

    /// A killed process may have lost data: the exit code must show that.
    fn note_force(&mut self, index: usize) {
        let name = &self.members[index].job.name;
        let failure = || Failure::new(ExitCode::Software, format!("{name} had to be killed"));
        self.failure.get_or_insert_with(failure);
    }

    /// Gives up on a process that survives even SIGKILL.
    fn give_up(&mut self, index: usize, actions: &mut Vec<Action>) {
        self.members[index].state = State::Down;
        actions.push(Action::Say(Some(index), "still running after SIGKILL: left behind".into()));
    }

    fn finish(&mut self, actions: &mut Vec<Action>) {
        self.phase = Phase::Done;
        actions.push(Action::Finish(self.failure.take().map_or(Ok(()), Err)));
    }

    /// Reports when all nodes see each other, or which ones do not if that takes long.
    fn look_around(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let all_up = self.members.iter().all(|member| matches!(member.state, State::Up(..)));
        let whole = all_up && self.missing().next().is_none();
        if !std::mem::replace(&mut self.whole, whole) && whole {
            self.complain_at = None;
            self.say_whole(now, actions);
        }
        if self.complain_at.is_some_and(|at| now >= at) {
            self.complain_at = None;
            let missing: Vec<_> = self.missing().collect();
            let more = match missing.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!("; and {more} more"),
            };
            if !missing.is_empty() {
                let named = missing[..missing.len().min(NAMED)].join("; ");
                actions.push(Action::Say(None, format!("still waiting: {named}{more}")));
            }
        }
    }

    fn say_whole(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let nodes = self.members.iter().filter(|member| member.job.role.is_member()).count();
        let nodes = match nodes {
            0 => "only the broker".into(),
            1 => "1 node".into(),
            n => format!("{n} nodes, all see each other"),
        };
        if std::mem::replace(&mut self.was_whole, true) {
            return actions.push(Action::Say(None, format!("cluster is whole again: {nodes}")));
        }
        let seconds = now.duration_since(self.started).as_secs_f64();
        let mut say = |text| actions.push(Action::Say(None, text));
        say(format!("cluster is up: {nodes} ({seconds:.1} s)"));
        if !self.hint.is_empty() {
            say(self.hint.clone());
        }
        for (label, address) in [
            ("metrics", Member::metrics as fn(&Member) -> Option<String>),
            ("WebSocket API", Member::websocket),
            ("live page", Member::live_page),
        ] {
            let of = |member| Some(format!("{} ({})", address(member)?, member.job.name));
            let all: Vec<_> = self.members.iter().filter_map(of).collect();
            if !all.is_empty() {
                say(format!("{label}: {}", all.join(", ")));
            }
        }
    }

    /// The nodes that do not see others, and which ones.
    fn missing(&self) -> impl Iterator<Item = String> {
        let members = || self.members.iter().filter(|member| member.job.role.is_member());
        let misses = move |member: &Member| {
            let others = members().filter(|other| other.job.name != member.job.name);
            let names: Vec<_> = others
                .filter(|other| !member.sees(other))
                .map(|other| other.job.name.as_str())
                .collect();
            let text = || format!("{} does not see {}", member.job.name, names.join(", "));
            (!names.is_empty()).then(text)
        };
        members().filter_map(misses)
    }
}

impl Member {
    /// Where its metrics are.
    fn metrics(&self) -> Option<String> {
        Some(format!("http://{}/metrics", self.here("metrics")?))
    }

    /// Where it offers the WebSocket API.
    fn websocket(&self) -> Option<String> {
        let scheme = if self.job.uses_tls { "wss" } else { "ws" };
        let address = self.here("http")?;
        Some(format!("{scheme}://{address}/v1/messages/json or /v2/messages/json"))
    }

    /// Where its live page is.
    fn live_page(&self) -> Option<String> {
        let scheme = if self.job.uses_tls { "https" } else { "http" };
        Some(format!("{scheme}://{}/", self.here("http")?))
    }

    /// An address of the ready line, as programs on this host reach it.
    fn here(&self, member: &str) -> Option<SocketAddr> {
        let mut address: SocketAddr = self.ready.get(member)?.parse().ok()?;
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        Some(address)
    }

    /// Whether it sees the current process of `other`, rather than an earlier one.
    fn sees(&self, other: &Member) -> bool {
        let id = other.ready.get("id");
        let is_other =
            |peer: &&Peer| peer.name == other.job.name && id.is_none_or(|id| id == peer.id);
        self.seen.iter().any(|peer| is_other(&peer))
    }
}

#[cfg(test)]
mod tests;
