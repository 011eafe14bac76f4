//! The HTTP side of the one port: `/metrics`, `/livez`, `/readyz`, and who may ask at all.

use axum::Extension;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::access::{Caller, Right, layer};
use crate::engine::board::BoardReader;
use crate::metrics::Metrics;

/// What the pages need.
#[derive(Clone)]
struct Pages {
    board: BoardReader,
    metrics: Metrics,
}

/// The pages.
pub fn pages(board: BoardReader, metrics: Metrics) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .with_state(Pages { board, metrics })
}

async fn index() -> &'static str {
    "celeriac-aggregator\n\n\
     gRPC: celeriac.v1 on this port, with reflection and health\n\
     GET /metrics  OpenMetrics\n\
     GET /livez    is the process alive?\n\
     GET /readyz   does it take and keep events?\n"
}

async fn livez() -> &'static str {
    "ok\n"
}

/// Ready means: what inspectors send is kept. A broker that is down is no reason to take the aggregator out of service.
async fn readyz(State(pages): State<Pages>) -> Response {
    match &pages.board.read().commit_error {
        None => "ok\n".into_response(),
        Some(error) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("history cannot be written: {error}\n"),
        )
            .into_response(),
    }
}

/// They are of all apps, so the right to read all of them will do as well.
async fn metrics_text(
    State(pages): State<Pages>,
    Extension(caller): Extension<Caller>,
) -> Response {
    let permitted = match caller.has(Right::Metrics, None).await {
        Ok(true) => Ok(()),
        Ok(false) => caller.require(Right::Read, None).await,
        Err(unknown) => Err(unknown),
    };
    if let Err(status) = permitted {
        return layer::page(&status);
    }
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match pages.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, content_type)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Without an auth mode only this machine may ask. A page of another site, opened in a browser here, could reach the port
/// by DNS rebinding; its requests name that site as host and are refused.
pub async fn loopback_host_only(request: Request, next: Next) -> Response {
    let from_header = request
        .headers()
        .get(header::HOST)
        .map(HeaderValue::as_bytes);
    let authority = request
        .uri()
        .authority()
        .map(|authority| authority.as_str().as_bytes());
    let host = authority
        .or(from_header)
        .and_then(|host| std::str::from_utf8(host).ok());
    if host.is_none_or(is_loopback) {
        return next.run(request).await;
    }
    (
        StatusCode::MISDIRECTED_REQUEST,
        "this server answers as localhost only\n",
    )
        .into_response()
}

/// Whether a `host[:port]` names this machine.
fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => authority
            .rsplit_once(':')
            .map_or(authority, |(host, _port)| host),
    };
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_names_of_this_machine_pass() {
        for host in [
            "localhost",
            "LOCALHOST:5555",
            "127.0.0.1:5555",
            "[::1]:5555",
            "127.9.9.9",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "evil.example:5555",
            "10.0.0.1",
            "localhost.evil.example",
            "",
            "[::2]:1",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
