//! What a node of the benchmark does, in a process of its own. It is told on standard input, a line for each order: a name,
//! then numbers. It answers on standard output, in JSON.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::BufRead;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::json;
use zcluster::app::{App, Context, Inbox, Outcome};
use zcluster::store::{Store, StoreError, Stores};
use zcluster::{Event, Layout, Node, Value};

use crate::load::{self, Random, key};
use crate::plan::{KEYS, Kind};

/// In the environment of a node: its layout, its name and its role.
pub(crate) const LAYOUT: &str = "ZCLUSTER_BENCH_LAYOUT";
pub(crate) const NAME: &str = "ZCLUSTER_BENCH_NODE";
pub(crate) const ROLE: &str = "ZCLUSTER_BENCH_ROLE";

/// The topic of events that have nothing to do with stores.
const TOPIC: &str = "bench.others";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It has the masters.
    Master,
    /// It has frontends.
    Client,
    /// It has a clone of the store in memory.
    Clone,
    /// It has no stores: it publishes, or receives, events.
    Other,
}

impl Role {
    const ALL: [Role; 4] = [Role::Master, Role::Client, Role::Clone, Role::Other];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::Master => "master",
            Role::Client => "client",
            Role::Clone => "clone",
            Role::Other => "other",
        }
    }
}

pub(crate) type Texts = Store<String, String>;

/// An event of those who have nothing to do with stores.
#[derive(Debug, Event, Serialize, Deserialize)]
#[event(name = "Bench::other")]
struct Other {
    /// When it was due, in nanoseconds of the system's monotonic clock.
    due: u64,
}

/// Whether this process is a node.
pub(crate) fn is_one() -> bool {
    std::env::var_os(ROLE).is_some()
}

/// Runs until standard input ends.
pub(crate) fn run() {
    let var = |name| std::env::var(name).unwrap();
    let layout = std::fs::read_to_string(var(LAYOUT)).unwrap();
    let (layout, _) = Layout::from_toml(&layout, "layout").unwrap();
    let role = Role::ALL.into_iter().find(|role| role.name() == var(ROLE)).unwrap();
    let (node, notifications) = Node::builder(layout, var(NAME)).start().unwrap();
    let stores = Stores::new(&node);
    stores.request_timeout(Duration::from_secs(60));
    let created = create(role, &stores).unwrap();
    let inbox = Inbox::new(&node);
    let mut app = App::new().with(&stores).inbox(&inbox);
    app = match role {
        Role::Other => others(app, &node),
        _ => load::orders(app, &created),
    };
    if role == Role::Clone {
        let store = created[Kind::Memory.name()].clone();
        let since = Instant::now();
        app = app.on_event("gets", {
            let store = store.clone();
            move |event, _| gets(&store, event)
        });
        app = app.on_event("complete", move |_, context| {
            complete(store.clone(), since, context);
            Ok(())
        });
    }
    thread::spawn(move || obey(&inbox));
    println!("{}", json!({"ready": {}}));
    app.run(&node, &notifications).unwrap();
}

fn create(role: Role, stores: &Stores) -> Result<BTreeMap<&'static str, Texts>, StoreError> {
    let mut created = BTreeMap::new();
    for kind in Kind::ALL {
        let name = kind.name();
        let store = match role {
            Role::Master => stores.create_store(name, false)?,
            Role::Client => stores.create_frontend(name)?,
            Role::Clone if kind == Kind::Memory => stores.create_clone(name)?,
            Role::Clone | Role::Other => continue,
        };
        created.insert(name, store);
    }
    Ok(created)
}

/// Passes on what standard input says.
fn obey(inbox: &Inbox) {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default().to_owned();
        let numbers = words.filter_map(|word| word.parse::<u64>().ok());
        let event = Event::new(name, numbers.map(Value::from).collect());
        if inbox.raise(&event).is_err() {
            break;
        }
    }
    std::process::exit(0);
}

/// The numbers of an order.
pub(crate) fn numbers(event: &Event) -> Vec<u64> {
    let number = |value: &Value| match value {
        Value::Count(number) => Some(*number),
        _ => None,
    };
    event.args.iter().filter_map(number).collect()
}

/// Queries a clone for that many milliseconds, on this thread.
fn gets(store: &Texts, event: &Event) -> Outcome {
    let window = Duration::from_millis(numbers(event)[0]);
    let keys: Vec<String> = (0..KEYS).map(key).collect();
    let mut random = Random::default();
    let (mut done, start) = (0_u64, Instant::now());
    while start.elapsed() < window {
        for _ in 0..1_000 {
            black_box(store.local_get(&keys[random.below(KEYS) as usize])?);
        }
        done += 1_000;
    }
    println!("{}", json!({"gets": {"done": done, "seconds": start.elapsed().as_secs_f64()}}));
    Ok(())
}

/// Says when a clone has its content.
fn complete(store: Texts, since: Instant, context: &mut Context<'_>) {
    if let Some(size) = store.local_size() {
        let seconds = since.elapsed().as_secs_f64();
        println!("{}", json!({"complete": {"seconds": seconds, "size": size}}));
        return;
    }
    context.call_after(Duration::from_millis(5), move |context| {
        complete(store, since, context);
        Ok(())
    });
}

/// Nanoseconds on a clock that all processes share.
fn monotonic() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Events of others: `publish` begins to publish that many per second, `delays` says how late those were that have come since
/// it was asked before.
fn others(app: App, node: &Node) -> App {
    let publisher = node.clone();
    let delays = Rc::new(RefCell::new(Vec::<u64>::new()));
    let reported = Rc::clone(&delays);
    app.subscribe(TOPIC)
        .on::<Other>(move |event, _| {
            delays.borrow_mut().push(monotonic().saturating_sub(event.due));
            Ok(())
        })
        .on_event("delays", move |_, _| {
            let mut delays = reported.take();
            delays.sort_unstable();
            let at = |share: f64| {
                let position = (delays.len() as f64 * share) as usize;
                delays.get(position).map(|nanos| *nanos as f64 / 1e6)
            };
            let last = delays.last().map(|nanos| *nanos as f64 / 1e6);
            let figures =
                json!({"count": delays.len(), "p50": at(0.5), "p99": at(0.99), "max": last});
            println!("{}", json!({"delays": figures}));
            Ok(())
        })
        .on_event("publish", move |event, _| {
            let (node, rate) = (publisher.clone(), numbers(event)[0]);
            thread::spawn(move || publish(&node, rate));
            Ok(())
        })
}

/// Publishes at a steady rate.
fn publish(node: &Node, rate: u64) {
    let mut due = monotonic();
    loop {
        due += 1_000_000_000 / rate;
        thread::sleep(Duration::from_nanos(due.saturating_sub(monotonic())));
        if node.publish(TOPIC, &Other { due }).is_err() {
            return;
        }
    }
}
