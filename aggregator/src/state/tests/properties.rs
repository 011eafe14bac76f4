//! Whatever comes, in whatever order: no panic, and every count is what a recount gives.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::Duration;

use proptest::prelude::*;

use super::build::{answers, at, depths, report, request, worker};
use super::reader::recorded_events;
use crate::state::app::App;
use crate::state::changes::Changes;
use crate::state::ids::{Micros, Symbol, TaskId};
use crate::state::input::{Input, Snapshot, Stats, TaskEvent, TaskEventKind, WorkerEvent};
use crate::state::limits::{ATTEMPTS_KEPT, Limits};
use crate::state::queue::Queue;
use crate::state::task::{Phase, Task};
use crate::state::task_name::TaskName;
use crate::state::worker::Worker;

const KINDS: [TaskEventKind; 9] = [
    TaskEventKind::Sent,
    TaskEventKind::Received,
    TaskEventKind::Started,
    TaskEventKind::Succeeded,
    TaskEventKind::Failed,
    TaskEventKind::Retried,
    TaskEventKind::Revoked,
    TaskEventKind::Rejected,
    TaskEventKind::Custom,
];

fn small() -> Limits {
    Limits {
        grace: Duration::from_secs(5),
        grace_tasks_max: 3,
        tasks_max: 6,
        worker_retention: Duration::from_secs(30),
        ..Limits::default()
    }
}

type Loads = BTreeMap<String, (u64, u64)>;

fn recount(app: &App, key: impl Fn(&Task) -> Option<&str>) -> Loads {
    let mut loads = Loads::new();
    for task in app.tasks() {
        let Some(key) = key(task) else { continue };
        let (reserved, active) = loads.entry(key.to_owned()).or_default();
        *reserved += u64::from(task.phase() == Phase::Reserved);
        *active += u64::from(task.phase() == Phase::Active);
    }
    loads
}

/// What must hold after every input.
fn check(app: &App) {
    let unfinished = app.tasks().filter(|task| !task.is_finished()).count();
    assert_eq!(app.unfinished_count(), unfinished);
    assert_eq!(app.tasks_count(), app.tasks().count());
    for (name, load) in recount(app, |task| task.name.as_deref()) {
        assert_eq!(app.load_of_name(&name), load, "name {name}");
    }
    for (queue, load) in recount(app, |task| task.queue.as_deref()) {
        assert_eq!(app.load_of_queue(&queue), load, "queue {queue}");
    }
    let by_worker = recount(app, |task| task.worker.as_deref());
    for worker in app.workers() {
        let (reserved, _) = by_worker.get(&*worker.name).copied().unwrap_or_default();
        assert_eq!(worker.reserved_known, reserved, "worker {}", worker.name);
    }
    for task in app.tasks() {
        assert!(app.holds(&task.id));
        assert!(task.attempts.len() <= ATTEMPTS_KEPT);
        assert!(task.attempts.len() <= task.attempt_count as usize);
        assert!(
            task.attempts
                .windows(2)
                .all(|pair| pair[0].number + 1 == pair[1].number)
        );
        assert!(task.first_seen <= task.last_seen);
    }
}

fn check_bounds(app: &App, limits: &Limits) {
    assert!(app.tasks_count() <= limits.tasks_max);
    let finished = app.tasks_count() - app.unfinished_count();
    assert!(finished <= limits.grace_tasks_max);
}

/// Everything whose changes are to be named.
struct Known {
    tasks: BTreeMap<TaskId, Task>,
    workers: BTreeMap<Symbol, Worker>,
    task_names: BTreeMap<Symbol, (TaskName, (u64, u64))>,
    queues: BTreeMap<Symbol, (Queue, (u64, u64))>,
}

