//! The operator, put together: it waits for its Lease, then runs its controllers until it is stopped or loses it.

use std::sync::Arc;

use celeriac_process::error_chain;
use celeriac_process::health::Health;
use kube::Client;
use kube::client::ClientBuilder;
use kube::runtime::events::{Recorder, Reporter};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::controllers::Context;
use crate::controllers::run::controllers;
use crate::lease::Candidate;
use crate::metrics::Metrics;

/// Why the operator ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No way to the API server is known.
    #[error("cannot find the API server: neither a kubeconfig nor a pod's ServiceAccount")]
    Cluster {
        /// The client's words.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Health and metrics cannot be served.
    #[error("cannot serve health and metrics")]
    Serve {
        /// The system's words.
        source: std::io::Error,
    },
    /// Another operator acts, or may act soon.
    #[error("the Lease was lost")]
    LeaseLost,
}

/// Runs until `stop`.
///
/// # Errors
/// When the API server cannot be found, or the Lease is lost: whoever starts the operator starts it again.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), RunError> {
    let (cluster, namespace) = cluster(config.lease_namespace.clone()).await?;
    let metrics = Metrics::default();
    let served = CancellationToken::new();
    let health = match config.listen {
        None => None,
        Some(address) => {
            let health = Health::bind(address, metrics.clone()).await;
            let health = health.map_err(|source| RunError::Serve { source })?;
            Some(tokio::spawn(health.serve(served.clone())))
        }
    };
    // What it keeps is large.
    let acted = Box::pin(act(&config, cluster, &namespace, metrics, &stop)).await;
    // Health is the last to go: it is asked until the end.
    served.cancel();
    if let Some(health) = health
        && let Ok(Err(source)) = health.await
    {
        return Err(RunError::Serve { source });
    }
    acted
}

/// The API server, and the namespace of the Lease: the operator's own unless another is named.
///
/// # Errors
/// When no way to the API server is known.
pub async fn connect(lease_namespace: Option<String>) -> Result<(Client, String), RunError> {
    let (cluster, namespace) = cluster(lease_namespace).await?;
    let client = Client::try_from(cluster).map_err(unknown)?;
    Ok((client, namespace))
}

async fn cluster(lease_namespace: Option<String>) -> Result<(kube::Config, String), RunError> {
    let cluster = kube::Config::infer().await.map_err(unknown)?;
    let namespace = lease_namespace.unwrap_or_else(|| cluster.default_namespace.clone());
    Ok((cluster, namespace))
}

fn unknown(source: impl std::error::Error + Send + Sync + 'static) -> RunError {
    RunError::Cluster {
        source: Box::new(source),
    }
}

async fn act(
    config: &Config,
    cluster: kube::Config,
    namespace: &str,
    metrics: Metrics,
    stop: &CancellationToken,
) -> Result<(), RunError> {
    let client = Client::try_from(cluster.clone()).map_err(unknown)?;
    let reached = async {
        while let Err(error) = client.apiserver_version().await {
            tracing::warn!(
                error = error_chain(&error),
                "the API server does not answer"
            );
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        }
        metrics.on_reached();
    };
    tokio::select! {
        () = stop.cancelled() => return Ok(()),
        () = reached => {}
    }
    let identity = identity();
    let candidate = Candidate::new(client, namespace, &config.lease, identity.clone());
    tracing::info!(
        lease = config.lease,
        namespace,
        identity,
        "waiting for the Lease"
    );
    if !candidate.acquire(stop).await {
        return Ok(());
    }
    tracing::info!(scope = ?config.scope, "leading");
    metrics.on_leader(true);
    let reporter = Reporter {
        controller: "celeriac-operator".to_owned(),
        instance: Some(identity),
    };
    // What writes by this client is held back when the Lease is not good any more; the Lease itself has the other.
    let builder = ClientBuilder::try_from(cluster).map_err(unknown)?;
    let client = builder.with_layer(&candidate.fence().layer()).build();
    let recorder = Recorder::new(client.clone(), reporter);
    let mut context = Context::new(client, recorder, config.inspection.clone(), metrics);
    context.token_file.clone_from(&config.aggregator_token_file);
    context.scale_down_window = config.scale_down_window;
    let context = Arc::new(context);
    // Controllers end first and the Lease is given up after them, so that two operators never write.
    let ended = CancellationToken::new();
    let work = async {
        controllers(&config.scope, &context, stop).await;
        ended.cancel();
    };
    let holding = candidate.hold(&ended);
    tokio::pin!(work, holding);
    let held = tokio::select! {
        // A Lease that is lost drops every reconcile where it stands.
        held = &mut holding => held,
        () = &mut work => holding.await,
    };
    context.metrics.on_leader(false);
    if held {
        Ok(())
    } else {
        Err(RunError::LeaseLost)
    }
}

/// What a candidate for the Lease is called, this process and no other.
pub fn identity() -> String {
    format!("{}-{:08x}", host(), std::process::id())
}

/// The name of this machine: in a pod, the pod's.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "celeriac-operator".to_owned(),
        name => name.to_owned(),
    }
}
