//! Measures how one stalled or slow subscriber affects others that read as fast as they can.

use std::thread::sleep;
use std::time::Duration;

use serde::Serialize;

use crate::broker::{Broker, Subject};
use crate::event::Sample;
use crate::flow::{Clients, WARM_UP, Window};
use crate::plan::{Client, Shape, Trouble};
use crate::raw;

/// One publisher and four healthy subscribers.
const SHAPE: Shape = Shape::fan_out();
/// Time after the fifth subscriber connects for its queues and buffers to fill.
const SETTLE: Duration = Duration::from_secs(2);
/// Shortest window: a bus that waits for a slow subscriber progresses in bursts.
const SHORTEST: Duration = Duration::from_secs(1);

/// One measurement; both figures are of the slowest healthy subscriber at the time.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Isolation {
    /// Events per second without the troubled subscriber.
    pub(crate) before: f64,
    /// Events per second with it.
    pub(crate) during: f64,
}

impl Isolation {
    /// The remaining fraction.
    pub(crate) fn kept(&self) -> f64 {
        self.during / self.before
    }
}

/// Measures healthy subscribers without and with a troubled one.
pub(crate) fn isolation(
    subject: &Subject,
    trouble: Trouble,
    client: Client,
    size: usize,
    window: Duration,
) -> Isolation {
    let broker = Broker::start(subject, client.is_encrypted());
    let clients = Clients::start(&broker, 0, SHAPE, client, size, window);
    let rate = || {
        let window = window.max(SHORTEST);
        let window = Window::measure(&broker, &clients.subscribers, window);
        window.events.iter().min().copied().unwrap() as f64 / window.seconds
    };
    sleep(WARM_UP);
    let before = rate();
    let (mut stalled, mut slow) = (None, None);
    match trouble {
        Trouble::Stalled => stalled = Some(raw::stalled(&broker.xpub, &SHAPE.prefix(0))),
        Trouble::Slow => {
            let bytes = Sample::new(&SHAPE.topic(0), 0, size).encode().len();
            slow = Some(raw::slow(&broker.xpub, &SHAPE.prefix(0), bytes));
        }
    }
    sleep(SETTLE);
    let during = rate();
    clients.publishers.finish();
    clients.subscribers.finish();
    drop(stalled);
    // The slow subscriber reads until its connection is closed.
    drop(broker);
    if let Some(slow) = slow {
        slow.join().unwrap();
    }
    Isolation { before, during }
}
