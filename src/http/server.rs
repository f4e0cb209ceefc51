//! [`HttpServer`]: one thread, one runtime, and bounds on what clients can make it hold.
//!
//! axum routes and hyper speaks HTTP/1; this file owns the listening socket and the connections.
//! Each connection has deadlines ([`Limits`]); if there is no room for a new one, the oldest is
//! closed. So neither slow nor silent clients keep others out or delay a shutdown.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::{Pin, pin};
use std::sync::mpsc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{fmt, io};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{Extensions, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_io_timeout::TimeoutStream;
use tower_service::Service;

use super::HttpError;
use crate::rate_limit::RateLimit;

/// Limits for the clients of one server. They no longer apply to a connection that was upgraded:
/// the code that upgrades it must bound it.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Concurrent connections.
    pub connections: usize,
    /// How long a connection keeps its place while others wait for one.
    pub guaranteed: Duration,
    /// From the end of a response, or the start of the connection, to the end of the next request
    /// header: bounds both slow headers and idle connections.
    pub next_request: Duration,
    /// From the end of a request's header to its response.
    pub response: Duration,
    /// How long a client may read nothing of a response.
    pub stalled_write: Duration,
    /// Size of request line and headers, in bytes.
    pub header_bytes: usize,
    /// Size of a request body, in bytes.
    pub body_bytes: usize,
    /// How long a shutdown waits for responses in progress.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 64,
            guaranteed: Duration::from_secs(1),
            next_request: Duration::from_secs(30),
            response: Duration::from_secs(10),
            stalled_write: Duration::from_secs(10),
            header_bytes: 16 * 1024,
            body_bytes: 64 * 1024,
            drain: Duration::from_millis(500),
        }
    }
}

/// Turns an accepted TCP connection into the stream that HTTP is spoken on, for example by a TLS
/// handshake.
pub trait Transport: Clone + Send + Sync + 'static {
    /// The stream.
    type Stream: AsyncRead + AsyncWrite + Send + 'static;

    /// Prepares a connection from `peer`. What it adds to the extensions is in those of every
    /// request of this connection. [`Limits::next_request`] bounds how long it takes.
    ///
    /// # Errors
    /// If the client does not play along; its connection ends.
    fn prepare(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        extensions: &mut Extensions,
    ) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// HTTP on TCP as it is.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl Transport for Plain {
    type Stream = TcpStream;

    async fn prepare(
        &self,
        stream: TcpStream,
        _peer: SocketAddr,
        _extensions: &mut Extensions,
    ) -> io::Result<TcpStream> {
        Ok(stream)
    }
}

/// Pause after the system refuses to accept a connection, for example because file descriptors ran
/// out: retrying at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Minimum time between two warnings about the same problem.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// How long [`HttpServer::shutdown`] waits for its thread beyond [`Limits::drain`].
const JOIN_GRACE: Duration = Duration::from_millis(300);

/// A running HTTP server. Dropping it stops it.
pub struct HttpServer {
    address: SocketAddr,
    /// Dropped to ask the thread and every connection to stop.
    stop: Option<watch::Sender<()>>,
    /// Disconnects when the thread is about to end.
    ended: mpsc::Receiver<()>,
    thread: Option<JoinHandle<()>>,
    drain: Duration,
}

impl HttpServer {
    /// Listens on `listen` and serves `router` on a separate thread. With port 0 the system chooses
    /// the port.
    ///
    /// Handlers share that thread and must not block it.
    ///
    /// # Errors
    ///
    /// [`HttpError::Listen`] if it cannot listen on the address, [`HttpError::Start`] if the
    /// system refuses a thread.
    pub fn start(listen: SocketAddr, router: Router) -> Result<HttpServer, HttpError> {
        Self::start_with(listen, router, Limits::default(), Plain, pending())
    }

    /// The same, with other limits, on another transport than plain TCP, and with a task of the
    /// caller that runs on the server's thread until the server has stopped.
    ///
    /// # Errors
    ///
    /// As [`HttpServer::start`].
    pub fn start_with(
        listen: SocketAddr,
        router: Router,
        limits: Limits,
        transport: impl Transport,
        beside: impl Future<Output = ()> + Send + 'static,
    ) -> Result<HttpServer, HttpError> {
        let refused = |error| HttpError::Listen { address: listen, error };
        let listener = StdListener::bind(listen).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;

        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(HttpError::Start)?;
        let listener = {
            let _context = runtime.enter();
            TcpListener::from_std(listener).map_err(refused)?
        };
        let (stop, stopping) = watch::channel(());
        let (ending, ended) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("http".into())
            .spawn(move || {
                let _ending = ending;
                runtime.spawn(beside);
                run(runtime, listener, router, limits, transport, stopping);
            })
            .map_err(HttpError::Start)?;
        log::info!("serving HTTP on {address}");
        Ok(HttpServer {
            address,
            stop: Some(stop),
            ended,
            thread: Some(thread),
            drain: limits.drain,
        })
    }

    /// The address it listens on, with the port the system chose.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, lets responses in progress finish for half a second, closes the rest.
    /// Returns within a second.
    pub fn shutdown(self) {
        drop(self);
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        // Nothing is ever sent: the result is either "disconnected" or "timed out".
        let answer = self.ended.recv_timeout(self.drain + JOIN_GRACE);
        if answer == Err(mpsc::RecvTimeoutError::Timeout) {
            log::error!("HTTP on {}: a handler blocks its thread; leaving it behind", self.address);
            return;
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("HTTP on {}: the thread panicked", self.address);
        }
    }
}

impl fmt::Debug for HttpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpServer").field("address", &self.address).finish_non_exhaustive()
    }
}

