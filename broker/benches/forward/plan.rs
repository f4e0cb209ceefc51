//! The measurements: scenarios, clients, engines, and the command line that selects them.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use crate::broker::Subject;

/// Default payload sizes in bytes.
const SIZES: [usize; 5] = [64, 256, 1 << 10, 8 << 10, 64 << 10];
/// Payload sizes for flows between libzmq clients, which have limits of their own.
const LIBZMQ_SIZES: [usize; 2] = [256, 1 << 10];
/// Payload sizes for flows between encrypted raw clients.
const SEALED_SIZES: [usize; 3] = [256, 1 << 10, 8 << 10];
/// Payload size for scenarios that do not vary it.
const USUAL_SIZE: usize = 256;
/// Rates of the latency scenarios, in events per second.
const LATENCY_RATES: [u32; 3] = [1_000, 10_000, 50_000];
/// Nodes in the simulated clusters.
const NODES: [usize; 3] = [100, 1_000, 4_000];
/// Prefixes of all subscribers together.
const PREFIXES: usize = 100_000;

/// The command line.
#[derive(Debug, clap::Parser)]
#[command(name = "forward", about = "Benchmarks both engines of zcluster-broker")]
pub(crate) struct Args {
    /// Run only scenarios whose names contain this (`4→1`, `4-1`, `latency`); may be repeated. Those of
    /// `scale` run only if they are named.
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// Size of the payload frame in bytes, 48 or more; may be repeated.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(48..))]
    size: Vec<u32>,
    /// Run only these clients; may be repeated.
    #[arg(long)]
    client: Vec<Client>,
    /// Run only these engines; may be repeated.
    #[arg(long)]
    engine: Vec<Engine>,
    /// Also measure the engine `switch` of another build of the broker, as `before`.
    #[arg(long, value_name = "FILE")]
    broker: Option<PathBuf>,
    /// Number of threads that forward; for the engine `zmq`, of its I/O threads. By default, the
    /// broker's defaults.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    io_threads: Option<u32>,
    /// Number of rounds; figures are medians.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Length of the measurement window.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.5)]
    seconds: f64,
    /// Run one short round at 256 bytes, to see that it works and not how fast.
    #[arg(long)]
    quick: bool,
    /// Print JSON with every measurement instead of tables.
    #[arg(long)]
    pub(crate) json: bool,
    /// Passed by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The clients of the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Client {
    /// Plain TCP sockets that use almost no CPU time.
    Raw,
    /// The same with CURVE: they send what they encrypted before, and do not decrypt.
    RawCurve,
    /// libzmq, like every real node.
    Libzmq,
    /// libzmq with CURVE, like the nodes of a cluster on several hosts.
    Curve,
}

impl Client {
    /// Whether its connections are encrypted.
    pub(crate) fn is_encrypted(self) -> bool {
        matches!(self, Client::RawCurve | Client::Curve)
    }
}

/// How the broker forwards events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Engine {
    /// `zmq_proxy_steerable`.
    Zmq,
    /// The broker's own engine.
    Switch,
    /// The same engine of another build, which `--broker` names.
    Before,
}

impl Engine {
    /// All engines, in the order of the tables.
    pub(crate) const ALL: [Self; 3] = [Engine::Zmq, Engine::Switch, Engine::Before];

    /// The name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Engine::Zmq => "zmq",
            Engine::Switch => "switch",
            Engine::Before => "before",
        }
    }

    /// The name in layouts and ready lines.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Engine::Zmq => "zmq",
            Engine::Switch | Engine::Before => "switch",
        }
    }
}

/// How many publishers and subscribers there are, and which of them share topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    name: &'static str,
    pub(crate) publishers: usize,
    pub(crate) subscribers: usize,
    /// Each publisher has its own topic and one subscriber.
    distinct: bool,
}

const fn shape(name: &'static str, publishers: usize, subscribers: usize) -> Shape {
    Shape { name, publishers, subscribers, distinct: false }
}

/// The shapes of the flows.
const SHAPES: [Shape; 5] = [
    shape("1→1", 1, 1),
    shape("4→1", 4, 1),
    Shape::fan_out(),
    Shape::distinct(),
    shape("4→4 broadcast", 4, 4),
];

impl Shape {
    /// One publisher, four subscribers.
    pub(crate) const fn fan_out() -> Self {
        shape("1→4", 1, 4)
    }

    /// Four publishers, each with its own topic and one subscriber.
    pub(crate) const fn distinct() -> Self {
        Shape { name: "4→4 distinct", publishers: 4, subscribers: 4, distinct: true }
    }

    /// The topic of a publisher.
    pub(crate) fn topic(&self, publisher: usize) -> String {
        if self.distinct {
            format!("zeek.cluster.node.worker-{publisher}.")
        } else {
            "zeek.cluster.worker".to_owned()
        }
    }

    /// The prefix that a subscriber subscribes to.
    pub(crate) fn prefix(&self, subscriber: usize) -> String {
        self.topic(if self.distinct { subscriber } else { 0 })
    }

    /// Whether a subscriber receives the events of a publisher.
    pub(crate) fn joins(&self, publisher: usize, subscriber: usize) -> bool {
        !self.distinct || publisher == subscriber
    }
}

/// The fault of a subscriber that must not affect the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It never reads.
    Stalled,
    /// It spends a millisecond on each event.
    Slow,
}

