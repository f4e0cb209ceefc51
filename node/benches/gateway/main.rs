//! Benchmark of the gateway: the real `zcluster-node`, WebSocket clients, and a broker that this
//! program plays.
//!
//! `cargo bench -p zcluster-node --bench gateway [-- --help]`
//!
//! Every measurement starts a new process, connects clients, lets them warm up, and then sends events
//! for a while. It ends when all of them have arrived: nothing may be lost. The figure is the CPU time
//! of the whole process for a million deliveries, or events. In each round, the nodes and the
//! yardstick run one after the other for every line of the table.
//!
//! - [`plan`]: scenarios and the command line; [`event`]: the events, in all their forms.
//! - [`subject`]: the process, a node of this build or another, or the yardstick; [`yardstick`]: a
//!   plain WebSocket server; [`usage`]: what a process has used.
//! - [`feed`]: the thread that makes events; [`bus`]: the broker that it plays for a node;
//!   [`control`]: how it tells the yardstick what to send.
//! - [`client`]: one WebSocket client; [`crowd`]: many of them on one thread.
//! - [`deliver`], [`publish`], [`latency`], [`idle`]: the measurements; [`report`]: tables.
#![allow(clippy::unwrap_used)]

mod bus;
mod client;
mod control;
mod crowd;
mod deliver;
mod event;
mod feed;
mod idle;
mod latency;
mod plan;
mod publish;
mod report;
mod subject;
mod usage;
mod yardstick;

use std::time::Duration;

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use plan::{Args, Plan, Scenario};
use report::Results;
use subject::{Subject, Under};

/// Timeout for any step; after it the run fails.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long events flow before anything is measured.
const WARM_UP: Duration = Duration::from_millis(300);

fn main() {
    let args = Args::parse();
    // A client takes one descriptor here and one in the process.
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    if args.yardstick {
        return yardstick::run(args.api);
    }
    let mut plan = args.plan();
    let mut results = Results::new(&plan);
    for round in 1..=plan.rounds {
        for (i, scenario) in plan.scenarios.iter().enumerate() {
            eprintln!(
                "round {round}/{}, {}/{}: {scenario}",
                plan.rounds,
                i + 1,
                plan.scenarios.len()
            );
            for subject in &plan.subjects {
                results.add(*scenario, subject.kind, measure(&plan, *scenario, subject));
            }
        }
        // Alternates the order, in case it matters.
        plan.subjects.reverse();
    }
    if args.json {
        println!("{:#}", results.to_json(&plan));
    } else {
        results.print(&plan);
    }
}

fn measure(plan: &Plan, scenario: Scenario, subject: &Subject) -> report::Figures {
    let under = Under::start(subject, plan.api);
    match scenario {
        Scenario::Deliver(clients, topics) => {
            deliver::deliver(&under, plan, clients, topics).into()
        }
        Scenario::Publish(clients) => publish::publish(&under, plan, clients).into(),
        Scenario::Latency(clients, rate) => latency::latency(&under, plan, clients, rate).into(),
        Scenario::Idle(clients) => idle::idle(&under, plan, clients).into(),
    }
}
