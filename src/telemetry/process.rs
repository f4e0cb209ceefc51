//! What every process exposes of itself: its version, and what it uses of the system, under the
//! names that Prometheus client libraries share.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// Registers the series.
pub(super) fn register(registry: &mut Registry) {
    registry.register(
        "zcluster_build",
        "The version of this program",
        Info::new([("version", env!("CARGO_PKG_VERSION"))]),
    );
    // Read once: it must not move when the clock is set.
    registry.register(
        "process_start_time_seconds",
        "When the process started, in seconds since 1970",
        ConstGauge::new(start_seconds()),
    );
    registry.register_collector(Box::new(ProcessCollector));
}

/// Reads the use of the system at each scrape; leaves out what the platform does not tell.
#[derive(Debug)]
struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        fn metric(
            encoder: &mut DescriptorEncoder<'_>,
            name: &str,
            help: &str,
            metric: &(impl EncodeMetric + TypedMetric),
        ) -> fmt::Result {
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        }
        metric(
            &mut encoder,
            "process_cpu_seconds",
            "Processor time used, in user and system mode.",
            &ConstCounter::new(cpu_seconds()),
        )?;
        let memory = memory();
        for (name, help, value) in [
            (
                "process_virtual_memory_bytes",
                "Address space in use, most of which takes no memory.",
                memory.map(|memory| memory.virtual_bytes),
            ),
            (
                "process_resident_memory_bytes",
                "Memory in use that is not paged out.",
                memory.map(|memory| memory.resident_bytes),
            ),
            ("process_open_fds", "File descriptors that are open.", open_descriptors()),
            (
                "process_max_fds",
                "File descriptors that the process may have open.",
                max_descriptors(),
            ),
        ] {
            let Some(value) = value else { continue };
            metric(&mut encoder, name, help, &ConstGauge::new(value))?;
        }
        Ok(())
    }
}

fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The limit that counts, which the process itself may raise to the hard one; `None`: there is
/// none.
fn max_descriptors() -> Option<i64> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current?;
    Some(i64::try_from(limit).unwrap_or(i64::MAX))
}

/// The start of the process, or where the platform does not tell that, now.
fn start_seconds() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // A clock that is not set yet may show less than the age.
    now.saturating_sub(age().unwrap_or_default()).as_secs_f64()
}

/// Memory as the system counts it.
#[derive(Clone, Copy)]
struct Memory {
    virtual_bytes: i64,
    resident_bytes: i64,
}

#[cfg(target_os = "linux")]
fn memory() -> Option<Memory> {
    // Sizes in pages: total, resident, …
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut sizes = statm
        .split_ascii_whitespace()
        .map(|pages| pages.parse::<i64>().ok()?.checked_mul(rustix::param::page_size() as i64));
    Some(Memory { virtual_bytes: sizes.next()??, resident_bytes: sizes.next()?? })
}

#[cfg(target_os = "linux")]
fn open_descriptors() -> Option<i64> {
    let entries = std::fs::read_dir("/proc/self/fd").ok()?.count();
    // One of them is the folder that was just read.
    Some(entries.saturating_sub(1) as i64)
}

/// How long ago the process started.
#[cfg(target_os = "linux")]
fn age() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let ticks: u64 = start_ticks(&stat)?;
    let started =
        Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64);
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(now.tv_sec.try_into().ok()?, now.tv_nsec.try_into().ok()?).checked_sub(started)
}

/// The time of the start in `/proc/self/stat`, in ticks since the system came up: its 22nd field,
/// where the second is the name of the program in brackets, which may have anything in it.
#[cfg(any(target_os = "linux", test))]
fn start_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(not(target_os = "linux"))]
fn memory() -> Option<Memory> {
    None
}

#[cfg(not(target_os = "linux"))]
fn open_descriptors() -> Option<i64> {
    None
}

#[cfg(not(target_os = "linux"))]
fn age() -> Option<Duration> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Telemetry;
    use crate::telemetry::tests::value;

    #[test]
    fn exposes_build_and_process() {
        let telemetry = Telemetry::new("manager", "node");
        let version = env!("CARGO_PKG_VERSION");
        let build = format!(r#"zcluster_build_info{{node="manager",version="{version}"}}"#);
        assert_eq!(value(&telemetry, &build).as_deref(), Some("1"), "{}", telemetry.encode());

        let names: &[&str] = if cfg!(target_os = "linux") {
            &[
                "process_start_time_seconds",
                "process_cpu_seconds_total",
                "process_resident_memory_bytes",
                "process_virtual_memory_bytes",
                "process_open_fds",
                "process_max_fds",
            ]
        } else {
            &["process_start_time_seconds", "process_cpu_seconds_total", "process_max_fds"]
        };
        for name in names {
            let series = format!(r#"{name}{{node="manager"}}"#);
            let number: f64 = value(&telemetry, &series).expect(name).parse().unwrap();
            assert!(number > 0.0, "{name} {number}");
        }
    }

    #[test]
    fn the_start_is_that_of_the_process() {
        let stat = "7 (a) b) c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21\n";
        for (text, ticks) in [
            (stat, Some(4711)),
            ("7 (x) S 1 2", None),
            ("", None),
            (&stat.replace("4711", "x"), None),
        ] {
            assert_eq!(start_ticks(text), ticks, "{text}");
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let series = r#"process_start_time_seconds{node="manager"}"#;
        let of =
            |telemetry: &Telemetry| -> f64 { value(telemetry, series).unwrap().parse().unwrap() };
        let first = of(&Telemetry::new("manager", "node"));
        assert!(first <= now, "{first} {now}");
        // When metrics were asked for has nothing to do with it.
        std::thread::park_timeout(Duration::from_millis(20));
        let second = of(&Telemetry::new("manager", "node"));
        if cfg!(target_os = "linux") {
            assert!((second - first).abs() < 0.015, "{first} {second}");
        }
    }
}
