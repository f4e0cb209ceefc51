//! Measures the cluster once a second while a client wants to see it: asks the processes of the layout
//! for their metrics, and the broker for its topics and slow subscribers.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::body::Bytes;
use axum::http::{Request, StatusCode, header};
use bstr::{BString, ByteSlice};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use zcluster::http::Service;
use zcluster::telemetry::Telemetry;
use zcluster::value::Timestamp;

use super::Shared;
use crate::figures::{Totals, slow_peers, topic_rates};
use crate::hub::{Figures, Version};
use crate::v2::{ClientStats, CountedBy, SlowPeer, Stats, TopicRate};

/// How often.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long a process may take to answer.
const PATIENCE: Duration = Duration::from_millis(800);
/// How many processes are asked at the same time.
const AT_ONCE: usize = 32;
/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 8 << 20;

/// Whom to ask.
pub(super) struct Sources {
    /// The node that hosts the gateway.
    pub(super) node: String,
    /// Its metrics.
    pub(super) telemetry: Telemetry,
    /// The other processes.
    pub(super) services: Vec<Service>,
    /// Where the broker has its status.
    pub(super) broker: Option<SocketAddr>,
}

/// What was measured at one time.
struct Measured {
    at: Instant,
    totals: Totals,
    /// What the broker has measured.
    topics: Option<Vec<TopicRate<'static>>>,
    /// What the gateway has received since the time before.
    received: HashMap<BString, u64>,
    clients: Vec<Figures>,
    slow: Vec<SlowPeer<'static>>,
    unreachable: Vec<String>,
}

/// Runs until the gateway stops.
pub(super) async fn run(shared: Arc<Shared>, sources: Sources) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut before: Option<Measured> = None;
    loop {
        ticks.tick().await;
        if !shared.hub().wants_stats() {
            before = None;
            continue;
        }
        let now = measure(&shared, &sources, &places).await;
        if let Some(before) = &before {
            let stats = compare(&sources.node, before, &now);
            shared.hub().stats(&stats);
        }
        before = Some(now);
    }
}

async fn measure(shared: &Shared, sources: &Sources, places: &Arc<Semaphore>) -> Measured {
    let mut totals = Totals::default();
    totals.add(&sources.node, &sources.telemetry.encode());
    let mut asked = JoinSet::new();
    for service in sources.services.iter().filter(|service| service.node != sources.node) {
        let (service, places) = (service.clone(), Arc::clone(places));
        asked.spawn(async move {
            let _place = places.acquire().await;
            let answer = timeout(PATIENCE, get(service.address, "/metrics")).await;
            (service.node, answer.ok().flatten())
        });
    }
    let mut unreachable = Vec::new();
    while let Some(Ok((name, metrics))) = asked.join_next().await {
        match metrics {
            Some(metrics) => totals.add(&name, &metrics),
            None => unreachable.push(name),
        }
    }
    unreachable.sort();
    let status = match sources.broker {
        Some(broker) => timeout(PATIENCE, get(broker, "/status")).await.ok().flatten(),
        None => None,
    };
    let status = status.and_then(|text| serde_json::from_str(&text).ok());
    let mut hub = shared.hub();
    Measured {
        at: Instant::now(),
        totals,
        topics: status.as_ref().and_then(topic_rates),
        received: hub.take_topics(),
        clients: hub.figures(),
        slow: status.as_ref().map(slow_peers).unwrap_or_default(),
        unreachable,
    }
}

/// The body of an answer; `None` if there is none.
async fn get(address: SocketAddr, path: &str) -> Option<String> {
    let stream = TcpStream::connect(address).await.ok()?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    let request = Request::get(path)
        .header(header::HOST, address.to_string())
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .ok()?;
    let answer = async {
        let response = sender.send_request(request).await.ok()?;
        if response.status() != StatusCode::OK {
            return None;
        }
        Limited::new(response.into_body(), MAX_ANSWER).collect().await.ok()
    };
    // The connection makes progress only while it is polled.
    let (answer, _) = tokio::join!(answer, connection);
    String::from_utf8(answer?.to_bytes().to_vec()).ok()
}

fn compare<'a>(node: &'a str, before: &'a Measured, now: &'a Measured) -> Stats<'a> {
    let seconds = (now.at - before.at).as_secs_f64();
    let per_second = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
    let received = (now.received.iter()).map(|(topic, count)| TopicRate {
        topic: topic.to_str_lossy(),
        events_per_second: per_second(*count),
    });
    let (topics_from, mut topics) = match &now.topics {
        Some(topics) => (CountedBy::Broker, topics.clone()),
        None => (CountedBy::Gateway, received.collect()),
    };
    topics.sort_by(|a, b| b.events_per_second.total_cmp(&a.events_per_second));
    let former: HashMap<&str, &Figures> =
        before.clients.iter().map(|client| (client.endpoint.id.as_str(), client)).collect();
    let mut clients: Vec<ClientStats<'_>> = (now.clients.iter())
        .map(|client| {
            let former = former.get(client.endpoint.id.as_str());
            let grown = |count: fn(&Figures) -> u64| {
                count(client).saturating_sub(former.map_or(0, |former| count(former)))
            };
            ClientStats {
                endpoint: client.endpoint.id.as_str().into(),
                application: application(client),
                address: client.endpoint.peer.to_string().into(),
                version: if client.version == Version::V1 { 1 } else { 2 },
                subscriptions: client.subscriptions as u64,
                received_per_second: per_second(grown(|figures| figures.received)),
                sent_per_second: per_second(grown(|figures| figures.sent)),
                queued_messages: client.queued as u64,
                dropped: client.dropped,
            }
        })
        .collect();
    clients.sort_by(|a, b| b.sent_per_second.total_cmp(&a.sent_per_second));
    Stats {
        ts: Timestamp::from(SystemTime::now()),
        node: node.into(),
        interval_seconds: seconds,
        topics_from,
        topics,
        logs: now.totals.logs(&before.totals, seconds),
        drops: now.totals.losses(&before.totals, seconds),
        slow: now.slow.clone(),
        clients,
        unreachable: now.unreachable.iter().map(Cow::from).collect(),
    }
}

/// Who a client is: to access control, or as it calls itself.
fn application(client: &Figures) -> Option<Cow<'_, str>> {
    let proven = client.application.as_deref();
    proven.or(client.endpoint.name.as_deref()).map(Cow::from)
}
