//! `/livez`, `/readyz` and `/metrics` of a program that serves nothing else.

use std::io;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The content type of the OpenMetrics text format.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a program says of itself.
pub trait Vitals: Clone + Send + Sync + 'static {
    /// Why it cannot do its work now; `None` when it can.
    fn unready(&self) -> Option<&'static str>;

    /// Why it should be ended; `None` when it should not, which is what most programs always say.
    fn failed(&self) -> Option<String> {
        None
    }

    /// Its metrics in the OpenMetrics text format.
    ///
    /// # Errors
    /// When they cannot be written.
    fn text(&self) -> Result<String, std::fmt::Error>;
}

/// Health and metrics, bound to an address.
#[derive(Debug)]
pub struct Health<V> {
    listener: TcpListener,
    vitals: V,
}

impl<V: Vitals> Health<V> {
    /// Binds `address`.
    ///
    /// # Errors
    /// When the address is taken, or not this machine's.
    pub async fn bind(address: SocketAddr, vitals: V) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        tracing::info!(address = %listener.local_addr()?, "serving /livez, /readyz and /metrics");
        Ok(Self { listener, vitals })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop`.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(self, stop: CancellationToken) -> io::Result<()> {
        self.serve_with(Router::new(), stop).await
    }

    /// Serves until `stop`, with `more` pages.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve_with(self, more: Router<V>, stop: CancellationToken) -> io::Result<()> {
        let router = more
            .route("/livez", get(live::<V>))
            .route("/readyz", get(ready::<V>))
            .route("/metrics", get(metrics::<V>))
            .with_state(self.vitals);
        axum::serve(self.listener, router)
            .with_graceful_shutdown(stop.cancelled_owned())
            .await
    }
}

async fn live<V: Vitals>(State(vitals): State<V>) -> Response {
    match vitals.failed() {
        None => "ok\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn ready<V: Vitals>(State(vitals): State<V>) -> Response {
    match vitals.unready() {
        None => "ok\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn metrics<V: Vitals>(State(vitals): State<V>) -> Response {
    match vitals.text() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
