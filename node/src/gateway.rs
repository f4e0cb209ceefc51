//! The gateway of a node that has one in the layout.

use std::time::SystemTime;

use bstr::BStr;
use zcluster::daemon::{self, Failure};
use zcluster::exit::ExitCode;
use zcluster::layout::{self, Layout};
use zcluster::node::Node;
use zcluster::readable;
use zcluster::telemetry::Telemetry;
use zcluster::value::Timestamp;
use zcluster_gateway::{Gateway, GatewayError, Parts};

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
    let id = node.id().to_string();
    let gateway = Gateway::start(
        parts,
        move || asked.health(),
        move |event| {
            if !quiet {
                let now = Timestamp::from(SystemTime::now());
                let line = readable::event_to_json(now, BStr::new(""), BStr::new(&id), &event);
                let _ = daemon::print_line(&line);
            }
        },
    );
    let gateway = gateway.map_err(failure)?;
    if let Some(address) = gateway.local_addr() {
        log::info!(
            "WebSocket API on ws://{address}/v1/messages/json, live page on http://{address}/"
        );
    }
    Ok(Some(gateway))
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

fn failure(error: GatewayError) -> Failure {
    let code = match error {
        GatewayError::Http(_) | GatewayError::Node(_) => ExitCode::Unavailable,
        _ => ExitCode::Config,
    };
    Failure::new(code, error)
}
