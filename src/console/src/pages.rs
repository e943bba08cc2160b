//! What is served under which path.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use runtime::{Runtime, run_blocking};
use serde::Serialize;

use crate::{Facts, MetricsFormat, Reason};

const INDEX: &str = "\
klamm

/metrics  metrics, for Prometheus
/livez    200 while the process is sound, else 503 with the reasons
/readyz   200 while clients are served, else 503 with the reasons
";

const TEXT: &str = "text/plain; charset=utf-8";

#[derive(Clone)]
struct Shared {
    runtime: Runtime,
    facts: Facts,
}

/// All pages.
pub(crate) fn router(runtime: &Runtime, facts: Facts) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .with_state(Arc::new(Shared { runtime: runtime.clone(), facts }))
}

/// A plain answer.
pub(crate) fn text(status: StatusCode, text: impl Into<String>) -> Response {
    (status, [(header::CONTENT_TYPE, TEXT)], text.into()).into_response()
}

async fn index() -> Response {
    text(StatusCode::OK, INDEX)
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    (shared.facts.gather_metrics)().await;
    let render = Arc::clone(&shared.facts.metrics);
    // The metrics of thousands of partitions take milliseconds to write down.
    match run_blocking(&shared.runtime, move || render()).await {
        Ok(metrics) => {
            let format = match shared.facts.metrics_format {
                MetricsFormat::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
                MetricsFormat::OpenMetrics => {
                    "application/openmetrics-text; version=1.0.0; charset=utf-8"
                }
            };
            ([(header::CONTENT_TYPE, format)], metrics).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "metrics could not be written down");
            text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written down\n")
        }
    }
}

#[derive(Serialize)]
struct Verdict {
    status: &'static str,
    reasons: Vec<Reason>,
}

async fn live(State(shared): State<Arc<Shared>>) -> Response {
    verdict("live", "not live", shared.facts.health.why_not_live())
}

async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    verdict("ready", "not ready", shared.facts.health.why_not_ready())
}

fn verdict(good: &'static str, bad: &'static str, reasons: Vec<Reason>) -> Response {
    let (code, status) = match reasons.is_empty() {
        true => (StatusCode::OK, good),
        false => (StatusCode::SERVICE_UNAVAILABLE, bad),
    };
    let mut json = serde_json::to_string(&Verdict { status, reasons })
        .expect("strings in a struct always have a JSON form");
    json.push('\n');
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (code, headers, json).into_response()
}

async fn not_found(uri: Uri) -> Response {
    let path = uri.path();
    text(StatusCode::NOT_FOUND, format!("nothing at {path}; what there is:\n\n{INDEX}"))
}

async fn not_allowed() -> Response {
    text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n")
}
