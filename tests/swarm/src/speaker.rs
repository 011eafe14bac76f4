//! What all simulated workers send, over one connection: brokers count who listens, not who publishes.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::broker::{Broker, Kind};
use super::count::{Counters, count};
use super::truth::{Told, Truth};
use super::{rabbit, redis};

/// Messages that wait to be sent; workers wait beyond.
const SAYINGS_MAX: usize = 10_000;
/// Messages in one write.
const TOGETHER: usize = 256;
/// Pause before the broker is tried again.
const AGAIN: Duration = Duration::from_millis(100);

/// Where a message goes.
pub(crate) enum Exchange {
    /// `celeryev`.
    Events,
    /// That of a reply.
    Named(String),
}

impl Exchange {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Events => "celeryev",
            Self::Named(name) => name,
        }
    }
}

/// What kombu puts beside a body.
pub(crate) enum Headers {
    /// Of an event: who sends it.
    Event { hostname: String },
    /// Of a reply.
    Reply { ticket: Value, clock: u64 },
}

impl Headers {
    pub(crate) fn json(&self) -> Value {
        match self {
            Self::Event { hostname } => json!({"hostname": hostname}),
            Self::Reply { ticket, clock } => json!({"ticket": ticket, "clock": clock}),
        }
    }
}

/// Something to send.
pub(crate) struct Saying {
    pub(crate) exchange: Exchange,
    pub(crate) routing_key: String,
    pub(crate) headers: Headers,
    pub(crate) body: String,
    /// The event of a task in it.
    pub(crate) told: Option<Told>,
}

/// Sends for all; cheap to clone.
#[derive(Clone)]
pub(crate) struct Speaker(mpsc::Sender<Saying>);

impl Speaker {
    /// With `truth` it is told there what the broker has taken.
    pub(crate) fn start(
        broker: Broker,
        counters: Arc<Counters>,
        truth: Option<Arc<Mutex<Truth>>>,
    ) -> Self {
        let (sender, mut sayings) = mpsc::channel(SAYINGS_MAX);
        tokio::spawn(async move {
            let mut batch = Vec::new();
            let mut mouth = None;
            while !batch.is_empty() || sayings.recv_many(&mut batch, TOGETHER).await > 0 {
                let Some(open) = &mut mouth else {
                    mouth = Mouth::open(&broker).await.ok();
                    if mouth.is_none() {
                        tokio::time::sleep(AGAIN).await;
                    }
                    continue;
                };
                if !open.say(&mut batch, &counters, truth.as_ref()).await {
                    mouth = None;
                }
            }
        });
        Self(sender)
    }

    pub(crate) async fn say(&self, saying: Saying) {
        // The other end is gone when the fleet is.
        let _ = self.0.send(saying).await;
    }
}

enum Mouth {
    Redis(redis::Mouth),
    RabbitMq(Box<rabbit::Mouth>),
}

impl Mouth {
    async fn open(broker: &Broker) -> anyhow::Result<Self> {
        Ok(match &broker.0 {
            Kind::Redis(address) => Self::Redis(redis::Mouth::open(address).await?),
            Kind::RabbitMq(address) => {
                Self::RabbitMq(Box::new(rabbit::Mouth::open(address).await?))
            }
        })
    }

    /// Sends and counts a batch, and empties it; whether the connection lives.
    async fn say(
        &mut self,
        batch: &mut Vec<Saying>,
        counters: &Counters,
        truth: Option<&Arc<Mutex<Truth>>>,
    ) -> bool {
        let mut taken = Vec::with_capacity(batch.len());
        let note = |number, receivers| taken.push((number, receivers));
        let sent = match self {
            Self::Redis(mouth) => mouth.say(batch, note).await.map_err(anyhow::Error::from),
            Self::RabbitMq(mouth) => mouth.say(batch, note).await.map_err(anyhow::Error::from),
        };
        let unsure = batch.len().saturating_sub(taken.len());
        let mut truth = truth.map(|truth| truth.lock().unwrap_or_else(PoisonError::into_inner));
        for (number, receivers) in taken {
            let saying: &mut Saying = &mut batch[number];
            let told = saying.told.take();
            match (&saying.exchange, told) {
                (Exchange::Named(_), _) => count(&counters.replies),
                (Exchange::Events, None) => count(&counters.worker_events),
                (Exchange::Events, Some(told)) => {
                    count(&counters.task_events);
                    if let Some(truth) = &mut truth {
                        truth.tell(told, receivers);
                    }
                }
            }
        }
        batch.clear();
        if sent.is_err() {
            counters.unsure.fetch_add(unsure as u64, Ordering::Relaxed);
        }
        sent.is_ok()
    }
}
