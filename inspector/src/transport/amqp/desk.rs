//! The connection for everything but events: made on first use, made again after a loss. Control requests go out over it,
//! their replies come to a queue of its own, and queues are looked at.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Consumer, ExchangeKind};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::super::{Published, TransportError};
use super::failure;
use super::frame::frame;
use super::link::{Dialer, Link, Refused};
use crate::wire::message::Frame;
use crate::wire::pidbox::ControlMessage;

/// The reply queue goes this long after its last consumer, ms. It is exclusive, so that is only for a broker that has not
/// noticed yet that the connection is gone.
const REPLY_EXPIRES_MS: i32 = 60_000;

/// Replies that wait for their reader, at most: a request is answered by at most as many workers as it names.
const REPLIES_MAX: usize = 20_000;

/// Replies handed out at once.
const TAKE_MAX: usize = 300;

/// The connection for commands.
pub(super) struct Desk {
    dialer: Arc<Dialer>,
    /// Where control requests go.
    exchange: String,
    reply_queue: String,
    replies: Arc<Replies>,
    seat: tokio::sync::Mutex<Option<Seat>>,
}

/// What is open.
struct Seat {
    link: Arc<Link>,
    /// For control requests; `None` until one is to be published.
    control: Option<Control>,
}

/// What a control request needs.
struct Control {
    /// With confirms.
    channel: Channel,
    /// Reads the reply queue.
    reader: JoinHandle<()>,
    /// The reply queue is not read any more.
    deaf: Arc<AtomicBool>,
}

impl Drop for Control {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Why a request has not gone out.
enum Unpublished {
    /// The exchange is not there.
    NoExchange(TransportError),
    /// Anything else, also that it may have gone out.
    Other(TransportError),
}

impl Unpublished {
    fn into_error(self) -> TransportError {
        match self {
            Self::NoExchange(error) | Self::Other(error) => error,
        }
    }
}

impl From<TransportError> for Unpublished {
    fn from(error: TransportError) -> Self {
        Self::Other(error)
    }
}

/// Replies that have come and were not yet handed out.
#[derive(Default)]
struct Replies {
    frames: Mutex<VecDeque<Frame>>,
}

impl Desk {
    pub(super) fn new(dialer: Arc<Dialer>, exchange: String, reply_queue: String) -> Self {
        Self {
            dialer,
            exchange,
            reply_queue,
            replies: Arc::default(),
            seat: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn reply_queue(&self) -> &str {
        &self.reply_queue
    }

    /// An open connection.
    pub(super) async fn link(&self) -> Result<Arc<Link>, TransportError> {
        let mut seat = self.seat.lock().await;
        self.seated(&mut seat)
            .await
            .map(|seat| Arc::clone(&seat.link))
    }

    async fn seated<'a>(&self, slot: &'a mut Option<Seat>) -> Result<&'a mut Seat, TransportError> {
        if slot.as_ref().is_none_or(|seat| seat.link.is_unusable()) {
            *slot = None;
            let link = Arc::new(self.dialer.dial("control").await?);
            *slot = Some(Seat {
                link,
                control: None,
            });
        }
        Ok(slot.as_mut().expect("it was filled above"))
    }

    /// Publishes a request to everybody, or into one queue; its replies are read from then on.
    pub(super) async fn publish(
        &self,
        message: &ControlMessage,
        queue: Option<&str>,
    ) -> Result<Published, TransportError> {
        match self.publish_once(message, queue).await {
            // Somebody deleted it since we looked. It is made again, and the request has reached nobody.
            Err(Unpublished::NoExchange(_)) => self.publish_once(message, queue).await,
            other => other,
        }
        .map_err(Unpublished::into_error)
    }

    async fn publish_once(
        &self,
        message: &ControlMessage,
        queue: Option<&str>,
    ) -> Result<Published, Unpublished> {
        let mut slot = self.seat.lock().await;
        let seat = self.seated(&mut slot).await?;
        let usable = |control: &Control| {
            control.channel.status().connected() && !control.deaf.load(Ordering::Relaxed)
        };
        if !seat.control.as_ref().is_some_and(usable) {
            seat.control = None;
            seat.control = Some(self.open(&seat.link).await?);
        }
        let control = seat.control.as_ref().expect("it was filled above");
        if seat.link.is_blocked() {
            return Err(Unpublished::Other(TransportError::Unable {
                endpoint: self.dialer.endpoint(),
                action: "publishing",
                reason: "it takes no messages since it is short of memory or disk; see its alarms"
                    .to_owned(),
            }));
        }
        let (exchange, routing_key) = match queue {
            None => (self.exchange.as_str(), ""),
            Some(queue) => ("", queue),
        };
        let sent = send(&control.channel, exchange, routing_key, message);
        match seat.link.ask("a control request", sent).await {
            Ok(reached) => Ok(Published {
                subscribers: (!reached).then_some(0),
            }),
            Err(refused) => {
                let error = seat.link.explain("publishing a control request", &refused);
                // A blocked connection is sound, and cannot even be closed until the broker reads again.
                if !seat.link.is_blocked() {
                    *slot = None;
                }
                // What was refused was not taken; of anything else that is not known.
                Err(match &refused {
                    Refused::Error(refusal) if failure::is_missing(refusal) => {
                        Unpublished::NoExchange(error)
                    }
                    Refused::Error(refusal) if failure::is_forbidden(refusal) => {
                        let named = if exchange.is_empty() {
                            "amq.default"
                        } else {
                            exchange
                        };
                        let right = format!("write on {named:?}");
                        Unpublished::Other(failure::name_the_right(error, &right))
                    }
                    _ => Unpublished::Other(TransportError::Unsure {
                        error: Box::new(error),
                    }),
                })
            }
        }
    }

