//! Benchmarks of the application model: pools, handlers, and typed events from node to node.
//!
//! `cargo bench -p zcluster --bench framework`; time divided by elements is time per event.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../../tests/support/mod.rs"]
mod support;

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use serde::{Deserialize, Serialize};
use zcluster::app::{App, Context, Harness, Outcome, Stopper};
use zcluster::pool::hash_key;
use zcluster::topic;
use zcluster::value::{Address, Timestamp};
use zcluster::{Event, Layout, Node, ToEvent, TypedEvent, Value};

use support::{Cluster, NodeSpec};

#[derive(Debug, PartialEq, Event, Serialize, Deserialize)]
#[event(name = "Scan::attempt")]
struct Attempt {
    at: Timestamp,
    scanner: Address,
    victim: Address,
    port: u64,
}

impl Attempt {
    fn new(number: u64) -> Self {
        let address = |last: u64| Address::from(std::net::Ipv4Addr::from_bits(last as u32));
        Attempt {
            at: Timestamp(number as i64),
            scanner: address(number),
            victim: address(number / 7),
            port: number % 1000,
        }
    }

    /// The same, as one would write it without serde.
    fn by_hand(&self) -> Event {
        let args = vec![self.at.into(), self.scanner.into(), self.victim.into(), self.port.into()];
        Event::new(Self::NAME, args)
    }

    fn from_hand(event: &Event) -> Option<Self> {
        let [Value::Timestamp(at), Value::Address(scanner), Value::Address(victim), port] =
            event.args.as_slice()
        else {
            return None;
        };
        let Value::Count(port) = port else { return None };
        Some(Attempt { at: *at, scanner: *scanner, victim: *victim, port: *port })
    }
}

/// A manager, and that many proxies.
fn layout(proxies: usize) -> Layout {
    let mut text = "[nodes.manager]\nnode_type = \"manager\"\nip = \"127.0.0.1\"\n".to_owned();
    for number in 1..=proxies {
        text.push_str(&format!(
            "[nodes.proxy-{number}]\nnode_type = \"proxy\"\nip = \"127.0.0.1\"\n"
        ));
    }
    Layout::from_toml(&text, "layout").unwrap().0
}

