//! A worker's subscription to remote control, on whichever broker.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::broker::{Address, Broker, Kind};
use super::count::{Counters, count};
use super::request::{Reading, Request};
use super::{rabbit, redis};

/// Where workers subscribe.
pub(crate) enum Exchange {
    Redis(Address, Arc<Reading>),
    RabbitMq(rabbit::Lines),
}

/// A subscription. It is counted while it is there.
pub(crate) struct Control {
    ear: Ear,
    listening: Listening,
}

enum Ear {
    Redis(redis::Ear),
    RabbitMq(Box<rabbit::Ear>),
}

struct Listening(Arc<Counters>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.listening.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Exchange {
    pub(crate) fn of(broker: &Broker, workers: usize) -> Self {
        let reading = Arc::default();
        match &broker.0 {
            Kind::Redis(address) => Self::Redis(address.clone(), reading),
            Kind::RabbitMq(address) => {
                Self::RabbitMq(rabbit::Lines::new(address.clone(), workers, reading))
            }
        }
    }

    /// Subscribes the worker of this number and name.
    pub(crate) async fn listen(
        &self,
        number: usize,
        name: &str,
        queues: &[String],
        counters: &Arc<Counters>,
    ) -> anyhow::Result<Control> {
        let ear = match self {
            Self::Redis(address, reading) => {
                Ear::Redis(redis::Ear::open(address, Arc::clone(reading)).await?)
            }
            Self::RabbitMq(lines) => {
                Ear::RabbitMq(Box::new(lines.listen(number, name, queues).await?))
            }
        };
        count(&counters.listening);
        let listening = Listening(Arc::clone(counters));
        Ok(Control { ear, listening })
    }
}

impl Control {
    /// The next message, `Some(None)` when it is no request; `None` when the subscription has ended. May be cancelled.
    pub(crate) async fn next(&mut self) -> Option<Option<Arc<Request>>> {
        match &mut self.ear {
            Ear::Redis(ear) => ear.next().await,
            Ear::RabbitMq(ear) => ear.next().await,
        }
    }

    /// Ends it.
    pub(crate) async fn end(self) {
        drop(self.listening);
        if let Ear::RabbitMq(ear) = self.ear {
            ear.end().await;
        }
    }
}
