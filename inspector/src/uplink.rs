//! The way to the aggregator: one stream, batches in sequence, kept until acknowledged, sent again after a reconnect. It
//! sees neither brokers nor workers.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use celeriac_proto::v1;
use tokio::sync::{mpsc, watch};
use v1::attach_request::Message as Said;
use v1::attach_response::Message as Heard;

use crate::collect::order::ORDERS_MAX;
use crate::collect::{CommandReport, Observation, Order};
use crate::metrics::Metrics;

pub mod convert;
mod grpc;
mod outbox;
#[cfg(test)]
mod tests;
pub mod worker;

pub use convert::{Events, Source};
pub use grpc::{AggregatorUrl, AggregatorUrlError, GrpcConnector, Trust};
pub use outbox::{Outbox, Put, Resume};

/// How long opening a stream, and the answer to `hello`, may take.
const GREETING: Duration = Duration::from_secs(10);

/// Pause before the first reconnect; doubles up to [`PAUSE_MAX`], plus a random part of as much again.
const PAUSE_MIN: Duration = Duration::from_millis(200);

/// Longest pause before a reconnect, without its random part.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How an inspector reaches its aggregator.
pub trait Connector: Send + 'static {
    /// Opens a stream; the first request sent on it must be `hello`.
    fn open(&mut self) -> impl Future<Output = Result<Duplex, LinkError>> + Send;
}

/// An open stream. It ends when either side is dropped.
#[derive(Debug)]
pub struct Duplex {
    /// To the aggregator; bounded (8), so that a slow aggregator slows the sender.
    pub requests: mpsc::Sender<v1::AttachRequest>,
    /// From the aggregator; bounded (64).
    pub responses: mpsc::Receiver<Result<v1::AttachResponse, tonic::Status>>,
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// No connection.
    #[error("cannot reach the aggregator at {endpoint}")]
    Unreachable {
        /// Where it was looked for.
        endpoint: String,
        /// What failed.
        source: tonic::transport::Error,
    },
    /// A file that is needed for the connection cannot be used.
    #[error("{option} {} cannot be read", path.display())]
    File {
        /// The option that named it.
        option: &'static str,
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It ended the stream with an error.
    #[error("the aggregator ended the stream ({}): {}", .0.code(), .0.message())]
    Refused(Box<tonic::Status>),
    /// It ended the stream.
    #[error("the aggregator ended the stream")]
    Closed,
    /// It did not answer in time.
    #[error("the aggregator did not answer {what} within {} s", GREETING.as_secs())]
    Timeout {
        /// What was asked.
        what: &'static str,
    },
    /// It said something out of turn.
    #[error("the aggregator said {what}")]
    Protocol {
        /// What it said.
        what: &'static str,
    },
    /// The sequence numbers of this epoch cannot be used on; the next stream begins a new one.
    #[error("the aggregator counts batches of this inspector differently; beginning a new epoch")]
    NewEpoch,
}

/// What the aggregator wants of this inspector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It has not said yet.
    Unknown,
    /// To collect and to send.
    Active,
    /// To wait: neither to send nor to inspect.
    Standby,
}

/// Who this inspector is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its stable instance name.
    pub instance: String,
    /// What it inspects.
    pub source: Source,
}

/// The sending half of an inspector.
#[derive(Debug)]
pub struct Uplink {
    identity: Identity,
    outbox: Outbox,
    inbox: mpsc::Receiver<Observation>,
    /// Nothing comes in any more.
    closed: bool,
    /// The numbers of this epoch are spent.
    epoch_spent: bool,
    role: watch::Sender<Role>,
    orders: mpsc::Sender<Order>,
    broker: v1::Broker,
    metrics: Metrics,
}

/// What the aggregator wants.
#[derive(Debug)]
pub struct Wanted {
    /// The role it gives.
    pub roles: watch::Receiver<Role>,
    /// What it orders; bounded, and refused when it is full.
    pub orders: mpsc::Receiver<Order>,
}

/// Everything that came in was acknowledged, and nothing comes any more.
struct Done;

impl Uplink {
    /// An uplink for what comes from `inbox`, and what the aggregator wants. `epoch` is the time of start, microseconds since the
    /// Unix epoch.
    pub fn new(
        identity: Identity,
        epoch: i64,
        buffer_bytes_max: usize,
        inbox: mpsc::Receiver<Observation>,
        metrics: Metrics,
    ) -> (Self, Wanted) {
        let (role, roles) = watch::channel(Role::Unknown);
        let (orders, ordered) = mpsc::channel(ORDERS_MAX);
        let uplink = Self {
            outbox: Outbox::new(identity.source.clone(), epoch, buffer_bytes_max),
            broker: convert::broker(&identity.source),
            identity,
            inbox,
            closed: false,
            epoch_spent: false,
            role,
            orders,
            metrics,
        };
        let wanted = Wanted {
            roles,
            orders: ordered,
        };
        (uplink, wanted)
    }

