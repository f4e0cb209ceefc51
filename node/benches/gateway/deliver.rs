//! Events to clients, as fast as they read.

use std::time::{Duration, Instant};

use crate::client::Got;
use crate::crowd::{self, Crowd};
use crate::feed::Feeder;
use crate::plan::{Plan, Topics};
use crate::report::Flow;
use crate::subject::Under;
use crate::{PATIENCE, WARM_UP};

/// Measures the deliveries to that many clients.
pub(crate) fn deliver(under: &Under, plan: &Plan, clients: usize, topics: Topics) -> Flow {
    let names = crowd::topics(clients, topics);
    let feeder = under.feeder(&names);
    let crowd = Crowd::connect(under, plan.api, clients, &names);
    let turns = match topics {
        Topics::Same => 1,
        Topics::Distinct => clients as u64,
    };
    // Whole turns, so that each client gets the same.
    let window = plan.window.max(2 * turns);
    let mut flow = Flowing { feeder, crowd, received: vec![0; clients], topics, turns, window };
    flow.run(WARM_UP);
    let (start, cpu, before) = (Instant::now(), under.cpu_time(), flow.total());
    flow.run(plan.length);
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), under.cpu_since(cpu));
    let deliveries = (flow.total() - before) as f64;
    Flow { rate: deliveries / seconds, cpu: cpu / deliveries * 1e6, peak: under.peak_memory() }
}

struct Flowing {
    feeder: Feeder,
    crowd: Crowd,
    /// By each client.
    received: Vec<u64>,
    topics: Topics,
    turns: u64,
    window: u64,
}

impl Flowing {
    fn total(&self) -> u64 {
        self.received.iter().sum()
    }

    /// Events that all have who want them.
    fn done(&self) -> u64 {
        match self.topics {
            Topics::Same => self.received.iter().min().copied().unwrap_or(0),
            Topics::Distinct => self.total(),
        }
    }

    /// Sends for that long and waits until everything has arrived.
    fn run(&mut self, length: Duration) {
        let start = Instant::now();
        let mut is_over = false;
        loop {
            let done = self.done();
            if !is_over && start.elapsed() < length {
                let limit = (done + self.window) / self.turns * self.turns;
                self.feeder.allow(limit, self.window / 8);
            } else if !std::mem::replace(&mut is_over, true) {
                self.feeder.wake();
            }
            let allowed = self.feeder.allowed();
            assert!(done <= allowed, "{done} events arrived, {allowed} were sent");
            if is_over && done == allowed {
                return;
            }
            let late = start.elapsed() > length + PATIENCE;
            assert!(!late, "{} of {allowed} events do not arrive", allowed - done);
            let received = &mut self.received;
            self.crowd.read(Duration::from_millis(100), |number, got| {
                received[number] += u64::from(matches!(got, Got::Text(_)));
            });
        }
    }
}
