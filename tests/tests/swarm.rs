//! An inspector beside a hundred workers, on either broker: what it takes and asks in steady state is bounded and printed, and
//! nothing but what brokers themselves will drop is left. `tests/benches/run --only e` has the figures up to 10,000 workers.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use celeriac_tests::product::FIRST_LOOK;
use celeriac_tests::swarm::Counts;
use celeriac_tests::{Aggregator, Fleet, Inspector, RabbitMq, Redis, eventually, turn};

const WORKERS: usize = 100;
const TASKS_PER_SECOND_EACH: f64 = 1.0;
/// For a hundred workers it takes 15 s; the rest is for a busy machine.
const KNOWN: Duration = Duration::from_mins(2);
const SOON: Duration = Duration::from_secs(30);
/// Rounds are as dense as the budget lets them be, so that some of one falls into the time that is looked at.
const ROUND: &str = "5s";
/// How long steady state is looked at.
const STEADY: Duration = Duration::from_secs(15);

/// Control messages to each worker a second: the whole budget. In steady state it is half of that on average, but a round may
/// begin just then.
const MESSAGES_MAX: f64 = 1.0;
/// What may have been saved up, and the message at each end.
const SAVED_MAX: f64 = 4.0;
/// Cores, of a build that is not optimised, at 370 events a second; 0.08 are seen on Redis, 0.15 on RabbitMQ.
const CORES_MAX: f64 = 0.6;
/// Resident, of the same build; 24 MiB are seen.
const MEMORY_MAX_MIB: u64 = 100;
/// What a reply list may live at most after an orderly end.
const LIST_SECONDS_MAX: i64 = 60;
/// The queue of events is kept for the next inspector, for ten minutes; an exchange of its name goes with it.
const KEPT: &str = "celeryev.celeriac.default";
/// Its `x-expires`.
const QUEUE_MS_MAX: i64 = 600_000;

/// What was seen of an inspector in steady state, a second.
#[derive(Debug)]
struct Steady {
    messages_each: f64,
    events: f64,
    cores: f64,
    memory_mib: u64,
}

/// Starts everything on a broker, looks, and ends it all in order.
async fn look(url: &str) -> Steady {
    let mut aggregator = Aggregator::builder().start().await;
    let server = format!("http://{}", aggregator.address());
    let arguments = ["run", "--aggregator", &server, "--round", ROUND];
    let mut inspector = Inspector::start(url, &arguments);
    aggregator.subscribed().await;
    let fleet = Fleet::on(url).workers(WORKERS);
    let fleet = fleet.online_over(Duration::from_secs(2)).start();
    let begin = Instant::now();
    eventually("all listen", SOON, async || {
        let counts = fleet.counts();
        ensure!(counts.listening == WORKERS as u64, "{counts:?}");
        Ok(())
    })
    .await;
    println!("all listen after {:.1?}", begin.elapsed());
    fleet.work(TASKS_PER_SECOND_EACH).await;
    known(&aggregator, &fleet).await;

    let (begin, before, cpu) = (
        Instant::now(),
        fleet.counts(),
        inspector.process.cpu_seconds(),
    );
    tokio::time::sleep(STEADY).await;
    let seconds = begin.elapsed().as_secs_f64();
    let (after, used) = (fleet.counts(), inspector.process.cpu_seconds() - cpu);
    let grown = |field: fn(&Counts) -> u64| {
        f64::from(u32::try_from(field(&after) - field(&before)).expect("some seconds' worth"))
    };
    let steady = Steady {
        messages_each: grown(|counts| counts.delivered)
            / f64::from(u32::try_from(WORKERS).expect("few"))
            / seconds,
        events: grown(|counts| counts.task_events + counts.worker_events) / seconds,
        cores: used / seconds,
        memory_mib: inspector.process.resident_bytes() >> 20,
    };
    assert_eq!(after.listening, WORKERS as u64, "{after:?}");
    assert_eq!(after.unsure, 0, "{after:?}");
    all_counted(&aggregator, &fleet).await;

    fleet.stop().await;
    eventually("all have ended", SOON, async || {
        let counts = fleet.counts();
        ensure!(counts.listening == 0, "{counts:?}");
        Ok(())
    })
    .await;
    assert!(
        inspector.process.stop(SOON).success(),
        "{}",
        inspector.process.log()
    );
    aggregator.stop();
    steady
}

