//! What the collector has done on the broker beside the subscription: requests, replies, depths, discovery. One of a kind
//! at a time; a failure is told once and tried again later.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use futures_util::stream::FuturesUnordered;

use super::{Collector, wall_micros};
use crate::collect::conversation::Outgoing;
use crate::collect::plan::Request;
use crate::transport::{DepthReading, Published, Transport, TransportError};
use crate::wire::message::Frame;
use crate::wire::pidbox::Method;

/// A failed publish is tried again after this at the latest.
const RETRY_MAX: Duration = Duration::from_mins(5);

/// A depth reading may take this share of the time: one that takes 0.5 s is made every 5 s.
const DEPTHS_SHARE: u32 = 10;

/// Something under way on the broker.
type Pending<'a> = Pin<Box<dyn Future<Output = Errand> + Send + 'a>>;

/// Everything under way.
pub(super) type Running<'a> = FuturesUnordered<Pending<'a>>;

/// Something done.
pub(super) enum Errand {
    /// A request was published, or not.
    Published {
        request: Request,
        number: u64,
        result: Result<Published, TransportError>,
    },
    /// Replies were fetched.
    Replies(Result<Vec<Frame>, TransportError>),
    /// Depths were read.
    Depths {
        result: Result<DepthReading, TransportError>,
        took: Duration,
    },
    /// Queues were discovered.
    Queues(Result<Vec<String>, TransportError>),
    /// A command was published, or not.
    Commanded {
        number: u64,
        method: Method,
        at_micros: i64,
        result: Result<Published, TransportError>,
    },
    /// Outcomes were looked up.
    Results {
        task_ids: Vec<String>,
        result: Result<Option<Vec<Vec<u8>>>, TransportError>,
    },
    /// The server said what it is.
    Version(Result<String, TransportError>),
}

/// When each is due. `None` while one is under way.
#[derive(Debug)]
pub(super) struct Errands {
    publishing: bool,
    failed_publishes: u32,
    replies: Option<Instant>,
    depths: Option<Instant>,
    discovery: Option<Instant>,
    /// Queues were discovered once, or could not be. Before, a reading would tell of queues that are gone.
    discovered: bool,
    version: Option<Instant>,
    version_wanted: bool,
    /// The latest failure of each kind, so that one that lasts is told once.
    failures: [Option<String>; 6],
}

impl Errands {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            publishing: false,
            failed_publishes: 0,
            replies: Some(now),
            depths: Some(now),
            discovery: Some(now),
            discovered: false,
            version: Some(now),
            version_wanted: true,
            failures: [const { None }; 6],
        }
    }

    /// The broker is there, maybe another one than before.
    pub(super) fn on_live(&mut self, now: Instant) {
        self.version_wanted = true;
        for due in [&mut self.depths, &mut self.version].into_iter().flatten() {
            *due = now;
        }
    }

    pub(super) fn is_publishing(&self) -> bool {
        self.publishing
    }

    /// When replies are looked for next, while any are awaited.
    pub(super) fn replies_due(&self) -> Option<Instant> {
        self.replies
    }

    /// Replies may be there from `at` on.
    pub(super) fn look_for_replies(&mut self, at: Instant) {
        self.replies = self.replies.map(|due| due.min(at));
    }

    /// When anything else is due; nothing without a connection.
    pub(super) fn due(&self, reachable: bool) -> Option<Instant> {
        let version = self.version.filter(|_| self.version_wanted);
        let depths = self.depths.filter(|_| self.discovered);
        let dues = [depths, self.discovery, version];
        dues.into_iter().flatten().min().filter(|_| reachable)
    }

    /// Notes how an errand ended; a failure is logged when it is another than the last of its kind.
    fn told<V>(&mut self, kind: Kind, result: &Result<V, TransportError>) {
        let failure = result.as_ref().err().map(ToString::to_string);
        let last = &mut self.failures[kind as usize];
        if *last == failure {
            return;
        }
        if let Some(error) = &failure {
            tracing::warn!(error, "cannot {}; trying again", kind.what());
        } else {
            tracing::info!("could {} again", kind.what());
        }
        *last = failure;
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Publish,
    Replies,
    Depths,
    Queues,
    Version,
    Results,
}

impl Kind {
    fn what(self) -> &'static str {
        match self {
            Self::Publish => "publish control requests",
            Self::Replies => "read replies of workers",
            Self::Depths => "read queue depths",
            Self::Queues => "discover queues",
            Self::Version => "ask the server for its version",
            Self::Results => "read the result backend",
        }
    }
}

/// Whether `due` has come; it is taken then.
fn take_due(due: &mut Option<Instant>, now: Instant) -> bool {
    due.take_if(|at| *at <= now).is_some()
}

