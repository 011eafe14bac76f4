//! The history against a model that cannot crash: after any steps, with a kill -9 anywhere, what was committed is there.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::{IngestPosition, Recovered, RecoveredApp};
use super::*;
use crate::state::limits::RECENT_EVENTS_MAX;
use crate::state::worker::Inspection;
use crate::state::{Gap, GapCause, TaskName, Worker};

#[derive(Debug, Clone)]
enum Change {
    Unfinished(u64, i64),
    Finish(u64, i64),
    Spill(u64, i64),
    Forget(u64),
    Worker(u8, u64),
    Inspection(u8, u64),
    WorkerGone(u8),
    TaskName(u8, u64),
    Gap(i64, Option<i64>),
    Counters(u8),
    Position(u8, u64),
    /// So many, from this one on.
    Told(u64, usize),
}

#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<(bool, Change)>),
    /// A commit that is dropped.
    Abandon(Vec<(bool, Change)>),
    Checkpoint(u64),
    /// Open a copy of the files as a kill would leave them.
    Kill,
    Reopen,
}

fn changes() -> impl Strategy<Value = Vec<(bool, Change)>> {
    let change = prop_oneof![
        4 => (0..12_u64, any::<i64>()).prop_map(|(task, seen)| Change::Unfinished(task, seen)),
        4 => (0..12_u64, any::<i64>()).prop_map(|(task, seen)| Change::Finish(task, seen)),
        2 => (0..12_u64, any::<i64>()).prop_map(|(task, seen)| Change::Spill(task, seen)),
        1 => (0..12_u64).prop_map(Change::Forget),
        1 => (0..3_u8, any::<u64>()).prop_map(|(worker, count)| Change::Worker(worker, count)),
        1 => (0..3_u8, any::<u64>()).prop_map(|(worker, active)| Change::Inspection(worker, active)),
        1 => (0..3_u8).prop_map(Change::WorkerGone),
        1 => (0..3_u8, any::<u64>()).prop_map(|(name, count)| Change::TaskName(name, count)),
        1 => (0..3_i64, proptest::option::of(any::<i64>())).prop_map(|(start, end)| Change::Gap(start, end)),
        1 => any::<u8>().prop_map(Change::Counters),
        1 => (0..2_u8, any::<u64>()).prop_map(|(instance, sequence)| Change::Position(instance, sequence)),
        1 => (any::<u64>(), prop_oneof![3 => 1..9_usize, 1 => 1..9_000_usize, 1 => 1..80_000_usize])
            .prop_map(|(first, count)| Change::Told(first, count)),
    ];
    prop::collection::vec((any::<bool>(), change), 0..8)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => changes().prop_map(Step::Commit),
        1 => changes().prop_map(Step::Abandon),
        2 => prop_oneof![Just(0), Just(2_000), Just(20_000)].prop_map(Step::Checkpoint),
        2 => Just(Step::Kill),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..14)
}

/// What must be there of one app.
#[derive(Debug, Clone, Default)]
struct Model {
    known: bool,
    unfinished: BTreeMap<u64, Task>,
    rows: BTreeMap<u64, Task>,
    workers: BTreeMap<u8, Worker>,
    inspections: BTreeMap<u8, Inspection>,
    task_names: BTreeMap<u8, TaskName>,
    gaps: BTreeMap<i64, Gap>,
    counters: Option<Vec<u8>>,
    positions: BTreeMap<u8, u64>,
    told: Vec<u64>,
}

const APPS: [&str; 2] = ["default", "shop/web"];

fn task(number: u64, seen: i64, is_finished: bool) -> Task {
    let mut task = if is_finished {
        finished(number)
    } else {
        unfinished(number)
    };
    task.last_seen = seen;
    task
}

