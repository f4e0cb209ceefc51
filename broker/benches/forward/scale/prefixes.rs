//! A broker with very many subscriptions.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde::Serialize;
use zcluster::wire::zmtp::put_subscription;

use super::BULK;
use crate::broker::{Broker, Subject};
use crate::flow::{Flow, flow, flow_through};
use crate::keys;
use crate::plan::Client;
use crate::raw::{Connection, Notification};

/// Subscribers that share the prefixes.
const SUBSCRIBERS: usize = 100;
/// Publishers that join.
const JOINING: u32 = 5;
/// Subscriptions that come and go.
const CHANGES: u32 = 500;

/// One measurement.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Prefixes {
    /// A flow without the prefixes.
    pub(crate) alone: Flow,
    /// A flow through a broker that has them.
    pub(crate) beside: Flow,
    /// A publisher joins and is told of all prefixes.
    pub(crate) join: Cost,
    /// A subscription that comes or goes, until a publisher is told.
    pub(crate) change: Cost,
    /// The most memory that the broker has used, in bytes.
    pub(crate) memory: u64,
}

/// What something costs once.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Cost {
    pub(crate) seconds: f64,
    /// CPU seconds of the broker.
    pub(crate) cpu: f64,
}

impl Cost {
    /// Measures something that is done that often.
    fn of(broker: &Broker, times: u32, mut what: impl FnMut()) -> Self {
        let (clock, cpu) = (Instant::now(), broker.cpu_time());
        (0..times).for_each(|_| what());
        let (took, cpu) = (clock.elapsed(), broker.cpu_time().saturating_sub(cpu));
        let each = |all: Duration| all.as_secs_f64() / f64::from(times);
        Cost { seconds: each(took), cpu: each(cpu) }
    }
}

/// Measures a broker with `count` prefixes in total.
pub(crate) fn prefixes(
    subject: &Subject,
    count: usize,
    client: Client,
    size: usize,
    window: Duration,
) -> Prefixes {
    let alone = flow(subject, BULK, client, size, window);
    let curve = client.is_encrypted().then(keys::raw_client);
    let curve = curve.as_ref();
    let broker = Broker::start(subject, client.is_encrypted());
    let prefix = |subscriber, i| format!("zeek.app.subscriber-{subscriber:02}.topic-{i:05}.");
    let each = count / SUBSCRIBERS;
    let lists: Vec<Vec<String>> = (0..SUBSCRIBERS)
        .map(|subscriber| (0..each).map(|i| prefix(subscriber, i)).collect())
        .collect();
    let mut publisher = Connection::publisher(&broker.xsub, curve);
    let connect = |list: &Vec<String>| Connection::subscriber(&broker.xpub, list, curve);
    let mut subscribers: Vec<Connection> = lists.iter().map(connect).collect();
    let all: BTreeSet<Vec<u8>> = lists.concat().into_iter().map(String::into_bytes).collect();
    assert_eq!(told(&mut publisher, all.len()), all);

    let beside = flow_through(&broker, all.len(), BULK, client, size, window);
    // The flow's prefixes come and go.
    let mut gone = 0;
    while gone < 2 * BULK.subscribers {
        publisher.wait_for_notifications(1);
        publisher.take_notifications(|notification| {
            gone += usize::from(matches!(notification, Notification::Cancelled(_)));
        });
    }
    let mut joined = Vec::new();
    let join = Cost::of(&broker, JOINING, || {
        let mut publisher = Connection::publisher(&broker.xsub, curve);
        publisher.wait_for_notifications(all.len());
        joined.push(publisher);
    });
    for mut publisher in joined {
        assert_eq!(told(&mut publisher, all.len()), all);
    }

    let one = prefix(0, each);
    let (mut subscribe, mut cancel) = (Vec::new(), Vec::new());
    put_subscription(true, one.as_bytes(), &mut subscribe);
    put_subscription(false, one.as_bytes(), &mut cancel);
    let mut is_subscribed = false;
    let change = Cost::of(&broker, 2 * CHANGES, || {
        is_subscribed = !is_subscribed;
        assert!(subscribers[0].write(if is_subscribed { &subscribe } else { &cancel }));
        publisher.wait_for_notifications(1);
        publisher.take_notifications(|notification| {
            let notified =
                if is_subscribed { Notification::Subscribed } else { Notification::Cancelled };
            assert_eq!(notification, notified(one.as_bytes()));
        });
    });
    Prefixes { alone, beside, join, change, memory: broker.peak_memory() }
}

/// The next `count` prefixes that a publisher is told of.
fn told(publisher: &mut Connection, count: usize) -> BTreeSet<Vec<u8>> {
    let mut told = BTreeSet::new();
    publisher.wait_for_notifications(count);
    publisher.take_notifications(|notification| {
        if let Notification::Subscribed(prefix) = notification {
            told.insert(prefix.to_vec());
        }
    });
    told
}
