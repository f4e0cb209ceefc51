//! The HTTP side of a process: `/metrics`, `/services.json`, `/healthz` (WIRE.md §7.7), `/readyz`,
//! and, where numbers do not say enough, `/status`.
//!
//! The only place with a tokio runtime: one separate thread, which the data plane never waits for.
//! Without the cargo feature `http` the same functions exist and return an error that says so.

use std::io;
use std::net::SocketAddr;

use thiserror::Error;

#[cfg(feature = "http")]
mod accept;
#[cfg(feature = "http")]
pub mod routes;
#[cfg(feature = "http")]
mod server;
#[cfg(test)]
mod tests;

#[cfg(feature = "http")]
pub use server::{HttpServer, Limits, Plain, Transport};

use crate::health::Health;
use crate::telemetry::Telemetry;

/// Why HTTP is not served.
#[derive(Debug, Error)]
pub enum HttpError {
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
    /// The program was built without the cargo feature `http`.
    #[error("cannot serve HTTP on {0}: built without the feature `http`")]
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
/// [`HttpError::Listen`] if it cannot listen on the address, [`HttpError::Start`] if the
/// system refuses a thread, [`HttpError::NotBuiltIn`] without the feature `http`.
pub fn serve_metrics(
    address: SocketAddr,
    telemetry: &Telemetry,
    services: Option<Vec<Service>>,
    health: impl Fn() -> Health + Send + Sync + 'static,
) -> Result<HttpServer, HttpError> {
    #[cfg(feature = "http")]
    {
        HttpServer::start(address, routes::metrics(telemetry.clone(), services, health))
    }
    #[cfg(not(feature = "http"))]
    {
        let _ = (telemetry, services, health);
        Err(HttpError::NotBuiltIn(address))
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
) -> Result<HttpServer, HttpError> {
    #[cfg(feature = "http")]
    {
        let router = routes::metrics(telemetry.clone(), services, health);
        HttpServer::start(address, routes::with_status(router, status))
    }
    #[cfg(not(feature = "http"))]
    {
        let _ = (telemetry, services, health, status);
        Err(HttpError::NotBuiltIn(address))
    }
}

/// The type of the server that a program without the feature `http` cannot create.
#[cfg(not(feature = "http"))]
#[derive(Debug)]
pub enum HttpServer {}

#[cfg(not(feature = "http"))]
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
