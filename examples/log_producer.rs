//! A producer of logs: it joins the cluster of `cluster-layout.toml` and writes a stream with two
//! filters, one record a second. Run it in place of one of the layout's workers:
//!
//! ```text
//! cargo run --example log_producer -- worker-2
//! ```

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use zcluster::logging::Filter;
use zcluster::node::Node;
use zcluster::value::{Port, Protocol};
use zcluster::{LogRecord, LogScalar, Logs, layout};

/// A line of `scan.log`.
#[derive(LogRecord)]
struct Scan<'a> {
    ts: SystemTime,
    scanner: Endpoint,
    kind: Kind,
    node: &'a str,
    note: Option<String>,
    /// Not logged, but filters see it.
    #[log(skip)]
    score: u64,
}

/// Two columns: `scanner.addr`, `scanner.port`.
#[derive(LogRecord)]
struct Endpoint {
    addr: IpAddr,
    port: Port,
}

#[derive(LogScalar)]
enum Kind {
    #[log(name = "Scan::PORT")]
    Port,
    #[log(name = "Scan::HOST")]
    Host,
}

fn main() {
    if let Err(error) = run() {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "worker-2".into());
    let count = std::env::args().nth(2).map_or(Ok(u64::MAX), |count| count.parse())?;
    let loaded = layout::load("cluster-layout.toml", |variable| std::env::var(variable).ok())?;
    let (node, _notifications) = Node::builder(loaded.layout, name.as_str()).start()?;

    let logs = Logs::new(&node);
    logs.on_weird(|_, weird, stream| eprintln!("{stream}: {weird}"));
    // Everything goes to scan.log, …
    let scans = logs.create_stream::<Scan<'_>>("Scan::LOG")?;
    // … and some columns of what matters to scan_high.log.
    scans.add_filter(
        Filter::<Scan<'_>>::new("high")
            .path("scan_high")
            .policy(|scan, _stream, _filter| scan.score > 1)
            .include(["ts", "scanner.addr", "note"])
            .field_name_map([("scanner.addr", "host")]),
    )?;

    for number in 0..count {
        scans.write(&Scan {
            ts: SystemTime::now(),
            scanner: Endpoint {
                addr: [192, 0, 2, number as u8].into(),
                port: Port::new(443, Protocol::Tcp),
            },
            kind: if number % 2 == 0 { Kind::Port } else { Kind::Host },
            node: node.name(),
            note: (number % 3 == 2).then(|| format!("scan {number}")),
            score: number % 3,
        })?;
        std::thread::sleep(Duration::from_secs(1));
    }
    // Sends what is left.
    node.shutdown(Duration::from_secs(5));
    node.take_failure().map_or(Ok(()), |error| Err(error.into()))
}
