//! The collector: one task that owns what is known of an app's workers, reads a broker's events, and asks within the
//! plan. It decides nothing itself: the values beside it do.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::commands::Commands;
use super::conversation::Conversations;
use super::intake::Intake;
use super::link::Link;
use super::look::Looks;
use super::observation::{Observation, Report};
use super::order::Order;
use super::plan::{Limits, Plan};
use super::queues::Queues;
use super::roster::Roster;
use crate::metrics::Metrics;
use crate::transport::{Incoming, Subscription, Transport};
use crate::wire::content::Serializer;
use crate::wire::message::Opener;

mod errands;
mod orders;
mod replies;
#[cfg(test)]
mod tests;

use errands::Errands;

/// Messages taken from the subscription at once.
const INBOX: usize = 1_024;

/// Messages after which other work gets its turn, whatever still waits.
const DRAIN_MAX: usize = 16 * INBOX;

/// A turn that begins this much after its time was not late by load: the process, or its host, stood still. Brokers give up
/// readers that stand still for a minute, or less when much comes.
const PAUSED_AFTER: Duration = Duration::from_secs(2);

/// How often workers that were not seen for long are looked for.
const FORGET_EVERY: Duration = Duration::from_mins(1);

/// Times that tests shorten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How long replies to a request are waited for: prefork workers answer in milliseconds, a loaded host in seconds.
    pub reply_wait: Duration,
    /// Time between two looks for replies, while any are awaited.
    pub reply_poll: Duration,
    /// Time between two depth readings: most of what passes between a message and a worker that is asked for because of it.
    pub depths: Duration,
    /// Time between two discoveries of queues.
    pub discovery: Duration,
    /// Time between two reports that say nothing new.
    pub report: Duration,
    /// Time after the first failed publish until the next; doubled up to five minutes.
    pub retry: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            reply_wait: Duration::from_secs(10),
            reply_poll: Duration::from_millis(150),
            depths: Duration::from_secs(1),
            discovery: Duration::from_mins(5),
            report: Duration::from_secs(5),
            retry: Duration::from_secs(5),
        }
    }
}

/// Why a collector stopped by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CollectError {
    /// The transport ended the subscription without being told to.
    #[error("the event subscription ended by itself")]
    SubscriptionEnded,
    /// Nobody takes observations any more.
    #[error("nobody takes what is observed")]
    Unwanted,
}

/// Reads and asks; made anew for each time the inspector is active.
#[derive(Debug)]
pub struct Collector {
    pace: Pace,
    serializer: Serializer,
    plan: Plan,
    roster: Roster,
    conversations: Conversations,
    commands: Commands,
    /// The command that is being published.
    commanding: Option<String>,
    looks: Looks,
    queues: Queues,
    intake: Intake,
    link: Link,
    opener: Opener,
    errands: Errands,
    /// What goes with the next batch.
    pending: Observation,
    server_version: Option<String>,
    report_due: Instant,
    forget_due: Instant,
    /// When it has to turn next.
    turn_due: Instant,
    /// When it began to wait for that, in microseconds since the Unix epoch.
    turned_micros: i64,
    metrics: Metrics,
    out: mpsc::Sender<Observation>,
}

impl Collector {
    /// A collector that hands what it sees to `out`. `pinged` is when this process last broadcast a ping.
    pub fn new(
        limits: Limits,
        pace: Pace,
        pinged: Option<Instant>,
        metrics: Metrics,
        out: mpsc::Sender<Observation>,
    ) -> Self {
        let now = now();
        let prefix = uuid::Uuid::new_v4().to_string();
        Self {
            pace,
            serializer: limits.serializer,
            plan: Plan::new(now, limits, pinged, fastrand::u64(..)),
            roster: Roster::new(),
            conversations: Conversations::new(prefix.clone()),
            commands: Commands::new(prefix),
            commanding: None,
            looks: Looks::new(),
            queues: Queues::new(),
            intake: Intake::new(),
            link: Link::new(wall_micros()),
            opener: Opener::default(),
            errands: Errands::new(now),
            pending: Observation::default(),
            server_version: None,
            report_due: now,
            forget_due: now + FORGET_EVERY,
            turn_due: now,
            turned_micros: wall_micros(),
            metrics,
            out,
        }
    }

    /// When a ping was last broadcast, for the next collector of this process.
    pub fn pinged(&self) -> Option<Instant> {
        self.plan.pinged()
    }

