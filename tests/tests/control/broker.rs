//! The broker of the workers, as they and their tests use it; results are in a Redis either way.

use anyhow::{Context, Result};
pub(crate) use celeriac_tests::BrokerKind as Kind;
use celeriac_tests::resp::Value as Resp;
use celeriac_tests::{RabbitMq, Redis, VirtualHost};

/// A running broker.
pub(crate) struct Broker {
    /// Where results are; the broker too, if there is no other.
    pub(crate) results: Redis,
    pub(crate) host: Option<VirtualHost>,
}

impl Broker {
    pub(crate) async fn start(kind: Kind) -> Self {
        let host = match kind {
            Kind::Redis => None,
            Kind::RabbitMq => {
                let host = tokio::task::spawn_blocking(RabbitMq::host).await;
                Some(host.expect("a virtual host is made"))
            }
        };
        Self {
            results: Redis::start(),
            host,
        }
    }

    pub(crate) fn url(&self) -> String {
        match &self.host {
            Some(host) => host.url(),
            None => self.results.url(),
        }
    }

    /// How many messages of a queue nobody has taken, as the broker itself says.
    pub(crate) fn ready(&self, queue: &str) -> Result<i64> {
        if let Some(host) = &self.host {
            let ready = host.queue(queue)?["messages_ready"].as_i64();
            return ready.context("no statistics yet");
        }
        match self.results.cli(&["LLEN", queue]) {
            Resp::Number(ready) => Ok(ready),
            other => anyhow::bail!("{other:?}"),
        }
    }

    /// Empties a queue.
    pub(crate) fn purge(&self, queue: &str) {
        let Some(host) = &self.host else {
            self.results.cli(&["DEL", queue]);
            return;
        };
        let path = format!("/api/queues/{}/{queue}/contents", host.name());
        let purged = host.node().api().delete(&path);
        purged.expect("the queue is there");
    }
}
