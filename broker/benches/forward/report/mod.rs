//! Prints tables, a summary, or JSON.
//!
//! Ratios compare engine switch to the other ones within a round; like all figures they are medians
//! over the rounds. Above 1, engine switch is better, except for latencies.

mod scale;

use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::flow::Flow;
use crate::isolation::Isolation;
use crate::latency::Latency;
use crate::plan::{Cell, Client, Engine, Plan, Scenario};
use crate::scale::{Prefixes, Scale};

/// One line of a table: the measurements of every round.
#[derive(Debug, Serialize)]
pub(crate) struct Row<S> {
    #[serde(flatten)]
    pub(crate) cell: Cell,
    /// Without a broker.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) direct: Vec<S>,
    pub(crate) zmq: Vec<S>,
    pub(crate) switch: Vec<S>,
    /// Another build.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) before: Vec<S>,
}

impl<S> Row<S> {
    pub(crate) fn new(cell: Cell) -> Self {
        let (direct, zmq, switch, before) = Default::default();
        Row { cell, direct, zmq, switch, before }
    }

    /// The measurements of an engine, to add to.
    pub(crate) fn of(&mut self, engine: Engine) -> &mut Vec<S> {
        match engine {
            Engine::Zmq => &mut self.zmq,
            Engine::Switch => &mut self.switch,
            Engine::Before => &mut self.before,
        }
    }

    /// The measurements of an engine.
    fn by(&self, engine: Engine) -> &[S] {
        match engine {
            Engine::Zmq => &self.zmq,
            Engine::Switch => &self.switch,
            Engine::Before => &self.before,
        }
    }

    /// The median over all rounds of the ratio of two figures, of switch and of another engine.
    fn ratio(&self, other: Engine, of: impl Fn(&S, &S) -> f64) -> Option<f64> {
        median(self.switch.iter().zip(self.by(other)).map(|(switch, other)| of(switch, other)))
    }
}

impl Row<Flow> {
    fn throughput_ratio(&self, other: Engine) -> Option<f64> {
        self.ratio(other, |switch, other| switch.rate / other.rate)
    }

    fn cpu_ratio(&self, other: Engine) -> Option<f64> {
        self.ratio(other, |switch, other| other.cpu / switch.cpu)
    }
}

impl Row<Latency> {
    /// The latency that an engine adds, compared to no broker.
    fn added(&self, engine: &[Latency], of: fn(&Latency) -> f64) -> Option<f64> {
        median(engine.iter().zip(&self.direct).map(|(with, without)| of(with) - of(without)))
    }

    fn added_ratio(&self, of: fn(&Latency) -> f64) -> Option<f64> {
        let both = self.switch.iter().zip(&self.zmq).zip(&self.direct);
        median(
            both.map(|((switch, zmq), direct)| (of(switch) - of(direct)) / (of(zmq) - of(direct))),
        )
    }
}

/// All measurements.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    machine: String,
    pub(crate) flows: Vec<Row<Flow>>,
    pub(crate) isolation: Vec<Row<Isolation>>,
    pub(crate) latency: Vec<Row<Latency>>,
    pub(crate) scale: Vec<Row<Scale>>,
    pub(crate) prefixes: Vec<Row<Prefixes>>,
}

impl Results {
    /// Creates empty results and records the machine and its current load.
    pub(crate) fn new() -> Self {
        Results {
            machine: machine(),
            flows: Vec::new(),
            isolation: Vec::new(),
            latency: Vec::new(),
            scale: Vec::new(),
            prefixes: Vec::new(),
        }
    }

    /// The row of a cell, added if it is new.
    pub(crate) fn row<S>(rows: &mut Vec<Row<S>>, cell: Cell) -> &mut Row<S> {
        let at = rows.iter().position(|row| row.cell == cell).unwrap_or_else(|| {
            rows.push(Row::new(cell));
            rows.len() - 1
        });
        &mut rows[at]
    }

    /// Prints tables and summary.
    pub(crate) fn print(&self, plan: &Plan) {
        println!("{}", self.machine);
        println!("{} rounds, windows of {:.1} s; medians", plan.rounds, plan.window.as_secs_f64());
        if let Some(threads) = plan.io_threads {
            println!("brokers with {threads} threads");
        }
        if let Some(program) = &plan.broker {
            println!("before: {}", program.display());
        }
        self.print_flows();
        self.print_isolation();
        self.print_latency();
        scale::print_scale(&self.scale);
        scale::print_prefixes(&self.prefixes);
        let summary = self.summary();
        if !summary.is_empty() {
            println!("\nsummary, switch compared to zmq unless it says otherwise");
        }
        for line in summary {
            println!("{:<58} {:>6.2}   {}", line.what, line.value, line.goal);
        }
    }

