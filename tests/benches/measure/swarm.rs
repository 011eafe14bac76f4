//! (e) What an inspector takes beside more and more workers, on either broker.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use celeriac_proto::v1::ListWorkersRequest;
use celeriac_tests::paths::Profile;
use celeriac_tests::rabbitmq::Kind;
use celeriac_tests::swarm::Counts;
use celeriac_tests::wait::eventually;
use celeriac_tests::{Aggregator, Fleet, Inspector, RabbitMq, Redis};

use crate::publish::as_f64;
use crate::table::Table;

/// Workers come on line at this rate, each second: faster than any rollout, slower than a broker's limit.
const ONLINE_PER_SECOND: f64 = 250.0;
/// RabbitMQ makes some dozen queues a second when it is busy.
const ONLINE: Duration = Duration::from_mins(10);
/// Tasks of each worker a second: with heartbeats, 0.8 events a second.
const TASKS_PER_SECOND_EACH: f64 = 0.1;

/// How much of it is measured.
pub(crate) struct Size {
    /// Sizes of the fleet.
    pub(crate) workers: &'static [usize],
    /// From when all listen to when it is measured. Up to 1,000 workers are known in full by then.
    pub(crate) settle: Duration,
    /// How long is measured.
    pub(crate) window: Duration,
    /// Celeriac's build.
    pub(crate) profile: Profile,
}

impl Size {
    pub(crate) const FULL: Self = Self {
        workers: &[10, 100, 1_000, 10_000],
        settle: Duration::from_secs(150),
        window: Duration::from_mins(1),
        profile: Profile::Release,
    };
    pub(crate) const QUICK: Self = Self {
        workers: &[10, 100, 1_000],
        settle: Duration::from_secs(30),
        window: Duration::from_secs(30),
        profile: Profile::Release,
    };
    /// Shows that everything works, and measures nothing.
    pub(crate) const SMOKE: Self = Self {
        workers: &[10],
        settle: Duration::from_secs(1),
        window: Duration::from_secs(2),
        profile: Profile::Debug,
    };
}

/// Measures every size on both brokers and gives the table.
pub(crate) async fn measure(size: &Size) -> Result<Table> {
    let mut table = Table::new(&[
        "swarm",
        "workers",
        "events/s",
        "control/s each",
        "answers/s",
        "CPU ms/s",
        "us/s a worker",
        "RSS MiB",
        "aggregator ms/s",
        "RSS MiB",
        "list ms",
    ]);
    for &workers in size.workers {
        // Redis has a limit of its own, 10,000 clients.
        let clients = format!("maxclients {}", workers + 1_000);
        let redis = Redis::builder().config(&clients).start();
        table.row(row("Redis", &redis.url(), workers, size).await?);
    }
    let node = tokio::task::spawn_blocking(|| RabbitMq::start(Kind::Three)).await?;
    for &workers in size.workers {
        let host = node.make_host();
        let url = format!("amqp://{}/{host}", node.address());
        table.row(row("RabbitMQ", &url, workers, size).await?);
    }
    Ok(table)
}

async fn row(broker: &str, url: &str, workers: usize, size: &Size) -> Result<Vec<String>> {
    let aggregator = Aggregator::builder().profile(size.profile).start().await;
    let server = format!("http://{}", aggregator.address());
    let inspector = Inspector::start_built(size.profile, url, &["run", "--aggregator", &server]);
    aggregator.subscribed().await;
    let all = as_f64(workers as u64);
    let fleet = Fleet::on(url).workers(workers).counts_only();
    let fleet = fleet
        .online_over(Duration::from_secs_f64(all / ONLINE_PER_SECOND))
        .start();
    eventually("all listen", ONLINE, async || {
        let counts = fleet.counts();
        ensure!(counts.listening == workers as u64, "{counts:?}");
        Ok(())
    })
    .await;
    fleet.work(TASKS_PER_SECOND_EACH).await;
    tokio::time::sleep(size.settle).await;

    let cpu =
        || [&inspector.process, &aggregator.process].map(celeriac_tests::Process::cpu_seconds);
    let (begin, before, cpu_before) = (Instant::now(), fleet.counts(), cpu());
    tokio::time::sleep(size.window).await;
    let (seconds, after, cpu_after) = (begin.elapsed().as_secs_f64(), fleet.counts(), cpu());
    ensure!(
        after.listening == workers as u64 && after.unsure == 0,
        "{broker}: workers lost their broker: {after:?}"
    );
    let rate = |field: fn(&Counts) -> u64| as_f64(field(&after) - field(&before)) / seconds;
    let [own, aggregators] =
        [0, 1].map(|one| (cpu_after[one] - cpu_before[one]) * 1000.0 / seconds);
    let each = rate(|counts| counts.delivered) / all;
    let mib = [&inspector.process, &aggregator.process].map(|one| one.resident_bytes() >> 20);
    let list = list(&aggregator, workers).await?;
    let gaps = aggregator.app().await?.gaps;
    ensure!(
        gaps.is_empty(),
        "{broker}, {workers} workers: events were missed: {gaps:?}"
    );
    let row = vec![
        broker.to_owned(),
        workers.to_string(),
        format!(
            "{:.0}",
            rate(|counts| counts.task_events + counts.worker_events)
        ),
        format!("{each:.2}"),
        format!("{:.1}", rate(|counts| counts.replies)),
        format!("{own:.1}"),
        format!("{:.0}", own * 1000.0 / all),
        mib[0].to_string(),
        format!("{aggregators:.1}"),
        mib[1].to_string(),
        format!("{:.0}", list.as_secs_f64() * 1000.0),
    ];
    eprintln!("    {}", row.join("  "));
    Ok(row)
}

/// How long the list of all workers takes, over as many pages as there are; all have to be on it.
async fn list(aggregator: &Aggregator, workers: usize) -> Result<Duration> {
    let begin = Instant::now();
    let mut client = aggregator.inspection().await?;
    let mut request = ListWorkersRequest {
        page_size: 1000,
        ..Default::default()
    };
    let mut listed = 0;
    loop {
        let page = client.list_workers(request.clone()).await?.into_inner();
        listed += page.workers.len();
        if page.next_page_token.is_empty() {
            ensure!(
                listed == workers,
                "{listed} of {workers} workers are listed"
            );
            return Ok(begin.elapsed());
        }
        request.page_token = page.next_page_token;
    }
}
