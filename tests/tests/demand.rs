//! What is told of the load of a queue set is what Celery itself says of it: real workers, asked with Celery's own `inspect`
//! and `LLEN`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use celeriac_proto::v1::demand_service_client::DemandServiceClient;
use celeriac_proto::v1::{Demand, GetDemandRequest, WatchDemandRequest};
use celeriac_tests::{Aggregator, Celery, Redis, eventually, turn};
use tonic::Code;
use tonic::transport::Channel;

const SOON: Duration = Duration::from_mins(2);

/// What Celery says: running, waiting for a slot, waiting for their time, ready.
const ASK: &str = r#"
import json
i = app.control.inspect(timeout=5)
size = lambda lists: sum(len(tasks) for tasks in (lists or {}).values())
with app.connection_for_read() as connection:
    ready = connection.default_channel.client.llen("mail")
print(json.dumps([size(i.active()), size(i.reserved()), size(i.scheduled()), ready]))
"#;

async fn client(aggregator: &Aggregator) -> anyhow::Result<DemandServiceClient<Channel>> {
    let address = format!("http://{}", aggregator.address());
    Ok(DemandServiceClient::connect(address).await?)
}

async fn demand(aggregator: &Aggregator, prefix: &str) -> anyhow::Result<Demand> {
    let request = GetDemandRequest {
        app: String::new(),
        queues: vec!["mail".to_owned()],
        worker_prefix: prefix.to_owned(),
    };
    let answer = client(aggregator).await?.get_demand(request).await?;
    answer
        .into_inner()
        .demand
        .context("an answer without demand")
}