impl Model {
    fn apply(&mut self, change: &Change) {
        self.known = true;
        match change.clone() {
            Change::Unfinished(number, seen) => {
                self.unfinished.insert(number, task(number, seen, false));
            }
            Change::Finish(number, seen) => {
                self.unfinished.remove(&number);
                self.rows.insert(number, task(number, seen, true));
            }
            Change::Spill(number, seen) => {
                self.unfinished.remove(&number);
                self.rows.insert(number, task(number, seen, false));
            }
            Change::Forget(number) => drop(self.unfinished.remove(&number)),
            Change::Worker(worker, count) => {
                self.workers.insert(worker, a_worker(worker, count));
            }
            Change::Inspection(worker, active) => {
                self.inspections.insert(worker, an_inspection(active));
            }
            Change::WorkerGone(worker) => {
                self.workers.remove(&worker);
                self.inspections.remove(&worker);
            }
            Change::TaskName(name, count) => {
                self.task_names.insert(name, a_task_name(name, count));
            }
            Change::Gap(start, end) => drop(self.gaps.insert(start, a_gap(start, end))),
            Change::Counters(value) => self.counters = Some(vec![value; 3]),
            Change::Position(instance, sequence) => {
                self.positions.insert(instance, sequence);
            }
            Change::Told(first, count) => {
                self.told.extend(identities(first, count));
                let surplus = self.told.len().saturating_sub(RECENT_EVENTS_MAX);
                self.told.drain(..surplus);
            }
        }
    }

    fn recovered(&self, name: &str) -> RecoveredApp {
        let mut unfinished: Vec<Task> = self.unfinished.values().cloned().collect();
        unfinished.sort_by_key(|task| task.first_seen);
        RecoveredApp {
            name: name.into(),
            unfinished,
            workers: self
                .workers
                .iter()
                .map(|(number, worker)| Worker {
                    inspection: self.inspections.get(number).cloned().map(Box::new),
                    ..worker.clone()
                })
                .collect(),
            task_names: self.task_names.values().cloned().collect(),
            gaps: self.gaps.values().cloned().collect(),
            counters: self.counters.clone(),
            positions: self
                .positions
                .iter()
                .map(|(instance, sequence)| IngestPosition {
                    instance: format!("inspector-{instance}"),
                    epoch: 7,
                    sequence: *sequence,
                })
                .collect(),
            told: self.told.clone(),
        }
    }
}

fn identities(first: u64, count: usize) -> Vec<u64> {
    (0..count as u64)
        .map(|number| first.wrapping_add(number))
        .collect()
}

fn a_worker(worker: u8, count: u64) -> Worker {
    let mut worker = Worker::new(Symbol::from(format!("celery@w{worker}")), START);
    worker.processed = Some(count);
    worker
}

fn an_inspection(active: u64) -> Inspection {
    Inspection {
        active: Some(active),
        ..Inspection::default()
    }
}

fn a_task_name(name: u8, count: u64) -> TaskName {
    let mut name = TaskName::new(Symbol::from(format!("proj.{name}")), START);
    name.succeeded = count;
    name
}

fn a_gap(start: i64, end: Option<i64>) -> Gap {
    Gap {
        cause: GapCause::Reconnect,
        start,
        end,
        worker: None,
        missed_starts: None,
        dropped_messages: None,
        detail: "the connection was lost".into(),
    }
}

fn write(commit: &mut super::super::Commit<'_>, app: &str, change: &Change) {
    match change.clone() {
        Change::Unfinished(number, seen) => commit.put_unfinished(app, &task(number, seen, false)),
        Change::Finish(number, seen) => commit.put_task(app, &task(number, seen, true)),
        Change::Spill(number, seen) => commit.put_task(app, &task(number, seen, false)),
        Change::Forget(number) => commit.remove_unfinished(app, &id(number)),
        Change::Worker(worker, count) => commit.put_worker(app, &a_worker(worker, count)),
        Change::Inspection(worker, active) => {
            let name = Symbol::from(format!("celery@w{worker}"));
            commit.put_inspection(app, &name, &an_inspection(active))
        }
        Change::WorkerGone(worker) => commit.remove_worker(app, &format!("celery@w{worker}")),
        Change::TaskName(name, count) => commit.put_task_name(app, &a_task_name(name, count)),
        Change::Gap(start, end) => commit.put_gap(app, &a_gap(start, end)),
        Change::Counters(value) => commit.put_counters(app, &[value; 3]),
        Change::Position(instance, sequence) => {
            commit.put_position(app, &format!("inspector-{instance}"), 7, sequence)
        }
        Change::Told(first, count) => commit.put_told(app, &identities(first, count)),
    }
    .unwrap();
}