impl Collector {
    /// Begins what is due.
    pub(super) fn errands<'a, T: Transport>(
        &mut self,
        now: Instant,
        transport: &'a T,
        running: &mut Running<'a>,
    ) {
        if self.poll_after(now).is_some() && take_due(&mut self.errands.replies, now) {
            running.push(Box::pin(async {
                Errand::Replies(transport.take_replies().await)
            }));
        }
        if !self.link.is_reachable() {
            return;
        }
        if !self.errands.publishing {
            self.publish(now, transport, running);
        }
        if self.errands.version_wanted && take_due(&mut self.errands.version, now) {
            running.push(Box::pin(async {
                Errand::Version(transport.server_version().await)
            }));
        }
        if take_due(&mut self.errands.discovery, now) {
            running.push(Box::pin(async {
                Errand::Queues(transport.discover_queues().await)
            }));
        }
        if self.errands.discovered && take_due(&mut self.errands.depths, now) {
            let queues = self.queues.all().to_vec();
            running.push(Box::pin(async move {
                let started = super::now();
                let result = transport.depths(&queues).await;
                Errand::Depths {
                    result,
                    took: super::now().duration_since(started),
                }
            }));
        }
    }

    /// How long after the last look replies are looked for again; `None` when none is awaited.
    pub(super) fn poll_after(&self, now: Instant) -> Option<Duration> {
        let asked = (!self.conversations.is_empty()).then_some(self.pace.reply_poll);
        let commanded = self.commands.poll_after(now);
        asked.into_iter().chain(commanded).min()
    }

    /// Begins the next request of the plan, if any.
    fn publish<'a, T: Transport>(
        &mut self,
        now: Instant,
        transport: &'a T,
        running: &mut Running<'a>,
    ) {
        let awaited = self.conversations.awaited();
        let Some(request) = self.plan.next(now, &mut self.roster, awaited) else {
            return;
        };
        let wait = self.pace.reply_wait;
        if request.only_counts() {
            let message = request.message().encode(self.serializer, 0.0);
            self.errands.publishing = true;
            running.push(Box::pin(async move {
                let result = transport.publish_control(&message).await;
                Errand::Published {
                    request,
                    number: 0,
                    result,
                }
            }));
            return;
        }
        let asked =
            self.conversations
                .ask(now, request.question, request.destination.clone(), wait);
        let Ok(Outgoing { number, ticket, .. }) = asked else {
            let again = now + self.pace.retry;
            self.plan.on_unpublished(&mut self.roster, &request, again);
            return;
        };
        let wall = wall_micros();
        self.looks.on_asked(&request, number, wall);
        let message = request
            .message()
            .reply_to(transport.reply_queue(), &ticket)
            .encode(self.serializer, seconds(wall) + wait.as_secs_f64());
        self.errands.publishing = true;
        running.push(Box::pin(async move {
            let result = transport.publish_control(&message).await;
            Errand::Published {
                request,
                number,
                result,
            }
        }));
    }

    /// Takes in what was done.
    pub(super) fn on_errand(&mut self, errand: Errand) {
        let now = super::now();
        match errand {
            Errand::Published {
                request,
                number,
                result,
            } => {
                self.errands.told(Kind::Publish, &result);
                self.errands.publishing = false;
                match result {
                    Ok(published) => self.on_published(now, &request, number, published),
                    Err(_) => self.on_unpublished(now, &request, number),
                }
            }
            Errand::Replies(result) => {
                self.errands.told(Kind::Replies, &result);
                let more = result.as_ref().is_ok_and(|frames| !frames.is_empty());
                self.on_replies(now, &result.unwrap_or_default());
                let pause = match self.poll_after(now) {
                    Some(pause) if !more => pause,
                    Some(_) | None => Duration::ZERO,
                };
                self.errands.replies = Some(now + pause);
            }
            Errand::Depths { result, took } => {
                self.errands.told(Kind::Depths, &result);
                self.errands.depths = Some(now + self.pace.depths.max(took * DEPTHS_SHARE));
                if let Ok(reading) = result {
                    self.pending.depths = Some(reading);
                }
            }
            Errand::Queues(result) => {
                self.errands.told(Kind::Queues, &result);
                self.errands.discovered = true;
                let pause = if result.is_ok() {
                    self.pace.discovery
                } else {
                    self.pace.retry
                };
                self.errands.discovery = Some(now + pause);
                if let Ok(names) = result {
                    self.queues.on_discovered(now, names);
                    // Known at once, not at the next reading.
                    self.errands.depths = self.errands.depths.map(|due| due.min(now));
                }
            }
            Errand::Commanded {
                number,
                method,
                at_micros,
                result,
            } => self.on_commanded(now, number, &method, at_micros, result),
            Errand::Results { task_ids, result } => {
                self.errands.told(Kind::Results, &result);
                self.on_results(task_ids, result);
            }
            Errand::Version(result) => {
                self.errands.told(Kind::Version, &result);
                self.errands.version = Some(now + self.pace.retry);
                self.errands.version_wanted = result.is_err();
                if let Ok(version) = result {
                    self.report_due = now;
                    self.server_version = Some(version);
                }
            }
        }
    }

    fn on_published(&mut self, now: Instant, request: &Request, number: u64, published: Published) {
        self.errands.failed_publishes = 0;
        let reached = published.subscribers.unwrap_or(request.charged);
        self.metrics.on_request(request.question.command(), reached);
        self.plan.on_published(now, request, published.subscribers);
        self.errands.look_for_replies(now + self.pace.reply_poll);
        let ended = self
            .conversations
            .on_published(number, published.subscribers);
        if let Some(ended) = ended {
            self.on_ended(now, &ended);
        }
    }

    fn on_unpublished(&mut self, now: Instant, request: &Request, number: u64) {
        let failed = self.errands.failed_publishes.min(16);
        self.errands.failed_publishes = failed + 1;
        let pause = (self.pace.retry * 2u32.pow(failed)).min(RETRY_MAX);
        self.conversations.abandon(number);
        self.looks.on_ended(number, request.question, &[]);
        for seen in self.looks.abandon(request.look) {
            self.on_seen(now, seen);
        }
        self.plan
            .on_unpublished(&mut self.roster, request, now + pause);
    }
}

/// Microseconds as seconds; kombu's `expires` is a float.
#[expect(
    clippy::cast_precision_loss,
    reason = "a microsecond more or less does not matter"
)]
pub(super) fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}
