//! Scenarios on a simulated clock: inputs, and the actions expected for them.

use std::os::unix::process::ExitStatusExt;

use super::*;

/// A cluster of a broker, a logger, a manager and two workers.
struct Scenario {
    supervisor: Supervisor,
    now: Instant,
    /// The runs of the jobs, in the order of start.
    runs: Vec<(Run, &'static str)>,
}

const JOBS: [(&str, Role); 5] = [
    ("broker", Role::Broker),
    ("logger", Role::Logger),
    ("manager", Role::Manager),
    ("worker-1", Role::Worker),
    ("worker-2", Role::Worker),
];
const NODES: [&str; 4] = ["logger", "manager", "worker-1", "worker-2"];

impl Scenario {
    fn new(restart: bool) -> Self {
        let job = |(name, role): (&str, Role)| Job {
            name: name.into(),
            role,
            args: Vec::new(),
            uses_tls: name == "worker-1",
        };
        let now = Instant::now();
        let jobs = JOBS.map(job).into();
        let supervisor = Supervisor::new(jobs, restart, STOP_PATIENCE, "hint".into(), now);
        Scenario { supervisor, now, runs: Vec::new() }
    }

    /// With all processes started, and up if `up`.
    fn begun(restart: bool, up: bool) -> Self {
        let mut scenario = Self::new(restart);
        assert_eq!(scenario.begin(), ["start broker"]);
        let all = ["start logger", "start manager", "start worker-1", "start worker-2"];
        assert_eq!(scenario.ready("broker"), all);
        if up {
            for name in NODES {
                assert!(scenario.ready(name).is_empty());
            }
            for name in NODES {
                for other in NODES.into_iter().filter(|other| *other != name) {
                    scenario.sees(name, other);
                }
            }
            assert!(scenario.supervisor.whole);
        }
        scenario
    }

    fn begin(&mut self) -> Vec<String> {
        let actions = self.supervisor.begin(self.now);
        self.note(actions)
    }

    fn feed(&mut self, input: Input) -> Vec<String> {
        let actions = self.supervisor.handle(input, self.now);
        self.note(actions)
    }

    fn pass(&mut self, time: Duration) -> Vec<String> {
        self.now += time;
        self.feed(Input::Tick)
    }

    fn ready(&mut self, name: &str) -> Vec<String> {
        self.ready_at(name, "metrics", Some("[::1]:9"))
    }

    /// Ready, with an address in its ready line.
    fn ready_at(&mut self, name: &str, member: &str, address: Option<&str>) -> Vec<String> {
        let run = self.run(name);
        let line = serde_json::json!({ "id": format!("{name}_{run}"), member: address });
        let members = line.as_object().unwrap().clone();
        self.feed(Input::Ready(run, Ready { members }))
    }

    fn peer(&self, name: &str) -> Peer {
        Peer { name: name.into(), id: format!("{name}_{}", self.run(name)) }
    }

    fn sees(&mut self, name: &str, other: &str) -> Vec<String> {
        self.feed(Input::NodeUp(self.run(name), self.peer(other)))
    }

    /// Ends a process with a wait status in the kernel's format.
    fn end(&mut self, name: &str, status: i32) -> Vec<String> {
        let status = ExitStatus::from_raw(status);
        self.feed(Input::Ended(self.run(name), End::Exited(status, Some("last words".into()))))
    }

    fn run(&self, name: &str) -> Run {
        self.runs.iter().rev().find(|(_, job)| *job == name).unwrap().0
    }

    /// Actions as text, for comparison.
    fn note(&mut self, actions: Vec<Action>) -> Vec<String> {
        let mut note = |action| match action {
            Action::Start(index, run) => {
                self.runs.push((run, JOBS[index].0));
                format!("start {}", JOBS[index].0)
            }
            Action::Terminate(run) => format!("term {}", self.name(run)),
            Action::Hangup(run) => format!("hangup {}", self.name(run)),
            Action::Kill(run) => format!("kill {}", self.name(run)),
            Action::Say(Some(index), text) => format!("{}: {text}", JOBS[index].0),
            Action::Say(None, text) => text,
            Action::Finish(Ok(())) => "finish".into(),
            Action::Finish(Err(failure)) => {
                format!("finish {}: {}", failure.code.code(), failure.message)
            }
        };
        actions.into_iter().map(&mut note).collect()
    }

    fn name(&self, run: Run) -> &'static str {
        self.runs.iter().find(|(known, _)| *known == run).unwrap().1
    }
}

const STOP_PATIENCE: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);
const SIGKILL: i32 = 9;
/// Wait statuses of processes that exited by themselves.
const fn exit(code: i32) -> i32 {
    code << 8
}

