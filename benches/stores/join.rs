//! A clone that joins a large store while it changes, and what the others notice of that.

use std::thread;
use std::time::Duration;

use serde_json::Value as Json;

use crate::cluster::{MASTER, Stage, begin, order, wait};
use crate::node::Role;
use crate::plan::Plan;
use crate::report::{decimal, grouped, median};
use crate::usage;

/// Changes of the store per second.
const MUTATIONS: u64 = 5_000;
/// Events of others per second.
const OTHERS: u64 = 1_000;

#[derive(Debug)]
pub(crate) struct Results {
    entries: u64,
    rounds: Vec<Round>,
}

#[derive(Debug)]
struct Round {
    /// Until the clone is complete.
    seconds: f64,
    /// Memory of the master before, and the most meanwhile, in bytes.
    memory: (f64, f64),
    /// Changes per second meanwhile.
    mutations: f64,
    /// Delays of others before and meanwhile.
    before: Delays,
    meanwhile: Delays,
}

/// In milliseconds.
#[derive(Clone, Copy, Debug)]
struct Delays {
    p50: f64,
    p99: f64,
    max: f64,
}

impl Delays {
    fn of(line: &Json) -> Self {
        let of = |key: &str| line[key].as_f64().unwrap_or(f64::NAN);
        Delays { p50: of("p50"), p99: of("p99"), max: of("max") }
    }
}

pub(crate) fn measure(plan: &Plan) -> Results {
    let stage = Stage::new();
    let mut master = stage.node(MASTER, Role::Master);
    order(&mut master, "fill", &[plan.entries]);
    let mut client = stage.node("worker-1", Role::Client);
    let mut publisher = stage.node("worker-3", Role::Other);
    let mut listener = stage.node("worker-4", Role::Other);
    begin(&mut client, "mutate", &[MUTATIONS, plan.entries]);
    begin(&mut publisher, "publish", &[OTHERS]);
    let mut rounds = Vec::new();
    for round in 0..plan.rounds {
        eprintln!("join: round {}/{}", round + 1, plan.rounds);
        // What the one before has left behind.
        thread::sleep(plan.window);
        order(&mut listener, "delays", &[]);
        thread::sleep(plan.window.max(Duration::from_secs(2)));
        let before = Delays::of(&order(&mut listener, "delays", &[]));
        usage::forget_peak(master.pid());
        let memory = master.memory() as f64;
        let mutated = order(&mut client, "mutated", &[]).as_f64().unwrap();
        let mut clone = stage.node("worker-2", Role::Clone);
        begin(&mut clone, "complete", &[]);
        let complete = wait(&mut clone, "complete");
        let meanwhile = Delays::of(&order(&mut listener, "delays", &[]));
        let mutated = order(&mut client, "mutated", &[]).as_f64().unwrap() - mutated;
        let seconds = complete["seconds"].as_f64().unwrap();
        let memory = (memory, master.peak_memory() as f64);
        let mutations = mutated / seconds;
        assert_eq!(complete["size"].as_u64(), Some(plan.entries));
        rounds.push(Round { seconds, memory, mutations, before, meanwhile });
    }
    Results { entries: plan.entries, rounds }
}

impl Results {
    pub(crate) fn print(&self) {
        let of = |of: fn(&Round) -> f64| median(self.rounds.iter().map(of));
        let entries = grouped(self.entries as f64);
        println!("\nA clone joins a store of {entries} entries; medians");
        println!("| | before | meanwhile |\n|---|---|---|");
        println!("| until it is complete | | {} s |", decimal(of(|one| one.seconds), 2));
        println!(
            "| memory of the master | {} MiB | {} MiB, {}× |",
            grouped(of(|one| one.memory.0) / f64::from(1 << 20)),
            grouped(of(|one| one.memory.1) / f64::from(1 << 20)),
            decimal(of(|one| one.memory.1 / one.memory.0), 2)
        );
        println!("| changes per second | {MUTATIONS} | {} |", grouped(of(|one| one.mutations)));
        let row = |what: &str, before: f64, meanwhile: f64| {
            println!("| {what} | {} ms | {} ms |", decimal(before, 2), decimal(meanwhile, 2));
        };
        row("events of others, p50", of(|one| one.before.p50), of(|one| one.meanwhile.p50));
        row("p99", of(|one| one.before.p99), of(|one| one.meanwhile.p99));
        row("the latest", of(|one| one.before.max), of(|one| one.meanwhile.max));
    }
}
