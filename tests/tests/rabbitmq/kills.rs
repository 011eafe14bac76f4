//! Events through RabbitMQ while the inspector and the aggregator are killed at random, both with SIGKILL: each event is
//! there once in the end.

use std::time::{Duration, Instant};

use anyhow::ensure;
use celeriac_tests::{Aggregator, Celery, Inspector, RabbitMq, eventually, turn};

const SOON: Duration = Duration::from_mins(2);

/// Tasks for each kill of each.
const TASKS_PER_KILL: usize = 1_250;
/// Events of a task: sent, received, started, succeeded.
const EVENTS_PER_TASK: usize = 4;

/// Publishes events as Celery's own dispatcher does: of `TASKS` tasks on five workers, and a heartbeat with the count of
/// what was processed after every hundred. A tenth of a second for each `PACE` tasks.
const PUBLISH: &str = r"
import uuid
from celery.events import EventDispatcher

connection = app.connection_for_write()
workers = []
for number in range(5):
    dispatcher = app.events.Dispatcher(connection, hostname='celery@w%d' % number, buffer_while_offline=False)
    dispatcher.enable()
    workers.append([dispatcher, 0])

def beat(worker, kind):
    worker[0].send(kind, freq=2.0, active=0, processed=worker[1], loadavg=[0, 0, 0], sw_ident='py-celery', sw_ver='5.7.0', sw_sys='Linux')

for worker in workers:
    beat(worker, 'worker-online')
for number in range(TASKS):
    worker = workers[number % 5]
    id = str(uuid.uuid4())
    worker[0].send('task-sent', uuid=id, name='kills.task', args='()', kwargs='{}', root_id=id, parent_id=None, retries=0, eta=None, expires=None, queue='celery', exchange='', routing_key='celery')
    worker[0].send('task-received', uuid=id, name='kills.task', args='()', kwargs='{}', root_id=id, parent_id=None, retries=0, eta=None, expires=None)
    worker[1] += 1
    worker[0].send('task-started', uuid=id)
    worker[0].send('task-succeeded', uuid=id, result='1', runtime=0.01)
    if number % 100 > 94:
        beat(worker, 'worker-heartbeat')
    if number % PACE == 0:
        time.sleep(0.1)
for worker in workers:
    beat(worker, 'worker-heartbeat')
print('published')
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_is_lost_or_counted_twice_when_both_are_killed_at_random() {
    check(3).await;
}

/// By hand: `cargo test -p celeriac-tests --test rabbitmq -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: 100,000 events, 20 kills of each; the test above is a smaller form"]
async fn none_of_100_000_events_is_lost_or_counted_twice_in_20_kills_of_each() {
    check(20).await;
}

async fn check(kills: usize) {
    let _turn = turn().await;
    let tasks = TASKS_PER_KILL * kills;
    let host = tokio::task::spawn_blocking(RabbitMq::host)
        .await
        .expect("the node starts");
    let mut aggregator = Aggregator::builder().start().await;
    let server = format!("http://{}", aggregator.address());
    let inspect = || Inspector::start(&host.url(), &["run", "--aggregator", &server]);
    let mut inspector = inspect();
    aggregator.subscribed().await;

    // About as long as the kills take, so that events flow at each.
    let celery = Celery::new("5.7", &host.url()).env("DEMO_BACKEND", "rpc://");
    let begin = Instant::now();
    let mut publisher = celery.start(&format!("TASKS, PACE = {tasks}, 40\n{PUBLISH}"));
    let mut victims: Vec<bool> = (0..2 * kills).map(|number| number % 2 == 0).collect();
    fastrand::shuffle(&mut victims);
    for is_inspector in victims {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(300..1_500))).await;
        if is_inspector {
            inspector.process.kill9();
            inspector = inspect();
        } else {
            aggregator.restart().await;
        }
    }
    let killed = begin.elapsed();
    eventually("all is published", SOON * 2, async || {
        if publisher.log().contains("published") {
            return Ok(());
        }
        Err(format!("{:?} {}", publisher.exited(), publisher.log()))
    })
    .await;
    let published = begin.elapsed();
    all_counted(&aggregator, tasks).await;
    println!(
        "{} events, {kills} kills of each in {killed:.1?}, published in {published:.1?}, all there after {:.1?}",
        tasks * EVENTS_PER_TASK,
        begin.elapsed()
    );

    let queue = host.queue("celeryev.celeriac.default");
    let queue = queue.expect("it is there");
    let again = queue["message_stats"]["redeliver"].as_u64();
    println!("told again by RabbitMQ: {again:?}");
    // A few kills may meet nothing that is on its way; of twenty that would say that nothing is shown here.
    assert!(kills < 20 || again > Some(0), "{queue}");
    each_once(&aggregator, tasks).await;
}

async fn each_once(aggregator: &Aggregator, tasks: usize) {
    let listed = aggregator
        .tasks("finished = true")
        .await
        .expect("it serves");
    assert_eq!(listed.len(), tasks, "invented or lost");
    assert!(
        listed
            .iter()
            .all(|task| task.state == "SUCCESS" && task.attempts.len() == 1)
    );
    let names = aggregator.task_names().await.expect("it serves");
    let counted: Vec<_> = names
        .iter()
        .map(|name| {
            (
                name.name.as_str(),
                name.started,
                name.succeeded,
                name.failed,
            )
        })
        .collect();
    assert_eq!(counted, [("kills.task", tasks as u64, tasks as u64, 0)]);
    for kind in ["sent", "received", "started", "succeeded"] {
        // These begin anew with each life of the aggregator.
        assert!(metric(aggregator, kind) <= tasks, "task-{kind} events");
    }
    let gaps = aggregator.app().await.expect("it serves").gaps;
    assert_eq!(gaps, [], "nothing was missed");
}

async fn all_counted(aggregator: &Aggregator, tasks: usize) {
    eventually("every task has ended", SOON, async || {
        let app = aggregator.app().await?;
        let names = aggregator.task_names().await?;
        let succeeded: u64 = names.iter().map(|name| name.succeeded).sum();
        ensure!(
            succeeded >= tasks as u64 && app.tasks_unfinished == 0,
            "{succeeded} of {tasks}, {} unfinished",
            app.tasks_unfinished
        );
        Ok(())
    })
    .await;
    aggregator.settled().await;
}

/// The events of this kind, as the peers count them.
fn metric(aggregator: &Aggregator, kind: &str) -> usize {
    let (_, text) = aggregator.get("/metrics").expect("it serves");
    let name = format!("celery_task_{kind}_total{{");
    let values = text.lines().filter(|line| line.starts_with(&name));
    values
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<usize>().ok())
        .sum()
}
