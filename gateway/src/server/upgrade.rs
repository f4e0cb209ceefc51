//! Which requests become clients.
//!
//! As in Zeek, a request for any path becomes a WebSocket; a client learns there that its path or
//! its name is wrong (WIRE.md §3.4). Access is decided first, even for what is no WebSocket: the live
//! page asks in this way why it was refused.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version as HttpVersion, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use zcluster::telemetry::ClientRefusal;

use super::Shared;
use super::conversation::{self, Refusal};
use super::meter::Meter;
use crate::access::{Admitted, Credentials};
use crate::hub::{Opening, Version};
use crate::v2::ErrorCode;
use crate::{access, v1, v2};

/// The size of a client's read buffer, in bytes: most of what an idle client costs.
const READ_BUFFER: usize = 8 << 10;
/// How much a client's messages gather before they are written, in bytes.
const WRITE_BUFFER: usize = 64 << 10;

/// How much of something wrong is repeated, in characters.
const SHOWN: usize = 40;
/// What the gateway calls itself, also in the header `Server`, which Zeek's answers have too.
pub(super) const SERVER: &str = concat!("zcluster/", env!("CARGO_PKG_VERSION"));

/// What is told only to whom would be admitted as a client.
const GUARDED: [&str; 2] = ["/metrics", "/services.json"];

/// Adds the WebSocket API to the routes of plain HTTP.
pub(super) fn router(router: Router, shared: &Arc<Shared>) -> Router {
    router.layer(middleware::from_fn_with_state(Arc::clone(shared), upgrade))
}

async fn upgrade(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let is_api = matches!(request.uri().path(), v1::PATH | v2::PATH);
    if !is_api && !asks_for_websocket(request.headers()) {
        if !GUARDED.contains(&request.uri().path()) {
            return next.run(request).await;
        }
        let (parts, body) = request.into_parts();
        return match admit(&shared, &parts) {
            Ok(_) => next.run(Request::from_parts(parts, body)).await,
            Err(refusal) => refusal.into_response(),
        };
    }
    let mut response = client(&shared, request).await.unwrap_or_else(IntoResponse::into_response);
    response.headers_mut().insert(header::SERVER, HeaderValue::from_static(SERVER));
    response
}

/// The error about a path that is none of the API's, in the form of the version that it begins with.
fn invalid_uri(path: &str) -> Refusal {
    let reason = v1::INVALID_URI.1;
    if !path.starts_with("/v2") {
        return Refusal { error: v1::error(v1::INVALID_URI.0, reason), reason };
    }
    let expected = format!("{} or, for version 1, {}", v2::PATH, v1::PATH);
    let path: String = path.chars().take(SHOWN).collect();
    let message = format!("path: expected {expected}, found {path:?}");
    Refusal { error: v2::error(ErrorCode::InvalidUri, &message), reason: "Invalid URI" }
}

/// The error about a header `X-Application-Name`.
fn invalid_name(version: Version, name: &[u8]) -> Refusal {
    let (code, reason) = v1::INVALID_APPLICATION_NAME;
    let error = match version {
        Version::V1 => v1::error(code, reason),
        Version::V2 => {
            let name: String = String::from_utf8_lossy(name).chars().take(SHOWN).collect();
            let expected = "letters, digits and - / _ . = : * @";
            let message = format!("X-Application-Name: expected {expected}, found {name:?}");
            v2::error(ErrorCode::InvalidApplicationName, &message)
        }
    };
    Refusal { error, reason }
}

/// Why a request does not become a client.
struct NoClient {
    status: StatusCode,
    reason: String,
    challenge: Option<&'static str>,
}

impl NoClient {
    fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        NoClient { status, reason: reason.into(), challenge: None }
    }
}

impl From<access::Refusal> for NoClient {
    fn from(refusal: access::Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::FORBIDDEN);
        NoClient { status, reason: refusal.to_string(), challenge: refusal.challenge() }
    }
}

