//! Starting daemons: signals that arrive before they are ready, directories in use by another
//! process, time zones.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use rustix::process::Signal;
use support::{Cluster, Process, command, run_to_end, wait_for};

const NODES: &[(&str, &str)] =
    &[("manager", "manager"), ("logger-1", "logger"), ("worker-1", "worker")];

/// A logger, a node and the broker: program and node name.
const DAEMONS: [(&str, &str); 3] =
    [("zcluster-logger", "logger-1"), ("zcluster-node", "worker-1"), ("zcluster-broker", "broker")];

/// Starts a daemon whose layout is a pipe. Returns once the daemon has opened the pipe.
fn start_at_a_pipe(cluster: &Cluster, program: &str, node: &str) -> (Process, File, String) {
    let text = fs::read_to_string(&cluster.layout).unwrap();
    fs::remove_file(&cluster.layout).unwrap();
    let mkfifo = std::process::Command::new("mkfifo").arg(&cluster.layout).status().unwrap();
    assert!(mkfifo.success());
    let args = ["--layout", cluster.layout_arg(), "--node", node];
    let process = Process::spawn(node, program, &args);
    // Blocks until there is a reader.
    let pipe = File::options().write(true).open(&cluster.layout).unwrap();
    (process, pipe, text)
}

/// Waits until the kernel has delivered all signals.
fn wait_delivered(process: &Process) {
    wait_for("a signal to be delivered", || {
        let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).ok()?;
        let pending = |key| status.lines().find_map(|line: &str| line.strip_prefix(key));
        let none = |key| pending(key).is_some_and(|set| set.trim().bytes().all(|b| b == b'0'));
        (none("SigPnd:") && none("ShdPnd:")).then_some(())
    });
}

#[test]
fn a_request_to_stop_while_the_layout_is_read_is_a_clean_end() {
    for (program, node) in DAEMONS {
        for signal in [Signal::TERM, Signal::INT] {
            let cluster = Cluster::new(NODES, "");
            let (mut process, _pipe, _) = start_at_a_pipe(&cluster, program, node);
            process.signal(signal);
            assert_eq!(process.wait().code(), Some(0), "{program} {signal:?}");
            assert!(process.remaining_lines().is_empty(), "{program} was ready");
        }
    }
}

#[test]
fn a_hangup_while_the_layout_is_read_is_acted_upon_later() {
    for (program, node) in DAEMONS {
        let cluster = Cluster::new(NODES, "");
        let (mut process, mut pipe, text) = start_at_a_pipe(&cluster, program, node);
        process.signal(Signal::HUP);
        wait_delivered(&process);
        // The reload reads a regular file.
        fs::remove_file(&cluster.layout).unwrap();
        fs::write(&cluster.layout, &text).unwrap();
        pipe.write_all(text.as_bytes()).unwrap();
        drop(pipe);
        process.ready = process.wait_line("the ready line", |line| line.get("ready").cloned());
        process.wait_stderr("keys and rules reloaded");
        process.stop();
    }
}

#[test]
fn a_hangup_names_the_options_that_wait_for_a_restart() {
    let cluster = Cluster::new(NODES, "");
    let text = fs::read_to_string(&cluster.layout).unwrap();
    let mut processes =
        [cluster.broker(), cluster.logger("logger-1"), cluster.node("worker-1", &[])];
    let write = |text: &str| fs::write(&cluster.layout, text).unwrap();
    let hang_up = |processes: &[Process], expected: [&str; 3]| {
        for (process, expected) in processes.iter().zip(expected) {
            let before = process.stderr().len();
            process.signal(Signal::HUP);
            wait_for(&format!("{expected} after {}", process.stderr()), || {
                process.stderr()[before..].contains(expected).then_some(())
            });
        }
    };
    hang_up(&processes, ["; nothing has changed"; 3]);
    write(
        &text
            .replace("[zeromq]\n", "[zeromq]\nmax_message_size = \"1MiB\"\n")
            .replace("[log]\n", "[log]\nmax_memory = \"64MiB\"\n")
            .replace(
                "metrics_port = 0\n[nodes.manager]",
                "metrics_port = 0\nio_threads = 2\n[nodes.manager]",
            ),
    );
    hang_up(
        &processes,
        [
            "[zeromq] max_message_size, [broker] io_threads changed: they take effect at the next restart",
            "[zeromq] max_message_size, [log] max_memory changed: they take effect at the next restart",
            "[zeromq] max_message_size changed: it takes effect at the next restart",
        ],
    );
    write("[zeromq");
    hang_up(&processes, ["reload failed, the current keys and rules stay in effect"; 3]);
    write(&text);
    hang_up(&processes, ["; nothing has changed"; 3]);
    processes.iter_mut().for_each(Process::stop);
}

