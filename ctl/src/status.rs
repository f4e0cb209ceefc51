//! `zcluster status`: which nodes are connected to the broker and which are not, how far behind
//! they are, and what was lost.
//!
//! The broker's engine `switch` serves `/status` next to its metrics. `Status` is the format of
//! that answer; converting it to a table is pure.

mod members;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use serde::Deserialize;
use serde_json::{Value, json};
use zcluster::daemon::Failure;
use zcluster::exit::ExitCode;
use zcluster::layout::{self, Layout};
use zcluster::telemetry::BrokerMetrics;

use self::members::Members;
use crate::output::{aligned, end, print, printable};

/// How long the broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer that is read; a thousand nodes need half a megabyte.
const LONGEST_ANSWER: u64 = 64 << 20;

/// The arguments of `zcluster status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The layout of the cluster, which says which nodes should be connected [default:
    /// cluster-layout.toml]
    #[arg(long, value_name = "FILE")]
    layout: Option<PathBuf>,
    /// Query this address instead of the metrics address of the broker in the layout. Without
    /// --layout, no node counts as missing.
    #[arg(long, value_name = "IP:PORT")]
    address: Option<SocketAddr>,
    /// Print the status as JSON.
    #[arg(long)]
    json: bool,
}

/// Shows the status. Prints a failure on stderr: a node of the layout that is not connected, or a
/// broker that does not answer (69), a wrong layout, or one without a metrics port (78), an answer
/// that is not a status (65).
pub fn run(args: &Args) -> ExitCode {
    end(status(args))
}

fn status(args: &Args) -> Result<(), Failure> {
    let (address, layout) = match (args.address, &args.layout) {
        (Some(address), None) => (address, None),
        (address, path) => {
            let path = path.as_deref().unwrap_or(Path::new("cluster-layout.toml"));
            let layout = layout::load(path, |name| std::env::var(name).ok())?.layout;
            (address.map_or_else(|| metrics_address(&layout), Ok)?, Some(layout))
        }
    };
    let body = ask(address)?;
    let no_status = |error| {
        let message = format!("the answer of {address} is not the status of a broker: {error}");
        Failure::new(ExitCode::Data, message)
    };
    let mut answer: Value = serde_json::from_slice(&body).map_err(no_status)?;
    let status = || serde_json::from_slice::<Status>(&body).map_err(no_status);
    let members = match &layout {
        Some(layout) => Members::new(layout, &status()?),
        None => Members::default(),
    };
    if args.json {
        if layout.is_some()
            && let Some(answer) = answer.as_object_mut()
        {
            answer.insert("nodes".into(), json!(members.all));
        }
        print(&format!("{answer}\n"))?;
    } else {
        print(&status()?.table(&members))?;
    }
    match members.absent() {
        None => Ok(()),
        Some(absent) => Err(Failure::new(ExitCode::Unavailable, absent)),
    }
}

/// The address where the broker serves its metrics.
fn metrics_address(layout: &Layout) -> Result<SocketAddr, Failure> {
    let ip = match layout.broker_metrics_address() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    match layout.broker.metrics_port {
        Some(0) => Err(Failure::config(
            "`metrics_port` in [broker] is 0: pass the metrics address from the broker's ready \
             line as --address",
        )),
        Some(port) => Ok((ip, port).into()),
        None => Err(Failure::config(
            "the layout has no `metrics_port` in [broker], which this command queries",
        )),
    }
}

fn ask(address: SocketAddr) -> Result<Vec<u8>, Failure> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .timeout_global(Some(PATIENCE))
        .build()
        .into();
    let unavailable = |error: ureq::Error| {
        let message = match error {
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                format!("nothing listens at {address}: is the broker running?")
            }
            ureq::Error::Timeout(_) => {
                format!("{address} did not answer within {}s", PATIENCE.as_secs())
            }
            error => format!("cannot query {address}: {error}"),
        };
        Failure::new(ExitCode::Unavailable, message)
    };
    let mut response = agent.get(format!("http://{address}/status")).call().map_err(unavailable)?;
    match response.status().as_u16() {
        200 => {
            let body = response.body_mut().with_config().limit(LONGEST_ANSWER);
            body.read_to_vec().map_err(unavailable)
        }
        404 => {
            let message = format!(
                "{address} has no status: the broker uses engine zmq, which has none, or this is \
                 another process"
            );
            Err(Failure::new(ExitCode::Unavailable, message))
        }
        code => {
            let message = format!("{address} answers with HTTP status {code}");
            Err(Failure::new(ExitCode::Unavailable, message))
        }
    }
}

/// What the broker answers.
#[derive(Debug, Deserialize)]
struct Status {
    engine: String,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    subscriptions: u64,
}

/// A connection of the XSUB socket.
#[derive(Debug, Deserialize)]
struct Publisher {
    peer: String,
    address: String,
    connected_s: f64,
    /// Events accepted from it.
    events: u64,
    refused: u64,
    held: bool,
}

/// A connection of the XPUB socket.
#[derive(Debug, Deserialize)]
struct Subscriber {
    peer: String,
    address: String,
    connected_s: f64,
    queued_messages: u64,
    queued_bytes: u64,
    sent: u64,
    dropped: u64,
    state: String,
}

const COLUMNS: [&str; 10] = [
    "PEER",
    "SOCKET",
    "CONNECTED",
    "RECEIVED",
    "REFUSED",
    "QUEUED",
    "BYTES",
    "SENT",
    "DROPPED",
    "STATE",
];
/// Columns of numbers are right-aligned.
const NUMBERS: std::ops::Range<usize> = 2..9;

