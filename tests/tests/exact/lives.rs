//! Lives of tasks on workers, as real ones are, and the events they send in the order in which they happen.
//!
//! Time goes in steps of a quarter of a second, so that many things happen at the same time.

mod plan;

use std::collections::BTreeMap;

use celeriac_aggregator::state::Micros;
use serde_json::{Value, json};

use crate::stream::Sent;

pub(crate) use plan::{AttemptPlan, End, Plan, TaskPlan, WorkerPlan, plan, plan_in_containers};

/// When the first step is, seconds since 1970; a float holds its quarters exactly.
const BEGINNING: u32 = 1_795_000_000;
/// From one event's receipt to the next, microseconds.
const RECEIVED_EVERY: Micros = 50_000;
/// Between heartbeats, steps.
const BEAT: u32 = 8;

/// One event before it is numbered.
struct Happening {
    step: u32,
    sender: Sender,
    event_type: &'static str,
    fields: Value,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Sender {
    hostname: String,
    pid: u32,
    life: u32,
    /// The host's clock is ahead by so many steps.
    skew: i32,
    /// The attempt that a child of the pool sends it for, which has a clock of its own.
    child: Option<(usize, usize)>,
}

/// The id of a task.
pub(crate) fn id(task: usize) -> String {
    format!("00000000-0000-4000-8000-{task:012}")
}

/// The events of a plan, in the order in which they happen.
pub(crate) fn events(plan: &Plan) -> Vec<Sent> {
    let mut happenings = Vec::new();
    for (number, task) in plan.tasks.iter().enumerate() {
        tell_task(plan, number, task, &mut happenings);
    }
    let end = happenings
        .iter()
        .map(|one| one.step)
        .max()
        .unwrap_or_default();
    let mut beats = Vec::new();
    for worker in &plan.workers {
        tell_worker(worker, end + BEAT, &happenings, &mut beats);
    }
    happenings.extend(beats);
    // A worker is online before it takes tasks.
    happenings.sort_by_key(|one| (one.step, one.event_type != "worker-online"));
    let mut clocks: BTreeMap<Sender, u64> = BTreeMap::new();
    let events = happenings.into_iter().map(|one| {
        let clock = clocks.entry(one.sender.clone()).or_default();
        *clock += 1;
        let life = one.sender.life;
        Sent {
            event: on_the_wire(&one, *clock),
            received: 0,
            life,
        }
    });
    receive(events.collect())
}

/// Gives each event the time of its receipt, in the order in which they are.
pub(crate) fn receive(mut stream: Vec<Sent>) -> Vec<Sent> {
    let mut time = Micros::from(BEGINNING) * 1_000_000;
    for sent in &mut stream {
        time += RECEIVED_EVERY;
        sent.received = time;
    }
    stream
}

fn on_the_wire(one: &Happening, clock: u64) -> Value {
    let step = f64::from(one.step) + f64::from(one.sender.skew);
    let mut event = json!({
        "hostname": one.sender.hostname,
        "utcoffset": 0,
        "pid": one.sender.pid,
        "clock": clock,
        "timestamp": f64::from(BEGINNING) + step / 4.0,
        "type": one.event_type,
    });
    for (field, value) in one.fields.as_object().into_iter().flatten() {
        event[field] = value.clone();
    }
    event
}

impl WorkerPlan {
    fn sender(&self, step: u32) -> Sender {
        let lives = self.restarts.iter().filter(|restart| **restart <= step);
        let life = u32::try_from(lives.count()).unwrap_or_default();
        Sender {
            hostname: format!("celery@w{}", self.number),
            pid: 100 * (self.number + 1) + if self.in_container { 0 } else { life },
            life: 1000 * (self.number + 1) + life,
            skew: self.skew,
            child: None,
        }
    }
}

fn tell_task(plan: &Plan, number: usize, task: &TaskPlan, out: &mut Vec<Happening>) {
    let parent = task.parent.filter(|parent| *parent < number).map(id);
    let request = |retries: usize| {
        json!({
            "uuid": id(number),
            "name": format!("shop.task{}", task.name),
            "args": format!("({number}, {retries})"),
            "kwargs": "{}",
            "root_id": parent.clone().unwrap_or_else(|| id(number)),
            "parent_id": parent,
            "retries": retries,
            "eta": task.eta.then_some("2026-11-26T12:00:00.250000+00:00"),
            "expires": task.expires.then_some("2026-11-26T13:00:00+01:00"),
        })
    };
    if task.sent {
        let mut fields = request(0);
        // The real name is in `task-sent`; the worker says the shadow name.
        fields["name"] = json!(format!(
            "shop.task{}{}",
            task.name,
            if task.shadow { "x" } else { "" }
        ));
        fields["queue"] = json!("celery");
        fields["exchange"] = json!("");
        fields["routing_key"] = json!("celery");
        let client = Sender {
            hostname: format!("gen{}@web", 7 + task.client),
            pid: 7 + task.client,
            life: 1 + task.client,
            skew: 0,
            child: None,
        };
        out.push(Happening {
            step: task.start,
            sender: client,
            event_type: "task-sent",
            fields,
        });
    }
    let mut step = task.start;
    let mut retries = 0;
    for (place, attempt) in task.attempts.iter().enumerate() {
        let worker = &plan.workers[attempt.worker % plan.workers.len()];
        let teller = Teller {
            number,
            place,
            worker,
            out,
        };
        step = teller.tell(step, attempt, request(retries));
        retries += usize::from(attempt.end == End::Retry);
        if !attempt.end.runs_again() {
            break;
        }
    }
}

/// Tells of one attempt.
struct Teller<'a> {
    number: usize,
    place: usize,
    worker: &'a WorkerPlan,
    out: &'a mut Vec<Happening>,
}

