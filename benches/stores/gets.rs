//! Gets at a clone, without a request, in a handler: one thread. Redis's go over the loopback interface.

use crate::cluster::{MASTER, Stage, cpu, order};
use crate::node::Role;
use crate::plan::{Kind, Plan};
use crate::redis::Redis;
use crate::report::{Flow, decimal, grouped, median, medians};

#[derive(Debug)]
pub(crate) struct Results {
    ours: Vec<Flow>,
    redis: Vec<(u64, Vec<Flow>)>,
}

pub(crate) fn measure(plan: &Plan) -> Results {
    let stage = Stage::new();
    let mut master = stage.node(MASTER, Role::Master);
    order(&mut master, "fill", &[crate::plan::KEYS]);
    let mut clone = stage.node("worker-2", Role::Clone);
    order(&mut clone, "complete", &[]);
    let redis = plan.has_redis.then(|| Redis::start(Kind::Memory));
    redis.iter().for_each(Redis::fill);
    let mut results = Results { ours: Vec::new(), redis: Vec::new() };
    results.redis.extend(plan.in_flight.iter().map(|clients| (*clients, Vec::new())));
    for round in 0..plan.rounds {
        eprintln!("gets: round {}/{}", round + 1, plan.rounds);
        let before = cpu(&[&stage.broker, &master, &clone]);
        let gets = order(&mut clone, "gets", &[plan.window.as_millis() as u64]);
        let cpu = cpu(&[&stage.broker, &master, &clone]) - before;
        let done = gets["done"].as_f64().unwrap();
        let rate = done / gets["seconds"].as_f64().unwrap();
        results.ours.push(Flow { rate, cpu: cpu / done });
        for (clients, flows) in &mut results.redis {
            flows.extend(redis.iter().map(|redis| redis.flow("get", *clients, plan.window)));
        }
    }
    results
}

impl Results {
    pub(crate) fn print(&self) {
        let ours = medians(&self.ours);
        println!("\nGets at a clone: per second, CPU microseconds for one");
        println!("| | | | zcluster/Redis |\n|---|---|---|---|");
        println!("| zcluster | {} | {} | |", grouped(ours.rate), decimal(ours.cpu, 2));
        for (clients, flows) in &self.redis {
            let redis = medians(flows);
            let ratios = self.ours.iter().zip(flows).map(|(ours, redis)| ours.rate / redis.rate);
            println!(
                "| Redis, {clients} clients | {} | {} | {}× |",
                grouped(redis.rate),
                decimal(redis.cpu, 2),
                decimal(median(ratios), 1)
            );
        }
    }
}
