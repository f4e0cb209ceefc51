//! The HTTP side of a process: `/metrics`, `/services.json`, `/healthz` (WIRE.md §7.7) and `/readyz`,
//! and `/status` where there is more to tell than numbers.
//!
//! The only place with a tokio runtime: one thread of its own, which the data plane never waits
//! for. Without the cargo feature `gateway` the same functions exist, and say that HTTP is not
//! built in.

use std::io;
use std::net::SocketAddr;

use thiserror::Error;

#[cfg(feature = "gateway")]
mod accept;
#[cfg(feature = "gateway")]
mod http;
#[cfg(feature = "gateway")]
mod routes;
#[cfg(test)]
mod tests;

#[cfg(feature = "gateway")]
pub use http::HttpServer;

use crate::health::Health;
use crate::telemetry::Telemetry;

/// Why HTTP is not served.
#[derive(Debug, Error)]
pub enum GatewayError {
    /// The address cannot be listened on: another process has it, or it is not one of this host.
    #[error("cannot serve HTTP on {address}: {error}")]
    Listen {
        /// The address as configured.
        address: SocketAddr,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// The system refuses the thread or the descriptors that a server needs.
    #[error("cannot start the HTTP thread: {0}")]
    Start(#[source] io::Error),
    /// The program was built without the cargo feature `gateway`.
    #[error("cannot serve HTTP on {0}: built without the feature `gateway`")]
    NotBuiltIn(SocketAddr),
}

/// A process whose metrics `/services.json` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Where it offers them.
    pub address: SocketAddr,
    /// Its name: the label `node`.
    pub node: String,
    /// What it is: the label `node_type`.
    pub node_type: &'static str,
}

/// Serves `/metrics`, `/healthz`, `/readyz` and, where `services` is given, `/services.json`.
///
/// `services` are all processes of the layout, for Prometheus to discover; the manager and the
/// broker serve them. `health` is asked at each request on the HTTP thread and must not
/// block. Listens when this returns, until the server is dropped.
///
/// # Errors
///
/// [`GatewayError::Listen`] if the address cannot be had, [`GatewayError::Start`] if the system
/// refuses a thread, [`GatewayError::NotBuiltIn`] without the feature `gateway`.
pub fn serve_metrics(
    address: SocketAddr,
    telemetry: &Telemetry,
    services: Option<Vec<Service>>,
    health: impl Fn() -> Health + Send + Sync + 'static,
) -> Result<HttpServer, GatewayError> {
    #[cfg(feature = "gateway")]
    {
        HttpServer::start(address, routes::metrics(telemetry.clone(), services, health))
    }
    #[cfg(not(feature = "gateway"))]
    {
        let _ = (telemetry, services, health);
        Err(GatewayError::NotBuiltIn(address))
    }
}

/// Serves what [`serve_metrics`] does, and `/status`: JSON about what a process is doing just now.
///
/// `health` and `status` are asked at each request on the HTTP thread and must not block. Listens
/// when this returns, until the server is dropped.
///
/// # Errors
///
/// As [`serve_metrics`].
pub fn serve_metrics_and_status(
    address: SocketAddr,
    telemetry: &Telemetry,
    services: Option<Vec<Service>>,
    health: impl Fn() -> Health + Send + Sync + 'static,
    status: impl Fn() -> serde_json::Value + Send + Sync + 'static,
) -> Result<HttpServer, GatewayError> {
    #[cfg(feature = "gateway")]
    {
        let router = routes::metrics(telemetry.clone(), services, health);
        HttpServer::start(address, routes::with_status(router, status))
    }
    #[cfg(not(feature = "gateway"))]
    {
        let _ = (telemetry, services, health, status);
        Err(GatewayError::NotBuiltIn(address))
    }
}

/// The server that a program without the feature `gateway` never gets.
#[cfg(not(feature = "gateway"))]
#[derive(Debug)]
pub enum HttpServer {}

#[cfg(not(feature = "gateway"))]
impl HttpServer {
    /// The address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        match *self {}
    }

    /// Stops it.
    pub fn shutdown(self) {
        match self {}
    }
}
