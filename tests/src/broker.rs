//! A broker of either kind, for tests of what holds on both.

use crate::{RabbitMq, Redis, VirtualHost};

/// Which broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerKind {
    /// Redis.
    Redis,
    /// RabbitMQ 3.10.
    RabbitMq,
}

/// A running broker that a test has to itself.
pub enum Broker {
    /// A server.
    Redis(Box<Redis>),
    /// A virtual host.
    RabbitMq(VirtualHost),
}

impl Broker {
    /// Starts one.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    pub async fn start(kind: BrokerKind) -> Self {
        match kind {
            BrokerKind::Redis => Self::Redis(Box::new(Redis::start())),
            BrokerKind::RabbitMq => {
                let host = tokio::task::spawn_blocking(RabbitMq::host).await;
                Self::RabbitMq(host.expect("a virtual host is made"))
            }
        }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        match self {
            Self::Redis(redis) => redis.url(),
            Self::RabbitMq(host) => host.url(),
        }
    }

    /// The result backend of workers that need none of their own making: of RabbitMQ there is no such as of Redis.
    pub fn results(&self) -> String {
        match self {
            Self::Redis(redis) => redis.url(),
            Self::RabbitMq(_) => "rpc://".to_owned(),
        }
    }

    /// Loses the events that are kept for the inspector of the app `default`, and those that come until it is back. Redis
    /// keeps none.
    pub fn lose_events(&self) {
        if let Self::RabbitMq(host) = self {
            host.delete_queue("celeryev.celeriac.default");
        }
    }
}
