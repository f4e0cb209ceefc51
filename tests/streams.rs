//! Standard output and error that cannot be written: daemons keep running, and commands report it.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::fs::File;
use std::process::{Command, Stdio};

use support::{Cluster, Process, binary, command, wait_for};

const NODES: &[(&str, &str)] =
    &[("manager", "manager"), ("logger-1", "logger"), ("worker-1", "worker")];

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

/// A pipe without a reader.
fn gone() -> Stdio {
    std::io::pipe().unwrap().1.into()
}

type Broken = fn() -> Stdio;

/// The ways in which writing to a stream can fail.
const BROKEN: [(&str, Broken); 2] = [("full", full), ("gone", gone)];

const SCRIPT: &str = "redef Cluster::nodes = {\n[\"logger\"] = [$node_type=Cluster::LOGGER, \
    $ip=127.0.0.1, $p=5560/tcp],\n};\n";

fn commands(cluster: &Cluster) -> Vec<Command> {
    let layout = cluster.layout_arg();
    let all: [(&str, &[&str]); 11] = [
        ("zcluster", &["layout", "check", layout]),
        ("zcluster", &["layout", "export", layout]),
        ("zcluster", &["layout", "import", "layout.zeek"]),
        ("zcluster", &["keygen"]),
        ("zcluster", &["keys", "list", "--layout", layout]),
        ("zcluster", &["--help"]),
        ("zcluster", &["--version"]),
        ("zcluster-logger", &["--layout", layout, "--node", "logger-1", "--check"]),
        ("zcluster-logger", &["--help"]),
        ("zcluster-node", &["--version"]),
        ("zcluster-broker", &["--help"]),
    ];
    let build = |(program, args): (&str, &[&str])| {
        let mut command = command(program);
        command.args(args).current_dir(cluster.dir.path()).stdin(Stdio::null());
        command
    };
    std::fs::write(cluster.dir.path().join("layout.zeek"), SCRIPT).unwrap();
    all.into_iter().map(build).collect()
}

#[test]
fn commands_say_that_they_cannot_write() {
    let cluster = Cluster::new(NODES, "");
    for (what, broken) in BROKEN {
        for mut command in commands(&cluster) {
            let output = command.stdout(broken()).stderr(Stdio::piped()).output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(74), "{what}: {command:?}\n{stderr}");
            assert!(stderr.contains("cannot write"), "{what}: {command:?}: {stderr}");
        }
    }
}

#[test]
fn nothing_panics_where_neither_stream_can_be_written() {
    let cluster = Cluster::new(NODES, "");
    for (what, broken) in BROKEN {
        for mut command in commands(&cluster) {
            let status = command.stdout(broken()).stderr(broken()).status().unwrap();
            assert_eq!(status.code(), Some(74), "{what}: {command:?}");
        }
        // Other errors keep their exit codes.
        for (program, args, code) in [
            ("zcluster", &["layout", "check", "no-such-file"][..], 74),
            ("zcluster", &["up", "--layout", "no-such-file"], 74),
            ("zcluster", &["no-such-command"], 64),
            ("zcluster-broker", &["--no-such-option"], 64),
            ("zcluster-node", &["--layout", "no-such-file"], 74),
        ] {
            let mut command = Command::new(binary(program));
            let status = command.args(args).stdout(broken()).stderr(broken()).status().unwrap();
            assert_eq!(status.code(), Some(code), "{what}: {command:?}");
        }
    }
}

#[test]
fn a_reader_that_has_had_enough_is_no_error() {
    let zcluster = binary("zcluster");
    let script = format!("set -o pipefail; {} --help | head -n 1", zcluster.display());
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn daemons_go_on() {
    for (program, node) in [
        ("zcluster-broker", "broker"),
        ("zcluster-logger", "logger-1"),
        ("zcluster-node", "worker-1"),
    ] {
        for (what, broken) in BROKEN {
            let cluster = Cluster::new(NODES, "");
            let args = ["--layout", cluster.layout_arg(), "--node", node];
            let mut child = command(program)
                .args(args)
                .stdin(Stdio::null())
                .stdout(broken())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines =
                std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
            let line = lines.find(|line| line.as_ref().unwrap().contains("cannot write to stdout"));
            assert!(line.is_some(), "{program} {what}");
            assert!(child.try_wait().unwrap().is_none(), "{program} {what} has ended");
            let pid = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
            for _ in lines {}
            let status = wait_for("its end", || child.try_wait().unwrap());
            assert_eq!(status.code(), Some(0), "{program} {what}");
        }
    }
}

#[test]
fn closed_streams_are_not_taken_over_by_files_that_are_opened_later() {
    let cluster = Cluster::new(NODES, "");
    let program = binary("zcluster-logger");
    let layout = cluster.layout_arg();
    let script =
        format!("exec {} --layout {layout} --node logger-1 <&- >&- 2>&-", program.display());
    let mut shell = Process::spawn_command("logger-1", Command::new("sh").args(["-c", &script]));
    let lock = cluster.log_dir("logger-1").join(".lock");
    wait_for("the logger to start", || lock.exists().then_some(()));
    for fd in 0..3 {
        let target = std::fs::read_link(format!("/proc/{}/fd/{fd}", shell.pid())).unwrap();
        assert_eq!(target.to_str(), Some("/dev/null"));
    }
    shell.stop();
}