/// Creates a leftover log of `bytes` bytes whose complete lines are all at its start.
fn leave_log(dir: &Path, bytes: u64) {
    fs::create_dir_all(dir).unwrap();
    let mut file = File::create(dir.join("conn.log")).unwrap();
    file.write_all(b"#separator \\x09\n#path\tconn\n#open\t2026-01-01-00-00-00\n1.5\t1\n").unwrap();
    file.set_len(bytes).unwrap();
}

/// Starts a logger and waits until it has locked its directory.
fn start_recovering(cluster: &Cluster) -> Process {
    let args = ["--layout", cluster.layout_arg(), "--node", "logger-1"];
    let _ = fs::remove_file(cluster.log_dir("logger-1").join(".lock"));
    let process = Process::spawn("logger-1", "zcluster-logger", &args);
    process.wait_stderr("local time: ");
    process
}

#[test]
fn a_logger_that_is_told_to_stop_while_it_repairs_leaves_the_rest() {
    for signal in [Signal::TERM, Signal::INT] {
        let cluster = Cluster::new(NODES, "");
        let dir = cluster.log_dir("logger-1");
        // A sparse file: reading all of it takes minutes.
        let size = 1 << 40;
        leave_log(&dir, size);
        let mut logger = start_recovering(&cluster);
        logger.signal(signal);
        assert_eq!(logger.wait().code(), Some(0), "{}", logger.stderr());
        assert!(logger.remaining_lines().is_empty(), "it was ready");
        logger.wait_stderr("stopped before it was ready");
        assert_eq!(fs::metadata(dir.join("conn.log")).unwrap().len(), size);
        // The next start recovers it.
        leave_log(&dir, 100);
        let mut logger = cluster.logger("logger-1");
        logger.stop();
        let lines = wait_for("the log to be announced", || {
            let lines = support::log_dir::manifest(&dir);
            (!lines.is_empty()).then_some(lines)
        });
        assert_eq!(lines[0]["records"], 1);
    }
}

#[test]
fn a_hangup_while_a_logger_repairs_is_acted_upon_later() {
    // Increases the size until the signal arrives during recovery.
    for gib in (0..10).map(|power| 1 << power) {
        let cluster = Cluster::new(NODES, "");
        leave_log(&cluster.log_dir("logger-1"), gib << 30);
        let mut logger = start_recovering(&cluster);
        logger.signal(Signal::HUP);
        wait_delivered(&logger);
        let was_early = !logger.stderr().contains("rotated ");
        logger.ready = logger.wait_line("the ready line", |line| line.get("ready").cloned());
        logger.wait_stderr("keys and rules reloaded");
        logger.stop();
        if was_early {
            return;
        }
    }
    panic!("no log was large enough");
}

#[test]
fn the_second_logger_of_a_directory_touches_nothing() {
    let cluster = Cluster::new(NODES, "");
    let first = cluster.logger("logger-1");
    let dir = cluster.log_dir("logger-1");
    fs::write(dir.join("conn.log"), "1.5\t1\n2.5\t").unwrap();
    let args = ["--layout", cluster.layout_arg(), "--node", "logger-1"];
    let second = run_to_end(command("zcluster-logger").args(args));
    assert_eq!((second.code, second.stdout.as_str()), (Some(69), ""), "{second:?}");
    let owner = format!("is in use by the logger 'logger-1', process {} on ", first.pid());
    assert!(second.stderr.contains(&owner), "{}", second.stderr);
    assert_eq!(fs::read_to_string(dir.join("conn.log")).unwrap(), "1.5\t1\n2.5\t");
    let check = run_to_end(command("zcluster-logger").args(args).arg("--check"));
    assert_eq!(check.code, Some(0), "{check:?}");
    let owner = format!("\nin use by: the logger 'logger-1', process {} on ", first.pid());
    assert!(check.stdout.contains(&owner), "{}", check.stdout);
    // The lock ends with the process, even if it is killed.
    let mut first = first;
    first.kill();
    let mut third = cluster.logger("logger-1");
    third.stop();
}

