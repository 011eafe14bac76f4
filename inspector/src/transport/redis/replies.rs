//! Control requests and the list their replies come to.
//!
//! Workers LPUSH to the list that `reply_to` names, whenever they get to it, and nobody sets an expiry: a late reply to a
//! deleted list would make it anew, for ever. So the list always holds one element of our own at its tail, the oldest end,
//! and has an expiry, which LPUSH does not touch: late replies expire with it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::{Pipeline, Value};
use uuid::Uuid;

use super::super::{Published, TransportError};
use super::session::{REPLY_LIFE_SECONDS, Session};
use crate::wire::message::{Frame, encode_envelope};
use crate::wire::pidbox::ControlMessage;
use crate::wire::topology::Topology;

/// Our element at the tail; no reply is empty.
const SENTINEL: &str = "";

/// Replies read at once.
const TAKE_MAX: usize = 300;

/// The expiry is renewed after this even when nothing is asked, so that replies which come minutes later are still read.
const REFRESH_EVERY: Duration = Duration::from_secs(20);

/// Life of the list after the end of this process, seconds, when replies may still be under way.
const LAST_LIFE_SECONDS: u64 = 30;

/// A transaction that the server refuses as a whole was not carried out; of any other failure that is not known.
fn unsure(error: TransportError) -> TransportError {
    match error {
        refused @ TransportError::Forbidden { .. } => refused,
        other => TransportError::Unsure {
            error: Box::new(other),
        },
    }
}

/// The reply list of this process.
pub(super) struct Replies {
    session: Arc<Session>,
    queue: String,
    key: String,
    /// Where workers listen: one of them, but for `sentinel_fanout_compat` both.
    channels: Vec<String>,
    /// Workers listen at all of `channels`, not at one of them.
    everywhere: bool,
    exchange: String,
    /// When the expiry was last renewed; `None` while there is no list.
    refreshed: Mutex<Option<Instant>>,
    last_published: Mutex<Option<Instant>>,
    taken: Arc<Taken>,
}

/// Replies that are off the list and not yet handed out. Its own task fills it, so that a caller who gives up in between
/// finds them later.
#[derive(Default)]
struct Taken {
    gate: tokio::sync::Mutex<()>,
    frames: Mutex<VecDeque<Frame>>,
}

impl Replies {
    pub(super) fn new(session: Arc<Session>, topology: &Topology) -> Self {
        let queue = topology.reply_queue(&Uuid::new_v4().to_string());
        Self {
            session,
            key: topology.reply_key(&queue),
            queue,
            channels: std::iter::once(topology.control_channel())
                .chain(topology.older_control_channel())
                .collect(),
            everywhere: topology.sentinel().fanout_compat,
            exchange: topology.control_exchange(),
            refreshed: Mutex::new(None),
            last_published: Mutex::new(None),
            taken: Arc::default(),
        }
    }

    pub(super) fn queue(&self) -> &str {
        &self.queue
    }

    /// Makes sure of the list, then publishes: all or nothing.
    pub(super) async fn publish(
        &self,
        message: &ControlMessage,
    ) -> Result<Published, TransportError> {
        let tag = Uuid::new_v4().to_string();
        let envelope = encode_envelope(message, &self.exchange, "", &tag);
        let speaker = self.session.speaker().await?;
        // From here on a list may be there, whether we learn of it or not.
        let now = Instant::now();
        *self.refreshed.lock() = Some(now);
        *self.last_published.lock() = Some(now);
        let send = async |channels: &[String]| {
            let commands = self.publishing(channels, &envelope);
            let sent = speaker.ask_all("PUBLISH", &commands).await;
            sent.map_err(unsure)
        };
        let reached: Vec<u64> = match send(&self.channels).await {
            // An ACL user may be let to one channel only. What was refused has not gone out.
            Err(TransportError::Forbidden { .. }) if self.channels.len() > 1 => {
                send(&self.channels[..1]).await?
            }
            sent => sent?,
        };
        let subscribers = if self.everywhere {
            reached.into_iter().max()
        } else {
            Some(reached.into_iter().sum())
        };
        Ok(Published { subscribers })
    }

