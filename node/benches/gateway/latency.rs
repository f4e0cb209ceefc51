//! How long events take to clients at a steady rate: from before they are sent to after they are
//! read.

use std::time::{Duration, Instant};

use crate::client::Got;
use crate::crowd::{self, Crowd};
use crate::event::stamp;
use crate::plan::{Plan, Topics};
use crate::report::Latency;
use crate::subject::Under;
use crate::{PATIENCE, WARM_UP};

/// Measures the latency to that many clients, which all get everything.
pub(crate) fn latency(under: &Under, plan: &Plan, clients: usize, rate: u32) -> Latency {
    let names = crowd::topics(clients, Topics::Same);
    let mut feeder = under.feeder(&names);
    let mut crowd = Crowd::connect(under, plan.api, clients, &names);
    let events = |time: Duration| (time.as_secs_f64() * f64::from(rate)) as usize;
    let clock = feeder.clock;
    let mut took: Vec<u64> = Vec::new();
    let mut run = |length: Duration| {
        took.clear();
        let total = events(length) * clients;
        feeder.pace(rate, events(length) as u64);
        let start = Instant::now();
        while took.len() < total {
            assert!(start.elapsed() < length + PATIENCE, "events do not arrive");
            crowd.read(Duration::from_millis(100), |_, got| {
                let Got::Text(text) = got else { return };
                let now = clock.elapsed().as_nanos() as u64;
                took.push(now - stamp(text).expect("no time in an event"));
            });
        }
        start.elapsed().as_secs_f64()
    };
    run(WARM_UP);
    let cpu = under.cpu_time();
    let seconds = run(plan.length);
    let cpu = under.cpu_since(cpu);
    took.sort_unstable();
    let percentile = |percent: usize| took[(took.len() - 1) * percent / 100] as f64 / 1e3;
    Latency {
        p50: percentile(50),
        p99: percentile(99),
        rate: took.len() as f64 / seconds,
        cpu: cpu / took.len() as f64 * 1e6,
    }
}
