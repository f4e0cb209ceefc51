//! What HTTP is spoken on.

use std::io;
use std::net::SocketAddr;

use axum::http::Extensions;
use tokio::net::TcpStream;
use zcluster::http::Transport;

/// TCP, with the address of the client in the extensions of its requests.
#[derive(Clone, Debug)]
pub(super) struct Tcp;

impl Transport for Tcp {
    type Stream = TcpStream;

    async fn prepare(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        extensions: &mut Extensions,
    ) -> io::Result<TcpStream> {
        // What is written is whole: there is nothing to wait for.
        stream.set_nodelay(true)?;
        extensions.insert(peer);
        Ok(stream)
    }
}
