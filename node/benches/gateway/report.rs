//! Prints tables, or JSON. All figures are medians over the rounds.

use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::plan::{Plan, Scenario, Topics};
use crate::subject::Kind;

/// Events as fast as they go.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Flow {
    /// Deliveries, or events, per second.
    pub(crate) rate: f64,
    /// CPU seconds for a million of them.
    pub(crate) cpu: f64,
    /// The most memory in MiB.
    pub(crate) peak: f64,
}

/// Events at a steady rate.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    /// Median in microseconds.
    pub(crate) p50: f64,
    /// 99th percentile in microseconds.
    pub(crate) p99: f64,
    /// Deliveries per second.
    pub(crate) rate: f64,
    /// CPU seconds for a million of them.
    pub(crate) cpu: f64,
}

/// What a client costs.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Idle {
    /// Memory in KiB.
    pub(crate) memory: f64,
    pub(crate) descriptors: f64,
}

/// One measurement.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Figures {
    Flow(Flow),
    Latency(Latency),
    Idle(Idle),
}

impl From<Flow> for Figures {
    fn from(flow: Flow) -> Self {
        Figures::Flow(flow)
    }
}
impl From<Latency> for Figures {
    fn from(latency: Latency) -> Self {
        Figures::Latency(latency)
    }
}
impl From<Idle> for Figures {
    fn from(idle: Idle) -> Self {
        Figures::Idle(idle)
    }
}

/// A figure, and with how many decimals it is shown.
type Column = (fn(&Figures) -> Option<f64>, usize);

/// The measurements of a process, in all rounds.
#[derive(Debug, Serialize)]
struct Cell {
    scenario: Scenario,
    kind: Kind,
    figures: Vec<Figures>,
}

/// All measurements.
#[derive(Debug)]
pub(crate) struct Results {
    machine: String,
    kinds: Vec<Kind>,
    cells: Vec<Cell>,
}

impl Results {
    /// Creates empty results and records the machine and its current load.
    pub(crate) fn new(plan: &Plan) -> Self {
        let is_there = |kind: &Kind| plan.subjects.iter().any(|subject| subject.kind == *kind);
        let kinds = Kind::ALL.into_iter().filter(is_there).collect();
        Results { machine: machine(), kinds, cells: Vec::new() }
    }

    pub(crate) fn add(&mut self, scenario: Scenario, kind: Kind, figures: Figures) {
        let same = |cell: &&mut Cell| (cell.scenario, cell.kind) == (scenario, kind);
        match self.cells.iter_mut().find(same) {
            Some(cell) => cell.figures.push(figures),
            None => self.cells.push(Cell { scenario, kind, figures: vec![figures] }),
        }
    }

    /// A figure of each process.
    fn medians(&self, scenario: Scenario, of: fn(&Figures) -> Option<f64>) -> Vec<Option<f64>> {
        let figure = |kind: &Kind| {
            let mine = |cell: &&Cell| (cell.scenario, cell.kind) == (scenario, *kind);
            let cell = self.cells.iter().find(mine)?;
            median(cell.figures.iter().filter_map(of))
        };
        self.kinds.iter().map(figure).collect()
    }

    /// Prints the tables.
    pub(crate) fn print(&self, plan: &Plan) {
        println!("{}", self.machine);
        println!(
            "API {}, {} rounds of {:.1} s, {} events under way; medians",
            plan.api.name(),
            plan.rounds,
            plan.length.as_secs_f64(),
            plan.window
        );
        if let Some(program) = &plan.before {
            println!("before: {}", program.display());
        }
        let of = |wanted: fn(&Scenario) -> bool| plan.scenarios.iter().copied().filter(wanted);
        self.table(
            "deliveries or events per second; CPU seconds per million; peak MiB",
            &["per s", "CPU", "MiB"],
            of(|scenario| matches!(scenario, Scenario::Deliver(..) | Scenario::Publish(_))),
            &[
                (|one| if let Figures::Flow(f) = one { Some(f.rate) } else { None }, 0),
                (|one| if let Figures::Flow(f) = one { Some(f.cpu) } else { None }, 2),
                (|one| if let Figures::Flow(f) = one { Some(f.peak) } else { None }, 0),
            ],
        );
        self.table(
            "latency in µs; CPU seconds per million deliveries",
            &["p50", "p99", "CPU"],
            of(|scenario| matches!(scenario, Scenario::Latency(..))),
            &[
                (|one| if let Figures::Latency(l) = one { Some(l.p50) } else { None }, 0),
                (|one| if let Figures::Latency(l) = one { Some(l.p99) } else { None }, 0),
                (|one| if let Figures::Latency(l) = one { Some(l.cpu) } else { None }, 2),
            ],
        );
        self.table(
            "per client",
            &["KiB", "fds"],
            of(|scenario| matches!(scenario, Scenario::Idle(_))),
            &[
                (|one| if let Figures::Idle(i) = one { Some(i.memory) } else { None }, 1),
                (|one| if let Figures::Idle(i) = one { Some(i.descriptors) } else { None }, 2),
            ],
        );
    }

    fn table(
        &self,
        title: &str,
        names: &[&str],
        scenarios: impl Iterator<Item = Scenario>,
        columns: &[Column],
    ) {
        let mut is_first = true;
        for scenario in scenarios {
            if std::mem::take(&mut is_first) {
                println!("\n{title}");
                print!("{:<34}", "");
                for kind in &self.kinds {
                    for name in names {
                        print!(" {:>15}", format!("{} {name}", kind.name()));
                    }
                }
                println!("  goal");
            }
            print!("{scenario:<34}");
            let figures: Vec<Vec<Option<f64>>> =
                columns.iter().map(|(of, _)| self.medians(scenario, *of)).collect();
            for kind in 0..self.kinds.len() {
                for (of_column, (_, decimals)) in figures.iter().zip(columns) {
                    print!(" {:>15}", number(of_column[kind], *decimals));
                }
            }
            println!("  {}", goal(scenario));
        }
    }

    /// All results, for programs.
    pub(crate) fn to_json(&self, plan: &Plan) -> Json {
        json!({
            "machine": self.machine,
            "api": plan.api,
            "rounds": plan.rounds,
            "seconds": plan.length.as_secs_f64(),
            "window": plan.window,
            "before": plan.before,
            "results": self.cells,
        })
    }
}

fn goal(scenario: Scenario) -> &'static str {
    match scenario {
        Scenario::Deliver(1, _) => "CPU ≤ 4",
        Scenario::Deliver(50 | 1_000, Topics::Same) => "CPU ≤ 2",
        Scenario::Deliver(..) => "",
        Scenario::Publish(_) => "CPU ≤ 5",
        Scenario::Latency(..) => "p99 < 5,000",
        Scenario::Idle(_) => "< 64 KiB, ≤ 2",
    }
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

/// Formats a number with thousands separators.
fn number(value: Option<f64>, decimals: usize) -> String {
    let Some(value) = value else { return "-".into() };
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut out = String::new();
    for (i, c) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out + rest
}
