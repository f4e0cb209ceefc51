//! Benchmark of the real broker: forwards events with both engines in turn, and with an older build
//! of it.
//!
//! `cargo bench -p zcluster-broker --bench forward [-- --help]`
//!
//! Every measurement starts a new broker, connects clients, lets them warm up, and then measures
//! for a window of time how many events subscribers receive and the CPU time of the broker. In each
//! round, the engines run one after the other for every line of the table, so that other load on
//! the machine affects both.
//!
//! - [`plan`]: scenarios and the command line; [`event`]: the events to send.
//! - [`broker`]: the broker process, of this build or another; [`raw`], [`libzmq`]: clients;
//!   [`keys`]: their encryption keys; [`crew`]: their threads.
//! - [`flow`], [`ping_pong`], [`isolation`], [`latency`], [`scale`]: the measurements; [`report`]:
//!   tables.
#![allow(clippy::unwrap_used)]

mod broker;
mod crew;
mod event;
mod flow;
mod isolation;
mod keys;
mod latency;
mod libzmq;
mod ping_pong;
mod plan;
mod raw;
mod report;
mod scale;

use clap::Parser;

use plan::{Args, Cell, Plan, Scenario};
use report::Results;

fn main() {
    let args = Args::parse();
    let mut plan = args.plan();
    let mut results = Results::new();
    for round in 1..=plan.rounds {
        for (i, cell) in plan.cells.iter().enumerate() {
            eprintln!(
                "round {round}/{}, {}/{}: {} {:?} {} B",
                plan.rounds,
                i + 1,
                plan.cells.len(),
                cell.scenario,
                cell.client,
                cell.size
            );
            measure(&plan, *cell, &mut results);
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

/// Measures a cell once with each engine.
fn measure(plan: &Plan, cell: Cell, results: &mut Results) {
    let Cell { scenario, client, size } = cell;
    let window = plan.window;
    if let Scenario::Latency(rate) = scenario {
        let row = Results::row(&mut results.latency, cell);
        row.direct.push(latency::latency(None, rate, size, window));
    }
    for subject in &plan.subjects {
        let engine = subject.engine;
        match scenario {
            Scenario::Flow(shape) => {
                let flow = flow::flow(subject, shape, client, size, window);
                Results::row(&mut results.flows, cell).of(engine).push(flow);
            }
            Scenario::PingPong => {
                let flow = ping_pong::ping_pong(subject, client, size, window);
                Results::row(&mut results.flows, cell).of(engine).push(flow);
            }
            Scenario::Isolation(trouble) => {
                let one = isolation::isolation(subject, trouble, client, size, window);
                Results::row(&mut results.isolation, cell).of(engine).push(one);
            }
            Scenario::Latency(rate) => {
                let one = latency::latency(Some(subject), rate, size, window);
                Results::row(&mut results.latency, cell).of(engine).push(one);
            }
            Scenario::Scale(nodes) => {
                if let Some(obstacle) = scale::obstacle(engine, nodes, client) {
                    eprintln!("{} is skipped: {obstacle}", engine.name());
                } else {
                    let one = scale::scale(subject, nodes, client, size, window);
                    Results::row(&mut results.scale, cell).of(engine).push(one);
                }
            }
            Scenario::Prefixes(count) => {
                let one = scale::prefixes(subject, count, client, size, window);
                Results::row(&mut results.prefixes, cell).of(engine).push(one);
            }
        }
    }
}
