//! Benchmarks of tables that replicate.
//!
//! `cargo bench -p zcluster --bench tables`; time divided by elements is time per change or lookup.
//! What a million elements cost is printed between.
#![allow(clippy::unwrap_used, missing_docs)]

mod million;

use std::hint::black_box;
use std::net::Ipv4Addr;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use zcluster::app::{App, Context, Harness, Outcome};
use zcluster::table::{Change, Options, Set, Tables};
use zcluster::topic::NodeId;
use zcluster::value::Address;
use zcluster::wire::broker_bin;
use zcluster::{Event, Layout};

const ALL: [Change; 4] = [Change::New, Change::Changed, Change::Removed, Change::Expired];

/// The ids of the node that is measured, and of another one.
const ME: &str = "zeromq_manager_host1_4241_NwrZBf1q3FkxySjt2b";
const OTHER: &str = "zeromq_worker-1_host1_4242_NwrZBf1q3FkxySjt2a";

fn harness(app: App, id: &str) -> Harness {
    let text = "[nodes.manager]\nnode_type = \"manager\"\nip = \"127.0.0.1\"\n";
    let (layout, _) = Layout::from_toml(text, "layout").unwrap();
    Harness::with_id(app, layout, "manager", NodeId::from_bytes(id)).unwrap()
}

/// Another node, which calls a function whenever it receives the event `act`.
fn other(tables: &Tables, mut act: impl FnMut(&mut Context<'_>) -> Outcome + 'static) -> Harness {
    let app = App::new().with(tables).on_event("act", move |_, context| act(context));
    harness(app, OTHER)
}

fn act() -> Event {
    Event::new("act", vec![])
}

fn address(number: u32) -> Address {
    // Neighbours in time are no neighbours.
    Ipv4Addr::from(number.wrapping_mul(0x9e37_79b1)).into()
}

/// Events of another node, as bytes: `size` changes each.
fn incoming(size: usize, events: usize) -> Vec<Vec<u8>> {
    let tables = Tables::new();
    let options = Options::new().publish_on_change(ALL).max_batch_size(size);
    let options = options.max_batch_delay(std::time::Duration::MAX);
    let set = tables.set::<Address>("Demo::in", options).unwrap();
    let count = (size * events) as u32;
    let mut node = other(&tables, move |context| {
        for number in 0..=count {
            set.insert(address(number), context)?;
        }
        Ok(())
    });
    node.receive("t", "somebody", &act());
    let published = node.published();
    // The first change goes out by itself.
    let encoded = published.iter().skip(1).map(|published| {
        let mut bytes = Vec::new();
        broker_bin::encode_event(&published.event, &mut bytes);
        bytes
    });
    encoded.collect()
}

/// Applies what comes, and publishes it as changes of another table.
fn republish(size: usize) -> (Harness, Set<Address>, Set<Address>) {
    let tables = Tables::new();
    let options = || Options::new().publish_on_change(ALL).max_batch_size(size);
    let from = tables.set::<Address>("Demo::in", options()).unwrap();
    let to = tables.set::<Address>("Demo::out", options()).unwrap();
    let out = to.clone();
    from.on_change(move |_, changed, context| {
        out.insert(*changed.key, context)?;
        Ok(())
    });
    (harness(App::new().with(&tables), ME), from, to)
}

fn bench(c: &mut Criterion) {
    const EVENTS: usize = 1000;
    million::child();
    let mut group = c.benchmark_group("change");
    for size in [1, 10] {
        let events = incoming(size, EVENTS);
        group.throughput(Throughput::Elements((size * events.len()) as u64));
        group.bench_function(format!("decode, {size} per event"), |b| {
            b.iter(|| {
                for bytes in &events {
                    black_box(broker_bin::decode_event(bytes).unwrap());
                }
            });
        });
        let tables = Tables::new();
        let set = tables.set::<Address>("Demo::in", Options::new().publish_on_change(ALL)).unwrap();
        let mut applying = harness(App::new().with(&tables), ME);
        group.bench_function(format!("decode, apply, {size} per event"), |b| {
            b.iter(|| {
                for bytes in &events {
                    let event = broker_bin::decode_event(bytes).unwrap();
                    applying.receive("zeek/table/Demo::in/", OTHER, &event);
                }
            });
        });
        assert_eq!(set.len(), size * events.len());
        let (mut node, from, to) = republish(if size == 1 { 0 } else { size });
        let mut out = Vec::new();
        group.bench_function(format!("decode, apply, publish, encode, {size} per event"), |b| {
            b.iter(|| {
                for bytes in &events {
                    let event = broker_bin::decode_event(bytes).unwrap();
                    node.receive("zeek/table/Demo::in/", OTHER, &event);
                    for published in node.published() {
                        out.clear();
                        broker_bin::encode_event(&published.event, &mut out);
                        black_box(&out);
                    }
                }
            });
        });
        let counts = (from.counts(), to.counts());
        assert!(counts.0.applied - counts.1.published < 10, "{counts:?}");
    }
    group.finish();
}

criterion_group!(benches, bench, million::bench);
criterion_main!(benches);
