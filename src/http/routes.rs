//! The routes that every process serves (WIRE.md §7.7). They answer from memory and never wait.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use super::{Service, accept};
use crate::health::Health;
use crate::telemetry::Telemetry;

/// A group of targets in the format of Prometheus' HTTP service discovery.
#[derive(Clone, Debug, Serialize)]
struct TargetGroup {
    targets: Vec<SocketAddr>,
    labels: BTreeMap<&'static str, String>,
}

/// The groups of `/services.json`. Labels belong to a group, so each process has its own group.
fn target_groups(services: Vec<Service>) -> Vec<TargetGroup> {
    if services.is_empty() {
        // What Zeek's manager returns.
        return vec![TargetGroup { targets: Vec::new(), labels: BTreeMap::new() }];
    }
    let group = |service: Service| TargetGroup {
        targets: vec![service.address],
        labels: [("node", service.node), ("node_type", service.node_type.to_owned())].into(),
    };
    services.into_iter().map(group).collect()
}

/// `/metrics`, `/healthz`, `/readyz` and, with `services`, `/services.json`. Each request calls
/// `health`, which must not block.
pub fn metrics(
    telemetry: Telemetry,
    services: Option<Vec<Service>>,
    health: impl Fn() -> Health + Send + Sync + 'static,
) -> Router {
    let health = Arc::new(health);
    let (well, ready) = (Arc::clone(&health), Arc::clone(&health));
    let mut router = Router::new()
        .route(
            "/metrics",
            get(|headers: HeaderMap| async move {
                telemetry.ready().set(i64::from(health().is_ready()));
                let format = accept::exposition(&headers);
                // The format depends on the request, so a cache must not give one scraper's
                // response to another.
                let answer =
                    [(header::CONTENT_TYPE, format.content_type()), (header::VARY, "accept")];
                (answer, telemetry.encode_as(format))
            }),
        )
        .route("/healthz", get(|| async move { answer(well().problems()) }))
        .route("/readyz", get(|| async move { answer(ready().obstacles()) }));
    if let Some(services) = services {
        let groups = target_groups(services);
        router = router.route("/services.json", get(|| async move { Json(groups) }));
    }
    only_get(router.fallback(|| async { (StatusCode::NOT_FOUND, "not found\n").into_response() }))
}

/// Says so to other methods, for all routes that are there. The header `Allow` is added by axum.
pub fn only_get(router: Router) -> Router {
    router.method_not_allowed_fallback(|| async {
        (StatusCode::METHOD_NOT_ALLOWED, "expected the method GET or HEAD\n")
    })
}

/// 200 and `ok` without problems, else 503 and one line per problem.
fn answer<'a>(problems: impl Iterator<Item = &'a str>) -> (StatusCode, String) {
    let lines: String = problems.flat_map(|line| [line, "\n"]).collect();
    if lines.is_empty() {
        (StatusCode::OK, "ok\n".into())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, lines)
    }
}

/// Adds `/status`.
pub(super) fn with_status(
    router: Router,
    status: impl Fn() -> serde_json::Value + Send + Sync + 'static,
) -> Router {
    let status = Arc::new(status);
    only_get(router.route("/status", get(|| async move { Json(status()) })))
}
