//! Benchmark of data stores, beside Redis in the same run.
//!
//! `cargo bench -p zcluster --bench stores [-- --help]`
//!
//! Broker, master and clients are processes of their own, over TCP on the loopback interface, as are Redis and
//! `redis-benchmark`, which drives it. In each round, every line of the table is measured with both, one right after the
//! other, and which comes first alternates.
//!
//! - [`plan`]: the command line; [`report`]: figures and tables; [`usage`]: CPU time and memory of processes.
//! - [`puts`], [`gets`], [`join`]: the measurements.
//! - [`cluster`]: the processes of a cluster; [`node`]: what a node does, in its process; [`load`]: commands in flight.
//! - [`redis`]: Redis and its driver.
#![allow(clippy::unwrap_used, missing_docs)]

mod cluster;
mod gets;
mod join;
mod load;
mod node;
mod plan;
mod puts;
mod redis;
mod report;
#[path = "../../tests/support/mod.rs"]
mod support;
mod usage;

use clap::Parser;

use plan::{Args, Scenario};

fn main() {
    if node::is_one() {
        return node::run();
    }
    let args = Args::parse();
    let plan = args.plan();
    if plan.wants(Scenario::Puts) {
        puts::measure(&plan).print();
    }
    if plan.wants(Scenario::Gets) {
        gets::measure(&plan).print();
    }
    if plan.wants(Scenario::Join) {
        join::measure(&plan).print();
    }
}
