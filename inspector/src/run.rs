//! One app's inspector, put together: it collects while the aggregator wants it to, and cleans up at the end. The only
//! place that knows both collector and uplink.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::collect::{CollectError, Collector, Observation};
use crate::config::InspectorConfig;
use crate::transport::Transport;
use crate::transport::broker::{Broker, NotSpoken};
use crate::uplink::{Connector, Role, Uplink, Wanted, now_micros};

/// Observations between collector and uplink: the uplink only encodes and stores, so it is never far behind.
const OBSERVATIONS: usize = 16;

/// How long what was collected may take to reach the aggregator after a stop.
const FLUSH: Duration = Duration::from_secs(5);

/// How long cleaning up the broker may take.
const CLEAN_UP: Duration = Duration::from_secs(3);

/// Why an inspector ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum InspectorError {
    /// The broker is of a kind that is not spoken yet.
    #[error(transparent)]
    Broker(#[from] NotSpoken),
    /// Collecting ended.
    #[error("collecting ended")]
    Collect(#[from] CollectError),
    /// The uplink ended.
    #[error("the way to the aggregator ended")]
    Uplink(#[from] tokio::task::JoinError),
}

/// Runs one app's inspector until `stop`; then flushes what it can within a short deadline and cleans up the broker.
///
/// # Errors
/// When the broker is not one that can be spoken to, or a part ends by itself. A broker or aggregator that is down is no
/// error: both are tried again for as long as it takes.
pub async fn inspect<C: Connector>(
    config: InspectorConfig,
    connector: C,
    stop: CancellationToken,
) -> Result<(), InspectorError> {
    let (broker, options) = (config.broker.clone(), config.options.clone());
    let amqp = config.amqp();
    let results = options.result_backends.of(&config.app).cloned();
    let transport = move || {
        let transport = Broker::new(&broker, options.topology(&broker), &amqp)?;
        match &results {
            Some(backend) => transport.with_results(&backend.url, &backend.prefix),
            None => Ok(transport),
        }
    };
    // What cannot be spoken to is said at the start, not when the aggregator gives a role.
    transport()?;
    inspect_over(config, connector, stop, transport).await
}

/// As [`inspect`], over transports that `transport` makes: one for each time the inspector is active.
///
/// # Errors
/// As [`inspect`].
pub async fn inspect_over<C, T, M>(
    config: InspectorConfig,
    connector: C,
    stop: CancellationToken,
    transport: M,
) -> Result<(), InspectorError>
where
    C: Connector,
    T: Transport,
    M: Fn() -> Result<T, NotSpoken> + Send,
{
    let (observations, inbox) = mpsc::channel(OBSERVATIONS);
    let buffer = config.options.buffer_bytes_max;
    let metrics = config.metrics.clone();
    let (uplink, wanted) = Uplink::new(config.identity(), now_micros(), buffer, inbox, metrics);
    let uplink = tokio::spawn(uplink.run(connector));
    let collected = collect(&config, wanted, observations, &stop, transport).await;
    // `observations` is dropped now, so the uplink ends as soon as everything is acknowledged.
    let abort = uplink.abort_handle();
    if let Ok(ended) = tokio::time::timeout(FLUSH, uplink).await {
        ended?;
    } else {
        abort.abort();
        tracing::warn!(
            bytes = config.metrics.buffer_bytes.get(),
            "stopped before the aggregator had acknowledged everything"
        );
    }
    collected
}

/// Collects whenever the role is active, until `stop`.
async fn collect<T, M>(
    config: &InspectorConfig,
    wanted: Wanted,
    observations: mpsc::Sender<Observation>,
    stop: &CancellationToken,
    transport: M,
) -> Result<(), InspectorError>
where
    T: Transport,
    M: Fn() -> Result<T, NotSpoken> + Send,
{
    let Wanted {
        mut roles,
        mut orders,
    } = wanted;
    let mut pinged: Option<Instant> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            // The guard must not live across an await: `inspect` is spawned by others.
            active = async { roles.wait_for(|role| *role == Role::Active).await.is_ok() } => {
                // The uplink's own end says why.
                if !active {
                    return Ok(());
                }
            }
        }
        let transport = transport()?;
        let until = stop.child_token();
        let mut collector = Collector::new(
            config.options.limits,
            config.options.pace,
            pinged,
            config.metrics.clone(),
            observations.clone(),
        );
        let ended = {
            let mut collecting =
                std::pin::pin!(collector.run(&transport, &mut orders, until.clone()));
            let unwanted = async {
                // An error means that the uplink is gone, which ends the activity too.
                let _ = roles.wait_for(|role| *role != Role::Active).await;
            };
            let ended = tokio::select! {
                ended = &mut collecting => Some(ended),
                () = unwanted => None,
            };
            if let Some(ended) = ended {
                ended
            } else {
                until.cancel();
                collecting.await
            }
        };
        pinged = collector.pinged();
        if tokio::time::timeout(CLEAN_UP, transport.close())
            .await
            .is_err()
        {
            tracing::warn!(
                "the broker did not answer while it was cleaned up; what is left expires"
            );
        }
        match ended {
            Ok(()) if stop.is_cancelled() => return Ok(()),
            Ok(()) => {}
            // The uplink took nothing more: its own end says why.
            Err(CollectError::Unwanted) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests;
