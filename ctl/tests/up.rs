//! `zcluster up` with fake processes: shell scripts that print what a daemon prints, and record
//! their start and stop in a file.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reads the name of its node from `--node`, and additional behaviour from `<name>.sh`. `trace`
/// gets `start NAME PID` once the process can be stopped, and `stop NAME PID`.
const DAEMON: &str = r#"#!/bin/sh
dir=$(dirname "$0")
name=broker
while [ $# -gt 0 ]; do
    case $1 in
        --node) name=$2 ;;
        --demo) echo "demo $name" >> "$dir/trace" ;;
    esac
    shift
done
ready='"metrics":"127.0.0.1:1"'
between() { :; }
idle() { sleep 0.1 > /dev/null 2>&1 & wait $!; }
trap 'echo "stop $name $$" >> "$dir/trace"; exit 0' TERM
if [ -e "$dir/$name.sh" ]; then . "$dir/$name.sh"; fi
echo "start $name $$" >> "$dir/trace"
between
echo "{\"ready\":{\"node\":\"$name\",\"id\":\"id-$name-$$\",$ready}}"
echo "$name speaks" >&2
sent=
while :; do
    # The processes that run now.
    while read -r what who pid; do
        [ "$what $who" = "start $name" ] && continue
        case "$what $sent" in
            start*" $who-$pid "*) ;;
            start*)
                sent="$sent $who-$pid "
                echo "{\"time\":1.5,\"node_up\":{\"name\":\"$who\",\"id\":\"id-$who-$pid\"}}"
                ;;
        esac
    done < "$dir/trace"
    idle
done
"#;

const LAYOUT: &str = r#"
[zeromq]
listen_xsub_endpoint = "tcp://127.0.0.1:0"

[nodes.control]
node_type = "control"
ip = "127.0.0.1"

[nodes.logger-1]
node_type = "logger"
ip = "127.0.0.1"
port = 5560

[nodes.manager]
node_type = "manager"
ip = "127.0.0.1"

[nodes.proxy-1]
node_type = "proxy"
ip = "127.0.0.1"
manager = "manager"

[nodes.worker-1]
node_type = "worker"
ip = "127.0.0.1"
manager = "manager"
"#;

/// A folder with the programs of a cluster and its layout.
struct Setup {
    folder: TempDir,
}

impl Setup {
    fn new() -> Self {
        let setup = Setup { folder: TempDir::new().unwrap() };
        for program in ["zcluster-broker", "zcluster-logger", "zcluster-node"] {
            setup.write(program, DAEMON);
            let executable = fs::Permissions::from_mode(0o755);
            fs::set_permissions(setup.path().join(program), executable).unwrap();
        }
        setup.write("layout.toml", LAYOUT);
        setup.write("trace", "");
        setup
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    /// Gives a node its own behaviour.
    fn script(self, name: &str, text: &str) -> Self {
        self.write(&format!("{name}.sh"), text);
        self
    }

    /// The words and names of `trace`, and the process ids.
    fn trace(&self) -> Vec<(String, Pid)> {
        let text = fs::read_to_string(self.path().join("trace")).unwrap();
        let entry = |line: &str| {
            let (what, pid) = line.rsplit_once(' ')?;
            Some((what.to_owned(), Pid::from_raw(pid.parse().ok()?).unwrap()))
        };
        text.lines().filter_map(entry).collect()
    }

    fn traced(&self, word: &str) -> Vec<String> {
        let name = |(what, _): &(String, Pid)| what.strip_prefix(word).map(|n| n.trim().to_owned());
        self.trace().iter().filter_map(name).collect()
    }

    fn pid(&self, name: &str) -> Pid {
        let start = format!("start {name}");
        self.trace().into_iter().rev().find(|(what, _)| *what == start).unwrap().1
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zcluster"));
        command.arg("up").args(args).arg("--bin-dir").arg(self.path());
        command.arg("--layout").arg(self.path().join("layout.toml"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn up(&self, args: &[&str]) -> Up {
        Up::start(&mut self.command(args))
    }

    /// No process that recorded its start is still running.
    fn assert_nothing_left(&self) {
        for (what, pid) in self.trace() {
            assert!(test_kill_process(pid).is_err(), "{what} {pid:?} is still there");
        }
    }
}

/// A running `zcluster up`; it ends when dropped.
struct Up {
    child: Child,
    lines: Option<Receiver<String>>,
    stderr: ChildStderr,
    /// Every line so far.
    seen: Vec<String>,
}

impl Up {
    fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let (send, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            // Ends, and closes the pipe, when the test stops reading.
            for line in stdout.lines() {
                if send.send(line.unwrap()).is_err() {
                    return;
                }
            }
        });
        let stderr = child.stderr.take().unwrap();
        Up { child, lines: Some(lines), stderr, seen: Vec::new() }
    }

    /// The first line that contains `text`, even an earlier one: the order of lines from two
    /// outputs is undefined.
    fn wait_for(&mut self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        if let Some(line) = self.seen.iter().find(|line| line.contains(text)) {
            return line.clone();
        }
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.as_ref().unwrap().recv_timeout(left) else {
                panic!("no line with {text:?} in\n{}", self.seen.join("\n"));
            };
            self.seen.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Its exit status and its stderr.
    fn end(&mut self) -> (ExitStatus, String) {
        let until = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "still runs after\n{}", self.seen.join("\n"));
            thread::sleep(Duration::from_millis(10));
        }
        let stderr = std::io::read_to_string(&mut self.stderr).unwrap();
        self.seen.extend(self.lines.take().into_iter().flatten());
        (self.child.wait().unwrap(), stderr)
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // It only still runs if a test fails.
        kill(&mut self.child);
    }
}

/// Sends signals until it has exited: the second means at once, but two that arrive together may
/// count as one.
fn kill(child: &mut Child) {
    let until = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < until, "does not heed signals");
        kill_process(Pid::from_child(child), Signal::TERM).unwrap();
        thread::sleep(Duration::from_millis(50));
    }
}

