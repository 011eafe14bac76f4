//! What is heard becomes what is known, within bounds.

use celeriac_client::v1::WatchResponse;

use super::*;
use crate::render::fixture::{self, NOW};

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(NOW + seconds).expect("in range")
}

pub(crate) fn model() -> Model {
    Model::new(String::new(), at(0))
}

fn said(message: Message) -> Input {
    Input::Message(Box::new(WatchResponse {
        resume_token: String::new(),
        time: fixture::ago(0),
        message: Some(message),
    }))
}

pub(crate) fn item(item: Item) -> Message {
    Message::Item(v1::WatchItem { item: Some(item) })
}

pub(crate) fn set(item: Item) -> Message {
    let item = v1::WatchItem { item: Some(item) };
    Message::Delta(v1::WatchDelta {
        change: Some(Change::Set(item)),
    })
}

fn removed(kind: v1::WatchKind, name: &str) -> Message {
    Message::Delta(v1::WatchDelta {
        change: Some(Change::Removed(v1::Removed {
            kind: kind.into(),
            app: "shop".into(),
            name: name.into(),
        })),
    })
}

impl Model {
    pub(crate) fn hear(&mut self, now: Timestamp, message: Message) -> Vec<Action> {
        self.apply(now, said(message))
    }

    /// A snapshot of an app as the fixtures have it.
    pub(crate) fn filled() -> Self {
        let mut model = model();
        let names = |number: u32| v1::TaskName {
            name: format!("shop.task{number}"),
            ..fixture::task_name()
        };
        let mut messages = vec![
            Message::SnapshotBegin(v1::SnapshotBegin {}),
            item(Item::App(fixture::app())),
            item(Item::Worker(fixture::worker())),
            item(Item::Worker(fixture::silent_worker())),
            item(Item::Queue(fixture::queue())),
            item(Item::Queue(fixture::unread_queue())),
            item(Item::TaskName(fixture::task_name())),
        ];
        messages.extend((0..40).map(|number| item(Item::TaskName(names(number)))));
        messages.push(Message::SnapshotEnd(v1::SnapshotEnd { items: 46 }));
        messages.push(set(Item::Task(fixture::failed())));
        for message in messages {
            model.hear(at(0), message);
        }
        model
    }
}

fn started(count: u64) -> v1::TaskName {
    v1::TaskName {
        started: count,
        ..fixture::task_name()
    }
}

#[test]
fn a_snapshot_shows_when_it_is_whole_and_what_is_not_in_it_is_gone() {
    let mut model = Model::filled();
    assert_eq!((model.workers.len(), model.queues.len()), (2, 2));
    model.hear(at(1), Message::SnapshotBegin(v1::SnapshotBegin {}));
    model.hear(at(1), item(Item::Worker(fixture::worker())));
    assert_eq!(model.workers.len(), 2, "what was known stays meanwhile");
    let actions = model.hear(at(1), Message::SnapshotEnd(v1::SnapshotEnd { items: 1 }));
    assert_eq!((model.workers.len(), model.queues.len()), (1, 0));
    assert_eq!(
        actions,
        [Action::ListFailures],
        "failures of the time between are listed again"
    );
}

#[test]
fn changes_are_taken_in_and_what_is_removed_is_gone() {
    let mut model = Model::filled();
    let mut worker = fixture::worker();
    worker.active = Some(4);
    model.hear(at(1), set(Item::Worker(worker)));
    let active = |model: &Model| model.workers.iter().next().and_then(|row| row.item.active);
    assert_eq!(active(&model), Some(4));
    model.hear(at(1), removed(v1::WatchKind::Worker, "celery@w1"));
    model.hear(at(1), removed(v1::WatchKind::Queue, "mail"));
    model.hear(at(1), removed(v1::WatchKind::Task, &fixture::failed().id));
    assert_eq!((model.workers.len(), model.queues.len()), (1, 1));
    assert!(
        model.failures.is_empty(),
        "a failure that was retried is none"
    );
}

#[test]
fn failures_are_bounded_whatever_comes_and_hold_no_payload() {
    let mut model = model();
    for number in 0..10_000_i64 {
        let failure = v1::Task {
            id: format!("t{number}"),
            finish_seen: Some(prost_types::Timestamp {
                seconds: NOW + number,
                nanos: 0,
            }),
            ..fixture::failed()
        };
        model.hear(at(0), set(Item::Task(failure)));
        model.hear(at(0), set(Item::Task(fixture::done())));
        model.hear(at(0), Message::Gap(fixture::gap()));
    }
    assert_eq!(
        (model.failures.len(), model.gaps.len()),
        (FAILURES_MAX, GAPS_MAX)
    );
    assert_eq!(model.failures[0].id, "t9999", "the latest stand first");
    assert!(
        model
            .failures
            .iter()
            .all(|task| task.payload.is_none() && task.state == "FAILURE")
    );
}

#[test]
fn an_old_list_of_failures_does_not_push_out_newer_ones() {
    let mut model = model();
    let failure = |id: &str, ago| v1::Task {
        id: id.into(),
        finish_seen: fixture::ago(ago),
        ..fixture::failed()
    };
    model.hear(at(0), set(Item::Task(failure("new", 1))));
    let listed = vec![failure("new", 1), failure("older", 5), failure("oldest", 9)];
    model.apply(at(0), Input::Failures(listed));
    let ids: Vec<_> = model.failures.iter().map(|task| task.id.as_str()).collect();
    assert_eq!(ids, ["new", "older", "oldest"]);
}

