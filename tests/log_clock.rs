//! A logger whose clock is changed while it runs.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use support::log_dir::{check_manifest, manifest};
use support::producer::{self, write_number};
use support::{Cluster, NodeSpec, PATIENCE, Process, command, tools, wait_for};

const ONE_LOGGER: &[NodeSpec<'static>] =
    &[("manager", "manager"), ("logger-1", "logger"), ("worker-1", "worker")];

#[test]
fn a_clock_that_is_set_back_stops_no_rotation() {
    let Some(library) = tools::faketime() else { return };
    let options = "[log]\nwrite_buffer_size = 1\nflush_interval = \"10ms\"\nrotation = \"2s\"";
    let cluster = Cluster::new(ONE_LOGGER, options);
    let offset = cluster.dir.path().join("offset");
    let set = |text: &str| {
        // Atomically: the library may read at any time.
        let temporary = offset.with_extension("new");
        fs::write(&temporary, text).unwrap();
        fs::rename(&temporary, &offset).unwrap();
    };
    set("+0");
    let mut command = command("zcluster-logger");
    command
        .args(["--layout", cluster.layout_arg(), "--node", "logger-1"])
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", &offset)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let mut logger = Process::start_command("logger-1", &mut command);
    let stop = Arc::new(AtomicBool::new(false));
    let (node, _) = cluster.library_node("worker-1");
    let writing = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let log = node.log(producer::schema()).unwrap();
            for n in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                write_number(&log, "worker-1", n);
                std::thread::park_timeout(Duration::from_millis(20));
            }
            node.shutdown(PATIENCE);
        }
    });

    let log_dir = cluster.log_dir("logger-1");
    let wait_for_two_more = |when: &str| {
        let before = manifest(&log_dir).len();
        wait_for(&format!("rotations {when}"), || {
            (manifest(&log_dir).len() >= before + 2).then_some(())
        });
    };
    wait_for_two_more("before");
    set("+4y");
    wait_for_two_more("four years ahead");
    set("+0");
    wait_for_two_more("back again");
    set("-2h");
    wait_for_two_more("two hours back");
    stop.store(true, Ordering::Relaxed);
    writing.join().unwrap();
    logger.stop();

    // This checks that no file has an `open` later than its `close`.
    assert_eq!(check_manifest(&log_dir).len(), manifest(&log_dir).len());
    let told = |what: &str| {
        let stderr = logger.stderr();
        stderr.lines().filter(|line| line.contains(what)).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(told("the clock was set ahead by 3years").len(), 1);
    let back = told("the clock was set back by ");
    assert_eq!(back.len(), 2, "{back:?}");
    assert!(back[1].contains("back by 2h") || back[1].contains("back by 1h 59m 59s"), "{back:?}");
}