impl IntoResponse for NoClient {
    fn into_response(self) -> Response {
        let mut response = (self.status, format!("{}\n", self.reason)).into_response();
        if let Some(challenge) = self.challenge {
            let challenge = HeaderValue::from_static(challenge);
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// Who asks for something, if it may come in. Counts whom it refuses.
fn admit(shared: &Shared, parts: &Parts) -> Result<Admitted, NoClient> {
    let text = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let access = shared.access.load();
    let origin = parts.headers.get(header::ORIGIN).map(|value| value.to_str().unwrap_or("?"));
    if !access.allows_origin(origin, text(header::HOST)) {
        shared.metrics.refused[ClientRefusal::Origin].inc();
        let reason = format!("pages from {} may not connect", origin.unwrap_or_default());
        return Err(NoClient::new(StatusCode::FORBIDDEN, reason));
    }
    let names = parts.extensions.get::<CertificateNames>();
    let query = token_in(parts.uri.query().unwrap_or_default());
    let admitted = match parts.headers.get(header::AUTHORIZATION) {
        Some(value) => access::bearer_token(value.as_bytes()),
        // A page in a browser cannot set headers of its WebSocket.
        None => Ok(query.as_deref().filter(|_| parts.uri.path() == v2::PATH)),
    }
    .and_then(|token| {
        let certificate_names = names.map_or(&[][..], |names| &names.0);
        access.admit(Credentials { token, certificate_names })
    });
    admitted.map_err(|refusal| {
        shared.metrics.refused[ClientRefusal::Credentials].inc();
        refusal.into()
    })
}

/// The parameter `access_token` of a query (RFC 6750 §2.3).
fn token_in(query: &str) -> Option<String> {
    let mut parameters = query.split('&');
    let value = parameters.find_map(|parameter| parameter.strip_prefix("access_token="))?;
    Some(percent_encoding::percent_decode_str(value).decode_utf8().ok()?.into_owned())
}

/// The names in the certificate of a connection's client.
#[derive(Clone, Debug)]
pub(super) struct CertificateNames(pub(super) Arc<[String]>);

fn asks_for_websocket(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::UPGRADE).iter();
    values.any(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

async fn client(shared: &Arc<Shared>, request: Request) -> Result<Response, NoClient> {
    let (mut parts, _) = request.into_parts();
    let admitted = admit(shared, &parts)?;
    if parts.version != HttpVersion::HTTP_11 {
        return Err(NoClient::new(StatusCode::BAD_REQUEST, "expected HTTP/1.1"));
    }
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &()).await;
    let upgrade = upgrade
        .map_err(|rejection| NoClient::new(StatusCode::BAD_REQUEST, rejection.body_text()))?;
    let peer = parts.extensions.get::<SocketAddr>().copied();
    let peer = peer.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
    let meter = parts.extensions.get::<Arc<Meter>>().map(Arc::clone);
    let meter = meter.unwrap_or_else(|| Meter::new(&shared.budget));

    let max = shared.options.max_connections as usize;
    let place = Place::take(shared).ok_or_else(|| {
        shared.metrics.refused[ClientRefusal::Limit].inc();
        let reason = format!("{max} clients are connected already");
        NoClient::new(StatusCode::SERVICE_UNAVAILABLE, reason)
    })?;

    let version = match (parts.uri.path(), parts.uri.query()) {
        (v1::PATH, None) => Ok(Version::V1),
        (v2::PATH, _) => Ok(Version::V2),
        (path, _) => Err(invalid_uri(path)),
    };
    let name = parts.headers.get("x-application-name").map(HeaderValue::as_bytes);
    let opening = version.and_then(|version| {
        let name = match name {
            Some(name) if v1::is_application_name(name) => {
                Some(String::from_utf8_lossy(name).into_owned())
            }
            Some(name) => return Err(invalid_name(version, name)),
            None => None,
        };
        Ok(Opening {
            version,
            peer,
            metrics: match admitted.proven() {
                Some(application) => shared.metrics.proven(application),
                None => shared.metrics.claimed(name.as_deref()),
            },
            name,
            admitted,
            session: new_session(),
        })
    });
    let max_message = usize::try_from(shared.options.max_message_size).unwrap_or(usize::MAX);
    let upgrade = upgrade
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_message_size(max_message)
        .max_frame_size(max_message)
        .accept_unmasked_frames(true);
    let shared = Arc::clone(shared);
    Ok(upgrade.on_upgrade(async move |socket| {
        conversation::hold(socket, opening, &meter, &shared).await;
        drop(place);
    }))
}

/// A name of a session that nobody can guess: 128 random bits.
fn new_session() -> String {
    let mut bits = [0; 16];
    match rustix::rand::getrandom(&mut bits, rustix::rand::GetRandomFlags::empty()) {
        Ok(16) => data_encoding::BASE64URL_NOPAD.encode(&bits),
        // Nobody can resume a session without a name.
        Ok(_) | Err(_) => String::new(),
    }
}

/// One of the places for clients.
struct Place {
    shared: Arc<Shared>,
    _alive: Option<std::sync::mpsc::Sender<()>>,
}

impl Place {
    fn take(shared: &Arc<Shared>) -> Option<Self> {
        let max = shared.options.max_connections as usize;
        let before = shared.clients.fetch_add(1, Ordering::Relaxed);
        let alive = super::lock(&shared.alive).clone();
        let place = Place { shared: Arc::clone(shared), _alive: alive };
        (before < max).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_request_is_said_in_the_form_of_its_version() {
        let v1_uri = r#"{"type":"error","code":"invalid_uri","context":"Invalid URI - use /v1/messages/json"}"#;
        let v1_uri = (v1_uri.to_owned(), "Invalid URI - use /v1/messages/json");
        let v2_uri = |found: &str| {
            let paths = "/v2/messages/json or, for version 1, /v1/messages/json";
            let message = format!(r#""path: expected {paths}, found \"{found}\"""#);
            (
                format!(r#"{{"type":"error","code":"invalid_uri","message":{message}}}"#),
                "Invalid URI",
            )
        };
        for (path, expected) in [
            ("/", v1_uri.clone()),
            ("/v1/messages/json/", v1_uri.clone()),
            ("/x/v2", v1_uri),
            ("/v2", v2_uri("/v2")),
            ("/v2/messages/json/", v2_uri("/v2/messages/json/")),
        ] {
            let Refusal { error, reason } = invalid_uri(path);
            assert_eq!((error, reason), expected, "{path}");
        }
        let name = "Invalid X-Application-Name";
        for (version, expected) in [
            (
                Version::V1,
                r#"{"type":"error","code":"invalid_application_name","context":"Invalid X-Application-Name"}"#,
            ),
            (
                Version::V2,
                r#"{"type":"error","code":"invalid_application_name","message":"X-Application-Name: expected letters, digits and - / _ . = : * @, found \"a b\""}"#,
            ),
        ] {
            let Refusal { error, reason } = invalid_name(version, b"a b");
            assert_eq!((error.as_str(), reason), (expected, name));
        }
    }
}
