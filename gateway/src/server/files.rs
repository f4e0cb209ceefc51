//! Serves the [live page](crate::page).

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use zcluster::http::routes;

use crate::page::{self, FILES, HEADERS};

/// A route for each file.
pub(super) fn router() -> Router {
    let files =
        FILES.iter().fold(Router::new(), |router, file| router.route(file.path, get(file_of)));
    routes::only_get(files)
}

async fn file_of(request: Request) -> Response {
    let known = request.headers().get(header::IF_NONE_MATCH);
    let known = known.and_then(|tags| tags.to_str().ok());
    let Some(answer) = page::answer(request.uri().path(), known) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut response = (status, answer.body).into_response();
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    headers.insert(header::ETAG, HeaderValue::from_static(answer.etag));
    response
}
