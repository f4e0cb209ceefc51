//! A million elements: time and memory to add them, to send them to a new node, to find them.

use std::cell::Cell;
use std::hint::black_box;
use std::rc::Rc;
use std::time::{Duration, Instant};

use criterion::Criterion;
use zcluster::Event;
use zcluster::app::{App, Harness};
use zcluster::table::{Key, Options, PUBLISH_TABLE_BATCH_SIZE, Table, Tables, Yield};

use super::{ALL, ME, OTHER, act, address, harness, other};

const COUNT: u32 = 1_000_000;

/// The resident memory of this process, in bytes.
fn memory() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

fn report(what: &str, time: Duration, bytes: Option<usize>) {
    let nanos = time.as_nanos() / u128::from(COUNT);
    let bytes = bytes.map(|bytes| format!(", {} bytes", bytes / COUNT as usize));
    println!("{what}: {nanos} ns{} each", bytes.unwrap_or_default());
}

/// A node that has the million, added a thousand at a time.
fn filled<K: Key, V: Yield>(
    what: &str,
    options: Options<K, V>,
    element: impl Fn(u32) -> (K, V) + 'static,
) -> (Harness, Table<K, V>) {
    let tables = Tables::new();
    let table = tables.table("Demo::t", options).unwrap();
    let (filling, next) = (table.clone(), Rc::new(Cell::new(0)));
    let mut node = other(&tables, move |context| {
        if next.get() == COUNT {
            filling.publish_table("demo.t", PUBLISH_TABLE_BATCH_SIZE, context);
            return Ok(());
        }
        for number in next.get()..next.get() + 1000 {
            let (key, value) = element(number);
            filling.insert(key, value, context)?;
        }
        next.set(next.get() + 1000);
        Ok(())
    });
    let (before, start) = (memory(), Instant::now());
    for _ in 0..COUNT / 1000 {
        node.receive("t", "somebody", &act());
        node.published();
    }
    report(&format!("add, {what}"), start.elapsed(), Some(memory() - before));
    assert_eq!(table.len(), COUNT as usize);
    (node, table)
}

/// Sends the whole table, and applies it on another node.
fn send(mut node: Harness) {
    let tables = Tables::new();
    let table = tables
        .table::<zcluster::value::Address, u64>("Demo::t", Options::new().publish_on_change(ALL))
        .unwrap();
    let mut new = harness(App::new().with(&tables), ME);
    let (mut sending, mut applying) = (Duration::ZERO, Duration::ZERO);
    let mut slowest = Duration::ZERO;
    let start = Instant::now();
    node.receive("t", "somebody", &act());
    sending += start.elapsed();
    loop {
        let events: Vec<Event> = node.published().into_iter().map(|p| p.event).collect();
        if events.is_empty() {
            break;
        }
        let start = Instant::now();
        for event in &events {
            new.receive("t", OTHER, event);
        }
        applying += start.elapsed();
        let start = Instant::now();
        node.advance(Duration::from_millis(1));
        sending += start.elapsed();
        slowest = slowest.max(start.elapsed());
    }
    assert_eq!(table.len(), COUNT as usize);
    report("publish_table", sending, None);
    println!("its longest turn: {slowest:?}");
    report("apply it on a new node", applying, None);
}

/// Says which row a child measures: memory is that of a process that has done nothing else.
const ROW: &str = "ZCLUSTER_BENCH_ROW";

fn row(row: usize) -> bool {
    let plain = Options::<zcluster::value::Address, ()>::new;
    let year = Duration::from_secs(365 * 86_400);
    let published = || Options::new().publish_on_change(ALL);
    match row {
        0 => drop(filled("addr", plain(), |n| (address(n), ()))),
        1 => drop(filled("addr, expires", plain().create_expire(year), |n| (address(n), ()))),
        2 => drop(filled("addr to count", Options::new(), |n| (address(n), u64::from(n)))),
        3 => {
            send(filled("addr to count, published", published(), |n| (address(n), u64::from(n))).0);
        }
        4 => {
            let element = |n| (format!("{n:010}"), u64::from(n));
            drop(filled("string of 10 to count", Options::new(), element));
        }
        _ => return false,
    }
    true
}

/// In a child: measures its row, and ends.
pub(super) fn child() {
    if let Ok(number) = std::env::var(ROW) {
        row(number.parse().unwrap());
        std::process::exit(0);
    }
}

pub(super) fn bench(c: &mut Criterion) {
    for number in 0..5 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        // glibc gives large blocks back at once.
        child.env(ROW, number.to_string()).env("MALLOC_MMAP_THRESHOLD_", "131072");
        assert!(child.status().unwrap().success());
    }
    let (_node, table) = filled("addr to count", Options::new(), |n| (address(n), u64::from(n)));
    let mut group = c.benchmark_group("million");
    let mut number = 0_u32;
    let mut next = move |is_there: bool| {
        number = number.wrapping_add(7_919);
        address(number % COUNT + if is_there { 0 } else { COUNT })
    };
    group.bench_function("get", |b| b.iter(|| black_box(table.get(&next(true)).unwrap())));
    group.bench_function("get, not there", |b| b.iter(|| black_box(table.contains(&next(false)))));
    group.finish();
}