/// A situation to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// Publishers send as fast as they can.
    Flow(Shape),
    /// One event at a time, back and forth.
    PingPong,
    /// A flow from one publisher to four subscribers, with a fifth, troubled one.
    Isolation(Trouble),
    /// Latency at that many events per second.
    Latency(u32),
    /// A cluster of that many nodes.
    Scale(usize),
    /// A broker with that many prefixes.
    Prefixes(usize),
}

impl Scenario {
    /// Events sent per second; `None`: as many as possible.
    pub(crate) fn rate(&self) -> Option<f64> {
        match self {
            Scenario::Latency(rate) => Some(f64::from(*rate)),
            _ => None,
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scenario::Flow(shape) => f.pad(shape.name),
            Scenario::PingPong => f.pad("ping-pong"),
            Scenario::Isolation(Trouble::Stalled) => f.pad("stalled subscriber"),
            Scenario::Isolation(Trouble::Slow) => f.pad("slow subscriber"),
            Scenario::Latency(rate) => f.pad(&format!("latency at {rate}/s")),
            Scenario::Scale(nodes) => f.pad(&format!("scale {nodes} nodes")),
            Scenario::Prefixes(count) => f.pad(&format!("scale {count} prefixes")),
        }
    }
}

impl Serialize for Scenario {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One line of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Cell {
    pub(crate) scenario: Scenario,
    pub(crate) client: Client,
    /// Bytes of the payload frame.
    pub(crate) size: usize,
}

/// The selected measurements.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) cells: Vec<Cell>,
    pub(crate) subjects: Vec<Subject>,
    pub(crate) rounds: u32,
    pub(crate) window: Duration,
    /// The program of [`Engine::Before`].
    pub(crate) broker: Option<PathBuf>,
    pub(crate) io_threads: Option<u32>,
}

impl Args {
    /// Selects measurements by the options.
    pub(crate) fn plan(&self) -> Plan {
        let mut cells = Vec::new();
        let mut add = |scenario: Scenario, client, sizes: &[usize]| {
            let name = scenario.to_string().replace('→', "-");
            let named = |wanted: &String| name.contains(&wanted.replace('→', "-"));
            // Large clusters take long.
            let is_usual =
                self.quick || !matches!(scenario, Scenario::Scale(_) | Scenario::Prefixes(_));
            let wanted =
                if self.scenario.is_empty() { is_usual } else { self.scenario.iter().any(named) };
            if !wanted || !(self.client.is_empty() || self.client.contains(&client)) {
                return;
            }
            let chosen: Vec<usize> = self.size.iter().map(|size| *size as usize).collect();
            let sizes = match (chosen.is_empty(), self.quick) {
                (false, _) => &chosen,
                (true, true) => &[USUAL_SIZE][..],
                (true, false) => sizes,
            };
            cells.extend(sizes.iter().map(|&size| Cell { scenario, client, size }));
        };
        for shape in SHAPES {
            add(Scenario::Flow(shape), Client::Raw, &SIZES);
        }
        add(Scenario::PingPong, Client::Raw, &SIZES);
        for shape in SHAPES {
            add(Scenario::Flow(shape), Client::Libzmq, &LIBZMQ_SIZES);
        }
        add(Scenario::PingPong, Client::Libzmq, &LIBZMQ_SIZES);
        for shape in SHAPES {
            add(Scenario::Flow(shape), Client::Curve, &LIBZMQ_SIZES);
        }
        add(Scenario::PingPong, Client::Curve, &LIBZMQ_SIZES);
        for shape in SHAPES {
            add(Scenario::Flow(shape), Client::RawCurve, &SEALED_SIZES);
        }
        add(Scenario::PingPong, Client::RawCurve, &[USUAL_SIZE]);
        for trouble in [Trouble::Stalled, Trouble::Slow] {
            add(Scenario::Isolation(trouble), Client::Raw, &[USUAL_SIZE]);
        }
        for rate in LATENCY_RATES {
            add(Scenario::Latency(rate), Client::Libzmq, &[USUAL_SIZE]);
        }
        let (nodes, prefixes) =
            if self.quick { (&NODES[..1], PREFIXES / 100) } else { (&NODES[..], PREFIXES) };
        for client in [Client::Raw, Client::RawCurve] {
            for &nodes in nodes {
                add(Scenario::Scale(nodes), client, &[USUAL_SIZE]);
            }
        }
        add(Scenario::Prefixes(prefixes), Client::Raw, &[USUAL_SIZE]);
        let (rounds, seconds) = if self.quick { (1, 0.2) } else { (self.rounds, self.seconds) };
        Plan {
            cells,
            subjects: self.subjects(),
            rounds,
            window: Duration::from_secs_f64(seconds),
            broker: self.broker.clone(),
            io_threads: self.io_threads,
        }
    }

    fn subjects(&self) -> Vec<Subject> {
        assert!(
            self.broker.is_some() || !self.engine.contains(&Engine::Before),
            "the engine `before` needs --broker"
        );
        let wanted = |engine: &Engine| self.engine.is_empty() || self.engine.contains(engine);
        let subject = |engine| match (engine, &self.broker) {
            (Engine::Before, Some(program)) => Some(Subject::before(program, self.io_threads)),
            (Engine::Before, None) => None,
            _ => Some(Subject::new(engine, self.io_threads)),
        };
        Engine::ALL.into_iter().filter(wanted).filter_map(subject).collect()
    }
}
