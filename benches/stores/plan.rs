//! What to measure: the command line.

use std::time::Duration;

use clap::ValueEnum;

use crate::redis::Redis;

/// How many keys puts and gets choose from, at random.
pub(crate) const KEYS: u64 = 10_000;
/// Bytes of a value.
pub(crate) const VALUE_SIZE: usize = 100;
/// How many commands are in flight, or how many clients Redis has.
pub(crate) const IN_FLIGHT: [u64; 3] = [1, 10, 100];

/// Benchmarks data stores.
#[derive(Debug, clap::Parser)]
#[command(name = "stores")]
pub(crate) struct Args {
    /// Run only this; may be repeated.
    #[arg(long, value_name = "NAME")]
    scenario: Vec<Scenario>,
    /// Number of rounds; figures are medians.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long commands flow in a measurement.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.5)]
    seconds: f64,
    /// Entries of the store that a clone joins.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    entries: u64,
    /// Only these numbers of commands in flight; may be repeated.
    #[arg(long, value_name = "N")]
    in_flight: Vec<u64>,
    /// Only this kind of store; may be repeated.
    #[arg(long, value_name = "KIND")]
    kind: Vec<Kind>,
    /// Leave Redis out.
    #[arg(long)]
    no_redis: bool,
    /// Run one short round, to see that it works and not how fast.
    #[arg(long)]
    quick: bool,
    /// Passed by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Puts that are acknowledged, from a frontend.
    Puts,
    /// Gets at a clone, without a request.
    Gets,
    /// A clone that joins a large store.
    Join,
}

/// What becomes of a put before it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// It is in memory.
    Memory,
    /// It survives the end of the process: SQLite with `synchronous = "normal"`; Redis with `appendfsync everysec`.
    Normal,
    /// It survives a power cut: SQLite with `synchronous = "full"`; Redis with `appendfsync always`.
    Full,
}

impl Kind {
    pub(crate) const ALL: [Kind; 3] = [Kind::Memory, Kind::Normal, Kind::Full];

    /// Also the name of the store.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Memory => "memory",
            Kind::Normal => "normal",
            Kind::Full => "full",
        }
    }

    pub(crate) fn shown(self) -> &'static str {
        match self {
            Kind::Memory => "memory",
            Kind::Normal => "SQLite normal",
            Kind::Full => "SQLite full",
        }
    }

    pub(crate) fn of_redis(self) -> &'static str {
        match self {
            Kind::Memory => "no file",
            Kind::Normal => "everysec",
            Kind::Full => "always",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Plan {
    scenarios: Vec<Scenario>,
    pub(crate) rounds: u32,
    pub(crate) window: Duration,
    pub(crate) entries: u64,
    pub(crate) in_flight: Vec<u64>,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) has_redis: bool,
}

impl Args {
    pub(crate) fn plan(self) -> Plan {
        let obstacle = if self.no_redis { None } else { Redis::obstacle() };
        if let Some(obstacle) = &obstacle {
            eprintln!("Redis is left out: {obstacle}");
        }
        let or = |given: Vec<u64>, all: &[u64]| if given.is_empty() { all.to_vec() } else { given };
        Plan {
            scenarios: self.scenario,
            rounds: if self.quick { 1 } else { self.rounds },
            window: Duration::from_secs_f64(if self.quick { 0.05 } else { self.seconds }),
            entries: if self.quick { self.entries.min(20_000) } else { self.entries },
            in_flight: or(self.in_flight, &IN_FLIGHT),
            kinds: if self.kind.is_empty() { Kind::ALL.to_vec() } else { self.kind },
            has_redis: !self.no_redis && obstacle.is_none(),
        }
    }
}

impl Plan {
    pub(crate) fn wants(&self, scenario: Scenario) -> bool {
        self.scenarios.is_empty() || self.scenarios.contains(&scenario)
    }
}
