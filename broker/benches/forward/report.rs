//! Prints tables, a summary, or JSON.
//!
//! Ratios compare the two engines within a round; like all figures they are medians over the
//! rounds. Above 1, engine switch is better, except for latencies.

use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::flow::Flow;
use crate::isolation::Isolation;
use crate::latency::Latency;
use crate::plan::{Cell, Client, Engine, Plan, Scenario};

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
}

impl<S> Row<S> {
    pub(crate) fn new(cell: Cell) -> Self {
        Row { cell, direct: Vec::new(), zmq: Vec::new(), switch: Vec::new() }
    }

    /// The measurements of an engine, to add to.
    pub(crate) fn of(&mut self, engine: Engine) -> &mut Vec<S> {
        match engine {
            Engine::Zmq => &mut self.zmq,
            Engine::Switch => &mut self.switch,
        }
    }

    /// The measurements of an engine.
    fn by(&self, engine: Engine) -> &[S] {
        match engine {
            Engine::Zmq => &self.zmq,
            Engine::Switch => &self.switch,
        }
    }

    /// The median over all rounds of the ratio of two figures.
    fn ratio(&self, of: impl Fn(&S, &S) -> f64) -> Option<f64> {
        median(self.switch.iter().zip(&self.zmq).map(|(switch, zmq)| of(switch, zmq)))
    }
}

impl Row<Flow> {
    fn throughput_ratio(&self) -> Option<f64> {
        self.ratio(|switch, zmq| switch.rate / zmq.rate)
    }

    fn cpu_ratio(&self) -> Option<f64> {
        self.ratio(|switch, zmq| zmq.cpu / switch.cpu)
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
}

impl Results {
    /// Creates empty results and records the machine and its current load.
    pub(crate) fn new() -> Self {
        Results {
            machine: machine(),
            flows: Vec::new(),
            isolation: Vec::new(),
            latency: Vec::new(),
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
        self.print_flows();
        self.print_isolation();
        self.print_latency();
        let summary = self.summary();
        if !summary.is_empty() {
            println!("\nsummary, switch compared to zmq");
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
        println!(
            "{:<38} {:>11} {:>7} {:>6} {:>11} {:>7} {:>6} {:>7} {:>7}",
            "", "zmq ev/s", "CPU", "lost", "switch ev/s", "CPU", "lost", "ev/s", "CPU"
        );
        for row in &self.flows {
            print!("{}", label(&row.cell));
            for side in [&row.zmq, &row.switch] {
                let of = |figure: fn(&Flow) -> f64| median(side.iter().map(figure));
                print!(
                    " {:>11} {:>7} {:>6}",
                    number(of(|flow| flow.rate), 0),
                    number(of(|flow| flow.cpu), 3),
                    percent(of(|flow| flow.lost)),
                );
            }
            println!(" {:>7} {:>7}", times(row.throughput_ratio()), times(row.cpu_ratio()));
        }
    }

    fn print_isolation(&self) {
        if self.isolation.is_empty() {
            return;
        }
        println!(
            "\nisolation: events/s of a healthy subscriber, before and while another is in trouble"
        );
        println!(
            "{:<38} {:>11} {:>11} {:>6} {:>13} {:>13} {:>6}",
            "", "zmq before", "during", "kept", "switch before", "during", "kept"
        );
        for row in &self.isolation {
            print!("{}", label(&row.cell));
            for (side, width) in [(&row.zmq, 11), (&row.switch, 13)] {
                let of = |figure: fn(&Isolation) -> f64| median(side.iter().map(figure));
                print!(
                    " {:>width$} {:>width$} {:>6}",
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
        println!(
            "{:<38} {:>15} {:>23} {:>23} {:>13} {:>13}",
            "", "direct p50/p99", "zmq p50/p99 CPU", "switch p50/p99 CPU", "added p50", "added p99"
        );
        for row in &self.latency {
            print!("{}", label(&row.cell));
            for (side, has_broker) in [(&row.direct, false), (&row.zmq, true), (&row.switch, true)]
            {
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
                let zmq = number(row.added(&row.zmq, figure), 0);
                let switch = number(row.added(&row.switch, figure), 0);
                print!(" {:>13}", format!("{zmq} → {switch}"));
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
            let of = |ratio: fn(&Row<Flow>) -> Option<f64>| {
                median(flows(Client::Raw, sizes).filter_map(ratio))
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
        let libzmq = || flows(Client::Libzmq, &[]).filter_map(Row::throughput_ratio);
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
            median(curve.filter_map(Row::throughput_ratio)),
            "",
        );
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
        Client::Libzmq => "libzmq",
        Client::Curve => "curve",
    };
    format!("{:<22} {client:<6} {size:>8}", cell.scenario)
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
