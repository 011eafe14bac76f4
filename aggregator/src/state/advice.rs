//! What a person should change to see more, in plain words.

use super::app::{App, Watched};
use super::ids::{Micros, Symbol};
use super::input::Unread;
use super::worker::{EventsMode, Inspection, Worker, WorkerStatus};

/// Rounds without any answer before remote control counts as off.
const UNANSWERED_ROUNDS: u32 = 2;
/// How long a worker that answers may go without a worker event before heartbeats count as off: many times Celery's
/// heartbeat interval of 2 s.
const HEARTBEATS_EXPECTED_WITHIN: Micros = 60_000_000;

/// Celery sends every event of a pool of threads since this version.
const KEEPS_EVENTS_OF_THREADS: (u64, u64) = (5, 7);

/// One thing to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// Stable identifier in `SCREAMING_SNAKE_CASE`.
    pub code: &'static str,
    /// What is amiss and which setting to change, in a sentence.
    pub message: String,
    /// The worker it is about; `None` when it is about the app.
    pub worker: Option<Symbol>,
}

/// Nodes that a sentence names.
const NAMED_MAX: usize = 3;

/// Whether the workers that have never answered listen to remote control at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listening {
    /// The broker counts nobody beside those that answer.
    Nobody,
    /// It counts as many more as do not answer.
    All,
    /// It does not count, or something in between.
    Unknown,
}

impl App {
    /// All advice: that of the app, then that of each worker, in no order.
    pub fn advice(&self) -> Vec<Advice> {
        let listening = self.listening();
        let of_workers = self
            .workers
            .values()
            .flat_map(|watched| self.of_watched(watched, || listening));
        let unread = self.unread().map(|unread| Advice {
            code: "UNREADABLE_CONTENT",
            message: of_unread(unread),
            worker: None,
        });
        unread.chain(of_workers).collect()
    }

    /// The advice about one worker.
    pub fn advice_of(&self, worker: &str) -> Vec<Advice> {
        self.workers
            .get(worker)
            .map(|watched| self.of_watched(watched, || self.listening()))
            .unwrap_or_default()
    }

    fn unread(&self) -> impl Iterator<Item = &Unread> {
        self.report.iter().flat_map(|report| &report.rejections)
    }

    fn of_watched(&self, watched: &Watched, listening: impl Fn() -> Listening) -> Vec<Advice> {
        let worker = &watched.worker;
        if worker.status != WorkerStatus::Online {
            return Vec::new();
        }
        let found = [
            self.of_events(worker),
            of_threads(worker),
            self.of_control(worker, listening),
            self.of_heartbeats(worker),
        ];
        let advice = |(code, message)| Advice {
            code,
            message,
            worker: Some(worker.name.clone()),
        };
        found.into_iter().flatten().map(advice).collect()
    }

    fn of_events(&self, worker: &Worker) -> Option<(&'static str, String)> {
        let name = &worker.name;
        if let Some(unread) = self.unread_events(worker) {
            let reason = &unread.reason;
            return Some((
                "EVENTS_UNREADABLE",
                format!(
                    "{name} sends events that are not read: {reason}. Set `event_serializer = 'json'` in its app."
                ),
            ));
        }
        (worker.events == EventsMode::Off).then(|| {
            ("EVENTS_OFF", format!(
                "{name} runs tasks and sends no task events. Start it with `-E`, or set \
                 `worker_send_task_events = True`; `enable_events` switches them on until it restarts."
            ))
        })
    }

    /// Why its events are not read. One whose heartbeats are read has been set right since.
    fn unread_events(&self, worker: &Worker) -> Option<&Unread> {
        let sends = |unread: &&Unread| unread.senders.iter().any(|node| **node == *worker.name);
        self.unread()
            .find(sends)
            .filter(|_| worker.last_heartbeat.is_none())
    }