    /// Collects, and does what is ordered, until `stop`; then hands on what it holds. The caller closes the transport.
    ///
    /// # Errors
    /// When the subscription ends by itself, or nobody takes observations.
    pub async fn run<T: Transport>(
        &mut self,
        transport: &T,
        orders: &mut mpsc::Receiver<Order>,
        stop: CancellationToken,
    ) -> Result<(), CollectError> {
        let mut incoming = transport.subscribe(stop.clone());
        let mut inbox = Vec::with_capacity(INBOX);
        let mut errands = FuturesUnordered::new();
        self.expect_turn(now());
        let ended = loop {
            let now = now();
            self.on_time(now);
            self.errands(now, transport, &mut errands);
            if self.flush_due(now) {
                self.drain(&mut incoming, &mut inbox).await?;
                self.flush(now).await?;
            }
            let wake = self.wakes_at(now).max(now + Duration::from_millis(1));
            self.expect_turn(wake);
            tokio::select! {
                biased;
                () = stop.cancelled() => break Ok(()),
                Some(errand) = errands.next(), if !errands.is_empty() => self.on_errand(errand),
                Some(order) = orders.recv(), if self.commanding.is_none() => {
                    self.on_order(self::now(), order, transport, &mut errands);
                }
                // Once a batch is begun the rest is taken when it is due: one waking for many messages.
                read = incoming.recv_many(&mut inbox, INBOX), if !self.intake.is_begun() =>
                {
                    if read == 0 {
                        break Err(CollectError::SubscriptionEnded);
                    }
                    self.take(&mut inbox).await?;
                }
                () = tokio::time::sleep_until(wake.into()) => {}
            }
            self.notice_pause();
        };
        self.metrics.subscription_live.set(0);
        self.refuse(orders);
        // What was received before the stop is handed on.
        if ended.is_ok() {
            self.drain(&mut incoming, &mut inbox).await?;
        }
        self.flush(self::now()).await?;
        ended
    }

    /// Takes what waits in the subscription, as far as other work allows.
    async fn drain(
        &mut self,
        incoming: &mut Subscription,
        inbox: &mut Vec<Incoming>,
    ) -> Result<(), CollectError> {
        let mut drained = 0;
        while drained < DRAIN_MAX {
            match incoming.take_many(inbox, INBOX) {
                0 => break,
                taken => drained += taken,
            }
            self.take(inbox).await?;
        }
        Ok(())
    }

    async fn take(&mut self, inbox: &mut Vec<Incoming>) -> Result<(), CollectError> {
        // First: what is read now may tell of a loss that began in the pause.
        self.notice_pause();
        let now = now();
        for incoming in inbox.drain(..) {
            self.on_incoming(now, incoming);
            if self.intake.is_full() {
                self.flush(now).await?;
            }
        }
        Ok(())
    }

    fn expect_turn(&mut self, due: Instant) {
        self.turn_due = due;
        self.turned_micros = wall_micros();
    }

    /// Sees by its own lateness whether this process stood still.
    fn notice_pause(&mut self) {
        let now = now();
        let late = now.saturating_duration_since(self.turn_due);
        if late > PAUSED_AFTER {
            tracing::warn!(
                seconds = late.as_secs(),
                "this process stood still, or was held up"
            );
            self.link.on_pause(self.turned_micros, wall_micros());
            self.expect_turn(now);
        }
    }

    fn on_incoming(&mut self, now: Instant, incoming: Incoming) {
        match incoming {
            Incoming::Message {
                frame,
                received_micros,
                receipt,
            } => {
                self.link.on_message(received_micros);
                self.on_message(now, &frame, received_micros);
                self.intake.owes(receipt);
            }
            Incoming::Live { at_micros, kept } => self.on_live(now, at_micros, kept),
            Incoming::Lost {
                at_micros,
                error,
                kept,
            } => {
                self.metrics.subscription_live.set(0);
                if let Some(loss) = self.link.on_lost(at_micros, &error, kept) {
                    let reason = self.link.reason();
                    tracing::warn!(reason, "events are not received; trying again");
                    self.report_due = now;
                    // Counted when it ends.
                    self.pending.gaps.extend(loss.gap);
                }
            }
            Incoming::Dropped {
                messages,
                from_micros,
                to_micros,
            } => {
                tracing::warn!(
                    messages,
                    "messages were dropped: they came faster than they were read"
                );
                self.metrics.dropped.inc_by(messages.unwrap_or_default());
                let gap = self.link.on_dropped(messages, from_micros, to_micros);
                self.on_gap(gap);
                self.plan.on_repair(now, &mut self.roster);
            }
        }
    }

