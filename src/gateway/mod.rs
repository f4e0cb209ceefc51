//! The HTTP side of a process: `/metrics`, `/services.json`, `/healthz` (WIRE.md §7.7), `/readyz`,
//! and, where numbers do not say enough, `/status`.
//!
//! The only place with a tokio runtime: one separate thread, which the data plane never waits for.
//! Without the cargo feature `gateway` the same functions exist and return an error that says so.

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
    /// Cannot listen on the address: another process uses it, or this host does not have it.
    #[error("cannot serve HTTP on {address}: {error}")]
    Listen {
        /// The address as configured.
        address: SocketAddr,
        /// The system's error.
        #[source]
        error: io::Error,
    },
    /// The system refused the thread or the descriptors that a server needs.
    #[error("cannot start the HTTP thread: {0}")]
    Start(#[source] io::Error),
    /// The program was built without the cargo feature `gateway`.
    #[error("cannot serve HTTP on {0}: built without the feature `gateway`")]
    NotBuiltIn(SocketAddr),
}

/// A process that `/services.json` lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The address of its metrics.
    pub address: SocketAddr,
    /// Its name: the label `node`.
    pub node: String,
    /// Its type: the label `node_type`.
    pub node_type: &'static str,
}

/// Serves `/metrics`, `/healthz`, `/readyz` and, if `services` is given, `/services.json`.
///
/// `services` are all processes of the layout, for Prometheus to discover; the manager and the
/// broker serve them. Each request calls `health` on the HTTP thread; it must not block. The server
/// listens once this returns, until it is dropped.
///
/// # Errors
///
/// [`GatewayError::Listen`] if it cannot listen on the address, [`GatewayError::Start`] if the
/// system refuses a thread, [`GatewayError::NotBuiltIn`] without the feature `gateway`.
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

/// Serves what [`serve_metrics`] does, and `/status`: JSON about the current state of a process.
///
/// Each request calls `health` and `status` on the HTTP thread; they must not block. The server
/// listens once this returns, until it is dropped.
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

/// The type of the server that a program without the feature `gateway` cannot create.
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