    async fn open(&self, link: &Arc<Link>) -> Result<Control, TransportError> {
        link.ensure_exchange(&self.exchange, ExchangeKind::Fanout, false)
            .await
            .map_err(|error| {
                failure::name_the_right(error, &format!("configure on {:?}", self.exchange))
            })?;
        let explain = |refused: Refused| {
            let right = "configure and read on ^celeriac\\..*\\.reply\\.";
            let error = link.explain("the reply queue", &refused);
            failure::name_the_right(error, right)
        };
        let consumer = self.consume(link).await.map_err(explain)?;
        let channel = link.channel().await?;
        let confirms = channel.confirm_select(ConfirmSelectOptions::default());
        link.ask("confirms", confirms).await.map_err(explain)?;
        let deaf = Arc::<AtomicBool>::default();
        let reading = read(consumer, Arc::clone(&self.replies), Arc::clone(&deaf));
        Ok(Control {
            channel,
            reader: tokio::spawn(reading),
            deaf,
        })
    }

    async fn consume(&self, link: &Link) -> Result<Consumer, Refused> {
        let channel = link
            .channel()
            .await
            .map_err(|_| Refused::Silent("a channel"))?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-expires".into(), AMQPValue::LongInt(REPLY_EXPIRES_MS));
        let options = QueueDeclareOptions {
            exclusive: true,
            auto_delete: true,
            ..QueueDeclareOptions::default()
        };
        let name = self.reply_queue.as_str();
        let declared = channel.queue_declare(name.into(), options, arguments);
        link.ask("declaring a queue", declared).await?;
        let options = BasicConsumeOptions {
            no_ack: true,
            exclusive: true,
            ..BasicConsumeOptions::default()
        };
        let consume = channel.basic_consume(name.into(), "".into(), options, FieldTable::default());
        link.ask("consuming", consume).await
    }

    /// Takes the oldest replies.
    pub(super) fn take(&self) -> Vec<Frame> {
        let mut frames = self.replies.frames.lock();
        let some = frames.len().min(TAKE_MAX);
        frames.drain(..some).collect()
    }

    pub(super) async fn close(&self) {
        if let Some(seat) = self.seat.lock().await.take() {
            drop(seat.control);
            if let Some(link) = Arc::into_inner(seat.link) {
                link.shut().await;
            }
        }
    }
}

/// Publishes and waits until the broker has it. Whether it reached any queue.
async fn send(
    channel: &Channel,
    exchange: &str,
    routing_key: &str,
    message: &ControlMessage,
) -> lapin::Result<bool> {
    let mut headers = FieldTable::default();
    headers.insert("clock".into(), AMQPValue::LongInt(0));
    headers.insert("expires".into(), AMQPValue::Double(message.expires));
    let properties = BasicProperties::default()
        .with_content_type(message.content_type.into())
        .with_content_encoding(message.content_encoding.into())
        .with_delivery_mode(2)
        .with_priority(0)
        .with_headers(headers);
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let confirm = channel
        .basic_publish(
            exchange.into(),
            routing_key.into(),
            options,
            &message.body,
            properties,
        )
        .await?;
    let confirmation = confirm.await?;
    // What reaches no queue comes back before it is confirmed.
    Ok(!matches!(
        confirmation,
        Confirmation::Ack(Some(_)) | Confirmation::Nack(_)
    ))
}

/// Reads replies for as long as they come.
async fn read(mut consumer: Consumer, replies: Arc<Replies>, deaf: Arc<AtomicBool>) {
    let mut told = false;
    while let Some(Ok(delivery)) = consumer.next().await {
        let mut frames = replies.frames.lock();
        if frames.len() < REPLIES_MAX {
            frames.push_back(frame(delivery));
        } else if !std::mem::replace(&mut told, true) {
            tracing::warn!("replies of workers are dropped: they come faster than they are read");
        }
    }
    deaf.store(true, Ordering::Relaxed);
}
