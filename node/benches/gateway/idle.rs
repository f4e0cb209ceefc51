//! What clients cost that only are connected.

use std::time::{Duration, Instant};

use crate::crowd::{self, Crowd};
use crate::plan::{Plan, Topics};
use crate::report::Idle;
use crate::subject::Under;

/// How long memory may settle.
const SETTLE: Duration = Duration::from_millis(500);

/// Measures that many clients.
pub(crate) fn idle(under: &Under, plan: &Plan, clients: usize) -> Idle {
    let names = crowd::topics(clients, Topics::Same);
    let _feeder = under.feeder(&names);
    let (memory, descriptors) = (under.memory(), under.descriptors());
    let mut crowd = Crowd::connect(under, plan.api, clients, &names);
    let start = Instant::now();
    while start.elapsed() < SETTLE {
        crowd.read(Duration::from_millis(10), |_, _| {});
    }
    Idle {
        memory: under.memory().saturating_sub(memory) as f64 / clients as f64,
        descriptors: (under.descriptors() - descriptors) as f64 / clients as f64,
    }
}
