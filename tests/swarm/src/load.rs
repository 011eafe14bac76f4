//! Tasks of a simulated worker: which come when, and which events each makes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What a task does; most succeed.
const OUTCOMES: [(&[&str], &str); 10] = [
    (SUCCEEDS, "sim.add"),
    (SUCCEEDS, "sim.add"),
    (SUCCEEDS, "sim.add"),
    (SUCCEEDS, "sim.add"),
    (SUCCEEDS, "sim.mail"),
    (SUCCEEDS, "sim.mail"),
    (SUCCEEDS, "sim.mail"),
    (
        &["task-received", "task-started", "task-failed"],
        "sim.fail",
    ),
    (
        &[
            "task-received",
            "task-started",
            "task-retried",
            "task-received",
            "task-started",
            "task-succeeded",
        ],
        "sim.flaky",
    ),
    (&["task-received", "task-revoked"], "sim.expired"),
];
const SUCCEEDS: &[&str] = &["task-received", "task-started", "task-succeeded"];

/// Time between two events of a task at most.
const STEP_MAX: Duration = Duration::from_millis(400);

/// The next event of a task.
pub(crate) struct Step {
    pub(crate) id: String,
    pub(crate) name: &'static str,
    pub(crate) event: &'static str,
    /// How often it has been retried.
    pub(crate) retries: u32,
    rest: &'static [&'static str],
}

/// Tasks under way, by when their next event is due.
pub(crate) struct Load {
    chance: fastrand::Rng,
    per_second: f64,
    next_task: Option<Instant>,
    steps: BTreeMap<(Instant, u64), Step>,
    number: u64,
}

impl Load {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            chance: fastrand::Rng::with_seed(seed),
            per_second: 0.0,
            next_task: None,
            steps: BTreeMap::new(),
            number: 0,
        }
    }

    /// This many new tasks a second from now on.
    pub(crate) fn set(&mut self, now: Instant, per_second: f64) {
        self.per_second = per_second;
        self.next_task = (per_second > 0.0).then(|| now + self.pause());
    }

    /// Forgets what is under way.
    pub(crate) fn forget(&mut self) {
        self.steps.clear();
    }

    /// When there is something to do.
    pub(crate) fn due(&self) -> Option<Instant> {
        let step = self.steps.first_key_value().map(|((at, _), _)| *at);
        [step, self.next_task].into_iter().flatten().min()
    }

    /// What happens now, in order.
    pub(crate) fn steps(&mut self, now: Instant) -> Vec<Step> {
        if let Some(at) = self.next_task.filter(|at| *at <= now) {
            self.next_task = Some(at + self.pause());
            let (script, name) = OUTCOMES[self.chance.usize(..OUTCOMES.len())];
            self.push(now, String::new(), name, 0, script);
        }
        let mut due = Vec::new();
        while let Some(entry) = self.steps.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let step = entry.remove();
            let retries = step.retries + u32::from(step.event == "task-retried");
            self.push(now, step.id.clone(), step.name, retries, step.rest);
            due.push(step);
        }
        due
    }

    fn push(
        &mut self,
        now: Instant,
        id: String,
        name: &'static str,
        retries: u32,
        script: &'static [&'static str],
    ) {
        let Some((event, rest)) = script.split_first() else {
            return;
        };
        let id = if id.is_empty() {
            let bytes = std::array::from_fn(|_| self.chance.u8(..));
            uuid::Builder::from_random_bytes(bytes)
                .into_uuid()
                .to_string()
        } else {
            id
        };
        // A worker says that it has received a task and that it starts it in one breath.
        let wait = match *event {
            "task-received" if retries == 0 => Duration::ZERO,
            "task-started" => Duration::ZERO,
            _ => STEP_MAX.mul_f64(self.chance.f64()),
        };
        self.number += 1;
        let step = Step {
            id,
            name,
            event,
            retries,
            rest,
        };
        self.steps.insert((now + wait, self.number), step);
    }

    fn pause(&mut self) -> Duration {
        Duration::from_secs_f64((0.5 + self.chance.f64()) / self.per_second)
    }
}
