//! Typed pings: the manager pings each worker that comes up, and prints how long the answer took.
//!
//! ```text
//! cargo run --example ping -- worker-2      # in place of a worker of cluster-layout.toml
//! cargo run --example ping -- manager       # in place of the manager
//! ```

use std::error::Error;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zcluster::app::{App, NodeUp};
use zcluster::value::Timestamp;
use zcluster::{Event, Node, layout, topic};

#[derive(Event, Serialize, Deserialize)]
#[event(name = "Demo::ping")]
struct Ping {
    number: u64,
    sent: Timestamp,
}

#[derive(Event, Serialize, Deserialize)]
#[event(name = "Demo::pong")]
struct Pong {
    node: String,
    ping: Ping,
}

fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).ok_or("which node?")?;
    let file = std::env::args().nth(2).unwrap_or_else(|| "cluster-layout.toml".into());
    let loaded = layout::load(&file, |variable| std::env::var(variable).ok())?;
    let (node, notifications) = Node::builder(loaded.layout, name.as_str()).start()?;

    App::new()
        .on::<NodeUp>(|node, context| {
            if node.name.starts_with("worker") {
                let worker = context.cluster().node_topic(&node.name);
                context.publish(worker, &Ping { number: 1, sent: context.time() })?;
            }
            Ok(())
        })
        .on::<Ping>(|ping, context| {
            let node = context.name().to_owned();
            context.publish(topic::MANAGER, &Pong { node, ping })?;
            Ok(())
        })
        .on::<Pong>(|pong, context| {
            let took = context.time().as_secs_f64() - pong.ping.sent.as_secs_f64();
            println!("{} answers ping {} after {took:.6} s", pong.node, pong.ping.number);
            Ok(())
        })
        .run(&node, &notifications)?;
    node.shutdown(Duration::from_secs(5));
    Ok(())
}
