//! The brokers: one of each kind, with a database or virtual host for each version.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use celeriac_tests::rabbitmq::Kind;
use celeriac_tests::resp::Value;
use celeriac_tests::{RabbitMq, Redis, VirtualHost};

use crate::VERSIONS;

/// A kind of broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Broker {
    Redis,
    Rabbit3,
    Rabbit4,
    /// It refuses what is deprecated, as later versions of 4 do.
    Rabbit4Strict,
}

pub(crate) const ALL: [Broker; 4] = [
    Broker::Redis,
    Broker::Rabbit3,
    Broker::Rabbit4,
    Broker::Rabbit4Strict,
];

/// What all versions share.
pub(crate) struct Brokers {
    redis: Redis,
    hosts: BTreeMap<(Broker, &'static str), VirtualHost>,
}

impl Broker {
    /// Part of the name of an app.
    fn word(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Rabbit3 => "rabbitmq3",
            Self::Rabbit4 => "rabbitmq4",
            Self::Rabbit4Strict => "rabbitmq4strict",
        }
    }

    /// The name of the app of a version.
    pub(crate) fn app(self, version: &str) -> String {
        format!("celery-{}/{}", version.replace('.', "-"), self.word())
    }

    fn kind(self) -> Option<Kind> {
        match self {
            Self::Redis => None,
            Self::Rabbit3 => Some(Kind::Three),
            Self::Rabbit4 => Some(Kind::Four),
            Self::Rabbit4Strict => Some(Kind::Strict),
        }
    }
}

impl Brokers {
    pub(crate) fn start() -> Self {
        let mut hosts = BTreeMap::new();
        for broker in ALL {
            for version in VERSIONS {
                if let Some(kind) = broker.kind() {
                    hosts.insert((broker, version), RabbitMq::host_on(kind));
                }
            }
        }
        Self {
            redis: Redis::start(),
            hosts,
        }
    }

    /// The apps of a version, and their URLs.
    pub(crate) fn of(&self, version: &str) -> Vec<(String, String)> {
        let one = |broker: Broker| (broker.app(version), self.url(broker, version));
        ALL.into_iter().map(one).collect()
    }

    pub(crate) fn url(&self, broker: Broker, version: &str) -> String {
        match self.host(broker, version) {
            Some(host) => host.url(),
            None => self.redis.url_db(database(version)),
        }
    }

    fn host(&self, broker: Broker, version: &str) -> Option<&VirtualHost> {
        let mut hosts = self.hosts.iter();
        let found = hosts.find(|((kind, of), _)| *kind == broker && *of == version);
        found.map(|(_, host)| host)
    }

    /// Ready messages of a queue, as the broker itself tells.
    pub(crate) fn ready(&self, broker: Broker, version: &str, queue: &str) -> Result<i64> {
        if let Some(host) = self.host(broker, version) {
            let ready = host.queue(queue)?["messages_ready"].as_i64();
            return ready.context("no statistics yet");
        }
        let mut connection = self.redis.connect()?;
        connection.command(&["SELECT", &database(version).to_string()])?;
        Ok(connection.command(&["LLEN", queue])?.number())
    }

    /// Its name and version, to the second number.
    pub(crate) fn called(&self, broker: Broker) -> Result<String> {
        let (name, version) = if let Some(host) = self.host(broker, VERSIONS[0]) {
            let overview = host.node().api().get("/api/overview")?;
            let version = overview["rabbitmq_version"].as_str().map(str::to_owned);
            ("RabbitMQ", version)
        } else {
            let Value::Text(info) = self.redis.cli(&["INFO", "server"]) else {
                anyhow::bail!("it does not tell its version");
            };
            let mut lines = info.lines();
            let version = lines.find_map(|line| line.strip_prefix("redis_version:"));
            ("Redis", version.map(str::to_owned))
        };
        let version = version.context("it tells its version")?;
        let mut numbers = version.split('.');
        let [major, minor] = [(); 2].map(|()| numbers.next().unwrap_or_default());
        let strict = if broker == Broker::Rabbit4Strict {
            ", strict"
        } else {
            ""
        };
        Ok(format!("{name} {major}.{minor}{strict}"))
    }
}

/// The database of a version.
fn database(version: &str) -> u32 {
    let at = VERSIONS.iter().position(|one| *one == version);
    u32::try_from(at.unwrap_or_default()).unwrap_or_default()
}