const UP: &str = "cluster is up: 4 nodes, all see each other";

#[test]
fn starts_and_stops_in_order() {
    let gateway = r#"ready="$ready,\"http\":\"127.0.0.1:2\"""#;
    let setup = Setup::new().script("manager", gateway);
    let mut up = setup.up(&["--demo"]);
    up.wait_for(UP);
    up.wait_for("logs: tail -f logs/*/*.log");
    up.wait_for("http://127.0.0.1:1/metrics (worker-1)");
    up.wait_for("WebSocket API: ws://127.0.0.1:2/v1/messages/json or /v2/messages/json (manager)");
    up.wait_for("live page: http://127.0.0.1:2/ (manager)");
    let seen = |line: &str| up.seen.iter().any(|seen| seen.starts_with(line));
    assert!(seen("worker-1 | up: id=id-worker-1-"), "{:?}", up.seen);
    assert!(seen("manager  | sees worker-1"), "{:?}", up.seen);
    assert!(seen("broker   | broker speaks"), "{:?}", up.seen);
    assert_eq!(setup.traced("start ")[0], "broker");
    let trace = fs::read_to_string(setup.path().join("trace")).unwrap();
    assert_eq!(trace.matches("demo ").count(), 1);
    assert!(trace.contains("demo worker-1"));

    up.signal(Signal::INT);
    let (status, stderr) = up.end();
    assert_eq!((status.code(), stderr.as_str()), (Some(0), ""), "{:?}", up.seen);
    assert_eq!(
        setup.traced("stop "),
        ["worker-1", "proxy-1", "manager", "control", "logger-1", "broker"]
    );
    setup.assert_nothing_left();
}

#[test]
fn the_node_that_the_shell_names_is_not_that_of_every_process() {
    let tell = r#"echo "named ${CLUSTER_NODE-nobody}." >&2"#;
    let setup = Setup::new().script("broker", tell).script("worker-1", tell);
    let mut command = setup.command(&["worker-1", "--no-color"]);
    command.env("CLUSTER_NODE", "manager");
    let mut up = Up::start(&mut command);
    up.wait_for("broker   | named nobody.");
    up.wait_for("worker-1 | named nobody.");
    up.signal(Signal::INT);
    assert_eq!(up.end().0.code(), Some(0));
}