fn check(writer: &mut Writer, reader: &Reader, models: &[Model; 2]) {
    let recovered = writer.recover().unwrap();
    let apps = APPS.iter().zip(models).filter(|(_, model)| model.known);
    let expect = Recovered {
        apps: apps.map(|(name, model)| model.recovered(name)).collect(),
    };
    assert_eq!(recovered, expect);
    for (app, model) in APPS.iter().zip(models) {
        for number in 0..12 {
            let expect = model.rows.get(&number);
            assert_eq!(writer.load_task(app, &id(number)).unwrap().as_ref(), expect);
            assert_eq!(reader.get(app, &id(number)).unwrap().as_ref(), expect);
        }
    }
    let rows: usize = models.iter().map(|model| model.rows.len()).sum();
    assert_eq!(writer.count(), rows as u64);
    assert_eq!(reader.count().unwrap(), rows as u64);
}

/// What a kill leaves: the files as they are, without the memory that SQLite shares between processes.
fn check_copy(database: &Database, models: &[Model; 2]) {
    let copy = tempfile::tempdir().unwrap();
    for file in ["celeriac.db", "celeriac.db-wal"] {
        let from = database.dir.path().join(file);
        if from.exists() {
            std::fs::copy(from, copy.path().join(file)).unwrap();
        }
    }
    let (mut writer, reader) = History::open(copy.path()).unwrap();
    check(&mut writer, &reader, models);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn what_was_committed_is_there_after_any_steps(steps in steps()) {
        let mut database = database();
        let mut models = [Model::default(), Model::default()];
        for step in steps {
            match step {
                Step::Commit(changes) => {
                    let mut commit = database.writer.begin().unwrap();
                    for (second, change) in &changes {
                        write(&mut commit, APPS[usize::from(*second)], change);
                        models[usize::from(*second)].apply(change);
                    }
                    commit.commit().unwrap();
                }
                Step::Abandon(changes) => {
                    let mut commit = database.writer.begin().unwrap();
                    for (second, change) in &changes {
                        write(&mut commit, APPS[usize::from(*second)], change);
                    }
                    // What a kill in the middle leaves.
                    drop(commit);
                    check_copy(&database, &models);
                }
                Step::Checkpoint(keep) => while database.writer.checkpoint(keep).unwrap() {},
                Step::Kill => check_copy(&database, &models),
                Step::Reopen => database = database.reopened(),
            }
        }
        check_copy(&database, &models);
        check(&mut database.writer, &database.reader, &models);
        database.writer.close().unwrap();
    }
}

/// Two transactions of a checkpoint, and a kill between them.
#[test]
fn a_kill_between_the_slices_of_a_checkpoint_loses_nothing() {
    let mut database = database();
    for batch in 0..30 {
        let mut commit = database.writer.begin().unwrap();
        for number in batch * 150..batch * 150 + 300 {
            commit
                .put_unfinished("default", &unfinished(number))
                .unwrap();
        }
        if batch > 0 {
            commit
                .put_task("default", &finished(batch * 150 - 1))
                .unwrap();
        }
        commit.commit().unwrap();
    }
    let mut slices = 0;
    loop {
        let copy = tempfile::tempdir().unwrap();
        for file in ["celeriac.db", "celeriac.db-wal"] {
            std::fs::copy(database.dir.path().join(file), copy.path().join(file)).unwrap();
        }
        let (mut writer, _) = History::open(copy.path()).unwrap();
        let apps = writer.recover().unwrap().apps;
        // 30 × 150 + 150 ids, less 29 that finished.
        assert_eq!(apps[0].unfinished.len(), 4_650 - 29);
        if !database.writer.checkpoint(0).unwrap() {
            break;
        }
        slices += 1;
    }
    assert!(slices >= 2, "{slices} slices");
}

/// A task that began and ended within the journal never touches a base table, also where its beginning is in another
/// slice than its end.
#[test]
fn what_finished_meanwhile_costs_no_base_row() {
    let mut database = database();
    for batch in 0..40 {
        let mut commit = database.writer.begin().unwrap();
        for number in batch * 100..batch * 100 + 100 {
            commit
                .put_unfinished("default", &unfinished(number))
                .unwrap();
        }
        commit.commit().unwrap();
    }
    for batch in 0..40 {
        let tasks: Vec<_> = (batch * 100..batch * 100 + 100).map(finished).collect();
        database.put("default", &tasks);
    }
    let before = database.writer.connection.total_changes();
    let mut slices = 1;
    while database.writer.checkpoint(0).unwrap() {
        slices += 1;
    }
    assert!(slices >= 2, "one slice shows nothing");
    let changed = database.writer.connection.total_changes() - before;
    assert_eq!(changed, 80, "only the 80 journal rows go");
    assert_eq!(database.writer.unfinished.journaled.len(), 0);
}
