//! A worker in thirty lines: it joins the cluster of `cluster-layout.toml`, answers pings and
//! writes a log. Run it in place of one of the layout's workers:
//!
//! ```text
//! cargo run --example worker -- worker-2
//! ```

use std::time::Duration;

use zcluster::node::{Node, Notification};
use zcluster::wire::zeek_bin::{FieldSpec, LogSchema, LogValue, Scalar};
use zcluster::{Event, layout, topic};

fn main() {
    if let Err(error) = run() {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "worker-2".into());
    let loaded = layout::load("cluster-layout.toml", |variable| std::env::var(variable).ok())?;
    let (node, notifications) = Node::builder(loaded.layout, name.as_str()).start()?;

    let fields =
        vec![FieldSpec::new("node", Scalar::String), FieldSpec::new("what", Scalar::String)];
    let log = node.log(LogSchema::new("Ping::LOG", "ping", fields))?;
    node.subscribe("demo.ping")?;

    while let Some(notification) = notifications.receive() {
        match notification {
            Notification::NodeUp { name, .. } if name == "manager" => {
                node.publish(topic::MANAGER, &Event::new("Demo::ready", vec![node.name().into()]))?;
            }
            Notification::Event(received) => {
                let event = received.decode()?;
                println!("{} {:?}", event.name, event.args);
                log.write(&[LogValue::from(node.name()), LogValue::String(&event.name)])?;
                node.publish("demo.pong", &Event::new("Demo::pong", event.args))?;
            }
            _ => {}
        }
    }
    node.shutdown(Duration::from_secs(5));
    // Set if the node failed, for example because of wrong keys.
    node.take_failure().map_or(Ok(()), |error| Err(error.into()))
}
