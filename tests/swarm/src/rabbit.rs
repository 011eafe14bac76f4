//! RabbitMQ, as workers of Celery 5.7 use it: what they declare, and the properties of what they publish
//! (`tests/fixtures/amqp-declares.jsonl`). Unlike them, workers share connections, and ask for confirms.

use std::sync::Arc;

use futures_util::StreamExt;
use lapin::options::{
    BasicCancelOptions, BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions,
    ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer,
    ExchangeKind,
};
use tokio::sync::Mutex;

use super::broker::Address;
use super::request::{Reading, Request};
use super::speaker::{Headers, Saying};

/// Workers that share a connection and a channel.
const WORKERS_TOGETHER: usize = 500;
/// `control_queue_expires`, ms.
const CONTROL_EXPIRES_MS: i32 = 10_000;
/// `control_queue_ttl`, ms.
const CONTROL_TTL_MS: i32 = 300_000;
/// Largest frame, bytes; lapin keeps 32 of them in each direction of a connection.
const FRAME_BYTES_MAX: u32 = 16 * 1024;

/// The connections that workers listen on.
pub(crate) struct Lines {
    address: Address,
    slots: Vec<Mutex<Option<Line>>>,
    reading: Arc<Reading>,
}

/// One of them.
struct Line {
    connection: Connection,
    channel: Channel,
}

/// A subscription to remote control.
pub(crate) struct Ear {
    channel: Channel,
    consumer: Consumer,
    reading: Arc<Reading>,
}

impl Lines {
    pub(crate) fn new(address: Address, workers: usize, reading: Arc<Reading>) -> Self {
        let slots = (0..workers.div_ceil(WORKERS_TOGETHER)).map(|_| Mutex::default());
        let slots = slots.collect();
        Self {
            address,
            slots,
            reading,
        }
    }

    /// Subscribes the worker of this number, and declares what it would.
    pub(crate) async fn listen(
        &self,
        number: usize,
        name: &str,
        queues: &[String],
    ) -> lapin::Result<Ear> {
        let mut slot = self.slots[number / WORKERS_TOGETHER].lock().await;
        let alive =
            |line: &Line| line.channel.status().connected() && line.connection.status().connected();
        if !slot.as_ref().is_some_and(alive) {
            *slot = None;
            *slot = Some(Line::open(&self.address, queues).await?);
        }
        let channel = slot.as_ref().expect("it was filled above").channel.clone();
        // One at a time: of hundreds on one channel a queue would expire before its turn to be consumed, and the error that
        // this is would end the channel for all.
        let consumer = subscribe(&channel, name).await?;
        drop(slot);
        let reading = Arc::clone(&self.reading);
        Ok(Ear {
            channel,
            consumer,
            reading,
        })
    }
}

impl Ear {
    /// The next message, a request or not; `None` when the subscription has ended.
    pub(crate) async fn next(&mut self) -> Option<Option<Arc<Request>>> {
        let delivery = self.consumer.next().await?.ok()?;
        let body = |body: &[u8]| serde_json::from_slice(body).ok();
        Some(self.reading.read(&delivery.data, body))
    }

    /// Ends it, and with it its queue.
    pub(crate) async fn end(self) {
        // When the connection is gone, so is the queue.
        let _ = self
            .channel
            .basic_cancel(self.consumer.tag(), BasicCancelOptions::default())
            .await;
    }
}

impl Line {
    async fn open(address: &Address, queues: &[String]) -> lapin::Result<Self> {
        let connection = connect(address, "listens").await?;
        let channel = connection.create_channel().await?;
        declare_exchange(&channel, "celery.pidbox", ExchangeKind::Fanout, false).await?;
        declare_exchange(&channel, "reply.celery.pidbox", ExchangeKind::Direct, false).await?;
        for queue in queues {
            declare_exchange(&channel, queue, ExchangeKind::Direct, true).await?;
            let options = QueueDeclareOptions {
                durable: true,
                ..QueueDeclareOptions::default()
            };
            channel
                .queue_declare(queue.as_str().into(), options, FieldTable::default())
                .await?;
            bind(&channel, queue, queue, queue).await?;
        }
        Ok(Self {
            connection,
            channel,
        })
    }
}

