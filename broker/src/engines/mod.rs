//! The engines that forward events, behind one trait.
//!
//! - [`switch`]: zcluster's own, with a queue per subscriber.
//! - [`zmq`]: `zmq_proxy_steerable`, as inside a Zeek manager.
//!
//! To add an engine, add a file here, a line in [`start`], and a word in the layout's
//! [`BrokerEngine`].

mod switch;
mod zmq;

pub(crate) use zmq::shortcomings as zmq_shortcomings;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use zcluster::access::AccessCell;
use zcluster::daemon::Failure;
use zcluster::exit::ExitCode;
use zcluster::health::Health;
use zcluster::layout::{BrokerEngine, Layout};
use zcluster::net::BindError;
use zcluster::telemetry::BrokerMetrics;
use zcluster::transport::Waker;

/// A running engine.
pub(crate) trait Engine {
    /// Its name in layouts and in the ready line.
    fn name(&self) -> &'static str;

    /// Where publishers connect, with the port the system chose.
    fn xsub_endpoint(&self) -> &str;

    /// Where subscribers connect.
    fn xpub_endpoint(&self) -> &str;

    /// A function that reports its health; callable from any thread.
    fn health(&self) -> Box<dyn Fn() -> Health + Send + Sync>;

    /// A function that reports its peers, if it knows them; callable from any thread.
    fn status(&self) -> Option<Box<dyn Fn() -> serde_json::Value + Send + Sync>>;

    /// A function that tells it that the access rules were replaced; callable from any thread.
    fn on_reload(&self) -> Box<dyn Fn() + Send>;

    /// Supervises it and updates the metrics, until asked to stop or until it fails. Blocks.
    fn watch(&mut self, stop: &Stop) -> Result<(), Failure>;

    /// Stops forwarding and closes the sockets. Blocks for up to `linger_ms`.
    ///
    /// # Errors
    /// Why it failed, if it had ended before.
    fn stop(self: Box<Self>) -> Result<(), String>;
}

/// A request to stop, from the signal handler to [`Engine::watch`].
#[derive(Debug)]
pub(crate) struct Stop {
    pub(crate) waker: Waker,
    is_asked: AtomicBool,
}

impl Stop {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Stop { waker: Waker::new()?, is_asked: AtomicBool::new(false) })
    }

    pub(crate) fn ask(&self) {
        self.is_asked.store(true, Ordering::Relaxed);
        self.waker.wake();
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::Relaxed)
    }
}

/// Starts the engine that the layout selects. `access`: the current access rules.
///
/// # Errors
/// A bad endpoint (78), an address in use (69), no file descriptors or threads left (70).
pub(crate) fn start(
    layout: &Layout,
    access: &Arc<AccessCell>,
    metrics: &BrokerMetrics,
) -> Result<Box<dyn Engine>, Failure> {
    Ok(match layout.broker.engine {
        BrokerEngine::Switch => Box::new(switch::SwitchEngine::start(layout, access, metrics)?),
        BrokerEngine::Zmq => Box::new(zmq::ZmqEngine::start(layout, access, metrics)?),
    })
}

fn bind_failure(error: &BindError) -> Failure {
    let code = if error.is_configuration() { ExitCode::Config } else { ExitCode::Unavailable };
    Failure::new(code, error)
}
