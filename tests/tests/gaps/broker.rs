//! The brokers that take events away, as the workers and the inspector beside them use each.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use celeriac_tests::rabbitmq::{Kind, Management};
use celeriac_tests::{RabbitMq, Redis, Sentinels};
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

    /// Messages of a queue that have yet to be taken, or acknowledged where that is known.
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

/// A node of RabbitMQ that nobody shares, and a virtual host on it.
pub(crate) struct Node {
    pub(crate) node: RabbitMq,
    host: String,
}

impl Node {
    pub(crate) async fn start() -> Self {
        let node = tokio::task::spawn_blocking(|| RabbitMq::start(Kind::Three)).await;
        let node = node.expect("the node starts");
        let host = node.make_host();
        Self { node, host }
    }

    pub(crate) fn api(&self) -> Management {
        self.node.api()
    }

    /// The address under which a resource of the virtual host is.
    pub(crate) fn path(&self, kind: &str, name: &str) -> String {
        format!("/api/{kind}/{}/{name}", self.host)
    }

    /// Messages in the inspector's queue, on their way or not, as of the last second.
    pub(crate) fn kept(&self) -> anyhow::Result<i64> {
        let queue = self.path("queues", "celeryev.celeriac.default");
        let queue = self.api().get(&queue)?;
        queue["messages"].as_i64().context("no statistics yet")
    }

    /// Closes the inspector's connections, as an operator does; how many.
    pub(crate) fn close_inspector(&self) -> anyhow::Result<usize> {
        self.node
            .close_connections(&self.host, "celeriac-inspector")
    }
}

impl Broker for Node {
    fn url(&self) -> String {
        let (address, host) = (self.node.address(), &self.host);
        format!("amqp://guest:guest@{address}/{host}")
    }

    fn left(&self, queue: &str) -> anyhow::Result<i64> {
        let queue = self.api().get(&self.path("queues", queue))?;
        queue["messages"].as_i64().context("no statistics yet")
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