    /// In one transaction: the list made sure of, then the request, to every channel with the same tag, by which a worker
    /// that listens at several knows it again.
    fn publishing(&self, channels: &[String], envelope: &[u8]) -> Pipeline {
        let mut commands = redis::pipe();
        commands.atomic();
        self.hold(&mut commands);
        for channel in channels {
            commands.cmd("PUBLISH").arg(channel).arg(envelope);
        }
        commands
    }

    /// Puts our element at the tail, once, and renews the expiry.
    fn hold(&self, commands: &mut Pipeline) {
        commands
            .cmd("LREM")
            .arg(&self.key)
            .arg(-1)
            .arg(SENTINEL)
            .ignore();
        self.close_tail(commands);
    }

    fn close_tail(&self, commands: &mut Pipeline) {
        commands.cmd("RPUSH").arg(&self.key).arg(SENTINEL).ignore();
        commands
            .cmd("EXPIRE")
            .arg(&self.key)
            .arg(REPLY_LIFE_SECONDS)
            .ignore();
    }

    /// Takes the oldest replies. Cancelled in between, they come with the next call.
    pub(super) async fn take(&self) -> Result<Vec<Frame>, TransportError> {
        if self.refreshed.lock().is_some() {
            let speaker = self.session.speaker().await?;
            let commands = self.taking();
            let taken = Arc::clone(&self.taken);
            let reading = tokio::spawn(async move {
                let _one_at_a_time = taken.gate.lock().await;
                let (tail, newest_first): (Option<Vec<u8>>, Vec<Vec<u8>>) =
                    speaker.ask_all("LRANGE", &commands).await?;
                // The tail is a reply when the list had expired and a worker made it anew.
                let tail = tail.filter(|tail| tail != SENTINEL.as_bytes());
                let oldest_first = tail.into_iter().chain(newest_first.into_iter().rev());
                taken
                    .frames
                    .lock()
                    .extend(oldest_first.map(|reply| Frame::Envelope(reply.into())));
                Ok(())
            });
            // It does not panic, and ends early only with the runtime.
            reading.await.unwrap_or(Ok(()))?;
            *self.refreshed.lock() = Some(Instant::now());
        }
        Ok(self.taken.frames.lock().drain(..).collect())
    }

    /// In one transaction: our element off, the oldest replies read and cut off, our element on again.
    fn taking(&self) -> Pipeline {
        let most = i64::try_from(TAKE_MAX).expect("a few hundred");
        let mut commands = redis::pipe();
        commands.atomic();
        commands.cmd("RPOP").arg(&self.key);
        commands.cmd("LRANGE").arg(&self.key).arg(-most).arg(-1);
        commands
            .cmd("LTRIM")
            .arg(&self.key)
            .arg(0)
            .arg(-most - 1)
            .ignore();
        self.close_tail(&mut commands);
        commands
    }

    /// Renews the expiry when it is time. A failure is left to the next command to tell.
    pub(super) async fn refresh_if_due(&self) {
        let due = self
            .refreshed
            .lock()
            .is_some_and(|at| at.elapsed() >= REFRESH_EVERY);
        if !due {
            return;
        }
        let mut commands = redis::pipe();
        commands.atomic();
        self.hold(&mut commands);
        if let Ok(speaker) = self.session.speaker().await
            && speaker.ask_all::<Value>("EXPIRE", &commands).await.is_ok()
        {
            *self.refreshed.lock() = Some(Instant::now());
        }
    }

    /// Gives the list back: at once, or soon when replies may still be under way.
    pub(super) async fn retire(&self) {
        if self.refreshed.lock().take().is_none() {
            return;
        }
        let life = Duration::from_secs(REPLY_LIFE_SECONDS);
        let quiet = self
            .last_published
            .lock()
            .is_none_or(|at| at.elapsed() > life);
        let mut commands = redis::pipe();
        commands.atomic();
        if quiet {
            commands.cmd("DEL").arg(&self.key);
        } else {
            self.hold(&mut commands);
            commands
                .cmd("LTRIM")
                .arg(&self.key)
                .arg(-1)
                .arg(-1)
                .ignore();
            commands.cmd("EXPIRE").arg(&self.key).arg(LAST_LIFE_SECONDS);
        }
        let retired = match self.session.speaker().await {
            Ok(speaker) => speaker
                .ask_all::<Value>("EXPIRE", &commands)
                .await
                .map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = retired {
            tracing::debug!(%error, key = self.key, "the reply list is left to its expiry");
        }
    }
}
