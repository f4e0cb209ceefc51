//! Puts that are acknowledged. Ours come from one frontend that has so many commands in flight, Redis's from so many
//! clients with one each.

use std::time::Duration;

use crate::cluster::{MASTER, Stage, cpu, order};
use crate::node::Role;
use crate::plan::{Kind, Plan};
use crate::redis::Redis;
use crate::report::{Flow, decimal, grouped, median, medians};
use crate::support::Process;

/// A line of the table.
#[derive(Debug)]
struct Row {
    kind: Kind,
    in_flight: u64,
    ours: Vec<Flow>,
    redis: Vec<Flow>,
}

#[derive(Debug)]
pub(crate) struct Results(Vec<Row>);

struct Ours {
    stage: Stage,
    master: Process,
    client: Process,
}

impl Ours {
    fn start() -> Self {
        let stage = Stage::new();
        let (master, client) =
            (stage.node(MASTER, Role::Master), stage.node("worker-1", Role::Client));
        Ours { stage, master, client }
    }

    fn flow(&mut self, kind: Kind, in_flight: u64, window: Duration) -> Flow {
        let Ours { stage, master, client } = self;
        let before = cpu(&[&stage.broker, master, client]);
        let numbers = [kind as u64, in_flight, window.as_millis() as u64];
        let puts = order(client, "puts", &numbers);
        let cpu = cpu(&[&stage.broker, master, client]) - before;
        let done = puts["done"].as_f64().unwrap();
        Flow { rate: done / puts["seconds"].as_f64().unwrap(), cpu: cpu / done }
    }
}

pub(crate) fn measure(plan: &Plan) -> Results {
    let mut ours = Ours::start();
    let of_redis = plan.kinds.iter().filter(|_| plan.has_redis);
    let redis: Vec<(Kind, Redis)> = of_redis.map(|kind| (*kind, Redis::start(*kind))).collect();
    let redis = |kind: Kind| redis.iter().find(|one| one.0 == kind).map(|one| &one.1);
    let mut rows = Vec::new();
    for kind in &plan.kinds {
        // All keys are there in both, and files have their size.
        ours.flow(*kind, 100, plan.window);
        redis(*kind).inspect(|redis| redis.fill());
        for in_flight in &plan.in_flight {
            let (kind, in_flight) = (*kind, *in_flight);
            rows.push(Row { kind, in_flight, ours: Vec::new(), redis: Vec::new() });
        }
    }
    for round in 0..plan.rounds {
        eprintln!("puts: round {}/{}", round + 1, plan.rounds);
        for Row { kind, in_flight, ours: of_ours, redis: of_redis } in &mut rows {
            let mut measure_redis = || {
                let flow = redis(*kind).map(|redis| redis.flow("set", *in_flight, plan.window));
                of_redis.extend(flow);
            };
            if round % 2 == 1 {
                measure_redis();
            }
            of_ours.push(ours.flow(*kind, *in_flight, plan.window));
            if round % 2 == 0 {
                measure_redis();
            }
        }
    }
    Results(rows)
}

impl Results {
    pub(crate) fn print(&self) {
        println!("Puts that are acknowledged: per second, CPU microseconds for one");
        println!(
            "| | in flight | zcluster | | Redis | | | puts | CPU |\n|---|---|---|---|---|---|---|---|---|"
        );
        for Row { kind, in_flight, ours, redis } in &self.0 {
            let ratio = |of: fn(&Flow) -> f64| {
                median(ours.iter().zip(redis).map(|(ours, redis)| of(ours) / of(redis)))
            };
            let (one, other) = (medians(ours), medians(redis));
            println!(
                "| {} | {in_flight} | {} | {} | {} | {} | {} | {}× | {}× |",
                kind.shown(),
                grouped(one.rate),
                decimal(one.cpu, 1),
                kind.of_redis(),
                grouped(other.rate),
                decimal(other.cpu, 1),
                decimal(ratio(|flow| flow.rate), 2),
                decimal(ratio(|flow| flow.cpu), 2),
            );
        }
    }
}
