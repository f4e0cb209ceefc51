//! What HTTP is spoken on.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::Extensions;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use zcluster::http::Transport;
use zcluster::telemetry::ClientRefusal;

use super::Shared;
use super::meter::{Meter, Metered};
use super::upgrade::CertificateNames;
use crate::tls::certificate_names;

/// TCP, or TLS on it. The address of the client, the names in its certificate and its [`Meter`] are in
/// the extensions of its requests.
#[derive(Clone)]
pub(super) struct Wire(pub(super) Arc<Shared>);

impl Transport for Wire {
    type Stream = Metered<Either<TcpStream, TlsStream<TcpStream>>>;

    async fn prepare(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        extensions: &mut Extensions,
    ) -> io::Result<Self::Stream> {
        // What is written is whole: there is nothing to wait for.
        stream.set_nodelay(true)?;
        extensions.insert(peer);
        let meter = Meter::new(&self.0.budget);
        extensions.insert(Arc::clone(&meter));
        let Some(tls) = &self.0.tls else { return Ok(Metered::new(Either::Left(stream), meter)) };
        let accepted = tls.acceptor().accept(stream).await;
        let stream = accepted.inspect_err(|_| {
            self.0.metrics.refused[ClientRefusal::Tls].inc();
        })?;
        if let Some(chain) = stream.get_ref().1.peer_certificates() {
            extensions.insert(CertificateNames(certificate_names(chain).into()));
        }
        Ok(Metered::new(Either::Right(stream), meter))
    }
}