#[test]
fn a_postprocessor_that_runs_on_does_not_hold_the_directory() {
    let options =
        "[log]\nrotation_postprocessor = \"exec sleep 60; true\"\nshutdown_timeout = \"0s\"";
    let cluster = Cluster::new(NODES, options);
    let dir = cluster.log_dir("logger-1");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("conn.log"), "1.5\t1\n").unwrap();
    let mut first = cluster.logger("logger-1");
    let child = wait_for("the postprocessor", || {
        let children = format!("/proc/{0}/task", first.pid());
        fs::read_dir(children).unwrap().find_map(|task| {
            let text = fs::read_to_string(task.unwrap().path().join("children")).ok()?;
            text.split_whitespace().next()?.parse::<i32>().ok()
        })
    });
    first.kill();
    let mut second = cluster.logger("logger-1");
    second.kill();
    let pid = rustix::process::Pid::from_raw(child).unwrap();
    let _ = rustix::process::kill_process(pid, Signal::KILL);
}

#[test]
fn a_broker_that_is_missing_from_the_start_is_told_of_once_and_why() {
    let cluster = Cluster::new(NODES, "");
    let layout = cluster.read_layout();
    let mut daemons = Vec::new();
    for (program, node) in &DAEMONS[..2] {
        let mut command = command(program);
        command.args(["--layout", cluster.layout_arg(), "--node", node]);
        // As `zcluster up` starts them: if a loss is logged, the recovery must be, too.
        command.env("RUST_LOG", "warn");
        daemons.push(Process::start_command(node, &mut command));
    }
    for daemon in &daemons {
        daemon.wait_stderr_line(&[
            &format!("{}: no connection to the broker for ", daemon.name),
            &layout.connect_xpub_endpoint(),
            "Connection refused",
        ]);
    }
    let mut broker = cluster.broker();
    for daemon in &daemons {
        daemon.wait_stderr("the broker is available, after ");
    }
    broker.kill();
    for daemon in &daemons {
        daemon.wait_stderr("lost the connection to the broker");
    }
    let _broker = cluster.broker();
    for daemon in &daemons {
        daemon.wait_stderr("the broker is back, after ");
        for line in ["is available, after", "lost the", "is back"] {
            assert_eq!(daemon.stderr().matches(line).count(), 1, "{line}: {}", daemon.stderr());
        }
    }
}

#[test]
fn a_zone_that_does_not_exist_is_an_error_of_the_configuration() {
    let cluster = Cluster::new(NODES, "");
    let args = ["--layout", cluster.layout_arg(), "--node", "logger-1"];
    for extra in [None, Some("--check")] {
        let mut logger = command("zcluster-logger");
        let ended = run_to_end(logger.args(args).args(extra).env("TZ", "Nowhere/Land"));
        assert_eq!(ended.code, Some(78), "{ended:?}");
        let what = "TZ is \"Nowhere/Land\": no such time zone; expected the name of a time zone";
        assert!(ended.stderr.contains(what), "{}", ended.stderr);
    }
    assert!(!cluster.log_dir("logger-1").exists());
}

#[test]
fn the_zone_of_tz_is_that_of_all_times_also_without_files() {
    let cluster = Cluster::new(NODES, "");
    let dir = cluster.log_dir("logger-1");
    fs::create_dir_all(&dir).unwrap();
    fs::write(
        dir.join("conn.log"),
        "#separator \\x09\n#path\tconn\n#open\t2026-01-01-00-00-00\n1.5\t1\n",
    )
    .unwrap();
    let args = ["--layout", cluster.layout_arg(), "--node", "logger-1"];
    let mut logger = command("zcluster-logger");
    logger.args(args).env("TZ", "Asia/Kathmandu").env("TZDIR", cluster.dir.path());
    let check = run_to_end(command("zcluster-logger").args(args).arg("--check").env("TZ", ":EST5"));
    assert!(check.stdout.contains("\nlocal time: EST5 (from TZ), now "), "{}", check.stdout);
    let mut logger = Process::start_command("logger-1", &mut logger);
    let lines = wait_for("the log to be announced", || {
        let lines = support::log_dir::manifest(&dir);
        (!lines.is_empty()).then_some(lines)
    });
    // 2026-01-01T00:00:00 at +05:45.
    assert_eq!(lines[0]["open"].as_f64(), Some(1_767_225_600.0 - 20_700.0));
    assert!(lines[0]["file"].as_str().unwrap().ends_with("/conn.2026-01-01-00-00-00.log"));
    logger.stop();
}
