//! The logger at the pace of real clusters: small batches, one by one, at a steady rate.
//!
//! `cargo bench -p zcluster-logger --bench paced [-- --help]`
//!
//! Recorded batches (four records on average) go through real PUSH sockets into the real binary. The
//! figures are what the whole logger process costs per batch: CPU time, user and system, and how
//! often one of its threads woke up. *Flood* is the same as fast as it goes; *idle* is a logger
//! without producers, per second. All that was sent must be in the files at the end.
#![allow(clippy::unwrap_used, missing_docs)]

mod process;
#[path = "../tests/recording/mod.rs"]
mod recording;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Parser;
use zcluster::transport::{Context, Interest, PollSet, Socket};
use zcluster::wire::LogMessage;
use zcluster::wire::zeek_bin::Batch;

use process::{Keys, Logger};

/// Longest wait for the last records.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time before anything is measured: longer than text is gathered.
const WARM_UP: Duration = Duration::from_millis(1500);
/// Batches of a flood.
const FLOOD: u64 = 300_000;

#[derive(Debug, clap::Parser)]
#[command(name = "paced", about = "Measures what zcluster-logger costs at a steady rate")]
struct Args {
    /// Another build of zcluster-logger to measure beside this one.
    #[arg(long, value_name = "FILE")]
    before: Option<PathBuf>,
    /// Batches per second, in total; may be repeated.
    #[arg(long, value_name = "N", default_values_t = [1_000, 5_000, 20_000, 40_000])]
    rate: Vec<u32>,
    /// How many producers send them; may be repeated.
    #[arg(long, value_name = "N", default_values_t = [1, 4, 16])]
    producers: Vec<usize>,
    /// Seconds that each rate is kept up.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Number of rounds; figures are medians.
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
    /// Encrypt.
    #[arg(long)]
    curve: bool,
    /// Passed by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is sent, and how.
#[derive(Clone, Copy, Debug)]
enum Load {
    Idle,
    Paced { rate: u32, producers: usize },
    Flood { producers: usize },
}

/// What a batch costs; of an idle logger, what a second does.
#[derive(Clone, Copy, Debug)]
struct Cost {
    micros: f64,
    wake_ups: f64,
}

fn main() {
    let args = Args::parse();
    let batches = recording::payloads("traffic.zmq");
    let mut loads = vec![Load::Idle];
    for &producers in &args.producers {
        let paced = args.rate.iter().map(|&rate| Load::Paced { rate, producers });
        loads.extend(paced.chain([Load::Flood { producers }]));
    }
    let binaries: Vec<&Path> =
        args.before.as_deref().into_iter().chain([Path::new(Logger::BINARY)]).collect();
    let mut costs = vec![vec![Vec::new(); binaries.len()]; loads.len()];
    for round in 1..=args.rounds {
        for (load, costs) in loads.iter().zip(&mut costs) {
            eprintln!("round {round}/{}: {load:?}", args.rounds);
            for (binary, costs) in binaries.iter().zip(costs) {
                costs.push(measure(binary, *load, &batches, &args));
            }
        }
    }
    println!("Per batch (idle: per second): microseconds of CPU, and wake-ups.");
    for (load, costs) in loads.iter().zip(&costs) {
        let medians: Vec<Cost> = costs.iter().map(|costs| median(costs)).collect();
        print!("{:<44}", format!("{load:?}"));
        for cost in &medians {
            print!("  {:>8.2} µs {:>8.3}", cost.micros, cost.wake_ups);
        }
        match &medians[..] {
            [before, now] => println!("  {:>6.2}×", before.micros / now.micros),
            _ => println!(),
        }
    }
}

fn median(costs: &[Cost]) -> Cost {
    let of = |figure: fn(&Cost) -> f64| {
        let mut all: Vec<f64> = costs.iter().map(figure).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    Cost { micros: of(|cost| cost.micros), wake_ups: of(|cost| cost.wake_ups) }
}

fn measure(binary: &Path, load: Load, batches: &[Vec<u8>], args: &Args) -> Cost {
    let keys = args.curve.then(Keys::new);
    let logger = Logger::start(binary, "", keys.as_ref());
    let context = Context::new(1).unwrap();
    let count = match load {
        Load::Idle => 0,
        Load::Paced { producers, .. } | Load::Flood { producers } => producers,
    };
    let sockets: Vec<Socket> =
        (0..count).map(|_| logger.producer(&context, keys.as_ref())).collect();
    let mut traffic = Traffic { sockets, batches, sent: 0, records: 0 };
    // Headers, plans and files exist once everything was sent once.
    for _ in 0..if count > 0 { batches.len() } else { 0 } {
        traffic.send();
    }
    logger.wait_for(traffic.records);

    // A pace has begun long before, so that what is not written at either end is about the same.
    if let Load::Paced { rate, .. } = load {
        traffic.pace(f64::from(rate), WARM_UP);
    }
    let (before, sent_before) = (logger.usage(), traffic.sent);
    let length = Duration::from_secs_f64(args.seconds);
    match load {
        Load::Idle => std::thread::sleep(length),
        Load::Paced { rate, .. } => traffic.pace(f64::from(rate), length),
        Load::Flood { .. } => {
            (0..FLOOD).for_each(|_| traffic.send());
            logger.wait_for(traffic.records);
        }
    }
    let after = logger.usage();
    logger.wait_for(traffic.records);
    let per = if count > 0 { (traffic.sent - sent_before) as f64 } else { args.seconds };
    Cost {
        micros: after.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e6 / per,
        wake_ups: (after.wake_ups - before.wake_ups) as f64 / per,
    }
}

impl Logger {
    /// Waits until its files have that many records.
    fn wait_for(&self, records: u64) {
        let deadline = Instant::now() + PATIENCE;
        let mut size = None;
        loop {
            // Counting reads all files, so it waits until they stop growing.
            let before = size.replace(self.written());
            if before == size && self.records() >= records {
                return;
            }
            assert!(Instant::now() < deadline, "not all of {records} records are written");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The producers, and what they have sent.
struct Traffic<'a> {
    sockets: Vec<Socket>,
    batches: &'a [Vec<u8>],
    sent: u64,
    records: u64,
}

impl Traffic<'_> {
    /// Sends the next batch from the next producer.
    fn send(&mut self) {
        let number = self.sent as usize;
        let payload = &self.batches[number % self.batches.len()];
        let socket = &self.sockets[number % self.sockets.len()];
        let message = LogMessage {
            kind: LogMessage::KIND,
            sender: b"zeromq_bench_host_1_N0",
            format: LogMessage::ZEEK_BIN,
            payload,
        };
        while !socket.try_send(&message.frames()).unwrap() {
            let mut poll = PollSet::new();
            poll.add(socket, Interest::Writable);
            poll.wait(None).unwrap();
        }
        self.sent += 1;
        self.records += u64::from(Batch::decode(payload).unwrap().num_records());
    }

    /// Sends each batch when it is due.
    fn pace(&mut self, rate: f64, length: Duration) {
        let start = Instant::now();
        let first = self.sent;
        loop {
            let passed = start.elapsed();
            if passed >= length {
                return;
            }
            let due = (passed.as_secs_f64() * rate) as u64;
            while self.sent - first < due {
                self.send();
            }
            let next = Duration::from_secs_f64((due + 1) as f64 / rate);
            std::thread::sleep(next.saturating_sub(start.elapsed()));
        }
    }
}
