//! The measurements: scenarios, processes, and the command line that selects them.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use serde::{Serialize, Serializer};

use crate::subject::Subject;

/// The numbers of clients that events go to.
const AUDIENCES: [usize; 5] = [1, 10, 50, 100, 1_000];
/// The numbers of clients that events come from.
const PUBLISHERS: [usize; 3] = [1, 10, 100];
/// Clients and events per second of the latency scenario.
const LATENCY: (usize, u32) = (100, 1_000);
/// Clients of the idle scenario.
const IDLE: usize = 1_000;

/// The command line.
#[derive(Debug, clap::Parser)]
#[command(name = "gateway", about = "Benchmarks the gateway of zcluster-node")]
pub(crate) struct Args {
    /// Run only scenarios whose names contain this (`to 50`, `distinct`, `latency`); may be repeated.
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// The version of the WebSocket API.
    #[arg(long, default_value = "v1")]
    pub(crate) api: Api,
    /// Also measure another build of zcluster-node, as `before`.
    #[arg(long, value_name = "FILE")]
    before: Option<PathBuf>,
    /// Leave the yardstick out.
    #[arg(long)]
    no_yardstick: bool,
    /// Events that may be under way at a time.
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    window: u64,
    /// Number of rounds; figures are medians.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long events flow.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    seconds: f64,
    /// Run one short round, to see that it works and not how fast.
    #[arg(long)]
    quick: bool,
    /// Print JSON with every measurement instead of tables.
    #[arg(long)]
    pub(crate) json: bool,
    /// Be the yardstick.
    #[arg(long, hide = true)]
    pub(crate) yardstick: bool,
    /// Passed by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The version of the WebSocket API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Api {
    V1,
    V2,
}

impl Api {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Api::V1 => "v1",
            Api::V2 => "v2",
        }
    }

    pub(crate) fn path(self) -> String {
        format!("/{}/messages/json", self.name())
    }

    /// How a client asks for a prefix; without one it only wants to publish.
    pub(crate) fn subscribe(self, prefix: Option<&str>) -> String {
        let prefixes = serde_json::json!(prefix.into_iter().collect::<Vec<_>>());
        match self {
            Api::V1 => prefixes.to_string(),
            Api::V2 => format!(r#"{{"type":"subscribe","id":1,"topics":{prefixes}}}"#),
        }
    }

    /// What the answer to that begins with.
    pub(crate) fn answer(self) -> &'static str {
        match self {
            Api::V1 => r#"{"type":"ack""#,
            Api::V2 => r#"{"type":"ok""#,
        }
    }
}

/// What clients subscribe to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topics {
    /// All to the same topic: each gets every event.
    Same,
    /// Each to its own: an event is for one of them.
    Distinct,
}

/// A situation to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// Events to that many clients.
    Deliver(usize, Topics),
    /// Events from that many clients.
    Publish(usize),
    /// Latency to that many clients at that many events per second.
    Latency(usize, u32),
    /// That many clients that do nothing.
    Idle(usize),
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scenario::Deliver(1, _) => f.pad("to 1 client"),
            Scenario::Deliver(clients, Topics::Same) => {
                f.pad(&format!("to {clients} clients, same"))
            }
            Scenario::Deliver(clients, Topics::Distinct) => {
                f.pad(&format!("to {clients} clients, distinct"))
            }
            Scenario::Publish(1) => f.pad("from 1 client"),
            Scenario::Publish(clients) => f.pad(&format!("from {clients} clients")),
            Scenario::Latency(clients, rate) => {
                f.pad(&format!("latency to {clients} clients at {rate}/s"))
            }
            Scenario::Idle(clients) => f.pad(&format!("{clients} idle clients")),
        }
    }
}

impl Serialize for Scenario {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The selected measurements.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) subjects: Vec<Subject>,
    pub(crate) api: Api,
    pub(crate) rounds: u32,
    pub(crate) length: Duration,
    pub(crate) window: u64,
    pub(crate) before: Option<PathBuf>,
}

impl Args {
    /// Selects measurements by the options.
    pub(crate) fn plan(&self) -> Plan {
        let to = |clients| match clients {
            1 => vec![Scenario::Deliver(1, Topics::Same)],
            _ => vec![
                Scenario::Deliver(clients, Topics::Same),
                Scenario::Deliver(clients, Topics::Distinct),
            ],
        };
        let mut scenarios: Vec<Scenario> = AUDIENCES.into_iter().flat_map(to).collect();
        scenarios.extend(PUBLISHERS.map(Scenario::Publish));
        scenarios.push(Scenario::Latency(LATENCY.0, LATENCY.1));
        scenarios.push(Scenario::Idle(IDLE));
        if !self.scenario.is_empty() {
            scenarios.retain(|scenario| {
                let name = scenario.to_string();
                self.scenario.iter().any(|wanted| name.contains(wanted.as_str()))
            });
        }
        let (rounds, seconds) = if self.quick { (1, 0.2) } else { (self.rounds, self.seconds) };
        let mut subjects = vec![Subject::now()];
        subjects.extend(self.before.as_deref().map(Subject::before));
        if !self.no_yardstick {
            subjects.push(Subject::yardstick());
        }
        Plan {
            scenarios,
            subjects,
            api: self.api,
            rounds,
            length: Duration::from_secs_f64(seconds),
            window: self.window,
            before: self.before.clone(),
        }
    }
}