impl Known {
    fn of(app: &App) -> Self {
        // How often a task was missed in a row is not worth a word to anybody.
        let task = |task: &Task| Task {
            absent_snapshots: 0,
            ..task.clone()
        };
        let named = |name: &TaskName| (name.clone(), app.load_of_name(&name.name));
        // That it was read again without a change is no change.
        let queue = |queue: &Queue| {
            (
                Queue {
                    read: None,
                    ..queue.clone()
                },
                app.load_of_queue(&queue.name),
            )
        };
        Self {
            tasks: app.tasks().map(|one| (one.id.clone(), task(one))).collect(),
            workers: app
                .workers()
                .map(|one| (one.name.clone(), one.clone()))
                .collect(),
            task_names: app
                .task_names()
                .map(|one| (one.name.clone(), named(one)))
                .collect(),
            queues: app
                .queues()
                .map(|one| (one.name.clone(), queue(one)))
                .collect(),
        }
    }

    /// What changed, came or left is named.
    fn check_named(&self, after: &Self, changes: &Changes) {
        let spilled = changes.spilled.iter().map(|task| &task.id);
        let tasks = changes
            .tasks
            .iter()
            .chain(&changes.evicted)
            .chain(spilled)
            .collect();
        check_differences(&self.tasks, &after.tasks, &tasks);
        let workers = changes
            .workers
            .iter()
            .chain(&changes.workers_removed)
            .collect();
        check_differences(&self.workers, &after.workers, &workers);
        check_differences(
            &self.task_names,
            &after.task_names,
            &changes.task_names.iter().collect(),
        );
        let queues = changes
            .queues
            .iter()
            .chain(&changes.queues_removed)
            .collect();
        check_differences(&self.queues, &after.queues, &queues);
    }
}

fn check_differences<K: Ord + Debug, V: PartialEq + Debug>(
    before: &BTreeMap<K, V>,
    after: &BTreeMap<K, V>,
    named: &BTreeSet<&K>,
) {
    for key in before.keys().chain(after.keys()) {
        let (was, is) = (before.get(key), after.get(key));
        assert!(
            was == is || named.contains(key),
            "{key:?} changed from {was:?} to {is:?}"
        );
    }
}

/// Tasks that left memory come back before their next event, as the engine has it.
fn apply(app: &mut App, history: &mut BTreeMap<String, Task>, now: Micros, input: Input) {
    let missing: Vec<_> = app.missing(&input).cloned().collect();
    for id in missing {
        if let Some(task) = history.get(&id.to_string()) {
            app.restore_task(task.clone());
        }
    }
    let before = (app.tasks_count() < 20).then(|| Known::of(app));
    let mut changes = Changes::default();
    app.apply(now, input, &mut changes);
    if let Some(before) = before {
        before.check_named(&Known::of(app), &changes);
    }
    for id in &changes.tasks {
        if let Some(task) = app.task(id) {
            history.insert(id.to_string(), task.clone());
        }
    }
    for task in changes.spilled {
        history.insert(task.id.to_string(), task);
    }
    for id in &changes.evicted {
        assert!(history[&id.to_string()].is_finished(), "{id}");
    }
}

fn task_event() -> impl Strategy<Value = Input> {
    let number = 0..4_u64;
    (
        0..9_usize,
        number.clone(),
        0..8_u8,
        number,
        0..40_u32,
        any::<bool>(),
        0..3_i64,
    )
        .prop_map(|(kind, host, id, clock, second, flag, retries)| {
            let mut node = worker(&format!("celery@w{host}"), 1);
            node.clock = clock;
            let event = node.task(KINDS[kind], &format!("task{id}"), f64::from(second));
            let named = event.name.is_some();
            TaskEvent {
                name: named.then(|| format!("name{}", id % 3).into()),
                retries: named.then_some(retries),
                terminated: event.terminated.map(|_| flag),
                requeue: event.requeue.map(|_| flag),
                timestamp: event.timestamp.filter(|_| clock != 3),
                ..event
            }
            .into()
        })
}