/// The body of the thread.
fn run(
    runtime: Runtime,
    listener: TcpListener,
    router: Router,
    limits: Limits,
    transport: impl Transport,
    stopping: watch::Receiver<()>,
) {
    let router = router
        .layer(DefaultBodyLimit::max(limits.body_bytes))
        .layer(middleware::from_fn(move |request, next| in_time(limits.response, request, next)));
    runtime.block_on(serve(listener, router, limits, transport, stopping));
    // Tasks that handlers spawned end here; blocking tasks are not waited for.
    runtime.shutdown_background();
}

async fn in_time(limit: Duration, request: Request, next: Next) -> Response {
    timeout(limit, next.run(request))
        .await
        .unwrap_or_else(|_| (StatusCode::SERVICE_UNAVAILABLE, "out of time\n").into_response())
}

async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    transport: impl Transport,
    mut stopping: watch::Receiver<()>,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.next_request)
        .max_header_size(limits.header_bytes)
        .max_buf_size(limits.header_bytes + limits.body_bytes);
    let mut connections = Connections::new(limits);
    let mut refusals = RateLimit::new(WARNING_INTERVAL);
    loop {
        let accepted = async {
            connections.make_room().await;
            listener.accept().await
        };
        let (stream, peer) = tokio::select! {
            _ = stopping.changed() => break,
            accepted = accepted => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    if let Some(more) = refusals.check(std::time::Instant::now()) {
                        log::warn!(
                            "HTTP: cannot accept connections: {error} ({more} more like this)"
                        );
                    }
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let (http, router, stopping) = (http.clone(), router.clone(), stopping.clone());
        let transport = transport.clone();
        connections.spawn(async move {
            let mut extensions = Extensions::new();
            let prepared = transport.prepare(stream, peer, &mut extensions);
            let stream = match timeout(limits.next_request, prepared).await {
                Ok(Ok(stream)) => guarded(stream, limits),
                Ok(Err(error)) => return log::debug!("HTTP: {peer}: {error}"),
                Err(_) => return log::debug!("HTTP: {peer}: no handshake in time"),
            };
            let service = WithExtensions { inner: router, extensions };
            converse(http, stream, TowerToHyperService::new(service), stopping).await;
        });
    }
    drop(listener);
    if timeout(limits.drain, connections.all_ended()).await.is_err() {
        log::debug!("HTTP: closing connections that did not finish");
    }
}

/// Serves one connection until it ends. When the server stops, the response in progress is the
/// last.
async fn converse<S: AsyncRead + AsyncWrite + Send + 'static>(
    http: http1::Builder,
    stream: Guarded<S>,
    service: TowerToHyperService<WithExtensions>,
    mut stopping: watch::Receiver<()>,
) {
    let mut connection = pin!(http.serve_connection(stream, service).with_upgrades());
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = stopping.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // A client that sends garbage or disconnects ends only its own connection.
    if let Err(error) = ended {
        log::debug!("HTTP: {error}");
    }
}

/// Adds the extensions of a connection to each of its requests.
#[derive(Clone)]
struct WithExtensions {
    inner: Router,
    extensions: Extensions,
}

impl Service<hyper::Request<hyper::body::Incoming>> for WithExtensions {
    type Response = Response;
    type Error = Infallible;
    type Future = <Router as Service<hyper::Request<hyper::body::Incoming>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        <Router as Service<hyper::Request<hyper::body::Incoming>>>::poll_ready(
            &mut self.inner,
            context,
        )
    }

    fn call(&mut self, mut request: hyper::Request<hyper::body::Incoming>) -> Self::Future {
        request.extensions_mut().extend(self.extensions.clone());
        self.inner.call(request)
    }
}

/// What hyper reads and writes.
type Guarded<S> = TokioIo<Pin<Box<TimeoutStream<S>>>>;

/// The stream for hyper, with a limit on how long a client may stop reading.
fn guarded<S: AsyncRead + AsyncWrite>(stream: S, limits: Limits) -> Guarded<S> {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.stalled_write));
    TokioIo::new(Box::pin(stream))
}

/// The open connections, oldest first. Dropping this closes them.
struct Connections {
    tasks: JoinSet<()>,
    opened: VecDeque<(Instant, AbortHandle)>,
    limits: Limits,
    crowded: RateLimit,
}

impl Connections {
    fn new(limits: Limits) -> Self {
        Connections {
            tasks: JoinSet::new(),
            opened: VecDeque::new(),
            limits,
            crowded: RateLimit::new(WARNING_INTERVAL),
        }
    }

    fn spawn(&mut self, connection: impl Future<Output = ()> + Send + 'static) {
        let handle = self.tasks.spawn(connection);
        self.opened.push_back((Instant::now(), handle));
    }

    /// Returns when there is room: at once, when a connection has ended by itself, or when the
    /// oldest one has had its guaranteed time and was closed. Cancel-safe.
    async fn make_room(&mut self) {
        loop {
            while self.tasks.try_join_next().is_some() {}
            self.opened.retain(|(_, handle)| !handle.is_finished());
            if self.tasks.len() < self.limits.connections {
                return;
            }
            let Some((since, oldest)) = self.opened.front() else { return };
            if timeout_at(*since + self.limits.guaranteed, self.tasks.join_next()).await.is_err() {
                if let Some(more) = self.crowded.check(std::time::Instant::now()) {
                    let max = self.limits.connections;
                    log::warn!(
                        "HTTP: over {max} connections: closed the oldest ({more} more like this)"
                    );
                }
                oldest.abort();
                self.tasks.join_next().await;
            }
        }
    }

    async fn all_ended(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}
