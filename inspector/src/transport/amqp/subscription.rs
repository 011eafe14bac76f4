//! The subscription to events: makes sure of a queue for them, consumes it, acknowledges what is settled.
//!
//! The queue of `run` outlives the connection, so that nothing is missed while nobody is connected. It is told whether that
//! is so: a queue that had to be made anew had kept nothing, and neither had one whose node was restarted, since Celery's
//! events are transient messages. A restart takes an exchange of the queue's own name with it that is not durable; while it
//! is there, the queue has kept everything but what its bounds dropped. It goes when the queue expires.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicQosOptions, ExchangeDeclareOptions,
    QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Consumer, ExchangeKind};
use tokio::sync::watch;

use super::super::inbox::Inbox;
use super::super::receipt::Receipts;
use super::super::reconnect::{Ended, Reconnect};
use super::super::{TransportError, failure as shared, now_micros};
use super::failure;
use super::frame::frame;
use super::link::{Dialer, Link, Refused};

/// Messages on their way at once: enough for 40,000 a second at 50 ms from the broker to the aggregator's disk and back,
/// and not more than 32 MiB when they have 16 KiB each.
const PREFETCH: u16 = 2_000;

/// The queue goes when nobody has consumed it for this long, ms.
const EXPIRES_MS: i32 = 10 * 60 * 1_000;

/// Events older than this are dropped, ms: as long as an aggregator may be away.
const MESSAGE_TTL_MS: i32 = 60 * 60 * 1_000;

/// Messages kept at most, the oldest dropped first: of usual events about 150 MiB of the broker's memory.
const LENGTH_MAX: i32 = 200_000;

/// Time between two looks at the bounds of the queue.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// Where events are to be had.
#[derive(Debug, Clone)]
pub(super) struct EventQueue {
    /// Its name.
    pub(super) name: String,
    /// Where events are published.
    pub(super) exchange: String,
    /// Whether it outlives the connection.
    pub(super) kept: bool,
}

/// A queue that is consumed.
struct Attached {
    link: Link,
    channel: Channel,
    consumer: Consumer,
    /// It has kept everything since it was consumed before.
    kept: bool,
}

/// Keeps it alive; never ends.
pub(super) async fn keep(dialer: Arc<Dialer>, queue: EventQueue, inbox: Arc<Inbox>) {
    let (mut receipts, mut settled) = Receipts::new();
    let mut reconnect = Reconnect::new(dialer.patience());
    loop {
        let ended = match attach(&dialer, &queue).await {
            Ok(attached) => {
                let since = Some(Instant::now());
                inbox.live(attached.kept);
                let mut serving = Serving::new(&attached, &queue, &inbox, receipts.last());
                let consumer = attached.consumer.clone();
                let error = serving.serve(consumer, &mut receipts, &mut settled).await;
                drop(serving);
                attached.link.shut().await;
                Ended { error, since }
            }
            Err(error) => Ended::from(error),
        };
        reconnect.after(ended, &inbox, queue.kept).await;
    }
}

