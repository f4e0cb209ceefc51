//! What every process exposes of itself: its version, and what it uses of the system, under the
//! names that Prometheus client libraries share.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// Registers the series. The time of the call is exposed as the start of the process.
pub(super) fn register(registry: &mut Registry) {
    registry.register(
        "zcluster_build",
        "The version of this program",
        Info::new([("version", env!("CARGO_PKG_VERSION"))]),
    );
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    registry.register(
        "process_start_time_seconds",
        "When the process started, in seconds since 1970",
        ConstGauge::new(started.as_secs_f64()),
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
        if let Some(bytes) = resident_bytes() {
            metric(
                &mut encoder,
                "process_resident_memory_bytes",
                "Memory in use that is not paged out.",
                &ConstGauge::new(bytes),
            )?;
        }
        if let Some(count) = open_descriptors() {
            metric(
                &mut encoder,
                "process_open_fds",
                "File descriptors that are open.",
                &ConstGauge::new(count),
            )?;
        }
        Ok(())
    }
}

fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[cfg(target_os = "linux")]
fn resident_bytes() -> Option<i64> {
    // Sizes in pages: total, resident, …
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: i64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(rustix::param::page_size() as i64)
}

#[cfg(target_os = "linux")]
fn open_descriptors() -> Option<i64> {
    let entries = std::fs::read_dir("/proc/self/fd").ok()?.count();
    // One of them is the folder that was just read.
    Some(entries.saturating_sub(1) as i64)
}

#[cfg(not(target_os = "linux"))]
fn resident_bytes() -> Option<i64> {
    None
}

#[cfg(not(target_os = "linux"))]
fn open_descriptors() -> Option<i64> {
    None
}

#[cfg(test)]
mod tests {
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
                "process_open_fds",
            ]
        } else {
            &["process_start_time_seconds", "process_cpu_seconds_total"]
        };
        for name in names {
            let series = format!(r#"{name}{{node="manager"}}"#);
            let number: f64 = value(&telemetry, &series).expect(name).parse().unwrap();
            assert!(number > 0.0, "{name} {number}");
        }
    }
}
