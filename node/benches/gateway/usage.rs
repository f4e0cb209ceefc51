//! What a process has used, from `/proc`.

use std::fs;
use std::time::Duration;

/// User and system time of all threads.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    let mut time = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        // Nanoseconds on a processor, from the scheduler.
        let times = fs::read_to_string(thread.unwrap().path().join("schedstat"));
        let nanoseconds = times.unwrap_or_default().split(' ').next().and_then(|t| t.parse().ok());
        time += Duration::from_nanos(nanoseconds.unwrap_or(0));
    }
    // A kernel that does not record them.
    if time.is_zero() { clock_ticks(pid) } else { time }
}

/// User and system time in clock ticks, usually of ten milliseconds.
fn clock_ticks(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

/// Resident memory in KiB.
pub(crate) fn memory(pid: u32) -> u64 {
    status(pid, "VmRSS:")
}

/// The most resident memory that it has had, in KiB.
pub(crate) fn peak_memory(pid: u32) -> u64 {
    status(pid, "VmHWM:")
}

/// Open descriptors.
pub(crate) fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

fn status(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
