//! Tables of large clusters. They have one line for each engine.

use super::{Row, engines, label, label_space, median, number, times};
use crate::flow::Flow;
use crate::plan::Engine;
use crate::scale::{Prefixes, Scale};

/// The measurements of one engine, to print.
struct Line<'a, S> {
    row: &'a Row<S>,
    engine: Engine,
}

impl<S> Line<'_, S> {
    /// A figure, as a median.
    fn figure(&self, decimals: usize, of: impl Fn(&S) -> f64) -> String {
        number(median(self.row.by(self.engine).iter().map(of)), decimals)
    }

    /// A figure divided by that of engine switch.
    fn than_switch(&self, of: impl Fn(&S) -> f64) -> String {
        times(self.row.ratio(self.engine, |switch, this| of(this) / of(switch)))
    }

    fn print_flow(&self, of: fn(&S) -> &Flow) {
        let rate = self.figure(0, |one| of(one).rate);
        print!(" {rate:>13} {:>7}", self.figure(3, |one| of(one).cpu));
    }
}

/// Calls `print` for each line of a table, after printing its label.
fn lines<S>(rows: &[Row<S>], print: impl Fn(Line<'_, S>)) {
    let engines = engines(rows);
    for row in rows {
        for &engine in engines.iter().filter(|engine| !row.by(**engine).is_empty()) {
            print!("{} {:<6}", label(&row.cell), engine.name());
            print(Line { row, engine });
            println!();
        }
    }
}

const MIB: f64 = (1 << 20) as f64;

pub(super) fn print_scale(rows: &[Row<Scale>]) {
    if rows.is_empty() {
        return;
    }
    println!(
        "\nall nodes join: seconds until all connections are open, and until all nodes know all \
         subscriptions; CPU seconds"
    );
    println!(
        "{} {:<6} {:>7} {:>7} {:>8} {:>8} {:>9} {:>13} {:>8} {:>5}",
        label_space(),
        "",
        "open",
        "told",
        "CPU",
        "÷ switch",
        "nodes CPU",
        "notifications",
        "failures",
        "MiB"
    );
    lines(rows, |line| {
        print!(
            " {:>7} {:>7} {:>8} {:>8} {:>9} {:>13} {:>8} {:>5}",
            line.figure(3, |one| one.join.open),
            line.figure(3, |one| one.join.told),
            line.figure(3, |one| one.join.cpu),
            line.than_switch(|one| one.join.cpu),
            line.figure(3, |one| one.join.nodes_cpu),
            line.figure(0, |one| one.join.notifications as f64),
            line.figure(0, |one| one.join.failures as f64),
            line.figure(0, |one| one.join.memory as f64 / MIB),
        );
    });
    println!(
        "\nhellos from node to node, in batches and each written by itself; broker CPU seconds per \
         million"
    );
    println!(
        "{} {:<6} {:>10} {:>8} {:>8} {:>8} {:>10} {:>8} {:>8} {:>5}",
        label_space(),
        "",
        "hellos",
        "seconds",
        "CPU",
        "÷ switch",
        "singly: s",
        "CPU",
        "÷ switch",
        "MiB"
    );
    lines(rows, |line| {
        print!(
            " {:>10} {:>8} {:>8} {:>8} {:>10} {:>8} {:>8} {:>5}",
            line.figure(0, |one| one.hellos.count as f64),
            line.figure(3, |one| one.hellos.seconds),
            line.figure(3, |one| one.hellos.cpu),
            line.than_switch(|one| one.hellos.cpu),
            line.figure(3, |one| one.single_hellos.seconds),
            line.figure(3, |one| one.single_hellos.cpu),
            line.than_switch(|one| one.single_hellos.cpu),
            line.figure(0, |one| one.single_hellos.memory as f64 / MIB),
        );
    });
    println!("\n4→4 distinct, without the nodes and while they are silent");
    print_flow_header();
    println!();
    lines(rows, |line| {
        line.print_flow(|one| &one.alone);
        line.print_flow(|one| &one.beside);
    });
}

pub(super) fn print_prefixes(rows: &[Row<Prefixes>]) {
    if rows.is_empty() {
        return;
    }
    println!(
        "\n4→4 distinct, without and with many prefixes; milliseconds until a publisher knows all \
         of them; microseconds until it knows of one more or less"
    );
    print_flow_header();
    println!(" {:>8} {:>8} {:>8} {:>8} {:>5}", "join ms", "CPU", "more µs", "CPU", "MiB");
    lines(rows, |line| {
        line.print_flow(|one| &one.alone);
        line.print_flow(|one| &one.beside);
        print!(
            " {:>8} {:>8} {:>8} {:>8} {:>5}",
            line.figure(1, |one| one.join.seconds * 1e3),
            line.figure(1, |one| one.join.cpu * 1e3),
            line.figure(1, |one| one.change.seconds * 1e6),
            line.figure(1, |one| one.change.cpu * 1e6),
            line.figure(0, |one| one.memory as f64 / MIB),
        );
    });
}

fn print_flow_header() {
    print!("{} {:<6}", label_space(), "");
    print!(" {:>13} {:>7} {:>13} {:>7}", "alone ev/s", "CPU", "beside ev/s", "CPU");
}