    /// Sends what comes in until the inbox is closed and everything is acknowledged; reconnects for as long as it takes, so
    /// the caller bounds the time.
    pub async fn run<C: Connector>(mut self, mut connector: C) {
        let mut pause = PAUSE_MIN;
        loop {
            if self.epoch_spent {
                self.outbox.renew(now_micros());
                self.epoch_spent = false;
            }
            let ended = match self.greet(&mut connector).await {
                Ok(Some(duplex)) => {
                    pause = PAUSE_MIN;
                    self.attended(duplex).await
                }
                Ok(None) => Ok(Done),
                Err(error) => Err(error),
            };
            self.metrics.attached.set(0);
            let Err(error) = ended else { return };
            if matches!(&error, LinkError::NewEpoch) {
                self.epoch_spent = true;
            }
            tracing::warn!(
                error = celeriac_process::error_chain(&error),
                unacknowledged_batches = self.outbox.len(),
                "no stream to the aggregator; trying again"
            );
            let jittered = pause + pause.mul_f64(fastrand::f64());
            if self.meanwhile(tokio::time::sleep(jittered)).await.is_none() {
                return;
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Opens a stream and says hello. `None` when there is nothing left to send.
    async fn greet<C: Connector>(
        &mut self,
        connector: &mut C,
    ) -> Result<Option<Duplex>, LinkError> {
        let opening = tokio::time::timeout(GREETING, connector.open());
        let Some(opened) = self.meanwhile(opening).await else {
            return Ok(None);
        };
        let mut duplex = opened.map_err(|_| LinkError::Timeout {
            what: "the connection",
        })??;
        let hello = v1::Hello {
            app: self.identity.source.app.clone(),
            instance: self.identity.instance.clone(),
            epoch: self.outbox.epoch(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            broker: Some(self.broker.clone()),
        };
        let greeting = tokio::time::timeout(GREETING, async {
            let hello = v1::AttachRequest {
                message: Some(Said::Hello(hello)),
            };
            // When the stream has ended already, the answer says why.
            let _ = duplex.requests.send(hello).await;
            duplex.responses.recv().await
        });
        let Some(answer) = self.meanwhile(greeting).await else {
            return Ok(None);
        };
        let answer = answer.map_err(|_| LinkError::Timeout { what: "hello" })?;
        match understood(answer)? {
            Heard::Welcome(welcome) => {
                if self.outbox.resume(welcome.acknowledged_sequence) == Resume::NewEpoch {
                    return Err(LinkError::NewEpoch);
                }
                self.metrics.attached.set(1);
                tracing::info!("attached to the aggregator");
                self.on_role(welcome.role())?;
                Ok(Some(duplex))
            }
            _ => Err(LinkError::Protocol {
                what: "something else before welcome",
            }),
        }
    }

    /// Sends and listens until the stream ends.
    async fn attended(&mut self, mut duplex: Duplex) -> Result<Done, LinkError> {
        loop {
            if self.closed && self.outbox.is_empty() {
                return Ok(Done);
            }
            let active = *self.role.borrow() == Role::Active;
            tokio::select! {
                biased;
                answer = duplex.responses.recv() => self.on_answer(understood(answer)?)?,
                room = duplex.requests.reserve(), if active && self.outbox.has_unsent() => {
                    // A closed request side is followed by the reason on the other.
                    let Ok(room) = room else {
                        let why = tokio::time::timeout(GREETING, duplex.responses.recv()).await;
                        return Err(understood(why.unwrap_or(None)).err().unwrap_or(LinkError::Closed));
                    };
                    if let Some(batch) = self.outbox.take_next() {
                        room.send(v1::AttachRequest { message: Some(Said::Batch(batch)) });
                    }
                }
                seen = self.inbox.recv(), if !self.closed => self.on_observation(seen),
            }
        }
    }

    /// Awaits `work` and takes in what comes meanwhile. `None` when there is nothing left to send.
    async fn meanwhile<F: Future>(&mut self, work: F) -> Option<F::Output> {
        let mut work = pin!(work);
        loop {
            if self.closed && self.outbox.is_empty() {
                return None;
            }
            tokio::select! {
                biased;
                output = &mut work => return Some(output),
                seen = self.inbox.recv(), if !self.closed => self.on_observation(seen),
            }
        }
    }

    fn on_observation(&mut self, seen: Option<Observation>) {
        let Some(seen) = seen else {
            self.closed = true;
            return;
        };
        if *self.role.borrow() == Role::Standby {
            return;
        }
        let receipt = seen.receipt.clone();
        let pieces = convert::batches(&self.identity.source, seen);
        if pieces.is_empty()
            && let Some(receipt) = receipt
        {
            self.outbox.put_receipt(receipt);
        }
        for piece in pieces {
            if let Some(broker) = piece
                .batch
                .report
                .as_ref()
                .and_then(|report| report.broker.as_ref())
            {
                self.broker = broker.clone();
            }
            self.metrics.on_batch();
            let messages = piece.messages;
            match self.outbox.put(piece) {
                Put::Kept => {}
                Put::Overflowed => {
                    self.metrics.dropped.inc_by(messages);
                    self.metrics.on_gap(crate::collect::GapCause::Overflow);
                    tracing::warn!(
                        "the buffer is full; what comes now is dropped and told as a gap"
                    );
                }
                Put::Dropped => {
                    self.metrics.dropped.inc_by(messages);
                }
            }
        }
        self.count_bytes();
    }

    fn on_answer(&mut self, heard: Heard) -> Result<(), LinkError> {
        match heard {
            Heard::Ack(ack) => {
                self.outbox.acknowledge(ack.sequence);
                self.count_bytes();
                Ok(())
            }
            Heard::RoleChange(change) => self.on_role(change.role()),
            Heard::Command(order) => {
                self.on_command(order);
                Ok(())
            }
            Heard::Results(order) => {
                // Asked again when there is no answer.
                if self
                    .orders
                    .try_send(Order::Results(order.task_ids))
                    .is_err()
                {
                    tracing::warn!("outcomes are not looked up: too many orders are waiting");
                }
                Ok(())
            }
            Heard::Query(order) => {
                let query = Order::Query(convert::order::query(order));
                if self.orders.try_send(query).is_err() {
                    tracing::warn!("tasks are not asked for: too many orders are waiting");
                }
                Ok(())
            }
            Heard::Depths(order) => {
                // Said again every few seconds.
                let depths = Order::Depths(convert::order::depths(order));
                if self.orders.try_send(depths).is_err() {
                    tracing::warn!("queues are not looked at: too many orders are waiting");
                }
                Ok(())
            }
            Heard::Welcome(_) => Err(LinkError::Protocol {
                what: "welcome twice",
            }),
        }
    }

    /// Hands a command on. One that cannot be is answered here, so that the aggregator is never left without an answer.
    fn on_command(&mut self, order: v1::CommandOrder) {
        let request_id = order.request_id.clone();
        let refused = match convert::order::command(order) {
            Err(bad) => bad.to_string(),
            Ok(command) => match self.orders.try_send(Order::Command(command)) {
                Ok(()) => return,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    format!("{ORDERS_MAX} orders are waiting in the inspector already")
                }
                Err(mpsc::error::TrySendError::Closed(_)) => "the inspector is stopping".to_owned(),
            },
        };
        tracing::warn!(request_id, reason = refused, "a command is not published");
        self.on_observation(Some(Observation {
            commands: vec![CommandReport::not_published(request_id, refused)],
            ..Observation::default()
        }));
    }

    fn on_role(&mut self, role: v1::InspectorRole) -> Result<(), LinkError> {
        let role = match role {
            v1::InspectorRole::Active => Role::Active,
            v1::InspectorRole::Standby => Role::Standby,
            v1::InspectorRole::Unspecified => {
                return Err(LinkError::Protocol { what: "no role" });
            }
        };
        self.metrics.active.set(i64::from(role == Role::Active));
        if self.role.send_replace(role) != role {
            tracing::info!(?role, "the aggregator gave a role");
        }
        match role {
            Role::Standby => {
                self.epoch_spent |= self.outbox.discard();
                self.count_bytes();
                Ok(())
            }
            // What was discarded may have been numbered on the wire already.
            Role::Active if self.epoch_spent => Err(LinkError::NewEpoch),
            Role::Active | Role::Unknown => Ok(()),
        }
    }

    fn count_bytes(&self) {
        let bytes = i64::try_from(self.outbox.bytes()).unwrap_or(i64::MAX);
        self.metrics.buffer_bytes.set(bytes);
    }
}

/// An answer with something in it.
fn understood(
    answer: Option<Result<v1::AttachResponse, tonic::Status>>,
) -> Result<Heard, LinkError> {
    match answer {
        None => Err(LinkError::Closed),
        // Its way of saying that the sequence has a hole.
        Some(Err(status)) if status.code() == tonic::Code::FailedPrecondition => {
            tracing::warn!(status = status.message(), "the aggregator refused a batch");
            Err(LinkError::NewEpoch)
        }
        Some(Err(status)) => Err(LinkError::Refused(Box::new(status))),
        Some(Ok(v1::AttachResponse {
            message: Some(message),
        })) => Ok(message),
        Some(Ok(v1::AttachResponse { message: None })) => Err(LinkError::Protocol {
            what: "nothing that this version understands",
        }),
    }
}

/// Microseconds since the Unix epoch.
pub(crate) fn now_micros() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(now.unwrap_or_default().as_micros()).unwrap_or(i64::MAX)
}
