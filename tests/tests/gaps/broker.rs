//! The brokers that take events away, as the workers and the inspector beside them use each.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use celeriac_tests::{Redis, Sentinels};
use serde_json::{Value, json};

/// A broker with workers on it.
pub(crate) trait Broker {
    /// Its URL.
    fn url(&self) -> String;

    /// Settings of the app beside it.
    fn settings(&self) -> Value {
        json!({})
    }

    /// Transport options of the inspector, each as `NAME=VALUE`.
    fn options(&self) -> Vec<String> {
        Vec::new()
    }

    /// Where results go, if not to the broker.
    fn results(&self) -> Option<&'static str> {
        Some("cache+memory://")
    }

    /// Messages of a queue that nobody has taken yet.
    fn left(&self, queue: &str) -> anyhow::Result<i64>;
}

impl Broker for Redis {
    fn url(&self) -> String {
        Redis::url(self)
    }

    fn results(&self) -> Option<&'static str> {
        None
    }

    fn left(&self, queue: &str) -> anyhow::Result<i64> {
        Ok(self.connect()?.command(&["LLEN", queue])?.number())
    }
}

/// A master with a replica, and three Sentinels that are quick to act.
pub(crate) struct Guarded {
    pub(crate) master: Redis,
    pub(crate) replica: Redis,
    sentinels: Sentinels,
}

impl Guarded {
    pub(crate) async fn start() -> Self {
        let started = tokio::task::spawn_blocking(|| {
            let master = Redis::start();
            let replica = Redis::builder().replica_of(master.address()).start();
            let sentinels = Sentinels::builder(3)
                .replicas(1)
                .down_after(Duration::from_secs(1))
                .watch(master.address());
            Self {
                master,
                replica,
                sentinels,
            }
        });
        started.await.expect("the servers start")
    }

    /// Who is the master, as a Sentinel says.
    pub(crate) fn leads(&self) -> anyhow::Result<SocketAddr> {
        self.sentinels.master(0)
    }

    fn leader(&self) -> anyhow::Result<&Redis> {
        let leads = self.leads()?;
        let mut both = [&self.master, &self.replica].into_iter();
        both.find(|one| one.address() == leads)
            .context("it is one of both")
    }
}

impl Broker for Guarded {
    fn url(&self) -> String {
        self.sentinels.url(0)
    }

    fn settings(&self) -> Value {
        json!({"broker_transport_options": self.sentinels.celery_options()})
    }

    fn options(&self) -> Vec<String> {
        self.sentinels.options()
    }

    fn left(&self, queue: &str) -> anyhow::Result<i64> {
        self.leader()?.left(queue)
    }
}
