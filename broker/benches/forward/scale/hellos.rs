//! Every node greets every other one (WIRE.md §6): many small events, each to one node.

use std::collections::VecDeque;
use std::time::Instant;

use serde::Serialize;

use super::crowd::Crowd;
use super::link::BATCH;
use crate::broker::Broker;

/// Most hellos of all nodes together. In a larger cluster, each node greets only some others.
const MOST: usize = 2_000_000;
/// Fewest hellos. In a smaller cluster, each node greets all others several times.
const FEWEST: usize = 200_000;
/// Most hellos that are sent and not received yet: few enough that no queue is ever full.
const MOST_IN_FLIGHT: u64 = 20_000;

/// One measurement.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Hellos {
    /// How many there were. All have arrived.
    pub(crate) count: u64,
    /// Seconds from the first one sent to the last one received.
    pub(crate) seconds: f64,
    /// CPU seconds of the broker per million.
    pub(crate) cpu: f64,
    /// The most memory that the broker has used, in bytes.
    pub(crate) memory: u64,
}

/// A node that has others to greet.
struct Greeter {
    node: usize,
    /// How many hellos it has sent.
    sent: usize,
}

/// Sends hellos between all nodes, which must have joined.
///
/// A node greets the others in the order of their names, beginning after its own. It writes a batch
/// when it is its turn, or a single hello.
pub(super) fn hellos(
    crowd: &mut Crowd,
    broker: &Broker,
    is_encrypted: bool,
    singly: bool,
) -> Hellos {
    let nodes = crowd.names.len();
    let others = (nodes - 1).min(MOST / nodes);
    let times = FEWEST.div_ceil(nodes * others);
    let each = times * others;
    let total = (nodes * each) as u64;
    let size = crowd.names.hello_size(is_encrypted) as u64;

    let batch = if singly { size as usize } else { BATCH };
    let before: Vec<u64> = crowd.received().collect();
    let received_before = crowd.received_in_total();

    let (clock, cpu) = (Instant::now(), broker.cpu_time());
    let mut greeters: VecDeque<Greeter> =
        (0..nodes).map(|node| Greeter { node, sent: 0 }).collect();
    let mut sent = 0;
    let mut hellos = Vec::new();
    crowd.run_until(|crowd| {
        let received = (crowd.received_in_total() - received_before) / size;
        for _ in 0..greeters.len() {
            if sent - received >= MOST_IN_FLIGHT {
                break;
            }
            let Some(mut greeter) = greeters.pop_front() else { break };
            let link = &mut crowd.links[2 * greeter.node];
            if !link.waits_to_write() {
                hellos.clear();
                let before = greeter.sent;
                let room = batch.saturating_sub(link.unsent()).div_ceil(size as usize);
                while greeter.sent < each && greeter.sent < before + room {
                    let to = (greeter.node + 1 + greeter.sent % others) % nodes;
                    crowd.names.put_hello(greeter.node, to, &mut hellos);
                    greeter.sent += 1;
                }
                sent += (greeter.sent - before) as u64;
                link.put(&hellos, &mut crowd.buffers);
                // libzmq fills batches and cuts hellos in two.
                link.flush(!singly && greeter.sent < each, &crowd.poller).unwrap();
            }
            if greeter.sent < each {
                greeters.push_back(greeter);
            }
        }
        crowd.has_more = sent < total && sent - received < MOST_IN_FLIGHT;
        received >= total
    });
    let (seconds, cpu) = (clock.elapsed().as_secs_f64(), broker.cpu_time().saturating_sub(cpu));
    for (node, (bytes, before)) in crowd.received().zip(before).enumerate() {
        let expected = each as u64 * size;
        assert_eq!(bytes - before, expected, "bytes of {each} hellos for node {node}");
    }
    Hellos {
        count: total,
        seconds,
        cpu: cpu.as_secs_f64() / (total as f64 / 1e6),
        memory: broker.peak_memory(),
    }
}
