//! What a person should change to see more, in plain words.

use super::app::{App, Watched};
use super::ids::{Micros, Symbol};
use super::worker::{EventsMode, Worker, WorkerStatus};

/// Rounds without any answer before remote control counts as off.
const UNANSWERED_ROUNDS: u32 = 2;
/// How long a worker that answers may go without a worker event before heartbeats count as off: many times Celery's
/// heartbeat interval of 2 s.
const HEARTBEATS_EXPECTED_WITHIN: Micros = 60_000_000;

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

impl App {
    /// All advice: that of the app, then that of each worker, in no order.
    pub fn advice(&self) -> Vec<Advice> {
        let rejections = self.report.iter().flat_map(|report| &report.rejections);
        let unreadable = rejections.map(|(reason, count, _)| Advice {
            code: "UNREADABLE_CONTENT",
            message: format!(
                "{count} messages or events were not read: {reason}. Set `event_serializer` and \
                 `result_serializer` to json, and remove whoever else publishes to the event exchange."
            ),
            worker: None,
        });
        let of_workers = self
            .workers
            .values()
            .flat_map(|watched| self.of_watched(watched));
        unreadable.chain(of_workers).collect()
    }

    /// The advice about one worker.
    pub fn advice_of(&self, worker: &str) -> Vec<Advice> {
        self.workers
            .get(worker)
            .map(|watched| self.of_watched(watched))
            .unwrap_or_default()
    }

    fn of_watched(&self, watched: &Watched) -> Vec<Advice> {
        let worker = &watched.worker;
        if worker.status != WorkerStatus::Online {
            return Vec::new();
        }
        let name = &worker.name;
        let found = [
            (worker.events == EventsMode::Off).then(|| {
                ("EVENTS_OFF", format!(
                    "{name} runs tasks and sends no task events. Start it with `-E`, or set \
                     `worker_send_task_events = True`; `enable_events` switches them on until it restarts."
                ))
            }),
            remote_control_off(worker).then(|| {
                ("REMOTE_CONTROL_OFF", format!(
                    "{name} sends events and has not answered a single request. Set \
                     `worker_enable_remote_control = True`; if it is, see that it uses the same \
                     `control_exchange`."
                ))
            }),
            self.heartbeats_off(worker).then(|| {
                ("HEARTBEATS_OFF", format!(
                    "{name} answers and sends no heartbeats, so that its silence is noticed late. Start it \
                     without `--without-heartbeat`."
                ))
            }),
        ];
        let advice = |(code, message)| Advice {
            code,
            message,
            worker: Some(worker.name.clone()),
        };
        found.into_iter().flatten().map(advice).collect()
    }

    fn heartbeats_off(&self, worker: &Worker) -> bool {
        let waited = self.now.saturating_sub(worker.incarnation_since) > HEARTBEATS_EXPECTED_WITHIN;
        let answers = worker.inspection.is_some() && worker.unanswered_rounds == 0;
        self.subscription.is_live() && waited && answers && worker.last_heartbeat.is_none()
    }
}

fn remote_control_off(worker: &Worker) -> bool {
    worker.inspection.is_none() && worker.unanswered_rounds >= UNANSWERED_ROUNDS
}
