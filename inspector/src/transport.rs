//! Brokers behind one contract. What differs between them (channels or exchanges, lists or queues) stays below here.

use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_util::sync::CancellationToken;

use crate::wire::message::Frame;
use crate::wire::pidbox::ControlMessage;

pub mod amqp;
pub mod broker;
mod failure;
pub mod fake;
mod inbox;
mod patience;
pub(crate) mod receipt;
mod reconnect;
pub mod redis;
mod servers;
mod socket;
mod subscription;
mod tls;

pub use patience::Patience;
pub use receipt::Receipt;
pub use subscription::Subscription;

/// A broker, as the inspector needs it.
///
/// The contract, kept by every back end and checked by one suite:
/// * Messages of one sender arrive in the order it sent them. There is no order between senders.
/// * A lost connection is one [`Incoming::Lost`], followed by one [`Incoming::Live`] when messages flow again; the back end
///   reconnects by itself, with back-off, until cancelled. Another reason while it lasts is another `Lost`. What was missed
///   in between is not known to it, but whether the broker kept it is.
/// * Nothing is dropped silently: what the bounded buffer could not hold is counted in [`Incoming::Dropped`].
/// * A message with a [`Receipt`] stays with the broker until that is settled. What is not settled when the connection or
///   the process ends comes again, so one message may come several times.
/// * Every call but `subscribe` may be cancelled at any await point without harm; a call that fails leaves nothing behind
///   but what expires by itself.
/// * Errors never hold a password.
pub trait Transport: Send + Sync + 'static {
    /// Subscribes to all events. Called once; ends when `stop` is cancelled or the receiver is dropped.
    fn subscribe(&self, stop: CancellationToken) -> Subscription;

    /// Publishes one control request to the app's control exchange. It reaches every worker of the app, whatever its
    /// destination says. Replies to [`Transport::reply_queue`] can be read afterwards. An error other than
    /// [`TransportError::Unsure`] means that it has not gone out and will not.
    fn publish_control(
        &self,
        message: &ControlMessage,
    ) -> impl Future<Output = Result<Published, TransportError>> + Send;

    /// As [`Transport::publish_control`], for a request to one worker: where the broker lets it, nobody else gets it.
    fn publish_to(
        &self,
        _node: &str,
        message: &ControlMessage,
    ) -> impl Future<Output = Result<Published, TransportError>> + Send {
        self.publish_control(message)
    }

    /// Whether it is the caller's turn to publish what every worker gets: of all processes that ask this of one broker, one
    /// in `every` is told so. Always where nobody else gets what is for one worker.
    fn turn(&self, _every: Duration) -> impl Future<Output = Result<bool, TransportError>> + Send {
        std::future::ready(Ok(true))
    }

    /// The queue name for `reply_to` (by the default exchange). Stable for the life of this value.
    fn reply_queue(&self) -> &str;

    /// Takes the replies that have come, at most a few hundred, oldest first.
    fn take_replies(&self) -> impl Future<Output = Result<Vec<Frame>, TransportError>> + Send;

    /// Reads the depths of `queues`, and what is not acknowledged.
    fn depths(
        &self,
        queues: &[String],
    ) -> impl Future<Output = Result<DepthReading, TransportError>> + Send;

    /// Names of the task queues the broker knows of, without asking workers. Paced; may take seconds.
    fn discover_queues(&self) -> impl Future<Output = Result<Vec<String>, TransportError>> + Send;

    /// What the server says of itself, such as `redis 7.0.15`.
    fn server_version(&self) -> impl Future<Output = Result<String, TransportError>> + Send;

    /// The values that the app's result backend has of these tasks, in order, empty where it has none; at most one byte more
    /// of each than [`crate::wire::outcome::OUTCOME_BYTES_MAX`]. `None` without a result backend. Reads only.
    fn results(
        &self,
        task_ids: &[String],
    ) -> impl Future<Output = Result<Option<Vec<Vec<u8>>>, TransportError>> + Send;

    /// Removes what this value made on the broker. Called once, at the end.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// What a subscription delivers.
