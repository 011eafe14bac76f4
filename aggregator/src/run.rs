//! The wiring: from valid settings to a running aggregator, and back in order.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use crate::access::tokens::TokensError;
use crate::access::{Access, Kubernetes, Tokens, layer};
use crate::api::control::Allowed;
use crate::api::{self, Ingest, Reads};
use crate::config::{Auth, Config};
use crate::engine::board::BoardReader;
use crate::engine::{Engine, EngineFailed, EngineHandle};
use crate::history::{History, HistoryError};
use crate::http;
use crate::metrics::Metrics;
use crate::serve::certificate::{self, CertificateError};
use crate::serve::{self, Incoming};

/// For how long each part may take to end on SIGTERM. Kubernetes gives 30 s in all.
const PART_ENDS_WITHIN: Duration = Duration::from_secs(5);
/// HTTP/2 pings find half-open connections, so that a dead inspector gives way to a living one within half a minute.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Bytes that a client may send ahead of what is read: two whole batches of an inspector. HTTP/2's own 64 KiB make a batch
/// wait for the other side several times on its way.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
/// The same for all streams of a connection together; an inspector has one.
const CONNECTION_WINDOW_BYTES: u32 = 2 * STREAM_WINDOW_BYTES;

/// Why the aggregator could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// History cannot be opened.
    #[error("history cannot be opened")]
    History(#[source] HistoryError),
    /// The token file cannot be used.
    #[error(transparent)]
    Tokens(TokensError),
    /// The certificate cannot be served with.
    #[error(transparent)]
    Certificate(CertificateError),
    /// The address is taken, or not ours.
    #[error("cannot listen on {address} (--listen)")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The server failed.
    #[error("the server failed")]
    Serve(#[source] tonic::transport::Error),
    /// The engine failed.
    #[error("the engine failed")]
    Engine(#[source] EngineFailed),
}

/// Runs until `stop`, then ends in order: inspectors, connections, engine.
///
/// # Errors
/// It cannot start, or a part of it failed.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), RunError> {
    let Config {
        listen,
        tls,
        auth,
        data_dir,
        apps,
        retention,
        limits,
        allowed_commands,
        log_format: _,
    } = config;
    // They end with `stop`.
    let mut following = JoinSet::new();
    let tls = tls
        .map(|files| encryption(files, &mut following, &stop))
        .transpose()?;
    let access = access(auth, &mut following, &stop)?;
    let (writer, reader) = History::open(&data_dir).map_err(RunError::History)?;
    let (engine, handle, board) =
        Engine::start(writer, limits, retention).map_err(RunError::Engine)?;
    let listener = bind(listen).await?;
    let address = listener.local_addr().unwrap_or(listen);
    tracing::info!(%address, tls = tls.is_some(), data_dir = %data_dir.display(), apps = apps.len(), "serving");

    let serving = CancellationToken::new();
    let mut inspectors = JoinSet::new();
    for app in apps {
        let ingest = Ingest::new(handle.clone(), serving.clone());
        inspectors.spawn(app.inspect(ingest, stop.clone()));
    }
    let reads = Reads {
        board: board.clone(),
        history: reader,
    };
    let allowed = Arc::new(allowed_commands);
    let server = serve(
        serve::incoming(listener, tls),
        access,
        reads,
        handle.clone(),
        board,
        allowed,
        serving.clone(),
    );
    let mut server = tokio::spawn(server);

    let early = tokio::select! {
        () = stop.cancelled() => None,
        ended = &mut server => Some(ended),
    };
    tracing::info!("shutting down");
    stop.cancel();
    end(inspectors).await;
    serving.cancel();
    let ended = match early {
        Some(ended) => ended,
        None => match tokio::time::timeout(PART_ENDS_WITHIN, &mut server).await {
            Ok(ended) => ended,
            Err(_elapsed) => {
                server.abort();
                Ok(Ok(()))
            }
        },
    };
    drop(handle);
    engine.stop().await.map_err(RunError::Engine)?;
    ended.unwrap_or(Ok(())).map_err(RunError::Serve)
}

async fn bind(address: std::net::SocketAddr) -> Result<TcpListener, RunError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|source| RunError::Listen { address, source })
}

/// Waits for inspectors, which were told to stop.
async fn end(mut inspectors: JoinSet<()>) {
    let ended = tokio::time::timeout(PART_ENDS_WITHIN, async {
        while inspectors.join_next().await.is_some() {}
    });
    if ended.await.is_err() {
        tracing::warn!("an inspector did not end in time");
    }
}

fn encryption(
    files: certificate::Files,
    following: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> Result<TlsAcceptor, RunError> {
    let made = certificate::acceptor(files, stop.clone());
    let (acceptor, follow) = made.map_err(RunError::Certificate)?;
    following.spawn(follow);
    Ok(acceptor)
}

fn access(
    auth: Auth,
    following: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> Result<Access, RunError> {
    Ok(match auth {
        Auth::None => Access::open(),
        Auth::Tokens { file } => {
            let opened = Tokens::open(file, stop.clone());
            let (tokens, follow) = opened.map_err(RunError::Tokens)?;
            following.spawn(follow);
            Access::tokens(tokens)
        }
        Auth::Kubernetes { api, audience } => Access::kubernetes(Kubernetes::new(api, audience)),
    })
}

async fn serve(
    incoming: Incoming,
    access: Access,
    reads: Reads,
    engine: EngineHandle,
    board: BoardReader,
    allowed: Allowed,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let metrics = Metrics::new(board.clone());
    let reporter = HealthReporter::new();
    let health = HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
    let watch_health = report_health(reporter, board.clone(), stop.clone());
    let grpc = api::routes(reads, engine, health, allowed, stop.clone())
        .prepare()
        .into_axum_router()
        // A layer on the whole router would refuse every plain HTTP/1 page with 400.
        .route_layer(tonic_web::GrpcWebLayer::new())
        .reset_fallback();
    let open = access.is_open();
    let authenticate = axum::middleware::from_fn_with_state(access, layer::authenticate);
    let mut app = http::pages(board, metrics).merge(grpc).layer(authenticate);
    if open {
        app = app.layer(axum::middleware::from_fn(http::loopback_host_only));
    }
    let server = tonic::transport::Server::builder()
        .accept_http1(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE / 2))
        .add_routes(Routes::from(app))
        .serve_with_incoming_shutdown(incoming, stop.cancelled());
    let (outcome, ()) = tokio::join!(server, watch_health);
    outcome
}

/// The gRPC health of the whole server follows whether history can be written.
async fn report_health(reporter: HealthReporter, board: BoardReader, stop: CancellationToken) {
    use tonic_health::ServingStatus;
    let mut told = None;
    loop {
        let status = match board.read().commit_error {
            None => ServingStatus::Serving,
            Some(_) => ServingStatus::NotServing,
        };
        if told.replace(status) != Some(status) {
            for service in api::SERVICES {
                reporter.set_service_status(service, status).await;
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}
