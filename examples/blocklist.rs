//! A blocklist that all nodes share. The manager of `cluster-layout.toml` adds addresses for some
//! seconds, workers learn of them. Kill and restart any of them: it gets the list back.
//!
//! ```text
//! cargo run --example blocklist -- manager 192.0.2.1=60 198.51.100.7=3600
//! cargo run --example blocklist -- worker-1
//! ```

use std::time::Duration;

use zcluster::app::App;
use zcluster::table::{Change, Options, Table, Tables};
use zcluster::value::{Address, Timestamp};
use zcluster::{Node, layout};

fn main() {
    if let Err(error) = run() {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_else(|| "manager".into());
    let additions = args.map(|arg| parse(&arg)).collect::<Result<Vec<_>, _>>()?;
    let is_manager = name == "manager";

    let tables = Tables::new();
    tables.table_expire_interval(Duration::from_secs(1));
    // Until when an address is blocked.
    let options = Options::new()
        .publish_on_change([Change::New, Change::Changed, Change::Removed, Change::Expired])
        .create_expire(Duration::ZERO)
        .expire_func(|list: &Table<Address, Timestamp>, address, context| {
            let until = list.get(address).map_or(0, |until| until.0);
            Duration::from_nanos(until.saturating_sub(context.time().0).max(0).unsigned_abs())
        })
        // The manager writes the list; it gets back from the others what it had.
        .publish_to_new_nodes(move |node| is_manager || node == "manager")
        .max_entries(1_000_000);
    let blocklist = tables.table("Blocklist::hosts", options)?;
    let shown_name = name.clone();
    blocklist.on_change(move |_, changed, _| {
        let what = match changed.change {
            Change::New | Change::Changed => "block",
            Change::Removed | Change::Expired => "unblock",
        };
        println!("{shown_name}: {what} {}", changed.key);
        Ok(())
    });

    let loaded = layout::load("cluster-layout.toml", |variable| std::env::var(variable).ok())?;
    let (node, notifications) = Node::builder(loaded.layout, name.as_str()).start()?;
    App::new()
        .with(&tables)
        .on_event("zeek_init", move |_, context| {
            for (address, seconds) in &additions {
                let until = Timestamp(context.time().0 + seconds * 1_000_000_000);
                blocklist.insert(*address, until, context)?;
            }
            Ok(())
        })
        .run(&node, &notifications)?;
    node.shutdown(Duration::from_secs(5));
    Ok(())
}

/// An address and seconds: `192.0.2.1=60`.
fn parse(arg: &str) -> Result<(Address, i64), String> {
    let parsed = arg.split_once('=').and_then(|(address, seconds)| {
        Some((address.parse().ok()?, i64::from(seconds.parse::<u32>().ok()?)))
    });
    parsed.ok_or_else(|| format!("expected an address and seconds, like 192.0.2.1=60: {arg}"))
}
