//! The task between the node and the hub.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::task::yield_now;
use tokio::time::{MissedTickBehavior, interval};
use zcluster::node::guests::Arrival;
use zcluster::value::Timestamp;

use super::Shared;
use crate::hub::Hub;

/// How much is handled before clients get their turn, in bytes of events. It bounds their latency,
/// and lets a client's messages leave in one piece while the bus is busy.
const BATCH: usize = 256 << 10;
/// What an arrival counts at least: there are 512 of them at most.
const ARRIVAL: usize = 512;
/// How often sessions of lost clients are looked at, and what the node could not be told is told
/// again.
const TICK: Duration = Duration::from_millis(250);

/// Runs until the gateway stops.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shared.arrived.notified() => while take(&shared) {
                yield_now().await;
            },
            _ = ticks.tick() => {
                shared.hub().tick(Instant::now());
                shared.settle();
            }
        }
    }
}

/// Handles a batch of what has arrived; `true` if there may be more.
fn take(shared: &Shared) -> bool {
    let Some(guests) = shared.guests.get() else { return false };
    let mut is_more = true;
    {
        let mut hub = shared.hub();
        let received = Timestamp::from(SystemTime::now());
        let mut left = BATCH;
        while left > 0 {
            let Some(arrival) = guests.try_receive() else {
                is_more = false;
                break;
            };
            left = left.saturating_sub(ARRIVAL.max(size(&arrival)));
            handle(&mut hub, arrival, received);
        }
    }
    shared.settle();
    is_more
}

fn size(arrival: &Arrival) -> usize {
    match arrival {
        Arrival::Event(event) => event.payload().len(),
        _ => 0,
    }
}

fn handle(hub: &mut Hub, arrival: Arrival, received: Timestamp) {
    match arrival {
        // An event that does not decode was counted by the node's metrics.
        Arrival::Event(event) => {
            hub.event(event.topic(), event.sender(), received, || event.decode().ok());
        }
        Arrival::Missed(missed) => hub.missed(missed.take()),
        Arrival::Confirmed(number) => hub.confirmed(number),
        Arrival::NodeUp { name, id } => hub.node_changed(&name, Some(id.to_string()), received),
        Arrival::NodeDown { name, .. } => hub.node_changed(&name, None, received),
        Arrival::Connected => hub.bus_changed(true),
        Arrival::Disconnected => hub.bus_changed(false),
    }
}