impl Status {
    /// One line per connection, grouped by peer, and one for each missing connection.
    fn table(&self, members: &Members) -> String {
        let none = || "-".to_owned();
        let mut rows: Vec<[String; COLUMNS.len()]> = Vec::new();
        let publishers = how_often(self.publishers.iter().map(|peer| &*peer.peer));
        for publisher in &self.publishers {
            let state = if publisher.held { "held" } else { "ok" };
            rows.push([
                name(&publisher.peer, &publisher.address),
                "xsub".into(),
                span(publisher.connected_s),
                publisher.events.to_string(),
                publisher.refused.to_string(),
                none(),
                none(),
                none(),
                none(),
                marked(state, &publisher.peer, &publishers, members),
            ]);
        }
        let subscribers = how_often(self.subscribers.iter().map(|peer| &*peer.peer));
        for subscriber in &self.subscribers {
            rows.push([
                name(&subscriber.peer, &subscriber.address),
                "xpub".into(),
                span(subscriber.connected_s),
                none(),
                none(),
                subscriber.queued_messages.to_string(),
                ByteSize(subscriber.queued_bytes).to_string(),
                subscriber.sent.to_string(),
                subscriber.dropped.to_string(),
                marked(&printable(&subscriber.state), &subscriber.peer, &subscribers, members),
            ]);
        }
        for member in members.all.iter().filter(|member| member.state != members::State::Up) {
            let mut row = COLUMNS.map(|_| none());
            row[0] = printable(&member.name);
            row[1] = member.missing().into();
            row[COLUMNS.len() - 1] = "down".into();
            rows.push(row);
        }
        rows.sort_by(|a, b| a[..2].cmp(&b[..2]));
        rows.insert(0, COLUMNS.map(str::to_owned));
        let mut out = aligned(&rows, NUMBERS);
        let count =
            |count: u64, word| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
        let up = match members.count() {
            (_, 0) => String::new(),
            (up, all) => format!("; {up} of {all} nodes up"),
        };
        let _ = writeln!(
            out,
            "engine {}: {}, {}, {}{up}",
            printable(&self.engine),
            count(self.publishers.len() as u64, "publisher"),
            count(self.subscribers.len() as u64, "subscriber"),
            count(self.subscriptions, "subscription"),
        );
        out
    }
}

/// How many connections each name has.
fn how_often<'a>(peers: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, usize> {
    let mut counts = BTreeMap::new();
    for peer in peers.filter(|peer| !peer.is_empty() && *peer != BrokerMetrics::UNNAMED) {
        *counts.entry(peer).or_default() += 1;
    }
    counts
}

/// The state of a connection, with what is odd about the name of its peer.
fn marked(
    state: &str,
    peer: &str,
    connections: &BTreeMap<&str, usize>,
    members: &Members,
) -> String {
    let mut text = state.to_owned();
    if members.is_stranger(peer) {
        text.push_str(", unknown");
    }
    if connections.get(peer).is_some_and(|count| *count > 1) {
        text.push_str(", duplicate");
    }
    text
}

/// The name of a peer, or where it is.
fn name(peer: &str, address: &str) -> String {
    printable(if peer.is_empty() || peer == BrokerMetrics::UNNAMED { address } else { peer })
}

fn span(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    humantime::format_duration(Duration::from_secs(whole)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(broker: &str) -> Layout {
        let text = format!("[nodes.m]\nnode_type = \"manager\"\nip = \"10.0.0.1\"\n{broker}");
        Layout::from_toml(&text, "l.toml").unwrap().0
    }

    #[test]
    fn the_broker_is_asked_where_it_offers_its_metrics() {
        for (broker, expected) in [
            ("[broker]\nmetrics_port = 9910\n", "127.0.0.1:9910"),
            ("[broker]\nmetrics_port = 1\nmetrics_address = \"10.0.0.9\"\n", "10.0.0.9:1"),
            ("[broker]\nmetrics_port = 1\nmetrics_address = \"0.0.0.0\"\n", "127.0.0.1:1"),
            ("[broker]\nmetrics_port = 1\nmetrics_address = \"::\"\n", "[::1]:1"),
        ] {
            let address = metrics_address(&layout(broker)).map(|address| address.to_string());
            assert_eq!(address.unwrap(), expected, "{broker}");
        }
        for (broker, expected) in [
            ("", "the layout has no `metrics_port`"),
            ("[broker]\nmetrics_port = 0\n", "`metrics_port` in [broker] is 0"),
        ] {
            let failure = metrics_address(&layout(broker)).unwrap_err();
            assert_eq!(failure.code, ExitCode::Config);
            assert!(failure.message.starts_with(expected), "{}", failure.message);
        }
    }

    #[test]
    fn names_cannot_drive_the_terminal() {
        for (peer, expected) in [
            ("worker-1", "worker-1"),
            ("unnamed", "127.0.0.1:1"),
            ("", "127.0.0.1:1"),
            ("a\u{1b}[2J\nb c\u{9b}\u{202e}", r"a\u{1b}[2J\nb c\u{9b}\u{202e}"),
            ("gr\u{fc}n", "gr\u{fc}n"),
        ] {
            assert_eq!(name(peer, "127.0.0.1:1"), expected);
        }
    }

    #[test]
    fn odd_times_are_no_trouble() {
        for (seconds, expected) in
            [(0.9, "0s"), (63.2, "1m 3s"), (-1.0, "0s"), (f64::NAN, "0s"), (1e300, "0s")]
        {
            assert_eq!(span(seconds), expected);
        }
    }
}
