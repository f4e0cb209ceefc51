//! [`Demo`]: each worker publishes a heartbeat to the manager once a second and writes a log.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use zcluster::Event;
use zcluster::app::{App, Context, Module, Outcome};
use zcluster::node::LogStream;
use zcluster::topic;
use zcluster::value::{Port, Protocol, Timestamp};
use zcluster::wire::zeek_bin::{FieldSpec, LogSchema, LogType, LogValue, Scalar};

/// Time between heartbeats.
const INTERVAL: Duration = Duration::from_secs(1);

/// It is time for the heartbeat of that number.
#[derive(Event, Serialize, Deserialize)]
#[event(name = "Demo::beat")]
struct Beat {
    number: u64,
}

/// What the manager hears.
#[derive(Event, Serialize, Deserialize)]
#[event(name = "Demo::heartbeat")]
struct Heartbeat {
    node: String,
    number: u64,
    at: Timestamp,
}

/// Demo traffic of a worker; writes to a stream of [`schema`].
pub(super) struct Demo {
    pub(super) log: LogStream,
}

impl Module for Demo {
    fn install(self, app: App) -> App {
        app.own_event("Demo::beat")
            .on_event("zeek_init", |_, context| Ok(context.raise(&Beat { number: 1 })?))
            .on::<Beat>(move |beat, context| {
                context.schedule(INTERVAL, &Beat { number: beat.number + 1 })?;
                self.beat(beat.number, context)
            })
    }
}

impl Demo {
    fn beat(&self, number: u64, context: &mut Context<'_>) -> Outcome {
        let (node, at) = (context.name().to_owned(), context.time());
        let members = context.members().len() as u64;
        // Invented, but in the shape of real logs: addresses, ports, sets, and unset values.
        let peer = Ipv4Addr::new(192, 0, 2, (number % 254 + 1) as u8);
        let port = Port::new(if number.is_multiple_of(3) { 53 } else { 443 }, Protocol::Tcp);
        let tags = [LogValue::from("demo"), LogValue::from("heartbeat")];
        self.log.write(&[
            LogValue::Time(at.as_secs_f64()),
            node.as_str().into(),
            LogValue::Count(number),
            LogValue::Addr(peer.into()),
            LogValue::Port(port),
            if number.is_multiple_of(5) { LogValue::Unset } else { LogValue::Interval(1.0) },
            LogValue::Set(&tags),
            LogValue::Count(members),
        ])?;
        context.publish(topic::MANAGER, &Heartbeat { node, number, at })?;
        Ok(())
    }
}

pub(super) fn schema() -> LogSchema {
    let fields = vec![
        FieldSpec::new("ts", Scalar::Time),
        FieldSpec::new("node", Scalar::String),
        FieldSpec::new("beat", Scalar::Count),
        FieldSpec::new("id.resp_h", Scalar::Addr),
        FieldSpec::new("id.resp_p", Scalar::Port),
        FieldSpec::new("duration", Scalar::Interval).optional(),
        FieldSpec::new("tags", LogType::Set(Scalar::String)),
        FieldSpec::new("members_up", Scalar::Count),
    ];
    LogSchema::new("Demo::LOG", "demo", fields)
}
