//! The load of one pool's queues as the aggregator tells it: a stream that is opened again when it breaks.

use std::sync::Arc;
use std::time::Duration;

use celeriac_client::{Client, v1};
use celeriac_process::error_chain;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Between two tries: an aggregator that is back is seen within seconds.
const RETRY: Duration = Duration::from_secs(2);

/// What was told last, and when; or why nothing is.
#[derive(Debug, Clone)]
pub(super) enum Told {
    /// Nothing yet.
    Nothing,
    /// A demand.
    Demand(Arc<v1::Demand>, Instant),
    /// The stream is broken.
    Broken(String),
}

/// A stream, which ends with its owner.
pub(super) struct Feed {
    request: v1::WatchDemandRequest,
    told: watch::Receiver<Told>,
    _stop: DropGuard,
}

impl Feed {
    /// Opens a stream; `changed` is told of each message.
    pub(super) fn open(
        client: Client,
        request: v1::WatchDemandRequest,
        changed: Arc<Notify>,
    ) -> Self {
        let (tells, told) = watch::channel(Told::Nothing);
        let stop = CancellationToken::new();
        let asked = request.clone();
        let stopped = stop.clone();
        // Ends with the guard, which its owner holds.
        tokio::spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = follow(&client, &asked, &tells, &changed) => {}
            }
        });
        Self {
            request,
            told,
            _stop: stop.drop_guard(),
        }
    }

    /// What it is about.
    pub(super) fn request(&self) -> &v1::WatchDemandRequest {
        &self.request
    }

    /// What was told last.
    pub(super) fn last(&mut self) -> Told {
        self.told.borrow_and_update().clone()
    }

    /// Whether something was told since then.
    pub(super) fn has_news(&self) -> bool {
        self.told.has_changed().unwrap_or_default()
    }
}

async fn follow(
    client: &Client,
    request: &v1::WatchDemandRequest,
    tells: &watch::Sender<Told>,
    changed: &Notify,
) {
    loop {
        let mut stream = match client.watch_demand(request.clone()).await {
            Ok(stream) => stream,
            Err(error) => {
                tells.send_replace(Told::Broken(error_chain(&error)));
                sleep(RETRY).await;
                continue;
            }
        };
        let error = loop {
            match stream.next().await {
                Ok(demand) => {
                    tells.send_replace(Told::Demand(Arc::new(demand), Instant::now()));
                    changed.notify_one();
                }
                Err(error) => break error,
            }
        };
        tells.send_replace(Told::Broken(error_chain(&error)));
        sleep(RETRY).await;
    }
}