#[test]
fn nobody_starts_before_the_broker_is_ready_and_all_learn_its_port() {
    let broker = r#"
        ready='"xsub":"tcp://127.0.0.1:7007","xpub":"tcp://127.0.0.1:5555"'
        between() { until [ -e "$dir/go" ]; do idle; done; }
    "#;
    let port = r#"echo "port $ZEEK_CLUSTER_BACKEND_ZEROMQ_XSUB_PORT." >&2
        echo "other ${ZEEK_CLUSTER_BACKEND_ZEROMQ_XPUB_PORT-unset}." >&2"#;
    let setup = Setup::new().script("broker", broker).script("worker-1", port);
    let mut up = setup.up(&["worker-1", "--no-color"]);
    let until = Instant::now() + PATIENCE;
    while setup.traced("start ").is_empty() {
        assert!(Instant::now() < until);
        thread::yield_now();
    }
    assert_eq!(setup.traced("start "), ["broker"]);
    setup.write("go", "");
    up.wait_for("worker-1 | port 7007.");
    up.wait_for("worker-1 | other unset.");
    up.wait_for("cluster is up: 1 node (");
    assert_eq!(setup.traced("start "), ["broker", "worker-1"]);
    up.signal(Signal::TERM);
    assert_eq!(up.end().0.code(), Some(0));
    setup.assert_nothing_left();
}

#[test]
fn a_crash_before_the_ready_line_ends_all() {
    // Once the other processes can be stopped.
    let crash = |code| {
        format!(
            "until [ $(grep -c start \"$dir/trace\") -ge 5 ]; do idle; done
             echo warming up >&2; echo no such interface >&2; exit {code}"
        )
    };
    for (code, expected) in [(78, 78), (1, 69)] {
        let setup = Setup::new().script("worker-1", &crash(code));
        let mut up = setup.up(&[]);
        let (status, stderr) = up.end();
        assert_eq!(status.code(), Some(expected), "{:?}", up.seen);
        let text =
            format!("worker-1 exited (exit status: {code}), its last line: no such interface");
        assert_eq!(stderr, format!("zcluster: startup failed: {text}\n"));
        assert_eq!(
            setup.traced("stop "),
            ["proxy-1", "manager", "control", "logger-1", "broker"],
            "{:?}",
            up.seen
        );
        setup.assert_nothing_left();
    }
}

#[test]
fn who_is_killed_is_started_again() {
    let setup = Setup::new();
    let mut up = setup.up(&[]);
    up.wait_for(UP);
    let killed = setup.pid("worker-1");
    kill_process(killed, Signal::KILL).unwrap();
    let line =
        up.wait_for("worker-1 * exited (signal: 9 (SIGKILL)), its last line: worker-1 speaks");
    assert!(line.ends_with("restarting in 1 s"), "{line}");
    up.wait_for("worker-1 * restarted");
    up.wait_for("cluster is whole again");
    assert_ne!(setup.pid("worker-1"), killed);
    up.signal(Signal::TERM);
    assert_eq!(up.end().0.code(), Some(0));
    setup.assert_nothing_left();
}

#[test]
fn no_restart() {
    let setup = Setup::new();
    let mut up = setup.up(&["--no-restart", "manager"]);
    up.wait_for("cluster is up");
    kill_process(setup.pid("manager"), Signal::KILL).unwrap();
    up.wait_for("manager  * exited (signal: 9 (SIGKILL)), its last line: manager speaks");
    kill_process(setup.pid("broker"), Signal::TERM).unwrap();
    let (status, stderr) = up.end();
    assert_eq!(status.code(), Some(69));
    assert_eq!(stderr, "zcluster: every process has exited\n");
    setup.assert_nothing_left();
}

#[test]
fn a_second_signal_kills() {
    let setup = Setup::new().script("worker-1", "trap '' TERM");
    let mut up = setup.up(&[]);
    up.wait_for(UP);
    up.signal(Signal::INT);
    up.wait_for("stopping");
    up.signal(Signal::TERM);
    let (status, stderr) = up.end();
    assert_eq!(status.code(), Some(70), "{stderr}");
    assert!(setup.traced("stop ").is_empty());
    setup.assert_nothing_left();
}

#[test]
fn a_reader_that_goes_away_is_no_reason_to_stop_the_cluster() {
    let talk = "idle() { echo tick; sleep 0.01; }";
    let setup = Setup::new().script("worker-1", talk);
    let mut up = setup.up(&[]);
    up.wait_for(UP);
    up.lines = None;
    let mut said = String::new();
    let mut stderr = BufReader::new(&mut up.stderr);
    stderr.read_line(&mut said).unwrap();
    assert_eq!(said, "zcluster: cannot write to stdout: Broken pipe (os error 32); continuing\n");
    assert!(up.child.try_wait().unwrap().is_none());
    up.signal(Signal::TERM);
    assert_eq!(up.end().0.code(), Some(0));
    assert_eq!(setup.traced("stop ").len(), 6);
    setup.assert_nothing_left();
}

