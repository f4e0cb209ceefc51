//! CPU time and memory of processes.

use std::fs;
use std::time::Duration;

/// CPU time of all threads of a process so far, user and system.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    // In nanoseconds, from the scheduler.
    let mut total = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        // It may have ended.
        let Ok(text) = fs::read_to_string(thread.unwrap().path().join("schedstat")) else {
            continue;
        };
        total += text.split(' ').next().unwrap().parse::<u64>().unwrap();
    }
    Duration::from_nanos(total)
}

/// CPU time of all children that have ended and were waited for.
pub(crate) fn cpu_time_of_children() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: u64 = fields[13].parse::<u64>().unwrap() + fields[14].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

/// From now on, the peak of the memory of a process is that after this.
pub(crate) fn forget_peak(pid: u32) {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
}