#[test]
fn the_cluster_is_up_when_all_see_one_another() {
    let mut scenario = Scenario::begun(true, false);
    scenario.now += SECOND;
    for name in NODES {
        assert!(scenario.ready(name).is_empty());
        for other in NODES.into_iter().filter(|other| *other != name && name != "worker-2") {
            if scenario.runs.iter().any(|(_, name)| *name == other) {
                scenario.sees(name, other);
            }
        }
    }
    assert!(scenario.sees("worker-2", "logger").is_empty());
    assert!(scenario.sees("worker-2", "manager").is_empty());
    // An earlier process of that node does not count.
    let old = Peer { name: "worker-1".into(), id: "worker-1_0".into() };
    assert!(scenario.feed(Input::NodeUp(scenario.run("worker-2"), old)).is_empty());
    assert_eq!(scenario.pass(MEETING_PATIENCE), ["still waiting: worker-2 does not see worker-1"]);
    let said = scenario.sees("worker-2", "worker-1");
    assert_eq!(said[..2], ["cluster is up: 4 nodes, all see each other (16.0 s)", "hint"]);
    assert!(said[2].starts_with("metrics: http://[::1]:9/metrics (broker), http://"));
    assert_eq!(scenario.supervisor.deadline(), None);
}

#[test]
fn the_api_and_the_page_are_shown_where_they_can_be_opened() {
    let mut scenario = Scenario::begun(true, false);
    for (name, address) in
        [("logger", None), ("manager", Some("0.0.0.0:27759")), ("worker-1", Some("[::]:2"))]
    {
        scenario.ready_at(name, "http", address);
    }
    scenario.ready_at("worker-2", "http", Some("192.0.2.1:3"));
    let mut said = Vec::new();
    for name in NODES {
        for other in NODES.into_iter().filter(|other| *other != name) {
            said = scenario.sees(name, other);
        }
    }
    assert_eq!(
        said[2..],
        [
            "metrics: http://[::1]:9/metrics (broker)",
            "WebSocket API: ws://127.0.0.1:27759/v1/messages/json or /v2/messages/json (manager), \
             wss://[::1]:2/v1/messages/json or /v2/messages/json (worker-1), \
             ws://192.0.2.1:3/v1/messages/json or /v2/messages/json (worker-2)",
            "live page: http://127.0.0.1:27759/ (manager), https://[::1]:2/ (worker-1), \
             http://192.0.2.1:3/ (worker-2)",
        ]
    );
}

#[test]
fn stops_role_by_role() {
    let mut scenario = Scenario::begun(true, true);
    assert_eq!(
        scenario.feed(Input::Stop),
        ["stopping; again to kill", "term worker-1", "term worker-2"]
    );
    assert_eq!(scenario.end("worker-2", 0), ["worker-2: stopped"]);
    assert_eq!(scenario.end("worker-1", 0), ["worker-1: stopped", "term manager"]);
    assert_eq!(
        scenario.end("manager", exit(70)),
        ["manager: stopped (exit status: 70)", "term logger"]
    );
    assert_eq!(scenario.end("logger", 0), ["logger: stopped", "term broker"]);
    assert_eq!(scenario.end("broker", 0), ["broker: stopped", "finish"]);
}

#[test]
fn whoever_does_not_stop_is_killed() {
    let mut scenario = Scenario::begun(true, true);
    scenario.feed(Input::Stop);
    scenario.end("worker-1", 0);
    assert_eq!(scenario.supervisor.deadline(), Some(scenario.now + STOP_PATIENCE));
    assert_eq!(
        scenario.pass(STOP_PATIENCE),
        ["worker-2: did not exit within 10 s: killed", "kill worker-2"]
    );
    assert_eq!(
        scenario.end("worker-2", SIGKILL),
        ["worker-2: stopped (signal: 9 (SIGKILL))", "term manager"]
    );
    // SIGKILL may not help; the others still stop in order.
    scenario.pass(STOP_PATIENCE);
    assert_eq!(
        scenario.pass(KILL_PATIENCE),
        ["manager: still running after SIGKILL: left behind", "term logger"]
    );
    scenario.end("logger", 0);
    let end = scenario.end("broker", 0);
    assert_eq!(end[1], "finish 70: worker-2 had to be killed");
}

#[test]
fn the_second_signal_kills_all() {
    let mut scenario = Scenario::begun(true, true);
    scenario.feed(Input::Stop);
    let killed = scenario.feed(Input::Stop);
    assert_eq!(killed[0], "asked twice: killing the remaining processes");
    assert_eq!(killed.len(), 6);
    assert!(scenario.feed(Input::Stop).is_empty());
    for name in NODES {
        assert!(scenario.end(name, SIGKILL).is_empty());
    }
    assert_eq!(scenario.pass(KILL_PATIENCE).len(), 2);
}

#[test]
fn an_end_before_being_up_is_the_end_of_all() {
    let mut scenario = Scenario::begun(true, false);
    scenario.ready("logger");
    assert_eq!(
        scenario.end("worker-1", exit(78)),
        [
            "worker-1: exited (exit status: 78), its last line: last words; stopping the cluster",
            "term worker-2"
        ]
    );
    for name in ["worker-2", "manager", "logger"] {
        scenario.end(name, 15);
    }
    assert_eq!(
        scenario.end("broker", 0)[1],
        "finish 78: startup failed: worker-1 exited (exit status: 78), its last line: last words"
    );
}