    fn of_control(
        &self,
        worker: &Worker,
        listening: impl Fn() -> Listening,
    ) -> Option<(&'static str, String)> {
        if !never_answered(worker) {
            return None;
        }
        let name = &worker.name;
        let answers = |unread: &&Unread| unread.repliers.iter().any(|node| **node == *worker.name);
        if let Some(unread) = self.unread().find(answers) {
            let reason = &unread.reason;
            return Some((
                "ANSWERS_UNREADABLE",
                format!(
                    "{name} gives answers that are not read: {reason}. Set `task_serializer = 'json'` in its app: workers \
                 answer in it."
                ),
            ));
        }
        Some(match listening() {
            Listening::Nobody => (
                "REMOTE_CONTROL_OFF",
                format!(
                    "{name} does not listen to remote control. Set `worker_enable_remote_control = True`; if it is, see that \
                 it uses the same `control_exchange`."
                ),
            ),
            Listening::All => (
                "CONTROL_REFUSED",
                format!(
                    "{name} listens to remote control and has answered no request: most likely it refuses JSON. Add 'json' \
                 to its `accept_content`, or inspect with `--control-serializer msgpack` or `yaml` if it takes those. (A `solo` worker answers only between two tasks.)"
                ),
            ),
            Listening::Unknown => (
                "REMOTE_CONTROL_OFF",
                format!(
                    "{name} has not answered a single request. Set `worker_enable_remote_control = True` if it is off; if it \
                 is on, add 'json' to `accept_content`, or inspect with the `--control-serializer` it takes, and see that it uses the same \
                 `control_exchange`."
                ),
            ),
        })
    }

    fn listening(&self) -> Listening {
        let subscribers = self
            .report
            .as_ref()
            .and_then(|report| report.control_subscribers);
        let Some(subscribers) = subscribers else {
            return Listening::Unknown;
        };
        let online = || {
            let workers = self.workers.values().map(|watched| &watched.worker);
            workers.filter(|worker| worker.status == WorkerStatus::Online)
        };
        let answer =
            |worker: &&Worker| worker.inspection.is_some() && worker.unanswered_rounds == 0;
        let answering = online().filter(answer).count() as u64;
        let mute = online().filter(|worker| never_answered(worker)).count() as u64;
        if subscribers <= answering {
            Listening::Nobody
        } else if subscribers >= answering + mute {
            Listening::All
        } else {
            Listening::Unknown
        }
    }

    fn of_heartbeats(&self, worker: &Worker) -> Option<(&'static str, String)> {
        let within = |since: Micros| self.now.saturating_sub(since) <= HEARTBEATS_EXPECTED_WITHIN;
        let answers = worker.inspection.is_some() && worker.unanswered_rounds == 0;
        let lives = answers || within(worker.last_seen);
        let waited = !within(worker.incarnation_since) && self.subscription.is_live();
        let off = waited && lives && worker.last_heartbeat.is_none();
        (off && self.unread_events(worker).is_none()).then(|| {
            (
                "HEARTBEATS_OFF",
                format!(
                    "{} sends no heartbeats, so that its silence is noticed late. Start it without \
                 `--without-heartbeat`.",
                    worker.name
                ),
            )
        })
    }
}

/// `EventDispatcher.flush` of Celery before 5.7 empties its buffer once it is sent, and with it what the pool's threads have
/// put there meanwhile.
fn of_threads(worker: &Worker) -> Option<(&'static str, String)> {
    let pool = worker.inspection.as_deref().and_then(Inspection::pool);
    let version = worker.sw_ver.as_deref()?;
    let loses = pool == Some("threads")
        && worker.events == EventsMode::On
        && worker.is_before(KEEPS_EVENTS_OF_THREADS);
    loses.then(|| {
        (
            "THREADS_LOSE_EVENTS",
            format!(
                "{} loses some of its task events: in the threads pool Celery {version} throws away what threads add while \
                 it sends, so that tasks stay unfinished here until the worker is asked. Upgrade to Celery 5.7, or use the \
                 prefork pool.",
                worker.name
            ),
        )
    })
}

fn never_answered(worker: &Worker) -> bool {
    worker.inspection.is_none() && worker.unanswered_rounds >= UNANSWERED_ROUNDS
}

/// What was not read, from whom, and what to do.
fn of_unread(unread: &Unread) -> String {
    let Unread { reason, count, .. } = unread;
    let mut nodes: Vec<&str> = Vec::new();
    for node in unread.senders.iter().chain(&unread.repliers) {
        if !nodes.contains(&&**node) {
            nodes.push(node);
        }
    }
    let from = match nodes.len() {
        0 => String::new(),
        few if few <= NAMED_MAX => format!(" from {}", nodes.join(", ")),
        many => format!(
            " from {} and {} more",
            nodes[..NAMED_MAX].join(", "),
            many - NAMED_MAX
        ),
    };
    let settings = match (unread.senders.is_empty(), unread.repliers.is_empty()) {
        (false, true) => "`event_serializer = 'json'`",
        (true, false) => "`task_serializer = 'json'`, which workers answer in,",
        _ => "`event_serializer` and `task_serializer` to 'json'",
    };
    let other = if nodes.is_empty() {
        ", and remove whoever else publishes to the event exchange"
    } else {
        ""
    };
    format!("{count} messages{from} were not read: {reason}. Set {settings} in that app{other}.")
}