/// Connects, makes sure of the queue, and consumes it.
async fn attach(dialer: &Dialer, queue: &EventQueue) -> Result<Attached, TransportError> {
    let link = dialer.dial("events").await?;
    let right = format!(
        "configure on {:?}, or let somebody who has it declare that exchange (topic, durable)",
        queue.exchange
    );
    link.ensure_exchange(&queue.exchange, ExchangeKind::Topic, true)
        .await
        .map_err(|error| failure::name_the_right(error, &right))?;
    let kept = make_sure(&link, queue).await?;
    let channel = link.channel().await?;
    let told = |refused: &Refused| link.explain("consuming the queue of events", refused);
    let prefetch = channel.basic_qos(PREFETCH, BasicQosOptions::default());
    link.ask("the prefetch", prefetch)
        .await
        .map_err(|refused| told(&refused))?;
    let consume = channel.basic_consume(
        queue.name.as_str().into(),
        "".into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    let consumer = link
        .ask("consuming", consume)
        .await
        .map_err(|refused| failure::name_the_right(told(&refused), &rights(queue)))?;
    Ok(Attached {
        link,
        channel,
        consumer,
        kept,
    })
}

/// Finds the queue or makes it, and binds it. Whether it has kept everything since it was consumed before.
async fn make_sure(link: &Link, queue: &EventQueue) -> Result<bool, TransportError> {
    let told = |refused: &Refused| link.explain("the queue of events", refused);
    let found = if queue.kept {
        let probe = link.channel().await?;
        let found = link.find_queue(&probe, &queue.name).await;
        let found = found.map_err(|refused| told(&refused))?;
        if found.is_some() {
            link.done(&probe).await;
        }
        found
    } else {
        None
    };
    if let Some(other) = &found
        && other.consumer_count() > 0
    {
        return Err(TransportError::Unable {
            endpoint: link.server().endpoint(),
            action: "the queue of events",
            reason: format!(
                "another inspector consumes {}; end it, or give this one another --instance, or --ephemeral",
                queue.name
            ),
        });
    }
    let whole = if let Some(found) = &found {
        found.message_count() < LENGTH_MAX.unsigned_abs()
            && link.has_exchange(&queue.name, ExchangeKind::Fanout).await?
    } else {
        declare(link, queue)
            .await
            .map_err(|refused| failure::name_the_right(told(&refused), &rights(queue)))?;
        false
    };
    let bound = bind(link, queue, &queue.exchange, "#").await;
    // Whoever gives so few rights has bound it.
    let may_be_bound = found.is_some()
        && matches!(&bound, Err(Refused::Error(error)) if failure::is_forbidden(error));
    if !may_be_bound {
        bound.map_err(|refused| failure::name_the_right(told(&refused), &rights(queue)))?;
    }
    if queue.kept && !whole {
        mark(link, queue).await;
    }
    Ok(whole)
}

fn rights(queue: &EventQueue) -> String {
    let own = queue.name.rsplit_once('.').map_or("", |(family, _)| family);
    let own = own.replace('.', "\\.");
    format!(
        "configure and write on ^{own}\\. and read on ^({own}\\..*|{})$",
        queue.exchange
    )
}

async fn declare(link: &Link, queue: &EventQueue) -> Result<(), Refused> {
    let channel = link
        .channel()
        .await
        .map_err(|_| Refused::Silent("a channel"))?;
    let mut arguments = FieldTable::default();
    let mut bound = |name: &str, value: i32| {
        arguments.insert(name.into(), AMQPValue::LongInt(value));
    };
    bound("x-expires", EXPIRES_MS);
    bound("x-message-ttl", MESSAGE_TTL_MS);
    bound("x-max-length", LENGTH_MAX);
    if queue.kept {
        arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
        // Whatever the virtual host makes by default: events are transient, and no copies of them are needed.
        let classic = AMQPValue::LongString("classic".into());
        arguments.insert("x-queue-type".into(), classic);
    }
    let options = QueueDeclareOptions {
        passive: false,
        durable: queue.kept,
        exclusive: !queue.kept,
        auto_delete: !queue.kept,
        nowait: false,
    };
    let declared = channel.queue_declare(queue.name.as_str().into(), options, arguments);
    link.ask("declaring a queue", declared).await?;
    link.done(&channel).await;
    Ok(())
}

async fn bind(link: &Link, queue: &EventQueue, exchange: &str, key: &str) -> Result<(), Refused> {
    let channel = link
        .channel()
        .await
        .map_err(|_| Refused::Silent("a channel"))?;
    let bound = channel.queue_bind(
        queue.name.as_str().into(),
        exchange.into(),
        key.into(),
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    link.ask("binding a queue", bound).await?;
    link.done(&channel).await;
    Ok(())
}

/// Makes what a restart of the broker takes away. Without it a reconnect is taken for a loss, which is safe.
async fn mark(link: &Link, queue: &EventQueue) {
    let Ok(channel) = link.channel().await else {
        return;
    };
    let options = ExchangeDeclareOptions {
        durable: false,
        auto_delete: true,
        ..ExchangeDeclareOptions::default()
    };
    let declared = channel.exchange_declare(
        queue.name.as_str().into(),
        ExchangeKind::Fanout,
        options,
        FieldTable::default(),
    );
    let marked = match link.ask("an exchange", declared).await {
        Ok(()) => bind(link, queue, &queue.name, "").await,
        Err(refused) => Err(refused),
    };
    if let Err(refused) = marked {
        let error = link.explain("an exchange of our own", &refused);
        tracing::debug!(%error, "each reconnect will be told as a gap");
    }
    link.done(&channel).await;
}

/// The time in which one connection is consumed.
struct Serving<'a> {
    link: &'a Link,
    channel: &'a Channel,
    queue: &'a EventQueue,
    inbox: &'a Inbox,
    /// The number of the last receipt before this connection: delivery tags count from there.
    before: u64,
    /// The last delivery tag that was acknowledged.
    acknowledged: u64,
    /// When the last message came, microseconds since the Unix epoch.
    last_micros: i64,
    /// Since when the queue drops messages, microseconds since the Unix epoch.
    dropping_since: Option<i64>,
    /// The broker lets us bind the queue; otherwise whoever keeps that right from us has to.
    may_bind: bool,
}

impl<'a> Serving<'a> {
    fn new(attached: &'a Attached, queue: &'a EventQueue, inbox: &'a Inbox, before: u64) -> Self {
        Self {
            link: &attached.link,
            channel: &attached.channel,
            queue,
            inbox,
            before,
            acknowledged: 0,
            last_micros: now_micros(),
            dropping_since: None,
            may_bind: true,
        }
    }

    /// Takes messages in and acknowledges what is settled, until the connection or the queue is gone.
    async fn serve(
        &mut self,
        mut consumer: Consumer,
        receipts: &mut Receipts,
        settled: &mut watch::Receiver<u64>,
    ) -> TransportError {
        let mut check = tokio::time::interval(CHECK_EVERY);
        loop {
            let done = tokio::select! {
                biased;
                // Its sender is in `receipts`, so it does not end.
                _ = settled.changed() => {
                    let settled = *settled.borrow_and_update();
                    self.acknowledge(settled).await
                }
                () = self.inbox.room(), if !self.inbox.has_room() => Ok(()),
                delivery = consumer.next(), if self.inbox.has_room() => self.take(delivery, receipts),
                _ = check.tick(), if self.queue.kept => self.check().await,
            };
            if let Err(error) = done {
                return error;
            }
        }
    }

    fn take(
        &mut self,
        delivery: Option<lapin::Result<Delivery>>,
        receipts: &mut Receipts,
    ) -> Result<(), TransportError> {
        match delivery {
            Some(Ok(delivery)) => {
                self.last_micros = now_micros();
                self.inbox.keep(frame(delivery), receipts.next());
                Ok(())
            }
            Some(Err(error)) => Err(self.explain(&Refused::Error(error))),
            None if self.link.is_unusable() => Err(shared::closed(self.link.server())),
            None => Err(TransportError::Unreachable {
                endpoint: self.link.server().endpoint(),
                reason: format!("the queue {} was deleted", self.queue.name),
            }),
        }
    }

    /// Everything up to the receipt of this number is safe. Those of earlier connections have come again already.
    async fn acknowledge(&mut self, settled: u64) -> Result<(), TransportError> {
        let tag = settled.saturating_sub(self.before);
        if tag <= self.acknowledged {
            return Ok(());
        }
        self.acknowledged = tag;
        let options = BasicAckOptions { multiple: true };
        let sent = self.channel.basic_ack(tag, options);
        let sent = self.link.ask("an acknowledgement", sent).await;
        sent.map_err(|refused| self.explain(&refused))
    }

    /// Tells of messages that the queue itself dropped, since they came faster than they were settled, or too long ago. Binds
    /// it again, since an exchange that was deleted and made anew has forgotten it, and nobody tells.
    async fn check(&mut self) -> Result<(), TransportError> {
        let probe = self.link.channel().await?;
        let found = self.link.find_queue(&probe, &self.queue.name).await;
        let found = found.map_err(|refused| self.explain(&refused))?;
        let Some(found) = found else {
            return Ok(()); // the consumer is told
        };
        self.link.done(&probe).await;
        let now = now_micros();
        let full = found.message_count() >= LENGTH_MAX.unsigned_abs();
        let waiting = now - self.last_micros >= i64::from(MESSAGE_TTL_MS) * 1_000;
        if full || (waiting && found.message_count() > 0) {
            self.dropping_since.get_or_insert(self.last_micros);
        } else if let Some(since) = self.dropping_since.take() {
            self.inbox.dropped_by_broker(since, now);
        }
        self.bind_again().await
    }

    async fn bind_again(&mut self) -> Result<(), TransportError> {
        if !self.may_bind {
            return Ok(());
        }
        match bind(self.link, self.queue, &self.queue.exchange, "#").await {
            Err(Refused::Error(error)) if failure::is_forbidden(&error) => {
                self.may_bind = false;
                Ok(())
            }
            // The queue, whose consumer is told.
            Err(Refused::Error(error)) if failure::names_a_queue(&error) => Ok(()),
            bound => bound.map_err(|refused| self.explain(&refused)),
        }
    }

    fn explain(&self, refused: &Refused) -> TransportError {
        self.link.explain("the subscription to events", refused)
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        if let Some(since) = self.dropping_since {
            self.inbox.dropped_by_broker(since, now_micros());
        }
    }
}