#[test]
fn a_broker_that_does_not_come_up() {
    let ends = [
        (End::NotStarted("no memory".into()), "cannot be started: no memory"),
        (
            End::Exited(ExitStatus::from_raw(exit(69)), Some("port taken".into())),
            "exited (exit status: 69), its last line: port taken",
        ),
    ];
    for (end, how) in ends {
        let mut scenario = Scenario::new(true);
        scenario.begin();
        let run = scenario.run("broker");
        assert_eq!(
            scenario.feed(Input::Ended(run, end)),
            [
                format!("broker: {how}; stopping the cluster"),
                format!("finish 69: startup failed: broker {how}")
            ]
        );
    }
    let mut scenario = Scenario::new(true);
    scenario.begin();
    assert_eq!(scenario.supervisor.deadline(), Some(scenario.now + READY_PATIENCE));
    assert_eq!(
        scenario.pass(READY_PATIENCE),
        ["broker: not ready within 10 s; stopping the cluster", "term broker"]
    );
    assert_eq!(scenario.end("broker", 15)[1], "finish 69: broker was not ready within 10 s");
}

#[test]
fn who_ends_later_is_started_again_with_growing_pauses() {
    let mut scenario = Scenario::begun(true, true);
    assert_eq!(
        scenario.end("manager", SIGKILL),
        ["manager: exited (signal: 9 (SIGKILL)), its last line: last words; restarting in 1 s"]
    );
    assert_eq!(scenario.pass(SECOND), ["start manager"]);
    assert_eq!(scenario.ready("manager"), ["manager: restarted"]);
    for (i, name) in ["logger", "worker-1", "worker-2"].into_iter().enumerate() {
        scenario.sees("manager", name);
        let said = scenario.sees(name, "manager");
        let whole = ["cluster is whole again: 4 nodes, all see each other"];
        assert_eq!(said, whole[..usize::from(i == 2)]);
    }
    for pause in [2, 4, 8, 16, 30, 30] {
        let said = scenario.end("manager", 0);
        assert!(said[0].ends_with(&format!("restarting in {pause} s")), "{said:?}");
        assert!(scenario.pass(SECOND * (pause - 1)).is_empty());
        assert_eq!(scenario.pass(SECOND), ["start manager"]);
        // An exit before it is ready is handled the same way the second time.
    }
    // So is a process that hangs.
    let said = scenario.pass(READY_PATIENCE);
    assert_eq!(said, ["manager: not ready within 10 s: killed", "kill manager"]);
    assert!(scenario.end("manager", SIGKILL)[0].ends_with("restarting in 30 s"));
    scenario.pass(LONGEST_PAUSE);
    scenario.ready("manager");
    scenario.pass(STEADY_AFTER);
    assert!(scenario.end("manager", SIGKILL)[0].ends_with("restarting in 1 s"));

    // A process that is waiting for its restart does not delay the stop.
    let said = scenario.feed(Input::Stop);
    assert_eq!(said[1..], ["term worker-1", "term worker-2"]);
    scenario.end("worker-1", 0);
    assert_eq!(scenario.end("worker-2", 0)[1], "term logger");
}

#[test]
fn without_restarts_the_rest_goes_on() {
    let mut scenario = Scenario::begun(false, true);
    let exited = |name: &str| format!("{name}: exited (exit status: 1), its last line: last words");
    for name in ["broker", "logger", "manager", "worker-1"] {
        assert_eq!(scenario.end(name, exit(1)), [exited(name)]);
        assert_eq!(scenario.supervisor.deadline(), None);
    }
    assert_eq!(
        scenario.end("worker-2", exit(1)),
        [exited("worker-2"), "finish 69: every process has exited".into()]
    );
}

#[test]
fn what_comes_from_an_earlier_start_is_ignored() {
    let mut scenario = Scenario::begun(true, true);
    let old = scenario.run("worker-1");
    scenario.end("worker-1", SIGKILL);
    scenario.pass(SECOND);
    for input in [
        Input::Ready(old, Ready::default()),
        Input::NodeUp(old, scenario.peer("manager")),
        Input::NodeDown(old, scenario.peer("manager")),
        Input::Ended(old, End::NotStarted(String::new())),
    ] {
        assert!(scenario.feed(input).is_empty());
    }
    assert_eq!(scenario.ready("worker-1"), ["worker-1: restarted"]);
}

#[test]
fn a_hangup_reaches_who_is_up_and_the_others_once_they_are() {
    let mut scenario = Scenario::begun(true, false);
    assert!(scenario.ready("worker-1").is_empty());
    assert_eq!(
        scenario.feed(Input::Hangup),
        ["SIGHUP: sent to all processes", "hangup broker", "hangup worker-1"]
    );
    assert_eq!(scenario.ready("logger"), ["hangup logger"]);
    scenario.feed(Input::Stop);
    assert!(scenario.feed(Input::Hangup).is_empty());
}