/// Waits until every worker has answered everything, and the aggregator shows it.
async fn known(aggregator: &Aggregator, fleet: &Fleet) {
    let begin = Instant::now();
    eventually("every worker is known in full", KNOWN, async || {
        let answered = |name: &String| {
            let truth = fleet.truth();
            let said = truth.answered.get(name);
            FIRST_LOOK
                .iter()
                .all(|one| said.is_some_and(|said| said.contains(*one)))
        };
        let full = fleet.names().iter().filter(|name| answered(name)).count();
        ensure!(full == WORKERS, "{full} have answered everything");
        let workers = aggregator.workers().await?;
        let shown = workers.iter().filter(|one| {
            let seen = one.inspection.as_ref();
            seen.is_some_and(|seen| seen.queues_known && seen.pool.is_some())
        });
        let shown = shown.count();
        ensure!(shown == WORKERS, "{shown} are shown with pool and queues");
        Ok(())
    })
    .await;
    println!("everything known after {:.1?}", begin.elapsed());
}

/// Every task that the workers made is there, once.
async fn all_counted(aggregator: &Aggregator, fleet: &Fleet) {
    fleet.rest().await;
    eventually("all tasks have ended and are counted", SOON, async || {
        let (ended, tasks) = {
            let truth = fleet.truth();
            (truth.all_finished(), truth.tasks.len())
        };
        ensure!(ended, "some run");
        let finished = aggregator.tasks("finished = true").await?.len();
        ensure!(finished == tasks, "{finished} of {tasks}");
        Ok(())
    })
    .await;
    let unheard: usize = fleet.truth().tasks.values().map(|task| task.unheard).sum();
    assert_eq!(unheard, 0, "the inspector was subscribed all the time");
    let gaps = aggregator.app().await.expect("it serves").gaps;
    assert_eq!(gaps, [], "nothing was missed");
}

fn assert_bounded(broker: &str, steady: &Steady) {
    println!(
        "{broker}, {WORKERS} workers: {:.0} events/s, {:.3} control messages/s to each, {:.3} cores ({:.2} ms/s a worker), {} MiB",
        steady.events,
        steady.messages_each,
        steady.cores,
        steady.cores * 1000.0 / f64::from(u32::try_from(WORKERS).expect("few")),
        steady.memory_mib,
    );
    let messages_max = MESSAGES_MAX + SAVED_MAX / STEADY.as_secs_f64();
    assert!(steady.messages_each <= messages_max, "{steady:?}");
    assert!(steady.messages_each > 0.0, "no round went on: {steady:?}");
    // Tasks and heartbeats of all came through, or the rest says nothing.
    assert!(steady.events > 200.0, "{steady:?}");
    assert!(steady.cores <= CORES_MAX, "{steady:?}");
    assert!(steady.memory_mib <= MEMORY_MAX_MIB, "{steady:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inspector_of_a_hundred_workers_on_redis_stays_within_its_bounds() {
    let _turn = turn().await;
    let redis = Redis::start();
    let steady = look(&redis.url()).await;
    assert_bounded("Redis", &steady);
    for key in redis.keys() {
        let ttl = redis.cli(&["TTL", &key]).number();
        // -2: gone in between.
        assert!(
            ttl == -2 || (0..=LIST_SECONDS_MAX).contains(&ttl),
            "{key} has TTL {ttl}"
        );
    }
    assert_eq!(redis.cli(&["PUBSUB", "NUMPAT"]).number(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inspector_of_a_hundred_workers_on_rabbitmq_stays_within_its_bounds() -> Result<()> {
    let _turn = turn().await;
    let host = tokio::task::spawn_blocking(RabbitMq::host).await?;
    let steady = look(&host.url()).await;
    assert_bounded("RabbitMQ", &steady);
    eventually("nothing else is left of us", SOON, async || {
        let queues = host.queues()?;
        // The workers' own queue of tasks.
        ensure!(queues == ["celery", KEPT], "{queues:?}");
        Ok(())
    })
    .await;
    let kept = host.queue(KEPT)?;
    let expires = kept["arguments"]["x-expires"].as_i64();
    ensure!(
        expires.is_some_and(|ms| (1..=QUEUE_MS_MAX).contains(&ms)),
        "{kept}"
    );
    let exchanges: BTreeSet<String> = host.exchanges()?.into_iter().collect();
    // The first four are Celery's own.
    let known = [
        "celery",
        "celery.pidbox",
        "celeryev",
        "reply.celery.pidbox",
        KEPT,
    ];
    let known = known.map(str::to_owned).into_iter().collect();
    ensure!(exchanges.is_subset(&known), "{exchanges:?}");
    let path = format!("/api/exchanges/{}/{KEPT}", host.name());
    let ours = host.node().api().get(&path)?;
    ensure!(ours["auto_delete"] == true, "{ours}");
    Ok(())
}