fn worker_event() -> impl Strategy<Value = Input> {
    (0..4_u8, 0..4_u64, 1..3_u64, 0..9_u64, 0..9_u64, 0..40_u32).prop_map(
        |(kind, host, pid, clock, processed, second)| {
            let mut node = worker(&format!("celery@w{host}"), pid);
            node.clock = clock;
            let second = f64::from(second);
            let event = match kind {
                0 => node.online(second),
                1 => node.beats(second),
                2 => node.beats_as_asked(second),
                _ => node.offline(second),
            };
            WorkerEvent {
                processed: event.processed.map(|_| processed),
                ..event
            }
            .into()
        },
    )
}

fn snapshot() -> impl Strategy<Value = Input> {
    let listed = prop::collection::vec(0..8_u8, 0..3);
    let lists = (listed.clone(), listed, any::<bool>());
    (0..4_u8, 0..40_u32, lists, 0.0..50.0_f64, 1..3_u64).prop_map(
        |(host, second, (active, reserved, cut), uptime, pid)| {
            let list = |ids: Vec<u8>| {
                Some(
                    ids.into_iter()
                        .map(|id| request(&format!("task{id}")))
                        .collect(),
                )
            };
            let stats = Stats {
                pid: Some(pid),
                uptime_seconds: Some(uptime),
                ..Stats::default()
            };
            Snapshot {
                stats: (uptime < 25.0).then_some(stats),
                active: list(active),
                reserved: list(reserved),
                cut,
                ..answers(&format!("celery@w{host}"), f64::from(second))
            }
            .into()
        },
    )
}

fn anything() -> impl Strategy<Value = Input> {
    prop_oneof![
        8 => task_event(),
        3 => worker_event(),
        2 => snapshot(),
        1 => (0..40_u32, any::<bool>())
            .prop_map(|(second, live)| report(f64::from(second), live).into()),
        1 => (0..40_u32, 0..3_u64)
            .prop_map(|(second, ready)| depths(f64::from(second), &[("mail", ready)]).into()),
        2 => Just(Input::Tick),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_inputs_keep_the_counts_right(inputs in prop::collection::vec((0..60_u32, anything()), 0..120)) {
        let mut app = App::new("shop".into(), small());
        let mut history = BTreeMap::new();
        for (second, input) in inputs {
            let is_tick = input == Input::Tick;
            apply(&mut app, &mut history, at(f64::from(second)), input);
            check(&app);
            if is_tick {
                check_bounds(&app, &small());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    /// Real events shuffled within a window, some left out, some twice: as many attempts are counted as started, and
    /// nothing ends more often than it could.
    #[test]
    fn disordered_recordings_keep_the_counts_right(
        seed in prop::collection::vec((0..20_usize, 0..20_u8), 512),
        amqp in any::<bool>(),
    ) {
        let name = if amqp { "amqp-events.jsonl" } else { "redis-events.jsonl" };
        let mut inputs: Vec<(Micros, Input)> = Vec::new();
        for (place, (time, input)) in recorded_events(name).into_iter().enumerate() {
            let (jump, chance) = seed[place % seed.len()];
            match chance {
                0 => continue,
                1 => inputs.extend([(time, input.clone()), (time, input)]),
                _ => inputs.push((time, input)),
            }
            let last = inputs.len() - 1;
            inputs.swap(last, last.saturating_sub(jump));
        }
        let limits = Limits { tasks_max: 200, grace_tasks_max: 50, ..Limits::default() };
        let mut app = App::new("shop".into(), limits);
        let mut history = BTreeMap::new();
        for (place, (time, input)) in inputs.into_iter().enumerate() {
            apply(&mut app, &mut history, time, input);
            if place % 50 == 0 {
                apply(&mut app, &mut history, time, Input::Tick);
                check(&app);
                check_bounds(&app, &limits);
            }
        }
        let known = app.task_names();
        for name in known {
            let ends = name.succeeded + name.failed + name.retried + name.rejected;
            prop_assert!(name.received <= 400 && ends <= name.sent + name.received + name.started);
        }
    }
}