#[test]
fn a_reader_that_does_not_read_holds_up_nothing() {
    let flood = "idle() { :; }; between() { yes | tr -d '\\n' | head -c 300000; yes & }";
    let setup = Setup::new().script("manager", flood);
    // Nothing reads this pipe.
    let mut child = setup.command(&[]).spawn().unwrap();
    let until = Instant::now() + PATIENCE;
    while setup.traced("start ").len() < 6 {
        assert!(Instant::now() < until);
        thread::sleep(Duration::from_millis(10));
    }
    kill(&mut child);
    setup.assert_nothing_left();
}

#[test]
fn what_cannot_be_started_is_told_in_a_line() {
    let setup = Setup::new();
    let run = |args: &[&str]| {
        let output = setup.command(args).env("PATH", "").output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, stderr) = run(&["worker-7"]);
    assert_eq!(code, Some(78));
    assert!(stderr.starts_with("zcluster: 'worker-7' is not a node of "), "{stderr}");

    setup.write("layout.toml", &LAYOUT.replace("5560", "0"));
    let (code, stderr) = run(&[]);
    assert_eq!(code, Some(78));
    assert!(stderr.starts_with("zcluster: node 'logger-1' receives logs at port 0"), "{stderr}");
}

#[test]
fn a_full_disk_under_the_output_is_no_reason_to_stop_the_cluster() {
    let setup = Setup::new();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut child = setup.command(&[]).stdout(full).spawn().unwrap();
    let until = Instant::now() + PATIENCE;
    while setup.traced("start ").len() < 6 {
        assert!(Instant::now() < until && child.try_wait().unwrap().is_none());
        thread::sleep(Duration::from_millis(10));
    }
    kill(&mut child);
    let said = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
    assert!(said.starts_with("zcluster: cannot write to stdout: No space left"), "{said}");
    setup.assert_nothing_left();
}

#[test]
fn signals_are_taken_before_the_layout_is_read() {
    // Opening the other end of the pipe shows that it is being read.
    let setup = Setup::new();
    let layout = setup.path().join("layout.toml");
    let text = fs::read_to_string(&layout).unwrap();
    fs::remove_file(&layout).unwrap();
    assert!(Command::new("mkfifo").arg(&layout).status().unwrap().success());
    let mut up = setup.up(&[]);
    let mut pipe = fs::File::options().write(true).open(&layout).unwrap();
    up.signal(Signal::TERM);
    // The rest of the layout is written once the signal has arrived; nothing is started then.
    let mask = || fs::read_to_string(format!("/proc/{}/status", up.child.id())).unwrap();
    let until = Instant::now() + PATIENCE;
    let is_taken = |status: String| {
        let pending = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            u64::from_str_radix(line.trim(), 16).unwrap()
        };
        pending("SigPnd:") | pending("ShdPnd:") == 0
    };
    while !is_taken(mask()) {
        assert!(Instant::now() < until);
    }
    std::io::Write::write_all(&mut pipe, text.as_bytes()).unwrap();
    drop(pipe);
    assert_eq!(up.end().0.code(), Some(0), "{:?}", up.seen);
    setup.assert_nothing_left();
}

#[test]
fn a_wrong_rust_log_is_told_once_and_daemons_get_what_is_right() {
    for (value, told, handed_on) in [
        (None, None, "warn"),
        (Some("debug"), None, "debug"),
        (Some("debgu"), Some("did you mean debug?"), "warn"),
        (Some("info,zclustr=debug"), Some("no module is called \"zclustr\";"), "info"),
    ] {
        let script = "echo \"$RUST_LOG\" > \"$dir/$name.filter\"";
        let setup = Setup::new().script("broker", script).script("worker-1", script);
        let mut command = setup.command(&["worker-1"]);
        command.env_remove("RUST_LOG").envs(value.map(|value| ("RUST_LOG", value)));
        let mut up = Up::start(&mut command);
        up.wait_for("cluster is up");
        up.signal(Signal::TERM);
        let (status, stderr) = up.end();
        assert_eq!(status.code(), Some(0), "{stderr}");
        let lines: Vec<&str> = stderr.lines().collect();
        assert_eq!(lines.len(), usize::from(told.is_some()), "{stderr}");
        if let Some(told) = told {
            assert!(lines[0].starts_with("zcluster: RUST_LOG=") && lines[0].contains(told));
        }
        for name in ["broker", "worker-1"] {
            let filter = fs::read_to_string(setup.path().join(format!("{name}.filter"))).unwrap();
            assert_eq!(filter.trim(), handed_on, "{value:?}");
        }
    }
}