    fn on_message(&mut self, now: Instant, frame: &crate::wire::message::Frame, micros: i64) {
        let Self {
            intake,
            queues,
            roster,
            plan,
            ..
        } = self;
        intake.on_message(frame, micros, |event| {
            if event.event_type == "task-sent" {
                if let Some(queue) = &event.queue {
                    queues.on_sent(now, queue);
                }
                return;
            }
            let sighting = roster.on_event(now, event);
            plan.on_sighting(now, roster, &event.hostname, sighting);
        });
        if let Some(node) = self.intake.take_unread() {
            let sighting = self.roster.on_unread(now, &node);
            self.plan
                .on_sighting(now, &mut self.roster, &node, sighting);
        }
    }

    fn on_live(&mut self, now: Instant, at_micros: i64, kept: bool) {
        self.metrics.subscription_live.set(1);
        let revival = self.link.on_live(at_micros, kept);
        tracing::info!(kept, "events are received");
        if let Some(gap) = revival.gap {
            self.on_gap(gap);
            self.plan.on_repair(now, &mut self.roster);
        }
        self.errands.on_live(now);
        self.report_due = now;
    }

    fn on_gap(&mut self, gap: super::Gap) {
        self.metrics.on_gap(gap.cause);
        self.pending.gaps.push(gap);
    }

    /// Does what only time demands.
    fn on_time(&mut self, now: Instant) {
        for ended in self.conversations.on_deadline(now) {
            self.on_ended(now, &ended);
        }
        if now >= self.forget_due {
            self.forget_due = now + FORGET_EVERY;
            self.commands.forget(now);
            for node in self.roster.forget(now) {
                self.queues.on_forgotten(&node);
            }
        }
        if now >= self.report_due {
            self.report_due = now + self.pace.report;
            self.pending.report = Some(self.report());
        }
    }

    fn report(&self) -> Report {
        let rejections = self.intake.rejections();
        self.metrics.on_rejections(rejections);
        self.metrics.on_overlooked_workers(self.roster.overflow());
        Report {
            time_micros: wall_micros(),
            live: self.link.is_live(),
            since_micros: self.link.since_micros(),
            unreachable_reason: self.link.reason().map(str::to_owned),
            kept: self.link.is_kept(),
            server_version: self.server_version.clone(),
            messages: self.intake.messages(),
            events: self.intake.events(),
            rejections: rejections.iter().cloned().collect(),
            control_subscribers: self.plan.subscribers(),
            silent_nodes: self.roster.silent(),
        }
    }

    fn flush_due(&self, now: Instant) -> bool {
        !self.pending.is_empty() || self.intake.due(now).is_some_and(|due| due <= now)
    }

    async fn flush(&mut self, now: Instant) -> Result<(), CollectError> {
        let mut observation = self.intake.flush(now);
        let pending = std::mem::take(&mut self.pending);
        observation.snapshots = pending.snapshots;
        observation.depths = pending.depths;
        observation.gaps = pending.gaps;
        observation.report = pending.report;
        observation.commands = pending.commands;
        observation.results = pending.results;
        if observation.is_empty() {
            return Ok(());
        }
        self.metrics.messages.inc_by(observation.messages);
        self.metrics.events.inc_by(observation.events.len() as u64);
        self.out
            .send(observation)
            .await
            .map_err(|_| CollectError::Unwanted)
    }

    /// When there is something to do without anything happening.
    fn wakes_at(&self, now: Instant) -> Instant {
        let plan = self
            .link
            .is_reachable()
            .then(|| self.plan.wakes_at().unwrap_or(now));
        let polls = self.poll_after(now).map(|_| self.errands.replies_due());
        [
            Some(self.report_due),
            Some(self.forget_due),
            self.intake.due(now),
            self.conversations.next_deadline(),
            self.errands.due(self.link.is_reachable()),
            // While a request is being published, its end wakes the plan.
            plan.filter(|_| !self.errands.is_publishing()),
            polls.flatten(),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(self.report_due)
    }
}

/// The monotonic time, the one that tokio's timers go by.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Microseconds since the Unix epoch.
fn wall_micros() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