/// Runs a handler that publishes [`EVENTS`] events in a manager with that many proxies.
fn publishing(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    proxies: usize,
    publish: impl Fn(u64, &mut Context<'_>) -> Outcome + 'static,
) {
    let app = App::new()
        .on_event("go", move |_, context| (0..EVENTS).try_for_each(|n| publish(n, context)));
    let mut harness = Harness::new(app, layout(proxies), "manager").unwrap();
    for number in 1..=proxies {
        harness.node_up(&format!("proxy-{number}"), &format!("id{number}"));
    }
    let go = Event::new("go", vec![]);
    group.bench_function(name, |b| {
        b.iter_custom(|rounds| {
            let mut took = Duration::ZERO;
            for _ in 0..rounds {
                let start = Instant::now();
                harness.receive("t", "s", &go);
                took += start.elapsed();
                assert_eq!(harness.published().len() as u64, EVENTS);
            }
            took
        });
    });
}

const EVENTS: u64 = 1000;

fn pools(c: &mut Criterion) {
    let mut group = c.benchmark_group("publish_hrw");
    group.throughput(Throughput::Elements(EVENTS));
    publishing(&mut group, "publish, for comparison", 2, |number, context| {
        Ok(context.publish(topic::PROXY_POOL, &Attempt::new(number))?)
    });
    for proxies in [2, 8, 32] {
        let name = format!("{proxies} proxies");
        publishing(&mut group, &name, proxies, |number, context| {
            let attempt = Attempt::new(number);
            let key = hash_key(&Value::from(attempt.scanner)).ok_or("no key")?;
            assert!(context.publish_hrw(topic::PROXY_POOL, &key, &attempt)?);
            Ok(())
        });
    }
    group.finish();
}

fn dispatch(c: &mut Criterion) {
    let mut group = c.benchmark_group("dispatch");
    group.throughput(Throughput::Elements(1));
    let event = Attempt::new(42).to_event().unwrap().into_owned();
    let seen = Arc::new(AtomicU64::new(0));
    let count = |seen: &Arc<AtomicU64>| {
        let seen = Arc::clone(seen);
        move |attempt: &Attempt| _ = seen.fetch_add(attempt.port, Ordering::Relaxed)
    };
    let typed = count(&seen);
    let typed = App::new().on::<Attempt>(move |attempt, _| {
        typed(&attempt);
        Ok(())
    });
    let by_hand = count(&seen);
    let by_hand = App::new().on_event(Attempt::NAME, move |event, _| {
        by_hand(&Attempt::from_hand(event).ok_or("no attempt")?);
        Ok(())
    });
    for (name, app) in [("typed", typed), ("by hand", by_hand)] {
        let mut harness = Harness::new(app, layout(1), "manager").unwrap();
        group.bench_function(name, |b| b.iter(|| harness.receive("t", "s", &event)));
    }
    group.finish();
}

const NODES: &[NodeSpec<'static>] = &[("manager", "manager"), ("worker-1", "worker")];
/// How many events are under way at most: fewer than a node's queues hold.
const WINDOW: u64 = 4000;

/// From a handler's struct on one node to a handler's struct on another, through a broker.
fn node_to_node(c: &mut Criterion) {
    const EVENTS: u64 = 40_000;
    let cluster = Cluster::new(NODES, "");
    let _broker = cluster.broker();
    let mut group = c.benchmark_group("node to node");
    group.throughput(Throughput::Elements(EVENTS)).sample_size(20);
    group.measurement_time(Duration::from_secs(20));
    measure(&mut group, &cluster, "typed", EVENTS, |node, attempt| {
        node.publish("zeek.cluster.worker", attempt).unwrap();
    });
    measure(&mut group, &cluster, "untyped", EVENTS, |node, attempt| {
        node.publish("zeek.cluster.worker", &attempt.by_hand()).unwrap();
    });
    group.finish();
}

fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    cluster: &Cluster,
    name: &str,
    events: u64,
    publish: impl Fn(&Node, &Attempt),
) {
    let (worker, of_worker) = cluster.library_node("worker-1");
    let stopper = Stopper::new(&worker);
    let received = Arc::new(AtomicU64::new(0));
    let (up, is_up) = mpsc::channel();
    let thread = {
        let (received, stopper, typed) = (Arc::clone(&received), stopper.clone(), name == "typed");
        std::thread::spawn(move || {
            let seen = move |attempt: Attempt| {
                black_box(attempt);
                received.fetch_add(1, Ordering::Release);
            };
            let app = App::new().stopped_by(&stopper).on_event("Cluster::node_up", move |_, _| {
                let _ = up.send(());
                Ok(())
            });
            let app = if typed {
                app.on::<Attempt>(move |attempt, _| {
                    seen(attempt);
                    Ok(())
                })
            } else {
                app.on_event(Attempt::NAME, move |event, _| {
                    seen(Attempt::from_hand(event).ok_or("no attempt")?);
                    Ok(())
                })
            };
            app.run(&worker, &of_worker).unwrap();
            worker.shutdown(Duration::from_secs(1));
        })
    };
    let (manager, _of_manager) = cluster.library_node("manager");
    is_up.recv().unwrap();
    let mut sent = 0;
    group.bench_function(name, |b| {
        b.iter_custom(|rounds| {
            let start = Instant::now();
            for number in 0..rounds * events {
                while sent - received.load(Ordering::Acquire) >= WINDOW {
                    std::thread::sleep(Duration::from_micros(50));
                }
                publish(&manager, &Attempt::new(number));
                sent += 1;
            }
            while received.load(Ordering::Acquire) < sent {
                std::thread::sleep(Duration::from_micros(50));
            }
            start.elapsed()
        });
    });
    stopper.stop();
    thread.join().unwrap();
    manager.shutdown(Duration::from_secs(1));
}

criterion_group!(benches, pools, dispatch, node_to_node);
criterion_main!(benches);