async fn subscribe(channel: &Channel, name: &str) -> lapin::Result<Consumer> {
    let queue = format!("{name}.celery.pidbox");
    let mut arguments = FieldTable::default();
    arguments.insert("x-expires".into(), AMQPValue::LongInt(CONTROL_EXPIRES_MS));
    arguments.insert("x-message-ttl".into(), AMQPValue::LongInt(CONTROL_TTL_MS));
    let options = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(queue.as_str().into(), options, arguments)
        .await?;
    bind(channel, &queue, "celery.pidbox", "").await?;
    let options = BasicConsumeOptions {
        no_ack: true,
        ..BasicConsumeOptions::default()
    };
    channel
        .basic_consume(
            queue.as_str().into(),
            "".into(),
            options,
            FieldTable::default(),
        )
        .await
}

async fn bind(channel: &Channel, queue: &str, exchange: &str, key: &str) -> lapin::Result<()> {
    let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
    channel
        .queue_bind(
            queue.into(),
            exchange.into(),
            key.into(),
            options,
            arguments,
        )
        .await
}

async fn declare_exchange(
    channel: &Channel,
    name: &str,
    kind: ExchangeKind,
    durable: bool,
) -> lapin::Result<()> {
    let options = ExchangeDeclareOptions {
        durable,
        ..ExchangeDeclareOptions::default()
    };
    channel
        .exchange_declare(name.into(), kind, options, FieldTable::default())
        .await
}

async fn connect(address: &Address, purpose: &str) -> lapin::Result<Connection> {
    let uri = AMQPUri {
        scheme: AMQPScheme::AMQP,
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo {
                username: address.user.clone(),
                password: address.password.clone(),
            },
            host: address.host.clone(),
            port: address.port,
        },
        vhost: address.space.clone(),
        // As recorded (`TuneOk`).
        query: AMQPQueryString {
            frame_max: Some(FRAME_BYTES_MAX),
            heartbeat: Some(0),
            ..AMQPQueryString::default()
        },
    };
    let name = format!("celeriac-swarm {purpose}");
    let properties = ConnectionProperties::default().with_connection_name(name.as_str().into());
    Connection::connect_uri(uri, properties).await
}

/// Publishes for all workers.
pub(crate) struct Mouth {
    #[expect(dead_code, reason = "the channel lives as long as this does")]
    connection: Connection,
    channel: Channel,
}

impl Mouth {
    pub(crate) async fn open(address: &Address) -> lapin::Result<Self> {
        let connection = connect(address, "speaks").await?;
        let channel = connection.create_channel().await?;
        declare_exchange(&channel, "celeryev", ExchangeKind::Topic, true).await?;
        declare_exchange(&channel, "reply.celery.pidbox", ExchangeKind::Direct, false).await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        Ok(Self {
            connection,
            channel,
        })
    }

    /// Sends them in order; `taken` gets each with whether any queue got it, once RabbitMQ has it.
    pub(crate) async fn say(
        &mut self,
        batch: &[Saying],
        mut taken: impl FnMut(usize, u64),
    ) -> lapin::Result<()> {
        let mut confirms = Vec::with_capacity(batch.len());
        for saying in batch {
            // What reaches no queue comes back, which tells that nobody listens. Those who get it do not see this.
            let options = BasicPublishOptions {
                mandatory: saying.told.is_some(),
                ..BasicPublishOptions::default()
            };
            let (exchange, key) = (saying.exchange.name(), saying.routing_key.as_str());
            let body = saying.body.as_bytes();
            let published = self.channel.basic_publish(
                exchange.into(),
                key.into(),
                options,
                body,
                properties(&saying.headers),
            );
            confirms.push(published.await?);
        }
        for (number, confirm) in confirms.into_iter().enumerate() {
            let heard = matches!(
                confirm.await?,
                Confirmation::Ack(None) | Confirmation::NotRequested
            );
            taken(number, u64::from(heard));
        }
        Ok(())
    }
}

/// As kombu and py-amqp write them.
fn properties(headers: &Headers) -> BasicProperties {
    let text = |text: &str| AMQPValue::LongString(text.into());
    let mut table = FieldTable::default();
    match headers {
        Headers::Event { hostname } => {
            table.insert("hostname".into(), text(hostname));
        }
        Headers::Reply { ticket, clock } => {
            table.insert("ticket".into(), text(ticket.as_str().unwrap_or_default()));
            let clock = i32::try_from(*clock).unwrap_or(i32::MAX);
            table.insert("clock".into(), AMQPValue::LongInt(clock));
        }
    }
    BasicProperties::default()
        .with_content_type("application/json".into())
        .with_content_encoding("utf-8".into())
        .with_headers(table)
        .with_delivery_mode(1)
        .with_priority(0)
}