    fn print_flows(&self) {
        if self.flows.is_empty() {
            return;
        }
        println!("\nthroughput: events delivered per second, broker CPU seconds per million");
        let engines = engines(&self.flows);
        print!("{}", label_space());
        for engine in &engines {
            print!(" {:>11} {:>7} {:>6}", format!("{} ev/s", engine.name()), "CPU", "lost");
        }
        for other in others(&engines) {
            print!(" {:>11} {:>7}", format!("÷ {} ev/s", other.name()), "CPU");
        }
        println!();
        let mut is_any_cut = false;
        for row in &self.flows {
            print!("{}", label(&row.cell));
            for engine in &engines {
                let side = row.by(*engine);
                let of = |figure: fn(&Flow) -> f64| median(side.iter().map(figure));
                let is_cut = side.iter().any(|flow| flow.is_cut);
                is_any_cut |= is_cut;
                let mark = if is_cut { "*" } else { "" };
                print!(
                    " {:>11} {:>7} {:>6}",
                    format!("{mark}{}", number(of(|flow| flow.rate), 0)),
                    number(of(|flow| flow.cpu), 3),
                    percent(of(|flow| flow.lost)),
                );
            }
            for other in others(&engines) {
                let throughput = times(row.throughput_ratio(other));
                print!(" {throughput:>11} {:>7}", times(row.cpu_ratio(other)));
            }
            println!();
        }
        if is_any_cut {
            println!("* shorter windows: the publishers ran out of sealed events");
        }
    }

    fn print_isolation(&self) {
        if self.isolation.is_empty() {
            return;
        }
        println!("\nisolation: events/s of a healthy subscriber, alone and beside one in trouble");
        let engines = engines(&self.isolation);
        print!("{}", label_space());
        for engine in &engines {
            let alone = format!("{} alone", engine.name());
            print!(" {alone:>13} {:>13} {:>6}", "beside", "kept");
        }
        println!();
        for row in &self.isolation {
            print!("{}", label(&row.cell));
            for engine in &engines {
                let side = row.by(*engine);
                let of = |figure: fn(&Isolation) -> f64| median(side.iter().map(figure));
                print!(
                    " {:>13} {:>13} {:>6}",
                    number(of(|one| one.before), 0),
                    number(of(|one| one.during), 0),
                    percent(of(Isolation::kept)),
                );
            }
            println!();
        }
    }

    fn print_latency(&self) {
        if self.latency.is_empty() {
            return;
        }
        println!("\nlatency in µs, broker CPU seconds per million; * not all arrived in time");
        let engines = engines(&self.latency);
        print!("{} {:>15}", label_space(), "direct p50/p99");
        for engine in &engines {
            print!(" {:>23}", format!("{} p50/p99 CPU", engine.name()));
        }
        println!(" {:>13} {:>13}", "added p50", "added p99");
        for row in &self.latency {
            print!("{}", label(&row.cell));
            let with = engines.iter().map(|engine| (row.by(*engine), true));
            for (side, has_broker) in [(&row.direct[..], false)].into_iter().chain(with) {
                let of = |figure: fn(&Latency) -> f64| median(side.iter().map(figure));
                let (p50, p99) = (of(|one| one.p50), of(|one| one.p99));
                let late = row.cell.scenario.rate().zip(of(|one| one.rate));
                let mark = if late.is_some_and(|(rate, had)| had < rate * 0.98) { "*" } else { "" };
                let both = format!("{mark}{}/{}", number(p50, 0), number(p99, 0));
                if has_broker {
                    print!(" {both:>15} {:>7}", number(of(|one| one.cpu), 2));
                } else {
                    print!(" {both:>15}");
                }
            }
            for figure in [(|one: &Latency| one.p50) as fn(&Latency) -> f64, |one| one.p99] {
                let added = |engine: &Engine| number(row.added(row.by(*engine), figure), 0);
                let added: Vec<String> = engines.iter().map(added).collect();
                print!(" {:>13}", added.join(" → "));
            }
            println!();
        }
    }

