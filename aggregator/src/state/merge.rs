//! How an event changes a task: `celery.events.state.Task.event`, with the first of the named differences.

use super::ids::Symbol;
use super::input::{TaskEvent, TaskEventKind};
use super::interner::Interner;
use super::task::{Payload, Revocation, Task, TaskState};

/// Celery's prefix of task events; types without it are not folded by `celery.events.state`.
const TASK_PREFIX: &str = "task-";

/// The texts of a payload; what was replaced in them is noted with them.
const TEXTS: [&str; 5] = ["args", "kwargs", "result", "exception", "traceback"];
/// Fields named as sanitized; an event has at most 32 custom ones.
const SANITIZED_MAX: usize = 40;

impl Task {
    /// Takes in an event of this task. `late_retry`: it is a `task-retried` older than the final event, or of an
    /// attempt before the one that ended the task; such a one only leaves its time.
    ///
    /// A `null` cannot be told from an absent field here. It makes no difference with what Celery sends: every type always
    /// has the same fields, and those that can be `null` are replaced whole.
    pub(super) fn merge(&mut self, event: &mut TaskEvent, late_retry: bool, names: &mut Interner) {
        self.set_time(event.kind, event.timestamp);
        if late_retry {
            return;
        }
        let Some(state) = self.state_by(event, names) else {
            self.copy_fields(event, names);
            return;
        };
        // As there: "this state logically happens-before the current state, so merge".
        let late = state != TaskState::Retry
            && self.state != TaskState::Retry
            && state.precedence() > self.state.precedence();
        if late && state == TaskState::Received {
            self.copy_request(event, names);
            return;
        }
        if !late {
            self.state = state;
        }
        // A late event that is not `task-received` brings its timestamp along, as every field.
        if event.timestamp.is_some() {
            self.timestamp = event.timestamp;
        }
        self.copy_fields(event, names);
    }

    fn set_time(&mut self, kind: TaskEventKind, time: Option<f64>) {
        let place = match kind {
            TaskEventKind::Sent => &mut self.sent,
            TaskEventKind::Received => &mut self.received,
            TaskEventKind::Started => &mut self.started,
            TaskEventKind::Succeeded => &mut self.succeeded,
            TaskEventKind::Failed => &mut self.failed,
            TaskEventKind::Retried => &mut self.retried,
            TaskEventKind::Revoked => &mut self.revoked,
            TaskEventKind::Rejected => &mut self.rejected,
            TaskEventKind::Custom => return,
        };
        if time.is_some() {
            *place = time;
        }
    }

    fn state_by(&self, event: &TaskEvent, names: &mut Interner) -> Option<TaskState> {
        Some(match event.kind {
            TaskEventKind::Sent => TaskState::Pending,
            TaskEventKind::Received => TaskState::Received,
            TaskEventKind::Started => TaskState::Started,
            TaskEventKind::Succeeded => TaskState::Success,
            TaskEventKind::Failed => TaskState::Failure,
            TaskEventKind::Retried => TaskState::Retry,
            TaskEventKind::Revoked => TaskState::Revoked,
            TaskEventKind::Rejected => TaskState::Rejected,
            TaskEventKind::Custom => {
                let subject = event.event_type.strip_prefix(TASK_PREFIX)?;
                match &self.state {
                    TaskState::Custom(known)
                        if subject.is_ascii() && known.eq_ignore_ascii_case(subject) =>
                    {
                        TaskState::Custom(known.clone())
                    }
                    _ => custom_state(subject, names),
                }
            }
        })
    }

    fn copy_fields(&mut self, event: &mut TaskEvent, names: &mut Interner) {
        let places = [
            (&mut self.queue, event.queue.take()),
            (&mut self.exchange, event.exchange.take()),
            (&mut self.routing_key, event.routing_key.take()),
        ];
        for (place, symbol) in places {
            if let Some(symbol) = symbol {
                names.assign(place, symbol);
            }
        }
        if event.runtime.is_some() || event.kind == TaskEventKind::Succeeded {
            self.runtime = event.runtime;
        }
        match event.kind {
            TaskEventKind::Revoked => {
                self.revocation = Some(Revocation {
                    terminated: event.terminated.unwrap_or_default(),
                    signal: event.signum.take(),
                    expired: event.expired.unwrap_or_default(),
                });
            }
            TaskEventKind::Rejected => self.requeued = Some(event.requeue.unwrap_or_default()),
            TaskEventKind::Custom => self.payload.custom = std::mem::take(&mut event.custom),
            _ => {}
        }
        for name in event
            .sanitized
            .iter()
            .filter(|name| !TEXTS.contains(&&***name))
        {
            if self.payload.sanitized.len() < SANITIZED_MAX
                && !self.payload.sanitized.contains(name)
            {
                self.payload.sanitized.push(name.clone());
            }
        }
        self.copy_request(event, names);
    }

    /// The fields of a request, and every text.
    fn copy_request(&mut self, event: &mut TaskEvent, names: &mut Interner) {
        if let Some(name) = event.name.take() {
            names.assign(&mut self.name, name);
        }
        let whole = matches!(event.kind, TaskEventKind::Sent | TaskEventKind::Received);
        if whole || event.eta.is_some() {
            self.eta = event.eta;
        }
        if whole || event.expires.is_some() {
            self.expires = event.expires;
        }
        if whole || event.retries.is_some() {
            self.retries = event.retries;
        }
        if whole || event.root_id.is_some() {
            self.root_id = event.root_id.take();
        }
        // Of the first attempt it may be `null`; a retry has the task's own id.
        if whole || event.parent_id.is_some() {
            self.parent_id = event.parent_id.take();
        }
        let texts = [
            event.args.take(),
            event.kwargs.take(),
            event.result.take(),
            event.exception.take(),
            event.traceback.take(),
        ];
        for (field, text) in TEXTS.into_iter().zip(texts) {
            if let Some(text) = text {
                self.payload
                    .set(field, text, &event.truncated, &event.sanitized);
            }
        }
    }
}

fn custom_state(subject: &str, names: &mut Interner) -> TaskState {
    let name = subject.to_uppercase();
    TaskState::known(&name).unwrap_or_else(|| TaskState::Custom(names.intern(Symbol::from(name))))
}

impl Payload {
    /// Sets a text and what is known of how it was cut.
    fn set(
        &mut self,
        field: &'static str,
        text: Box<str>,
        truncated: &[(Box<str>, u64)],
        sanitized: &[Box<str>],
    ) {
        let place = match field {
            "args" => &mut self.args,
            "kwargs" => &mut self.kwargs,
            "result" => &mut self.result,
            "exception" => &mut self.exception,
            _ => &mut self.traceback,
        };
        if place.as_ref() != Some(&text) {
            *place = Some(text);
        }
        self.truncated.retain(|(name, _)| &**name != field);
        self.truncated.extend(
            truncated
                .iter()
                .filter(|(name, _)| &**name == field)
                .cloned(),
        );
        self.sanitized.retain(|name| &**name != field);
        self.sanitized
            .extend(sanitized.iter().filter(|name| &***name == field).cloned());
    }
}
