//! Inspector and aggregator as two processes behave as the in-process pair does, whatever happens between them: nothing
//! acknowledged is lost, nothing is invented, nothing counted twice. What is true is known from the simulated workers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::ensure;
use celeriac_proto::v1::{GapCause, Task};
use celeriac_tests::proxy::{Direction, Faults};
use celeriac_tests::{Aggregator, Broker, BrokerKind, Fleet, Inspector, Proxy, eventually, turn};

const SOON: Duration = Duration::from_mins(1);
/// The inspector's keepalive: it asks after 20 s of silence and waits 10 s for the answer.
const NOTICED_WITHIN: Duration = Duration::from_secs(30);
/// On top of it, to connect again on a busy machine.
const RECONNECTED_WITHIN: Duration = Duration::from_secs(15);
/// Troubles of the long test.
const FAULTS: usize = 36;

/// An inspector, an aggregator, and trouble between them.
struct Pair {
    broker: Broker,
    proxy: Proxy,
    aggregator: Aggregator,
    inspector: Inspector,
}

impl Pair {
    async fn start(kind: BrokerKind, arguments: &[&str]) -> Self {
        let broker = Broker::start(kind).await;
        let aggregator = Aggregator::builder().start().await;
        let proxy = Proxy::start(aggregator.address());
        let inspector = inspector(&broker, &proxy, arguments);
        let pair = Self {
            broker,
            proxy,
            aggregator,
            inspector,
        };
        eventually("the app is there", SOON, async || {
            pair.aggregator.app().await
        })
        .await;
        pair.aggregator.subscribed().await;
        pair
    }

    /// Waits until every event that was heard has been folded, or has had the time to be folded twice.
    async fn settled(&self, fleet: &Fleet) {
        fleet.rest().await;
        eventually("all tasks have ended", SOON, async || {
            ensure!(fleet.truth().all_finished(), "some have not");
            Ok(())
        })
        .await;
        eventually("all events are folded", SOON, async || {
            let folded = self.aggregator.app().await?.events_folded;
            let sent = fleet.truth().messages();
            ensure!(usize::try_from(folded)? >= sent, "{folded} of {sent}");
            Ok(())
        })
        .await;
        self.aggregator.settled().await;
    }
}

fn inspector(broker: &Broker, proxy: &Proxy, arguments: &[&str]) -> Inspector {
    let server = format!("http://{}", proxy.address());
    let mut all = vec!["run", "--aggregator", &server];
    all.extend(arguments);
    Inspector::start(&broker.url(), &all)
}

