//! Known hosts: the first worker that sees a host reports it, once for the whole cluster, and again only
//! after nobody has seen it for a day. Kill and restart any of the processes: it stays known.
//!
//! ```text
//! cargo run --example known_hosts -- manager         # each in a terminal of its own
//! cargo run --example known_hosts -- worker-1        # reads lines of an address: who was seen
//! cargo run --example known_hosts -- worker-2
//! zcluster store dump known_hosts                    # what they know
//! ```
//!
//! The manager keeps them in `known_hosts.sqlite`, in the `default_store_dir` of the layout.

use std::error::Error;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zcluster::app::{App, Inbox};
use zcluster::store::{Change, Expiry, Store, Stores};
use zcluster::value::{Address, Timestamp};
use zcluster::{Event, Node, layout};

/// A host was seen.
#[derive(Event, Serialize, Deserialize)]
#[event(name = "Hosts::seen")]
struct Seen {
    host: Address,
}

/// Hosts, and when they were seen last, give or take [`NOTED_EVERY`].
type Hosts = Store<Address, Timestamp>;

/// How long a host that nobody sees stays known.
const KNOWN_FOR: Duration = Duration::from_secs(24 * 3600);
/// How often it is noted that a host was seen: all nodes are told of each change.
const NOTED_EVERY: i64 = 3600 * 1_000_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).ok_or("which node?")?;
    let file = std::env::args().nth(2).unwrap_or_else(|| "cluster-layout.toml".into());
    let loaded = layout::load(&file, |variable| std::env::var(variable).ok())?;
    let (node, notifications) = Node::builder(loaded.layout, name.as_str()).start()?;

    // The manager has the master, unless the layout names another node; the others have clones.
    let stores = Stores::new(&node);
    let hosts: Hosts = stores.create_store("known_hosts", true)?;
    if hosts.is_master() {
        println!("{} hosts are known", hosts.local_size().unwrap_or(0));
        hosts.watch(|change, _| {
            if let Change::Expire { key: host } = change {
                println!("{host} was not seen for a day");
            }
            Ok(())
        });
    }
    let inbox = Inbox::new(&node);
    let app = App::new().with(&stores).inbox(&inbox).on::<Seen>(move |Seen { host }, context| {
        seen(&hosts, host, context.time());
        Ok(())
    });
    // Standard input needs a thread of its own.
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            let Ok(host) = line.trim().parse() else {
                eprintln!("expected an address, found '{line}'");
                continue;
            };
            if inbox.raise(&Seen { host }).is_err() {
                return;
            }
        }
    });
    app.run(&node, &notifications)?;
    node.shutdown(Duration::from_secs(5));
    Ok(())
}

/// Reports the host if nobody has, and notes that it was seen.
fn seen(hosts: &Hosts, host: Address, now: Timestamp) {
    // Of a host that is seen all the time, the content that is here knows, without asking anybody.
    if hosts.local_get(&host).is_ok_and(|last| now.0.saturating_sub(last.0) < NOTED_EVERY) {
        println!("{host} is known");
        return;
    }
    // The master adds it for one of those who ask.
    let expiry = Expiry::after(KNOWN_FOR);
    let known = hosts.clone();
    hosts.put_unique(&host, &now).expires(expiry).then(move |is_new, _| {
        match is_new {
            Ok(true) => println!("{host} is new"),
            Ok(false) => {
                println!("{host} is known to the master");
                known.put(&host, &now).expires(expiry).send();
            }
            Err(error) => eprintln!("{host} may be new: {error}"),
        }
        Ok(())
    });
}
