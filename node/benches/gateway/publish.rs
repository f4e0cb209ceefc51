//! Events from clients, as fast as they are read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::{Got, block};
use crate::crowd::Crowd;
use crate::event;
use crate::feed::Feeder;
use crate::plan::Plan;
use crate::report::Flow;
use crate::subject::{Kind, Under};
use crate::{PATIENCE, WARM_UP};

/// How many blocks of a client may be under way.
const BLOCKS: u64 = 2;

/// Measures events from that many clients.
pub(crate) fn publish(under: &Under, plan: &Plan, clients: usize) -> Flow {
    let feeder = under.feeder(&[event::topic(0)]);
    let crowd = Crowd::connect(under, plan.api, clients, &[]);
    let events = (plan.window / (BLOCKS * clients as u64)).clamp(16, 500);
    let mut flow = Flowing {
        feeder,
        crowd,
        block: block(&event::from_client(plan.api), events as usize),
        events,
        under_way: vec![0; clients],
        blocks: 0,
        has_bus: under.kind != Kind::Yardstick,
    };
    flow.run(WARM_UP);
    let (start, cpu, before) = (Instant::now(), under.cpu_time(), flow.blocks);
    flow.run(plan.length);
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), under.cpu_since(cpu));
    let events = ((flow.blocks - before) * flow.events) as f64;
    Flow { rate: events / seconds, cpu: cpu / events * 1e6, peak: under.peak_memory() }
}

struct Flowing {
    feeder: Feeder,
    crowd: Crowd,
    block: Arc<[u8]>,
    /// In a block.
    events: u64,
    /// Blocks that were not read yet, of each client.
    under_way: Vec<u64>,
    /// Blocks that were sent.
    blocks: u64,
    /// Whether events arrive on the bus.
    has_bus: bool,
}

impl Flowing {
    /// Sends for that long and waits until everything has arrived.
    fn run(&mut self, length: Duration) {
        let start = Instant::now();
        let mut ready: Vec<usize> = (0..self.under_way.len()).collect();
        loop {
            let is_over = start.elapsed() >= length;
            if !is_over {
                for number in ready.drain(..) {
                    self.write(number);
                }
            }
            let sent = self.blocks * self.events;
            let received = self.feeder.received();
            assert!(!self.has_bus || received <= sent, "{received} arrived, {sent} were sent");
            let is_read = self.under_way.iter().all(|blocks| *blocks == 0);
            if is_over && is_read && (!self.has_bus || received == sent) {
                return;
            }
            let late = start.elapsed() > length + PATIENCE;
            assert!(!late, "{} of {sent} events do not arrive", sent - received);
            let wait = if is_over { 1 } else { 100 };
            let under_way = &mut self.under_way;
            self.crowd.read(Duration::from_millis(wait), |number, got| {
                assert_eq!(got, Got::Pong);
                under_way[number] -= 1;
                if !ready.contains(&number) {
                    ready.push(number);
                }
            });
        }
    }

    /// Has a client write as many blocks as it may.
    fn write(&mut self, number: usize) {
        while self.under_way[number] < BLOCKS && self.crowd.clients[number].write(Some(&self.block))
        {
            self.under_way[number] += 1;
            self.blocks += 1;
        }
        if self.crowd.clients[number].is_writing() {
            self.crowd.watch_room(number);
        }
    }
}
