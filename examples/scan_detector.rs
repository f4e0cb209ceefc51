//! A scan detector: workers see connections, proxies count the hosts that each scanner has tried, and
//! the manager alerts. Every scanner belongs to one proxy, whichever worker sees it.
//!
//! ```text
//! cargo run --example scan_detector -- manager       # each in a terminal of its own
//! cargo run --example scan_detector -- proxy-1
//! cargo run --example scan_detector -- worker-1      # reads lines of two addresses: who tried whom
//! ```

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zcluster::app::{App, Inbox};
use zcluster::layout::{self, NodeType};
use zcluster::pool::hash_key;
use zcluster::value::{Address, Timespan};
use zcluster::{Event, Node, Value, topic};

/// A worker saw a connection attempt.
#[derive(Event, Serialize, Deserialize)]
#[event(name = "Scan::attempt")]
struct Attempt {
    scanner: Address,
    victim: Address,
}

/// A proxy has counted enough of them.
#[derive(Event, Serialize, Deserialize)]
#[event(name = "Scan::alert")]
struct Alert {
    scanner: Address,
    victims: u64,
    within: Timespan,
}

/// It is time to forget a scanner.
#[derive(Event, Serialize, Deserialize)]
#[event(name = "Scan::forget")]
struct Forget {
    scanner: Address,
}

/// So many victims are a scan, if they were tried within this time.
const THRESHOLD: usize = 5;
const WITHIN: Duration = Duration::from_secs(300);

fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).ok_or("which node?")?;
    let file = std::env::args().nth(2).unwrap_or_else(|| "cluster-layout.toml".into());
    let loaded = layout::load(&file, |variable| std::env::var(variable).ok())?;
    let node_type = loaded.layout.node(&name).ok_or("no such node")?.node_type;
    let (node, notifications) = Node::builder(loaded.layout, name.as_str()).start()?;
    let app = match node_type {
        NodeType::Worker => worker(&node),
        NodeType::Proxy => proxy(),
        _ => manager(),
    };
    app.run(&node, &notifications)?;
    node.shutdown(Duration::from_secs(5));
    Ok(())
}

/// Sends each attempt to the scanner's proxy.
fn worker(node: &Node) -> App {
    let inbox = Inbox::new(node);
    let app = App::new().inbox(&inbox).on::<Attempt>(|attempt, context| {
        let key = hash_key(&Value::from(attempt.scanner)).expect("an address is a key");
        if !context.publish_hrw(topic::PROXY_POOL, &key, &attempt)? {
            eprintln!("no proxy is up: an attempt of {} is lost", attempt.scanner);
        }
        Ok(())
    });
    // Standard input needs a thread of its own.
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            let mut addresses = line.split_whitespace().map(str::parse);
            let (Some(Ok(scanner)), Some(Ok(victim))) = (addresses.next(), addresses.next()) else {
                eprintln!("expected two addresses, found '{line}'");
                continue;
            };
            if inbox.raise(&Attempt { scanner, victim }).is_err() {
                return;
            }
        }
    });
    app
}

/// Counts the victims of its scanners.
fn proxy() -> App {
    let seen = Rc::new(RefCell::new(HashMap::<Address, HashSet<Address>>::new()));
    let forgotten = Rc::clone(&seen);
    App::new()
        .on::<Attempt>(move |Attempt { scanner, victim }, context| {
            let mut seen = seen.borrow_mut();
            let victims = seen.entry(scanner).or_default();
            if victims.is_empty() {
                context.schedule(WITHIN, &Forget { scanner })?;
            }
            if victims.insert(victim) && victims.len() == THRESHOLD {
                let alert = Alert { scanner, victims: THRESHOLD as u64, within: WITHIN.into() };
                context.publish(topic::MANAGER, &alert)?;
            }
            Ok(())
        })
        .on::<Forget>(move |forget, _| {
            forgotten.borrow_mut().remove(&forget.scanner);
            Ok(())
        })
}

/// Tells the operator.
fn manager() -> App {
    App::new().on::<Alert>(|Alert { scanner, victims, within }, _| {
        println!("{scanner} tried {victims} hosts within {within}");
        Ok(())
    })
}
