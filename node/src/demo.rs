//! Demo traffic: each worker publishes a heartbeat to the manager once a second and writes a log.

use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use zcluster::Event;
use zcluster::daemon::Failure;
use zcluster::exit::ExitCode;
use zcluster::layout::NodeType;
use zcluster::node::{LogStream, Node};
use zcluster::topic;
use zcluster::value::{Port, Protocol, Timestamp};
use zcluster::wire::zeek_bin::{FieldSpec, LogSchema, LogType, LogValue, Scalar};

/// Time between heartbeats.
const INTERVAL: Duration = Duration::from_secs(1);

/// A running demo; dropping it stops the demo.
pub(super) struct Demo {
    /// Dropping it stops the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the demo panicked");
        }
    }
}

/// Starts the demo on a worker; other nodes only listen.
pub(super) fn start(node: &Node, node_type: NodeType) -> Result<Option<Demo>, Failure> {
    if node_type != NodeType::Worker {
        return Ok(None);
    }
    let stream = node.log(schema())?;
    let node = node.clone();
    let (stop, stopped) = bounded::<()>(0);
    let body = move || {
        for beat in 1.. {
            if let Err(error) = beat_once(&node, &stream, beat) {
                log::warn!("demo: {error}");
            }
            if stopped.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new()
        .name("demo".into())
        .spawn(body)
        .map_err(|error| Failure::new(ExitCode::Software, error))?;
    Ok(Some(Demo { stop: Some(stop), thread: Some(thread) }))
}

fn beat_once(node: &Node, log: &LogStream, beat: u64) -> Result<(), Box<dyn std::error::Error>> {
    let now = Timestamp::from(SystemTime::now());
    let args = vec![node.name().into(), beat.into(), now.into()];
    node.publish(topic::MANAGER, &Event::new("Demo::heartbeat", args))?;

    // Invented, but in the shape of real logs: addresses, ports, sets, and unset values.
    let peer = std::net::Ipv4Addr::new(192, 0, 2, (beat % 254 + 1) as u8);
    let port = Port::new(if beat.is_multiple_of(3) { 53 } else { 443 }, Protocol::Tcp);
    let tags = [LogValue::from("demo"), LogValue::from("heartbeat")];
    let members = node.members().len() as u64;
    log.write(&[
        LogValue::Time(now.as_secs_f64()),
        node.name().into(),
        LogValue::Count(beat),
        LogValue::Addr(peer.into()),
        LogValue::Port(port),
        if beat.is_multiple_of(5) { LogValue::Unset } else { LogValue::Interval(1.0) },
        LogValue::Set(&tags),
        LogValue::Count(members),
    ])?;
    Ok(())
}

fn schema() -> LogSchema {
    let fields = vec![
        FieldSpec::new("ts", Scalar::Time),
        FieldSpec::new("node", Scalar::String),
        FieldSpec::new("beat", Scalar::Count),
        FieldSpec::new("id.resp_h", Scalar::Addr),
        FieldSpec::new("id.resp_p", Scalar::Port),
        FieldSpec::new("duration", Scalar::Interval).optional(),
        FieldSpec::new("tags", LogType::Set(Scalar::String)),
        FieldSpec::new("members_up", Scalar::Count),
    ];
    LogSchema::new("Demo::LOG", "demo", fields)
}
