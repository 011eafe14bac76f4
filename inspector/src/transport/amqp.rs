//! RabbitMQ, or what speaks AMQP 0-9-1 like it, as Celery's broker. Follows `kombu/transport/pyamqp.py`; declares what both
//! RabbitMQ 3.10 and 4 accept, shared things exactly as Celery does, and nothing that stays.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{DepthReading, Patience, Published, Subscription, Transport, TransportError, tls};
use crate::wire::message::Frame;
use crate::wire::pidbox::ControlMessage;
use crate::wire::topology::{Topology, event_queue};
use crate::wire::url::{BrokerUrl, ManagementUrl, Protocol};

mod desk;
mod failure;
mod frame;
mod link;
mod management;
mod runtime;
mod subscription;
mod survey;

use desk::Desk;
use link::Dialer;
use management::{Management, QueueFacts};
use subscription::EventQueue;
use survey::Missing;

/// Leaves out of the logs what the client library says of refusals: they are answers here, and are told where they are
/// errors.
pub const QUIET_LOGS: &str = "lapin=off";

/// An AMQP broker. Nothing is connected before the first use, so it can be made while the broker is down.
///
/// Two connections: one consumes events, one does everything else, since the broker stops reading from a connection that
/// publishes when it is short of memory. Both reconnect by themselves.
pub struct AmqpTransport {
    dialer: Arc<Dialer>,
    desk: Desk,
    events: EventQueue,
    missing: Missing,
    management: Management,
    topology: Topology,
}

/// What is asked of an AMQP broker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AmqpOptions {
    /// Whose events these are.
    pub keeping: Keeping,
    /// Its management, when it is not where it usually is.
    pub management: Option<ManagementUrl>,
}

/// Whose events these are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Keeping {
    /// They are kept for the inspector of this name while it is away.
    Instance(String),
    /// They end with the connection.
    #[default]
    Ephemeral,
}

/// A broker URL that is not one of an AMQP broker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{endpoint} is not an AMQP broker (amqp://, amqps:// or pyamqp://)")]
pub struct NotAmqp {
    /// Broker without secrets.
    pub endpoint: String,
}

impl AmqpTransport {
    /// A transport to the first server of `url` that answers.
    ///
    /// # Errors
    /// When the URL is one of Redis.
    pub fn new(
        url: &BrokerUrl,
        topology: &Topology,
        options: &AmqpOptions,
        patience: Patience,
    ) -> Result<Self, NotAmqp> {
        if url.protocol() != Protocol::Amqp {
            return Err(NotAmqp {
                endpoint: url.endpoint(),
            });
        }
        tls::warn_of_unchecked_certificates(url);
        let dialer = Arc::new(Dialer::new(url, patience));
        let id = Uuid::new_v4().to_string();
        let reply_queue = topology.reply_queue(&id);
        let desk = Desk::new(
            Arc::clone(&dialer),
            topology.control_exchange(),
            reply_queue,
        );
        let events = EventQueue {
            name: match &options.keeping {
                Keeping::Instance(instance) => event_queue(instance),
                Keeping::Ephemeral => event_queue(&id),
            },
            exchange: topology.event_exchange().to_owned(),
            kept: options.keeping != Keeping::Ephemeral,
        };
        Ok(Self {
            dialer,
            desk,
            events,
            missing: Missing::default(),
            management: Management::new(options.management.clone(), topology.control_exchange()),
            topology: topology.clone(),
        })
    }

    /// The broker without secrets.
    pub fn endpoint(&self) -> String {
        self.dialer.endpoint()
    }
}

impl Transport for AmqpTransport {
    fn subscribe(&self, stop: CancellationToken) -> Subscription {
        Subscription::start(&stop, |inbox| {
            subscription::keep(Arc::clone(&self.dialer), self.events.clone(), inbox)
        })
    }

    async fn publish_control(&self, message: &ControlMessage) -> Result<Published, TransportError> {
        let published = self.desk.publish(message, None).await?;
        // Bindings are counted now and then; what reached nobody is told by the broker itself.
        let counted = || Some(self.management.last()?.listeners);
        Ok(Published {
            subscribers: published.subscribers.or_else(counted),
        })
    }

    /// Into the worker's own queue, by the default exchange.
    async fn publish_to(
        &self,
        node: &str,
        message: &ControlMessage,
    ) -> Result<Published, TransportError> {
        let queue = self.topology.control_queue(node);
        match self.desk.publish(message, Some(&queue)).await {
            // The default exchange may be closed to this user: then as everybody else.
            Err(TransportError::Forbidden { .. }) => self.publish_control(message).await,
            Ok(published) => Ok(Published {
                subscribers: published.subscribers.or(Some(1)),
            }),
            failed => failed,
        }
    }

    fn reply_queue(&self) -> &str {
        self.desk.reply_queue()
    }

    async fn take_replies(&self) -> Result<Vec<Frame>, TransportError> {
        Ok(self.desk.take())
    }

    async fn depths(&self, queues: &[String]) -> Result<DepthReading, TransportError> {
        let link = self.desk.link().await?;
        let mut reading = survey::depths(&link, &self.missing, queues).await?;
        if let Some(told) = self.management.told(link.server()).await {
            survey::complete(&mut reading, &told, &self.topology);
        }
        Ok(reading)
    }

    async fn discover_queues(&self) -> Result<Vec<String>, TransportError> {
        let link = self.desk.link().await?;
        let Some(told) = self.management.told(link.server()).await else {
            return Ok(Vec::new());
        };
        let is_of_tasks = |(name, facts): &(&String, &QueueFacts)| {
            self.topology.holds_tasks(name) && !name.starts_with("amq.") && !facts.is_stream()
        };
        let of_tasks = told.queues.iter().filter(is_of_tasks);
        let mut names: Vec<String> = of_tasks.map(|(name, _)| name.clone()).collect();
        names.sort();
        Ok(names)
    }

    async fn server_version(&self) -> Result<String, TransportError> {
        let link = self.desk.link().await?;
        Ok(match self.management.told(link.server()).await {
            Some(told) => format!("rabbitmq {}", told.version),
            None => "rabbitmq".to_owned(),
        })
    }

    async fn results(&self, _: &[String]) -> Result<Option<Vec<Vec<u8>>>, TransportError> {
        Ok(None) // a backend is beside the broker: see `transport::broker`
    }

    async fn close(&self) {
        self.desk.close().await;
    }
}