#[test]
fn rates_are_the_growth_over_ten_seconds_and_fall_to_nothing() {
    let mut model = model();
    for second in 0..=20 {
        let count = 50 * u64::try_from(second).expect("not negative");
        model.hear(at(second), set(Item::TaskName(started(count))));
        model.tick(at(second));
    }
    let rate = |model: &Model| model.names.iter().next().and_then(|row| row.rate(0));
    assert_eq!(rate(&model), Some(50.0));
    assert_eq!(model.series.rate(0), Some(50.0));
    for second in 21..=40 {
        model.hear(at(second), Message::Heartbeat(v1::Heartbeat {}));
        model.tick(at(second));
    }
    assert_eq!(rate(&model), Some(0.0), "nothing came");
    let drawn: Vec<_> = model.series.starts.iter().copied().collect();
    assert_eq!((drawn[5], drawn[30]), (Some(50.0), Some(0.0)));
    for second in 41..4_000 {
        model.hear(at(second), Message::Heartbeat(v1::Heartbeat {}));
        model.tick(at(second));
    }
    assert_eq!(model.series.starts.len(), series::SECONDS_MAX);
}

#[test]
fn a_counter_that_begins_anew_is_no_negative_rate() {
    let mut tracked = things::Tracked::new(());
    tracked.sample(at(0), [900, 0, 0, 0]);
    tracked.sample(at(1), [1_000, 0, 0, 0]);
    assert_eq!(tracked.rate(0), Some(100.0));
    tracked.sample(at(2), [3, 0, 0, 0]);
    assert_eq!(tracked.rate(0), None, "a new life is measured anew");
    tracked.sample(at(3), [5, 0, 0, 0]);
    assert_eq!(tracked.rate(0), Some(2.0));
}

#[test]
fn what_came_while_nobody_listened_is_a_hole_not_a_peak() {
    let mut model = model();
    for second in 0..3 {
        model.hear(at(second), set(Item::TaskName(started(10))));
        model.tick(at(second));
    }
    model.apply(at(3), Input::Interrupted("cut".into()));
    model.tick(at(3));
    model.hear(at(63), Message::SnapshotBegin(v1::SnapshotBegin {}));
    model.hear(at(63), item(Item::TaskName(started(60_010))));
    model.hear(at(63), Message::SnapshotEnd(v1::SnapshotEnd { items: 1 }));
    for second in 63..66 {
        model.hear(at(second), Message::Heartbeat(v1::Heartbeat {}));
        model.tick(at(second));
    }
    let peak = model
        .series
        .starts
        .iter()
        .flatten()
        .copied()
        .fold(0.0, f64::max);
    assert!(peak.abs() < f64::EPSILON, "{:?}", model.series.starts);
    assert!(
        model.series.starts.contains(&None),
        "{:?}",
        model.series.starts
    );
}

#[test]
fn silence_is_stale_and_a_message_ends_it() {
    let mut model = Model::filled();
    assert_eq!(model.stale(), None);
    model.tick(at(19));
    assert_eq!(model.stale(), None, "a heartbeat may take 15 s");
    model.tick(at(30));
    assert_eq!(model.stale(), Some(SignedDuration::from_secs(30)));
    model.apply(at(31), Input::Interrupted("cut".into()));
    assert_eq!(model.link, Link::Interrupted("cut".into()));
    model.hear(at(32), Message::Heartbeat(v1::Heartbeat {}));
    assert_eq!((model.stale(), &model.link), (None, &Link::Live));
}

fn generation(actions: &[Action]) -> u64 {
    match actions {
        [Action::ListTasks { generation, .. }] => *generation,
        other => panic!("{other:?}"),
    }
}

fn page(ids: &[&str], more: bool) -> v1::ListTasksResponse {
    v1::ListTasksResponse {
        tasks: ids
            .iter()
            .map(|id| v1::Task {
                id: (*id).into(),
                ..Default::default()
            })
            .collect(),
        next_page_token: if more { "next".into() } else { String::new() },
        as_of: fixture::ago(0),
        scan: None,
    }
}

#[test]
fn tasks_are_listed_only_while_they_are_looked_at_and_one_list_at_a_time() {
    let mut model = Model::filled();
    assert_eq!(model.tick(at(1)), [], "the overview needs no list");
    model.ui.view = ui::View::Tasks;
    let asked = generation(&model.tick(at(2)));
    assert_eq!(model.tick(at(3)), [], "the first is under way");
    model.apply(
        at(6),
        Input::Tasks {
            generation: asked,
            page: page(&["a"], false),
            last: true,
        },
    );
    assert_eq!(model.tasks.rows.len(), 1);
    assert_eq!(
        model.tick(at(7)),
        [],
        "it took 4 s, so the next comes after 20"
    );
    assert_eq!(model.tick(at(25)), []);
    generation(&model.tick(at(26)));
}

#[test]
fn an_answer_to_another_question_is_not_shown() {
    let mut model = Model::filled();
    model.ui.view = ui::View::Tasks;
    let first = generation(&model.tick(at(1)));
    let filter = "state = FAILURE".to_owned();
    let second = model.tasks.narrow(at(2), filter, String::new());
    let second = generation(second.as_slice());
    let answer = |generation, ids: &[&str]| Input::Tasks {
        generation,
        page: page(ids, false),
        last: true,
    };
    model.apply(at(3), answer(first, &["old"]));
    assert!(model.tasks.rows.is_empty() && model.tasks.loading());
    model.apply(at(3), answer(second, &["new"]));
    assert_eq!(model.tasks.rows[0].id, "new");
}