/// Every task is as it truly went, and every event is counted once.
async fn assert_exact(aggregator: &Aggregator, fleet: &Fleet) {
    let tasks = aggregator.tasks("").await.expect("it serves");
    let truth = fleet.truth().clone();
    let mut wrong = Vec::new();
    let shown: BTreeMap<&str, &Task> = tasks.iter().map(|task| (task.id.as_str(), task)).collect();
    assert_eq!(shown.len(), tasks.len(), "no task is listed twice");
    for (id, task) in &truth.tasks {
        let Some(shown) = shown.get(id.as_str()) else {
            wrong.push(format!("{id} is missing: {task:?}"));
            continue;
        };
        let ours = (
            shown.name.as_deref(),
            shown.worker.as_deref(),
            shown.state.as_str(),
        );
        let theirs = (
            Some(task.name.as_str()),
            Some(task.worker.as_str()),
            task.state,
        );
        if ours != theirs || shown.attempt_count != task.attempts {
            wrong.push(format!("{shown:?} is truly {task:?}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong, such as {}",
        wrong.len(),
        wrong[0]
    );
    assert_eq!(tasks.len(), truth.tasks.len(), "nothing is invented");
    let app = aggregator.app().await.expect("it serves");
    assert_eq!(
        usize::try_from(app.events_folded).ok(),
        Some(truth.messages()),
        "events folded"
    );
    for name in aggregator.task_names().await.expect("it serves") {
        let of_name = |event: &str| {
            let tasks = truth.tasks.values().filter(|task| task.name == name.name);
            let events = tasks.flat_map(|task| task.events.iter().filter(|one| **one == event));
            u64::try_from(events.count()).expect("few")
        };
        for (event, counted) in [
            ("task-received", name.received),
            ("task-started", name.started),
            ("task-succeeded", name.succeeded),
            ("task-failed", name.failed),
            ("task-retried", name.retried),
            ("task-revoked", name.revoked),
        ] {
            assert_eq!(counted, of_name(event), "{event} of {}", name.name);
        }
    }
    println!(
        "{} tasks and {} events are exact",
        tasks.len(),
        truth.messages()
    );
}

#[tokio::test]
async fn whatever_happens_between_them_and_to_the_aggregator_every_event_counts_once() {
    troubled(BrokerKind::Redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_between_them_every_event_counts_once_on_rabbitmq() {
    troubled(BrokerKind::RabbitMq).await;
}

async fn troubled(kind: BrokerKind) {
    let _turn = turn().await;
    let mut pair = Pair::start(kind, &[]).await;
    let fleet = Fleet::on(&pair.broker.url()).workers(10).start();
    fleet.work(10.0).await;
    let mut faults = Faults::seeded(20_261_126);
    let mut kills = 0;
    for number in 0..FAULTS {
        tokio::time::sleep(faults.pause(Duration::from_millis(800))).await;
        if faults.once_in(4) {
            kills += 1;
            pair.aggregator.kill9();
            tokio::time::sleep(faults.pause(Duration::from_millis(500))).await;
            pair.aggregator.restart().await;
        } else {
            let fault = faults.next().expect("the schedule is endless");
            println!("{number}: {fault:?}");
            fault.strike(&pair.proxy).await;
        }
    }
    assert!(kills > 3, "the schedule kills the aggregator {kills} times");
    pair.aggregator.subscribed().await;
    pair.settled(&fleet).await;
    assert_exact(&pair.aggregator, &fleet).await;
    let gaps = pair.aggregator.app().await.expect("it serves").gaps;
    assert!(gaps.is_empty(), "nothing was missed: {gaps:?}");
}

/// How far a task has come, so that a later sight of it is never behind an earlier one.
fn progress(task: &Task) -> (bool, u64, usize) {
    let times = [task.received_time, task.started_time, task.retried_time];
    let known = times.iter().flatten().count();
    (task.finished, task.attempt_count, known)
}

#[tokio::test]
async fn the_inspector_is_killed_too_and_what_was_on_disk_stays_and_nothing_is_invented() {
    let _turn = turn().await;
    let mut pair = Pair::start(BrokerKind::Redis, &[]).await;
    let fleet = Fleet::on(&pair.broker.url()).workers(10).start();
    let seen = killed_again_and_again(&mut pair, &fleet).await;
    fleet.rest().await;
    eventually("all tasks have ended", SOON, async || {
        ensure!(fleet.truth().all_finished(), "some have not");
        Ok(())
    })
    .await;
    pair.aggregator.settled().await;
    pair.aggregator.settled().await;

    assert_bounded(&pair.aggregator, &fleet, &seen).await;
}

/// What its end leaves unacknowledged comes once more, and what was acknowledged is on disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_inspector_is_killed_too_and_every_event_counts_once_on_rabbitmq() {
    let _turn = turn().await;
    let mut pair = Pair::start(BrokerKind::RabbitMq, &[]).await;
    let fleet = Fleet::on(&pair.broker.url()).workers(10).start();
    killed_again_and_again(&mut pair, &fleet).await;
    pair.settled(&fleet).await;
    assert_exact(&pair.aggregator, &fleet).await;
    let gaps = pair.aggregator.app().await.expect("it serves").gaps;
    assert!(gaps.is_empty(), "nothing was missed: {gaps:?}");
}

/// Kills the inspector twelve times, now and then the aggregator with it, and has what the inspector had sent come late. The
/// tasks that were seen meanwhile.
async fn killed_again_and_again(pair: &mut Pair, fleet: &Fleet) -> BTreeMap<String, Task> {
    fleet.work(10.0).await;
    let mut faults = Faults::seeded(7);
    let mut seen = BTreeMap::new();
    for number in 0..12 {
        tokio::time::sleep(faults.pause(Duration::from_secs(2))).await;
        pair.aggregator.settled().await;
        let tasks = pair.aggregator.tasks("").await.expect("it serves");
        seen.extend(tasks.into_iter().map(|task| (task.id.clone(), task)));
        // Everything shown is on disk after that, and must be there whatever comes.
        pair.aggregator.settled().await;
        let late = faults.once_in(2);
        if late {
            // What it had sent comes after its successor has attached.
            pair.proxy.hold(Direction::Up, true);
            tokio::time::sleep(faults.pause(Duration::from_secs(1))).await;
        }
        if faults.once_in(3) {
            pair.aggregator.kill9();
            pair.inspector.process.kill9();
            pair.aggregator.restart().await;
        } else {
            pair.inspector.process.kill9();
        }
        if late {
            pair.proxy.hang_up();
            pair.proxy.hold(Direction::Up, false);
        }
        pair.inspector = inspector(&pair.broker, &pair.proxy, &[]);
        attached_anew(pair, number).await;
        pair.proxy.deliver_late();
    }
    seen
}

/// What was on disk is there, what is there is true, and nothing is counted more often than it happened.
async fn assert_bounded(aggregator: &Aggregator, fleet: &Fleet, seen: &BTreeMap<String, Task>) {
    let truth = fleet.truth().clone();
    let tasks = aggregator.tasks("").await.expect("it serves");
    let now: BTreeMap<&str, &Task> = tasks.iter().map(|task| (task.id.as_str(), task)).collect();
    for (id, before) in seen {
        let Some(now) = now.get(id.as_str()) else {
            panic!("{before:?} is gone");
        };
        assert!(
            progress(now) >= progress(before),
            "{before:?} became {now:?}"
        );
    }
    for task in &tasks {
        let truly = &truth.tasks[&task.id];
        assert!(
            task.attempt_count <= truly.attempts,
            "{task:?} is truly {truly:?}"
        );
        assert_eq!(task.worker.as_deref(), Some(truly.worker.as_str()));
        if task.finished && !task.outcome_unknown {
            assert_eq!(task.state, truly.state, "{task:?} is truly {truly:?}");
        }
    }
    let app = aggregator.app().await.expect("it serves");
    let folded = usize::try_from(app.events_folded).expect("it counts up");
    assert!(
        folded <= truth.messages(),
        "{folded} of {}",
        truth.messages()
    );
    let away = app
        .gaps
        .iter()
        .filter(|gap| gap.cause() == GapCause::Detached)
        .count();
    assert_eq!(
        away, 12,
        "each time it says that it was away: {:?}",
        app.gaps
    );
    for name in aggregator.task_names().await.expect("it serves") {
        let tasks = truth.tasks.values().filter(|task| task.name == name.name);
        let started = tasks.map(|task| {
            task.events
                .iter()
                .filter(|one| **one == "task-started")
                .count()
        });
        assert!(name.started <= started.sum::<usize>() as u64, "{name:?}");
    }
    println!(
        "{} of {} tasks seen, {folded} of {} events",
        tasks.len(),
        truth.tasks.len(),
        truth.messages()
    );
}

/// Waits until this inspector, the one started last, is the one that is folded, and subscribed.
async fn attached_anew(pair: &Pair, number: usize) {
    eventually("the next inspector is attached", SOON, async || {
        let inspector = pair.aggregator.app().await?.inspector.unwrap_or_default();
        let log = pair.inspector.process.log();
        let attached = log.contains("attached to the aggregator") && inspector.attached;
        ensure!(attached, "{number}: {inspector:?}");
        Ok(())
    })
    .await;
    pair.aggregator.subscribed().await;
}

/// A task without what depends on when and by whom it was seen.
fn content(task: &Task) -> Task {
    Task {
        first_seen: None,
        last_seen: None,
        finish_seen: None,
        ..task.clone()
    }
}

#[tokio::test]
async fn recorded_traffic_becomes_the_same_in_one_process_and_in_two() {
    let _turn = turn().await;
    let pair = Pair::start(BrokerKind::Redis, &[]).await;
    let Broker::Redis(redis) = &pair.broker else {
        unreachable!("it was asked for");
    };
    let single = Aggregator::on(&redis.url()).await;
    let file = celeriac_tests::paths::root().join("tests/fixtures/redis-events.jsonl");
    let text = std::fs::read_to_string(file).expect("the recordings are in the checkout");
    let mut messages = 0;
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON lines");
        let word = |field: &str| line[field].as_str().expect("it is text").to_owned();
        let heard = redis.cli(&["PUBLISH", &word("channel"), &word("payload")]);
        assert_eq!(heard.number(), 2, "both are subscribed");
        messages += 1;
    }
    let counted = eventually("both have folded all", SOON, async || {
        let (one, two) = (single.app().await?, pair.aggregator.app().await?);
        let (one, two) = (one.events_folded, two.events_folded);
        ensure!(one == two && one > messages, "{one} and {two}");
        Ok(one)
    })
    .await;
    single.settled().await;
    pair.aggregator.settled().await;
    let tasks = async |aggregator: &Aggregator| -> BTreeMap<String, Task> {
        let tasks = aggregator.tasks("").await.expect("it serves");
        tasks
            .iter()
            .map(|task| (task.id.clone(), content(task)))
            .collect()
    };
    let (one, two) = (tasks(&single).await, tasks(&pair.aggregator).await);
    assert!(one.len() > 600, "{} tasks", one.len());
    for (id, task) in &one {
        assert_eq!(Some(task), two.get(id), "{id}");
    }
    assert_eq!(one.len(), two.len());
    let names = async |aggregator: &Aggregator| {
        let mut names = aggregator.task_names().await.expect("it serves");
        for name in &mut names {
            name.last_seen = None;
        }
        names.sort_by(|a, b| a.name.cmp(&b.name));
        names
    };
    assert_eq!(names(&single).await, names(&pair.aggregator).await);
    println!("{} tasks and {counted} events are the same", one.len());
}

#[tokio::test]
async fn a_connection_that_falls_silent_is_noticed_within_the_keepalives_time_and_nothing_is_lost()
{
    let _turn = turn().await;
    let pair = Pair::start(BrokerKind::Redis, &[]).await;
    let fleet = Fleet::on(&pair.broker.url()).workers(4).start();
    fleet.work(10.0).await;
    for silence in ["both ways", "no acknowledgements come"] {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let connections = pair.proxy.clients().len();
        let begin = Instant::now();
        if silence == "both ways" {
            pair.proxy.strand();
        } else {
            pair.proxy.strand_one_way(Direction::Down);
        }
        let within = NOTICED_WITHIN + RECONNECTED_WITHIN;
        eventually(silence, within, async || {
            let now = pair.proxy.clients().len();
            ensure!(now > connections, "no new connection yet");
            Ok(())
        })
        .await;
        println!("{silence}: noticed after {:.1?}", begin.elapsed());
    }
    pair.settled(&fleet).await;
    assert_exact(&pair.aggregator, &fleet).await;
}

#[tokio::test]
async fn what_a_full_buffer_drops_is_a_gap_with_its_number() {
    let _turn = turn().await;
    let pair = Pair::start(BrokerKind::Redis, &["--buffer", "1"]).await;
    // Without heartbeats every message is an event of a task.
    let fleet = Fleet::on(&pair.broker.url())
        .workers(10)
        .heartbeats(false)
        .start();
    fleet.work(2.0).await;
    eventually("tasks flow", SOON, async || {
        let folded = pair.aggregator.app().await?.events_folded;
        ensure!(folded > 50, "{folded}");
        Ok(())
    })
    .await;
    pair.proxy.refuse(true);
    pair.proxy.cut();
    fleet.work(100.0).await;
    let sent = fleet.truth().messages();
    eventually("the buffer overflows", SOON, async || {
        let log = pair.inspector.process.log();
        let sent = fleet.truth().messages() - sent;
        ensure!(
            log.contains("the buffer is full") && sent > 10_000,
            "{sent} sent"
        );
        Ok(())
    })
    .await;
    pair.proxy.heal();
    fleet.work(2.0).await;
    let dropped = eventually("the overflow is told", SOON, async || {
        let gaps = pair.aggregator.app().await?.gaps;
        let overflow = |gap: &&celeriac_proto::v1::Gap| gap.cause() == GapCause::Overflow;
        let overflows: Vec<_> = gaps.iter().filter(overflow).collect();
        ensure!(!overflows.is_empty(), "{gaps:?}");
        Ok(overflows
            .iter()
            .map(|gap| gap.dropped_messages())
            .sum::<u64>())
    })
    .await;
    fleet.rest().await;
    eventually(
        "what was folded and what was dropped is what was sent",
        SOON,
        async || {
            let app = pair.aggregator.app().await?;
            let truth = fleet.truth();
            let (folded, sent) = (
                u64::try_from(app.events_folded)?,
                u64::try_from(truth.messages())?,
            );
            ensure!(
                truth.all_finished() && folded + dropped == sent,
                "{folded} + {dropped} != {sent}"
            );
            Ok(())
        },
    )
    .await;
    println!(
        "{dropped} of {} messages were dropped and told",
        fleet.truth().messages()
    );
    assert!(dropped > 0);
}