#[derive(Debug)]
pub enum Incoming {
    /// Messages flow from now on (first time, or again).
    Live {
        /// When, microseconds since the Unix epoch.
        at_micros: i64,
        /// The broker has kept what was sent since the subscription before, of this process or an earlier one of the same
        /// name, and delivers it now: nothing was missed.
        kept: bool,
    },
    /// A message.
    Message {
        /// As it was on the broker.
        frame: Frame,
        /// When it was received, microseconds since the Unix epoch.
        received_micros: i64,
        /// What to settle once it is safe; `None` where the broker has forgotten it already.
        receipt: Option<Receipt>,
    },
    /// The connection is gone or could not be made; another attempt follows after a pause.
    Lost {
        /// When, microseconds since the Unix epoch.
        at_micros: i64,
        /// Why, without secrets, with the way out where there is one.
        error: TransportError,
        /// The broker is asked to keep what is sent meanwhile; whether it did is known when messages flow again.
        kept: bool,
    },
    /// Messages were dropped because a buffer was full, the local one or the broker's own.
    Dropped {
        /// How many; `None` when the broker dropped them, which counts nothing.
        messages: Option<u64>,
        /// When the first was dropped, microseconds since the Unix epoch.
        from_micros: i64,
        /// When the last was dropped, microseconds since the Unix epoch.
        to_micros: i64,
    },
}

/// What is known of a published request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Subscribers it reached (PUBLISH's count on Redis); an upper bound of the workers. `None` when the broker does not
    /// tell.
    pub subscribers: Option<u64>,
}

/// Depths at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DepthReading {
    /// When they were read, microseconds since the Unix epoch.
    pub read_micros: i64,
    /// The queues asked for, in that order, without those that the broker says are not there, or are streams: those have no
    /// depth.
    pub queues: Vec<QueueDepth>,
    /// Delivered and not acknowledged, whole database or virtual host, where the broker tells.
    pub unacked_total: Option<u64>,
}

/// Depth of one queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueDepth {
    /// Queue name.
    pub name: String,
    /// Ready messages by priority step, in order of the steps; one entry when there is one level.
    pub ready: Vec<(i32, u64)>,
    /// Consumers, where the broker knows.
    pub consumers: Option<u64>,
    /// Not acknowledged, where the broker knows per queue.
    pub unacked: Option<u64>,
    /// When the oldest ready message was sent, microseconds since the Unix epoch, where that can be read.
    pub oldest_micros: Option<i64>,
}

/// Why a broker could not be used.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The server is there and does not do this now, such as for lack of memory; it will again.
    #[error("{endpoint} does not do {action} at the moment: {reason}")]
    Unable {
        /// Broker without secrets.
        endpoint: String,
        /// What was tried.
        action: &'static str,
        /// Why, with the way out.
        reason: String,
    },
    /// User or password are refused.
    #[error(
        "{endpoint} refuses the credentials: {reason}; check user and password in the broker URL"
    )]
    Credentials {
        /// Broker without secrets.
        endpoint: String,
        /// The server's words.
        reason: String,
    },
    /// Connected, but not allowed to do this.
    #[error("{endpoint} does not allow {action}: {reason}")]
    Forbidden {
        /// Broker without secrets.
        endpoint: String,
        /// What was tried, such as `PSUBSCRIBE`.
        action: &'static str,
        /// The server's words.
        reason: String,
    },
    /// The database or virtual host is not there.
    #[error("{endpoint}: {reason}; check the part after the last / of the broker URL")]
    NoSuchDatabase {
        /// Broker without secrets.
        endpoint: String,
        /// The server's words.
        reason: String,
    },
    /// TLS could not be set up.
    #[error(
        "TLS with {endpoint} failed: {reason}; check the scheme and the ssl_* options of the broker URL"
    )]
    Tls {
        /// Broker without secrets.
        endpoint: String,
        /// What failed.
        reason: String,
    },
    /// No connection.
    #[error("cannot reach {endpoint}: {reason}")]
    Unreachable {
        /// Broker without secrets.
        endpoint: String,
        /// What failed.
        reason: String,
    },
    /// No answer in time.
    #[error("{endpoint} did not answer {action} within {seconds} s")]
    Timeout {
        /// Broker without secrets.
        endpoint: String,
        /// What was asked.
        action: &'static str,
        /// For how long it was waited, seconds.
        seconds: u64,
    },
    /// A request failed after it was sent: the server may have done it all the same.
    #[error("{error}; it may have taken the request all the same")]
    Unsure {
        /// What failed.
        error: Box<TransportError>,
    },
    /// The server answered something unexpected.
    #[error("{endpoint} answered {action} with an error: {reason}")]
    Answer {
        /// Broker without secrets.
        endpoint: String,
        /// What was asked.
        action: &'static str,
        /// The server's words.
        reason: String,
    },
}

/// Now, microseconds since the Unix epoch.
fn now_micros() -> i64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX)
}
