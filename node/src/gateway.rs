//! The gateway of a node that has one in the layout.

use std::time::SystemTime;

use bstr::BStr;
use crossbeam_channel::{Sender, bounded};
use zcluster::Event;
use zcluster::daemon::{self, Failure};
use zcluster::exit::ExitCode;
use zcluster::layout::{self, Layout};
use zcluster::node::Node;
use zcluster::readable;
use zcluster::telemetry::Telemetry;
use zcluster::value::Timestamp;
use zcluster_gateway::{Gateway, GatewayError, Parts};

/// How many events about clients can wait to be printed.
const MAX_UNPRINTED: usize = 1_000;

/// Starts it, if the layout says so. Unless `quiet`, clients that come and go are printed as the
/// events that Zeek raises for them.
///
/// # Errors
/// An address that is taken (69), a schema file with mistakes (78).
pub(super) fn start(
    node: &Node,
    layout: &Layout,
    own: &layout::Node,
    telemetry: &Telemetry,
    quiet: bool,
) -> Result<Option<Gateway>, Failure> {
    let Some(options) = &own.websocket else { return Ok(None) };
    let services = daemon::services(layout, daemon::BROKER);
    let parts = Parts { node, layout, options, telemetry, services };
    let asked = node.clone();
    let printer = if quiet { None } else { Some(printer(node)?) };
    let on_event = move |event| {
        if let Some(printer) = &printer
            && printer.try_send((Timestamp::from(SystemTime::now()), event)).is_err()
        {
            log::debug!("standard output is not read: a line about a WebSocket client is lost");
        }
    };
    let gateway = Gateway::start(parts, move || asked.health(), on_event);
    gateway.map(Some).map_err(failure)
}

/// Prints in a thread of its own: nobody may read standard output, and clients must not wait for that.
fn printer(node: &Node) -> Result<Sender<(Timestamp, Event)>, Failure> {
    let (sender, events) = bounded::<(Timestamp, Event)>(MAX_UNPRINTED);
    let id = node.id().to_string();
    let body = move || {
        for (time, event) in events {
            let line = readable::event_to_json(time, BStr::new(""), BStr::new(&id), &event);
            let _ = daemon::print_line(&line);
        }
    };
    std::thread::Builder::new()
        .name("announcer".into())
        .spawn(body)
        .map_err(|error| Failure::new(ExitCode::Software, error))?;
    Ok(sender)
}

/// What a reload of the layout changes of it.
pub(super) fn reloader(
    gateway: Option<&Gateway>,
    name: &str,
) -> impl Fn(&Layout) -> Result<(), Failure> + Send + 'static {
    let access = gateway.map(Gateway::access_control);
    let name = name.to_owned();
    move |layout| {
        let options = layout.node(&name).and_then(|node| node.websocket.as_ref());
        if let (Some(access), Some(options)) = (&access, options) {
            let summary = access.reload(options).map_err(failure)?;
            log::info!("WebSocket API: {summary}");
        }
        Ok(())
    }
}

pub(super) fn failure(error: GatewayError) -> Failure {
    let code = match error {
        GatewayError::Http(_) | GatewayError::Node(_) => ExitCode::Unavailable,
        _ => ExitCode::Config,
    };
    Failure::new(code, error)
}