fn numbers(demand: &Demand) -> [i64; 4] {
    [
        demand.active,
        demand.reserved,
        demand.scheduled,
        demand.ready,
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn demand_is_what_celerys_own_inspect_says() {
    let _turn = turn().await;
    let redis = Redis::start();
    let celery = Celery::new("5.7", &redis.url());
    let aggregator = Aggregator::builder()
        .broker(&redis.url())
        .arg("--round=5s")
        .start()
        .await;
    aggregator.subscribed().await;

    // Nobody consumes yet: what is ready is told all the same.
    celery.run(
        "for n in range(2): app.send_task('demo.add', args=[1, 2], queue='mail', countdown=3000)\n\
         for n in range(14): app.send_task('demo.nap', args=[600], queue='mail')",
    );
    eventually("the depth is told", SOON, async || {
        let demand = demand(&aggregator, "").await?;
        ensure!(demand.fresh, "{}", demand.stale_reason);
        ensure!(numbers(&demand) == [0, 0, 0, 16], "{demand:?}");
        ensure!(
            demand.oldest_age.is_some() && demand.workers.is_empty(),
            "{demand:?}"
        );
        Ok(())
    })
    .await;

    let mut worker = celery
        .worker("one")
        .concurrency(2)
        .queues(["mail"])
        .start()
        .await;
    eventually("demand is what Celery says", SOON, async || {
        let demand = demand(&aggregator, "").await?;
        let told: [i64; 4] = serde_json::from_str(celery.run(ASK).trim())?;
        ensure!(told[0] == 2 && told[2] == 2, "Celery says {told:?}");
        ensure!(numbers(&demand) == told, "{told:?} of Celery, {demand:?}");
        ensure!(demand.slots == 2, "{demand:?}");
        let [one] = demand.workers.as_slice() else {
            anyhow::bail!("{demand:?}");
        };
        ensure!(one.accepting && one.online && one.processes == 2, "{one:?}");
        ensure!(one.pid > 0 && one.incarnation == 1, "{one:?}");
        // On Redis what is running was acknowledged when it started.
        ensure!(demand.unacked == Some(told[1] + told[2]), "{demand:?}");
        Ok(())
    })
    .await;

    // Its queue is taken from it: it is told of by its name alone, and accepts nothing.
    celery.run("app.control.cancel_consumer('mail', reply=True, timeout=10)");
    eventually("it accepts nothing", SOON, async || {
        let of_queue = demand(&aggregator, "").await?;
        ensure!(of_queue.workers.is_empty(), "{of_queue:?}");
        let named = demand(&aggregator, "celery@one").await?;
        ensure!(named.slots == 0 && named.active == 2, "{named:?}");
        let one = named.workers.first().context("no worker")?;
        ensure!(one.online && !one.accepting, "{one:?}");
        let queues = one.queues.as_ref().context("no queues")?;
        ensure!(queues.names.is_empty(), "{queues:?}");
        Ok(())
    })
    .await;
    worker.kill9();
}

#[tokio::test(flavor = "multi_thread")]
async fn rates_and_slot_times_are_those_of_what_was_sent_and_ran() {
    let _turn = turn().await;
    let redis = Redis::start();
    let celery = Celery::new("5.7", &redis.url());
    let aggregator = Aggregator::builder().broker(&redis.url()).start().await;
    let _worker = celery
        .worker("one")
        .concurrency(4)
        .queues(["mail"])
        .start()
        .await;
    eventually("the worker is known", SOON, async || {
        let demand = demand(&aggregator, "").await?;
        ensure!(demand.slots == 4, "{demand:?}");
        Ok(())
    })
    .await;
    // Four a second for 70 s, half a second each: two slots of four are busy.
    celery.run(
        "import time\nnext = time.time()\nfor n in range(280):\n    \
         app.send_task('demo.nap', args=[0.5], queue='mail')\n    next += 0.25\n    \
         time.sleep(max(0, next - time.time()))",
    );
    let demand = demand(&aggregator, "").await.expect("it serves");
    let rate = demand.arrival_rate.expect("a minute was seen");
    assert!((3.0..5.0).contains(&rate), "{demand:?}");
    let time = demand.service_time.expect("many have started");
    let seconds = f64::from(time.nanos) / 1e9 + f64::from(i32::try_from(time.seconds).unwrap());
    assert!((0.35..0.8).contains(&seconds), "{demand:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_question_is_refused_and_one_too_early_is_answered() {
    let _turn = turn().await;
    let redis = Redis::start();
    let aggregator = Aggregator::builder().broker(&redis.url()).start().await;
    let mut client = client(&aggregator).await.expect("it serves");
    for (queues, names) in [
        (vec![], "0 queues"),
        (vec![String::new()], "1 to 255 bytes"),
    ] {
        let request = GetDemandRequest {
            queues,
            ..GetDemandRequest::default()
        };
        let refused = client.get_demand(request).await.expect_err("it is refused");
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(names), "{}", refused.message());
    }
    // A stream of an app that is not known says so, and goes on.
    let request = WatchDemandRequest {
        app: "nobody".to_owned(),
        queues: vec!["mail".to_owned()],
        worker_prefix: String::new(),
    };
    let mut stream = client
        .watch_demand(request)
        .await
        .expect("a stream")
        .into_inner();
    let first = stream
        .message()
        .await
        .expect("a message")
        .expect("not the end");
    let first = first.demand.expect("demand");
    assert!(
        !first.fresh && first.stale_reason.contains("nobody"),
        "{first:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_told_of_at_once() {
    let _turn = turn().await;
    let redis = Redis::start();
    let celery = Celery::new("5.7", &redis.url());
    let aggregator = Aggregator::builder().broker(&redis.url()).start().await;
    let mut client = client(&aggregator).await.expect("it serves");
    let request = WatchDemandRequest {
        queues: vec!["mail".to_owned()],
        ..WatchDemandRequest::default()
    };
    let mut stream = client
        .watch_demand(request)
        .await
        .expect("a stream")
        .into_inner();
    let mut next = async || -> Demand {
        let message = tokio::time::timeout(Duration::from_secs(20), stream.message());
        let message = message.await.expect("there is one each 15 s");
        message
            .expect("a message")
            .expect("not the end")
            .demand
            .expect("demand")
    };
    while !next().await.fresh {}
    let send =
        "import time; app.send_task('demo.add', args=[1, 2], queue='mail'); print(time.time())";
    let sending = tokio::task::spawn_blocking(move || celery.run(send));
    while next().await.ready != 1 {}
    let told = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the epoch is over");
    let sent: f64 = sending
        .await
        .expect("it was sent")
        .trim()
        .parse()
        .expect("a time");
    let after = told.as_secs_f64() - sent;
    println!("a message was told of after {after:.2} s");
    assert!(after < 4.0, "{after} s");
}