impl Teller<'_> {
    /// Gives the step from which the next attempt may begin.
    fn tell(mut self, from: u32, attempt: &AttemptPlan, request: Value) -> u32 {
        let received = from + attempt.wait;
        let started = received + attempt.reserved;
        let ended = started + attempt.runs;
        let sender = self.worker.sender(received);
        let end = attempt.end;
        if !end.never_received() {
            self.say(received, &sender, "task-received", request);
        }
        if !end.never_starts() {
            self.say(started, &sender, "task-started", json!({}));
            let child = Sender {
                pid: 9_000 + sender.pid,
                child: Some((self.number, self.place)),
                ..sender.clone()
            };
            for done in 0..attempt.progress {
                let fields = json!({"done": done, "total": attempt.progress});
                self.say(
                    started + done.min(attempt.runs),
                    &child,
                    "task-progress",
                    fields,
                );
            }
        }
        for (event_type, fields) in end.events(attempt.runs) {
            self.say(ended, &sender, event_type, fields);
        }
        // A worker receives the next attempt before it says that this one is retried.
        ended - u32::from(attempt.next_early && end == End::Retry && attempt.runs > 1)
    }

    /// Unless the process has ended by then.
    fn say(&mut self, step: u32, sender: &Sender, event_type: &'static str, mut fields: Value) {
        if self.worker.sender(step).life != sender.life {
            return;
        }
        fields["uuid"] = json!(id(self.number));
        self.out.push(Happening {
            step,
            sender: sender.clone(),
            event_type,
            fields,
        });
    }
}

/// What a worker says of itself from its first step to `end`.
fn tell_worker(worker: &WorkerPlan, end: u32, tasks: &[Happening], out: &mut Vec<Happening>) {
    if !worker.beats {
        return;
    }
    let mut say = |step: u32, sender: Sender, event_type, asked: bool| {
        let mut fields =
            json!({"freq": 5, "sw_ident": "py-celery", "sw_ver": "5.7.0", "sw_sys": "Linux"});
        if !asked {
            let (active, processed) = counters(&sender, step, tasks);
            fields["freq"] = json!(2.0);
            fields["active"] = json!(active);
            fields["processed"] = json!(processed);
            fields["loadavg"] = json!([0.5, f64::from(step), 0.25]);
        }
        out.push(Happening {
            step,
            sender,
            event_type,
            fields,
        });
    };
    say(0, worker.sender(0), "worker-online", false);
    for step in (BEAT..=end).step_by(BEAT as usize) {
        say(step, worker.sender(step), "worker-heartbeat", false);
    }
    for restart in &worker.restarts {
        if worker.says_goodbye && *restart > 0 {
            say(
                restart - 1,
                worker.sender(restart - 1),
                "worker-offline",
                false,
            );
        }
        say(*restart, worker.sender(*restart), "worker-online", false);
    }
    if let Some(step) = worker.reconnects {
        say(step, worker.sender(step), "worker-offline", false);
        say(step + 1, worker.sender(step + 1), "worker-online", false);
    }
    if let Some(step) = worker.asked {
        say(step, worker.sender(step), "worker-heartbeat", true);
    }
    if worker.leaves {
        say(end, worker.sender(end), "worker-offline", false);
    }
}

/// Tasks running and tasks started in a life, up to a step.
fn counters(sender: &Sender, step: u32, tasks: &[Happening]) -> (usize, usize) {
    let count = |types: &[&str]| {
        let of_life = tasks
            .iter()
            .filter(|one| one.sender == *sender && one.step <= step);
        of_life
            .filter(|one| types.contains(&one.event_type))
            .count()
    };
    let started = count(&["task-started"]);
    (
        started.saturating_sub(count(&["task-succeeded", "task-retried"])),
        started,
    )
}