    /// The most important figures.
    fn summary(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut add = |what: String, value: Option<f64>, goal: &str| {
            lines.extend(value.map(|value| Line { what, value, goal: goal.to_owned() }));
        };
        let flows = |client, sizes: &'static [usize]| {
            let wanted = move |row: &&Row<Flow>| {
                matches!(row.cell.scenario, Scenario::Flow(_))
                    && row.cell.client == client
                    && (sizes.is_empty() || sizes.contains(&row.cell.size))
            };
            self.flows.iter().filter(wanted)
        };
        for (name, sizes, throughput, cpu) in [
            ("64 B", &[64][..], "6", "10"),
            ("256 B", &[256], "4", "7"),
            ("1 to 8 KiB", &[1 << 10, 8 << 10], "2.2", "3"),
        ] {
            let of = |ratio: fn(&Row<Flow>, Engine) -> Option<f64>| {
                median(flows(Client::Raw, sizes).filter_map(|row| ratio(row, Engine::Zmq)))
            };
            add(
                format!("raw clients, {name}, median of shapes: throughput ×"),
                of(Row::throughput_ratio),
                &format!("goal ≥ {throughput}"),
            );
            add(
                format!("raw clients, {name}, median of shapes: CPU ÷"),
                of(Row::cpu_ratio),
                &format!("goal ≥ {cpu}"),
            );
        }
        let throughput = |row: &Row<Flow>| row.throughput_ratio(Engine::Zmq);
        let libzmq = || flows(Client::Libzmq, &[]).filter_map(throughput);
        add(
            "libzmq clients, the worst shape and size: throughput ×".into(),
            libzmq().min_by(f64::total_cmp),
            "goal ≥ 1",
        );
        add("libzmq clients, median: throughput ×".into(), median(libzmq()), "");
        // The cost of encryption for clients and broker together on this machine.
        for engine in [Engine::Zmq, Engine::Switch] {
            let ratio = |row: &Row<Flow>| {
                let plain = flows(Client::Libzmq, &[]).find(|plain| {
                    plain.cell.scenario == row.cell.scenario && plain.cell.size == row.cell.size
                })?;
                let rate = |row: &Row<Flow>| median(row.by(engine).iter().map(|flow| flow.rate));
                Some(rate(row)? / rate(plain)?)
            };
            let ratios = flows(Client::Curve, &[]).filter_map(ratio);
            let what = format!("{}: encrypted vs. plain, median: throughput ×", engine.word());
            add(what, median(ratios), "");
        }
        let curve = flows(Client::Curve, &[]);
        add(
            "encrypted clients, median: throughput ×".into(),
            median(curve.filter_map(throughput)),
            "",
        );
        for other in [Engine::Zmq, Engine::Before] {
            let sealed = || flows(Client::RawCurve, &[]);
            let what = |figure: &str| {
                format!("encrypted raw clients, median, than {}: {figure}", other.name())
            };
            let throughput = sealed().filter_map(|row| row.throughput_ratio(other));
            add(what("throughput ×"), median(throughput), "");
            add(what("CPU ÷"), median(sealed().filter_map(|row| row.cpu_ratio(other))), "");
        }
        let plain = || flows(Client::Raw, &[]);
        let throughput = plain().filter_map(|row| row.throughput_ratio(Engine::Before));
        add("raw clients, median, than before: throughput ×".into(), median(throughput), "");
        let cpu = plain().filter_map(|row| row.cpu_ratio(Engine::Before));
        add("raw clients, median, than before: CPU ÷".into(), median(cpu), "");
        for row in &self.isolation {
            let kept = median(row.switch.iter().map(Isolation::kept));
            add(format!("healthy beside a {}: kept", row.cell.scenario), kept, "goal ≥ 0.9");
        }
        for row in &self.latency {
            let ratio = row.added_ratio(|one| one.p50);
            add(format!("{}: added p50 ×", row.cell.scenario), ratio, "goal ≤ 0.5");
        }
        lines
    }

    /// All results, for programs.
    pub(crate) fn to_json(&self, plan: &Plan) -> Json {
        json!({
            "rounds": plan.rounds,
            "window_seconds": plan.window.as_secs_f64(),
            "broker": plan.broker,
            "io_threads": plan.io_threads,
            "results": self,
            "summary": self.summary(),
        })
    }
}

/// A line of the summary.
#[derive(Debug, Serialize)]
struct Line {
    what: String,
    value: f64,
    goal: String,
}

/// Describes the machine and its current load.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown CPU", |(_, model)| model);
    let system = rustix::system::uname();
    let release = system.release().to_string_lossy().into_owned();
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    format!("{cores} × {model}, Linux {release}, load {load}")
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

fn label(cell: &Cell) -> String {
    let size = match cell.size {
        size if size >= 1024 && size % 1024 == 0 => format!("{} KiB", size / 1024),
        size => format!("{size} B"),
    };
    let client = match cell.client {
        Client::Raw => "raw",
        Client::RawCurve => "raw-curve",
        Client::Libzmq => "libzmq",
        Client::Curve => "curve",
    };
    format!("{:<22} {client:<9} {size:>8}", cell.scenario)
}

/// As wide as a label.
fn label_space() -> String {
    " ".repeat(22 + 1 + 9 + 1 + 8)
}

/// The engines of a table: other builds only if there is one.
fn engines<S>(rows: &[Row<S>]) -> Vec<Engine> {
    let is_there = |engine: &Engine| {
        *engine != Engine::Before || rows.iter().any(|row| !row.by(*engine).is_empty())
    };
    Engine::ALL.into_iter().filter(is_there).collect()
}

/// The engines to compare switch to.
fn others(engines: &[Engine]) -> impl Iterator<Item = Engine> + '_ {
    engines.iter().copied().filter(|engine| *engine != Engine::Switch)
}

/// Formats a number with thousands separators.
fn number(value: Option<f64>, decimals: usize) -> String {
    let Some(value) = value else { return "-".into() };
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut out = String::new();
    for (i, c) in whole.chars().enumerate() {
        if i > 0
            && (whole.len() - i).is_multiple_of(3)
            && out.ends_with(|c: char| c.is_ascii_digit())
        {
            out.push(',');
        }
        out.push(c);
    }
    out + rest
}

fn percent(share: Option<f64>) -> String {
    share.map_or("-".into(), |share| format!("{:.1}%", share * 100.0))
}

fn times(ratio: Option<f64>) -> String {
    ratio.map_or("-".into(), |ratio| format!("{ratio:.2}×"))
}
