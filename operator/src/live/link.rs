//! The way to the aggregator: all apps, workers and queues every few seconds, as one picture.
//!
//! It asks rather than follows a stream of changes: a status is written every half minute, and a stream would carry every
//! heartbeat of every worker to an operator that needs none of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use celeriac_client::{Builder, Client, Error, SetupError, v1};
use celeriac_process::error_chain;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::settings::Settings;
use crate::figures::Known;
use crate::figures::picture::{App, Broker, Inspector, Picture, Queue, Worker};
use crate::metrics::Metrics;

/// Between an answer and the next question. Two rounds may fail before the numbers count as old.
const PERIOD: Duration = Duration::from_secs(5);

/// How long one page may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// Celery's own name in what a worker says it is.
const SOFTWARE: &str = "py-celery ";

/// Why there are no numbers.
#[derive(Debug, thiserror::Error)]
enum NoNumbers {
    /// The aggregator cannot be asked: a file is not there yet.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// It was asked.
    #[error(transparent)]
    Asked(#[from] Error),
}

/// Asks.
pub(super) struct Link {
    builder: Builder,
    /// Made at the first question for which it can be.
    client: Option<Client>,
    told: watch::Sender<Known>,
    metrics: Metrics,
    settings: Settings,
}

impl Link {
    /// A way to an aggregator, which tells what it learns.
    pub(super) fn new(builder: Builder, told: watch::Sender<Known>, metrics: Metrics) -> Self {
        Self {
            builder: builder.deadline(DEADLINE),
            client: None,
            told,
            metrics,
            settings: Settings::default(),
        }
    }

    /// Asks until `stop`.
    pub(super) async fn run(mut self, stop: &CancellationToken) {
        loop {
            let asked = tokio::select! {
                () = stop.cancelled() => return,
                asked = self.ask() => asked,
            };
            self.metrics.on_asked(asked.is_ok());
            self.told.send_modify(|known| match asked {
                Ok(apps) => {
                    let time = Timestamp::now();
                    known.picture = Some(Arc::new(Picture { time, apps }));
                    known.failure = None;
                }
                Err(error) => {
                    let words = error_chain(&error);
                    if known.failure.as_ref() != Some(&words) {
                        tracing::warn!(error = words, "no live numbers");
                    }
                    known.failure = Some(words);
                }
            });
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(PERIOD) => {}
            }
        }
    }

    /// One round. Page by page, so that what is held is what is kept of them; how much there may be of each is bounded by
    /// the aggregator.
    async fn ask(&mut self) -> Result<BTreeMap<String, App>, NoNumbers> {
        let client = match &self.client {
            Some(client) => client.clone(),
            None => self.client.insert(self.builder.clone().build()?).clone(),
        };
        let mut apps = BTreeMap::new();
        let mut pages = client.pages(v1::ListAppsRequest::default(), None);
        while let Some(page) = pages.next().await? {
            apps.extend(page.apps.into_iter().map(app));
        }
        // Those that are away add nothing.
        let request = v1::ListWorkersRequest {
            filter: "status = ONLINE".to_owned(),
            ..v1::ListWorkersRequest::default()
        };
        let mut lives = HashMap::new();
        let mut pages = client.pages(request, None);
        while let Some(page) = pages.next().await? {
            for found in page.workers {
                let life = found.incarnation.map(|life| life.number);
                lives.insert((found.app.clone(), found.name.clone()), life);
                if let Some(app) = apps.get_mut(&found.app) {
                    app.workers.push(worker(found));
                }
            }
        }
        let mut pages = client.pages(v1::ListQueuesRequest::default(), None);
        while let Some(page) = pages.next().await? {
            for found in page.queues {
                if let Some(app) = apps.get_mut(&found.app) {
                    app.queues.push(queue(found));
                }
            }
        }
        self.settings.ask(&client, lives).await?;
        self.settings.tell(&mut apps);
        Ok(apps)
    }
}

/// An app, by name.
fn app(found: v1::App) -> (String, App) {
    let inspector = found.inspector.map(|inspector| Inspector {
        attached: inspector.attached,
        subscribed: inspector.subscription() == v1::SubscriptionState::Live,
        since: inspector.since.and_then(time),
    });
    let broker = found.broker.map(|broker| Broker {
        transport: broker.transport,
        reachable: broker.reachable,
        reason: broker.unreachable_reason,
        since: broker.since.and_then(time),
        version: broker.version,
    });
    let app = App {
        broker,
        inspector,
        unacked: found.unacked.map(count),
        failed_last_hour: found.failed_last_hour.map(count),
        ..App::default()
    };
    (found.name, app)
}

fn worker(found: v1::Worker) -> Worker {
    let online = found.status() == v1::WorkerStatus::Online;
    let events_off = found.events() == v1::EventsMode::Off;
    let inspection = found.inspection.unwrap_or_default();
    // By events where they come, else by its own lists; tasks that wait for their ETA are in the former.
    let held = if events_off {
        count(inspection.reserved.unwrap_or(0))
    } else {
        count(found.reserved_known).saturating_sub(count(inspection.scheduled.unwrap_or(0)))
    };
    let queues = inspection.queues.into_iter().map(|queue| queue.name);
    Worker {
        name: found.name,
        online,
        active: found.active.or(inspection.active).map(count),
        reserved: held,
        slots: inspection.slots.map(count),
        queues: inspection.queues_known.then(|| queues.collect()),
        version: found.software.map(|software| {
            let version = software.strip_prefix(SOFTWARE);
            version.map(str::to_owned).unwrap_or(software)
        }),
        events_off,
    }
}

fn queue(found: v1::Queue) -> Queue {
    Queue {
        name: found.name,
        ready: found.ready.map(count),
        unacked: found.unacked.map(|unacked| count(unacked.count)),
        oldest: found.oldest.and_then(|oldest| oldest.time).and_then(time),
    }
}

/// A count, which the wire carries with a sign.
fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn time(time: prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(time.seconds, time.nanos).ok()
}
